"""What a call must do when it is ended from outside, wherever it is; and what is asked of breakers and deadlines on real sockets.

Every place in which a call may wait is a row: whoever ends it, it ends at once, and gives back place, connection and the
money that was reserved, except where the vendor may have begun to work.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing.transports.rawserver import RawServer, black_hole, hang
from tests.contract.kit import QUESTION, assert_at_rest, deployment, in_flight, in_thread, plain_host, until

SOON = 0.3 + 0.5  # what the issue allows, and what a busy machine takes
PATIENT = cnroute.Timeouts(total=30, connect=20, first_byte=20, first_token=20, idle=20, pool=20)
PRICE = cnroute.Price("CNY", input="1", output="1", per="1")


@attrs.define
class Scene:
    """One deployment, `v2`, at which a call waits as its row says."""

    emulator: Emulator
    fields: dict[str, Any] = attrs.field(factory=dict)
    reached: Callable[[], bool] = lambda: True
    """Whether the call waits there now (nearly: a moment more is given)."""
    holds: bool = False
    """Whether another call must have the one place first."""
    handed: int = 0
    """How many characters the consumer has by then."""


def _queue(scene: Scene, stack: contextlib.ExitStack) -> None:
    scene.emulator.script("MiniMax-Text-01", ["hang"])
    scene.fields = {"limits": cnroute.Limits(max_in_flight=1)}
    scene.holds = True


def _dns(scene: Scene, stack: contextlib.ExitStack) -> None:
    asked, go_on, real = threading.Event(), threading.Event(), socket.getaddrinfo

    def blocked(host: Any, *args: Any, **more: Any) -> Any:
        if host != "slow.example":
            return real(host, *args, **more)
        asked.set()
        go_on.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(socket, "getaddrinfo", blocked)
    stack.callback(go_on.set)
    scene.fields, scene.reached = {"base_url": "http://slow.example", "allow_http": True}, asked.is_set


def _connect(scene: Scene, stack: contextlib.ExitStack) -> None:
    scene.fields = {"base_url": f"http://127.0.0.1:{stack.enter_context(black_hole())}"}


def _tls(scene: Scene, stack: contextlib.ExitStack) -> None:
    server = RawServer([hang], [hang], [hang])
    stack.callback(server.close)
    scene.fields, scene.reached = {"base_url": f"https://127.0.0.1:{server.port}"}, lambda: server.connections > 0


def _fault(name: str, handed: int = 0) -> Callable[[Scene, contextlib.ExitStack], None]:
    def make(scene: Scene, stack: contextlib.ExitStack) -> None:
        scene.emulator.script("MiniMax-Text-01", [name])
        scene.reached, scene.handed = lambda: len(scene.emulator.requests) == 1, handed

    return make


# Where a call waits, and what its attempt then costs: nothing, perhaps something, or something for certain.
WHERE: dict[str, tuple[Callable[[Scene, contextlib.ExitStack], None], str | None]] = {
    "queue": (_queue, None),
    "dns": (_dns, "none"),
    "connect": (_connect, "none"),
    "tls": (_tls, "none"),
    "before-the-head": (_fault("hang"), "unknown"),
    "before-the-body": (_fault("headers_hang"), "unknown"),
    "in-the-body": (_fault("half_body_hang"), "unknown"),
    "after-two-events": (_fault("stream_hang:2", 2), "billed"),
}
STREAMED = ("before-the-body", "after-two-events")
WAYS = ("thread", "router", "task", "async-thread", "async-router")
CASES = [
    (where, way, stream) for where in WHERE for way in WAYS for stream in (False, True)
    if not (where in STREAMED and not stream) and not (where == "in-the-body" and stream)
    and not (way in ("thread", "async-thread") and not stream)
]  # fmt: skip


@contextlib.contextmanager
def staged(where: str) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        scene = Scene(stack.enter_context(Emulator()))
        WHERE[where][0](scene, stack)
        yield scene


def settings(scene: Scene) -> dict[str, Any]:
    one = deployment("v2", scene.emulator, timeouts=PATIENT, price=PRICE, **scene.fields)
    return {"deployments": [one], "budgets": [cnroute.Budget("1e9")], "breaker": None, **plain_host()}


def reserved(router: Any) -> tuple[Decimal, Decimal]:
    """What the one budget holds: spent, and reserved."""
    (entry,) = router.health()["v2"]["budgets"]
    return Decimal(entry["spent"]), Decimal(entry["reserved"])


def judge(router: Any, scene: Scene, where: str, error: BaseException, seconds: float, *, others: int = 0) -> None:
    """Soon, as cancelled; places free, and money only where something may have been charged."""
    assert seconds < SOON
    billing = WHERE[where][1]
    if isinstance(error, cnroute.CallError):
        assert error.kind == "cancelled"
        assert [attempt.billing for attempt in error.attempts] == ([] if billing is None else [billing])
    else:
        assert isinstance(error, asyncio.CancelledError)
    if others:
        return
    until(lambda: in_flight(router) == 0)
    assert_at_rest(router)
    until(lambda: (sum(reserved(router)) > 0) == (billing not in (None, "none") or scene.holds))
    until(lambda: scene.emulator.open_connections == 0)


def waits(router: Any, scene: Scene, text: list[str]) -> bool:
    """Whether the call has come to where it waits."""
    return in_flight(router) > 0 and scene.reached() and len("".join(text)) >= scene.handed


def _sync(scene: Scene, where: str, way: str, stream: bool) -> None:
    router = cnroute.Router(**settings(scene))
    text: list[str] = []
    caught: list[BaseException] = []
    ended: list[float] = []
    opened = router.stream(QUESTION, model="v2") if stream else None

    def call() -> None:
        try:
            if opened is None:
                router.chat(QUESTION, model="v2")
            else:
                for piece in opened.texts():
                    text.append(piece)
        except cnroute.CallError as error:
            caught.append(error)
        ended.append(time.monotonic())

    with router:
        holder = _held(router, scene) if scene.holds else None
        thread = in_thread(call)
        until(lambda: waits(router, scene, text))
        time.sleep(0.03)
        begun = time.monotonic()
        if way == "router" or opened is None:
            router.close()
        else:
            opened.cancel()
        thread.join(5)
        others = holder is not None and way == "thread"
        judge(router, scene, where, caught[0], ended[0] - begun, others=others)
        if others:
            assert in_flight(router) == 1
        router.close()
        if holder is not None:
            holder.join(5)
    assert len(caught) == 1
    until(lambda: scene.emulator.open_connections == 0)


def _held(router: cnroute.Router, scene: Scene) -> threading.Thread:
    """Another call that has the only place."""

    def hold() -> None:
        with contextlib.suppress(cnroute.CallError):
            router.chat(QUESTION, model="v2")

    thread = in_thread(hold)
    until(lambda: len(scene.emulator.requests) == 1)
    return thread


async def _async(scene: Scene, where: str, way: str, stream: bool) -> None:
    router = cnroute.AsyncRouter(**settings(scene))
    text: list[str] = []
    opened = router.stream(QUESTION, model="v2") if stream else None

    async def call() -> None:
        if opened is None:
            await router.chat(QUESTION, model="v2")
        else:
            async for piece in opened.texts():
                text.append(piece)

    holder = None
    if scene.holds:
        holder = asyncio.create_task(router.chat(QUESTION, model="v2"))
        await _until(lambda: len(scene.emulator.requests) == 1)
    task = asyncio.create_task(call())
    await _until(lambda: waits(router, scene, text))
    await asyncio.sleep(0.03)
    begun = time.monotonic()
    if way == "task":
        task.cancel()
    elif way == "async-thread" and opened is not None:
        await asyncio.to_thread(opened.cancel)
    else:
        await router.close()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    seconds, others = time.monotonic() - begun, holder is not None and way != "async-router"
    assert isinstance(error, BaseException)
    await asyncio.to_thread(judge, router, scene, where, error, seconds, others=others)
    await router.close()
    if holder is not None:
        await asyncio.gather(holder, return_exceptions=True)
    await asyncio.to_thread(until, lambda: scene.emulator.open_connections == 0)


async def _until(condition: Callable[[], bool]) -> None:
    await asyncio.wait_for(_wait(condition), 5)


async def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.003)


@pytest.mark.parametrize(("where", "way", "stream"), CASES, ids=[f"{a}-{b}-{'stream' if c else 'plain'}" for a, b, c in CASES])
def test_a_call_that_is_ended_from_outside(where: str, way: str, stream: bool) -> None:
    """By another thread, by its task, or with the router: within 0.3 s, as cancelled, with everything given back."""
    with staged(where) as scene:
        if way in ("thread", "router"):
            _sync(scene, where, way, stream)
        else:
            asyncio.run(_async(scene, where, way, stream))


@pytest.mark.parametrize("way", ["close", "cancel"])
def test_a_stream_that_nobody_reads_is_ended(way: str) -> None:
    """Between two reads: the vendor sees the end at once; the next step says cancelled, or stops after `close()`."""
    with staged("after-two-events") as scene, cnroute.Router(**settings(scene)) as router:
        stream = router.stream(QUESTION, model="v2")
        next(stream)
        begun = time.monotonic()
        in_thread(getattr(stream, way)).join(5)
        assert time.monotonic() - begun < SOON
        until(lambda: scene.emulator.open_connections == 0)
        assert_at_rest(router)
        assert sum(reserved(router)) > 0
        if way == "close":
            assert list(stream) == []
        else:
            with pytest.raises(cnroute.CallCancelledError):
                list(stream)


# -- one probe


@pytest.mark.parametrize("world", ["sync", "async"])
def test_of_64_calls_at_the_half_open_instant_one_reaches_the_vendor(world: str) -> None:
    """The others are refused at once, without a request; the probe's success closes the breaker for all."""
    with Emulator() as emulator:
        breaker = cnroute.Breaker(failures=1, open_for=0.3, jitter=0)
        more = {"deployments": [deployment("v2", emulator, timeouts=PATIENT)], "breaker": breaker, **plain_host()}
        emulator.script("MiniMax-Text-01", ["http_500", "slow:0.7"])
        outcomes = _sixty_four(more) if world == "sync" else asyncio.run(_sixty_four_tasks(more))
        kinds = [each if isinstance(each, str) else each.kind.value for each in outcomes]
        assert sorted(set(kinds)) == ["no_candidate", emulator.answer(QUESTION)]
        assert kinds.count("no_candidate") == 63
        assert len(emulator.requests) == 2, "the failure and one probe"


