"""A stream that is closed or cancelled while its consumer is inside a read which then brings something: it ends all the same."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import cnroute
from cnroute.http import Headers
from tests.flow.test_stream_races import KEY, event

Act = Callable[[], object]
ENDINGS = pytest.mark.parametrize("ending", ["cancel", "close"])


class Acting:
    """Content in every read; before the one of this number something is done."""

    status = 200
    headers = Headers({"Content-Type": "text/event-stream"})

    def __init__(self, number: int) -> None:
        self._left = number
        self.act: Act = list
        self.closed = False

    def bind(self, deployment: cnroute.Deployment) -> Acting:
        return self

    def open(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> Acting:
        return self

    def send(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> cnroute.HttpResponse:
        raise NotImplementedError

    def read(self) -> bytes:
        self._left -= 1
        if not self._left:
            self.act()
        return event("secret-of-the-answer")

    def close(self) -> None:
        self.closed = True


class Pinging(Acting):
    """Nothing but a comment after the first content, so that the consumer goes on reading."""

    def read(self) -> bytes:
        piece = super().read()
        return piece if self._left == 2 else b": secret-of-the-answer\n\n"


class Notices:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        self.kinds.append(type(notice).__name__)


def routed(kind: Any, transport: Acting, notices: Notices) -> Any:
    deployment = cnroute.Deployment(name="d", provider="minimax-v2", model="MiniMax-Text-01", api_key=KEY)
    return kind([deployment], transport=transport, breaker=None, plugins=[notices])


def assert_over(router: Any, transport: Acting, notices: Notices, error: BaseException | None) -> None:
    """Everything is given back and told, and the error knows its call."""
    assert (router.health()["d"]["in_flight"], transport.closed) == (0, True)
    assert notices.kinds == ["CallStarted", "AttemptStarted", "AttemptFinished", "CallFinished"]
    if error is not None:
        assert isinstance(error, cnroute.CallCancelledError)
        assert (len(error.attempts), error.billing, bool(error.call_id)) == (1, "billed", True)


@ENDINGS
@pytest.mark.parametrize("number", [1, 2])
def test_in_the_middle_of_a_read(ending: str, number: int) -> None:
    """By whoever: a plugin, a signal handler, another thread. Each further step says the same."""
    transport, notices = Acting(number), Notices()
    with routed(cnroute.Router, transport, notices) as router:
        stream = router.stream("x", model="d")
        transport.act = getattr(stream, ending)
        texts, errors = [], list[BaseException | None]()
        for _ in range(4):
            try:
                texts.append(next(stream).text)
            except (StopIteration, cnroute.CallError) as end:
                errors.append(None if isinstance(end, StopIteration) else end)
        assert len(texts) == number - 1
        assert {type(error) for error in errors} == {type(None) if ending == "close" else cnroute.CallCancelledError}
        assert_over(router, transport, notices, errors[0])


@ENDINGS
def test_inside_of_start(ending: str) -> None:
    """`start` leaves nothing behind, even if nobody ever asks for a delta."""
    transport, notices = Acting(1), Notices()
    with routed(cnroute.Router, transport, notices) as router:
        stream = router.stream("x", model="d")
        transport.act = getattr(stream, ending)
        stream.start()
        assert_over(router, transport, notices, None)


@ENDINGS
@pytest.mark.parametrize("number", [1, 2])
def test_in_the_middle_of_an_asynchronous_read(ending: str, number: int) -> None:
    """The same from another thread."""
    transport, notices = Acting(number), Notices()

    async def main() -> None:
        async with routed(cnroute.AsyncRouter, transport, notices) as router:
            stream, loop = router.stream("x", model="d"), asyncio.get_running_loop()
            transport.act = _ends(stream, ending, loop)
            texts, errors = [], list[BaseException | None]()
            for _ in range(4):
                try:
                    texts.append((await anext(stream)).text)
                except (StopAsyncIteration, cnroute.CallError) as end:
                    errors.append(None if isinstance(end, StopAsyncIteration) else end)
            assert len(texts) == number - 1
            assert {type(error) for error in errors} == {type(None) if ending == "close" else cnroute.CallCancelledError}
            assert_over(router, transport, notices, errors[0])

    asyncio.run(main())


def _ends(stream: Any, ending: str, loop: asyncio.AbstractEventLoop) -> Act:
    if ending == "cancel":
        return stream.cancel  # type: ignore[no-any-return]

    async def close(closing: Callable[[], Awaitable[None]]) -> None:
        await closing()

    return lambda: asyncio.run_coroutine_threadsafe(close(stream.close), loop).result(5)


def test_what_a_blocked_read_raises_shows_nothing_of_the_piece_before() -> None:
    """Reports of errors show local variables; a signal handler's exception comes out of a read as it is."""
    transport = Pinging(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    transport.act = interrupt
    with routed(cnroute.Router, transport, Notices()) as router:
        stream = router.stream("x", model="d")
        with pytest.raises(KeyboardInterrupt) as caught:
            [next(stream) is None for _ in range(2)]
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert not [frame for frame in frames if "cnroute/" in frame.filename and "secret-of" in str(frame.locals)]
