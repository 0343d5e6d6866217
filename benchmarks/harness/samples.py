"""The exchanges that are measured: one question, and its answers as the vendors write them, ready as bytes.

Rules of this file
- The standard library only: the vendor and every peer's environment import it.
- An answer is 300 Chinese characters, 1.2 kB of UTF-8 with its frame, behind 11 header fields.
- The OpenAI form is that of MiniMax v2, to the byte, without the closing frame that repeats the whole text; so the
  peers that speak OpenAI read the same bytes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

_WORDS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"
CHARACTERS = 300
DASHSCOPE, MINIMAX, OPENAI = "dashscope", "minimax-v2", "openai"
MODELS = {DASHSCOPE: "qwen-plus", MINIMAX: "MiniMax-Text-01", OPENAI: "MiniMax-Text-01"}
PATHS = {
    DASHSCOPE: "/services/aigc/text-generation/generation",
    MINIMAX: "/text/chatcompletion_v2",
    OPENAI: "/chat/completions",
}
KEY = "sk-benchmark"
MAX_TOKENS = 512
# A tick of a stream: so many characters, and the events of a burst come in HTTP chunks of their own.
_TICK = 3


@functools.cache
def text(characters: int = CHARACTERS) -> str:
    """So many Chinese characters."""
    return (_WORDS * (characters // len(_WORDS) + 1))[:characters]


def tick(number: int) -> str:
    """The text of one event of a stream."""
    start = number * _TICK % (len(_WORDS) - _TICK)
    return _WORDS[start : start + _TICK]


def said(events: int) -> str:
    """The whole text of a stream."""
    return "".join(map(tick, range(events)))


@functools.cache
def messages(characters: int = CHARACTERS) -> list[dict[str, str]]:
    """A system message and a question of so many characters. Made once, not to be changed."""
    return [
        {"role": "system", "content": "你是一位耐心的助手,回答要简短、准确。"},
        {"role": "user", "content": text(characters)},
    ]


def request(dialect: str, stream: bool = False, characters: int = CHARACTERS) -> dict[str, Any]:
    """The body that a careful engineer writes by hand."""
    if dialect == DASHSCOPE:
        parameters: dict[str, Any] = {"result_format": "message", "max_tokens": MAX_TOKENS}
        if stream:
            parameters["incremental_output"] = True
        return {"model": MODELS[dialect], "input": {"messages": messages(characters)}, "parameters": parameters}
    body = {"model": MODELS[dialect], "messages": messages(characters), "max_tokens": MAX_TOKENS}
    return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body


def request_headers(dialect: str, stream: bool = False) -> dict[str, str]:
    """The header fields of that request."""
    fields = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    return {**fields, "X-DashScope-SSE": "enable"} if stream and dialect == DASHSCOPE else fields


# -- answers -----------------------------------------------------------------------------------------------------

_USAGE = {"total_tokens": 512, "prompt_tokens": 212, "completion_tokens": 300}
_DASHSCOPE_USAGE = {"total_tokens": 512, "input_tokens": 212, "output_tokens": 300}
_FLAGS = {"input_sensitive": False, "output_sensitive": False, "input_sensitive_type": 0, "output_sensitive_type": 0}
_GOOD = {"status_code": 0, "status_msg": ""}
_ID = "04aa5df65ec7ac9bd9f2fa5fc5ef1a51"
_REQUEST_ID = "5cbb3ce3-fa0c-9d85-b29e-4bd4ad9bd0b6"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@functools.cache
def answer(dialect: str, characters: int = CHARACTERS) -> bytes:
    """The body of a good plain answer."""
    message = {"role": "assistant", "content": text(characters)}
    if dialect == DASHSCOPE:
        choice = {"finish_reason": "stop", "index": 0, "message": message}
        return _json({"output": {"choices": [choice]}, "usage": _DASHSCOPE_USAGE, "request_id": _REQUEST_ID})
    choice = {"finish_reason": "stop", "index": 0, "message": {**message, "name": "MM智能助理", "audio_content": ""}}
    return _json(
        {"id": _ID, "choices": [choice], "created": 1735000000, "model": MODELS[dialect], "object": "chat.completion",
         "usage": {**_USAGE, "total_characters": 0}, **_FLAGS, "base_resp": _GOOD}
    )


def refusal(dialect: str) -> bytes:
    """An error in the vendor's own words, of a kind that counts as a server error."""
    if dialect == DASHSCOPE:
        return _json({"code": "InternalError", "message": "Internal server error.", "request_id": _REQUEST_ID})
    return _json({"id": _ID, "choices": None, "base_resp": {"status_code": 1013, "status_msg": "internal error"}})


