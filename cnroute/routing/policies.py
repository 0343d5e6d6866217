"""How a route orders its deployments.

Rules of this file
- A policy is a pure function of options and context: it sends nothing, waits for nothing, keeps nothing.
- An option is one target of a route: a deployment, or a nested route that has already been ordered; a nested
  route counts as its first deployment.
- Ties keep the order in which the targets were written.
- Arithmetic is in fractions: exact, and none of the host's decimal context.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import attrs

from cnroute.errors import ConfigurationError
from cnroute.money import Cost, amount
from cnroute.routing.health import Snapshot

T = TypeVar("T")


@attrs.frozen
class Option:
    """One target, as policies see it.

    `cost` is the estimated cost of this request in the router's currency, `index` its place among the targets.
    """

    name: str
    weight: Decimal = Decimal(1)
    cost: Cost | None = None
    health: Snapshot = attrs.field(factory=Snapshot)
    index: int = 0


@attrs.define(eq=False)
class Context:
    """What a policy may use beside its options: `random()` gives a number from 0 to 1."""

    random: Callable[[], float]
    stream: bool = False
    request: Any = None


class Policy(Protocol):
    """Orders options; third parties provide more through the hook `create_policy`."""

    def order(self, options: Sequence[Option], context: Context) -> Sequence[Option]:
        """All of `options`, the first to be tried first."""


class Ordered:
    """As written."""

    def order(self, options: Sequence[Option], context: Context) -> Sequence[Option]:
        """The options as they are."""
        return options


class Weighted:
    """An independent draw per call by exact fractions; what has weight 0 is only a fallback."""

    def order(self, options: Sequence[Option], context: Context) -> Sequence[Option]:
        """The drawn option first, the others behind it, drawn in the same manner."""
        left, drawn = [option for option in options if option.weight > 0], []
        while left:
            drawn.append(_draw(left, context.random()))
            left.remove(drawn[-1])
        return drawn + [option for option in options if option.weight == 0]


def _draw(options: list[Option], number: float) -> Option:
    mark = Fraction(number) * sum(Fraction(option.weight) for option in options)
    for option in options:
        mark -= Fraction(option.weight)
        if mark < 0:
            return option
    return options[-1]


class Cheapest:
    """The least expected cost of this request: cost x (p + u) / p (contract, section 4).

    p is the recent rate of success and u that of failures that were or may have been charged; failures that
    cost nothing move nobody. A zero price is a price; an unknown price comes last.
    """

    def order(self, options: Sequence[Option], context: Context) -> Sequence[Option]:
        """The options by expected cost, unknown ones last."""
        first, *others = options
        if all(_same(first, other) for other in others):
            return options
        return sorted(options, key=lambda option: _expected(option.cost, option.health))


def _same(one: Option, other: Option) -> bool:
    seen, also = one.health, other.health
    return one.cost == other.cost and (seen.success, seen.paid_failure) == (also.success, also.paid_failure)


# Far more than a few float operations can be off by.
_APART = 1e-9


def nearly_ranked(costs: list[tuple[float, int, T]], same: Callable[[T, T], bool]) -> bool:
    """Sort by cost (infinite: unknown) and index; whether floats tell all of them apart.

    What is the `same` to the last digit keeps its order. Where floats are only close, fractions decide: they cost
    fifteen times as much, and are hardly ever needed.
    """
    costs.sort()
    for (low, _, one), (high, _, other) in itertools.pairwise(costs):
        if high != math.inf and not (high - low > _APART * high or same(one, other)):
            return False
    return True


def _expected(cost: Cost | None, health: Snapshot) -> tuple[bool, Fraction]:
    if cost is None:
        return True, Fraction(0)
    good = Fraction(max(health.success, 1e-6))
    return False, (Fraction(cost.low) + Fraction(cost.high)) / 2 * (good + Fraction(health.paid_failure)) / good


class Fastest:
    """The least expected time by decaying averages: to the first content for streams, else to the end.

    What has never been measured comes first, so that it is.
    """

    def order(self, options: Sequence[Option], context: Context) -> Sequence[Option]:
        """The options by expected seconds, unmeasured ones first."""
        return sorted(options, key=lambda option: _seconds(option.health, context.stream))


def _seconds(health: Snapshot, stream: bool) -> float:
    measured = health.first_content if stream and health.first_content is not None else health.seconds
    return -1.0 if measured is None else measured / max(health.success, 0.01)


POLICIES: Mapping[str, Callable[[], Policy]] = {
    "ordered": Ordered,
    "weighted": Weighted,
    "cheapest": Cheapest,
    "fastest": Fastest,
}


def weights_of(targets: Mapping[str, Any]) -> dict[str, Decimal]:
    """The weights of a `weighted` route, exact. Raises ConfigurationError for negative or all-zero ones."""
    weights = {name: amount(str(weight) if isinstance(weight, float) else weight, f"weight of {name}")
               for name, weight in targets.items()}
    if weights and not any(weights.values()):
        raise ConfigurationError("at least one weight must be above 0", "targets")
    return weights
