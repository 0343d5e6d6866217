"""Frames of a stream that repeat each other but for a text, or a text and counts.

Most frames of a stream are the same few hundred characters around one new word. Once one of them was read whole, those that
follow are read by that word alone: comparing what stands around it takes a third of the time of reading it all.

Rules of this file
- Exact: a line is read this way only where everything around the values is the same as in the frame that was read whole, and
  what stands in their places is one JSON string, and the same object with other counts. Every other line is read whole.
- Where the values stand is proved, not guessed: with others in their places the line must read as the frame that `put` makes.
- A count is a whole number of at most nine digits. One that was not 0 stays so: what a provider asks of them goes on to hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from cnroute.codec import JsonError, dumps, loads
from cnroute.wire import data_of

# A frame as another with these values, to compare with; it may share with it whatever it does not change.
Put = Callable[[dict[str, Any], Any], dict[str, Any]]

# A stream whose frames differ in more than their values is tried so often.
_TRIES = 3
_DECODER = json.JSONDecoder()
_OTHERS = ("another text", {"another": "object"})


class Alike:
    """What the frames of one stream repeat around the text called `key`, and the object of counts called `then` behind it."""

    __slots__ = ("_between", "_counts", "_head", "_key", "_left", "_put", "_tail", "_then")

    def __init__(self, put: Put, key: str, then: str = "") -> None:
        self._put = put
        self._key = key
        self._then = then
        self._left = _TRIES
        self.forget()

    def forget(self) -> None:
        """Something has changed that the frames do not show."""
        self._head = self._between = self._tail = ""
        self._counts = _NO_COUNTS

    def values(self, line: str) -> tuple[str, str] | None:
        """Text and counts (their JSON) of a line that is like the learned one in everything else; None for every other line."""
        head, tail = self._head, self._tail
        if not (head and line.startswith(head) and line.endswith(tail)):
            return None
        rest = line[len(head) : len(line) - len(tail)]
        counts = ""
        if self._between:
            rest, _, counts = rest.partition(self._between)
            if not self._counts.fullmatch(counts):
                return None
        # Usual texts say what stands there. No blanks and no byte order mark, which are forgiven before a whole frame alone.
        text = rest[1:-1]
        if len(rest) > 1 and rest[0] == rest[-1] == '"' and '"' not in text and "\\" not in text and text.isprintable():
            return text, counts
        return _unusual(rest, counts)

    def learn(self, line: str, frame: dict[str, Any]) -> None:
        """Take `line`, which was read as `frame`, for what the next ones are like, if it can be."""
        if self._left:
            self._left -= 1
            pieces = _pieces(line, (self._key, self._then) if self._then else (self._key,))
            if pieces is not None and _with_others(pieces) == self._put(frame, _OTHERS):
                self._head, self._tail = pieces[0], pieces[-1]
                if self._then:
                    self._between, self._counts = pieces[2], _like(pieces[3])


def _unusual(value: str, counts: str) -> tuple[str, str] | None:
    """The same for a text with escapes and the like."""
    try:
        return (loads(value), counts) if value[:1] == '"' else None
    except JsonError:
        return None


def _pieces(line: str, keys: tuple[str, ...]) -> list[str] | None:
    """The values of `keys` as they stand, with what is before, between and behind them; None unless found in this order."""
    pieces: list[str] = []
    at = 0
    for key in keys:
        found = re.compile(f'"{key}"[ \t]*:[ \t]*(?=["{{])').search(line, at)
        if found is None:
            return None
        try:
            _, end = _DECODER.raw_decode(line, found.end())
        except (ValueError, RecursionError):
            return None
        pieces += line[at : found.end()], line[found.end() : end]
        at = end
    return [*pieces, line[at:]]


def _with_others(pieces: list[str]) -> Any:
    """The frame with other values in their places; None where it is none."""
    others = [*pieces]
    others[1::2] = [dumps(other).decode() for other in _OTHERS[: len(pieces) // 2]]
    try:
        return loads(data_of("".join(others)) or "")
    except JsonError:
        return None


_NO_COUNTS = re.compile("(?!)")
# A string whole, so that no digit within is taken for a count; a number or a word; any other sign.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[^"]', re.ASCII)
_COUNT = re.compile("0|[1-9][0-9]{0,8}")
# A longer object is not worth an expression.
_MOST_COUNTS = 1000


def _like(counts: str) -> re.Pattern[str]:
    """This object with other counts."""
    return re.compile(_TOKEN.sub(_like_token, counts)) if len(counts) <= _MOST_COUNTS else _NO_COUNTS


def _like_token(token: re.Match[str]) -> str:
    if _COUNT.fullmatch(token[0]) is None:
        return re.escape(token[0])
    return "(?:0|[1-9][0-9]{0,8})" if token[0] == "0" else "[1-9][0-9]{0,8}"
