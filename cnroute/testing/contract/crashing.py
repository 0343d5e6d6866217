"""What a hook crashed with, in words for its author: the exception's text and the plugin's own line.

The router shows neither, since both may hold a prompt or a key; in the kit there is no secret but its own canary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import PurePath
from types import TracebackType
from typing import Any

from cnroute.errors import CnrouteError
from cnroute.failures import clean_text, how_raised
from cnroute.testing.contract.remembering import modules_of


class Crashes:
    """The last crash of each thread: as the router tells it, and in words for the plugin's author."""

    def __init__(self, plugin: Callable[[], Any], key: str) -> None:
        self._plugin, self._key = plugin, key
        self._last = threading.local()

    def watched(self, hook: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """The hook; what it crashes with is noted."""

        def asked(*given: Any) -> Any:
            try:
                return hook(*given) if hook is not None else None
            except CnrouteError:
                raise
            except Exception as error:
                self._last.told = how_raised(error), self.words(error)
                raise

        return asked if hook is not None else None

    def spelled(self, message: str) -> str:
        """A failure's message with the words for the author in the place of the router's."""
        short, long = getattr(self._last, "told", ("", ""))
        return message.replace(short, long) if short else message

    def words(self, error: BaseException) -> str:
        """`raised KeyError: 'say' (acme.py:12)`; the line is the deepest one of the plugin itself."""
        own = {module.__name__ for module in modules_of(self._plugin())}
        lines = [place for name, place in _frames(error.__traceback__) if name in own]
        if not lines:
            return how_raised(error)
        text = clean_text(error, 200).replace(self._key, "<KEY>")
        return f"raised {type(error).__name__}{': ' if text else ''}{text} ({lines[-1]})"


def _frames(trace: TracebackType | None) -> Iterator[tuple[Any, str]]:
    while trace is not None:
        place = f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        yield trace.tb_frame.f_globals.get("__name__"), place
        trace = trace.tb_next
