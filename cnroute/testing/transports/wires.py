"""One raw server and one transport bound to it: what the checks call, the same for both kinds of transports.

Rules of this file
- The checks are plain functions. The coroutines of an asynchronous transport run on a loop in a thread of its own.
- Whatever a call raises has to be a CallError that tells its kind and billing and shows no secret.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cnroute.deployments import Deployment
from cnroute.errors import CallError
from cnroute.failures import FailureKind
from cnroute.http import HttpRequest, HttpResponse, SecretText
from cnroute.routing.deadline import Deadline
from cnroute.settings import Timeouts
from cnroute.testing.contract.checking import fail, require, same
from cnroute.testing.transports.rawserver import RawServer

# For calls that should succeed: a busy machine must not turn them into failures.
PATIENT: Mapping[str, float] = {"total": 30, "connect": 20, "first_byte": 20, "idle": 20, "write": 20, "pool": 20}
PROMPT = 0.3
"""Seconds within which a cancelled call ends and a closed stream's socket is free."""

KEY = "canary-key-of-the-contract"
GROUP = "canary-group-of-the-contract"
_SECRETS = (KEY, GROUP, "canary-place")
_LONGEST_WAIT = 60.0


class Loop:
    """An event loop in a thread, for asynchronous transports."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="transport contract")
        self._thread.start()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)`, called and awaited on the loop."""
        return asyncio.run_coroutine_threadsafe(_awaited(function, args), self.loop).result(_LONGEST_WAIT)

    def close(self) -> None:
        """Run what is left to its end."""
        self.call(_finish_others)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_LONGEST_WAIT)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


async def _awaited(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


async def _finish_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_LONGEST_WAIT)


class View:
    """A stream of either kind, read by plain calls."""

    def __init__(self, call: Callable[..., Any], stream: Any) -> None:
        self._call = call
        self.stream = stream
        self.status: int = stream.status
        self.headers: Mapping[str, str] = stream.headers

    def read(self) -> bytes:
        """The next bytes."""
        __tracebackhide__ = True
        data: bytes = self._call(self.stream.read)
        require(
            isinstance(data, bytes | bytearray | memoryview),
            "read gives bytes",
            expected='bytes; b"" at the end',
            got=data,
            change="return the bytes that have arrived",
        )
        return data

    def rest(self) -> bytes:
        """Everything up to the end."""
        return b"".join(iter(self.read, b""))

    def close(self) -> None:
        """Close the stream."""
        self._call(self.stream.close)

    def drop(self) -> None:
        """Forget the stream without closing it."""
        self.stream = None


