"""A transport whose methods are coroutines: every way out of a call gives its stream back, awaited where somebody can await."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import cnroute
from cnroute.testing import FakeTransport
from tests.flow.toy import ToyProvider, answer, deployment, frames, good_stream, host


class Native:
    """A fake transport as coroutines. A stream is free when its `close` has run, or when its deadline was cancelled."""

    is_async = True

    def __init__(self, answers: Any, *, hangs: bool = False) -> None:
        self._fake = FakeTransport(answers)
        self._hangs = hangs
        self.open_streams = 0
        self.closing = asyncio.Event()
        self.closed = False

    async def send(self, request: Any, deadline: Any) -> Any:
        if self._hangs:
            await asyncio.Event().wait()
        return self._fake.send(request, deadline)

    async def open(self, request: Any, deadline: Any) -> NativeStream:
        return NativeStream(self, self._fake.open(request, deadline), deadline)

    async def close(self) -> None:
        self.closed = True


class NativeStream:
    def __init__(self, transport: Native, stream: Any, deadline: Any) -> None:
        self.status, self.headers = stream.status, stream.headers
        self._transport, self._stream = transport, stream
        self._open = True
        transport.open_streams += 1
        deadline.on_cancel(self._free)

    def _free(self) -> None:
        self._transport.open_streams -= self._open
        self._open = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        data: bytes = self._stream.read()
        if data == b"wait":
            await asyncio.Event().wait()
        return data

    async def close(self) -> None:
        self._transport.closing.set()
        await asyncio.sleep(0.01)
        self._free()


def run(scene: Callable[[Native, cnroute.AsyncRouter], Coroutine[Any, Any, None]], answers: Any, **more: Any) -> None:
    """`scene` with a router over a native transport; afterwards nothing is held any more."""

    async def whole() -> None:
        transport = Native(answers, **more)
        async with cnroute.AsyncRouter([deployment("a")], plugins=host(ToyProvider()), transport=transport) as router:
            await scene(transport, router)
            assert transport.open_streams == 0
            assert router.health()["a"]["in_flight"] == 0
        assert transport.closed

    asyncio.run(whole())
    gc.collect()


def test_calls_and_streams_are_awaited() -> None:
    """A plain answer, and a stream to its end; its `close` has run before the consumer hears of the end."""

    async def scene(transport: Native, router: cnroute.AsyncRouter) -> None:
        assert (await router.chat("hi", model="a")).text == "好"
        async with router.stream("hi", model="a") as stream:
            assert [text async for text in stream.texts()] == ["好"]
            assert transport.open_streams == 0

    run(scene, [answer(), good_stream()])


BEGUN = [frames({"text": "a"}), b"wait"]


@pytest.mark.parametrize("way", ["close", "cancel", "break", "drop"])
def test_a_stream_that_is_left(way: str) -> None:
    """Its consumer closes it, cancels it, leaves the block, or forgets it."""

    async def scene(transport: Native, router: cnroute.AsyncRouter) -> None:
        stream = router.stream("hi", model="a")
        assert (await stream.__anext__()).text == "a"
        assert transport.open_streams == 1
        if way == "close":
            await stream.close()
        elif way == "cancel":
            stream.cancel()
            with pytest.raises(cnroute.CallCancelledError):
                await stream.__anext__()
        elif way == "break":
            async with stream:
                pass
        del stream
        gc.collect()

    run(scene, [BEGUN])


def test_a_task_that_is_cancelled() -> None:
    """In the middle of a plain call and of a read; the task sees CancelledError."""

    async def scene(transport: Native, router: cnroute.AsyncRouter) -> None:
        async def read() -> None:
            async with router.stream("hi", model="a") as stream:
                async for _ in stream:
                    pass

        for work in (router.chat("hi", model="a"), read()):
            task = asyncio.ensure_future(work)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(scene, [BEGUN], hangs=True)


def test_a_task_that_is_cancelled_again_while_its_stream_is_being_closed() -> None:
    """The place is given back all the same."""

    async def scene(transport: Native, router: cnroute.AsyncRouter) -> None:
        stream = router.stream("hi", model="a")
        await stream.__anext__()
        task = asyncio.ensure_future(stream.close())
        await transport.closing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scene, [BEGUN])
