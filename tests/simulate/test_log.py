"""Reading a day: lines as routers log them, records, CSV; what is wrong is told with its line."""

from __future__ import annotations

import csv
import io
import json
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.simulate import LogError, read_log, simulate
from cnroute.simulate.history import History
from cnroute.simulate.log import Recorded, moment
from tests.observe import scene
from tests.simulate import days

LINE: dict[str, Any] = {
    "event": "call finished", "call_id": "c-1", "route": "chat", "outcome": "ok", "stream": False, "started": 1_790_000_000.0,
    "seconds": 2.5, "first_content": None, "attempts": 2, "tried": "yi: server_error 0.500000 unknown; mm: ok 2.000000 billed",
    "deployment": "mm", "provider": "minimax-v2", "model": "MiniMax-Text-01", "finish_reason": "stop", "input_tokens": 10,
    "output_tokens": 20, "total_tokens": 30, "cached_tokens": None, "reasoning_tokens": None, "bill_confirmed": "0.0003 CNY",
    "bill_possible": "about 0 to 0.06 CNY", "retry_after": None, "metadata": {"tenant": "杭州"},
}


def line(**changes: Any) -> str:
    return json.dumps({**LINE, **changes}, ensure_ascii=False)


def test_lines_as_a_router_logs_them() -> None:
    """A success, a fallback, a stream and a failure, through the real emulator and a host that logs JSON."""
    with days.logged() as lines, scene.stage() as (router, emulator):
        ends = scene.play(router, emulator)
    day = read_log(lines.getvalue(), "calls.jsonl")
    assert [call.call_id for call in day.calls] == [end.call_id for end in ends]
    assert [call.outcome for call in day.calls] == ["ok", "ok", "ok", "auth"]
    for call, end in zip(day.calls, ends, strict=True):
        told = [(each.deployment, each.outcome, each.billing) for each in call.tries]
        kinds = ["ok" if each.failure is None else each.failure.kind.value for each in end.attempts]
        assert told == [(each.deployment, kind, each.billing) for each, kind in zip(end.attempts, kinds, strict=True)]
        assert call.usage == end.attempts[-1].usage
        assert call.at is not None
        assert abs(call.at - end.attempts[0].started) < 0.5
    assert day.calls[2].tries[0].first_content is not None
    assert day.calls[0].metadata == scene.METADATA


def test_a_record_tells_the_same() -> None:
    """Of a file of records, and of DEBUG lines that carry one."""
    with scene.stage() as (router, emulator):
        ends = scene.play(router, emulator)
    text = "\n".join(json.dumps(end.record()) for end in ends)
    day = read_log(text)
    assert [call.outcome for call in day.calls] == ["ok", "ok", "ok", "auth"]
    assert [len(call.tries) for call in day.calls] == [1, 2, 1, 1]
    assert day.calls[1].confirmed is not None
    plan = json.dumps(router_plan())
    assert read_log(f"{text}\n{plan}").passed_over == 1


def router_plan() -> dict[str, Any]:
    with scene.stage() as (router, _):
        return router.plan("x", model="chat").record()


def test_a_csv_tells_the_same() -> None:
    """Columns by the names of the fields; blanks are unknown; metadata as JSON or column by column."""
    texts = [line(), line(call_id="c-2", started=1_790_000_100, cached_tokens=3, stream=True, metadata={})]
    rows = [json.loads(text) for text in texts]
    out = io.StringIO()
    writer = csv.DictWriter(out, [*LINE, "metadata.team", "unrelated"])
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "metadata": json.dumps(row["metadata"]), "metadata.team": "a", "unrelated": "x"})
    for text in (out.getvalue(), "\ufeff" + out.getvalue()):
        found = read_log(text).calls
        assert [call.metadata for call in found] == [{"tenant": "杭州", "team": "a"}, {"team": "a"}]
        plain = read_log("\n".join(texts)).calls
        assert [without(call) for call in found] == [without(call) for call in plain]


def without(call: Recorded) -> Recorded:
    """The call without what the two forms tell differently here."""
    return attrs.evolve(call, line=0, metadata={})


