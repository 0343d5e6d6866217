# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""MiniMax's three chat endpoints, read from its pages: seed 001 (v2 and pro), seed 003 (legacy and retrieval), and the
vendor's pages of September 2025 (fields, ranges, error table).

Nearly every failure is HTTP 200 with a ``base_resp``. Where seed 003 contradicts itself, both of its bodies are taken on
the legacy path: the one with ``prompt`` and ``role_meta``, and the whole one with ``bot_setting`` and ``reply_constraints``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from cnroute.emulator import conversation
from cnroute.emulator.answers import Answer, Call, Tool, Turn, tokens
from cnroute.emulator.exchange import JSON, Dialect, Frame, Headers, Range, Refusal, encode, is_count, require, text_of

# code: message (error tables of the vendor's Chinese and English pages).
CODES: dict[str, str] = {
    "1000": "unknown error",
    "1001": "timeout",
    "1002": "rate limit exceeded(RPM)",
    "1004": "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
    "1008": "insufficient balance",
    "1013": "internal service error",
    "1024": "internal error",
    "1026": "input new_sensitive",
    "1027": "output new_sensitive",
    "1033": "system error",
    "1039": "rate limit exceeded(TPM)",
    "1041": "conn limit",
    "1042": "invisible character ratio limit",
    "1043": "the asr similarity check failed",
    "1044": "clone prompt similarity check failed",
    "2013": "invalid params",
    "2032": "knowledge base count limit",
    "2033": "knowledge base characters limit",
    "2034": "knowledge base is being operated",
    "2036": "knowledge base is being operated, try again later",
    "2037": "voice duration too short or too long",
    "2038": "voice cloning is disabled",
    "2039": "voice clone voice id duplicate",
    "2042": "you don't have access to this voice_id",
    "2044": "no permission to this endpoint",
    "2045": "rate growth limit",
    "2048": "prompt audio too long",
    "2049": "invalid api key",
    "2056": "usage limit exceeded, 5-hour usage limit reached for Token Plan Starter (0/0 used), resets at 2026-05-15T15:00:00Z",
    "2061": "your current token plan not support model",
    "20132": "invalid samples or voice_id",
}

# Readable names, the same ones in every dialect: (code, message or "" for the code's own).
NAMES: dict[str, tuple[str, str]] = {
    "invalid_key": ("2049", ""),
    "permission": ("2044", ""),
    "no_balance": ("1008", ""),
    "plan_limit": ("2056", ""),
    "rate_limit": ("1002", ""),
    "token_limit": ("1039", ""),
    "burst_limit": ("2045", ""),
    "connection_limit": ("1041", ""),
    "overloaded": ("1013", "the server cluster is currently under high load"),
    "vendor_timeout": ("1001", ""),
    "internal_error": ("1000", ""),
    "bad_parameter": ("2013", "invalid params, temperature should be in (0, 1]"),
    "context_length": ("2013", "invalid params, context window exceeds limit"),
    "model_not_found": ("2013", "invalid params, unknown model 'no-such-model'"),
    "model_not_exist": ("2013", "invalid params, unknown model 'no-such-model'"),
    "too_large": ("2013", "invalid params, request body too large"),
    "content_filter_input": ("1026", ""),
    "content_filter_output": ("1027", ""),
}

# Newer gateways put real statuses around the number: status: (type, code, message).
ENVELOPES: dict[int, tuple[str, str, str]] = {
    400: ("bad_request_error", "2013", "invalid params"),
    401: ("authorized_error", "1004", CODES["1004"]),
    403: ("permission_error", "2044", CODES["2044"]),
    404: ("not_found_error", "", "page not found"),
    408: ("timeout_error", "1001", "timeout"),
    413: ("request_too_large", "", "request entity too large"),
    422: ("bad_request_error", "2013", "invalid params"),
    429: ("rate_limit_error", "1002", CODES["1002"]),
    500: ("api_error", "1000", "unknown error"),
    503: ("overloaded_error", "", "service temporarily unavailable"),
    529: ("overloaded_error", "", "The server cluster is currently under high load. Please retry after a short wait"),
}

UNIT = Range(0, 1)
FUNCTION_NAME = re.compile(r"(?!plugin_)[a-zA-Z0-9_-]{1,64}\Z")
PRIVATE = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+", re.ASCII)

