"""Prometheus metrics of cnroute's calls.

Rules of this file
- Labels are bounded: settings and failure kinds, never an id or a message. A name that callers can choose freely
  (`provider/model` of an account) becomes `other` once `max_names` names of its label have been seen.
- Whoever is told of a call while somebody else is counting hands the notice over and goes on. A call can end inside a
  garbage collection, in the middle of a metric's own lock; waiting for it there would never end.
- What is not known is not counted: no usage means no tokens, no price means no cost.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

import cnroute

__all__ = ["Metrics"]
__version__ = "0.1.0"

OTHER = "other"
DURATION = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
FIRST = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0)

_WHERE = ("deployment", "provider", "model")
_TOKENS = ("input", "output", "cached", "reasoning")
_Names = tuple[str, ...]


class Metrics:
    """An observer that keeps metrics in `registry` (the default one unless given).

    One for a registry: a second one raises prometheus_client's ValueError. Routers may share it. `prefix` begins every
    name; `max_names` bounds the values of each label that holds a name.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, prefix: str = "cnroute", max_names: int = 500) -> None:
        self._waiting: deque[Any] = deque()
        self._counting = threading.Lock()
        self._running: dict[str, list[str]] = {}
        self._children: dict[tuple[int, _Names], Any] = {}
        self._seen: dict[str, set[str]] = {}
        self._max_names = max_names
        self._tell: dict[type, Callable[[Any], None]] = {
            cnroute.CallStarted: self._call_started, cnroute.CallFinished: self._call_finished,
            cnroute.AttemptFinished: self._attempt_finished, cnroute.AttemptSkipped: self._skipped,
        }
        self._make(registry, prefix)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_forked, weakref.ref(self)))

    def _make(self, registry: CollectorRegistry, prefix: str) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{prefix}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{prefix}_{name}", text, labels, registry=registry, buckets=buckets)

        self._in_flight = Gauge(
            f"{prefix}_calls_in_flight", "Calls that have begun and not ended", ("route",), registry=registry,
            multiprocess_mode="livesum",
        )
        self._calls = counter("calls", "Calls that have ended, by outcome: ok or a failure kind", "route", "outcome")
        self._call_seconds = histogram("call_duration_seconds", "Time of a whole call, all attempts", DURATION, "route")
        self._attempts = counter("attempts", "Attempts that have ended, by outcome", "route", *_WHERE, "outcome")
        self._failures = counter("failures", "Attempts that have failed, by failure kind", "route", *_WHERE, "kind")
        self._fallbacks = counter("fallbacks", "Failures after which another deployment was tried", "route", *_WHERE, "kind")
        self._skipped_total = counter(
            "skipped", "Deployments passed over before anything was sent", "route", "deployment", "provider", "reason"
        )
        self._attempt_seconds = histogram("attempt_duration_seconds", "Time of one attempt", DURATION, *_WHERE)
        self._first = histogram("time_to_first_token_seconds", "From an attempt's start to its first content", FIRST, *_WHERE)
        self._tokens = counter("tokens", "Tokens that vendors have reported", *_WHERE, "type")
        self._cost_low = counter("cost_low", "What was paid at least, in units of the currency", *_WHERE, "currency")
        self._cost_high = counter("cost_high", "What may have been paid, in units of the currency", *_WHERE, "currency")

    def after_fork(self) -> None:
        """In a forked child: a lock that nobody holds, and none of the parent's calls."""
        self._counting = threading.Lock()
        self._waiting = deque()
        self._running = {}

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        """Count a notice; see the rules of this file for who does it."""
        self._waiting.append(notice)
        while self._waiting and self._counting.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._counting.release()

    def _count(self) -> None:
        while self._waiting:
            notice = self._waiting.popleft()
            tell = self._tell.get(type(notice))
            if tell is not None:
                tell(notice)

    # -- notices -----------------------------------------------------------------------------------------

    def _call_started(self, notice: cnroute.CallStarted) -> None:
        route = self._name("route", notice.route)
        self._running.setdefault(notice.call_id, []).append(route)
        self._of(self._in_flight, route).inc()

    def _call_finished(self, notice: cnroute.CallFinished) -> None:
        route = self._name("route", notice.route)
        self._no_longer_running(notice.call_id)
        self._of(self._calls, route, notice.outcome).inc()
        self._of(self._call_seconds, route).observe(notice.seconds)

    def _no_longer_running(self, call_id: str) -> None:
        """A call that was cancelled before it began has never been counted; ids that callers set may repeat."""
        routes = self._running.pop(call_id, [])
        if routes:
            self._of(self._in_flight, routes.pop()).dec()
        if routes:
            self._running[call_id] = routes

    def _attempt_finished(self, notice: cnroute.AttemptFinished) -> None:
        attempt, route = notice.attempt, self._name("route", notice.route)
        where = self._where(attempt.deployment, attempt.provider, notice.model)
        kind = "ok" if attempt.failure is None else attempt.failure.kind.value
        self._of(self._attempts, route, *where, kind).inc()
        self._of(self._attempt_seconds, *where).observe(attempt.seconds)
        if attempt.failure is not None:
            self._of(self._failures, route, *where, kind).inc()
            if notice.decision == "next":
                self._of(self._fallbacks, route, *where, kind).inc()
        if notice.first_content is not None:
            self._of(self._first, *where).observe(notice.first_content)
        self._paid(attempt, where)

    def _paid(self, attempt: cnroute.Attempt, where: _Names) -> None:
        for kind in _TOKENS:
            count = getattr(attempt.usage, f"{kind}_tokens", None)
            if count:
                self._of(self._tokens, *where, kind).inc(count)
        if attempt.cost is not None:
            low = attempt.cost.low if attempt.billing == "billed" else 0
            self._of(self._cost_low, *where, attempt.cost.currency).inc(float(low))
            self._of(self._cost_high, *where, attempt.cost.currency).inc(float(attempt.cost.high))

    def _skipped(self, notice: cnroute.AttemptSkipped) -> None:
        deployment, provider = self._name("deployment", notice.deployment), self._name("provider", notice.provider)
        self._of(self._skipped_total, self._name("route", notice.route), deployment, provider, notice.reason).inc()

    # -- labels ------------------------------------------------------------------------------------------

    def _where(self, deployment: str, provider: str, model: str) -> _Names:
        return self._name("deployment", deployment), self._name("provider", provider), self._name("model", model)

    def _name(self, label: str, value: str) -> str:
        """`value`, or `other` when this label has too many values already."""
        seen = self._seen.setdefault(label, set())
        if value not in seen:
            if len(seen) >= self._max_names:
                return OTHER
            seen.add(value)
        return value

    def _of(self, metric: Any, *labels: str) -> Any:
        """The child of `metric`; kept, since `labels` takes the metric's own lock."""
        key = (id(metric), labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def _forked(metrics: weakref.ref[Metrics]) -> None:
    alive = metrics()
    if alive is not None:
        alive.after_fork()
