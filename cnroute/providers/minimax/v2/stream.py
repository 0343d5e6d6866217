"""Streams of chatcompletion_v2.

Rules of this file
- The whole answer stands again in the last frame (`message`); it is used only for kinds that never came as a delta.
- A web search sends a call of its own and a message of role `tool` with finish_reason `stop`: neither is the end,
  and neither is the caller's.
- Text and usage after the first finish reason are kept.
"""

from __future__ import annotations

from typing import Any

from cnroute.deployments import Deployment
from cnroute.events import Delta, ReasoningDelta, TextDelta, ToolCallDelta
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState, hookimpl
from cnroute.providers.alike import Alike
from cnroute.providers.minimax.answers import SERVER_FUNCTION, arguments_of, call_id, end_mark, text_of, web_sources
from cnroute.providers.minimax.frames import (
    Event,
    Frame,
    broken,
    finish_events,
    first_choice,
    read_line,
    source_events,
)
from cnroute.wire import text_or_none, tool_fragments


@hookimpl
def parse_stream_line(line: str, state: StreamState, deployment: Deployment) -> tuple[Delta | Failure, ...]:
    """The events of one line."""
    alike = state.memory.get("alike")
    if alike is not None and state.quiet and (said := alike.text(line)) is not None:
        state.raw_line = line
        return _said(said, state)
    return read_line(line, state, deployment, _read)


def _said(text: str, state: StreamState) -> tuple[Delta | Failure, ...]:
    if not text:
        return ()
    state.memory["text"] = True
    return (TextDelta(text),)


def _learn(line: str, frame: Frame, memory: dict[str, Any]) -> None:
    """Look at the next frames for this one with another text: beside the text they say nothing new."""
    alike = memory.get("alike")
    if alike is None:
        alike = memory["alike"] = Alike(_with_text, "content")
    alike.learn(line, frame)


def _with_text(frame: Frame, values: tuple[Any, ...]) -> Frame:
    """The frame with another text."""
    (choice,) = frame["choices"]
    return {**frame, "choices": [{**choice, "delta": {**choice["delta"], "content": values[0]}}]}


def _read(frame: Frame, line: str, state: StreamState) -> list[Event]:
    choices = frame.get("choices")
    choice = choices[0] if type(choices) is list and len(choices) == 1 else first_choice(frame)
    if type(choice) is not dict:
        return []
    delta, message, mark = choice.get("delta"), choice.get("message"), choice.get("finish_reason")
    events: list[Event] = []
    if type(delta) is dict:
        text = delta.get("content")
        if type(text) is str and message is None and not mark and _ONLY_TEXT.issuperset(delta) and delta.get("role") != "tool":
            # The frame that streams are full of.
            if type(choices) is list and len(choices) == 1 and state.id is not None and not frame.get("usage"):
                _learn(line, frame, state.memory)
            return list(_said(text, state))
        if delta.get("role") == "tool":
            return source_events(web_sources(delta.get("content")), state)
        events = _content(delta, state)
    if type(message) is dict:
        if message.get("role") == "tool":
            return source_events(web_sources(message.get("content")), state)
        events += _content(_only_missing(message, state.memory), state)
    return events + _end(mark, line, state) if mark else events


_ONLY_TEXT = frozenset(("content", "role", "name", "audio_content"))


def _content(part: Frame, state: StreamState) -> list[Event]:
    """The new reasoning, text and tool-call fragments of a delta."""
    events: list[Event] = []
    reasoning = part.get("reasoning_content")
    if reasoning and type(reasoning) is str:
        state.memory["reasoning"] = True
        events.append(ReasoningDelta(reasoning))
    content = part.get("content")
    if content:
        text = content if type(content) is str else text_of(content)
        if text is None:
            return [*events, broken("the content of a delta is no text")]
        state.memory["text"] = True
        events.append(TextDelta(text))
    if part.get("tool_calls"):
        events += _calls(part["tool_calls"], state)
    return events


_KINDS = (("text", "content"), ("reasoning", "reasoning_content"), ("tools", "tool_calls"))


def _only_missing(message: Frame, memory: dict[str, Any]) -> Frame:
    """The fields of the repeated answer of which no increment ever came; its calls get the indexes they lack."""
    part = {field: message.get(field) for kind, field in _KINDS if kind not in memory}
    calls = part.get("tool_calls")
    if isinstance(calls, list):
        part["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)]
    return part


def _calls(listed: object, state: StreamState) -> list[Event]:
    if not isinstance(listed, list):
        return []
    own = [_readable(call) for call in listed if isinstance(call, dict) and not _is_servers(call, state.memory)]
    fragments = tool_fragments(own, state.memory)
    if fragments:
        state.memory["tools"] = True
    return [_with_id(fragment, state) for fragment in fragments]


def _is_servers(call: Frame, memory: dict[str, Any]) -> bool:
    """True for the server's own search; what has neither id nor name continues the call before it."""
    function = call.get("function")
    name = text_or_none(function.get("name")) if isinstance(function, dict) else None
    if name or text_or_none(call.get("id")):
        kind = call.get("type")
        memory["searching"] = kind not in (None, "", "function") or (name or "").startswith(SERVER_FUNCTION)
    return bool(memory.get("searching"))


def _readable(call: Frame) -> Frame:
    """The call with its arguments as text, also where a server sends the object itself."""
    function = call.get("function")
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": arguments_of(function.get("arguments"))}}


def _with_id(fragment: ToolCallDelta, state: StreamState) -> ToolCallDelta:
    """The fragment; the first one of a call gets an id if the vendor sent none."""
    begun: set[int] = state.memory.setdefault("calls", set())
    if fragment.index not in begun:
        begun.add(fragment.index)
        origin = state.id or state.request_id
        fragment.id = fragment.id or call_id(origin, state.raw, fragment.name or "", fragment.index)
    return fragment


def _end(mark: object, line: str, state: StreamState) -> list[Event]:
    """The end, unless `tool_calls` only announces a web search: then the answer is still to come."""
    announced = mark == "tool_calls" and bool(state.memory.get("searching")) and "tools" not in state.memory
    return [] if announced else finish_events(end_mark(mark), line, state)
