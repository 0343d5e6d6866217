"""The token estimate against the vocabulary that the vendor's own SDK ships; runs wherever the SDK is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("dashscope")
pytestmark = pytest.mark.filterwarnings("default")
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/tokens.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """benchmarks/tokens.py as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_of_tokens", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_recorded_table_is_what_the_vocabulary_counts(script: ModuleType) -> None:
    """The page shows what this run shows."""
    assert json.loads(script.RECORD.read_text("utf-8"))["rows"] == script.measured(script.counter())


def test_the_errors_are_those_of_an_estimate(script: ModuleType) -> None:
    """A quarter off on average and never by two thirds; a model's own counts make no kind worse."""
    for kind, row in script.measured(script.counter()).items():
        assert row["error"] <= 30 and row["largest"] <= 60, kind
        assert row["corrected"] <= row["error"] + 5, kind
    every = list(script.measured(script.counter()).values())
    assert sum(row["corrected"] for row in every) < sum(row["error"] for row in every)
