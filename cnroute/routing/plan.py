"""Which deployments a call may go to, in which order, and why not to the others.

Rules of this file
- Pure: a plan is made from values and a snapshot of health; it sends nothing and takes nothing.
- Every deployment of a route appears exactly once, as a candidate or as excluded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.chat import ChatRequest
from cnroute.errors import HookError
from cnroute.failures import FailureKind, how_raised
from cnroute.money import Cost
from cnroute.routing import tokens
from cnroute.routing.fallback import Rule
from cnroute.routing.health import Health, Snapshot
from cnroute.routing.policies import Context, Option, Policy
from cnroute.settings import Retries, Timeouts

if TYPE_CHECKING:
    from cnroute.deployments import Deployment, ModelInfo


@attrs.frozen
class Candidate:
    """A deployment that may be tried. `rank` counts from 1; `cost` is an estimated range, None = unknown."""

    deployment: str
    rank: int
    cost: Cost | None
    health: str
    reason: str
    provider: str = ""
    model: str = ""


@attrs.frozen
class Excluded:
    """A deployment that will not be tried: the `rule` that says so, and the `reason` in words."""

    deployment: str
    rule: str
    reason: str
    provider: str = ""
    model: str = ""


@attrs.frozen
class Plan:
    """What a call would do now. Nothing has been sent; `str(plan)` and `explain` are readable."""

    route: str
    policy: str
    candidates: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...] = ()
    estimated_input_tokens: int = 0
    skipped: tuple[Excluded, ...] = ()
    """Candidates that a call asked for and was not given; empty in a forecast."""

    def record(self) -> dict[str, Any]:
        """The plan as JSON-ready data with a stable schema."""
        from cnroute.explain import record_of_plan

        return record_of_plan(self)

    def explain(self, lang: str = "en") -> str:
        """The plan as text, in English (`en`) or Chinese (`zh`)."""
        from cnroute.explain import explain

        return explain(self.record(), lang)

    def __str__(self) -> str:
        return self.explain()

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the plan as text."""
        return f"```text\n{self.explain()}\n```"


@attrs.frozen
class Clocked:
    """The effective time limits of a deployment, `first_byte` filled in for plain calls and for streams."""

    plain: Timeouts
    stream: Timeouts

    @classmethod
    def of(cls, limits: Timeouts) -> Clocked:
        """From limits whose `first_byte` may be unset: then it is 180 s for plain calls, 30 s for streams.

        A stream's first byte may not take longer than its first content.
        """
        plain, stream = (180.0, 30.0) if limits.first_byte is None else (limits.first_byte, limits.first_byte)
        return cls(attrs.evolve(limits, first_byte=plain), attrs.evolve(limits, first_byte=min(stream, limits.first_token)))


@attrs.define(eq=False)
class Place:
    """A deployment with everything that a call needs of it, bound once per router.

    `hooks` are the provider's bound hooks, `transport` the one bound to this deployment.
    """

    deployment: Deployment
    hooks: Any
    transport: Any
    health: Health
    info: ModelInfo | None
    timeouts: Clocked
    rate: Decimal | None = Decimal(1)
    """What one unit of the price's currency is in the router's; None: no rate is known."""
    currency: str = "CNY"
    """The router's currency."""


@attrs.define(eq=False)
class Group:
    """A route, resolved: a policy over places and nested groups, with the weights of `weighted`."""

    policy_name: str
    policy: Policy
    members: tuple[Place | Group, ...]
    weights: tuple[Decimal, ...]

    def places(self) -> list[Place]:
        """Every place below, each once, as written."""
        found: dict[str, Place] = {}
        for member in self.members:
            for place in member.places() if isinstance(member, Group) else (member,):
                found.setdefault(place.deployment.name, place)
        return list(found.values())


@attrs.define(eq=False)
class Course:
    """A name that can be called, resolved: what to try and by which rules."""

    name: str
    group: Group
    table: Mapping[FailureKind, Rule]
    retries: Retries
    timeouts: Timeouts
    defaults: Sequence[Mapping[str, Any]]
    knowledge_fallback: str = "same"


@attrs.define(eq=False)
class Step:
    """One candidate of a call with its place, as the flow walks through them.

    `request` is the caller's request fitted to this deployment; it is made when the candidate's turn comes.
    """

    place: Place
    health: Snapshot
    input_tokens: int
    most: int
    request: ChatRequest | None = None
    claimed: Any = None
    """What an attempt has to claim of budgets and rate limits (`routing.limits.Claimed`)."""
    usual: float | None = None
    """How long answers usually are: of this deployment, else of the others of the route."""
    _cost: Any = attrs.field(default=(), init=False)

    @property
    def cost(self) -> Cost | None:
        """What the request will cost about; worked out when it is first asked for."""
        if self._cost == ():
            usual = self.usual if self.usual is not None else self.health.output_tokens
            self._cost = expected_cost(self.place, self.most, self.input_tokens, usual)
        return self._cost  # type: ignore[no-any-return]


