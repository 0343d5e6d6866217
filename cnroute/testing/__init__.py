"""For tests of applications and plugins: a fake transport, a fake clock, captured notices, contracts, a fixture plugin."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cnroute.testing.clock import FakeClock
from cnroute.testing.notices import capture_notices
from cnroute.testing.transport import FakeTransport, SentRequest

if TYPE_CHECKING:
    from cnroute.testing.contract import ProviderContract
    from cnroute.testing.transports.contract import TransportContract

__all__ = ["FakeClock", "FakeTransport", "ProviderContract", "SentRequest", "TransportContract", "capture_notices"]

_CONTRACTS = {"ProviderContract": "cnroute.testing.contract", "TransportContract": "cnroute.testing.transports.contract"}


def __getattr__(name: str) -> Any:
    """A contract is imported when it is asked for: pytest imports this package in every run."""
    if name in _CONTRACTS:
        return getattr(importlib.import_module(_CONTRACTS[name]), name)
    raise AttributeError(f"module 'cnroute.testing' has no attribute {name!r}")
