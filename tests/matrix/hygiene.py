"""What a whole run may leave behind: no thread, no socket, no warning, no secret in a log. For the whole process."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Self

from tests.matrix.running import CANARIES, GROUP
from tests.matrix.stages import NAMES


class Hygiene:
    """A block in which all cases run; afterwards `problems` names what is left."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._warnings: list[str] = []
        self._log = Watching()

    def __enter__(self) -> Self:
        NAMES.install()
        gc.collect()
        self._threads, self._sockets = set(threading.enumerate()), sockets()
        self._catching = warnings.catch_warnings()
        self._catching.__enter__()
        warnings.simplefilter("error")
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._note
        self._excepthook, threading.excepthook = threading.excepthook, self._note
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self._log)
        root.setLevel(logging.DEBUG)
        return self

    def _note(self, unraisable: Any) -> None:
        self._warnings.append(f"{type(unraisable.exc_value).__name__}: {unraisable.exc_value}"[:300])

    def __exit__(self, *exception: object) -> None:
        gc.collect()
        _wait(lambda: set(threading.enumerate()) <= self._threads)
        gc.collect()
        threads = set(threading.enumerate()) - self._threads
        self.problems += [f"thread {thread.name}" for thread in threads]
        self.problems += [f"{len(left)} sockets" for left in (sockets() - self._sockets,) if left]
        self.problems += self._warnings + self._log.hits
        root = logging.getLogger()
        root.removeHandler(self._log)
        root.setLevel(self._level)
        sys.unraisablehook, threading.excepthook = self._unraisable, self._excepthook
        self._catching.__exit__(None, None, None)
        NAMES.remove()
        if self._log.records == 0:
            self.problems.append("nothing was logged: the look for secrets proves nothing")


class Watching(logging.Handler):
    """Reads every record of every logger, and keeps the secrets that it finds."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.hits: list[str] = []
        self.records = 0
        self._formatter = logging.Formatter("%(name)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        text = self._formatter.format(record) + repr(record.__dict__)
        if any(canary in text for canary in (*CANARIES, GROUP)):
            self.hits.append(f"a secret in the log of {record.name}")
        if any(char < " " and char != "\n" for char in record.getMessage()):
            self.hits.append(f"control characters in the log of {record.name}")


def sockets() -> set[str]:
    """Our sockets by number and inode."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _wait(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
