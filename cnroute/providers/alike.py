"""Frames of a stream that repeat each other but for one text.

Most frames of a stream are the same few hundred characters around one new word. Once one of them was read whole, those that
follow are read by that word alone: comparing what stands around it takes a third of the time of reading it all.

Rules of this file
- Exact: a line is read this way only where everything around the text is the same as in the frame that was read whole, and
  what stands in its place is one JSON string. Every other line is read whole.
- Where the text stands is proved, not guessed: with another in its place the line must read as the frame that `put` makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from cnroute.codec import JsonError, loads
from cnroute.wire import data_of

# A frame as another with this text. It may share with it whatever it does not change.
Put = Callable[[dict[str, Any], str], dict[str, Any]]

# A stream whose frames differ in more than their text is tried so often.
_TRIES = 3
_DECODER = json.JSONDecoder()
_OTHER = "another text"


class Alike:
    """What the frames of one stream repeat around the text that is called `key`."""

    __slots__ = ("_frame", "_head", "_key", "_left", "_put", "_tail")

    def __init__(self, key: str, put: Put) -> None:
        self._key = key
        self._put = put
        self._left = _TRIES
        self._frame: dict[str, Any] = {}
        self._head = self._tail = ""

    def text(self, line: str) -> str | None:
        """The text of a line that is like the learned one in everything else; None for every other line."""
        head, tail = self._head, self._tail
        if not (head and line.startswith(head) and line.endswith(tail)):
            return None
        value = line[len(head) : len(line) - len(tail)]
        if value[:1] != '"':  # no blanks and no byte order mark either, which are forgiven before a whole frame alone
            return None
        try:
            return loads(value)  # type: ignore[no-any-return]
        except JsonError:
            return None

    def frame(self, text: str) -> dict[str, Any]:
        """The frame of a line with this text."""
        return self._put(self._frame, text)

    def learn(self, line: str, frame: dict[str, Any]) -> None:
        """Take `line`, which was read as `frame`, for what the next ones are like, if it can be."""
        if self._left:
            self._left -= 1
            head, tail = self._around(line)
            if head and self._reads(f'{head}"{_OTHER}"{tail}') == self._put(frame, _OTHER):
                self._head, self._tail, self._frame = head, tail, frame

    def _around(self, line: str) -> tuple[str, str]:
        """What stands before and behind the first text of that name; nothing where there is none."""
        found = re.search(f'"{re.escape(self._key)}"[ \t]*:[ \t]*(?=")', line)
        if found is None:
            return "", ""
        try:
            _, end = _DECODER.raw_decode(line, found.end())
        except ValueError:
            return "", ""
        return line[: found.end()], line[end:]

    def _reads(self, line: str) -> Any:
        try:
            return loads(data_of(line) or "")
        except JsonError:
            return None
