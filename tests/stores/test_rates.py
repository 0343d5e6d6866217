"""Rate limits: calls go elsewhere or wait for their turn, and no sixty seconds hold more than the allowance."""

from __future__ import annotations

from typing import Any

import pytest

import cnroute
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


class Vendor:
    """A vendor who counts requests and tokens in every sixty seconds, however they lie."""

    def __init__(self, clock: FakeClock, requests: int, tokens: int, used: int) -> None:
        self.clock, self.requests, self.tokens, self.used = clock, requests, tokens, used
        self.seen: list[tuple[float, int]] = []
        self.refused = 0

    def __call__(self, sent: Any) -> Any:
        now = self.clock.monotonic()
        recent = [tokens for at, tokens in self.seen if at > now - 60]
        if len(recent) >= self.requests or sum(recent) >= self.tokens:
            self.refused += 1
            return toy.error("rate_limit")
        self.seen.append((now, self.used))
        self.clock.advance(0.05)
        return toy.answer(usage=[self.used // 2, self.used - self.used // 2])


@pytest.mark.parametrize(("requests", "tokens"), [(60, 10**9), (10**9, 30_000), (300, 100_000)])
def test_steady_load_uses_the_allowance_without_a_single_429(requests: int, tokens: int) -> None:
    """At least 90 % of what the vendor allows, and nothing refused."""
    clock = FakeClock()
    vendor = Vendor(clock, requests, tokens, used=400)
    own = limited(requests=min(requests, 10**6), tokens=tokens)
    toy_ = toy.Toy([vendor], deployments=[own], clock=clock, retries=cnroute.Retries(max_wait=100))
    start = clock.monotonic()
    while clock.monotonic() < start + 300:
        toy_.chat("你好" * 50, max_tokens=500, timeout=1000)
    minutes = (clock.monotonic() - start) / 60
    allowed = min(requests, tokens / 400, 1200) * minutes
    assert vendor.refused == 0
    assert len(vendor.seen) >= 0.9 * allowed
