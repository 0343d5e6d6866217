"""Simulated days against the log that they were made from, and against days that were really played."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from cnroute.simulate import read_log, report_schema, simulate
from cnroute.simulate.log import HOME
from cnroute.simulate.tally import recorded
from tests.flow import toy
from tests.simulate import days

COUNT = 600


def played(text: str, structure: Mapping[str, Any] | None, *policies: str, **more: Any) -> dict[str, dict[str, Any]]:
    """The columns of a report by name."""
    report = simulate(read_log(text), config=structure, policies=policies, plugins=toy.usual_host(), **more)
    jsonschema.validate(report, report_schema())
    return {result["name"]: result for result in report["results"]}


def paid(result: Mapping[str, Any]) -> Decimal:
    (cost,) = result["cost"]["confirmed"]
    assert cost["low"] == cost["high"]
    return Decimal(cost["low"])


@pytest.fixture(scope="module")
def weighted() -> str:
    """The log of a day on which every deployment was asked first by turns."""
    return days.day(7, COUNT, days.config("weighted"))


def near(one: float, other: float, part: float) -> bool:
    return abs(one - other) <= part * abs(other)


def test_the_unchanged_policy_gives_the_logs_own_totals() -> None:
    """A policy that goes by the order alone: calls, outcomes, attempts, times and money to the digit.

    What failed attempts may have cost is an estimate from the request; it agrees within 2 %.
    """
    structure = days.config("ordered")
    columns = played(days.day(3, COUNT, structure), structure)
    log, again = columns["log"], columns["unchanged"]
    for key in ("calls", "answered", "outcomes", "attempts", "calls_by_attempts", "deployments", "seconds"):
        assert again[key] == log[key]
    assert again["cost"]["confirmed"] == log["cost"]["confirmed"]
    assert again["origins"]["recorded"] == log["attempts"] > COUNT
    assert near(float(again["cost"]["possible"][0]["high"]), float(log["cost"]["possible"][0]["high"]), 0.02)


@pytest.mark.parametrize("policy", ["cheapest", "fastest"])
def test_policies_that_measure_agree_within_a_percent(policy: str) -> None:
    """They go by estimates of tokens, rates and times that differ in the last digits: all totals within 1 %."""
    structure = days.config(policy)
    columns = played(days.day(3, COUNT, structure), structure)
    log, again = columns["log"], columns["unchanged"]
    assert again["origins"]["recorded"] > 0.97 * log["attempts"]
    for key in ("answered", "attempts"):
        assert near(again[key], log[key], 0.01)
    assert near(float(paid(again)), float(paid(log)), 0.01)
    assert near(again["seconds"]["mean"], log["seconds"]["mean"], 0.01)


def test_with_other_dice_the_totals_agree_within_a_few_percent(weighted: str) -> None:
    """`weighted` draws anew: success within 0.01, attempts within 3 %, money and the median within 10 %."""
    structure = days.config("weighted")
    columns = played(weighted, structure)
    log, again = columns["log"], columns["unchanged"]
    assert 0 < again["origins"]["recorded"] < again["attempts"]
    assert abs(again["success"] - log["success"]) < 0.01
    assert near(again["attempts"], log["attempts"], 0.03)
    assert near(float(paid(again)), float(paid(log)), 0.1)
    assert near(again["seconds"]["p50"], log["seconds"]["p50"], 0.1)


def true_day(seed: int, count: int, policy: str) -> dict[str, Any]:
    """The figures of a day that was really played under `policy`."""
    return recorded(read_log(days.day(seed, count, days.config(policy)))).report()


def hold(forecast: Mapping[str, Any], truth: Mapping[str, Any], money: float, time: float) -> None:
    assert near(float(paid(forecast)), float(paid(truth)), money)
    assert abs(forecast["success"] - truth["success"]) < 0.01
    assert near(forecast["attempts"], truth["attempts"], 0.05)
    for part in ("p50", "p90"):
        assert near(forecast["seconds"][part], truth["seconds"][part], time)


def test_another_policy_comes_out_as_when_it_is_really_played(weighted: str) -> None:
    """From the log of a `weighted` day: what another policy would have cost and how well it would have gone, and the truth.

    Money within 10 %, success within 0.01, attempts within 5 %, the median and p90 within 20 %; with ten thousand calls
    money within 3 % and times within 5 %.
    """
    columns = played(weighted, days.config("weighted"), "ordered", "cheapest", "fastest")
    for policy in ("ordered", "cheapest", "fastest"):
        hold(columns[policy], true_day(7, COUNT, policy), 0.1, 0.2)


@pytest.mark.slow
def test_ten_thousand_calls_of_another_policy_come_out_closer() -> None:
    """The same with 10,000 calls: money within 3 %, times within 5 %."""
    columns = played(days.day(7, 10_000, days.config("weighted")), days.config("weighted"), "ordered", "cheapest", "fastest")
    for policy in ("ordered", "cheapest", "fastest"):
        hold(columns[policy], true_day(7, 10_000, policy), 0.03, 0.05)


def test_a_seed_gives_one_report(weighted: str) -> None:
    """The same seed gives the same report, another one another."""
    structure = days.config("weighted")
    text = "\n".join(weighted.splitlines()[:150])
    one, same, other = (played(text, structure, "cheapest", seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one["cheapest"] != other["cheapest"]


def hour(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, HOME).strftime("%H:%M")


def test_an_outage_moves_calls_and_nothing_else() -> None:
    """For a quarter of the day the first vendor refuses connections: its calls go to the second, for its price."""
    structure = days.config("ordered")
    text = days.day(3, 400, structure)
    start = days.NOON + 86_400 / 2
    when = f"{hour(start)}-{hour(start + 6 * 3600)}"
    calm = played(text, structure)["unchanged"]
    down = played(text, structure, outages=[f"a@{when}"])["unchanged"]
    assert 60 <= down["origins"]["outage"] <= 110
    assert calm["deployments"]["a"]["answered"] - down["deployments"]["a"]["answered"] >= 90
    assert down["deployments"]["b"]["answered"] > calm["deployments"]["b"]["answered"] + 80
    assert abs(down["success"] - calm["success"]) < 0.01
    assert paid(down) < paid(calm)
    hung = played(text, structure, outages=[f"a@{when}=first_byte_timeout"])["unchanged"]
    assert hung["seconds"]["p90"] > down["seconds"]["p90"] + 5
    assert hung["cost"]["possible"] != down["cost"]["possible"]


def test_other_prices_change_the_money_alone() -> None:
    """A price list goes before the deployments' own prices; the order of `ordered` stays."""
    structure = days.config("ordered")
    text = days.day(3, 200, structure)
    price = {"currency": "CNY", "input": "1", "output": "1", "as_of": "2026-01-01"}
    listed = {"prices": [{"provider": "toy", "model": "toy-1", **price}]}
    before, after = played(text, structure)["unchanged"], played(text, structure, prices=listed)["unchanged"]
    assert before["seconds"] == after["seconds"]
    tokens = sum((call.usage.total_tokens or 0) for call in read_log(text).calls if call.usage is not None)
    assert paid(after) == Decimal(tokens) / 1_000_000
    assert paid(before) > paid(after)


