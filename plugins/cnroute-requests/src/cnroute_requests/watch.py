"""The watch: ends exchanges whose time is over although bytes keep coming.

requests' limits count for each receive, so a head or a chunk's size that drips never ends by them. While calls are inside
of requests, one thread looks at all of them every TICK seconds and shuts the sockets of those that are late.
"""

from __future__ import annotations

import threading
from typing import Protocol

from cnroute.transports.parts import Exchange

TICK = 0.05


class Watched(Protocol):
    """A call while a thread is inside of it."""

    exchange: Exchange
    late: bool


class Watch:
    """Looks after calls; its thread runs while there are any, and a little longer."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._wanted = threading.Condition()
        self._running = False
        self._closed = False

    def add(self, call: Watched) -> None:
        """A thread goes inside of `call`."""
        with self._wanted:
            self._calls.add(call)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="cnroute requests watch", daemon=True).start()
            elif len(self._calls) == 1:
                self._wanted.notify()

    def remove(self, call: Watched) -> None:
        """The thread has come out."""
        self._calls.discard(call)

    def close(self) -> None:
        """Let the thread end as soon as no call is left."""
        with self._wanted:
            self._closed = True
            self._wanted.notify()

    def _run(self) -> None:
        pause = threading.Event()
        while self._goes_on():
            for call in tuple(self._calls):
                _look_at(call)
            pause.wait(TICK)

    def _goes_on(self) -> bool:
        """Wait for something to do. False: the thread ends, and the next call starts another."""
        with self._wanted:
            if not self._calls and not self._closed:
                self._wanted.wait(_PATIENCE)
            self._running = bool(self._calls)
            return self._running


_PATIENCE = 5.0


def _look_at(call: Watched) -> None:
    if not call.exchange.step.sent:
        return  # waiting for a place and connecting look at the time themselves
    try:
        call.exchange.allow()
    except TimeoutError:
        call.late = True
        call.exchange.grip.cancel()
