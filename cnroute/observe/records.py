"""A call or a plan as JSON-ready data.

Rules of this file
- The schema is API: `SCHEMA` grows when a key changes its meaning or goes away, not when one is added.
- No content and no key. Amounts are text, never floats; None is unknown, an empty list of costs is "nothing".
- Every deployment of the plan appears exactly once, with its state, the rule that put it there and the reason.
- All text is cleaned (`failures.clean_text`), so a record can be printed anywhere.
- Imports values only: records are made by values that are imported without the router.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.failures import Attempt, Failure, FailureKind, clean_text
from cnroute.money import ZERO, Bill, Cost, add_up, plain

if TYPE_CHECKING:
    from cnroute.chat import ChatCompletion, Usage
    from cnroute.errors import CallError
    from cnroute.notices import CallFinished

SCHEMA = 1
_LONGEST = 2000
Record = dict[str, Any]

# What the health of a candidate says about why it was not admitted, where the plan itself does not tell.
_RULE_OF_HEALTH = {"cooling down": "cooling_down", "breaker open": "breaker_open", "breaker half_open": "probe_out"}


def record_of_completion(completion: ChatCompletion) -> Record:
    """The record of a call that was answered. One that is still running has the outcome `unfinished`."""
    whole = bool(completion.attempts) or completion.finish_reason is not None
    return _record(
        "completion", completion, "ok" if whole else "unfinished", completion.plan,
        deployment=completion.deployment, provider=completion.provider, model=completion.model, usage=completion.usage,
        cost=completion.cost, bill=completion.bill, finish_reason=completion.finish_reason,
        request_id=completion.request_id, error=None,
    )


def record_of_error(error: CallError) -> Record:
    """The record of a call that failed."""
    return _record(
        "error", error, error.kind.value, error.plan, deployment=error.deployment, provider=error.provider,
        model=model_of(error.plan, error.deployment), usage=_last_usage(error.attempts), cost=None,
        bill=_bill_of(error.attempts), finish_reason=None, request_id=error.request_id, error=error,
    )


def record_of_plan(plan: Any) -> Record:
    """The record of a forecast."""
    record: Record = _safe(
        {
            "schema": SCHEMA,
            "kind": "plan",
            "route": plan.route,
            "policy": plan.policy,
            "estimated_input_tokens": plan.estimated_input_tokens,
            "plan": _plan(plan, None, (), None),
        }
    )
    return record


def record_of_notice(notice: CallFinished) -> Record:
    """The record of a finished call, as the log carries it."""
    plan = _made(notice.plan)
    return _record(
        "completion" if notice.outcome == "ok" else "error", notice, notice.outcome, plan,
        deployment=notice.deployment, provider=notice.provider, model=notice.model or model_of(plan, notice.deployment),
        usage=notice.usage, cost=notice.cost, bill=notice.bill, finish_reason=notice.finish_reason,
        request_id=request_id_of(notice), error=notice.error,
    )


def find_record(value: object) -> Record | None:
    """The record in a decoded line: the line itself, or what a log line carries as `record`. None: there is none."""
    if not isinstance(value, Mapping):
        return None
    if "schema" in value and value.get("kind") in ("completion", "error", "plan"):
        return dict(value)
    return find_record(value.get("record"))


def model_of(plan: Any, deployment: str | None) -> str | None:
    """The model of a deployment, as the plan (or what makes it) names it."""
    plan = _made(plan)
    each = (*plan.candidates, *plan.excluded) if plan is not None else ()
    return next((entry.model or None for entry in each if entry.deployment == deployment), None)


def _made(plan: Any) -> Any:
    """A notice carries a function that puts the plan together, since few observers ask for it."""
    return plan() if callable(plan) else plan


def request_id_of(notice: CallFinished) -> str | None:
    """The vendor's request id of the attempt that ended the call."""
    return notice.attempts[-1].request_id if notice.attempts else None


# -- one call ----------------------------------------------------------------------------------------------


