"""A call into DashScope's HTTP request.

    POST {base}/services/aigc/text-generation/generation
    {"model": ..., "input": {"messages": [...]}, "parameters": {...}}

Rules of this file
- Every neutral parameter is sent, mapped, or refused by name; the tables are `_SIMPLE` and `_SPECIAL`.
- There is no `stream` field: streams are asked for by the header X-DashScope-SSE (DashScope SDK).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cnroute.chat import ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.errors import UnsupportedRequestError
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpRequest
from cnroute.providers.dashscope.models import Family, family_of
from cnroute.wire import function_tools, merged, openai_call

_PATH = "/services/aigc/text-generation/generation"
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,1024}")


@hookimpl
def build_request(request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
    """The same bytes for the same arguments. Raises UnsupportedRequestError naming what cannot be sent."""
    family, adjusted = family_of(deployment.model), dict[str, str]()
    parameters = _parameters(request, family, adjusted)
    if family.native:
        # As the SDK's 2.x code always does; Qwen's own default is the old text form.
        parameters["result_format"] = "message"
        if stream:
            parameters["incremental_output"] = True
    messages = [_message(number, message, family) for number, message in enumerate(request.messages, 1)]
    _note_unsent(request.messages, adjusted)
    body = {"model": deployment.model, "input": {"messages": messages}, "parameters": parameters}
    return HttpRequest.post_json(
        f"{deployment.base_url}{_PATH}", merged(body, _allowed(request.extra)) if request.extra else body,
        bearer=deployment.api_key, headers=_headers(deployment, stream), adjusted=adjusted,
    )  # fmt: skip


# Headers

def _headers(deployment: Deployment, stream: bool) -> dict[str, str]:
    headers = {"X-DashScope-SSE": "enable", "Accept": "text/event-stream"} if stream else {}
    workspace = deployment.options.get("workspace")
    if workspace not in (None, ""):
        headers["X-DashScope-WorkSpace"] = _header_value("workspace", workspace)
    inspection = deployment.options.get("data_inspection")
    if _is_wanted(inspection):
        headers["X-DashScope-DataInspection"] = "enable"
    return headers


# What the option may be; text comes from variables.
_INSPECTION = {"": False, "false": False, "0": False, "true": True, "1": True, "enable": True}


def _is_wanted(inspection: object) -> bool:
    word = "" if inspection is None else str(inspection).lower()
    if word not in _INSPECTION or not isinstance(inspection, bool | str | None):
        raise UnsupportedRequestError("options.data_inspection", "must be true or false")
    return _INSPECTION[word]


def _header_value(option: str, value: object) -> str:
    if isinstance(value, str) and _HEADER_SAFE.fullmatch(value):
        return value
    raise UnsupportedRequestError(f"options.{option}", "must be visible ASCII characters without blanks")


# Messages

def _message(number: int, message: Message, family: Family) -> dict[str, Any]:
    usual = type(message.content) is str and message.content and message.role != "tool" and not message.tool_calls
    if not usual:
        _check_message(f"message {number} ({message.role})", message, family)
    fields: dict[str, Any] = {"role": message.role, "content": message.content if usual else message.text}
    if message.tool_calls:
        fields["tool_calls"] = [openai_call(call) for call in message.tool_calls]
    if message.role == "tool":
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _check_message(place: str, message: Message, family: Family) -> None:
    of_tools = message.role == "tool" or bool(message.tool_calls)
    rules = (
        (not message.only_text, "has parts that are no text"),
        (of_tools and "tools" not in family.takes, "belongs to a tool call, which this model does not know"),
        (not message.text and not of_tools, "has empty content, which DashScope refuses"),
    )
    for wrong, reason in rules:
        if wrong:
            raise UnsupportedRequestError("messages", f"{place} {reason} ({family.page})")


def _note_unsent(messages: tuple[Message, ...], adjusted: dict[str, str]) -> None:
    """DashScope's messages have no place for a name, nor for the reasoning of earlier turns."""
    for field in ("name", "reasoning"):
        if any([getattr(message, field) for message in messages]):  # noqa: C419 (a generator costs twice as much)
            adjusted[f"messages.{field}"] = f"left out: DashScope's messages have no {field}"


