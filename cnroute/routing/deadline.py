"""One attempt's limit in time, and its cancelling from any thread.

Rules of this file
- `at` is an instant of the router's monotonic clock; the flow moves it, transports only read it.
- `cancel` runs the callbacks in the caller's thread; a callback registered afterwards runs at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from cnroute.settings import Timeouts


class Clock(Protocol):
    """What the router needs of time; the `time` module is one."""

    def monotonic(self) -> float: ...  # noqa: D102
    def time(self) -> float: ...  # noqa: D102
    def sleep(self, seconds: float, /) -> None: ...  # noqa: D102


class Deadline:
    """How long an attempt may take. `limits` are the effective `Timeouts`, `first_byte` filled in.

    `written` is set by the transport when the whole request was sent (None before): the limits for the first
    byte and the first token count from there. `begun` is None until the transport says False, at its first step, and
    True before it writes; it then asks once more whether the call was cancelled, so that a call which is given up while
    it is False is known to have cost nothing.
    `resent` is set by a transport that had to send the request again on a fresh connection.
    """

    __slots__ = ("_callbacks", "_cancelled", "_clock", "_lock", "at", "begun", "limits", "resent", "written")

    def __init__(self, at: float, limits: Timeouts, clock: Clock) -> None:
        self.at = at
        self.limits = limits
        self.begun: bool | None = None
        self.written: float | None = None
        self.resent = False
        self._clock = clock
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """True once somebody called `cancel`."""
        return self._cancelled

    def now(self) -> float:
        """The router's monotonic clock, in seconds."""
        return self._clock.monotonic()

    def remaining(self) -> float:
        """Seconds until `at`; 0 or less when it has passed or the call was cancelled."""
        return 0.0 if self._cancelled else self.at - self._clock.monotonic()

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the attempt is cancelled, at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def cancel(self) -> None:
        """End the attempt from any thread: whoever waits for the wire is woken."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