def test_calls_that_overlap_share_places_budgets_and_rates() -> None:
    """All at once they wait for the places that there are; a budget stops the day where it is used up."""
    structure = days.config("ordered")
    text = days.day(3, 120, structure, streams=0.5)
    at_once = re.sub(r'"started": [0-9.]+', '"started": 1790000000.0', text)
    limits = {"max_in_flight": 2, "max_queue": 500}
    narrow = {**structure, "router": {"limits": limits, "timeouts": {"total": 900, "pool": 900}}}
    crowded = played(at_once, narrow)["unchanged"]
    assert crowded["seconds"]["p99"] > 20 * crowded["seconds"]["mean"] / crowded["calls"]
    assert crowded["seconds"]["p50"] > 10 * played(text, structure)["unchanged"]["seconds"]["p50"]
    full = {**structure, "router": {"limits": {"max_in_flight": 2, "max_queue": 0}}}
    assert played(at_once, full)["unchanged"]["outcomes"]["local_overload"] > 100
    poor = {**structure, "router": {"budgets": [{"cap": "0.5"}]}}
    spent = played(text, poor)["unchanged"]
    assert spent["outcomes"]["budget_exceeded"] > 20
    assert paid(spent) <= Decimal("0.5")


def test_without_a_configuration_the_log_tells_who_there_is(weighted: str) -> None:
    """Deployments and routes of the log; the totals agree within a few percent, and the report says what it assumed."""
    report = simulate(read_log(weighted), policies=["ordered"], plugins=toy.usual_host())
    log, again, ordered = report["results"]
    assert near(again["attempts"], log["attempts"], 0.05)
    assert abs(again["success"] - log["success"]) < 0.02
    assert ordered["deployments"].keys() == log["deployments"].keys()
    assert "no configuration" in [entry["id"] for entry in report["assumptions"]]


def test_policies_over_nested_routes(weighted: str) -> None:
    """A policy's name orders all deployments below a route; `weighted` keeps weights where there are some."""
    text = "\n".join(weighted.splitlines()[:120])
    structure = days.config("ordered")
    structure = {**structure, "routes": {"chat": ["b", "more"], "more": {"policy": "cheapest", "targets": ["a", "c"]}}}
    columns = played(text, structure, "fastest", "weighted", "ordered")
    assert columns["unchanged"]["deployments"]["b"]["asked"] >= 120
    assert columns["ordered"]["deployments"]["b"]["asked"] >= 120
    assert all(30 < columns["weighted"]["deployments"][name]["asked"] < 60 for name in "abc")
    assert columns["fastest"]["deployments"]["c"]["asked"] > 80
    kept = {**structure, "routes": {"chat": {"policy": "weighted", "targets": {"a": 0, "b": 1, "c": 0}}}}
    assert played(text, kept, "weighted")["weighted"]["deployments"]["b"]["asked"] >= 120


def test_a_new_deployment_is_named() -> None:
    """One without history answers like all others together, and the report names it."""
    structure = days.config("ordered")
    text = days.day(3, 150, structure)
    new = {**structure["deployments"]["a"], "model": "toy-2"}
    more = {**structure, "deployments": {"new": new, **structure["deployments"]}, "routes": {"chat": ["new", "a"]}}
    report = simulate(read_log(text), config=more, plugins=toy.usual_host())
    (entry,) = [entry for entry in report["assumptions"] if entry["id"] == "no history"]
    assert "new" in entry["deployments"]
    assert entry["count"] == report["results"][1]["origins"]["pooled"] >= 150
