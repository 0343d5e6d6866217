"""Blocking work for an event loop: a few daemon threads of the router's own, never the loop's default ones.

Rules of this file
- Threads are made when they are needed, at most `most()`, and end with `close` or with the process.
- A job that finds no thread in the time that it has is given up and never runs.
- Context variables of the awaiting task are copied into the thread.
- A result that nobody awaits any more is handed to `discard`, so that what it holds can be given back.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind

T = TypeVar("T")
_Job = Callable[[], None]


class NoThread(Exception):
    """All threads were busy for all of the time that a job could wait; nothing of it has run."""


class Threads:
    """Runs blocking functions for coroutines; `most` says how many threads there may be now."""

    def __init__(self, most: Callable[[], int], name: str = "cnroute") -> None:
        self._most = most
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._made = 0
        self._idle = 0
        self._closed = False

    async def run(
        self, function: Callable[..., T], *args: Any, discard: Callable[[T], object] | None = None, within: float | None = None
    ) -> T:
        """`function(*args)` in a thread. When the task is cancelled its result goes to `discard`.

        Raises NoThread where none was free `within` so many seconds (None: it waits for one).
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        unbegun = [True]  # who takes it out decides: a thread that it runs, the task that it does not

        def job() -> None:
            if not _taken(unbegun):
                return
            result, error = None, None
            try:
                result = context.run(function, *args)
            except BaseException as raised:  # noqa: BLE001 (it is handed to the awaiting task)
                error = raised
            try:
                loop.call_soon_threadsafe(_deliver, future, result, error, discard)
            except RuntimeError:  # the loop is closed: nobody awaits
                _discard(result, error, discard)

        waits = self._put(job)
        try:
            if waits and within is not None:
                await asyncio.wait([future], timeout=max(0.0, within))
                if not future.done() and _taken(unbegun):
                    raise NoThread
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # the task was cancelled when the result was already there
                error = future.exception()
                _discard(None if error is not None else future.result(), error, discard)
            future.cancel()
            raise

    def close(self) -> None:
        """Let the threads end as soon as they are idle."""
        with self._lock:
            self._closed = True
            made = self._made
        for _ in range(made):
            self._jobs.put(None)

    def _put(self, job: _Job) -> bool:
        """Have `job` run; whether it has to wait for a thread."""
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            late = self._closed
            start = not late and self._idle <= 0 and self._made < self._most()
            waits = not start and self._idle <= 0
            if start:
                self._made += 1
            else:
                self._idle -= 1
        if late:  # the threads may have gone, and somebody awaits this
            threading.Thread(target=job, name=f"{self._name}-late", daemon=True).start()
            return False
        if start:
            self._start()
        self._jobs.put(job)
        return waits

    def _start(self) -> None:
        """One thread more; without any the job could wait for ever, so it is refused before it is queued."""
        try:
            threading.Thread(target=_work, args=(self, self._jobs), name=f"{self._name}-{self._made}", daemon=True).start()
            return
        except RuntimeError:  # the system gives no more
            with self._lock:
                self._made -= 1
                alone = self._made == 0
                self._idle -= not alone  # the job goes to one of the others
        if alone:
            raise error_for(Failure(FailureKind.LOCAL_OVERLOAD, "the system gives no thread", billing="none"))

    def idle(self) -> None:
        """Note that a thread is idle."""
        with self._lock:
            self._idle += 1


def _work(threads: Threads, jobs: queue.SimpleQueue[_Job | None]) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        job()
        del job
        threads.idle()


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None, discard: Any) -> None:
    if future.done():
        _discard(result, error, discard)
    elif error is not None:
        future.set_exception(_told(error))
    else:
        future.set_result(result)


def _told(error: BaseException) -> BaseException:
    """The same where a future may hold it: a `StopIteration` would never arrive, and whoever awaits it would wait for ever."""
    if not isinstance(error, StopIteration):
        return error
    told = RuntimeError("it raised StopIteration")
    return told.with_traceback(error.__traceback__)


def _taken(unbegun: list[bool]) -> bool:
    """Whether it was there; at once, whatever other threads do."""
    try:
        return unbegun.pop()
    except IndexError:
        return False


def _discard(result: Any, error: BaseException | None, discard: Any) -> None:
    if error is None and result is not None and discard is not None:
        discard(result)
