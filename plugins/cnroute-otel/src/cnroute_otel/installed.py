"""What the entry point loads: telemetry through the host's global providers, without content."""

from __future__ import annotations

from cnroute_otel import Telemetry

plugin = Telemetry()
