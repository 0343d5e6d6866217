"""The parts of a streamed answer, put together."""

from __future__ import annotations

from collections.abc import Iterable

from cnroute.chat import ChatCompletion, Source, ToolCall, Usage
from cnroute.events import Delta, StreamState, ToolCallDelta


class ToolCalls:
    """Tool calls from their fragments, joined by index; an empty id or name never replaces one."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[list[str], list[str], list[str]]] = {}

    def add(self, fragment: ToolCallDelta) -> None:
        """Take one fragment in."""
        ids, names, arguments = self._parts.setdefault(fragment.index, ([], [], []))
        if fragment.id and not ids:
            ids.append(fragment.id)
        if fragment.name and not names:
            names.append(fragment.name)
        arguments.append(fragment.arguments)

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls in the order of their indices."""
        return tuple(
            ToolCall("".join(ids) or f"call_{index}", "".join(names), "".join(arguments))
            for index, (ids, names, arguments) in sorted(self._parts.items())
        )


def completion_of(
    deltas: Iterable[Delta], state: StreamState | None = None, usage: Usage | None = None, finish: str | None = None
) -> ChatCompletion:
    """The answer that `deltas` are so far, with what `state` knows of the stream."""
    texts, thoughts, calls = [], [], ToolCalls()
    sources: list[Source] = []
    for delta in deltas:
        texts.append(delta.text)
        thoughts.append(delta.reasoning)
        sources += delta.sources
        for fragment in delta.tool_calls:
            calls.add(fragment)
    known = state or _NO_STATE
    return ChatCompletion(
        text="".join(texts), reasoning="".join(thoughts), tool_calls=calls.whole(), finish_reason=finish, usage=usage,
        sources=sources, model=known.model, id=known.id, request_id=known.request_id, choices=known.choices, raw=known.raw,
    )


_NO_STATE = StreamState(None)  # type: ignore[arg-type]
