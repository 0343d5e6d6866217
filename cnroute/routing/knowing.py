"""Which deployments of a route hold a call's knowledge base, and what becomes of the others.

Rules of this file
- A base belongs to one account: the route's first deployment, as written, whose provider has knowledge bases. Another
  deployment holds the same base if it speaks to the same account: same host, and same GroupId (what the provider puts into
  its URLs; for a provider that puts nothing there, the same key).
- With `knowledge_fallback="same"` another account's deployment is excluded: the vendor would not find the base there, or
  worse, find another one under its number. A provider without knowledge bases refuses the parameter itself.
- With `knowledge_fallback="without"`, or where the caller allows `drop_unsupported`, the others come last, whatever the
  policy says, and are asked without the base; the loss stands in `Attempt.adjusted`.
- A deployment whose own default the base is holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cnroute.chat import ChatRequest, KnowledgeBase
from cnroute.routing.plan import Course, Place

if TYPE_CHECKING:
    from cnroute.routing.walk import Exclusion, Step

PARAMETER = "knowledge_base"
LAST = "without the knowledge base"
"""How a plan says that a candidate comes last since it does not hold the base."""


def wanted(request: ChatRequest, course: Course) -> bool:
    """Whether the call, or the route and router that it goes by, asks for a knowledge base."""
    return request.knowledge_base is not None or course.base is not None


class Knowing:
    """The rule for one call that asks for a base."""

    def __init__(self, request: ChatRequest, course: Course) -> None:
        self._asked: KnowledgeBase | None = request.knowledge_base
        self._first = next(filter(_has_bases, course.group.places()), None)
        self._home = None if self._first is None else _home(self._first)
        self._without = course.knowledge_fallback == "without" or request.drop_unsupported

    def rule(self) -> Exclusion | None:
        """What excludes deployments; None where nobody is excluded for it."""
        return None if self._without else self._excludes

    def order(self, steps: Iterable[Step]) -> Iterable[Step]:
        """The steps with those last that do not hold the base, and that they lose it."""
        return self._holders_first(steps) if self._without else steps

    def _excludes(self, place: Place, request: ChatRequest, count: int) -> tuple[str, str, Mapping[str, Any]] | None:
        if not _has_bases(place) or self._holds(place):
            return None
        first = "?" if self._first is None else self._first.deployment.name
        reason = f"{PARAMETER}: it belongs to the account of {first}; this deployment has another one"
        return "unsupported", reason, {"parameter": PARAMETER, "holder": first}

    def _holds(self, place: Place) -> bool:
        if self._asked is None and PARAMETER in place.deployment.defaults:
            return True
        return _has_bases(place) and _home(place) == self._home

    def _holders_first(self, steps: Iterable[Step]) -> Iterator[Step]:
        others = []
        for step in steps:
            if self._holds(step.place):
                yield step
            else:
                others.append(step)
        for step in others:
            step.lost = _LOST
            yield step


_LOST: Mapping[str, str] = {PARAMETER: "dropped: this deployment does not hold the base, and the call may go on without it"}


def _has_bases(place: Place) -> bool:
    return PARAMETER in place.hooks.info.capabilities


def _home(place: Place) -> tuple[Any, ...]:
    """What makes two deployments one account."""
    deployment, names = place.deployment, place.hooks.info.url_options
    if not names:
        return deployment.base_url, deployment.api_key
    return deployment.base_url, *(str(deployment.options.get(name)) for name in names)
