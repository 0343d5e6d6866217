"""The conversations that requests are tried with: shapes, roles, odd texts, tool turns."""

from __future__ import annotations

from typing import Any

_MEGABYTE = "长" * 350_000


def user(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": text}


def turns() -> list[dict[str, Any]]:
    """A short talk."""
    return [{"role": "system", "content": "JSON"}, user("one"), {"role": "assistant", "content": "two"}, user("three")]


SHAPES: dict[str, list[dict[str, Any]]] = {
    "one message": [user("kit-u1 你好, JSON")],
    "a system message first": [{"role": "system", "content": "kit-s1 JSON"}, user("kit-u1")],
    "two system messages": [{"role": "system", "content": "kit-s1"}, {"role": "system", "content": "kit-s2"}, user("kit-u1")],
    "only a system message": [{"role": "system", "content": "kit-s1"}],
    "a system message in the middle": [user("kit-u1"), {"role": "system", "content": "kit-s1"}, user("kit-u2")],
    "the same role twice": [user("kit-u1"), user("kit-u2")],
    "several turns": [
        {"role": "system", "content": "kit-s1"},
        user("kit-u1"),
        {"role": "assistant", "content": "kit-a1"},
        user("kit-u2"),
        {"role": "assistant", "content": "kit-a2"},
        user("kit-u3"),
    ],
    "blanks and line ends around the text": [user("  kit-u1 \n\t")],
    "parts of text": [{"role": "user", "content": [{"type": "text", "text": "kit-u1"}, {"type": "text", "text": "kit-u2"}]}],
    "the assistant's last word": [user("kit-u1"), {"role": "assistant", "content": "kit-a1"}],
}
# What every vendor can take: a provider that refuses it would be of no use.
ALWAYS = ("one message", "a system message first", "several turns", "blanks and line ends around the text")

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "a result without its call": [user("one"), {"role": "tool", "tool_call_id": "kit-call", "content": "two"}],
    "the assistant first": [{"role": "assistant", "content": "one"}, user("two")],
    "the assistant alone": [{"role": "assistant", "content": "one"}],
    "an empty text": [user("one"), {"role": "assistant", "content": ""}, user("two")],
    "an empty last text": [user("one"), user("")],
}

ROLES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "user or assistant": (
        [user("one"), {"role": "assistant", "content": "two"}, user("three")],
        [user("one"), user("two"), user("three")],
    ),
    "system or user": ([{"role": "system", "content": "one"}, user("two")], [user("one"), user("two")]),
}
ODD = {
    "a lone surrogate": "kit \ud83d end",
    "emoji": "kit 👩‍👩‍👧 🇨🇳",
    "control characters": "kit \x00\x07\x1b\u2028\u0085 end",
    "a megabyte": _MEGABYTE,
}


def tool_turns(first: str, second: str) -> list[dict[str, Any]]:
    """Two calls and their results; `first` and `second` are the calls that the results name."""
    calls = [
        {
            "id": f"kit-call-{letter}",
            "type": "function",
            "function": {"name": name, "arguments": f'{{"city":"kit-city-{number}"}}'},
        }
        for number, (letter, name) in enumerate((("a", "kit_one"), ("b", "kit_two")), 1)
    ]
    results = [
        {"role": "tool", "tool_call_id": ident, "content": f"kit-result-{number}"}
        for number, ident in enumerate((first, second), 1)
    ]
    return [user("kit-question"), {"role": "assistant", "content": None, "tool_calls": calls}, *results]
