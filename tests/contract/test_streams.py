"""Streams and their endings: whoever ends a call, from wherever, nothing of it is left.

The rows that need no second thread or task stand in `tests/parity`; here are those that do. What a stream hands out stands in
`test_handed_out`.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing import FakeTransport
from tests.contract.kit import (
    DIALECTS,
    QUESTION,
    WORLDS,
    ask,
    assert_at_rest,
    deployment,
    in_flight,
    in_thread,
    plain_host,
    until,
)

SOON = 0.3 + 0.5  # what the contract allows for a cancellation, and what a busy machine takes


@pytest.fixture
def router(vendor: Emulator) -> Iterator[cnroute.Router]:
    """All dialects at the emulator; whatever a test does, at its end nothing runs."""
    places = [deployment(name, vendor) for name in DIALECTS]
    with cnroute.Router(places, {"route": ["yi", "v2"]}, **plain_host()) as router:
        yield router
        assert_at_rest(router)


def on_a_loop(vendor: Emulator, scenario: Any) -> None:
    """Run `scenario(router)` over an `AsyncRouter`; at its end nothing runs."""

    async def checked(router: Any) -> None:
        await scenario(router)
        await asyncio.sleep(0)
        assert_at_rest(router)

    WORLDS["async"](checked, [deployment(name, vendor) for name in DIALECTS], {"route": ["yi", "v2"]})


def waiting(vendor: Emulator, model: str) -> Callable[[], bool]:
    """True once the vendor has a request for `model` that it does not go on answering."""

    def seen() -> bool:
        return any(entry.model == model for entry in vendor.requests)

    return seen


class Consumer:
    """A thread that iterates a stream, or does something else, and keeps what became of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = 0.0
        self._work = work
        self._thread = in_thread(self._run)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 (kept for the test)
            self.error = error
        self.ended = time.monotonic()

    def join(self) -> Consumer:
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self


def consume(stream: Any, into: list[str]) -> Consumer:
    return Consumer(lambda: into.extend(iter(lambda: next(stream).text, None)))


# -- from another thread ---------------------------------------------------------------------------------

BLOCKED = {"before-the-head": "hang", "before-the-first-event": "headers_hang", "in-the-body": "stream_hang:2"}


