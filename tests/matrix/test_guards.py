"""The matrix notices when a guard is missing: each is taken away in a process of its own, and a named row fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix.guards import GUARDS
from tests.matrix.rows import cases

TREE = Path(__file__).parents[2]
PATIENCE = 60


@pytest.fixture(scope="module")
def unguarded() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """One process for each guard, all at once."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.matrix", "--lines", "--world", "sync", "--without", name, "--only", guard.cases],
            cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for name, guard in GUARDS.items()
    }  # fmt: skip
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", GUARDS)
def test_without_the_guard_a_row_fails(unguarded: dict[str, subprocess.Popen[str]], name: str) -> None:
    """The named row has problems once the guard is gone."""
    printed, _ = unguarded[name].communicate(timeout=PATIENCE)
    found = [json.loads(line) for line in printed.splitlines()]
    failed = [result["id"] for result in found if result.get("problems")]
    assert any(ident.startswith(GUARDS[name].cases) for ident in failed), printed[-2000:]


@pytest.mark.parametrize("name", GUARDS)
def test_the_row_of_a_guard_is_in_the_matrix(name: str) -> None:
    """With the guard the same row is run, and must hold, by `test_matrix.py`."""
    assert any(case.id.startswith(GUARDS[name].cases) for case in cases(worlds=("sync",)))
