"""Money is exact: fractions are the oracle, unknown stays unknown, the host's decimal context changes nothing."""

from __future__ import annotations

import datetime
import decimal
import pickle
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import cnroute
from cnroute.money import add_up, amount, day_after, day_of, plain, start_of
from cnroute.testing import FakeTransport
from tests.flow.toy import Toy, answer, deployment, error, host, raised

SEED = 20261121


def rate(draw: random.Random) -> str:
    return f"{draw.randrange(0, 200)}.{draw.randrange(0, 10**6):06d}"


def random_price(draw: random.Random, cached: bool | None = None, tiers: int | None = None) -> cnroute.Price:
    def halves() -> dict[str, Any]:
        with_cached = draw.random() < 0.5 if cached is None else cached
        thinking = rate(draw) if draw.random() < 0.3 else None
        return {"input": rate(draw), "output": rate(draw), "cached": rate(draw) if with_cached else None, "reasoning": thinking}

    count = draw.randrange(0, 4) if tiers is None else tiers
    per = draw.choice(["1000", "1000000", "1"])
    if not count:
        return cnroute.Price("CNY", **halves(), per=per)
    bounds = sorted(draw.sample(range(1, 60), count - 1))
    return cnroute.Price("CNY", per=per, tiers=[cnroute.Tier(bound, **halves()) for bound in [*bounds, None]])


def oracle(price: cnroute.Price, given: int, made: int, cached: int, thought: int = 0) -> Fraction:
    """What so many tokens cost, straight from the rules of the contract."""
    tier: Any = next((tier for tier in price.tiers if tier.up_to is None or given <= tier.up_to), price)
    kept = Fraction(tier.input if tier.cached is None else tier.cached)
    mind = Fraction(tier.output if tier.reasoning is None else tier.reasoning)
    sums = Fraction(tier.input) * (given - cached) + kept * cached + Fraction(tier.output) * (made - thought) + mind * thought
    return sums / Fraction(price.per)


def test_known_halves_cost_exactly_what_fractions_say() -> None:
    """2,000 random prices and usages, to the last digit."""
    draw = random.Random(SEED)
    for _ in range(2000):
        price, given, made = random_price(draw), draw.randrange(0, 90), draw.randrange(0, 90)
        cached, thought = draw.randrange(0, given + 1), draw.randrange(0, made + 1)
        cost = price.cost(cnroute.Usage(given, made, None, cached, thought))
        assert cost is not None and cost.exact
        assert Fraction(cost.low) == oracle(price, given, made, cached, thought)


def test_a_total_alone_costs_the_range_of_every_possible_split() -> None:
    """With tiers, cached and reasoning prices too, the ends are the cheapest and the dearest split of all."""
    draw = random.Random(SEED)

    def parts(known: int | None, whole: int) -> list[int]:
        return list(range(whole + 1)) if known is None else [known] if known <= whole else []

    for _ in range(120):
        price, total = random_price(draw), draw.randrange(0, 20)
        known = draw.choice([None, draw.randrange(0, total + 1)])
        mind = draw.choice([None, draw.randrange(0, total + 1 - (known or 0))])
        every = [
            oracle(price, given, total - given, cached, thought)
            for given in range(total + 1)
            for cached in parts(known, given)
            for thought in parts(mind, total - given)
        ]
        cost = price.cost(cnroute.Usage(None, None, total, known, mind))
        assert cost is not None
        assert (Fraction(cost.low), Fraction(cost.high)) == (min(every), max(every))


def test_unknown_cached_tokens_make_a_range() -> None:
    """A cached price and no count of cached tokens: between all cached and none."""
    price = cnroute.Price("CNY", "10", "1", cached="2", per=1)
    assert price.cost(cnroute.Usage(5, 1)) == cnroute.Cost(Decimal(11), Decimal(51), "CNY")
    assert price.cost(cnroute.Usage(5, 1, cached_tokens=5)) == cnroute.Cost(Decimal(11), Decimal(11), "CNY")
    assert price.cost(cnroute.Usage(5, 1, cached_tokens=99)) == cnroute.Cost(Decimal(11), Decimal(11), "CNY")


