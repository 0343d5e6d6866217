"""What the streams of MiniMax's three dialects share: frames, errors in them, running usage, the one end mark.

Rules of this file
- A frame with an error is a Failure and nothing else but the usage; no `Finish` comes out of it.
- `Finish` comes out once, usage only when it changed, and a frame that comes twice as the last one adds nothing.
- Keys of `state.memory`: `text`, `reasoning`, `tools` (that kind came as an increment), `usage` (last reported),
  `end` (the line that ended the answer), `sources` (those handed out), `alike` (what usual frames of v2 repeat).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnroute.chat import Source
from cnroute.deployments import Deployment
from cnroute.events import Delta, Finish, SourceFound, UsageUpdate
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import StreamState
from cnroute.providers.minimax.answers import finish_reason, usage_of
from cnroute.providers.minimax.codes import failure_in
from cnroute.wire import DONE, NOTHING, sse_data, text_or_none

Event = Delta | Failure
Frame = dict[str, Any]
Reader = Callable[[Frame, str, StreamState], list[Event]]
"""Reads a frame's choices; given the frame, its line and the state."""


def read_line(line: str, state: StreamState, deployment: Deployment, read: Reader) -> tuple[Event, ...]:
    """The events of one line; `read` is the dialect's own part."""
    memory = state.memory
    if "end" in memory and line == memory["end"]:
        return ()
    frame = sse_data(line, memory)
    state.quiet = _BLANK if "unfinished" not in memory else _NONE
    if type(frame) is not dict:
        return _no_frame(frame)
    state.raw = frame
    if state.id is None:
        _identify(frame, state)
    failure = failure_in(frame, deployment) if "base_resp" in frame or "error" in frame else None
    events: list[Event] = read(frame, line, state) if failure is None else []
    if frame.get("usage"):
        events += usage_events(frame, state, events)
    return tuple(events) if failure is None else (*events, failure)


# Blank lines say nothing, unless they end an event over several lines.
_BLANK = frozenset(("",))
_NONE: frozenset[str] = frozenset()


def _no_frame(value: object) -> tuple[Event, ...]:
    if value is NOTHING or value is DONE or value is None:
        return ()
    return (value if isinstance(value, Failure) else broken("a frame of the stream is no JSON object"),)


def broken(reason: str) -> Failure:
    """A stream that is not this vendor's."""
    return Failure(FailureKind.BAD_RESPONSE, reason)


def _identify(frame: Frame, state: StreamState) -> None:
    """Keep id and model; an `id` wins over the `request_id` that some frames have instead."""
    state.id = text_or_none(frame.get("id"))
    state.request_id = state.id or state.request_id or text_or_none(frame.get("request_id"))
    state.model = text_or_none(frame.get("model")) or state.model


def usage_events(frame: Frame, state: StreamState, events: list[Event]) -> list[Event]:
    """The running total, if this frame has a new one, or the same with more content: then nothing was left out."""
    usage = usage_of(frame)
    if usage is None or (not events and usage == state.memory.get("usage")):
        return []
    state.memory["usage"] = usage
    return [UsageUpdate(usage)]


def finish_events(mark: str | None, line: str, state: StreamState) -> list[Event]:
    """The end mark, the first time that the vendor sends one."""
    if mark is None or "end" in state.memory:
        return []
    state.memory["end"] = line
    return [Finish(finish_reason(mark, "tools" in state.memory))]


def source_events(sources: tuple[Source, ...], state: StreamState) -> list[Event]:
    """Sources, each handed out once; the last frame repeats them."""
    known: set[Source] = state.memory.setdefault("sources", set())
    new = [source for source in dict.fromkeys(sources) if source not in known]
    known.update(new)
    return [SourceFound(source) for source in new]


def first_choice(frame: Mapping[str, Any]) -> Frame | None:
    """The first choice of a frame or an answer, if it has one."""
    choices = frame.get("choices")
    if type(choices) is list and choices and type(choices[0]) is dict:
        if len(choices) > 1:
            return next((each for each in choices if type(each) is dict and each.get("index", 0) == 0), choices[0])
        return choices[0]
    return None
