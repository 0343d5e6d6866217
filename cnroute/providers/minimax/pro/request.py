"""Requests of chatcompletion_pro."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cnroute.chat import ChatRequest
from cnroute.deployments import Deployment
from cnroute.errors import UnsupportedRequestError
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpRequest
from cnroute.providers.minimax.answers import SERVER_FUNCTION
from cnroute.providers.minimax.base import (
    BOT_NAME,
    USER_NAME,
    flag_option,
    group_endpoint,
    knowledge_base_field,
    lacks,
    name_option,
    posted,
    refuse,
    sampling,
    system_text,
)
from cnroute.providers.minimax.pro.messages import Names, pro_messages
from cnroute.wire import function_tools

NAME = "minimax-pro"
PATH = "/text/chatcompletion_pro"
PAGE = "MiniMax: ChatCompletion Pro"

_REFUSED = {
    "stop": f"no stop words exist ({PAGE})",
    "seed": f"no seed exists ({PAGE})",
    "reasoning": f"its models do not think, and no budget can be set ({PAGE})",
}
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@hookimpl
def build_request(request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
    """The request. `plugins` and `sample_messages` are always there, as in the vendor's samples."""
    refuse(request, _REFUSED)
    adjusted: dict[str, str] = {}
    names = Names(name_option(deployment, "user_name", USER_NAME), _bot_name(request, deployment))
    body: dict[str, Any] = {
        "model": deployment.model,
        "stream": stream,
        "messages": pro_messages(request, names, PAGE),
        "bot_setting": [{"bot_name": names.bot, "content": system_text(request)}],
        "reply_constraints": {"sender_type": "BOT", "sender_name": names.bot} | _glyph(request, stream, adjusted),
        "sample_messages": [],
        "plugins": ["plugin_web_search"] if request.web_search else [],
    }
    body |= sampling(request, deployment, "tokens_to_generate", PAGE, adjusted)
    body |= _functions(request, deployment) | flag_option(deployment, "mask_sensitive_info")
    body |= knowledge_base_field(request.knowledge_base, PAGE, adjusted)
    _check_extra(request, stream)
    return posted(group_endpoint(deployment, PATH), body, request, deployment, adjusted)


def _bot_name(request: ChatRequest, deployment: Deployment) -> str:
    """Who answers: the option's name, or the first bot of an own `bot_setting` that has no bot of that name."""
    name = name_option(deployment, "bot_name", BOT_NAME)
    bots = request.extra.get("bot_setting")
    if not isinstance(bots, Sequence) or isinstance(bots, str):
        return name
    given = [str(bot["bot_name"]) for bot in bots if isinstance(bot, Mapping) and bot.get("bot_name")]
    return name if name in given or not given else given[0]


def _functions(request: ChatRequest, deployment: Deployment) -> dict[str, Any]:
    functions = [dict(function) for function in function_tools(request)]
    if functions and lacks(NAME, deployment.model, "tools"):
        raise UnsupportedRequestError("tools", f"{deployment.model} knows no functions ({PAGE})")
    names = [str(function.get("name")) for function in functions]
    for name in names:
        if not _FUNCTION_NAME.fullmatch(name) or name.startswith(SERVER_FUNCTION):
            raise UnsupportedRequestError(
                "tools", f"a name is [a-zA-Z0-9-_]{{1,64}} and does not begin with {SERVER_FUNCTION} ({PAGE})"
            )
    return ({"functions": functions} if functions else {}) | _function_call(request.tool_choice, names)


def _function_call(choice: str | Mapping[str, Any] | None, names: list[str]) -> dict[str, Any]:
    """`tool_choice` as `function_call`: auto, none, or one function by its name."""
    if choice is None:
        return {}
    if choice in ("auto", "none"):
        return {"function_call": {"type": choice}}
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if name not in names:
        raise UnsupportedRequestError("tool_choice", f"it is auto, none, or one of the functions by name ({PAGE})")
    return {"function_call": {"type": "specific", "name": name}}


def _glyph(request: ChatRequest, stream: bool, adjusted: dict[str, str]) -> dict[str, Any]:
    """`response_format` as a glyph, which lists an object's properties and nothing else of its schema."""
    wanted = request.response_format
    if wanted is None or wanted.get("type") == "text":
        return {}
    if wanted.get("type") != "json_schema":
        raise UnsupportedRequestError("response_format", f"a glyph needs json_schema with the object's properties ({PAGE})")
    if stream or request.tools:
        _refuse_glyph("response_format")
    schema = _schema(wanted)
    if set(schema) - {"type", "properties"}:
        adjusted["response_format"] = f"only the schema's properties are sent, as glyph.json_properties ({PAGE})"
    return {"glyph": {"type": "json_value", "json_properties": schema["properties"]}}


def _schema(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    holder = wanted.get("json_schema", wanted)
    schema = holder.get("schema", {}) if isinstance(holder, Mapping) else {}
    if not isinstance(schema, Mapping) or not schema.get("properties"):
        raise UnsupportedRequestError("response_format", f"a glyph needs an object's properties ({PAGE})")
    return schema


def _check_extra(request: ChatRequest, stream: bool) -> None:
    """A glyph of one's own has the same limits as `response_format`."""
    constraints = request.extra.get("reply_constraints")
    glyph = constraints.get("glyph") if isinstance(constraints, Mapping) else None
    if glyph and (stream or request.tools or request.extra.get("functions")):
        _refuse_glyph("extra")


def _refuse_glyph(parameter: str) -> None:
    raise UnsupportedRequestError(parameter, f"glyph goes with neither streams nor functions ({PAGE})")
