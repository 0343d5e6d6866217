"""The rows of the fault matrix (reliability, section 4) that can be seen on the wire, as one table."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from cnroute.errors import CallError
from cnroute.failures import FailureKind as K
from cnroute.testing.transports.rawserver import (
    Action,
    chunked,
    drip,
    fin,
    forever,
    good,
    hang,
    head,
    read_head,
    request,
    rst,
    send,
    silent,
    sleep,
)
from tests.transports.conftest import LIMITS, Connect

SLACK = 0.5
QUICK = 0.3
FIRST = LIMITS["first_byte"]
IDLE = LIMITS["idle"]
TOTAL = LIMITS["total"]

TEXT = b'{"text": "' + b"x" * 300 + b'"}'
GZIP = gzip.compress(TEXT)


@attrs.frozen
class Row:
    """One fault: `kinds` that a call may end with, or none of them for a good answer (`body`)."""

    name: str
    script: list[Action]
    kinds: tuple[K, ...] = ()
    body: bytes = TEXT
    kept: bool | None = False  # whether one connection stays idle; None: either
    bound: float = QUICK
    asked: bytes = b"marker"
    billing: str = "unknown"
    limits: dict[str, Any] = attrs.field(factory=dict)
    ways: tuple[str, ...] = ("send", "read")


def fault(name: str, *script: Action, kind: K | tuple[K, ...], **more: Any) -> Row:
    return Row(name, list(script), kind if isinstance(kind, tuple) else (kind,), **more)


def fine(name: str, *script: Action, kept: bool | None = True, **more: Any) -> Row:
    return Row(name, list(script), kept=kept, **more)


LOST, PROTOCOL, LARGE = K.CONNECTION_LOST, K.PROTOCOL_ERROR, K.RESPONSE_TOO_LARGE
half = good(TEXT)[:-150]
noise = bytes(range(128, 256)) * 512
bomb = gzip.compress(bytes(2**24))


def many_headers(count: int) -> bytes:
    return head(*(f"X-{n}: {n}" for n in range(count)), "Content-Length: 2") + b"ok"


ROWS = [
    # 4.1 connecting
    fault("3-accepts-and-closes", fin, kind=LOST),
    fault("4-accepts-and-resets", rst, kind=(LOST, K.CONNECT_ERROR)),
    fault("5-accepts-and-is-silent", hang, kind=K.FIRST_BYTE_TIMEOUT, bound=FIRST + QUICK),
    # 4.2 before or instead of an answer
    fault("18-request-then-fin", request, fin, kind=LOST),
    fault("19-request-then-rst", request, rst, kind=LOST),
    fault("20-request-then-silence", request, silent, kind=K.FIRST_BYTE_TIMEOUT, bound=FIRST + QUICK),
    fine("21-late", request, sleep(0.25), send(good(TEXT)), bound=0.25 + QUICK),
    fault(
        "22-head-dripped",
        request,
        drip(head("X: " + "y" * 2000), 0.02),
        kind=(K.FIRST_BYTE_TIMEOUT, K.IDLE_TIMEOUT),
        bound=TOTAL,
    ),
    fault("23-another-protocol", request, send(b"SSH-2.0-OpenSSH_9.6\r\n"), fin, kind=PROTOCOL),
    fault("24-random-bytes", request, send(noise), fin, kind=PROTOCOL),
    fault("25-status-no-number", request, send(head(status="abc OK")), fin, kind=PROTOCOL),
    fault("26-status-999", request, send(head("Content-Length: 2", status="999 What") + b"ok"), kind=PROTOCOL),
    fault("27-long-reason", request, send(head(status="200 " + "r" * 200_000)), kind=PROTOCOL),
    fault("28-long-header", request, send(head("X: " + "y" * 200_000)), kind=PROTOCOL),
    fault("29-500-headers", request, send(many_headers(500)), kind=PROTOCOL),
    fault("30-headers-without-end", request, send(head()[:-2]), forever(b"X-More: 1\r\n" * 50), kind=PROTOCOL),
    fault(
        "31-header-without-colon",
        request,
        send(head("Content-Length: 2", "no colon here", "A: b") + b"ok"),
        kind=PROTOCOL,
    ),
    fault("31-header-without-name", request, send(head("Content-Length: 2", ": b") + b"ok"), kind=PROTOCOL),
    fault("31-header-name-with-blank", request, send(head("Content-Length : 2") + b"ok"), kind=PROTOCOL),
    fault("31-head-cut-off", request, send(head("Content-Length: 2")[:-2]), fin, kind=LOST),
    fault("31-folded-for-ever", request, send(head("A: b")[:-2]), forever(b" more\r\n" * 50), kind=PROTOCOL),
    fine("31-folded-header", request, send(good(TEXT, "A: b\r\n c"))),
    fine("32-line-ends-without-cr", request, send(good(TEXT)[: -len(TEXT)].replace(b"\r", b"") + TEXT)),
    fine("32-header-with-odd-bytes", request, send(good(TEXT, "X-Odd: \x01\xe9\xff")), kept=None),
    fine("33-fifty-continues", request, send(b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + good(TEXT))),
    fault(
        "34-continue-for-ever",
        request,
        forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
        kind=K.FIRST_BYTE_TIMEOUT,
        bound=TOTAL,
    ),
    fault(
        "34-continue-flood",
        request,
        forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
        kind=K.FIRST_BYTE_TIMEOUT,
        bound=TOTAL,
    ),
    fault("35-early-hints", request, send(head(status="103 Early Hints") + good(TEXT)), kind=PROTOCOL),
    fault(
        "36-switching",
        request,
        send(head("Upgrade: x", "Connection: upgrade", status="101 Switching Protocols")),
        kind=PROTOCOL,
    ),
    fine("37-http-1.0", request, send(head(version="HTTP/1.0") + TEXT), fin, kept=False),
    fault("38-never-reads", hang, kind=K.WRITE_TIMEOUT, asked=bytes(20_000_000), bound=LIMITS["write"] + QUICK),
    fault("40-rst-after-headers", read_head, rst, kind=LOST, asked=bytes(5_000_000)),
    # 4.3 statuses, as far as the wire is concerned
    fault(
        "57-redirect",
        request,
        send(head("Location: https://evil.example/path?secret=1", "Content-Length: 0", status="307 Go")),
        kind=K.REDIRECT,
    ),
    fault(
        "57-redirect-nowhere",
        request,
        send(head("Location: http://[bad", "Content-Length: 0", status="302 Go")),
        kind=K.REDIRECT,
    ),
    fault("59-no-content", request, send(head(status="204 No Content")), kind=PROTOCOL),
    fault("59-reset-content", request, send(head("Content-Length: 0", status="205 Reset")), kind=PROTOCOL),
    fault("60-not-modified", request, send(head(status="304 Not Modified")), kind=PROTOCOL),
    fine("61-empty-body", request, send(good(b"")), body=b""),
    fine("62-empty-error", request, send(head("Content-Length: 0", status="500 No")), body=b""),
    fine(
        "63-long-error",
        request,
        send(head(f"Content-Length: {2**20}", status="500 No") + bytes(2**20)),
        body=bytes(65536),
        kept=None,
        ways=("send",),
    ),
    fine(
        "53-cut-error",
        request,
        send(head("Content-Length: 900", status="429 Slow") + b"partial"),
        fin,
        body=b"partial",
        kept=False,
        ways=("send",),
    ),
    # 4.5
    fault("91-64-MiB", request, send(head(f"Content-Length: {2**26}")), forever(bytes(2**20)), kind=LARGE, bound=1.0),
    # 4.6 framing and encoding
    fault("107-length-too-large", request, send(head("Content-Length: 5000") + TEXT), fin, kind=LOST),
    fault("108-half-then-rst", request, send(half), sleep(0.05), rst, kind=LOST),
    fine("109-surplus", request, send(good(TEXT) + b"y" * 20), kept=False),
    fine("110-forged-second-answer", request, send(good(TEXT) + good(b"forged")), kept=False),
    fine("110-forged-behind-chunks", request, send(chunked(TEXT) + good(b"forged")), kept=False),
    fine("110-forged-behind-nothing", request, send(good(b"") + good(b"forged")), body=b"", kept=False),
    fault("111-length-abc", request, send(head("Content-Length: abc") + TEXT), fin, kind=PROTOCOL),
    fault("111-length-negative", request, send(head("Content-Length: -5") + TEXT), fin, kind=PROTOCOL),
    fault("111-unknown-coding", request, send(head("Transfer-Encoding: zip") + TEXT), fin, kind=PROTOCOL),
    fine("112-no-framing", request, send(head() + TEXT), fin, kept=False),
    fine(
        "112-connection-close",
        request,
        send(head("Connection: close", f"Content-Length: {len(TEXT)}") + TEXT),
        fin,
        kept=False,
    ),
    fault(
        "113-two-lengths", request, send(head("Content-Length: 310", "Content-Length: 12") + TEXT), fin, kind=PROTOCOL
    ),
    fine(
        "113-the-same-length-twice", request, send(head(f"Content-Length: {len(TEXT)}, {len(TEXT)}") + TEXT), kept=None
    ),
    fault("114-length-10^12", request, send(head("Content-Length: 1000000000000") + TEXT), fin, kind=(LOST, LARGE)),
    fault(
        "115-length-and-chunked",
        request,
        send(head("Content-Length: 9", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
        kind=PROTOCOL,
    ),
    fine(
        "116-small-chunks",
        request,
        send(
            head("Transfer-Encoding: chunked")
            + b"".join(b"7;a=b\r\n%b\r\n" % TEXT[n : n + 7] for n in range(0, 308, 7))
            + b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(TEXT) - 308, TEXT[308:])
        ),
    ),
    fault("117-fin-inside-chunk", request, send(chunked(TEXT, end=b"ff\r\nabc")), fin, kind=LOST),
    fault("117-last-chunk-missing", request, send(chunked(TEXT, end=b"")), fin, kind=LOST),
    fault("117-rst-inside-chunk", request, send(chunked(TEXT, end=b"ff\r\nabc")), sleep(0.05), rst, kind=LOST),
    fault("118-size-not-hex", request, send(chunked(end=b"zz\r\nabc\r\n")), kind=PROTOCOL),
    fault("118-size-negative", request, send(chunked(TEXT, end=b"-1\r\nabc\r\n")), kind=PROTOCOL),
    fault("118-size-line-of-200-KiB", request, send(chunked(TEXT, end=b"5;" + b"x" * 200_000)), kind=PROTOCOL),
    fault("118-chunk-longer-than-its-size", request, send(chunked(end=b"3\r\nabcdef\r\n0\r\n\r\n")), kind=PROTOCOL),
    fault("119-size-2^48", request, send(chunked(end=b"1000000000000\r\nabc")), fin, kind=(LOST, LARGE)),
    fine(
        "120-20000-trailers", request, send(chunked(TEXT, end=b"0\r\n" + b"X-T: 1\r\n" * 20_000 + b"\r\n")), bound=1.0
    ),
    fine("121-gzip", request, send(good(GZIP, "Content-Encoding: gzip"))),
    fine(
        "121-gzip-chunked",
        request,
        send(
            chunked(*(GZIP[n : n + 9] for n in range(0, len(GZIP), 9))).replace(
                b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1
            )
        ),
    ),
    fine(
        "121-gzip-in-two-members",
        request,
        send(good(gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), "Content-Encoding: x-gzip")),
    ),
    fine("121-deflate", request, send(good(zlib.compress(TEXT), "Content-Encoding: deflate"))),
    fine("121-raw-deflate", request, send(good(zlib.compress(TEXT, wbits=-15), "Content-Encoding: deflate"))),
    fine("121-identity", request, send(good(TEXT, "Content-Encoding: identity"))),
    fault(
        "122-gzip-label-on-plain", request, send(good(TEXT, "Content-Encoding: gzip")), kind=K.DECODE_ERROR, kept=None
    ),
    fault(
        "123-gzip-cut",
        request,
        send(good(GZIP[: len(GZIP) // 2], "Content-Encoding: gzip")),
        kind=K.DECODE_ERROR,
        kept=None,
    ),
    fault(
        "123-deflate-cut",
        request,
        send(good(zlib.compress(TEXT)[:-8], "Content-Encoding: deflate")),
        kind=K.DECODE_ERROR,
        kept=None,
    ),
    fault(
        "124-bomb",
        request,
        send(good(bomb, "Content-Encoding: gzip")),
        kind=LARGE,
        bound=3.0,
        limits={"max_response_bytes": 2**20, "max_stream_bytes": 2**20},
    ),
    fault(
        "125-fifty-encodings",
        request,
        send(good(TEXT, "Content-Encoding: " + ", ".join(["gzip"] * 50))),
        kind=K.DECODE_ERROR,
        kept=None,
    ),
    fault("125-unknown-encoding", request, send(good(TEXT, "Content-Encoding: br")), kind=K.DECODE_ERROR, kept=None),
    fault("126-body-dripped", request, drip(good(TEXT), 0.1), kind=(K.IDLE_TIMEOUT, K.FIRST_BYTE_TIMEOUT), bound=TOTAL),
    fault(
        "126-body-alone-dripped",
        request,
        send(head("Content-Length: 310")),
        drip(TEXT, 0.1),
        kind=K.IDLE_TIMEOUT,
        bound=TOTAL,
    ),
    fault(
        "126-chunked-body-dripped",
        request,
        send(chunked(end=b"136\r\n")),
        drip(TEXT, 0.1),
        kind=K.IDLE_TIMEOUT,
        bound=TOTAL,
    ),
    fault("127-half-then-silence", request, send(half), silent, kind=K.IDLE_TIMEOUT, bound=IDLE + QUICK),
    fault(
        "128-head-then-silence",
        request,
        send(head("Content-Length: 310")),
        silent,
        kind=(K.FIRST_BYTE_TIMEOUT, K.IDLE_TIMEOUT),
        bound=FIRST + QUICK,
    ),
    fault(
        "129-body-without-end",
        request,
        send(head()),
        forever(bytes(65536)),
        kind=LARGE,
        bound=1.5,
        limits={"max_response_bytes": 2**22, "max_stream_bytes": 2**22},
    ),
    fault(
        "129-chunks-without-end",
        request,
        send(chunked()[:-5]),
        forever(b"400\r\n" + bytes(1024) + b"\r\n"),
        kind=LARGE,
        bound=1.5,
        limits={"max_response_bytes": 2**20, "max_stream_bytes": 2**20},
    ),
]


def ways_of(row: Row) -> tuple[str, ...]:
    # A stream's own limits are larger: rows about them name both.
    return (
        ("send",)
        if LARGE in row.kinds and not row.limits and "114" not in row.name and "119" not in row.name
        else row.ways
    )


CASES = [pytest.param(row, way, id=f"{row.name}-{way}") for row in ROWS for way in ways_of(row)]


@pytest.mark.parametrize(("row", "way"), CASES)
def test_row(wire: Connect, row: Row, way: str) -> None:
    """Kind, billing, time, connections, and the next caller's own answer."""
    one = wire(row.script, limits=row.limits)
    call: Callable[[], Any] = lambda: getattr(one, way)(row.asked, **(LIMITS if row.kinds else {}))  # noqa: E731
    started = time.monotonic()
    if row.kinds:
        with pytest.raises(CallError) as caught:
            call()
        check_error(caught.value, row)
    else:
        answer = call()
        assert (answer if way == "read" else answer.body) == row.body
    assert time.monotonic() - started < row.bound + SLACK
    one.at_rest()
    if row.kept is not None:
        assert one.bound.idle_connections() == row.kept
    one.serves()
    assert one.bound.idle_connections() == 1


