# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""chatcompletion_pro (seed 001, and the vendor's pages of September 2025)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from cnroute.emulator import conversation
from cnroute.emulator.answers import Answer, Tool, Turn, tokens
from cnroute.emulator.exchange import JSON, Frame, require
from cnroute.emulator.minimax.checks import bot_is_named, has_model, input_fits, messages_are_objects, numbers_are_in_range
from cnroute.emulator.minimax.dialect import mask, window
from cnroute.emulator.minimax.retrieval import Retrieving, knowledge_base_is_sound, last_text

FUNCTION_NAME = re.compile(r"(?!plugin_)[a-zA-Z0-9_-]{1,64}\Z")


class Pro(Retrieving):
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
            user=last_text(body["messages"]),
            input_tokens=asked,
            result=body["messages"][-1]["text"] if body["messages"][-1]["sender_type"] == "FUNCTION" else None,
            tool=self._tool(),
            limit=body.get("tokens_to_generate", 256),
            room=max(1, window(self.ask.model) - asked),
            wrap=self._wrap,
            quote=self.quote,
        )

    def input_tokens(self) -> int:
        body = self.ask.body
        said = [one["content"] for one in body["bot_setting"]]
        said += [one["text"] for one in [*(body.get("sample_messages") or []), *body["messages"]]]
        functions = json.dumps(body["functions"], ensure_ascii=False) if body.get("functions") else ""
        return sum(map(tokens, said)) + tokens(functions) + self.retrieved_tokens

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
        return {**document, **flags, **call, **self.knowledge}

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


def _raw_glyph(glyph: Mapping[str, Any], text: str) -> str:
    """A template with ``{{gen 'name'}}`` places."""
    return re.sub(r"\{\{\s*gen[^}]*\}\}", lambda _found: text, str(glyph["raw_glyph"]))


def _json_glyph(glyph: Mapping[str, Any], text: str) -> str:
    properties = glyph["json_properties"]
    return json.dumps(dict.fromkeys(properties, text), ensure_ascii=False)


GLYPHS: dict[str, Callable[[Mapping[str, Any], str], str]] = {"raw": _raw_glyph, "json_value": _json_glyph}


# -- what the page forbids


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


Pro.checks = (has_model, messages_are_objects, _pro_messages_are_sound, _functions_follow_their_call, bot_is_named,
              numbers_are_in_range, _functions_are_sound, _glyph_stands_alone, _plugins_are_names, knowledge_base_is_sound,
              input_fits)  # fmt: skip
