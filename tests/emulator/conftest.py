"""Fixtures: a running emulator, one for each test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cnroute.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A started emulator; afterwards no thread of it is alive."""
    with Emulator() as running:
        yield running
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emulator-")]
