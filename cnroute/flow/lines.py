"""Bytes into lines, the same however the bytes are cut.

Rules of this file
- Lines end at LF or CRLF and at nothing else: U+2028, U+2029 and U+0085 are text.
- Bytes are decoded after a line is whole; a byte order mark at the very beginning is dropped; invalid UTF-8
  becomes U+FFFD.
- A line longer than its bound raises `LineTooLong`; the work is linear in the bytes.
"""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class LineTooLong(Exception):
    """A line of the stream is longer than `Limits.max_line_bytes`."""


class LineSplitter:
    """Splits a stream of bytes into decoded lines without their terminators."""

    __slots__ = ("_begun", "_limit", "_tail", "_tail_length")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._tail_length = 0
        self._begun = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        if b"\n" not in data:
            self._keep(data)
            return []
        first, *rest = data.split(b"\n")
        self._keep(first)
        lines = [b"".join(self._tail), *rest]
        last = lines.pop()
        self._tail, self._tail_length = [last], len(last)
        return [self._decode(line) for line in lines]

    def flush(self) -> str | None:
        """The unterminated last line, if there is one."""
        tail, self._tail, self._tail_length = b"".join(self._tail), [], 0
        return self._decode(tail) if tail else None

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_length += len(data)
        if self._tail_length > self._limit:
            raise LineTooLong

    def _decode(self, line: bytes) -> str:
        if len(line) > self._limit:
            raise LineTooLong
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if line.endswith(b"\r"):
            line = line[:-1]
        return line.decode("utf-8", "replace")
