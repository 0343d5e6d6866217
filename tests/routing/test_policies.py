"""Policies and plans: who comes first, why, and that every deployment stands in a plan exactly once."""

from __future__ import annotations

import decimal
import random
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import cnroute
from cnroute.money import Cost
from cnroute.routing.health import Snapshot
from cnroute.routing.policies import POLICIES, Context, Option
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, host, raised

USUAL = Context(random.Random(1).random)


def names(policy: str, options: list[Option], context: Context = USUAL) -> list[str]:
    return [option.name for option in POLICIES[policy]().order(options, context)]


def cost(amount: str) -> Cost:
    return Cost(Decimal(amount), Decimal(amount), "CNY", True)


def test_ordered_is_as_written() -> None:
    """Nothing moves anything."""
    options = [Option("b", cost=cost("9"), index=0), Option("a", cost=cost("1"), index=1)]
    assert names("ordered", options) == ["b", "a"]


class TestWeighted:
    """Exact fractions, independent draws."""

    def test_the_draw_is_exact_at_its_edges(self) -> None:
        """The mark belongs to the option whose stretch of [0, sum) holds it."""
        options = [
            Option("a", Decimal("0.1"), index=0),
            Option("b", Decimal("0.2"), index=1),
            Option("c", Decimal("0.7"), index=2),
        ]
        for number in range(1000):
            mark = number / 1000
            place = Fraction(mark) * Fraction(1)
            expected = "a" if place < Fraction(1, 10) else "b" if place < Fraction(3, 10) else "c"
            assert names("weighted", options, Context(lambda mark=mark: mark))[0] == expected
        assert names("weighted", options, Context(lambda: 1.0))[0] == "c"

    def test_shares_follow_the_weights(self) -> None:
        """3 to 1 over 8,000 draws, within four standard deviations."""
        options = [Option("a", Decimal(3), index=0), Option("b", Decimal(1), index=1)]
        context = Context(random.Random(5).random)
        first = sum(names("weighted", options, context)[0] == "a" for _ in range(8000))
        assert abs(first - 6000) < 160

    def test_weight_zero_is_only_a_fallback(self) -> None:
        """Never first, always there; first only where nothing else is left."""
        options = [Option("zero", Decimal(0), index=0), Option("a", Decimal(1), index=1), Option("b", Decimal("1e-9"), index=2)]
        context = Context(random.Random(5).random)
        for _ in range(300):
            order = names("weighted", options, context)
            assert order[-1] == "zero" and sorted(order) == ["a", "b", "zero"]
        toy = Toy({"a": [error("rate_limit")], "b": [answer()]}, routes={"chat": cnroute.Route("weighted", {"b": 0, "a": 1})})
        assert toy.chat().deployment == "b"

    def test_the_hosts_decimal_context_changes_no_draw(self) -> None:
        """One digit of precision and traps for everything."""
        options = [Option(str(number), Decimal("0.123456789") * number, index=number) for number in range(1, 6)]
        usual = [names("weighted", options, Context(random.Random(seed).random)) for seed in range(50)]
        with decimal.localcontext(decimal.Context(prec=1, traps=[decimal.Inexact, decimal.Rounded, decimal.FloatOperation])):
            assert [names("weighted", options, Context(random.Random(seed).random)) for seed in range(50)] == usual
            assert names(
                "cheapest", [Option("a", cost=cost("1.23456"), index=0), Option("b", cost=cost("1.23455"), index=1)]
            ) == ["b", "a"]

    @pytest.mark.parametrize("weight", ["3", 3, Decimal(3), 0.3, "0.3"])
    def test_weights_may_be_any_exact_number(self, weight: Any) -> None:
        """Floats are read as they are written."""
        toy = Toy([answer()], names="a b", routes={"chat": cnroute.Route("weighted", {"a": weight, "b": 0})})
        assert toy.router._engine.binding.courses["chat"].group.weights[0] == Decimal(str(weight))


