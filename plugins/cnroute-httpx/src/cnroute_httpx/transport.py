"""One call over httpx: request, head, body, and the one way back of all of them.

Rules of this file
- httpx's transports are used without a client: no cookies, no redirects, no retries, no environment.
- Places are counted here, and httpx's pool never lets anybody wait: httpcore 1.0 loses a connection for ever when a request
  that waits for it is cancelled.
- One timer guards whatever is awaited; the steps that httpx traces move it. A cancel from any thread lets it expire.
- Every way out closes the answer, and its socket at once; a connection is kept only after a body that was read to its end.
- Errors are raised outside of `except`, so that no `__context__` holds a request or a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import cnroute
from cnroute.transports.parts import (
    KEPT_OF_AN_ERROR,
    PIECE,
    SOCKET_OPTIONS,
    TLS,
    Content,
    Contexts,
    Deadline,
    Exchange,
    Origin,
    WireError,
    check_files,
    check_status,
    proxy_of,
)
from cnroute_httpx.failures import meaning
from cnroute_httpx.tap import attach, tap_of

K = cnroute.FailureKind
T = TypeVar("T")
VERSION = "0.1.0"
MAX_IDLE = 20.0
"""Seconds after which a connection that was kept is not used again."""

_RESET = struct.pack("ii", 1, 0)
_NO_RESET = struct.pack("ii", 0, 0)


class Call:
    """One exchange, from the first wait to the last byte."""

    def __init__(self, bound: BoundTransport, deadline: Deadline) -> None:
        self.exchange = Exchange(deadline)
        self.ended = False
        self.whole_body = False
        self.response: Any = None
        self.headers = cnroute.Headers()
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Timeout | None = None
        self._places: asyncio.Semaphore | None = None
        self._network: Any = None
        self._socket: Any = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._content: Content | None = None

    # -- waiting

    async def _guarded(self, wait: Callable[..., Awaitable[T]], *args: Any) -> T:
        """What `wait(*args)` gives, unless the exchange is over before."""
        try:
            async with asyncio.timeout_at(self._instant()) as self._timer:
                return await wait(*args)
        finally:
            self._timer = None

    def _instant(self) -> float:
        return self._loop.time() + self.exchange.allow()

    def wake(self) -> None:
        """Cancelled, from any thread or from a garbage collection: whoever waits ends, and the socket is freed."""
        try:
            self._loop.call_soon_threadsafe(self._woken)
        except RuntimeError:  # the loop is closed
            self._shut()

    def _woken(self) -> None:
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self._loop.time())
        elif self._timer is None and not self.ended:
            self._shut()
            self._bound.later(self.end())

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    # -- the head

    async def begin(self, request: cnroute.HttpRequest, *, stream: bool) -> None:
        """Take a place, send, read the head."""
        self.exchange.check()
        bound = self._bound
        if bound.closed:
            raise WireError(K.CLOSED, "the transport is closed")
        self.exchange.deadline.on_cancel(self.wake)
        bound.active.add(self)
        inner, places = bound.inner(self._loop)
        await self._guarded(places.acquire)
        self._places = places
        self.response = await self._guarded(inner.handle_async_request, bound.prepared(request, self._traced))
        self._sent()
        self.headers = cnroute.Headers(self.response.headers.multi_items())
        check_status(self.response.status_code, self.headers)
        limits = bound.limits
        self._content = Content(self.headers, limits.max_stream_bytes if stream else limits.max_response_bytes)
        self._pieces = aiter(self.response.stream)

    async def _traced(self, event: str, info: dict[str, Any]) -> None:
        """A step that httpx has come to; events of its clean-up, behind the timer, mean nothing."""
        step = _STEPS.get(event)
        if step is not None and self._timer is not None and not self._timer.expired() and not _tunnels(info):
            step(self, info)
            self._timer.reschedule(self._instant())

    def _connecting(self, info: dict[str, Any]) -> None:
        self.exchange.begin_connect()

    def _connected(self, info: dict[str, Any]) -> None:
        self._network = info["return_value"]
        self._socket = self._network.get_extra_info("socket")
        attach(self._network)

    def _handshaking(self, info: dict[str, Any]) -> None:
        self.exchange.step = TLS

    def _secured(self, info: dict[str, Any]) -> None:
        self._network = info["return_value"]
        attach(self._network)

    def _writing(self, info: dict[str, Any]) -> None:
        self.exchange.begin_write()
        self._linger(_RESET)  # while a request is unsent, closing throws the rest away: behind it the peer would see no end

    def _written(self, info: dict[str, Any]) -> None:
        self.exchange.begin_head(whole=True)
        self._linger(_NO_RESET)

    def _linger(self, value: bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)

    def _sent(self) -> None:
        """The head is read. An answer that was mocked has never been on a wire."""
        deadline = self.exchange.deadline
        deadline.begun = True
        if deadline.written is None:
            deadline.written = deadline.now()
        self._network = self.response.extensions.get("network_stream")
        if self._network is not None:
            self._socket = self._network.get_extra_info("socket")
        self.exchange.received = 1  # from now on silence counts as idleness
        self.exchange.begin_body()

    # -- the body

    async def read(self) -> bytes:
        """What has arrived next, unpacked; b"" at the end of the body."""
        content = self._content
        assert content is not None  # noqa: S101 (set with the head)
        out = content.take() if content.waiting else b""
        while not out:
            data = b"" if self.whole_body else await self._receive()
            if not data:
                self.whole_body = True
                content.end()
                return b""
            for start in range(0, len(data), PIECE):
                out += content.take(data[start : start + PIECE])
        return out

    async def _receive(self) -> bytes:
        assert self._pieces is not None  # noqa: S101 (set with the head)
        while (data := await self._guarded(_next, self._pieces)) == b"":
            continue
        self.exchange.check()  # our own shutdown looks like the peer's end, which can be a good one
        return data or b""

    async def whole(self) -> cnroute.HttpResponse:
        """The complete answer."""
        status = self.response.status_code
        parts, size = [], 0
        try:
            while (size < KEPT_OF_AN_ERROR or status < 300) and (data := await self.read()):
                parts.append(data)
                size += len(data)
        except Exception:  # the status says more than a failure in the rest of its body could
            if status < 300 or self.exchange.over():
                raise
        await self.end()
        body = b"".join(parts)
        return cnroute.HttpResponse(status, self.headers, body if status < 300 else body[:KEPT_OF_AN_ERROR])

    @property
    def busy(self) -> bool:
        """Whether a task is waiting inside."""
        return self._timer is not None

    async def piece(self) -> bytes:
        """The next piece for a stream."""
        if self.ended:
            if self.whole_body:
                return b""
            raise WireError(K.CANCELLED, "the stream is closed")
        data = await self.read()
        if not data:
            await self.end()
        return data

    # -- the end

    async def close(self) -> None:
        """End the exchange, from any task of its loop."""
        if self.busy:
            self.exchange.closing = True
            self.wake()
        else:
            await self.end()

    async def fail(self, error: Exception) -> cnroute.Failure:
        """What `error` means; everything is given back."""
        failure = self.exchange.failure(meaning(error, self.exchange))
        await self.end()
        return failure

    async def end(self) -> None:
        """Give the connection back, or close it. The first call counts."""
        if self.ended:
            return
        self.ended = True
        self._bound.active.discard(self)
        response, self.response, self._pieces = self.response, None, None
        network, self._network = self._network, None
        kept = self._may_be_kept(network)
        if not kept:
            self._shut()
        self._socket = None
        try:
            with contextlib.suppress(Exception):  # httpx may stumble over the socket that was shut
                if response is not None:
                    await response.stream.aclose()
                if network is not None and not kept:
                    await network.aclose()
        finally:
            if self._places is not None:
                self._places.release()

    def _may_be_kept(self, network: Any) -> bool:
        """Whether another exchange may use the connection: the body was read to its end, and nothing came behind it."""
        tap = tap_of(network)
        if tap is None or not (self.whole_body and tap.clean) or self.exchange.cancelled:
            return False
        tap.begin()
        return True

    def drop(self) -> None:
        """The stream was collected: free its socket, and let the loop do the rest."""
        if not self.ended:
            self._shut()
            self.wake()


_STEPS: dict[str, Callable[[Call, dict[str, Any]], None]] = {
    "connection.connect_tcp.started": Call._connecting,  # noqa: SLF001 (the table of this class)
    "connection.connect_tcp.complete": Call._connected,  # noqa: SLF001
    "connection.start_tls.complete": Call._secured,  # noqa: SLF001
    "proxy.start_tls.complete": Call._secured,  # noqa: SLF001
    "connection.start_tls.started": Call._handshaking,  # noqa: SLF001
    "proxy.start_tls.started": Call._handshaking,  # noqa: SLF001
    "http11.send_request_headers.started": Call._writing,  # noqa: SLF001
    "http11.send_request_body.complete": Call._written,  # noqa: SLF001
}


def _tunnels(info: dict[str, Any]) -> bool:
    """Whether a step belongs to the request for a tunnel, which goes to the proxy and costs nothing."""
    return getattr(info.get("request"), "method", None) == b"CONNECT"


class HttpxStream:
    """An open answer."""

    def __init__(self, call: Call) -> None:
        self.status: int = call.response.status_code
        self.headers = call.headers
        self._call = call
        weakref.finalize(self, call.drop).atexit = False

    async def read(self) -> bytes:
        """The next bytes of the body as soon as some have arrived; b"" at its end. Raises CallError."""
        call = self._call
        if call.busy:
            raise RuntimeError("a stream is read by one task at a time")
        try:
            return await call.piece()
        except Exception as error:  # noqa: BLE001 (httpx, h11, anyio and the system each have their own)
            failure = await call.fail(error)
        except BaseException:
            await call.end()
            raise
        raise cnroute.error_for(failure)

    async def close(self) -> None:
        """Give everything back."""
        await self._call.close()


class BoundTransport:
    """The transport of one deployment: one pool of connections for each event loop that uses it."""

    def __init__(self, transport: HttpxTransport, deployment: cnroute.Deployment) -> None:
        self.limits = deployment.limits or cnroute.Limits()
        self.active: set[Call] = set()
        self.closed = False
        self._transport = transport
        self._deployment = deployment
        self._origin = Origin.of(deployment.base_url)
        self._proxied = proxy_of(deployment, self._origin, False) is not None
        check_files(deployment.tls)
        self._inner: dict[asyncio.AbstractEventLoop, tuple[Any, asyncio.Semaphore]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: cnroute.HttpRequest, deadline: Deadline) -> cnroute.HttpResponse:
        """Send `request`, read the whole answer. Raises CallError; any status outside of 3xx is an answer."""
        call = Call(self, deadline)
        try:
            await call.begin(request, stream=False)
            return await call.whole()
        except Exception as error:  # noqa: BLE001 (httpx, h11, anyio and the system each have their own)
            failure = await call.fail(error)
        except BaseException:
            await call.end()
            raise
        raise cnroute.error_for(failure)

    async def open(self, request: cnroute.HttpRequest, deadline: Deadline) -> HttpxStream:
        """Send `request`, read the answer's head. Raises CallError."""
        call = Call(self, deadline)
        try:
            await call.begin(request, stream=True)
            return HttpxStream(call)
        except Exception as error:  # noqa: BLE001 (httpx, h11, anyio and the system each have their own)
            failure = await call.fail(error)
        except BaseException:
            await call.end()
            raise
        raise cnroute.error_for(failure)

    def inner(self, loop: asyncio.AbstractEventLoop) -> tuple[Any, asyncio.Semaphore]:
        """httpx's transport for `loop`, and its places; those of loops that are closed are forgotten."""
        found = self._inner.get(loop)
        if found is None:
            self._inner = {each: kept for each, kept in self._inner.items() if not each.is_closed()}
            made = self._transport.make(self._deployment, self.limits, self._proxied, self._origin.tls)
            found = self._inner[loop] = made, asyncio.Semaphore(self.limits.max_connections)
        return found

    def prepared(self, request: cnroute.HttpRequest, trace: Callable[[str, dict[str, Any]], Awaitable[None]]) -> Any:
        """The request as httpx wants it."""
        self._origin.path_of(request.url)
        body: Any = request.body
        given = {name.lower() for name in request.headers}
        ours = {"accept-encoding": "identity", "user-agent": f"cnroute-httpx/{VERSION}"}
        if not isinstance(body, bytes):
            ours["content-length"] = str(body.length)
        if not self._transport.keepalive:
            ours["connection"] = "close"
        fields = [*request.headers.items(), *((name, value) for name, value in ours.items() if name not in given)]
        return self._transport.library.Request(
            request.method, request.url, headers=fields, content=body if isinstance(body, bytes) else _chunks(body),
            extensions={"trace": trace, "timeout": {}},
        )

    def later(self, ending: Any) -> None:
        """Run a coroutine on the loop that is running; kept until it is done."""
        task = asyncio.get_running_loop().create_task(ending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def retire(self) -> None:
        """Nobody will bind this deployment again: its idle connections close by themselves, within 20 seconds."""

    async def close(self) -> None:
        """Close idle connections and cancel running exchanges. Later calls fail with kind `closed`."""
        self.closed = True
        for call in tuple(self.active):
            await call.close()
        await asyncio.sleep(0)
        while self._inner:
            loop, (inner, _) = self._inner.popitem()
            if loop is asyncio.get_running_loop():
                await inner.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(inner.aclose(), loop))


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    for chunk in body.chunks() if callable(body.chunks) else body.chunks:
        yield chunk


