"""One exchange with a vendor: how long each step may still take, and how it is cancelled from another thread.

Rules of this file
- Every receive asks `allow()` first (U10). The flow may move the deadline while a stream is open, so it is read
  afresh each time.
- `cancel()` only shuts the socket down: `close()` would not wake a blocked read (U19). Waits that have no socket
  look at the flag every TICK seconds.
- The grip's lock is re-entrant: a garbage collection inside `cancel()` may drop the stream of the same exchange.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from cnroute.failures import Failure, FailureKind
from cnroute.settings import Timeouts
from cnroute.transports.steps import BODY, DNS, HEAD, POOL, WRITE, Step, WireError, failure_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TICK = 0.1
_FIRST_BYTE = 180.0


class Deadline(Protocol):
    """What a transport uses of a deadline (contract, section 6)."""

    at: float
    begun: bool | None
    written: float | None
    resent: bool

    @property
    def limits(self) -> Timeouts: ...  # noqa: D102
    @property
    def cancelled(self) -> bool: ...  # noqa: D102
    def now(self) -> float: ...  # noqa: D102
    def remaining(self) -> float: ...  # noqa: D102
    def on_cancel(self, callback: Callable[[], object], /) -> None: ...  # noqa: D102


class Grip:
    """The socket that a cancel has to shut down. Deadlines keep its `cancel`; it keeps no deadline, so no cycle."""

    __slots__ = ("_lock", "_socket")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None

    def hold(self, sock: socket.socket | None) -> None:
        """From now on `sock` is held; None: nothing, so that it may serve another exchange or be closed."""
        with self._lock:
            self._socket = sock

    def limit(self, seconds: float) -> None:
        """The next receive on the socket, where one is held, may take so long."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):  # closed already: what was received may still be read
                sock.settimeout(seconds)

    def cancel(self) -> None:
        """Wake whoever waits for the socket. Called by the deadline, from any thread."""
        with self._lock:
            shut(self._socket)

    def abandon(self) -> None:
        """From a finalizer: the peer sees the end now, and no lock is waited for (U20)."""
        sock, self._socket = self._socket, None
        shut(sock)


class Exchange:
    """The guard of one exchange. `received` counts bytes since the request was written."""

    __slots__ = ("_by", "_idle", "closing", "deadline", "grip", "received", "step", "written")

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        deadline.begun = False
        self.step: Step = POOL
        self.received = 0
        self.written = 0.0
        self.closing = False
        self._idle = float(deadline.limits.idle)
        self._by = deadline.now() + deadline.limits.pool
        self.grip = Grip()

    def enter(self, step: Step, limit: float) -> None:
        """Begin `step`, which may take `limit` seconds."""
        self.step = step
        self._by = self.deadline.now() + limit

    def begin_connect(self) -> None:
        """DNS, all addresses, the proxy's tunnel and TLS share one limit (U13)."""
        self.enter(DNS, self.deadline.limits.connect)

    def begin_write(self) -> None:
        """The connection stands; what is received from now on is the answer."""
        self.deadline.begun = True
        self.check()
        self.received = 0
        self.enter(WRITE, self.deadline.limits.write)

    def begin_piece(self) -> None:
        """The next piece of a body in pieces may take as long as a whole small body."""
        self.enter(WRITE, self.deadline.limits.write)

    def begin_head(self, *, whole: bool) -> None:
        """The request is written, as a `whole` or as far as the peer would take it (U16)."""
        first_byte = self.deadline.limits.first_byte
        self.enter(HEAD, _FIRST_BYTE if first_byte is None else first_byte)
        self.written = self.deadline.now()
        if whole:
            self.deadline.written = self.written

    def begin_body(self) -> None:
        """The head is read; from now on only silence and the deadline count."""
        self.step = BODY

    def allow(self) -> float:
        """How many seconds the next blocking step may take; raises TimeoutError when none is left."""
        left = self.deadline.remaining()
        if self.step is not BODY:
            left = min(left, self._by - self.deadline.now())
        if self.received and self._idle < left:
            left = self._idle
        if left <= 0.0 or self.closing:
            raise TimeoutError
        return left

    def tick(self) -> float:
        """Like `allow`, for waits that nobody can wake: at most TICK."""
        return min(TICK, self.allow())

    def over(self) -> bool:
        """Whether nothing may follow: time is up, or somebody has cancelled."""
        return self.closing or self.deadline.remaining() <= 0

    def hold(self, sock: socket.socket | None) -> None:
        """`sock` is what a cancel has to shut down, at once if it came earlier."""
        self.grip.hold(sock)
        if self.cancelled:
            self.grip.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the call, or closed the stream or the transport."""
        return self.closing or self.deadline.cancelled

    def check(self) -> None:
        """Raise if cancelled. Our own shutdown looks like the peer's end, which can be a good one (row 112)."""
        if self.cancelled:
            raise WireError(FailureKind.CANCELLED, "cancelled")

    def stop(self) -> None:
        """Cancel because the transport is being closed, or a stream while it is read."""
        self.closing = True
        self.grip.cancel()

    def failure(self, error: Exception) -> Failure:
        """What `error` means in the present step; after a cancel everything means `cancelled`."""
        if self.cancelled:
            return Failure(
                FailureKind.CANCELLED, f"cancelled: {self.step.name}", billing="unknown" if self.step.sent else "none"
            )
        failure = failure_of(error, self.step)
        # Silence in the middle of a head is idleness; before its first byte it is waiting for it.
        if failure.kind is FailureKind.FIRST_BYTE_TIMEOUT and self.received and self.deadline.now() < self._by:
            failure.kind = FailureKind.IDLE_TIMEOUT
        return failure


