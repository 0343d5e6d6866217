"""Who is tried next, when, and when to stop: the table of `routing.fallback` applied to one call.

Rules of this file (contract section 4, reliability S2 to S7)
- Each further attempt goes to a deployment not yet tried, if there is one; going there does not sleep.
- The same deployment again: once where nothing was sent, or where nothing else is left and the wait fits.
- Nothing starts that could not end: at least 0.5 s (or half of a shorter total) must be left.
- Every candidate cooling down: wait for the first to come back, if that fits. Every breaker open: the one that
  reopens first is tried as a probe.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cnroute.errors import CallError, NoCandidateError, error_for
from cnroute.failures import Failure, FailureKind
from cnroute.flow.announce import candidate_skipped
from cnroute.flow.running import Call
from cnroute.routing.fallback import PRICE_UNKNOWN
from cnroute.routing.health import Refusal
from cnroute.routing.walk import Step

K = FailureKind
_LEAST = 0.5
# What an attempt takes beyond its share before the next one can start, as a part of the call's total (of 1 s at most).
_HAIR = 0.04
# Refused for one kind by every deployment, a call raises that kind's own class (contract, section 3).
_OWN_CLASS = {kind.value: kind for kind in K} | {"full": K.LOCAL_OVERLOAD, PRICE_UNKNOWN: K.BUDGET_EXCEEDED}
# Refusals that pass by themselves, and are waited for where nothing else is left.
_PASSING = ("cooling_down", "throttled")


@attrs.define(eq=False)
class Move:
    """Try `step`, after `wait` seconds, as the probe of an open breaker if `probe`.

    `asked`: its breaker was asked just now.
    """

    step: Step
    wait: float = 0.0
    probe: bool = False
    asked: bool = False


@attrs.define(eq=False)
class _Tried:
    """What is known of a step that was tried or refused."""

    step: Step
    failure: Failure | None = None
    refusal: Refusal | None = None
    times: int = 0


class Pursuit:
    """The candidates of one call that are still open, and what became of the others."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rules = call.walk.course.table
        self._retries = call.walk.course.retries
        self._untried: list[Step] = list(call.walk.steps)
        self._least = min(_LEAST, call.total / 2)
        """Seconds without which no further attempt starts."""
        self._seen: dict[str, _Tried] = {}
        self._last: Failure | None = None
        self._stopped = False
        self._next: Move | None = None

    # -- what happened -----------------------------------------------------------------------------------

    def failed(self, step: Step, failure: Failure) -> None:
        """An attempt at `step` failed."""
        seen = self._tried(step)
        seen.failure, seen.refusal = failure, None
        seen.times += 1
        self._last = failure
        rule = self._rules[failure.kind]
        if rule.next == "listed" or (rule.next == "no" and rule.again == "no"):
            self._stopped = True
        elif rule.next == "larger":
            self._untried += self._call.walk.further()
            self._untried = [other for other in self._untried if _larger(other, step)]
            self._seen = {name: other for name, other in self._seen.items() if other is seen or _larger(other.step, step)}

    def stop(self) -> None:
        """Nothing may follow the attempt that runs: its text was handed out."""
        self._stopped = True

    def refused(self, step: Step, refusal: Refusal) -> None:
        """`step` was not admitted."""
        self._tried(step).refusal = refusal
        self._call.walk.skip(step, refusal)
        candidate_skipped(self._call, step, refusal)

    def cannot(self, step: Step, failure: Failure, inputs: Mapping[str, Any]) -> None:
        """`step` cannot take this request at all."""
        self._untried = [other for other in self._untried if other is not step]
        self._seen.pop(step.place.deployment.name, None)
        self._call.walk.exclude(step, failure.kind.value, failure.message, inputs)
        if self._rules[failure.kind].next == "no" and failure.kind is not K.BUDGET_EXCEEDED:
            self._last, self._stopped = failure, True

    def _tried(self, step: Step) -> _Tried:
        if self._untried and self._untried[0] is step:  # as a rule
            del self._untried[0]
        else:
            self._untried = [other for other in self._untried if other is not step]
        return self._seen.setdefault(step.place.deployment.name, _Tried(step))

    def decision(self, failure: Failure) -> str:
        """What follows the attempt that just failed, in one word: `next`, `again` or `stop`."""
        if self._stopped or not self.may_go_on():
            return "stop"
        if self._reaches(1):
            return "next"
        self._next = self._waiting_move()
        if self._next is None:
            self._stopped = True  # or a second draw of the back-off could decide otherwise
            return "stop"
        return "again" if self._seen[self._next.step.place.deployment.name].times else "next"

    # -- what comes next ---------------------------------------------------------------------------------

    def next_move(self) -> Move:
        """The next candidate. Raises the call's error when there is none."""
        decided, self._next = self._next, None
        if self._stopped or not self.may_go_on():
            raise self._error()
        step = self._next_untried()
        if step is not None:
            return Move(step, asked=True)
        move = decided or self._waiting_move() or self._probing_move()
        if move is None:
            raise self._error()
        return move

    def _next_untried(self) -> Step | None:
        """The next candidate that was not tried and does not rest; those that do are refused on the way."""
        while self._untried or self._reaches(1):
            step = self._untried[0]
            refusal = self.rests(step)
            if refusal is None:
                return step
            self.refused(step, refusal)
        return None

    def rests(self, step: Step) -> Refusal | None:
        """Why `step` is left alone: its breaker is open or it cools down; then no request is built for it.

        With a store the breaker may be one that processes share, which is asked on admission.
        """
        return None if self._call.guard is not None else step.place.health.refusal()

    def share_ends(self, step: Step) -> float:
        """The instant at which an attempt at `step` is cut, so that others may still be tried."""
        now = self._call.clock.monotonic()
        left = self._call.deadline_at - now
        fixed = step.place.timeouts.plain.attempt
        if fixed is not None:
            return now + min(left, fixed)
        others = self._attempts_left() - 1
        if others > 0:
            others = min(others, self._still_open(step, others))
        if others < 1:
            return self._call.deadline_at
        share = left / (others + 1)
        connect = step.place.timeouts.plain.connect
        if connect + _LEAST * others <= left:
            share = max(share, connect)
        return now + self._with_a_hair(share, left)

    def _with_a_hair(self, share: float, left: float) -> float:
        """`share`, shortened where it would leave the next attempt a hair less than it needs to start (totals up to 1 s)."""
        hair = _HAIR * min(1.0, self._call.total)
        most = left - self._least - hair
        return most if 0 < share - most <= 2 * hair else share

    def _still_open(self, step: Step, most: int) -> int:
        """How many others are untried, counted to `most`."""
        self._reaches(most + 1)
        return len(self._untried) - (step in self._untried)

    def _reaches(self, count: int) -> bool:
        """Whether there are `count` untried steps; they are made now."""
        if len(self._untried) < count:
            self._untried += self._call.walk.further(count - len(self._untried))
        return len(self._untried) >= count

    def _attempts_left(self) -> int:
        attempts, retries = self._call.attempts, self._retries
        if not attempts:
            return min(retries.max_attempts, retries.max_paid_attempts)
        paid = sum(1 for attempt in attempts if attempt.billing != "none")
        return min(retries.max_attempts - len(attempts), retries.max_paid_attempts - paid)

    def may_go_on(self) -> bool:
        """Whether an attempt may start now: within the limits of attempts and money, and with enough time left."""
        if self._attempts_left() < 1:
            return False
        return self.has_time()

    def has_time(self) -> bool:
        """Whether an attempt that starts now could end."""
        return self._call.remaining() >= self._least

    def _waiting_move(self) -> Move | None:
        """The candidate that may be asked again soonest, if waiting for it fits."""
        soonest = min(self._waits(), key=lambda move: move.wait, default=None)
        if soonest is None:
            return None
        room = self._call.remaining() - self._least
        return soonest if soonest.wait <= min(self._retries.max_wait, room) else None

    def _waits(self) -> Iterator[Move]:
        now = self._call.clock.monotonic()
        for seen in self._seen.values():
            wait = self._wait_for(seen, now)
            if wait is not None:
                yield Move(seen.step, wait)

    def _wait_for(self, seen: _Tried, now: float) -> float | None:
        """Seconds until this deployment may be asked (again); None: not in this call."""
        if seen.refusal is not None and seen.failure is None:
            passing = seen.refusal.reason in _PASSING and seen.refusal.retry_at is not None
            return max(0.0, (seen.refusal.retry_at or 0.0) - now) if passing else None
        if seen.failure is None or seen.refusal is not None or seen.times >= self._retries.same_deployment:
            return None
        rule = self._rules[seen.failure.kind]
        if rule.again == "no":
            return None
        ready = max(0.0, seen.step.place.health.ready_at(now) - now)
        return max(ready, self._back_off(seen.failure, rule.throttled))

    def _back_off(self, failure: Failure, throttled: bool) -> float:
        """Full jitter; a vendor's own Retry-After replaces it."""
        if failure.retry_after is not None:
            return failure.retry_after
        base = self._retries.throttled_backoff if throttled else self._retries.backoff
        most = min(self._retries.backoff_cap, base * 2.0 ** max(0, len(self._call.attempts) - 1))
        return self._call.random() * most

    def _probing_move(self) -> Move | None:
        """The breaker that reopens first, when nothing was tried and every candidate's breaker is open."""
        if self._call.attempts or not self._seen:
            return None
        refusals = [(seen.refusal.retry_at or 0.0, name) for name, seen in self._seen.items() if seen.refusal is not None]
        if any(self._seen[name].refusal.reason != "breaker_open" for _, name in refusals):  # type: ignore[union-attr]
            return None
        _, first = min(refusals)
        return Move(self._seen[first].step, probe=True)

    # -- the end -----------------------------------------------------------------------------------------

    def _error(self) -> CallError:
        if self._last is not None:
            return error_for(self._last)
        if self._call.remaining() < self._least:
            return error_for(Failure(K.DEADLINE_EXCEEDED, "the deadline passed before anything was sent", billing="none"))
        reasons = self._reasons()
        kinds = {_OWN_CLASS.get(reason) for _, reason, _ in reasons}
        text = "; ".join(f"{name}: {detail}" for name, _, detail in reasons) or "the route has no deployment"
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None:
            return error_for(Failure(kind, text, billing="none", retry_after=self._first_wait()))
        return self._no_candidate(text)

    def _reasons(self) -> list[tuple[str, str, str]]:
        out = [(each.deployment, each.rule, each.reason) for each in self._call.walk.excluded]
        for name, seen in self._seen.items():
            if seen.refusal is not None:
                out.append((name, seen.refusal.reason, seen.refusal.detail))
        return out

    def _no_candidate(self, text: str) -> NoCandidateError:
        wait, retry_at = self._first_wait(), None
        if wait is not None:
            retry_at = datetime.datetime.fromtimestamp(self._call.clock.time() + wait, datetime.UTC)
        return NoCandidateError(f"no deployment can be tried now: {text}", retry_at=retry_at, retry_after=wait, billing="none")


    def _first_wait(self) -> float | None:
        """Seconds until the first of those who refused may be asked again, where that is known."""
        instants = [seen.refusal.retry_at for seen in self._seen.values() if seen.refusal and seen.refusal.retry_at]
        return max(0.0, min(instants) - self._call.clock.monotonic()) if instants else None


def _larger(other: Step, than: Step) -> bool:
    """True where both limits are known and the other's is larger."""
    known = than.place.info.context if than.place.info else None
    more = other.place.info.context if other.place.info else None
    return known is not None and more is not None and more > known
