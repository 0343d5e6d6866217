"""For tests of applications and plugins: a fake transport, a fake clock, captured notices, a fixture plugin."""

from __future__ import annotations

from cnroute.testing.clock import FakeClock
from cnroute.testing.notices import capture_notices
from cnroute.testing.transport import FakeTransport, SentRequest

__all__ = ["FakeClock", "FakeTransport", "SentRequest", "capture_notices"]
