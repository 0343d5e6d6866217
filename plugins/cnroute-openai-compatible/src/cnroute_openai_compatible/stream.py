"""A line of a stream into events.

    data: {"id": ..., "choices": [{"index": 0, "delta": {"content": "..."}, "finish_reason": null}]}
    data: {"choices": [], "usage": {...}}
    data: [DONE]

Rules of this file
- A stream has one answer; chunks of other choices are left alone, since requests cannot ask for them.
- `Finish` comes out once, with the first finish reason; text and usage after it are kept.
- An error in a frame is a Failure and nothing else but the usage.
- Memory of a stream lives in `state.memory`: `finished`, `tools` (calls have come), `usage` (last reported), `pages`.
"""

from __future__ import annotations

from typing import Any

from cnroute import (
    Delta,
    Deployment,
    Failure,
    FailureKind,
    Finish,
    ReasoningDelta,
    SourceFound,
    StreamState,
    TextDelta,
    ToolCallDelta,
    UsageUpdate,
)
from cnroute.wire import DONE, NOTHING, sse_data, text_or_none, tool_fragments
from cnroute_openai_compatible.codes import complaint_in, failure_of
from cnroute_openai_compatible.reply import (
    NotAnAnswer,
    failed,
    invented_id,
    reason_of,
    sources_of,
    text_of,
    thought_of,
    usage_of,
)
from cnroute_openai_compatible.vendor import Vendor

Event = Delta | Failure


def parse_line(vendor: Vendor, line: str, state: StreamState, deployment: Deployment) -> tuple[Event, ...]:
    """The events of one line; `()` for what carries nothing: comments, event names, blank lines."""
    frame = sse_data(line, state.memory)
    if type(frame) is dict:
        return _frame(vendor, frame, state, deployment)
    if frame is NOTHING or frame is DONE or frame is None:
        return ()
    return (frame if isinstance(frame, Failure) else _bad("a frame of the stream is no JSON object"),)


def _bad(reason: str) -> Failure:
    return Failure(FailureKind.BAD_RESPONSE, reason)


def _frame(vendor: Vendor, frame: dict[str, Any], state: StreamState, deployment: Deployment) -> tuple[Event, ...]:
    state.raw = frame
    if state.id is None:
        _identify(frame, state)
    complaint = None if frame.get("choices") and not frame.get("error") else complaint_in(frame, good=True)
    if complaint is not None:
        return (*_usage(vendor, frame, state), failure_of(vendor, complaint, 200, deployment, request_id=state.request_id))
    events: list[Event] = []
    try:
        _read(vendor, frame, state, events)
    except NotAnAnswer as error:
        events.append(_bad(str(error)))
    return tuple(events)


def _identify(frame: dict[str, Any], state: StreamState) -> None:
    state.id = text_or_none(frame.get("id"))
    state.request_id = text_or_none(frame.get("request_id")) or state.id
    state.model = text_or_none(frame.get("model"))


def _read(vendor: Vendor, frame: dict[str, Any], state: StreamState, events: list[Event]) -> None:
    row = _first_choice(frame)
    if row is not None:
        # `message` in place of `delta`: some servers stream a whole answer as one chunk.
        part = row.get("delta") or row.get("message")
        if type(part) is dict:
            _content(vendor, part, state, events)
        elif part is not None and part != "":
            raise NotAnAnswer("the delta of a chunk is not an object")
    _pages(frame, state, events)
    events += _usage(vendor, frame, state)
    if row is not None and row.get("finish_reason") and "finished" not in state.memory:
        _end(vendor, row, state, events)


def _first_choice(frame: dict[str, Any]) -> dict[str, Any] | None:
    rows = frame.get("choices")
    if rows is None or rows == []:
        return None
    if type(rows) is not list:
        raise NotAnAnswer("the choices of a chunk are no list")
    return next((row for row in rows if type(row) is dict and row.get("index") in (0, None)), None)


def _content(vendor: Vendor, part: dict[str, Any], state: StreamState, events: list[Event]) -> None:
    thought = thought_of(vendor, part)
    if thought:
        events.append(ReasoningDelta(thought))
    content = part.get("content")
    if content:
        text = content if type(content) is str else text_of(content)
        if text:
            events.append(TextDelta(text))
    calls = part.get("tool_calls") or _older(part)
    if type(calls) is list:
        own = [call for call in calls if type(call) is dict and call.get("type") in (None, "", "function")]
        events += [_named(piece, state) for piece in tool_fragments(own, state.memory)]


def _older(part: dict[str, Any]) -> list[Any] | None:
    call = part.get("function_call")
    return [{"index": 0, "function": call}] if type(call) is dict else None


def _named(piece: ToolCallDelta, state: StreamState) -> ToolCallDelta:
    """The fragment; the first one of a call gets an id if the vendor sent none."""
    begun: set[int] = state.memory.setdefault("tools", set())
    if piece.index not in begun:
        begun.add(piece.index)
        piece.id = piece.id or invented_id(piece.index)
    return piece


def _pages(frame: dict[str, Any], state: StreamState, events: list[Event]) -> None:
    """The pages of a web search, each once: they are repeated from chunk to chunk."""
    if "web_search" in frame or "search_info" in frame:
        known: set[Any] = state.memory.setdefault("pages", set())
        new = [source for source in dict.fromkeys(sources_of(frame)) if source not in known]
        known.update(new)
        events += map(SourceFound, new)


def _usage(vendor: Vendor, frame: dict[str, Any], state: StreamState) -> list[Event]:
    """The running total, if this chunk has a new one."""
    usage = usage_of(vendor, frame)
    if usage is None or usage == state.memory.get("usage"):
        return []
    state.memory["usage"] = usage
    return [UsageUpdate(usage)]


def _end(vendor: Vendor, row: dict[str, Any], state: StreamState, events: list[Event]) -> None:
    state.memory["finished"] = True
    failure = failed(vendor, row)
    if failure is not None:
        failure.request_id = state.request_id
        events.append(failure)
    else:
        events.append(Finish(reason_of(vendor, row["finish_reason"], "tools" in state.memory)))
