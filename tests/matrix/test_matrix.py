"""The fault matrix: every row over real sockets, through both routers.

The cases run in two processes of their own (`python -m tests.matrix --lines`), one for each world: so descriptors, threads,
memory, warnings and everything printed are theirs alone, and a test only waits for its own line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.page import PAGE, rendered
from tests.matrix.rows import ROWS, Case, cases
from tests.matrix.running import CANARIES, GROUP

TREE = Path(__file__).parents[2]


class Running:
    """One process that works through the cases of a world."""

    def __init__(self, world: str, *options: str) -> None:
        self.world = world
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.matrix", "--lines", "--world", world, *options], cwd=TREE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._found: dict[str, dict[str, Any]] = {}
        self.printed: list[str] = []
        self.left: list[str] | None = None
        self.complaints = ""

    def result(self, ident: str) -> dict[str, Any]:
        """The result of a case, as soon as it is there."""
        while ident not in self._found and self._next_line():
            pass
        if ident not in self._found:
            self.rest()
        return self._found[ident]

    def _next_line(self) -> bool:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return False
        self.printed.append(line)
        document = json.loads(line)
        if "left" in document:
            self.left = document["left"]
        else:
            self._found[document["id"]] = document
        return True

    def rest(self) -> None:
        """Wait for the end of the process."""
        while self._next_line():
            pass
        assert self._process.stderr is not None
        self.complaints += self._process.stderr.read()
        self._process.wait()

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _running(*options: str) -> Iterator[dict[str, Running]]:
    both = {world: Running(world, *options) for world in ("sync", "async")}
    try:
        yield both
    finally:
        for one in both.values():
            one.close()


@pytest.fixture(scope="module")
def matrix() -> Iterator[dict[str, Running]]:
    """Both processes; they run while the tests read."""
    yield from _running()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_row(matrix: dict[str, Running], case: Case) -> None:
    """Kind, billing, the other vendor's log, connections, places, time, and the next call's own answer."""
    result = matrix[case.world].result(case.id)
    assert result["problems"] == []


@pytest.mark.parametrize("world", ["sync", "async"])
def test_a_whole_run_leaves_nothing(matrix: dict[str, Running], world: str) -> None:
    """No thread, no socket, no warning, nothing on stderr; no key and no group in any log or on any stream."""
    run = matrix[world]
    run.rest()
    assert run.left == []
    assert run.complaints == ""
    assert not any(canary in line for canary in (*CANARIES, GROUP) for line in run.printed)


def test_the_page_is_listed_whole() -> None:
    """Rows 1 to 148, and every case under a name of its own."""
    assert {row.number for row in ROWS} == set(range(1, 149))
    names = [case.id for case in cases()]
    assert len(set(names)) == len(names)


def test_every_row_has_an_asynchronous_case() -> None:
    """The asynchronous half has something of every row but the one that takes the whole process's descriptors."""
    assert {case.row.number for case in cases(worlds=("async",))} == {row.number for row in ROWS} - {17}


@pytest.mark.slow
def test_every_fault_in_every_dialect() -> None:
    """The whole table: every fault of every row in every dialect that the row may have, in both worlds."""
    done = subprocess.run([sys.executable, "-m", "tests.matrix", "--full"], cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if line.startswith(("FAILS", "LEFT")))


def test_the_page_shows_the_rows_as_they_are() -> None:
    """`docs/reliability.md` holds the table that the rows make; `python -m tests.matrix.page` rewrites it."""
    text = PAGE.read_text("utf-8")
    assert text == rendered(text)
