"""Why a candidate stands where it stands: as data for programs, in words for people.

Rules of this file
- One entry a policy on the way to the deployment, the route's own first; what a policy went by stands in the last.
- Amounts are text, everything else is a number, text or None: the data goes into records as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cnroute.money import plain
from cnroute.routing.health import Snapshot
from cnroute.routing.knowing import LAST
from cnroute.routing.plan import Candidate, Course, Group

if TYPE_CHECKING:
    from cnroute.routing.walk import Step

Inputs = dict[str, Any]
_DIGITS = 8


def candidate(rank: int, step: Step, course: Course, stream: bool) -> Candidate:
    """The public value for a step of a walk."""
    deployment, path = step.place.deployment, course.group.path(step.place.deployment.name)
    return Candidate(
        deployment.name, rank, step.cost, _health_word(step.health), _in_words(path, step, stream), deployment.provider,
        deployment.model, tuple(_level(group, index, step, stream, group is path[-1][0]) for group, index in path),
        round(step.health.wait, 3) or None,
    )


def _health_word(health: Snapshot) -> str:
    if health.breaker != "closed":
        return f"breaker {health.breaker}"
    return "cooling down" if health.until else "healthy"


# -- as data -----------------------------------------------------------------------------------------------


def _level(group: Group, index: int, step: Step, stream: bool, innermost: bool) -> Inputs:
    """What one policy went by. Around a nested route it is that route's first deployment that counts, and not this one."""
    more = _INPUTS.get(group.policy_name) if innermost else None
    weight = {"weight": plain(group.weights[index])} if group.policy_name == "weighted" else {}
    place = group.targets[index] if group.targets else index + 1
    return {"policy": group.policy_name, "target": place, **weight, **(more(step, stream) if more else {})}


def _of_cheapest(step: Step, stream: bool) -> Inputs:
    """Cost x (p + u) / p (contract, section 4), and what it was made of."""
    seen, cost, expected = step.health, step.cost, None
    if cost is not None:
        good = Fraction(max(seen.success, 1e-6))
        expected = _short((Fraction(cost.low) + Fraction(cost.high)) / 2 * (good + Fraction(seen.paid_failure)) / good)
    return {
        "input_tokens": step.input_tokens, "output_tokens": step.output_tokens(), "success": round(seen.success, 6),
        "paid_failure": round(seen.paid_failure, 6), "expected": expected,
        "currency": None if cost is None else cost.currency,
    }


def _short(number: Fraction) -> str:
    """A number for people and for comparing; it bills nothing."""
    return plain(Decimal(f"{float(number):.{_DIGITS}g}"))


def _of_fastest(step: Step, stream: bool) -> Inputs:
    seen = step.health
    measured = seen.first_content if stream and seen.first_content is not None else seen.seconds
    return {
        "seconds": None if measured is None else round(measured, 6), "success": round(seen.success, 6),
        "until": "first content" if stream and seen.first_content is not None else "end",
    }


_INPUTS: Mapping[str, Callable[[Step, bool], Inputs]] = {"cheapest": _of_cheapest, "fastest": _of_fastest}


# -- in words ----------------------------------------------------------------------------------------------


def _in_words(path: tuple[tuple[Group, int], ...], step: Step, stream: bool) -> str:
    outer = [_AROUND.get(group.policy_name, f"by policy {group.policy_name}") for group, _ in path[:-1]]
    last = [LAST] if step.lost else []
    return ", then ".join([*last, *outer, _reason(path[-1][0].policy_name, step, stream)])


# How a policy orders a nested route among its other targets.
_AROUND: Mapping[str, str] = {
    "ordered": "as written", "weighted": "drawn by weight", "cheapest": "by the cost of its group",
    "fastest": "by the time of its group",
}


def _reason(policy: str, step: Step, stream: bool) -> str:
    if policy == "cheapest":
        return "unknown price, so it comes last" if step.cost is None else f"expected cost {step.cost}"
    if policy == "fastest":
        seconds = _of_fastest(step, stream)["seconds"]
        return "not measured yet" if seconds is None else f"about {seconds:.2f} s"
    return _AROUND.get(policy, f"by policy {policy}")
