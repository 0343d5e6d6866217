"""What is seen of a run beside its answers: log lines, notices, warnings, sockets, threads, memory."""

from __future__ import annotations

import bisect
import collections
import contextlib
import ctypes
import gc
import json
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import attrs

import cnroute
from chaosbench.canaries import found_in
from cnroute.failures import Attempt
from cnroute.notices import AttemptSkipped, CallFinished, Notice, StoreChanged

MARKER = re.compile(r"marker:([\w\-]+)")


class Ear(logging.Handler):
    """Hears every logger at DEBUG; counts events by name and call, and notes lines with a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: collections.Counter[tuple[str, str]] = collections.Counter()
        self.hits: list[str] = []
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count and search one record, with all its fields."""
        self.lines += 1
        self.events[str(record.msg), str(getattr(record, "call_id", ""))] += 1
        if found := found_in(f"{record.getMessage()} {vars(record)}"):
            self.hits.append(f"{record.name} {record.msg}: {', '.join(found)}")

    @contextlib.contextmanager
    def listening(self) -> Iterator[Self]:
        """Hear what is logged inside the block."""
        root = logging.getLogger()
        level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        try:
            yield self
        finally:
            root.removeHandler(self)
            root.setLevel(level)


@contextlib.contextmanager
def complaints() -> Iterator[list[str]]:
    """Warnings of lost resources and exceptions that nobody could raise."""
    heard: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ResourceWarning)
        show, hook, thread_hook = warnings.showwarning, sys.unraisablehook, threading.excepthook
        warnings.showwarning = lambda message, *_rest, **_more: heard.append(f"warning: {message}")  # type: ignore[assignment]
        sys.unraisablehook = lambda problem: heard.append(f"unraisable: {problem.exc_value!r} in {problem.object!r}")
        threading.excepthook = lambda problem: heard.append(f"thread {problem.thread}: {problem.exc_value!r}")
        try:
            yield heard
        finally:
            warnings.showwarning, sys.unraisablehook, threading.excepthook = show, hook, thread_hook


@attrs.frozen
class Usage:
    """What this process holds. `fds` and `rss` (MiB) are None where the system does not tell."""

    threads: int
    fds: int | None
    rss: float | None

    @classmethod
    def now(cls) -> Usage:
        """At this moment, after a collection."""
        gc.collect()
        fds = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
        statm = Path("/proc/self/statm")
        rss = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else None
        return cls(threading.active_count(), fds, rss)


@attrs.frozen
class Rest:
    """What a process keeps after a run whose evidence was let go, in MiB; None where the system does not tell.

    Python's blocks and what is taken of malloc tell a leak exactly: one object kept for each call is thousands. Resident
    memory also holds what allocators keep between blocks: it is printed, and judges only where malloc tells nothing.
    """

    blocks: int
    taken: float | None
    rss: float | None

    @classmethod
    def now(cls) -> Rest:
        """At this moment, with freed pages given back to the system where glibc can."""
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        return cls(sys.getallocatedblocks(), _taken_of_malloc(), Usage.now().rss)

    def since(self, first: Rest) -> tuple[float, float]:
        """Growth: of blocks in percent, of memory in MiB."""
        now, then = (self.rss, first.rss) if self.taken is None else (self.taken, first.taken)
        return 100 * (self.blocks / first.blocks - 1), (now or 0) - (then or 0)


class _MallInfo(ctypes.Structure):
    """What glibc (2.33 and newer) says of all its arenas, in bytes."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]  # fmt: skip


def _taken_of_malloc() -> float | None:
    """MiB that malloc has handed out and not got back."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return None
    ask.restype = _MallInfo
    told = ask()
    return float(told.uordblks + told.hblkhd) / 2**20


class Lag:
    """When this process did not get its turn: a thread sleeps for TICK seconds and notes how much later it wakes.

    Slack for a busy machine is what was really lost between a limit and the end of a call, and nothing else; so a quiet
    machine excuses nothing.
    """

    TICK = 0.005

    def __init__(self) -> None:
        self._gaps: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def measured(self) -> Iterator[Self]:
        """Measure inside the block."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,), name="lag")
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def _watch(self, done: threading.Event) -> None:
        before = time.monotonic()
        while not done.wait(self.TICK):
            now = time.monotonic()
            self._gaps.append((before + self.TICK, now))
            before = now

    def lost(self, begin: float, end: float) -> float:
        """Seconds lost between two instants of the monotonic clock."""
        first = max(0, bisect.bisect_left(self._gaps, (begin, begin)) - 1)
        last = bisect.bisect_right(self._gaps, (end, end))
        return sum(max(0.0, min(until, end) - max(since, begin)) for since, until in self._gaps[first:last])

    def share(self, phase: tuple[float, float]) -> float:
        """The part of a phase that was lost."""
        return self.lost(*phase) / max(0.001, phase[1] - phase[0])

    def most(self) -> float:
        """The longest wait for a turn."""
        return max((until - since for since, until in self._gaps), default=0.0)


def settle(condition: Any, seconds: float) -> bool:
    """Wait for a condition."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@attrs.frozen
class Finished:
    """What a final notice says of money and attempts."""

    attempts: tuple[Attempt, ...]
    bill: cnroute.Bill | None


class Seen:
    """What observers and the vendors know of each call; a plugin of the router."""

    def __init__(self) -> None:
        self.finished: dict[str, list[Finished]] = collections.defaultdict(list)
        self.skipped: dict[str, set[str]] = collections.defaultdict(set)
        self.requests: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        self.store: list[str] = []
        """What became of a shared store: `degraded`, `restored`, in turn."""

    @cnroute.hookimpl
    def observe(self, notice: Notice) -> None:
        """Keep what the checks need."""
        if isinstance(notice, CallFinished):
            self.finished[notice.call_id].append(Finished(notice.attempts, notice.bill))
        elif isinstance(notice, AttemptSkipped):
            self.skipped[notice.call_id].add(notice.deployment)
        elif isinstance(notice, StoreChanged):
            self.store.append(notice.state)

    def take(self, requests: Iterable[dict[str, Any]]) -> None:
        """The vendors' log, by the marker in each prompt."""
        for request in requests:
            found = MARKER.search(json.dumps(request.pop("body"), ensure_ascii=False))
            self.requests[found[1] if found else ""].append(request)
