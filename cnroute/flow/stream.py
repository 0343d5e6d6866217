"""One streamed answer, from bytes to deltas.

Rules of this file (contract sections 1, 2 and 6)
- The first non-blank byte decides: `{`, `[` and `<` begin a complete answer, everything else lines.
- Events count in their order: the first with text, reasoning or a tool-call fragment commits, even if a
  failure stands in the same read. Before it, sources are kept back and nothing is handed out.
- The flow alone decides what the end of the body means: without a `Finish` it is a failure.
- After the end mark broken bytes are ignored; an error of the vendor's own still counts.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from cnroute.chat import Choice, Source, Usage
from cnroute.errors import CallError
from cnroute.events import (
    FINISH_REASONS,
    Delta,
    Finish,
    LateUsage,
    SourceFound,
    StepDelta,
    StreamState,
    TextDelta,
    ToolCallDelta,
    UsageUpdate,
)
from cnroute.failures import Failure, FailureKind, how_raised
from cnroute.flow.answer import broken, lie_about_names
from cnroute.flow.lines import LineSplitter, LineTooLong
from cnroute.routing.plan import Place

K = FailureKind
_WHOLE = (b"{", b"[", b"<")
_BOM = b"\xef\xbb\xbf"
_MAX_EVENTS = 1_000_000
# Longer lines are neither looked for among the quiet ones nor taken for `[DONE]`: that would read every line once more.
_SHORT = 64
_NOTHING: tuple[Any, ...] = ()
_NO_USAGE = "returned a usage that is no Usage"
# Reliability 3.5: of an error's body so much is kept.
_KEPT_OF_A_REFUSAL = 64 * 1024


class StreamFailed(Exception):
    """The stream holds a failure; `failure` says which."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind.value)
        self.failure = failure


