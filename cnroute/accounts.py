"""What admission asks of a store, and what a store answers: the same plain values for memory and for Redis.

Rules of this file
- An account is a tuple of words that names what is counted; no store shows them to anybody else.
- Amounts are exact decimals in the router's currency. A window is two Unix times: its first instant and its end.
- A `Hold` is made before anything is taken and given back exactly once, whatever happened in between.
- `give_back` never blocks and never raises: a garbage collector may call it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Protocol

import attrs

from cnroute.money import ZERO

Account = tuple[str, ...]
Window = tuple[float, float]

_SECONDS = {"minute": 60, "hour": 3600}
FOREVER: Window = (0.0, math.inf)


@attrs.frozen
class Period:
    """Fixed windows on the wall clock: `per` is minute, hour, day, month, a number of seconds, or None for ever.

    Minutes, hours, days and months begin by the clocks of `zone`; windows of so many seconds are counted from the
    beginning of Unix time.
    """

    per: str | float | None
    zone: datetime.tzinfo = datetime.UTC

    def around(self, now: float) -> Window:
        """The window that `now` (Unix seconds) lies in."""
        if self.per is None:
            return FOREVER
        if not isinstance(self.per, str):
            start = math.floor(now / self.per) * self.per
            return start, start + self.per
        local = datetime.datetime.fromtimestamp(now, self.zone)
        if self.per in _SECONDS:
            length = _SECONDS[self.per]
            shift = (local.utcoffset() or datetime.timedelta()).total_seconds()
            start = math.floor((now + shift) / length) * length - shift
            return start, start + length
        first = datetime.datetime(local.year, local.month, local.day if self.per == "day" else 1, tzinfo=self.zone)
        return first.timestamp(), _after(first, self.per).timestamp()


def _after(first: datetime.datetime, per: str) -> datetime.datetime:
    """The beginning of the next day or month, by the clocks of the same place."""
    if per == "day":
        date = first.date() + datetime.timedelta(days=1)
    else:
        date = (first.date() + datetime.timedelta(days=31)).replace(day=1)
    return datetime.datetime(date.year, date.month, date.day, tzinfo=first.tzinfo)


@attrs.define(eq=False)
class Charge:
    """The part of one budget in a claim: `amount` may be spent on top, if `cap` allows it. `title` names the budget."""

    account: Account
    title: str
    cap: Decimal
    period: Period
    amount: Decimal


@attrs.define(eq=False)
class Draft:
    """The part of a deployment's rate limit in a claim: one request and at most so many `tokens`."""

    account: Account
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens: int


@attrs.frozen
class Desk:
    """A deployment's breaker as processes share it: its account and the numbers of `Breaker`."""

    account: Account
    failures: int
    ratio: float
    min_calls: int
    window: float
    open_for: float
    max_open: float
    jitter: float


@attrs.define(eq=False)
class Claim:
    """All that one attempt needs of a store, taken together or not at all."""

    charges: tuple[Charge, ...] = ()
    draft: Draft | None = None
    desk: Desk | None = None
    probe: bool = False


@attrs.frozen
class Denial:
    """Why a claim was not granted, and in how many seconds it may be asked for again (None: nobody knows).

    `inputs` are the numbers that decided, JSON-ready.
    """

    reason: str
    detail: str
    wait: float | None = None
    inputs: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class Lesson:
    """What a shared breaker learns of an attempt; the words are those of `cnroute.routing.health`."""

    good: bool
    counts: bool = False
    cooldown: float = 0.0
    throttled: bool = False
    told: float | None = None
    kind: str = ""


class Hold:
    """What one attempt holds of a store. `end` gives it back, once; until then it counts as spent.

    `begin` says that from now on money may flow: what ends afterwards without `settle` stays spent, as a vendor may
    have charged for it. `settle` says what it really was; `spent=None` is "nobody knows".
    """

    __slots__ = (
        "_store", "begun", "claim", "clock", "degraded", "drawn", "ended", "ending", "jitter", "lesson", "parts", "probe",
        "settled", "spent", "state", "throttled", "tokens", "told",
    )

    def __init__(self, store: Store, claim: Claim, clock: Clocks) -> None:
        self._store = store
        self.ending = self.ended = False
        self.claim = claim
        self.clock = clock
        self.parts: Any = ()
        self.drawn: Any = None
        """Where the store found the accounts; these two are its own business."""
        self.begun = False
        self.settled = False
        self.spent: Decimal | None = ZERO
        self.tokens: int | None = 0
        self.throttled = False
        self.lesson: Lesson | None = None
        """What a shared breaker is to learn of the attempt."""
        self.jitter = 0.5
        self.state: Mapping[str, Any] | None = None
        """The shared breaker as the store showed it; `probe`: this hold is its one probe."""
        self.probe = False
        self.told: Callable[[Mapping[str, Any]], None] | None = None
        """Called with the shared breaker's state after it was settled, from another thread."""
        self.degraded: str | None = None
        """Why the store's own process decided alone; None where it did not."""

    def begin(self) -> None:
        """A request may leave now: what is not settled later was spent."""
        self.begun = True

    def settle(self, spent: Decimal | None, tokens: int | None, throttled: bool = False) -> None:
        """What it cost and how many tokens it took, None where that is unknown; the first one to say so is right."""
        if not self.settled:
            self.spent, self.tokens, self.throttled = spent, tokens, throttled
            self.settled = True

    def end(self) -> None:
        """Give back what was not spent."""
        if not self.ended:
            if self.begun and not self.settled:
                self.settle(None, None)
            self.ending = True  # for a store that is granting it in another thread at this moment
            self._store.give_back(self)
            self.ended = True


@attrs.frozen
class Balance:
    """One account in its present window: what was `spent`, what is `reserved` (running, or of unknown billing)."""

    account: Account
    spent: Decimal
    reserved: Decimal
    unknown: Decimal = ZERO
    """The part of `reserved` that stays until the window ends."""
    until: float = math.inf


class Clocks(Protocol):
    """The two clocks that a store reads; the `time` module has them."""

    def monotonic(self) -> float: ...  # noqa: D102
    def time(self) -> float: ...  # noqa: D102


class Store(Protocol):
    """Where accounts live. `remote` stores wait for a network, so no event loop calls `take` itself."""

    remote: bool

    def take(self, hold: Hold) -> Denial | None:
        """Take everything that `hold.claim` asks for, or nothing and say why. Never raises for an outage."""

    def give_back(self, hold: Hold) -> None:
        """Settle what ended. Never blocks."""

    def foresee(self, claim: Claim, clock: Clocks) -> Denial | None:
        """Which budget would deny the claim, by what this process knows, without asking anybody. Takes nothing."""

    def balances(self, clock: Clocks) -> Iterable[Balance]:
        """What this process knows of the accounts, without asking anybody."""

    def forked(self) -> None:
        """In a forked child: what the parent holds is the parent's."""

    def close(self) -> None:
        """Say what is still to be said; the store may be used again."""
