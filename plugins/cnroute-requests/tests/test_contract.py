"""The contract of transports, kept over real sockets."""

from __future__ import annotations

import functools
from typing import Any

import cnroute
from cnroute.testing import TransportContract

# To load what is installed takes longer than most checks; the kit would do it for each transport anew.
installed = functools.cache(cnroute.PluginHost)


class TestRequests(TransportContract):
    def make_transport(self) -> Any:
        return installed().create("create_transport", "requests", {})
