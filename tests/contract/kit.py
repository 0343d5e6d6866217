"""What the end-to-end tests share: deployments over an emulator, both routers under one spelling, the check for leftovers.

A scenario is an `async def scenario(router)`. `sync` runs it over a `Router` whose methods are spelled as coroutines that
never wait, `asynchronous` over an `AsyncRouter`; so one text is read by both.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import cnroute
from cnroute.emulator import Emulator

QUESTION = "长江有多长"
GROUP = "1700000000000000019"
KEY = "sk-of-a-test"

# The five ways of speaking, by the name of their deployment.
DIALECTS: dict[str, tuple[str, str]] = {
    "yi": ("dashscope", "yi-large"),
    "qwen": ("dashscope", "qwen-plus"),
    "v2": ("minimax-v2", "MiniMax-Text-01"),
    "pro": ("minimax-pro", "abab6.5s-chat"),
    "legacy": ("minimax-legacy", "abab5.5-chat"),
}
NEXT = {"yi": "v2", "qwen": "v2", "v2": "yi", "pro": "yi", "legacy": "yi"}
"""Who answers when the first vendor of a route fails: a vendor of another kind."""


def hasty(fault: str = "") -> cnroute.Timeouts | None:
    """Short limits for the step in which a silent vendor stops; none for other faults, since a busy machine is slow too."""
    limits = _HASTY.get(fault.partition(":")[0])
    return cnroute.Timeouts(**{limits: 0.1 if limits != "idle" else 0.15}) if limits else None


_HASTY = {
    "hang": "first_byte", "headers_hang": "first_token", "stream_pings": "first_token", "half_body_hang": "idle",
    "stream_hang": "idle",
}  # fmt: skip


def deployment(name: str, emulator: Emulator | None = None, /, **fields: Any) -> cnroute.Deployment:
    """One of the five dialects, at the emulator if there is one."""
    provider, model = DIALECTS[name]
    return cnroute.Deployment(**{
        "name": name, "provider": provider, "model": model, "api_key": KEY,
        "base_url": emulator.base_url(provider) if emulator else None,
        "options": {} if provider in ("dashscope", "minimax-v2") else {"group_id": GROUP}, **fields,
    })  # fmt: skip


@functools.cache
def _built_in() -> cnroute.PluginHost:
    return cnroute.PluginHost(autoload=False)


def plain_host() -> dict[str, Any]:
    """Only the built-in providers, in one host for all routers: to make and fill one costs more than most of these tests."""
    return {"plugins": _built_in()}


Scenario = Callable[[Any], Awaitable[Any]]


def sync(scenario: Scenario, *args: Any, **settings: Any) -> Any:
    """What `scenario` makes of a `Router`."""
    with cnroute.Router(*args, **plain_host(), **settings) as router:
        return finish(scenario(Spelled(router)))


def asynchronous(scenario: Scenario, *args: Any, **settings: Any) -> Any:
    """What `scenario` makes of an `AsyncRouter`."""

    async def main() -> Any:
        async with cnroute.AsyncRouter(*args, **plain_host(), **settings) as router:
            return await scenario(router)

    return asyncio.run(main())


WORLDS: dict[str, Callable[..., Any]] = {"sync": sync, "async": asynchronous}


def finish(coroutine: Awaitable[Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    assert isinstance(coroutine, Coroutine)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a synchronous scenario waited")


class Spelled:
    """A `Router` with the spelling of its asynchronous twin."""

    def __init__(self, router: cnroute.Router) -> None:
        self._router = router

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)

    async def chat(self, *args: Any, **keywords: Any) -> Any:
        return self._router.chat(*args, **keywords)

    def stream(self, *args: Any, **keywords: Any) -> SpelledStream:
        return SpelledStream(self._router.stream(*args, **keywords))

    async def close(self) -> None:
        self._router.close()


class SpelledStream:
    """A `ChatStream` with the spelling of its asynchronous twin."""

    def __init__(self, stream: cnroute.ChatStream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def start(self) -> SpelledStream:
        started = self._stream.start()
        assert started is self._stream
        return self

    async def close(self) -> None:
        self._stream.close()

    def __aiter__(self) -> SpelledStream:
        assert iter(self._stream) is self._stream
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._stream)
        except StopIteration:
            raise StopAsyncIteration from None

    async def texts(self) -> Any:
        for text in self._stream.texts():
            yield text

    async def __aenter__(self) -> SpelledStream:
        assert self._stream.__enter__() is self._stream
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self._stream.__exit__(*exception)


class Seen:
    """What one call showed to its caller."""

    def __init__(self) -> None:
        self.deltas: list[Any] = []
        self.reply: Any = None
        self.error: cnroute.CallError | None = None
        self.seconds = 0.0

    @property
    def text(self) -> str:
        """What the consumer was handed."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def attempts(self) -> tuple[cnroute.Attempt, ...]:
        """The record, wherever it is."""
        return self.error.attempts if self.error is not None else self.reply.attempts

    def record(self) -> list[tuple[str, str | None, str]]:
        """Deployment, kind of failure and billing of every attempt."""
        return [(each.deployment, each.failure and each.failure.kind.value, each.billing) for each in self.attempts]


async def ask(router: Any, stream: bool, messages: Any = QUESTION, *, model: str, **arguments: Any) -> Seen:
    """One call, seen from outside; a CallError is kept. For streams `reply` is `stream.completion`."""
    seen, begun = Seen(), time.monotonic()
    try:
        if stream:
            await _streamed(router.stream(messages, model=model, **arguments), seen)
        else:
            seen.reply = await router.chat(messages, model=model, **arguments)
    except cnroute.CallError as error:
        seen.error = error
    seen.seconds = time.monotonic() - begun
    return seen


async def _streamed(stream: Any, seen: Seen) -> None:
    try:
        async with stream:
            async for delta in stream:
                seen.deltas.append(delta)
    finally:
        seen.reply = stream.completion


def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.003)


def in_flight(router: Any) -> int:
    """Calls in flight over all deployments."""
    return sum(each["in_flight"] for each in router.health().values())


def assert_at_rest(router: Any, emulator: Emulator | None = None) -> None:
    """Nothing runs: no call in flight, every place of the transport free, no answer open, no connection but idle ones."""
    assert in_flight(router) == 0
    for bound in router.transport._bound:
        until(lambda bound=bound: bound.free_places() == bound.limits.max_connections and not bound.active)
    if emulator is not None:
        until(lambda: emulator.open_connections == router.transport.idle_connections())


def sent_to(emulator: Emulator, name: str) -> list[Any]:
    """The requests that arrived for a deployment."""
    return [entry for entry in emulator.requests if entry.model == DIALECTS[name][1] and entry.provider == DIALECTS[name][0]]


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    """Start `work` in a thread."""
    thread = threading.Thread(target=work, name="of-a-test", daemon=True)
    thread.start()
    return thread