class HttpxTransport:
    """Sends over httpx2, or httpx where that is what is installed; for `AsyncRouter` only.

    `keepalive`: connections serve several requests, each for at most 20 seconds of rest. `library`: the module, where
    both are installed and the other one is wanted. `inner`: an httpx transport (a MockTransport, an ASGITransport) that
    takes the place of the network.
    """

    is_async = True

    def __init__(self, keepalive: bool = True, library: Any = None, inner: Any = None) -> None:
        self.keepalive = keepalive
        self.library = library if library is not None else _installed()
        self._given = inner
        self._contexts = Contexts()
        self._bound: weakref.WeakSet[BoundTransport] = weakref.WeakSet()

    def bind(self, deployment: cnroute.Deployment) -> BoundTransport:
        """The transport for `deployment`; nothing is opened yet."""
        bound = BoundTransport(self, deployment)
        self._bound.add(bound)
        return bound

    def make(self, deployment: cnroute.Deployment, limits: cnroute.Limits, proxied: bool, tls: bool) -> Any:
        """httpx's transport for one deployment, sized to its limits."""
        if self._given is not None:
            return self._given
        most = limits.max_connections if self.keepalive else 0
        kept = self.library.Limits(max_connections=None, max_keepalive_connections=most, keepalive_expiry=MAX_IDLE)
        return self.library.AsyncHTTPTransport(
            verify=self._contexts.of(deployment.tls) if tls else False, trust_env=False, limits=kept, retries=0,
            proxy=self.library.Proxy(deployment.proxy) if proxied else None, socket_options=SOCKET_OPTIONS,
        )

    async def send(self, request: cnroute.HttpRequest, deadline: Deadline) -> cnroute.HttpResponse:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).send`."""
        raise TypeError("bind(deployment) first")

    async def open(self, request: cnroute.HttpRequest, deadline: Deadline) -> HttpxStream:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).open`."""
        raise TypeError("bind(deployment) first")

    async def close(self) -> None:
        """Close everything, cancel what runs. Later calls fail with kind `closed`."""
        for bound in tuple(self._bound):
            await bound.close()


def _installed() -> Any:
    """httpx2, which is maintained, else httpx."""
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        return importlib.import_module("httpx")
