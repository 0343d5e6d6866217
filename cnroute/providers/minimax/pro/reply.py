"""Complete answers of chatcompletion_pro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnroute.chat import ChatCompletion, Source, ToolCall
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
    knowledge_sources,
    usage_of,
    web_sources,
)
from cnroute.providers.minimax.codes import bad_response, request_id_of
from cnroute.providers.minimax.frames import first_choice
from cnroute.wire import dumps, header_request_id, text_or_none

Fields = Mapping[str, Any]


@hookimpl
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
    """The answer: `reply`, else the texts of the messages; a call of the caller's functions, once."""
    data = response.json_or_none()
    if not isinstance(data, dict):
        return bad_response(response, "the body is no JSON object")
    text, calls = whole_text(data), function_calls(data, request_id_of(data))
    if text is None and not calls:
        return bad_response(response, "the answer has no text", data)
    mark = end_mark((first_choice(data) or {}).get("finish_reason"))
    return ChatCompletion(
        text=text or "",
        tool_calls=calls,
        finish_reason=finish_reason(mark, bool(calls)),
        usage=usage_of(data),
        model=text_or_none(data.get("model")),
        id=request_id_of(data),
        request_id=request_id_of(data) or header_request_id(response.headers),
        sources=all_sources(data),
        raw=data,
    )


def messages_of(data: Fields) -> list[dict[str, Any]]:
    """The messages of the first choice."""
    listed = (first_choice(data) or {}).get("messages")
    return [message for message in listed if isinstance(message, dict)] if isinstance(listed, list) else []


def whole_text(data: Fields) -> str | None:
    """The text of a whole answer; None where there is none, not even an empty one."""
    reply = text_or_none(data.get("reply"))
    texts = [message.get("text") for message in messages_of(data) if message.get("sender_type") != "FUNCTION"]
    known = [text for text in texts if isinstance(text, str)]
    return reply or (_glyph_text(data) or "".join(known) if known else None)


def _glyph_text(data: Fields) -> str | None:
    """`glyph_result`, which one page names, beside an empty reply; the samples put the JSON into `reply`."""
    result = data.get("glyph_result")
    return dumps(result).decode() if isinstance(result, dict) and result else text_or_none(result)


def function_calls(data: Fields, answer: str | None) -> tuple[ToolCall, ...]:
    """The calls of the caller's functions. One call stands in its message and again beside the choices."""
    found = [message.get("function_call") for message in messages_of(data)]
    calls = dict.fromkeys(pair for call in [*found, data.get("function_call")] if (pair := own_call(call)))
    return tuple(
        ToolCall(call_id(answer, data, name + arguments, index), name, arguments)
        for index, (name, arguments) in enumerate(calls)
    )


def own_call(call: object) -> tuple[str, str] | None:
    """Name and arguments of a call, None for the server's own plugins."""
    name = text_or_none(call.get("name")) if isinstance(call, dict) else None
    if name is None or name.startswith(SERVER_FUNCTION) or not isinstance(call, dict):
        return None
    return name, arguments_of(call.get("arguments"))


def all_sources(data: Fields) -> tuple[Source, ...]:
    """Chunks of a knowledge base, and the pages that the search plugin put into FUNCTION messages."""
    return knowledge_sources(data) + searched_sources(data)


def searched_sources(data: Fields) -> tuple[Source, ...]:
    """The pages in FUNCTION messages."""
    found = [message.get("text") for message in messages_of(data) if message.get("sender_type") == "FUNCTION"]
    return tuple(source for text in found for source in web_sources(text))