def _record(
    kind: str, value: Any, outcome: str, plan: Any, *, deployment: str | None, provider: str | None, model: str | None,
    usage: Usage | None, cost: Cost | None, bill: Bill | None, finish_reason: str | None, request_id: str | None,
    error: CallError | None,
) -> Record:
    """`value` is a completion, an error or a notice: what all three have is read from it."""
    attempts: tuple[Attempt, ...] = value.attempts
    record: Record = _safe(
        {
            "schema": SCHEMA,
            "kind": kind,
            "call_id": value.call_id,
            "route": plan.route if plan is not None else None,
            "policy": plan.policy if plan is not None else None,
            "estimated_input_tokens": plan.estimated_input_tokens if plan is not None else None,
            "outcome": outcome,
            "deployment": deployment,
            "provider": provider,
            "model": model,
            "started": attempts[0].started if attempts else None,
            "seconds": _seconds(value, attempts),
            "plan": _plan(plan, outcome, attempts, error),
            "attempts": [_attempt(attempt, plan) for attempt in attempts],
            "usage": _usage(usage),
            "cost": _cost(cost),
            "bill": _bill(bill),
            "finish_reason": finish_reason,
            "request_id": request_id,
            "metadata": dict(getattr(value, "metadata", None) or {}),
            "error": None if error is None else _error(error),
            "degraded": getattr(plan, "degraded", None),
        }
    )
    return record


def _seconds(value: Any, attempts: Iterable[Attempt]) -> float | None:
    """How long the call took; where only its attempts were measured, their sum."""
    seconds = getattr(value, "seconds", None)
    if seconds is None:
        parts = [attempt.seconds for attempt in attempts]
        seconds = sum(parts) if parts else None
    return None if seconds is None else round(seconds, 6)


def _attempt(attempt: Attempt, plan: Any) -> Record:
    return {
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "model": model_of(plan, attempt.deployment),
        "number": attempt.number,
        "failure": None if attempt.failure is None else _failure(attempt.failure),
        "http_status": attempt.http_status,
        "request_id": attempt.request_id,
        "billing": attempt.billing,
        "started": attempt.started,
        "seconds": round(attempt.seconds, 6),
        "usage": _usage(attempt.usage),
        "cost": _cost(attempt.cost),
        "adjusted": dict(attempt.adjusted),
        "resent": attempt.resent,
    }


def _failure(failure: Failure) -> Record:
    return {
        "kind": failure.kind.value,
        "message": failure.message,
        "vendor_code": failure.vendor_code,
        "http_status": failure.http_status,
        "request_id": failure.request_id,
        "retry_after": failure.retry_after,
        "billing": failure.billing,
        "retryable": failure.retryable,
    }


def _error(error: CallError) -> Record:
    cause = getattr(error, "cause_kind", None)
    return {
        "type": type(error).__name__,
        **_failure(error.failure()),
        "cause_kind": None if cause is None else str(cause),
        "ids": {name: list(ids) for name, ids in error.ids.items()},
        "advice": error.advice or None,
    }


def _usage(usage: Usage | None) -> Record | None:
    return None if usage is None else attrs.asdict(usage)


# -- money -------------------------------------------------------------------------------------------------


def _cost(cost: Cost | None) -> Record | None:
    if cost is None:
        return None
    return {
        "low": plain(cost.low),
        "high": plain(cost.high),
        "currency": cost.currency,
        "estimated": cost.estimated,
        "exact": cost.exact,
    }


def _bill(bill: Bill | None) -> Record | None:
    return None if bill is None else {"confirmed": _costs(bill.confirmed), "possible": _costs(bill.possible)}


def _costs(part: Cost | tuple[Cost, ...] | None) -> list[Record | None] | None:
    """One entry a currency; nothing at all is an empty list, so that no currency has to be made up for it."""
    if part is None:
        return None
    costs = part if isinstance(part, tuple) else (part,)
    return [_cost(cost) for cost in costs if cost.high or cost.estimated]


