"""Settings of the whole suite that setup.cfg cannot hold, and fixtures that several folders share."""

from __future__ import annotations

import gc
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