def test_reasoning_has_a_price_of_its_own_where_the_vendor_asks_one() -> None:
    """Without it thinking is output; with it and no count of it, the cost is a range, and so is an estimate."""
    plain, apart = cnroute.Price("CNY", "1", "2", per=1), cnroute.Price("CNY", "1", "2", per=1, reasoning="8")
    told, silent = cnroute.Usage(5, 4, reasoning_tokens=3), cnroute.Usage(5, 4)
    assert plain.cost(told) == plain.cost(silent) == cnroute.Cost(Decimal(13), Decimal(13), "CNY")
    assert apart.cost(told) == cnroute.Cost(Decimal(31), Decimal(31), "CNY")
    assert apart.cost(silent) == apart.of(5, 4) == cnroute.Cost(Decimal(13), Decimal(37), "CNY")
    assert apart.about(5, 4) == 25
    assert apart.highest(5, 4) == 37


def test_a_price_holds_from_its_first_to_its_last_day() -> None:
    """Both days included; days begin at midnight in China."""
    price = cnroute.Price("CNY", "1", "1", valid_from="2026-01-01", valid_until=datetime.date(2026, 6, 30))
    held = [price.valid_on(day) for day in ("2025-12-31", "2026-01-01", "2026-06-30", "2026-07-01")]
    assert held == [False, True, True, False]
    assert cnroute.Price("CNY", "1", "1").valid_on("1999-01-01")
    midnight = datetime.datetime(2025, 12, 31, 16, tzinfo=datetime.UTC).timestamp()
    assert (day_of(midnight - 1), day_of(midnight), start_of("2026-01-01")) == ("2025-12-31", "2026-01-01", midnight)
    assert day_after("2024-02-28") == "2024-02-29"


def test_total_only_is_lower_and_higher_price_times_total() -> None:
    """The contract's own sentence."""
    cost = cnroute.Price("CNY", "2", "8", per=1).cost(cnroute.Usage(total_tokens=10))
    assert cost == cnroute.Cost(Decimal(20), Decimal(80), "CNY")
    assert cost is not None and not cost.exact and cost.amount is None


@pytest.mark.parametrize(
    ("usage", "low", "high"),
    [((5, 7, 100), 2 * 93 + 8 * 7, 2 * 5 + 8 * 95), ((0, 0, 9), 18, 72), ((5, 7, 12), 66, 66), ((50, 70, 10), 660, 660)],
    ids=str,
)
def test_a_total_above_its_halves_is_paid(usage: tuple[int, int, int], low: int, high: int) -> None:
    """What the total has more than the halves may be either; a total below them is none."""
    cost = cnroute.Price("CNY", "2", "8", per=1).cost(cnroute.Usage(*usage))
    assert cost == cnroute.Cost(Decimal(low), Decimal(high), "CNY")


def test_a_half_above_the_total_is_no_count() -> None:
    """Nothing exact can be made of it."""
    assert cnroute.Price("CNY", "2", "8", per=1).cost(cnroute.Usage(5, None, 3)) is None


def test_one_half_and_the_total_give_the_other() -> None:
    """A missing split is worked out where that is possible, and unknown otherwise."""
    price = cnroute.Price("CNY", "2", "8", per=1)
    for usage in (cnroute.Usage(3, None, 10), cnroute.Usage(None, 7, 10), cnroute.Usage(3, 7)):
        assert price.cost(usage) == cnroute.Cost(Decimal(62), Decimal(62), "CNY")
    for nothing in (None, cnroute.Usage(), cnroute.Usage(3), cnroute.Usage(None, 3)):
        assert price.cost(nothing) is None


