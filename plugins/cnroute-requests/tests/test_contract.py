"""The contract of transports, kept over real sockets."""

from __future__ import annotations

from cnroute.testing import TransportContract


class TestRequests(TransportContract):
    transport = "requests"
