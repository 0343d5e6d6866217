"""One attempt: a request to one deployment, plain or streamed.

A plain attempt is one effect; a streamed one is a loop of reads. Both return a completion or raise: what the
vendor said as `AttemptFailed`, what the wire did as the transport's CallError, which is thrown in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from typing import Any

import attrs

from cnroute.chat import ChatCompletion
from cnroute.errors import CallError, HookError
from cnroute.events import Delta, StepDelta, StreamState, ToolCallDelta, UsageUpdate
from cnroute.failures import Failure, FailureKind
from cnroute.flow.answer import AttemptFailed, answer_of, completed
from cnroute.flow.assemble import completion_of
from cnroute.flow.effects import Effect, Open, Read, Send
from cnroute.flow.stream import Reading, StreamFailed
from cnroute.http import HttpRequest, HttpResponse, header_request_id
from cnroute.routing.deadline import Clock, Deadline
from cnroute.routing.walk import Step

K = FailureKind

# How long a stream may go on after its end mark (usage, the closing frame), and how much is read to keep the
# connection (reliability U7 and row 147).
_AFTER_FINISH = 0.25
_AFTER_DONE = 0.1
_DRAIN = 64 * 1024

_TIMED = frozenset(
    (K.CONNECT_TIMEOUT, K.TLS_TIMEOUT, K.WRITE_TIMEOUT, K.FIRST_BYTE_TIMEOUT, K.IDLE_TIMEOUT, K.FIRST_TOKEN_TIMEOUT,
     K.LOCAL_OVERLOAD, K.DNS_ERROR)
)


@attrs.define(eq=False)
class Run:
    """The facts of one attempt while it runs."""

    step: Step
    request: HttpRequest
    deadline: Deadline
    call_ends: float
    clock: Clock
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    reading: Reading | None = None
    committed_at: float | None = None
    share_ends: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.share_ends = self.deadline.at

    def relabelled(self, failure: Failure) -> Failure:
        """The wire's failure in the call's words: whose limit ended the step, and what the head had told."""
        told = self.reading.state.request_id if self.reading is not None else None
        failure = attrs.evolve(
            failure,
            http_status=failure.http_status if failure.http_status is not None else self.status,
            request_id=failure.request_id or told or header_request_id(self.headers),
        )
        if failure.kind not in _TIMED:
            return failure
        now = self.clock.monotonic()
        if now >= self.call_ends - 0.001:
            message = f"the call's deadline passed during: {failure.kind.value}"
            return attrs.evolve(failure, kind=K.DEADLINE_EXCEEDED, message=message)
        if self._first_token_missed(now):
            seconds = now - (self.deadline.written or now)
            return attrs.evolve(failure, kind=K.FIRST_TOKEN_TIMEOUT, message=f"no content within {seconds:.3g} s")
        return failure

    def _first_token_missed(self, now: float) -> bool:
        """Whether a stream without content was cut, by its own limit or by the attempt's share of the call's time."""
        waiting = self.reading is not None and not self.reading.committed
        ends = self.first_token_ends()
        return waiting and ends is not None and now >= min(ends, self.share_ends) - 0.001

    def first_token_ends(self) -> float | None:
        """The instant by which a stream must have shown content; None before the request was written."""
        written = self.deadline.written
        return None if written is None else written + self.deadline.limits.first_token

    def had_its_time(self, kind: FailureKind) -> bool:
        """False when the attempt was cut by its share or the deadline rather than by the vendor's own limit."""
        if kind is K.DEADLINE_EXCEEDED:
            return False
        return kind not in _TIMED or self.clock.monotonic() < self.share_ends - 0.001

    def first_content_seconds(self, started: float) -> float | None:
        """Seconds from the start of the attempt to its first content."""
        return None if self.committed_at is None else self.committed_at - started


def plain(run: Run) -> Generator[Effect, Any, ChatCompletion]:
    """Send the request and read the whole answer."""
    response = yield Send(run.step.place, run.request, run.deadline)
    if not isinstance(response, HttpResponse):
        raise _odd(run, f"send returned {type(response).__name__}, not an HttpResponse")
    run.status = response.status
    return answer_of(run.step.place, response, run.clock.time())


def streamed(run: Run, given: list[Delta], waiting: deque[Delta]) -> Generator[Effect, Any, ChatCompletion]:
    """Send the request and read the stream; the consumer takes deltas from `waiting`.

    `given` is the call's own list of what was handed out; it is emptied and kept up to date.
    """
    head = yield Open(run.step.place, run.request, run.deadline)
    if not _is_stream(head):
        raise _odd(run, f"open returned {type(head).__name__}, which is no stream with status, headers and read")
    run.status, run.headers = head.status, head.headers
    state = StreamState(run.step.request, run.request.body)  # type: ignore[arg-type]
    reading = run.reading = Reading(run.step.place, state, head.status, given, waiting)
    ends = run.first_token_ends()
    if ends is not None:
        run.deadline.at = min(run.deadline.at, ends)
    try:
        yield from _read(run, reading)
        return _whole_answer(run, reading, head) if reading.whole is not None else _end(reading, head)
    except StreamFailed as failed:
        failure = attrs.evolve(failed.failure, request_id=failed.failure.request_id or state.request_id)
    raise AttemptFailed(completed(failure, run.step.place, head.status, head.headers, run.clock.time()))


