"""The course of one call, from its plan to its answer or error.

Rules of this file
- One generator; it yields effects (`cnroute.flow.effects`) and is sent their results. Errors of the wire are
  thrown in. It yields nothing in `finally` and nothing after it was closed.
- Every way out notifies exactly once that the call is finished.
- Text that was handed out is never handed out again: after the commit nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Generator
from decimal import Decimal
from typing import Any

import attrs

from cnroute.chat import ChatCompletion, ChatRequest, Usage
from cnroute.errors import CallCancelledError, CallError, StreamInterruptedError, error_for
from cnroute.failures import Attempt, Billing, Failure, FailureKind
from cnroute.flow import attempt as attempts
from cnroute.flow.announce import attempt_finished, attempt_started, call_finished, call_started, candidate_skipped
from cnroute.flow.answer import AttemptFailed, clean_id, without_prompt
from cnroute.flow.bill import attempt_cost, bill_of
from cnroute.flow.build import CannotBuild, build, check_cost
from cnroute.flow.effects import Admit, Effect, Sleep
from cnroute.flow.holding import claim, settle, settle_failed
from cnroute.flow.pursuit import Pursuit
from cnroute.flow.running import Call
from cnroute.http import HttpRequest
from cnroute.money import EXACT, ZERO, Cost
from cnroute.routing.deadline import Deadline
from cnroute.routing.health import Lease, Outcome, Refusal
from cnroute.routing.walk import Step
from cnroute.settings import Timeouts

K = FailureKind


Flow = Generator[Effect, Any, ChatCompletion]


def call_flow(call: Call) -> Flow:
    """Try the candidates of `call.walk` in turn. Returns the answer or raises the call's error."""
    try:
        call_started(call)
        completion = yield from _pursue(call)
    except CallError as error:
        _fill_in(error, call)
        call_finished(call, error.kind.value, None, error)
        raise
    except BaseException:  # left by its consumer, or what no call may hold up: KeyboardInterrupt, MemoryError ...
        call_finished(call, K.CANCELLED.value, None, None)
        raise
    call_finished(call, "ok", completion, None)
    return completion


def never_begun(call: Call, error: CallError) -> CallError:
    """The error of a call that ended before its flow began, filled in and notified like that of any other."""
    _fill_in(error, call)
    call_finished(call, error.kind.value, None, error)
    return error


def _pursue(call: Call) -> Flow:
    pursuit = Pursuit(call)
    while True:
        move = pursuit.next_move()
        if move.wait > 0:
            yield Sleep(move.wait, Deadline(call.deadline_at, call.walk.course.timeouts, call.clock))
        refusal = None if move.asked or move.probe else pursuit.rests(move.step)
        if refusal is not None:
            pursuit.refused(move.step, refusal)
            continue
        request = _built(call, move.step, pursuit)
        if request is None:
            continue
        deadline = Deadline(pursuit.share_ends(move.step), _limits(call, move.step), call.clock)
        claimed = move.step.claimed
        if claimed is not None:
            claimed.claim.probe = move.probe
        lease = yield Admit(move.step.place, deadline, move.probe, claimed)
        if claimed is not None and claimed.degraded is not None:
            call.walk.degraded = claimed.degraded
        if isinstance(lease, Refusal):
            pursuit.refused(move.step, lease)
            continue
        if not pursuit.has_time():  # waiting for a place took it
            lease.end()
            continue
        completion = yield from _try(call, move.step, request, deadline, lease, pursuit)
        if completion is not None:
            return completion


def _limits(call: Call, step: Step) -> Timeouts:
    """The effective time limits of an attempt."""
    limits = step.place.timeouts
    return limits.stream if call.stream else limits.plain


def _built(call: Call, step: Step, pursuit: Pursuit) -> HttpRequest | None:
    """The HTTP request for a candidate; None when the candidate is out because of it."""
    try:
        if step.request is None:
            step.request = call.fit(step.place)
        request = build(step.place, step.request, call.stream, step.lost)
        if call.request.max_cost is not None:
            call.worst[step.place.deployment.name] = check_cost(step.place, step.request, request.body, _spent(call))
        if call.guard is not None:
            step.claimed = claim(call, step, request.body)
        return request
    except CannotBuild as refused:
        failure, inputs = refused.failure, refused.inputs
    if failure.kind is K.PLUGIN_ERROR:
        _record(call, step, None, failure, call.clock.monotonic(), call.clock.time(), pursuit, {})
    else:
        candidate_skipped(call, step, Refusal(failure.kind.value, None, failure.message))
        pursuit.cannot(step, failure, inputs)
    return None


