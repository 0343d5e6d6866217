"""Streams: nothing held back, and every way to end one (rows 143, 147, 148)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest

from cnroute.errors import CallError
from cnroute.failures import FailureKind as K
from cnroute.testing.transports.rawserver import chunked, drip, forever, head, request, send, silent, sleep
from tests.transports.conftest import Connect, Wire, until

OPEN_CHUNKED = chunked(b"data: 1\n\n", end=b"")
END = b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "one_piece"),
    [
        pytest.param(head("Content-Length: 16"), b"data: 1\n", id="length"),
        pytest.param(head(), b"data: 1\n", id="close"),
        pytest.param(head("Transfer-Encoding: chunked"), b"8\r\ndata: 1\n\r\n", id="chunks"),
        pytest.param(head("Transfer-Encoding: chunked") + b"10\r\n", b"data: 1\n", id="inside-one-chunk"),
    ],
)
def test_row_143_nothing_is_held_back(wire: Connect, start: bytes, one_piece: bytes) -> None:
    """What has arrived is handed out at once, whatever the framing (U17)."""
    one = wire([request, send(start + one_piece), sleep(0.2), send(one_piece), silent])
    started = time.monotonic()
    with one.open() as stream:
        assert stream.read() == b"data: 1\n"
        assert time.monotonic() - started < 0.15
        assert stream.read() == b"data: 1\n"


def test_row_143_dripped_byte_by_byte(wire: Connect) -> None:
    """Each byte arrives soon after it was sent, and the text is exact."""
    one = wire([request, drip(chunked(b"data: 1\n\n", b"data: 2\n\n"), 0.002)])
    stream = one.open()
    pieces = list(iter(stream.read, b""))
    assert b"".join(pieces) == b"data: 1\n\ndata: 2\n\n"
    assert len(pieces) > 10
    assert one.bound.idle_connections() == 1


def test_the_end_gives_the_connection_back_at_once(wire: Connect) -> None:
    """When the terminal chunk came with the last data nobody has to read again (U7)."""
    one = wire([request, send(chunked(b"all"))])
    stream = one.open()
    assert stream.read() == b"all"
    assert (one.bound.free_places(), one.bound.idle_connections()) == (4, 1)
    assert stream.read() == b""
    stream.close()
    assert stream.read() == b""


def test_row_147_close_with_drain_keeps_the_connection(wire: Connect) -> None:
    """The rest of the framing is near: read it, keep the connection."""
    one = wire([request, send(OPEN_CHUNKED), sleep(0.02), send(END)])
    stream = one.open()
    stream.read()
    stream.close(drain=True)
    assert one.bound.idle_connections() == 1
    one.serves()


@pytest.mark.parametrize("rest", [silent, forever(b"1\r\nx\r\n" * 1000)], ids=["silence", "junk"])
def test_row_147_drain_is_short(wire: Connect, rest: Any) -> None:
    """Draining ends after 0.1 s or 64 KiB, then the connection is closed."""
    one = wire([request, send(OPEN_CHUNKED), rest])
    stream = one.open()
    stream.read()
    started = time.monotonic()
    stream.close(drain=True)
    assert time.monotonic() - started < 0.3
    assert one.bound.idle_connections() == 0


def close(one: Wire) -> None:
    stream = one.open()
    assert stream.read() == b"data: 1\n\n"
    stream.close()
    stream.close()


def drop(one: Wire) -> None:
    stream = one.open()
    stream.read()
    del stream


def never_read(one: Wire) -> None:
    one.open()


def leave_with(one: Wire) -> None:
    with one.open() as stream:
        stream.read()


def raise_inside(one: Wire) -> None:
    with pytest.raises(KeyError), one.open() as stream:
        stream.read()
        raise KeyError


def close_elsewhere(one: Wire) -> None:
    stream = one.open()
    stream.read()
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()


def close_while_reading(one: Wire) -> None:
    stream = one.open()
    stream.read()
    threading.Timer(0.1, stream.close).start()
    started = time.monotonic()
    with pytest.raises(CallError) as caught:
        stream.read()
    assert caught.value.kind is K.CANCELLED
    assert time.monotonic() - started < 0.1 + 0.3


def cancel_and_forget(one: Wire) -> None:
    stream = one.open()
    stream.read()
    one.deadline.cancel()
    stream.close()


WAYS_OUT = [close, drop, never_read, leave_with, raise_inside, close_elsewhere, close_while_reading, cancel_and_forget]


@pytest.mark.parametrize("way_out", WAYS_OUT, ids=lambda way: f"148-{way.__name__}")
@pytest.mark.parametrize("framing", [OPEN_CHUNKED, head() + b"data: 1\n\n"], ids=["chunked", "close"])
def test_row_148_every_way_out(wire: Connect, way_out: Any, framing: bytes) -> None:
    """The place is back and the vendor sees the end within 0.5 s."""
    one = wire([request, send(framing), silent], limits={"max_connections": 1})
    way_out(one)
    ended = time.monotonic()
    until(lambda: one.server.open == 0, 0.5)
    assert one.server.ends[-1] - ended < 0.5
    one.at_rest()
    one.serves()


def test_a_dropped_stream_frees_who_waits(wire: Connect) -> None:
    """The finalizer alone gives the place back: no check-out has to come first (U20)."""
    one = wire([request, send(OPEN_CHUNKED), silent], limits={"max_connections": 1})
    held = [one.open()]
    threading.Timer(0.1, held.clear).start()
    assert one.send(b"waited", pool=2.0, total=3.0).body == b"waited"


def test_read_after_close(wire: Connect) -> None:
    """A closed stream gives nothing more, and says why."""
    one = wire([request, send(OPEN_CHUNKED), silent])
    stream = one.open()
    stream.close()
    with pytest.raises(CallError) as caught:
        stream.read()
    assert caught.value.kind is K.CANCELLED


def test_closing_at_the_very_end_of_the_reading(wire: Connect) -> None:
    """Whoever comes first gives the connection back, once; the other finds it done."""
    one = wire()
    for number in range(200):
        stream = one.open(b"x" * 50_000)
        closer = threading.Timer(number % 20 * 0.0002, stream.close, kwargs={"drain": True})
        closer.start()
        with contextlib.suppress(CallError, RuntimeError):  # closed; or the one who closes is reading now
            while stream.read():
                pass
        closer.join()
        assert one.bound.free_places() == 4
    one.serves()


def test_one_reader_at_a_time(wire: Connect) -> None:
    """A second reader is told so; nothing is lost or doubled."""
    one = wire([request, send(OPEN_CHUNKED), sleep(0.2), send(b"1\r\nx\r\n" + END)])
    stream, errors = one.open(), []
    stream.read()

    def second() -> None:
        try:
            stream.read()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Timer(0.1, second)
    thread.start()
    assert stream.read() == b"x"
    thread.join()
    assert len(errors) == 1
    stream.close()


def test_read_in_another_thread(wire: Connect) -> None:
    """A stream may be read by another thread than the one that opened it."""
    one, got = wire([request, send(chunked(b"a", b"b"))]), []
    stream = one.open()
    thread = threading.Thread(target=lambda: got.extend(iter(stream.read, b"")))
    thread.start()
    thread.join()
    assert b"".join(got) == b"ab"


def test_the_flow_may_move_the_deadline(wire: Connect) -> None:
    """The deadline is read at every receive: moved nearer it cuts, moved away it does not."""
    one = wire([request, send(OPEN_CHUNKED), forever(b"1\r\nx\r\n", 0.05)])
    stream = one.open(idle=5.0, total=0.2)
    one.deadline.at += 0.4
    started = time.monotonic()
    while time.monotonic() - started < 0.35:
        stream.read()
    one.deadline.at = time.monotonic() + 0.1
    with pytest.raises(CallError) as caught:
        while True:
            stream.read()
    assert caught.value.kind is K.IDLE_TIMEOUT
    assert time.monotonic() - started < 0.9


def test_written_is_set(wire: Connect) -> None:
    """The instant when the request was written is for the flow's own limits."""
    one = wire()
    deadline = one.new_deadline()
    assert deadline.written is None
    before = time.monotonic()
    one.bound.send(one.request(), deadline)
    assert deadline.written is not None
    assert before <= deadline.written <= time.monotonic()
    assert deadline.resent is False
