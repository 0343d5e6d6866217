"""A line of DashScope's stream into events.

    id:2
    event:result
    :HTTP_STATUS/200
    data:{"output":{"choices":[{"message":{"content":"...","role":"assistant"},"finish_reason":"null"}]},
          "usage":{...},"request_id":"..."}

Rules of this file
- The request's body says whether content comes as snapshots or as increments; it is never guessed from chunks.
- A snapshot that does not extend what was handed out is a `bad_response`; an equal or empty one adds nothing.
- Several choices: events are those of choice 0, the others are collected in `state.choices`.
- `null`, `{}` and `[DONE]` are ignored; every other data that is no object is a `bad_response`.
- There is no `[DONE]` here: the end mark is a finish reason other than the *string* `"null"`.
- Memory of a stream lives in `state.memory`; nothing here raises, whatever the line holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from cnroute.chat import Choice, Message, ToolCall, Usage
from cnroute.deployments import Deployment
from cnroute.events import Delta, Finish, LateUsage, ReasoningDelta, SourceFound, TextDelta, ToolCallDelta, UsageUpdate
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import StreamState, hookimpl
from cnroute.providers.alike import Alike
from cnroute.providers.dashscope.codes import failure_of, said_code, status_comment
from cnroute.providers.dashscope.reply import (
    NotAnAnswer,
    index_of,
    invented_id,
    neutral,
    rows_of,
    sources_of,
    text_of,
    usage_of,
    word_of,
)
from cnroute.wire import DONE, MAX_TOKENS_SEEN, NOTHING, by_status, loads, sse_data, tool_fragments

Events = list[Delta | Failure]
# Text so far, in pieces: what is new in the next value is returned.
Grow = Callable[[list[str], str], str]


def _appended(kept: list[str], value: str) -> str:
    """Increments: all of it is new, even if it equals the text so far."""
    kept.append(value)
    return value


def _difference(kept: list[str], snapshot: str) -> str:
    """Snapshots: new is what comes after the text so far."""
    before = kept[0] if kept else ""
    if not snapshot or snapshot == before:
        return ""
    if not snapshot.startswith(before):
        raise NotAnAnswer("a snapshot of the stream does not extend the text before it")
    kept[:] = (snapshot,)
    return snapshot[len(before) :]


@attrs.define(eq=False)
class _Call:
    """One tool call as far as it is known."""

    id: str
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Answer:
    """One choice as far as it is known; `finish` is the vendor's word."""

    text: list[str] = attrs.field(factory=list)
    reasoning: list[str] = attrs.field(factory=list)
    calls: dict[int, _Call] = attrs.field(factory=dict)
    finish: str | None = None
    usage: Usage | None = None
    fragments: dict[str, Any] = attrs.field(factory=dict)

    def reason(self) -> str | None:
        return neutral(self.finish, bool(self.calls))

    def choice(self, index: int) -> Choice:
        calls = tuple(ToolCall(call.id, call.name, "".join(call.arguments)) for call in self.calls.values())
        reasoning = "".join(self.reasoning) or None
        return Choice(index, Message("assistant", "".join(self.text), None, calls, None, reasoning), self.reason())


@attrs.define(eq=False)
class _Stream:
    """One stream as far as it is known.

    `first` is the index of the choice that is handed out. `last` is the frame that ended the stream.
    """

    grow: Grow
    wanted: int
    first: int = 0
    answers: dict[int, _Answer] = attrs.field(factory=dict)
    sources: set[Any] = attrs.field(factory=set)
    event: str = ""
    status: int | None = None
    only: _Answer | None = None
    """The answer whose next increment is all that a usual frame can hold; None where there may be others, or an end."""
    ending: bool = False
    last: Any = None
    alike: Alike = attrs.field(factory=lambda: Alike(_with_values, "content", "usage"))

    def begin(self, index: int) -> _Answer:
        answer = self.answers[index] = _Answer()
        return answer


@hookimpl
def parse_stream_line(line: str, state: StreamState, deployment: Deployment) -> tuple[Delta | Failure, ...]:
    """The events of one line; `()` for what carries nothing."""
    memory = state.memory
    stream = memory.get("stream")
    if stream is None:
        stream = memory["stream"] = _begun(state.body)
        state.quiet = _QUIET
    only = stream.only if state.quiet else None
    if only is not None and (said := stream.alike.text(line)) is not None:
        state.raw_line = line
        only.text.append(said)
        usage = LateUsage(_usage_in, line)
        return (TextDelta(said), usage) if said else (usage,)
    value = sse_data(line, memory)
    if type(value) is dict:
        usual = None if only is None else _usual(value, only, state)
        if usual is not None:
            stream.alike.learn(line, value)
            return usual
        stream.alike.forget()
        return _frame(value, stream, state, deployment)
    if value is NOTHING:
        _note(line, stream, state)
        return ()
    if value is None or value is DONE:
        return ()
    return (value if isinstance(value, Failure) else _bad("a data line of the stream is not an object", state),)


