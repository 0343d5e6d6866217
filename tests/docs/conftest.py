"""What the blocks of the documentation find when they run: keys in the environment, and vendors that are emulated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnroute.emulator import Emulator
from tests.docs.emulated import KEYS, MODULE, write_plugin
from tests.docs.pages import ROOT


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def vendors(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Programs that name no address reach the emulator."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "plugin"
    folder.mkdir()
    for source in sorted(ROOT.glob("plugins/*/src")):
        monkeypatch.syspath_prepend(str(source))  # importable, and not installed: no host loads them by itself
    monkeypatch.syspath_prepend(str(write_plugin(folder, emulator)))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop(MODULE, None)
    yield emulator
    sys.modules.pop(MODULE, None)
