"""A complete answer into a completion, and the readers of single fields that streams share.

Rules of this file
- Field by field and by type: nothing here raises on a missing or wrong field, except `NotAnAnswer` on purpose.
- A finish reason is the vendor's or None. Some finish reasons are no end of an answer but a failure of the vendor.
- Usage is what was counted: nothing but zeros is a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnroute import ChatCompletion, Choice, Failure, FailureKind, Message, Source, ToolCall, Usage
from cnroute.wire import dumps, text_or_none, usage_from
from cnroute_openai_compatible.vendor import Vendor

K = FailureKind
Fields = Mapping[str, Any]

# OpenAI's words, with the older one for tools.
_FINISH: Mapping[str, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_MOST_CHOICES = 1000


class NotAnAnswer(Exception):
    """The JSON is no chat completion; the text says why."""


def failed_answer(vendor: Vendor, data: Any, request_id: str | None) -> Failure | None:
    """The failure that a finish reason of a complete answer stands for, if one does."""
    rows = data.get("choices") if isinstance(data, dict) else None
    found = next(filter(None, (failed(vendor, row) for row in rows)), None) if isinstance(rows, list) else None
    if found is not None:
        found.request_id = request_id
    return found


def completion(vendor: Vendor, data: Any, request_id: str | None) -> ChatCompletion:
    """The answer. Raises NotAnAnswer."""
    rows = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not rows:
        raise NotAnAnswer("the answer has no choices")
    choices = sorted((_choice(vendor, row, place) for place, row in enumerate(rows)), key=lambda choice: choice.index)
    first = choices[0].message
    return ChatCompletion(
        text=first.text, reasoning=first.reasoning or "", tool_calls=first.tool_calls, finish_reason=choices[0].finish_reason,
        usage=usage_of(vendor, data), model=text_or_none(data.get("model")), id=text_or_none(data.get("id")),
        request_id=request_id, sources=sources_of(data),
        choices=choices if len(choices) > 1 else (), raw=data,
    )  # fmt: skip


def failed(vendor: Vendor, row: Any) -> Failure | None:
    """The failure that a choice's finish reason stands for, if it does."""
    mark = row.get("finish_reason") if isinstance(row, dict) else None
    kind = vendor.finish.get(mark) if isinstance(mark, str) else None
    if not isinstance(kind, FailureKind):
        return None
    # The model has worked, so it may be charged.
    return Failure(kind, f"the answer was given up: finish_reason {mark}", vendor_code=str(mark), billing="unknown")


def _choice(vendor: Vendor, row: Any, place: int) -> Choice:
    message = row.get("message") if isinstance(row, dict) else None
    if not isinstance(message, dict):
        raise NotAnAnswer("a choice has no message")
    calls, thoughts = _calls(message), thought_of(vendor, message)
    text, mark = text_of(message.get("content")), row.get("finish_reason")
    if text is None and not calls and not thoughts and not mark:
        raise NotAnAnswer("a message has no content")
    found = Message("assistant", text or "", None, calls, None, thoughts or None)
    return Choice(index_of(row, place), found, reason_of(vendor, mark, bool(calls)))


def index_of(row: Fields, place: int) -> int:
    """A choice's index, else its position."""
    index = row.get("index")
    return index if type(index) is int and 0 <= index < _MOST_CHOICES else place


def reason_of(vendor: Vendor, mark: object, called: bool) -> str | None:
    """The neutral word for the vendor's; an answer that calls tools under `stop` ended for them."""
    if not isinstance(mark, str):
        return None
    word = vendor.finish.get(mark) or _FINISH.get(mark)
    if isinstance(word, FailureKind):
        return None
    return "tool_calls" if called and word == "stop" else word


def text_of(content: object) -> str | None:
    """Content as text; the texts of a list of parts joined. None is none; anything else is no answer."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise NotAnAnswer("content is neither text nor a list of parts")
    return "".join(part["text"] for part in content if isinstance(part.get("text"), str))


def thought_of(vendor: Vendor, message: Fields) -> str:
    """The first field of thoughts that says something: a text, or a list of parts with `text`."""
    for field in vendor.reasoning:
        value = message.get(field)
        if isinstance(value, list):
            value = "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
        if value and isinstance(value, str):
            return value
    return ""


def _calls(message: Fields) -> tuple[ToolCall, ...]:
    """The caller's tools that are called; the older single `function_call` is one without an id."""
    listed = message.get("tool_calls")
    if not listed and isinstance(message.get("function_call"), dict):
        listed = [{"function": message["function_call"]}]
    if not listed:
        return ()
    if not isinstance(listed, list):
        raise NotAnAnswer("tool_calls is not a list")
    return tuple(_call(call, place) for place, call in enumerate(listed) if not _is_servers(call))


def _is_servers(call: Any) -> bool:
    """A tool that the vendor runs by itself, such as its web search."""
    return isinstance(call, dict) and call.get("type") not in (None, "", "function")


def _call(call: Any, place: int) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    name = text_or_none(function.get("name")) if isinstance(function, dict) else None
    if name is None or not isinstance(function, dict):
        raise NotAnAnswer("a tool call has no name")
    return ToolCall(text_or_none(call.get("id")) or invented_id(place), name, arguments_of(function.get("arguments")))


def arguments_of(value: object) -> str:
    """The arguments of a call as JSON text; some servers send the object itself."""
    return value if isinstance(value, str) else "" if value is None else dumps(value).decode()


def invented_id(place: int) -> str:
    """The id of a call to which the vendor gave none, the same each time."""
    return f"call_{place}"


def usage_of(vendor: Vendor, data: Fields) -> Usage | None:
    """The tokens that an answer or a chunk speaks of; Moonshot's chunks have them in their choice."""
    usage = data.get("usage")
    if not usage:
        rows = data.get("choices")
        usage = rows[0].get("usage") if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None
    if not isinstance(usage, dict):
        return None
    given, made, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if not given and not made and not total:
        return None
    cached = next((value for place in vendor.cached if (value := _at(usage, place)) is not None), None)
    return usage_from(given, made, total or None, cached, _at(usage, "completion_tokens_details.reasoning_tokens"))


def _at(usage: Fields, place: str) -> object:
    group, _, name = place.rpartition(".")
    details = usage.get(group) if group else usage
    return details.get(name) if isinstance(details, dict) else None


def sources_of(data: Fields) -> tuple[Source, ...]:
    """The pages of a web search: Zhipu's `web_search`, DashScope's `search_info.search_results`."""
    info = data.get("search_info")
    pages = data.get("web_search") or (info.get("search_results") if isinstance(info, dict) else None)
    return tuple(_page(page) for page in pages if isinstance(page, dict)) if isinstance(pages, list) else ()


def _page(page: Fields) -> Source:
    index = page.get("index")
    return Source(
        "web_search", text=text_or_none(page.get("content")), index=index if type(index) is int else None,
        document=text_or_none(page.get("site_name")) or text_or_none(page.get("media")),
        title=text_or_none(page.get("title")), url=text_or_none(page.get("url")) or text_or_none(page.get("link")),
    )  # fmt: skip
