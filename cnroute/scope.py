"""What one running call holds, and the one place where all of it is given back.

Rules of this file (architecture, section 4)
- The scope keeps the lease, the open stream and the deadline of the attempt that runs; moving on to another
  attempt, or ending in any way, gives them back.
- `cancel` may come from any thread; it wakes whoever waits for the wire. Only the consumer's thread advances
  the flow; if none is inside the call, `cancel` ends the scope itself.
"""

from __future__ import annotations

import threading
from typing import Any

from cnroute.errors import CallError, HookError, error_for
from cnroute.failures import Failure, FailureKind, how_raised
from cnroute.routing.deadline import Deadline
from cnroute.routing.health import Lease

K = FailureKind


class Scope:
    """The things of one call that must be given back."""

    __slots__ = ("__weakref__", "_lease", "_lock", "_reason", "cancelled", "deadline", "stream")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self.stream: Any = None
        """The stream that is open now."""
        self.deadline: Deadline | None = None
        """That of the attempt that runs."""
        self._reason: Failure | None = None
        self.cancelled = False
        """True once `cancel` was called."""

    def next_attempt(self, deadline: Deadline) -> None:
        """Give back what the attempt before held; from now on `deadline` is the one to cancel."""
        if self.stream is not None or self._lease is not None:
            self.give_back()
        with self._lock:
            self.deadline = deadline
            cancelled = self._reason is not None
        if cancelled:
            deadline.cancel()

    def hold_lease(self, lease: Lease) -> None:
        """Keep `lease` until the attempt is over."""
        self._lease = lease

    def hold_stream(self, stream: Any) -> None:
        """Keep an open stream until the attempt is over."""
        self.stream = stream

    def take_stream(self) -> Any:
        """The open stream, which the caller now has to close."""
        stream, self.stream = self.stream, None
        return stream

    def give_back(self) -> None:
        """Close the open stream and end the lease. May be called any number of times.

        Nobody can await an asynchronous stream's `close` here: its deadline is cancelled, and that frees the socket.
        """
        try:
            stream = self.take_stream() if self.stream is not None else None
            closing = closed(stream) if stream is not None else None
            if closing is not None:
                closing.close()
                self.cancel_deadline()
        finally:
            if self._lease is not None:
                self.end_lease()

    def cancel_deadline(self) -> None:
        """Wake whoever waits for the wire, and let an asynchronous transport free what it holds."""
        with self._lock:
            deadline = self.deadline
        if deadline is not None:
            deadline.cancel()

    def end_lease(self) -> None:
        """End the lease, if the flow has not done so with its outcome."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()

    def cancel(self, kind: FailureKind = K.CANCELLED) -> None:
        """End the call from any thread."""
        with self._lock:
            if self._reason is None:
                self._reason = Failure(kind, "the call was cancelled", billing="none")
                self.cancelled = True
        self.cancel_deadline()

    def error(self) -> CallError | None:
        """CallCancelledError when the call was cancelled, else None."""
        return None if self._reason is None else error_for(self._reason)

    def check(self) -> None:
        """Raises CallCancelledError when the call was cancelled."""
        if self._reason is not None:
            raise error_for(self._reason)


def closed(stream: Any) -> Any:
    """Close a stream; what is to be awaited, if anything. One of a stranger's that raises changes no call: it is logged."""
    try:
        return stream.close() if hasattr(stream, "close") else None  # without: the call has failed by that already
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
        note_unclosed(stream, error)


def note_unclosed(stream: Any, error: Exception) -> None:
    """Log that a stranger's stream could not be closed; what came out of one of ours came from the host, and goes on."""
    if _is_ours(stream):
        raise error
    from cnroute.observe.logging import close_failed

    close_failed(type(stream).__name__, error)


def _is_ours(transport: Any) -> bool:
    return type(transport).__module__.startswith("cnroute.transports.")


def transport_error(transport: Any, error: Exception) -> Exception:
    """What an exception that came out of a transport becomes: one of a stranger's transport is a HookError.

    Our own transports raise nothing but CallErrors; what else comes out of them came from the host, a signal handler's
    time limit for example, and passes untouched.
    """
    if isinstance(error, CallError) or _is_ours(transport):
        return error
    name = type(transport).__name__
    return HookError(f"transport {name} {how_raised(error)}", billing="unknown")
