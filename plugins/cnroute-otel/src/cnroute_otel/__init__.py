"""OpenTelemetry spans and metrics of cnroute's calls.

Rules of this file
- A span begins in the thread or task of the caller, so that it is a child of what is current there. One INTERNAL span for
  a call, one CLIENT child for each attempt; they are never made current, since a stream's consumer may be anywhere.
- Everything that ends or records is handed over: whoever comes while somebody else is at it leaves it to them. A call can
  end inside a garbage collection, in the middle of the SDK's own locks.
- No content, no key; messages only where both the router (`log_content`) and `content=True` allow it.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import attrs
from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

import cnroute
from cnroute_otel import names

__all__ = ["Telemetry"]
__version__ = "0.1.0"

_CHAT = "chat"
_BILLION = 1_000_000_000
Attributes = dict[str, Any]


@attrs.define(eq=False)
class _Running:
    """A call that has begun: its span, the span of the attempt that runs, and why the attempt before ended."""

    span: Span
    attempt: Span | None = None
    shared: Attributes = attrs.field(factory=dict)
    fallback: str | None = None


class Telemetry:
    """An observer that makes spans and metrics.

    `tracer_provider`, `meter_provider`: the global ones unless given. `content`: put messages and answers on the call's
    span, where the router has `log_content=True` too. Routers may share one.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None, *, content: bool = False) -> None:
        self._tracer = trace.get_tracer("cnroute", __version__, tracer_provider)
        meter = metrics.get_meter("cnroute", __version__, meter_provider)
        self._duration = _histogram(meter, names.DURATION_METRIC, "s", "Time of one attempt", names.SECONDS)
        self._first = _histogram(meter, names.FIRST_CHUNK_METRIC, "s", "To an attempt's first content", names.SECONDS)
        self._tokens = _histogram(meter, names.TOKENS_METRIC, "{token}", "Tokens that the vendor has reported", names.TOKENS)
        self._content = content
        self._running: dict[str, list[_Running]] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = threading.Lock()
        self._tell: dict[type, Callable[[Any], None]] = {
            cnroute.CallStarted: self._call_started, cnroute.CallFinished: self._call_finished,
            cnroute.AttemptStarted: self._attempt_started, cnroute.AttemptFinished: self._attempt_finished,
            cnroute.AttemptSkipped: self._skipped,
        }
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_forked, weakref.ref(self)))

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        """Turn a notice into spans and metrics."""
        tell = self._tell.get(type(notice))
        if tell is not None:
            tell(notice)

    def after_fork(self) -> None:
        """In a forked child: a lock that nobody holds, and none of the parent's calls."""
        self._busy = threading.Lock()
        self._waiting = deque()
        self._running = {}

    def _later(self, work: Callable[[], None]) -> None:
        """Do `work` now, or leave it to whoever is at it; see the rules of this file."""
        self._waiting.append(work)
        while self._waiting and self._busy.acquire(blocking=False):
            try:
                while self._waiting:
                    self._waiting.popleft()()
            finally:
                self._busy.release()

    # -- calls -------------------------------------------------------------------------------------------

    def _call_started(self, notice: cnroute.CallStarted) -> None:
        attributes: Attributes = {
            names.CALL_ID: notice.call_id, names.ROUTE: notice.route, names.REQUEST_STREAM: notice.stream,
        }
        if self._content and notice.messages is not None:
            attributes |= _asked(notice.messages)
        span = self._tracer.start_span(f"{_CHAT} {notice.route}", kind=SpanKind.INTERNAL, attributes=attributes)
        self._running.setdefault(notice.call_id, []).append(_Running(span))

    def _call_finished(self, notice: cnroute.CallFinished) -> None:
        running = self._pop(notice.call_id)
        end = time.time_ns()
        if running is None:  # cancelled before it began
            span = self._tracer.start_span(
                f"{_CHAT} {notice.route}", start_time=end - int(notice.seconds * _BILLION),
                attributes={names.CALL_ID: notice.call_id, names.ROUTE: notice.route, names.REQUEST_STREAM: notice.stream},
            )
            running = _Running(span)
        attributes: Attributes = {names.ATTEMPTS: len(notice.attempts), **_cost(notice.cost)}
        if notice.finish_reason is not None:
            attributes[names.FINISH_REASONS] = (notice.finish_reason,)
        if self._content and notice.text is not None:
            attributes[names.OUTPUT_MESSAGES] = _answered(notice.text, notice.finish_reason)
        self._later(functools.partial(_end, running.span, attributes, _kind(notice.outcome), end))

    def _pop(self, call_id: str) -> _Running | None:
        """Ids that callers set may repeat: the call that began last ends first."""
        calls = self._running.pop(call_id, [])
        found = calls.pop() if calls else None
        if calls:
            self._running[call_id] = calls
        return found

    def _last(self, call_id: str) -> _Running | None:
        calls = self._running.get(call_id)
        return calls[-1] if calls else None

    def _skipped(self, notice: cnroute.AttemptSkipped) -> None:
        running = self._last(notice.call_id)
        if running is not None:
            running.fallback = notice.reason
            running.span.add_event(names.SKIPPED, {names.DEPLOYMENT: notice.deployment, names.REASON: notice.reason})

    # -- attempts ----------------------------------------------------------------------------------------

    def _attempt_started(self, notice: cnroute.AttemptStarted) -> None:
        running = self._last(notice.call_id)
        if running is not None:
            running.shared = {
                names.OPERATION: _CHAT, names.PROVIDER: names.VENDORS.get(notice.provider, notice.provider),
                names.REQUEST_MODEL: notice.model, **_server(notice.base_url),
            }
            own = {names.ROUTE: notice.route, names.DEPLOYMENT: notice.deployment, names.ATTEMPT: notice.number,
                   names.REQUEST_STREAM: notice.stream}
            asked = {names.REQUEST[name]: value for name, value in notice.parameters.items() if name in names.REQUEST}
            running.attempt = self._begin(running, notice.model, running.shared | own | asked)

    def _begin(self, running: _Running, model: str, attributes: Attributes, start: int | None = None) -> Span:
        if running.fallback is not None:
            attributes[names.FALLBACK] = running.fallback
        return self._tracer.start_span(
            f"{_CHAT} {model}", trace.set_span_in_context(running.span), SpanKind.CLIENT, attributes, start_time=start
        )

    def _attempt_finished(self, notice: cnroute.AttemptFinished) -> None:
        running, end = self._last(notice.call_id), time.time_ns()
        if running is None:
            return
        attempt = notice.attempt
        if running.attempt is None:  # a plugin broke before anything was asked
            running.shared = {
                names.OPERATION: _CHAT, names.PROVIDER: names.VENDORS.get(attempt.provider, attempt.provider),
                names.REQUEST_MODEL: notice.model,
            }
            own = {names.ROUTE: notice.route, names.DEPLOYMENT: attempt.deployment, names.ATTEMPT: attempt.number}
            start = end - int(attempt.seconds * _BILLION)
            running.attempt = self._begin(running, notice.model, running.shared | own, start)
        span, running.attempt = running.attempt, None
        kind = None if attempt.failure is None else attempt.failure.kind.value
        running.fallback = kind
        self._later(functools.partial(_end, span, dict(_told(notice)), kind, end))
        self._later(functools.partial(self._record, notice, running.shared, kind))

    def _record(self, notice: cnroute.AttemptFinished, shared: Attributes, kind: str | None) -> None:
        attempt = notice.attempt
        labels = dict(shared)
        if notice.response_model is not None:
            labels[names.RESPONSE_MODEL] = notice.response_model
        for type_ in ("input", "output"):
            count = getattr(attempt.usage, f"{type_}_tokens", None)
            if count is not None:
                self._tokens.record(count, {**labels, names.TOKEN_TYPE: type_})
        if notice.first_content is not None:
            self._first.record(notice.first_content, labels)
        self._duration.record(attempt.seconds, labels if kind is None else {**labels, names.ERROR: kind})


