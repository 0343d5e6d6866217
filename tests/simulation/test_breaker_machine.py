"""Breaker, cool-down and leases against a small model of reliability S6, and the half-open instant under real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

import cnroute
from cnroute.failures import FailureKind
from cnroute.routing.fallback import TABLE
from cnroute.routing.health import Health, Lease, Outcome, Refusal
from cnroute.settings import Breaker, Limits
from cnroute.testing import FakeClock
from tests.flow import toy
from tests.simulation.model import COUNTS, Model

UNCOUNTED = ("bad_request", "content_filter", "context_length", "plugin_error", "local_overload", "deadline_exceeded")
COOLING = ("auth", "permission", "quota", "model_not_found", "tls_verify")


class BreakerMachine(RuleBasedStateMachine):
    """What is admitted and refused, step by step, by the real `Health` and by the model."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.jitter = 0.5
        self.out: list[Lease] = []
        self.grown: dict[int, float] = {}
        self.build(None, 10**6)

    def build(self, breaker: Breaker | None, places: int) -> None:
        self.breaker = breaker
        self.model = Model(breaker, places)
        limits = Limits(max_in_flight=places, max_queue=0)
        self.health = Health(limits, breaker, self.clock, lambda: self.jitter)

    @initialize(
        failures=st.integers(1, 5), calls=st.integers(2, 10), ratio=st.sampled_from((0.3, 0.5, 1.0)),
        places=st.sampled_from((2, 50)), off=st.sampled_from((False,) * 7 + (True,)), default=st.booleans(),
    )
    def settle(self, failures: int, calls: int, ratio: float, places: int, off: bool, default: bool) -> None:
        own = Breaker(failures=failures, min_calls=calls, ratio=ratio)
        self.build(None if off else Breaker() if default else own, places)

    @rule(target=leases, early=st.sampled_from((False, False, False, True)))
    def admit(self, early: bool) -> Any:
        wanted = self.model.verdict(self.clock.monotonic(), early)
        got = self.health.admit(probe=early)
        if isinstance(got, Refusal):
            assert got.reason == wanted
            if wanted in ("cooling_down", "breaker_open"):
                assert got.retry_at is not None and got.retry_at > self.clock.monotonic()
            return None
        assert ("probe" if got.probe else "yes") == wanted
        assert self.model.took() == got.probe
        self.out.append(got)
        self.grown[id(got)] = self.model.growth
        return got

    def end(self, lease: Lease | None, kind: str | None, counted: bool = True, retry_after: float | None = None) -> None:
        """Give a lease back; twice, since the second time must do nothing."""
        if lease is None:
            return
        was_open, now = self.model.open, self.clock.monotonic()
        outcome = Outcome(None if kind is None else TABLE[FailureKind(kind)], kind and FailureKind(kind), retry_after=retry_after,
                          counted=counted)
        lease.end(None if kind == "cancelled" else outcome)
        lease.end(Outcome())
        self.out.remove(lease)
        opened_for = self.model.open_for
        self.model.ended(now, lease.probe, kind, counted, retry_after, self.grown.pop(id(lease)))
        if self.model.open and (not was_open or self.model.open_for != opened_for or lease.probe):
            if self.health._open:
                assert self.model.pin(self.health._open_until), "the jitter leaves its bounds"

    @rule(lease=consumes(leases))
    def succeed(self, lease: Lease | None) -> None:
        self.end(lease, None)

    @rule(lease=consumes(leases), kind=st.sampled_from(sorted(COUNTS)), jitter=st.sampled_from((0.0, 0.5, 0.999)))
    def fail(self, lease: Lease | None, kind: str, jitter: float) -> None:
        self.jitter = jitter
        self.end(lease, kind)

    @rule(lease=consumes(leases), kind=st.sampled_from(("first_byte_timeout", "connect_timeout", "idle_timeout")))
    def fail_for_want_of_time(self, lease: Lease | None, kind: str) -> None:
        self.end(lease, kind, counted=False)

    @rule(lease=consumes(leases), kind=st.sampled_from(UNCOUNTED + COOLING))
    def fail_uncounted(self, lease: Lease | None, kind: str) -> None:
        self.end(lease, kind)

    @rule(
        lease=consumes(leases), kind=st.sampled_from(("rate_limit", "overloaded")),
        retry_after=st.sampled_from((None, None, 0.0, 0.1, 7.0, 299.0, 5000.0)),
    )
    def throttle(self, lease: Lease | None, kind: str, retry_after: float | None) -> None:
        self.end(lease, kind, retry_after=retry_after)

    @rule(lease=consumes(leases))
    def cancel(self, lease: Lease | None) -> None:
        self.end(lease, "cancelled")

    @rule(count=st.integers(1, 12), kind=st.sampled_from((None, "server_error", "server_error", "rate_limit")))
    def many(self, count: int, kind: str | None) -> None:
        """Several calls in a row, as long as they are admitted."""
        for _ in range(count):
            self.end(self.admit(False), kind)

    @rule(seconds=st.sampled_from((0.01, 0.3, 1.0, 4.1, 6.1, 29.0, 31.0, 61.0, 130.0, 601.0)))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def until_it_reopens(self) -> None:
        self.clock.advance(max(0.0, self.health.ready_at(0.0) - self.clock.monotonic()))

    @invariant()
    def agree(self) -> None:
        report = self.health.report()
        assert report["in_flight"] == self.model.in_flight == len(self.out)
        assert (self.health._probe is not None) == self.model.probe_out
        assert self.health._open == self.model.open
        assert abs(self.health._cool_until - self.model.cool_until) < 1e-9
        seen = {"yes": "closed", "probe": "half_open", "breaker_open": "open", "probe_out": "half_open"}
        wanted = self.model.verdict(self.clock.monotonic())
        if wanted in seen:
            assert report["breaker"] == seen[wanted]

    def teardown(self) -> None:
        for lease in list(self.out):
            self.end(lease, "cancelled")
        assert self.health.report()["in_flight"] == 0
        assert self.health._probe is None


