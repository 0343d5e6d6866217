"""Bytes into lines, the same however the bytes are cut.

Rules of this file
- Lines end at LF or CRLF and at nothing else: U+2028, U+2029 and U+0085 are text.
- Bytes are decoded after a line is whole; a byte order mark at the beginning of a line is dropped (some servers
  write one before each event); invalid UTF-8 becomes U+FFFD.
- A line longer than its bound raises `LineTooLong`; the work is linear in the bytes.
"""

from __future__ import annotations

_BOM = "\ufeff"
_NEWLINE = 10


class LineTooLong(Exception):
    """A line of the stream is longer than `Limits.max_line_bytes`."""


class LineSplitter:
    """Splits a stream of bytes into decoded lines without their terminators."""

    __slots__ = ("_limit", "_tail", "_tail_length")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._tail_length = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        if self._tail or (data and data[-1] != _NEWLINE):
            data = self._with_tail(data, data.rfind(b"\n") + 1)
        if len(data) > self._limit and max(map(len, data.split(b"\n"))) > self._limit:
            raise LineTooLong
        text = data.decode("utf-8", "replace")  # at once: no character stands on both sides of a line's end
        lines = text.split("\n")
        lines.pop()
        if _BOM in text:
            lines = [line.removeprefix(_BOM) for line in lines]
        return [line.removesuffix("\r") for line in lines] if "\r" in text else lines

    def flush(self) -> str | None:
        """The unterminated last line, if there is one."""
        return self.feed(b"\n")[0] if self._tail else None

    def _with_tail(self, data: bytes, end: int) -> bytes:
        """The whole lines, with what came of the first one before; what begins behind `end` is kept."""
        if not end:
            self._keep(data)
            return b""
        whole, rest = b"".join((*self._tail, data[:end])), data[end:]
        self._tail, self._tail_length = ([rest], len(rest)) if rest else ([], 0)
        return whole

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_length += len(data)
        if self._tail_length > self._limit:
            raise LineTooLong
