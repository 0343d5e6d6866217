"""The synchronous router: `chat`, `stream`, and the driver that performs a call's effects in the caller's thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar, Unpack

from cnroute.arguments import CallArguments, Messages, with_call_arguments
from cnroute.binding import Settings
from cnroute.chat import ChatCompletion
from cnroute.deployments import Deployment, ModelInfo
from cnroute.engine import Engine
from cnroute.errors import CallCancelledError, CallError, ConfigurationError, forgetful
from cnroute.events import Delta
from cnroute.flow.assemble import completion_of
from cnroute.flow.call import call_flow, never_begun
from cnroute.flow.effects import Admit, Effect, Open, Read, Send, Sleep
from cnroute.flow.running import Call
from cnroute.routing.health import Lease
from cnroute.routing.plan import Plan
from cnroute.scope import Scope, transport_error
from cnroute.settings import Breaker, Limits, Retries, Timeouts

T = TypeVar("T")
NO_ROUTES: Mapping[str, Any] = MappingProxyType({})
# The most seconds for which a consumer waits while another thread that cancels its stream gives everything back.
_CANCELLERS_TURN = 1.0
_ONE_CONSUMER = "another thread is iterating this stream; a stream has one consumer"


class BaseRouter:
    """What both routers have in common: construction, and everything that does not wait."""

    _asynchronous = False

    def __init__(
        self,
        deployments: Iterable[Deployment],
        routes: Mapping[str, Any] = NO_ROUTES,
        *,
        policy: str = "ordered",
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        retries: Retries | None = None,
        breaker: Breaker | None = Breaker(),  # noqa: B008 (frozen)
        budgets: Iterable[Any] = (),
        store: Any = None,
        transport: Any = None,
        plugins: Any = None,
        currency: str = "CNY",
        exchange: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        clock: Any = time,
        random: Any = None,
        log_content: bool = False,
        prices: Any = (),
        _accounts: Mapping[str, Deployment] = NO_ROUTES,
    ) -> None:
        settings = Settings(
            policy, timeouts, limits, retries, breaker, budgets, store, transport, plugins, currency, exchange, defaults,
            clock, random, log_content, _accounts, prices,
        )
        self._engine = Engine(deployments, routes, settings, self._asynchronous)

    @classmethod
    @forgetful
    def from_config(cls, config: Any, **keywords: Any) -> Self:
        """A router from a TOML file's path or a mapping of the same structure; keywords win.

        Raises ConfigurationError with every problem at once.
        """
        from cnroute.config import router_arguments

        try:
            return cls(**{**router_arguments(config), **keywords})
        except ConfigurationError as error:
            file = None if isinstance(config, Mapping) else str(config)
            raise ConfigurationError(problem.in_file(file) for problem in error.problems) from None

    @classmethod
    def from_env(cls, **keywords: Any) -> Self:
        """A router with one account for each provider whose key stands in the environment.

        `provider/model` then makes the deployment. Raises ConfigurationError when there is no key at all.
        """
        from cnroute.config import environment_arguments

        return cls(**{**environment_arguments(), **keywords})

    @forgetful
    def reload(self, config: Any) -> None:
        """Take other deployments, routes and settings from a TOML file's path or a mapping, all at once.

        Running calls keep what they began with; deployments that did not change keep their health and
        connections. Plugins and transport stay. Raises ConfigurationError, and then nothing has changed.
        """
        from cnroute.config import router_arguments

        arguments = router_arguments(config)
        deployments, routes = arguments.pop("deployments"), arguments.pop("routes")
        if arguments.pop("transport", None) not in (None, self._engine.settings.transport):
            raise ConfigurationError("a reload cannot change the transport; make a new router", "router.transport")
        arguments.pop("plugins", None)
        self._engine.reload(deployments, routes, arguments)

    @property
    def plugins(self) -> Any:
        """The `PluginHost` in use."""
        return self._engine.host

    @property
    def transport(self) -> Any:
        """The transport in use."""
        return self._engine.transport

    @with_call_arguments
    def plan(self, messages: Messages, *, model: str, **arguments: Unpack[CallArguments]) -> Plan:
        """What a call with these arguments would do now. Sends nothing and touches no network."""
        return self._engine.plan(messages, model, arguments)

    def models(self) -> list[ModelInfo]:
        """Every name that can be called: routes, then deployments."""
        return self._engine.models()

    def health(self) -> dict[str, Any]:
        """Per deployment: breaker, cool-down, calls in flight, success rate; JSON-ready."""
        return self._engine.health()


class Router(BaseRouter):
    """Routes chat calls to deployments by policy, with fallback, inside one deadline. Thread safe, fork safe.

    A context manager; `close()` may be called more than once.
    """

    @with_call_arguments
    def chat(self, messages: Messages, *, model: str, **arguments: Unpack[CallArguments]) -> ChatCompletion:
        """One whole answer. Arguments are those of `cnroute.ChatRequest`; errors are `CallError`s.

        Raises BadRequestError for wrong arguments before anything is sent.
        """
        call = self._engine.call(messages, model, arguments, stream=False)
        del messages, arguments  # reports of errors show the local variables of every frame
        scope = Scope()
        self._engine.enter(scope)
        flow = call_flow(call)
        try:
            return run(flow, Driver(self._engine.clock, scope))
        finally:
            try:
                flow.close()
            finally:
                scope.give_back()
                self._engine.leave(scope)

    @with_call_arguments
    def stream(self, messages: Messages, *, model: str, **arguments: Unpack[CallArguments]) -> ChatStream:
        """A stream of deltas. Arguments are checked now; the first `next` (or `start`) sends."""
        return ChatStream(self._engine, self._engine.call(messages, model, arguments, stream=True))

    def close(self) -> None:
        """Cancel running calls, refuse new ones, close every connection. What an interrupt left can be closed once more."""
        engine = self._engine
        if engine.closed:
            return
        with engine.shutting_down():
            try:
                engine.transport.close()
            finally:
                engine.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def run(flow: Generator[Any, Any, T], driver: Driver) -> T:
    """Perform effects until the flow returns its answer or raises."""
    advance: Callable[[Any], Any] = flow.send
    result: Any = None
    while True:
        try:
            effect = advance(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        try:
            result, advance = driver.perform(effect), flow.send
        except CallError as error:
            result, advance = error, flow.throw


class Driver:
    """Performs effects in the calling thread; what must be given back goes into the scope."""

    __slots__ = ("_clock", "_scope")

    def __init__(self, clock: Any, scope: Scope) -> None:
        self._clock = clock
        self._scope = scope

    def perform(self, effect: Effect) -> Any:
        """The effect's result. Raises CallError; anything else passes through untouched."""
        return _PERFORM[type(effect)](self, effect)

    def _admit(self, effect: Admit) -> Any:
        self._scope.next_attempt(effect.deadline)
        claimed = effect.claimed
        if claimed is None:
            lease = effect.place.health.admit(effect.deadline, probe=effect.probe)
        else:
            lease = effect.place.health.admit(effect.deadline, probe=effect.probe, shared=claimed.shared)
        if isinstance(lease, Lease):
            self._scope.hold_lease(lease)
            if claimed is not None:
                lease = claimed.on(lease)
        self._scope.check()
        return lease

    def _send(self, effect: Send) -> Any:
        transport = effect.place.transport
        try:
            return transport.send(effect.request, effect.deadline)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            raise transport_error(transport, error) from None

    def _open(self, effect: Open) -> Any:
        transport = effect.place.transport
        try:
            stream = transport.open(effect.request, effect.deadline)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            raise transport_error(transport, error) from None
        self._scope.hold_stream(stream)
        self._scope.check()
        return stream

    def _read(self, effect: Read) -> bytes | bool:
        scope = self._scope
        if scope.cancelled:
            scope.check()
        stream = scope.stream
        try:
            data: bytes = stream.read()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            scope.check()
            raise transport_error(stream, error) from None
        return data if effect.take is None else effect.take(data)

    def _sleep(self, effect: Sleep) -> None:
        self._scope.next_attempt(effect.deadline)
        if self._clock is time:
            woken = threading.Event()
            effect.deadline.on_cancel(woken.set)
            woken.wait(effect.seconds)
        else:
            self._clock.sleep(effect.seconds)
        self._scope.check()


