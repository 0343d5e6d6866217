"""Frames of a stream that repeat each other but for a text, or a text and an object.

Most frames of a stream are the same few hundred characters around one new word. Once one of them was read whole, those that
follow are read by that word alone: comparing what stands around it takes a third of the time of reading it all.

Rules of this file
- Exact: a line is read this way only where everything around the values is the same as in the frame that was read whole, and
  what stands in their places is one JSON string, and one object. Every other line is read whole.
- Where the values stand is proved, not guessed: with others in their places the line must read as the frame that `put` makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from cnroute.codec import JsonError, dumps, loads
from cnroute.wire import data_of

# A frame as another with these values. It may share with it whatever it does not change.
Put = Callable[[dict[str, Any], Any], dict[str, Any]]

# A stream whose frames differ in more than their values is tried so often.
_TRIES = 3
_DECODER = json.JSONDecoder()
_OTHERS = ("another text", {"another": "object"})


class Alike:
    """What the frames of one stream repeat around the text called `key`, and the object called `then` behind it."""

    __slots__ = ("_between", "_frame", "_head", "_key", "_left", "_put", "_tail", "_then")

    def __init__(self, put: Put, key: str, then: str = "") -> None:
        self._put = put
        self._key = key
        self._then = then
        self._left = _TRIES
        self.forget()

    def forget(self) -> None:
        """Something has changed that the frames do not show."""
        self._frame: dict[str, Any] = {}
        self._head = self._between = self._tail = ""

    def values(self, line: str) -> tuple[Any, ...] | None:
        """The values of a line that is like the learned one in everything else; None for every other line."""
        head, tail = self._head, self._tail
        if not (head and line.startswith(head) and line.endswith(tail)):
            return None
        rest = line[len(head) : len(line) - len(tail)]
        try:
            if not self._between:
                return (_text(rest),)
            text, _, other = rest.partition(self._between)
            return (_text(text), loads(other, _DEPTH)) if other[:1] == "{" else None
        except JsonError:
            return None

    def frame(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The frame of a line with these values."""
        return self._put(self._frame, values)

    def learn(self, line: str, frame: dict[str, Any]) -> None:
        """Take `line`, which was read as `frame`, for what the next ones are like, if it can be."""
        if self._left:
            self._left -= 1
            pieces = _pieces(line, (self._key, self._then) if self._then else (self._key,))
            if pieces is not None and _read(pieces) == self._put(frame, _OTHERS):
                self._frame, self._head, self._tail = frame, pieces[0], pieces[-1]
                self._between = pieces[1] if self._then else ""


# An object stands inside of a frame, and all of it may not be deeper than `codec.MAX_DEPTH`.
_DEPTH = 32


def _text(value: str) -> str:
    """What one JSON string says. No blanks and no byte order mark, which are forgiven before a whole frame alone."""
    said = value[1:-1]
    if value[:1] != '"':
        raise JsonError("no text")
    if len(value) > 1 and value[-1] == '"' and '"' not in said and "\\" not in said and said.isprintable():
        return said
    return loads(value)  # type: ignore[no-any-return]


def _pieces(line: str, keys: tuple[str, ...]) -> list[str] | None:
    """What stands before, between and behind the values of `keys`; None where they are not found in this order."""
    pieces, at = [], 0
    for key in keys:
        found = re.compile(f'"{key}"[ \t]*:[ \t]*(?=["{{])').search(line, at)
        if found is None:
            return None
        try:
            _, end = _DECODER.raw_decode(line, found.end())
        except (ValueError, RecursionError):
            return None
        pieces.append(line[at : found.end()])
        at = end
    return [*pieces, line[at:]]


def _read(pieces: list[str]) -> Any:
    """The frame with other values between the pieces; None where it is none."""
    others = [dumps(other).decode() for other in _OTHERS[: len(pieces) - 1]]
    line = "".join(part for pair in zip(pieces, [*others, ""], strict=True) for part in pair)
    try:
        return loads(data_of(line) or "")
    except JsonError:
        return None
