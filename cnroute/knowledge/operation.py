"""One operation of a knowledge client: its exchanges with the vendor, what is repeated and when, and how it ends.

Rules of this file
- One deadline for the whole operation, waits included; nothing sleeps past it.
- Busy answers (2034, 2036) are waited out as long as the deadline allows. Everything else is tried `max_attempts`
  times: what was provably not processed always, what may have been only where the endpoint is repeatable.
- An error names what the vendor has because of the operation, as far as that can be found out before the deadline, and
  says what to do next: nothing that was created is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import attrs

from cnroute.errors import CallError, error_for
from cnroute.failures import Attempt, Failure, FailureKind, clean_text
from cnroute.flow.answer import AttemptFailed, clean_id, completed, masked, refusal_in
from cnroute.flow.effects import Send, Sleep
from cnroute.flow.running import Audience
from cnroute.http import FileBody, HttpRequest, HttpResponse, header_request_id
from cnroute.knowledge.advice import advice_for
from cnroute.knowledge.effects import Begin, Step
from cnroute.knowledge.wire import Endpoint
from cnroute.notices import KnowledgeFinished
from cnroute.routing.deadline import Clock, Deadline
from cnroute.routing.plan import Place
from cnroute.settings import Retries

K = FailureKind
T = TypeVar("T")
Flow = Generator[Step, Any, T]

BUSY = frozenset(("2034", "2036"))
_BUSY_FIRST, _BUSY_MOST = 0.1, 5.0
# The part of the deadline that is kept for looking at what a failed write has left, at most so many seconds.
_KEPT, _KEPT_MOST = 0.1, 2.0
_LEAST = 0.05
_OUTSIDE = frozenset((K.CANCELLED, K.CLOSED, K.PLUGIN_ERROR))
# Failures behind which there is nobody who could tell more.
_DEAF = _OUTSIDE | frozenset(
    (K.AUTH, K.PERMISSION, K.DNS_ERROR, K.CONNECT_ERROR, K.CONNECT_TIMEOUT, K.TLS_ERROR, K.TLS_VERIFY, K.TLS_TIMEOUT)
)
_TIMED = frozenset(
    (K.CONNECT_TIMEOUT, K.TLS_TIMEOUT, K.WRITE_TIMEOUT, K.FIRST_BYTE_TIMEOUT, K.IDLE_TIMEOUT, K.LOCAL_OVERLOAD, K.DNS_ERROR)
)


class BadAnswer(Exception):
    """A good HTTP answer that does not hold what the page promises; `str` says what is missing."""


@attrs.define(eq=False)
class Operation:
    """Everything about one operation while it runs. `ends` is an instant of the monotonic clock."""

    name: str
    id: str
    place: Place
    clock: Clock
    random: Callable[[], float]
    audience: Audience
    retries: Retries
    ends: float
    started: float
    total: float
    wall: float
    files: list[int] = attrs.field(factory=list)
    """The files that the operation is about, or has made."""
    bases: list[int] = attrs.field(factory=list)
    operator_id: int | None = None
    looked: bool = False
    """Whether `files` and `bases` were compared with the vendor's own lists after a failure."""
    attempts: list[Attempt] = attrs.field(factory=list)
    advice: str = ""

    @property
    def ids(self) -> dict[str, tuple[int, ...]]:
        """What the vendor has of this operation: files and bases."""
        return {"files": tuple(self.files), "bases": tuple(self.bases)}

    def deadline(self, *, whole: bool = True) -> Deadline:
        """For one exchange; without `whole` a part of the time is kept for looking at what it has left."""
        kept = 0.0 if whole else min(_KEPT * self.total, _KEPT_MOST)
        return Deadline(self.ends - kept, self.place.timeouts.plain, self.clock)

    def remaining(self) -> float:
        """Seconds until the operation's deadline."""
        return self.ends - self.clock.monotonic()

    def uncertain(self) -> bool:
        """Whether an exchange failed of which nobody can say if the vendor acted on it."""
        failed = [attempt for attempt in self.attempts if attempt.failure is not None]
        return any(attempt.billing != "none" or attempt.resent for attempt in failed)

    def reachable(self) -> bool:
        """Whether asking the vendor once more could tell anything."""
        last = self.attempts[-1].failure if self.attempts else None
        ours = last is not None and last.kind is K.BAD_REQUEST and last.http_status is None  # the file broke off
        return last is not None and not ours and last.kind not in _DEAF and self.remaining() > _LEAST


