"""The contract of transports, kept over real sockets, with httpx2 and with httpx."""

from __future__ import annotations

import httpx
from cnroute_httpx import HttpxTransport

from cnroute.testing import TransportContract


class TestHttpx2(TransportContract):
    transport = "httpx"


class TestHttpx(TransportContract):
    def make_transport(self) -> HttpxTransport:
        return HttpxTransport(library=httpx)
