"""What a plugin touches of the world while it runs: files, sockets, sleeping, processes, the environment, output, logs.

Rules of this file
- The interpreter's own audit events tell most of it, so that no function has to be replaced and none is missed.
- Only the thread that watches is watched. Imports are no touch: a module may be loaded late.
- An audit hook cannot be taken out again; ours looks at one thread-local variable and goes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import attrs

_LOCAL = threading.local()
_INSTALLED: list[bool] = []
_EVENTS = frozenset((
    "open", "os.system", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.putenv", "os.unsetenv", "os.remove",
    "os.rename", "os.mkdir", "os.listdir", "os.scandir", "os.kill", "subprocess.Popen", "builtins.input", "sqlite3.connect",
    "_thread.start_new_thread", "_thread.start_joinable_thread", "signal.pthread_kill", "webbrowser.open", "http.client.connect",
    "urllib.Request", "ftplib.connect", "smtplib.connect",
))  # fmt: skip
_PREFIXES = ("socket.", "shutil.", "tempfile.", "winreg.")


@attrs.define
class Touches:
    """What was touched: `world` by audit events, names of variables that were read, output, log records."""

    world: list[str] = attrs.field(factory=list)
    variables: list[str] = attrs.field(factory=list)
    output: str = ""
    logged: list[str] = attrs.field(factory=list)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    seen: list[str] | None = getattr(_LOCAL, "seen", None)
    if seen is None or not (event in _EVENTS or event.startswith(_PREFIXES)):
        return
    first = str(args[0]) if args else ""
    if not (event in ("open", "os.listdir", "os.scandir") and _importing()):
        seen.append(f"{event}({first[:80]!r})")


def _importing() -> bool:
    """Whether the import system is at work further up."""
    frame: Any = sys._getframe(2)  # noqa: SLF001 (there is no other way to look up)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class _Noting(dict[Any, Any]):
    """The mapping behind `os.environ`, which notes who is asked for."""

    def __init__(self, values: dict[Any, Any], asked: list[str]) -> None:
        super().__init__(values)
        self._asked = asked
        self._thread = threading.get_ident()

    def _note(self, key: object) -> None:
        if threading.get_ident() == self._thread:
            self._asked.append(os.fsdecode(key) if isinstance(key, bytes) else str(key))

    def __getitem__(self, key: Any) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[Any]:
        self._note("all of them")
        return super().__iter__()


@contextlib.contextmanager
def _environment(asked: list[str]) -> Iterator[None]:
    environ: Any = os.environ
    real = environ._data  # noqa: SLF001 (nothing public sees who reads)
    noting = _Noting(real, asked)
    environ._data = noting  # noqa: SLF001
    try:
        yield
    finally:
        real.clear()
        real.update(dict.items(noting))
        environ._data = real  # noqa: SLF001


class _Listening(logging.Handler):
    def __init__(self, told: list[str]) -> None:
        super().__init__(0)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is logged, arguments and all."""
        self._told.append(f"{record.name}: {record.getMessage()} {record.__dict__}")


@contextlib.contextmanager
def _logs(told: list[str]) -> Iterator[None]:
    root, handler = logging.getLogger(), _Listening(told)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextlib.contextmanager
def _sleeping(seen: list[str]) -> Iterator[None]:
    """Note whoever calls `time.sleep`, by whatever name: the audit event for it is younger than Python 3.11."""

    def note(frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and function is time.sleep:
            seen.append(f"time.sleep, called by {PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextlib.contextmanager
def watch() -> Iterator[Touches]:
    """Note what this thread touches inside the `with` block."""
    if not _INSTALLED:
        sys.addaudithook(_audit)
        _INSTALLED.append(True)
    touches, output = Touches(), io.StringIO()
    with (
        _logs(touches.logged),
        _environment(touches.variables),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        _LOCAL.seen = touches.world
        try:
            with _sleeping(touches.world):
                yield touches
        finally:
            _LOCAL.seen = None
            touches.output = output.getvalue()