def _bill_of(attempts: Iterable[Attempt]) -> Bill:
    """What the attempts of a failed call cost; the currency of nothing does not matter (see `_costs`)."""
    kept = tuple(attempts)
    sure = [attempt.cost for attempt in kept if attempt.billing == "billed"]
    maybe = [attempt.cost and attrs.evolve(attempt.cost, low=ZERO) for attempt in kept if attempt.billing == "unknown"]
    return Bill(add_up(sure, "CNY"), add_up(maybe, "CNY"))


def _last_usage(attempts: tuple[Attempt, ...]) -> Usage | None:
    return attempts[-1].usage if attempts else None


# -- the plan and what became of it ------------------------------------------------------------------------


def _plan(plan: Any, outcome: str | None, attempts: tuple[Attempt, ...], error: CallError | None) -> Record | None:
    """Every deployment once. `outcome` is None for a forecast, where nothing has happened to anybody."""
    if plan is None:
        return None
    course = _Course(plan, outcome, attempts, error)
    return {
        "candidates": [
            {
                **_names(each), "rank": each.rank, "order": each.reason, "order_by": [dict(level) for level in each.order_by],
                "health": each.health, "ready_in": each.ready_in, "cost": _cost(each.cost), **course.fate(each),
            }
            for each in plan.candidates
        ],
        "excluded": [{**_names(each), **course.fate_of_excluded(each)} for each in plan.excluded],
    }


def _names(each: Any) -> Record:
    return {"deployment": each.deployment, "provider": each.provider, "model": each.model}


def _fate(state: str, rule: str | None = None, reason: str | None = None, inputs: Mapping[str, Any] | None = None) -> Record:
    return {"state": state, "rule": rule, "reason": reason, "inputs": dict(inputs or {})}


class _Course:
    """What became of the deployments of a plan: `chosen`, `tried`, `skipped`, `not_needed`, `excluded`.

    The candidates of a forecast have the state `candidate`.
    """

    def __init__(self, plan: Any, outcome: str | None, attempts: tuple[Attempt, ...], error: CallError | None) -> None:
        self._outcome = outcome
        self._last = {attempt.deployment: attempt for attempt in attempts}
        self._refused = {each.deployment: each for each in getattr(plan, "skipped", ())}
        self._furthest = max((each.rank for each in plan.candidates if each.deployment in self._last), default=0)
        # Nothing was sent because nobody was admitted: then every candidate was asked for and skipped.
        self._all_refused = error is not None and not attempts and error.kind in _NOBODY

    def fate(self, each: Any) -> Record:
        """State, rule and reason of a candidate."""
        if self._outcome is None:
            return _fate("candidate")
        attempt = self._last.get(each.deployment)
        if attempt is not None:
            return _fate_of_attempt(attempt)
        if each.deployment in self._refused:
            refused = self._refused[each.deployment]
            return _fate("skipped", refused.rule, refused.reason, refused.inputs)
        if self._all_refused or each.rank < self._furthest:
            return _fate("skipped", _RULE_OF_HEALTH.get(each.health, "not_admitted"), inputs={"health": each.health})
        return _fate("not_needed", "answered" if self._outcome == "ok" else "call_ended", inputs={"outcome": self._outcome})

    def fate_of_excluded(self, each: Any) -> Record:
        """State, rule and reason of an excluded deployment; one may have been tried before it was excluded."""
        attempt = self._last.get(each.deployment)
        return _fate("excluded", each.rule, each.reason, each.inputs) if attempt is None else _fate_of_attempt(attempt)


_NOBODY = frozenset((FailureKind.NO_CANDIDATE, FailureKind.LOCAL_OVERLOAD))


def _fate_of_attempt(attempt: Attempt) -> Record:
    failure = attempt.failure
    if failure is None:
        return _fate("chosen", "answered", inputs={"attempt": attempt.number})
    return _fate("tried", failure.kind.value, failure.message, {"attempt": attempt.number})


def _safe(value: Any) -> Any:
    """`value` with every text in it cleaned."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST and value.isprintable() else clean_text(value, _LONGEST)
    if isinstance(value, dict):
        return {_safe(key): _safe(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_safe(each) for each in value]
    return value