BreakerMachine.TestCase.settings = settings(
    derandomize=True, max_examples=120, stateful_step_count=40, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)
test_breaker_does_as_the_model = BreakerMachine.TestCase


# -- directed: the numbers of S6 ---------------------------------------------------------------------------------


def counted(kind: str = "server_error") -> Outcome:
    return Outcome(TABLE[FailureKind(kind)], FailureKind(kind), "unknown")


def health(random: Callable[[], float] = lambda: 0.5, **fields: Any) -> tuple[Health, FakeClock]:
    clock = FakeClock()
    return Health(Limits(), Breaker(**fields), clock, random), clock


def lease_of(state: Health, **keywords: Any) -> Lease:
    lease = state.admit(**keywords)
    assert isinstance(lease, Lease)
    return lease


@pytest.mark.parametrize(("number", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_five_failures_open_it_and_each_failed_probe_doubles_the_time(number: float, factor: float) -> None:
    """5, 10, 20 ... 120 seconds, 20 per cent more or less."""
    state, clock = health(lambda: number)
    for _ in range(5):
        assert not lease_of(state).probe
        lease = lease_of(state)
        lease.end(None)
        lease_of(state).end(counted())
    for seconds in (5, 10, 20, 40, 80, 120, 120):
        assert state.ready_at(0.0) == pytest.approx(clock.monotonic() + seconds * factor)
        clock.advance(seconds * factor + 0.001)
        probe = lease_of(state)
        assert probe.probe
        probe.end(counted())


def test_half_of_ten_calls_within_thirty_seconds_open_it() -> None:
    """Successes in between do not help; calls of more than 30 seconds ago do not count."""
    state, clock = health()
    for number in range(10):
        assert not state._open
        lease_of(state).end(counted() if number % 2 else Outcome())
    assert state._open
    state, clock = health()
    for number in range(100):
        lease_of(state).end(counted() if number % 2 else Outcome())
        clock.advance(3.5)
    assert not state._open


def race(state: Health, threads: int = 64) -> list[Any]:
    """What as many threads get that ask at the same instant."""
    barrier = threading.Barrier(threads)
    got: list[Any] = []

    def ask() -> None:
        barrier.wait()
        got.append(state.admit())

    running = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return got


def test_of_64_threads_at_the_half_open_instant_one_is_admitted() -> None:
    """Each time anew: a cancelled probe is given back, a failed one opens again."""
    state, clock = health(failures=1)
    lease_of(state).end(counted())
    for round_ in range(6):
        clock.advance(max(0.0, state.ready_at(0.0) - clock.monotonic()))
        got = race(state)
        probes = [each for each in got if isinstance(each, Lease)]
        assert len(got) == 64 and len(probes) == 1 and probes[0].probe
        assert {each.reason for each in got if isinstance(each, Refusal)} == {"probe_out"}
        probes[0].end(None if round_ % 2 else counted())
        assert state.report()["in_flight"] == 0


def test_of_64_calls_at_the_half_open_instant_one_reaches_the_vendor() -> None:
    """The others get NoCandidateError at once, and one success closes the breaker."""
    entered, leave = threading.Event(), threading.Event()

    def vendor(sent: Any) -> Any:
        if len(world.transport.requests) > 1:
            entered.set()
            assert leave.wait(30)
            return toy.answer("好")
        return toy.error("server_error")

    world = toy.Toy([vendor], names="a", breaker=Breaker(failures=1))
    assert isinstance(toy.raised(world.chat), cnroute.ServerError)
    world.clock.advance(6.1)
    barrier, ends = threading.Barrier(64), []
    done = threading.Semaphore(0)

    def call() -> None:
        barrier.wait()
        try:
            ends.append(world.chat().text)
        except cnroute.CallError as error:
            ends.append(error.kind.value)
        done.release()

    threads = [threading.Thread(target=call) for _ in range(64)]
    for thread in threads:
        thread.start()
    for _ in range(63):
        assert done.acquire(timeout=30)
    assert entered.is_set() and len(world.transport.requests) == 2
    leave.set()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["no_candidate"] * 63 + ["好"]
    assert world.router.health()["a"]["breaker"] == "closed"
    assert world.router.health()["a"]["in_flight"] == 0
