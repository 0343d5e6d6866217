"""What is remembered of each deployment, and the one door to it.

Rules of this file (contract section 4, reliability S6, S8, S14)
- `admit` is the one place where a breaker probe and an in-flight place are taken; a `Lease` is the one place
  where both are given back, exactly once, whatever happened.
- `Lease.end` never waits for a lock that its own thread holds: it appends the outcome and settles only where the
  lock is free, so that even a garbage collector may call it. Every admission settles what is left over.
- An interrupt (KeyboardInterrupt) may come between any two steps: locks are taken by `with` alone, and settling
  one lease twice changes nothing that is counted.
- No clock and no randomness of its own: `now` and the jitter are handed in.
- A cool-down is never shortened by a later, smaller one.
"""

from __future__ import annotations

import datetime
import threading
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.failures import Billing, FailureKind
from cnroute.money import EXACT, Cost
from cnroute.routing.deadline import Clock, Deadline
from cnroute.routing.fallback import Rule
from cnroute.settings import Breaker, Limits

if TYPE_CHECKING:
    from cnroute.accounts import Account, Desk, Hold, Lesson

# Decaying averages forget half of what they know after about 14 calls.
_WEIGHT = 0.05
_FIRST_COOLDOWN = 0.25
_MAX_GROWN_COOLDOWN = 60.0
_MAX_TOLD_COOLDOWN = 300.0
# A place given back while the lock was held is settled by the next who holds it; one who waits looks this often.
_LOOK_AGAIN = 0.05
NOTHING: Mapping[str, Any] = MappingProxyType({})


@attrs.define(eq=False)
class Outcome:
    """How an attempt ended, as far as health is concerned. `rule` is None for a success."""

    rule: Rule | None = None
    kind: FailureKind | None = None
    billing: Billing = "none"
    retry_after: float | None = None
    seconds: float | None = None
    first_content: float | None = None
    counted: bool = True
    """False when the attempt had less time than its normal limit: its failure says nothing of the vendor."""


@attrs.define
class Refusal:
    """Why not: `cooling_down`, `breaker_open`, `probe_out`, `full`, `throttled` (its rate limit), `budget_exceeded`.

    `left`: for how many seconds it is left alone. Then the words and numbers are made when somebody reads them, which is
    seldom: making them was a third of what a deployment with an open breaker costs a call.
    """

    reason: str
    retry_at: float | None = None
    words: str = ""
    facts: Mapping[str, Any] = NOTHING
    left: float | None = None
    after: str = ""
    """The kind of the failure that it is left alone for."""

    @property
    def detail(self) -> str:
        """The reason in words."""
        if self.left is None:
            return self.words
        return f"{self.words} for {self.left:.1f} s more" + (f" after {self.after}" if self.after else "")

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The numbers that decided, JSON-ready."""
        if self.left is None:
            return self.facts
        return {"seconds": round(self.left, 3), **({"after": self.after} if self.after else {})}


@attrs.define
class Snapshot:
    """What plans see of a deployment: rates, times, and until when it is left alone (monotonic; 0: not)."""

    success: float = 1.0
    paid_failure: float = 0.0
    seconds: float | None = None
    first_content: float | None = None
    breaker: str = "closed"
    until: float = 0.0
    in_flight: int = 0
    output_tokens: float | None = None
    spend: str | None = None
    wait: float = 0.0
    """Seconds until `until`."""


@attrs.define(eq=False)
class Spent:
    """A sum of costs that grows; a `Cost` for each step of it would take three times as long."""

    currency: str
    low: Decimal
    high: Decimal
    estimated: bool

    def cost(self) -> Cost:
        """The sum so far."""
        return Cost(self.low, self.high, self.currency, self.estimated)


class Lease:
    """A place at a deployment, its probe if it holds one, and what it holds of a store. `end` gives all of it back, once."""

    __slots__ = ("_ended", "_health", "grown", "hold", "probe")

    def __init__(self, health: Health, probe: bool, grown: float) -> None:
        self._health = health
        self.grown = grown
        self._ended = False
        self.hold: Hold | None = None
        self.probe = probe

    def end(self, outcome: Outcome | None = None) -> None:
        """Give the place back; None: the attempt was given up and says nothing of the vendor."""
        if not self._ended:
            self._health.give_back(self, outcome)
            if self.hold is not None:
                self._health.teach(self.hold, outcome)
                self.hold.end()
            self._ended = True
            self._health.settle_if_free()

    def alone(self, probe: bool) -> Refusal | None:
        """What this process's own breaker says, where the shared one cannot be asked."""
        return self._health.check(self, probe)

    @property
    def adopt(self) -> Callable[[Mapping[str, Any]], None]:
        """Takes over what a shared breaker shows; it outlives the lease."""
        return self._health.adopt

    def seen(self, state: Mapping[str, Any], probe: bool) -> None:
        """What the shared breaker says: it is this process's own from now on."""
        self.probe = probe
        self._health.adopt(state)

    def __del__(self) -> None:
        if not self._ended:
            self.end()