# Context windows (prompt and answer together) and the most that may be generated, by the beginning of the name.
WINDOWS = (("abab5.5s", 8192), ("abab5.5", 16384), ("abab5-", 6144), ("abab6.5s", 245760), ("abab6.5t", 8192), ("abab6.5g", 8192),
           ("abab6", 32768), ("MiniMax-Text-01", 1000192), ("", 1000192))  # fmt: skip

SEARCH_RESULTS = [
    {"no": 1, "title": "示例新闻", "url": "https://example.com/news/1", "content": "示例内容一"},
    {"no": 2, "title": "示例百科", "url": "https://example.com/wiki/2", "content": "示例内容二"},
]


def window(model: str) -> int:
    """How many tokens the model takes in and gives out together."""
    return next(size for prefix, size in WINDOWS if model.startswith(prefix))


def mask(text: str) -> str:
    """Private data becomes ``*`` (pro's ``mask_sensitive_info``, on by default): mail addresses and links here."""
    return PRIVATE.sub(lambda found: "*" * len(found[0]), text)


class MiniMax(Dialect):
    """What the three endpoints share: base_resp, codes, keys and groups."""

    json_type = "application/json; charset=utf-8"
    needs_group: ClassVar[bool] = True
    checks: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def headers(self, content_type: str) -> Headers:
        return [("Content-Type", content_type), ("Trace-Id", self.request_id)]

    def refusal(self, name: str, message: str = "") -> Refusal:
        code, own = NAMES.get(name, (name, ""))
        return Refusal(code, message or own or CODES.get(code, "unknown error"))

    def refusal_of_status(self, status: int) -> Refusal:
        kind, code, message = ENVELOPES.get(status, ENVELOPES[500 if status >= 500 else 400])
        return Refusal(code or kind, f"{message} ({code})" if code else message, status)

    def status_document(self, refusal: Refusal) -> JSON:
        """The envelope of the newer gateways; the number in the trailing parentheses is the vendor's code."""
        kind = ENVELOPES.get(refusal.status, ENVELOPES[500 if refusal.status >= 500 else 400])[0]
        error = {"type": kind, "message": refusal.message, "http_code": str(refusal.status)}
        return {"type": "error", "error": error, "request_id": self.request_id}

    def base_resp(self, refusal: Refusal | None = None) -> JSON:
        if refusal is None:
            return {"status_code": 0, "status_msg": self.success}
        code = int(refusal.code) if refusal.code.isdigit() else 1000
        return {"status_code": code, "status_msg": refusal.message}

    success: ClassVar[str] = ""

    def error_document(self, refusal: Refusal, *, full: bool = False) -> JSON:
        envelope = {**self.null_document(), "created": 0, "model": ""} if full else {}
        return {**envelope, "base_resp": self.base_resp(refusal)}

    def error_frame(self, refusal: Refusal) -> Frame:
        return Frame(self.error_document(refusal, full=True))

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        return b"data: " + (frame.raw.encode() or encode(frame.document)) + b"\n\n"

    def check_key(self, key: str, expected: str | None) -> None:
        require(key, self.refusal("1004"))
        require(key == expected if expected else key != "wrong-key", self.refusal("2049"))
        grouped = not self.needs_group or self.ask.query.get("GroupId")
        require(grouped, self.refusal("1004", "login fail: token not match group"))

    def check(self) -> None:
        for check in self.checks:
            check(self)

    def invalid(self, message: str) -> Refusal:
        return self.refusal("2013", f"invalid params, {message}")

    def usage(self, answer: Answer) -> JSON:
        """The total only (all abab models)."""
        return {"total_tokens": answer.total_tokens}


# -- v2 (seed 001)


