"""Checks of streams: bytes as they arrive, an end that is the end, and closing at any time."""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Callable
from typing import Any

from cnroute.errors import CallError
from cnroute.failures import FailureKind
from cnroute.testing.contract.checking import check, fail, require, same
from cnroute.testing.transports.base import TransportBase
from cnroute.testing.transports.groups import STREAM
from cnroute.testing.transports.rawserver import Action, Gone, Peer, chunked, fin, good, head, request, send, silent
from cnroute.testing.transports.wires import View, elsewhere

K = FailureKind
PIECES = tuple(b"data: %d\n\n" % number for number in range(4))
OPEN: list[Action] = [request, send(chunked(PIECES[0], end=b"")), silent]
"""One piece of a stream, and then nothing more."""


def told(pieces: tuple[bytes, ...], go_on: threading.Semaphore) -> Action:
    """Send each piece only after the one before it was read."""

    def run(peer: Peer) -> None:
        for piece in pieces:
            while not go_on.acquire(timeout=0.05):
                if peer.server.stopping.is_set():
                    raise Gone
            peer.sock.sendall(piece)

    return run


def chunk(piece: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class StreamChecks(TransportBase):
    """Group 2."""

    @check(STREAM)
    def test_bytes_are_never_held_back(self) -> None:
        """Each piece can be read before the next one is sent, however the body is framed."""
        length = sum(map(len, PIECES))
        framings: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
            "chunks": (head("Transfer-Encoding: chunked"), chunk),
            "length": (head(f"Content-Length: {length}"), bytes),
            "end of the connection": (head(), bytes),
        }
        for name, (start, frame) in framings.items():
            go_on = threading.Semaphore(1)
            end = chunk(b"") if name == "chunks" else b""
            pieces = tuple(map(frame, PIECES))
            with self.wire([request, send(start), told((*pieces, end), go_on), fin]) as wire:
                stream = self._tried(lambda: wire.open(idle=2), "an open stream", name)
                for piece in PIECES:
                    same(
                        "a piece is there as soon as it has arrived",
                        piece,
                        self._tried(functools.partial(self._piece, stream, len(piece)), piece, name),
                        sample=name,
                        change="read what has arrived (read1, a plain recv), never a fixed number of bytes",
                    )
                    go_on.release()
                same("then the end", b"", stream.read(), sample=name, change='return b"" at the end of the framing')

    @staticmethod
    def _tried(call: Callable[[], Any], expected: object, framing: str) -> Any:
        """What `call` gives; a transport that waits for more than has arrived ends with a failure."""
        __tracebackhide__ = True
        try:
            return call()
        except CallError as error:
            failure = f"{type(error).__name__} ({error.kind}): {error.message}"
        fail(
            "a piece is there as soon as it has arrived",
            expected=expected,
            got=failure,
            sample=framing,
            change="return from open after the head; read what has arrived (read1, a plain recv), never a fixed number of bytes",
        )
        raise AssertionError  # `fail` has raised

    @staticmethod
    def _piece(stream: View, length: int) -> bytes:
        data = b""
        while len(data) < length and (more := stream.read()):
            data += more
        return data

    @check(STREAM)
    def test_the_end_is_empty_bytes_and_stays(self) -> None:
        """After the end every read gives b"" at once."""
        with self.wire([request, send(chunked(*PIECES))]) as wire:
            stream = wire.open()
            same("the whole body", b"".join(PIECES), stream.rest(), change="hand out every byte once")
            for _ in range(3):
                same("the end stays", b"", stream.read(), change='return b"" again, without a wait')
            stream.close()

    @check(STREAM)
    def test_a_stream_has_status_and_headers(self) -> None:
        """Before anything was read; the case of header names does not matter."""
        with self.wire([request, send(good(b"x", "X-Request-Id: r-2"))]) as wire:
            stream = wire.open()
            found = (stream.status, stream.headers.get("x-request-id"), stream.headers.get("X-REQUEST-ID"), stream.rest())
        same(
            "status and headers of a stream", (200, "r-2", "r-2", b"x"), found, change="use cnroute.http.Headers for the headers"
        )

    @check(STREAM)
    def test_closing_frees_the_socket_at_once(self) -> None:
        """Before the first read, in the middle, and twice: the server sees the end."""
        for reads in (0, 1):
            with self.wire(OPEN) as wire:
                stream = wire.open()
                for _ in range(reads):
                    same("the first piece", PIECES[0], stream.read(), change="hand out what has arrived")
                stream.close()
                wire.peers_gone(f"close() after {reads} reads frees the socket")
                stream.close()

    @check(STREAM)
    def test_closing_from_elsewhere_wakes_the_reader(self) -> None:
        """A read that waits ends when somebody else closes the stream, with a failure: it is no end of the body."""
        with self.wire(OPEN) as wire:
            stream = wire.open()
            stream.read()
            with elsewhere(stream.read) as outcome:
                threading.Event().wait(0.15)
                stream.close()
                wire.until(
                    lambda: bool(outcome),
                    "close() from another thread or task wakes the reader",
                    "shut the socket down; a plain close() does not wake a blocked read",
                )
            wire.peers_gone("close() from elsewhere frees the socket")
        require(
            isinstance(outcome[0], CallError),
            "a closed stream has no good end",
            expected="a CallError of kind cancelled",
            got=outcome[0],
            change='raise the failure `cancelled`; b"" would pass for a complete body',
        )

    @check(STREAM)
    def test_reading_after_closing_is_no_end(self) -> None:
        """b"" would tell the router that the body is complete."""
        with self.wire(OPEN) as wire:
            stream = wire.open()
            stream.close()
            wire.failure(stream.read, K.CANCELLED, K.CLOSED)

    @check(STREAM)
    def test_a_stream_that_is_dropped_frees_its_socket(self) -> None:
        """One that its consumer has forgotten is closed when it is collected."""
        with self.wire(OPEN, places=1) as wire:
            stream = wire.open()
            stream.read()
            stream.drop()
            del stream
            gc.collect()
            wire.peers_gone("a stream that was collected frees its socket")
            wire.serves(1)
