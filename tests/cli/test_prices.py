"""`prices check` and price lists: every oddity has a word, what cannot be used is named with its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnroute.cli.price_check import RULES
from tests.cli.conftest import Run

GOOD = {"provider": "dashscope", "model": "qwen-plus", "currency": "CNY", "input": "0.8", "output": "2", "as_of": "2026-11-01",
        "source": "price page"}  # fmt: skip
ODD = {
    "provider": {"provider": "dashscop"},
    "model": {"model": "qwen-pluss"},
    "unknown": {"output": None},
    "currency": {"currency": "RMB"},
    "undated": {"as_of": None},
    "unsourced": {"source": None},
    "stale": {"as_of": "2026-01-01"},
    "expired": {"valid_until": "2026-11-20"},
    "early": {"valid_from": "2026-11-22"},
    "unused": {"tiers": [{"input": "1", "output": "2"}]},
    "unit": {"per": "1000"},
    "cached": {"cached": "0.9"},
}
TODAY = ("--today", "2026-11-21")


def toml(row: dict[str, object]) -> str:
    def value(item: object) -> str:
        if isinstance(item, list):
            return f"[{', '.join('{ ' + ', '.join(f'{k} = {value(v)}' for k, v in each.items()) + ' }' for each in item)}]"
        return json.dumps(item)

    return "[[prices]]\n" + "".join(f"{key} = {value(item)}\n" for key, item in row.items() if item is not None)


def checked(run: Run, tmp_path: Path, *rows: dict[str, object], more: tuple[str, ...] = TODAY) -> tuple[int, list[Any]]:
    file = tmp_path / "prices.toml"
    file.write_text("\n".join(map(toml, rows)), "utf-8")
    done = run("prices", "check", str(file), "--json", *more)
    return done.code, json.loads(done.out)["complaints"]


def test_a_good_list_has_nothing_odd(run: Run, tmp_path: Path) -> None:
    """0, and a sentence."""
    assert checked(run, tmp_path, GOOD, {**GOOD, "model": "of-my-own"}) == (0, [])
    assert "2 prices: nothing is odd" in run("prices", "check", str(tmp_path / "prices.toml"), *TODAY).out


@pytest.mark.parametrize("rule", ODD)
def test_every_oddity_has_its_word(run: Run, tmp_path: Path, rule: str) -> None:
    """1, and the rule with the row's key; the row beside it is not blamed."""
    code, found = checked(run, tmp_path, {**GOOD, "model": "qwen-max"}, {**GOOD, **ODD[rule]})
    assert (code, [each["rule"] for each in found]) == (1, [rule])
    assert found[0]["key"].startswith("prices[1] ") and found[0]["reason"]


def test_no_rule_is_untested() -> None:
    """`no-rate` needs a configuration, and has a test of its own."""
    assert set(RULES) == {*ODD, "no-rate"}


def test_what_is_meant_is_suggested(run: Run, tmp_path: Path) -> None:
    """RMB is CNY, and near names are told."""
    _, found = checked(run, tmp_path, {**GOOD, "currency": "RMB", "provider": "dashscop"}, {**GOOD, "model": "qwen-pluss"})
    reasons = " ".join(each["reason"] for each in found)
    assert "write CNY" in reasons and "did you mean 'dashscope'" in reasons and "did you mean 'qwen-plus'" in reasons


def test_the_age_is_the_users_to_choose(run: Run, tmp_path: Path) -> None:
    """180 days unless told; a date in the future is odd, too."""
    row = {**GOOD, "as_of": "2026-05-25"}
    assert checked(run, tmp_path, row) == (0, [])
    assert checked(run, tmp_path, row, more=(*TODAY, "--stale-days", "30"))[0] == 1
    assert checked(run, tmp_path, row, more=("--today", "2026-11-22"))[0] == 1
    assert "future" in checked(run, tmp_path, row, more=("--today", "2026-05-24"))[1][0]["reason"]
    assert run("prices", "check", str(tmp_path / "prices.toml"), "--today", "soon").code == 2


WRONG = {
    "prices[0].input": {"input": 0.8},
    "prices[0].model": {"model": None},
    "prices[0].currency": {"currency": None},
    "prices[0].outptu": {"outptu": "1"},
    "prices[0].valid_until": {"valid_from": "2026-02-01", "valid_until": "2026-01-01"},
    "prices[0].reasoning": {"reasoning": -1},
    "prices[0].provider": {"provider": 5},
}


@pytest.mark.parametrize("key", WRONG)
def test_what_cannot_be_used_is_named(run: Run, tmp_path: Path, key: str) -> None:
    """3, with file and key."""
    file = tmp_path / "prices.toml"
    file.write_text(toml({**GOOD, **WRONG[key]}), "utf-8")
    done = run("prices", "check", str(file))
    assert done.code == 3
    assert key in done.err and "prices.toml" in done.err


@pytest.mark.parametrize("text", ["prices = 5", "prices = [5]", "[prices]\na = 1", "[[price]]\n", "prices = ["])
def test_what_is_no_price_list(run: Run, tmp_path: Path, text: str) -> None:
    """Another structure, and no TOML at all."""
    file = tmp_path / "prices.toml"
    file.write_text(text, "utf-8")
    assert run("prices", "check", str(file)).code == 3


def test_two_prices_for_one_day_are_refused(run: Run, tmp_path: Path) -> None:
    """Dates that do not meet are what dates are for."""
    file = tmp_path / "prices.toml"
    until, later = {**GOOD, "valid_until": "2026-11-30"}, {**GOOD, "input": "0.9", "valid_from": "2026-12-01"}
    file.write_text(toml(until) + toml(later), "utf-8")
    assert run("prices", "check", str(file), *TODAY).code == 1
    file.write_text(toml(until) + toml(GOOD), "utf-8")
    done = run("prices", "check", str(file))
    assert done.code == 3 and "prices[1]" in done.err and "row 0" in done.err


def test_the_prices_of_a_configuration(run: Run, config: str, tmp_path: Path) -> None:
    """Its deployments' and its list's; a currency without a rate is odd there. The list is listed behind them."""
    (tmp_path / "p.toml").write_text(toml({**GOOD, "currency": "USD"}), "utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(Path(config).read_text("utf-8").replace("[router]", '[router]\nprices = "p.toml"', 1), "utf-8")
    found = json.loads(run("prices", "check", "--config", str(file), "--json", *TODAY).out)
    assert found["checked"] == 2
    assert [(each["key"], each["rule"]) for each in found["complaints"]] == [
        ("deployments.yi.price", "stale"), ("prices[0] dashscope/qwen-plus", "no-rate"),
    ]  # fmt: skip
    rows = json.loads(run("prices", "list", "--config", str(file), "--json").out)["prices"]
    assert [row["from"] for row in rows[:3]] == ["configuration", "configuration", "file"]
    assert "0.8 in, 2 out USD per 1,000,000" in run("prices", "list", "--config", str(file)).out


def test_the_shipped_catalogue_is_well_formed(run: Run) -> None:
    """What ships may grow old; nothing else is odd about it."""
    found = json.loads(run("prices", "check", "--json").out)
    assert found["checked"] > 5
    assert {each["rule"] for each in found["complaints"]} <= {"stale"}
