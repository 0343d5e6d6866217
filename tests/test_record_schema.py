"""Records against the shipped JSON Schema, the inputs of every rule, and the ids that notices share with records."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

import cnroute
from cnroute.explain import SCHEMA, explain, record_of_error, record_schema
from cnroute.notices import AttemptFinished, AttemptSkipped, AttemptStarted, CallFinished, CallStarted
from cnroute.testing import capture_notices
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, host
from tests.observe import scene
from tests.simulation.world import run
from tests.test_explain import FAILED, PLAN, REPLY

BOTH = ("en", "zh")
PRICE = cnroute.Price("CNY", input="1", output="2", as_of="2026-01-01")


def closed(schema: Any) -> Any:
    """The schema with no place for keys that it does not name: what the code writes has to stand in it."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema:
            schema["additionalProperties"] = False
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


STRICT = jsonschema.Draft202012Validator(closed(record_schema()))
PUBLISHED = jsonschema.Draft202012Validator(record_schema())


def worlds() -> Iterator[dict[str, Any]]:
    """Records of real calls under random faults."""
    for seed in range(120):
        for traced in run(seed, records=True).trace:
            if len(traced) > 3 and traced[2] is not None:
                yield traced[2]


def test_the_schema_is_one() -> None:
    """It is a schema by its own draft, of the number that records carry."""
    jsonschema.Draft202012Validator.check_schema(record_schema())
    assert record_schema()["$defs"]["call"]["properties"]["schema"] == {"const": SCHEMA}


def test_real_records_fit_the_schema_and_nothing_in_it_is_unused() -> None:
    """Replies, errors and plans of random scripts; every key that the schema names has been seen, every state and rule too."""
    seen: set[tuple[str, str]] = set()
    states = set()
    with scene.stage() as (router, emulator):
        records = [end.record() for end in scene.play(router, emulator)]
        records += [router.plan("x", model=name).record() for name in ("chat", "kb")]
    records += [REPLY.record(), PLAN.record(), record_of_error(cnroute.ServerError("x", attempts=(FAILED,), plan=PLAN))]
    for record in (*records, *policies(), *worlds()):
        STRICT.validate(json.loads(json.dumps(record)))
        seen |= set(keys(record))
        plan = record["plan"] or {"candidates": (), "excluded": ()}
        states |= {each["state"] for part in plan.values() for each in part}
    named = {key for part in record_schema()["$defs"].values() for key in part.get("properties", ())}
    assert named - seen == set()
    assert states == {"candidate", "chosen", "tried", "skipped", "not_needed", "excluded"}


