"""Filters of routes: capabilities and context windows, nested at will, decided when a router is made."""

from __future__ import annotations

import random
from typing import Any

import pytest

import cnroute
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, host, raised

MODELS = (
    cnroute.ModelInfo("plain", 8_000, capabilities=()),
    cnroute.ModelInfo("tools", 32_000, capabilities=("tools", "streaming")),
    cnroute.ModelInfo("all", 200_000, capabilities=("tools", "streaming", "json", "reasoning")),
    cnroute.ModelInfo("silent"),
)
PLACES = [deployment(info.name, info.name) for info in MODELS]


def toy(route: Any, **routes: Any) -> Toy:
    return Toy([answer()], plugins=host(ToyProvider(models=MODELS)), deployments=PLACES, routes={"chat": route, **routes})


def candidates(made: Toy) -> list[str]:
    return [each.deployment for each in made.router.plan("x", model="chat").candidates]


def left_out(made: Toy) -> dict[str, str]:
    return {each.deployment: each.reason for each in made.router.plan("x", model="chat").excluded}


EVERYONE = [info.name for info in MODELS]


@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        ({}, EVERYONE),
        ({"requires": ["tools"]}, ["tools", "all", "silent"]),
        ({"requires": {"tools", "json"}}, ["all"]),
        ({"min_context": 32_000}, ["tools", "all"]),
        ({"min_context": 32_001}, ["all"]),
        ({"requires": ["tools"], "min_context": 1}, ["tools", "all"]),
    ],
)
def test_what_passes(filters: dict[str, Any], passing: list[str]) -> None:
    """Capabilities of the model, else of its provider; an unknown window is not known to be large enough."""
    made = toy(cnroute.Route(targets=EVERYONE, **filters))
    assert candidates(made) == passing
    assert set(left_out(made)) == set(EVERYONE) - set(passing)
    assert made.chat().deployment == passing[0]


def test_a_plan_says_why_and_never_twice() -> None:
    """Every deployment exactly once, with the rule, its inputs, and words in both languages."""
    plan = toy(cnroute.Route(targets=EVERYONE, requires=["json"], min_context=9)).router.plan("x", model="chat")
    out = {each.deployment: (each.rule, dict(each.inputs)) for each in plan.excluded}
    assert out == {
        "plain": ("filtered", {"missing": "json"}), "tools": ("filtered", {"missing": "json"}),
        "silent": ("filtered", {"missing": "json"}),
    }  # fmt: skip
    reasons = left_out(toy(cnroute.Route(targets=EVERYONE, min_context=9_000)))
    assert reasons["silent"].endswith("its own is not known") and reasons["plain"].endswith("its own is 8000")
    assert "路由要求 json，而它不具备" in plan.explain("zh")
    text = toy(cnroute.Route(targets=EVERYONE, min_context=9_000)).router.plan("x", model="chat").explain("zh")
    assert "路由要求上下文至少 9000，而其仅为 8000" in text and "而其长度未知" in text


def test_filters_nest_and_add_up() -> None:
    """An outer filter holds inside, too; what passes on another way is a candidate."""
    inner = cnroute.Route(targets=["plain", "tools", "all"], requires=["tools"])
    assert candidates(toy(cnroute.Route(targets=[inner, "plain"]))) == ["tools", "all", "plain"]
    outer = cnroute.Route(targets=[inner, "plain"], min_context=100_000)
    assert candidates(toy(outer)) == ["all"]
    assert left_out(toy(outer))["plain"].startswith("the route asks for tools")
    strict = cnroute.Route(targets=["plain", "all"], requires=["reasoning"])
    assert candidates(toy(cnroute.Route("cheapest", ["strict", "silent"]), strict=strict)) == ["all", "silent"]
    nobody = cnroute.Route(targets=["plain"], requires=["reasoning"])
    assert candidates(toy(cnroute.Route("cheapest", [nobody, "silent"]))) == ["silent"]


