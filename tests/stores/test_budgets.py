"""Budgets through whole calls: refused before anything is sent, settled to the last digit, kept where nobody knows."""

from __future__ import annotations

import asyncio
import datetime
import gc
import json
import random
import threading
from decimal import Decimal
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.aio import AsyncRouter
from cnroute.errors import error_for
from cnroute.failures import Failure
from cnroute.router import Router
from cnroute.testing import FakeClock, FakeTransport, capture_notices
from tests.flow import toy

# 3 tokens in and 2 out cost exactly 7 of these a call.
PRICE = cnroute.Price("CNY", input="1", output="2", per="1")
DAY = 86400.0


def paid(name: str = "a", price: cnroute.Price | None = PRICE, **fields: Any) -> cnroute.Deployment:
    return toy.deployment(name, price=price, **fields)


def made(answers: Any, *budgets: cnroute.Budget, names: str = "a", **keywords: Any) -> toy.Toy:
    keywords.setdefault("deployments", [paid(name) for name in names.split()])
    return toy.Toy(answers, budgets=budgets, **keywords)


def worst_of(name: str = "a", **arguments: Any) -> Decimal:
    """What one call reserves: found by making one, over the largest budget."""
    with made([toy.answer()], cnroute.Budget("1e15")).router as router:
        seen: list[Decimal] = []
        guard = router._engine.binding.guard
        assert guard is not None
        inner = guard.claim

        def claim(place: Any, route: str, metadata: Any, worst: Decimal, tokens: int) -> Any:
            seen.append(worst)
            return inner(place, route, metadata, worst, tokens)

        guard.claim = claim  # type: ignore[method-assign]
        router.chat("你好", model="a", max_tokens=10, **arguments)
    return seen[0]


def account(router: Any, deployment: str = "a", index: int = 0) -> tuple[Decimal, Decimal]:
    """Spent and reserved of one budget."""
    entry = router.health()[deployment]["budgets"][index]
    return Decimal(entry["spent"]), Decimal(entry["reserved"])


WORST = worst_of()
# A stream says so in its body: one byte less.
STREAMED = WORST - 1


# -- what is wrong with a budget -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"cap": 5.0}, ["cap"]),
        ({"cap": "-1"}, ["cap"]),
        ({"cap": "NaN"}, ["cap"]),
        ({"cap": None}, ["cap"]),
        ({"currency": "yuan"}, ["currency"]),
        ({"per": "week"}, ["per"]),
        ({"per": 0}, ["per"]),
        ({"per": True}, ["per"]),
        ({"per": float("nan")}, ["per"]),
        ({"by": "tenant"}, ["by"]),
        ({"by": "metadata:"}, ["by"]),
        ({"by": 5}, ["by"]),
        ({"tz": "Mars/Olympus"}, ["tz"]),
        ({"tz": 8}, ["tz"]),
        ({"cap": "x", "currency": "x", "per": "x", "by": "x", "tz": "x"}, ["cap", "currency", "per", "by", "tz"]),
    ],
)
def test_every_wrong_argument_is_named_at_once(fields: dict[str, Any], keys: list[str]) -> None:
    """A budget says all that is wrong with it when it is made."""
    error = toy.raised(lambda: cnroute.Budget(**{"cap": "1", **fields}), cnroute.ConfigurationError)
    assert [problem.key for problem in error.problems] == keys


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ("100", "budgets: must be a list of Budget"),
        (["100"], "budgets[0]: must be a Budget"),
        ([cnroute.Budget("1", "USD")], "budgets[0].currency: is in USD"),
        ([cnroute.Budget("1"), cnroute.Budget("2")], "budgets[1]: two budgets count the same"),
        (5, "budgets: must be a list of Budget"),
    ],
)
def test_a_router_refuses_budgets_that_it_cannot_keep(budgets: Any, said: str) -> None:
    """No list, no budget, no rate, or twice the same account."""
    error = toy.raised(lambda: toy.Toy([toy.answer()], budgets=budgets, deployments=[paid()]), cnroute.ConfigurationError)
    assert said in str(error)


