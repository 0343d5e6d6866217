"""The number of Python calls, bytes and modules that a routed call and a line of a stream cost (benchmarks/counts.py)."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from tests.scripts import output, script


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    return script("counts")


def test_nothing_has_become_dearer(counts: ModuleType) -> None:
    """No figure has grown beyond what it may, and none depends on plugins, deployments or lengths.

    Counted in a process of its own, in which orjson cannot be imported and nobody else traces.
    """
    now = json.loads(output("counts", "--json"))
    assert counts.problems(now, counts.recorded()) == []
    assert now.keys() == counts.recorded().keys()


def test_a_growth_would_be_noticed(counts: ModuleType) -> None:
    """The gate itself: 6 % more calls fail, 5 % do not; memory may vary by 15 %; a line that depends on the plugins fails."""
    before = {"call x": {"1": 100, "50": 100}, "line x": {"1": 20, "50": 20}, "bytes x": {"": 100}}
    assert counts.problems(before, before) == []
    assert counts.problems({**before, "call x": {"1": 105, "50": 105}}, before) == []
    assert counts.problems({**before, "call x": {"1": 106, "50": 106}}, before) == [
        "call x (1): 106, recorded 100", "call x (50): 106, recorded 100",
    ]
    assert counts.problems({**before, "line x": {"1": 20, "50": 20.5}}, before) == ["line x grows: 20 (1), 20.5 (50)"]
    assert counts.problems({**before, "bytes x": {"": 115}}, before) == []
    assert len(counts.problems({**before, "bytes x": {"": 116}}, before)) == 1


def test_what_is_counted_is_what_runs(counts: ModuleType) -> None:
    """The counters see a function that is called, and memory that is held for a moment or kept."""
    kept: list[bytes] = []

    def inner() -> None:
        bytes(100_000)

    def work() -> None:
        for _ in range(7):
            inner()

    if sys.gettrace() is None and sys.getprofile() is None:
        assert counts.calls_of(work) == 1 + 7
    assert 100_000 <= counts.peak_of(inner) < 101_000
    assert counts.kept_of(lambda: kept.append(bytes(600))) == 1
    assert counts.kept_of(inner) == 0
