"""A simulated world: a real `Router` on a virtual clock, over vendors whose every fault is drawn from a seed.

Rules of this file
- What must be true is derived from the script (what was sent, what was let through, what broke and when) by the
  words of the contract and of reliability section 1, never from the code under test.
- A script is one router and one to eight calls in a row; the same seed makes the same script.
- `run(seed)` gives a `World`; `broken` holds one line per violated property, by name.
"""

from __future__ import annotations

import email.utils
import functools
import math
import random
import re
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import attrs

import cnroute
from cnroute.errors import CallError, error_for
from cnroute.failures import Failure
from cnroute.http import Headers, HttpResponse
from cnroute.notices import AttemptFinished, AttemptSkipped, AttemptStarted, CallFinished
from cnroute.wire import by_status
from tests.flow import toy
from tests.simulation import vendors
from tests.simulation.model import COUNTS, THROTTLED, Model
from tests.simulation.vendors import Answer

TICK = 1e-6
NEAR = 0.0015  # the flow takes a limit for reached this much too early: nothing is claimed about such a moment
LEAST = 0.5
MARK = re.compile(rb"#(\d+)#")

# Steps of an exchange: name, limit, kind when it takes too long, kinds when it breaks, were bytes sent before its end?
STEPS = (
    ("pool", "pool", "local_overload", (), False),
    ("dns", "connect", "connect_timeout", ("dns_error",), False),
    ("connect", "connect", "connect_timeout", ("connect_error",), False),
    ("tls", "connect", "tls_timeout", ("tls_error", "tls_verify"), False),
    ("write", "write", "write_timeout", ("connection_lost",), True),
    ("head", "first_byte", "first_byte_timeout", ("connection_lost", "protocol_error", "redirect"), True),
    ("body", "idle", "idle_timeout", ("connection_lost", "decode_error", "response_too_large", "protocol_error"), True),
)
HANGS = frozenset(step[2] for step in STEPS)
BODY = len(STEPS) - 1
# reliability S3
NONE = frozenset((
    "local_overload", "unsupported", "dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout",
    "tls_verify", "rate_limit", "overloaded", "bad_request", "request_too_large", "context_length", "auth", "permission",
    "model_not_found", "quota",
))
STOPS = frozenset((
    "bad_request", "budget_exceeded", "deadline_exceeded", "cancelled", "closed", "context_length", "request_too_large",
))
AGAIN = THROTTLED | frozenset(["dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout"])
# contract, section 3
CLASSES = {
    "auth": "AuthenticationError", "permission": "PermissionDeniedError", "quota": "QuotaExceededError",
    "rate_limit": "RateLimitError", "model_not_found": "ModelNotFoundError", "content_filter": "ContentFilterError",
    "bad_request": "BadRequestError", "request_too_large": "BadRequestError", "context_length": "ContextLengthError",
    "unsupported": "UnsupportedRequestError", "deadline_exceeded": "DeadlineExceededError", "no_candidate": "NoCandidateError",
    "local_overload": "LocalOverloadError", "budget_exceeded": "BudgetExceededError", "cancelled": "CallCancelledError",
    "closed": "RouterClosedError", "plugin_error": "HookError", "stream_interrupted": "StreamInterruptedError",
    **dict.fromkeys(("server_error", "overloaded", "vendor_timeout"), "ServerError"),
    **dict.fromkeys(("dns_error", "connect_error", "tls_error", "tls_verify", "connection_lost"), "ConnectionFailedError"),
    **dict.fromkeys(("connect_timeout", "tls_timeout", "write_timeout", "first_byte_timeout", "first_token_timeout",
                     "idle_timeout"), "CallTimeoutError"),
    **dict.fromkeys(("protocol_error", "decode_error", "bad_response", "response_too_large", "redirect"), "ResponseError"),
}


@attrs.define
class Fate:
    """What is written for one exchange: the time of each step, the step that fails and how, or the answer.

    `reads` is what each read of a stream gives: (seconds, bytes), or (seconds, kind or "hang").
    """

    waits: list[float]
    fails_at: int | None = None
    how: str = ""
    answer: Answer = attrs.field(factory=Answer)
    reads: list[tuple[float, Any]] = attrs.field(factory=list)


@attrs.define(eq=False)
class Exchange:
    """One request at a vendor, and everything that is known of it."""

    call: CallLog
    deployment: str
    fate: Fate
    stream: bool
    started: float
    cut_at: float
    limits: Any
    probe: bool
    others: int
    sent: str = "no"
    written: float | None = None
    opened: bool = False
    raised: str | None = None
    raised_at: float = 0.0
    own_limit: bool = False
    given: int = 0
    ended: bool = False
    left: bool = False
    closed: bool = True
    number: int = 0
    over_at: float = 0.0
    grown: float = 0.0


