"""Fixtures for applications' tests; nothing heavy is imported before a fixture is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cnroute.emulator import Emulator


@pytest.fixture
def cnroute_emulator() -> Iterator[Emulator]:
    """A running emulator of all built-in vendors."""
    from cnroute.emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def cnroute_router(cnroute_emulator: Any) -> Iterator[Any]:
    """A router over the emulator: deployments `yi`, `mm`, `pro`, `legacy`, and a route `chat` over the first two."""
    import cnroute

    def deployment(name: str, provider: str, model: str, **options: str) -> cnroute.Deployment:
        return cnroute.Deployment(
            name, provider, model, api_key="test-key", base_url=cnroute_emulator.base_url(provider), options=options
        )

    deployments = [
        deployment("yi", "dashscope", "yi-large"),
        deployment("mm", "minimax-v2", "MiniMax-Text-01"),
        deployment("pro", "minimax-pro", "abab6.5s-chat", group_id="1700000000000000000"),
        deployment("legacy", "minimax-legacy", "abab5.5-chat", group_id="1700000000000000000"),
    ]
    with cnroute.Router(deployments, {"chat": ["yi", "mm"]}) as router:
        yield router
