"""What a vendor would have answered: as it did to this very call, else drawn from what it did around that time.

Rules of this file
- A call that was sent to a deployment on the day gets the answer that it got.
- Any other is drawn from the deployment's attempts nearest in time, so bad hours stay bad hours: first whether and how
  it fails, then, of the answers, one of about the same length; what is still missing in length takes as long as a token
  takes in these answers.
- A deployment of which the log tells nothing answers like all deployments of the log together; the report names it.
- What a request brings on itself (filtered content, a prompt too long) goes with the call, to whomever it is sent; that
  its caller gave it up likewise.
- A draw depends on the seed, the call, the deployment and the number of the attempt alone: policies meet the same luck.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from cnroute.chat import Usage
from cnroute.events import FINISH_REASONS
from cnroute.simulate.log import Day, Recorded, Try

# How many attempts nearest in time an outcome is drawn from, and how many answers of similar length a duration.
NEAR, SIMILAR, STEP = 50, 10, 5
# Fewer attempts than this are called few in the report.
FEW = 20
OWN_FAULTS = frozenset(("bad_request", "request_too_large", "context_length", "content_filter", "unsupported"))
CALLERS = frozenset(("cancelled", "closed"))
# What was cut off from outside might have gone on for ever.
_UNENDED = CALLERS | {"deadline_exceeded"}
# Decided by the router and not by a vendor: the simulation decides anew.
LOCAL = frozenset(("no_candidate", "local_overload", "budget_exceeded", "unsupported"))


@attrs.define(eq=False)
class Fate:
    """What becomes of one attempt, if nothing cuts it short: an answer (`kind` None) or a failure after so many seconds.

    `origin` is `recorded`, `drawn`, `pooled` (from all deployments), or `outage`.
    """

    seconds: float
    kind: str | None = None
    billing: str | None = None
    usage: Usage | None = None
    tokens: int = 0
    first_content: float | None = None
    finish: str = "stop"
    retry_after: float | None = None
    origin: str = "recorded"


@attrs.define(eq=False)
class _Sample:
    """One attempt that was recorded."""

    at: float
    call: int
    tried: Try
    output: int


class _Window:
    """Attempts near one time; of the answers also their lengths and what a token takes."""

    def __init__(self, samples: list[_Sample]) -> None:
        self.samples = samples
        self._answers = sorted((each for each in samples if each.tried.outcome == "ok"), key=lambda each: each.output)
        self._outputs = [each.output for each in self._answers]
        self._per_token = _slope([(each.output, each.tried.seconds or 0.0) for each in self._answers])

    def drawn(self, luck: random.Random) -> _Sample:
        """Any of them."""
        return self.samples[int(luck.random() * len(self.samples))]

    def as_long(self, output: int, luck: random.Random) -> tuple[Try, _Sample]:
        """Of the answers one whose length is like that of the call, and how it would have been told at exactly that length."""
        middle = bisect.bisect_left(self._outputs, output)
        first = max(0, min(middle - SIMILAR // 2, len(self._answers) - SIMILAR))
        alike = self._answers[first : first + SIMILAR]
        sample = alike[int(luck.random() * len(alike))]
        tried, seconds = sample.tried, sample.tried.seconds or 0.0
        least = tried.first_content or seconds / 2
        return attrs.evolve(tried, seconds=max(least, seconds + self._per_token * (output - sample.output))), sample


def _slope(points: list[tuple[int, float]]) -> float:
    """The slope of the line through the points, never below 0: how much longer one more token takes."""
    if len(points) < 2:
        return 0.0
    middle, mean = (sum(part) / len(points) for part in zip(*points, strict=True))
    spread = sum((x - middle) ** 2 for x, _ in points)
    together = sum((x - middle) * (y - mean) for x, y in points)
    return max(0.0, together / spread) if spread else 0.0


class _Pool:
    """The attempts of one deployment in the order of time."""

    def __init__(self) -> None:
        self.samples: list[_Sample] = []
        self._times: list[float] = []
        self._windows: dict[int, _Window] = {}

    def ready(self) -> None:
        self.samples.sort(key=lambda sample: sample.at)
        self._times = [sample.at for sample in self.samples]

    def near(self, at: float) -> _Window:
        """The samples nearest in time, in steps of a few."""
        middle = bisect.bisect_left(self._times, at) // STEP * STEP
        first = max(0, min(middle - NEAR // 2, len(self.samples) - NEAR))
        window = self._windows.get(first)
        if window is None:
            window = self._windows[first] = _Window(self.samples[first : first + NEAR])
        return window


class History:
    """The recorded day as something that answers."""

    def __init__(self, day: Day, seed: int) -> None:
        self._seed = seed
        self._calls = day.calls
        self._tokens, self.guessed = _all_tokens(day.calls)
        self._pools: dict[tuple[str | None, bool], _Pool] = {}
        self._own: list[dict[str, list[Try]]] = []
        self.attempts: Counter[str] = Counter()
        """How many attempts of each deployment the log tells of."""
        for index, call in enumerate(day.calls):
            self._note(index, call)
        for pool in self._pools.values():
            pool.ready()

    def _note(self, index: int, call: Recorded) -> None:
        own: dict[str, list[Try]] = {}
        for tried in call.tries:
            own.setdefault(tried.deployment, []).append(tried)
            self.attempts[tried.deployment] += 1
            if tried.outcome in OWN_FAULTS | CALLERS | LOCAL or tried.seconds is None:
                continue
            sample = _Sample(call.at or 0.0, index, tried, self._tokens[index][1])
            for name in (tried.deployment, None):
                self._pools.setdefault((name, call.stream), _Pool()).samples.append(sample)
        self._own.append(own)

    def input_tokens(self, index: int) -> int:
        """How long the prompt of a call is."""
        return self._tokens[index][0]

    def own_fault(self, index: int) -> str | None:
        """What the call brings on itself, if anything."""
        call = self._calls[index]
        outcomes = (call.outcome, *(tried.outcome for tried in call.tries))
        return next((outcome for outcome in outcomes if outcome in OWN_FAULTS), None)

    def given_up(self, index: int) -> float | None:
        """After how many seconds its caller gave the call up; None: never."""
        call = self._calls[index]
        return call.seconds if call.outcome in CALLERS else None

    def fate(self, index: int, deployment: str, number: int) -> Fate:
        """What becomes of the `number`th attempt (from 0) of a call at a deployment."""
        tries = self._own[index].get(deployment, ())
        if number < len(tries) and tries[number].outcome not in LOCAL and tries[number].seconds is not None:
            return self._as_recorded(index, tries[number])
        fault = self.own_fault(index)
        if fault is not None:
            return self._faulty(index, fault)
        return self._drawn(index, deployment, number)

    def _as_recorded(self, index: int, tried: Try) -> Fate:
        return self._of(tried, index, tried.usage, self._calls[index].finish_reason, "recorded")

    def _of(self, tried: Try, index: int, usage: Usage | None, finish: str | None, origin: str) -> Fate:
        seconds, tokens = tried.seconds or 0.0, self._tokens[index][1]
        if tried.outcome == "ok":
            finish = finish if finish in FINISH_REASONS and finish else "stop"
            return Fate(seconds, None, None, usage, tokens, tried.first_content, finish, origin=origin)
        # A stream that was charged for its failure had shown content; when, is not told.
        content = seconds / 2 if tried.billing == "billed" else None
        if tried.outcome in _UNENDED:
            return Fate(math.inf, "idle_timeout", tried.billing, first_content=content, origin=origin)
        return Fate(
            seconds, tried.outcome, tried.billing, first_content=content, retry_after=tried.retry_after, origin=origin
        )

    def _faulty(self, index: int, fault: str) -> Fate:
        call = self._calls[index]
        tried = next((each for each in call.tries if each.outcome == fault), None)
        return Fate(tried.seconds or 0.0 if tried else 0.0, fault, tried.billing if tried else "none")

    def _drawn(self, index: int, deployment: str, number: int) -> Fate:
        call = self._calls[index]
        pool, origin = self._pool(deployment, call.stream)
        if pool is None:
            return Fate(1.0, None, None, Usage(*self._tokens[index]), self._tokens[index][1] or 0, origin="pooled")
        luck = random.Random(f"{self._seed} {index} {deployment} {number}")
        near = pool.near(call.at or 0.0)
        sample = near.drawn(luck)
        if sample.tried.outcome != "ok":
            return self._of(sample.tried, index, None, None, origin)
        tried, sample = near.as_long(self._tokens[index][1], luck)
        return self._of(tried, index, self._usage(index, sample), self._calls[sample.call].finish_reason, origin)

    def _pool(self, deployment: str, stream: bool) -> tuple[_Pool | None, str]:
        """Its own attempts, of the same kind of call where there are any, else those of everybody."""
        for name, origin in ((deployment, "drawn"), (None, "pooled")):
            for kind in (stream, not stream):
                pool = self._pools.get((name, kind))
                if pool is not None:
                    return pool, origin
        return None, "pooled"

    def _usage(self, index: int, sample: _Sample) -> Usage | None:
        """The call's own tokens, told in the manner of the deployment: nothing, a total, or both halves."""
        told = sample.tried.usage
        if told is None:
            return None
        own = self._calls[index].usage
        searches, (given, made) = None if own is None else own.searches, self._tokens[index]
        if None in told.split():
            return Usage(total_tokens=given + made, searches=searches)
        return Usage(given, made, searches=searches)