_PERFORM: Mapping[type, Callable[[Driver, Any], Any]] = {
    Admit: Driver._admit,  # noqa: SLF001 (the table of this class)
    Send: Driver._send,  # noqa: SLF001
    Open: Driver._open,  # noqa: SLF001
    Read: Driver._read,  # noqa: SLF001
    Sleep: Driver._sleep,  # noqa: SLF001
}


class StreamCore:
    """What the synchronous and the asynchronous stream share: deltas waiting, the end, the completion so far."""

    def __init__(self, engine: Engine, call: Call) -> None:
        self._engine = engine
        self._call = call
        self._scope = Scope()
        self._flow = call_flow(call)
        self._next: tuple[Callable[[Any], Effect], Any] = (self._flow.send, None)
        self._effect: Effect | None = None
        self._pending: deque[Delta] = call.waiting
        self._error: BaseException | None = None
        self._answer: ChatCompletion | None = None
        self._begun = False
        self._over = False
        self._closed = False
        self._gone = False
        """Whether everything is given back: an interrupt may come between the end of the flow and that."""

    @property
    def call_id(self) -> str:
        """The id of this call, as on the reply, errors, notices and in the log."""
        return self._call.id

    @property
    def completion(self) -> ChatCompletion:
        """The whole answer after the end; before it what was handed out so far, with no finish reason."""
        if self._answer is not None and not self._pending:
            return self._answer
        given = self._call.given
        return completion_of(given[: len(given) - len(self._pending)]).with_record(call_id=self._call.id)

    def _advance(self) -> Effect | None:
        """Let the flow run to its next effect; None when it has ended."""
        try:
            return self._next[0](self._next[1])  # no variable holds what the vendor sent: reports of errors show those
        except StopIteration as done:
            self._answer = done.value
        except CallError as error:
            self._error = error
        self._end()
        return None

    def _failed(self, error: CallError) -> None:
        """The flow goes on with the error of an effect."""
        self._effect, self._next = None, (self._flow.throw, error)

    def _end(self) -> None:
        self._over = True
        self._give_back()

    def _begin(self) -> None:
        """Note that the call runs; closing the router cancels it, without keeping it alive."""
        self._begun = True
        alive = weakref.ref(self)
        try:
            self._engine.enter(self._scope, lambda: _cancel(alive()))
        except CallError as closed:
            self._error, self._over = closed, True
            self._flow.close()
            raise

    def _raise_error(self) -> None:
        """Raise what the call ended in, unless the consumer has left."""
        if not self._closed:
            if self._error is not None:
                raise self._error
            if self._answer is None and (cancelled := self._scope.error()) is not None:
                cancelled.call_id = self._call.id  # whoever cancels is still at it
                raise cancelled

    def _stopped(self) -> bool:
        """Whether what has arrived is no longer wanted. A cancel that comes as the call ends by itself is too late."""
        error = self._error
        own = self._answer is not None or (isinstance(error, CallError) and not isinstance(error, CallCancelledError))
        return self._closed or (self._scope.cancelled and not own)

    def cancel(self) -> None:
        """End the stream from anywhere."""
        raise NotImplementedError

    def _break_off(self) -> None:
        """End the flow where it stands: with the error of a cancelled call, else as left by its consumer."""
        self._over, self._effect = True, None
        error = None if self._closed else self._scope.error()
        if error is None or not self._begun:
            self._flow.close()
            self._error = error and never_begun(self._call, error)
            return
        try:
            self._flow.throw(error)
        except CallError as raised:
            self._error = raised
        except StopIteration as done:
            self._answer = done.value
        else:
            self._flow.close()

    def _abandon(self) -> None:
        """End the call here, whatever is left of it."""
        try:
            if not self._over:
                self._break_off()
        finally:
            if not self._gone:
                self._give_back()

    def _give_back(self) -> None:
        self._scope.give_back()
        self._engine.leave(self._scope)
        self._gone = True


