"""What follows a failure: the table of the contract (section 4) as data, and the few lines that read it.

A user overrides rows per route: `Route(fallback={"bad_request": "next"}, fallback_on=["content_filter"])`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from cnroute.errors import ConfigurationError
from cnroute.failures import FailureKind

K = FailureKind
# The rule by which plans leave out what a budget cannot cover.
PRICE_UNKNOWN = "price unknown"
Again = Literal["no", "once", "if_last"]
Next = Literal["no", "yes", "larger", "listed"]


@attrs.frozen
class Rule:
    """One row: may the same deployment be asked again, may the next one, what does the breaker learn.

    `again`: `once` (nothing was sent), `if_last` (only when no other is left and the wait fits). `next`:
    `larger` (only where a larger limit is known), `listed` (only if the route's `fallback_on` names the kind).
    `counts`: the breaker counts it. `cooldown`: seconds for which the deployment is left alone; `throttled`:
    by Retry-After, else growing. `alarm`: logged at error level.
    """

    again: Again = "no"
    next: Next = "yes"
    counts: bool = False
    cooldown: float = 0.0
    throttled: bool = False
    alarm: bool = False


_THROTTLED = Rule(again="if_last", throttled=True)
_NOT_SENT = Rule(again="once", counts=True)
_MAYBE_PAID = Rule(counts=True)
_LARGER = Rule(next="larger")
_STOP = Rule(next="no")
_LOCAL = Rule()

TABLE: Mapping[FailureKind, Rule] = {
    K.RATE_LIMIT: _THROTTLED,
    K.OVERLOADED: _THROTTLED,
    K.DNS_ERROR: _NOT_SENT,
    K.CONNECT_ERROR: _NOT_SENT,
    K.CONNECT_TIMEOUT: _NOT_SENT,
    K.TLS_ERROR: _NOT_SENT,
    K.TLS_TIMEOUT: _NOT_SENT,
    K.TLS_VERIFY: Rule(cooldown=60, alarm=True),
    K.SERVER_ERROR: _MAYBE_PAID,
    K.VENDOR_TIMEOUT: _MAYBE_PAID,
    K.WRITE_TIMEOUT: _MAYBE_PAID,
    K.FIRST_BYTE_TIMEOUT: _MAYBE_PAID,
    K.FIRST_TOKEN_TIMEOUT: _MAYBE_PAID,
    K.IDLE_TIMEOUT: _MAYBE_PAID,
    K.CONNECTION_LOST: _MAYBE_PAID,
    K.PROTOCOL_ERROR: _MAYBE_PAID,
    K.DECODE_ERROR: _MAYBE_PAID,
    K.BAD_RESPONSE: _MAYBE_PAID,
    K.RESPONSE_TOO_LARGE: _MAYBE_PAID,
    K.REDIRECT: _MAYBE_PAID,
    K.AUTH: Rule(cooldown=60, alarm=True),
    K.PERMISSION: Rule(cooldown=60, alarm=True),
    K.QUOTA: Rule(cooldown=600, alarm=True),
    K.MODEL_NOT_FOUND: Rule(cooldown=600, alarm=True),
    K.CONTEXT_LENGTH: _LARGER,
    K.REQUEST_TOO_LARGE: _LARGER,
    K.CONTENT_FILTER: Rule(next="listed"),
    K.BAD_REQUEST: _STOP,
    K.UNSUPPORTED: _LOCAL,
    K.LOCAL_OVERLOAD: _LOCAL,
    K.PLUGIN_ERROR: _LOCAL,
    K.BUDGET_EXCEEDED: _STOP,
    K.DEADLINE_EXCEEDED: _STOP,
    K.CANCELLED: _STOP,
    K.CLOSED: _STOP,
    K.NO_CANDIDATE: _STOP,
    K.STREAM_INTERRUPTED: _STOP,
}


def table_for(fallback_on: Iterable[str] = (), overrides: Mapping[str, str] | None = None) -> Mapping[FailureKind, Rule]:
    """The table of one route. Raises ConfigurationError for kinds and words that do not exist."""
    table = dict(TABLE)
    for name in fallback_on:
        kind = _kind(name, "fallback_on")
        table[kind] = attrs.evolve(table[kind], next="yes")
    for name, word in (overrides or {}).items():
        kind = _kind(name, "fallback")
        if not isinstance(word, str) or word not in _WORDS:
            raise ConfigurationError(f"fallback of {name} must be one of {', '.join(_WORDS)}, not {word!r:.40}", "fallback")
        table[kind] = attrs.evolve(table[kind], **_WORDS[word])
    return table


# What a user may write for a row: the same deployment again and then the next, the next, or the end.
_WORDS: Mapping[str, Mapping[str, Any]] = {
    "again": {"again": "once", "next": "yes"},
    "next": {"again": "no", "next": "yes"},
    "stop": {"again": "no", "next": "no"},
}


def _kind(name: str, key: str) -> FailureKind:
    try:
        return FailureKind(name)
    except ValueError:
        raise ConfigurationError(f"{key}: there is no failure kind {name!r:.60}", key) from None
