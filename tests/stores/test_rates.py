"""Rate limits: calls go elsewhere or wait for their turn, and no sixty seconds hold more than the allowance."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.stores.minutes import COUNTS_FOR
from cnroute.testing import FakeClock
from tests.flow import toy


def limited(name: str = "a", requests: int | None = None, tokens: int | None = None, **fields: Any) -> cnroute.Deployment:
    return toy.deployment(name, rate_limit=cnroute.RateLimit(requests, tokens), **fields)


@pytest.mark.parametrize("fields", [{"requests_per_minute": 0}, {"tokens_per_minute": -5}, {"requests_per_minute": 1.5},
                                    {"requests_per_minute": "60"}, {"tokens_per_minute": True}])  # fmt: skip
def test_an_impossible_allowance_is_refused(fields: dict[str, Any]) -> None:
    """Whole numbers from one on, or nothing."""
    error = toy.raised(lambda: cnroute.RateLimit(**fields), cnroute.ConfigurationError)
    assert error.problems[0].key == next(iter(fields))


def test_the_next_deployment_is_asked_when_the_allowance_is_used_up() -> None:
    """Two calls fit, the third goes elsewhere at once and says why."""
    toy_ = toy.Toy([toy.answer()], deployments=[limited(requests=2), toy.deployment("b")])
    assert [toy_.chat().deployment for _ in range(2)] == ["a", "a"]
    reply = toy_.chat()
    assert reply.deployment == "b" and toy_.clock.slept == []
    (first, _) = reply.record()["plan"]["candidates"]
    assert (first["state"], first["rule"]) == ("skipped", "throttled")
    assert "速率额度" in reply.explain("zh")


def test_a_call_waits_for_its_turn_where_nothing_else_is_left() -> None:
    """The first place comes free a minute and a margin after it was used."""
    toy_ = toy.Toy([toy.answer()], deployments=[limited(requests=2)], retries=cnroute.Retries(max_wait=100))
    toy_.chat()
    toy_.clock.advance(40)
    toy_.chat()
    before = toy_.clock.monotonic()
    toy_.chat()
    assert toy_.clock.monotonic() - before == pytest.approx(1 + COUNTS_FOR - 40)


def test_a_wait_that_does_not_fit_is_no_candidate_with_the_time() -> None:
    """Nothing is sent, and nothing is held against the vendor."""
    toy_ = toy.Toy([toy.answer()], deployments=[limited(requests=1)])
    toy_.chat()
    error = toy.raised(toy_.chat, cnroute.NoCandidateError)
    assert error.retry_after == pytest.approx(1 + COUNTS_FOR) and error.attempts == ()
    assert toy_.router.health()["a"]["success_rate"] == 1 and len(toy_.asked) == 1


def test_tokens_are_reserved_and_corrected() -> None:
    """While a call runs its upper bound counts, afterwards what the vendor counted."""
    toy_ = toy.Toy([toy.answer(usage=[10, 10])], deployments=[limited(tokens=1000)])
    for _ in range(40):
        toy_.chat(max_tokens=100)
    assert len(toy_.asked) == 40
    toy.raised(lambda: toy_.chat(max_tokens=900), cnroute.NoCandidateError)
    toy_.chat(max_tokens=10)


def test_a_request_larger_than_the_allowance_is_sent_when_nothing_else_was() -> None:
    """Or it could never be sent at all."""
    toy_ = toy.Toy([toy.answer()], deployments=[limited(tokens=50)])
    toy_.chat(max_tokens=1000)
    toy.raised(lambda: toy_.chat(max_tokens=1000), cnroute.NoCandidateError)


def test_what_was_never_sent_gives_its_place_back() -> None:
    """A refusal by budget, and a call cancelled before its first byte, use up nothing."""
    price = cnroute.Price("CNY", "1", "1", per="1")
    toy_ = toy.Toy([toy.answer()], deployments=[limited(requests=1, price=price)], budgets=[cnroute.Budget("1000")])
    for _ in range(3):
        toy.raised(lambda: toy_.chat(max_tokens=5000), cnroute.BudgetExceededError)
    toy_.chat(max_tokens=10)


def test_an_unknown_billing_keeps_its_tokens() -> None:
    """The vendor may have counted them."""
    toy_ = toy.Toy([toy.error("server_error")], deployments=[limited(tokens=1000)], breaker=None,
                   retries=cnroute.Retries(max_attempts=1))  # fmt: skip
    toy.raised(lambda: toy_.chat(max_tokens=600), cnroute.ServerError)
    toy.raised(lambda: toy_.chat(max_tokens=600), cnroute.NoCandidateError)


def test_a_429_in_spite_of_it_makes_the_allowance_smaller_for_a_while() -> None:
    """A fifth less, once for all calls that were on the way together; it comes back by and by."""
    toy_ = toy.Toy([toy.error("rate_limit"), toy.answer()], deployments=[limited(requests=10), toy.deployment("b")], breaker=None)
    assert toy_.chat().deployment == "b"
    assert [toy_.chat().deployment for _ in range(9)] == ["a"] * 7 + ["b"] * 2
    toy_.clock.advance(300)
    assert [toy_.chat().deployment for _ in range(12)] == ["a"] * 10 + ["b"] * 2


class Load:
    """A router and an emulator that enforces what its model allows, over real sockets and on one clock."""

    def __init__(self, model: str, provider: str, clock: Any, **limits: Any) -> None:
        self.clock = clock
        self.emulator = Emulator(limits={model: limits}, clock=clock.monotonic)
        self.emulator.start()
        own = cnroute.RateLimit(limits.get("requests"), limits.get("tokens"))
        place = cnroute.Deployment("a", provider, model, api_key="k", base_url=self.emulator.base_url(provider), rate_limit=own,
                                   limits=cnroute.Limits(max_in_flight=64))  # fmt: skip
        self.router = cnroute.Router([place], clock=clock, retries=cnroute.Retries(max_wait=100), breaker=None,
                                     plugins=cnroute.PluginHost(autoload=False))  # fmt: skip

    def run(self, seconds: float) -> int:
        """As many calls as are let through; how many were answered."""
        ends, count = self.clock.monotonic() + seconds, 0
        while self.clock.monotonic() < ends:
            self.router.chat("写一首诗", model="a", max_tokens=200, timeout=10_000)
            count += 1
            self.clock.sleep(0.02)
        return count

    def refused(self) -> int:
        """How many requests the vendor refused."""
        return sum(request.fault == "refused" for request in self.emulator.requests)

    def tokens(self) -> int:
        return sum(sum(value for name, value in (each.usage or {}).items() if name != "total_tokens" and isinstance(value, int))
                   or (each.usage or {}).get("total_tokens", 0) for each in self.emulator.requests)  # fmt: skip

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exception: object) -> None:
        self.router.close()
        self.emulator.close()


@pytest.mark.parametrize(("model", "provider"), [("yi-large", "dashscope"), ("abab6.5s-chat", "minimax-v2")])
def test_steady_load_uses_the_requests_without_a_single_429(model: str, provider: str) -> None:
    """At least 90 % of what the vendor allows, and nothing refused."""
    with Load(model, provider, FakeClock(), requests=30) as load:
        count = load.run(240)
        assert load.refused() == 0
        assert count >= 0.9 * 30 * 4


def test_steady_load_uses_the_tokens_without_a_single_429() -> None:
    """Reservations are upper bounds, ten times what is used; they are corrected, so the allowance is used all the same."""
    with Load("yi-large", "dashscope", FakeClock(), tokens=8000) as load:
        load.run(180)
        assert load.refused() == 0
        assert load.tokens() >= 0.9 * 8000 * 3


def test_the_emulator_really_refuses() -> None:
    """Without a rate limit of its own the same load is refused: the tests above can fail."""
    with Load("yi-large", "dashscope", FakeClock(), requests=5) as load:
        place = load.router._engine.binding.places["a"].deployment
        bare = cnroute.Deployment("b", "dashscope", "yi-large", api_key="k", base_url=place.base_url)
        with cnroute.Router([bare], clock=load.clock, breaker=None, retries=cnroute.Retries(max_attempts=1)) as router:
            for _ in range(5):
                router.chat("写一首诗", model="b")
            error = toy.raised(lambda: router.chat("写一首诗", model="b"), cnroute.RateLimitError)
            assert error.vendor_code == "Throttling.RateQuota"
        assert load.refused() == 1


class Fast:
    """A clock ten times as fast as real time."""

    def monotonic(self) -> float:
        return time.monotonic() * 10

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 10)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_threads_use_the_allowance_without_a_single_429() -> None:
    """The same with eight threads at once, in real time."""
    with Load("yi-large", "dashscope", Fast(), requests=120) as load:
        counts: list[int] = []
        crew = [threading.Thread(target=lambda: counts.append(load.run(240))) for _ in range(8)]
        for each in crew:
            each.start()
        for each in crew:
            each.join()
        assert load.refused() == 0
        assert sum(counts) >= 0.9 * 120 * 4
