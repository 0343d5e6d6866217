"""A day in figures: the recorded one, or one that was simulated.

Rules of this file
- Sums of money are exact, one a currency; calls whose cost is not known are counted, never taken for free.
- Percentiles are of answered calls, by nearest rank: each is the time of a call that there was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

from cnroute.money import Bill, Cost, plain
from cnroute.notices import CallFinished
from cnroute.simulate.log import Costs, Day, nothing

PERCENTILES = (50, 90, 95, 99)
ORIGINS = ("recorded", "drawn", "pooled", "outage")


@attrs.define(eq=False)
class Tally:
    """The figures of one column; `unpriced` counts calls of which a part of the cost is not known."""

    name: str
    calls: int = 0
    answered: int = 0
    attempts: int = 0
    unpriced: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    tries: Counter[int] = attrs.field(factory=Counter)
    asked: Counter[str] = attrs.field(factory=Counter)
    answers: Counter[str] = attrs.field(factory=Counter)
    origins: Counter[str] = attrs.field(factory=Counter)
    seconds: list[float] = attrs.field(factory=list)
    confirmed: dict[str, Cost] = attrs.field(factory=dict)
    possible: dict[str, Cost] = attrs.field(factory=dict)

    def add(self, outcome: str, seconds: float, deployments: Iterable[str], answered_by: str | None, attempts: int) -> None:
        """One call has ended."""
        self.calls += 1
        self.outcomes[outcome] += 1
        self.attempts += attempts
        self.tries[attempts] += 1
        self.asked.update(deployments)
        if outcome == "ok":
            self.answered += 1
            self.seconds.append(seconds)
            if answered_by is not None:
                self.answers[answered_by] += 1

    def pay(self, confirmed: Costs | None, possible: Costs | None) -> None:
        """What the call cost; None is not known."""
        self.unpriced += confirmed is None or possible is None
        for sums, costs in ((self.confirmed, confirmed), (self.possible, possible)):
            for cost in costs or ():
                if not nothing((cost,)):
                    sums[cost.currency] = sums[cost.currency].plus(cost) if cost.currency in sums else cost

    def finished(self, notice: CallFinished) -> None:
        """A simulated call has ended."""
        names = [attempt.deployment for attempt in notice.attempts]
        self.add(notice.outcome, notice.seconds, names, notice.deployment, len(names))
        bill = notice.bill or Bill()
        self.pay(_parts(bill.confirmed), _parts(bill.possible))

    def report(self) -> dict[str, Any]:
        """The figures as JSON-ready data."""
        return {
            "name": self.name,
            "calls": self.calls,
            "answered": self.answered,
            "success": _share(self.answered, self.calls),
            "outcomes": dict(self.outcomes.most_common()),
            "attempts": self.attempts,
            "attempts_per_call": round(self.attempts / self.calls, 4) if self.calls else None,
            "calls_by_attempts": {str(number): self.tries[number] for number in sorted(self.tries)},
            "cost": {
                "confirmed": [_cost(cost) for cost in self.confirmed.values()],
                "possible": [_cost(cost) for cost in self.possible.values()],
                "unpriced_calls": self.unpriced,
            },
            "seconds": {**{f"p{part}": self.percentile(part) for part in PERCENTILES}, "mean": self._mean()},
            "deployments": {
                name: {"asked": count, "answered": self.answers[name]} for name, count in sorted(self.asked.items())
            },
            "origins": {name: self.origins[name] for name in ORIGINS},
        }

    def percentile(self, part: int) -> float | None:
        """The time within which so many hundredths of the answered calls were answered."""
        if not self.seconds:
            return None
        self.seconds.sort()
        return round(self.seconds[max(0, math.ceil(part / 100 * len(self.seconds)) - 1)], 6)

    def _mean(self) -> float | None:
        return round(math.fsum(self.seconds) / len(self.seconds), 6) if self.seconds else None


def _parts(part: Cost | tuple[Cost, ...] | None) -> Costs | None:
    return part if part is None or isinstance(part, tuple) else (part,)


def _cost(cost: Cost) -> dict[str, Any]:
    return {"low": plain(cost.low), "high": plain(cost.high), "currency": cost.currency, "estimated": cost.estimated}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def recorded(day: Day) -> Tally:
    """The figures of the log itself."""
    tally = Tally("log")
    for call in day.calls:
        names = [tried.deployment for tried in call.tries]
        tally.add(call.outcome, call.seconds, names, call.deployment, len(names) + call.hidden)
        tally.pay(call.confirmed, call.possible)
        tally.origins["recorded"] += len(names)
    return tally