@pytest.mark.parametrize("fault", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("name", ["yi", "pro"])
def test_cancel_wakes_a_blocked_read(vendor: Emulator, router: cnroute.Router, name: str, fault: str) -> None:
    """`cancel()` from another thread: the consumer keeps what it has and gets CallCancelledError, soon."""
    vendor.script(DIALECTS[name][1], [fault])
    stream, texts = router.stream(QUESTION, model=name), []
    consumer = consume(stream, texts)
    until(lambda: len("".join(texts)) >= (2 if fault == BLOCKED["in-the-body"] else 0) and bool(vendor.requests))
    time.sleep(0.02)
    begun = time.monotonic()
    stream.cancel()
    consumer.join()
    assert isinstance(consumer.error, cnroute.CallCancelledError)
    assert consumer.ended - begun < SOON
    assert stream.completion.text == "".join(texts)
    assert stream.completion.finish_reason is None
    assert len(vendor.requests) == 1
    assert [attempt.failure.kind for attempt in consumer.error.attempts] == ["cancelled"]
    assert consumer.error.billing == ("billed" if texts else "unknown")


@pytest.mark.parametrize("fault", BLOCKED.values(), ids=BLOCKED)
def test_close_wakes_a_blocked_read(vendor: Emulator, router: cnroute.Router, fault: str) -> None:
    """`close()` from another thread: iteration stops without an error, soon."""
    vendor.script("MiniMax-Text-01", [fault])
    stream = router.stream(QUESTION, model="v2")
    consumer = Consumer(lambda: [delta.text for delta in stream])
    until(lambda: bool(vendor.requests))
    time.sleep(0.02)
    begun = time.monotonic()
    stream.close()
    consumer.join()
    assert consumer.error is None
    assert consumer.ended - begun < SOON
    assert stream.completion.text == "".join(consumer.result)


def test_a_second_thread_may_not_iterate(vendor: Emulator, router: cnroute.Router) -> None:
    """It gets RuntimeError at once; the first one is not disturbed."""
    vendor.script("MiniMax-Text-01", ["slow:0.2"])
    stream, texts = router.stream(QUESTION, model="v2"), []
    consumer = consume(stream, texts)
    until(lambda: bool(vendor.requests))
    with pytest.raises(RuntimeError, match="one consumer"):
        next(stream)
    with pytest.raises(RuntimeError):
        stream.start()
    consumer.join()
    assert consumer.error is None
    assert "".join(texts) == vendor.answer(QUESTION)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", ["hang", "half_body_hang"])
def test_closing_the_router_ends_blocked_calls(vendor: Emulator, stream: bool, fault: str) -> None:
    """Running calls get CallCancelledError within a second, later ones RouterClosedError; no socket stays."""
    vendor.script("yi-large", [fault] * 3)
    router = cnroute.Router([deployment("yi", vendor)], **plain_host())
    consumers = [Consumer(lambda: finish_call(router, stream)) for _ in range(3)]
    until(lambda: len(vendor.requests) == 3)
    time.sleep(0.02)
    begun = time.monotonic()
    router.close()
    for consumer in consumers:
        consumer.join()
        assert isinstance(consumer.error, cnroute.CallCancelledError)
        assert consumer.ended - begun < SOON
    with pytest.raises(cnroute.RouterClosedError):
        router.chat(QUESTION, model="yi")
    with pytest.raises(cnroute.RouterClosedError):
        router.stream(QUESTION, model="yi")
    assert_at_rest(router, vendor)
    assert len(vendor.requests) == 3


def finish_call(router: cnroute.Router, stream: bool) -> Any:
    return list(router.stream(QUESTION, model="yi")) if stream else router.chat(QUESTION, model="yi")


def at_once(action: Callable[[], Any], *consumers: Consumer) -> None:
    """`action` ends all consumers with CallCancelledError, soon."""
    begun = time.monotonic()
    action()
    for consumer in consumers:
        consumer.join()
        assert isinstance(consumer.error, cnroute.CallCancelledError), repr(consumer.error)
        assert consumer.ended - begun < SOON


@pytest.mark.parametrize("whose", ["stream", "router"])
def test_cancel_in_the_queue(vendor: Emulator, whose: str) -> None:
    """A call that waits for a place behind others is woken; the others go on unless the router is closed."""
    place = deployment("v2", vendor, limits=cnroute.Limits(max_in_flight=1))
    with cnroute.Router([place], **plain_host()) as router:
        vendor.script("MiniMax-Text-01", ["hang"])
        first, second = router.stream(QUESTION, model="v2"), router.stream(QUESTION, model="v2")
        running = Consumer(lambda: next(first))
        until(lambda: bool(vendor.requests))
        queued = Consumer(lambda: next(second))
        until(lambda: router._engine.binding.places["v2"].health._waiting == 1)
        if whose == "stream":
            at_once(second.cancel, queued)
            assert in_flight(router) == 1
            at_once(first.cancel, running)
        else:
            at_once(router.close, queued, running)
        assert_at_rest(router, vendor)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("whose", ["stream", "router"])
def test_cancel_between_two_attempts(vendor: Emulator, whose: str) -> None:
    """A call that waits before it asks the same deployment again is woken, and does not ask again."""
    vendor.script("MiniMax-Text-01", ["retry_after:5"] * 2)
    with cnroute.Router([deployment("v2", vendor)], **plain_host()) as router:
        stream = router.stream(QUESTION, model="v2")
        consumer = Consumer(lambda: next(stream))
        until(lambda: bool(vendor.requests) and vendor.requests[0].ended == "done" and in_flight(router) == 0)
        time.sleep(0.05)
        at_once(stream.cancel if whose == "stream" else router.close, consumer)
        assert_at_rest(router, vendor)
    assert len(vendor.requests) == 1


# -- from another task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("fault", ["hang", "half_body_hang"])
def test_cancelling_a_task_frees_the_socket(vendor: Emulator, stream: bool, fault: str) -> None:
    """The task sees `asyncio.CancelledError`, untouched, soon; no attempt follows."""

    async def scenario(router: Any) -> None:
        task = asyncio.create_task(call_on_a_loop(router, stream))
        while not vendor.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert type(caught.value) is asyncio.CancelledError
        assert time.monotonic() - begun < SOON
        assert in_flight(router) == 0

    vendor.script("yi-large", [fault])
    on_a_loop(vendor, scenario)
    assert [entry.model for entry in vendor.requests] == ["yi-large"]


async def call_on_a_loop(router: Any, stream: bool) -> Any:
    if not stream:
        return await router.chat(QUESTION, model="route")
    async with router.stream(QUESTION, model="route") as opened:
        return [delta async for delta in opened]


@pytest.mark.parametrize("how", ["cancel", "cancel from a thread", "close", "router"])
@pytest.mark.parametrize("fault", BLOCKED.values(), ids=BLOCKED)
def test_ending_a_stream_that_another_task_reads(vendor: Emulator, how: str, fault: str) -> None:
    """The reading task is woken: with CallCancelledError, or quietly by `close()`."""
    outcome: list[Any] = []

    async def read(stream: Any) -> None:
        try:
            async for delta in stream:
                outcome.append(delta.text)
        except cnroute.CallCancelledError as error:
            outcome.append(error)

    async def scenario(router: Any) -> None:
        stream = router.stream(QUESTION, model="legacy")
        task = asyncio.create_task(read(stream))
        while not vendor.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        if how == "close":
            await stream.close()
        elif how == "router":
            await router.close()
        elif how == "cancel":
            stream.cancel()
        else:
            in_thread(stream.cancel)
        await task
        assert time.monotonic() - begun < SOON

    vendor.script("abab5.5-chat", [fault])
    on_a_loop(vendor, scenario)
    if how == "close":
        assert all(isinstance(each, str) for each in outcome)
    else:
        assert isinstance(outcome[-1], cnroute.CallCancelledError)


@pytest.mark.parametrize("fault", ["hang", "half_body_hang", "retry_after:5"])
def test_closing_an_async_router_ends_its_calls(vendor: Emulator, fault: str) -> None:
    """In the wire, in a queue, or between two attempts: CallCancelledError, soon."""
    ended: list[Any] = []

    async def call(router: Any) -> None:
        try:
            await router.chat(QUESTION, model="yi")
        except cnroute.CallCancelledError as error:
            ended.append(error)

    async def scenario(router: Any) -> None:
        tasks = [asyncio.create_task(call(router)) for _ in range(3)]
        while not vendor.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await router.close()
        await asyncio.gather(*tasks)
        assert time.monotonic() - begun < SOON
        assert_at_rest(router, vendor)

    vendor.script("yi-large", [fault] * 6)
    WORLDS["async"](scenario, [deployment("yi", vendor, limits=cnroute.Limits(max_in_flight=2))])
    assert len(ended) == 3


@pytest.mark.parametrize("where", ["queue", "back-off"])
def test_cancelling_a_task_that_waits_for_no_socket(vendor: Emulator, where: str) -> None:
    """A task in the queue or between two attempts sees CancelledError, soon; its place is not lost."""

    async def scenario(router: Any) -> None:
        first = asyncio.create_task(router.chat(QUESTION, model="yi"))
        while not vendor.requests:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(router.chat(QUESTION, model="yi")) if where == "queue" else first
        await asyncio.sleep(0.08)
        for task in (second, first) if where == "queue" else (first,):
            begun = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - begun < SOON
        assert_at_rest(router)

    vendor.script("yi-large", ["hang" if where == "queue" else "retry_after:5"] * 3)
    WORLDS["async"](scenario, [deployment("yi", vendor, limits=cnroute.Limits(max_in_flight=1))])
    assert len(vendor.requests) == 1


def test_a_second_task_may_not_iterate(vendor: Emulator) -> None:
    """It gets RuntimeError at once; the first one is not disturbed."""

    async def scenario(router: Any) -> None:
        stream = router.stream(QUESTION, model="v2")
        task = asyncio.create_task(stream.__anext__())
        while not vendor.requests:
            await asyncio.sleep(0.005)
        with pytest.raises(RuntimeError, match="one consumer"):
            await stream.__anext__()
        text = (await task).text
        assert text + "".join([delta.text async for delta in stream]) == vendor.answer(QUESTION)

    vendor.script("MiniMax-Text-01", ["slow:0.2"])
    on_a_loop(vendor, scenario)


def test_ninety_calls_at_once(vendor: Emulator) -> None:
    """More calls than places: all of them get their own answers."""

    async def scenario(router: Any) -> None:
        questions = [f"marker:{number} 问题" for number in range(90)]
        seen = await asyncio.gather(*(ask(router, number % 2 == 0, text, model="v2") for number, text in enumerate(questions)))
        assert [each.reply.text for each in seen] == [vendor.answer(text) for text in questions]

    on_a_loop(vendor, scenario)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("limits", "least"), [({"max_queue": 0}, 0.0), ({}, 0.1)], ids=["no-queue", "a-full-house"])