def conduct(operation: Operation, steps: Flow[T]) -> Flow[T]:
    """Run the steps; whatever the end, it is told exactly once, and an error knows what the operation knows."""
    try:
        result = yield from steps
    except CallError as error:
        _fill_in(error, operation)
        _tell(operation, error.kind.value, error)
        raise
    except BaseException:  # the host's own exception, KeyboardInterrupt, an abandoned task
        _tell(operation, K.CANCELLED.value, None)
        raise
    _tell(operation, "ok", None)
    return result


def _tell(operation: Operation, outcome: str, error: CallError | None) -> None:
    if operation.audience.hears(KnowledgeFinished):
        operation.audience.notify(
            KnowledgeFinished(
                call_id=operation.id, operation=operation.name, outcome=outcome, deployment=operation.place.deployment.name,
                seconds=operation.clock.monotonic() - operation.started, attempts=tuple(operation.attempts),
                ids=operation.ids, looked=operation.looked, error=error,
            )
        )


def _fill_in(error: CallError, operation: Operation) -> None:
    """Give the error what the whole operation knows."""
    deployment = operation.place.deployment
    error.call_id, error.attempts = operation.id, tuple(operation.attempts)
    error.provider, error.deployment = deployment.provider, deployment.name
    error.seconds = operation.clock.monotonic() - operation.started
    error.ids = {name: ids for name, ids in operation.ids.items() if ids}
    if operation.operator_id is not None:
        error.ids["operations"] = (operation.operator_id,)
    error.advice = operation.advice or advice_for(error, sent=bool(operation.attempts))
    for note in _notes(error, operation):
        error.add_note(note)


def _notes(error: CallError, operation: Operation) -> list[str]:
    notes = [_line(attempt) for attempt in operation.attempts[-5:] if attempt.failure is not None]
    named = [f"{name} {', '.join(map(str, ids))}" for name, ids in operation.ids.items() if ids]
    if named:
        sure = "the vendor has" if operation.looked else "it was about"
        notes.append(f"{sure} {'; '.join(named)}")
    return [*notes, f"next: {error.advice}"] if error.advice else notes


def _line(attempt: Attempt) -> str:
    failure = attempt.failure
    said = "" if failure is None else f"{failure.kind.value}: {failure.message[:200]}"
    return f"attempt {attempt.number}: {attempt.seconds:.3f} s, {said}"


# -- one exchange, and its repetitions -------------------------------------------------------------------------


def ask(
    operation: Operation, endpoint: Endpoint, make: Callable[[], HttpRequest], read: Callable[[Mapping[str, Any]], T],
    *, whole: bool = True,
) -> Flow[T]:
    """Send the request until it is answered. Raises the error of the last attempt."""
    while True:
        request = make()
        deadline = operation.deadline(whole=whole)
        yield Begin(deadline)
        begun, wall = operation.clock.monotonic(), operation.clock.time()
        response: HttpResponse | None = None
        try:
            response = yield Send(operation.place, request, deadline)
            answer = decoded(operation, response, read)
        except AttemptFailed as failed:
            failure = failed.failure
        except CallError as error:
            failure = relabelled(operation, error.failure(), deadline)
        else:
            note(operation, None, response, begun, wall, deadline)
            return answer
        note(operation, failure, response, begun, wall, deadline)
        pause = pause_before_next(operation, endpoint, failure, request, deadline)
        if pause is None:
            raise error_for(failure)
        yield Sleep(pause, deadline)


def accepted(operation: Operation, response: HttpResponse) -> None:
    """Raises AttemptFailed for an answer that tells of a failure."""
    refusal = refusal_in(operation.place, response, operation.clock.time())
    if refusal is not None:
        if refusal.kind is K.MODEL_NOT_FOUND:  # a 404: what is not there is a file or a base
            refusal = attrs.evolve(refusal, kind=K.BAD_REQUEST, billing="none")
        raise AttemptFailed(refusal)


