"""One call over the wire: place, connection, head, body, and the one way back of all of them.

Rules of this file
- Every way out gives the place back exactly once. A connection is kept only after an answer that was read to its
  framed end, with nothing behind it (U4 to U9).
- Nothing here retries or follows a redirect, except the one resend on a stale connection (U14).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Protocol, cast

from cnroute.failures import Failure, FailureKind
from cnroute.http import HttpRequest, HttpResponse
from cnroute.settings import Limits
from cnroute.transports import steps
from cnroute.transports.answers import KEPT_OF_AN_ERROR, check_status
from cnroute.transports.bodies import Framer, Inflate, decoder_of, framer_of
from cnroute.transports.exchange import Deadline, Exchange
from cnroute.transports.guarded import Guarded
from cnroute.transports.heads import Head, read_head
from cnroute.transports.places import Places, Token
from cnroute.transports.steps import ERRORS, STALE, WireError

K = FailureKind

_RESEND_WITHIN = 1.0
_DRAIN_BYTES = 65536
_DRAIN_SECONDS = 0.1


class Bound(Protocol):
    """What a call needs of its deployment's transport."""

    limits: Limits
    keepalive: bool
    resend_stale: bool
    places: Places[Guarded]
    active: set[Call]

    def path_of(self, url: str, /) -> str: ...  # noqa: D102
    def head_of(self, request: HttpRequest, path: str, /) -> bytes: ...  # noqa: D102
    def new_connection(self) -> Guarded: ...  # noqa: D102


class Busy(RuntimeError):
    """Two threads read one stream."""