# Around each usual frame. Quiet lines are named while nothing else is expected: none has spoken of an error or a status.
_QUIET = frozenset(("", "id:", "event:result", ":HTTP_STATUS/200"))
_NONE: frozenset[str] = frozenset()


def _begun(body: Any) -> _Stream:
    """The mode is what the request's body said, with `extra` merged in."""
    parameters = body.get("parameters") if isinstance(body, dict) else None
    if not isinstance(parameters, dict):
        return _Stream(_difference, 1)
    wanted = parameters.get("n")
    grow = _appended if parameters.get("incremental_output") is True else _difference
    return _Stream(grow, wanted if type(wanted) is int else 1)


def _note(line: str, stream: _Stream, state: StreamState) -> None:
    """Keep what the lines before a data line say of it."""
    if line == "":
        stream.event, stream.status = "", None
    elif line.startswith("event:"):
        stream.event = line[6:].strip()
    elif line.startswith(":"):
        _note_status(status_comment(line), stream)
    state.quiet = _NONE if stream.event or stream.status or "unfinished" in state.memory else _QUIET


def _note_status(status: int | None, stream: _Stream) -> None:
    stream.status = status or stream.status
    if by_status(stream.status or 200) is not None:
        stream.event = "error"


def _bad(reason: str, state: StreamState) -> Failure:
    return Failure(FailureKind.BAD_RESPONSE, reason, request_id=state.request_id)


def _usual(frame: dict[str, Any], answer: _Answer, state: StreamState) -> tuple[Delta | Failure, ...] | None:
    """The events of the frame that streams are full of, where the only choice goes on with its text; None for others.

    It says what `_frame` says, at a third of its cost.
    """
    try:  # only objects are asked for a name
        output = frame["output"]
        rows = output["choices"]
        row = rows[0]
        message = row["message"]
        said = message["content"]
        if row["finish_reason"] != "null" or frame["request_id"] != state.request_id or row.get("index"):
            return None
    except (KeyError, IndexError, TypeError):
        return None
    if len(frame) != 3 or len(output) != 1 or len(rows) != 1 or len(message) != 2 or "role" not in message:
        return None
    counts = frame.get("usage")
    total = counts.get("total_tokens") if type(counts) is dict else None
    if type(said) is not str or type(total) is not int or not 0 < total < MAX_TOKENS_SEEN:
        return None
    state.raw = frame
    answer.text.append(said)
    usage = LateUsage(usage_of, counts)
    return (TextDelta(said), usage) if said else (usage,)


def _usage_in(line: str) -> Usage | None:
    return usage_of(loads(line[line.index("{") :])["usage"])


def _with_values(frame: dict[str, Any], values: tuple[Any, ...]) -> dict[str, Any]:
    """A usual frame with another text and other counts."""
    (row,) = frame["output"]["choices"]
    message = {**row["message"], "content": values[0]}
    return {**frame, "output": {"choices": [{**row, "message": message}]}, "usage": values[1]}


def _frame(
    frame: dict[str, Any], stream: _Stream, state: StreamState, deployment: Deployment
) -> tuple[Delta | Failure, ...]:
    if stream.last is not None and frame == stream.last:
        return ()  # the end mark once more
    request_id = frame.get("request_id")
    if type(request_id) is str and request_id:
        state.request_id = state.id = request_id
    state.raw = frame
    if stream.event == "error" or frame.get("code") or "error" in frame:
        failure = _error(frame, stream, state, deployment)
        if failure is not None:
            return (failure,)
    events: Events = []
    try:
        _read(frame, stream, state, events)
    except NotAnAnswer as error:
        events.append(_bad(str(error), state))
    alone = stream.grow is _appended and stream.wanted <= 1 and len(stream.answers) == 1 and not stream.ending
    stream.only = stream.answers.get(0) if alone else None
    return tuple(events)


def _error(
    frame: dict[str, Any], stream: _Stream, state: StreamState, deployment: Deployment
) -> Failure | None:
    """A frame with a code, or after `event:error`, whatever its HTTP status says."""
    if stream.event != "error" and not said_code(frame):
        return None
    failure = failure_of(frame, stream.status or 200, deployment)
    failure.request_id = failure.request_id or state.request_id
    return failure