def decoded(operation: Operation, response: HttpResponse, read: Callable[[Mapping[str, Any]], T]) -> T:
    """What `read` finds in a good answer. Raises AttemptFailed."""
    accepted(operation, response)
    data = response.json_or_none()
    try:
        if not isinstance(data, dict):
            raise BadAnswer("the body is no JSON object")
        return read(data)
    except BadAnswer as bad:
        reason = str(bad)
    failure = Failure(K.BAD_RESPONSE, f"{reason} (not an answer of this vendor)", http_status=response.status)
    wall = operation.clock.time()
    raise AttemptFailed(completed(failure, operation.place, response.status, response.headers, wall))


def relabelled(operation: Operation, failure: Failure, deadline: Deadline) -> Failure:
    """The wire's failure in the operation's words: a step that the deadline cut is `deadline_exceeded`."""
    if failure.kind in _TIMED and operation.clock.monotonic() >= deadline.at - 0.001:
        message = f"the operation's deadline passed during: {failure.kind.value}"
        return attrs.evolve(failure, kind=K.DEADLINE_EXCEEDED, message=message)
    return failure


def note(
    operation: Operation, failure: Failure | None, response: HttpResponse | None, begun: float, wall: float, deadline: Deadline
) -> None:
    """Keep the attempt."""
    place = operation.place
    status = response.status if response is not None else failure.http_status if failure is not None else None
    request_id = failure.request_id if failure is not None else _request_id(response)
    operation.attempts.append(
        Attempt(
            place.deployment.name, place.deployment.provider, len(operation.attempts) + 1, failure, status,
            clean_id(request_id, place), failure.billing if failure is not None else "none", wall,
            operation.clock.monotonic() - begun, None, None, {}, deadline.resent,
        )
    )
    if failure is not None and failure.kind is K.AUTH and place.deployment.api_key is not None:
        place.deployment.api_key.forget(operation.clock.monotonic())


def _request_id(response: HttpResponse | None) -> str | None:
    return None if response is None else header_request_id(response.headers)


def pause_before_next(
    operation: Operation, endpoint: Endpoint, failure: Failure, request: HttpRequest, deadline: Deadline
) -> float | None:
    """Seconds to wait before the request is sent again; None: it is not."""
    busy = failure.vendor_code in BUSY
    if not busy and _tried(operation) >= operation.retries.max_attempts:
        return None
    if not busy and not _may_repeat(endpoint, failure, request, deadline):
        return None
    pause = _busy_pause(operation) if busy else _back_off(operation, failure)
    return pause if pause + _LEAST <= deadline.at - operation.clock.monotonic() else None


def _tried(operation: Operation) -> int:
    """How many attempts in a row have failed for another reason than that the base was busy."""
    tried = 0
    for attempt in reversed(operation.attempts):
        if attempt.failure is None:
            break
        tried += attempt.failure.vendor_code not in BUSY
    return tried


def _may_repeat(endpoint: Endpoint, failure: Failure, request: HttpRequest, deadline: Deadline) -> bool:
    """Whether sending it again can help, and cannot do the same thing twice."""
    if not failure.retryable or failure.kind in (K.DEADLINE_EXCEEDED, K.TLS_VERIFY):
        return False
    # A request that was not written to its end cannot have been acted upon. Two ask: not every transport tells when it has.
    body: object = request.body
    written = deadline.written is not None or (isinstance(body, FileBody) and not body.again())
    return endpoint.repeatable or failure.billing == "none" or not written


def _busy_pause(operation: Operation) -> float:
    """Growing, each between half and the whole, so that many clients do not come back together."""
    times = sum(1 for attempt in operation.attempts if attempt.failure is not None and attempt.failure.vendor_code in BUSY)
    most = min(_BUSY_MOST, _BUSY_FIRST * 2.0 ** min(times - 1, 10))
    return most * (0.5 + 0.5 * operation.random())


def _back_off(operation: Operation, failure: Failure) -> float:
    """Full jitter (reliability S4); a vendor's own Retry-After replaces it."""
    retries = operation.retries
    if failure.retry_after is not None:
        return failure.retry_after if failure.retry_after <= retries.max_wait else float("inf")
    throttled = failure.kind in (K.RATE_LIMIT, K.OVERLOADED)
    base = retries.throttled_backoff if throttled else retries.backoff
    return operation.random() * min(retries.backoff_cap, base * 2.0 ** (_tried(operation) - 1))


def out_of_time(operation: Operation, what: str) -> CallError:
    """The error of an operation whose time is up although every answer was good."""
    return error_for(masked(Failure(K.DEADLINE_EXCEEDED, clean_text(what, 500), billing="none"), operation.place))