def test_no_place_within_the_time_for_it(vendor: Emulator, world: str, limits: dict[str, int], least: float) -> None:
    """The queue in front of a deployment is bounded and timed: `local_overload`, and nothing is sent."""

    async def scenario(router: Any) -> None:
        first = router.stream(QUESTION, model="v2")
        await first.start()
        seen = await ask(router, False, model="v2")
        assert type(seen.error) is cnroute.LocalOverloadError
        assert (seen.error.billing, seen.attempts) == ("none", ())
        assert least <= seen.seconds < least + SOON
        assert "".join([delta.text async for delta in first]) == vendor.answer(QUESTION)
        assert (await ask(router, False, model="v2")).reply.text == vendor.answer(QUESTION)
        assert_at_rest(router)

    place = deployment("v2", vendor, limits=cnroute.Limits(max_in_flight=1, **limits), timeouts=cnroute.Timeouts(pool=0.1))
    WORLDS[world](scenario, [place])
    assert len(vendor.requests) == 2


def test_who_waits_for_a_place_is_in_nobodys_way(vendor: Emulator) -> None:
    """Tasks in the queue hold no thread: the call that has the place goes on reading, then they get theirs in turn."""

    async def scenario(router: Any) -> None:
        first = await router.stream(QUESTION, model="v2").start()
        waiting = [asyncio.create_task(router.chat(f"问题{number}", model="v2")) for number in range(5)]
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        assert "".join([delta.text async for delta in first]) == vendor.answer(QUESTION)
        answers = [reply.text for reply in await asyncio.gather(*waiting)]
        assert time.monotonic() - begun < 2
        assert answers == [vendor.answer(f"问题{number}") for number in range(5)]
        assert_at_rest(router)

    vendor.script("MiniMax-Text-01", ["stream_slow:0.01"])
    WORLDS["async"](scenario, [deployment("v2", vendor, limits=cnroute.Limits(max_in_flight=1))])
    asked = [entry.body["messages"][-1]["content"] for entry in vendor.requests]
    assert asked == [QUESTION, *(f"问题{number}" for number in range(5))]


