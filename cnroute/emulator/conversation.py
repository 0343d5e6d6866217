"""Readings that DashScope and MiniMax v2 share: role messages, tools, tool choice (seeds 000, 001, 002)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cnroute.emulator.answers import Tool, tokens
from cnroute.emulator.exchange import text_of

Messages = Sequence[Mapping[str, Any]]


def last_user(messages: Messages) -> str:
    """The text of the last user message."""
    return next((text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user"), "")


def tool_result(messages: Messages) -> str | None:
    """The content of the last message if it is the result of a tool."""
    last = messages[-1] if messages else {}
    return text_of(last.get("content")) if last.get("role") == "tool" else None


def input_tokens(messages: Messages, tools: object = None) -> int:
    """All message texts, and the tools as JSON where there are some."""
    offered = tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0
    return offered + sum(tokens(text_of(message.get("content"))) for message in messages)


def chosen_tool(tools: object, choice: object) -> Tool | None:
    """The function that the model will call: the forced one, else the first; none if the choice is ``none``."""
    functions = [tool["function"] for tool in tools or () if tool.get("type", "function") == "function"]  # type: ignore
    if not functions or choice == "none":
        return None
    wanted = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else None
    found = next((function for function in functions if function["name"] == wanted), functions[0])
    return Tool(found["name"], schema_of(found.get("parameters")))


def schema_of(parameters: object) -> Mapping[str, Any]:
    """A schema given as an object or, on older servers, as JSON text."""
    if isinstance(parameters, str):
        parameters = json.loads(parameters)
    return parameters if isinstance(parameters, Mapping) else {}


def tools_are_sound(tools: object) -> bool:
    """A list of function objects with names and readable schemas, or server-side tools."""
    return isinstance(tools, list) and all(_is_sound(tool) for tool in tools)


def _is_sound(tool: object) -> bool:
    if not isinstance(tool, Mapping):
        return False
    if tool.get("type", "function") != "function":
        return isinstance(tool["type"], str)
    function = tool.get("function")
    return isinstance(function, Mapping) and bool(function.get("name")) and schema_is_sound(function.get("parameters"))


def schema_is_sound(parameters: object) -> bool:
    """Absent, an object, or the JSON text of an object."""
    if not isinstance(parameters, str):
        return parameters is None or isinstance(parameters, Mapping)
    try:
        return isinstance(json.loads(parameters), dict)
    except ValueError:
        return False


def messages_are_objects(messages: object) -> bool:
    """A non-empty list of objects."""
    return isinstance(messages, list) and bool(messages) and all(isinstance(one, Mapping) for one in messages)