def _spent(call: Call) -> Decimal:
    """The most that the attempts so far can have cost, in the router's currency."""
    spent = ZERO
    for attempt in call.attempts:
        if attempt.billing != "none":
            known = attempt.usage is not None and attempt.cost is not None and not attempt.cost.estimated
            worst = call.worst.get(attempt.deployment, ZERO)
            told = attempt.cost or Cost(ZERO, ZERO, call.currency)
            spent = EXACT.add(spent, told.high if known else max(worst, told.low))
    return spent


def _request(step: Step) -> ChatRequest:
    assert step.request is not None  # noqa: S101 (set when it is built)
    return step.request


def _try(
    call: Call, step: Step, request: HttpRequest, deadline: Deadline, lease: Lease, pursuit: Pursuit
) -> Generator[Effect, Any, ChatCompletion | None]:
    """One attempt: the completion, or None when the pursuit may go on. Raises the call's error."""
    started, wall = call.clock.monotonic(), call.clock.time()
    run = attempts.Run(step, request, deadline, call.deadline_at, call.clock)
    if lease.hold is not None:
        lease.hold.begin()
    attempt_started(call, step)
    try:
        completion = yield from attempts.streamed(run, call.given, call.waiting) if call.stream else attempts.plain(run)
    except AttemptFailed as failed:
        failure = without_prompt(failed.failure, call.request)
    except CallError as error:
        failure = run.relabelled(error.failure())
    except GeneratorExit:
        _abandoned(call, step, run, started, wall, lease)
        raise
    else:
        return _answered(call, step, run, completion, started, wall, lease)
    _failed(call, step, run, failure, started, wall, lease, pursuit)
    return None


def _answered(
    call: Call, step: Step, run: attempts.Run, completion: ChatCompletion, started: float, wall: float, lease: Lease
) -> ChatCompletion:
    seconds = call.clock.monotonic() - started
    counted_all = run.reading is None or run.reading.whole is not None or run.reading.counted_all
    cost = attempt_cost(step.place, _request(step), completion.usage, completion, counted_all)
    if lease.hold is not None:
        settle(call, step, lease.hold, completion.usage, cost)
    lease.end(Outcome(seconds=seconds, first_content=run.first_content_seconds(started)))
    if counted_all:
        _learn(call, step, completion)
    step.place.health.paid(cost)
    deployment, request_id = step.place.deployment, clean_id(completion.request_id, step.place)
    call.attempts.append(
        Attempt(
            deployment.name, deployment.provider, len(call.attempts) + 1, None, run.status, request_id,
            "billed", wall, seconds, completion.usage, cost, run.request.adjusted, run.deadline.resent,
        )
    )
    attempt_finished(call, step, "done", run, started, completion)
    return completion.with_record(
        call_id=call.id, request_id=request_id, provider=deployment.provider, deployment=deployment.name,
        model=completion.model or deployment.model, cost=cost, bill=bill_of(call.attempts, call.currency),
        attempts=tuple(call.attempts), plan=call.walk.plan,
        metadata=call.request.metadata, seconds=call.clock.monotonic() - call.started,
    )


def _learn(call: Call, step: Step, completion: ChatCompletion) -> None:
    """How long answers are, and how the model counts; text that the vendor looked up itself says nothing of that."""
    usage = completion.usage
    if usage is None:
        return
    if usage.output_tokens is not None:
        step.place.health.made(usage.output_tokens)
    if usage.input_tokens is not None and not completion.sources and not call.request.web_search:
        step.place.ratio.learn(call.walk.input_tokens, usage.input_tokens)


def _failed(
    call: Call, step: Step, run: attempts.Run, failure: Failure, started: float, wall: float, lease: Lease, pursuit: Pursuit
) -> None:
    committed = run.reading is not None and run.reading.committed
    if committed:
        pursuit.stop()
    if committed or (run.reading is not None and run.reading.usage is not None):  # reliability S3: a delta or tokens seen
        failure = attrs.evolve(failure, billing="billed")
    elif failure.kind in _FROM_OUTSIDE and (run.deadline.begun or run.deadline.written is not None):
        failure = attrs.evolve(failure, billing="unknown")
    if lease.hold is not None:
        settle_failed(call, step, lease.hold, failure, _usage_of(run), _failed_cost(step, run, failure))
    lease.end(_outcome(call, run, failure, started))
    _record(call, step, run, failure, started, wall, pursuit, run.request.adjusted)
    if failure.kind is K.AUTH and step.place.deployment.api_key is not None:
        step.place.deployment.api_key.forget(call.clock.monotonic())
    if failure.kind in _FROM_OUTSIDE:
        raise error_for(failure)
    if committed:
        raise _interrupted(run, failure)