# -- without a word --------------------------------------------------------------------------------------


def test_a_forgotten_stream_is_given_back(vendor: Emulator, router: cnroute.Router) -> None:
    """A stream that is dropped in the middle frees its places at once, without the collector."""
    vendor.script("MiniMax-Text-01", ["stream_hang:2"])
    stream = router.stream(QUESTION, model="v2")
    next(stream)
    assert in_flight(router) == 1
    gc.disable()
    try:
        del stream
        assert in_flight(router) == 0
        assert_at_rest(router, vendor)
    finally:
        gc.enable()


def test_a_stream_in_a_cycle_is_given_back(vendor: Emulator, router: cnroute.Router) -> None:
    """A stream that only the collector finds frees its places then."""
    vendor.script("MiniMax-Text-01", ["stream_hang:2"])
    stream = router.stream(QUESTION, model="v2")
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    assert_at_rest(router, vendor)


def test_a_stream_that_is_never_read_sends_nothing(vendor: Emulator, router: cnroute.Router) -> None:
    """Neither made, nor entered, nor forgotten."""
    router.stream(QUESTION, model="v2")
    with router.stream(QUESTION, model="v2"):
        pass
    router.stream(QUESTION, model="v2").close()
    router.stream(QUESTION, model="v2").cancel()
    assert vendor.requests == []
    assert_at_rest(router, vendor)


