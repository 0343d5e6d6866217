"""What the entry point loads: metrics in the default registry, for hosts that configure nothing."""

from __future__ import annotations

from cnroute_prometheus import Metrics

plugin = Metrics()