@attrs.define(eq=False)
class Walk:
    """A plan that can be walked: the steps in order, and what is excluded."""

    course: Course
    steps: list[Step]
    excluded: list[Excluded]
    input_tokens: int
    skipped: list[Excluded] = attrs.field(factory=list)

    def plan(self) -> Plan:
        """The walk as the public value."""
        return Plan(
            self.course.name, self.course.group.policy_name,
            tuple(_candidate(rank, step, self.course) for rank, step in enumerate(self.steps, 1)),
            tuple(self.excluded), self.input_tokens, tuple(self.skipped),
        )

    def skip(self, step: Step, rule: str, reason: str) -> None:
        """Note that `step` was not admitted; it stays a candidate."""
        self.skipped = [each for each in self.skipped if each.deployment != step.place.deployment.name]
        self.skipped.append(excluded(step.place, rule, reason))

    def exclude(self, step: Step, rule: str, reason: str) -> None:
        """Take `step` out of the walk, for a reason that only became known on the way."""
        self.steps.remove(step)
        self.excluded.append(excluded(step.place, rule, reason))


def excluded(place: Place, rule: str, reason: str) -> Excluded:
    """The public value for a place that will not be tried."""
    deployment = place.deployment
    return Excluded(deployment.name, rule, reason, deployment.provider, deployment.model)


def _candidate(rank: int, step: Step, course: Course) -> Candidate:
    deployment = step.place.deployment
    return Candidate(
        deployment.name, rank, step.cost, _health_word(step.health), _reason(course.group.policy_name, step),
        deployment.provider, deployment.model,
    )


def _health_word(health: Snapshot) -> str:
    if health.breaker != "closed":
        return f"breaker {health.breaker}"
    return "cooling down" if health.until else "healthy"


def _reason(policy: str, step: Step) -> str:
    if policy == "cheapest":
        if step.cost is None:
            return "unknown price, so it comes last"
        return f"expected cost {step.cost}"
    if policy == "fastest":
        return "not measured yet" if step.health.seconds is None else f"about {step.health.seconds:.2f} s"
    return {"ordered": "as written", "weighted": "drawn by weight"}.get(policy, f"by policy {policy}")


# A rule looks at a place, a request and its estimated tokens and says why the place is out, or None.
Exclusion = Callable[[Place, ChatRequest, int], "tuple[str, str] | None"]


def make_walk(
    course: Course,
    request: ChatRequest,
    stream: bool,
    *,
    most: Callable[[Place], int],
    rules: Sequence[Exclusion],
    random: Callable[[], float],
) -> Walk:
    """Order the places of `course` for one request, leaving out those that a rule excludes.

    `most` says how many tokens an answer of a place may have.
    """
    count = tokens.input_tokens(request)
    steps: dict[str, Step] = {}
    out: list[Excluded] = []
    for place in course.group.places():
        own = count if place.hooks.count_tokens is None else _counted(place, request, count)
        if isinstance(own, str):
            out.append(excluded(place, FailureKind.PLUGIN_ERROR.value, own))
            continue
        found = next(filter(None, (rule(place, request, own) for rule in rules)), None)
        if found:
            out.append(excluded(place, *found))
        else:
            steps[place.deployment.name] = Step(place, place.health.snapshot(), own, most(place))
    if len(steps) > 1:
        _compare(steps.values())
    ordered = _order(course.group, steps, Context(random, stream, request))
    return Walk(course, ordered, out, count)


def _compare(steps: Collection[Step]) -> None:
    """Make costs comparable: who was never measured is expected to answer as long as the others do."""
    known = [step.health.output_tokens for step in steps if step.health.output_tokens is not None]
    if known:
        mean = sum(known) / len(known)
        for step in steps:
            step.usual = step.health.output_tokens if step.health.output_tokens is not None else mean


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


def _order(group: Group, steps: Mapping[str, Step], context: Context) -> list[Step]:
    """The steps of a group in the order of its policy; a nested group counts as its first step."""
    inner = [_members(member, steps, context) for member in group.members]
    seen: dict[str, Step] = {}
    for index in _order_of(group, inner, context):
        for step in inner[index]:
            seen.setdefault(step.place.deployment.name, step)
    return list(seen.values())


def _order_of(group: Group, inner: list[list[Step]], context: Context) -> Sequence[int]:
    """The places of the members in the order of the group's policy; members without any step are left out."""
    filled = [index for index, found in enumerate(inner) if found]
    if len(filled) < 2 or group.policy_name == "ordered":
        return filled
    firsts = [(index, inner[index][0]) for index in filled]
    options = [
        Option(step.place.deployment.name, group.weights[index], step.cost, step.health, index) for index, step in firsts
    ]
    return [option.index for option in _ordered(group, options, context)]


def _ordered(group: Group, options: list[Option], context: Context) -> Sequence[Option]:
    """What the policy makes of the options; one that raises, loses, adds or repeats any is a HookError."""
    try:
        order = list(group.policy.order(options, context))
        if sorted(option.index for option in order) == [option.index for option in options]:
            return order
        what = "did not return each of its options once"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        what = how_raised(error)
    raise HookError(f"policy {group.policy_name}: order {what}", billing="none")


def _members(member: Place | Group, steps: Mapping[str, Step], context: Context) -> list[Step]:
    if isinstance(member, Group):
        return _order(member, steps, context)
    step = steps.get(member.deployment.name)
    return [step] if step else []


def expected_cost(place: Place, most: int, count: int, output_tokens: float | None) -> Cost | None:
    """What the request will cost about, in the router's currency: from the expected to the largest answer."""
    price = place.deployment.price
    if price is None or place.rate is None or not price.known:
        return None
    usual = min(most, round(output_tokens)) if output_tokens is not None else most
    cost = price.of(count, usual)
    if cost is None:
        return None
    return attrs.evolve(cost.times(place.rate, place.currency), estimated=True)
