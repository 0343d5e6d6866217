# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""chatcompletion_v2 (seed 001, and the vendor's pages of September 2025)."""

from __future__ import annotations

import json

from cnroute.emulator import conversation
from cnroute.emulator.answers import Answer, Call, Turn
from cnroute.emulator.exchange import JSON, Frame, require, text_of
from cnroute.emulator.minimax.checks import has_model, input_fits, messages_are_objects, numbers_are_in_range
from cnroute.emulator.minimax.dialect import MiniMax

SEARCH_RESULTS = [
    {"no": 1, "title": "示例新闻", "url": "https://example.com/news/1", "content": "示例内容一"},
    {"no": 2, "title": "示例百科", "url": "https://example.com/wiki/2", "content": "示例内容二"},
]


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


# -- what the page forbids

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
    has_model,
    messages_are_objects,
    _v2_messages_are_sound,
    numbers_are_in_range,
    _v2_options_are_known,
    input_fits,
)
