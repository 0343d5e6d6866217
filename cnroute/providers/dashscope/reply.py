"""A complete answer into a completion, and the readers of single fields that streams share.

Rules of this file
- Field by field and by type: nothing here raises on a missing or wrong field, except `NotAnAnswer` on purpose.
- An answer has text, or reasoning, or tool calls, in the message form (`choices`) or the older text form (`text`).
- A finish reason is the vendor's or None: a word that no page knows is None, and can be seen in `raw`.
"""

from __future__ import annotations

import operator
from typing import Any

from cnroute.chat import ChatCompletion, Choice, Message, Source, ToolCall, Usage
from cnroute.deployments import Deployment
from cnroute.errors import ResponseError
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpResponse
from cnroute.wire import MAX_TOKENS_SEEN, dumps, header_request_id, text_or_none, usage_from

FINISH_REASONS = {word: word for word in ("stop", "length", "tool_calls", "content_filter")}
MAX_INDEX = 1000


class NotAnAnswer(Exception):
    """The JSON is no answer of DashScope; the text says why."""


@hookimpl
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
    """The completion, or a `bad_response` for a body that is no answer."""
    body: Any = None
    try:
        body = response.json()
        return _completion(body, response)
    except ResponseError as error:
        reason = error.message
    except NotAnAnswer as error:
        reason = str(error)
    request_id = _request_id(body, response)
    return Failure(FailureKind.BAD_RESPONSE, reason, http_status=response.status, request_id=request_id)


def _request_id(body: Any, response: HttpResponse) -> str | None:
    said = text_or_none(body.get("request_id")) if isinstance(body, dict) else None
    return said or header_request_id(response.headers)


def _completion(body: Any, response: HttpResponse) -> ChatCompletion:
    output = body.get("output") if isinstance(body, dict) else None
    if not isinstance(output, dict):
        raise NotAnAnswer("the answer has no output")
    choices = sorted(_choices(output), key=operator.attrgetter("index"))
    first = choices[0]
    return ChatCompletion(
        text=first.message.text, reasoning=first.message.reasoning or "", tool_calls=first.message.tool_calls,
        finish_reason=first.finish_reason, usage=usage_of(body.get("usage")),
        id=text_or_none(body.get("request_id")), request_id=_request_id(body, response),
        sources=tuple(sources_of(output)), choices=choices if len(choices) > 1 else (), raw=body,
    )  # fmt: skip


def _choices(output: dict[str, Any]) -> list[Choice]:
    rows = rows_of(output)
    if not rows:
        raise NotAnAnswer("the answer has neither choices nor text")
    return [_choice(row, position) for position, row in enumerate(rows)]


def rows_of(output: dict[str, Any]) -> list[Any]:
    """The choices of an output; one made of the text form if there are none; `[]` if there is neither."""
    rows = output.get("choices")
    if rows:
        if not isinstance(rows, list):
            raise NotAnAnswer("choices is not a list")
        return rows
    if output.get("text") is None and not word_of(output.get("finish_reason")):
        return []
    return [{"message": {"content": output.get("text")}, "finish_reason": output.get("finish_reason")}]


def _choice(row: Any, position: int) -> Choice:
    message = row.get("message") if isinstance(row, dict) else None
    if not isinstance(message, dict):
        raise NotAnAnswer("a choice has no message")
    reasoning, calls = text_of(message.get("reasoning_content")), _tool_calls(message.get("tool_calls"))
    content = text_of(message.get("content"))
    if content is None and not calls and not reasoning:
        raise NotAnAnswer("a message has no content")
    finish = neutral(word_of(row.get("finish_reason")), bool(calls))
    return Choice(index_of(row, position), Message("assistant", content or "", None, calls, None, reasoning), finish)


def text_of(content: object) -> str | None:
    """Content as text; a list of parts is joined. None is none; anything else is no answer."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise NotAnAnswer("content is neither text nor a list of parts")
    return "".join(part["text"] for part in content if isinstance(part.get("text"), str))


def index_of(row: dict[str, Any], position: int) -> int:
    """A choice's index; Qwen leaves it out, and its position counts."""
    index = row.get("index")
    return index if type(index) is int and 0 <= index < MAX_INDEX else position


def word_of(finish: object) -> str | None:
    """The vendor's finish reason; the *string* `"null"` means "not finished", like JSON null."""
    return finish if isinstance(finish, str) and finish and finish != "null" else None


def neutral(word: str | None, has_calls: bool) -> str | None:
    """The neutral word for the vendor's; an answer that carries calls under `stop` ended for them."""
    reason = FINISH_REASONS.get(word) if word else None
    return "tool_calls" if reason == "stop" and has_calls else reason


def _tool_calls(calls: object) -> tuple[ToolCall, ...]:
    if not calls:
        return ()
    if not isinstance(calls, list):
        raise NotAnAnswer("tool_calls is not a list")
    return tuple(_tool_call(call, position) for position, call in enumerate(calls))


def _tool_call(call: Any, position: int) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise NotAnAnswer("a tool call has no function")
    name = text_or_none(function.get("name"))
    if name is None:
        raise NotAnAnswer("a tool call has no name")
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else "" if arguments is None else dumps(arguments).decode()
    return ToolCall(text_or_none(call.get("id")) or invented_id(index_of(call, position)), name, text)


def invented_id(index: int) -> str:
    """The id of a call to which the vendor gave none, the same each time."""
    return f"call_{index}"


def usage_of(usage: object) -> Usage | None:
    """Tokens as the vendor counted them. Nothing but zeros is its placeholder for "not counted"."""
    if not isinstance(usage, dict):
        return None
    given, made, total = usage.get("input_tokens"), usage.get("output_tokens"), usage.get("total_tokens")
    if type(given) is type(made) is type(total) is int and len(usage) == 3:  # once for each event of a stream
        if 0 < given < total < MAX_TOKENS_SEEN and 0 < made < total:
            return Usage(given, made, total)
    if not given and not made and not total:
        return None
    cached, reasoning = usage.get("prompt_tokens_details"), usage.get("output_tokens_details")
    counted = _inner(_inner(usage.get("plugins"), "search"), "count")
    parts = _inner(cached, "cached_tokens"), _inner(reasoning, "reasoning_tokens"), counted
    return usage_from(given, made, total or None, *parts)


def _inner(details: object, key: str) -> object:
    return details.get(key) if isinstance(details, dict) else None


def sources_of(output: dict[str, Any]) -> list[Source]:
    """The web pages of `output.search_info.search_results`."""
    results = _inner(output.get("search_info"), "search_results")
    return [_source(page) for page in results if isinstance(page, dict)] if isinstance(results, list) else []


def _source(page: dict[str, Any]) -> Source:
    index = page.get("index")
    return Source(
        "web_search", document=text_or_none(page.get("site_name")), index=index if type(index) is int else None,
        title=text_or_none(page.get("title")), url=text_or_none(page.get("url")),
    )  # fmt: skip
