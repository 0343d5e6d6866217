"""Checks of time and size: the deadline at every receive, each limit with its kind, caps on what is unpacked."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from functools import partial

from cnroute.failures import FailureKind
from cnroute.testing.contract.checking import check, fail, require, same
from cnroute.testing.transports.answers import TEXT
from cnroute.testing.transports.base import TransportBase
from cnroute.testing.transports.groups import LIMIT, SIZE
from cnroute.testing.transports.rawserver import (
    Action,
    black_hole,
    chunked,
    drip,
    fin,
    forever,
    good,
    hang,
    head,
    request,
    rst,
    send,
    silent,
    sleep,
)

K = FailureKind
LATE = (K.FIRST_BYTE_TIMEOUT, K.IDLE_TIMEOUT, K.DEADLINE_EXCEEDED)
TOTAL = 0.4
LIMIT_OF_A_STEP = 0.3
SLOW = 0.03
LONG = bytes(2**20)
LOST = (K.CONNECTION_LOST, K.PROTOCOL_ERROR)


class LimitChecks(TransportBase):
    """Group 3."""

    def _ends(self, name: str, script: list[Action], *, drips: bool = True) -> None:
        """Both ways end at the deadline, although the server goes on."""
        __tracebackhide__ = True
        if drips:
            self.needs("deadline_at_every_read")
        for way in (0, 1):
            with self.wire(script) as wire:
                word, call = wire.ways()[way]
                error = wire.failure(partial(call, total=TOTAL), *LATE, within=TOTAL, why=f"at the deadline ({word}, {name})")
                same(
                    "what was sent may have cost money",
                    "unknown",
                    error.billing,
                    change="billing unknown after the first byte was sent",
                )
                wire.peers_gone("after the deadline the socket is free")

    @check(LIMIT)
    def test_the_deadline_ends_silence(self) -> None:
        """A server that takes the request and says nothing."""
        self._ends("silence", [request, silent], drips=False)

    @check(LIMIT)
    def test_the_deadline_ends_silence_in_the_body(self) -> None:
        """A server that stops in the middle of a body."""
        self._ends("half a body", [request, send(head("Content-Length: 900") + TEXT[:30]), silent], drips=False)

    @check(LIMIT)
    def test_the_deadline_ends_a_head_that_drips(self) -> None:
        """Headers byte by byte: each receive is quick, the whole never ends."""
        self._ends("head", [request, drip(head("X: " + "y" * 2000), SLOW)])

    @check(LIMIT)
    def test_the_deadline_ends_a_body_that_drips(self) -> None:
        """A body byte by byte."""
        self._ends("body", [request, send(head("Content-Length: 5000")), drip(bytes(5000), SLOW)])

    @check(LIMIT)
    def test_the_deadline_ends_chunks_that_drip(self) -> None:
        """The line with a chunk's size, byte by byte: no read of the body would ever return."""
        self._ends("chunk size", [request, send(chunked(TEXT, end=b"")), drip(b"5;" + b"x" * 5000, SLOW)])

    @check(LIMIT)
    def test_the_deadline_ends_endless_interim_answers(self) -> None:
        """100 Continue again and again."""
        self._ends("100 Continue", [request, forever(b"HTTP/1.1 100 Continue\r\n\r\n", SLOW)])

    @check(LIMIT)
    def test_a_deadline_that_moves_holds_at_the_next_read(self) -> None:
        """The flow shortens `deadline.at` while a stream is open."""
        with self.wire([request, send(chunked(TEXT, end=b"")), silent]) as wire:
            stream = wire.open()
            same("the first piece", TEXT, stream.read(), change="hand out what has arrived")
            wire.deadline.at = time.monotonic() + TOTAL
            wire.failure(stream.read, *LATE, within=TOTAL, why="at a deadline that was moved while the stream was open")

    @check(LIMIT)
    def test_a_deadline_that_has_passed_sends_nothing(self) -> None:
        """No request leaves without time to be answered."""
        with self.wire() as wire:
            deadline = wire.new_deadline()
            deadline.at = time.monotonic() - 1
            error = wire.failure(lambda: wire.call(wire.bound.send, wire.request(), deadline), within=0)
            same("nothing was sent", ([], "none"), (wire.server.requests, error.billing), change="ask deadline.remaining() first")

    @check(LIMIT)
    def test_the_limit_of_the_first_byte(self) -> None:
        """`first_byte_timeout` when nothing of an answer has come within `first_byte`."""
        for way in (0, 1):
            with self.wire([request, silent]) as wire:
                call = wire.ways()[way][1]
                error = wire.failure(partial(call, first_byte=LIMIT_OF_A_STEP), K.FIRST_BYTE_TIMEOUT, within=LIMIT_OF_A_STEP)
                same("its billing", "unknown", error.billing, change="billing unknown once the request was written")

    @check(LIMIT)
    def test_the_limit_of_silence(self) -> None:
        """`idle_timeout` when nothing more comes within `idle`; bytes that come in between renew it."""
        for way in (0, 1):
            slowly = [request, send(head("Content-Length: 100")), drip(b"abcd", LIMIT_OF_A_STEP / 2), silent]
            with self.wire(slowly) as wire:
                call = wire.ways()[way][1]
                error = wire.failure(partial(call, idle=LIMIT_OF_A_STEP), K.IDLE_TIMEOUT, within=LIMIT_OF_A_STEP * 3)
                same("its billing", "unknown", error.billing, change="billing unknown once the request was written")

    @check(LIMIT)
    def test_patience_is_patient(self) -> None:
        """A slow answer inside of its limits is an answer."""
        script = [request, sleep(0.2), send(head(f"Content-Length: {len(TEXT)}")), sleep(0.2), send(TEXT)]
        for way in (0, 1):
            with self.wire(script) as wire:
                same(
                    "a slow answer", TEXT, wire.ways()[way][1](first_byte=20, idle=20), change="use the limits of deadline.limits"
                )

    @check(LIMIT)
    def test_the_limit_of_connecting(self) -> None:
        """`connect_timeout`, and nothing was spent."""
        with black_hole() as port, self.wire(deployment={"base_url": f"http://127.0.0.1:{port}/v1"}) as wire:
            error = wire.failure(lambda: wire.send(connect=LIMIT_OF_A_STEP), K.CONNECT_TIMEOUT, within=LIMIT_OF_A_STEP)
            same("its billing", "none", error.billing, change="billing none before a byte of the request was written")

    @check(LIMIT)
    def test_the_limit_of_writing(self) -> None:
        """`write_timeout` when the server takes nothing more."""
        with self.wire([hang]) as wire:
            error = wire.failure(
                lambda: wire.send(bytes(20_000_000), write=LIMIT_OF_A_STEP), K.WRITE_TIMEOUT, within=LIMIT_OF_A_STEP + 0.5
            )
            same("its billing", "unknown", error.billing, change="billing unknown once a byte of the request may have left")

    @check(LIMIT)
    def test_the_limit_of_waiting_for_a_place(self) -> None:
        """`local_overload` when every connection is in use for longer than `pool`; nothing was sent."""
        with self.wire(places=1) as wire:
            held = wire.open(b"held")
            error = wire.failure(lambda: wire.send(pool=0.1), K.LOCAL_OVERLOAD, within=0.1)
            same(
                "nothing was sent",
                (1, "none"),
                (len(wire.server.requests), error.billing),
                change="wait for a place before sending",
            )
            same("the one that held it", b"held", held.rest(), change="an open stream is not touched by others")

    @check(LIMIT)
    def test_a_flag_that_denies_the_deadline_tells_the_truth(self) -> None:
        """deadline_at_every_read = False is for transports that really cannot."""
        if self.deadline_at_every_read:
            return
        with self.wire([request, send(head("Content-Length: 20")), drip(bytes(20), 0.1)]) as wire:
            started = time.monotonic()
            try:
                wire.send(total=TOTAL)
            except Exception:  # noqa: BLE001 (only the time counts)
                took = time.monotonic() - started
            else:
                return
        if took < TOTAL + 0.5:
            fail(
                "a flag tells the truth",
                expected="an answer that drips on beyond the deadline",
                got=f"an end after {took:.2f} s",
                change="set deadline_at_every_read = True",
            )