class Call:
    """One exchange with its place, its connection and its answer, from the first wait to the last byte."""

    __slots__ = (
        "__weakref__", "_inside", "_lock", "_most", "_token", "answer", "bound", "connection", "decoder", "ended", "exchange",
        "framer", "resent", "size", "unsent",
    )

    def __init__(self, bound: Bound, deadline: Deadline) -> None:
        self.bound = bound
        self.exchange = Exchange(deadline)
        self.connection: Guarded | None = None
        self.answer: Head | None = None
        self.framer: Framer | None = None
        self.decoder: Inflate | None = None
        self.resent = False
        self.unsent = False
        self.size = 0
        self.ended = False
        self._most = bound.limits.max_stream_bytes
        self._inside = threading.Lock()
        self._inside.acquire()  # until the stream is handed out: who closes meanwhile only wakes the thread inside
        self._lock = threading.Lock()
        self._token: Token | None = None

    # -- the head

    def begin(self, request: HttpRequest) -> None:
        """Take a place, send `request`, read the answer's head."""
        path = self.bound.path_of(request.url)
        self.exchange.deadline.on_cancel(self.exchange.grip.cancel)
        self.bound.active.add(self)
        self._token = self.bound.places.take(self.exchange)
        answer = self.answer = self._ask(request, path)
        self.exchange.begin_body()
        check_status(answer.status, answer.fields)
        self.framer = framer_of(answer.codings, answer.lengths)
        self.decoder = decoder_of(answer.fields)

    def _ask(self, request: HttpRequest, path: str) -> Head:
        connection = self._idle_connection()
        if connection is None:
            return self._ask_on(self._connect(), request, path)
        try:
            return self._ask_on(connection, request, path)
        except STALE:
            if not self._may_resend(request.body):
                raise
        # Nothing came back and the peer was gone at once: it had closed before it saw the request (U14).
        self._close_connection()
        self.resent = self.exchange.deadline.resent = True
        return self._ask_on(self._connect(), request, path)

    def _idle_connection(self) -> Guarded | None:
        # Ours before it is looked at: an interrupt in between must not lose it.
        while (connection := self.bound.places.pop_idle()) is not None:
            self.connection = connection
            if connection.is_connected:
                return connection
            self._close_connection()
        return None

    def _may_resend(self, body: Any) -> bool:
        exchange = self.exchange
        if not isinstance(body, bytes) and not getattr(body, "again", _yes)():
            return False
        quick = exchange.step is steps.WRITE or exchange.deadline.now() - exchange.written <= _RESEND_WITHIN
        return self.bound.resend_stale and quick and not exchange.received and not exchange.over()

    def _connect(self) -> Guarded:
        self.exchange.step = steps.TLS
        connection = self.connection = self.bound.new_connection()
        connection.exchange = self.exchange
        self.exchange.begin_connect()
        connection.connect()
        return connection

    def _ask_on(self, connection: Guarded, request: HttpRequest, path: str) -> Head:
        exchange = self.exchange
        self.connection = connection
        connection.begin(exchange)
        exchange.hold(connection.sock)
        head, body = self.bound.head_of(request, path), request.body
        exchange.begin_write()
        self.unsent = True
        # The peer may answer and close before it has read everything: read on (U16).
        try:
            connection.put(head, body if isinstance(body, bytes) else _chunks(body))
            self.unsent = False
        except (BrokenPipeError, ConnectionResetError):
            pass
        exchange.begin_head(whole=not self.unsent)
        return read_head(connection.inbox)

    # -- the body

    def read(self) -> bytes:
        """What has arrived next, unpacked; b"" at the end of the body."""
        framer, decoder, connection = self.framer, self.decoder, self.connection
        assert framer is not None and connection is not None  # noqa: S101 (the head was read)
        inbox = connection.inbox
        out = decoder.decode() if decoder is not None and decoder.waiting else b""
        while not out:
            if framer.done:
                if decoder is not None:
                    decoder.end()
                return b""
            data = inbox.read() if inbox.arrived else inbox.receive()
            if data:
                out = framer.feed(data)
            else:
                self.exchange.check()
                out = framer.end()
            if out and decoder is not None:
                out = decoder.decode(out)
        return out

    def whole(self) -> HttpResponse:
        """The complete answer."""
        answer = cast(Head, self.answer)
        limit = self.bound.limits.max_response_bytes
        body = self._body(limit) if answer.status < 300 else self._body_of_error(min(limit, KEPT_OF_AN_ERROR))
        self.end()
        return HttpResponse(answer.status, answer.fields, body, self.resent)

    def _body(self, limit: int) -> bytes:
        parts = []
        while data := self.read():
            self.size += len(data)
            if self.size > limit:
                self._too_long(limit)
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _body_of_error(self, limit: int) -> bytes:
        # The status says more than a failure in the rest of its body could, so what came is enough.
        kept = b""
        try:
            while len(kept) < limit and (data := self.read()):
                kept += data
        except ERRORS:
            if self.exchange.over():
                raise
        return kept[:limit]

    def _too_long(self, limit: int) -> None:
        raise WireError(K.RESPONSE_TOO_LARGE, f"the answer is longer than {limit} bytes")

    def read_piece(self) -> bytes:
        """The same for a stream: counted, and the connection given back as soon as the end was seen.

        Raises Busy while another thread is inside.
        """
        if not self._inside.acquire(False):
            raise Busy("a stream is read by one thread at a time")
        try:
            data = self._after_end() if self.ended else self.read()
            size = self.size = self.size + len(data)
            if size > self._most:
                self._too_long(self._most)
            if not data or (self.decoder is None and self.framer is not None and self.framer.done):
                self.end()
        finally:
            self._inside.release()  # `leave`, without a call for each piece
            if self.exchange.closing:
                self.end()
        return data

    def _after_end(self) -> bytes:
        """What a stream gives whose exchange is over: b"" after its end, else a WireError."""
        if self.framer is not None and self.framer.done:
            return b""
        raise WireError(K.CANCELLED, "the stream is closed")

    # -- the end

    def leave(self) -> None:
        """The thread inside goes out; if somebody wanted to close meanwhile, now is the time."""
        self._inside.release()
        if self.exchange.closing:
            self.end()

    def close(self, *, drain: bool = False) -> None:
        """End the exchange, from any thread; with `drain` read on for a moment so that the connection can be kept."""
        if self.ended or not self._enter_to_close():
            return
        try:
            if drain and self.connection is not None and not self.exchange.closing:
                self._drain(self.connection)
        finally:
            try:
                self.end()
            finally:
                self._inside.release()

    def _enter_to_close(self) -> bool:
        """False: the thread that reads is woken, and gives everything back; closing under its feet would not wake it."""
        if self._inside.acquire(False):
            return True
        self.exchange.stop()
        return self._inside.acquire(False)  # it may have gone out before it could see that

    def _drain(self, connection: Guarded) -> None:
        framer, left = cast(Framer, self.framer), _DRAIN_BYTES
        self.exchange.enter(steps.REST, _DRAIN_SECONDS)
        try:
            while not framer.done and left > 0:
                data = connection.inbox.read()
                left -= len(data)
                framer.feed(data) if data else framer.end()
        except ERRORS:
            return  # what cannot be read in time is closed

    def fail(self, error: Exception) -> Failure:
        """What `error` means; everything is given back."""
        failure = self.exchange.failure(error)
        self.end()
        return failure

    def end(self) -> None:
        """Keep the connection if it is clean, else close it; give the place back. The first call counts."""
        first = False
        try:
            with self._lock:
                if self.ended:
                    return
                self.ended = first = True
            self._put_away()
        except BaseException:
            if first:
                self._close_connection()
            raise
        finally:
            if first:  # an interrupt may come anywhere: once nobody knows this call, its token goes back by itself
                self.bound.active.discard(self)
                self._free()

    def _put_away(self) -> None:
        connection, answer = self.connection, self.answer
        self.exchange.grip.hold(None)  # from here on a cancel must not touch the socket: it may serve another call
        if connection is None or answer is None or not self._is_clean(connection):
            self._close_connection()
            return
        del connection.exchange, connection.inbox.exchange
        self.bound.places.keep(connection)

    def _is_clean(self, connection: Guarded) -> bool:
        if self.answer is None or self.answer.last or not self.bound.keepalive or self.exchange.cancelled:
            return False
        if self.framer is None or not self.framer.done or self.framer.surplus:
            return False
        if self.decoder is not None and self.decoder.waiting:  # more than was wanted: not a peer to go on with
            return False
        pending = getattr(connection.sock, "pending", None)
        return not connection.inbox.arrived and not (pending and pending())

    def _close_connection(self) -> None:
        if self.connection is not None:
            if self.unsent:
                self.connection.reset_on_close()
            self.connection.close()
        self.connection = None

    def _free(self) -> None:
        self.bound.active.discard(self)
        token, self._token = self._token, None
        if token is not None:
            token.give_back()

    def drop(self) -> None:
        """The stream was collected: end the exchange without waiting for any lock (U20)."""
        if not self.ended:
            self.ended = True
            self.exchange.grip.abandon()
            self.bound.places.close_later(self._close_connection)
            self._free()


def _yes() -> bool:
    return True


def _chunks(body: Any) -> Iterable[bytes]:
    """What a file body sends; opened again for each time that it is sent."""
    return body.chunks() if callable(body.chunks) else body.chunks  # type: ignore[no-any-return]