def test_what_a_line_tells() -> None:
    """Attempts, money and times, also of lines that tell less."""
    (call,) = read_log(line()).calls
    assert [(each.deployment, each.outcome, each.seconds, each.billing) for each in call.tries] == [
        ("yi", "server_error", 0.5, "unknown"), ("mm", "ok", 2.0, "billed"),
    ]
    assert call.tries[-1].usage == cnroute.Usage(10, 20, 30)
    assert call.confirmed == (cnroute.Cost(Decimal("0.0003"), Decimal("0.0003"), "CNY"),)
    assert call.possible == (cnroute.Cost(Decimal(0), Decimal("0.06"), "CNY", True),)
    (old,) = read_log(line(tried=None)).calls
    assert (len(old.tries), old.hidden, old.tries[0].seconds) == (1, 1, None)
    (single,) = read_log(line(tried=None, attempts=1)).calls
    assert (single.tries[0].seconds, single.hidden) == (2.5, 0)
    (cost,) = read_log(line(bill_confirmed=None, bill_possible=None, cost_low="1", cost_high="2", cost_currency="USD")).calls
    assert cost.confirmed == (cnroute.Cost(Decimal(1), Decimal(2), "USD"),)
    (several,) = read_log(line(bill_confirmed="1 CNY + about 2 USD")).calls
    assert [each.currency for each in several.confirmed or ()] == ["CNY", "USD"]
    (odd,) = read_log(line(tried="a: b; c: ok 1.000000 billed", attempts=1)).calls
    assert odd.tries[0].deployment == "a: b; c"


@pytest.mark.parametrize(("time", "at"), [
    ({"timestamp": "2026-11-01T10:00:02.5+08:00"}, "2026-11-01T10:00:00+08:00"),
    ({"asctime": "2026-11-01 10:00:02,500"}, "2026-11-01T10:00:00+08:00"),
    ({"ts": 1_790_000_002_500}, "1790000000"), ({"time": 1_790_000_002.5}, "1790000000"),
])  # fmt: skip
def test_without_its_beginning_the_time_of_a_line_is_its_end(time: dict[str, Any], at: str) -> None:
    """Whatever the host's logger calls it; without an offset it is the time of Shanghai."""
    (call,) = read_log(line(started=None, **time)).calls
    assert call.at == pytest.approx(float(at) if at.isdigit() else moment(at), abs=0.001)


def test_without_any_time_calls_follow_one_another() -> None:
    """Each begins when the one before it has ended, and the report says so."""
    text = "\n".join(line(started=None, call_id=f"c-{number}") for number in range(3))
    day = read_log(text)
    assert [call.at for call in day.calls] == [0.0, 2.5, 5.0]
    assert day.untimed == 3
    assert "no times" in [entry["id"] for entry in simulate(day)["assumptions"]]


