"""Cancelling from another thread, at every step: it ends within 0.3 s, as `cancelled` (U19, architecture 4.4)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from cnroute.errors import CallError
from cnroute.failures import FailureKind as K
from cnroute.testing.transports.rawserver import black_hole, chunked, hang, head, plainly, request, send, silent
from tests.transports.conftest import Connect, Wire, server_context, until

LONG = {"total": 9.0, "connect": 9.0, "first_byte": 9.0, "idle": 9.0, "write": 9.0, "pool": 9.0}
SLACK = 0.2
OPEN_CHUNKED = chunked(b"data: 1\n\n", end=b"")


def cancelled(one: Wire, call: Callable[[], object], after: float = 0.15) -> CallError:
    """What `call` ends with when it is cancelled while it waits."""
    cancelled_at = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        one.deadline.cancel()

    timer = threading.Timer(after, cancel)
    timer.start()
    with pytest.raises(CallError) as caught:
        call()
    assert time.monotonic() - cancelled_at[0] < 0.3 + SLACK
    timer.join()
    assert caught.value.kind is K.CANCELLED
    assert caught.value.__context__ is None
    return caught.value


def test_while_waiting_for_a_place(wire: Connect) -> None:
    one = wire(limits={"max_connections": 1})
    with one.open(b"held"):
        assert cancelled(one, lambda: one.send(**LONG)).billing == "none"


def test_in_the_name_look_up(wire: Connect, monkeypatch: pytest.MonkeyPatch, blocked: threading.Event) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: blocked.wait(10) and [])
    one = wire(deployment={"base_url": "http://slow.example", "allow_http": True})
    assert cancelled(one, lambda: one.send(**LONG)).billing == "none"


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_while_connecting(wire: Connect) -> None:
    with black_hole() as port:
        one = wire(deployment={"base_url": f"http://127.0.0.1:{port}"})
        assert cancelled(one, lambda: one.send(**LONG)).billing == "none"


def test_in_the_handshake(wire: Connect, authority: trustme.CA) -> None:
    one = wire([plainly, silent], tls=server_context(authority))
    assert cancelled(one, lambda: one.send(**LONG)).billing == "none"
    one.serves()


@pytest.mark.parametrize("way", ["send", "read"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    ("script", "body"),
    [
        pytest.param([hang], bytes(20_000_000), id="writing"),
        pytest.param([request, silent], b"x", id="before-the-head"),
        pytest.param([request, send(head()[:-2]), silent], b"x", id="in-the-head"),
        pytest.param([request, send(head("Content-Length: 9") + b"1234"), silent], b"x", id="in-the-body"),
        pytest.param([request, send(OPEN_CHUNKED), silent], b"x", id="between-chunks"),
        pytest.param([request, send(head() + b"1234"), silent], b"x", id="in-a-body-without-framing"),
        pytest.param(
            [request, send(head("Content-Length: 9", status="500 No") + b"1234"), silent], b"x", id="in-an-error"
        ),
    ],
)
def test_on_the_wire(wire: Connect, authority: trustme.CA, script: list[Any], body: bytes, tls: bool, way: str) -> None:
    """The socket is shut down: who reads or writes is woken, plain or TLS, and no partial answer passes as whole."""
    one = wire(script, tls=server_context(authority) if tls else None)
    assert cancelled(one, lambda: getattr(one, way)(body, **LONG)).billing == "unknown"
    until(lambda: one.server.open == 0, 0.5)
    one.serves()


def test_between_reads(wire: Connect) -> None:
    """Nobody reads: the vendor sees the end at once, the next read says cancelled."""
    one = wire([request, send(OPEN_CHUNKED), silent])
    stream = one.open()
    stream.read()
    one.deadline.cancel()
    until(lambda: one.server.open == 0, 0.5)
    with pytest.raises(CallError) as caught:
        stream.read()
    assert caught.value.kind is K.CANCELLED


def test_before_the_call(wire: Connect) -> None:
    """A call that is already cancelled sends nothing."""
    one = wire()
    deadline = one.new_deadline()
    deadline.cancel()
    with pytest.raises(CallError) as caught:
        one.bound.send(one.request(), deadline)
    assert (caught.value.kind, caught.value.billing) == (K.CANCELLED, "none")
    assert one.server.requests == []


def test_after_the_call(wire: Connect) -> None:
    """A late cancel does not touch the connection: it may serve another call by now."""
    one = wire()
    one.send(b"one")
    late = one.deadline
    stream = one.open(b"two")
    late.cancel()
    assert stream.read() == b"two"
    late.cancel()
    one.serves()
    assert one.server.connections == 1


def test_closing_the_transport_cancels_what_runs(wire: Connect) -> None:
    """Running calls end as cancelled, open streams too; later calls are refused as closed; close is idempotent."""
    one = wire([request, silent], [request, send(OPEN_CHUNKED), silent], limits={"max_connections": 3})
    stream_holder: list[Any] = []
    kinds: list[K] = []

    def run() -> None:
        try:
            one.send(**LONG)
        except CallError as error:
            kinds.append(error.kind)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: one.server.connections == 1)
    stream_holder.append(one.open())
    started = time.monotonic()
    one.transport.close()
    thread.join()
    assert kinds == [K.CANCELLED]
    with pytest.raises(CallError) as caught:
        stream_holder[0].read()
    assert caught.value.kind is K.CANCELLED
    assert time.monotonic() - started < 1.0
    until(lambda: one.server.open == 0, 0.5)
    one.transport.close()
    with pytest.raises(CallError) as caught:
        one.send()
    assert caught.value.kind is K.CLOSED
