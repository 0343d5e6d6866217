"""A caller's request as one deployment sees it: defaults filled in, limits known, other providers' fields left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnroute.chat import ChatRequest
from cnroute.routing.plan import Course, Place

_USUAL_MAX_TOKENS = 2048
_REASONING_MAX_TOKENS = 16384


def max_tokens(place: Place, request: ChatRequest, course: Course) -> int:
    """The call's own value, else the nearest default, capped by what the model can (contract, section 2)."""
    if request.max_tokens is not None:
        return request.max_tokens
    chosen = next(
        (layer["max_tokens"] for layer in (place.deployment.defaults, *course.defaults) if "max_tokens" in layer), None
    )
    if chosen is None:
        thinks = place.info is not None and "reasoning" in (place.info.capabilities or ())
        chosen = _REASONING_MAX_TOKENS if thinks or request.reasoning else _USUAL_MAX_TOKENS
    most = place.info.max_output if place.info else None
    return chosen if most is None else min(chosen, most)


def fitted(place: Place, request: ChatRequest, course: Course) -> ChatRequest:
    """The request as this deployment's provider sees it: max_tokens filled in, only its own `extra`."""
    values: dict[str, Any] = {}
    for layer in (*reversed(course.defaults), place.deployment.defaults):
        if layer:
            values.update({name: value for name, value in layer.items() if getattr(request, name) is None})
    if request.max_tokens is None:
        values["max_tokens"] = max_tokens(place, request, course)
    if request.extra:
        values["extra"] = request.extra.get(place.deployment.provider, {})
    return request.with_values(values) if values else request


def too_long(place: Place, request: ChatRequest, count: int) -> tuple[str, str, Mapping[str, Any]] | None:
    """Out, when the prompt cannot fit even if the estimate is 40 % too high."""
    window = place.info.context if place.info else None
    if window is not None and count * 0.6 > window:
        inputs = {"estimated_input_tokens": count, "context": window}
        return "context_length", f"about {count} input tokens do not fit into its {window}", inputs
    return None
