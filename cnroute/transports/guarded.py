"""urllib3's connections under our own clock: the one file that puts something of ours into urllib3 and http.client.

Rules of this file
- urllib3 connects: TLS, its verification, proxies and their tunnels. Three things are ours: where a connection's
  socket comes from, what is sent through it, and the file that answers are read from. Each of them asks the exchange
  before it waits (U10, U11, U13).
- `self_test` proves that our socket still reaches urllib3 and comes back: another urllib3 is a ConfigurationError, never a silent
  loss of the deadline.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from urllib3 import __version__  # type: ignore[attr-defined]
from urllib3.connection import HTTPConnection, HTTPSConnection

from cnroute.errors import ConfigurationError
from cnroute.settings import Timeouts
from cnroute.transports import steps
from cnroute.transports.exchange import Exchange, GuardedReader, Inbox
from cnroute.transports.heads import read_head
from cnroute.transports.steps import ERRORS

# Joining head and body saves a system call; of a larger body the copy would cost more.
_IN_ONE_WRITE = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds


class _Opened:
    """Stands where http.client expects a socket, and opens as the file that we made."""

    __slots__ = ("_file",)

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, mode: str) -> io.BufferedReader:
        """The guarded file."""
        return self._file


class Guarded(HTTPConnection):
    """A connection whose every step asks the exchange that uses it."""

    auto_open = 0  # a lost socket is an error and never a silent second connection

    exchange: Exchange
    inbox: Inbox
    idle_since = 0.0
    max_idle = 20.0
    reused = False

    def __init__(self, host: str, port: int, dialler: Callable[[Exchange], socket.socket], **more: Any) -> None:
        super().__init__(host, port, **more)
        self._dialler = dialler

    def _new_conn(self) -> socket.socket:
        sys.audit("http.client.connect", self, self.host, self.port)
        return self._dialler(self.exchange)

    def connect(self) -> None:
        """Connect, tunnel, shake hands; then there is an inbox for answers."""
        super().connect()
        self._open_inbox()

    def _open_inbox(self) -> None:
        self.inbox = Inbox(self.sock, self.exchange)
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)

    def begin(self, exchange: Exchange) -> None:
        """From now on `exchange` is asked."""
        self.exchange = self.inbox.exchange = exchange

    def put(self, head: bytes, body: bytes | Iterable[bytes]) -> None:
        """Send a request. Each write is not longer than the exchange allows (U11)."""
        if isinstance(body, bytes):
            whole = len(body) <= _IN_ONE_WRITE
            self._put(head + body if whole else head)
            if not whole:
                self._put(body)
        else:
            self._put(head)
            for piece in body:
                # A large file may take its time, as long as it moves: the limit is for each piece.
                self.exchange.begin_piece()
                self._put(piece)
        self.inbox.forget()

    def _put(self, piece: bytes) -> None:
        self.sock.settimeout(self.exchange.allow())
        self.sock.sendall(piece)

    def send(self, data: Any) -> None:
        """What http.client itself writes, to a proxy: not longer than the exchange allows either."""
        self.sock.settimeout(self.exchange.allow())
        super().send(data)

    def response_class(self, sock: Any, debuglevel: int = 0, method: Any = None, url: Any = None) -> http.client.HTTPResponse:  # type: ignore[override]
        """http.client calls this to read a proxy's answer from `sock`."""
        file = io.BufferedReader(GuardedReader(Inbox(sock, self.exchange)))
        return http.client.HTTPResponse(_Opened(file), debuglevel, method, url)  # type: ignore[arg-type]

    @property
    def is_connected(self) -> bool:
        """False when the peer has spoken or closed, or after too long a rest (U9, U15)."""
        if self.sock is None or time.monotonic() - self.idle_since > self.max_idle:
            return False
        poll = self.__dict__.get("_poll")
        return not poll.poll(0) if poll is not None else super().is_connected

    def reset_on_close(self) -> None:
        """Throw away what was not sent: else the kernel goes on sending the request after the call has ended."""
        raw = getattr(self.sock, "socket", self.sock)
        if isinstance(raw, socket.socket) and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def disown(self) -> None:
        """In a forked child: close our copies of the descriptors, and nothing else (U18)."""
        raw = getattr(self.sock, "socket", self.sock)
        if isinstance(raw, socket.socket) and raw.fileno() >= 0:
            os.close(raw.detach())
        self.sock = None


