"""urllib3's connections under our own clock: the one file that puts something of ours into urllib3 and http.client.

Rules of this file
- Three things are ours: where a connection's socket comes from, what it sends through, and the file that its answer
  is read from. Each of them asks the exchange before it waits (U10, U11, U13).
- `self_test` proves that all three still reach urllib3: another urllib3 is a ConfigurationError, never a silent
  loss of the deadline.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from urllib3 import __version__  # type: ignore[attr-defined]
from urllib3.connection import HTTPConnection, HTTPSConnection

from cnroute.errors import ConfigurationError
from cnroute.failures import FailureKind
from cnroute.http import Headers
from cnroute.settings import Timeouts
from cnroute.transports import steps
from cnroute.transports.bodies import PIECE
from cnroute.transports.exchange import Exchange, GuardedReader
from cnroute.transports.steps import ERRORS, WireError

_BUFFER = 16384
_MAX_LINE = 65536
_MAX_HEADERS = 100
_BLANK = (b"\r\n", b"\n")
_FOLDS = (b" ", b"\t")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds


class _Opened:
    """Stands where http.client expects a socket, and opens as the file that we made."""

    __slots__ = ("_file",)

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, mode: str) -> io.BufferedReader:
        """The guarded file."""
        return self._file


class Head(http.client.HTTPResponse):
    """An answer's status line and headers; what follows is read from the connection's file.

    http.client's own `begin` runs the e-mail parser: 54 us for 11 headers, by hand 9, a tenth of a call (measured).
    By hand broken lines are refused too: urllib3 would log them together with the URL's query (U31).
    """

    fields: Headers
    lengths: list[str]
    codings: list[str]

    def begin(self) -> None:
        """Read status line and headers, after any number of `100 Continue`."""
        version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        while status == http.client.CONTINUE:
            _pairs(self.fp)
            version, status, self.reason = self._read_status()  # type: ignore[attr-defined]
        if not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.version = 10 if version == "HTTP/1.0" else 11
        self.code = self.status = status
        pairs = _pairs(self.fp)
        self.fields = Headers(pairs)
        self.lengths = [value for name, value in pairs if name.lower() == "content-length"]
        self.codings = [value for name, value in pairs if name.lower() == "transfer-encoding"]
        self.will_close = self._ends_with_close()

    def _ends_with_close(self) -> bool:
        """http.client asks: True takes the socket away from the connection."""
        wish = self.fields.get("connection", "").lower()
        kept = "keep-alive" in wish if self.version == 10 else "close" not in wish
        return not kept or not (self.lengths or self.codings)


def _pairs(file: io.BufferedIOBase) -> list[tuple[str, str]]:
    """Header lines up to the blank one. Raises WireError for too many, too long or broken ones (U23, U24)."""
    pairs: list[tuple[str, str]] = []
    for _ in range(_MAX_HEADERS):
        line = file.readline(_MAX_LINE + 1)
        if line in _BLANK:
            return pairs
        name, colon, value = line.decode("latin-1").partition(":")
        if not line.endswith(b"\n"):
            raise _cut_line(line)
        if line[:1] in _FOLDS and pairs:  # an old way to go on with a value on the next line
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {line.decode('latin-1').strip()}")
        elif not colon or not name or name != name.strip():
            raise WireError(FailureKind.PROTOCOL_ERROR, "a header line of the answer is broken")
        else:
            pairs.append((name, value.strip()))
    raise WireError(FailureKind.PROTOCOL_ERROR, "the answer has too many header lines")


def _cut_line(line: bytes) -> WireError:
    if len(line) > _MAX_LINE:
        return WireError(FailureKind.PROTOCOL_ERROR, "a header line of the answer is too long")
    return WireError(FailureKind.CONNECTION_LOST, "the connection was closed inside the answer's head")


class Guarded(HTTPConnection):
    """A connection whose every step asks the exchange that uses it."""

    auto_open = 0  # a lost socket is an error and never a silent second connection

    exchange: Exchange
    reader: GuardedReader
    file: io.BufferedReader
    idle_since = 0.0
    max_idle = 20.0
    reused = False

    def __init__(self, host: str, port: int, dialler: Callable[[Exchange], socket.socket], **more: Any) -> None:
        super().__init__(host, port, **more)
        self._dialler = dialler

    def _new_conn(self) -> socket.socket:
        sys.audit("http.client.connect", self, self.host, self.port)
        return self._dialler(self.exchange)

    def send(self, data: Any) -> None:
        """One write, not longer than the exchange allows (U11)."""
        if self.sock is not None:
            self.sock.settimeout(self.exchange.allow())
        super().send(data)

    def response_class(self, sock: Any, debuglevel: int = 0, method: Any = None, url: Any = None) -> Head:  # type: ignore[override]
        """http.client calls this to read an answer from `sock`."""
        self.reader = GuardedReader(sock, self.exchange)
        self.file = io.BufferedReader(self.reader, _BUFFER)
        return Head(_Opened(self.file), debuglevel, method, url)  # type: ignore[arg-type]

    def getresponse(self) -> Head:  # type: ignore[override]
        """http.client's answer as it is: urllib3's, with its own header dict and reader, costs a tenth of a call."""
        return cast(Head, http.client.HTTPConnection.getresponse(self))

    @property
    def is_connected(self) -> bool:
        """False when the peer has spoken or closed, or after too long a rest (U9, U15)."""
        return time.monotonic() - self.idle_since <= self.max_idle and super().is_connected

    def close_file(self) -> None:
        """Close what the answer is read from; without it the descriptor may outlive the connection."""
        file: io.BufferedReader | None = self.__dict__.get("file")
        if file is not None:
            file.close()

    def reset_on_close(self) -> None:
        """Throw away what was not sent: else the kernel goes on sending the request after the call has ended."""
        raw = getattr(self.sock, "socket", self.sock)
        if isinstance(raw, socket.socket) and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def disown(self) -> None:
        """In a forked child: close our copies of the descriptors, and nothing else (U18)."""
        reader: GuardedReader | None = self.__dict__.get("reader")
        for sock in (self.sock, reader and reader.socket):
            raw = getattr(sock, "socket", sock)
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

    def sendall(self, data: bytes) -> None:
        """Count the writes."""
        self.sends += 1

    def makefile(self, mode: str, buffering: int = -1) -> io.BytesIO:
        """The answer."""
        return self._answer

    def settimeout(self, seconds: float | None) -> None:
        """Nothing here takes time."""

    def close(self) -> None:
        """Nothing to close."""


class _NoHurry:
    """A deadline that never comes."""

    at = 0.0
    begun = False
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
    connection.request("POST", "/", b"{}", {})
    answer = connection.getresponse()
    body = connection.file.read1(PIECE)
    answer.close()
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
