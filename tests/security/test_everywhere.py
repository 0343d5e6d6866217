"""Keys and prompts of all tests against all loggers at DEBUG, over the whole suite (`everywhere.py`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
# What hears nothing of calls, or runs them in processes that listen for themselves (matrix, chaos).
SILENT = (
    "docs", "fuzz", "chaos", "conformance", "simulation", "emulator", "typing", "security/test_everywhere.py",
    "matrix/test_matrix.py", "matrix/test_guards.py", "test_packaging.py", "test_plugin_distributions.py", "test_benchmarks.py",
    "test_counts.py",
)


def session(*arguments: str) -> tuple[int, str]:
    """A session of pytest with the plugin: its exit code, and its last lines."""
    command = [sys.executable, "-m", "pytest", "-c", "setup.cfg", "-p", "tests.security.everywhere", *arguments]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    return done.returncode, "\n".join(done.stdout.splitlines()[-40:])


def test_a_key_in_any_log_fails_the_session(tmp_path: Path) -> None:
    """A test that passes, but in which another library prints a header, is named; the session fails."""
    leak = tmp_path / "test_leak.py"
    leak.write_text(
        "import logging\n"
        "from tests.contract.kit import KEY\n\n"
        "def test_quiet():\n    logging.getLogger('urllib3').debug('POST /')\n\n"
        "def test_leak():\n    logging.getLogger('urllib3').debug('header %s', {'Authorization': f'Bearer {KEY}'})\n"
    )
    code, told = session(str(leak), "-p", "no:randomly")
    assert code == 1
    assert "canaries: 2 records at DEBUG, 1 tests with hits" in told
    assert "test_leak: key of the kit in urllib3" in told


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_no_key_and_no_prompt_in_any_log_of_the_suite() -> None:
    """Every test that makes calls, with every logger at DEBUG: 0 hits."""
    code, told = session("tests", *(f"--ignore=tests/{name}" for name in SILENT))
    assert code == 0, told
    assert "0 tests with hits" in told