class Reading:
    """The state of one stream that is being read.

    Deltas go to `given`, which keeps them all, and to `waiting`, from which the consumer takes them.
    """

    def __init__(self, place: Place, state: StreamState, status: int, given: list[Delta], waiting: deque[Delta]) -> None:
        self._parse = place.hooks.parse_stream_line
        self._place = place
        self.state = state
        self._splitter = LineSplitter(_limits(place).max_line_bytes)
        self._most = _limits(place).max_stream_bytes
        self._head: list[bytes] = []
        self._whole: list[bytes] | None = None if 200 <= status < 300 else []
        self._size = 0
        self.refused = self._whole is not None
        """Whether the status alone says that this is no answer: then the body only explains it."""
        self._decided = self.refused
        self._kept: list[Delta] = []
        given.clear()
        self.given = given
        self._waiting = waiting
        self.told: UsageUpdate | None = None
        """What the vendor counted last."""
        self._counted = 0
        self._quiet: frozenset[str] = frozenset()
        self._fields: set[str] = set()
        """The fields among the quiet lines, without their colons."""
        self.finish: str | None = None
        self.finished = False
        self.committed = False
        self.done = False

    @property
    def whole(self) -> bytes | None:
        """The body, where it is a complete answer and not a stream; None where it is one."""
        return None if self._whole is None else b"".join(self._whole)

    @property
    def usage(self) -> Usage | None:
        """The tokens that the vendor counted last, where a plugin's count can be read; `check_state` says that it cannot."""
        try:
            return self._told_usage()
        except StreamFailed:
            return None

    def _told_usage(self) -> Usage | None:
        try:
            usage = None if self.told is None else self.told.usage
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a plugin's code)
            raise StreamFailed(self._broken(how_raised(error), error)) from None
        if not isinstance(usage, Usage | None):
            raise StreamFailed(self._broken(_NO_USAGE))
        return usage

    @property
    def counted_all(self) -> bool:
        """Whether the vendor's count stood behind all content: content after it may not be in it."""
        return self.told is None or not any(map(_is_content, self.given[self._counted:]))

    def feed(self, data: bytes) -> None:
        """Take in bytes. Raises StreamFailed at the first failure, with everything before it handed out."""
        if not self._decided:
            data = self._decide(data)
        if self._whole is not None:
            self._collect(data)
        elif data and not self.done:
            self._size += len(data)
            if self._size > self._most:
                self._bounded(0, self._most)
            try:
                lines = self._splitter.feed(data)
            except LineTooLong:
                raise StreamFailed(Failure(K.RESPONSE_TOO_LARGE, "a line of the stream is too long")) from None
            if lines:
                self._take(lines)
                if len(self.given) + len(self._kept) > _MAX_EVENTS:
                    raise StreamFailed(Failure(K.RESPONSE_TOO_LARGE, "the stream has more than 1,000,000 events"))

    def end(self) -> None:
        """The body has ended: the rest is read, and without an end mark it is a failure."""
        if not self._decided and self._head:
            self._decided = True
            self.feed(b"".join(self._head))
        if self._whole is not None:
            return
        if not self.done:
            last = self._last_line()
            self._take([last, ""] if last is not None else [""])
        if not self.finished:
            raise StreamFailed(Failure(K.BAD_RESPONSE, "the stream ended without an end mark"))
        if not self.committed:
            self._commit()

    def _last_line(self) -> str | None:
        try:
            return self._splitter.flush()
        except LineTooLong:
            raise StreamFailed(Failure(K.RESPONSE_TOO_LARGE, "a line of the stream is too long")) from None

    def close_with(self, usage: Usage | None) -> None:
        """Hand out the last delta, with finish reason and usage."""
        self._hand_out(StepDelta(finish_reason=self.finish, usage=usage))

    def give(self, delta: Delta) -> None:
        """Hand out one delta that did not come from a line (a complete answer to a stream request)."""
        self._commit()
        self._hand_out(delta)

    def _decide(self, data: bytes) -> bytes:
        """Look at the first non-blank byte. What cannot be decided yet is kept."""
        self._head.append(data)
        if len(self._head) > len(_BOM) and data.isspace():  # looked at piece by piece, not all of it each time
            self._bounded(len(data), _limits(self._place).max_line_bytes)
            return b""
        data = b"".join(self._head)
        if len(data) < len(_BOM) and _BOM.startswith(data):
            return b""
        start = data.removeprefix(_BOM).lstrip()
        if not start:
            self._bounded(len(data) - self._size, _limits(self._place).max_line_bytes)
            return b""
        self._decided, self._head = True, []
        if start.startswith(_WHOLE):
            self._whole = []
        return data

    def _collect(self, data: bytes) -> None:
        if self.refused:
            self._size += len(data)
            self.done = self._size >= _KEPT_OF_A_REFUSAL
        else:
            self._bounded(len(data), _limits(self._place).max_response_bytes)
        assert self._whole is not None  # noqa: S101 (asked by the caller)
        self._whole.append(data)

    def _bounded(self, more: int, limit: int) -> None:
        self._size += more
        if self._size > limit:
            raise StreamFailed(Failure(K.RESPONSE_TOO_LARGE, f"the answer is longer than {limit} bytes"))

    def _take(self, lines: list[str]) -> None:
        parse, state, deployment = self._parse, self.state, self._place.deployment
        waiting, given, quiet, fields = self._waiting, self.given, self._quiet, self._fields
        for line in lines:
            try:
                if state.quiet is not quiet:
                    quiet = self._quiet = state.quiet
                    fields = self._fields = {name[:-1] for name in quiet if name.endswith(":")}
                # `is_quiet`, without a call for each line
                if len(line) < _SHORT and (line in quiet or line.partition(":")[0] in fields):
                    continue
                events = parse(line, state, deployment)
            except CallError as error:
                raise StreamFailed(error.failure()) from None
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a plugin's code)
                raise StreamFailed(self._broken(how_raised(error), error)) from None
            if events is not _NOTHING:
                if type(events) is not tuple:
                    raise StreamFailed(self._broken(f"returned {type(events).__name__}, not a tuple"))
                for event in events:
                    # The usual ones first, and here: a call for each costs a tenth of a chunk.
                    kind = type(event)
                    if kind is TextDelta and self.committed and (text := event.text) and type(text) is str:
                        given.append(event)
                        waiting.append(event)
                    elif kind is LateUsage:
                        self.told = event
                        self._counted = len(given)
                    else:
                        self._other(event)
                if self.done:
                    return
            if len(line) < _SHORT and _is_done(line):
                self.done = True
                return

    def _other(self, event: Any) -> None:
        """Every event that is not plain text after the commit."""
        if isinstance(event, UsageUpdate):
            if not isinstance(event.usage, Usage | None):
                raise StreamFailed(self._broken(_NO_USAGE))
            if event.usage is not None:
                self.told, self._counted = event, len(self.given)
        elif isinstance(event, Finish):
            if event.finish_reason not in FINISH_REASONS:
                raise StreamFailed(self._broken("returned a finish reason that is none of the four words"))
            if not self.finished:
                self.finish, self.finished = event.finish_reason, True
        elif isinstance(event, Failure):
            if not (self.finished and event.kind is K.BAD_RESPONSE):
                raise StreamFailed(event)
            self.done = True
        elif isinstance(event, SourceFound):
            if not isinstance(event.source, Source):
                raise StreamFailed(self._broken("returned a source that is no Source"))
            self._kept.append(event)
            if self.committed:
                self._commit()
        elif isinstance(event, Delta):
            self._content(event)
        else:
            raise StreamFailed(self._broken(f"returned a {type(event).__name__} in its tuple"))

    def _content(self, delta: Delta) -> None:
        """A delta with text, reasoning or tool calls commits; an empty one is nothing."""
        if not (isinstance(delta.text, str) and isinstance(delta.reasoning, str)):
            raise StreamFailed(self._broken("returned a delta whose text is no str"))
        if not all(map(_is_fragment, delta.tool_calls)):
            raise StreamFailed(self._broken("returned a tool-call fragment with an impossible index, id, name or arguments"))
        if delta.text or delta.reasoning or delta.tool_calls:
            self._commit()
            self._hand_out(delta)

    def _commit(self) -> None:
        self.committed = True
        for delta in self._kept:
            self._hand_out(delta)
        self._kept.clear()

    def _hand_out(self, delta: Delta) -> None:
        self.given.append(delta)
        self._waiting.append(delta)

    def check_state(self) -> None:
        """What the plugin noted of the stream is what a completion may hold; else StreamFailed."""
        lie, choices = lie_about_names(self.state), self.state.choices
        if choices != () and not (isinstance(choices, tuple | list) and all(isinstance(each, Choice) for each in choices)):
            lie = "choices hold something else than Choice"
        if lie is not None:
            raise StreamFailed(self._broken(f"left a state whose {lie}"))
        self._told_usage()

    def _broken(self, what: str, error: BaseException | None = None) -> Failure:
        return broken(self._place, "parse_stream_line", what, error)


def _is_done(line: str) -> bool:
    return line.startswith("data:") and line[5:].strip() == "[DONE]"


def is_quiet(line: str, quiet: frozenset[str]) -> bool:
    """Whether `line`, or the field that it begins with, is one of those that a plugin called quiet (`StreamState.quiet`)."""
    return len(line) < _SHORT and (line in quiet or line.partition(":")[0] + ":" in quiet)


def _is_content(delta: Delta) -> bool:
    return bool(delta.text or delta.reasoning or delta.tool_calls)


def _is_fragment(fragment: Any) -> bool:
    return (
        isinstance(fragment, ToolCallDelta) and isinstance(fragment.index, int) and isinstance(fragment.arguments, str)
        and isinstance(fragment.id, str | None) and isinstance(fragment.name, str | None)
    )


def _limits(place: Place) -> Any:
    return place.deployment.limits
