"""One call over requests: place, request, head, body, and the one way back of all of them.

Rules of this file
- Every way out gives the place back exactly once. A connection is kept only after a body that was read to its end.
- Errors are raised outside of `except`, so that no `__context__` holds a request or a key.
- Whoever closes while another thread reads only wakes it: the thread that is inside gives everything back.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import Any

import requests

import cnroute
from cnroute.transports.parts import (
    CONNECT,
    KEPT_OF_AN_ERROR,
    PIECE,
    Content,
    Deadline,
    Exchange,
    Origin,
    Places,
    Token,
    WireError,
    check_files,
    check_status,
    proxy_of,
)
from cnroute_requests.connections import CURRENT, MAX_IDLE, Adapter, Serving, close_quietly
from cnroute_requests.failures import ERRORS, meaning
from cnroute_requests.watch import Watch

K = cnroute.FailureKind
VERSION = "0.1.0"


class Call:
    """One exchange, from the first wait to the last byte."""

    def __init__(self, bound: BoundTransport, deadline: Deadline) -> None:
        self.exchange = Exchange(deadline)
        self.late = False
        self.ended = False
        self.whole_body = False
        self.response: Any = None
        self.content: Content | None = None
        self.headers: cnroute.Headers = cnroute.Headers()
        self._bound = bound
        self._token: Token | None = None
        self._busy = True  # until the stream is handed out
        self._lock = threading.Lock()

    # -- the head

    def begin(self, request: cnroute.HttpRequest, *, stream: bool) -> None:
        """Take a place, send, read the head."""
        exchange, bound = self.exchange, self._bound
        exchange.check()
        exchange.deadline.on_cancel(exchange.grip.cancel)
        bound.active.add(self)
        bound.watch.add(self)
        self._token = bound.places.take(exchange)
        prepared = bound.prepared(request)
        exchange.enter(CONNECT, exchange.deadline.limits.connect)
        context = CURRENT.set(Serving(exchange, bound.keepalive))
        try:
            self.response = bound.adapter.send(prepared, **bound.arguments(exchange))
        finally:
            CURRENT.reset(context)
        self._sent()
        self.headers = cnroute.Headers(self.response.headers)
        check_status(self.response.status_code, self.headers)
        limits = bound.limits
        self.content = Content(self.headers, limits.max_stream_bytes if stream else limits.max_response_bytes)

    def _sent(self) -> None:
        """The head is read. An answer that was mocked has never been on a wire."""
        deadline = self.exchange.deadline
        deadline.begun = True
        if deadline.written is None:
            deadline.written = deadline.now()
        self.exchange.received = 1  # from now on silence counts as idleness
        self.exchange.begin_body()

    # -- the body

    def read(self) -> bytes:
        """What has arrived next, unpacked; b"" at the end of the body."""
        content = self.content
        assert content is not None  # noqa: S101 (set with the head)
        out = content.take() if content.waiting else b""
        while not out:
            data = b"" if self.whole_body else self._receive()
            if not data:
                self.whole_body = True
                content.end()
                return b""
            out = content.take(data)
        return out

    def _receive(self) -> bytes:
        self.exchange.grip.limit(self.exchange.allow())
        data: bytes = self.response.raw.read1(PIECE, decode_content=False)
        if not data:
            self.exchange.check()
            if self.late:  # our own shutdown looks like the peer's end, which can be a good one
                raise TimeoutError
        return data

    def whole(self) -> cnroute.HttpResponse:
        """The complete answer."""
        status = self.response.status_code
        body = b"".join(iter(self.read, b"")) if status < 300 else self._refusal()
        self.leave()
        self.end()
        return cnroute.HttpResponse(status, self.headers, body)

    def _refusal(self) -> bytes:
        """The status says more than a failure in the rest of its body could, so what came is enough."""
        kept = b""
        try:
            while len(kept) < KEPT_OF_AN_ERROR and (data := self.read()):
                kept += data
        except ERRORS:
            if self.late or self.exchange.over():
                raise
        return kept[:KEPT_OF_AN_ERROR]

    def piece(self) -> bytes:
        """The next piece for a stream."""
        if not self._enter():
            if self.whole_body:
                return b""
            raise WireError(K.CANCELLED, "the stream is closed")
        try:
            data = self.read()
        finally:
            self.leave()
        if not data:
            self.end()
        return data

    # -- the end

    def _enter(self) -> bool:
        with self._lock:
            if self._busy:
                raise RuntimeError("a stream is read by one thread at a time")
            self._busy = not self.ended
        if self._busy:
            self._bound.watch.add(self)
        return self._busy

    def leave(self) -> None:
        """The thread inside comes out; if somebody wanted to close meanwhile, now is the time."""
        self._bound.watch.remove(self)
        with self._lock:
            self._busy = False
        if self.exchange.closing:
            self.end()

    def close(self) -> None:
        """End the exchange, from any thread."""
        with self._lock:
            if self._busy and not self.ended:
                self.exchange.stop()
                return
        self.end()

    def fail(self, error: Exception) -> cnroute.Failure:
        """What `error` means; everything is given back."""
        failure = self.exchange.failure(TimeoutError() if self.late else meaning(error, self.exchange))
        self.leave()
        self.end()
        return failure

    def end(self) -> None:
        """Give the connection and the place back. The first call counts."""
        with self._lock:
            if self.ended:
                return
            self.ended = True
        self._bound.watch.remove(self)
        self.exchange.grip.hold(None)  # from here on a cancel must not touch the socket: it may serve another call
        try:
            self._put_away()
        finally:
            self._free()

    def _put_away(self) -> None:
        response, self.response = self.response, None  # a kept answer would keep its whole pool open
        if response is None:
            return
        if self.whole_body and self._bound.keepalive and not self.exchange.cancelled:
            response.raw.release_conn()
        else:
            close_quietly(response.raw)

    def _free(self) -> None:
        self._bound.active.discard(self)
        token, self._token = self._token, None
        if token is not None:
            token.give_back()

    def drop(self) -> None:
        """The stream was collected: end the exchange without waiting for any lock."""
        if not self.ended:
            self.ended = True
            self.exchange.grip.abandon()
            self._bound.places.close_later(self._put_away)
            self._free()


class RequestsStream:
    """An open answer."""

    def __init__(self, call: Call) -> None:
        self.status: int = call.response.status_code
        self.headers = call.headers
        self._call = call
        weakref.finalize(self, call.drop).atexit = False

    def read(self) -> bytes:
        """The next bytes of the body as soon as some have arrived; b"" at its end. Raises CallError."""
        call = self._call
        try:
            return call.piece()
        except ERRORS as error:
            failure = call.fail(error)
        except BaseException:
            call.end()
            raise
        raise cnroute.error_for(failure)

    def close(self) -> None:
        """Give everything back, from any thread."""
        self._call.close()


class BoundTransport:
    """The transport of one deployment: its own adapter, and so its own connections."""

    def __init__(self, transport: RequestsTransport, deployment: cnroute.Deployment) -> None:
        self.limits = deployment.limits or cnroute.Limits()
        self.keepalive = transport.keepalive
        self.watch = transport.watch
        self.places: Places[Any] = Places(self.limits.max_connections, MAX_IDLE)
        self.active: set[Call] = set()
        self._origin = Origin.of(deployment.base_url)
        self._proxies = {}
        if proxy_of(deployment, self._origin, False) is not None:
            self._proxies = {"http": deployment.proxy, "https": deployment.proxy}
        check_files(deployment.tls)
        self._tls = deployment.tls or cnroute.TLS()
        self.adapter = Adapter(self.limits.max_connections)

    def send(self, request: cnroute.HttpRequest, deadline: Deadline) -> cnroute.HttpResponse:
        """Send `request`, read the whole answer. Raises CallError; any status outside of 3xx is an answer."""
        call = Call(self, deadline)
        try:
            call.begin(request, stream=False)
            return call.whole()
        except ERRORS as error:
            failure = call.fail(error)
        except BaseException:
            call.end()
            raise
        raise cnroute.error_for(failure)

    def open(self, request: cnroute.HttpRequest, deadline: Deadline) -> RequestsStream:
        """Send `request`, read the answer's head. Raises CallError."""
        call = Call(self, deadline)
        try:
            call.begin(request, stream=True)
            stream = RequestsStream(call)
            call.leave()
            return stream
        except ERRORS as error:
            failure = call.fail(error)
        except BaseException:
            call.end()
            raise
        raise cnroute.error_for(failure)

    def prepared(self, request: cnroute.HttpRequest) -> requests.PreparedRequest:
        """The request as requests wants it, with nothing changed: its own preparation quotes URLs anew."""
        self._origin.path_of(request.url)
        prepared = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        prepared.url = request.url
        prepared.prepare_headers(self._headers_of(request))
        body: Any = request.body
        prepared.body = body if isinstance(body, bytes) else body.chunks() if callable(body.chunks) else body.chunks
        return prepared

    def _headers_of(self, request: cnroute.HttpRequest) -> dict[str, str]:
        """The request's headers, and ours where it has none."""
        headers = dict(request.headers)
        body: Any = request.body
        ours = {"Accept-Encoding": "identity", "User-Agent": f"cnroute-requests/{VERSION}"}
        ours["Content-Length"] = str(len(body) if isinstance(body, bytes) else body.length)
        if not self.keepalive:
            ours["Connection"] = "close"
        given = {name.lower() for name in headers}
        return headers | {name: value for name, value in ours.items() if name.lower() not in given}

    def arguments(self, exchange: Exchange) -> dict[str, Any]:
        """What `HTTPAdapter.send` is given beside the request; the connections set each limit anew."""
        tls, left = self._tls, exchange.allow()
        return {
            "stream": True, "timeout": (left, left), "proxies": self._proxies, "verify": tls.ca_file or True,
            "cert": (tls.client_cert, tls.client_key) if tls.client_key else tls.client_cert,
        }

    def retire(self) -> None:
        """Nobody will bind this deployment again."""
        self.places.retire()
        self.adapter.close()

    def close(self) -> None:
        """Close idle connections and cancel running exchanges. Later calls fail with kind `closed`."""
        self.places.close()
        for call in tuple(self.active):
            call.close()
        self.adapter.close()

    def after_fork(self) -> None:
        """In the child: nothing of the parent is used."""
        self.active = set()
        self.places.after_fork()
        self.adapter = Adapter(self.limits.max_connections)