@pytest.mark.parametrize("store", ["redis", 5, object()])
def test_a_store_is_a_store(store: Any) -> None:
    """What cannot keep accounts is refused when the router is made."""
    error = toy.raised(lambda: toy.Toy([toy.answer()], store=store, deployments=[paid()]), cnroute.ConfigurationError)
    assert error.problems[0].key == "store"


# -- one call after the other ----------------------------------------------------------------------------


def test_a_call_that_could_pass_the_cap_is_not_sent() -> None:
    """The first call fits and costs 7; what the second could cost does not fit any more."""
    toy_ = made([toy.answer()], cnroute.Budget(str(WORST + 6)))
    toy_.chat(max_tokens=10)
    error = toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.BudgetExceededError)
    assert len(toy_.asked) == 1
    assert error.attempts == () and error.billing == "none" and "7 is spent" in error.message
    assert account(toy_.router) == (7, 0)
    assert error.record()["plan"]["candidates"][0]["rule"] == "budget_exceeded"


def test_the_last_call_that_fits_is_sent() -> None:
    """Spent plus reserved may reach the cap exactly."""
    toy_ = made([toy.answer()], cnroute.Budget(str(WORST + 7)))
    for _ in range(2):
        toy_.chat(max_tokens=10)
    assert account(toy_.router) == (14, 0)


def test_while_a_call_runs_its_upper_bound_counts_as_spent() -> None:
    """Between admission and answer the whole reservation stands in the account."""
    seen: list[Any] = []
    toy_ = made([toy.answer()], cnroute.Budget("1000000"), advance=lambda step, sent: seen.append(account(toy_.router)))
    toy_.chat(max_tokens=10)
    assert seen == [(0, WORST)] and account(toy_.router) == (7, 0)


@pytest.mark.parametrize("kind", [kind for kind in cnroute.FailureKind if kind.value not in ("cancelled", "closed")])
def test_a_failure_keeps_the_reservation_where_it_may_have_been_charged(kind: cnroute.FailureKind) -> None:
    """Billing `none` gives it back, everything else leaves it spent until the window ends."""
    toy_ = made([toy.error(kind.value)], cnroute.Budget("1000000"), retries=cnroute.Retries(max_attempts=1))
    error = toy.raised(lambda: toy_.chat(max_tokens=10))
    spent, reserved = account(toy_.router)
    assert spent == 0 and reserved == (WORST if error.attempts[0].billing != "none" else 0)


def test_what_is_unknown_is_free_again_in_the_next_window() -> None:
    """An hour later the same budget is whole."""
    toy_ = made([toy.error("server_error")], cnroute.Budget(str(WORST), per="hour"), retries=cnroute.Retries(max_attempts=1),
                breaker=None)  # fmt: skip
    for kind in (cnroute.ServerError, cnroute.BudgetExceededError):
        toy.raised(lambda: toy_.chat(max_tokens=10), kind)
    toy_.clock.advance(3600)
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.ServerError)


def test_a_refusal_says_when_to_come_again() -> None:
    """`retry_after` is the end of the window."""
    clock = FakeClock(wall=1_790_000_000 - 1_790_000_000 % 3600 + 600)
    toy_ = made([toy.answer()], cnroute.Budget("1", per="hour"), clock=clock)
    error = toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.BudgetExceededError)
    assert error.retry_after == pytest.approx(3000)


def test_the_next_deployment_is_asked_where_it_is_cheap_enough() -> None:
    """A budget that one candidate would pass may still allow another."""
    free = cnroute.Price("CNY", input="0", output="0")
    toy_ = made([toy.answer()], cnroute.Budget("1"), deployments=[paid(), paid("b", free)])
    reply = toy_.chat()
    assert reply.deployment == "b" and toy_.asked == ["b"]
    assert reply.record()["plan"]["candidates"][0]["state"] == "skipped"


def test_a_fallback_is_not_sent_when_it_could_pass_the_cap() -> None:
    """The first attempt may have been charged; what is left allows no second one."""
    toy_ = made([toy.error("server_error")], cnroute.Budget(str(WORST * 2 - 1)), names="a b")
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.ServerError)
    assert toy_.asked == ["a"]