def events(dialect: str, count: int) -> Iterator[bytes]:
    """The events of a stream with `count` pieces of text."""
    for number in range(count):
        yield event(dialect, tick(number))
    yield from closing(dialect, said(count))


def event(dialect: str, content: str) -> bytes:
    """An event with text."""
    if dialect == DASHSCOPE:
        choice = {"message": {"content": content, "role": "assistant"}, "index": 0, "finish_reason": "null"}
        return _dashscope_event(choice)
    delta = {"content": content, "role": "assistant", "name": "MM智能助理", "audio_content": ""}
    return _frame(dialect, "chat.completion.chunk", {"index": 0, "delta": delta})


def closing(dialect: str, whole: str) -> list[bytes]:
    """The events after the last text: finish reason, usage, and the end mark where the dialect has one."""
    if dialect == DASHSCOPE:
        return [_dashscope_event({"message": {"content": "", "role": "assistant"}, "index": 0, "finish_reason": "stop"})]
    finish = {"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": ""}}
    if dialect == OPENAI:
        return [_frame(dialect, "chat.completion.chunk", finish, usage=_USAGE), b"data: [DONE]\n\n"]
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": whole}}
    return [
        _frame(dialect, "chat.completion.chunk", finish),
        _frame(dialect, "chat.completion", message, usage={**_USAGE, "total_characters": 0}, base_resp=_GOOD),
    ]


def _frame(dialect: str, kind: str, choice: dict[str, Any], **more: Any) -> bytes:
    frame = {"id": _ID, "choices": [choice], "created": 1735000000, "model": MODELS[dialect], "object": kind, **_FLAGS}
    return b"data: " + _json({**frame, **more}) + b"\n\n"


def _dashscope_event(choice: dict[str, Any]) -> bytes:
    frame = {"output": {"choices": [choice]}, "usage": _DASHSCOPE_USAGE, "request_id": _REQUEST_ID}
    return b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + _json(frame) + b"\n\n"


# -- heads -------------------------------------------------------------------------------------------------------

_REASONS = {200: "OK", 503: "Service Unavailable"}
# With Content-Type, Connection and the body's framing these are 11.
_FIELDS = (
    ("Date", "Sun, 01 Nov 2026 08:00:00 GMT"),
    ("Server", "istio-envoy"),
    ("Vary", "Origin,Access-Control-Request-Method,Access-Control-Request-Headers"),
    ("X-Request-Id", _REQUEST_ID),
    ("Trace-Id", _ID),
    ("X-Mm-Request-Id", "1700000000000000000_1735000000"),
    ("X-Envoy-Upstream-Service-Time", "1203"),
    ("Cache-Control", "no-cache"),
)


def head(status: int, kind: str, framing: tuple[str, str] | None) -> bytes:
    """A status line and 11 header fields. Without framing the end of the connection ends the body."""
    last = framing or ("X-Framing", "none")
    keep = "keep-alive" if framing else "close"
    early = (*_FIELDS[:-1], ("Retry-After", "0")) if status == 503 else _FIELDS
    fields = (*early, ("Content-Type", kind), ("Connection", keep), last)
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def whole(status: int, body: bytes) -> bytes:
    """A plain answer with its head, in one piece."""
    return head(status, "application/json; charset=utf-8", ("Content-Length", str(len(body)))) + body


CHUNKED = head(200, "text/event-stream; charset=utf-8", ("Transfer-Encoding", "chunked"))
UNFRAMED = head(200, "text/event-stream; charset=utf-8", None)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@functools.cache
def burst(dialect: str, count: int) -> bytes:
    """A whole stream: head, and each event in a chunk of its own."""
    return CHUNKED + b"".join(map(chunk, events(dialect, count))) + LAST_CHUNK