def test_lines_of_others_twice_told_calls_and_a_cut_end_are_counted() -> None:
    """Text, other events, a line written by two handlers, and the end of a log that is being written."""
    other = '{"event": "attempt started", "call_id": "c-1"}'
    text = "\n".join(["Starting up", other, line(), line(), "", line(call_id="x")[:50]])
    day = read_log(text)
    assert (len(day.calls), day.passed_over, day.twice, day.cut_off) == (1, 2, 1, 1)
    found = {entry["id"]: entry["count"] for entry in simulate(day)["assumptions"]}
    assert (found["passed over"], found["twice"], found["cut off"]) == (2, 1, 1)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"outcome": "fine"}, "there is no outcome 'fine'"), ({"outcome": None}, "outcome is missing"),
    ({"seconds": None}, "seconds is missing"), ({"seconds": -1}, "seconds must be a number of at least 0"),
    ({"seconds": "2"}, "seconds must be a number"), ({"route": None}, "route is missing"), ({"route": 7}, "route must be text"),
    ({"input_tokens": -3}, "input_tokens must be a whole number"), ({"output_tokens": 1.5}, "output_tokens must be a whole"),
    ({"metadata": {"a": 1}}, "metadata must map text to text"), ({"bill_confirmed": "some"}, "bill_confirmed is no cost"),
    ({"started": None, "timestamp": "noon"}, "'noon' is no time"), ({"tried": "yi: fine 1.0 none"}, "there is no outcome 'fine'"),
    ({"attempts": True}, "attempts must be a whole number"),
])  # fmt: skip
def test_a_wrong_line_is_told_by_its_number(changes: dict[str, Any], reason: str) -> None:
    """The file, the line, and what is wrong with it; a type of its own that pickles."""
    with pytest.raises(LogError) as caught:
        read_log("\n".join([line(), line(**changes), line(call_id="c-3")]), "calls.jsonl")
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == ("calls.jsonl", "line 2")
    assert reason in problem.reason
    assert isinstance(caught.value, cnroute.CnrouteError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_all_wrong_lines_are_told_at_once() -> None:
    """Broken JSON in the middle, a wrong value, a row of a CSV."""
    with pytest.raises(LogError) as caught:
        read_log("\n".join([line()[:40], line(seconds=None), line()]))
    assert [problem.key for problem in caught.value.problems] == ["line 1", "line 2"]
    with pytest.raises(LogError, match="line 3: seconds cannot be 'soon'"):
        read_log("outcome,route,seconds,deployment\nok,chat,1,yi\nok,chat,soon,yi\n")
    for empty in ("", "hello\n", "{}", '{"event": "attempt started"}', "outcome,route\n"):
        with pytest.raises(LogError, match="holds no line of a finished call"):
            read_log(empty)


def test_names_that_the_configuration_does_not_have_are_told() -> None:
    """With the line that called them first, and near names; an outage of nobody likewise."""
    structure = days.config()
    structure = {**structure, "deployments": {**{name: {**value, "provider": "minimax-v2"}
                                                 for name, value in structure["deployments"].items()}}}  # fmt: skip
    day = read_log("\n".join([line(), line(route="chatt", call_id="c-2", started=1_790_000_001)]))
    with pytest.raises(LogError, match="line 2: there is no route, deployment or model 'chatt'; did you mean 'chat'"):
        simulate(day, config=structure)
    with pytest.raises(LogError, match="there is no deployment 'z'"):
        simulate(read_log(line()), config=structure, outages=["z@10:00-11:00"])


@pytest.mark.parametrize("text", ["yi", "yi@", "@10:00-11:00", "yi@10-11", "yi@10:00", "yi@10:00-10:00", "yi@25:00-26:00",
                                  "yi@10:00-11:00=cancelled", "yi@10:00-11:00=x", "yi@2026-11-02-2026-11-01"])  # fmt: skip
def test_a_wrong_outage_is_a_configuration_error(text: str) -> None:
    """It says what to write."""
    with pytest.raises(cnroute.ConfigurationError):
        simulate(read_log(line()), outages=[text])


def test_an_outage_may_have_a_date() -> None:
    """Two instants, by ISO 8601, with and without an offset."""
    begin, day = "2026-09-21T22:13:00", read_log(line(started=1_790_000_001))
    for when in (f"{begin}-2026-09-21T22:14", f"{begin}+08:00-2026-09-21T14:14:00+00:00", "22:13-22:14", "22:00-06:00"):
        for kind in ("", "=rate_limit"):
            report = simulate(day, outages=[f"mm@{when}{kind}"])
            assert report["results"][1]["origins"]["outage"] > 0, when
    assert simulate(day, outages=["mm@06:00-22:00"])["results"][1]["origins"]["outage"] == 0


def test_what_calls_bring_on_themselves_goes_with_them() -> None:
    """A filtered prompt is filtered everywhere, and no other call is; a caller who left leaves after as long."""
    tried = {"tried": "yi: content_filter 0.100000 none", "outcome": "content_filter", "attempts": 1, "deployment": "yi"}
    left = {"tried": "yi: cancelled 9.000000 unknown", "outcome": "cancelled", "attempts": 1, "seconds": 9.0}
    lines = [line(call_id=f"c-{number}", started=1_790_000_000 + 60 * number, tried="yi: ok 2.000000 billed", attempts=1,
                  deployment="yi") for number in range(30)]  # fmt: skip
    lines += [line(call_id="f", started=1_790_002_000, **tried), line(call_id="l", started=1_790_002_100, **left)]
    day = read_log("\n".join(lines))
    history = History(day, 0)
    filtered, left_early = (next(i for i, call in enumerate(day.calls) if call.call_id == name) for name in "fl")
    assert history.fate(filtered, "mm", 0).kind == "content_filter"
    assert {history.fate(0, "mm", number).kind for number in range(50)} == {None}
    assert history.given_up(left_early) == 9.0
    report = simulate(day)
    assert report["results"][1]["outcomes"] == {"ok": 30, "content_filter": 1, "cancelled": 1}


def test_totals_stay_totals() -> None:
    """A deployment that tells totals alone goes on telling totals; halves are split for others like other answers."""
    whole = {"input_tokens": None, "output_tokens": None, "total_tokens": 60}
    lines = [line(call_id=f"a{number}", started=1_790_000_000 + number, tried="yi: ok 1.000000 billed", deployment="yi",
                  provider="dashscope", model="yi-large", attempts=1) for number in range(5)]  # fmt: skip
    lines += [line(call_id=f"b{number}", started=1_790_000_100 + number, tried="mm: ok 1.000000 billed", attempts=1, **whole)
              for number in range(5)]  # fmt: skip
    history = History(read_log("\n".join(lines)), 0)
    assert history.fate(0, "mm", 0).usage == cnroute.Usage(total_tokens=30)
    assert history.fate(7, "yi", 0).usage == cnroute.Usage(20, 40)
    assert history.fate(7, "mm", 0).usage == cnroute.Usage(total_tokens=60)


def test_a_day_of_overlapping_calls_through_the_emulator() -> None:
    """Real threads, sockets and faults: the unchanged day has the log's outcomes, attempts and money."""
    structure: dict[str, Any] = {
        "router": {"breaker": False}, "routes": {"chat": ["yi", "mm"]},
        "deployments": {
            "yi": {"provider": "dashscope", "model": "yi-large", "price": price("20")},
            "mm": {"provider": "minimax-v2", "model": "MiniMax-Text-01", "price": price("1")},
        },
    }
    with days.logged() as lines, scene.stage(breaker=None) as (router, emulator):
        emulator.script("yi-large", ["http_503", "ok", "http_500", "ok", "ok"] * 6)
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda number: router.chat(f"你好 {number}", model="chat").text, range(30)))
    report = simulate(read_log(lines.getvalue()), config=structure)
    log, again = report["results"]
    for key in ("calls", "outcomes", "attempts", "calls_by_attempts", "deployments"):
        assert again[key] == log[key]
    assert log["attempts"] > 35
    assert again["origins"]["recorded"] == again["attempts"]
    assert again["seconds"]["p90"] == pytest.approx(log["seconds"]["p90"], abs=0.1)


