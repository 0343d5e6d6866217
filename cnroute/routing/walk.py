"""Which deployments a call may go to, in which order, and why not to the others.

Rules of this file
- Pure: a walk is made from values and snapshots of health; it sends nothing and takes nothing.
- Every deployment of a route appears exactly once, as a candidate or as excluded.
- A step is made when it is needed: a call that its first candidate answers never looks at the other 199.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from cnroute.chat import ChatRequest
from cnroute.errors import HookError
from cnroute.failures import FailureKind, how_raised
from cnroute.money import Cost
from cnroute.routing import tokens
from cnroute.routing.health import NOTHING, Refusal, Snapshot
from cnroute.routing.knowing import Knowing, wanted
from cnroute.routing.plan import Course, Excluded, Group, Place, Plan
from cnroute.routing.policies import Cheapest, Context, Option, nearly_ranked
from cnroute.routing.reasons import candidate

_ALL = 1_000_000
# An attempt's share of the time depends on whether there is another candidate, so that two are always looked at.
_FEW = 2


@attrs.define(eq=False)
class Step:
    """One candidate of a call with its place, as the flow walks through them.

    `most` is how many tokens an answer may have; `request` is the caller's request fitted to this deployment, made
    when the candidate's turn comes; `usual` how many tokens answers of the route usually have, where this deployment's
    are not known.
    """

    place: Place
    health: Snapshot
    input_tokens: int
    most: int
    request: ChatRequest | None = None
    claimed: Any = None
    """What an attempt has to claim of budgets and rate limits (`routing.limits.Claimed`)."""
    usual: float | None = None
    lost: Mapping[str, str] = NOTHING
    """Parameters without which the deployment is asked, and why."""
    _cost: Any = attrs.field(default=(), init=False)

    @property
    def cost(self) -> Cost | None:
        """What the request will cost about; worked out when it is first asked for."""
        if self._cost == ():
            self._cost = self._expected()
        return self._cost  # type: ignore[no-any-return]

    def output_tokens(self) -> int:
        """How many tokens the answer will have about; the most that it may have where nothing is known."""
        known = self.health.output_tokens if self.health.output_tokens is not None else self.usual
        return self.most if known is None else min(self.most, round(known))

    def about(self) -> float:
        """The expected cost as a float, for comparing; infinite where it is not known."""
        place, price = self.place, self.place.deployment.price
        if price is None or place.rate is None or not price.known:
            return math.inf
        good = max(self.health.success, 1e-6)
        return price.about(self.input_tokens, self.output_tokens()) * place.rate_about * (good + self.health.paid_failure) / good

    def costs_as(self, other: Step) -> bool:
        """Whether both cost exactly the same, since everything that goes into it is the same."""
        place, its, seen, also = self.place, other.place, self.health, other.health
        return (
            self.input_tokens == other.input_tokens
            and (seen.success, seen.paid_failure) == (also.success, also.paid_failure)
            and (place.deployment.price, place.rate, place.currency) == (its.deployment.price, its.rate, its.currency)
            and self.output_tokens() == other.output_tokens()
        )

    def _expected(self) -> Cost | None:
        """In the router's currency, from the expected to the largest answer."""
        place, price = self.place, self.place.deployment.price
        if price is None or place.rate is None or not price.known:
            return None
        cost = price.of(self.input_tokens, self.output_tokens())
        return None if cost is None else attrs.evolve(cost.times(place.rate, place.currency), estimated=True)


