"""Bars on standard error while files go up and bases load: on a terminal only; a pipe and `--json` see nothing of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from cnroute.cli.output import coloured, harmless

Progress = Callable[[int, int], object]


class Bars:
    """Nothing to see."""

    def file(self, name: str) -> Progress | None:
        """The progress function of one file."""
        return None

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Something goes on whose end nobody knows."""
        yield


@contextlib.contextmanager
def bars(no_color: bool, as_json: bool) -> Iterator[Bars]:
    """The bars for one command, gone when it ends."""
    if as_json or not sys.stderr.isatty():
        yield Bars()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, no_color=not coloured(sys.stderr, no_color), markup=False, emoji=False, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:

        class Shown(Bars):
            def file(self, name: str) -> Callable[[int, int], object]:
                task = shown.add_task(harmless(name), total=None)
                return lambda sent, size: shown.update(task, completed=sent, total=size)

            @contextlib.contextmanager
            def waiting(self, what: str) -> Iterator[None]:
                task = shown.add_task(harmless(what), total=None)
                try:
                    yield
                finally:
                    shown.remove_task(task)

        yield Shown()