def test_a_stream_is_settled_at_its_end() -> None:
    """Reserved while it runs, exact afterwards."""
    toy_ = made([toy.good_stream()], cnroute.Budget("1000000"))
    with toy_.stream(max_tokens=10) as stream:
        next(stream)
        assert account(toy_.router) == (0, STREAMED)
        list(stream)
    assert account(toy_.router)[1] == 0 and account(toy_.router)[0] == stream.completion.cost.high == 7


@pytest.mark.parametrize("leave", ["close", "cancel", "drop", "router", "unstarted"])
def test_every_way_out_of_a_stream_leaves_the_account_right(leave: str) -> None:
    """What had begun stays spent, what had not is given back; nothing stays running."""
    toy_ = made([[toy.frames({"text": "好"}), toy.frames({"finish": "stop"})]], cnroute.Budget("1000000"))
    stream = toy_.stream(max_tokens=10)
    if leave != "unstarted":
        next(stream)
    ways = {"close": stream.close, "cancel": stream.cancel, "drop": lambda: None, "router": toy_.router.close}
    ways.get(leave, stream.close)()
    del ways
    del stream
    gc.collect()
    balance = next(iter(toy_.router._engine.binding.store.balances(toy_.clock)), None)
    assert (balance is None and leave == "unstarted") or (balance.unknown == balance.reserved == STREAMED and balance.spent == 0)


def test_a_call_cancelled_before_anything_was_sent_gives_all_back() -> None:
    """Admission had reserved; no byte had left."""
    toy_ = made([cnroute.CallCancelledError("gone", billing="none")], cnroute.Budget("1000000"))
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.CallCancelledError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupt_in_mid_call_leaves_the_reservation_spent(error: type[BaseException]) -> None:
    """Nobody knows what the vendor did; nothing stays running."""
    toy_ = made([error()], cnroute.Budget("1000000"))
    toy.raised(lambda: toy_.chat(max_tokens=10), error)
    (balance,) = toy_.router._engine.binding.store.balances(toy_.clock)
    assert balance.unknown == balance.reserved == WORST


def test_an_answer_without_usage_leaves_the_reservation_spent() -> None:
    """An estimate is no settlement."""
    toy_ = made([{"text": "好", "finish": "stop"}], cnroute.Budget("1000000"))
    assert toy_.chat(max_tokens=10).cost.estimated
    assert account(toy_.router) == (0, WORST)


