"""Rows 130 to 135: connections that serve several requests, and those that died in between."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cnroute.errors import CallError
from cnroute.failures import FailureKind as K
from cnroute.testing.transports.rawserver import echo, fin, request, rst, send, sleep
from tests.transports.conftest import Connect, until


@pytest.mark.parametrize("end", [[fin], [sleep(0.05), rst]], ids=["130-fin", "131-rst"])
def test_a_broken_promise_of_keep_alive(wire: Connect, end: list[Any]) -> None:
    """The peer promised to stay and left: noticed at check-out, each request is sent once."""
    one = wire([echo, *end], [echo, *end])
    for marker in (b"one", b"two"):
        assert one.send(marker).body == marker
        until(lambda: one.server.open == 0)
    assert (len(one.server.requests), one.server.connections) == (2, 2)
    one.bound.send(one.request(), one.new_deadline())


@pytest.mark.parametrize("way", ["send", "read"])
@pytest.mark.parametrize("end", [fin, rst], ids=["fin", "rst"])
def test_row_132_resend_on_a_stale_connection(wire: Connect, end: Any, way: str) -> None:
    """A reused connection that dies with the request is invisible: one resend on a fresh one."""
    one = wire([echo, request, end])
    assert one.send(b"one").body == b"one"
    answer = getattr(one, way)(b"two")
    assert (answer if way == "read" else answer.body) == b"two"
    assert [body for _, body in one.server.requests] == [b"one", b"two", b"two"]
    assert one.deadline.resent is True
    assert way == "read" or answer.resent is True


def test_row_132_not_twice(wire: Connect) -> None:
    """The fresh connection gets no second chance."""
    one = wire([echo, request, fin], [request, fin])
    one.send(b"one")
    with pytest.raises(CallError) as caught:
        one.send(b"two")
    assert caught.value.kind is K.CONNECTION_LOST
    assert len(one.server.requests) == 3


def test_row_133_resend_off(wire: Connect) -> None:
    """With the resend switched off the call fails, and nothing is sent again."""
    one = wire([echo, request, fin], resend_stale=False)
    one.send(b"one")
    with pytest.raises(CallError) as caught:
        one.send(b"two")
    assert (caught.value.kind, len(one.server.requests)) == (K.CONNECTION_LOST, 2)


def test_row_134_late_drop_is_not_resent(wire: Connect) -> None:
    """After more than a second it looks like a killed generation, which may have been billed."""
    one = wire([echo, request, sleep(1.2), fin])
    one.send(b"one")
    with pytest.raises(CallError) as caught:
        one.send(b"two", first_byte=2.0, total=3.0)
    assert (caught.value.kind, len(one.server.requests)) == (K.CONNECTION_LOST, 2)


def test_a_byte_of_an_answer_forbids_the_resend(wire: Connect) -> None:
    """One byte came back: the vendor has seen the request."""
    one = wire([echo, request, send(b"H"), fin])
    one.send(b"one")
    with pytest.raises(CallError) as caught:
        one.send(b"two")
    assert (caught.value.kind, len(one.server.requests)) == (K.PROTOCOL_ERROR, 2)


def test_row_135_idle_for_too_long(wire: Connect) -> None:
    """A connection that has rested longer than the limit is not used again."""
    one = wire(max_idle=0.2)
    one.send(b"one")
    one.send(b"two")
    assert one.server.connections == 1
    time.sleep(0.25)
    assert one.bound.idle_connections() == 0
    one.send(b"three")
    assert one.server.connections == 2


def test_keepalive_off(wire: Connect) -> None:
    """Without keep-alive every call has its own connection, and says so."""
    one = wire(keepalive=False)
    one.serves()
    assert one.server.connections == 2
    assert b"Connection: close" in one.server.requests[0][0]
    assert one.bound.idle_connections() == 0


def test_many_calls_on_one_connection(wire: Connect) -> None:
    """51 calls in turn, JSON and streams mixed, use one connection."""
    one = wire()
    for number in range(51):
        marker = str(number).encode()
        assert (one.read(marker) if number % 2 else one.send(marker).body) == marker
    assert one.server.connections == 1