class Walk:
    """A plan that can be walked: `steps` as far as they were needed, in order, and what is excluded."""

    __slots__ = ("_lock", "_rest", "_skipped", "_stream", "course", "degraded", "excluded", "input_tokens", "steps")

    def __init__(
        self, course: Course, input_tokens: int, excluded: list[Excluded], order: Iterable[Step], stream: bool
    ) -> None:
        self.course = course
        self._stream = stream
        self.input_tokens = input_tokens
        known = isinstance(order, list)
        self.steps: list[Step] = order if known else []  # type: ignore[assignment]
        self.excluded = excluded
        self._skipped: dict[str, tuple[Place, Refusal]] = {}
        self.degraded: str | None = None
        self._rest: Iterator[Step] | None = None if known else iter(order)
        self._lock = threading.Lock()

    def further(self, count: int = _ALL) -> list[Step]:
        """At most `count` more steps, made now."""
        if self._rest is None or count <= 0:
            return []
        new = list(itertools.islice(self._rest, count))
        if len(new) < count:
            self._rest = None
        self.steps += new
        return new

    def plan(self) -> Plan:
        """The walk as the public value."""
        with self._lock:  # readers of one reply may be several threads
            self.further()
            _compare(self.steps)
        return Plan(
            self.course.name, self.course.group.policy_name,
            tuple(candidate(rank, step, self.course, self._stream) for rank, step in enumerate(self.steps, 1)),
            tuple(self.excluded), self.input_tokens, self.skipped(), self.degraded,
        )

    def skip(self, step: Step, refusal: Refusal) -> None:
        """Note that `step` was not admitted; it stays a candidate."""
        name = step.place.deployment.name
        self._skipped.pop(name, None)
        self._skipped[name] = step.place, refusal

    def skipped(self) -> tuple[Excluded, ...]:
        """The public values for steps that were not admitted."""
        return tuple(excluded(place, why.reason, why.detail, why.inputs) for place, why in self._skipped.values())

    def exclude(self, step: Step, rule: str, reason: str, inputs: Mapping[str, Any] = NOTHING) -> None:
        """Take `step` out of the walk, for a reason that only became known on the way."""
        self.steps.remove(step)
        self.excluded.append(excluded(step.place, rule, reason, inputs))


def excluded(place: Place, rule: str, reason: str, inputs: Mapping[str, Any] = NOTHING) -> Excluded:
    """The public value for a place that will not be tried."""
    deployment = place.deployment
    return Excluded(deployment.name, rule, reason, deployment.provider, deployment.model, dict(inputs))


# A rule looks at a place, a request and its estimated tokens and says why the place is out (rule, reason, the rule's
# inputs), or None.
Exclusion = Callable[[Place, ChatRequest, int], "tuple[str, str, Mapping[str, Any]] | None"]


def make_walk(
    course: Course, request: ChatRequest, stream: bool, *, most: Callable[[Place], int], rules: Sequence[Exclusion],
    random: Callable[[], float],
) -> Walk:
    """Order the places of `course` for one request, leaving out those that a rule excludes.

    `most` says how many tokens an answer of a place may have, where the call itself does not.
    """
    count = tokens.input_tokens(request)
    out = list(course.left_out)
    knowing = Knowing(request, course) if wanted(request, course) else None
    if knowing is not None and (rule := knowing.rule()) is not None:
        rules = (*rules, rule)
    making = _Making(request, count, most, rules, out)
    steps = _flat if course.group.flat else _in_order
    order = steps(course.group, making, Context(random, stream, request))
    if knowing is not None:
        order = knowing.order(order)
    walk = Walk(course, count, out, order, stream)
    if not walk.steps:
        walk.further(1)
    return walk


class _Making:
    """Makes the steps of one walk, each deployment once."""

    __slots__ = ("_most", "_out", "_rules", "_seen", "count", "request")

    def __init__(
        self, request: ChatRequest, count: int, most: Callable[[Place], int], rules: Sequence[Exclusion], out: list[Excluded]
    ) -> None:
        self.request = request
        self.count = count
        self._most = most
        self._rules = rules
        self._out = out
        self._seen: dict[str, Step | None] = {}

    def step(self, place: Place) -> Step | None:
        """The step of `place`; None where it is excluded."""
        name = place.deployment.name
        if name not in self._seen:
            self._seen[name] = self.made(place)
        return self._seen[name]

    def made(self, place: Place) -> Step | None:
        """A new step, where `place` comes once."""
        count: int | str = place.ratio.of(self.count)
        if place.hooks.count_tokens is not None:
            count = _counted(place, self.request, place.ratio.of(self.count))
        if isinstance(count, str):
            culprit = {"plugin": place.hooks.name, "hook": "count_tokens"}
            self._out.append(excluded(place, FailureKind.PLUGIN_ERROR.value, count, culprit))
            return None
        for rule in self._rules:
            found = rule(place, self.request, count)
            if found is not None:
                self._out.append(excluded(place, *found))
                return None
        asked = self.request.max_tokens
        return Step(place, place.health.snapshot(), count, self._most(place) if asked is None else asked)