class TestCheapest:
    """cost x (p + u) / p."""

    def test_the_formula(self) -> None:
        """Failures that may have been charged move a deployment, free failures do not."""
        draw = random.Random(11)
        for _ in range(200):
            options = []
            for number in range(5):
                good = draw.uniform(0.1, 1)
                seen = Snapshot(success=good, paid_failure=draw.uniform(0, 1 - good))
                options.append(Option(str(number), cost=cost(f"{draw.uniform(0, 9):.6f}"), health=seen, index=number))

            def expected(option: Option) -> Fraction:
                good, paid = Fraction(option.health.success), Fraction(option.health.paid_failure)
                assert option.cost is not None
                return Fraction(option.cost.low) * (good + paid) / good

            assert names("cheapest", options) == [option.name for option in sorted(options, key=expected)]

    def test_ties_keep_the_written_order_and_unknown_is_last(self) -> None:
        """A zero price is a price."""
        options = [
            Option("unknown", index=0),
            Option("b", cost=cost("1"), index=1),
            Option("a", cost=cost("1.0"), index=2),
            Option("free", cost=cost("0"), index=3),
            Option("unknown too", index=4),
        ]
        assert names("cheapest", options) == ["free", "b", "a", "unknown", "unknown too"]

    def test_paid_failures_move_a_deployment_and_free_ones_do_not(self) -> None:
        """Through a whole router: 500s make the cheap one dearer than the other, 429s never."""
        made = [
            deployment("cheap", price=cnroute.Price("CNY", "10", "10")),
            deployment("dear", price=cnroute.Price("CNY", "11", "11")),
        ]
        for kind, first in (("server_error", "dear"), ("rate_limit", "cheap")):
            toy = Toy(
                {"cheap": [error(kind)], "dear": [answer()]},
                deployments=made,
                routes={"chat": cnroute.Route("cheapest", ["cheap", "dear"])},
                breaker=None,
            )
            for _ in range(5):
                toy.chat()
            assert toy.router.plan("你好", model="chat", max_tokens=100).candidates[0].deployment == first

    def test_the_request_decides(self) -> None:
        """Long prompts and long answers are priced as what they are."""
        made = [deployment("in", price=cnroute.Price("CNY", "1", "10")), deployment("out", price=cnroute.Price("CNY", "10", "1"))]
        toy = Toy(deployments=made, routes={"chat": cnroute.Route("cheapest", ["in", "out"])})
        assert toy.router.plan("你" * 5000, model="chat", max_tokens=1).candidates[0].deployment == "in"
        assert toy.router.plan("你", model="chat", max_tokens=5000).candidates[0].deployment == "out"

    def test_answers_that_came_shorten_the_estimate(self) -> None:
        """The running mean of output replaces `max_tokens` where it is known."""
        made = [deployment("a", price=cnroute.Price("CNY", "0", "1", per=1))]
        toy = Toy([answer(usage=[5, 7])], deployments=made)
        before = toy.router.plan("x", model="chat", max_tokens=100).candidates[0].cost
        toy.chat(max_tokens=100)
        after = toy.router.plan("x", model="chat", max_tokens=100).candidates[0].cost
        assert (before.low, after.low) == (100, 7)
        assert before.estimated and after.estimated


class TestFastest:
    """Decaying averages; what is unknown is explored."""

    def test_the_unmeasured_comes_first_then_the_quickest(self) -> None:
        """By the time to the first content for streams, to the end for plain calls."""
        options = [
            Option("slow", health=Snapshot(seconds=9, first_content=1), index=0),
            Option("quick", health=Snapshot(seconds=2, first_content=1.5), index=1),
            Option("new", index=2),
            Option("flaky", health=Snapshot(success=0.1, seconds=1, first_content=1), index=3),
        ]
        assert names("fastest", options) == ["new", "quick", "slow", "flaky"]
        assert names("fastest", options, Context(random.random, stream=True)) == ["new", "slow", "quick", "flaky"]

    def test_a_router_learns(self) -> None:
        """Both are explored; then the faster one is asked."""
        toy = Toy(
            [answer()],
            routes={"chat": cnroute.Route("fastest", ["a", "b"])},
            advance=lambda step, sent: toy.clock.advance(3 if sent.deployment == "a" else 1),
        )
        for _ in range(5):
            toy.chat()
        assert toy.asked == ["a", "b", "b", "b", "b"]


