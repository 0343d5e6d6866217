"""What a script expects of an attempt, and what observers are told of it."""

from __future__ import annotations

import math
import traceback
from typing import Any

from cnroute.notices import AttemptFinished, AttemptSkipped, AttemptStarted, CallFinished
from cnroute.wire import by_status
from tests.simulation.model import COUNTS, THROTTLED
from tests.simulation.script import HANGS, NEAR, NONE, TICK, CallLog, Exchange
from tests.simulation.stage import Stage
from tests.simulation.vendors import Answer


class Expecting(Stage):
    """Each notice is held against the script."""

    # -- what the script expects of an attempt -----------------------------------------------------------------------

    def _expected(self, exchange: Exchange) -> tuple[str | None, bool, bool, list[Any]]:
        """Kind (None: good), committed, tokens seen, the parts that were let through. `left`: the consumer has gone."""
        parts: list[Any] = []
        if not exchange.opened or exchange.fate.answer.events is None:
            kind, answer = self._expected_whole(exchange), exchange.fate.answer
            return kind, False, False, [("text", answer.text)] if kind is None and answer.kind is None else parts
        tokens = finished = False
        error: str | None = None
        done, at = False, 0
        for event in exchange.fate.answer.events:
            fires = at + event.at
            whole = exchange.given >= fires or (exchange.ended and at + event.whole <= exchange.given)
            at += len(event.data)
            if not whole or error is not None or done:
                break
            for what, value in event.does:
                if what in ("text", "reasoning"):
                    parts.append((what, value))
                tokens = tokens or what == "usage"
                finished, done = finished or what == "finish", done or what == "done"
                if what == "error" and not (finished and value == "bad_response"):
                    error = value
        committed = bool(parts)
        if error is not None:
            return error.partition(":")[0], committed, tokens, parts
        if exchange.raised in ("cancelled", "closed"):
            return exchange.raised, committed, tokens, parts
        if finished:
            return None, committed, tokens, parts
        if exchange.raised is not None:
            return self._relabelled(exchange, committed), committed, tokens, parts
        return ("bad_response" if exchange.ended else "cancelled"), committed, tokens, parts

    def _expected_whole(self, exchange: Exchange) -> str | None:
        if exchange.raised is not None:
            kind = self._relabelled(exchange, False)
            return self._said_by_status(exchange) if self._refused(exchange, kind) else kind
        return exchange.fate.answer.kind if exchange.ended else "cancelled"

    def _refused(self, exchange: Exchange, kind: str) -> bool:
        """wire.md 0.3: the status of a stream has said it all, whatever becomes of its body."""
        status = exchange.fate.answer.status
        return exchange.opened and not 200 <= status < 300 and kind not in ("cancelled", "closed", "deadline_exceeded")

    def _said_by_status(self, exchange: Exchange) -> str | None:
        answer = exchange.fate.answer
        return answer.kind if exchange.given >= len(answer.body) else by_status(answer.status)

    def _relabelled(self, exchange: Exchange, committed: bool) -> str:
        """S1: whose limit was it?"""
        kind, at = exchange.raised or "", exchange.raised_at
        if kind not in HANGS:
            return kind
        if at >= exchange.call.ends - TICK:
            return "deadline_exceeded"
        # The first content is the step that an open stream without content is in, also where the share ends it.
        token_ends = min(exchange.cut_at, (exchange.written or math.inf) + exchange.limits.first_token)
        if exchange.opened and not committed and at >= token_ends - TICK:
            return "first_token_timeout"
        return kind

    def _either(self, exchange: Exchange) -> bool:
        """Two limits ran out within a hair of each other: either may be named."""
        limits = (exchange.call.ends, exchange.cut_at, (exchange.written or math.inf) + exchange.limits.first_token)
        return exchange.raised in HANGS and any(TICK / 10 < limit - exchange.raised_at < NEAR for limit in limits)

    def _billing(self, exchange: Exchange, kind: str | None, committed: bool, tokens: bool) -> str:
        """S3, its table and its words."""
        if kind is None or committed or tokens:
            return "billed"
        if kind in ("cancelled", "closed", "deadline_exceeded"):
            return "unknown" if exchange.sent != "no" else "none"
        if kind == "content_filter":
            return self._filtered(exchange)
        return "none" if kind in NONE else "unknown"

    def _filtered(self, exchange: Exchange) -> str:
        for event in exchange.fate.answer.events or ():
            for what, value in event.does:
                if what == "error":
                    return value.partition(":")[2]
        return exchange.fate.answer.billing

    def _counted(self, exchange: Exchange, kind: str | None, committed: bool) -> bool | None:
        """Whether the breaker may learn of it; None: too close to tell."""
        if exchange.raised is not None and kind is not None and self._refused(exchange, kind):
            return True  # the vendor's own status, not a limit
        if exchange.raised not in HANGS or kind not in COUNTS:
            return kind != "deadline_exceeded"
        cut = exchange.call.ends if committed else exchange.cut_at
        if abs(cut - exchange.raised_at) < NEAR and exchange.own_limit:
            return None
        return exchange.raised_at < cut - TICK

    # -- what observers are told -------------------------------------------------------------------------------------

    def _heard(self, notice: Any) -> None:
        try:
            call = self.calls[int(notice.call_id.removeprefix("call-"))]
            call.notices.append((type(notice).__name__, round(self.clock.monotonic(), 9), getattr(notice, "deployment", None),
                                 getattr(notice, "reason", None), getattr(notice, "decision", None)))
            if isinstance(notice, AttemptSkipped):
                call.seen.append(notice.deployment)
                call.reasons[notice.deployment] = notice.reason
                self._check_skip(call, notice)
            elif isinstance(notice, AttemptStarted):
                self.must(
                    notice.number == len(call.attempts) + 1, "numbers", f"attempt {notice.number} after {len(call.attempts)}"
                )
            elif isinstance(notice, AttemptFinished):
                self._attempt(call, notice.attempt)
            elif isinstance(notice, CallFinished):
                call.finished.append(notice)
        except Exception:  # noqa: BLE001 (the router would swallow it)
            self.broken.append("[the world itself] " + traceback.format_exc())

    def _check_skip(self, call: CallLog, notice: AttemptSkipped) -> None:
        if notice.reason in ("cooling_down", "breaker_open", "probe_out", "full"):
            verdict = self.models[notice.deployment].verdict(self.clock.monotonic())
            self.must(
                verdict == notice.reason, "left alone", f"{notice.deployment} skipped as {notice.reason}, but it is {verdict}"
            )
        self.counts[notice.reason] = self.counts.get(notice.reason, 0) + 1

    def _attempt(self, call: CallLog, attempt: Any) -> None:
        call.attempts.append(attempt)
        kind = attempt.failure.kind.value if attempt.failure else None
        self.counts[kind or "ok"] = self.counts.get(kind or "ok", 0) + 1
        done = [exchange.number for exchange in call.exchanges]
        if attempt.number not in done:
            self.must(kind == "plugin_error" and call.fussy, "attempts", f"{kind} without an exchange")
            self.must(attempt.billing == "none", "billing", "nothing was built, yet it was billed")
            call.seen.append(attempt.deployment)
            return
        exchange = call.exchanges[-1]
        exchange.over_at = self.clock.monotonic()
        wanted, committed, tokens, _ = self._expected(exchange)
        if wanted is None and kind == "cancelled" and call.stream:  # the consumer left after the end mark, before the end
            wanted = "cancelled"
        if self._either(exchange):
            wanted = kind
        self.must(
            attempt.deployment == exchange.deployment and attempt.number == exchange.number, "attempts", "another deployment"
        )
        if exchange.opened and exchange.fate.answer.events is not None and not committed:
            late = exchange.over_at - (exchange.written or 0.0) - exchange.limits.first_token
            self.must(late <= TICK, "first token", f"{exchange.deployment}: {late:.3f} s after the limit for the first content")
        self.must(kind == wanted, "kind", f"{exchange.deployment}: {kind} instead of {wanted}")
        bill = self._billing(exchange, wanted, committed, tokens)
        if kind == "cancelled" and bill == "none" and attempt.failure.message == "the consumer left":
            bill = "unknown"  # a consumer that leaves while the connection is made: nobody can tell
        self.must(attempt.billing == bill, "billing", f"{exchange.deployment}: {kind} is {attempt.billing} instead of {bill}")
        told = self._told(exchange.fate.answer) if kind in THROTTLED and wanted == kind else None
        if attempt.failure is not None and kind in THROTTLED:
            self.must(
                attempt.failure.retry_after == _about(told), "retry_after", f"{attempt.failure.retry_after} instead of {told}"
            )
        self._learn(exchange, kind, committed, told)

    def _told(self, answer: Answer) -> float | None:
        left = None if answer.until is None else answer.until - self.clock.time()
        return left if left is not None and left > 0 else answer.retry_after

    def _learn(self, exchange: Exchange, kind: str | None, committed: bool, told: float | None) -> None:
        name, now = exchange.deployment, self.clock.monotonic()
        model, health = self.models[name], self.router._engine.binding.places[name].health
        counted = self._counted(exchange, kind, committed)
        was = (model.open, model.open_for, model.reopens)
        if counted is None:
            counted = health._failures > model.in_a_row
        model.ended(now, exchange.probe, kind, counted, told, exchange.grown)
        if self.breaker is None:
            return
        self.must(health._open == model.open, "breaker", f"{name} is {'open' if health._open else 'closed'} after {kind}")
        if model.open and (model.open, model.open_for, model.reopens) != was:
            self.must(model.pin(health._open_until), "breaker", f"{name} reopens at {health._open_until - now:.3f}")
            self.counts["opened"] = self.counts.get("opened", 0) + 1
        self.must(abs(health._cool_until - model.cool_until) < TICK, "cool-down",
                  f"{name} until {health._cool_until} instead of {model.cool_until} after {kind}, {told}")
        model.open, model.cool_until = health._open, health._cool_until


def _about(told: float | None) -> Any:
    import pytest

    return told if told is None else pytest.approx(told, abs=1e-6)
