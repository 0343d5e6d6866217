"""Routes resolved to places, and the plan of a call as a public value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.failures import FailureKind
from cnroute.http import HttpRequest
from cnroute.money import Cost
from cnroute.routing.fallback import Rule
from cnroute.routing.health import Health
from cnroute.routing.policies import Policy
from cnroute.routing.tokens import Ratio
from cnroute.settings import Retries, Timeouts

if TYPE_CHECKING:
    from cnroute.deployments import Deployment, ModelInfo


@attrs.frozen
class Candidate:
    """A deployment that may be tried. `rank` counts from 1; `cost` is an estimated range, None = unknown.

    `order_by` tells why it has its rank: a mapping for each policy, the route's own first and the innermost last.
    `ready_in`: seconds for which it is still left alone after failures; None: it is not.
    """

    deployment: str
    rank: int
    cost: Cost | None
    health: str
    reason: str
    provider: str = ""
    model: str = ""
    order_by: tuple[Mapping[str, Any], ...] = attrs.field(default=(), hash=False)
    ready_in: float | None = None


@attrs.frozen
class Excluded:
    """A deployment that will not be tried: the `rule` that says so, its `inputs`, and the `reason` in words."""

    deployment: str
    rule: str
    reason: str
    provider: str = ""
    model: str = ""
    inputs: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


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
    degraded: str | None = None
    """Why the shared store could not be asked, if it could not; the call went on with this process's own state."""

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
    ratio: Ratio = attrs.field(factory=Ratio)
    """What the model's own counts have taught of the estimate; deployments of one model share it."""
    sent_before: HttpRequest = attrs.field(factory=lambda: HttpRequest("", ""), init=False, repr=False)
    """The head of the last request to this place that was found good."""
    rate_about: float = attrs.field(init=False)
    """`rate` as a float, for comparing."""

    @rate_about.default
    def _float_rate(self) -> float:
        return float(self.rate or 0)


@attrs.define(eq=False)
class Group:
    """A route, resolved: a policy over places and nested groups, with the weights of `weighted`."""

    policy_name: str
    policy: Policy
    members: tuple[Place | Group, ...]
    weights: tuple[Decimal, ...]
    targets: tuple[int, ...] = ()
    """The place of each member among the targets as written, from 1; empty where no filter left any out."""
    _places: tuple[Place, ...] = attrs.field(default=(), init=False)

    _paths: dict[str, tuple[tuple[Group, int], ...]] = attrs.field(factory=dict, init=False)

    flat: bool = attrs.field(init=False)
    """Whether every member is a place, and no place comes twice."""

    @flat.default
    def _is_flat(self) -> bool:
        names = [member.deployment.name for member in self.members if isinstance(member, Place)]
        return len(self.members) == len(names) == len(set(names))

    def places(self) -> tuple[Place, ...]:
        """Every place below, each once, as written."""
        if not self._places:
            found: dict[str, Place] = {}
            for member in self.members:
                for place in member.places() if isinstance(member, Group) else (member,):
                    found.setdefault(place.deployment.name, place)
            self._places = tuple(found.values())
        return self._places


    def path(self, name: str) -> tuple[tuple[Group, int], ...]:
        """How a deployment is reached: each group on the way with the index of the member that leads on."""
        if not self._paths:
            found: dict[str, tuple[tuple[Group, int], ...]] = {}
            for index, member in enumerate(self.members):
                inner = member.places() if isinstance(member, Group) else (member,)
                for place in inner:
                    deeper = member.path(place.deployment.name) if isinstance(member, Group) else ()
                    found.setdefault(place.deployment.name, ((self, index), *deeper))
            self._paths = found
        return self._paths[name]


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
    left_out: tuple[Excluded, ...] = ()
    """What a filter of the route lets no call go to."""
    base: Any = attrs.field(init=False)
    """The knowledge base that calls of this name ask where they say nothing else, if any."""

    @base.default
    def _default_base(self) -> Any:
        return next((layer["knowledge_base"] for layer in self.defaults if "knowledge_base" in layer), None)