def keys(value: Any) -> Iterator[str]:
    """Every key in a document."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(each)
    if isinstance(value, dict):
        yield from value


def policies() -> Iterator[dict[str, Any]]:
    """Plans of every policy, alone and nested, after a call that was answered."""
    inner = cnroute.Route(policy="cheapest", targets=["b", "c"])
    for route in (
        cnroute.Route(policy="weighted", targets={"a": 3, "b": "0.5"}), cnroute.Route(policy="fastest", targets=["a", "b"]),
        cnroute.Route(policy="ordered", targets=["a", inner]), cnroute.Route(policy="fastest", targets=[inner, "a"]),
    ):
        toy = Toy([answer()], deployments=[deployment(name, price=PRICE) for name in "abc"], routes={"chat": route})
        toy.router.chat("x", model="chat")
        yield toy.router.plan("x", model="chat").record()


@pytest.mark.parametrize(("path", "wrong"), [
    (("schema",), 2), (("kind",), "novel"), (("outcome",), "fine"), (("cost", "low"), 0.5), (("attempts", 0, "number"), 0),
    (("attempts", 0, "billing"), "maybe"), (("plan", "candidates", 0, "state"), "gone"), (("finish_reason",), "end"),
    (("plan", "excluded", 0, "rule"), None), (("usage", "input_tokens"), -1), (("cost", "currency"), "yuan"),
])  # fmt: skip
def test_the_published_schema_refuses_what_is_no_record(path: tuple[Any, ...], wrong: Any) -> None:
    """One wrong value, and one missing key."""
    record = copy.deepcopy(REPLY.record())
    assert PUBLISHED.is_valid(record | {"a_later_key": 1})
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    assert not PUBLISHED.is_valid(record)
    del place[path[-1]]
    assert not PUBLISHED.is_valid(record)


# -- inputs ------------------------------------------------------------------------------------------------


def inputs_of(record: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    (found,) = [each for part in record["plan"].values() for each in part if each["deployment"] == name]
    return found["rule"], found["inputs"]


def chinese(text: str) -> str:
    """The Chinese text without what is never translated: names, ids in brackets, currencies."""
    text = re.sub(r"（[a-z_ ]+(?=[：，）])|策略 \w+|调用 [0-9a-f]+", "", text)
    return re.sub(r"token|toy-1|toy|chat|HTTP|max_cost|rate_limit|per day by router", "", text)


def test_each_exclusion_tells_its_inputs() -> None:
    """What a rule compared stands beside it, as data."""
    models = (cnroute.ModelInfo("toy-1", 100, 50),)
    toy = Toy([answer()], "a", plugins=host(ToyProvider(models=models)))
    assert inputs_of(toy.router.plan("长" * 400, model="a").record(), "a") == (
        "context_length", {"estimated_input_tokens": 304, "context": 100},
    )
    priced = [deployment("a", price=PRICE), deployment("b")]
    toy = Toy([answer()], deployments=priced, budgets=[cnroute.Budget("0.0001", per="day")])
    record = toy.router.plan("x", model="chat").record()
    rule, inputs = inputs_of(record, "a")
    assert (rule, inputs["cap"], inputs["spent"], inputs["reserved"]) == ("budget_exceeded", "0.0001", "0", "0")
    assert inputs_of(record, "b") == ("price unknown", {"budget": "0.0001 per day by router", "currency": None})
    assert not re.findall("[A-Za-z]{2,}", chinese(explain(record, "zh")))
    toy = Toy([answer()], deployments=priced)
    rule, inputs = inputs_of(toy.router.plan("x", model="chat", max_cost="0.001").record(), "a")
    assert (rule, inputs["spent"], inputs["max_cost"]) == ("budget_exceeded", "0", "0.001")
    with scene.stage() as (router, _):
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        record = router.plan("x", model="chat", tools=tools).record()
    assert inputs_of(record, "yi") == ("unsupported", {"parameter": "tools"})


def test_each_refusal_tells_its_inputs() -> None:
    """Cooling down, an open breaker, a rate limit: for how long, after what, by which numbers; in Chinese, too."""
    limited = cnroute.RateLimit(requests_per_minute=1)
    toy = Toy(
        {"a": [error("rate_limit", retry_after=40)], "b": [answer()], "c": [answer()]},
        deployments=[deployment("a"), deployment("b", rate_limit=limited), deployment("c")],
    )
    toy.router.chat("x", model="chat")
    record = toy.router.chat("x", model="chat").record()
    assert inputs_of(record, "a") == ("cooling_down", {"seconds": 40.0, "after": "rate_limit"})
    rule, inputs = inputs_of(record, "b")
    assert (rule, inputs["requests_per_minute"], inputs["share"]) == ("throttled", 1, 1.0)
    assert inputs_of(record, "c") == ("answered", {"attempt": 1})
    assert "cooling down for 40.0 s more" in str(toy.router.plan("x", model="chat"))
    assert not re.findall("[A-Za-z]{2,}", chinese(explain(record, "zh")))
    toy = Toy({"a": [error("server_error")], "b": [answer()]}, breaker=cnroute.Breaker(failures=1, jitter=0.0))
    first = toy.router.chat("x", model="chat").record()
    assert inputs_of(first, "a") == ("server_error", {"attempt": 1})
    assert inputs_of(toy.router.chat("x", model="chat").record(), "a") == ("breaker_open", {"seconds": 5.0})


def test_an_order_tells_what_it_was_made_by() -> None:
    """`cheapest` by what it multiplies, `fastest` by its seconds, `weighted` by weights; nested ones from the outside in."""
    flaky = [error("server_error")] + [answer()] * 2
    toy = Toy({"a": flaky, "b": [answer()]}, deployments=[deployment(name, price=PRICE) for name in "ab"],
              routes={"chat": cnroute.Route(policy="cheapest", targets=["a", "b"])})  # fmt: skip
    toy.router.chat("x", model="chat")
    plan = toy.router.plan("x", model="chat")
    (level,) = plan.candidates[1].order_by
    assert (level["policy"], level["target"], level["success"], level["paid_failure"]) == ("cheapest", 1, 0.95, 0.05)
    cost = plan.candidates[1].cost
    assert cost is not None
    assert abs(Decimal(level["expected"]) - cost.low / Decimal("0.95")) < cost.low / 10**6
    assert "95% of its recent calls succeed, so it counts as" in str(plan)
    assert "近期成功率 95%，故按" in plan.explain("zh")
    shapes = [[each["order_by"] for each in record["plan"]["candidates"]] for record in policies()]
    assert [level["weight"] for (level,) in shapes[0]] in (["3", "0.5"], ["0.5", "3"])
    assert {level["until"] for (level,) in shapes[1]} == {"end"}
    assert [[level["policy"] for level in levels] for levels in shapes[2]] == [["ordered"], *[["ordered", "cheapest"]] * 2]
    assert "by the time of its group, then expected cost" in shapes_order(nested := list(policies())[3])
    assert not re.findall("[A-Za-z]{2,}", chinese(explain(nested, "zh")))


def shapes_order(record: dict[str, Any]) -> str:
    """Why the deployments of a plan stand where they do, in words."""
    return "; ".join(each["order"] for each in record["plan"]["candidates"])


# -- ids ---------------------------------------------------------------------------------------------------


def test_notices_carry_the_ids_of_the_record() -> None:
    """Call, attempts by number and request id, and rules have the same ids in notices and in the record."""
    toy = Toy({"a": [error("rate_limit", retry_after=40)], "b": [error("server_error")], "c": [answer()]}, "a b c")
    toy.router.chat("x", model="chat")
    with capture_notices(toy.router) as notices:
        record = toy.router.chat("x", model="chat", metadata={"call_id": "mine"}).record()
    kinds = [type(notice) for notice in notices]
    assert kinds == [CallStarted, AttemptSkipped, AttemptStarted, AttemptFinished, AttemptStarted, AttemptFinished, CallFinished]
    assert {notice.call_id for notice in notices} == {record["call_id"]} == {"mine"}
    assert {notice.route for notice in notices} == {record["route"]}
    (skipped,) = [each for each in notices if isinstance(each, AttemptSkipped)]
    assert skipped.reason == inputs_of(record, skipped.deployment)[0]
    finished = [each.attempt for each in notices if isinstance(each, AttemptFinished)]
    told = [(each["deployment"], each["number"], each["request_id"]) for each in record["attempts"]]
    assert [(each.deployment, each.number, each.request_id) for each in finished] == told
    started = [(each.deployment, each.number) for each in notices if isinstance(each, AttemptStarted)]
    assert started == [(name, number) for name, number, _ in told]
    assert [inputs_of(record, name)[1]["attempt"] for name, *_ in told] == [number for _, number, _ in told]
