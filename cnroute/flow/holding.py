"""What an attempt claims of budgets and rate limits, and what it really took, once it has ended."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from cnroute.chat import ChatRequest, Usage
from cnroute.failures import Failure, FailureKind
from cnroute.flow.announce import budget_overrun
from cnroute.flow.bill import worst_cost
from cnroute.flow.build import CannotBuild
from cnroute.flow.running import Call
from cnroute.money import ZERO, Cost
from cnroute.routing import tokens
from cnroute.routing.walk import Step

if TYPE_CHECKING:
    from cnroute.accounts import Hold
    from cnroute.routing.limits import Claimed, Guard
    from cnroute.routing.plan import Place

K = FailureKind


def claim(call: Call, step: Step, body: bytes) -> Claimed | None:
    """What an attempt at `step` has to claim; None: nothing. Raises CannotBuild where its cost has no upper bound."""
    if call.guard is None or step.request is None:
        return None
    return claim_of(call.guard, call.walk.course.name, step.place, step.request, body)


def claim_of(guard: Guard, route: str, place: Place, request: ChatRequest, body: bytes) -> Claimed | None:
    """The same, of a request that is fitted to `place`."""
    if not guard.needed(place):
        return None
    worst = worst_cost(place, request, body) if guard.budgets else ZERO
    if worst is None:
        raise CannotBuild(Failure(K.BUDGET_EXCEEDED, "a budget is set, and a price that this request needs is unknown"))
    most = tokens.upper_bound(request, body) + tokens.output_bound(request)
    return guard.claim(place, route, request.metadata, worst, most)


def settle(call: Call, step: Step, hold: Hold, usage: Usage | None, cost: Cost | None) -> None:
    """The attempt answered. A cost that is only estimated, or unknown, leaves the whole reservation spent."""
    known = usage is not None and cost is not None and not cost.estimated
    spent = cost.high if known and cost is not None else _above(hold, cost)
    hold.settle(spent, _total(usage))
    _tell_overrun(call, step, hold, spent)


def settle_failed(call: Call, step: Step, hold: Hold, failure: Failure, usage: Usage | None, cost: Cost | None) -> None:
    """The attempt failed: it took nothing, or, where it may have been charged, all that was reserved, or more if told so."""
    free = failure.billing == "none"
    spent = ZERO if free else _above(hold, cost)
    counted = _total(usage) if spent else None
    hold.settle(spent, 0 if free else counted, throttled=failure.kind is K.RATE_LIMIT)
    _tell_overrun(call, step, hold, spent)


def _reserved(hold: Hold) -> Decimal | None:
    return max((charge.amount for charge in hold.claim.charges), default=None)


def _above(hold: Hold, cost: Cost | None) -> Decimal | None:
    """The least that an inexact cost can be, where even that is more than was reserved; else None."""
    reserved = _reserved(hold)
    return cost.low if cost is not None and reserved is not None and cost.low > reserved else None


def _tell_overrun(call: Call, step: Step, hold: Hold, spent: Decimal | None) -> None:
    reserved = _reserved(hold)
    if spent is not None and reserved is not None and spent > reserved:
        budget_overrun(call, step, reserved, spent)


def _total(usage: Usage | None) -> int | None:
    if usage is None:
        return None
    given, made = usage.split()
    if given is None or made is None:
        return usage.total_tokens
    return max(given + made, usage.total_tokens or 0)
