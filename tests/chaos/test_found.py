"""What the chaos bench found, small enough to read."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from decimal import Decimal

import pytest

import cnroute
from cnroute.notices import CallFinished
from cnroute.routing.deadline import Deadline
from cnroute.routing.health import Health, Lease, Refusal
from cnroute.settings import Breaker, Limits, Timeouts
from cnroute.testing import FakeTransport, capture_notices
from cnroute.transports.threaded import Threads


def _frame(text: str, made: int) -> bytes:
    choices = [{"message": {"content": text, "role": "assistant"}, "finish_reason": "null"}]
    usage = {"input_tokens": 10, "output_tokens": made, "total_tokens": 10 + made}
    return b"data:" + json.dumps({"output": {"choices": choices}, "usage": usage, "request_id": "r"}).encode() + b"\n\n"


def _deployment() -> cnroute.Deployment:
    price = cnroute.Price("CNY", "10", "10", per=1)
    return cnroute.Deployment("yi", "dashscope", "yi-large", api_key="sk-0123456789", price=price)


def _transport(*pieces: bytes) -> FakeTransport:
    return FakeTransport({"yi": [list(pieces)]})


def _router(*pieces: bytes) -> cnroute.Router:
    return cnroute.Router([_deployment()], transport=_transport(*pieces))


def test_a_stream_that_is_cancelled_before_its_first_step_is_reported_once() -> None:
    """Its consumer sees an error, so the log and the observers see the end of the call."""
    with _router(_frame("a", 1)) as router, capture_notices(router) as notices:
        stream = router.stream("hi", model="yi")
        stream.cancel()
        with pytest.raises(cnroute.CallCancelledError) as caught:
            next(stream)
    finished = [notice for notice in notices if isinstance(notice, CallFinished)]
    assert [(notice.call_id, notice.outcome) for notice in finished] == [(stream.call_id, "cancelled")]
    assert caught.value.call_id == stream.call_id


def test_a_stream_that_is_left_may_cost_more_than_was_counted_until_then() -> None:
    """DashScope counts in every event; what it makes after the last one that was read may be charged too."""
    with _router(_frame("a", 1), _frame("b", 2), _frame("c", 3)) as router, capture_notices(router) as notices:
        with router.stream("hi", model="yi", max_tokens=50) as stream:
            next(stream)
    bill = next(notice.bill for notice in notices if isinstance(notice, CallFinished))
    assert bill is not None and isinstance(bill.confirmed, cnroute.Cost)
    assert (bill.confirmed.low, bill.confirmed.high) == (Decimal(110), Decimal(600))
    assert bill.confirmed.estimated


def test_a_call_that_is_cancelled_on_its_way_into_the_queue_does_not_lock_the_deployment() -> None:
    """The cancelled call leaves the queue at once, and the deployment goes on for everybody else."""
    health = Health(Limits(max_in_flight=1), Breaker(), time, random.random)
    lease = health.admit()
    assert isinstance(lease, Lease)
    deadline = Deadline(time.monotonic() + 5, Timeouts(), time)
    deadline.cancel()
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(health.admit(deadline)), daemon=True)
    waiting.start()
    waiting.join(1)
    assert [type(answer) for answer in answers] == [Refusal]
    lease.end()
    assert isinstance(health.admit(), Lease)


def test_a_cancel_that_comes_as_the_stream_breaks_loses_no_delta() -> None:
    """The call has ended by itself: what had arrived is handed out, and the error's partial text is exactly that."""
    streams: list[cnroute.ChatStream] = []
    reads: list[str] = []

    def advance(step: str, sent: object) -> None:
        reads.append(step)
        if reads.count("read") == 2:  # the consumer is inside, and what it is about to read breaks the stream
            thread = threading.Thread(target=streams[0].cancel)
            thread.start()
            thread.join(5)

    broken = _frame("一二", 2) + b"data: this is no JSON\n\n"
    transport = FakeTransport({"yi": [[_frame("一", 1), broken]]}, advance=advance)
    with cnroute.Router([_deployment()], transport=transport) as router:
        streams.append(router.stream("你好", model="yi"))
        texts: list[str] = []
        with pytest.raises(cnroute.StreamInterruptedError) as caught:
            for text in streams[0].texts():
                texts.append(text)
    assert "".join(texts) == caught.value.partial_text == "一二"


