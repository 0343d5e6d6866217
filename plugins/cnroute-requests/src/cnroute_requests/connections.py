"""urllib3's connections, as requests uses them, with the exchange that they serve told of every step.

Rules of this file
- Only documented methods are overridden. `connect` runs in a side thread that is abandoned when the exchange is over:
  neither a name look-up nor a handshake can be ended from outside.
- Which exchange a connection serves is known by the context of the thread that has called `HTTPAdapter.send`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from contextvars import ContextVar
from typing import Any, NamedTuple

import requests.adapters
import urllib3
import urllib3.connection
from urllib3.util.retry import Retry

from cnroute.transports.parts import DNS, TLS, WRITE, Exchange, shut

MAX_IDLE = 20.0
"""Seconds after which a connection that was kept is not used again."""

class Serving(NamedTuple):
    """Whom a connection serves, and whether it may be kept afterwards."""

    exchange: Exchange
    keep: bool


CURRENT: ContextVar[Serving] = ContextVar("cnroute_requests_serving")


class _Connecting(threading.Thread):
    """One `connect` in a thread of its own."""

    def __init__(self, connection: Any, connect: Any) -> None:
        super().__init__(name="cnroute requests connecting", daemon=True)
        self.over = threading.Event()
        self.error: BaseException | None = None
        self._connection = connection
        self._connect = connect
        self._lock = threading.Lock()
        self._abandoned = False
        self._spare: socket.socket | None = None

    def hold(self, sock: socket.socket) -> None:
        """`sock` is connected. Its handshake takes the descriptor out of it: a spare one can be shut down from outside."""
        with self._lock:
            if self._abandoned:
                shut(sock)
            elif self._spare is None:
                self._spare = sock.dup()

    @property
    def connected(self) -> bool:
        """Whether only TLS, or a proxy's tunnel, is still missing."""
        return self._spare is not None

    def run(self) -> None:
        """Connect; a connection that nobody waits for any more is closed."""
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            self.error = error
        with self._lock:
            self.over.set()
        if self._abandoned:
            self._connection.close()
        if self._spare is not None:
            self._spare.close()

    def abandon(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            if not self.over.is_set():
                self._abandoned = True
                shut(self._spare)


class _Guarded:
    """What both kinds of connections have in common."""

    timeout: Any
    _sock: Any = None
    _connecting: _Connecting | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.used = time.monotonic()

    @property
    def sock(self) -> Any:
        """The socket; the side thread is told of it as soon as it is connected."""
        return self._sock

    @sock.setter
    def sock(self, sock: Any) -> None:
        self._sock = sock
        if self._connecting is not None and sock is not None:
            self._connecting.hold(sock)

    @property
    def is_connected(self) -> bool:
        """Whether the connection can serve another exchange."""
        fresh = time.monotonic() - self.used < MAX_IDLE
        return fresh and super().is_connected  # type: ignore[misc]

    def connect(self) -> None:
        """Connect within the exchange's limit for it."""
        exchange = CURRENT.get().exchange
        exchange.begin_connect()
        self.timeout = exchange.allow()
        connecting = self._connecting = _Connecting(self, super().connect)  # type: ignore[misc]
        connecting.start()
        try:
            while not connecting.over.wait(exchange.tick()):
                pass
        except TimeoutError:
            exchange.step = TLS if connecting.connected else DNS
            raise
        finally:
            self._connecting = None
            connecting.abandon()
        if connecting.error is not None:
            if connecting.connected:
                exchange.step = TLS
            raise connecting.error

    def request(self, *args: Any, **more: Any) -> None:
        """Send a request; the exchange learns when its first and its last byte leave."""
        exchange = CURRENT.get().exchange
        if self.sock is None:
            self.connect()
        exchange.hold(self.sock)
        exchange.begin_write()
        self.sock.settimeout(exchange.allow())
        try:
            super().request(*args, **more)  # type: ignore[misc]
        except TimeoutError:
            self._reset()
            raise
        exchange.begin_head(whole=True)

    def getresponse(self) -> Any:
        """Read the head of the answer."""
        exchange, keep = CURRENT.get()
        if exchange.step is WRITE:  # the peer has closed while we wrote: it may have answered before (a 413)
            self._or_was_it_us(exchange)
            exchange.begin_head(whole=False)
        self.timeout = exchange.allow()
        answer = super().getresponse()  # type: ignore[misc]
        self.used = time.monotonic()
        if not keep:
            sock, self.sock = self.sock, None  # as for `Connection: close`: the answer holds what it still has to read
            sock.close()
        return answer

    def _or_was_it_us(self, exchange: Exchange) -> None:
        try:
            exchange.check()
            exchange.allow()
        except BaseException:
            self._reset()
            raise

    def _reset(self) -> None:
        """What was not sent is thrown away at the close: behind it the peer would not see our end."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Plain(_Guarded, urllib3.connection.HTTPConnection):
    pass


class _Secure(_Guarded, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}
# Errors arrive as they are raised, and nothing is sent twice.
_NO_RETRIES = Retry(total=False, redirect=False)


class Adapter(requests.adapters.HTTPAdapter):
    """requests' own adapter over guarded connections. `send` is not overridden: that is what `responses` replaces."""

    def __init__(self, places: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=places, max_retries=_NO_RETRIES)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pools for direct connections."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def close(self) -> None:
        """Close idle connections now; urllib3 itself leaves that to the garbage collection of its pools."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in list(manager.pools.keys()):
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """The pools for connections through `proxy`."""
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def close_quietly(raw: Any) -> None:
    """Close an answer and give its connection back closed, in this order: the other way round the place is lost."""
    with contextlib.suppress(Exception):
        raw.close()
        raw.release_conn()
