# ruff: noqa: D103, ARG005 (the description of a fault stands in its table row or decorator)
"""Faults that are answers: HTTP statuses, the vendors' own errors, errors inside of HTTP 200."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from cnroute.emulator.dashscope import NAMES
from cnroute.emulator.exchange import JSON, Headers, Refusal, encode
from cnroute.emulator.registry import enter_all, fault
from cnroute.emulator.steps import (
    LAST_CHUNK,
    Scene,
    Send,
    Steps,
    chunk,
    connection,
    good,
    head,
    json_reply,
    sized,
    stream_head,
)

HTML = b"""<html>
<head><title>%d %s</title></head>
<body><center><h1>%d %s</h1></center><hr><center>tengine</center></body>
</html>
"""
PAGES = {502: b"Bad Gateway", 504: b"Gateway Time-out"}


@fault("ok", "answers well")
def ok(scene: Scene) -> Steps:
    yield from good(scene)


# -- statuses


def status_reply(status: int, scene: Scene, *extra: tuple[str, str]) -> Send:
    """A status with the vendor's own error body; 502 and 504 come from the load balancer, as HTML."""
    if status in PAGES:
        page = HTML % (status, PAGES[status], status, PAGES[status])
        return Send(sized(scene, page, "text/html; charset=utf-8", status=status, extra=list(extra)), status=status)
    document = scene.dialect.status_document(scene.dialect.refusal_of_status(status))
    return json_reply(scene, document, status=status, extra=list(extra))