class GuardedTLS(Guarded, HTTPSConnection):
    """The same with TLS."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.exchange.step = steps.TLS
        try:
            sock.settimeout(self.exchange.allow())
            # wrap_socket takes the descriptor away from `sock`: a cancel in the handshake needs its own handle.
            self._twin = sock.dup()
        except OSError:
            sock.close()
            raise
        self.exchange.hold(self._twin)
        return sock

    def connect(self) -> None:
        """Connect, tunnel, shake hands."""
        try:
            super().connect()
        finally:
            twin: socket.socket | None = self.__dict__.pop("_twin", None)
            if twin is not None:
                self.exchange.grip.hold(None)
                twin.close()


class _CannedSocket:
    """A socket without a network: takes everything, answers with what it was made with."""

    def __init__(self, answer: bytes) -> None:
        self.sends = 0
        self._answer = io.BytesIO(answer)

    def fileno(self) -> int:
        """One that exists; nothing is read from it."""
        return 0

    def sendall(self, data: bytes) -> None:
        """Count the writes."""
        self.sends += 1

    def recv(self, count: int) -> bytes:
        """The answer."""
        return self._answer.read(count)

    def settimeout(self, seconds: float | None) -> None:
        """Nothing here takes time."""

    def close(self) -> None:
        """Nothing to close."""


class _NoHurry:
    """A deadline that never comes."""

    at = 0.0
    begun: bool | None = False
    written: float | None = None
    resent = False
    limits = Timeouts()
    cancelled = False

    def now(self) -> float:
        """Time stands still."""
        return 0.0

    def remaining(self) -> float:
        """Enough."""
        return 1.0

    def on_cancel(self, callback: Callable[[], object], /) -> None:
        """Nobody cancels."""


class _CountedExchange(Exchange):
    """Counts how often it was asked."""

    asked = 0

    def allow(self) -> float:
        """Count, and allow."""
        self.asked += 1
        return super().allow()


class _Dialled(Exception):
    """The TLS connection has asked us for its socket."""


def self_test() -> None:
    """Prove that urllib3 takes our socket, our writes and our file. Raises ConfigurationError if not."""
    version = tuple(int(part) for part in __version__.split(".")[:2])
    try:
        guarded = (2, 7) <= version < (3, 0) and _plain_is_guarded() and _tls_is_guarded()
    except (*ERRORS, AttributeError, TypeError):
        guarded = False
    if not guarded:
        raise ConfigurationError(f"urllib3 {__version__} cannot be used: install urllib3>=2.7,<3", "transport")


def _plain_is_guarded() -> bool:
    sock = _CannedSocket(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    connection = Guarded("self-test", 80, lambda _: cast(socket.socket, sock))
    exchange = connection.exchange = _CountedExchange(_NoHurry())
    connection.connect()
    connection.put(b"POST / HTTP/1.1\r\n\r\n", b"{}")
    answer = read_head(connection.inbox)
    body = connection.inbox.read()
    connection.close()
    return body == b"ok" and answer.status == 200 and sock.sends > 0 and exchange.asked > sock.sends


def _tls_is_guarded() -> bool:
    def dial_nowhere(exchange: Exchange) -> socket.socket:
        raise _Dialled

    connection = GuardedTLS("self-test", 443, dial_nowhere)
    connection.exchange = Exchange(_NoHurry())
    try:
        connection.connect()
    except _Dialled:
        return True
    return False
