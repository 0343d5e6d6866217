# ruff: noqa: D103, ARG005 (the description of a fault stands in its table row or decorator)
"""Faults of the connection and of the response head: silence, ends, strange heads, keep-alive that does not hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import repeat

from cnroute.emulator.registry import enter_all, fault
from cnroute.emulator.steps import (
    End,
    Pause,
    Scene,
    Send,
    Step,
    Steps,
    connection,
    good,
    head,
    json_reply,
    payload,
    sized,
)

# -- before a request


@fault("accept_close", "closes the connection as soon as it is accepted (script it for '@connect')", "connection")
def accept_close(scene: Scene) -> Steps:
    yield End()


@fault("accept_reset", "resets the connection as soon as it is accepted (script it for '@connect')", "connection")
def accept_reset(scene: Scene) -> Steps:
    yield End(reset=True)


@fault("accept_silent", "accepts the connection and never reads or writes (script it for '@connect')", "connection")
def accept_silent(scene: Scene) -> Steps:
    yield Pause()


@fault("close_before_read", "resets the connection before the body is read (all of it may be buffered already)", early=True)
def close_before_read(scene: Scene) -> Steps:
    yield End(reset=True)


@fault("never_reads", "stops reading inside the request body and stays silent", early=True)
def never_reads(scene: Scene) -> Steps:
    yield Pause()


@fault("early_413", "answers 413 before the body is read, then closes", early=True)
def early_413(scene: Scene) -> Steps:
    scene.keep_alive = False
    refusal = scene.dialect.refusal_of_status(413)
    yield json_reply(scene, scene.dialect.status_document(refusal), status=413)
    yield End(done=True)


@fault("early_reset", "resets the connection after the request headers, the body unread", early=True)
def early_reset(scene: Scene) -> Steps:
    yield End(reset=True)


# -- instead of an answer


@fault("close", "reads the request, then closes without a byte")
def close(scene: Scene) -> Steps:
    yield End()


@fault("reset", "reads the request, then resets the connection without a byte")
def reset(scene: Scene) -> Steps:
    yield End(reset=True)


@fault(
    "hang",
    "never answers; with a parameter it is silent for so many seconds and then answers well",
    parameter="SECONDS",
)
def hang(scene: Scene) -> Steps:
    yield Pause(scene.number(float("inf")))
    yield from good(scene)


@fault("slow_headers", "drips header bytes one by one, for ever", parameter="SECONDS between bytes, 0.05 unless told")
def slow_headers(scene: Scene) -> Steps:
    pause = Pause(scene.number(0.05))
    for byte in _endless_head(scene):
        yield Send(byte)
        yield pause


def _endless_head(scene: Scene) -> Iterator[bytes]:
    start = head(200, [*scene.dialect.headers(payload(scene).kind), ("X-Slow", "")])[:-4]
    yield from (start[at : at + 1] for at in range(len(start)))
    yield from repeat(b"x")


@fault("headers_hang", "sends the whole head of a good answer, then nothing")
def headers_hang(scene: Scene) -> Steps:
    good_one = payload(scene)
    yield Send(sized(scene, good_one.body, good_one.kind)[: -len(good_one.body)], status=200)
    yield Pause()


# -- strange heads. Each row: name, description, and the bytes in place of a status line and headers.


def _literal(data: Callable[[Scene], bytes]) -> Callable[[Scene], Steps]:
    """Write the bytes, then close."""

    def write(scene: Scene) -> Steps:
        yield Send(data(scene))
        yield End()

    return write


def _with_head(scene: Scene, change: Callable[[bytes], bytes]) -> bytes:
    """The good plain or streamed answer with another head."""
    good_one = payload(scene)
    data = sized(scene, good_one.body, good_one.kind)
    return change(data[: -len(good_one.body)]) + good_one.body


def _status_line(line: bytes) -> Callable[[Scene], bytes]:
    return lambda scene: _with_head(scene, lambda old: line + old[old.index(b"\r\n") :])


def _added(lines: bytes) -> Callable[[Scene], bytes]:
    return lambda scene: _with_head(scene, lambda old: old[:-2] + lines + b"\r\n\r\n")


HEADS: dict[str, tuple[str, Callable[[Scene], bytes]]] = {
    "ssh_greeting": ("greets in another protocol", lambda scene: b"SSH-2.0-OpenSSH_9.6\r\n"),
    "random_bytes": ("answers with 64 KiB of random bytes", lambda scene: b"\x80" + random.Random(1).randbytes(65535)),
    "status_word": ("has a status code that is no number", _status_line(b"HTTP/1.1 OK fine")),
    "status_999": ("has the status code 999", _status_line(b"HTTP/1.1 999 Nobody Knows")),
    "long_reason": ("has a reason phrase of 200 KiB", _status_line(b"HTTP/1.1 200 " + b"o" * 204800)),
    "long_header": ("has one header of 200 KiB", _added(b"X-Long: " + b"x" * 204800)),
    "many_headers": ("has 500 headers", _added(b"\r\n".join(b"X-Many-%d: 1" % number for number in range(500)))),
    "switching_101": ("switches protocols", lambda scene: head(101, [("Upgrade", "chat"), ("Connection", "Upgrade")])),
}
for _name, (_description, _data) in HEADS.items():
    fault(_name, _description)(_literal(_data))


@fault("endless_headers", "sends headers without end")
def endless_headers(scene: Scene) -> Steps:
    yield Send(head(200, scene.dialect.headers(scene.dialect.json_type))[:-2], status=200)
    yield from repeat(Send(b"X-More: and more\r\n" * 64))


def _good_with(scene: Scene, lead: bytes = b"", lines: bytes = b"") -> Steps:
    """A good answer behind other bytes or with other header lines."""
    good_one = payload(scene)
    data = _added(lines)(scene) if lines else sized(scene, good_one.body, good_one.kind)
    yield Send(lead + data, good_one.text, good_one.usage, 200)


@fault("header_no_colon", "has a header line without a colon in a good answer")
def header_no_colon(scene: Scene) -> Steps:
    yield from _good_with(scene, lines=b"this line has no colon")


@fault("odd_header_bytes", "has control and non-ASCII bytes in a header of a good answer")
def odd_header_bytes(scene: Scene) -> Steps:
    yield from _good_with(scene, lines=b"X-Odd: \x1b[31m\x07\xe4\xbd\xa0\xff")


@fault("continue_50", "sends 100 Continue fifty times before a good answer")
def continue_50(scene: Scene) -> Steps:
    yield from _good_with(scene, lead=head(100, []) * 50)


@fault("continue_forever", "sends 100 Continue for ever")
def continue_forever(scene: Scene) -> Steps:
    while True:
        yield Send(head(100, []))
        yield Pause(0.02)


@fault("early_hints_103", "sends 103 Early Hints before a good answer")
def early_hints_103(scene: Scene) -> Steps:
    yield from _good_with(scene, lead=head(103, [("Link", "</style.css>; rel=preload")]))


@fault("http_1_0", "answers well in HTTP/1.0, framed by the end of the connection")
def http_1_0(scene: Scene) -> Steps:
    good_one = payload(scene)
    start = head(200, scene.dialect.headers(good_one.kind), version="1.0")
    yield Send(start + good_one.body, good_one.text, good_one.usage, 200)
    yield End(done=True)


# -- keep-alive


@fault("stale_close", "answers well, promises keep-alive and closes at once")
def stale_close(scene: Scene) -> Steps:
    yield from good(scene)
    yield End(done=True)


@fault("stale_reset", "answers well, promises keep-alive and resets the connection 0.05 s later")
def stale_reset(scene: Scene) -> Steps:
    yield from good(scene)
    yield Pause(0.05)
    yield End(reset=True, done=True)


@fault(
    "stale_drop",
    "on a connection that has served before: reads the request and closes without a byte; else answers well",
)
def stale_drop(scene: Scene) -> Steps:
    yield from [End()] if scene.served else good(scene)


@fault("stale_drop_reset", "the same as stale_drop with a reset")
def stale_drop_reset(scene: Scene) -> Steps:
    yield from [End(reset=True)] if scene.served else good(scene)


@fault("stale_drop_late", "the same as stale_drop, some seconds after the request", parameter="SECONDS, 1.5 unless told")
def stale_drop_late(scene: Scene) -> Steps:
    late: list[Step] = [Pause(scene.number(1.5)), End()]
    yield from late if scene.served else good(scene)


# -- redirects


def _redirect(name: str) -> Callable[[Scene], Steps]:
    status = int(name.rpartition("_")[2])

    def write(scene: Scene) -> Steps:
        target = scene.parameter or "http://127.0.0.1:9/elsewhere"
        yield Send(head(status, [("Location", target), ("Content-Length", "0"), *connection(scene)]), status=status)

    return write


enter_all({f"redirect_{status}": f"redirects with {status} to another server" for status in (301, 302, 303, 307, 308)},
          _redirect, parameter="URL, a port where nobody listens unless told")  # fmt: skip


@fault("redirect_self", "redirects with 307 to the path that was asked for")
def redirect_self(scene: Scene) -> Steps:
    yield Send(head(307, [("Location", scene.target), ("Content-Length", "0"), *connection(scene)]), status=307)