class Misbehaving:
    """A plugin whose policy does `action` with its options."""

    def __init__(self, action: Any) -> None:
        self.action = action

    @cnroute.hookimpl
    def create_policy(self, name: str, settings: Any) -> Any:
        return self if name == "odd" else None

    def order(self, options: Any, context: Any) -> Any:
        return self.action(list(options))


def boom(options: Any) -> Any:
    raise ZeroDivisionError("boom")


class TestForeignPolicies:
    """They arrive through `create_policy`; one that misbehaves is a typed error that names it."""

    @pytest.mark.parametrize(
        "action",
        [
            lambda o: [],
            lambda o: o[:1],
            lambda o: o + o,
            lambda o: o[:1] * 2,
            lambda o: None,
            lambda o: ["a", "b"],
            lambda o: 5,
            boom,
            lambda o: [None, None],
        ],
        ids=range(9),
    )
    @pytest.mark.parametrize("method", ["chat", "plan"])
    def test_one_that_misbehaves(self, action: Any, method: str) -> None:
        """Losing, adding, repeating, raising, returning something else."""
        toy = Toy([answer()], plugins=host(ToyProvider(), Misbehaving(action)), routes={"chat": cnroute.Route("odd", ["a", "b"])})
        caught = raised(lambda: getattr(toy.router, method)("x", model="chat"))
        assert type(caught) is cnroute.HookError
        assert "odd" in caught.message
        assert toy.asked == []

    @pytest.mark.parametrize(
        "action", [lambda o: o[::-1], reversed, lambda o: (each for each in o[::-1]), lambda o: tuple(o[::-1])]
    )
    def test_one_that_behaves(self, action: Any) -> None:
        """Any iterable of all options will do; alone an option is not asked about."""
        plugins = host(ToyProvider(), Misbehaving(action))
        toy = Toy(
            [answer()], plugins=plugins, routes={"chat": cnroute.Route("odd", ["a", "b"]), "one": cnroute.Route("odd", ["a"])}
        )
        assert toy.chat().deployment == "b"
        assert [each.deployment for each in toy.router.plan("x", model="chat").candidates] == ["b", "a"]
        assert toy.chat(model="one").deployment == "a"

    def test_one_that_cannot_be_made(self) -> None:
        """Raising, or returning something without `order`, is a ConfigurationError; None is an unknown policy."""

        class Maker:
            def __init__(self, make: Any) -> None:
                self.make = make

            @cnroute.hookimpl
            def create_policy(self, name: str) -> Any:
                return self.make(())

        for make in (boom, lambda _: 5, lambda _: None, lambda _: sys.exit(1)):
            caught = raised(
                lambda make=make: Toy(plugins=host(ToyProvider(), Maker(make)), routes={"chat": cnroute.Route("odd", ["a"])}),
                cnroute.ConfigurationError,
            )
            assert "odd" in str(caught)

    def test_one_that_empties_what_it_was_given(self) -> None:
        """It cannot lose the options by taking them out of the list that they came in."""

        class Emptying(Misbehaving):
            @cnroute.hookimpl
            def create_policy(self, name: str, settings: Any) -> Any:
                return self

            def order(self, options: Any, context: Any) -> Any:
                options.clear()
                return options

        toy = Toy([answer()], plugins=host(ToyProvider(), Emptying(None)), routes={"chat": cnroute.Route("odd", ["a", "b"])})
        assert type(raised(toy.chat)) is cnroute.HookError


