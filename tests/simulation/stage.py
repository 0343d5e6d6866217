"""Where a script is played: its settings, what its vendors do step by step, and what is drawn from the seed for each exchange."""

from __future__ import annotations

import email.utils
import functools
import math
import random
from typing import Any

import attrs

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure
from cnroute.http import Headers
from tests.flow import toy
from tests.simulation import vendors
from tests.simulation.model import Model
from tests.simulation.script import AGAIN, BODY, LEAST, MARK, NEAR, STEPS, STOPS, TICK, CallLog, Exchange, Fate
from tests.simulation.scripted import ScriptedTransport, VirtualClock
from tests.simulation.vendors import Answer

FAULTS = ("wire", "wire", "vendor", "vendor", "wrong", "stream", "stream", "hook", "hang")


class Stage:
    """A router, its vendors, and the list of what went wrong."""

    def __init__(self, seed: int, records: bool = False) -> None:
        self.seed = seed
        self.records = records
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.clock.world = self
        self.transport = ScriptedTransport(self)
        self.broken: list[str] = []
        self.trace: list[Any] = []
        self.calls: list[CallLog] = []
        self.current: CallLog | None = None
        self.closed = False
        self.weather: dict[str, tuple[float, str | None]] = {}
        self.counts: dict[str, int] = {}
        self._settle()

    def must(self, good: bool, name: str, text: str) -> None:
        """Note that the property `name` does not hold."""
        if not good:
            where = f"call {self.current.index}" if self.current else "the end"
            self.broken.append(f"[{name}] {where}: {text}")

    # -- the settings of a script ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        rng = self.rng
        kinds = [rng.choice(("yi", "qwen", "v2", "pro", "toy")) for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
        self.dialects = {f"{kind}{number}": kind for number, kind in enumerate(kinds)}
        names = list(self.dialects)
        self.retries = cnroute.Retries(
            max_attempts=rng.randint(1, 4), max_paid_attempts=rng.randint(1, 3), max_wait=rng.choice((30.0, 30.0, 2.0))
        )
        self.breaker = rng.choice((None, *[cnroute.Breaker(
            failures=rng.randint(1, 5), min_calls=rng.randint(2, 10), ratio=rng.choice((0.3, 0.5, 0.9)),
            open_for=rng.choice((0.3, 5.0, 20.0)), max_open=rng.choice((20.0, 120.0)), jitter=rng.choice((0.05, 0.2)),
        )] * 5))
        self.timeouts = cnroute.Timeouts(
            total=rng.choice((0.3, 1.0, 3.0, 20.0, 60.0)), attempt=rng.choice((None,) * 6 + (0.4, 3.0)),
            connect=rng.choice((0.3, 2.0, 5.0)), first_byte=rng.choice((None, 0.3, 1.0, 5.0)),
            first_token=rng.choice((0.5, 2.0, 60.0)), idle=rng.choice((0.4, 1.0, 60.0)), write=rng.choice((0.3, 30.0)),
            pool=rng.choice((0.3, 5.0)),
        )
        self.places = rng.choice((1, 2, 32))
        self.lists = frozenset(kind for kind in ("content_filter",) if rng.random() < 0.3)
        self.routes = self._routes(names)
        self.models = {name: Model(self.breaker, self.places) for name in names}
        self.router = cnroute.Router(
            [self._deployment(name) for name in names], self.routes, timeouts=self.timeouts, retries=self.retries,
            breaker=self.breaker, limits=cnroute.Limits(max_in_flight=self.places, max_queue=0), transport=self.transport,
            plugins=_host(), clock=self.clock, random=random.Random(self.seed + 1),
        )
        engine = self.router._engine
        engine.observers.append(("world", self._heard))
        engine.log = _no_log  # thousands of error-level lines are no use here

    def _deployment(self, name: str) -> cnroute.Deployment:
        dialect = self.dialects[name]
        provider, model, options = {
            "yi": ("dashscope", "yi-large", {}), "qwen": ("dashscope", "qwen-plus", {}),
            "v2": ("minimax-v2", "MiniMax-Text-01", {}),
            "pro": ("minimax-pro", "abab6.5s-chat", {"group_id": "17"}), "toy": ("toy", "toy-1", {}),
        }[dialect]
        price = self.rng.choice((None, "1", "1", "20"))
        return cnroute.Deployment(
            name, provider, model, api_key="key-0000001", options=options,
            price=None if price is None else cnroute.Price("CNY", input=price, output=price, as_of="2026-01-01"),
        )

    def _routes(self, names: list[str]) -> dict[str, cnroute.Route]:
        rng = self.rng
        policy = rng.choice(("ordered", "ordered", "weighted", "cheapest", "fastest", "nested"))
        more = {"fallback_on": self.lists}
        if policy == "weighted":
            weights = {name: rng.choice((0, 1, 3)) for name in names}
            weights[names[0]] = 1
            return {"chat": cnroute.Route(targets=weights, policy="weighted", **more)}
        if policy == "nested":
            inner = cnroute.Route(targets=names[1:] or names, policy=rng.choice(("cheapest", "ordered", "fastest")))
            return {"chat": cnroute.Route(targets=[inner, names[0]] if rng.random() < 0.5 else [names[0], inner], **more)}
        return {"chat": cnroute.Route(targets=names, policy=policy, **more)}

    # -- what the vendors do -----------------------------------------------------------------------------------------

    def begin(self, name: str, request: Any, deadline: Any, stream: bool) -> Exchange:
        """A request leaves for `name`: the rules of who may be asked, and when, are looked at here."""
        found = MARK.search(request.body)
        call = self.calls[int(found[1])] if found else self.current
        assert call is not None
        now = self.clock.monotonic()
        model = self.models[name]
        others = len([target for target in call.targets if target not in call.seen and target != name])
        self._may_start(call, name, model, now)
        probe = model.took()
        exchange = Exchange(
            call, name, Fate([]), stream, now, deadline.at, deadline.limits, probe, others, number=len(call.attempts) + 1,
            grown=model.growth,
        )
        exchange.fate = self._fate(exchange)
        call.exchanges.append(exchange)
        call.seen.append(name)
        self._check_share(exchange)
        return exchange

    def _may_start(self, call: CallLog, name: str, model: Model, now: float) -> None:
        left = call.ends - now
        self.must(left >= call.least - TICK, "too late", f"an attempt at {name} began with {left:.3f} s of {call.total} s left")
        self.must(len(call.attempts) < self.retries.max_attempts, "max_attempts", f"attempt {len(call.attempts) + 1}")
        self.must(call.paid() < self.retries.max_paid_attempts, "max_paid_attempts", f"{call.paid()} may have been paid before")
        before = [exchange.deployment for exchange in call.exchanges]
        self.must(before.count(name) < 2, "same deployment", f"{name} is asked for the third time")
        untried = [target for target in call.targets if target not in call.seen]
        if name in before:
            failure = [each.failure for each in call.attempts if each.deployment == name][-1]
            kind, over = failure.kind.value, [each.over_at for each in call.exchanges if each.deployment == name][-1]
            told = failure.retry_after or 0.0
            if told and self.breaker is None:
                self.counts["told_without_breaker"] = self.counts.get("told_without_breaker", 0) + 1
            self.must(now >= over + told - TICK, "retry_after", f"{name} is asked again after {now - over:.3f} s, not {told}")
            self.must(kind in AGAIN, "same deployment", f"{name} is asked again after {kind}")
            self.must(not untried, "same deployment", f"{name} is asked again although {untried} were not tried")
        if call.attempts:
            kind = call.attempts[-1].failure.kind.value
            self.must(kind not in self._stops(), "stops", f"an attempt follows {kind}")
        early = not call.attempts and all(self.models[each].verdict(now) in ("breaker_open", "probe_out") for each in call.targets
                                          if call.reasons.get(each) not in ("unsupported", "budget_exceeded"))
        verdict = model.verdict(now, early)
        self.must(verdict in ("yes", "probe"), "left alone", f"{name} was asked although it is {verdict}")

    def _stops(self) -> frozenset[str]:
        return STOPS if self.lists else STOPS | {"content_filter"}

    def _check_share(self, exchange: Exchange) -> None:
        """S1: an attempt that is not the last possible one has a share."""
        call, retries = exchange.call, self.retries
        left = call.ends - exchange.started
        later = min(exchange.others, retries.max_attempts - len(call.attempts) - 1,
                    retries.max_paid_attempts - call.paid() - 1)
        fixed = exchange.limits.attempt
        share = left / (later + 1) if later > 0 else left
        if later > 0 and exchange.limits.connect + LEAST * later <= left:
            share = max(share, exchange.limits.connect)
        share = share if fixed is None else min(left, fixed)
        # Where nothing would be left for the next one, up to a tenth of a second goes to it.
        hair = 0.09 * min(1.0, call.total) if fixed is None and later > 0 else 0.0
        got = exchange.cut_at - exchange.started
        self.must(
            share - hair - TICK <= got <= share + TICK, "share", f"{got:.3f} s instead of {share:.3f} s for {exchange.deployment}"
        )

    def wait(self, exchange: Exchange, deadline: Any, step: int) -> None:
        """One step of an exchange; raises what it ends in."""
        fate = exchange.fate
        name, limit, _, _, _ = STEPS[step]
        own = getattr(exchange.limits, limit)
        if name in ("connect", "tls"):  # they share one limit with the look-up of the name
            own -= sum(fate.waits[1:step])
        if own is None:
            own = 180.0
        if name == "write":
            exchange.sent = "partly"
        fails = fate.fails_at == step
        self.pause(exchange, deadline, step, math.inf if fails and fate.how == "hang" else fate.waits[step], own)
        if fails:
            self.fail(exchange, fate.how)
        if name == "write":
            exchange.sent, exchange.written = "whole", self.clock.monotonic()
            deadline.written = exchange.written

    def pause(self, exchange: Exchange, deadline: Any, step: int, seconds: float, own: float) -> None:
        """Let a step take its time, but not longer than its own limit and the deadline allow."""
        late = STEPS[step][2]
        allowed = min(own, deadline.remaining())
        takes = min(seconds, max(0.0, allowed))
        if self._breaks_now(exchange.call):
            self.clock.advance(takes / 2)
            self._break(exchange.call)
            takes /= 2
        if deadline.cancelled:
            sent = STEPS[step][4]
            exchange.raised, exchange.raised_at = "cancelled", self.clock.monotonic()
            raise error_for(Failure("cancelled", "cancelled by the script", billing="unknown" if sent else "none"))
        self.clock.advance(takes)
        if seconds >= allowed:
            exchange.own_limit = own < deadline.at - self.clock.monotonic() + takes + NEAR
            self.fail(exchange, late)

    def fail(self, exchange: Exchange, kind: str) -> None:
        """End an exchange as a transport does."""
        exchange.raised, exchange.raised_at = kind, self.clock.monotonic()
        failure = Failure(kind, "the wire said so")
        if exchange.sent == "no":
            failure.billing = "none"
        raise error_for(failure)

    def _breaks_now(self, call: CallLog) -> bool:
        call.steps += 1
        return call.break_at == call.steps

    def _break(self, call: CallLog) -> None:
        if call.breaks is not None:
            breaks, call.breaks = call.breaks, None
            breaks()

    def slept(self, seconds: float) -> None:
        call = self.current
        assert call is not None
        now = self.clock.monotonic()
        call.sleeps.append((now, seconds))
        self.must(0 < seconds <= self.retries.max_wait + TICK, "max wait", f"slept {seconds} s")
        self.must(
            now + seconds <= call.ends - call.least + TICK, "max wait", f"slept {seconds:.3f} s with {call.ends - now:.3f} s left"
        )
        if self._breaks_now(call):
            self._break(call)
        self.clock.advance(seconds)

    def headers(self, answer: Answer) -> Headers:
        told = dict(answer.headers)
        if told.get("Retry-After") == "date":
            seconds = int(told["x-seconds"])
            answer.until = int(self.clock.time()) + seconds
            told["Retry-After"] = email.utils.formatdate(answer.until, usegmt=True)
        return Headers(told)

    # -- what is written for an exchange -----------------------------------------------------------------------------

    def _fate(self, exchange: Exchange) -> Fate:
        rng, name = self.rng, exchange.deployment
        rate, favourite = self.weather.get(name, (0.2, None))
        fate = Fate([0.0] * len(STEPS))
        for step in range(1, len(STEPS)):
            fate.waits[step] = rng.choice((0.0, 0.001, 0.01, 0.05))
        if rng.random() < 0.15:
            fate.waits[rng.randint(1, BODY)] = rng.choice((0.4, 1.0, 4.0, 30.0))
        dialect, mark = self.dialects[name], f"{exchange.call.index}.{exchange.number}{name} "
        fault = (favourite or rng.choice(FAULTS)) if rng.random() < rate else "good"
        if fault == "wire":
            fate.fails_at = rng.randint(0, BODY - 1 if exchange.stream else BODY)
            fate.how = rng.choice(("hang", *STEPS[fate.fails_at][3]))
        elif fault == "hang":
            fate.fails_at, fate.how = BODY - 1, "hang"
        elif fault == "vendor":
            fate.answer = vendors.refused(dialect, rng, rng.choice(list(vendors.SAID)), 0.0)
        elif fault in vendors.SAID:
            fate.answer = vendors.refused(dialect, rng, fault, 0.0)
        elif fault == "wrong":
            fate.answer = vendors.wrong(rng)
        elif fault == "hook":
            fate.answer = vendors.hook_raises(exchange.stream) if dialect == "toy" else vendors.wrong(rng)
        else:
            fate.answer = vendors.good(dialect, rng, mark, exchange.stream)
        if exchange.stream:
            fate.reads = self._reads(fate.answer, dialect, fault)
        return fate

    def _reads(self, answer: Answer, dialect: str, fault: str) -> list[tuple[float, Any]]:
        """Cut what is sent into reads; a stream may break at any event."""
        rng = self.rng
        if answer.events is None:
            return [*((self._pace(), piece) for piece in self._cut(answer.body)), *self._end_of_body(0.03)]
        end = self._end_of_body(0.05)
        if fault == "stream":
            at = rng.randint(0, len(answer.events))
            how = rng.choice(
                ("cut", "clean", "clean", "error", "junk", "hang", "decode_error", "connection_lost", "protocol_error")
            )
            answer.events = answer.events[:at]
            if how == "error":
                answer.events.append(vendors.in_band(dialect, rng.choice(list(vendors.SAID))))
            elif how == "junk":
                answer.events.append(vendors.junk_event())
            end = self._end_of_body(0.0) if how in ("clean", "error", "junk") else [(self._pace(), how)]
            if how == "cut":
                end = [(self._pace(), rng.choice(("connection_lost", b"")))]
                if answer.events:
                    last = answer.events.pop()
                    answer.events.append(attrs.evolve(last, data=last.data[: rng.randint(1, len(last.data))]))
        data = b"".join(event.data for event in answer.events)
        return [*((self._pace(), piece) for piece in self._cut(data)), *end]

    def _end_of_body(self, chance: float) -> list[tuple[float, Any]]:
        if self.rng.random() < chance:
            return [(0.0, self.rng.choice(("hang", "connection_lost")))]
        return [(self._pace(), b"")]

    def _pace(self) -> float:
        return self.rng.choice((0.0, 0.0, 0.01, 0.05, 0.3 if self.rng.random() < 0.8 else 5.0))

    def _cut(self, data: bytes) -> list[bytes]:
        size = max(1, self.rng.choice((len(data), len(data), 400, 90)))
        return [data[at : at + size] for at in range(0, len(data), size)]


@functools.cache
def _host() -> cnroute.PluginHost:
    """One for all scripts: it keeps no state, and to fill it takes longer than a script."""
    host = cnroute.PluginHost(autoload=False)
    host.register(toy.ToyProvider(build_request=_fussy_request))
    return host


def _no_log(notice: Any) -> None:
    """Say nothing."""


def _fussy_request(request: Any, deployment: Any, stream: bool) -> Any:
    if request.messages[-1].text.endswith("boom"):
        raise RuntimeError("this vendor's hook raises")
    return toy.toy_request(request, deployment, stream)