@attrs.define(eq=False)
class CallLog:
    """One call of a script."""

    index: int
    stream: bool
    targets: list[str]
    started: float
    total: float
    exchanges: list[Exchange] = attrs.field(factory=list)
    attempts: list[Any] = attrs.field(factory=list)
    seen: list[str] = attrs.field(factory=list)
    reasons: dict[str, str] = attrs.field(factory=dict)
    sleeps: list[tuple[float, float]] = attrs.field(factory=list)
    notices: list[Any] = attrs.field(factory=list)
    finished: list[CallFinished] = attrs.field(factory=list)
    deltas: list[Any] = attrs.field(factory=list)
    error: CallError | None = None
    reply: Any = None
    outcome: str | None = None
    handle: Any = None
    entered: float = 0.0
    steps: int = 0
    break_at: int | None = None
    breaks: Callable[[], None] | None = None
    max_cost: Decimal | None = None
    fussy: bool = False

    @property
    def ends(self) -> float:
        return self.started + self.total

    @property
    def least(self) -> float:
        return min(LEAST, self.total / 2)

    def paid(self) -> int:
        return sum(attempt.billing != "none" for attempt in self.attempts)


class VirtualClock(cnroute.testing.FakeClock):
    """Sleeping tells the world."""

    world: World

    def sleep(self, seconds: float) -> None:
        self.world.slept(seconds)


class ScriptedTransport:
    """The transport of a whole script; each deployment gets its own view."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.closed = False

    def bind(self, deployment: cnroute.Deployment) -> Bound:
        return Bound(self.world, deployment.name)

    def send(self, request: Any, deadline: Any) -> Any:
        raise AssertionError("only bound transports send")

    open = send

    def close(self) -> None:
        self.closed = True


class Bound:
    """The scripted vendor behind one deployment."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def send(self, request: Any, deadline: Any) -> HttpResponse:
        exchange = self._world.begin(self._name, request, deadline, False)
        for step in range(len(STEPS)):
            self._world.wait(exchange, deadline, step)
        answer = exchange.fate.answer
        exchange.ended = True
        return HttpResponse(answer.status, self._world.headers(answer), answer.body)

    def open(self, request: Any, deadline: Any) -> ScriptedStream:
        exchange = self._world.begin(self._name, request, deadline, True)
        for step in range(BODY):
            self._world.wait(exchange, deadline, step)
        return ScriptedStream(self._world, exchange, deadline)


class ScriptedStream:
    """An open answer."""

    def __init__(self, world: World, exchange: Exchange, deadline: Any) -> None:
        self._world = world
        self._exchange = exchange
        self._deadline = deadline
        self._next = iter(exchange.fate.reads)
        self.status = exchange.fate.answer.status
        self.headers = world.headers(exchange.fate.answer)
        exchange.opened, exchange.closed = True, False

    def read(self) -> bytes:
        world, exchange = self._world, self._exchange
        world.must(not exchange.closed, "closed stream", "a closed stream was read")
        seconds, what = next(self._next, (0.0, b""))
        hangs = what == "hang"
        world.pause(exchange, self._deadline, BODY, math.inf if hangs else seconds, exchange.limits.idle)
        if isinstance(what, str):
            world.fail(exchange, what)
        if not what:
            exchange.ended = True
        exchange.given += len(what)
        return what

    def close(self) -> None:
        self._exchange.closed = True


