"""For tests of applications and plugins: a fake transport, a fake clock, captured notices, contracts, a fixture plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnroute.testing.clock import FakeClock
from cnroute.testing.notices import capture_notices
from cnroute.testing.transport import FakeTransport, SentRequest

if TYPE_CHECKING:
    from cnroute.testing.contract import ProviderContract

__all__ = ["FakeClock", "FakeTransport", "ProviderContract", "SentRequest", "capture_notices"]


def __getattr__(name: str) -> Any:
    """The contract is imported when it is asked for: pytest imports this package in every run."""
    if name == "ProviderContract":
        from cnroute.testing.contract import ProviderContract

        return ProviderContract
    raise AttributeError(f"module 'cnroute.testing' has no attribute {name!r}")
