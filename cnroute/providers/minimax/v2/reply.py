"""Complete answers of chatcompletion_v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cnroute.chat import ChatCompletion, Choice, Message, Source, ToolCall
from cnroute.deployments import Deployment
from cnroute.failures import Failure
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpResponse
from cnroute.providers.minimax.answers import (
    SERVER_FUNCTION,
    arguments_of,
    call_id,
    end_mark,
    finish_reason,
    text_of,
    usage_of,
    web_sources,
)
from cnroute.providers.minimax.codes import bad_response, request_id_of
from cnroute.wire import header_request_id, text_or_none

Fields = Mapping[str, Any]


@hookimpl
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
    """The answer: the first message that is no material of a web search."""
    data = response.json_or_none()
    if not isinstance(data, dict):
        return bad_response(response, "the body is no JSON object")
    pairs = _pairs(data)
    answers = [answer for pair in pairs if (answer := _answer(data, *pair)) is not None]
    if not answers:
        return bad_response(response, "the answer has no message", data)
    first, request_id = answers[0], request_id_of(data)
    return ChatCompletion(
        first.text, first.reasoning or "", first.calls, first.finish, usage_of(data),
        text_or_none(data.get("model")), request_id, request_id or header_request_id(response.headers), _sources(pairs),
        tuple(answer.choice() for answer in answers) if len(answers) > 1 else (), data,
    )


@attrs.define(eq=False)
class _Answer:
    """What one choice says."""

    number: int
    text: str
    reasoning: str | None
    calls: tuple[ToolCall, ...]
    finish: str | None

    def choice(self) -> Choice:
        """The same in the public layout, for answers that have several."""
        return Choice(self.number, Message("assistant", self.text, None, self.calls, None, self.reasoning), self.finish)


def _pairs(data: Fields) -> list[tuple[int, Fields, Fields]]:
    """Number, choice and message of every message in `choices`."""
    choices = data.get("choices")
    if not isinstance(choices, list):
        return []
    return [
        (number, choice, choice["message"])
        for number, choice in enumerate(choices)
        if isinstance(choice, dict) and isinstance(choice.get("message"), dict)
    ]


def _sources(pairs: list[tuple[int, Fields, Fields]]) -> tuple[Source, ...]:
    if len(pairs) < 2:  # material and answer are two messages
        return ()
    tools = [message for _, _, message in pairs if message.get("role") == "tool"]
    return tuple(source for message in tools for source in web_sources(message.get("content")))


def _answer(data: Fields, number: int, choice: Fields, message: Fields) -> _Answer | None:
    """What one message says; None for search material and for what has neither text nor calls."""
    text, reasoning = text_of(message.get("content")), text_or_none(message.get("reasoning_content"))
    calls = _calls(message, data)
    empty = message.get("content") is None and (calls or reasoning)
    searching = not text and not calls and bool(message.get("tool_calls"))
    if message.get("role") == "tool" or searching or (text is None and not empty):
        return None
    return _Answer(number, text or "", reasoning, calls, finish_reason(end_mark(choice.get("finish_reason")), bool(calls)))


def _calls(message: Fields, data: Fields) -> tuple[ToolCall, ...]:
    listed = message.get("tool_calls")
    if not listed:
        return ()
    own = [call for call in listed if is_own_call(call)] if isinstance(listed, list) else []
    return tuple(_call(call, data, index) for index, call in enumerate(own))


def is_own_call(call: object) -> bool:
    """True for a call of one of the caller's functions, False for the server's own web search."""
    if not isinstance(call, dict) or call.get("type") not in (None, "", "function"):
        return False
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return isinstance(name, str) and bool(name) and not name.startswith(SERVER_FUNCTION)


def _call(call: Fields, data: Fields, index: int) -> ToolCall:
    name, arguments = call["function"]["name"], arguments_of(call["function"].get("arguments"))
    given = text_or_none(call.get("id"))
    return ToolCall(given or call_id(request_id_of(data), data, name + arguments, index), name, arguments)
