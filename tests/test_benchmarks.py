"""The benchmarks: each script in a tiny form, its gates, and the proofs without which it gives no figure."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import FOLDER, output, script

MEASURING = ("call", "concurrency", "failover", "growth", "imports", "inmemory", "install", "memory", "stream")


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    """The package that the scripts share."""
    script("call")
    yield sys.modules["harness"]


@pytest.fixture(scope="module")
def vendor(harness: Any) -> Iterator[Any]:
    with harness.vendor.Vendor() as running:
        yield running


@pytest.mark.parametrize("name", MEASURING)
def test_a_tiny_run_answers_every_gate(name: str, harness: Any, vendor: Any) -> None:
    """Every figure is a number; the gates of the scripts are those of the table, and none is forgotten."""
    if name == "memory" and not Path("/proc/self/status").exists():
        pytest.skip("resident memory is read from /proc")
    figures = script(name).measure(harness.rounds.TINY, vendor)
    assert figures and all(isinstance(figure.value, int | float) for figure in figures)
    assert len({figure.name for figure in figures}) == len(figures)
    assert {figure.gate for figure in figures if figure.gate} == GATES_OF[name]


GATES_OF = {
    "call": {"call", "call logged"},
    "concurrency": {"threads rate", "threads cpu", "tasks cpu"},
    "failover": {"failover", "open breaker"},
    "growth": {"deployments", "plugins", "character", "chunks", "straight"},
    "imports": {"import"},
    "inmemory": {"in memory"},
    "install": {"distributions", "install size"},
    "memory": {"memory", "memory growth"},
    "stream": {"chunk burst", "chunk paced", "latency"},
}
OF_PEERS = {f"{peer} {what}" for peer in ("litellm", "openai", "dashscope") for what in ("call", "chunk")} | {"chunk sdk"}


def test_every_gate_has_its_script(harness: Any) -> None:
    """The table of gates is answered in full: by the scripts here, by `fast`, and by the peers."""
    assert set(harness.gates.BY_KEY) == set().union(*GATES_OF.values()) | OF_PEERS | {"chunk burst fast"}


@pytest.mark.parametrize("name", [*MEASURING, "gates", "counts", "chaos", "simulate", "peers/run", "peers/measure"])
def test_a_script_begins_with_its_question(name: str) -> None:
    """The first line of each is a question, or an order of one line."""
    first = (FOLDER / f"{name}.py").read_text("utf-8").splitlines()[0]
    assert first.startswith('"""') and (first.endswith("?") or name == "peers/run")


def test_scripts_run_in_processes_of_their_own(tmp_path: Path) -> None:
    """The whole way: `gates.py` starts a script, which starts its runs; the table and the JSON come out."""
    file = tmp_path / "gates.json"
    printed = output("gates", "--only", "install", "--tiny", "--json", str(file))
    assert "distributions besides cnroute" in printed
    rows = {row["what"]: row for row in json.loads(file.read_text("utf-8"))["rows"]}
    assert rows["core install: distributions besides itself"]["measured"] == "6"
    assert rows["one routed call, five providers, default logging"]["verdict"] == "not measured"


def test_a_small_day_is_replayed() -> None:
    """`simulate.py` plays its day and prints what it took."""
    printed = output("simulate", "--calls", "100")
    assert [row.split("|")[2].strip() for row in printed.splitlines()[3:]] == ["100", "100", "200", "10000"]


def test_a_broken_gate_fails(harness: Any) -> None:
    """Verdicts on both sides of each limit, for figures that should be small and for those that should be large."""
    small, large = harness.gates.BY_KEY["call"], harness.gates.BY_KEY["threads rate"]
    assert [small.verdict(value) for value in (0.9, 0.92, 0.93, 1.0, 1.01)] == ["proud", "proud", "ok", "ok", "BROKEN"]
    assert [large.verdict(value) for value in (1.1, 1.0, 0.99, 0.95, 0.94)] == ["proud", "proud", "ok", "ok", "BROKEN"]


def test_the_worst_figure_answers_a_row(harness: Any) -> None:
    """Two figures for one gate: the row shows the one that is worse."""
    gates = script("gates")
    figures = [{"name": name, "gate": "call", "value": value, "values": [value]} for name, value in (("a", 0.9), ("b", 1.1))]
    row = dict(zip(gates.HEADINGS, gates.row(harness.gates.BY_KEY["call"], figures), strict=True))
    assert (row["measured"], row["verdict"], row["worst of"]) == ("1.1", "BROKEN", "b")
    rates = [{**figure, "gate": "threads rate"} for figure in figures]
    row = dict(zip(gates.HEADINGS, gates.row(harness.gates.BY_KEY["threads rate"], rates), strict=True))
    assert (row["measured"], row["verdict"], row["worst of"]) == ("0.9", "BROKEN", "a")