class TestPlans:
    """A plan is a forecast: complete, pure, and true while nothing fails."""

    def test_every_deployment_exactly_once(self) -> None:
        """However often it is named in nested routes."""
        inner = cnroute.Route("cheapest", ["b", "c", "a"])
        toy = Toy(names="a b c d", routes={"chat": cnroute.Route("ordered", ["a", "a", inner, "more"]), "more": ["d", "b"]})
        assert [each.deployment for each in toy.router.plan("x", model="chat").candidates] == ["a", "b", "c", "d"]
        assert [each.rank for each in toy.router.plan("x", model="chat").candidates] == [1, 2, 3, 4]

    def test_a_nested_route_counts_as_its_first(self) -> None:
        """It is ranked by the deployment that it would begin with, and stays together."""
        prices = {"a": "5", "b": "9", "c": "1", "d": "4"}
        made = [deployment(name, price=cnroute.Price("CNY", price, price)) for name, price in prices.items()]
        route = cnroute.Route("cheapest", ["a", cnroute.Route("ordered", ["b", "c"]), cnroute.Route("cheapest", ["b", "d"])])
        toy = Toy(deployments=made, routes={"chat": route})
        assert [each.deployment for each in toy.router.plan("x", model="chat").candidates] == ["d", "b", "a", "c"]

    def test_a_plan_sends_nothing_and_takes_nothing(self) -> None:
        """No request, no place, no sleep; readable, with a record."""
        toy = Toy([answer()])
        plan = toy.router.plan("你好", model="chat")
        assert (toy.asked, toy.clock.slept) == ([], [])
        assert {health["in_flight"] for health in toy.router.health().values()} == {0}
        assert "a" in str(plan) and plan.route == "chat" and plan.policy == "ordered"
        assert plan.estimated_input_tokens > 0
        assert plan.record()["route"] == "chat"
        assert plan.explain("zh") != plan.explain("en")

    def test_the_plan_is_what_happens(self) -> None:
        """300 random healthy configurations: the first candidate answers, the others follow in the plan's order."""
        draw, plugins = random.Random(300), host()
        for number in range(300):
            count = draw.randrange(1, 6)
            deployments = [
                deployment(
                    f"d{each}", price=draw.choice([None, cnroute.Price("CNY", str(draw.randrange(9)), str(draw.randrange(9)))])
                )
                for each in range(count)
            ]
            route = self.random_route(draw, [each.name for each in deployments], 0)
            seed = draw.random()
            arguments = {"max_tokens": draw.randrange(1, 999)}
            settings: dict[str, Any] = {
                "deployments": deployments,
                "plugins": plugins,
                "routes": {"chat": route},
                "breaker": None,
                "retries": cnroute.Retries(max_attempts=9, max_paid_attempts=9),
            }
            plan = Toy([answer()], random=random.Random(seed), **settings).router.plan(
                f"你好 {number}", model="chat", **arguments
            )
            assert len({each.deployment for each in plan.candidates}) == len(plan.candidates)
            good = Toy([answer()], random=random.Random(seed), **settings)
            assert good.chat(f"你好 {number}", **arguments).deployment == plan.candidates[0].deployment
            bad = Toy([error("auth")], random=random.Random(seed), **settings)
            raised(lambda bad=bad, arguments=arguments, number=number: bad.chat(f"你好 {number}", **arguments))
            assert bad.asked == [each.deployment for each in plan.candidates]

    def random_route(self, draw: random.Random, targets: list[str], depth: int) -> cnroute.Route:
        policy = draw.choice(["ordered", "weighted", "cheapest", "fastest"])
        if policy == "weighted":
            return cnroute.Route(
                "weighted", {name: draw.choice([0, 1, "0.5"]) if place else 1 for place, name in enumerate(targets)}
            )
        members: list[Any] = list(targets)
        if depth < 2 and draw.random() < 0.5:
            members.insert(draw.randrange(len(members) + 1), self.random_route(draw, targets, depth + 1))
        return cnroute.Route(policy, members)
