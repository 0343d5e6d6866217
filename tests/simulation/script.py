"""What a script is made of: the steps of an exchange, the contract's tables, the fate of an exchange, the log of a call."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs

from cnroute.errors import CallError
from cnroute.notices import CallFinished
from tests.simulation.model import THROTTLED
from tests.simulation.vendors import Answer

TICK = 1e-6
NEAR = 0.0015  # the flow takes a limit for reached this much too early: nothing is claimed about such a moment
LEAST = 0.5
MARK = re.compile(rb"#(\d+)#")

# Steps of an exchange: name, limit, kind when it takes too long, kinds when it breaks, were bytes sent before its end?
STEPS = (
    ("pool", "pool", "local_overload", (), False),
    ("dns", "connect", "connect_timeout", ("dns_error",), False),
    ("connect", "connect", "connect_timeout", ("connect_error",), False),
    ("tls", "connect", "tls_timeout", ("tls_error", "tls_verify"), False),
    ("write", "write", "write_timeout", ("connection_lost",), True),
    ("head", "first_byte", "first_byte_timeout", ("connection_lost", "protocol_error", "redirect"), True),
    ("body", "idle", "idle_timeout", ("connection_lost", "decode_error", "response_too_large", "protocol_error"), True),
)
HANGS = frozenset(step[2] for step in STEPS)
BODY = len(STEPS) - 1
# reliability S3
NONE = frozenset((
    "local_overload", "unsupported", "dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout",
    "tls_verify", "rate_limit", "overloaded", "bad_request", "request_too_large", "context_length", "auth", "permission",
    "model_not_found", "quota",
))
STOPS = frozenset((
    "bad_request", "budget_exceeded", "deadline_exceeded", "cancelled", "closed", "context_length", "request_too_large",
))
AGAIN = THROTTLED | frozenset(["dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout"])
# contract, section 3
CLASSES = {
    "auth": "AuthenticationError", "permission": "PermissionDeniedError", "quota": "QuotaExceededError",
    "rate_limit": "RateLimitError", "model_not_found": "ModelNotFoundError", "content_filter": "ContentFilterError",
    "bad_request": "BadRequestError", "request_too_large": "BadRequestError", "context_length": "ContextLengthError",
    "unsupported": "UnsupportedRequestError", "deadline_exceeded": "DeadlineExceededError", "no_candidate": "NoCandidateError",
    "local_overload": "LocalOverloadError", "budget_exceeded": "BudgetExceededError", "cancelled": "CallCancelledError",
    "closed": "RouterClosedError", "plugin_error": "HookError", "stream_interrupted": "StreamInterruptedError",
    **dict.fromkeys(("server_error", "overloaded", "vendor_timeout"), "ServerError"),
    **dict.fromkeys(("dns_error", "connect_error", "tls_error", "tls_verify", "connection_lost"), "ConnectionFailedError"),
    **dict.fromkeys(("connect_timeout", "tls_timeout", "write_timeout", "first_byte_timeout", "first_token_timeout",
                     "idle_timeout"), "CallTimeoutError"),
    **dict.fromkeys(("protocol_error", "decode_error", "bad_response", "response_too_large", "redirect"), "ResponseError"),
}


@attrs.define
class Fate:
    """What is written for one exchange: the time of each step, the step that fails and how, or the answer.

    `reads` is what each read of a stream gives: (seconds, bytes), or (seconds, kind or "hang").
    """

    waits: list[float]
    fails_at: int | None = None
    how: str = ""
    answer: Answer = attrs.field(factory=Answer)
    reads: list[tuple[float, Any]] = attrs.field(factory=list)


@attrs.define(eq=False)
class Exchange:
    """One request at a vendor, and everything that is known of it."""

    call: CallLog
    deployment: str
    fate: Fate
    stream: bool
    started: float
    cut_at: float
    limits: Any
    probe: bool
    others: int
    sent: str = "no"
    written: float | None = None
    opened: bool = False
    raised: str | None = None
    raised_at: float = 0.0
    own_limit: bool = False
    given: int = 0
    ended: bool = False
    left: bool = False
    closed: bool = True
    number: int = 0
    over_at: float = 0.0
    grown: float = 0.0


@attrs.define(eq=False)
class CallLog:
    """One call of a script."""

    index: int
    stream: bool
    targets: list[str]
    started: float
    total: float
    exchanges: list[Exchange] = attrs.field(factory=list)
    attempts: list[Any] = attrs.field(factory=list)
    seen: list[str] = attrs.field(factory=list)
    reasons: dict[str, str] = attrs.field(factory=dict)
    sleeps: list[tuple[float, float]] = attrs.field(factory=list)
    notices: list[Any] = attrs.field(factory=list)
    finished: list[CallFinished] = attrs.field(factory=list)
    deltas: list[Any] = attrs.field(factory=list)
    error: CallError | None = None
    reply: Any = None
    outcome: str | None = None
    handle: Any = None
    entered: float = 0.0
    steps: int = 0
    break_at: int | None = None
    breaks: Callable[[], None] | None = None
    max_cost: Decimal | None = None
    fussy: bool = False

    @property
    def ends(self) -> float:
        return self.started + self.total

    @property
    def least(self) -> float:
        return min(LEAST, self.total / 2)

    def paid(self) -> int:
        return sum(attempt.billing != "none" for attempt in self.attempts)