class SizeChecks(TransportBase):
    """Group 4."""

    @check(SIZE)
    def test_an_answer_longer_than_the_limit_is_a_failure(self) -> None:
        """`response_too_large` at max_response_bytes, whatever the head promises."""
        promised = [request, send(head(f"Content-Length: {2**30}")), forever(LONG)]
        self._too_long(
            promised, [request, send(head()), forever(LONG)], [request, send(good(LONG + b"!"))], limit="max_response_bytes"
        )

    @check(SIZE)
    def test_a_stream_longer_than_the_limit_is_a_failure(self) -> None:
        """`response_too_large` at max_stream_bytes."""
        self._too_long([request, send(head()), forever(LONG)], [request, send(chunked(LONG, b"!"))], limit="max_stream_bytes")

    def _too_long(self, *scripts: list[Action], limit: str) -> None:
        __tracebackhide__ = True
        for script in scripts:
            with self.wire(script, limits={limit: len(LONG)}) as wire:
                wire.failure(wire.send if limit == "max_response_bytes" else wire.read, K.RESPONSE_TOO_LARGE)
                if len(script) > 2:
                    wire.peers_gone("what is too long is not read on")

    @check(SIZE)
    def test_a_bomb_stays_small(self) -> None:
        """Unpacked bytes are counted, a piece at a time: 32 MiB in 32 KiB are refused without being unpacked first."""
        self.needs("unpacks_gzip")
        bomb = good(gzip.compress(bytes(2**25)), "Content-Encoding: gzip")
        for way in (0, 1):
            with self.wire([request, send(bomb)], limits={"max_response_bytes": 2**20, "max_stream_bytes": 2**20}) as wire:
                tracemalloc.start()
                try:
                    wire.failure(wire.ways()[way][1], K.RESPONSE_TOO_LARGE)
                    most = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
            require(
                most < 8 * 2**20,
                "a bomb stays small",
                expected="less than 8 MiB of memory",
                got=f"{most >> 20} MiB",
                change="unpack with a bound (zlib's max_length), and count what comes out",
            )

    @check(SIZE)
    def test_a_body_that_is_cut_is_never_a_success(self) -> None:
        """A short length, a cut chunk, a missing last chunk, FIN or RST: `connection_lost` or `protocol_error`."""
        half = head(f"Content-Length: {len(TEXT)}") + TEXT[: len(TEXT) // 2]
        cuts: dict[str, list[Action]] = {
            "short length": [request, send(half), fin],
            "reset": [request, send(half), sleep(0.05), rst],
            "cut chunk": [request, send(chunked(TEXT, end=b"ff\r\nabc")), fin],
            "no last chunk": [request, send(chunked(TEXT, end=b"")), fin],
            "cut head": [request, send(head("Content-Length: 2")[:-2]), fin],
        }
        for name, script in cuts.items():
            for way in (0, 1):
                with self.wire(script) as wire:
                    error = wire.failure(wire.ways()[way][1], *LOST, why=f"({name})")
                    same(
                        "its billing",
                        "unknown",
                        error.billing,
                        sample=name,
                        change="billing unknown once the request was written",
                    )

    @check(SIZE)
    def test_packed_bytes_that_are_cut_are_never_a_success(self) -> None:
        """gzip and deflate that end too early, or are none: `decode_error`, although the framing is complete."""
        packed = gzip.compress(TEXT * 50)
        bodies = {"gzip in half": packed[: len(packed) // 2], "without its checksum": packed[:-8], "no gzip at all": TEXT}
        for name, body in bodies.items():
            for way in (0, 1):
                with self.wire([request, send(good(body, "Content-Encoding: gzip"))]) as wire:
                    wire.failure(wire.ways()[way][1], K.DECODE_ERROR, why=f"({name})")
