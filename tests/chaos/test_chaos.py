"""The chaos bench (benchmarks/chaos.py): its short form, its full run, and the gate itself."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from tests.docs.pages import ROOT

VARIANTS = ("plain", "down", "sixty", "fork", "cancel", "redis", "async")


# Of a run's time so much may be lost to other processes before its time limits say nothing of the library.
STARVED = 60.0


def run(tmp_path: Path, *arguments: str, seconds: int) -> list[dict[str, Any]]:
    """The reports of a run in a process of its own, so that its threads and descriptors are only its own."""
    file = tmp_path / "chaos.json"
    command = [sys.executable, str(ROOT / "benchmarks/chaos.py"), *arguments, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    reports: list[dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.exists() else []
    clean = all(not report["violated"] for report in reports)
    assert reports and (done.returncode == 0 or not clean), done.stdout + done.stderr
    return reports


@pytest.mark.timeout(700)
@pytest.mark.parametrize("calls", [36, pytest.param(50, marks=pytest.mark.slow)])
def test_a_short_run_violates_nothing(calls: int, tmp_path: Path, bench: ModuleType) -> None:
    """32 threads over three failing vendors: every invariant holds and every fault was really delivered.

    What must hold on any machine is judged once. Where only limits of time were passed the run is made again; a machine
    that is too busy twice is told to be so, by name, and with how much of its time the run did not get.
    """
    for _ in range(2):
        (report,) = run(tmp_path, "--seeds", "1", "--calls", str(calls), "--seconds", "20", seconds=300)
        violated = set(report["violated"])
        assert violated <= bench.checks.TIMED_CHECKS, report["violated"]
        assert report["calls"] == 32 * calls and len(report["violations"]) == 12
        assert all(sum(counts.values()) for counts in report["faults"].values()) and len(report["faults"]) == 18
        if not violated:
            return
    if report["machine"]["storm_lost_percent"] > STARVED:
        pytest.skip(f"limits of time cannot be judged here: {report['machine']}, {report['violated']}")
    pytest.fail(f"{report['machine']} {report['violated']}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("variant", "seeds"), [(each, 5 if each == "plain" else 2) for each in VARIANTS])
def test_the_full_run_violates_nothing(variant: str, seeds: int, tmp_path: Path) -> None:
    """Thousands of calls for each seed, in every variant."""
    reports = run(tmp_path, "--seeds", f"1-{seeds}", "--variant", variant, seconds=1700)
    assert [report["calls"] for report in reports] == [4800] * seeds
    assert [report["violated"] for report in reports] == [{}] * seeds


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        importlib.import_module("chaosbench.checks")
        return importlib.import_module("chaosbench")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_what_a_run_leaves_behind_is_seen(bench: ModuleType) -> None:
    """Objects show among Python's blocks, and 20 MiB that only C knows of in what is taken of malloc."""
    first = bench.watching.Rest.now()
    kept = [[number] for number in range(first.blocks // 10)], bytearray(20 * 2**20)
    blocks, memory = bench.watching.Rest.now().since(first)
    assert blocks > 9 and memory > 15, kept[1][:0]


def test_the_bound_is_that_of_the_reliability_page(bench: ModuleType) -> None:
    """6 % that cost nothing and 13 % that may have cost something leave 98 % of the calls."""
    odds = bench.vendors.Odds(none=0.06, unknown=0.13, billed=0.0)
    assert odds.success() == pytest.approx(0.81 * (1 + 0.06 + 0.13 + 0.06**2 + 2 * 0.06 * 0.13))
    assert round(odds.success(), 2) == 0.98
    assert odds.success(vendors=2) == pytest.approx(0.81 * 1.19)


def test_the_same_seed_makes_the_same_calls(bench: ModuleType) -> None:
    """Who asks what, and how its consumer behaves, is a pure function of the seed."""
    make, manners = bench.traffic.make_tasks, bench.traffic.MANNERS["usual"]
    assert make("s", 50, 1, manners) == make("s", 50, 1, manners)
    assert make("s", 50, 1, manners) != make("s", 50, 2, manners)
    many = make("s", 4000, 1, manners)
    assert sum(task.stream for task in many) / 4000 == pytest.approx(0.3, abs=0.03)
    assert sum(task.manner == "cancel" for task in many) / 4000 == pytest.approx(0.02, abs=0.01)


def a_run(bench: ModuleType, **result: Any) -> Any:
    """A run with one answered call and nothing else, changed as told."""
    (task,) = bench.traffic.make_tasks("s", 1, 1, {}, streams=0.0)
    one = bench.traffic.Result(task, text=task.answer, seconds=0.1)
    return bench.running.Run(1, "plain", tasks=[task], begun=1, results=[attrs.evolve(one, **result)])


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("1 exactly one outcome", {"outcome": "untyped"}),
        ("2 in time", {"seconds": 5.6}),
        ("3 exact text", {"text": "of somebody else"}),
        ("3 exact text", {"pieces": ["of somebody else"]}),
        ("6 success at the bound", {"outcome": "server_error"}),
        ("9 logs", {}),
    ],
)
def test_the_gate_notices(bench: ModuleType, check: str, changes: dict[str, Any]) -> None:
    """A call that ends wrongly is a violation of the right invariant (and one without a log line, of the ninth)."""
    assert bench.checks.violations(a_run(bench, **changes))[check]


@pytest.mark.parametrize(("gap", "violations"), [((5.1, 5.5), 0), ((3.0, 4.0), 1), ((5.1, 5.15), 1)])
def test_only_what_the_machine_has_lost_is_excused(bench: ModuleType, gap: tuple[float, float], violations: int) -> None:
    """A call that ends 0.8 s after its deadline: 0.4 s that this process did not get meanwhile excuse it, earlier ones do not."""
    run = a_run(bench, begun=0.0, seconds=5.8)
    run.lag._gaps.append(gap)
    assert len(list(bench.checks.in_time(run))) == violations
    assert len(bench.checks.beyond(run)) == 1