def _http(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        yield status_reply(int(name.rpartition("_")[2]), scene)

    return write


STATUSES = (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529)
enter_all({f"http_{status}": f"answers HTTP {status}, with {'an HTML page' if status in PAGES else 'the vendor’s own error body'}"
           for status in STATUSES}, _http)  # fmt: skip


@fault("http", "answers with any HTTP status and the vendor's error body", parameter="STATUS, 500 unless told")
def http(scene: Scene) -> Steps:
    yield status_reply(int(scene.number(500)), scene)


def _bare(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        status = int(name.rpartition("_")[2])
        yield Send(head(status, connection(scene)), status=status)

    return write


enter_all({"http_204": "answers HTTP 204 No Content", "http_304": "answers HTTP 304 Not Modified"}, _bare)


@fault(
    "retry_after",
    "answers 429 with a Retry-After header",
    parameter="VALUE: seconds or any text; past, soon, long; 1 unless told",
)
def retry_after(scene: Scene) -> Steps:
    yield status_reply(429, scene, ("Retry-After", _delay(scene.parameter or "1")))


@fault("busy_after", "answers 503 with a Retry-After header", parameter="VALUE as for retry_after")
def busy_after(scene: Scene) -> Steps:
    yield status_reply(503, scene, ("Retry-After", _delay(scene.parameter or "1")))


def _delay(word: str) -> str:
    """``past`` and ``soon`` are HTTP dates (an hour ago, in 2 s), ``long`` is a number of 400 digits."""
    now = datetime.now(UTC)
    past, soon = (format_datetime(now + timedelta(seconds=seconds), usegmt=True) for seconds in (-3600, 2))
    return {"past": past, "soon": soon, "long": "9" * 400}.get(word, word)


@fault("empty_200", "answers HTTP 200 with an empty body", streamed="stream_empty")
def empty_200(scene: Scene) -> Steps:
    yield Send(sized(scene, b"", scene.dialect.json_type), status=200)


@fault("http_500_empty", "answers HTTP 500 with an empty body")
def http_500_empty(scene: Scene) -> Steps:
    yield Send(sized(scene, b"", scene.dialect.json_type, status=500), status=500)


def _said(scene: Scene, status: int, message: str) -> Send:
    refusal = Refusal(scene.dialect.refusal_of_status(status).code, message, status)
    return json_reply(scene, scene.dialect.status_document(refusal), status=status)


@fault("http_500_huge", "answers HTTP 500 with a message of 1 MiB")
def http_500_huge(scene: Scene) -> Steps:
    yield _said(scene, 500, "内部错误 " * 80660)


@fault("http_400_dirty", "answers HTTP 400 whose message has newlines, ANSI codes, a fake log line and bidi marks")
def http_400_dirty(scene: Scene) -> Steps:
    yield _said(scene, 400, "bad\r\n2026-01-01 00:00:00 ERROR paid twice\x1b[31mred\x1b[0m\u202eesrever\u2066\u2028end\x00")


@fault("http_401_echo", "answers HTTP 401 whose message repeats the key of the request")
def http_401_echo(scene: Scene) -> Steps:
    yield _said(scene, 401, f"Incorrect API key provided: {scene.key}. You can find your key in the console.")


@fault(
    "refusal_sse",
    "refuses with a real status whose body is SSE text (DashScope does, on streams)",
    parameter="CODE or name",
)
def refusal_sse(scene: Scene) -> Steps:
    refusal = scene.dialect.refusal(scene.parameter or "bad_parameter")
    status = refusal.status if refusal.status != 200 else 400
    body = scene.dialect.frame_bytes(scene.dialect.error_frame(refusal), 1)
    yield Send(sized(scene, body, scene.dialect.stream_type, status=status), status=status)


# -- the vendor's own errors


def refuse(scene: Scene, name: str, message: str = "") -> Send:
    """The vendor's refusal as the vendor sends it: plain JSON, also on a stream request."""
    refusal = scene.dialect.refusal(name, message)
    return json_reply(scene, scene.dialect.error_document(refusal), status=refusal.status)


@fault(
    "code",
    "answers with one of the vendor's error codes in the vendor's usual way",
    parameter="CODE, such as 1008 or Arrearage",
)
def code(scene: Scene) -> Steps:
    yield refuse(scene, scene.parameter or "internal_error")


def _named(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        yield refuse(scene, name)

    return write


enter_all({name: f"the vendor's own error: {name.replace('_', ' ')}" for name in NAMES}, _named)


def in_200(scene: Scene, refusal: Refusal, *, full: bool = False) -> Send:
    """A refusal inside of HTTP 200, as plain JSON."""
    return json_reply(scene, scene.dialect.error_document(refusal, full=full))


@fault(
    "error_in_200",
    "HTTP 200 with the vendor's rate limit error inside and no answer",
    parameter="CODE or name, rate_limit unless told",
)
def error_in_200(scene: Scene) -> Steps:
    yield in_200(scene, scene.dialect.refusal(scene.parameter or "rate_limit"))


@fault(
    "error_in_200_choices_null",
    "the same in a complete envelope whose choices (DashScope: output) are null",
    parameter="CODE or name",
)
def error_in_200_choices_null(scene: Scene) -> Steps:
    yield in_200(scene, scene.dialect.refusal(scene.parameter or "rate_limit"), full=True)


@fault("choices_null", "HTTP 200 that reports success and has null for choices", streamed="stream_choices_null")
def choices_null(scene: Scene) -> Steps:
    yield json_reply(scene, scene.dialect.null_document())


@fault(
    "code_string",
    "an error in HTTP 200 whose MiniMax status_code is a string",
    parameter="CODE or name, rate_limit unless told",
)
def code_string(scene: Scene) -> Steps:
    document = scene.dialect.error_document(scene.dialect.refusal(scene.parameter or "rate_limit"))
    _stringify(document.get("base_resp", {}))
    yield json_reply(scene, document)


def _stringify(base: JSON) -> None:
    if base:
        base["status_code"] = str(base["status_code"])


@fault("error_with_text", "a content filter error beside a complete answer", parameter="CODE or name")
def error_with_text(scene: Scene) -> Steps:
    refusal = scene.dialect.refusal(scene.parameter or "content_filter_output")
    document = {**scene.dialect.document(), **scene.dialect.error_document(refusal)}
    if not scene.stream:
        yield json_reply(scene, document)
        return
    body = chunk(b"data:" + encode(document) + b"\n\n")
    yield Send(stream_head(scene) + body + LAST_CHUNK, status=200)


@fault("envelope_401", "the OpenAI-like error envelope of the newer MiniMax gateways with HTTP 401")
def envelope_401(scene: Scene) -> Steps:
    yield status_reply(401, scene)


@fault("not_json_error", "answers HTTP 429 with plain text")
def not_json_error(scene: Scene) -> Steps:
    headers: Headers = []
    yield Send(sized(scene, b"slow down\n", "text/plain", status=429, extra=headers), status=429)
