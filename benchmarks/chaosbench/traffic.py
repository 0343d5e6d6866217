"""The calls of a run, made from its seed, and the ways in which their consumers behave."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

import attrs

import cnroute
from chaosbench.canaries import CANARY, found_in
from cnroute.emulator import answers

QUESTIONS = ("请解释一下它的意思", "用三句话说说它", "为什么天是蓝的", "写一首关于海的短诗", "你好")
MAX_TOKENS = 400
STREAMS = 0.3
# Seconds between two calls of a thread, on average: two cores would be saturated without, and time nothing but that.
THINKING = 0.1
# Of all calls; every one of these consumers reads a stream.
MANNERS: Mapping[str, Mapping[str, float]] = {
    "usual": {"leave": 0.03, "cancel": 0.02, "raise": 0.01},
    "meddling": {"leave": 0.05, "cancel": 0.15, "close": 0.10, "raise": 0.05},
}


class ConsumerError(Exception):
    """What a consumer raises in the middle of a stream."""


@attrs.frozen
class Task:
    """One call: who it is, what it asks, what it must get, and how its consumer behaves.

    `manner`: `read` to the end, `leave` or `raise` after so many deltas, be `cancel`led or `close`d after so many seconds
    by another thread. `pause`: seconds for which its thread thinks before the call.
    """

    name: str
    prompt: str
    answer: str
    stream: bool = False
    manner: str = "read"
    after: int = 0
    delay: float = 0.0
    pause: float = 0.0


@attrs.define(eq=False)
class Result:
    """What became of a task. `outcome`: `ok`, a failure kind, `left`, `raised`, or `untyped`.

    `meddled`: when another thread cancelled or closed it, and `meddling` how long that took; `shown`: secrets in the error.
    """

    task: Task
    outcome: str = "ok"
    pieces: list[str] = attrs.field(factory=list)
    text: str = ""
    reply: cnroute.ChatCompletion | None = None
    error: BaseException | None = None
    begun: float = 0.0
    seconds: float = 0.0
    meddled: float | None = None
    meddling: float = 0.0
    shown: list[str] = attrs.field(factory=list)

    @property
    def deliberate(self) -> bool:
        """Whether somebody ended the call on purpose."""
        return self.outcome in ("left", "raised", "cancelled", "closed")


def make_tasks(prefix: str, count: int, seed: int, manners: Mapping[str, float], streams: float = STREAMS) -> list[Task]:
    """The calls of a run; the same for the same seed."""
    chance = random.Random(f"{prefix}:{seed}")
    return [_make_task(f"{prefix}{seed}-{number:05}", chance, seed, manners, streams) for number in range(count)]


def _make_task(name: str, chance: random.Random, seed: int, manners: Mapping[str, float], streams: float) -> Task:
    prompt = f"marker:{name} {CANARY} {chance.choice(QUESTIONS)}"
    stream = chance.random() < streams
    manner = "read"
    if stream:
        manner = chance.choices(["read", *manners], [streams - sum(manners.values()), *manners.values()])[0]
    after, delay, pause = chance.randint(1, 4), chance.random() * 0.06, chance.random() * 2 * THINKING
    return Task(name, prompt, answers.answer(prompt, seed), stream, manner, after, delay, pause)


def perform(router: Any, task: Task, meddlers: list[threading.Timer]) -> Result:
    """Make the call in this thread."""
    result = Result(task, begun=time.monotonic())
    try:
        (_stream if task.stream else _plain)(router, task, result, meddlers)
    except ConsumerError as error:
        result.outcome = "raised" if error.args == (task.name,) else "untyped"
    except CancelledError:  # a task of the asynchronous router
        result.outcome = "cancelled"
    except cnroute.CallError as error:
        result.outcome, result.error = error.kind.value, error
        result.shown = found_in(f"{error} {error!r} {error.args} {error.attempts} {error.plan} {getattr(error, '__notes__', '')}")
    except BaseException as error:  # noqa: BLE001 (nothing but the above may come out of a call)
        result.outcome, result.error = "untyped", error
    result.seconds = time.monotonic() - result.begun
    return _lean(result)


def _lean(result: Result) -> Result:
    """Without plan and traceback, which hold the whole call: the bench must not be what memory grows by."""
    if result.reply is not None:
        result.reply = result.reply.with_record(plan=None)
    if result.error is not None:
        result.error.__traceback__ = None
    if isinstance(result.error, cnroute.CallError):
        result.error.plan = None
    return result


def _arguments(task: Task) -> dict[str, Any]:
    return {"model": "chat", "max_tokens": MAX_TOKENS, "metadata": {"call_id": task.name}}


def _plain(router: Any, task: Task, result: Result, meddlers: list[threading.Timer]) -> None:
    result.reply = router.chat(task.prompt, **_arguments(task))
    result.text = result.reply.text


def _stream(router: Any, task: Task, result: Result, meddlers: list[threading.Timer]) -> None:
    with router.stream(task.prompt, **_arguments(task)) as stream:
        if task.manner in ("cancel", "close"):
            _meddle(getattr(stream, task.manner), task.delay, result, meddlers)
        for delta in stream:
            result.pieces.append(delta.text)
            if task.manner in ("leave", "raise") and len(result.pieces) == task.after:
                if task.manner == "raise":
                    raise ConsumerError(task.name)
                result.outcome = "left"
                return
    completion = stream.completion
    if task.manner == "close" and completion.finish_reason is None:
        result.outcome = "left"
        return
    result.reply, result.text = completion, completion.text


def _meddle(action: Callable[[], object], delay: float, result: Result, meddlers: list[threading.Timer]) -> None:
    """Do `action` in another thread after `delay` seconds."""

    def act() -> None:
        result.meddled = time.monotonic()
        action()
        result.meddling = time.monotonic() - result.meddled

    timer = threading.Timer(delay, act)
    meddlers.append(timer)
    timer.start()


class Crew:
    """Threads that work a list of tasks off."""

    def __init__(self, router: Any, tasks: list[Task], threads: int, seconds: float) -> None:
        self.begun = 0
        self.results: list[Result] = []
        self._router = router
        self._tasks = iter(tasks)
        self._lock = threading.Lock()
        self._until = time.monotonic() + seconds
        self._meddlers: list[threading.Timer] = []
        self._threads = [threading.Thread(target=self._work, name=f"crew-{number}") for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        for task in self._mine():
            time.sleep(task.pause)
            self.results.append(perform(self._router, task, self._meddlers))

    def _mine(self) -> Iterator[Task]:
        while time.monotonic() < self._until:
            with self._lock:
                task = next(self._tasks, None)
                self.begun += task is not None
            if task is None:
                return
            yield task

    def working(self) -> bool:
        """Whether any call is still to be made or running."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> list[Result]:
        """Wait for the end."""
        for thread in [*self._threads, *self._meddlers]:
            thread.join()
        return self.results
