"""Two hundred golden bills: what a router says of a call is what fractions say of it, to the last digit."""

from __future__ import annotations

import ast
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing import FakeTransport
from tests.data import bills
from tests.flow.toy import Toy, deployment, error, frames, raised

CASES = json.loads(bills.FILE.read_text("utf-8"))
USAGE = ("input", "output", "total", "cached", "reasoning", "searches")


def usage_list(usage: dict[str, Any]) -> list[Any]:
    return [usage.get(name) for name in USAGE]


def failure(answer: dict[str, Any]) -> dict[str, Any]:
    return {"kind": answer["error"], **({"billing": answer["billing"]} if answer.get("billing") else {})}


def said(case: dict[str, Any], answer: dict[str, Any]) -> Any:
    """What the toy vendor answers, plain or as a stream."""
    usage = {"usage": usage_list(answer["usage"])} if answer.get("usage") else {}
    if "text" not in answer:
        return [frames(usage, {"error": failure(answer)})] if case["stream"] else error(**failure(answer))
    if not case["stream"]:
        return {"text": answer["text"], "finish": "stop", **usage, "pages": answer.get("pages", [])}
    end = {"error": {"kind": "server_error"}} if answer.get("breaks") else {"finish": "stop"}
    return [frames({"text": answer["text"]}, {**usage, **end})]


def called(case: dict[str, Any]) -> dict[str, Any]:
    """The record of the call."""
    places = case["deployments"]
    prices = [each["price"] and cnroute.Price(**each["price"]) for each in places]
    toy = Toy(
        transport=FakeTransport({f"d{index}": [said(case, each["answer"])] for index, each in enumerate(places)}),
        deployments=[deployment(f"d{index}", price=price) for index, price in enumerate(prices)],
        exchange=case["exchange"], breaker=None,
        retries=cnroute.Retries(max_attempts=9, max_paid_attempts=9, same_deployment=1),
    )  # fmt: skip
    arguments = {"max_tokens": case["max_tokens"], **({"web_search": True} if case["web_search"] else {})}
    fails = "text" not in places[-1]["answer"] or places[-1]["answer"].get("breaks")
    if not case["stream"]:
        call = lambda: toy.chat(case["prompt"], **arguments)  # noqa: E731
    else:
        stream = toy.stream(case["prompt"], **arguments)
        call = lambda: list(stream)  # noqa: E731
    if fails:
        return raised(call).record()  # type: ignore[no-any-return]
    reply = call()
    return (reply if not case["stream"] else stream.completion).record()  # type: ignore[no-any-return]


def exact(cost: dict[str, Any] | None) -> Any:
    return cost and (Fraction(cost["low"]), Fraction(cost["high"]), cost["currency"], cost["estimated"])


def exactly(costs: list[Any] | None) -> Any:
    """Costs by currency; a sum of nothing is nothing, whichever way it is written."""
    return costs if costs is None else sorted(exact(cost) for cost in costs if Fraction(cost["high"]) or cost["estimated"])


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_golden_bill(number: int) -> None:
    """Attempts, the cost of the answer, and both halves of the bill."""
    case = CASES[number]
    record, expected = called(case), case["expected"]
    attempts = expected["attempts"]
    assert [(each["billing"], exact(each["cost"])) for each in record["attempts"]] == [
        (each["billing"], exact(each["cost"])) for each in attempts
    ]
    if record["outcome"] == "ok":
        assert exact(record["cost"]) == exact(attempts[-1]["cost"])
    for half in ("confirmed", "possible"):
        assert exactly(record["bill"][half]) == exactly(expected[half])


