"""Who may change a knowledge base now: one operation at a time, the others in the order in which they came.

The vendor refuses the second of two operations on one base (2034, 2036), so a client does not send it. Nothing here
waits: whoever is not first is called when its turn comes, from the thread of the one before.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable


class Ticket:
    """A place in the queue of one base. `end` leaves it, from any thread, any number of times."""

    __slots__ = ("_queue", "_turns", "ready", "wake")

    def __init__(self, turns: Turns, queue: deque[Ticket], wake: Callable[[], object]) -> None:
        self._turns = turns
        self._queue = queue
        self.wake = wake
        self.ready = False
        """Whether it is this one's turn."""

    def end(self) -> None:
        """Leave the queue; the next one is called."""
        self._turns.leave(self, self._queue)


class Turns:
    """The queues of all bases that somebody is changing."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queues: dict[int, deque[Ticket]] = {}

    def ask(self, key: int, wake: Callable[[], object]) -> Ticket:
        """A ticket for the base `key`; if it is not ready, `wake` is called once it is."""
        if self._pid != os.getpid():
            self._begin()  # forked: the queues, and whoever holds the lock, are the parent's
        with self._lock:
            queue = self._queues.setdefault(key, deque())
            ticket = Ticket(self, queue, wake)
            queue.append(ticket)
            ticket.ready = queue[0] is ticket
        return ticket

    def leave(self, ticket: Ticket, queue: deque[Ticket]) -> None:
        """Take `ticket` out of its queue and call the next one, if it was the first."""
        with self._lock:
            if ticket not in queue:
                return
            queue.remove(ticket)
            following = queue[0] if queue and ticket.ready else None
            if following is not None:
                following.ready = True
            if not queue:
                self._queues = {key: each for key, each in self._queues.items() if each is not queue}
        if following is not None:
            following.wake()

    def waiting(self) -> int:
        """How many operations are under way or wait."""
        with self._lock:
            return sum(map(len, self._queues.values()))