class Health:
    """The state of one deployment, shared by all calls of a router."""

    def __init__(self, limits: Limits, breaker: Breaker | None, clock: Clock, random: Callable[[], float]) -> None:
        self._limits = limits
        self._breaker = breaker
        self._clock = clock
        self._random = random
        self._made()
        self._waiting = 0
        self._failures = 0
        self._recent: deque[tuple[float, bool]] = deque(maxlen=1000)
        self._open_until = 0.0
        self._open_for = 0.0
        self._open = False
        self._probe: Lease | None = None
        self._cool_until = 0.0
        self._cool_kind: str = ""
        self._spent: Spent | None = None
        self._throttled_for = 0.0
        self._success = 1.0
        self._paid_failure = 0.0
        self._seconds: float | None = None
        self._first_content: float | None = None
        self._output_tokens: float | None = None

    @property
    def _in_flight(self) -> int:
        return len(self._out)

    def _made(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._ended: deque[tuple[Lease, Outcome | None]] = deque()
        self._out: set[int] = set()
        self._wakers: deque[Callable[[], object]] = deque()

    def forked(self) -> None:
        """In a forked child: new locks, no calls in flight, no probe out. What was learned stays."""
        self._made()
        self._waiting = 0
        self._probe = None

    # -- admission -------------------------------------------------------------------------------------

    def admit(self, deadline: Deadline | None = None, *, probe: bool = False, shared: bool = False) -> Lease | Refusal:
        """A lease, or why not. With a `deadline` it waits for a place at most `limits.pool` seconds.

        `probe=True` asks for the one probe of an open breaker before its time. `shared=True` asks for a place alone:
        the breaker is one that many processes share, and is asked next.
        """
        with self._lock:
            self._settle()
            refusal = None if shared else self._refusal(probe)
            if refusal is None and len(self._out) >= self._limits.max_in_flight:
                refusal = self._wait(deadline)
                if refusal is None and not shared:
                    refusal = self._refusal(probe)
            return refusal or self._lease(shared)

    def refusal(self) -> Refusal | None:
        """Why the breaker would not admit a call now, asked without taking anything; None: it may."""
        if not (self._open or self._cool_until):
            return None
        with self._lock:
            if self._ended:
                self._settle()
            return self._refusal(False)

    def check(self, lease: Lease, probe: bool) -> Refusal | None:
        """The own breaker's word on a lease that was admitted as `shared`; it may make it the probe."""
        with self._lock:
            self._settle()
            refusal = self._refusal(probe)
            if refusal is None and self._open:
                lease.probe, self._probe = True, lease
            return refusal

    def desk(self, account: Account) -> Desk | None:
        """The breaker as processes share it; None where it is switched off."""
        from cnroute.accounts import Desk

        return None if self._breaker is None else Desk(account, **attrs.asdict(self._breaker))

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Take over what a shared breaker shows: plans, and this process when it is left alone, go by it."""
        with self._lock:
            now = self._clock.monotonic()
            self._open, self._open_for = bool(state["open"]), float(state["for"])
            self._open_until = now + state["left"] if state["left"] else 0.0
            self._cool_until, self._cool_kind = now + state["cool"] if state["cool"] else 0.0, str(state["kind"])
            self._failures, self._throttled_for = int(state["row"]), float(state["throttled"])

    def teach(self, hold: Hold, outcome: Outcome | None) -> None:
        """Say to a shared breaker what this one learns of an attempt."""
        if hold.claim.desk is not None and outcome is not None:
            hold.lesson, hold.jitter = _lesson(outcome), self._random()

    def ready_at(self, now: float) -> float:
        """The monotonic instant from which the deployment may be asked; 0 when it may be asked now."""
        return 0.0 if self._breaker is None else max(self._cool_until, self._open_until if self._open else 0.0)

    def _refusal(self, probe: bool) -> Refusal | None:
        if self._breaker is None or not (self._open or self._cool_until):
            return None
        now = self._clock.monotonic()
        if self._cool_until > now:
            return Refusal(
                "cooling_down", self._cool_until, "left alone", NOTHING, self._cool_until - now, str(self._cool_kind)
            )
        if not self._open:
            return None
        if self._probe is not None:
            return Refusal("probe_out", self._open_until, "the breaker is open and its one probe is on the way")
        left = self._open_until - now
        if left > 0 and not probe:
            return Refusal("breaker_open", self._open_until, "the breaker is open", NOTHING, left)
        return None

    def _wait(self, deadline: Deadline | None) -> Refusal | None:
        """Wait in the bounded queue for a place. None: there is one now."""
        most = self._limits.max_in_flight
        full = Refusal("full", None, f"{most} calls are in flight", {"max_in_flight": most})
        if deadline is None or self._queue_is_full():
            return full
        deadline.on_cancel(self._wake)
        until = self._clock.monotonic() + min(deadline.limits.pool, deadline.remaining())
        self._waiting += 1
        try:
            while self._in_flight >= self._limits.max_in_flight:
                left = until - self._clock.monotonic()
                if left <= 0 or deadline.cancelled:
                    return full
                self._room.wait(min(left, _LOOK_AGAIN))
                self._settle()
        finally:
            self._waiting -= 1
        return None

    def _queue_is_full(self) -> bool:
        return self._waiting + len(self._wakers) >= self._limits.max_queue

    def queue_up(self, wake: Callable[[], object], again: bool = False) -> bool:
        """Wait without a thread: `wake` is called, once, when there is a place to ask for. False: the queue is full.

        Whoever was woken asks with `admit`, and tells `leave_queue` whether the place was taken. `again`: it was taken
        by somebody else, and the caller keeps its turn.
        """
        with self._lock:
            self._settle()
            if self._in_flight < self._limits.max_in_flight:
                wake()
            elif again:
                self._wakers.appendleft(wake)
            elif self._queue_is_full():
                return False
            else:
                self._wakers.append(wake)
        return True

    def leave_queue(self, wake: Callable[[], object], took: bool) -> None:
        """The end of `queue_up`; a place that was offered and not taken is offered to the next in the queue."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)
            elif not took and self._in_flight < self._limits.max_in_flight:
                self._call_next()

    def _call_next(self) -> None:
        if self._wakers:
            self._wakers.popleft()()

    def _wake(self) -> None:
        """Wake who waits. Never blocks: a call that was cancelled before it waits gets here under the lock."""
        if self._lock.acquire(blocking=False):  # whoever holds it wakes the others, or they look again by themselves
            try:
                self._room.notify_all()
            finally:
                self._lock.release()

    def _lease(self, shared: bool = False) -> Lease:
        probe = self._open and not shared
        lease = Lease(self, probe, self._throttled_for)
        self._out.add(id(lease))
        if probe:
            self._probe = lease
        return lease

    # -- giving back -----------------------------------------------------------------------------------

    def give_back(self, lease: Lease, outcome: Outcome | None) -> None:
        """Take note that `lease` ended."""
        self._ended.append((lease, outcome))

    def settle_if_free(self) -> None:
        """Settle what ended, unless somebody holds the lock: whoever holds it next will do so."""
        while self._ended and not self._lock.locked():
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        while self._ended:
            lease, outcome = self._ended[0]
            self._out.discard(id(lease))
            if self._probe is lease:
                self._probe = None
            if outcome is not None:
                self._learn(outcome, lease)
            self._ended.popleft()
            if self._waiting or self._wakers:
                self._room.notify()
                self._call_next()

    def _learn(self, outcome: Outcome, lease: Lease) -> None:
        rule, probe = outcome.rule, lease.probe
        self._average(outcome)
        if rule is None:
            self._throttled_for = 0.0
            self._succeeded(probe)
        elif self._breaker is not None:
            now = self._clock.monotonic()
            self._cool(rule, outcome, now, lease.grown)
            if rule.counts and outcome.counted:
                self._failed(self._breaker, probe, now)

    def _average(self, outcome: Outcome) -> None:
        good = outcome.rule is None
        paid = not good and outcome.billing != "none"
        if outcome.counted and (good or paid):
            self._success += _WEIGHT * (good - self._success)
            self._paid_failure += _WEIGHT * (paid - self._paid_failure)
        if good and outcome.seconds is not None:
            self._seconds = _blend(self._seconds, outcome.seconds)
        if good and outcome.first_content is not None:
            self._first_content = _blend(self._first_content, outcome.first_content)

    def _succeeded(self, probe: bool) -> None:
        self._failures = 0
        self._recent.append((self._clock.monotonic(), True))
        if self._open and probe:
            self._open, self._open_for, self._open_until = False, 0.0, 0.0
            self._recent.clear()

    def _failed(self, breaker: Breaker, probe: bool, now: float) -> None:
        self._failures += 1
        self._recent.append((now, False))
        if self._open:
            if probe:
                self._open_breaker(breaker, now)
        elif self._failures >= breaker.failures or self._mostly_failing(breaker, now):
            self._open_breaker(breaker, now)

    def _mostly_failing(self, breaker: Breaker, now: float) -> bool:
        recent = [good for at, good in self._recent if at > now - breaker.window]
        return len(recent) >= breaker.min_calls and recent.count(False) >= breaker.ratio * len(recent)

    def _open_breaker(self, breaker: Breaker, now: float) -> None:
        self._open = True
        self._open_for = min(breaker.max_open, self._open_for * 2 or breaker.open_for)
        self._open_until = now + self._open_for * (1 + breaker.jitter * (2 * self._random() - 1))

    def _cool(self, rule: Rule, outcome: Outcome, now: float, grown: float) -> None:
        """`grown`: how long the last cool-down was when the attempt began. Of many that were refused together one doubles it."""
        seconds = rule.cooldown
        if rule.throttled:
            if self._throttled_for <= grown:
                self._throttled_for = min(_MAX_GROWN_COOLDOWN, self._throttled_for * 2 or _FIRST_COOLDOWN)
            told = outcome.retry_after
            seconds = self._throttled_for if told is None else min(told, _MAX_TOLD_COOLDOWN)
        if seconds and now + seconds > self._cool_until:
            self._cool_until, self._cool_kind = now + seconds, outcome.kind or "a failure"

    # -- looking ---------------------------------------------------------------------------------------

    def made(self, output_tokens: int) -> None:
        """Learn how long answers are; plans estimate with it."""
        self._output_tokens = _blend(self._output_tokens, float(output_tokens))

    def paid(self, cost: Cost | None) -> None:
        """Add up what answers cost; a cost in another currency begins the sum anew."""
        if cost is None:
            return
        spent = self._spent
        if spent is None or spent.currency != cost.currency:
            self._spent = Spent(cost.currency, cost.low, cost.high, cost.estimated)
            return
        spent.low = EXACT.add(spent.low, cost.low)
        spent.high = EXACT.add(spent.high, cost.high)
        spent.estimated = spent.estimated or cost.estimated

    def snapshot(self) -> Snapshot:
        """The state as plans see it; reads without waiting for anybody."""
        if not (self._cool_until or self._open):
            return Snapshot(
                self._success, self._paid_failure, self._seconds, self._first_content, "closed", 0.0, len(self._out),
                self._output_tokens,
            )
        now, until, word = self._clock.monotonic(), self._cool_until, "closed"
        if self._open:
            word = "open" if self._open_until > now and self._probe is None else "half_open"
            if until < self._open_until:
                until = self._open_until
        wait = until - now
        if wait <= 0:
            until = wait = 0.0
        return Snapshot(
            self._success, self._paid_failure, self._seconds, self._first_content, word, until, len(self._out),
            self._output_tokens, None, wait,
        )

    def _until_utc(self) -> str | None:
        left = self._cool_until - self._clock.monotonic()
        if left <= 0:
            return None
        return datetime.datetime.fromtimestamp(self._clock.time() + left, datetime.UTC).isoformat(timespec="seconds")

    def report(self) -> dict[str, Any]:
        """The state as JSON-ready data."""
        with self._lock:
            self._settle()
        seen = self.snapshot()
        wait = max(0.0, seen.until - self._clock.monotonic())
        return {
            "breaker": seen.breaker,
            "cool_down_until": self._until_utc(),
            "cool_down_seconds": round(max(0.0, self._cool_until - self._clock.monotonic()), 3),
            "ready_in_seconds": round(wait, 3),
            "in_flight": seen.in_flight,
            "success_rate": round(seen.success, 4),
            "paid_failure_rate": round(seen.paid_failure, 4),
            "spend": None if self._spent is None else str(self._spent.cost()),
            "seconds": _microseconds(seen.seconds),
            "first_content_seconds": _microseconds(seen.first_content),
        }


def _microseconds(seconds: float | None) -> float | None:
    """To the microsecond: further digits are noise, and noise may look like anything, a GroupId's beginning too."""
    return None if seconds is None else round(seconds, 6)


def _lesson(outcome: Outcome) -> Lesson:
    from cnroute.accounts import Lesson

    rule = outcome.rule
    if rule is None:
        return Lesson(good=True)
    told = None if outcome.retry_after is None else min(outcome.retry_after, _MAX_TOLD_COOLDOWN)
    counts = rule.counts and outcome.counted
    return Lesson(False, counts, rule.cooldown, rule.throttled, told, outcome.kind.value if outcome.kind else "a failure")


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + 0.2 * (new - old)
