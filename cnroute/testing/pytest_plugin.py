"""Fixtures for applications' tests, and the closing table of contracts; nothing heavy is imported before it is needed."""

from __future__ import annotations

import sys
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


# -- contracts: the closing table, and the guard of their checks ------------------------------------------------------

_PROPERTY = "cnroute_contract"


def _contract_of(item: Any) -> Any:
    """The contract class that a test belongs to, if any; what is not imported has no test here."""
    base = sys.modules.get("cnroute.testing.contract.checking")
    owner = getattr(item, "cls", None)
    return owner if base is not None and owner is not None and hasattr(owner, "contract_checks") else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Tell every check's report which contract it belongs to: reports may come from another process."""
    for item in items:
        contract = _contract_of(item)
        if contract is not None and item.originalname in contract.contract_checks():
            item.user_properties.append((_PROPERTY, [f"{contract.__module__}:{contract.__qualname__}", item.originalname]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table and a closing line for every contract that ran."""
    if "cnroute.testing.contract.checking" not in sys.modules:
        return
    from cnroute.testing.contract import summary

    for line in summary.lines(terminalreporter.stats):
        terminalreporter.write_line(line)
