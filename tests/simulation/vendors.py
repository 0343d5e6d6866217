"""Answers and streams of the simulated vendors, written by hand in their own formats, with what each event means."""

from __future__ import annotations

import json
import random
from typing import Any

import attrs

# kind: (HTTP status, DashScope's code, MiniMax's number, message)
SAID: dict[str, tuple[int, str, int, str]] = {
    "rate_limit": (429, "Throttling.RateQuota", 1002, "too fast"),
    "overloaded": (503, "ServiceUnavailable", 2034, "busy"),
    "server_error": (500, "InternalError", 1000, "broken"),
    "vendor_timeout": (504, "RequestTimeOut", 1001, "too slow"),
    "auth": (401, "InvalidApiKey", 1004, "who?"),
    "permission": (403, "AccessDenied", 2044, "not you"),
    "quota": (400, "Arrearage", 1008, "no money"),
    "model_not_found": (404, "ModelNotFound", 2013, "unknown model"),
    "bad_request": (400, "InvalidParameter", 2013, "bad parameter"),
    "context_length": (400, "InvalidParameter", 2013, "Range of input length should be [1, 6]: context window"),
    "content_filter:none": (400, "DataInspectionFailed", 1026, "Input data may contain inappropriate content"),
    "content_filter:unknown": (400, "DataInspectionFailed", 1027, "Output data may contain inappropriate content"),
}
STATUSES = {408: "vendor_timeout", 413: "request_too_large", 429: "rate_limit", 500: "server_error", 502: "server_error",
            503: "overloaded", 504: "vendor_timeout", 529: "overloaded", 401: "auth", 403: "permission"}
JUNK = ("<html>502</html>", "null", "[1]", '"x"', "{}", '{"output": {"choices": [{"mess', "", "plain text")
PIECES = ("好", "的", "hello ", "世界\u2028", "naïve ", "\\u0000 ", "data: x\n", "🙂", "[DONE]", "a\r\n\nb")


@attrs.define
class Event:
    """One event of a stream: its bytes, after how many of them it counts (at the end of the body), what it does."""

    data: bytes
    at: int
    whole: int
    does: tuple[tuple[str, Any], ...] = ()


@attrs.define
class Answer:
    """A scripted answer. `kind` is None for a good one; `events` is None for a complete body."""

    text: str = ""
    reasoning: str = ""
    finish: str | None = "stop"
    tokens: int | None = None
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    events: list[Event] | None = None
    kind: str | None = None
    billing: str = ""
    retry_after: float | None = None
    until: int | None = None


def dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def frame(value: Any, *does: tuple[str, Any], before: str = "", gap: str = "\n\n") -> Event:
    head = before.encode() + b"data: " + dumps(value)
    return Event(head + gap.encode(), len(head) + gap.index("\n") + 1, len(head), does)


def junk_event() -> Event:
    data = b'data: {"output": \n\n'
    return Event(data, len(data), 6, (("error", "bad_response"),))


def words(rng: random.Random, mark: str) -> list[str]:
    return [f"{mark}{rng.choice(PIECES)}" for _ in range(rng.choice((1, 1, 2, 3, 5)))]


def good(dialect: str, rng: random.Random, mark: str, stream: bool) -> Answer:
    """A good answer with the text `mark`."""
    pieces = words(rng, mark)
    thoughts = words(rng, f"?{mark}") if dialect in ("qwen", "yi", "v2") and rng.random() < 0.15 else []
    finish = rng.choice(("stop", "stop", "length"))
    tokens = None if rng.random() < 0.15 else rng.randint(5, 90)
    answer = Answer("".join(pieces), "".join(thoughts), finish, tokens)
    if stream and rng.random() > 0.06:
        answer.events = STREAMS[dialect](pieces, thoughts, finish, tokens, rng)
        answer.headers = {"content-type": "text/event-stream"}
    else:
        answer.body = dumps(PLAIN[dialect](answer))
        answer.headers = {"content-type": "application/json"}
    return answer


# -- complete answers --------------------------------------------------------------------------------------------


def _dashscope_usage(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"usage": {"input_tokens": 2, "output_tokens": tokens - 2, "total_tokens": tokens}}


def _minimax_usage(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"usage": {"prompt_tokens": 2, "completion_tokens": tokens - 2, "total_tokens": tokens}}


