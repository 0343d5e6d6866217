"""Bodies of answers: where they end, and what they say when they are unpacked. Pure: bytes in, bytes out.

Rules of this file
- A framer is fed what has arrived and gives back what of it is body, at once (U17): nothing is held back.
- An end is only an end where the framing says so; anything else is a failure with a kind, never a short success
  (U21, U25). Framing that two readers could understand differently is refused (U24).
- Unpacking gives at most PIECE bytes at a time, so that a bomb stays flat (U21).

urllib3's own readers are not used for bodies: `stream()` waits for whole chunks, `read1()` costs 1.4 to 2.6 times
as much on chunked answers, both take chunk sizes such as `-5`, and a gzip body that was cut ends without an error.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from cnroute.failures import FailureKind
from cnroute.transports.steps import WireError

K = FailureKind

PIECE = 65536
MAX_LINE = 16384
MAX_TRAILERS = 2**20

_LENGTH = re.compile(r"\d{1,18}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?", re.DOTALL)
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_BLANK = (b"", b"\r")


class Framer(Protocol):
    """Finds the end of a body. `surplus`: bytes came behind it, so the connection cannot be trusted (U9)."""

    done: bool
    surplus: bool

    def feed(self, data: bytes) -> bytes: ...  # noqa: D102
    def end(self) -> bytes: ...  # noqa: D102


class ByLength:
    """A body of a known number of bytes."""

    __slots__ = ("_left", "done", "surplus")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """What of `data` is body."""
        left = self._left - len(data)
        if left < 0:
            self.surplus, data, left = True, data[: self._left], 0
        self._left, self.done = left, not left
        return data

    def end(self) -> bytes:
        """The peer has closed."""
        raise WireError(K.CONNECTION_LOST, f"the connection was closed {self._left} bytes before the end of the body")


class UntilClose:
    """A body that ends with the connection; whether it is complete only its content can tell."""

    __slots__ = ("done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = False

    def feed(self, data: bytes) -> bytes:
        """All of `data` is body."""
        return data

    def end(self) -> bytes:
        """The peer has closed: that is the end."""
        self.done = True
        return b""


class Chunked:
    """A body in chunks (RFC 9112, 7.1). Extensions and trailers are read and dropped."""

    __slots__ = ("_left", "_line", "_rest", "_trailers", "done", "surplus")

    def __init__(self) -> None:
        self.done = False
        self.surplus = False
        self._left = 0
        self._rest = b""
        self._trailers = 0
        self._line: Callable[[Chunked, bytes], None] = Chunked._size_line

    def feed(self, data: bytes) -> bytes:
        """What of `data` is body; pieces of lines are kept for the next call."""
        data, at, parts = self._rest + data, 0, []
        while not self.done and at < len(data):
            if self._left:
                parts.append(data[at : at + self._left])
                at += len(parts[-1])
                self._left -= len(parts[-1])
                continue
            if self._line is _SIZE_LINE:
                at = _whole_chunks(data, at, parts)
                if at == len(data):
                    break
            stop = data.find(b"\n", at)
            if stop < 0:
                break
            self._line(self, data[at:stop])
            at = stop + 1
        if at < len(data) or self._rest:
            self._keep(data[at:])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_LINE:
            raise WireError(K.PROTOCOL_ERROR, "a chunk's size line is too long")
        self._rest, self.surplus = rest, self.done and bool(rest)

    def _size_line(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if not match or len(line) > MAX_LINE:
            raise WireError(K.PROTOCOL_ERROR, "a chunk has no readable size")
        self._left = int(match[1], 16)
        self._line = Chunked._chunk_end if self._left else Chunked._trailer_line

    def _chunk_end(self, line: bytes) -> None:
        if line not in _BLANK:
            raise WireError(K.PROTOCOL_ERROR, "a chunk is longer than its size")
        self._line = Chunked._size_line

    def _trailer_line(self, line: bytes) -> None:
        self._trailers += len(line) + 1
        if self._trailers > MAX_TRAILERS:
            raise WireError(K.PROTOCOL_ERROR, "too many trailers")
        self.done = line in _BLANK

    def end(self) -> bytes:
        """The peer has closed."""
        raise WireError(K.CONNECTION_LOST, "the connection was closed inside a chunked body")


_SIZE_LINE = Chunked._size_line  # noqa: SLF001 (of this file; looked up once)


def _whole_chunks(data: bytes, at: int, parts: list[bytes]) -> int:
    """The quick way over plain chunks that have arrived whole, as in a burst; returns where it could not go on."""
    head = _USUAL_HEAD
    while at < len(data):
        start = at + head
        size = _SIZES[data[at:start]]
        if not size:  # not as many digits as the one before; looking for the end of each takes half as long again
            head = data.find(b"\n", at, at + 10) + 1 - at
            start = at + head
            size = _SIZES[data[at:start]] if head > 0 else 0
        end = start + size
        if not size or data[end : end + 2] != b"\r\n":
            return at
        parts.append(data[start:end])
        at = end + 2
    return at


# Three digits and the end of the line.
_USUAL_HEAD = 5


class _Sizes(dict[bytes, int]):
    """What plain size lines say; 0 for every other line. Sizes come again and again; `lru_cache` packs each line into a tuple.

    `int` alone would take signs, blanks, `_` and `0x`.
    """

    def __missing__(self, line: bytes) -> int:
        match = _PLAIN_SIZE.fullmatch(line)
        if len(self) >= _MAX_SIZES:
            self.clear()
        size = self[line] = int(match[1], 16) if match else 0
        return size


_MAX_SIZES = 1024
_SIZES = _Sizes()


class Inflate:
    """Unpacks gzip and deflate, at most PIECE bytes a call; `waiting`: more can be had without new input."""

    __slots__ = ("_input", "_unpacker", "_zlib", "waiting")

    def __init__(self, encoding: str) -> None:
        self._unpacker = None if encoding == "deflate" else zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._zlib = self._unpacker is None
        self._input = b""
        self.waiting = False

    def decode(self, data: bytes = b"") -> bytes:
        """What `data` and what was kept unpack to; possibly nothing yet."""
        data = self._input + data
        if self._unpacker is None:
            if len(data) < 2:
                self._input = data
                return b""
            self._unpacker = zlib.decompressobj(_deflate_bits(data))
        try:
            out = self._unpacker.decompress(data, PIECE)
        except zlib.error:
            out = None
        if out is None:
            raise WireError(K.DECODE_ERROR, "the body is not in the encoding that it names")
        self._go_on(self._unpacker, len(out) == PIECE)
        return out

    def _go_on(self, unpacker: zlib._Decompress, full: bool) -> None:
        self._input = unpacker.unconsumed_tail
        if unpacker.eof:
            # Another gzip member may follow; other bytes behind the end mean nothing.
            self._input = b"" if self._zlib else unpacker.unused_data
            if self._input.startswith(b"\x1f\x8b"[: len(self._input)]) and self._input:
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            else:
                self._input = b""
        self.waiting = full or bool(self._input)

    def end(self) -> None:
        """The body is over; raises if the packed data is not."""
        if self._input or (self._unpacker is not None and not self._unpacker.eof):
            raise WireError(K.DECODE_ERROR, "the compressed body is cut off")


def _deflate_bits(start: bytes) -> int:
    """`deflate` means zlib by the standard, and a raw stream at some servers: two bytes tell."""
    is_zlib = start[0] & 0x0F == 8 and (start[0] << 8 | start[1]) % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def framer_of(codings: list[str], lengths: list[str]) -> Framer:
    """How the body ends, by every Transfer-Encoding and Content-Length. Raises WireError for what is ambiguous."""
    if codings and lengths:
        raise WireError(K.PROTOCOL_ERROR, "the answer has a length and is chunked too")
    if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
        raise WireError(K.PROTOCOL_ERROR, "the answer has a transfer coding that nobody asked for")
    if codings:
        return Chunked()
    return ByLength(_length(lengths)) if lengths else UntilClose()


def _length(lengths: list[str]) -> int:
    values = {value.strip() for text in lengths for value in text.split(",")}
    (value, *others) = values
    if others or not _LENGTH.fullmatch(value):
        raise WireError(K.PROTOCOL_ERROR, "the answer's length is no number, or there are two")
    return int(value)


def decoder_of(headers: Mapping[str, str]) -> Inflate | None:
    """What unpacks the body; None for a plain one. Raises WireError for an encoding other than gzip and deflate."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return Inflate(encoding)
    raise WireError(K.DECODE_ERROR, "the body is in an encoding that nobody asked for")