class Wire:
    """A server, a transport bound to a deployment at it, and calls."""

    def __init__(self, server: RawServer, transport: Any, deployment: Deployment, slack: float) -> None:
        self.server = server
        self.transport = transport
        self.deployment = deployment
        self.slack = slack
        self.is_async = bool(getattr(transport, "is_async", False))
        self._loop = Loop() if self.is_async else None
        self.bound = transport.bind(deployment) if hasattr(transport, "bind") else transport
        self.deadline = self.new_deadline()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What `function` returns, awaited where it has to be."""
        return self._loop.call(function, *args) if self._loop is not None else function(*args)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which the calls of an asynchronous transport run."""
        if self._loop is None:
            raise TypeError("the transport is synchronous")
        return self._loop.loop

    def new_deadline(self, **limits: float) -> Deadline:
        """A deadline with `limits`, patient ones for the rest; kept as `deadline`."""
        timeouts = Timeouts(**{**PATIENT, **limits})
        self.deadline = Deadline(time.monotonic() + timeouts.total, timeouts, time)
        return self.deadline

    def request(self, body: bytes = b"marker", headers: Mapping[str, str] | None = None) -> HttpRequest:
        """A request with secrets in its header and its query."""
        fields = {"Content-Type": "application/json", "Authorization": SecretText(f"Bearer {KEY}"), **(headers or {})}
        return HttpRequest("POST", f"{self.deployment.base_url}/chat?GroupId={GROUP}", fields, body)

    def send(self, body: bytes = b"marker", headers: Mapping[str, str] | None = None, **limits: float) -> HttpResponse:
        """One plain exchange."""
        __tracebackhide__ = True
        answer: HttpResponse = self.call(self.bound.send, self.request(body, headers), self.new_deadline(**limits))
        _has(answer, "send", "HttpResponse", ("status", "headers", "body"))
        return answer

    def open(self, body: bytes = b"marker", headers: Mapping[str, str] | None = None, **limits: float) -> View:
        """One exchange as a stream, up to its head."""
        __tracebackhide__ = True
        stream = self.call(self.bound.open, self.request(body, headers), self.new_deadline(**limits))
        _has(stream, "open", "stream", ("status", "headers", "read", "close"))
        return View(self.call, stream)

    def read(self, body: bytes = b"marker", **limits: float) -> bytes:
        """One exchange as a stream, to its end."""
        return self.open(body, None, **limits).rest()

    def ways(self) -> tuple[tuple[str, Callable[..., bytes]], ...]:
        """Both ways to a whole body, by name."""
        return ("send", lambda *args, **limits: self.send(*args, **limits).body), ("open", self.read)

    # -- failures

    def failure(self, call: Callable[[], Any], *kinds: FailureKind, within: float | None = None, why: str = "") -> CallError:
        """The CallError that `call` ends with: of one of `kinds`, within so many seconds, well made."""
        __tracebackhide__ = True
        started = time.monotonic()
        error = self._raised(call, kinds, why)
        took = time.monotonic() - started
        if kinds:
            _one_of(error, kinds, why)
        if within is not None:
            require(
                took < within + self.slack,
                "a call ends in time",
                expected=f"an end within {within:g} s {why}".strip(),
                got=f"{took:.2f} s ({error.kind})",
                change="look at the deadline and at its limits before every wait",
            )
        well_made(error)
        return error

    def _raised(self, call: Callable[[], Any], kinds: tuple[FailureKind, ...], why: str) -> CallError:
        __tracebackhide__ = True
        try:
            result = call()
        except CallError as error:
            return error
        except AssertionError:
            raise  # what the transport returned is no answer
        except Exception as error:  # noqa: BLE001 (a stranger's transport)
            fail(
                "a transport raises nothing but CallErrors",
                expected=_named(kinds),
                got=f"{type(error).__name__}: {error}",
                change="catch what your library raises and raise error_for(Failure(kind, ...)) in its place",
            )
        fail(
            f"what is no answer is a failure {why}".strip(),
            expected=_named(kinds),
            got=result,
            change="raise error_for(Failure(kind, ...)); never return part of an answer as a whole one",
        )
        raise AssertionError  # `fail` has raised

    def cancelled(self, call: Callable[[], Any], after: float = 0.15) -> CallError:
        """The failure of a call whose deadline is cancelled from another thread while it waits."""
        __tracebackhide__ = True
        told: list[float] = []

        def cancel() -> None:
            told.append(time.monotonic())
            self.deadline.cancel()

        timer = threading.Timer(after, cancel)
        timer.start()
        try:
            error = self.failure(call, FailureKind.CANCELLED)
        finally:
            timer.join()
        took = time.monotonic() - told[0]
        require(
            took < PROMPT + self.slack,
            "a cancelled call ends at once",
            expected=f"an end {PROMPT:g} s after cancel()",
            got=f"{took:.2f} s",
            change="register with deadline.on_cancel what wakes the thread that waits",
        )
        return error

    def until(self, condition: Callable[[], bool], what: str, change: str, seconds: float = PROMPT) -> None:
        """Wait for what the server's threads see; fails when it does not come."""
        __tracebackhide__ = True
        end = time.monotonic() + seconds + self.slack
        while not condition():
            if time.monotonic() > end:
                fail(what, expected=f"within {seconds:g} s", got="nothing", change=change)
            time.sleep(0.005)

    def peers_gone(self, what: str) -> None:
        """The server sees the end of every connection."""
        __tracebackhide__ = True
        self.until(
            lambda: not self.server.open, what, "shut the socket down; a close() that leaves it to the garbage is too late"
        )

    # -- places

    def serves(self, places: int) -> None:
        """Exactly `places` exchanges can run at once, each gets its own answer, and one more is refused."""
        __tracebackhide__ = True
        streams = []
        try:
            for number in range(places):
                streams.append(self.open(b"own answer %d" % number, pool=1 + self.slack))
            self.failure(
                lambda: self.send(pool=0.05),
                FailureKind.LOCAL_OVERLOAD,
                why=f"while {places} exchanges, as many as max_connections, hold every place",
            )
            for number, stream in enumerate(streams):
                same(
                    "every call gets its own answer",
                    b"own answer %d" % number,
                    stream.rest(),
                    change="never keep a connection on which bytes may be left",
                )
        finally:
            for stream in streams:
                stream.close()

    def close(self) -> None:
        """Close the transport, and check that it keeps no socket."""
        __tracebackhide__ = True
        try:
            self.call(self.transport.close)
            self.peers_gone("close() ends every connection")
        finally:
            self._end()

    def abandon(self) -> None:
        """The same after a check that has failed: without a look at what is left."""
        try:
            self.call(self.transport.close)
        finally:
            self._end()

    def _end(self) -> None:
        try:
            self.server.close()
        finally:
            if self._loop is not None:
                self._loop.close()


def _has(made: Any, method: str, kind: str, names: tuple[str, ...]) -> None:
    """What a transport's method returned has the attributes that it promises."""
    __tracebackhide__ = True
    require(
        all(hasattr(made, name) for name in names),
        f"{method} returns what it promises",
        expected=f"{kind} with {', '.join(names)}",
        got=f"{type(made).__name__} without {', '.join(name for name in names if not hasattr(made, name))}",
        change=f"let {method} return it, or raise error_for(Failure(kind, ...)); an async method needs is_async = True",
    )


def well_made(error: CallError) -> None:
    """An error says its billing, pickles, and shows no secret: not in its chain either."""
    __tracebackhide__ = True
    require(
        error.billing in ("none", "unknown"),
        "an error of the wire says whether it may have cost money",
        expected="billing none or unknown",
        got=error.billing,
        change="give Failure(..., billing=...) where the kind does not say it",
    )
    pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    for each in _chain(error):
        shown = f"{each} {each!r} {vars(each)}"
        found = next((secret for secret in _SECRETS if secret in shown), None)
        require(
            found is None,
            "no error shows a key, a GroupId, a path or a byte of the answer",
            expected="texts that name what happened",
            got=f"{type(each).__name__} shows {found}",
            change="raise outside of `except`, so that no __context__ is kept",
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_of(error: CallError, kinds: tuple[FailureKind, ...], why: str) -> None:
    __tracebackhide__ = True
    require(
        error.kind in kinds,
        f"a failure has its kind {why}".strip(),
        expected=_named(kinds),
        got=f"{error.kind}: {error.message}",
        change="map the exception of your library, in the step that it came from, to this kind",
    )


def _named(kinds: tuple[FailureKind, ...]) -> str:
    return f"a CallError of kind {' or '.join(map(str, kinds))}" if kinds else "a CallError"


@contextmanager
def elsewhere(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """`call` in a thread; the list holds its result or exception after the block."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 (looked at by the check)
            outcome.append(error)

    thread = threading.Thread(target=run, name="transport contract caller")
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(_LONGEST_WAIT)