def shut(sock: Any) -> None:
    """End both directions of `sock`, and leave a TLS object alone: its owner may be reading (U19)."""
    raw = getattr(sock, "socket", sock)  # urllib3's TLS inside TLS wraps a socket and is none
    if isinstance(raw, socket.socket):
        # OSError: not connected any more, or closed in the meantime, or detached in a forked child.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(raw, socket.SHUT_RDWR)


class Inbox:
    """What has arrived on a connection and was not taken yet. Every receive asks the exchange first (U10).

    A file of the standard library's over the same guard costs three times as much for each piece (measured).
    `exchange` is the one that uses the connection now. Raises TimeoutError where it allows no more.
    """

    __slots__ = ("_allowed", "_socket", "arrived", "exchange")

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._socket = sock
        self._allowed = -1.0
        self.exchange = exchange
        self.arrived = b""

    def receive(self) -> bytes:
        """One receive; b"" when the peer has closed. What it gives is not kept."""
        exchange = self.exchange
        allowed = exchange.allow()
        if allowed != self._allowed:  # each setting is a system call
            self._socket.settimeout(allowed)
            self._allowed = allowed
        data = self._socket.recv(_PIECE)
        exchange.received += len(data)
        return data

    def read(self) -> bytes:
        """Everything that has arrived, else what arrives next; b"" at the end."""
        if self.arrived:
            data, self.arrived = self.arrived, b""
            return data
        return self.receive()

    def peek(self) -> bytes:
        """The same, and it stays."""
        if not self.arrived:
            self.arrived = self.receive()
        return self.arrived

    def skip(self, count: int) -> None:
        """Take `count` bytes that have arrived."""
        self.arrived = self.arrived[count:]

    def readline(self, limit: int) -> bytes:
        """Bytes up to and with the next line end, at most `limit`; fewer when the peer closes."""
        parts: list[bytes] = []
        room = limit
        while room > 0:
            data = self.peek()[:room]
            end = data.find(b"\n") + 1
            parts.append(data[:end] if end else data)
            self.skip(len(parts[-1]))
            room -= len(parts[-1])
            if end or not data:
                break
        return b"".join(parts)

    def forget(self) -> None:
        """Somebody else has set the socket's time limit."""
        self._allowed = -1.0


_PIECE = 65536


class GuardedReader(io.RawIOBase):
    """The receiving side of a socket as a file, for http.client: it reads what a proxy answers."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """What has arrived, else what arrives next, as far as there is room."""
        room = memoryview(buffer)
        data = self._inbox.peek()[: len(room)]
        room[: len(data)] = data
        self._inbox.skip(len(data))
        return len(data)
