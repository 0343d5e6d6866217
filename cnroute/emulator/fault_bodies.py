# ruff: noqa: D103, ARG005 (the description of a fault stands in its table row or decorator)
"""Faults of the body: what it says, how it is encoded, how it is framed.

Faults of encoding and framing work on the good answer as it was asked for, so they hold for streams too.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from cnroute.emulator.exchange import JSON, encode
from cnroute.emulator.registry import enter_all, fault
from cnroute.emulator.steps import (
    CHUNKED,
    LAST_CHUNK,
    End,
    Pause,
    Scene,
    Send,
    Steps,
    chunk,
    connection,
    events,
    framed,
    good,
    head,
    json_reply,
    payload,
    sized,
    stream_head,
    text_of,
    usage_of,
)  # fmt: skip

MIB = 1 << 20
LOGIN_PAGE = "<!DOCTYPE html>\n<html><head><title>登录</title></head><body>请先登录。</body></html>\n".encode()


def body_of(
    scene: Scene, body: bytes, kind: str = "", *extra: tuple[str, str], text: str = "", usage: JSON | None = None
) -> Send:
    """A complete 200 with these bytes; ``text`` and ``usage`` are what a client can still read from it."""
    kind = kind or scene.dialect.json_type
    return Send(sized(scene, body, kind, extra=list(extra)), text, usage, 200)


# -- not an answer at all

NOT_ANSWERS: dict[str, tuple[str, str, bytes]] = {
    "html_200": ("HTTP 200 with an HTML login page", "text/html; charset=utf-8", LOGIN_PAGE),
    "text_labelled_json": ("plain text labelled as JSON", "", b"service is starting, try later"),
    "wrong_json": ("valid JSON that is no answer", "", b'{"status":"up","data":{"items":[1,2,3]}}'),
    "json_null": ("the JSON body null", "", b"null"),
    "json_list": ("a JSON list", "", b'[{"answer":1}]'),
    "json_string": ("a JSON string", "", '"好的"'.encode()),
    "deep_json": ("100,000 nested lists", "", b'{"output":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


def _not_answer(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        yield body_of(scene, NOT_ANSWERS[name][2], NOT_ANSWERS[name][1])

    return write


enter_all({name: row[0] for name, row in NOT_ANSWERS.items()}, _not_answer)


@fault("json_cut", "half of the good body in correct framing")
def json_cut(scene: Scene) -> Steps:
    good_one = payload(scene)
    yield body_of(scene, good_one.body[: len(good_one.body) // 2], good_one.kind)


@fault(
    "huge_json",
    "a good answer blown up with a field of many MiB",
    "plain",
    streamed="stream_long_line",
    parameter="MIB, 64 unless told",
)
def huge_json(scene: Scene) -> Steps:
    document = scene.dialect.document()
    start, size = encode(document)[:-1] + b',"padding":"', int(scene.number(64)) * MIB
    yield Send(framed(scene, start, ("Content-Length", str(len(start) + size + 2))), status=200)
    yield from repeat(Send(b"x" * MIB), size // MIB)
    yield Send(b'"}', scene.dialect.answer().text, document.get("usage"))


# -- an answer with one thing wrong. Each change gets the document of a plain answer, or of each event of a stream.

Change = Callable[[JSON], None]


def changed(scene: Scene, change: Change, transcode: Callable[[bytes], bytes] = bytes, *, silent: bool = False) -> Steps:
    """The good answer after the change; ``silent`` says that no text is left in it."""
    sent = _changed_stream(scene, change, transcode) if scene.stream else _changed_document(scene, change, transcode)
    yield sent._replace(text="") if silent else sent


def _changed_document(scene: Scene, change: Change, transcode: Callable[[bytes], bytes]) -> Send:
    document = scene.dialect.document()
    change(document)
    return body_of(scene, transcode(encode(document)), text=scene.dialect.answer().text, usage=document.get("usage"))


def _changed_stream(scene: Scene, change: Change, transcode: Callable[[bytes], bytes]) -> Send:
    frames = scene.dialect.frames()
    for frame in frames:
        change(frame.document)
        frame.usage = frame.document.get("usage") if frame.usage else None
    parts = b"".join(chunk(transcode(event)) for event in events(scene, frames))
    return Send(stream_head(scene) + parts + LAST_CHUNK, text_of(frames), usage_of(frames), 200)


def _usage(value: object) -> Change:
    """Another usage, where the document has one."""

    def change(document: JSON) -> None:
        if document.get("usage"):
            document["usage"] = value

    return change


def _counts(make: Callable[[int], object]) -> Change:
    """Other counts, with the same keys."""

    def change(document: JSON) -> None:
        usage = document.get("usage") or {}
        usage.update({name: make(value) for name, value in usage.items() if isinstance(value, int)})

    return change


def _no_usage(document: JSON) -> None:
    document.pop("usage", None)


def _holder(document: JSON) -> JSON:
    return document["output"] if isinstance(document.get("output"), dict) else document


def _choices(value: object) -> Change:
    """Other choices; ``...`` takes them away. The text form of DashScope loses its text."""

    def change(document: JSON) -> None:
        holder = _holder(document)
        for name in ("choices", "text", "reply"):
            holder.pop(name, None)
        if value is not ...:
            holder["choices"] = value

    return change


def _content(make: Callable[[str], object]) -> Change:
    """Other text, wherever a dialect keeps it."""

    def change(document: JSON) -> None:
        _replace(_holder(document), make)

    return change


TEXTS = frozenset({"content", "text", "reply", "delta"})


def _replace(node: Any, make: Callable[[str], object]) -> None:
    if isinstance(node, dict):
        for name, value in node.items():
            if name in TEXTS and isinstance(value, str):
                node[name] = make(value)
            elif name in ("choices", "message", "messages", "delta"):
                _replace(value, make)
    elif isinstance(node, list):
        for one in node:
            _replace(one, make)


def _reason(value: str) -> Change:
    """Another finish reason, where there is one."""

    def change(document: JSON) -> None:
        holder = _holder(document)
        for one in [holder, *(holder.get("choices") or [])]:
            if one.get("finish_reason") not in (None, "null"):
                one["finish_reason"] = value

    return change


def _no_base_resp(document: JSON) -> None:
    if "base_resp" in document:
        document["base_resp"] = None


def _unknown_fields(document: JSON) -> None:
    document.update({f"x_unknown_{number}": {"n": number} for number in range(100)})
    _reason("new_reason")(document)


CHANGES: dict[str, tuple[str, Change]] = {
    "base_resp_null": ("a good answer whose base_resp is null (MiniMax)", _no_base_resp),
    "choices_missing": ("an answer without choices", _choices(...)),
    "choices_empty": ("an answer whose choices are an empty list", _choices([])),
    "choices_object": ("an answer whose choices are an object", _choices({"0": {"text": "?"}})),
    "stream_choices_null": ("events whose choices are null", _choices(None)),
    "content_null": ("an answer whose text is null", _content(lambda text: None)),
    "content_number": ("an answer whose text is a number", _content(lambda text: 42)),
    "content_empty": ("a good answer with an empty text", _content(lambda text: "")),
    "nul_in_text": ("a good answer whose text begins with U+0000", _content(lambda text: "\0" + text)),
    "usage_missing": ("a good answer without usage", _no_usage),
    "usage_null": ("a good answer whose usage is null", _usage(None)),
    "usage_strings": ("a good answer whose token counts are strings", _counts(str)),
    "usage_negative": ("a good answer whose token counts are negative", _counts(lambda value: -1 - value)),
    "usage_absurd": ("a good answer whose token counts are 10^18", _counts(lambda value: 10**18)),
    "usage_nan": ("a good answer with NaN in its usage", _counts(lambda value: float("nan"))),
    "unknown_fields": ("a good answer with 100 unknown fields and an unknown finish reason", _unknown_fields),
    "finish_unknown": ("a good answer with an unknown finish reason", _reason("new_reason")),
}


def _change(name: str) -> Callable[[Scene], Steps]:
    silent = name.startswith(("content_", "choices_", "stream_choices_"))
    return lambda scene: changed(scene, CHANGES[name][1], silent=silent)


enter_all({name: row[0] for name, row in CHANGES.items()}, _change)


@fault("no_finish", "a good plain answer without its finish reason", "plain", streamed="stream_no_finish")
def no_finish(scene: Scene) -> Steps:
    document = scene.dialect.document(finished=False)
    yield body_of(scene, encode(document), text=scene.dialect.answer().text, usage=document.get("usage"))


# -- encodings of characters


def _add_usage(text: str) -> Callable[[bytes], bytes]:
    """Put text behind the last brace of a JSON body or event."""

    def transcode(data: bytes) -> bytes:
        at = data.rindex(b"}") if b"}" in data else len(data)
        return data[:at] + text.encode() + data[at:]

    return transcode


def _invalid_utf8(data: bytes) -> bytes:
    """A byte that is no UTF-8 in front of the first Chinese character."""
    at = next((position for position, byte in enumerate(data) if byte > 0x7F), len(data) - 1)
    return data[:at] + b"\xff" + data[at:]


def _gbk(data: bytes) -> bytes:
    return data.decode().encode("gbk", "replace")


TRANSCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "bom": ("a good answer behind a byte order mark", lambda data: b"\xef\xbb\xbf" + data),
    "invalid_utf8": ("a good answer with a byte that is no UTF-8", _invalid_utf8),
    "gbk_as_utf8": ("a good answer in GBK, labelled as UTF-8", _gbk),
    "usage_huge_int": (
        "a good answer whose usage holds an integer of 10,000 digits",
        _add_usage(',"usage":{"total_tokens":' + "9" * 10000 + "}"),
    ),
    "usage_twice": (
        "a good answer with the key usage twice, the second absurd",
        _add_usage(',"usage":{"total_tokens":999999999999}'),
    ),
}


def _transcode(name: str) -> Callable[[Scene], Steps]:
    return lambda scene: changed(scene, lambda document: None, TRANSCODINGS[name][1])


enter_all({name: row[0] for name, row in TRANSCODINGS.items()}, _transcode)


@fault("gbk", "a good answer in GBK, labelled as GBK")
def gbk(scene: Scene) -> Steps:
    good_one = payload(scene)
    kind = good_one.kind.partition(";")[0] + ";charset=GBK"
    yield body_of(scene, _gbk(good_one.body), kind, text=good_one.text, usage=good_one.usage)


@fault("lone_surrogate", "a good answer whose text begins with the JSON escape of a lone surrogate")
def lone_surrogate(scene: Scene) -> Steps:
    mark = _content(lambda text: "@@" + text)
    yield from changed(scene, mark, lambda data: data.replace(b"@@", b"\\ud83d"))


@fault("json_as_text", "a good answer labelled as text/plain")
def json_as_text(scene: Scene) -> Steps:
    good_one = payload(scene)
    yield body_of(scene, good_one.body, "text/plain", text=good_one.text, usage=good_one.usage)


@fault("sse_on_plain", "a stream as the answer to a plain request", "plain", streamed="ok")
def sse_on_plain(scene: Scene) -> Steps:
    frames = scene.dialect.frames()
    body = b"".join(events(scene, frames))
    yield body_of(scene, body, scene.dialect.stream_type, text=text_of(frames), usage=usage_of(frames))


@fault("plain_json_on_stream", "a plain JSON answer to a stream request", "stream", plain="ok")
def plain_json_on_stream(scene: Scene) -> Steps:
    document = scene.dialect.document()
    yield json_reply(scene, document)._replace(text=scene.dialect.answer().text, usage=document.get("usage"))


# -- compression


def _packed(scene: Scene, body: bytes, encoding: str, *, complete: bool = True) -> Send:
    good_one = payload(scene)
    sent = body_of(scene, body, good_one.kind, ("Content-Encoding", encoding))
    return sent._replace(text=good_one.text, usage=good_one.usage) if complete else sent


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
}


def _pack(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        yield _packed(scene, PACKERS[name](payload(scene).body), name)

    return write


enter_all({name: f"a good answer in {name}, asked for or not" for name in PACKERS}, _pack)


@fault("gzip_lie", "a plain body labelled as gzip")
def gzip_lie(scene: Scene) -> Steps:
    yield _packed(scene, payload(scene).body, "gzip", complete=False)


@fault("gzip_cut", "a gzip body cut in half, its length correct")
def gzip_cut(scene: Scene) -> Steps:
    packed = PACKERS["gzip"](payload(scene).body)
    yield _packed(scene, packed[: len(packed) // 2], "gzip", complete=False)


@fault("gzip_bomb", "a small gzip body that unpacks to many MiB", parameter="MIB, 256 unless told")
def gzip_bomb(scene: Scene) -> Steps:
    headers = [*scene.dialect.headers(payload(scene).kind), ("Content-Encoding", "gzip"), CHUNKED, *connection(scene)]
    yield Send(head(200, headers), status=200)
    yield from (Send(chunk(part)) for part in _bomb(int(scene.number(256))) if part)
    yield Send(LAST_CHUNK)


def _bomb(mebibytes: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(b'{"output":{"text":"')
    for _ in range(mebibytes):
        yield packer.compress(b"0" * MIB)
    yield packer.compress(b'"}}') + packer.flush()


@fault("chained_encodings", "a body that claims fifty gzip encodings")
def chained_encodings(scene: Scene) -> Steps:
    yield _packed(scene, PACKERS["gzip"](payload(scene).body), ", ".join(["gzip"] * 50), complete=False)


@fault("unknown_content_encoding", "a body in an encoding that nobody knows")
def unknown_content_encoding(scene: Scene) -> Steps:
    yield _packed(scene, payload(scene).body[::-1], "zip-of-tomorrow", complete=False)


# -- framing


def _cut(scene: Scene, data: bytes, *steps: End | Pause) -> Steps:
    """A response that is not all there, and what follows it."""
    yield Send(data, status=200)
    yield from steps


def _length(scene: Scene, extra: int) -> tuple[str, str]:
    return ("Content-Length", str(len(payload(scene).body) + extra))


@fault(
    "short_body",
    "the whole body under a Content-Length that is larger, then FIN",
    parameter="BYTES missing, 100 unless told",
)
def short_body(scene: Scene) -> Steps:
    yield from _cut(scene, framed(scene, payload(scene).body, _length(scene, int(scene.number(100)))), End())


def _half(scene: Scene) -> bytes:
    body = payload(scene).body
    return framed(scene, body[: len(body) // 2], _length(scene, 0))


@fault("half_body_reset", "half of the body, then a reset")
def half_body_reset(scene: Scene) -> Steps:
    yield from _cut(scene, _half(scene), Pause(0.02), End(reset=True))


@fault("half_body_hang", "half of the body, then silence")
def half_body_hang(scene: Scene) -> Steps:
    yield from _cut(scene, _half(scene), Pause())


@fault("slow_body", "a good body, one byte at a time", parameter="SECONDS between bytes, 0.1 unless told")
def slow_body(scene: Scene) -> Steps:
    good_one, pause = payload(scene), Pause(scene.number(0.1))
    yield Send(framed(scene, b"", _length(scene, 0)), status=200)
    for at in range(len(good_one.body) - 1):
        yield Send(good_one.body[at : at + 1])
        yield pause
    yield Send(good_one.body[-1:], good_one.text, good_one.usage)


@fault("endless_body", "a body without end")
def endless_body(scene: Scene) -> Steps:
    yield Send(framed(scene, chunk(payload(scene).body[:-1]), CHUNKED), status=200)
    yield from repeat(Send(chunk(b" " * 65536)))


def _whole(scene: Scene, *headers: tuple[str, str], tail: bytes = b"") -> Send:
    """All of the body with these framing headers, and bytes behind it."""
    good_one = payload(scene)
    return Send(framed(scene, good_one.body + tail, *headers), good_one.text, good_one.usage, 200)


@fault("surplus_bytes", "a good answer with 20 bytes more than its Content-Length")
def surplus_bytes(scene: Scene) -> Steps:
    yield _whole(scene, _length(scene, 0), tail=b"surplus surplus surp")


@fault("forged_answer", "a good answer, and right behind it a forged second one")
def forged_answer(scene: Scene) -> Steps:
    forged = encode({"output": {"text": "伪造的回答", "finish_reason": "stop"}, "reply": "伪造的回答"})
    yield _whole(scene, _length(scene, 0), tail=sized(scene, forged, scene.dialect.json_type))


@fault("bad_length", "a whole body with a Content-Length that is no length, then FIN", parameter="VALUE, abc unless told")
def bad_length(scene: Scene) -> Steps:
    yield _whole(scene, ("Content-Length", scene.parameter or "abc"))
    yield End()


@fault("unknown_encoding", "a whole body with an unknown Transfer-Encoding, then FIN")
def unknown_encoding(scene: Scene) -> Steps:
    yield _whole(scene, ("Transfer-Encoding", "carrier-pigeon"))
    yield End()


@fault("close_framed", "a good answer without framing: it ends with the connection", streamed="stream_close_framed")
def close_framed(scene: Scene) -> Steps:
    yield _whole(scene)
    yield End(done=True)


@fault("two_lengths", "a whole body with two different Content-Lengths, then FIN")
def two_lengths(scene: Scene) -> Steps:
    yield _whole(scene, _length(scene, 0), _length(scene, 5))
    yield End()


@fault("huge_length", "a whole body under a Content-Length of 10^12, then FIN")
def huge_length(scene: Scene) -> Steps:
    yield _whole(scene, ("Content-Length", str(10**12)))._replace(text="", usage=None)
    yield End()


@fault("length_and_chunked", "a chunked body with a Content-Length as well, then FIN")
def length_and_chunked(scene: Scene) -> Steps:
    good_one = payload(scene)
    yield Send(framed(scene, chunk(good_one.body) + LAST_CHUNK, _length(scene, 0), CHUNKED), status=200)
    yield End()


def _chunked(scene: Scene, body: bytes, tail: bytes = LAST_CHUNK) -> bytes:
    return framed(scene, body + tail, CHUNKED)


@fault("tiny_chunks", "a good answer in chunks of 7 bytes with extensions, and a trailer", parameter="BYTES of a chunk")
def tiny_chunks(scene: Scene) -> Steps:
    good_one, size = payload(scene), max(1, int(scene.number(7)))
    parts = (good_one.body[at : at + size] for at in range(0, len(good_one.body), size))
    body = b"".join(b"%x;part=tiny\r\n%b\r\n" % (len(part), part) for part in parts)
    yield Send(_chunked(scene, body, b"0\r\nX-Trailer: end\r\n\r\n"), good_one.text, good_one.usage, 200)


@fault("many_trailers", "a good chunked answer with 20,000 trailer lines")
def many_trailers(scene: Scene) -> Steps:
    good_one = payload(scene)
    trailers = b"".join(b"X-Trailer-%d: x\r\n" % number for number in range(20000))
    yield Send(_chunked(scene, chunk(good_one.body), b"0\r\n" + trailers + b"\r\n"), good_one.text, good_one.usage, 200)


@fault("missing_last_chunk", "a whole chunked body without its last chunk, then FIN", streamed="stream_missing_last_chunk")
def missing_last_chunk(scene: Scene) -> Steps:
    yield from _cut(scene, _chunked(scene, chunk(payload(scene).body), b""), End())


def _half_chunk(scene: Scene) -> bytes:
    body = payload(scene).body
    return framed(scene, chunk(body)[: len(body) // 2], CHUNKED)


@fault("chunk_cut", "FIN in the middle of a chunk")
def chunk_cut(scene: Scene) -> Steps:
    yield from _cut(scene, _half_chunk(scene), End())


@fault("chunk_reset", "a reset in the middle of a chunk")
def chunk_reset(scene: Scene) -> Steps:
    yield from _cut(scene, _half_chunk(scene), Pause(0.02), End(reset=True))


CHUNK_SIZES: dict[str, tuple[str, bytes]] = {
    "bad_chunk_size": ("a chunk size that is not hexadecimal, then FIN", b"zz\r\n"),
    "negative_chunk_size": ("a negative chunk size, then FIN", b"-5\r\n"),
    "long_chunk_line": ("a chunk size line of 200 KiB, then FIN", b"1;" + b"x" * 204800 + b"\r\n"),
    "huge_chunk_size": ("a chunk size of 2^48 and a few bytes, then FIN", b"1000000000000\r\n"),
}


def _chunk_size(name: str) -> Callable[[Scene], Steps]:
    def write(scene: Scene) -> Steps:
        yield from _cut(scene, framed(scene, CHUNK_SIZES[name][1] + payload(scene).body[:40], CHUNKED), End())

    return write


enter_all({name: row[0] for name, row in CHUNK_SIZES.items()}, _chunk_size)


@fault("content_type_missing", "a good answer without a Content-Type")
def content_type_missing(scene: Scene) -> Steps:
    good_one = payload(scene)
    headers = [pair for pair in scene.dialect.headers(good_one.kind) if pair[0] != "Content-Type"]
    data = head(200, [*headers, _length(scene, 0), *connection(scene)]) + good_one.body
    yield Send(data, good_one.text, good_one.usage, 200)


@fault("slow", "answers well after a pause", parameter="SECONDS, 0.2 unless told")
def slow(scene: Scene) -> Steps:
    yield Pause(scene.number(0.2))
    yield from good(scene)
