"""Complete answers of chatcompletion_v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from cnroute.providers.minimax.codes import bad_response, decoded, request_id_of
from cnroute.wire import header_request_id, text_or_none

Fields = Mapping[str, Any]


@hookimpl
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
    """The answer: the first message that is no material of a web search."""
    data = decoded(response)
    if not isinstance(data, dict):
        return bad_response(response, "the body is no JSON object")
    answers = [answer for pair in _pairs(data) if (answer := _choice(data, *pair)) is not None]
    answers.sort(key=lambda answer: answer.index)
    if not answers:
        return bad_response(response, "the answer has no message", data)
    return ChatCompletion(
        **_first(answers[0]),
        usage=usage_of(data),
        model=text_or_none(data.get("model")),
        id=request_id_of(data),
        request_id=request_id_of(data) or header_request_id(response.headers),
        sources=_sources(data),
        choices=answers if len(answers) > 1 else (),
        raw=data,
    )


def _first(choice: Choice) -> dict[str, Any]:
    message = choice.message
    return {
        "text": message.text,
        "reasoning": message.reasoning or "",
        "tool_calls": message.tool_calls,
        "finish_reason": choice.finish_reason,
    }


def _pairs(data: Fields) -> list[tuple[int, Fields, Fields]]:
    """Number, choice and message of every message in `choices`."""
    choices = data.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return [
        (number, choice, choice["message"])
        for number, choice in enumerate(found)
        if isinstance(choice.get("message"), dict)
    ]


def _sources(data: Fields) -> tuple[Source, ...]:
    tools = [message for _, _, message in _pairs(data) if message.get("role") == "tool"]
    return tuple(source for message in tools for source in web_sources(message.get("content")))


def _choice(data: Fields, number: int, choice: Fields, message: Fields) -> Choice | None:
    """One message as a Choice; None for search material and for what has neither text nor calls."""
    text, reasoning = text_of(message.get("content")), text_or_none(message.get("reasoning_content"))
    calls = _calls(message, data)
    empty = message.get("content") is None and (calls or reasoning)
    searching = not text and not calls and bool(message.get("tool_calls"))
    if message.get("role") == "tool" or searching or (text is None and not empty):
        return None
    found = Message("assistant", text or "", None, calls, None, reasoning)
    return Choice(number, found, finish_reason(end_mark(choice.get("finish_reason")), bool(calls)))


def _calls(message: Fields, data: Fields) -> tuple[ToolCall, ...]:
    listed = message.get("tool_calls")
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