def test_tiers_are_inclusive_and_price_the_whole_request() -> None:
    """At `up_to` the lower tier holds, one token more and all of it pays the next."""
    price = cnroute.Price("CNY", per=1, tiers=(cnroute.Tier(10, "1", "1"), {"up_to": None, "input": "5", "output": "7"}))
    assert price.of(10, 2) == cnroute.Cost(Decimal(12), Decimal(12), "CNY")
    assert price.of(11, 2) == cnroute.Cost(Decimal(69), Decimal(69), "CNY")


@pytest.mark.parametrize(
    "price",
    [
        cnroute.Price("CNY"),
        cnroute.Price("CNY", input="1"),
        cnroute.Price("CNY", output="1"),
        cnroute.Price("CNY", tiers=(cnroute.Tier(5, "1", "1"), cnroute.Tier(None, "1", None))),
    ],
)
def test_an_unknown_half_makes_the_price_unknown(price: cnroute.Price) -> None:
    """None is unknown and never taken for free."""
    assert not price.known
    assert price.cost(cnroute.Usage(1, 1)) is None
    assert price.highest(1, 1) is None


def test_free_is_a_price() -> None:
    """ "0" is free, and a cost of zero is exact."""
    cost = cnroute.Price("CNY", "0", "0").cost(cnroute.Usage(5, 5))
    assert cost is not None and cost.exact and cost.amount == 0


def test_searches_are_priced_apart() -> None:
    """A search has its own price; without one the cost is unknown, not smaller."""
    usage = cnroute.Usage(1, 1)
    assert cnroute.Price("CNY", "1", "1", per=1, search="0.03").cost(usage, 2) == cnroute.Cost(
        Decimal("2.06"), Decimal("2.06"), "CNY"
    )
    assert cnroute.Price("CNY", "1", "1", per=1).cost(usage, 1) is None


WRONG: list[dict[str, Any]] = [
    {"input": 1.5},
    {"input": "abc"},
    {"input": "-1"},
    {"input": "nan"},
    {"input": "inf"},
    {"input": True},
    {"input": []},
    {"input": ""},
    {"per": "0"},
    {"per": 0.5},
    {"per": None},
    {"cached": 0.1},
    {"search": 0.1},
    {"as_of": "soon"},
    {"as_of": 5},
    {"input": "1e999999999"},
    {"input": "1e-999999"},
    {"input": "1" * 60},
    {"per": "1e40"},
    {"tiers": [{"up_to": 5, "input": "1"}]},
    {"tiers": [{"upto": None}]},
    {"tiers": [{"up_to": None}, {"up_to": 5}]},
    {"tiers": [{"up_to": 5}, {"up_to": 5}, {"up_to": None}]},
    {"tiers": [{"up_to": 0}, {}]},
    {"tiers": [{"up_to": 5.5}, {}]},
    {"tiers": [{"up_to": "5"}, {}]},
    {"tiers": [{"up_to": True}, {}]},
    {"tiers": 5},
    {"tiers": [5]},
    {"tiers": [{"input": 0.1}]},
    {"currency": "cny"},
    {"currency": "RMB元"},
    {"currency": ""},
    {"currency": None},
    {"currency": "CNYX"},
    {"source": 5},
    {"reasoning": 0.5},
    {"tiers": [{"reasoning": "-1"}]},
    {"valid_from": "soon"},
    {"valid_until": 20261231},
    {"valid_from": "2026-02-01", "valid_until": "2026-01-31"},
]


@pytest.mark.parametrize("fields", WRONG, ids=repr)
def test_an_impossible_price_is_refused(fields: dict[str, Any]) -> None:
    """Floats, negative, infinite and absurd amounts, broken tiers and currencies are ConfigurationErrors."""
    raised(lambda: cnroute.Price(**{"currency": "CNY", **fields}), cnroute.ConfigurationError)


