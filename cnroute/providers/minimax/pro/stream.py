"""Streams of chatcompletion_pro.

Rules of this file
- Increments stand in `choices[0].messages[].text` with an empty `reply`. The last frame has the finish reason and
  the whole answer again: its text counts only if no increment came.
- A function call comes in partial frames; the last one is it. It is handed out with the end mark, because its id is
  made from the answer's id, which only the last frame has.
"""

from __future__ import annotations

from cnroute.chat import ToolCall
from cnroute.deployments import Deployment
from cnroute.events import Delta, TextDelta, ToolCallDelta
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState, hookimpl
from cnroute.providers.minimax.answers import SERVER_FUNCTION, end_mark, knowledge_sources, usage_of, web_sources
from cnroute.providers.minimax.frames import (
    Event,
    Frame,
    broken,
    finish_events,
    first_choice,
    read_line,
    source_events,
)
from cnroute.providers.minimax.pro.reply import all_sources, function_calls, messages_of, whole_text


@hookimpl
def parse_stream_line(line: str, state: StreamState, deployment: Deployment) -> tuple[Delta | Failure, ...]:
    """The events of one line."""
    return read_line(line, state, deployment, _read)


def _read(frame: Frame, line: str, state: StreamState) -> list[Event]:
    choice = first_choice(frame)
    if choice is None:
        return source_events(knowledge_sources(frame), state)
    mark = choice.get("finish_reason")
    if mark and _is_whole(frame):
        return _whole(frame, state) + _end(end_mark(mark), frame, line, state)
    messages = messages_of(frame)
    events = _increments(messages, frame, state)
    if mark and not (messages and all(map(_is_material, messages))):
        events += _end(end_mark(mark), frame, line, state)
    return events


def _is_whole(frame: Frame) -> bool:
    """True for the frame with the whole answer; a finish reason alone may stand beside the last increment."""
    told = frame.get("base_resp") or usage_of(frame)
    return bool(frame.get("reply") or (told and not all(map(_is_material, messages_of(frame)))))


def _is_material(message: Frame) -> bool:
    """True for the steps of the search plugin: its call, and the pages that it found."""
    call = message.get("function_call")
    name = call.get("name") if isinstance(call, dict) else None
    searching = isinstance(name, str) and name.startswith(SERVER_FUNCTION) and not message.get("text")
    return message.get("sender_type") == "FUNCTION" or searching


def _whole(frame: Frame, state: StreamState) -> list[Event]:
    events = source_events(all_sources(frame), state)
    text = whole_text(frame)
    if text and "text" not in state.memory:
        state.memory["text"] = True
        events.append(TextDelta(text))
    return events


def _increments(messages: list[Frame], frame: Frame, state: StreamState) -> list[Event]:
    events: list[Event] = []
    for message in messages:
        text = message.get("text")
        if message.get("sender_type") == "FUNCTION":
            events += source_events(web_sources(text), state)
        elif text:
            events.append(_increment(text, state))
        if "function_call" in message:
            state.memory["partial"] = frame
    if "knowledge_base" in frame:
        events += source_events(knowledge_sources(frame), state)
    return events


def _increment(text: object, state: StreamState) -> Event:
    if type(text) is not str:
        return broken("the text of a message is no text")
    state.memory["text"] = True
    return TextDelta(text)


def _end(mark: str | None, frame: Frame, line: str, state: StreamState) -> list[Event]:
    """The function call, if there is one, and the end mark."""
    answer = state.id or state.request_id
    calls = function_calls(frame, answer) or function_calls(state.memory.get("partial", {}), answer)
    if calls and "end" not in state.memory:
        state.memory["tools"] = True
        return [*map(_delta, range(len(calls)), calls), *finish_events(mark, line, state)]
    return finish_events(mark, line, state)


def _delta(index: int, call: ToolCall) -> ToolCallDelta:
    return ToolCallDelta(index, call.id, call.name, call.arguments)
