"""The number of Python calls that a routed call and a line of a stream cost (benchmarks/counts.py)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("counts", ROOT / "benchmarks/counts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.gettrace() is not None or sys.getprofile() is not None, reason="a tracer's own calls would be counted")
def test_nothing_has_become_dearer(counts: ModuleType) -> None:
    """A call and a line cost at most 5 % more than recorded, and a line the same with 1 and with 50 plugins."""
    now = counts.measure()
    assert counts.problems(now, counts.recorded()) == []
    assert now.keys() == counts.recorded().keys()


def test_a_growth_would_be_noticed(counts: ModuleType) -> None:
    """The gate itself: 6 % more fails, 5 % more does not, and a line that depends on the plugins fails."""
    before = {"call x": {"1": 100, "50": 100}, "line x": {"1": 20, "50": 20}}
    assert counts.problems(before, before) == []
    assert counts.problems({**before, "call x": {"1": 105, "50": 105}}, before) == []
    assert len(counts.problems({**before, "call x": {"1": 106, "50": 100}}, before)) == 1
    assert len(counts.problems({**before, "line x": {"1": 20, "50": 20.5}}, before)) == 1
