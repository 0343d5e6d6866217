"""The contract of transports, kept over real sockets, with httpx2 and with httpx."""

from __future__ import annotations

import functools
from typing import Any

import httpx
import pytest
from cnroute_httpx import HttpxTransport

import cnroute
from cnroute.testing import TransportContract

# To load what is installed takes longer than most checks; the kit would do it for each transport anew.
installed = functools.cache(cnroute.PluginHost)


class TestHttpx2(TransportContract):
    def make_transport(self) -> Any:
        return installed().create("create_transport", "httpx", {})


@pytest.mark.slow
class TestHttpx(TransportContract):
    def make_transport(self) -> HttpxTransport:
        return HttpxTransport(library=httpx)
