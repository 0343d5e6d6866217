"""Reading HTTP requests from a socket: a head, then a body that may be read in part or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

RECEIVE = 65536
LARGEST_HEAD = 262144


class BadRequest(ValueError):
    """Bytes that are no HTTP/1 request."""


@dataclass(slots=True)
class Head:
    """Request line and headers, names in lower case."""

    method: str
    target: str
    version: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query; the last one wins where a name comes twice."""
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants the connection to stay."""
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish if self.version == "HTTP/1.1" else "keep-alive" in wish

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    @property
    def length(self) -> int:
        """The Content-Length, 0 without one."""
        value = self.headers.get("content-length", "0")
        if not value.isdigit():
            raise BadRequest("Content-Length is no number")
        return int(value)


class Reader:
    """A socket with a buffer in front of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def fill(self) -> bool:
        """Receive once; False at the end of the connection."""
        data = self._sock.recv(RECEIVE)
        self._buffer += data
        return bool(data)

    def head(self) -> Head | None:
        """The next request's head, or None if the client has closed."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise BadRequest("head is too long")
            if not self.fill():
                return None
        lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        return _parse(lines)

    def peek(self, least: int) -> bytes:
        """At least so many bytes of the body without taking them, or all there are."""
        while len(self._buffer) < least and self.fill():
            pass
        return bytes(self._buffer[:least])

    def pieces(self, head: Head) -> Iterator[bytes]:
        """The body in pieces as they come. Raises ``ConnectionError`` if the client closes inside it."""
        if not head.chunked:
            yield from self._parts(head.length)
            return
        while size := _size(self._line()):
            yield from self._parts(size)
            self._exactly(2)
        while self._line():
            pass

    def _parts(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer and not self.fill():
                raise ConnectionResetError("the client closed inside its request")
            part = self._take(size)
            size -= len(part)
            yield part

    def drop(self, size: int) -> None:
        """Take so many bytes away, or all that still come if they are less."""
        while size and (self._buffer or self.fill()):
            size -= len(self._take(size))

    def body(self, head: Head) -> bytes:
        """The whole body. Raises ``ConnectionError`` if the client closes inside it."""
        return self._chunks() if head.chunked else self._exactly(head.length)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self.fill():
                raise ConnectionResetError("the client closed inside its request")
        return self._take(size)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self.fill():
                raise ConnectionResetError("the client closed inside its request")
        return self._take(end + 2)[:-2]

    def _chunks(self) -> bytes:
        parts = []
        while size := _size(self._line()):
            parts.append(self._exactly(size + 2)[:-2])
        while self._line():
            pass
        return b"".join(parts)


def _size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BadRequest("chunk size is no number") from None


def _parse(lines: list[str]) -> Head:
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("request line is not HTTP/1")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Head(words[0], words[1], words[2], headers)