# Parameters

def _parameters(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    if request.knowledge_base is not None:
        raise UnsupportedRequestError("knowledge_base", f"DashScope's text generation has none ({family.page})")
    parameters: dict[str, Any] = {}
    for name in (*_SIMPLE, *_SPECIAL):
        value = getattr(request, name)
        if value is None or (name not in family.takes and value in _NOTHING_ASKED.get(name, ())):
            continue
        if name not in family.takes:
            raise UnsupportedRequestError(name, f"this model takes only {_listing(family)} ({family.page})")
        parameters |= _SPECIAL[name](request, family, adjusted) if name in _SPECIAL else {name: value}
    return parameters


# What a model that does not know a parameter does anyway.
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "web_search": (False,),
    "reasoning": (False,),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
}


def _listing(family: Family) -> str:
    return ", ".join(name for name in (*_SPECIAL, *_SIMPLE) if name in family.takes)


def _temperature(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    return {"temperature": family.temperature.fit("temperature", request.temperature or 0, adjusted)}


def _top_p(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    return {"top_p": family.top_p.fit("top_p", request.top_p or 0, adjusted)}


def _max_tokens(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    asked, cap = request.max_tokens or 0, family.max_tokens
    if cap is not None and asked > cap:
        raise UnsupportedRequestError("max_tokens", f"{asked} is above this model's limit of {cap} ({family.page})")
    return {"max_tokens": asked}


def _stop(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    return {"stop": list(request.stop or ())}


def _tools(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function} for function in function_tools(request)]}


def _response_format(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    """JSON mode: the vendor refuses it unless a message says the word "json" (Model Studio error-code page)."""
    chosen = request.response_format or {}
    if chosen.get("type") not in ("text", "json_object", "json_schema"):
        reason = f"its type must be text, json_object or json_schema ({family.page})"
        raise UnsupportedRequestError("response_format", reason)
    said = any("json" in message.text.lower() for message in request.messages)
    if chosen["type"] == "json_object" and not said:
        raise UnsupportedRequestError(
            "response_format", 'json_object needs the word "json" in a message (Model Studio error-code page)'
        )
    return {"response_format": chosen}


def _reasoning(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    """A switch and a budget; a budget of 0 switches thinking off."""
    asked = request.reasoning
    if family.always_thinks:
        if asked is True:
            return {}
        raise UnsupportedRequestError("reasoning", f"this model always thinks, and takes no budget ({family.page})")
    budget = {"thinking_budget": asked} if asked and asked is not True else {}
    return {"enable_thinking": bool(asked), **budget}


def _web_search(request: ChatRequest, family: Family, adjusted: dict[str, str]) -> dict[str, Any]:
    if family.always_searches:
        if request.web_search:
            return {}
        raise UnsupportedRequestError("web_search", f"this model searches by itself ({family.page})")
    return {"enable_search": request.web_search}


# Sent as they are, under the same name.
_SIMPLE = ("seed", "tool_choice")

_SPECIAL: dict[str, Callable[[ChatRequest, Family, dict[str, str]], dict[str, Any]]] = {
    "temperature": _temperature,
    "top_p": _top_p,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "tools": _tools,
    "response_format": _response_format,
    "reasoning": _reasoning,
    "web_search": _web_search,
}


# Raw fields

def _allowed(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """`extra`, unless it would replace what the call itself says."""
    told = extra.get("input", {})
    names = [name for name in ("model", "stream", "messages") if name in extra]
    if not isinstance(told, Mapping) or "messages" in told:
        names.append("input.messages")
    if names:
        raise UnsupportedRequestError("extra", f"{' and '.join(names)} may not be set by extra")
    return extra
