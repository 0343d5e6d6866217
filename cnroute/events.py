"""What a stream is made of.

Providers return these from `parse_stream_line`. The kinds of `Delta` that carry content are handed to the
caller as they are, one object per chunk. They are slotted and not frozen: a frozen object costs twice as
much to make, and a stream makes thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from cnroute.codec import MAX_DEPTH, JsonError, loads

if TYPE_CHECKING:
    from cnroute.chat import ChatRequest, Choice, Source, Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
# What a finish reason may be; None where the vendor sent an end mark without one.
FINISH_REASONS = (None, "stop", "length", "tool_calls", "content_filter")


class Delta:
    """One step of a streamed answer. What a step does not carry is empty or None.

    `text` and `reasoning` are new text only, never a repetition; `tool_calls` are fragments, joined by their
    `index`; `finish_reason` and `usage` come with the last delta, `sources` with the first content.
    """

    __slots__ = ()
    # Whether this step commits its attempt: text, reasoning or a tool-call fragment.
    content: ClassVar[bool] = False

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    role: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()


@attrs.define
class TextDelta(Delta):
    """New text of the answer."""

    content = True
    text: str


@attrs.define
class ReasoningDelta(Delta):
    """New text of the model's reasoning. It can be built with `ReasoningDelta(text)`."""

    content = True
    reasoning: str = attrs.field(alias="text")


@attrs.define
class ToolCallDelta(Delta):
    """A fragment of one tool call: `id` and `name` once, `arguments` (JSON text) piece by piece."""

    content = True
    index: int = 0
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    @property
    def tool_calls(self) -> tuple[ToolCallDelta, ...]:  # type: ignore[override]
        """This fragment, as every delta shows its fragments."""
        return (self,)


@attrs.define
class SourceFound(Delta):
    """A retrieved chunk or a web page that the answer rests on."""

    source: Source

    @property
    def sources(self) -> tuple[Source, ...]:  # type: ignore[override]
        """This source, as every delta shows its sources."""
        return (self.source,)


@attrs.define
class UsageUpdate(Delta):
    """The vendor's running total of tokens: the last one wins, they are never added."""

    usage: Usage | None


class LateUsage(UsageUpdate):
    """The same for vendors that count in every frame: `read(counts)`, a Usage, is asked only of the one that is looked at.

    A wrapper may set `usage`, or make another one with it, as of any event.
    """

    __slots__ = ("_counts", "_read")

    def __init__(
        self, read: Callable[[Any], Usage | None] | None = None, counts: Any = None, usage: Usage | None = None
    ) -> None:
        self._read = read
        self._counts = usage if read is None else counts

    @property
    def usage(self) -> Usage | None:
        """The tokens, read anew each time."""
        return self._counts if self._read is None else self._read(self._counts)

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._read, self._counts = None, usage

    def __eq__(self, other: object) -> bool:
        return self.usage == other.usage if isinstance(other, UsageUpdate) else NotImplemented

    __hash__ = None

    def __repr__(self) -> str:
        return repr(UsageUpdate(self.usage))

    def __reduce__(self) -> Any:
        return UsageUpdate, (self.usage,)


@attrs.define
class Finish(Delta):
    """The vendor's end mark, in the neutral words `stop`, `length`, `tool_calls`, `content_filter`."""

    finish_reason: str | None = attrs.field(alias="reason")

    @property
    def reason(self) -> str | None:
        """The finish reason."""
        return self.finish_reason


@attrs.define
class StepDelta(Delta):
    """Several parts in one step: a plain answer to a stream request, or the end of a stream."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    role: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()


@attrs.define(eq=False)
class StreamState:
    """The memory of one streamed attempt; fresh for each attempt.

    `request` is what was asked, `body` the JSON that went out and `memory` a dict of the plugin's own. What a
    stream tells beside its content is written here by the plugin: `id`, `request_id`, `model`, `raw` (the last
    frame; or as `raw_line` the line that holds it) and `choices` (only where there are several). `quiet` are short lines
    that mean nothing from here on, as the blank ones between events, or fields whose every line does, as `id:`: a plugin
    may name them, and they are then shown to nobody.
    """

    request: ChatRequest
    _body: Any = None
    memory: dict[str, Any] = attrs.field(factory=dict)
    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    _raw: Any = None
    choices: tuple[Choice, ...] = ()
    quiet: frozenset[str] = frozenset()
    raw_line: str | None = None

    @property
    def raw(self) -> Any:
        """The last frame. That of `raw_line` is decoded when it is asked for, since nobody asks for most frames."""
        if self.raw_line is not None:
            self.raw = _frame_in(self.raw_line)
        return self._raw

    @raw.setter
    def raw(self, frame: Any) -> None:
        self._raw, self.raw_line = frame, None

    @property
    def body(self) -> Any:
        """The JSON that went out, decoded when first asked for; None when it is none."""
        if isinstance(self._body, bytes):
            try:
                self._body = loads(self._body, 2 * MAX_DEPTH)  # tools may be as deep as that on their own
            except JsonError:
                self._body = None
        return self._body


def _frame_in(line: str) -> Any:
    """The object that a line holds; what a plugin left there, where it holds none."""
    try:
        return loads(line[line.index("{") :])
    except (ValueError, TypeError, AttributeError, RecursionError):
        return line
