"""The asynchronous router: the same flow as the synchronous one, with a driver that awaits.

Over a synchronous transport the waiting happens in threads of the router's own; a transport with
`is_async = True` is awaited directly. Cancelling the task frees the socket at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from cnroute.arguments import CallArguments, Messages, with_call_arguments
from cnroute.chat import ChatCompletion
from cnroute.engine import Engine
from cnroute.errors import CallError, error_for
from cnroute.events import Delta
from cnroute.failures import Failure
from cnroute.failures import FailureKind as K
from cnroute.flow.call import call_flow
from cnroute.flow.effects import Admit, Effect, Open, Read, Send, Sleep
from cnroute.flow.running import Call
from cnroute.router import BaseRouter, StreamCore
from cnroute.routing.deadline import Deadline
from cnroute.routing.health import Lease, Refusal
from cnroute.scope import Scope, closed, note_unclosed, transport_error
from cnroute.transports.threaded import NoThread, Threads

if TYPE_CHECKING:
    from cnroute.routing.limits import Claimed

T = TypeVar("T")
_MOST_THREADS = 256
_NO_THREAD = "all threads of the router are waiting for other vendors"
# Seconds between two looks of a consumer whose stream is being cancelled by somebody else.
_LOOK_AGAIN = 0.005


class AsyncRouter(BaseRouter):
    """The asynchronous twin of `Router`: the same names, arguments and errors. An asynchronous context manager."""

    _asynchronous = True

    @functools.cached_property
    def _threads(self) -> Threads:
        """As many threads as calls may be in flight; each is made when it is needed."""
        engine = self._engine
        return Threads(lambda: min(_MOST_THREADS, engine.places_in_all()))

    @with_call_arguments
    async def chat(self, messages: Messages, *, model: str, **arguments: Unpack[CallArguments]) -> ChatCompletion:
        """One whole answer; see `Router.chat`. Cancelling the task frees the socket and stays a CancelledError."""
        call = self._engine.call(messages, model, arguments, stream=False)
        del messages, arguments  # reports of errors show the local variables of every frame
        scope = Scope()
        self._engine.enter(scope)
        flow = call_flow(call)
        driver = AsyncDriver(self._engine, self._threads, scope)
        try:
            return await run(flow, driver)
        finally:
            try:
                flow.close()
            finally:
                try:
                    await driver.give_back()
                finally:
                    self._engine.leave(scope)

    @with_call_arguments
    def stream(self, messages: Messages, *, model: str, **arguments: Unpack[CallArguments]) -> AsyncChatStream:
        """A stream of deltas, not awaited: `async with router.stream(...) as stream`; see `Router.stream`."""
        return AsyncChatStream(self._engine, self._engine.call(messages, model, arguments, stream=True), self._threads)

    async def close(self) -> None:
        """Cancel running calls, refuse new ones, close every connection."""
        engine = self._engine
        if engine.closed:
            return
        with engine.shutting_down():
            try:
                await close_transport(engine.transport)
            finally:
                await self._flush()

    async def _flush(self) -> None:
        """Say to a shared store what is still to be said, and let the threads go."""
        store = self._engine.binding.store
        try:
            if store is not None and store.remote:
                await self._threads.run(self._engine.flush)
        finally:
            self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __del__(self) -> None:
        threads = self.__dict__.get("_threads")
        if threads is not None:
            threads.close()


async def run(flow: Generator[Any, Any, T], driver: AsyncDriver) -> T:
    """Await effects until the flow returns its answer or raises."""
    advance: Callable[[Any], Any] = flow.send
    result: Any = None
    while True:
        try:
            effect = advance(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        try:
            result, advance = await driver.perform(effect), flow.send
        except CallError as error:
            result, advance = error, flow.throw


class AsyncDriver:
    """Performs effects by awaiting them; what must be given back goes into the scope."""

    def __init__(self, engine: Engine, threads: Threads, scope: Scope) -> None:
        self._clock = engine.clock
        self._threads = threads
        self._scope = scope
        self._native = bool(getattr(engine.transport, "is_async", False))

    async def perform(self, effect: Effect) -> Any:
        """The effect's result. Raises CallError; anything else passes through untouched."""
        try:
            return await _PERFORM[type(effect)](self, effect)
        except asyncio.CancelledError:
            self._scope.cancel()
            raise

    async def give_back(self) -> None:
        """Close the open stream and end the lease."""
        stream = self._scope.take_stream()
        try:
            closing = closed(stream) if stream is not None else None
            if closing is not None:
                await _awaited(stream, closing)
        finally:  # a second cancel may come while the stream is being closed
            self._scope.give_back()

    async def _begin(self, deadline: Deadline) -> None:
        await self.give_back()
        self._scope.next_attempt(deadline)

    async def _admit(self, effect: Admit) -> Any:
        await self._begin(effect.deadline)
        health = effect.place.health
        shared = effect.claimed is not None and effect.claimed.shared
        lease = health.admit(probe=effect.probe, shared=shared)
        if isinstance(lease, Refusal) and lease.reason == "full":
            lease = await _wait_for_place(effect, lease, self._clock, shared)
        if isinstance(lease, Lease):
            self._scope.hold_lease(lease)
            if effect.claimed is not None:
                lease = await self._claim(effect, effect.claimed, lease)
        self._scope.check()
        return lease

    async def _claim(self, effect: Admit, claimed: Claimed, lease: Lease) -> Lease | Refusal:
        """A store in this process answers at once; one behind a network is asked in a thread."""
        if not claimed.store.remote:
            return claimed.on(lease)
        claimed.note(lease)  # here: whoever ends the lease before its turn has come gives up the claim as well
        try:
            return await self._threads.run(claimed.on, lease, within=effect.deadline.remaining())
        except NoThread:
            lease.end()
            return Refusal("full", None, _NO_THREAD)

    async def _send(self, effect: Send) -> Any:
        return await self._call(effect.deadline, effect.place.transport, "send", effect.request, effect.deadline)

    async def _open(self, effect: Open) -> Any:
        deadline = effect.deadline
        stream = await self._call(deadline, effect.place.transport, "open", effect.request, deadline, discard=_close)
        self._scope.hold_stream(stream)
        self._scope.check()
        return stream

    async def _read(self, effect: Read) -> bytes | bool:
        self._scope.check()
        data: bytes = await self._call(self._scope.deadline, self._scope.stream, "read")
        return data if effect.take is None else effect.take(data)

    async def _call(self, deadline: Deadline | None, owner: Any, name: str, *args: Any, discard: Any = None) -> Any:
        """Call a method of a transport or stream, awaited if it is native, in a thread if not."""
        method = getattr(owner, name)
        within = None if deadline is None else deadline.remaining()
        try:
            if self._native:
                return await method(*args)
            return await self._threads.run(method, *args, discard=discard, within=within)
        except NoThread:
            self._scope.check()
            raise error_for(Failure(K.LOCAL_OVERLOAD, _NO_THREAD, billing="unknown" if name == "read" else "none")) from None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            self._scope.check()
            raise transport_error(owner, error) from None

    async def _sleep(self, effect: Sleep) -> None:
        await self._begin(effect.deadline)
        if self._clock is time:
            await _sleep_until_cancelled(effect)
        else:
            self._clock.sleep(effect.seconds)
        self._scope.check()