def test_more_than_the_upper_bound_is_settled_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The vendor counted a million tokens for ten: the excess counts, and an operator hears of it."""
    toy_ = made([toy.answer(usage=[10, 1_000_000])], cnroute.Budget("3000000"))
    with capture_notices(toy_.router) as notices:
        toy_.chat(max_tokens=10)
    (overrun,) = [notice for notice in notices if isinstance(notice, cnroute.BudgetOverrun)]
    assert overrun.spent == "2000010" and Decimal(overrun.reserved) == WORST
    (logged,) = [record for record in caplog.records if record.message == "budget overrun"]
    assert logged.levelname == "ERROR"
    assert account(toy_.router) == (2_000_010, 0)


@pytest.mark.parametrize("leave", ["breaks", "close"])
def test_more_than_the_upper_bound_counts_in_a_stream_that_did_not_end(leave: str) -> None:
    """The vendor told of a million tokens before it broke off, or before the consumer left."""
    told = toy.frames({"text": "好", "usage": [10, 1_000_000]})
    end = [toy.frames({"error": {"kind": "server_error"}})] if leave == "breaks" else [toy.frames({"finish": "stop"})]
    toy_ = made([[told, *end]], cnroute.Budget("3000000"))
    with capture_notices(toy_.router) as notices, toy_.stream(max_tokens=10) as stream:
        next(stream)
        if leave == "breaks":
            toy.raised(lambda: list(stream), cnroute.StreamInterruptedError)
    (overrun,) = [notice for notice in notices if isinstance(notice, cnroute.BudgetOverrun)]
    assert overrun.spent == "2000010"
    assert account(toy_.router) == (2_000_010, 0)


def test_a_count_before_more_content_is_not_the_whole_bill() -> None:
    """Usage in the middle alone: what came after it is not in it, so the cost is open and the reservation stays."""
    pieces = [toy.frames({"text": "好", "usage": [3, 1]}, {"text": "吗" * 9}, {"finish": "stop"})]
    toy_ = made([pieces], cnroute.Budget("1000000"))
    stream = toy_.stream(max_tokens=10)
    assert "".join(delta.text for delta in stream) == "好" + "吗" * 9
    cost = stream.completion.cost
    assert (cost.low, cost.high, cost.estimated) == (5, 23, True)
    assert account(toy_.router) == (0, WORST - 1)  # a stream is asked for in one byte less


def test_an_estimate_over_falling_tiers_is_a_range() -> None:
    """A long request may be cheaper than a short one: the ends of the estimate do not change places."""
    price = cnroute.Price("CNY", tiers=[{"up_to": 8, "input": "100", "output": "100"}, {"input": "1", "output": "1"}], per=1)
    cost = made([{"text": "好", "finish": "stop"}], deployments=[paid(price=price)]).chat(max_tokens=10).cost
    assert cost.low < cost.high


def test_a_fallback_counts_what_a_broken_stream_told_above_its_bound() -> None:
    """`max_cost` has room for two upper bounds, but the first vendor counted a thousand tokens before it failed."""
    first = [toy.frames({"usage": [3, 1000]}, {"error": {"kind": "server_error"}})]
    toy_ = made({"a": [first], "b": [toy.good_stream()]}, names="a b")
    error = toy.raised(lambda: list(toy_.stream(max_tokens=10, max_cost=str(2 * WORST))))
    assert [attempt.deployment for attempt in error.attempts] == ["a"]


def test_raw_fields_that_lengthen_the_answer_raise_the_bound() -> None:
    """`extra` may ask for more choices and longer ones than `max_tokens` says."""
    assert worst_of(extra={"toy": {"n": 3}}) > WORST + 2 * 20
    assert worst_of(extra={"toy": {"max_tokens": 1000}}) > WORST + 1900
    assert worst_of(reasoning=500) >= WORST + 1000


# -- whose money -----------------------------------------------------------------------------------------


def test_each_value_of_the_metadata_has_its_own_account() -> None:
    """One tenant's spending leaves another's budget whole; calls without the key share one account."""
    toy_ = made([toy.answer()], cnroute.Budget(str(WORST), by="metadata:tenant"))
    for metadata in ({"tenant": "x"}, {"tenant": "y"}, None, {"tenant": ""}):
        if metadata == {"tenant": ""}:
            toy.raised(lambda: toy_.chat(max_tokens=10, metadata={"tenant": ""}), cnroute.BudgetExceededError)
        else:
            toy_.chat(max_tokens=10, metadata=metadata)
    toy.raised(lambda: toy_.chat(max_tokens=10, metadata={"tenant": "x"}), cnroute.BudgetExceededError)
    entry = toy_.router.health()["a"]["budgets"][0]
    assert entry["accounts"] == 3 and entry["spent"] == "21"


def test_routes_and_deployments_have_their_own_accounts() -> None:
    """By route it is the name that was called; by deployment the one that answered."""
    by_route = made([toy.answer()], cnroute.Budget(str(WORST), by="route"), routes={"one": ["a"], "two": ["a"]})
    for name in ("one", "two"):
        by_route.chat(model=name, max_tokens=10)
        toy.raised(lambda name=name: by_route.chat(model=name, max_tokens=10), cnroute.BudgetExceededError)
    by_place = made([toy.answer()], cnroute.Budget(str(WORST), by="deployment"), names="a b")
    assert [by_place.chat(max_tokens=10).deployment for _ in range(2)] == ["a", "b"]
    toy.raised(lambda: by_place.chat(max_tokens=10), cnroute.BudgetExceededError)


def test_all_budgets_must_agree_and_none_is_charged_when_one_refuses() -> None:
    """The second budget refuses; the first has reserved nothing."""
    toy_ = made([toy.answer()], cnroute.Budget("1000000"), cnroute.Budget("1", per="hour"))
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.BudgetExceededError)
    assert account(toy_.router) == (0, 0)


def test_a_budget_in_another_currency_is_counted_at_the_routers_rate() -> None:
    """1 USD is 7.10 CNY here: the call that costs 7 CNY fits, the second does not."""
    free = cnroute.Price("CNY", input="1", output="2", per="1000")
    exchange = {"USD": {"rate": "7.10", "as_of": "2026-11-01"}}
    toy_ = made([toy.answer(usage=[7000, 0])], cnroute.Budget("1", "USD"), deployments=[paid(price=free)], exchange=exchange)
    toy_.chat(max_tokens=10)
    toy.raised(lambda: toy_.chat(max_tokens=100), cnroute.BudgetExceededError)
    assert toy_.router.health()["a"]["budgets"][0]["cap"] == "7.1"


def test_an_unknown_price_is_excluded_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Under a budget nothing is sent to a deployment whose price nobody knows."""
    deployments = [paid("a", None), paid("b"), paid("c", cnroute.Price("USD", "1", "1"))]
    toy_ = made([toy.answer()], cnroute.Budget("1000000"), deployments=deployments)
    (said,) = [record for record in caplog.records if record.message == "price unknown"]
    assert said.levelname == "WARNING" and said.deployments == "a, c"  # type: ignore[attr-defined]
    plan = toy_.router.plan("你好", model="chat")
    assert [(each.deployment, each.rule) for each in plan.excluded] == [("a", "price unknown"), ("c", "price unknown")]
    assert toy_.chat(max_tokens=10).deployment == "b"
    error = toy.raised(lambda: toy_.chat(model="a"), cnroute.BudgetExceededError)
    assert "price is unknown" in error.message
    assert "价格未知" in error.explain("zh")


