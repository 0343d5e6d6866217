"""Settings of the whole suite that setup.cfg cannot hold, and fixtures that several folders share."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from cnroute.emulator import Emulator


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Without pytest-timeout its setting is unknown, and `--strict-config` would refuse to run at all."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds for one test; only pytest-timeout enforces it")


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """What the suite itself holds (nine thousand items, imported modules) need not be looked through in every collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads change places far more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[Emulator]:
    """One emulator for all tests of a module."""
    with Emulator() as running:
        yield running


@pytest.fixture
def vendor(shared_emulator: Emulator) -> Iterator[Emulator]:
    """The module's emulator with an empty log and no scripts."""
    shared_emulator.reset()
    yield shared_emulator
    shared_emulator.reset()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that were skipped for want of a Redis are worth more than an `s`."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = {str(where[2]) for where in skipped if isinstance(where, tuple)}
    for reason in sorted(reason for reason in reasons if "redis-server" in reason):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True, bold=True)