def test_weights_and_places_stay_with_their_targets() -> None:
    """What a filter leaves out takes its weight along, and records tell places as they were written."""
    route = cnroute.Route("weighted", {"plain": 1000, "tools": 0, "all": 1}, requires=["tools"])
    made = toy(route)
    assert {made.chat().deployment for _ in range(20)} == {"all"}
    levels = {each.deployment: each.order_by[0] for each in made.router.plan("x", model="chat").candidates}
    assert {name: (level["target"], level["weight"]) for name, level in levels.items()} == {"all": (3, "1"), "tools": (2, "0")}


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"targets": ["plain"], "requires": ["tools"]}, "no target passes the filters (plain: the route asks for tools"),
        ({"targets": ["plain"], "requires": ["tool"]}, "there is no capability 'tool'"),
        ({"targets": ["plain"], "requires": "tools"}, "must be a list of capabilities"),
        ({"targets": ["plain"], "requires": 5}, "must be a list of capabilities"),
        ({"targets": ["plain"], "min_context": 0}, "min_context must be a whole number"),
        ({"targets": ["plain"], "min_context": "8k"}, "min_context must be a whole number"),
        ({"targets": ["plain"], "min_context": True}, "min_context must be a whole number"),
        ({"targets": [{"targets": ["plan"]}]}, "did you mean 'plain'"),
        ({"targets": [{"targets": [{"targets": ["chat"]}]}]}, "routes form a circle: chat > chat"),
        ({"targets": ["other"]}, "routes form a circle: chat > other > chat"),
        ({"policy": "cheapst", "targets": ["plain"]}, "did you mean 'cheapest'"),
        ({"targets": [{"policy": "fastst", "targets": ["plain"]}]}, "did you mean 'fastest'"),
        ({"policy": "weighted", "targets": {"plain": 0, "tools": 0}}, "at least one weight must be above 0"),
        ({"policy": "weighted", "targets": {"plain": -1}}, "at least 0"),
        ({"policy": "weighted", "targets": {"plain": "heavy"}}, "no decimal number"),
        ({"policy": "cheapest", "targets": {"plain": 1}}, "targets with weights need policy"),
        ({"targets": []}, "at least one target"),
        ({"targets": [{"targets": []}]}, "at least one target"),
        ({"targets": [5]}, "a target is a name or a Route"),
    ],
)
def test_every_mistake_is_named_when_a_router_is_made(route: dict[str, Any], said: str) -> None:
    """Cycles, unknown names, weights, filters: as data, with the route's key; nothing is left for the first call."""
    caught = raised(lambda: toy(route, other=["chat"]), cnroute.ConfigurationError)
    assert said in str(caught)
    assert any(problem.key.startswith("routes.chat") for problem in caught.problems)


def test_policies_nest_at_will() -> None:
    """Every policy in every other, four deep, from a mapping: every deployment is tried once, and a plan says so before."""
    draw = random.Random(4)

    def nested(depth: int) -> dict[str, Any]:
        policy = draw.choice(["ordered", "weighted", "cheapest", "fastest"])
        names = draw.sample(EVERYONE, draw.randrange(1, 5))
        inner = [nested(depth - 1)] if depth else []
        return {"policy": policy, "targets": [*names, *inner], **({"requires": ["tools"]} if draw.random() < 0.2 else {})}

    for _ in range(60):
        route = nested(4)
        settings: dict[str, Any] = {
            "plugins": host(ToyProvider(models=MODELS)), "deployments": PLACES, "routes": {"chat": route}, "breaker": None,
            "retries": cnroute.Retries(max_attempts=9, max_paid_attempts=9),
        }  # fmt: skip
        try:
            planned = candidates(Toy([answer()], random=random.Random(7), **settings))
        except cnroute.ConfigurationError as refused:
            assert "no target passes the filters" in str(refused)
            continue
        bad = Toy([error("auth")], random=random.Random(7), **settings)
        raised(bad.chat)
        assert bad.asked == planned and len(set(planned)) == len(planned)


def test_filters_read_the_same_from_a_configuration() -> None:
    """`requires` and `min_context` of a table; mistakes come with their key, all at once."""
    places = {info.name: {"provider": "dashscope", "model": name, "api_key": "sk-x"} for info, name in zip(
        MODELS, ["yi-large", "MiniMax-M2.5", "qwen-plus", "abab6.5s-chat"], strict=True)}  # fmt: skip
    good = {"targets": list(places), "requires": ["tools"], "min_context": 100_000}
    router = cnroute.Router.from_config({"deployments": places, "routes": {"chat": good}})
    assert [each.deployment for each in router.plan("x", model="chat").candidates] == ["tools"]
    wrong = {"targets": list(places), "requires": ["tool", 5], "min_context": "8k"}
    caught = raised(
        lambda: cnroute.Router.from_config({"deployments": places, "routes": {"chat": wrong}}), cnroute.ConfigurationError
    )
    assert {problem.key for problem in caught.problems} == {
        "routes.chat.requires[0]", "routes.chat.requires[1]", "routes.chat.min_context",
    }  # fmt: skip