async def close_transport(transport: Any) -> None:
    """Close a transport of either kind."""
    closing = transport.close()
    if closing is not None:
        await closing


async def _awaited(stream: Any, closing: Any) -> None:
    try:
        await closing
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
        note_unclosed(stream, error)


async def _sleep_until_cancelled(effect: Sleep) -> None:
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    effect.deadline.on_cancel(lambda: loop.call_soon_threadsafe(woken.set))
    try:
        async with asyncio.timeout(effect.seconds):
            await woken.wait()
    except TimeoutError:
        return


async def _wait_for_place(effect: Admit, full: Refusal, clock: Any, shared: bool) -> Lease | Refusal:
    """A lease as soon as there is a place, `full` when the queue is full or `limits.pool` seconds have passed.

    Nobody waits in a thread: the threads belong to the calls that have a place.
    """
    health, deadline = effect.place.health, effect.deadline
    turn = CalledTurn(asyncio.get_running_loop())
    deadline.on_cancel(turn.call)
    until = clock.monotonic() + min(deadline.limits.pool, deadline.remaining())
    answer: Lease | Refusal = full
    try:
        while answer is full and not deadline.cancelled and health.queue_up(turn.call, again=turn.called):
            async with asyncio.timeout(until - clock.monotonic()):
                await turn.come()
            asked = health.admit(probe=effect.probe, shared=shared)
            answer = full if isinstance(asked, Refusal) and asked.reason == "full" else asked
    except TimeoutError:
        pass
    finally:
        health.leave_queue(turn.call, isinstance(answer, Lease))
    return answer