@pytest.mark.parametrize("read", [0, 1])
def test_a_forgotten_stream_on_a_loop(vendor: Emulator, read: int) -> None:
    """The asynchronous twin: dropped in the middle, or never read."""

    async def scenario(router: Any) -> None:
        stream = router.stream(QUESTION, model="v2")
        for _ in range(read):
            await stream.__anext__()
        assert in_flight(router) == read
        del stream
        gc.collect()
        assert in_flight(router) == 0

    vendor.script("MiniMax-Text-01", ["stream_hang:2"])
    on_a_loop(vendor, scenario)
    assert len(vendor.requests) == read


def test_a_stream_that_was_started_and_forgotten(vendor: Emulator, router: cnroute.Router) -> None:
    """`start()` holds a place until the stream is dropped."""
    vendor.script("MiniMax-Text-01", ["stream_hang:2"])
    stream = router.stream(QUESTION, model="v2").start()
    assert in_flight(router) == 1
    del stream
    assert_at_rest(router, vendor)


def test_a_good_stream_keeps_its_connection(vendor: Emulator, router: cnroute.Router) -> None:
    """Read to its end the connection serves the next call; left in the middle it is closed."""
    for _ in range(3):
        list(router.stream(QUESTION, model="v2"))
    assert len({entry.connection for entry in vendor.requests}) == 1
    vendor.script("MiniMax-Text-01", ["stream_slow:0.05"])
    with router.stream(QUESTION, model="v2") as stream:
        next(stream)
    list(router.stream(QUESTION, model="v2"))
    assert len({entry.connection for entry in vendor.requests}) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_interpreters_own_errors_pass_through(error: type[BaseException], stream: bool) -> None:
    """They are no failure of a vendor: nobody else is asked, and everything is given back."""
    transport = FakeTransport({"yi": [error()], "v2": ["unused"]})
    with cnroute.Router(
        [deployment("yi"), deployment("v2")], {"route": ["yi", "v2"]}, transport=transport, **plain_host()
    ) as router:
        opened = router.stream(QUESTION, model="route") if stream else None
        with pytest.raises(error):
            next(opened) if opened else router.chat(QUESTION, model="route")
        assert in_flight(router) == 0
    assert [sent.deployment for sent in transport.requests] == ["yi"]


def test_threads_of_the_routers_end_with_them(vendor: Emulator) -> None:
    """An AsyncRouter's own threads are gone after `close()`."""
    before = set(threading.enumerate())

    async def scenario(router: Any) -> None:
        await asyncio.gather(*(router.chat(QUESTION, model="v2") for _ in range(8)))

    WORLDS["async"](scenario, [deployment("v2", vendor)])
    until(lambda: not [each for each in set(threading.enumerate()) - before if not each.name.startswith("emulator-")])