@pytest.mark.parametrize(("dearer", "given", "made"), [("output", "1", "8"), ("input", "8", "1"), ("neither", "3", "3")])
@pytest.mark.parametrize("stream", [False, True])
def test_minimax_on_dashscope_costs_lower_price_to_higher_price_times_total(
    dearer: str, given: str, made: str, stream: bool
) -> None:
    """The vendor tells the total alone: every split of it is possible, and the bill says so."""
    with Emulator() as emulator:
        price = cnroute.Price("CNY", given, made, as_of="2026-11-01", source="a contract")
        place = cnroute.Deployment(
            "mm", "dashscope", "abab6.5s-chat", api_key="sk-test", base_url=emulator.base_url("dashscope"), price=price
        )
        with cnroute.Router([place]) as router:
            if stream:
                events = router.stream("长江有多长?", model="mm")
                list(events)
                reply = events.completion
            else:
                reply = router.chat("长江有多长?", model="mm")
        total = emulator.requests[0].usage["total_tokens"]  # type: ignore[index]
    assert reply.usage is not None and (reply.usage.input_tokens, reply.usage.total_tokens) == (None, total)
    low, high = sorted((Fraction(given), Fraction(made)))
    for cost in (reply.cost, reply.bill.confirmed):
        assert isinstance(cost, cnroute.Cost)
        assert (Fraction(cost.low), Fraction(cost.high)) == (low * total / 10**6, high * total / 10**6)
        assert cost.exact is (dearer == "neither")


@pytest.mark.parametrize("stream", [False, True])
def test_a_search_that_the_vendor_counts_is_charged(stream: bool) -> None:
    """DashScope tells in `usage.plugins.search.count` how often it searched; a price without one for it is unknown."""
    with Emulator() as emulator:
        prices = {"with": cnroute.Price("CNY", "0", "0", search="0.04"), "without": cnroute.Price("CNY", "0", "0")}
        url = emulator.base_url("dashscope")
        places = [
            cnroute.Deployment(name, "dashscope", "qwen-plus", api_key="sk-test", base_url=url, price=price)
            for name, price in prices.items()
        ]
        found = []
        with cnroute.Router(places) as router:
            for name in prices:
                with router.stream("天气?", model=name, web_search=True) as events:
                    list(events)
                reply = events.completion if stream else router.chat("天气?", model=name, web_search=True)
                assert reply.usage is not None and reply.usage.searches == 1
                found.append(reply.cost and reply.cost.amount)
    assert found == [Decimal("0.04"), None]


def test_the_file_is_what_the_script_writes() -> None:
    """Nobody has touched the figures by hand."""
    assert bills.FILE.read_text("utf-8") == bills.cases()
    assert len(CASES) == 200


def test_the_script_knows_nothing_of_the_library() -> None:
    """It imports the standard library only, and no decimals."""
    tree = ast.parse(Path(bills.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"__future__", "json", "random", "fractions", "pathlib", "typing"}


def test_the_cases_cover_the_rules() -> None:
    """Each rule of money decides at least five of them."""
    places = [place for case in CASES for place in case["deployments"]]
    known = [place for place in places if place["price"]]
    usages = [place["answer"].get("usage") or {} for place in known]
    sums = [case["expected"] for case in CASES]
    counts = {
        "tiers": sum("tiers" in each["price"] for each in known),
        "cached": sum("cached" in each["price"] for each in known),
        "reasoning": sum("reasoning" in each["price"] for each in known),
        "total only": sum(set(usage) == {"total"} for usage in usages),
        "no usage": sum("text" in each["answer"] and not each["answer"]["usage"] for each in known),
        "unknown price": sum(each["price"] is None for each in places),
        "searched": sum("searches" in usage for usage in usages),
        "broken streams": sum(bool(each["answer"].get("breaks")) for each in places),
        "charged failures": sum("error" in each["answer"] and bool(each["answer"].get("usage")) for each in known),
        "possibly charged": sum(bool(each["possible"]) for each in sums),
        "two currencies": sum(len(each[half] or ()) > 1 for each in sums for half in ("confirmed", "possible")),
        "joined": sum(each["price"]["currency"] == "USD" and bool(case["exchange"]) for case in CASES
                      for each in case["deployments"] if each["price"]),
    }  # fmt: skip
    assert {name: count for name, count in counts.items() if count < 5} == {}
