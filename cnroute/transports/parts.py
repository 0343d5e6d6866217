"""Parts for authors of transports: what the default one is made of, and what any library's transport needs.

- ``Exchange``: one exchange under its deadline: which step it is in, how long the next wait may take, what an error means
- ``Grip``: the socket that a cancel has to shut down (``exchange.grip``)
- ``Places``, ``Token``: max_connections places; waiting for one is timed and can be cancelled
- ``Step`` and ``POOL`` to ``BODY``: the steps of an exchange, each with the kinds of its two failures
- ``WireError``, ``failure_of``: a failure that you have found yourself, and what standard exceptions mean in a step
- ``check_status``, ``Content``: what is no answer, and a body that is unpacked, counted and complete
- ``Framer``, ``framer_of``: where a body ends on the wire, and whether bytes came behind it
- ``Origin``, ``Proxy``, ``proxy_of``, ``check_files``, ``Contexts``: what a deployment says of its connections
- ``SOCKET_OPTIONS``: what a socket is given before it connects: no delay, and a dead peer is noticed
- ``shut``: end both directions of a socket, from any thread
"""

from __future__ import annotations

from cnroute.transports.answers import KEPT_OF_AN_ERROR, Content, check_status
from cnroute.transports.bodies import PIECE, Framer, framer_of
from cnroute.transports.connecting import SOCKET_OPTIONS
from cnroute.transports.exchange import TICK, Deadline, Exchange, Grip, shut
from cnroute.transports.origins import Contexts, Origin, Proxy, check_files, proxy_of
from cnroute.transports.places import Places, Token
from cnroute.transports.steps import BODY, CONNECT, DNS, HEAD, POOL, TLS, WRITE, Step, WireError, failure_of

__all__ = [
    "BODY", "CONNECT", "DNS", "HEAD", "KEPT_OF_AN_ERROR", "PIECE", "POOL", "SOCKET_OPTIONS", "TICK", "TLS", "WRITE",
    "Contexts", "Content", "Deadline", "Exchange", "Framer", "Grip", "Origin", "Places", "Proxy", "Step", "Token", "WireError",
    "check_files", "check_status", "failure_of", "framer_of", "proxy_of", "shut",
]