# -- tokens ------------------------------------------------------------------------------------------------


def _all_tokens(calls: Iterable[Recorded]) -> tuple[list[tuple[int, int]], Mapping[str, int]]:
    """Input and output tokens of every call, and for how many they had to be guessed, and from what.

    A total is split as the other answers of the route are; a call without any count has those of the answered call of
    its route that began before it.
    """
    kept = list(calls)
    shares = _shares(kept)
    guessed: Counter[str] = Counter()
    last: dict[str, tuple[int, int]] = {}
    found: list[tuple[int, int]] = []
    for call in kept:
        tokens = _split(call, shares, guessed)
        if tokens is None:
            guessed["none"] += 1
            tokens = last.get(call.route) or next(iter(last.values()), None) or (1000, 300)
        else:
            last[call.route] = tokens
        found.append(tokens)
    return found, guessed


def _split(call: Recorded, shares: Mapping[str, float], guessed: Counter[str]) -> tuple[int, int] | None:
    usage = call.usage
    given, made = usage.split() if usage is not None else (None, None)
    if given is not None and made is not None:
        return given, made
    total = usage.total_tokens if usage is not None else None
    if total is None:
        return None
    guessed["total"] += 1
    part = round(total * shares.get(call.route, shares.get("", 0.5)))
    return part, total - part


def _shares(calls: Iterable[Recorded]) -> dict[str, float]:
    """Which part of all tokens is input, by route; under "" over all routes."""
    sums: dict[str, list[int]] = {}
    for call in calls:
        given, made = call.usage.split() if call.usage is not None else (None, None)
        if given is not None and made is not None:
            for name in (call.route, ""):
                entry = sums.setdefault(name, [0, 0])
                entry[0] += given
                entry[1] += given + made
    return {name: part / whole if whole else 0.5 for name, (part, whole) in sums.items()}