def check_error(error: CallError, row: Row) -> None:
    assert error.kind in row.kinds
    if error.kind is not K.CONNECT_ERROR:
        assert error.billing == row.billing
    assert error.__context__ is None
    assert error.__cause__ is None
    for secret in ("canary", "secret=", "/path", "SSH-2.0", "\x80"):
        assert secret not in repr(error.__dict__)


def test_row_18_asks_once(wire: Connect) -> None:
    """A fresh connection that ends without an answer is not asked again (U1, U14)."""
    one = wire([request, fin])
    with pytest.raises(CallError):
        one.send()
    assert len(one.server.requests) == 1


def test_row_39_answer_before_the_body_was_read(wire: Connect) -> None:
    """A 413 sent before a large body was read is seen, or the connection is lost; never a hang."""
    one = wire(
        [read_head, send(head("Content-Length: 4", "Connection: close", status="413 Large") + b"long"), sleep(0.1), fin]
    )
    try:
        answer = one.send(bytes(5_000_000))
    except CallError as error:
        assert error.kind is LOST
    else:
        assert (answer.status, answer.body) == (413, b"long")


def test_row_57_redirect_names_host_only(wire: Connect) -> None:
    """The message shows scheme and host of the target; nothing is sent there."""
    one = wire([request, send(head("Location: https://evil.example/p?q=1", "Content-Length: 0", status="308 Go"))])
    with pytest.raises(CallError, match=r"status 308 to https://evil\.example$") as caught:
        one.send()
    assert caught.value.http_status == 308


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param([request, silent], K.FIRST_BYTE_TIMEOUT, id="head"),
        pytest.param([request, send(half), silent], K.IDLE_TIMEOUT, id="body"),
        pytest.param([request, send(half), drip(TEXT, 0.05)], K.IDLE_TIMEOUT, id="dripped-body"),
        pytest.param([request, drip(good(TEXT), 0.05)], K.FIRST_BYTE_TIMEOUT, id="dripped-head"),
    ],
)
def test_the_deadline_cuts_every_step(wire: Connect, script: list[Action], kind: K) -> None:
    """The step's own limit is far away: the deadline ends it, in time, with the step's kind."""
    one, started = wire(script), time.monotonic()
    with pytest.raises(CallError) as caught:
        one.send(total=0.3)
    assert caught.value.kind in (kind, K.IDLE_TIMEOUT)
    assert 0.25 < time.monotonic() - started < 0.3 + 0.25


@pytest.mark.parametrize("way", ["send", "read"])
def test_row_124_a_bomb_stays_flat(wire: Connect, way: str) -> None:
    """64 MiB in 64 KiB: refused, with little more memory than the limit."""
    big = good(gzip.compress(bytes(2**26)), "Content-Encoding: gzip")
    one = wire([request, send(big)], limits={"max_response_bytes": 2**20, "max_stream_bytes": 2**20})
    tracemalloc.start()
    try:
        with pytest.raises(CallError) as caught:
            getattr(one, way)()
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.kind is LARGE