class RequestsTransport:
    """Sends over requests' `HTTPAdapter`.

    `keepalive`: connections serve several requests, each for at most 20 seconds of rest. Certificates: the deployment's
    `ca_file`, else those that requests comes with (certifi's).
    """

    def __init__(self, keepalive: bool = True) -> None:
        self.keepalive = keepalive
        self.watch = Watch()
        self._bound: weakref.WeakSet[BoundTransport] = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_forked, weakref.ref(self)))

    def bind(self, deployment: cnroute.Deployment) -> BoundTransport:
        """The transport for `deployment`; nothing is opened yet."""
        bound = BoundTransport(self, deployment)
        self._bound.add(bound)
        return bound

    def send(self, request: cnroute.HttpRequest, deadline: Deadline) -> cnroute.HttpResponse:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).send`."""
        raise TypeError("bind(deployment) first")

    def open(self, request: cnroute.HttpRequest, deadline: Deadline) -> RequestsStream:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).open`."""
        raise TypeError("bind(deployment) first")

    def close(self) -> None:
        """Close everything, cancel what runs. Later calls fail with kind `closed`."""
        for bound in tuple(self._bound):
            bound.close()
        self.watch.close()

    def after_fork(self) -> None:
        """In the child: new connections, new places, a new watch."""
        self.watch = Watch()
        for bound in tuple(self._bound):
            bound.watch = self.watch
            bound.after_fork()


def _forked(transport: weakref.ref[RequestsTransport]) -> None:
    alive = transport()
    if alive is not None:
        alive.after_fork()