@pytest.mark.parametrize("value", ["0.8", " 0.8 ", Decimal("0.8"), 3, "1e-3", "0", 0])
def test_amounts_are_text_whole_numbers_or_decimals(value: Any) -> None:
    """What is no float is read exactly."""
    assert Fraction(amount(value, "x")) == Fraction(str(value).strip())


HOSTILE = decimal.Context(
    prec=3,
    rounding=decimal.ROUND_UP,
    Emax=5,
    Emin=-5,
    traps=[decimal.Inexact, decimal.Rounded, decimal.FloatOperation, decimal.Subnormal],
)


def bill_of_a_call() -> tuple[Any, ...]:
    """Everything about money in one call over two deployments."""
    price, other = (
        cnroute.Price("CNY", "1.2345678", "9.87654321"),
        cnroute.Price("USD", "0.1234567", "0.7654321", cached="0.0123456"),
    )
    toy = Toy(
        {"a": [error("server_error")], "b": [answer(usage=[123456, 7891])], "c": [answer(usage=[None, None, 12345])]},
        deployments=[deployment("a", price=price), deployment("b", price=other), deployment("c", price=other)],
        exchange={"USD": {"rate": "7.1234567", "as_of": "2026-11-01"}},
        routes={
            "chat": cnroute.Route("ordered", ["a", "b"]),
            "cheap": cnroute.Route("cheapest", ["a", "b", "c"]),
            "some": cnroute.Route("weighted", {"a": "0.3333333333", "b": 0.1, "c": 1}),
        },
    )
    reply, other_reply = toy.chat(max_cost="1234.5678"), toy.chat(model="c")
    plans = [toy.router.plan("你好", model=model, max_cost="0.0500001") for model in ("cheap", "some")]
    return reply.cost, reply.bill, str(reply.bill), other_reply.cost, [repr(plan) for plan in plans]


def test_the_hosts_decimal_context_changes_no_bill() -> None:
    """Three digits, odd rounding, traps for everything: bills, limits and plans stay the same."""
    usual = bill_of_a_call()
    with decimal.localcontext(HOSTILE):
        hostile = bill_of_a_call()
    assert hostile == usual
    assert usual[0] == cnroute.Cost(*[Decimal("0.1234567") * 0 + low for low in (usual[0].low, usual[0].high)], "CNY")
    exact = (Fraction("0.0123456") * 123456 + Fraction("0.7654321") * 7891) / 10**6 * Fraction("7.1234567")
    assert Fraction(usual[0].low) == exact


def test_huge_numbers_stay_exact() -> None:
    """A billion tokens at the largest price, in another currency, lose no digit."""
    most = "9" * 15 + "." + "9" * 17
    price = cnroute.Price("CNY", most, most, per=1)
    cost = price.cost(cnroute.Usage(10**9, 10**9))
    assert cost is not None
    assert Fraction(cost.low) == Fraction(most) * 2 * 10**9
    assert Fraction(cost.times(Decimal(most), "USD").low) == Fraction(most) ** 2 * 2 * 10**9
    assert Fraction(cost.plus(cost).low) == Fraction(most) * 4 * 10**9


def test_an_upper_bound_is_one() -> None:
    """No usage within the bounds costs more than `highest` says."""
    draw = random.Random(SEED)
    for _ in range(500):
        price, given, made = random_price(draw), draw.randrange(0, 90), draw.randrange(0, 90)
        bound = price.highest(given, made)
        assert bound is not None
        for _ in range(20):
            less, fewer = draw.randrange(0, given + 1), draw.randrange(0, made + 1)
            thought = draw.randrange(0, fewer + 1)
            assert oracle(price, less, fewer, draw.randrange(0, less + 1), thought) <= Fraction(bound)