def _sixty_four(more: dict[str, Any]) -> list[Any]:
    outcomes: list[Any] = []
    barrier = threading.Barrier(64)
    with cnroute.Router(**more) as router:
        with pytest.raises(cnroute.ServerError):
            router.chat(QUESTION, model="v2")
        until(lambda: router.health()["v2"]["ready_in_seconds"] == 0)

        def call() -> None:
            barrier.wait(10)
            try:
                outcomes.append(router.chat(QUESTION, model="v2").text)
            except cnroute.CallError as error:
                outcomes.append(error)

        threads = [in_thread(call) for _ in range(64)]
        for thread in threads:
            thread.join(10)
        assert router.health()["v2"]["breaker"] == "closed"
    return outcomes


async def _sixty_four_tasks(more: dict[str, Any]) -> list[Any]:
    async with cnroute.AsyncRouter(**more) as router:
        with pytest.raises(cnroute.ServerError):
            await router.chat(QUESTION, model="v2")
        await _until(lambda: router.health()["v2"]["ready_in_seconds"] == 0)
        calls = [router.chat(QUESTION, model="v2") for _ in range(64)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert router.health()["v2"]["breaker"] == "closed"
    return [each.text if isinstance(each, cnroute.ChatCompletion) else each for each in found]


# -- no threads


@pytest.mark.parametrize("threads", [0, 1])
def test_a_system_without_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """With none at all the call is refused as local overload; with one the calls take turns. Later all is as it was."""
    usual, left = threading.Thread.start, [threads]

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("cnroute-"):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
        usual(thread)

    async def scenario(emulator: Emulator) -> None:
        async with cnroute.AsyncRouter([deployment("v2", emulator)], breaker=None, **plain_host()) as router:
            monkeypatch.setattr(threading.Thread, "start", start)
            calls = [router.chat(QUESTION, model="v2") for _ in range(3)]
            found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
            monkeypatch.setattr(threading.Thread, "start", usual)
            if threads:
                assert [each.text for each in found] == [emulator.answer(QUESTION)] * 3
            else:
                assert [type(each) for each in found] == [cnroute.LocalOverloadError] * 3
            again = await asyncio.gather(*[router.chat(QUESTION, model="v2") for _ in range(3)])
            assert [each.text for each in again] == [emulator.answer(QUESTION)] * 3
            assert_at_rest(router)

    with Emulator() as emulator:
        asyncio.run(scenario(emulator))


# -- two vendors, two seconds


@pytest.mark.parametrize(
    ("stream", "second"),
    [(False, "ok"), (True, "hang"), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((True, "ok"), (False, "hang")))],
)
def test_two_seconds_for_two_vendors_of_which_the_first_hangs(stream: bool, second: str) -> None:
    """The second's answer, before the deadline; or the deadline, 2.0 to 2.25 s, with both tried. No limit is set but that."""
    with Emulator() as emulator:
        emulator.script("yi-large", ["hang"])
        emulator.script("MiniMax-Text-01", [second])
        places = [deployment("yi", emulator), deployment("v2", emulator)]
        with cnroute.Router(places, {"both": ["yi", "v2"]}, **plain_host()) as router:
            begun, text, error = time.monotonic(), "", None
            try:
                if stream:
                    text = "".join(router.stream(QUESTION, model="both", timeout=2).texts())
                else:
                    text = router.chat(QUESTION, model="both", timeout=2).text
            except cnroute.CallError as caught:
                error = caught
            seconds = time.monotonic() - begun
            assert_at_rest(router, emulator)
        assert [entry.provider for entry in emulator.requests] == ["dashscope", "minimax-v2"]
        if second == "ok":
            assert text == emulator.answer(QUESTION) and seconds < 2.0
        else:
            assert isinstance(error, cnroute.DeadlineExceededError)
            assert 2.0 - 0.01 <= seconds <= 2.25 + 0.5