def _forked(telemetry: weakref.ref[Telemetry]) -> None:
    alive = telemetry()
    if alive is not None:
        alive.after_fork()


def _histogram(meter: Any, name: str, unit: str, text: str, boundaries: list[float]) -> Any:
    return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=boundaries)


def _kind(outcome: str) -> str | None:
    return None if outcome == "ok" else outcome


def _end(span: Span, attributes: Attributes, kind: str | None, end: int) -> None:
    """A consumer who leaves is no error; everything else that is not `ok` is one."""
    span.set_attributes(attributes)
    if kind is not None:
        span.set_attribute(names.ERROR, kind)
        if kind != cnroute.FailureKind.CANCELLED:
            span.set_status(Status(StatusCode.ERROR, kind))
    span.end(end)


def _told(notice: cnroute.AttemptFinished) -> Iterator[tuple[str, Any]]:
    """What an attempt's span learns at its end; what is not known is left out."""
    attempt = notice.attempt
    facts = {
        names.RESPONSE_ID: notice.response_id, names.RESPONSE_MODEL: notice.response_model,
        names.FINISH_REASONS: (notice.finish_reason,) if notice.finish_reason else None,
        names.FIRST_CHUNK: notice.first_content, "http.response.status_code": attempt.http_status,
    }
    yield from ((name, value) for name, value in facts.items() if value is not None)
    for field, name in names.USAGE.items():
        count = getattr(attempt.usage, field, None)
        if count is not None:
            yield name, count
    yield from _cost(attempt.cost).items()


def _cost(cost: Any) -> Attributes:
    """An exact cost is an amount, any other a range; an unknown one is nothing."""
    if cost is None:
        return {}
    if cost.amount is not None:
        return {names.COST: float(cost.amount), names.CURRENCY: cost.currency}
    return {names.COST_LOW: float(cost.low), names.COST_HIGH: float(cost.high), names.CURRENCY: cost.currency}


@functools.lru_cache(1000)
def _server(base_url: str) -> Attributes:
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    return {names.ADDRESS: parts.hostname, names.PORT: parts.port or (80 if parts.scheme == "http" else 443)}


def _asked(messages: Any) -> Attributes:
    system = [{"type": "text", "content": each.text} for each in messages if each.role == "system"]
    others = [_message(each.role, each.text) for each in messages if each.role != "system"]
    found = {names.INPUT_MESSAGES: _json(others)}
    return found | {names.SYSTEM: _json(system)} if system else found


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _answered(text: str, finish: str | None) -> str:
    return _json([{**_message("assistant", text), "finish_reason": finish}])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
