"""One call while it runs: what was asked, by when, and what became of it so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from cnroute.chat import ChatRequest
from cnroute.failures import Attempt
from cnroute.notices import Notice
from cnroute.routing.deadline import Clock
from cnroute.routing.plan import Place
from cnroute.routing.walk import Walk

if TYPE_CHECKING:
    from cnroute.routing.limits import Guard


class Audience(Protocol):
    """Who is told of calls: the log and the observers."""

    def hears(self, kind: type) -> bool: ...  # noqa: D102
    def notify(self, notice: Notice, /) -> None: ...  # noqa: D102


@attrs.define(eq=False, repr=False)
class Call:
    """Everything about one call. `deadline_at` is an instant of the monotonic clock."""

    id: str
    request: ChatRequest
    stream: bool
    walk: Walk
    deadline_at: float
    total: float
    started: float
    clock: Clock
    random: Callable[[], float]
    audience: Audience
    currency: str
    fit: Callable[[Place], ChatRequest]
    log_content: bool = False
    guard: Guard | None = None
    """Budgets and rate limits, where there are any."""
    attempts: list[Attempt] = attrs.field(factory=list)
    given: list[Any] = attrs.field(factory=list)
    """What a stream has handed out or holds ready."""
    waiting: deque[Any] = attrs.field(factory=deque)
    """Of that, what the consumer has not taken yet."""
    first_content: float | None = None
    """Seconds from the start to the first content of a stream."""
    worst: dict[str, Decimal] = attrs.field(factory=dict)
    """What an attempt at each deployment can cost at most, where the caller set `max_cost`."""

    def remaining(self) -> float:
        """Seconds until the call's deadline."""
        return self.deadline_at - self.clock.monotonic()
