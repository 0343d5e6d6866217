"""What a route asks of its targets before any policy orders them: capabilities, and room for long prompts.

Rules of this file
- A filter goes by what is known of a model, not by a request: it is applied once, when a router is made.
- What is not known is not there: a model whose context window nobody tells does not pass a filter by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from cnroute.deployments import Route
from cnroute.routing.plan import Excluded, Place

FILTERED = "filtered"


@attrs.frozen
class Filter:
    """The part of a route that leaves targets out."""

    requires: frozenset[str] = frozenset()
    min_context: int | None = None

    @classmethod
    def of(cls, route: Route) -> Filter:
        """The filter of a route; one that asks for nothing lets everything pass."""
        return cls(route.requires, route.min_context)

    def __str__(self) -> str:
        words = sorted(self.requires)
        return ", ".join(words if self.min_context is None else [*words, f"a context of {self.min_context}"])

    def objection(self, place: Place) -> tuple[str, Mapping[str, Any]] | None:
        """Why a place does not pass, in words and as data; None: it does."""
        missing = sorted(self.requires - _capabilities(place))
        if missing:
            return f"the route asks for {', '.join(missing)}, which it does not have", {"missing": " ".join(missing)}
        window = place.info.context if place.info else None
        if self.min_context is not None and (window is None or window < self.min_context):
            known = "is not known" if window is None else f"is {window}"
            inputs = {"context": window, "min_context": self.min_context}
            return f"the route asks for a context of {self.min_context}; its own {known}", inputs
        return None


def _capabilities(place: Place) -> frozenset[str]:
    own = place.info.capabilities if place.info else None
    return frozenset(place.hooks.info.capabilities if own is None else own)


def left_out(place: Place, filters: Iterable[Filter]) -> Excluded | None:
    """The public value for a place that one of `filters` leaves out."""
    for each in filters:
        found = each.objection(place)
        if found is not None:
            deployment = place.deployment
            return Excluded(deployment.name, FILTERED, found[0], deployment.provider, deployment.model, found[1])
    return None