def _plain_dashscope(answer: Answer) -> Any:
    message = {"role": "assistant", "content": answer.text, "reasoning_content": answer.reasoning}
    return {"output": {"choices": [{"message": message, "finish_reason": answer.finish}]}, "request_id": "r",
            **_dashscope_usage(answer.tokens)}


def _plain_v2(answer: Answer) -> Any:
    message = {"role": "assistant", "content": answer.text, "reasoning_content": answer.reasoning}
    return {"id": "v", "choices": [{"finish_reason": answer.finish, "index": 0, "message": message}],
            "base_resp": {"status_code": 0, "status_msg": ""}, **_minimax_usage(answer.tokens)}


def _plain_pro(answer: Answer) -> Any:
    said = {"sender_type": "BOT", "sender_name": "MM智能助理", "text": answer.text}
    return {"id": "p", "reply": answer.text, "choices": [{"finish_reason": answer.finish, "messages": [said]}],
            "base_resp": {"status_code": 0, "status_msg": ""}, **_minimax_usage(answer.tokens)}


def _plain_toy(answer: Answer) -> Any:
    usage = {} if answer.tokens is None else {"usage": [2, answer.tokens - 2, answer.tokens]}
    return {"text": answer.text, "finish": answer.finish, **usage}


PLAIN = {"yi": _plain_dashscope, "qwen": _plain_dashscope, "v2": _plain_v2, "pro": _plain_pro, "toy": _plain_toy}


# -- streams -----------------------------------------------------------------------------------------------------


def _usage_event(tokens: int | None) -> tuple[tuple[str, Any], ...]:
    return () if tokens is None else (("usage", tokens),)


def _stream_dashscope(
    pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random, growing: bool
) -> list[Event]:
    """Yi sends the whole text so far in each frame, Qwen the increments; both count tokens in each frame."""
    parts = [("", "", ())]
    parts += [("", each, (("reasoning", each),)) for each in thoughts] + [(each, "", (("text", each),)) for each in pieces]
    text, thought, events = "", "", []
    own_end = rng.random() < 0.5
    for number, (more, thinks, does) in enumerate(parts, 1):
        text, thought = (text + more, thought + thinks) if growing else (more, thinks)
        last = number == len(parts) and not own_end
        message = {"role": "assistant", "content": text, "reasoning_content": thought}
        value = {"output": {"choices": [{"message": message, "finish_reason": finish if last else "null"}]}, "request_id": "r",
                 **_dashscope_usage(tokens)}
        ends = (("finish", finish),) if last else ()
        events.append(frame(value, *does, *_usage_event(tokens), *ends, before=f"id:{number}\nevent:result\n:HTTP_STATUS/200\n"))
    if own_end:
        message = {"role": "assistant", "content": text if growing else ""}
        value = {"output": {"choices": [{"message": message, "finish_reason": finish}]}, **_dashscope_usage(tokens)}
        events.append(frame(value, *_usage_event(tokens), ("finish", finish)))
    return events


def _stream_yi(pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random) -> list[Event]:
    return _stream_dashscope(pieces, thoughts, finish, tokens, rng, True)


def _stream_qwen(pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random) -> list[Event]:
    return _stream_dashscope(pieces, thoughts, finish, tokens, rng, False)


def _v2_frame(delta: dict[str, Any]) -> dict[str, Any]:
    return {"id": "v", "choices": [{"index": 0, "delta": {"role": "assistant", **delta}}], "object": "chat.completion.chunk"}


def _stream_v2(pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random) -> list[Event]:
    """The last frame repeats the whole text."""
    events = [frame(_v2_frame({"content": ""}))] if rng.random() < 0.5 else []
    events += [frame(_v2_frame({"reasoning_content": each}), ("reasoning", each)) for each in thoughts]
    events += [frame(_v2_frame({"content": each}), ("text", each)) for each in pieces]
    whole = _plain_v2(Answer("".join(pieces), "".join(thoughts), finish, tokens))
    events.append(frame(whole, ("finish", finish), *_usage_event(tokens)))
    return [*events, Event(b"data: [DONE]\n\n", 13, 12, (("done", None),))] if rng.random() < 0.5 else events


