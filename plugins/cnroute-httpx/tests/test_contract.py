"""The contract of transports, kept over real sockets, with httpx2 and with httpx."""

from __future__ import annotations

import httpx
import pytest
from cnroute_httpx import HttpxTransport

from cnroute.testing import TransportContract


class TestHttpx2(TransportContract):
    transport = "httpx"


@pytest.mark.slow
class TestHttpx(TransportContract):
    def make_transport(self) -> HttpxTransport:
        return HttpxTransport(library=httpx)