def _flat(group: Group, making: _Making, context: Context) -> Iterable[Step]:
    """The steps of a group of different places in the order of its policy; more than a few as written one by one."""
    places: tuple[Place, ...] = group.members  # type: ignore[assignment]
    if group.policy_name == "ordered":
        if len(places) > _FEW:
            return (step for place in places if (step := making.made(place)) is not None)
        return [step for place in places if (step := making.made(place)) is not None]
    alone = [(index, step) for index, place in enumerate(places) if (step := making.made(place)) is not None]
    return [step for _, step in _ranked(group, alone, context)]


def _in_order(group: Group, making: _Making, context: Context) -> Iterable[Step]:
    """The steps of a group in the order of its policy, each deployment once."""
    seen: set[str] = set()
    for step in _ordered_steps(group, making, context):
        name = step.place.deployment.name
        if name not in seen:
            seen.add(name)
            yield step


def _ordered_steps(group: Group, making: _Making, context: Context) -> Iterator[Step]:
    """The same; a deployment may come more than once. A nested group counts as its first step."""
    if group.policy_name == "ordered":
        for member in group.members:
            yield from _member_steps(member, making, context)
        return
    inner = [_member_steps(member, making, context) for member in group.members]
    firsts = [(index, step) for index, steps in enumerate(inner) if (step := next(iter(steps), None)) is not None]
    for index, first in _ranked(group, firsts, context):
        yield first
        yield from inner[index]


def _member_steps(member: Place | Group, making: _Making, context: Context) -> Iterator[Step]:
    if isinstance(member, Group):
        return _ordered_steps(member, making, context)
    step = making.step(member)
    return iter(() if step is None else (step,))


_Firsts = list[tuple[int, Step]]


def _ranked(group: Group, firsts: _Firsts, context: Context) -> _Firsts:
    """The first steps of the members, with the members' indexes, in the order of the group's policy."""
    if len(firsts) < 2:
        return firsts
    _compare([step for _, step in firsts])
    if type(group.policy) is Cheapest:
        costs = [(step.about(), index, step) for index, step in firsts]
        if nearly_ranked(costs, Step.costs_as):
            return [(index, step) for _, index, step in costs]
    options = [
        Option(step.place.deployment.name, group.weights[index], step.cost, step.health, index) for index, step in firsts
    ]
    own = dict(firsts)
    return [(option.index, own[option.index]) for option in _ordered(group, options, context)]


def _compare(steps: Sequence[Step]) -> None:
    """Make costs comparable: who was never measured is expected to answer as long as the others do."""
    if len(steps) < 2:
        return
    known = [step.health.output_tokens for step in steps if step.health.output_tokens is not None]
    if known and len(known) < len(steps):
        mean = sum(known) / len(known)
        for step in steps:
            step.usual = mean


def _counted(place: Place, request: ChatRequest, estimate: int) -> int | str:
    """The input tokens as the provider's own hook counts them, else the estimate; text: what the hook did wrong."""
    try:
        own = request.with_values({"extra": request.extra.get(place.deployment.provider, {})})
        count = place.hooks.count_tokens(own, place.deployment)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        return f"plugin {place.hooks.name}: count_tokens raised {type(error).__name__}"
    if count is None:
        return estimate
    if type(count) is not int or count < 0:
        return f"plugin {place.hooks.name}: count_tokens returned a {type(count).__name__} that counts nothing"
    return count


def _ordered(group: Group, options: list[Option], context: Context) -> Sequence[Option]:
    """What the policy makes of the options; one that raises, loses, adds or repeats any is a HookError."""
    try:
        order = list(group.policy.order(list(options), context))  # a list of its own: one that it empties proves nothing
        if sorted(option.index for option in order) == [option.index for option in options]:
            return order
        what = "did not return each of its options once"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        what = how_raised(error)
    raise HookError(f"policy {group.policy_name}: order {what}", billing="none")
