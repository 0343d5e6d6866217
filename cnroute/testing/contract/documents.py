"""Vendor bodies taken apart and put together again with one place changed.

Works on whatever JSON a vendor sends: nothing here knows a field's name. A body is a `Text` of lines; in a plain answer
the whole body is the one document, in a stream each `data:` line (or bare line that begins with `{`) is one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import attrs

Path = tuple[Any, ...]
GONE = object()
"""Stands for a value that is taken out."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place of a document with its value, containers too, the document itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from leaves(item, (*path, key))


def changed(document: Any, path: Path, value: Any) -> Any:
    """A copy of `document` with another value at `path`; GONE takes the place out."""
    made = copy.deepcopy(document)
    where = made
    for key in path[:-1]:
        where = where[key]
    if value is GONE:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    return made


def differences(before: Any, after: Any, name: str) -> dict[str, tuple[Any, Any]]:
    """Where two values differ, as an author writes it, with both; GONE stands for what one of them lacks."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        parts = [(f"{name}[{key!r}]", before.get(key, GONE), after.get(key, GONE)) for key in {**before, **after}]
    elif isinstance(before, list | tuple) and type(before) is type(after):
        parts = [(f"{name}[{n}]", *pair) for n, pair in enumerate(zip_longest(before, after, fillvalue=GONE))]
    elif attrs.has(type(before)) and type(before) is type(after):
        names = [field.name for field in attrs.fields(type(before))]
        parts = [(f"{name}.{each}", getattr(before, each), getattr(after, each)) for each in names]
    else:
        return {} if before == after else {name: (before, after)}
    return {key: pair for part, one, other in parts for key, pair in differences(one, other, part).items()}


def shape(path: Path) -> Path:
    """A path without the positions in lists: places of one shape are treated alike by every provider."""
    return tuple(key if isinstance(key, str) else "*" for key in path)


def spelled(path: Path) -> str:
    """A path as an author writes it."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


@attrs.frozen
class Frame:
    """One document in a body: the number of its line, what stands before it in the line, its value."""

    line: int
    prefix: str
    value: Any


@attrs.frozen
class Text:
    """A body as lines and the documents in them. `joined` gives the body again, with changed lines."""

    lines: tuple[str, ...]
    frames: tuple[Frame, ...]

    def joined(self, changes: dict[int, str | None]) -> bytes:
        """The body with other text in some lines; None takes a line out."""
        lines = [changes.get(number, line) for number, line in enumerate(self.lines)]
        return "\n".join(line for line in lines if line is not None).encode("utf-8", "surrogatepass")

    def with_frames(self, change: Callable[[Frame], Any]) -> bytes:
        """The body with `change` applied to every document; GONE takes the line out."""
        made = {frame.line: written(frame, change(frame)) for frame in self.frames}
        return self.joined(made)

    def with_value(self, frame: Frame, path: Path, value: Any) -> bytes:
        """The body with another value in one place of one document."""
        return self.joined({frame.line: written(frame, changed(frame.value, path, value))})

    def frame_at(self, line: int) -> Frame | None:
        """The document in that line."""
        return next((frame for frame in self.frames if frame.line == line), None)

    def with_another(self, line: int, again: str) -> bytes:
        """The body with one more frame behind that of `line`, an event of its own, with the lines that stand before its data."""
        start = line
        while start > 0 and self.lines[start - 1] != "" and not self.lines[start - 1].startswith(("data:", "{")):
            start -= 1
        blank = line + 1 < len(self.lines) and self.lines[line + 1] == ""
        event = [*self.lines[start:line], again, *([""] if blank else [])]
        at = line + 1 + blank
        return "\n".join([*self.lines[:at], *event, *self.lines[at:]]).encode("utf-8", "surrogatepass")


def distinct(text: Text) -> Iterator[tuple[Frame, Path, Any]]:
    """The first and the last place of each shape and type, with its document and its value."""
    first: dict[Any, Any] = {}
    last: dict[Any, Any] = {}
    for frame in text.frames:
        for path, item in leaves(frame.value):
            first.setdefault((shape(path), type(item)), (frame, path, item))
            last[shape(path), type(item)] = (frame, path, item)
    yield from first.values()
    yield from (place for key, place in last.items() if place != first[key])


def broken_off(body: bytes) -> Iterator[bytes]:
    """The beginnings of a stream that stop inside its first, a middle, and its last document: in the line, and after it."""
    text = streamed(body)
    numbers = [frame.line for frame in text.frames]
    for number in dict.fromkeys(numbers[:1] + numbers[len(numbers) // 2 :][:1] + numbers[-1:]):
        before, line = text.lines[:number], text.lines[number]
        half = "\n".join((*before, line[: len(line) * 2 // 3]))
        yield from (half.encode(), f"{half}\n".encode())


def written(frame: Frame, value: Any) -> str | None:
    """The line of a frame with another document in it."""
    return None if value is GONE else frame.prefix + json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def plain(body: bytes) -> Text | None:
    """A body that is one document; None if it is none."""
    value = _decoded(body.decode("utf-8", "replace"))
    return Text((body.decode("utf-8", "replace"),), (Frame(0, "", value),)) if isinstance(value, dict | list) else None


def streamed(body: bytes) -> Text:
    """A stream's body, with LF for every line end."""
    lines = tuple(body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"))
    found = (_frame(number, line) for number, line in enumerate(lines))
    return Text(lines, tuple(frame for frame in found if frame is not None))


def _frame(number: int, line: str) -> Frame | None:
    start = line.find("{")
    prefix = line[:start]
    if start < 0 or prefix.rstrip() not in ("", "data:"):
        return None
    value = _decoded(line[start:])
    return Frame(number, prefix, value) if isinstance(value, dict) else None


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
