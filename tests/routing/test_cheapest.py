"""`cheapest` is the cheapest: every order is tried on paper, outcome by outcome, and none is cheaper than the one chosen.

The oracle knows no formula. For each order it adds up what every course of the call costs times how probable it is: a
deployment answers and is paid, fails and is paid, or fails for nothing; the call ends with the first answer.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

import cnroute
from cnroute.failures import FailureKind
from cnroute.money import Cost
from cnroute.routing.fallback import TABLE
from cnroute.routing.health import Outcome, Snapshot
from cnroute.routing.policies import POLICIES, Context, Option
from tests.flow.toy import Toy, deployment, host

SEED = 20261122
HOST = host()
WORDS = ("你好，", "长江", "explain ", "x = 1\n", "合同第四条：", "and ")


# The sums are floats: ten thousand cases of up to 120 orders with 63 courses each. What is equal is off by less.
NEARLY = 1 + 1e-10


class Facts(NamedTuple):
    """What one deployment costs, and how probable an answer, a paid failure and a free failure are."""

    cost: float
    answers: float
    paid: float
    free: float


def courses(order: Sequence[Facts]) -> Iterator[tuple[float, float]]:
    """Every course that a call may take: how probable it is, and what it costs."""
    if not order:
        yield 1.0, 0.0
        return
    first, *others = order
    yield first.answers, first.cost
    for chance, cost in courses(others):
        yield first.paid * chance, first.cost + cost
        yield first.free * chance, cost


def expected(order: Sequence[Facts]) -> float:
    return math.fsum(chance * cost for chance, cost in courses(order))


def a_price(draw: random.Random) -> cnroute.Price:
    def rate() -> str:
        return draw.choice(["0", str(draw.randrange(1, 40)), f"{draw.randrange(40)}.{draw.randrange(1000):03d}"])

    if draw.random() < 0.7:
        return cnroute.Price("CNY", rate(), rate(), per=draw.choice(["1000000", "1000"]))
    bound = draw.randrange(1, 60)
    return cnroute.Price("CNY", tiers=({"up_to": bound, "input": rate(), "output": rate()}, {"input": rate(), "output": rate()}))


def lived(draw: random.Random, place: Any) -> None:
    """A past for a deployment: answers, failures that were paid, failures that cost nothing."""
    paid, free = TABLE[FailureKind.SERVER_ERROR], TABLE[FailureKind.RATE_LIMIT]
    share, risk = draw.random(), draw.random()
    for _ in range(draw.choice([0, 0, 3, 30])):
        good = draw.random() < share
        how = None if good else paid if draw.random() < risk else free
        place.health.admit().end(Outcome(how, billing="unknown" if how is paid else "none"))
    if draw.random() < 0.5:
        place.health.made(draw.randrange(1, 400))


def facts_of(draw: random.Random, price: cnroute.Price, seen: Any, ins: int, outs: int) -> Facts:
    """The figures of one deployment; how many of its failures are free is nobody's business, so it is drawn at random."""
    tier: Any = next((tier for tier in price.tiers if tier.up_to is None or ins <= tier.up_to), price)
    cost = (Fraction(tier.input) * ins + Fraction(tier.output) * outs) / Fraction(price.per)
    free = draw.choice([0.0, 0.0, draw.random()])
    return Facts(float(cost), seen.success * (1 - free), seen.paid_failure * (1 - free), free)


def one_case(draw: random.Random) -> None:
    """A router with random prices and a random past: its plan's order has the least expected cost of all orders."""
    names = "abcde"[: draw.choice([2, 3, 3, 4, 4, 4, 5])]
    prices = {name: a_price(draw) for name in names}
    toy = Toy(
        [], deployments=[deployment(name, price=price) for name, price in prices.items()], plugins=HOST, breaker=None,
        routes={"chat": cnroute.Route("cheapest", list(names))},
    )  # fmt: skip
    for place in toy.router._engine.binding.places.values():
        lived(draw, place)
    most = draw.randrange(1, 500)
    plan = toy.router.plan("".join(draw.choices(WORDS, k=draw.randrange(1, 9))), model="chat", max_tokens=most)
    seen = {name: place.health.snapshot() for name, place in toy.router._engine.binding.places.items()}
    known = [each.output_tokens for each in seen.values() if each.output_tokens is not None]
    usual = sum(known) / len(known) if known else most
    facts = {
        name: facts_of(
            draw, prices[name], each, plan.estimated_input_tokens,
            min(most, round(usual if each.output_tokens is None else each.output_tokens)),
        )
        for name, each in seen.items()
    }  # fmt: skip
    chosen = [each.deployment for each in plan.candidates]
    assert sorted(chosen) == sorted(names)
    price_of = {order: expected([facts[name] for name in order]) for order in itertools.permutations(names)}
    assert price_of[tuple(chosen)] <= min(price_of.values()) * NEARLY, (facts, chosen)


@pytest.mark.parametrize("part", range(4))
def test_no_order_is_cheaper(part: int) -> None:
    """200 cases."""
    draw = random.Random(SEED + part)
    for _ in range(50):
        one_case(draw)


def one_case_of_rates(draw: random.Random) -> None:
    """The policy alone, with rates of success and of billing that have nothing to do with each other."""
    facts, options = {}, []
    for index, name in enumerate("abcde"[: draw.choice([2, 3, 4, 4, 5])]):
        answers, paid, free = draw.randrange(1, 50), draw.randrange(50), draw.randrange(50)
        whole, cost = answers + paid + free, Decimal(draw.randrange(40))
        seen = Snapshot(success=answers / whole, paid_failure=paid / whole)
        facts[name] = Facts(float(cost), seen.success, seen.paid_failure, free / whole)
        options.append(Option(name, cost=Cost(cost, cost, "CNY", True), health=seen, index=index))
    chosen = [option.name for option in POLICIES["cheapest"]().order(options, Context(draw.random))]
    price_of = {order: expected([facts[name] for name in order]) for order in itertools.permutations(facts)}
    assert price_of[tuple(chosen)] <= min(price_of.values()) * NEARLY, (facts, chosen)


def test_no_order_is_cheaper_whatever_the_rates() -> None:
    """200 cases."""
    draw = random.Random(SEED)
    for _ in range(200):
        one_case_of_rates(draw)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", [one_case, one_case_of_rates])
def test_no_order_is_cheaper_in_ten_thousand_cases(case: Callable[[random.Random], None]) -> None:
    """The full number."""
    draw = random.Random(SEED)
    for _ in range(10_000):
        case(draw)


def test_the_oracle_is_no_formula() -> None:
    """By hand: 1 yuan that answers half the time and is paid for each time, before 10 yuan that always answer."""
    half, sure, free = Facts(1, 0.5, 0.5, 0), Facts(10, 1, 0, 0), Facts(1, 0.5, 0, 0.5)
    assert (expected([half, sure]), expected([sure, half])) == (6, 10)
    assert (expected([free, sure]), expected([])) == (5.5, 0)


def test_ties_keep_the_written_order() -> None:
    """Ten equal deployments, ten times shuffled: a plan has them as they were written."""
    draw = random.Random(SEED)
    for _ in range(10):
        names = draw.sample("abcdefghij", 10)
        price = a_price(draw)
        toy = Toy([], deployments=[deployment(name, price=price) for name in names], plugins=HOST,
                  routes={"chat": cnroute.Route("cheapest", names)})  # fmt: skip
        assert [each.deployment for each in toy.router.plan("x", model="chat").candidates] == names
