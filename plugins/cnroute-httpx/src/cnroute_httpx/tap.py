"""What arrives on a connection, followed byte by byte: httpx keeps bytes behind an answer and takes them for the next one.

A server, or somebody in between, that sends more than its answer would so answer the next call, which may be another
user's. Each connection's bytes are framed a second time here; a connection is kept only when nothing is left over.
"""

from __future__ import annotations

import re
from typing import Any

from cnroute.transports.parts import Framer, WireError, framer_of

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)")
_LONGEST_HEAD = 2**20


class Tap:
    """The framing of one connection's present answer."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """The next bytes begin another answer."""
        self._head = b""
        self._framer: Framer | None = None
        self._broken = False

    @property
    def clean(self) -> bool:
        """Whether the answer has ended, and nothing came behind it."""
        return not self._broken and self._framer is not None and self._framer.done and not self._framer.surplus

    def feed(self, data: bytes) -> None:
        """Bytes have arrived. What cannot be framed is httpx's to report; here it only is not clean."""
        if self._broken:
            return
        try:
            self._follow(data)
        except WireError:
            self._broken = True

    def _follow(self, data: bytes) -> None:
        if self._framer is not None:
            self._framer.feed(data)
            return
        self._head += data
        while (end := _END_OF_HEAD.search(self._head)) is not None:
            head, self._head = self._head[: end.start()], self._head[end.end() :]
            if not _INTERIM.match(head):
                self._framer = framer_of(_values(head, b"transfer-encoding"), _values(head, b"content-length"))
                self._framer.feed(self._head)
                return
        self._broken = len(self._head) > _LONGEST_HEAD


def _values(head: bytes, name: bytes) -> list[str]:
    fields = (line.partition(b":") for line in head.split(b"\n")[1:])
    return [value.strip().decode("latin-1") for field, _, value in fields if field.strip().lower() == name]


def attach(stream: Any) -> None:
    """Follow what is read from one of httpx's network streams from now on."""
    tap, read = Tap(), stream.read

    async def tapped(*args: Any, **more: Any) -> bytes:
        data: bytes = await read(*args, **more)
        tap.feed(data)
        return data

    stream.read = tapped
    stream.cnroute_tap = tap


def tap_of(stream: Any) -> Tap | None:
    """The tap of a network stream; None for one that was mocked."""
    return getattr(stream, "cnroute_tap", None)
