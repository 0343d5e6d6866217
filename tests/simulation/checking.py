"""What must be true after a call, and when all calls are over."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import cnroute
from tests.simulation.expecting import Expecting
from tests.simulation.script import CLASSES, TICK, CallLog, Exchange


class Checking(Expecting):
    """Outcome, text, record, money, and what was given back."""

    def _finish(self, call: CallLog) -> None:
        self._check_time(call)
        if call.outcome == "never begun":
            self.must(not call.exchanges, "outcome", "a stream that nobody began was sent")
            self.trace.append((call.index, call.outcome))
            return
        if call.error is not None and call.error.kind.value == "closed" and not call.notices:
            self.must(self.closed, "outcome", "the router said it was closed")
            return
        self.must(len(call.finished) == 1, "one notice", f"{len(call.finished)} CallFinished")
        self._check_outcome(call)
        self._check_text(call)
        self._check_last(call)
        self._check_record(call)
        self._check_money(call)
        self._gave_up(call)
        last = call.exchanges[-1] if call.exchanges else None
        self.must(last is None or last.closed, "streams closed", "the last stream is still open")
        if not self.records:
            return
        record = (call.reply or call.error).record() if call.reply or call.error else None
        self.trace.append(
            (call.index, call.outcome, record, call.notices, call.sleeps, [_facts(each) for each in call.exchanges])
        )

    def _check_outcome(self, call: CallLog) -> None:
        told = call.finished[0].outcome if call.finished else None
        wanted = {"closed": "cancelled"}.get(call.outcome or "", call.outcome)
        self.must(
            told == wanted or (call.outcome == "closed" and told is not None), "one outcome", f"{told} was told, {wanted} seen"
        )
        kinds = [name for name, *_ in call.notices]
        self.must(kinds.count("AttemptFinished") == len(call.attempts), "notices", f"{kinds}")
        started = sum(each.number > 0 for each in call.exchanges)
        self.must(kinds.count("AttemptStarted") == started, "notices", f"{kinds} for {started} exchanges")
        self.must(kinds[-1:] == ["CallFinished"], "notices", f"{kinds}")
        decisions = [each[4] for each in call.notices if each[0] == "AttemptFinished"]
        for decision in decisions[:-1]:
            self.must(decision in ("next", "again"), "decision", f"{decision} before a further attempt")
        if decisions:
            good = {"ok": ("done",), "stream_interrupted": ("stop",)}.get(call.outcome or "", ("stop",))
            skipped = kinds[-2:-1] == ["AttemptSkipped"] or call.outcome in ("cancelled", "closed")
            self.must(decisions[-1] in good or skipped, "decision", f"{decisions[-1]} at the end of {call.outcome}")

    def _check_text(self, call: CallLog) -> None:
        got = [("text" if delta.text else "reasoning", delta.text or delta.reasoning)
               for delta in call.deltas if delta.text or delta.reasoning]
        if call.outcome == "ok":
            answer = call.exchanges[-1].fate.answer
            self.must(call.reply.text == answer.text, "text", f"{call.reply.text!r} instead of {answer.text!r}")
            self.must(call.reply.reasoning == answer.reasoning, "text", "the reasoning differs")
            self.must(call.reply.finish_reason == answer.finish, "finish_reason", f"{call.reply.finish_reason}")
            total = call.reply.usage.total_tokens if call.reply.usage else None
            self.must(total == answer.tokens or call.stream, "usage", f"{total} instead of {answer.tokens}")
            if call.stream:
                joined = "".join(text for kind, text in got if kind == "text")
                self.must(joined == answer.text, "text", f"deltas are {joined!r} instead of {answer.text!r}")
                if answer.events is not None:
                    self.must(got == self._expected(call.exchanges[-1])[3], "text", "other deltas than were sent")
        elif call.stream:
            parts = self._expected(call.exchanges[-1])[3] if call.exchanges else []
            self.must(got == parts[: len(got)], "text", f"{got} is no beginning of {parts}")
            if isinstance(call.error, cnroute.StreamInterruptedError):
                self.must(got == parts, "text", f"{got} of {parts} before the error")
                partial = "".join(text for kind, text in parts if kind == "text")
                self.must(call.error.partial_text == partial, "partial", f"{call.error.partial_text!r} instead of {partial!r}")
                same = len(call.error.deltas) == len(call.deltas)
                self.must(same and all(map(lambda a, b: a is b, call.error.deltas, call.deltas)), "partial", "other deltas")

    def _check_last(self, call: CallLog) -> None:
        """S15 and contract 3: the error is that of the last attempt."""
        error = call.error
        if error is None:
            return
        self.must(type(error).__name__ == CLASSES[error.kind.value], "class", f"{type(error).__name__} for {error.kind.value}")
        self.must(
            error.attempts == tuple(call.attempts) and error.call_id == f"call-{call.index}", "record", "attempts or id differ"
        )
        if not call.attempts:
            known = {"unsupported": "unsupported", "full": "local_overload", "budget_exceeded": "budget_exceeded"}
            reasons = set(call.reasons.values())
            one = known.get(next(iter(reasons))) if len(reasons) == 1 else None
            good = {one} if one else {"no_candidate", "deadline_exceeded", "cancelled", "closed"}
            self.must(
                error.kind.value in good | {"cancelled", "deadline_exceeded"}, "class", f"{error.kind.value} for {call.reasons}"
            )
            if isinstance(error, cnroute.NoCandidateError) and reasons & {"cooling_down", "breaker_open"}:
                self.must(error.retry_at is not None, "retry_at", f"none for {call.reasons}")
            return
        last = call.attempts[-1].failure
        self.must(last is not None, "class", "an error after a good attempt")
        kind = last.kind.value if last else ""
        if isinstance(error, cnroute.StreamInterruptedError):
            self.must(error.cause_kind == kind and error.billing == "billed", "class", f"cause {error.cause_kind}, not {kind}")
        elif error.kind.value != "cancelled":
            self.must(error.kind.value == kind, "class", f"{error.kind.value} although the last attempt failed by {kind}")
            self.must(error.retry_after == (last.retry_after if last else None), "retry_after", f"{error.retry_after}")

    def _check_record(self, call: CallLog) -> None:
        plan = call.finished[0].plan if call.finished else None
        if plan is None:
            return
        names = [each.deployment for each in (*plan.candidates, *plan.excluded)]
        self.must(sorted(names) == sorted(self.dialects), "plan", f"{names}")
        skipped = [each.deployment for each in plan.skipped]
        self.must(len(set(skipped)) == len(skipped), "plan", f"skipped {skipped}")

    def _check_money(self, call: CallLog) -> None:
        attempts = call.attempts
        self.must(
            sum(each.billing != "none" for each in attempts) <= self.retries.max_paid_attempts, "max_paid_attempts", "passed"
        )
        bill = call.finished[0].bill if call.finished else None
        if bill is None:
            return
        for part, name in ((bill.confirmed, "billed"), (bill.possible, "unknown")):
            costs = [each.cost for each in attempts if each.billing == name]
            if None not in costs and not isinstance(part, tuple):
                total = sum((cost.high for cost in costs), Decimal(0))
                self.must((part.high if part else Decimal(0)) == total, "bill", f"{name}: {part} instead of {total}")
        if call.max_cost is not None:
            spent = sum((each.cost.high for each in attempts if each.billing != "none" and each.cost), Decimal(0))
            self.must(spent <= call.max_cost, "max_cost", f"{spent} of {call.max_cost}")

    def _gave_up(self, call: CallLog) -> None:
        """A call does not end while somebody could still be asked."""
        if call.error is None or not call.attempts or isinstance(call.error, cnroute.StreamInterruptedError):
            return
        left = call.ends - self.clock.monotonic()
        room = len(call.attempts) < self.retries.max_attempts and call.paid() < self.retries.max_paid_attempts
        if call.error.kind.value in self._stops() or not room or left < call.least + TICK:
            return
        if any(each.failure.kind.value in ("context_length", "request_too_large") for each in call.attempts):
            return
        untried = [name for name in self.dialects if name not in call.seen]
        self.must(not untried, "gave up", f"{call.error.kind.value} although {untried} were not asked")

    def _at_rest(self) -> None:
        self.current = None
        for name, place in self.router._engine.binding.places.items():
            report = place.health.report()
            self.must(report["in_flight"] == 0, "leases", f"{report['in_flight']} in flight at {name}")
            self.must(place.health._probe is None and not self.models[name].probe_out, "leases", f"the probe of {name} is out")
        still = [each for call in self.calls for each in call.exchanges if not each.closed]
        self.must(not still, "streams closed", f"{len(still)} streams are open")
        self.must(not self.router._engine._running, "leases", "a call is still noted as running")


def _facts(exchange: Exchange) -> tuple[Any, ...]:
    return (exchange.deployment, exchange.started, exchange.cut_at, exchange.raised, exchange.raised_at, exchange.given,
            exchange.sent, exchange.probe)