class World:
    """One script: a router, its vendors, its calls, and the list of what went wrong."""

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

    # -- calls -------------------------------------------------------------------------------------------------------

    def play(self) -> World:
        """Run the whole script."""
        rng = self.rng
        held: list[tuple[CallLog, Iterator[None]]] = []
        for index in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 8))):
            self._change_weather()
            self.clock.advance(rng.choice((0.0, 0.01, 0.5, 3.0, 20.0, 90.0, 700.0) if rng.random() < 0.7 else (0.0,)))
            call, running = self._call(index)
            if next(running, "over") != "over":
                held.append((call, running))
            if held and rng.random() < 0.5:
                self._resume(held.pop(0))
            if self.closed:
                break
        for each in held:
            self._resume(each)
        self._at_rest()
        return self

    def _resume(self, one: tuple[CallLog, Iterator[None]]) -> None:
        self.current = one[0]
        for _ in one[1]:
            pass

    def _change_weather(self) -> None:
        for name in self.dialects:
            if name not in self.weather or self.rng.random() < 0.25:
                self.weather[name] = (self.rng.choice((0.0, 0.2, 0.5, 0.9, 1.0)), self.rng.choice(self._favourites()))

    def _favourites(self) -> tuple[str | None, ...]:
        """Without a breaker nothing but the back-off keeps to a vendor's Retry-After: there it is met more often."""
        usual = (None, None, None, "wire", "hang", "rate_limit", "overloaded", "server_error", "stream")
        return usual if self.breaker is not None else (*usual, *("rate_limit", "overloaded") * 8)

    def _call(self, index: int) -> tuple[CallLog, Iterator[None]]:
        rng = self.rng
        timeout = rng.choice((None, 0.3, 0.7, 1.0, 1.1, 2.0, 8.0, 30.0, 60.0))
        stream = rng.random() < 0.55
        call = CallLog(index, stream, list(self.dialects), self.clock.monotonic(), timeout or float(self.timeouts.total))
        self.calls.append(call)
        self.current = call
        arguments: dict[str, Any] = {
            "model": "chat", "timeout": timeout, "metadata": {"call_id": f"call-{index}"}, "max_tokens": 99
        }
        text = f"#{index}# hi"
        if rng.random() < 0.06:
            arguments["temperature"] = 1.7  # only DashScope takes it
        if rng.random() < 0.05:
            call.fussy, text = True, text + " boom"
        if rng.random() < 0.06:
            call.max_cost = rng.choice((Decimal("0.0003"), Decimal("0.005"), Decimal(1)))
            arguments["max_cost"] = call.max_cost
        if rng.random() < 0.1:
            call.break_at, call.breaks = rng.randint(1, 9), self._breaker_of(call)
        return call, (self._stream if stream else self._plain)(call, text, arguments)

    def _breaker_of(self, call: CallLog) -> Callable[[], None]:
        def close_router() -> None:
            self.closed = True
            self.router.close()

        if not call.stream:
            return close_router
        return self.rng.choice((lambda: call.handle.cancel(), lambda: call.handle.close(), close_router))  # noqa: PLW0108 (made later)

    def _plain(self, call: CallLog, text: str, arguments: dict[str, Any]) -> Iterator[None]:
        call.entered = self.clock.monotonic()
        try:
            call.reply = self.router.chat(text, **arguments)
            call.outcome = "ok"
        except CallError as error:
            call.error, call.outcome = error, error.kind.value
        self._finish(call)
        return
        yield

    def _stream(self, call: CallLog, text: str, arguments: dict[str, Any]) -> Iterator[None]:
        rng = self.rng
        call.handle = self.router.stream(text, **arguments)
        way = rng.choice(("all",) * 8 + ("start", "close", "cancel", "drop", "hold", "hold", "slow", "late"))
        after = rng.randint(0 if way in ("close", "cancel", "hold") else 1, 3)
        if way == "late":
            self.clock.advance(rng.choice((0.1, 0.5, 0.9, 1.0)) * call.total)
        if way == "start":
            self._step(call, call.handle.start)
        while call.outcome is None:
            if len(call.deltas) >= after and way in ("close", "cancel", "drop", "hold"):
                if way == "hold":
                    yield
                    self.current, way = call, "all"
                    continue
                self._leave(call, way)
                break
            if way == "slow":
                self.clock.advance(rng.choice((0.0, 0.1, 0.6, 5.0)))
            self._step(call, lambda: call.deltas.append(next(call.handle)))
        self._finish(call)

    def _step(self, call: CallLog, action: Callable[[], Any]) -> None:
        """One step of the consumer: its own time is not the router's fault."""
        call.entered = self.clock.monotonic()
        try:
            action()
        except StopIteration:
            call.outcome = "ok" if call.handle._answer is not None else "closed"
            call.reply = call.handle.completion if call.outcome == "ok" else None
        except CallError as error:
            call.error, call.outcome = error, error.kind.value
        self._check_time(call)

    def _leave(self, call: CallLog, way: str) -> None:
        begun, over = call.handle._begun, call.handle._over
        if way == "cancel":
            call.handle.cancel()
            while call.outcome is None:  # what had arrived at a call that was over is still handed out
                self._step(call, lambda: call.deltas.append(next(call.handle)))
            self.must(call.outcome == "cancelled" or over, "outcome", f"{call.outcome} after cancel()")
        elif way == "close":
            call.handle.close()
            self._step(call, lambda: call.deltas.append(next(call.handle)))
            self.must(call.outcome in ("closed", "ok"), "outcome", f"{call.outcome} after close()")
        else:
            call.handle = None
            call.outcome = "closed"
        if not begun:
            call.outcome = "never begun"

    def _check_time(self, call: CallLog) -> None:
        now = self.clock.monotonic()
        self.must(now <= max(call.ends, call.entered) + TICK, "deadline", f"{now - call.ends:.6f} s past it")

    # -- what must be true after a call ------------------------------------------------------------------------------

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


FAULTS = ("wire", "wire", "vendor", "vendor", "wrong", "stream", "stream", "hook", "hang")


@functools.cache
def _host() -> cnroute.PluginHost:
    """One for all scripts: it keeps no state, and to fill it takes longer than a script."""
    host = cnroute.PluginHost(autoload=False)
    host.register(toy.ToyProvider(build_request=_fussy_request))
    return host


def _about(told: float | None) -> Any:
    import pytest

    return told if told is None else pytest.approx(told, abs=1e-6)


def _no_log(notice: Any) -> None:
    """Say nothing."""


def _fussy_request(request: Any, deployment: Any, stream: bool) -> Any:
    if request.messages[-1].text.endswith("boom"):
        raise RuntimeError("this vendor's hook raises")
    return toy.toy_request(request, deployment, stream)


def _facts(exchange: Exchange) -> tuple[Any, ...]:
    return (exchange.deployment, exchange.started, exchange.cut_at, exchange.raised, exchange.raised_at, exchange.given,
            exchange.sent, exchange.probe)


def run(seed: int, records: bool = False) -> World:
    """The script of `seed`, played to its end. `records`: keep the record of every call in `trace`."""
    return World(seed, records).play()