def test_costs_and_bills_say_what_they_are() -> None:
    """Values: readable, comparable, picklable; currencies never meet by themselves."""
    exact, span = cnroute.Cost(Decimal("1.50"), Decimal("1.50"), "CNY"), cnroute.Cost(Decimal(1), Decimal(2), "CNY", True)
    assert (exact.amount, span.amount) == (Decimal("1.50"), None)
    assert (str(exact), str(span)) == ("1.5 CNY", "about 1 to 2 CNY")
    assert not cnroute.Cost(Decimal(1), Decimal(1), "CNY", estimated=True).exact
    assert exact.plus(span) == cnroute.Cost(Decimal("2.50"), Decimal("3.50"), "CNY", True)
    with pytest.raises(ValueError, match="currencies"):
        exact.plus(cnroute.Cost(Decimal(1), Decimal(1), "USD"))
    dollars = cnroute.Cost(Decimal(1), Decimal(1), "USD")
    assert add_up([exact, dollars, exact], "CNY") == (cnroute.Cost(Decimal("3.00"), Decimal("3.00"), "CNY"), dollars)
    assert add_up([exact, None], "CNY") is None
    assert add_up([], "CNY") == cnroute.Cost(Decimal(0), Decimal(0), "CNY")
    bill = cnroute.Bill(exact, None)
    assert str(bill) == "1.5 CNY, possibly an unknown amount more"
    assert pickle.loads(pickle.dumps(bill)) == bill
    assert plain(Decimal("1E+3")) == "1000"
    assert plain(Decimal("1E-7")) == "0.0000001"


def test_usage_never_makes_a_zero_up() -> None:
    """The total is filled in only where both halves are known; aliases follow."""
    assert cnroute.Usage(1, 2).total_tokens == 3
    assert cnroute.Usage(1).total_tokens is None
    assert (cnroute.Usage(1, 2).prompt_tokens, cnroute.Usage(1, 2).completion_tokens) == (1, 2)
    toy = Toy([{"text": "好", "finish": "stop"}], deployments=[deployment("a", price=cnroute.Price("CNY", "1", "1"))])
    reply = toy.chat()
    assert reply.usage is None
    assert reply.cost is not None and reply.cost.estimated and reply.cost.low <= reply.cost.high
    assert Toy([answer()], names="a").chat().cost is None


def test_the_bill_keeps_confirmed_and_possible_apart() -> None:
    """The winning attempt is confirmed, a failed one that may have been charged is possible on top of it."""
    price = cnroute.Price("CNY", "1", "1", per=1)
    toy = Toy(
        {"a": [error("server_error")], "b": [error("rate_limit")], "c": [answer()]},
        deployments=[deployment(name, price=price) for name in "abc"],
    )
    reply = toy.chat(max_tokens=10)
    assert reply.cost == reply.bill.confirmed == cnroute.Cost(Decimal(5), Decimal(5), "CNY")
    assert [attempt.billing for attempt in reply.attempts] == ["unknown", "none", "billed"]
    assert reply.attempts[1].cost is None
    assert reply.bill.possible.low == 0 < reply.bill.possible.high
    assert reply.bill.possible.estimated


def test_bills_of_several_currencies_stay_several() -> None:
    """Without a rate every currency has its own sum, with one they are joined in the router's."""
    prices = {"a": cnroute.Price("USD", "1", "1", per=1), "b": cnroute.Price("CNY", "1", "1", per=1)}
    answers = {"a": [error("server_error", billing="billed")], "b": [answer()]}
    made = [deployment(name, price=price) for name, price in prices.items()]
    bill = Toy(answers, deployments=made).chat(max_tokens=1).bill
    assert isinstance(bill.confirmed, tuple) and [cost.currency for cost in bill.confirmed] == ["USD", "CNY"]
    joined = Toy(answers, deployments=made, exchange={"USD": {"rate": "7", "as_of": "2026-01-01"}}).chat(max_tokens=1).bill
    assert joined.confirmed.currency == "CNY"


