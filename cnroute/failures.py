"""What went wrong with an attempt, as values.

Rules of this file
- `FailureKind` strings are API: they appear in logs, records and configuration.
- A `Failure` describes one attempt; an exception (`cnroute.errors`) describes a call.
- Vendor text is cleaned and cut where a `Failure` is made, so nothing behind it has to think about it again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from cnroute.chat import Usage
    from cnroute.money import Cost

Billing = Literal["none", "unknown", "billed"]


class FailureKind(StrEnum):
    """Every way in which an attempt or a call can fail (contract, section 3)."""

    # the vendor said so
    AUTH = "auth"
    PERMISSION = "permission"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    BAD_REQUEST = "bad_request"
    REQUEST_TOO_LARGE = "request_too_large"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    MODEL_NOT_FOUND = "model_not_found"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    VENDOR_TIMEOUT = "vendor_timeout"
    # the wire
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_ERROR = "tls_error"
    TLS_VERIFY = "tls_verify"
    TLS_TIMEOUT = "tls_timeout"
    WRITE_TIMEOUT = "write_timeout"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_ERROR = "protocol_error"
    DECODE_ERROR = "decode_error"
    BAD_RESPONSE = "bad_response"
    RESPONSE_TOO_LARGE = "response_too_large"
    REDIRECT = "redirect"
    # the router
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NO_CANDIDATE = "no_candidate"
    LOCAL_OVERLOAD = "local_overload"
    BUDGET_EXCEEDED = "budget_exceeded"
    UNSUPPORTED = "unsupported"
    STREAM_INTERRUPTED = "stream_interrupted"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    PLUGIN_ERROR = "plugin_error"


K = FailureKind

# Where the vendor has probably worked (and may charge) although no complete answer arrived
# (reliability S3). All other kinds are `none` unless the maker of the Failure says more.
_BILLING_UNKNOWN = frozenset(
    (
        K.SERVER_ERROR,
        K.VENDOR_TIMEOUT,
        K.WRITE_TIMEOUT,
        K.FIRST_BYTE_TIMEOUT,
        K.FIRST_TOKEN_TIMEOUT,
        K.IDLE_TIMEOUT,
        K.CONNECTION_LOST,
        K.PROTOCOL_ERROR,
        K.DECODE_ERROR,
        K.BAD_RESPONSE,
        K.RESPONSE_TOO_LARGE,
        K.REDIRECT,
        K.CONTENT_FILTER,
        K.DEADLINE_EXCEEDED,
        K.CANCELLED,
    )
)

# The same request may succeed later without any change to it.
_RETRYABLE = frozenset(
    (
        K.RATE_LIMIT,
        K.SERVER_ERROR,
        K.OVERLOADED,
        K.VENDOR_TIMEOUT,
        K.DNS_ERROR,
        K.CONNECT_ERROR,
        K.CONNECT_TIMEOUT,
        K.TLS_ERROR,
        K.TLS_TIMEOUT,
        K.WRITE_TIMEOUT,
        K.FIRST_BYTE_TIMEOUT,
        K.FIRST_TOKEN_TIMEOUT,
        K.IDLE_TIMEOUT,
        K.CONNECTION_LOST,
        K.PROTOCOL_ERROR,
        K.DECODE_ERROR,
        K.BAD_RESPONSE,
        K.DEADLINE_EXCEEDED,
        K.NO_CANDIDATE,
        K.LOCAL_OVERLOAD,
        K.STREAM_INTERRUPTED,
    )
)

# Control characters, line and paragraph separators, all of Unicode's Bidi_Control, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean_text(text: object, limit: int = 500) -> str:
    """Vendor text made safe for logs: control and bidi characters escaped, cut to `limit` characters.

    Raises nothing; anything that is no text is shown by `str`.
    """
    raw = text if isinstance(text, str) else _shown(text)
    safe = _UNSAFE.sub(_escape, raw[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def how_raised(error: BaseException) -> str:
    """Type and place of an exception of foreign code; its own words may hold a prompt or a key, and are not shown."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
    return f"raised {type(error).__name__}{where}"


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 (a plugin's exception may not even be able to show itself)
        return ""


def _clean_optional(text: object) -> str | None:
    return None if text is None or text == "" else clean_text(text, 200)


@attrs.frozen
class Culprit:
    """Whose hook broke the plugin contract: plugin, its distribution with version (None: it has none), hook."""

    plugin: str
    hook: str
    distribution: str | None = None

    def __str__(self) -> str:
        origin = f" ({self.distribution})" if self.distribution else ""
        return f"plugin {self.plugin}{origin}: {self.hook}"


def blame(error: BaseException, plugin: str, distribution: str | None) -> None:
    """Note on an exception which plugin it came from, unless that is known; nothing for one that takes no notes."""
    if not hasattr(error, _BLAMED):
        with contextlib.suppress(Exception):
            setattr(error, _BLAMED, (plugin, distribution))


def blamed(error: BaseException | None) -> tuple[str, str | None] | None:
    """The plugin, and its distribution, that `blame` noted."""
    found: tuple[str, str | None] | None = getattr(error, _BLAMED, None)
    return found


_BLAMED = "_cnroute_blamed"


@attrs.define
class Failure:
    """What went wrong with one attempt.

    `vendor_code` is the vendor's own code as a string and is never taken for an HTTP status;
    `retry_after` is in seconds; `billing` says whether the attempt may have cost money
    (`none`, `unknown`, `billed`) and follows from `kind` unless given; `culprit` is set for a `plugin_error`.
    """

    kind: FailureKind = attrs.field(converter=FailureKind)
    message: str = attrs.field(default="", converter=clean_text)
    vendor_code: str | None = attrs.field(default=None, converter=_clean_optional, kw_only=True)
    http_status: int | None = attrs.field(default=None, kw_only=True)
    request_id: str | None = attrs.field(default=None, converter=_clean_optional, kw_only=True)
    retry_after: float | None = attrs.field(default=None, kw_only=True)
    billing: Billing = attrs.field(kw_only=True)
    culprit: Culprit | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)

    @billing.default
    def _billing_of_kind(self) -> Billing:
        return "unknown" if self.kind in _BILLING_UNKNOWN else "none"

    @property
    def retryable(self) -> bool:
        """True when the same request may succeed later."""
        return self.kind in _RETRYABLE


def is_retryable(kind: FailureKind) -> bool:
    """True when a call that ended in `kind` may succeed later, unchanged."""
    return kind in _RETRYABLE


@attrs.frozen(slots=False)
class Attempt:
    """One HTTP exchange with one deployment, successful or not.

    `started` is in Unix seconds, `seconds` is measured on the monotonic clock. `failure` is None for
    the attempt that answered. `adjusted` maps a parameter to what was done with it (moved to a legal
    value, dropped). `resent` tells of the transport's one invisible resend on a stale connection.
    """

    deployment: str
    provider: str
    number: int
    failure: Failure | None = None
    http_status: int | None = None
    request_id: str | None = None
    billing: Billing = "none"
    started: float = 0.0
    seconds: float = 0.0
    usage: Usage | None = None
    cost: Cost | None = None
    adjusted: Mapping[str, str] = attrs.field(factory=dict)
    resent: bool = False
