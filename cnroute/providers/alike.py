"""Frames of a stream that repeat each other but for a text, or a text and counts.

Most frames of a stream are the same few hundred characters around one new word. Once one of them was read whole, those that
follow are read by that word alone: comparing what stands around it takes a third of the time of reading it all.

Rules of this file
- Exact: a line is read this way only where everything around the values is the same as in the frame that was read whole, and
  what stands in their places is one JSON string, and whole numbers from 1 to 999,999,999. Every other line is read whole.
- Where the values stand is proved, not guessed: with others in their places the line must read as the frame that `put` makes.
- No expression is used on the lines: one alone, in a stream whose chunks come one by one, costs as much as all of this.
"""

from __future__ import annotations

import json
import os
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
# What no vendor can have written there itself.
_OTHERS = (f"another text {os.urandom(8).hex()}", {"another": "object"})


class Alike:
    """What the frames of one stream repeat around the text called `key`, and the numbers of the object `then` behind it."""

    __slots__ = ("_behind", "_between", "_head", "_key", "_left", "_put", "_then")

    def __init__(self, put: Put, key: str, then: str = "") -> None:
        self._put = put
        self._key = key
        self._then = then
        self._left = _TRIES
        self.forget()

    def forget(self) -> None:
        """Something has changed that the frames do not show."""
        self._head = self._behind = ""
        self._between: list[str] = []

    def text(self, line: str) -> str | None:
        """The text of a line that is like the learned one in everything else but its counts; None for every other line."""
        head, behind = self._head, self._behind
        if not (head and line.startswith(head)):
            return None
        text = line[len(head) :]
        if self._between:
            text, _, rest = text.partition(behind)
            for behind in self._between:
                count, found, rest = rest.partition(behind)
                if not (count.isdigit() and count.isascii() and count[0] != "0" and len(count) < 10):
                    return None
            if rest or not found:
                return None
        elif text.endswith(behind):
            text = text[: -len(behind)]
        else:
            return None
        return text if '"' not in text and "\\" not in text and text.isprintable() else _unescaped(text)

    def learn(self, line: str, frame: dict[str, Any]) -> None:
        """Take `line`, which was read as `frame`, for what the next ones are like, if it can be."""
        if self._left:
            self._left -= 1
            pieces = _pieces(line, (self._key, self._then) if self._then else (self._key,))
            if pieces is not None and _is_plain(pieces) and _with_others(pieces) == self._put(frame, _OTHERS):
                before, _, *others = pieces
                self._head = before + '"'
                self._behind, *self._between = _around_counts(others)


def _unescaped(text: str) -> str | None:
    """The text of a JSON string; None where there are more than one."""
    try:
        return loads(f'"{text}"')  # type: ignore[no-any-return]
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


def _is_plain(pieces: list[str]) -> bool:
    """Whether nothing around the text is escaped, which could mean something for the text, too, and the counts are short."""
    before, _, *others = pieces
    return "\\" not in before and not any("\\" in piece for piece in others) and len("".join(others[1:2])) <= _LONGEST


# A string whole, so that no digit within is taken for a count; a number or a word; any other sign.
_TOKEN = re.compile(r'"[^"]*"|[-+.\w]+|[^"]', re.ASCII)
_COUNT = re.compile("[1-9][0-9]{0,8}")
# Usage of real vendors has a tenth of that; a longer one is read whole.
_LONGEST = 1000
# More of them are not worth it: looking for each takes the time of what stands behind it.
_MOST_COUNTS = 16


def _around_counts(pieces: list[str]) -> list[str]:
    """What stands from the end of the text to the end of the line, cut at each count."""
    between, counts, behind = pieces if len(pieces) == 3 else (pieces[0], "", "")
    around = ['"' + between]
    for token in _TOKEN.findall(counts):
        if _COUNT.fullmatch(token) and len(around) <= _MOST_COUNTS:
            around.append("")
        else:
            around[-1] += token
    around[-1] += behind
    return around