def test_a_ratio_is_taken_block_by_block(harness: Any) -> None:
    """A block in which everything is slow does not move the median."""
    ratio = harness.rounds.Ratio.of([1.0, 1.0, 9.0, 1.0], [2.0, 2.0, 18.0, 2.0])
    assert (ratio.low, ratio.value, ratio.high) == (0.5, 0.5, 0.5)
    assert harness.rounds.slope([1.0, 2.0], [5.0, 10.0], 4) == [1.0, 2.0]


def test_blocks_are_interleaved(harness: Any) -> None:
    """A, B, B, A ..., after a warm-up of all."""
    order: list[str] = []
    works = {name: (lambda times, name=name: order.append(f"{name}{times}")) for name in "ab"}
    harness.rounds.seconds(works, harness.rounds.Size(blocks=3, calls=9, warm_up=1), 5)
    assert order == ["a1", "b1", "a5", "b5", "b5", "a5", "a5", "b5"]


def test_unfair_sides_give_no_figure(harness: Any, vendor: Any) -> None:
    """Another text, or a connection that is not kept, stops the measurement."""
    with pytest.raises(harness.prove.Unfair, match="a returns 2 characters, 3 were sent"):
        harness.prove.same_text({"a": lambda: "no"}, "yes")
    endpoint = vendor.endpoint("plain", "minimax-v2")
    kept = harness.yardstick.Urllib3()

    def anew() -> str:
        pool = harness.yardstick.Urllib3()
        try:
            return str(pool.call(endpoint, "minimax-v2"))
        finally:
            pool.close()

    harness.prove.keeps_connection({"kept": lambda: kept.call(endpoint, "minimax-v2")}, vendor, harness.rounds.TINY)
    kept.close()
    with pytest.raises(harness.prove.Unfair, match="anew opened 3 connections for 3 calls"):
        harness.prove.keeps_connection({"anew": anew}, vendor, harness.rounds.TINY)


@pytest.mark.parametrize("dialect", ["dashscope", "minimax-v2", "openai"])
@pytest.mark.parametrize("size", [1, 7, 65536])
def test_the_yardstick_reads_any_split(dialect: str, size: int, harness: Any) -> None:
    """The stream read by hand follows the rules too: pieces of any size, CRLF, comments, a last line without its end."""
    data = b"".join(harness.samples.events(dialect, 5)).replace(b"\n", b"\r\n")
    body = b": hello\r\n" + data.rstrip()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert "".join(harness.yardstick.READERS[dialect](pieces)) == harness.samples.said(5)


@pytest.mark.parametrize("dialect", ["dashscope", "minimax-v2"])
def test_the_yardstick_checks_what_has_to_be_checked(dialect: str, harness: Any, vendor: Any) -> None:
    """A refusal, an error inside of a 200 and a stream without an end are errors for it too."""
    by_hand = harness.yardstick.Urllib3()
    for scenario in ("503", "error-in-200"):
        with pytest.raises(harness.yardstick.Refused):
            by_hand.call(vendor.endpoint(scenario, dialect), dialect)
    by_hand.close()
    with pytest.raises(harness.yardstick.Refused):
        list(harness.yardstick.READERS[dialect]([harness.samples.event(dialect, "字")]))


def test_the_answers_are_those_of_the_page(harness: Any) -> None:
    """300 Chinese characters behind 11 header fields, whatever the framing."""
    samples = harness.samples
    assert len(samples.text()) == 300 and len(samples.text().encode()) == 900
    heads = [samples.whole(200, b"{}"), samples.whole(503, b"{}"), samples.CHUNKED, samples.UNFRAMED]
    assert [head.partition(b"\r\n\r\n")[0].count(b"\r\n") for head in heads] == [11] * 4
    assert {dialect: len(samples.answer(dialect)) // 100 for dialect in samples.MODELS} == {
        "dashscope": 11, "minimax-v2": 13, "openai": 13,
    }  # fmt: skip


def test_every_peer_has_its_file_and_its_environment() -> None:
    """The peers of the issue are there; what cnroute needs in their environments is what setup.cfg says."""
    run = script("peers/run")
    assert [peer.name for peer in run.PEERS] == ["litellm", "openai", "dashscope", "any-llm", "pydantic-ai"]
    for peer in run.PEERS:
        code = ast.parse((FOLDER / f"peers/{peer.module}.py").read_text("utf-8"))
        assert {"call", "stream"} <= {each.name for each in code.body if isinstance(each, ast.FunctionDef)}
    assert len(run.dependencies()) == 5 and all(">=" in line for line in run.dependencies())


def test_a_peer_that_cannot_be_installed_is_named(tmp_path: Path) -> None:
    """Its reason is pip's last line; nothing is left that looks installed."""
    run = script("peers/run")
    peer = run.Peer("none", "none", "./there-is-no-such-file.whl")
    with pytest.raises(run.NotInstalled, match="No module named pip"):
        run.environment(peer, tmp_path, renew=False, with_pip=False)
    assert not (tmp_path / "none/installed").exists()
