"""The course of a row: one call, or more where the row tells a longer story. Written once for both routers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import cnroute
from tests.contract.kit import Seen, ask
from tests.matrix.running import Course, prompt, settled

Play = Callable[[Course], Awaitable[None]]


async def one_call(course: Course) -> None:
    """The call itself."""
    if course.streamed:
        await _streamed(course)
    else:
        course.seen = await ask(course.router, False, course.prompt, model=course.model, **course.arguments)
    row = course.case.row
    if row.kinds == ("ok",) and not course.error and row.check not in ("marker_only", "encodes", "nul_kept", "empty_text"):
        text = course.seen.text if course.streamed else course.seen.reply.text
        emulator = course.stage.emulator if course.seen.reply.deployment == "first" else course.second
        course.expect(text == emulator.answer(course.prompt), "the text is not exact")
        course.expect(course.seen.reply.text == text, "deltas and completion differ")


async def _streamed(course: Course) -> None:
    """A stream with the instants at which its deltas arrived."""
    seen, begun = course.seen, time.monotonic()
    arrived: list[float] = []
    seen.__dict__["arrived"] = arrived
    stream = course.router.stream(course.prompt, model=course.model)
    try:
        async with stream:
            async for delta in stream:
                arrived.append(time.monotonic() - begun)
                if len(seen.deltas) < 100_000:
                    seen.deltas.append(delta)
    except cnroute.CallError as error:
        seen.error = error
    seen.seconds = time.monotonic() - begun
    seen.reply = stream.completion


# -- 4.1


async def held_connection(course: Course) -> None:
    """Row 16: all connections but none free; the second call is refused here, or goes to the other vendor."""
    held = []
    course.stage.emulator.script("yi-large", ["stream_hang:1"] * 4)
    for _ in range(4):
        held.append(course.router.stream(prompt(), model="first"))
        await held[-1].start()
    course.seen = await ask(course.router, course.streamed, course.prompt, model=course.model)
    failed = course.case.places == "alone"
    course.expect((course.kind == "local_overload") == failed, f"the call ended with {course.kind}")
    course.expect(len(course.second.requests) == (0 if failed else 1), "the second vendor got something else")
    if failed and course.error is not None:
        course.expect(course.error.billing == "none", f"billing {course.error.billing}")
    for stream in held:
        await stream.close()


async def no_descriptors(course: Course) -> None:
    """Row 17: EMFILE. The second vendor answers over a connection that stands already."""
    await ask(course.router, False, prompt(), model="second")
    before = len(course.second.requests)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        course.seen = await ask(course.router, course.streamed, course.prompt, model=course.model)
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    course.expect(course.first_kind == "connect_error", f"kind {course.first_kind}")
    attempt = course.first_attempt
    course.expect(attempt is not None and attempt.billing == "none", "something may have been charged")
    if course.case.places == "two":
        course.expect(course.kind == "ok", f"the call ended with {course.kind} although there was a second vendor")
        course.expect(len(course.second.requests) == before + 1, "the second vendor was not asked once")


# -- 4.7


async def _calls(course: Course, faults: list[str], pause: float = 0.0) -> list[Seen]:
    """Two calls in turn, each with its own answer to judge."""
    course.stage.emulator.script(_model(course), faults)
    found, begun = [], time.monotonic()
    for number in range(2):
        course.prompt = prompt()
        found.append(await ask(course.router, course.streamed, course.prompt, model=course.model))
        if number == 0 and pause:
            await _pause(course, pause)
    course.seen = found[-1]
    course.seen.seconds = time.monotonic() - begun
    return found


def _model(course: Course) -> str:
    from tests.contract.kit import DIALECTS

    return DIALECTS[course.case.speaker][1]


async def _pause(course: Course, seconds: float) -> None:
    if course.case.world == "async":
        await asyncio.sleep(seconds)
    else:
        time.sleep(seconds)


async def twice(course: Course) -> None:
    """Rows 130 and 131: both calls succeed, with one request each and a connection each."""
    seen = await _calls(course, [course.case.fault] * 2, 0.15)
    course.expect([each.error for each in seen] == [None, None], "a call failed")
    course.expect(len(course.asked_first) == 2, f"{len(course.asked_first)} requests, not 2")
    course.expect(course.stage.emulator.accepted_connections == 2, "not two connections")
    course.expect(not any(attempt.resent for each in seen for attempt in each.attempts), "a request was sent again")


async def dropped(course: Course) -> None:
    """Row 132: one invisible resend: three requests at the vendor, one attempt in the record, health untouched."""
    first, second = await _calls(course, ["ok", course.case.fault, "ok"])
    course.expect((first.error, second.error) == (None, None), f"a call failed: {first.error or second.error}")
    course.expect(len(course.asked_first) == 3, f"{len(course.asked_first)} requests, not 3")
    course.expect([each.resent for each in second.attempts] == [True], "not one attempt that was sent again")
    course.expect(course.router.health()["first"]["success_rate"] == 1.0, "health has learned of it")
    course.expect(not course.second.requests, "the second vendor was asked")


async def dropped_no_resend(course: Course) -> None:
    """Row 133: without the resend the drop is a failure like another."""
    await _calls(course, ["ok", course.case.fault, "ok"])
    _is_lost(course)


async def dropped_late(course: Course) -> None:
    """Row 134: a drop after 1.5 s looks like a killed answer; nothing is sent again."""
    await _calls(course, ["ok", course.case.fault, "ok"])
    _is_lost(course)


def _is_lost(course: Course) -> None:
    course.expect(course.first_kind == "connection_lost", f"kind {course.first_kind}")
    course.expect(len(course.asked_first) == 2, f"{len(course.asked_first)} requests, not 2")
    attempt = course.first_attempt
    course.expect(attempt is not None and attempt.billing == "unknown" and not attempt.resent, "billing, or sent again")
    two = course.case.places == "two"
    course.expect(len(course.second.requests) == two, "the second vendor got something else")
    course.expect((course.kind == "ok") == two, f"the call ended with {course.kind}")


async def idle_too_long(course: Course) -> None:
    """Row 135: a connection that has rested for longer than `max_idle` is not used again."""
    seen = await _calls(course, ["ok", "ok"], 0.35)
    course.expect([each.error for each in seen] == [None, None], "a call failed")
    course.expect(course.stage.emulator.accepted_connections == 2, "the old connection was used")


# -- 4.8: what a consumer can do


async def _opened(course: Course) -> Any:
    stream = course.router.stream(course.prompt, model="first")
    await stream.start()
    return stream


async def consumer_close(course: Course) -> None:
    """`close()` after one delta: iteration ends quietly."""
    stream = await _opened(course)
    first = await anext(aiter(stream))
    begun = time.monotonic()
    await stream.close()
    course.expect(first.text and [delta async for delta in stream] == [], "iteration went on")
    await _ended(course, begun)


async def consumer_drop(course: Course) -> None:
    """The stream is dropped without a word."""
    stream = await _opened(course)
    await anext(aiter(stream))
    begun = time.monotonic()
    del stream
    gc.collect()
    await _ended(course, begun)


async def consumer_never(course: Course) -> None:
    """Never iterated: nothing is sent at all."""
    begun = time.monotonic()
    stream = course.router.stream(course.prompt, model="first")
    del stream
    gc.collect()
    course.expect(not course.asked_first, "something was sent")
    course.seen.seconds = time.monotonic() - begun


async def consumer_leave(course: Course) -> None:
    """The consumer breaks out of its loop."""
    stream = course.router.stream(course.prompt, model="first")
    async with stream:
        async for _ in stream:
            break
        begun = time.monotonic()
    await _ended(course, begun)


async def consumer_raise(course: Course) -> None:
    """The consumer raises inside of its loop; its own exception comes out."""
    begun = 0.0
    try:
        async with course.router.stream(course.prompt, model="first") as stream:
            async for _ in stream:
                begun = time.monotonic()
                raise LookupError
    except LookupError:
        await _ended(course, begun)
    else:
        course.expect(False, "the consumer's own exception is lost")


async def consumer_other_thread(course: Course) -> None:
    """Begun here, read to the end in another thread."""
    begun = time.monotonic()
    stream = await _opened(course)
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.extend(stream._stream.texts()))
    reader.start()
    reader.join()
    course.seen.seconds = time.monotonic() - begun
    course.expect("".join(texts) == course.stage.emulator.answer(course.prompt), "the text is not exact")


async def consumer_cancel(course: Course) -> None:
    """`cancel()` from another thread while the consumer waits for the next bytes."""
    stream = await _opened(course)
    begun = time.monotonic()
    cancelled = threading.Timer(0.1, stream.cancel)
    cancelled.start()
    try:
        async for _ in stream:
            pass
    except cnroute.CallCancelledError as error:
        course.seen.error = error
    waited = time.monotonic() - begun - 0.1
    cancelled.join()
    course.expect(course.seen.error is not None, "the consumer was not told")
    course.expect(waited < 0.3 + 0.2, f"woken after {waited:.2f} s")
    if course.seen.error is not None:
        attempts = course.seen.error.attempts
        course.expect([each.billing for each in attempts] == ["billed"], "not settled as billed")
    await _ended(course, begun + 0.1)


async def _ended(course: Course, begun: float) -> None:
    """The vendor sees the end soon."""
    if course.case.world == "async":
        await asyncio.sleep(0.02)
    seen = settled(lambda: all(each.ended is not None for each in course.asked_first), 1.0)
    course.seen.seconds = time.monotonic() - begun
    course.expect(seen, "the vendor has not seen the end")


PLAYS: dict[str, Play] = {
    play.__name__: play
    for play in (
        held_connection, no_descriptors, twice, dropped, dropped_no_resend, dropped_late, idle_too_long, consumer_close,
        consumer_drop, consumer_never, consumer_leave, consumer_raise, consumer_other_thread, consumer_cancel,
    )
}  # fmt: skip