def _is_stream(head: Any) -> bool:
    """Whether what a transport opened can be read, as far as it can be seen."""
    return isinstance(getattr(head, "status", None), int) and hasattr(head, "headers") and hasattr(head, "read")


def _odd(run: Run, what: str) -> HookError:
    """A transport of a stranger's gave back what it may not."""
    return HookError(f"transport {type(run.step.place.transport).__name__}: {what}", billing="unknown")


def _read(run: Run, reading: Reading) -> Generator[Effect, Any, None]:
    """Read until the body ends, or until nothing more is worth waiting for after the end mark."""
    intake = _Intake(run, reading)
    try:
        yield Read(intake.take)
    except CallError as error:
        if not _enough(run, reading) or error.kind in (K.CANCELLED, K.CLOSED):
            raise
    if intake.failure is not None:
        raise StreamFailed(intake.failure)
    reading.end()


@attrs.define(eq=False)
class _Intake:
    """Takes in the pieces of one stream. `failure` is what ended it, if one did."""

    run: Run
    reading: Reading
    failure: Failure | None = None
    _ending: bool = False
    _drained: int = 0
    _plain: bool = False
    """Whether the stream is in its middle: content has come and no end mark."""

    def take(self, data: bytes) -> bool:
        """Whether more is worth reading after `data`; b"" is the end of the body."""
        if not data or not isinstance(data, bytes):
            return self._end_or_odd(data)
        reading, known = self.reading, len(self.reading.given)
        try:
            reading.feed(data)
        except StreamFailed as failed:
            self.failure = failed.failure
            return False
        if self._plain and not (reading.finished or reading.done):
            return True
        return self._goes_on(len(data), len(reading.given) > known)

    def _end_or_odd(self, data: Any) -> bool:
        if not isinstance(data, bytes):
            self.failure = _odd(self.run, f"read returned {type(data).__name__}, not bytes").failure()
        return False

    def _goes_on(self, size: int, more: bool) -> bool:
        """Set what time is left before the first content, and after the end mark. `more`: there was content in the piece."""
        run, reading = self.run, self.reading
        if reading.committed and run.committed_at is None:
            run.committed_at = run.clock.monotonic()
            run.share_ends = run.call_ends
            if not self._ending:
                run.deadline.at = run.call_ends
        if reading.finished and (not self._ending or more):  # text behind the end mark is waited for anew
            self._ending = True
            run.deadline.at = min(run.call_ends, run.clock.monotonic() + _AFTER_FINISH)
        self._plain = reading.committed
        return not reading.done or self._drains(size)

    def _drains(self, size: int) -> bool:
        """Whether a stream that is done is read on, so that its connection can be kept."""
        self._drained += size
        if self.reading.refused or self._drained > _DRAIN:
            return False
        _hurry(self.run, _AFTER_DONE)
        return True


def _enough(run: Run, reading: Reading) -> bool:
    """Whether what was read stands without the rest: after the end mark, or where the status has said it all."""
    return reading.finished or (reading.refused and run.clock.monotonic() < run.call_ends)


def _hurry(run: Run, seconds: float) -> None:
    run.deadline.at = min(run.deadline.at, run.clock.monotonic() + seconds)


def _end(reading: Reading, head: Any) -> ChatCompletion:
    reading.check_state()
    reading.close_with(reading.usage)
    completion = completion_of(reading.given, reading.state, reading.usage, reading.finish)
    return completion if completion.request_id else attrs.evolve(completion, request_id=header_request_id(head.headers))


def _whole_answer(run: Run, reading: Reading, head: Any) -> ChatCompletion:
    """A complete answer to a stream request: read as such, and handed out as one delta."""
    body = reading.whole or b""
    completion = answer_of(run.step.place, HttpResponse(head.status, head.headers, body), run.clock.time())
    reading.told = UsageUpdate(completion.usage)
    calls = tuple(
        ToolCallDelta(index, call.id, call.name, call.arguments) for index, call in enumerate(completion.tool_calls)
    )
    reading.give(
        StepDelta(
            completion.text, completion.reasoning, calls, "assistant", completion.finish_reason, completion.usage,
            completion.sources,
        )
    )
    run.committed_at = run.clock.monotonic()
    return completion