def test_a_consumer_whose_stream_is_being_cancelled_waits_for_the_end_of_the_cancelling() -> None:
    """While another thread gives everything back, the next step is neither a RuntimeError nor half an error."""
    with _router(_frame("a", 1), _frame("b", 2)) as router:
        stream = router.stream("hi", model="yi")
        next(stream)
        begun, go = threading.Event(), threading.Event()
        give_back = stream._give_back
        stream._give_back = lambda: (begun.set(), go.wait(5), give_back())  # type: ignore[method-assign, func-returns-value]
        canceller = threading.Thread(target=stream.cancel)
        canceller.start()
        begun.wait(5)
        threading.Timer(0.05, go.set).start()
        with pytest.raises(cnroute.CallCancelledError) as caught:
            next(stream)
        canceller.join()
    assert len(caught.value.attempts) == 1


def test_a_task_whose_stream_is_being_cancelled_by_a_thread_waits_as_well() -> None:
    """The same for the asynchronous router."""

    async def consume() -> cnroute.CallCancelledError:
        async with cnroute.AsyncRouter([_deployment()], transport=_transport(_frame("a", 1), _frame("b", 2))) as router:
            stream = router.stream("hi", model="yi")
            await anext(stream)
            begun, go = threading.Event(), threading.Event()
            give_back = stream._give_back
            stream._give_back = lambda: (begun.set(), go.wait(5), give_back())  # type: ignore[method-assign, func-returns-value]
            canceller = threading.Thread(target=stream.cancel)
            canceller.start()
            begun.wait(5)
            threading.Timer(0.05, go.set).start()
            with pytest.raises(cnroute.CallCancelledError) as caught:
                await anext(stream)
            canceller.join()
            return caught.value

    assert len(asyncio.run(consume()).attempts) == 1


def test_a_result_that_arrives_as_its_task_is_cancelled_is_given_back() -> None:
    """The thread has delivered, the task has not gone on yet and is cancelled: the stream must still be closed."""

    async def scene() -> list[str]:
        given_back: list[str] = []
        threads, loop = Threads(lambda: 1), asyncio.get_running_loop()
        task: asyncio.Task[str]

        def hold_the_loop() -> None:
            time.sleep(0.1)  # meanwhile the thread delivers; its result is set before the cancelling below
            loop.call_soon(task.cancel)

        def work() -> str:
            loop.call_soon_threadsafe(hold_the_loop)
            return "stream"

        task = asyncio.create_task(threads.run(work, discard=given_back.append))
        with pytest.raises(asyncio.CancelledError):
            await task
        threads.close()
        return given_back

    assert asyncio.run(scene()) == ["stream"]


class _Writing:
    """A transport that is cancelled in the middle of its writing."""

    def __init__(self) -> None:
        self.writing = threading.Event()

    def send(self, request: cnroute.HttpRequest, deadline: Deadline) -> cnroute.HttpResponse:
        deadline.begun = True
        woken = threading.Event()
        deadline.on_cancel(woken.set)
        self.writing.set()
        woken.wait(5)
        raise OSError("shut down")

    open = send

    def close(self) -> None:
        pass


def test_a_task_that_is_cancelled_while_its_request_is_written_may_have_to_pay() -> None:
    """The task does not wait for the thread that writes, so the thread has said beforehand that it would."""

    async def scene() -> CallFinished:
        transport = _Writing()
        async with cnroute.AsyncRouter([_deployment()], transport=transport) as router:
            with capture_notices(router) as notices:
                task = asyncio.create_task(router.chat("hi", model="yi", max_tokens=50))
                await asyncio.to_thread(transport.writing.wait, 5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        return next(notice for notice in notices if isinstance(notice, CallFinished))

    finished = asyncio.run(scene())
    assert [attempt.billing for attempt in finished.attempts] == ["unknown"]
    assert finished.bill is not None and isinstance(finished.bill.possible, cnroute.Cost) and finished.bill.possible.high > 0