def _stream_pro(pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random) -> list[Event]:
    """The last frame repeats the whole text."""
    events = []
    for each in pieces:
        said = {"sender_type": "BOT", "sender_name": "MM智能助理", "text": each}
        events.append(frame({"id": "p", "reply": "", "choices": [{"messages": [said]}]}, ("text", each), gap="\r\n\r\n"))
    whole = _plain_pro(Answer("".join(pieces), "", finish, tokens))
    return [*events, frame(whole, ("finish", finish), *_usage_event(tokens))]


def _stream_toy(pieces: list[str], thoughts: list[str], finish: str, tokens: int | None, rng: random.Random) -> list[Event]:
    usage = {} if tokens is None else {"usage": [2, tokens - 2, tokens]}
    first = [frame({"role": "assistant", **usage}, *_usage_event(tokens))] if rng.random() < 0.5 else []
    last = frame({"finish": finish, **usage}, ("finish", finish), *_usage_event(tokens))
    return [*first, *(frame({"text": each}, ("text", each)) for each in pieces), last]


STREAMS = {"yi": _stream_yi, "qwen": _stream_qwen, "v2": _stream_v2, "pro": _stream_pro, "toy": _stream_toy}


# -- errors ------------------------------------------------------------------------------------------------------


def _error_value(dialect: str, kind: str) -> Any:
    _, code, number, message = SAID[kind]
    if dialect in ("yi", "qwen"):
        return {"code": code, "message": message, "request_id": "r"}
    if dialect == "toy":
        name, _, billing = kind.partition(":")
        return {"error": {"kind": name, "message": message, **({"billing": billing} if billing else {})}}
    return {"base_resp": {"status_code": number, "status_msg": message}}


def _billing(kind: str) -> tuple[str, str]:
    name, _, billing = kind.partition(":")
    unknown = name in ("server_error", "vendor_timeout", "bad_response", "plugin_error")
    return name, billing or ("unknown" if unknown else "none")


def refused(dialect: str, rng: random.Random, kind: str, wall: float) -> Answer:
    """An error of the vendor's: with its status, inside HTTP 200, or a bare status from a gateway."""
    name, billing = _billing(kind)
    form = rng.random()
    bare = [status for status, meant in STATUSES.items() if meant == kind]
    if form < 0.25 and bare:
        answer = Answer(status=rng.choice(bare), body=b"<html>gateway</html>", kind=name, billing=billing)
    else:
        status = 200 if form > 0.6 or dialect == "toy" else SAID[kind][0]
        answer = Answer(status=status, body=dumps(_error_value(dialect, kind)), kind=name, billing=billing)
    if name in ("rate_limit", "overloaded") and rng.random() < 0.6:
        answer.headers, answer.retry_after = waits(rng, wall)
    return answer


def waits(rng: random.Random, wall: float) -> tuple[dict[str, str], float | None]:
    """A Retry-After in one of its forms, and the seconds that it means (a date's are filled in when it is sent)."""
    seconds = rng.choice((0, 1, 2, 5, 29, 31, 400))
    forms: list[tuple[dict[str, str], float | None]] = [
        ({"Retry-After": str(seconds)}, seconds), ({"retry-after": f"{seconds}.5"}, seconds + 0.5),
        ({"Retry-After-Ms": str(seconds * 100)}, seconds / 10), ({"Retry-After": "-3"}, None), ({"Retry-After": "soon"}, None),
        ({"Retry-After": "999999999"}, None), ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, None),
        ({"Retry-After": "date", "x-seconds": str(seconds)}, None),
    ]
    return rng.choice(forms)


def in_band(dialect: str, kind: str) -> Event:
    """An error as an event of a stream."""
    before = f"event:error\n:HTTP_STATUS/{SAID[kind][0]}\n" if dialect in ("yi", "qwen") else ""
    return frame(_error_value(dialect, kind), ("error", kind), before=before)


def hook_raises(stream: bool) -> Answer:
    """The toy vendor's hooks raise at this."""
    if stream:
        return Answer(events=[frame({"boom": 1}, ("error", "plugin_error"))])
    return Answer(body=b'{"error": {"kind": "no such kind"}}', kind="plugin_error", billing="unknown")


def wrong(rng: random.Random) -> Answer:
    """A body that is no answer."""
    return Answer(body=rng.choice(JUNK).encode(), kind="bad_response", billing="unknown")
