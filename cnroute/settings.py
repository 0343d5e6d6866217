"""How long, how much, how often: the settings that a router, a route or a deployment can carry.

Rules of this file
- The nearest given value wins: deployment over route over router. A default is not "given", so a value that
  was left out never hides one that was written down further out. Defaults are therefore marked
  (`_Float`, `_Int`) and otherwise ordinary numbers.
- Times are in seconds, sizes in bytes. Impossible values raise ConfigurationError.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import attrs

from cnroute.errors import ConfigurationError

# Nothing that is counted or timed here comes near it; false for NaN, infinities and integers beyond any float.
_MOST = 1e18


class _Float(float):
    """A default that nobody wrote down."""


class _Int(int):
    """A default that nobody wrote down."""


def _number(
    low: float, *, whole: bool = False, optional: bool = False, high: float = math.inf, zero: bool = False
) -> Any:
    """An attrs validator for a finite number from `low` (a low of 0 is excluded, unless `zero`) to `high`."""
    from_low = whole or zero

    def check(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is None and optional:
            return
        kind = "a whole number" if whole else "a number"
        good = isinstance(value, int) if whole else isinstance(value, int | float)
        if not good or isinstance(value, bool) or not -_MOST < value < _MOST:  # type: ignore[operator]
            raise ConfigurationError(f"{field.name} must be {kind}, not {value!r:.40}", field.name)
        if value < low or (not low and value <= 0 and not from_low) or value > high:  # type: ignore[operator]
            bounds = f"{'at least' if from_low else 'above'} {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
            raise ConfigurationError(f"{field.name} must be {bounds}, not {value!r:.40}", field.name)

    return check


@attrs.frozen
class Timeouts:
    """Limits in seconds (reliability S1).

    `total`: the whole call; `attempt`: one attempt (None: a fair share of what remains); `connect`: DNS, all
    addresses and TLS together; `write`: sending the request, of a file each piece; `first_byte`: from the request written to the
    status line (None: 30 for streams, 180 for plain calls); `first_token`: from the request written to the
    first content of a stream; `idle`: silence between received bytes; `pool`: waiting for a free place.
    """

    total: float = attrs.field(default=_Float(300), validator=_number(0))
    attempt: float | None = attrs.field(default=None, validator=_number(0, optional=True))
    connect: float = attrs.field(default=_Float(5), validator=_number(0))
    first_byte: float | None = attrs.field(default=None, validator=_number(0, optional=True))
    first_token: float = attrs.field(default=_Float(60), validator=_number(0))
    idle: float = attrs.field(default=_Float(60), validator=_number(0))
    write: float = attrs.field(default=_Float(30), validator=_number(0))
    pool: float = attrs.field(default=_Float(5), validator=_number(0))


@attrs.frozen
class Limits:
    """Sizes and places. `max_in_flight` calls run at once per deployment, `max_queue` more may wait.

    Sizes count decoded bytes: a plain answer, one line of a stream, a whole stream, a request.
    """

    max_connections: int = attrs.field(default=_Int(32), validator=_number(1, whole=True))
    max_in_flight: int = attrs.field(default=_Int(32), validator=_number(1, whole=True))
    max_queue: int = attrs.field(default=_Int(64), validator=_number(0, whole=True))
    max_response_bytes: int = attrs.field(default=_Int(16 * 2**20), validator=_number(1, whole=True))
    max_line_bytes: int = attrs.field(default=_Int(2**20), validator=_number(1, whole=True))
    max_stream_bytes: int = attrs.field(default=_Int(64 * 2**20), validator=_number(1, whole=True))
    max_request_bytes: int = attrs.field(default=_Int(32 * 2**20), validator=_number(1, whole=True))


@attrs.frozen
class Retries:
    """How often a call is tried (reliability S2 to S4, S7).

    `max_attempts` in all and at most `same_deployment` at one; at most `max_paid_attempts` that were or may
    have been charged. Back-off is full jitter: random x min(`backoff_cap`, base x 2^n), the base being
    `backoff`, or `throttled_backoff` after a rate limit. `max_wait` bounds waiting for a vendor's Retry-After
    or for a deployment to come back.
    """

    max_attempts: int = attrs.field(default=_Int(3), validator=_number(1, whole=True))
    max_paid_attempts: int = attrs.field(default=_Int(2), validator=_number(1, whole=True))
    same_deployment: int = attrs.field(default=_Int(2), validator=_number(1, whole=True))
    backoff: float = attrs.field(default=_Float(0.25), validator=_number(0))
    throttled_backoff: float = attrs.field(default=_Float(1), validator=_number(0))
    backoff_cap: float = attrs.field(default=_Float(20), validator=_number(0))
    max_wait: float = attrs.field(default=_Float(30), validator=_number(0))


@attrs.frozen
class Breaker:
    """When a deployment is left alone (reliability S6).

    Opens after `failures` in a row, or when at least `ratio` of at least `min_calls` calls within `window`
    seconds failed; stays open `open_for` seconds, doubling to `max_open`, each time varied by `jitter`; then
    lets exactly one probe through.
    """

    failures: int = attrs.field(default=_Int(5), validator=_number(1, whole=True))
    ratio: float = attrs.field(default=_Float(0.5), validator=_number(0, high=1))
    min_calls: int = attrs.field(default=_Int(10), validator=_number(1, whole=True))
    window: float = attrs.field(default=_Float(30), validator=_number(0))
    open_for: float = attrs.field(default=_Float(5), validator=_number(0))
    max_open: float = attrs.field(default=_Float(120), validator=_number(0))
    jitter: float = attrs.field(default=_Float(0.2), validator=_number(0, high=1, zero=True))


@attrs.frozen
class RateLimit:
    """A vendor's allowance for one deployment, per minute; None is no limit.

    Calls that would pass it go to the next deployment, or wait for their turn where there is none.
    """

    requests_per_minute: int | None = attrs.field(default=None, validator=_number(1, whole=True, optional=True))
    tokens_per_minute: int | None = attrs.field(default=None, validator=_number(1, whole=True, optional=True))


S = TypeVar("S", Timeouts, Limits, Retries, Breaker)


def given(settings: Any) -> dict[str, Any]:
    """The values of `settings` that somebody wrote down."""
    values = attrs.asdict(settings, recurse=False)
    return {name: value for name, value in values.items() if value is not None and not isinstance(value, _Float | _Int)}


def nearest(kind: type[S], *layers: S | None) -> S:
    """The effective settings; `layers` go from the nearest to the furthest."""
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        if layer is not None:
            values.update(given(layer))
    return kind(**values)