def _read(frame: dict[str, Any], stream: _Stream, state: StreamState, events: Events) -> None:
    output = frame.get("output")
    rows = _rows(output)
    for position, row in enumerate(rows):
        _read_row(row, position, stream, events)
    if output is not None and "search_info" in output:
        _read_sources(output, stream, events)
    usage = usage_of(frame.get("usage"))
    if usage is not None:
        events.append(UsageUpdate(_of_all(usage, rows, stream)))
    if stream.ending:
        _read_end(frame, stream, state, events)


def _rows(output: Any) -> list[Any]:
    if output is None:
        return []
    if type(output) is not dict:
        raise NotAnAnswer("the output of a frame is not an object")
    return rows_of(output)


def _read_row(row: Any, position: int, stream: _Stream, events: Events) -> None:
    """One choice of a frame: reasoning, text, tool calls, finish reason."""
    if type(row) is not dict:
        raise NotAnAnswer("a choice of a frame is not an object")
    index = index_of(row, position)
    answer = stream.answers.get(index) or stream.begin(index)
    message = row.get("message")
    if type(message) is dict:
        _read_message(message, answer, stream.grow, events if index == stream.first else [])
    elif message is not None:
        raise NotAnAnswer("the message of a frame is not an object")
    if answer.finish is None:
        word = row.get("finish_reason")
        if word != "null" and word is not None:
            answer.finish = word_of(word)
            stream.ending = True


def _read_message(message: dict[str, Any], answer: _Answer, grow: Grow, events: Events) -> None:
    thought = message.get("reasoning_content")
    if thought is not None and (thought := text_of(thought)) and (new := grow(answer.reasoning, thought)):
        events.append(ReasoningDelta(new))
    said = message.get("content")
    if type(said) is not str:
        said = text_of(said)
    if said and (new := grow(answer.text, said)):
        events.append(TextDelta(new))
    calls = message.get("tool_calls")
    if calls:
        _read_calls(calls, answer, grow, events)


def _read_calls(calls: object, answer: _Answer, grow: Grow, events: Events) -> None:
    """Fragments join by index; a snapshot lists all calls so far, and its positions are the indexes."""
    pieces = tool_fragments(calls if grow is _appended else _placed(calls), answer.fragments)
    for piece in pieces:
        call = answer.calls.get(piece.index)
        begun = call is None
        if call is None:
            call = answer.calls[piece.index] = _Call(piece.id or invented_id(piece.index))
        named = piece.name if not call.name else None
        call.name = call.name or piece.name or ""
        arguments = grow(call.arguments, piece.arguments)
        if begun or named or arguments:
            events.append(ToolCallDelta(piece.index, call.id if begun else None, named, arguments))


def _placed(calls: object) -> list[Any]:
    """The calls of a snapshot, each with its index."""
    listed = calls if isinstance(calls, list) else []
    return [{"index": place, **call} for place, call in enumerate(listed) if isinstance(call, dict)]


def _read_sources(output: dict[str, Any], stream: _Stream, events: Events) -> None:
    """Each page once: search results are repeated from frame to frame."""
    for source in sources_of(output):
        if source not in stream.sources:
            stream.sources.add(source)
            events.append(SourceFound(source))


def _of_all(usage: Usage, rows: list[Any], stream: _Stream) -> Usage:
    """The tokens of the whole answer: a frame counts only its own choice when there are several (DashScope SDK)."""
    if len(rows) != 1 or (len(stream.answers) == 1 and stream.wanted <= 1):
        return usage
    stream.answers[index_of(rows[0], 0)].usage = usage
    counted = [answer.usage for answer in stream.answers.values()]
    made, thought = _sum(counted, "output_tokens"), _sum(counted, "reasoning_tokens")
    return attrs.evolve(usage, total_tokens=None, output_tokens=made, reasoning_tokens=thought)


def _sum(counted: list[Usage | None], field: str) -> int | None:
    """The sum over all choices, or None (unknown) if one of them did not say."""
    counts = [getattr(usage, field, None) for usage in counted]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _read_end(frame: dict[str, Any], stream: _Stream, state: StreamState, events: Events) -> None:
    """The end mark, once: when every choice that was asked for, or has begun, has a finish reason."""
    answers = stream.answers
    if stream.last is None:
        if any(answer.finish is None for answer in answers.values()) or len(answers) < stream.wanted:
            return
        stream.last = frame
        if stream.first not in answers:  # an only choice that calls itself another: it is the answer, handed out late
            stream.first = min(answers)
            events.append(TextDelta("".join(answers[stream.first].text)))
        events.append(Finish(answers[stream.first].reason()))
    if len(answers) > 1:
        state.choices = tuple(answers[index].choice(index) for index in sorted(answers))
