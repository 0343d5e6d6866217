"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnroute.emulator import Emulator


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