class V2(MiniMax):
    """One request to chatcompletion_v2."""

    provider = "minimax-v2"
    needs_group = False

    @property
    def splits_usage(self) -> bool:
        return not self.ask.model.startswith("abab")

    @property
    def thinks(self) -> bool:
        """M1 and later put their thinking into ``reasoning_content``."""
        return self.ask.model.startswith("MiniMax-M")

    @property
    def searches(self) -> bool:
        tools = self.ask.body.get("tools") or []
        return any(tool.get("type") == "web_search" for tool in tools) and self.ask.body.get("tool_choice") != "none"

    def turn(self) -> Turn:
        body = self.ask.body
        return Turn(
            user=conversation.last_user(body["messages"]),
            input_tokens=conversation.input_tokens(body["messages"], body.get("tools")),
            result=conversation.tool_result(body["messages"]),
            tool=conversation.chosen_tool(body.get("tools"), body.get("tool_choice")),
            limit=body.get("max_completion_tokens") or body.get("max_tokens") or (256 if not self.splits_usage else 2048),
            thinking=self.thinks,
            wrap=self._as_schema if body.get("response_format") else None,
        )

    def _as_schema(self, text: str) -> str:
        """An object with the properties of the json_schema, strings filled with the answer."""
        schema = (self.ask.body["response_format"].get("json_schema") or {}).get("schema") or {}
        names = list(schema.get("properties") or {"answer": {}})
        return json.dumps(dict.fromkeys(names, text), ensure_ascii=False)

    def usage(self, answer: Answer) -> JSON:
        if not self.splits_usage:
            return super().usage(answer)
        thought = {"completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens}} if answer.reasoning else {}
        counts = {"total_tokens": answer.total_tokens, "total_characters": 0}
        return {**counts, "prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens, **thought}

    def envelope(self, kind: str, choices: list[JSON] | None, usage: JSON | None) -> JSON:
        head = {
            "id": self.request_id,
            "choices": choices,
            "created": self.ask.created,
            "model": self.ask.model,
            "object": kind,
        }
        return {**head, **({"usage": usage} if usage is not None else {}), **FLAGS}

    def whole(self, answer: Answer, reason: str | None, usage: JSON | None) -> JSON:
        """The object ``chat.completion`` of a plain answer and of a stream's closing frame."""
        choice = {"finish_reason": reason, "index": 0, "message": self.message(answer)}
        document = self.envelope("chat.completion", [choice], usage)
        return {**document, "base_resp": self.base_resp()}

    def message(self, answer: Answer) -> JSON:
        message: JSON = {"content": answer.text, "role": "assistant", "name": "MM智能助理", "audio_content": ""}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.call:
            message["tool_calls"] = [_v2_call(answer.call, answer.call.arguments)]
        return message

    def document(self, *, finished: bool = True) -> JSON:
        answer = self.answer()
        return self.whole(answer, answer.finish if finished else None, self.usage(answer))

    def null_document(self) -> JSON:
        usage = {"total_tokens": 0, "total_characters": 0}
        return {**self.envelope("chat.completion", None, usage), "base_resp": self.base_resp()}

    # -- the stream

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """Increments, then one of the five endings: A for abab, C where the usage was asked for, else B."""
        answer = self.answer()
        frames = [*self._search_frames(), *self._deltas(answer)]
        if not finished:
            return frames
        return ENDINGS[ending or self._usual_ending()](self, answer, frames)

    def _usual_ending(self) -> str:
        if not self.splits_usage:
            return "a"
        return "c" if (self.ask.body.get("stream_options") or {}).get("include_usage") is True else "b"

    def _deltas(self, answer: Answer) -> list[Frame]:
        opening = [self._delta({**NAMED, "tool_calls": [_v2_call(answer.call, "", index=0)]})] if answer.call else []
        return opening + [self._increment(one.kind, one.piece) for one in answer.increments()]

    def _increment(self, kind: str, piece: str) -> Frame:
        if kind == "arguments":
            call = {"id": "", "index": 0, "function": {"arguments": piece}}
            return self._delta({"role": "assistant", "tool_calls": [call]})
        key = "content" if kind == "text" else "reasoning_content"
        return self._delta({**NAMED, "content": "", key: piece}, piece if kind == "text" else "")

    def _delta(self, delta: JSON, text: str = "", *, content: bool = True) -> Frame:
        placeholder = {"total_tokens": 0, "total_characters": 0} if self.splits_usage else None
        document = self.envelope("chat.completion.chunk", [{"index": 0, "delta": delta}], placeholder)
        return Frame(document, text, content=content)

    def _search_frames(self) -> list[Frame]:
        """The server's own search: its call (finish reason tool_calls), then its pages (role tool, finish reason stop)."""
        if not self.searches:
            return []
        name = f"call_function_{self.request_id[:10]}"
        query = json.dumps({"query_tag": [self.turn().user[:20]]}, ensure_ascii=False)
        call = {"id": name, "type": "web_search", "function": {"name": "plugin_web_search", "arguments": query}}
        pages = json.dumps(SEARCH_RESULTS, ensure_ascii=False)
        asked = self._delta({"role": "assistant", "tool_calls": [call]}, content=False)
        found = self._delta({"content": pages, "role": "tool", "tool_call_id": name}, content=False)
        asked.document["choices"][0]["finish_reason"] = "tool_calls"
        found.document["choices"][0]["finish_reason"] = "stop"
        return [asked, found]

    def opening(self) -> Frame:
        return self._delta({**NAMED, "content": ""}, content=False)


FLAGS = {"input_sensitive": False, "output_sensitive": False, "input_sensitive_type": 0, "output_sensitive_type": 0,
         "output_sensitive_int": 0}  # fmt: skip
NAMED = {"role": "assistant", "name": "MM智能助理", "audio_content": ""}


def _v2_call(call: Call, arguments: str, **index: int) -> JSON:
    return {"id": call.id, "type": "function", **index, "function": {"name": call.name, "arguments": arguments}}


def _finish_last(answer: Answer, frames: list[Frame]) -> list[Frame]:
    """The finish reason in the last delta."""
    frames[-1].document["choices"][0]["finish_reason"] = answer.finish
    frames[-1].ends = True
    return frames


def _ending_a(request: V2, answer: Answer, frames: list[Frame]) -> list[Frame]:
    """The last delta has the finish reason; one more frame has the whole answer, usage and base_resp."""
    usage = request.usage(answer)
    return [*_finish_last(answer, frames), Frame(request.whole(answer, answer.finish, usage), usage=usage, ends=True)]


def _ending_b(request: V2, answer: Answer, frames: list[Frame]) -> list[Frame]:
    """The last delta has the finish reason; nothing follows and the usage stays 0."""
    return _finish_last(answer, frames)


def _ending_c(request: V2, answer: Answer, frames: list[Frame]) -> list[Frame]:
    """After the finish reason a chunk with empty choices and the usage, then [DONE]."""
    usage = request.usage(answer)
    closing = Frame(request.envelope("chat.completion.chunk", [], usage), usage=usage, ends=True)
    return [*_finish_last(answer, frames), closing, Frame({}, raw="[DONE]")]


def _ending_d(request: V2, answer: Answer, frames: list[Frame]) -> list[Frame]:
    """An empty delta and the whole message side by side with the finish reason, then [DONE]; no usage."""
    choice = {"index": 0, "delta": {}, "message": request.message(answer), "finish_reason": answer.finish}
    closing = Frame(request.envelope("chat.completion.chunk", [choice], None), ends=True)
    return [*frames, closing, Frame({}, raw="[DONE]")]


def _ending_e(request: V2, answer: Answer, frames: list[Frame]) -> list[Frame]:
    """The finish reason beside an empty delta, then an empty delta without one beside the usage."""
    usage = request.usage(answer)
    finish = {"finish_reason": answer.finish, "index": 0, "delta": {}}
    closing = Frame(request.envelope("chat.completion.chunk", [finish], None), ends=True)
    counted = Frame(request.envelope("chat.completion.chunk", [{"index": 0, "delta": {}}], usage), usage=usage, ends=True)
    return [*frames, closing, counted]


ENDINGS = {"a": _ending_a, "b": _ending_b, "c": _ending_c, "d": _ending_d, "e": _ending_e}


# -- pro (seed 001)


class Pro(MiniMax):
    """One request to chatcompletion_pro."""

    provider = "minimax-pro"

    @property
    def bot(self) -> str:
        return str(self.ask.body["reply_constraints"]["sender_name"])

    @property
    def call_mode(self) -> JSON:
        given = self.ask.body.get("function_call")
        return given if isinstance(given, dict) else {"type": "auto"}

    def turn(self) -> Turn:
        body = self.ask.body
        asked = self.input_tokens()
        return Turn(
            user=_last_text(body["messages"]),
            input_tokens=asked,
            result=body["messages"][-1]["text"] if body["messages"][-1]["sender_type"] == "FUNCTION" else None,
            tool=self._tool(),
            limit=body.get("tokens_to_generate", 256),
            room=max(1, window(self.ask.model) - asked),
            wrap=self._wrap,
        )

    def input_tokens(self) -> int:
        body = self.ask.body
        said = [one["content"] for one in body["bot_setting"]]
        said += [one["text"] for one in [*(body.get("sample_messages") or []), *body["messages"]]]
        functions = json.dumps(body["functions"], ensure_ascii=False) if body.get("functions") else ""
        return sum(map(tokens, said)) + tokens(functions)

    def _tool(self) -> Tool | None:
        functions = self.ask.body.get("functions") or []
        if not functions or self.call_mode.get("type") == "none":
            return None
        wanted = self.call_mode.get("name")
        found = next((one for one in functions if one["name"] == wanted), functions[0])
        return Tool(found["name"], conversation.schema_of(found.get("parameters") or found.get("parameters_str")))

    def _wrap(self, text: str) -> str:
        """Masking (on by default), then the form that ``glyph`` asks for."""
        said = text if self.ask.body.get("mask_sensitive_info") is False else mask(text)
        glyph = self.ask.body["reply_constraints"].get("glyph")
        return GLYPHS[glyph["type"]](glyph, said) if glyph else said

    def messages(self, text: str, arguments: str | None, answer: Answer) -> list[JSON]:
        message: JSON = {"sender_type": "BOT", "sender_name": self.bot, "text": text}
        if arguments is not None and answer.call:
            message["function_call"] = {"name": answer.call.name, "arguments": arguments}
        return [message]

    def document(self, *, finished: bool = True) -> JSON:
        return self._whole(self.answer(), finished)

    def _whole(self, answer: Answer, finished: bool) -> JSON:
        """The plain answer, and the last frame of a stream. A function call comes with the finish reason stop."""
        arguments = answer.call.arguments if answer.call else None
        reason = {"finish_reason": "stop" if answer.call else answer.finish} if finished else {}
        choice: JSON = {**reason, "messages": self.messages(answer.text, arguments, answer)}
        document = {**self._head(answer.text), "choices": [choice], "usage": self.usage(answer)}
        flags = {
            "input_sensitive": False,
            "output_sensitive": False,
            "id": self.request_id,
            "base_resp": self.base_resp(),
        }
        call = {"function_call": choice["messages"][0]["function_call"]} if answer.call else {}
        return {**document, **flags, **call, **_knowledge(self.ask.body)}

    def usage(self, answer: Answer) -> JSON:
        plugin = {"tokens_with_added_plugin": answer.total_tokens} if self.ask.body.get("plugins") else {}
        return {**super().usage(answer), **plugin}

    def _head(self, reply: str) -> JSON:
        return {"created": self.ask.created, "model": self.ask.model, "reply": reply}

    def null_document(self) -> JSON:
        return {**self._head(""), "choices": None, "usage": None, "id": self.request_id, "base_resp": self.base_resp()}

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """Increments without usage; the last frame repeats the whole answer."""
        answer = self.answer()
        frames = [self._increment("", "", answer)] if answer.call else []
        frames += [self._increment(one.kind, one.piece, answer) for one in answer.increments()]
        if answer.call:
            frames = _pile_up(frames)
        return [*frames, Frame(self._whole(answer, True), usage=self.usage(answer), ends=True)] if finished else frames

    def _increment(self, kind: str, piece: str, answer: Answer) -> Frame:
        text = piece if kind == "text" else ""
        messages = self.messages(text, None if kind == "text" else piece, answer)
        document = {**self._head(""), "choices": [{"messages": messages}], "output_sensitive": False}
        return Frame({**document, "request_id": self.request_id}, text, content=True)

    def opening(self) -> Frame:
        frame = self._increment("text", "", self.answer())
        frame.content = False
        return frame


def _pile_up(frames: list[Frame]) -> list[Frame]:
    """Frames of a function call are partial snapshots: each one holds the arguments so far."""
    so_far = ""
    for frame in frames:
        call = frame.document["choices"][0]["messages"][0]["function_call"]
        so_far = call["arguments"] = so_far + call["arguments"]
    return frames


def _last_text(messages: Iterable[Mapping[str, Any]]) -> str:
    return next((str(one["text"]) for one in reversed(list(messages)) if one["sender_type"] == "USER"), "")


def _knowledge(body: Mapping[str, Any]) -> JSON:
    """The retrieved pieces beside an answer with ``knowledge_base_param`` (seed 003), at most ``top_k`` of them."""
    given = body.get("knowledge_base_param")
    if not given:
        return {}
    base, question = given["knowledge_base_id"], _last_text(body["messages"])[:12]
    numbers = range(1, 1 + min(2, given.get("top_k", 5)))
    chunks = [{"content": f"示例片段{n}:与“{question}”有关的内容。", "index": n, "document": str(base + n)} for n in numbers]
    return {"knowledge_base": {"knowledge_base_id": base, "chunks": chunks}}


def _raw_glyph(glyph: Mapping[str, Any], text: str) -> str:
    """A template with ``{{gen 'name'}}`` places."""
    return re.sub(r"\{\{\s*gen[^}]*\}\}", lambda _found: text, str(glyph["raw_glyph"]))


def _json_glyph(glyph: Mapping[str, Any], text: str) -> str:
    properties = glyph["json_properties"]
    return json.dumps(dict.fromkeys(properties, text), ensure_ascii=False)


GLYPHS: dict[str, Callable[[Mapping[str, Any], str], str]] = {"raw": _raw_glyph, "json_value": _json_glyph}


# -- legacy (seed 003)


class Legacy(MiniMax):
    """One request to chatcompletion."""

    provider = "minimax-legacy"
    success = "success"

    @property
    def in_pro_form(self) -> bool:
        """Seed 003's curl example: pro's body on the legacy path."""
        return "prompt" not in self.ask.body and "bot_setting" in self.ask.body

    @property
    def prompt(self) -> str:
        body = self.ask.body
        return str(body["bot_setting"][0]["content"] if self.in_pro_form else body["prompt"])

    @property
    def beams(self) -> int:
        return int(self.ask.body.get("beam_width", 1))

    @property
    def limit(self) -> int:
        return int(self.ask.body.get("tokens_to_generate", 256))

    def input_tokens(self) -> int:
        return tokens(self.prompt) + sum(tokens(one["text"]) for one in self.ask.body["messages"])

    def turn(self) -> Turn:
        body = self.ask.body
        wrap = None if body.get("skip_info_mask") is True else mask
        return Turn(_last_text(body["messages"]), self.input_tokens(), limit=self.limit, wrap=wrap)

    def usage(self, answer: Answer) -> JSON:
        """Beams charge the input and as many times the longest output."""
        longest = max(self.answer(beam).output_tokens for beam in range(self.beams))
        return {"total_tokens": answer.input_tokens + longest * self.beams}

    def document(self, *, finished: bool = True) -> JSON:
        choices = [self._choice(beam, finished) for beam in range(self.beams)]
        return {**self._closing(self.answer()), "choices": choices, **_knowledge(self.ask.body)}

    def _choice(self, beam: int, finished: bool) -> JSON:
        answer = self.answer(beam)
        reason = {"finish_reason": answer.finish} if finished else {}
        return {"text": answer.text, "index": beam, "logprobes": 0, **reason}

    def _closing(self, answer: Answer) -> JSON:
        flags = {
            "input_sensitive": False,
            "output_sensitive": False,
            "id": self.request_id,
            "base_resp": self.base_resp(),
        }
        return {**self._head(answer.text), "choices": [], "usage": self.usage(answer), **flags}

    def _head(self, reply: str) -> JSON:
        return {"created": self.ask.created, "model": self.ask.model, "reply": reply}

    def null_document(self) -> JSON:
        return {**self._head(""), "choices": None, "usage": None, "id": self.request_id, "base_resp": self.base_resp()}

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """Deltas are plain strings; the last frame has an empty one, the whole reply and the usage."""
        answer = self.answer()
        frames = [self._delta(one.piece) for one in answer.increments()]
        if not finished:
            return frames
        closing = {**self._closing(answer), **_knowledge(self.ask.body)}
        closing["choices"] = [{"index": 0, "finish_reason": answer.finish, "delta": ""}]
        return [*frames, Frame(closing, usage=self.usage(answer), ends=True)]

    def _delta(self, piece: str) -> Frame:
        return Frame({**self._head(""), "choices": [{"delta": piece}]}, piece, content=bool(piece))

    def opening(self) -> Frame:
        return self._delta("")

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        """One newline between results; ``use_standard_sse`` gives the blank line."""
        standard = self.ask.body.get("use_standard_sse") is True
        return super().frame_bytes(frame, number)[: None if standard else -1]


# -- what the pages forbid, one check a rule


def _has_model(request: MiniMax) -> None:
    require(isinstance(request.ask.body.get("model"), str) and request.ask.model, request.invalid("model is required"))


def _numbers_are_in_range(request: MiniMax) -> None:
    """temperature and top_p are in (0, 1]; a temperature of 0 is refused."""
    body = request.ask.body
    for name in ("temperature", "top_p"):
        require(body.get(name) is None or body[name] in UNIT, request.invalid(f"{name} should be in (0, 1]"))
    most = window(request.ask.model)
    for name in ("max_tokens", "max_completion_tokens", "tokens_to_generate"):
        fits = body.get(name) is None or (is_count(body[name]) and body[name] <= most)
        require(fits, request.invalid(f"{name} should be in (0, {most}]"))
    require(isinstance(body.get("stream", False), bool), request.invalid("stream should be a boolean"))


def _messages_are_objects(request: MiniMax) -> None:
    sound = conversation.messages_are_objects(request.ask.body.get("messages"))
    require(sound, request.invalid("messages should be a non-empty list"))


def _input_fits(request: MiniMax) -> None:
    require(request.turn().input_tokens < window(request.ask.model), request.refusal("context_length"))


V2_ROLES = frozenset({"system", "user", "assistant", "tool", "user_system", "group", "sample_message_user", "sample_message_ai"})


def _v2_messages_are_sound(request: V2) -> None:
    """Known roles, content never null, a user message somewhere, a tool result with the id of its call."""
    messages = request.ask.body["messages"]
    for one in messages:
        require(one.get("role") in V2_ROLES, request.invalid(f"role {one.get('role')!r} is not supported"))
        require(isinstance(one.get("content"), str | list), request.invalid("content should not be null"))
        silent = one["role"] == "user" and not text_of(one["content"])
        require(not silent, request.invalid("content should not be empty"))
        require(one["role"] != "tool" or one.get("tool_call_id"), request.invalid("tool_call_id is required"))
    require(any(one["role"] == "user" for one in messages), request.invalid("chat content should have a user message"))


def _v2_options_are_known(request: V2) -> None:
    body = request.ask.body
    require(
        not body.get("tools") or conversation.tools_are_sound(body["tools"]),
        request.invalid("tools definition format error"),
    )
    known = body.get("tool_choice", "auto") in ("none", "auto")
    require(known, request.invalid("tool_choice should be none or auto"))
    require(body.get("n", 1) == 1, request.invalid("n should be 1"))
    shaped = not body.get("response_format") or request.ask.model == "MiniMax-Text-01"
    require(shaped, request.invalid("response_format is only supported by MiniMax-Text-01"))


V2.checks = (
    _has_model,
    _messages_are_objects,
    _v2_messages_are_sound,
    _numbers_are_in_range,
    _v2_options_are_known,
    _input_fits,
)


def _pro_messages_are_sound(request: Pro) -> None:
    body = request.ask.body
    for one in [*body["messages"], *(body.get("sample_messages") or [])]:
        _pro_message_is_sound(request, one)
    last = body["messages"][-1]["sender_type"]
    require(last in ("USER", "FUNCTION"), request.invalid("the last message should come from USER or FUNCTION"))


def _pro_message_is_sound(request: Pro, one: Mapping[str, Any]) -> None:
    known = one.get("sender_type") in ("USER", "BOT", "FUNCTION")
    require(known, request.invalid("sender_type should be USER, BOT or FUNCTION"))
    require(one.get("sender_name"), request.invalid("sender_name is required"))
    says = isinstance(one.get("text"), str) and (one["text"] or one.get("function_call"))
    require(says, request.invalid("text should not be empty"))


def _functions_follow_their_call(request: Pro) -> None:
    """A FUNCTION message stands behind the BOT message with the function_call."""
    messages = request.ask.body["messages"]
    for before, one in zip([{}, *messages], messages, strict=False):
        follows = one["sender_type"] != "FUNCTION" or before.get("function_call")
        require(follows, request.invalid("a FUNCTION message should follow a function_call"))


def _bot_is_named(request: MiniMax) -> None:
    body = request.ask.body
    bots: Any = body.get("bot_setting")
    require(conversation.messages_are_objects(bots), request.invalid("bot_setting is required"))
    whole = all(one.get("bot_name") and isinstance(one.get("content"), str) for one in bots)
    require(whole, request.invalid("bot_setting needs bot_name and content"))
    limits: Any = body.get("reply_constraints")
    require(isinstance(limits, dict), request.invalid("reply_constraints is required"))
    require(limits.get("sender_type") == "BOT", request.invalid("reply_constraints sender_type should be BOT"))
    named = limits.get("sender_name") in [one["bot_name"] for one in bots]
    require(named, request.invalid("reply_constraints sender_name should be in bot_setting"))


def _glyph_stands_alone(request: Pro) -> None:
    """glyph excludes stream and functions."""
    body = request.ask.body
    glyph = body["reply_constraints"].get("glyph")
    if glyph:
        field = {"raw": "raw_glyph", "json_value": "json_properties"}.get(
            str(glyph.get("type")) if isinstance(glyph, dict) else "", ""
        )
        require(field and glyph.get(field), request.invalid("glyph definition format error"))
        require(not body.get("stream"), request.invalid("glyph does not support stream"))
        require(not body.get("functions"), request.invalid("glyph does not support functions"))


def _functions_are_sound(request: Pro) -> None:
    body = request.ask.body
    functions = body.get("functions") or []
    require(
        not functions or not request.ask.model.startswith("abab5.5s"),
        request.invalid("functions are not supported by this model"),
    )
    require(isinstance(functions, list), request.invalid("functions definition format error"))
    for one in functions:
        named = isinstance(one, dict) and isinstance(one.get("name"), str) and FUNCTION_NAME.match(one["name"])
        shaped = named and conversation.schema_is_sound(one.get("parameters") or one.get("parameters_str"))
        require(shaped, request.invalid("functions definition format error"))
    mode = request.call_mode
    require(mode.get("type") in ("auto", "specific", "none"), request.invalid("function_call type error"))
    forced = mode.get("type") != "specific" or mode.get("name") in [one["name"] for one in functions]
    require(forced, request.invalid("function_call name is not in functions"))


def _plugins_are_names(request: Pro) -> None:
    plugins = request.ask.body.get("plugins") or []
    named = isinstance(plugins, list) and all(isinstance(one, str) for one in plugins)
    require(named, request.invalid("plugins should be a list of names"))


def _knowledge_base_is_sound(request: MiniMax) -> None:
    given = request.ask.body.get("knowledge_base_param")
    if given is None:
        return
    number = given.get("knowledge_base_id") if isinstance(given, dict) else None
    require(is_count(number), request.invalid("knowledge_base_id should be an integer"))
    require(is_count(given.get("top_k", 5)), request.invalid("top_k should be positive"))
    near = given.get("thresh", 0) in Range(0, 1, low_in=True, high_in=False)
    require(near, request.invalid("thresh should be in [0, 1)"))


Pro.checks = (_has_model, _messages_are_objects, _pro_messages_are_sound, _functions_follow_their_call, _bot_is_named,
              _numbers_are_in_range, _functions_are_sound, _glyph_stands_alone, _plugins_are_names, _knowledge_base_is_sound,
              _input_fits)  # fmt: skip


def _legacy_has_prompt(request: Legacy) -> None:
    body = request.ask.body
    if request.in_pro_form:
        _bot_is_named(request)
        return
    require(isinstance(body.get("prompt"), str) and body["prompt"], request.invalid("prompt should not be empty"))
    names = body.get("role_meta")
    named = isinstance(names, dict) and names.get("user_name") and names.get("bot_name")
    require(named, request.invalid("role_meta needs user_name and bot_name"))


def _legacy_messages_are_sound(request: Legacy) -> None:
    body = request.ask.body
    for one in body["messages"]:
        require(one.get("sender_type") in ("USER", "BOT"), request.invalid("sender_type should be USER or BOT"))
        require(isinstance(one.get("text"), str) and one["text"], request.invalid("text should not be empty"))
    ends = body["messages"][-1]["sender_type"] == "USER" or body.get("continue_last_message") is True
    require(ends, request.invalid("the last message should come from USER"))


def _beams_are_few(request: Legacy) -> None:
    """1 to 3 beams; more than one only on abab5.5s."""
    beams = request.ask.body.get("beam_width", 1)
    allowed = 3 if request.ask.model.startswith("abab5.5s") else 1
    require(is_count(beams) and beams <= allowed, request.invalid("beam_width is out of range"))


def _legacy_fits(request: Legacy) -> None:
    """The prompt and tokens_to_generate together must fit or the call fails."""
    fits = request.input_tokens() + request.limit <= window(request.ask.model)
    require(fits, request.refusal("context_length"))


Legacy.checks = (_has_model, _messages_are_objects, _legacy_messages_are_sound, _legacy_has_prompt, _numbers_are_in_range,
                 _beams_are_few, _knowledge_base_is_sound, _legacy_fits)  # fmt: skip

PATHS: dict[str, type[MiniMax]] = {
    "/v1/text/chatcompletion_v2": V2,
    "/v1/text/chatcompletion_pro": Pro,
    "/v1/text/chatcompletion": Legacy,
}
