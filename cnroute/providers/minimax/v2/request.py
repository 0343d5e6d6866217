"""Requests of chatcompletion_v2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cnroute.chat import ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.errors import UnsupportedRequestError
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpRequest
from cnroute.providers.minimax.base import endpoint, flag_option, posted, refuse, sampling
from cnroute.wire import function_tools, openai_call

NAME = "minimax-v2"
PATH = "/text/chatcompletion_v2"
PAGE = "MiniMax: Text generation, chatcompletion_v2"

_REFUSED = {
    "stop": f"no stop words are documented; extra can send the field anyway ({PAGE})",
    "seed": f"no seed is documented ({PAGE})",
    "knowledge_base": f"knowledge bases belong to minimax-pro and minimax-legacy ({PAGE})",
}
# M1, M2.x and M3 think before they answer, and cannot be told not to.
_THINKS = re.compile(r"MiniMax-M\d")
_JSON_MODEL = "MiniMax-Text-01"
_PARTS = ("text", "image_url")


@hookimpl
def build_request(request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
    """The request, without GroupId. Usage comes with streams only when asked for (`stream_options`)."""
    refuse(request, _REFUSED)
    _check_reasoning(request.reasoning, deployment.model)
    adjusted: dict[str, str] = {}
    body: dict[str, Any] = {"model": deployment.model, "messages": _messages(request)}
    if request.tools or request.web_search:
        body["tools"] = _tools(request)
    body |= _tool_choice(request)
    body |= _response_format(request, deployment.model)
    body |= sampling(request, deployment, "max_tokens", PAGE, adjusted)
    body |= flag_option(deployment, "mask_sensitive_info")
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    return posted(endpoint(deployment, PATH), body, request, deployment, adjusted)


def _check_reasoning(reasoning: bool | int | None, model: str) -> None:
    thinks = _THINKS.match(model) is not None
    if reasoning is None or reasoning is thinks:
        return
    reason = "no thinking budget can be set" if not isinstance(reasoning, bool) else "its thinking cannot be switched"
    raise UnsupportedRequestError("reasoning", f"{model} thinks {'always' if thinks else 'never'}: {reason} ({PAGE})")


def _messages(request: ChatRequest) -> list[dict[str, Any]]:
    fields = [_message(message) for message in request.messages]
    if "user" not in [field["role"] for field in fields]:
        raise UnsupportedRequestError("messages", f"at least one user message is needed ({PAGE})")
    return fields


def _message(message: Message) -> dict[str, Any]:
    content = message.content
    fields: dict[str, Any] = {"role": message.role, "content": content if type(content) is str else _content(message)}
    if message.name:
        fields["name"] = message.name
    if message.tool_calls:
        fields["tool_calls"] = [openai_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _content(message: Message) -> Any:
    """Text, or parts as they are; never null, which the vendor refuses."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part["type"] not in _PARTS:
            raise UnsupportedRequestError("messages", f"a part is text or image_url, not {part['type']} ({PAGE})")
    return [dict(part) for part in message.content]


def _tools(request: ChatRequest) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = [{"type": "function", "function": dict(each)} for each in function_tools(request)]
    if request.web_search:
        tools.append({"type": "web_search"})
    return tools


def _tool_choice(request: ChatRequest) -> dict[str, Any]:
    if request.tool_choice is None:
        return {}
    if request.tool_choice not in ("none", "auto"):
        raise UnsupportedRequestError("tool_choice", f"only none and auto exist ({PAGE})")
    return {"tool_choice": request.tool_choice}


def _response_format(request: ChatRequest, model: str) -> dict[str, Any]:
    wanted: Mapping[str, Any] | None = request.response_format
    if wanted is None or wanted.get("type") == "text":
        return {}
    if wanted.get("type") != "json_schema":
        raise UnsupportedRequestError("response_format", f"only json_schema exists ({PAGE}, 2025-09)")
    if not model.startswith(_JSON_MODEL):
        raise UnsupportedRequestError("response_format", f"only {_JSON_MODEL} takes a json_schema ({PAGE}, 2025-09)")
    return {"response_format": dict(wanted)}
