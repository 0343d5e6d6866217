"""What a call holds is given back however it ends, and what a stranger's transport gives is looked at."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from typing import Any

import pytest

import cnroute
from cnroute.http import Headers, HttpResponse
from cnroute.transports.threaded import NoThread, Threads

KEY = "k" * 20


def event(text: str, finish: str = "null") -> bytes:
    """A frame of DashScope's."""
    choices = [{"message": {"content": text, "role": "assistant"}, "finish_reason": finish}]
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return b"data:" + json.dumps({"output": {"choices": choices}, "usage": usage, "request_id": "r"}).encode() + b"\n\n"


LAST = event("", "stop")


class Stream:
    """A stream of these pieces; `holds` has it until it is closed."""

    status: Any = 200
    headers: Any = Headers({"Content-Type": "text/event-stream"})

    def __init__(self, holds: list[Stream], pieces: list[Any]) -> None:
        self.pieces = pieces
        self.holds = holds
        holds.append(self)

    def read(self) -> Any:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.holds.remove(self)


class Transport:
    """Opens streams of `pieces`; the deployment called `odd` gets `given` instead, from `send` and from `open`."""

    def __init__(self, *pieces: Any, given: Any = None, wait: float = 0.0) -> None:
        self.open_streams: list[Stream] = []
        self.pieces = pieces
        self.given = given
        self.wait = wait
        self._odd = False

    def bind(self, deployment: cnroute.Deployment) -> Transport:
        bound = Transport(*self.pieces, given=self.given, wait=self.wait)
        bound.open_streams, bound._odd = self.open_streams, deployment.name == "odd"
        return bound

    def send(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> Any:
        time.sleep(self.wait)
        return self.given if self._odd else HttpResponse(200, Headers(), LAST.removeprefix(b"data:").strip())

    def open(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> Any:
        if not self._odd:
            return Stream(self.open_streams, list(self.pieces))
        return self.given(self.open_streams) if callable(self.given) else self.given

    def close(self) -> None:
        """Nothing is held here."""


def arguments(transport: Any, *names: str) -> dict[str, Any]:
    limits = cnroute.Limits(max_in_flight=1)
    deployments = [cnroute.Deployment(name, "dashscope", "m", api_key=KEY, limits=limits) for name in names]
    timeouts = cnroute.Timeouts(pool=0.2)
    return {"deployments": deployments, "routes": {"chat": list(names)}, "transport": transport, "timeouts": timeouts}


class Panic:
    """An observer that raises this when an attempt ends, once."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        """Raise."""
        if type(notice).__name__ == "AttemptFinished" and self.error is not None:
            error, self.error = self.error, None
            raise error


def end(stream: Any, router: Any, how: str) -> None:
    {"close": stream.close, "cancel": stream.cancel, "router": router.close}[how]()


@pytest.mark.parametrize("panic", [MemoryError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["close", "cancel", "router"])
def test_an_observer_that_panics_as_a_stream_is_left_keeps_nothing(how: str, panic: type[BaseException]) -> None:
    """Place, stream and connection are back, and the next call goes through."""
    transport, host = Transport(event("a"), event("b"), LAST), cnroute.PluginHost()
    host.register(Panic(panic("now")), name="panic")
    router = cnroute.Router(**arguments(transport, "yi"), plugins=host)
    stream = router.stream("hi", model="chat")
    assert next(stream).text == "a"
    with pytest.raises(panic):
        end(stream, router, how)
    assert (transport.open_streams, router.health()["yi"]["in_flight"]) == ([], 0)
    if how != "router":
        assert router.chat("hi", model="chat").finish_reason == "stop"
    else:
        with pytest.raises(cnroute.RouterClosedError):
            router.chat("hi", model="chat")
    router.close()


def test_an_interrupted_close_of_a_router_is_done_the_second_time() -> None:
    """All calls are cancelled and the transport is closed, whatever the first cancel raises."""
    transport, host, closed = Transport(event("a"), event("b"), LAST), cnroute.PluginHost(), list[str]()
    host.register(Panic(KeyboardInterrupt()), name="panic")
    transport.close = lambda: closed.append("closed")  # type: ignore[method-assign]
    router = cnroute.Router(**arguments(transport, "yi", "mm"), plugins=host)
    streams = [router.stream("hi", model=name) for name in ("yi", "mm")]
    assert [next(stream).text for stream in streams] == ["a", "a"]
    with pytest.raises(KeyboardInterrupt):
        router.close()
    assert (closed, transport.open_streams) == (["closed"], [])
    for stream in streams:
        with pytest.raises(cnroute.CallCancelledError) as caught:
            next(stream)
        assert caught.value.call_id == stream.call_id
    router.close()
    router.close()
    assert closed == ["closed", "closed"]


class Unclosed(Stream):
    """It raises when it is closed."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("close broke")


@pytest.mark.parametrize("pieces", [[event("a"), LAST], [b"data: nonsense\n\n"]], ids=["good", "bad"])
def test_a_stream_that_cannot_be_closed_changes_no_answer(pieces: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """A good answer stays one, a bad one falls back, and the log names the transport; both routers."""

    def given(holds: list[Stream]) -> Stream:
        return Unclosed(holds, list(pieces))

    async def texts() -> list[str]:
        async with cnroute.AsyncRouter(**arguments(Transport(event("a"), LAST, given=given), "odd", "yi")) as router:
            return [text async for text in router.stream("hi", model="chat").texts()]

    with caplog.at_level(logging.ERROR, "cnroute.transport"):
        with cnroute.Router(**arguments(Transport(event("a"), LAST, given=given), "odd", "yi")) as router:
            assert "".join(router.stream("hi", model="chat").texts()) == "a"
        assert asyncio.run(texts()) == ["a"]
    assert [record.message for record in caplog.records] == ["close failed"] * 2


RESPONSE = HttpResponse(200, Headers(), b"{}")


@pytest.mark.parametrize("given", [None, "x", RESPONSE, b"{}"], ids=["None", "str", "response", "bytes"])
def test_what_a_transport_may_not_return_is_a_plugin_error(given: Any) -> None:
    """It is named, and the next deployment answers; both routers."""

    async def opened() -> Any:
        async with cnroute.AsyncRouter(**arguments(Transport(event("a"), LAST, given=given), "odd", "yi")) as router:
            stream = router.stream("hi", model="chat")
            return "".join([text async for text in stream.texts()]), stream.completion.attempts[0].failure

    with cnroute.Router(**arguments(Transport(event("a"), LAST, given=given), "odd", "yi")) as router:
        stream = router.stream("hi", model="chat")
        assert "".join(stream.texts()) == "a"
        failure = stream.completion.attempts[0].failure
        assert failure is not None and failure.kind == "plugin_error" and "open returned" in failure.message
        if not isinstance(given, HttpResponse):
            reply = router.chat("hi", model="chat")
            assert (reply.attempts[0].failure.kind, reply.finish_reason) == ("plugin_error", "stop")
            assert "transport Transport: send returned" in reply.attempts[0].failure.message
    assert asyncio.run(opened())[0] == "a"


@pytest.mark.parametrize("piece", [None, "data: x", 5, bytearray()])
def test_a_read_that_gives_no_bytes_is_a_plugin_error(piece: Any) -> None:
    """None is no end either: the next deployment answers."""
    given = Transport(event("a"), LAST, given=lambda holds: Stream(holds, [b": ping\n\n", piece]))
    with cnroute.Router(**arguments(given, "odd", "yi")) as router:
        stream = router.stream("hi", model="chat")
        assert "".join(stream.texts()) == "a"
        failure = stream.completion.attempts[0].failure
    assert failure is not None and failure.kind == "plugin_error" and "read returned" in failure.message


def test_a_read_may_give_a_subclass_of_bytes() -> None:
    """It is bytes: nothing of the stream is lost."""

    class Piece(bytes):
        pass

    with cnroute.Router(**arguments(Transport(Piece(event("a")), Piece(event("b")), LAST), "yi")) as router:
        assert "".join(router.stream("hi", model="chat").texts()) == "ab"


# -- threads of an asynchronous router -------------------------------------------------------------------------


def test_a_job_that_finds_no_thread_in_time_never_runs() -> None:
    """And the one before it is not disturbed."""

    async def scene() -> list[str]:
        ran: list[str] = []
        threads = Threads(lambda: 1)
        first = asyncio.ensure_future(threads.run(lambda: (time.sleep(0.3), ran.append("first"))))
        await asyncio.sleep(0.05)
        with pytest.raises(NoThread):
            await threads.run(ran.append, "second", within=0.05)
        await first
        await threads.run(ran.append, "third", within=5)
        threads.close()
        return ran

    assert asyncio.run(scene()) == ["first", "third"]


def test_a_call_waits_for_a_thread_no_longer_than_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads wait for a silent vendor; a call of another one ends in its own time."""
    monkeypatch.setattr("cnroute.aio._MOST_THREADS", 1)

    async def scene() -> float:
        async with cnroute.AsyncRouter(**arguments(Transport(wait=3), "yi", "mm")) as router:
            busy = asyncio.ensure_future(router.chat("hi", model="yi"))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            with pytest.raises(cnroute.CallTimeoutError):
                await router.chat("hi", model="mm", timeout=0.3)
            took = time.monotonic() - began
            busy.cancel()
            return took

    assert asyncio.run(scene()) < 2.5


def test_threads_follow_the_deployments() -> None:
    """A reload, and names that make deployments of their own, bring places and so threads."""

    async def scene() -> list[int]:
        router = cnroute.AsyncRouter(**arguments(Transport(wait=0.05), "yi"))
        most = [router._threads._most()]
        await router.chat("hi", model="yi")
        config = {"deployments": {name: {"provider": "dashscope", "model": "m", "api_key": KEY} for name in ("a", "b")}}
        router.reload(config)
        most.append(router._threads._most())
        await router.close()
        return most

    first, second = asyncio.run(scene())
    assert (first, second) == (1, 64)


@pytest.mark.parametrize("where", ["send", "open", "read"])
def test_a_transport_that_stops_iterating_is_named(where: str) -> None:
    """A StopIteration cannot go through a future: without care its task would wait for ever."""

    class Empty(Stream):
        def read(self) -> Any:
            return next(iter(()))

    class Stopping(Transport):
        def bind(self, deployment: cnroute.Deployment) -> Stopping:
            return self

        def send(self, request: Any, deadline: Any) -> Any:
            return next(iter(()))

        def open(self, request: Any, deadline: Any) -> Any:
            return Empty(self.open_streams, []) if where == "read" else next(iter(()))

    async def scene() -> None:
        async with cnroute.AsyncRouter(**arguments(Stopping(), "yi")) as router:
            if where == "send":
                await router.chat("hi", model="chat")
            else:
                await router.stream("hi", model="chat").start()

    with pytest.raises(cnroute.HookError, match="transport"):
        asyncio.run(asyncio.wait_for(scene(), 10))
    gc.collect()


@pytest.mark.parametrize("count", [-1, 1.5, float("nan"), True, "7"])
def test_a_count_of_tokens_that_is_none_is_refused_where_it_is_made(count: Any) -> None:
    """Money is counted with it: a negative one would fill a budget up again."""
    for name in ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "searches"):
        with pytest.raises(ValueError, match="count of tokens"):
            cnroute.Usage(**{name: count})