def test_without_a_budget_an_unknown_price_is_no_hindrance(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is claimed, nothing is said."""
    toy_ = toy.Toy([toy.answer()])
    assert toy_.chat().cost is None
    assert toy_.router.health()["a"]["budgets"] == [] and toy_.router._engine.binding.guard is None
    assert "price unknown" not in caplog.text


# -- windows ---------------------------------------------------------------------------------------------

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))


def stamp(*parts: int, zone: datetime.tzinfo = SHANGHAI) -> float:
    return datetime.datetime(*parts, tzinfo=zone).timestamp()  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("per", "tz", "now", "start", "end"),
    [
        ("day", "Asia/Shanghai", stamp(2026, 11, 22, 0, 0, 1), stamp(2026, 11, 22), stamp(2026, 11, 23)),
        ("day", "Asia/Shanghai", stamp(2026, 11, 22, 23, 59, 59), stamp(2026, 11, 22), stamp(2026, 11, 23)),
        ("month", "Asia/Shanghai", stamp(2026, 12, 31, 23), stamp(2026, 12, 1), stamp(2027, 1, 1)),
        ("month", "Asia/Shanghai", stamp(2028, 2, 29, 23), stamp(2028, 2, 1), stamp(2028, 3, 1)),
        ("hour", "Asia/Shanghai", stamp(2026, 11, 22, 7, 59, 59), stamp(2026, 11, 22, 7), stamp(2026, 11, 22, 8)),
        ("minute", "Asia/Shanghai", stamp(2026, 11, 22, 7, 59, 59), stamp(2026, 11, 22, 7, 59), stamp(2026, 11, 22, 8)),
        ("hour", "Asia/Kolkata", stamp(2026, 1, 1, 0, 40, zone=datetime.UTC), stamp(2026, 1, 1, 0, 30, zone=datetime.UTC),
         stamp(2026, 1, 1, 1, 30, zone=datetime.UTC)),
        (90, "Asia/Shanghai", 1000.0, 990.0, 1080.0),
        (None, "Asia/Shanghai", 1000.0, 0.0, float("inf")),
    ],
)  # fmt: skip
def test_windows_are_fixed_on_the_wall_clock(per: Any, tz: str, now: float, start: float, end: float) -> None:
    """Days and months begin at midnight there, hours and minutes with its clocks."""
    assert cnroute.Budget("1", per=per, tz=tz).period.around(now) == (start, end)


def test_a_day_with_a_change_of_the_clocks_has_23_or_25_hours() -> None:
    """The window is the day, however long it is."""
    period = cnroute.Budget("1", per="day", tz="Europe/Berlin").period
    for moment, hours in ((stamp(2026, 3, 29, 12), 23), (stamp(2026, 10, 25, 12), 25)):
        start, end = period.around(moment)
        assert end - start == hours * 3600 and start <= moment < end
        assert period.around(end)[0] == end


def test_a_call_that_runs_into_the_next_window_is_settled_in_its_own() -> None:
    """The new window begins empty and stays so."""
    toy_ = made([toy.answer()], cnroute.Budget("1000000", per="hour"), advance=lambda step, sent: toy_.clock.advance(3600))
    toy_.chat(max_tokens=10, timeout=10_000)
    assert account(toy_.router) == (0, 0)
    toy_.clock.advance(-3600)
    assert account(toy_.router) == (7, 0)


def test_a_wall_clock_put_back_opens_no_window_twice() -> None:
    """What was spent in a window is still known an hour after its end."""
    toy_ = made([toy.answer()], cnroute.Budget(str(WORST), per="hour"))
    toy_.chat(max_tokens=10)
    toy_.clock.advance(3600)
    for _ in range(300):
        toy.raised(lambda: toy_.chat(max_tokens=1000), cnroute.BudgetExceededError)
    toy_.clock.advance(-3600)
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.BudgetExceededError)


# -- reload, sharing, fork -------------------------------------------------------------------------------


def config(cap: str = "100", **router: Any) -> dict[str, Any]:
    return {
        "router": {"budgets": [{"cap": cap, "per": "day"}], **router},
        "deployments": {"a": {"provider": "toy", "model": "toy-1", "api_key": toy.KEY,
                              "price": {"currency": "CNY", "input": "1", "output": "2", "per": "1"}}},
    }  # fmt: skip


def test_spend_survives_a_reload() -> None:
    """The same budget goes on; so does one whose cap was raised; a new one begins with nothing."""
    toy_ = made([toy.answer()], cnroute.Budget("1000000", per="day"))
    toy_.chat(max_tokens=10)
    for cap in ("1000000", "2000000"):
        toy_.router.reload(config(cap))
        assert account(toy_.router) == (7, 0)
    toy_.router.reload(config(budgets=[{"cap": "1000000", "per": "hour"}]))
    assert account(toy_.router) == (0, 0)
    toy_.router.reload(config())
    assert account(toy_.router) == (7, 0)


def test_routers_with_one_store_share_their_accounts() -> None:
    """What one spends the other has not got any more."""
    store = cnroute.MemoryStore()
    first, second = (made([toy.answer()], cnroute.Budget(str(WORST + 6)), store=store) for _ in range(2))
    first.chat(max_tokens=10)
    toy.raised(lambda: second.chat(max_tokens=10), cnroute.BudgetExceededError)


def test_a_budget_reads_the_same_from_a_file(tmp_path: Any) -> None:
    """`[[router.budgets]]` and the argument of the class are one."""
    file = tmp_path / "router.toml"
    file.write_text(
        '[[router.budgets]]\ncap = "100"\ncurrency = "CNY"\nper = "day"\n'
        '[[router.budgets]]\ncap = 5\nper = "hour"\nby = "metadata:tenant"\n'
        '[deployments.yi]\nprovider = "dashscope"\nmodel = "yi-large"\napi_key = "sk-x"\n'
        'price = { currency = "CNY", input = "20", output = "20" }\nrate_limit = { requests_per_minute = 60 }\n', "utf-8",
    )
    file.chmod(0o600)
    with Router.from_config(file) as router:
        guard = router._engine.binding.guard
        assert guard is not None
        assert [budget for budget, _ in guard.budgets] == [
            cnroute.Budget("100", "CNY", "day"), cnroute.Budget("5", per="hour", by="metadata:tenant")
        ]
        assert json.loads(json.dumps(router.health()))["yi"]["budgets"][1]["cap"] == "5"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"cap": 5.5}, 'router.budgets[0].cap: a number with a point is not exact; quote it: cap = "5.5"'),
        ({}, 'router.budgets[0].cap: is missing; write cap = "100"'),
        ({"cap": "1", "perr": "day"}, "router.budgets[0].perr: unknown key; did you mean 'per'?"),
        ({"cap": "1", "per": "week", "by": "x"}, "router.budgets[0].per: "),
        ({"cap": "1", "per": "week", "by": "x"}, "router.budgets[0].by: "),
        ("100", "router.budgets[0]: must be a table"),
    ],
)
def test_mistakes_in_the_configuration_are_named(entry: Any, said: str) -> None:
    """Each with its place, all at once."""
    document = config()
    document["router"]["budgets"] = [entry]
    assert said in str(toy.raised(lambda: Router.from_config(document), cnroute.ConfigurationError))


# -- many at once ----------------------------------------------------------------------------------------


def storm(router: Any, threads: int, calls: int, seed: int) -> list[cnroute.CallError | cnroute.ChatCompletion]:
    """Every outcome of so many calls in each of so many threads, some of them streams that are left early."""
    outcomes: list[Any] = []

    def work(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        for _ in range(calls):
            try:
                outcomes.append(one(router, draw))
            except cnroute.CallError as error:
                outcomes.append(error)

    crew = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    return outcomes


def one(router: Any, draw: random.Random) -> cnroute.ChatCompletion | None:
    if draw.random() < 0.7:
        return router.chat("你好", model="chat", max_tokens=10)  # type: ignore[no-any-return]
    stream = router.stream("你好", model="chat", max_tokens=10)
    for _ in stream:
        if draw.random() < 0.3:
            draw.choice((stream.close, stream.cancel))()
            return None
    return stream.completion  # type: ignore[no-any-return]


class Vendor:
    """Answers by chance: well, with an error that costs nothing or may have cost something, or by breaking off."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.lock = threading.Lock()

    def __call__(self, sent: Any) -> Any:
        with self.lock:
            chance = self.draw.random()
        if sent.stream:
            rest = [] if chance < 0.2 else [toy.frames({"finish": "stop", "usage": [3, 2]})]
            return [toy.frames({"text": "好"}), *rest]
        if chance < 0.1:
            return toy.error("rate_limit")
        if chance < 0.2:
            return toy.error("server_error")
        return error_for(Failure("connect_error", "refused")) if chance < 0.3 else toy.answer()


class Sampler:
    """Looks at the account as often as it can; `most` is the largest sum of spent and reserved that it saw."""

    def __init__(self, look: Any) -> None:
        self.look, self.most, self.samples = look, Decimal(0), 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.is_set():
            self.most = max(self.most, sum(self.look(), Decimal(0)))
            self.samples += 1
            self.stop.wait(0.001)

    def __enter__(self) -> Sampler:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop.set()
        self.thread.join()


def race(threads: int, calls: int, seed: int, store: Any = None) -> None:
    cap = WORST * threads // 2 + 7 * threads * calls // 4
    toy_ = made([Vendor(seed)], cnroute.Budget(str(cap)), breaker=None, limits=cnroute.Limits(max_in_flight=500),
                retries=cnroute.Retries(backoff=0.001, throttled_backoff=0.001), store=store)  # fmt: skip
    with capture_notices(toy_.router) as notices, Sampler(lambda: account(toy_.router)) as sampler:
        outcomes = storm(toy_.router, threads, calls, seed)
    toy_.router.close()
    finished = [notice for notice in notices if isinstance(notice, cnroute.AttemptFinished)]
    assert len(outcomes) == threads * calls and sampler.samples > 3
    assert sampler.most <= cap
    spent, reserved = account(toy_.router)
    good = [each.attempt for each in finished if each.attempt.failure is None]
    maybe = [each.stream for each in finished if each.attempt.failure is not None and each.attempt.billing != "none"]
    assert spent == sum((attempt.cost.high for attempt in good if attempt.cost), Decimal(0)) == 7 * len(good)
    assert reserved == sum(STREAMED if stream else WORST for stream in maybe)
    assert {health["in_flight"] for health in toy_.router.health().values()} == {0}
    assert any(isinstance(outcome, cnroute.BudgetExceededError) for outcome in outcomes), "the cap was reached"
    assert sum(isinstance(notice, cnroute.CallFinished) for notice in notices) >= len(good)


def test_no_race_spends_more_than_the_cap() -> None:
    """Row L11: many threads, failures and cancels; never above the cap, and in the end the sum of the bills."""
    race(threads=16, calls=40, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_calls_in_64_threads() -> None:
    """Row L11 at its full numbers."""
    race(threads=64, calls=157, seed=2)


def test_a_hundred_of_a_thousand_are_admitted() -> None:
    """Reliability S11: 64 threads, a cap of 100 units, 1,000 calls of one unit."""
    unit = cnroute.Price("CNY", input="0", output="1", per="1")
    toy_ = made([toy.answer(usage=[3, 1])], cnroute.Budget("100"), deployments=[paid(price=unit)],
                limits=cnroute.Limits(max_in_flight=64))  # fmt: skip
    good: list[Any] = []

    def work(count: int) -> None:
        for _ in range(count):
            try:
                good.append(toy_.chat(max_tokens=1))
            except cnroute.BudgetExceededError:
                continue

    crew = [threading.Thread(target=work, args=(16 if number < 40 else 15,)) for number in range(64)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    assert len(good) == len(toy_.asked) == 100 and account(toy_.router) == (100, 0)


# -- both worlds -----------------------------------------------------------------------------------------


async def seen_by(router: Any, clock: FakeClock) -> list[Any]:
    """What a caller sees of a day's budget, whichever router it is."""
    out: list[Any] = []
    for hours in (0, 0, 0, 24):
        clock.advance(hours * 3600)
        try:
            answer = router.chat("你好", model="chat", max_tokens=10, metadata={"call_id": "x", "tenant": "t"})
            out.append((await answer if asyncio.iscoroutine(answer) else answer).cost)
        except cnroute.CallError as error:
            out.append((type(error).__name__, error.message, error.retry_after, str(error.plan)))
        router._engine.flush()
        out.append(router.health()["a"]["budgets"])
    return out


def test_both_routers_refuse_and_settle_alike() -> None:
    """The synchronous and the asynchronous router keep the same accounts."""

    def arguments() -> dict[str, Any]:
        return {
            "deployments": [paid()], "routes": {"chat": ["a"]}, "plugins": toy.host(), "transport": FakeTransport([toy.answer()]),
            "budgets": (cnroute.Budget(str(WORST + 8), per="day"), cnroute.Budget(str(WORST + 20), by="metadata:tenant")),
        }  # fmt: skip

    async def both() -> tuple[list[Any], list[Any]]:
        one, two = FakeClock(), FakeClock()
        with Router(**arguments(), clock=one) as first:
            async with AsyncRouter(**arguments(), clock=two) as second:
                return await seen_by(first, one), await seen_by(second, two)

    first, second = asyncio.run(both())
    assert first == second
    assert [each[0] if isinstance(each, tuple) else str(each) for each in first[::2]] == [
        "7 CNY", "7 CNY", "BudgetExceededError", "7 CNY",
    ]


def test_values_compare_and_pickle() -> None:
    """A budget is a frozen value."""
    import pickle

    budget = cnroute.Budget("5", per="hour", by="metadata:tenant")
    assert pickle.loads(pickle.dumps(budget)) == budget == attrs.evolve(budget)


@pytest.mark.parametrize("budgets", [(), [], iter(())])
def test_a_router_without_budgets_loads_nothing_of_them(budgets: Any) -> None:
    """No guard, no store; and any iterable of budgets will do, also over a reload."""
    toy_ = toy.Toy([toy.answer()], budgets=budgets)
    assert toy_.router._engine.binding.guard is toy_.router._engine.binding.store is None
    other = toy.Toy([toy.answer()], budgets=(each for each in [cnroute.Budget("1000000")]), deployments=[paid()])
    for _ in range(2):
        assert len(other.router.health()["a"]["budgets"]) == 1
        document = config()
        del document["router"]["budgets"]
        other.router.reload(document)
