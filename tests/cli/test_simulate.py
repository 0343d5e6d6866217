"""`cnroute simulate`: a day's log in a table and as JSON; what is wrong with it in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from cnroute.simulate import report_schema
from tests.cli.conftest import Run
from tests.simulate.test_log import line

DAY = "\n".join(
    line(call_id=f"c-{number}", started=1_790_000_000 + 60 * number, tried=f"{name}: ok 2.000000 billed", attempts=1,
         deployment=name, provider=provider, model=model, bill_confirmed="0.0006 CNY", bill_possible="0 CNY")
    for number in range(60)
    for name, provider, model in [("yi", "dashscope", "yi-large") if number % 2 else ("mm", "minimax-v2", "MiniMax-Text-01")]
)  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> str:
    file = tmp_path / "calls.jsonl"
    file.write_text(DAY, "utf-8")
    return str(file)


def test_columns_stand_side_by_side(run: Run, log: str, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log, the unchanged configuration, each policy; no key is needed; assumptions are named below."""
    monkeypatch.delenv("DASHSCOPE_API_KEY")
    done = run("simulate", log, "--policy", "cheapest", "--policy", "fastest", "--config", config, "--outage", "yi@00:00-24:00")
    assert (done.code, done.err) == (0, "")
    rows = {name: cells for name, *cells in (re.split(r"\s{2,}", text.strip()) for text in done.out.splitlines())}
    assert done.out.splitlines()[0].split() == ["log", "unchanged", "cheapest", "fastest"]
    assert rows["calls"] == ["60"] * 4
    assert rows["answered"] == ["100.00%"] * 4
    assert rows["cost"][0] == "0.036 CNY"
    assert rows["attempts at yi"][0] == "30 (30 answered)"
    assert "- attempts that did not happen on the day were drawn" in done.out
    report = json.loads(run("simulate", log, "--config", config, "--json").out)
    jsonschema.validate(report, report_schema())
    assert [result["name"] for result in report["results"]] == ["log", "unchanged"]


def test_other_configurations_and_prices(run: Run, log: str, config: str, tmp_path: Path) -> None:
    """A file is a policy, too; a price list goes before what the configuration says."""
    other = tmp_path / "other.toml"
    other.write_text(Path(config).read_text("utf-8").replace('["yi", "mm"]', '["mm", "yi"]'), "utf-8")
    prices = tmp_path / "prices.toml"
    prices.write_text('[[prices]]\nprovider = "minimax-v2"\nmodel = "MiniMax-Text-01"\ncurrency = "CNY"\ninput = "0"\n'
                      'output = "0"\nas_of = 2026-01-01\n', "utf-8")  # fmt: skip
    found = json.loads(run("simulate", log, "--config", config, "--policy", str(other), "--prices", str(prices), "--json").out)
    _, first, second = found["results"]
    assert first["deployments"]["yi"]["answered"] == second["deployments"]["mm"]["answered"] == 60
    assert (first["cost"]["confirmed"][0]["low"], second["cost"]["confirmed"]) == ("0.036", [])


def test_standard_input_and_no_configuration(run: Run) -> None:
    """A pipe, and a log that tells who there is."""
    report = json.loads(run("simulate", "-", "--json", stdin=DAY).out)
    assert report["log"]["file"] == "standard input"
    assert report["results"][1]["calls"] == 60


@pytest.mark.parametrize(("argv", "text", "code"), [
    ((), line(outcome="fine"), 2), ((), "nothing", 2), (("--policy", "cheepest"), DAY, 3), (("--outage", "yi"), DAY, 3),
    (("--outage", "zz@10:00-11:00"), DAY, 2), (("--policy", "none.toml"), DAY, 3),
])  # fmt: skip
def test_what_is_wrong_is_said(run: Run, argv: tuple[str, ...], text: str, code: int) -> None:
    """2 for the log, 3 for settings; nothing on stdout."""
    done = run("simulate", "-", *argv, stdin=text)
    assert (done.code, done.out) == (code, "")
    expected = {2: ("line 1", "holds no line", "zz"), 3: ("cheapest", "DEPLOYMENT@FROM-TO", "none.toml")}[code]
    assert any(part in done.err for part in expected)