class CalledTurn:
    """The turn of one task in a queue; it may be called from any thread, also after the loop has gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.called = False

    def call(self) -> None:
        """It is their turn now."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def come(self) -> None:
        """Wait to be called."""
        await self._event.wait()
        self._event.clear()
        self.called = True

    async def come_within(self, seconds: float) -> None:
        """Wait to be called, but not longer than `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self.come()


def _close(stream: Any) -> None:
    closed(stream)


_PERFORM: Mapping[type, Callable[[AsyncDriver, Any], Awaitable[Any]]] = {
    Admit: AsyncDriver._admit,  # noqa: SLF001 (the table of this class)
    Send: AsyncDriver._send,  # noqa: SLF001
    Open: AsyncDriver._open,  # noqa: SLF001
    Read: AsyncDriver._read,  # noqa: SLF001
    Sleep: AsyncDriver._sleep,  # noqa: SLF001
}


class AsyncChatStream(StreamCore):
    """The asynchronous twin of `ChatStream`: `async for`, `async with`, `await start()`, `await close()`."""

    def __init__(self, engine: Engine, call: Call, threads: Threads) -> None:
        super().__init__(engine, call)
        self._driver = AsyncDriver(engine, threads, self._scope)
        self._inside = False
        self._state = threading.Lock()

    async def start(self) -> Self:
        """Send, and wait for the first content (or the end). Once, before iterating."""
        if self._begun:
            raise RuntimeError("start() may be called once, before iterating")
        if not self._over:
            await self._pump_alone()
        await self._end_for_others()
        if not self._pending:
            self._raise_error()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        if not self._pending and not self._over:
            await self._pump_alone()
        if self._closed or self._scope.cancelled:
            await self._end_for_others()
        if self._pending and not self._stopped():
            return self._pending.popleft()
        return self._finish()

    async def _end_for_others(self) -> None:
        """Who closed or cancelled while we were inside has left the end to us; asked when nobody is inside any more."""
        while not self._over and (self._closed or self._scope.cancelled):
            if self._enter():
                try:
                    await self._abandon_awaiting()
                finally:
                    self._inside = False
            else:
                await asyncio.sleep(_LOOK_AGAIN)

    def _finish(self) -> Delta:
        self._raise_error()
        raise StopAsyncIteration

    async def _pump_alone(self) -> None:
        while not self._enter():
            if not self._scope.cancelled:
                raise RuntimeError("another task is iterating this stream; a stream has one consumer")
            await asyncio.sleep(_LOOK_AGAIN)  # whoever cancels it is giving everything back
        try:
            if not self._over:
                await self._pump()
        finally:
            self._inside = False

    def _enter(self) -> bool:
        with self._state:
            free, self._inside = not self._inside, True
        return free

    async def _pump(self) -> None:
        """Perform effects until there are deltas or the end."""
        if not self._begun:
            self._begin()
        try:
            while not self._over:
                effect = self._effect = self._effect or self._advance()
                if self._pending:
                    break
                if effect is not None:
                    await self._perform(effect)
            if self._over:
                await self._leave()
        except BaseException:
            await self._abandon_awaiting()
            raise

    async def _perform(self, effect: Effect) -> None:
        try:
            result = await self._driver.perform(effect)
        except CallError as error:
            self._failed(error)
        else:
            if result is not True:  # more of the stream is to be read
                self._effect, self._next = None, (self._flow.send, result)

    async def texts(self) -> AsyncIterator[str]:
        """The non-empty texts alone."""
        async for delta in self:
            if delta.text:
                yield delta.text

    async def close(self) -> None:
        """The consumer is done: iteration stops without an error, the connection is given back or closed."""
        self._closed = True
        if not self._gone:
            self._scope.cancel()
            if self._enter():
                try:
                    await self._abandon_awaiting()
                finally:
                    self._inside = False

    def cancel(self) -> None:
        """End the stream from any task or thread; the consumer's next step raises CallCancelledError."""
        if self._gone:
            return
        self._scope.cancel()
        if self._enter():
            try:
                self._abandon()
            finally:
                self._inside = False

    async def _abandon_awaiting(self) -> None:
        try:
            if not self._over:
                self._break_off()
        finally:
            if not self._gone:
                await self._leave()

    async def _leave(self) -> None:
        try:
            await self._driver.give_back()
        finally:
            self._give_back()

    def _end(self) -> None:
        """Note that the flow has ended. `_pump` gives everything back: closing a stream may have to be awaited."""
        self._over = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if not self.__dict__.get("_gone", True) and self._begun:
            self._over = True
            self._scope.cancel()
            try:
                self._flow.close()
            finally:
                self._give_back()
