"""From a request and a candidate to the HTTP request that may be sent, or to the reason why not.

Rules of this file (reliability 3.4)
- What a hook returns is checked before it is used: type, origin, header syntax, size.
- A parameter that a deployment cannot express excludes it; with `drop_unsupported` it is dropped and recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs

from cnroute.chat import ChatRequest
from cnroute.errors import CallError, ConfigurationError, UnsupportedRequestError
from cnroute.failures import Failure, FailureKind, clean_text, how_raised
from cnroute.flow.answer import broken, masked
from cnroute.flow.bill import worst_cost
from cnroute.http import HttpRequest
from cnroute.money import EXACT, ZERO, plain
from cnroute.routing.health import NOTHING
from cnroute.routing.plan import Place

K = FailureKind
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t\x80-\xff]*")
_URL = re.compile(r"[\x21-\x7e]+")

# Parameters whose loss changes what was asked for, not only how: never dropped.
_KEPT = frozenset(("messages", "model", "extra"))


class CannotBuild(Exception):
    """The candidate cannot take the request. `inputs` is what the rule that says so went by, JSON-ready."""

    def __init__(self, failure: Failure, inputs: Mapping[str, Any] = NOTHING) -> None:
        super().__init__(failure.kind.value)
        self.failure = failure
        self.inputs = inputs


def build(place: Place, request: ChatRequest, stream: bool, lost: Mapping[str, str] = NOTHING) -> HttpRequest:
    """The checked HTTP request. Raises CannotBuild with the failure: unsupported, bad_request, plugin_error ...

    `lost` names parameters that the route lets go here, and why.
    """
    if stream and place.hooks.parse_stream_line is None:
        message = f"stream: the provider {place.hooks.name} does not stream"
        raise CannotBuild(Failure(K.UNSUPPORTED, message), {"parameter": "stream"})
    dropped: dict[str, str] = {}
    if lost:
        dropped.update(lost)
        request = request.with_values(dict.fromkeys(lost))
    while True:
        try:
            made = place.hooks.build_request(request, place.deployment, stream)
            break
        except UnsupportedRequestError as error:
            request = _without(place, request, error, dropped)
        except CallError as error:
            raise CannotBuild(masked(error.failure(), place)) from None
        except ConfigurationError as error:
            raise CannotBuild(Failure(K.AUTH, f"the key or an option cannot be used: {error}")) from None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a plugin's code)
            raise CannotBuild(_broken(place, how_raised(error), error)) from None
    return _checked(place, made, dropped)


def _without(place: Place, request: ChatRequest, error: UnsupportedRequestError, dropped: dict[str, str]) -> ChatRequest:
    """The request without the refused parameter, where the caller allowed that; else CannotBuild."""
    name = str(error.parameter)
    droppable = request.drop_unsupported and name not in _KEPT and getattr(request, name, None) is not None
    if not droppable or name in dropped:
        raise CannotBuild(masked(error.failure(), place), {"parameter": clean_text(name, 100)}) from None
    dropped[name] = f"dropped: {error.reason or 'not supported'}"
    return request.with_values({name: None})


def _checked(place: Place, made: Any, dropped: Mapping[str, str]) -> HttpRequest:
    if not isinstance(made, HttpRequest):
        raise CannotBuild(_broken(place, f"returned {type(made).__name__}, not an HttpRequest"))
    problem = _problem(place, made)
    if problem:
        raise CannotBuild(_broken(place, problem))
    if len(made.body) > place.deployment.limits.max_request_bytes:  # type: ignore[union-attr]
        limit = place.deployment.limits.max_request_bytes  # type: ignore[union-attr]
        inputs = {"bytes": len(made.body), "max_request_bytes": limit}
        raise CannotBuild(Failure(K.REQUEST_TOO_LARGE, f"the request is longer than {limit} bytes"), inputs)
    if not dropped and not place.deployment.headers:
        return made
    own = {name.lower() for name in place.deployment.headers}
    headers = {name: value for name, value in made.headers.items() if name.lower() not in own} | {**place.deployment.headers}
    return attrs.evolve(made, headers=headers, adjusted={**made.adjusted, **dropped})


def _problem(place: Place, made: HttpRequest) -> str | None:
    """What is wrong with the request; what was found good for the request before is not looked at again."""
    good = place.sent_before
    same = type(made) is HttpRequest and made.url == good.url and made.method == good.method and made.headers == good.headers
    if same and made.adjusted == good.adjusted and type(made.adjusted) is dict and type(made.body) is bytes:
        return None
    problem = _found_problem(place, made)
    if problem is None:
        place.sent_before = HttpRequest(made.method, made.url, dict(made.headers), adjusted=dict(made.adjusted))
    return problem


def _found_problem(place: Place, made: HttpRequest) -> str | None:
    if made.method != "POST" and not (isinstance(made.method, str) and _HEADER_NAME.fullmatch(made.method)):
        return "returned a method that HTTP does not have"
    for mapping in (made.headers, made.adjusted):
        if type(mapping) is not dict and not isinstance(mapping, Mapping):
            return "returned headers, or adjusted, that are no mapping"
    if not all(isinstance(each, str) for pair in made.adjusted.items() for each in pair):
        return "returned an adjusted that maps something else than text to text"
    if not isinstance(made.body, bytes):
        return "returned a body that is no bytes"
    if not isinstance(made.url, str) or not _URL.fullmatch(made.url):
        return "returned a URL with characters that no URL has"
    base = place.deployment.base_url or ""
    origin = "/".join(base.split("/", 3)[:3])
    if not (made.url == origin or made.url.startswith((origin + "/", origin + "?"))):
        return "returned a URL on another origin than the deployment's base_url"
    for name, value in made.headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            return "returned a header with an impossible name"
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            return f"returned an impossible value for the header {name}"
    return None


def _broken(place: Place, what: str, error: BaseException | None = None) -> Failure:
    return attrs.evolve(broken(place, "build_request", what, error), billing="none")


def check_cost(place: Place, request: ChatRequest, body: bytes, spent: Decimal) -> Decimal:
    """The most that an attempt can cost; `spent` is what those before it cost at most.

    Raises CannotBuild when the caller's `max_cost` forbids it.
    """
    if request.max_cost is None:
        return ZERO
    worst = worst_cost(place, request, body)
    if worst is None:
        message = "max_cost is set and the deployment's price is unknown"
        raise CannotBuild(Failure(K.BUDGET_EXCEEDED, message), {"max_cost": plain(request.max_cost)})
    if EXACT.add(spent, worst) > request.max_cost:
        inputs = {"worst": plain(worst), "spent": plain(spent), "max_cost": plain(request.max_cost)}
        message = f"it could cost up to {plain(worst)}, which max_cost does not allow"
        raise CannotBuild(Failure(K.BUDGET_EXCEEDED, message), inputs)
    return worst


