"""The default transport keeps the contract of transports."""

from __future__ import annotations

from cnroute.testing import TransportContract
from cnroute.transports.urllib3 import Urllib3Transport


class TestUrllib3(TransportContract):
    make_transport = Urllib3Transport
