"""The places of one deployment: how many exchanges may hold a connection, and which connections are idle.

Rules of this file
- A place is a token in a queue; whoever takes it gives it back exactly once. `free()` at rest is `maximum`.
- A finalizer may run anywhere, inside the lock of a queue too (U20). `SimpleQueue.put` and `deque.append` are
  safe there; closing a dropped connection is left to the next check-out.
- After a fork nothing of the parent is used: the child gets new queues, and its copies of the parent's descriptors
  are closed and never shut down, since that would end the parent's connections (U18).
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cnroute.failures import FailureKind
from cnroute.transports.exchange import Exchange
from cnroute.transports.steps import WireError


class Pooled(Protocol):
    """What places know of a connection."""

    idle_since: float

    def close(self) -> None: ...  # noqa: D102
    def disown(self) -> None: ...  # noqa: D102


C = TypeVar("C", bound=Pooled)


class Token:
    """One place. It goes back into the queue that it came from: a child's queues never see the parent's tokens.

    One that is lost (an interrupt may come between any two steps) leaves another in its place.
    """

    __slots__ = ("_home",)

    def __init__(self, home: weakref.ref[queue.SimpleQueue[Token]]) -> None:
        self._home = home

    def give_back(self) -> None:
        """The place is free again."""
        home = self._home()
        if home is not None:
            home.put(self)

    def __del__(self) -> None:
        home = self._home()
        if home is not None:
            home.put(Token(self._home))


class Places(Generic[C]):
    """`maximum` places and the idle connections, newest first."""

    def __init__(self, maximum: int, max_idle: float) -> None:
        self.maximum = maximum
        self.closed = False
        self.retired = False
        self._max_idle = max_idle
        self._reset()

    def _reset(self) -> None:
        tokens: queue.SimpleQueue[Token] = queue.SimpleQueue()
        for _ in range(self.maximum):
            tokens.put(Token(weakref.ref(tokens)))
        self._tokens = tokens
        self._idle: deque[C] = deque()
        self._dropped: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._known: weakref.WeakSet[C] = weakref.WeakSet()

    def take(self, exchange: Exchange) -> Token:
        """Wait for a place, as long as the exchange allows. The caller gives it back once."""
        self.sweep()
        tokens = self._tokens
        while not self.closed:
            try:
                return tokens.get(timeout=exchange.tick())
            except queue.Empty:
                continue
        raise WireError(FailureKind.CLOSED, "the transport is closed")

    def pop_idle(self) -> C | None:
        """The connection that was used last, good or not; None when none is idle."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def keep(self, connection: C) -> None:
        """`connection` is clean and may serve the next exchange."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self.closed or self.retired:
            self._close_idle()

    def know(self, connection: C) -> None:
        """Remember a new connection for the case of a fork."""
        with self._lock:
            self._known.add(connection)

    def close_later(self, closing: Callable[[], object]) -> None:
        """From a finalizer: `closing` runs at the next check-out."""
        self._dropped.append(closing)

    def sweep(self) -> None:
        """Close what finalizers left behind and what has been idle for too long."""
        while self._dropped:
            try:
                closing = self._dropped.popleft()
            except IndexError:
                break
            closing()
        while self._idle and time.monotonic() - self._idle[0].idle_since > self._max_idle:
            try:
                self._idle.popleft().close()
            except IndexError:
                break

    def free(self) -> int:
        """How many places are free."""
        self.sweep()
        return self._tokens.qsize()

    def idle(self) -> int:
        """How many connections wait for the next exchange."""
        self.sweep()
        return len(self._idle)

    def retire(self) -> None:
        """Close idle connections, and from now on each one when its exchange is over."""
        self.retired = True
        self.sweep()
        self._close_idle()

    def close(self) -> None:
        """Close idle connections; whoever waits for a place, or comes later, is refused."""
        self.closed = True
        self.sweep()
        self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def after_fork(self) -> None:
        """In the child: forget the parent's connections without a word to their peers."""
        known = list(self._known)
        self._reset()
        for connection in known:
            connection.disown()
