"""Settings of the whole suite that setup.cfg cannot hold."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Without pytest-timeout its setting is unknown, and `--strict-config` would refuse to run at all."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds for one test; only pytest-timeout enforces it")
