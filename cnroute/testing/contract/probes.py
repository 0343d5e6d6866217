"""The parameters that requests are tried with, each with two values that can be found again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

HELLO = "请用 JSON 回答:你好"


def tool(name: str) -> dict[str, Any]:
    """A tool whose every part can be found again."""
    schema = {"type": "object", "properties": {f"{name}_city": {"type": "string"}}, "required": [f"{name}_city"]}
    return {"type": "function", "function": {"name": name, "description": f"describes {name}", "parameters": schema}}


def schema(name: str) -> dict[str, Any]:
    """A response format whose property can be found again."""
    inner = {"type": "object", "properties": {name: {"type": "string"}}}
    return {"type": "json_schema", "json_schema": {"name": "kit", "schema": inner}}


@attrs.frozen
class Probe:
    """A parameter with two values; `found` of a value must stand in the body when it is sent as it is."""

    parameter: str
    one: Any
    other: Any
    found: tuple[Any, ...] = ()
    beside: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def label(self) -> str:
        """The parameter as an author writes it."""
        return f"{self.parameter}={self.one!r:.60}"


PROBES = (
    Probe("temperature", 0.37, 0.41, (0.37,)),
    Probe("temperature", 0, 0.41, (0,)),
    Probe("seed", 0, 123458, (0,)),
    Probe("top_p", 0.83, 0.79, (0.83,)),
    Probe("max_tokens", 137, 151, (137,)),
    Probe("stop", ["kit-stop-1", "kit-stop-2"], ["kit-stop-3"], ("kit-stop-1", "kit-stop-2")),
    Probe("seed", 123457, 123458, (123457,)),
    Probe(
        "tools",
        [tool("kit_one"), tool("kit_two")],
        [tool("kit_six")],
        ("kit_one", "describes kit_one", "kit_one_city", "kit_two", "describes kit_two", "kit_two_city"),
    ),
    Probe("tool_choice", "auto", "none", beside={"tools": [tool("kit_one")]}),
    Probe(
        "tool_choice",
        {"type": "function", "function": {"name": "kit_one"}},
        {"type": "function", "function": {"name": "kit_two"}},
        beside={"tools": [tool("kit_one"), tool("kit_two")]},
    ),
    Probe("response_format", {"type": "json_object"}, {"type": "text"}),
    Probe("response_format", schema("kit_field"), schema("kit_other"), ("kit_field",)),
    Probe("reasoning", True, False),
    Probe("reasoning", 1234, 1235, (1234,)),
    Probe("web_search", True, False),
    Probe("knowledge_base", 863831823174049793, 863831823174049794, (863831823174049793,)),
)