def _cancel(stream: StreamCore | None) -> None:
    if stream is not None:
        stream.cancel()


class ChatStream(StreamCore):
    """The deltas of one answer as they arrive. An iterator and a context manager; one consumer.

    Raises, after everything that arrived was handed out, the call's error: `StreamInterruptedError` once content
    was seen. `close()` ends it quietly, `cancel()` (from any thread) with CallCancelledError.
    """

    def __init__(self, engine: Engine, call: Call) -> None:
        super().__init__(engine, call)
        self._driver = Driver(engine.clock, self._scope)
        self._busy = threading.Lock()

    def start(self) -> Self:
        """Send, and wait for the first content (or the end). Once, before iterating.

        Raises the call's error, so that a web handler can still answer with an error status.
        """
        if self._begun:
            raise RuntimeError("start() may be called once, before iterating")
        if not self._busy.acquire(False):
            self._wait_for_a_canceller()
        try:
            if not self._over:
                self._pump()
        finally:
            self._busy.release()
            self._end_for_others()
        if not self._pending:
            self._raise_error()
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        if not self._pending or self._closed or self._scope.cancelled:
            self._receive()
        try:  # what has arrived is taken without a lock: another thread may have been quicker
            return self._pending.popleft()
        except IndexError:
            raise RuntimeError(_ONE_CONSUMER) from None

    def _receive(self) -> None:
        """Wait for a delta if none is there. Raises what the call has ended in, StopIteration where it has ended well."""
        if not self._busy.acquire(False):
            self._wait_for_a_canceller()
        try:
            if not self._pending and not self._over:
                self._pump()
        finally:
            self._busy.release()
            if self._closed or self._scope.cancelled:
                self._end_for_others()
        if self._pending and not ((self._closed or self._scope.cancelled) and self._stopped()):
            return
        if not (self._over or self._closed or self._scope.cancelled):
            raise RuntimeError(_ONE_CONSUMER)  # it has taken what arrived
        self._raise_error()
        raise StopIteration

    def _end_for_others(self) -> None:
        """Who closed or cancelled while we were inside has left the end to us; asked when nobody is inside any more."""
        unended = not self._over and (self._closed or self._scope.cancelled)
        if unended and self._busy.acquire(timeout=_CANCELLERS_TURN):
            try:
                self._abandon()
            finally:
                self._busy.release()

    def _wait_for_a_canceller(self) -> None:
        """Another thread is inside: RuntimeError instead of waiting, unless it only gives back what it cancelled."""
        if not (self._scope.cancelled and self._busy.acquire(timeout=_CANCELLERS_TURN)):
            raise RuntimeError(_ONE_CONSUMER)

    def _pump(self) -> None:
        """Perform effects until there are deltas or the end."""
        if not self._begun:
            self._begin()
        try:
            while not self._over:
                effect = self._effect
                if effect is None:
                    effect = self._effect = self._advance()
                if self._pending:
                    break
                if effect is not None:
                    try:
                        result = _PERFORM[type(effect)](self._driver, effect)
                    except CallError as error:
                        self._failed(error)
                    else:
                        if result is not True:  # more of the stream is to be read
                            self._effect, self._next = None, (self._flow.send, result)
                        result = None  # nor is it held while the next piece is waited for
        except BaseException:
            self._abandon()
            raise

    def texts(self) -> Iterator[str]:
        """The non-empty texts alone."""
        return (delta.text for delta in self if delta.text)

    def close(self) -> None:
        """The consumer is done: iteration stops without an error, the connection is given back or closed."""
        self._closed = True
        self._leave()

    def cancel(self) -> None:
        """End the stream from any thread; the consumer's next step raises CallCancelledError."""
        self._leave()

    def _leave(self) -> None:
        """Wake a consumer that waits for the wire; if nobody is inside, end the call here."""
        if self._gone:
            return
        self._scope.cancel()
        if self._busy.acquire(False):
            try:
                self._abandon()
            finally:
                self._busy.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.__dict__.get("_gone", True):
            self._abandon()