# These end a call from outside and say nothing of the vendor.
_FROM_OUTSIDE = (K.CANCELLED, K.CLOSED)


def _outcome(call: Call, run: attempts.Run, failure: Failure, started: float) -> Outcome | None:
    """What health learns of a failed attempt; None: nothing."""
    if failure.kind in _FROM_OUTSIDE:
        return None
    rule, seconds = call.walk.course.table[failure.kind], call.clock.monotonic() - started
    counted = run.had_its_time(failure.kind)
    return Outcome(rule, failure.kind, failure.billing, failure.retry_after, seconds, None, counted)


def _usage_of(run: attempts.Run | None) -> Usage | None:
    """What the vendor had counted by then."""
    return run.reading.usage if run is not None and run.reading is not None else None


def _failed_cost(step: Step, run: attempts.Run | None, failure: Failure) -> Cost | None:
    return None if failure.billing == "none" else attempt_cost(step.place, _request(step), _usage_of(run), None)


def _record(
    call: Call, step: Step, run: attempts.Run | None, failure: Failure, started: float, wall: float, pursuit: Pursuit,
    adjusted: Any,
) -> None:
    """Keep a failed attempt and tell the pursuit what it may do next."""
    deployment = step.place.deployment
    usage, cost = _usage_of(run), _failed_cost(step, run, failure)
    call.attempts.append(
        Attempt(
            deployment.name, deployment.provider, len(call.attempts) + 1, failure, failure.http_status, failure.request_id,
            failure.billing, wall, call.clock.monotonic() - started, usage, cost, adjusted,
            run.deadline.resent if run is not None else False,
        )
    )
    pursuit.failed(step, failure)
    attempt_finished(call, step, pursuit.decision(failure), run, started)


def _abandoned(call: Call, step: Step, run: attempts.Run, started: float, wall: float, lease: Lease) -> None:
    """The consumer left in the middle of an attempt: it is recorded as cancelled, and paid for if it had begun."""
    committed = run.reading is not None and run.reading.committed
    usage = _usage_of(run)
    nothing_sent = run.deadline.begun is False and run.deadline.written is None
    billing: Billing = "billed" if committed or usage is not None else "none" if nothing_sent else "unknown"
    failure = Failure(K.CANCELLED, "the consumer left", billing=billing)
    cost = _failed_cost(step, run, failure)
    if lease.hold is not None:
        settle_failed(call, step, lease.hold, failure, usage, cost)
    lease.end(None)
    deployment = step.place.deployment
    call.attempts.append(
        Attempt(
            deployment.name, deployment.provider, len(call.attempts) + 1, failure, run.status, None, failure.billing, wall,
            call.clock.monotonic() - started, usage, cost, run.request.adjusted, run.deadline.resent,
        )
    )
    attempt_finished(call, step, "stop", run, started)


def _interrupted(run: attempts.Run, failure: Failure) -> StreamInterruptedError:
    reading = run.reading
    assert reading is not None  # noqa: S101 (only committed readings get here)
    return StreamInterruptedError(
        f"the stream broke after its first content: {failure.kind.value}: {failure.message}",
        partial_text="".join(delta.text for delta in reading.given), deltas=tuple(reading.given), usage=reading.usage,
        cause_kind=failure.kind, kind=K.STREAM_INTERRUPTED, http_status=failure.http_status,
        vendor_code=failure.vendor_code, request_id=failure.request_id or reading.state.request_id,
        retry_after=failure.retry_after, billing="billed",
    )


# -- endings ---------------------------------------------------------------------------------------------


def _fill_in(error: CallError, call: Call) -> None:
    """Give the error what the whole call knows."""
    last = call.attempts[-1] if call.attempts else None
    error.call_id = call.id
    error.attempts = tuple(call.attempts)
    error.plan = call.walk.plan()
    error.seconds = call.clock.monotonic() - call.started
    error.metadata = call.request.metadata
    if last is not None:
        error.provider, error.deployment = last.provider, last.deployment
    if isinstance(error, CallCancelledError) and any(attempt.billing != "none" for attempt in call.attempts):
        error.billing = call.attempts[-1].billing
    for attempt in call.attempts:
        error.add_note(_line(attempt))


def _line(attempt: Attempt) -> str:
    failure = attempt.failure
    end = "ok" if failure is None else f"{failure.kind.value}: {failure.message[:200]}"
    return f"attempt {attempt.number}: {attempt.deployment} ({attempt.provider}), {attempt.seconds:.3f} s, {end}"