class TestMaxCost:
    """`max_cost` covers the whole call and is decided before anything is sent."""

    PRICE = cnroute.Price("CNY", "1", "1", per=1)

    def test_too_dear_is_refused_before_sending(self) -> None:
        """Every candidate too dear is a BudgetExceededError; nothing was sent."""
        toy = Toy([answer()], deployments=[deployment("a", price=self.PRICE), deployment("b", price=self.PRICE)])
        caught = raised(lambda: toy.chat(max_tokens=10, max_cost="1"))
        assert type(caught) is cnroute.BudgetExceededError
        assert (toy.asked, caught.attempts, caught.billing) == ([], (), "none")
        assert {each.rule for each in caught.plan.excluded} == {"budget_exceeded"}

    def test_an_unknown_price_is_refused(self) -> None:
        """What cannot be bounded is not sent, and a cheaper known one is."""
        toy = Toy([answer()], deployments=[deployment("a"), deployment("b", price=self.PRICE)])
        assert toy.chat(max_tokens=10, max_cost=1000).deployment == "b"
        assert toy.asked == ["b"]

    def test_a_fallback_that_could_pass_it_is_not_sent(self) -> None:
        """The first attempt may have cost its most; only what still fits is tried."""
        answers = {"a": [error("server_error")], "b": [answer()]}
        made = [deployment(name, price=self.PRICE) for name in "ab"]
        toy = Toy(answers, deployments=made)
        body = 100 + 10 + 16
        assert type(raised(lambda: toy.chat(max_tokens=10, max_cost=str(body + 50)))) is cnroute.ServerError
        assert toy.asked == ["a"]
        toy = Toy(answers, deployments=made)
        assert toy.chat(max_tokens=10, max_cost=str(2 * body + 50)).deployment == "b"

    def test_the_plan_knows_it(self) -> None:
        """A forecast excludes what the call would refuse."""
        toy = Toy(
            [answer()], deployments=[deployment("a", price=self.PRICE), deployment("b", price=cnroute.Price("CNY", "0", "0"))]
        )
        plan = toy.router.plan("你好", model="chat", max_cost="0.5")
        assert [each.deployment for each in plan.candidates] == ["b"]
        assert [(each.deployment, each.rule) for each in plan.excluded] == [("a", "budget_exceeded")]

    def test_searches_count(self) -> None:
        """A web search is part of the upper bound."""
        dear = cnroute.Price("CNY", "0", "0", search="5")
        toy = Toy([answer()], deployments=[deployment("a", price=dear)])
        assert type(raised(lambda: toy.chat(web_search=True, max_cost="1"))) is cnroute.BudgetExceededError
        assert toy.chat(web_search=True, max_cost="5").text == "好"
        assert toy.chat(max_cost="0").text == "好"

    def test_the_bound_holds_in_the_routers_currency(self) -> None:
        """A rate joins them; without one the price is as good as unknown."""
        dollars = cnroute.Price("USD", "1", "1", per=1)
        toy = Toy([answer()], deployments=[deployment("a", price=dollars)])
        assert type(raised(lambda: toy.chat(max_cost="1000000"))) is cnroute.BudgetExceededError
        rates = {"USD": {"rate": "0.000001", "as_of": "2026-01-01"}}
        assert Toy([answer()], deployments=[deployment("a", price=dollars)], exchange=rates).chat(max_cost="1").text == "好"


def test_a_route_may_mix_free_dear_and_unknown() -> None:
    """A zero price is a price; an unknown one ranks last and the plan says so."""
    prices = {"dear": cnroute.Price("CNY", "9", "9"), "unknown": None, "free": cnroute.Price("CNY", "0", "0")}
    made = [deployment(name, price=price) for name, price in prices.items()]
    router = cnroute.Router(made, {"c": cnroute.Route("cheapest", list(prices))}, transport=FakeTransport(), plugins=host())
    plan = router.plan("x", model="c")
    assert [each.deployment for each in plan.candidates] == ["free", "dear", "unknown"]
    assert "unknown price" in plan.candidates[-1].reason
    assert plan.candidates[-1].cost is None
