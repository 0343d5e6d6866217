"""Style and types, checked as the `lint` environment of tox does, so that one command checks all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_has_strict_types() -> None:
    """`mypy --strict` finds nothing in the package."""
    run("mypy", "--strict", "-p", "cnroute")


@pytest.mark.parametrize("program", ["application.py", "provider.py"])
def test_users_programs_have_strict_types(program: str) -> None:
    """A program that uses every common name is clean under `mypy --strict`: the published types are complete."""
    run("mypy", "--strict", Path(__file__).with_name(program))


def test_the_tree_is_clean() -> None:
    """`ruff check` finds nothing."""
    run("ruff", "check", "--no-cache", "--output-format", "concise", ROOT)
