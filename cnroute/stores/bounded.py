"""A Redis client that gives up in time.

redis-py counts its time-outs for each receive, so a server that drips bytes could hold a call for ever. Here one limit
covers everything that a caller asks of the client: connecting and every receive get what is left of it.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

_LIMIT = threading.local()
_LONG = 60.0


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """What this thread asks of any client inside takes at most so long, on the real monotonic clock."""
    _LIMIT.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _LIMIT.until = None


def left(most: float) -> float:
    """Seconds that the next step may take. Raises TimeoutError when there are none."""
    until = getattr(_LIMIT, "until", None)
    seconds = most if until is None else min(most, until - time.monotonic())
    if seconds <= 0:
        raise TimeoutError("the time limit has passed")
    return seconds


class BoundedSocket:
    """A socket whose every receive gets what is left of the limit."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._wanted = sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """What redis-py wants; 0 is a look whether something has arrived."""
        self._wanted = seconds
        self._sock.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        """Receive, or TimeoutError."""
        self._limit()
        return self._sock.recv(size)

    def recv_into(self, buffer: Any) -> int:
        """Receive, or TimeoutError."""
        self._limit()
        return self._sock.recv_into(buffer)

    def _limit(self) -> None:
        if self._wanted != 0:
            self._sock.settimeout(left(_LONG if self._wanted is None else self._wanted))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@functools.cache
def _bounded(kind: type[Any]) -> type[Any]:
    """A connection class of redis-py whose socket is bounded."""

    class Bounded(kind):  # type: ignore[misc]
        socket_connect_timeout: float | None

        def _connect(self) -> Any:
            self.socket_connect_timeout = left(self.socket_connect_timeout or _LONG)
            return BoundedSocket(super()._connect())

    return Bounded


def make_client(url: str, timeout: float) -> Any:
    """A client for `url` that does not retry and waits `timeout` for an answer, twice that for a connection.

    Nothing is connected yet.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool = redis.ConnectionPool.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=2 * timeout, retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False, health_check_interval=0, protocol=2, decode_responses=False,
    )
    pool.connection_class = _bounded(pool.connection_class)
    return redis.Redis(connection_pool=pool)
