"""What one attempt has to claim before it may be sent: budgets, the deployment's rate limit, a shared breaker.

Rules of this file
- A router without budgets, rate limits and a shared store has no `Guard`, and its calls claim nothing.
- The in-flight place comes first and the store's grant second; a denial gives the place back at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.accounts import Account, Balance, Claim, Denial, Draft, Hold, Store
from cnroute.chat import ChatRequest
from cnroute.errors import ConfigurationError, Problem
from cnroute.money import EXACT, ZERO, plain
from cnroute.routing.budget import Budget
from cnroute.routing.deadline import Clock
from cnroute.routing.fallback import PRICE_UNKNOWN
from cnroute.routing.health import Lease, Refusal

if TYPE_CHECKING:
    from cnroute.routing.plan import Place


@attrs.define(eq=False)
class Claimed:
    """A claim and the store that decides on it; rides on the effect that asks for admission."""

    store: Store
    claim: Claim
    clock: Clock
    degraded: str | None = None
    """Why the store's own process decided alone, if it did."""

    @property
    def shared(self) -> bool:
        """Whether the breaker is the store's, and not this process's own."""
        return self.store.remote

    def note(self, lease: Lease) -> Hold:
        """Note at the lease what is about to be claimed: whoever ends it gives that back."""
        hold = lease.hold = Hold(self.store, self.claim, self.clock)
        if self.shared:
            hold.told = lease.adopt
        return hold

    def on(self, lease: Lease) -> Lease | Refusal:
        """The lease with everything that was claimed, or why not; then nothing is taken any more."""
        hold = lease.hold or self.note(lease)
        if hold.ending:  # the call was given up before it was asked
            return lease
        denial = self.store.take(hold)
        self.degraded = hold.degraded
        refusal = None if denial is None else refused(denial, self.clock.monotonic())
        if self.shared and refusal is None and hold.degraded is not None:
            refusal = lease.alone(self.claim.probe)
        elif hold.state is not None:
            lease.seen(hold.state, hold.probe)
        if refusal is None:
            return lease
        lease.end()
        return refusal


def refused(denial: Denial, now: float) -> Refusal:
    """A store's denial as admission's own value."""
    return Refusal(denial.reason, None if denial.wait is None else now + denial.wait, denial.detail, denial.inputs)


class Guard:
    """The budgets of a router and the store that keeps their accounts."""

    def __init__(self, budgets: Iterable[tuple[Budget, Decimal]], store: Store, clock: Clock) -> None:
        self.budgets = tuple(budgets)
        self.store = store
        self._clock = clock

    def unpriced(self, place: Place) -> str | None:
        """Why a budget cannot cover the place, or None."""
        price = place.deployment.price
        if not self.budgets or (price is not None and price.known and place.rate is not None):
            return None
        if price is None or not price.known:
            return "a budget is set, and the deployment's price is unknown"
        return f"a budget is set, and there is no exchange rate from {price.currency} to {place.currency}"

    def excludes(self, place: Place, request: ChatRequest, count: int) -> tuple[str, str, Mapping[str, Any]] | None:
        """A rule of plans: what has no known price stays out."""
        reason = self.unpriced(place)
        if reason is None:
            return None
        price = place.deployment.price
        return PRICE_UNKNOWN, reason, {"budget": self.budgets[0][0].title, "currency": price.currency if price else None}

    def foresees(self, claimed: Claimed) -> Denial | None:
        """A rule of forecasts: which budget would deny the claim, by what is known here and now."""
        return self.store.foresee(claimed.claim, self._clock) if claimed.claim.charges else None

    def needed(self, place: Place) -> bool:
        """Whether an attempt at the place has to claim anything."""
        return bool(self.budgets or place.deployment.rate_limit or self.store.remote)

    def claim(self, place: Place, route: str, metadata: Mapping[str, str], worst: Decimal, tokens: int) -> Claimed:
        """The claim of one attempt that costs at most `worst` and takes at most so many tokens."""
        name = place.deployment.name
        charges = []
        for budget, cap in self.budgets:
            charges.append(budget.charge(cap, budget.account(route, name, metadata), worst))
        limit = place.deployment.rate_limit
        draft = None
        if limit is not None:
            draft = Draft(deployment_account(place), limit.requests_per_minute, limit.tokens_per_minute, tokens)
        desk = place.health.desk(deployment_account(place)) if self.store.remote else None
        return Claimed(self.store, Claim(tuple(charges), draft, desk), self._clock)

    def report(self, deployment: str) -> list[dict[str, Any]]:
        """Every budget that covers the deployment, with what is spent and reserved now; JSON-ready."""
        known = list(self.store.balances(self._clock)) if self.budgets else []
        return [_entry(budget, cap, _of(budget, deployment, known)) for budget, cap in self.budgets]


def deployment_account(place: Place) -> Account:
    """What makes a deployment the same one in another process."""
    deployment = place.deployment
    return ("deployment", deployment.name, deployment.provider, deployment.model, deployment.base_url or "")


def _of(budget: Budget, deployment: str, known: Iterable[Balance]) -> list[Balance]:
    mine = budget.account("", deployment, {})
    single = budget.by in ("router", "deployment")
    return [each for each in known if each.account == mine or (not single and each.account[:3] == mine[:3])]


def _entry(budget: Budget, cap: Decimal, balances: list[Balance]) -> dict[str, Any]:
    """One budget; one by route or metadata sums up over all its values."""
    spent = reserved = unknown = ZERO
    for each in balances:
        spent, reserved = EXACT.add(spent, each.spent), EXACT.add(reserved, each.reserved)
        unknown = EXACT.add(unknown, each.unknown)
    return {
        "budget": budget.title, "by": budget.by, "per": budget.per, "cap": plain(cap), "accounts": len(balances),
        "spent": plain(spent), "reserved": plain(reserved), "unknown": plain(unknown),
    }


def checked_budgets(budgets: Any, currency: str, rates: Mapping[str, Decimal]) -> list[tuple[Budget, Decimal]]:
    """The budgets with their caps in the router's currency. Raises ConfigurationError with every problem."""
    if isinstance(budgets, str | Mapping) or not isinstance(budgets, Iterable):
        raise ConfigurationError(f"must be a list of Budget, not a {type(budgets).__name__}", "budgets")
    problems, found, seen = [], [], set[Account]()
    for index, budget in enumerate(budgets):
        key = f"budgets[{index}]"
        if not isinstance(budget, Budget):
            problems.append(Problem(key, f"must be a Budget, not a {type(budget).__name__}"))
            continue
        same = budget.account("", "", {})
        if same in seen:
            problems.append(Problem(key, "two budgets count the same; keep the smaller one"))
        seen.add(same)
        try:
            found.append((budget, budget.cap_in(currency, rates)))
        except ConfigurationError as error:
            problems += [Problem(f"{key}.{problem.key}", problem.reason) for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
    return found
