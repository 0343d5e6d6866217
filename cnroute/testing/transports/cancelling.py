"""Checks of cancelling: at every step, from another thread and by cancelling the task, within a moment."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from cnroute.errors import CallError
from cnroute.failures import FailureKind
from cnroute.testing.contract.checking import NotApplicable, check, fail, require, same
from cnroute.testing.transports.answers import TEXT
from cnroute.testing.transports.base import TransportBase, tls_server
from cnroute.testing.transports.groups import CANCEL
from cnroute.testing.transports.rawserver import Action, black_hole, chunked, drip, hang, head, plainly, request, send, silent
from cnroute.testing.transports.streams import OPEN
from cnroute.testing.transports.wires import PROMPT, Wire

K = FailureKind
FREE = "a cancelled call frees its socket"
SOON = "shut the socket down in the callback of deadline.on_cancel"


@contextlib.contextmanager
def hanging_lookups() -> Iterator[None]:
    """Name look-ups that do not return before the end of the block."""
    over, original = threading.Event(), socket.getaddrinfo

    def lookup(host: Any, *args: Any, **more: Any) -> Any:
        if host not in ("slow.example", b"slow.example"):
            return original(host, *args, **more)
        over.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    socket.getaddrinfo = lookup
    try:
        yield
    finally:
        socket.getaddrinfo = original
        over.set()


class CancelChecks(TransportBase):
    """Group 5."""

    @check(CANCEL)
    def test_cancelled_before_it_began(self) -> None:
        """Nothing is sent and nothing is paid."""
        with self.wire() as wire:
            deadline = wire.new_deadline()
            deadline.cancel()
            error = wire.failure(lambda: wire.call(wire.bound.send, wire.request(), deadline), K.CANCELLED, within=0)
            same(
                "nothing was sent", ([], "none"), (wire.server.requests, error.billing), change="ask the deadline before sending"
            )

    @check(CANCEL)
    def test_cancelled_while_waiting_for_a_place(self) -> None:
        """The wait ends at once; the place is still its holder's."""
        with self.wire(places=1) as wire:
            held = wire.open(b"held")
            error = wire.cancelled(wire.send)
            same("nothing was sent", "none", error.billing, change="billing none before a byte of the request was written")
            same("the one that held it", b"held", held.rest(), change="a cancel touches its own exchange alone")
            wire.serves(1)

    @check(CANCEL)
    def test_cancelled_in_the_name_look_up(self) -> None:
        """getaddrinfo itself cannot be ended: whoever waits for it can."""
        self.needs("cancels_connecting")
        with self.wire(deployment={"base_url": "http://slow.example/v1", "allow_http": True}) as wire, hanging_lookups():
            same("its billing", "none", wire.cancelled(wire.send).billing, change="billing none before anything was written")

    @check(CANCEL)
    def test_cancelled_while_connecting(self) -> None:
        """A SYN that is never answered."""
        self.needs("cancels_connecting")
        with black_hole() as port, self.wire(deployment={"base_url": f"http://127.0.0.1:{port}/v1"}) as wire:
            same("its billing", "none", wire.cancelled(wire.send).billing, change="billing none before anything was written")

    @check(CANCEL)
    def test_cancelled_in_the_handshake(self) -> None:
        """A server that accepts and says nothing of TLS."""
        self.needs("supports_tls")
        self.needs("cancels_connecting")
        with tls_server() as (context, tls), self.wire([plainly, silent], tls=context, deployment={"tls": tls}) as wire:
            same("its billing", "none", wire.cancelled(wire.send).billing, change="billing none before anything was written")
            wire.peers_gone(FREE)

    def _cancelled(self, script: list[Action], billing: str = "unknown", body: bytes = b"marker") -> None:
        __tracebackhide__ = True
        for way in (0, 1):
            with self.wire(script, places=1) as wire:
                error = wire.cancelled(lambda: wire.ways()[way][1](body), after=0.3)  # noqa: B023 (called at once)
                same("its billing", billing, error.billing, change="billing unknown once a byte of the request may have left")
                wire.peers_gone(FREE)
                wire.serves(1)

    @check(CANCEL)
    def test_cancelled_while_writing(self) -> None:
        """A server that reads nothing."""
        self._cancelled([hang], body=bytes(20_000_000))

    @check(CANCEL)
    def test_cancelled_before_the_head(self) -> None:
        """A server that has not begun to answer."""
        self._cancelled([request, silent])

    @check(CANCEL)
    def test_cancelled_in_the_body(self) -> None:
        """A server that has stopped in the middle."""
        self._cancelled([request, send(head("Content-Length: 900") + TEXT[:30]), silent])

    @check(CANCEL)
    def test_cancelled_while_bytes_arrive(self) -> None:
        """A stream that never pauses for long."""
        self._cancelled([request, send(chunked(end=b"1388\r\n")), drip(bytes(5000), 0.01)])

    @check(CANCEL)
    def test_cancelled_between_two_reads(self) -> None:
        """Nobody is inside the transport: the socket is freed all the same, and the next read is no end."""
        with self.wire(OPEN, places=1) as wire:
            stream = wire.open()
            stream.read()
            wire.deadline.cancel()
            wire.peers_gone(FREE)
            wire.failure(stream.read, K.CANCELLED, within=PROMPT)
            stream.close()
            wire.serves(1)

    @check(CANCEL)
    def test_a_cancel_after_the_end_touches_nobody(self) -> None:
        """The connection may serve another call by then."""
        with self.wire(places=1) as wire:
            wire.send(b"first")
            late = wire.deadline
            stream = wire.open(b"second")
            late.cancel()
            same("another call's answer", b"second", stream.rest(), change="let go of the socket before it is given back")

    @check(CANCEL)
    def test_cancelling_the_task_frees_the_socket(self) -> None:
        """The task sees CancelledError, the server the end of the connection: in the connect, before the head, in the body."""
        scripts: dict[str, list[Action]] = {
            "head": [request, silent],
            "body": [request, send(head("Content-Length: 900") + TEXT[:30]), silent],
            "write": [hang],
        }
        for name, script in scripts.items():
            with self.wire(script, places=1) as wire:
                if not wire.is_async:
                    raise NotApplicable("the transport is synchronous")
                body = bytes(20_000_000) if name == "write" else b"marker"
                self._task_cancelled(wire, lambda: wire.bound.send(wire.request(body), wire.new_deadline()), name)  # noqa: B023
                wire.peers_gone(FREE)
                wire.serves(1)

    @check(CANCEL)
    def test_cancelling_the_task_that_reads_frees_the_socket(self) -> None:
        """The same in a stream, and in the connect."""
        with self.wire(OPEN, places=1) as wire:
            if not wire.is_async:
                raise NotApplicable("the transport is synchronous")
            stream = wire.open()
            stream.read()
            self._task_cancelled(wire, stream.stream.read, "stream")
            wire.peers_gone(FREE)
            stream.close()
            wire.serves(1)

    @staticmethod
    def _task_cancelled(wire: Wire, start: Callable[[], Any], name: str) -> None:
        __tracebackhide__ = True

        async def scene() -> tuple[object, float]:
            task = asyncio.ensure_future(start())
            await asyncio.sleep(0.15)
            began = time.monotonic()
            task.cancel()
            try:
                return await task, time.monotonic() - began
            except asyncio.CancelledError as error:
                return error, time.monotonic() - began
            except CallError as error:
                return error, time.monotonic() - began

        seen, took = wire.call(scene)
        if not isinstance(seen, asyncio.CancelledError):
            fail(
                "a cancelled task sees CancelledError",
                expected="asyncio.CancelledError, untouched",
                got=seen,
                sample=name,
                change="do not turn CancelledError into a failure; give everything back and let it pass",
            )
        require(
            took < PROMPT + wire.slack,
            "a cancelled task ends at once",
            expected=f"{PROMPT:g} s",
            got=f"{took:.2f} s",
            change=SOON,
        )