def price(amount: str) -> dict[str, str]:
    return {"currency": "CNY", "input": amount, "output": amount, "as_of": "2025-06-01"}


def test_a_simulation_logs_nothing_and_asks_no_plugin_to_watch(caplog: pytest.LogCaptureFixture) -> None:
    """Calls that never were appear in no log and in front of no observer; no key of the configuration is needed."""
    seen: list[object] = []

    class Watcher:
        @cnroute.hookimpl
        def observe(self, notice: object) -> None:
            seen.append(notice)

    host = cnroute.PluginHost(autoload=False)
    host.register(Watcher(), name="watcher")
    structure = {
        "router": {"store": {"redis": "redis://127.0.0.1:1/0"}},
        "deployments": {
            name: {"provider": "minimax-pro", "model": "abab6.5s-chat", "api_key": {"env": "NOT_SET_ANYWHERE"},
                   "options": {"group_id": {"file": "/nowhere"}}} for name in ("yi", "mm")
        },
        "routes": {"chat": ["yi", "mm"]},
    }  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        day = read_log(line(outcome="auth", tried="yi: auth 0.100000 none", attempts=1))
        report = simulate(day, config=structure, plugins=host)
    assert report["results"][1]["calls"] == 1
    assert seen == []
    assert [record for record in caplog.records if record.name.startswith("cnroute")] == []


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_says_so(mark: str) -> None:
    """Other ends of lines, which JSON may hold inside of a text, cut nothing."""
    metadata = {"tenant": f"a{mark}b"}
    text = line(metadata=metadata) + "\n"
    (call,) = read_log(text).calls
    assert call.metadata == metadata


@pytest.mark.parametrize(
    "changes",
    [
        {"started": None, "time": 10**400}, {"started": None, "time": "0001-01-01T00:00:00"}, {"started": 1_790_000_000_000},
        {"seconds": 1e12}, {"input_tokens": 10**30}, {"tried": "yi: ok " + "9" * 400 + " billed"},
    ],
    ids=lambda changes: next(reversed(changes)),
)  # fmt: skip
def test_numbers_beyond_all_sense_are_wrong_lines(changes: dict[str, Any]) -> None:
    """Such a day could not be played: no calendar, no memory holds it."""
    with pytest.raises(LogError) as caught:
        read_log(line(call_id="c-2") + "\n" + line(**changes) + "\n")
    assert [problem.key for problem in caught.value.problems] == ["line 2"]


def test_as_many_tokens_as_are_believed_can_be_played() -> None:
    """A vendor that counts a thousand million does not fill the memory of a simulation."""
    day = read_log(line(input_tokens=10**9, output_tokens=10**9, total_tokens=None, tried=None, attempts=1) + "\n")
    report = simulate(day, policies=["ordered"])
    assert [result["calls"] for result in report["results"]] == [1, 1, 1]
