"""``multipart/form-data`` as it arrives: small fields are kept, the file goes to disk piece by piece.

RFC 7578 and RFC 2046: a part ends at CRLF and the boundary, which may be cut anywhere between two reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import unquote_to_bytes

LARGEST_FIELD = 65536
NAMED = re.compile(r';\s*(name|filename\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)


class BadForm(ValueError):
    """Bytes that are no form."""


class Sink(Protocol):
    """Where the bytes of the file go."""

    def write(self, data: bytes) -> None:
        """Take some bytes."""


class Form:
    """One form. ``fields`` are its texts; ``open_file(filename)`` gives the place of its one file."""

    def __init__(self, boundary: str, open_file: Callable[[str], Sink]) -> None:
        self.fields: dict[str, str] = {}
        self.complete = False
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._open_file = open_file
        self._buffer = bytearray(b"\r\n")
        self._name = ""
        self._sink: Sink | None = None
        self._step: Callable[[], bool] = self._preamble

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises ``BadForm``."""
        self._buffer += data
        while self._step():
            pass

    def _preamble(self) -> bool:
        found = self._buffer.find(self._mark)
        if found < 0:
            self._keep_end()
            return False
        del self._buffer[: found + len(self._mark)]
        self._step = self._behind_mark
        return True

    def _keep_end(self) -> bytes:
        """Take all that cannot be the beginning of a boundary."""
        safe = max(0, len(self._buffer) - len(self._mark) + 1)
        data = bytes(self._buffer[:safe])
        del self._buffer[:safe]
        return data

    def _behind_mark(self) -> bool:
        """``--`` closes the form; a line end opens a part."""
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            self.complete = True
            self._step = self._epilogue
            return True
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > LARGEST_FIELD:
                raise BadForm("the head of a part is too long")
            return False
        self._open(self._buffer[:end].decode("utf-8", "replace"))
        del self._buffer[: end + 4]
        self._step = self._part
        return True

    def _open(self, head: str) -> None:
        disposition = next((line for line in head.split("\r\n") if line.lower().startswith("content-disposition:")), "")
        found = {name.lower(): quoted or bare for name, quoted, bare in NAMED.findall(disposition)}
        if "name" not in found:
            raise BadForm("a part has no name")
        self._name = found["name"]
        filename = _extended(found["filename*"]) if "filename*" in found else found.get("filename")
        if filename is not None and self._name == "file":
            self._sink = self._open_file(re.sub(r"\\(.)", r"\1", filename))
        else:
            self._sink = None
            self.fields[self._name] = ""

    def _part(self) -> bool:
        found = self._buffer.find(self._mark)
        if found < 0:
            self._take(self._keep_end())
            return False
        self._take(bytes(self._buffer[:found]))
        del self._buffer[: found + len(self._mark)]
        self._step = self._behind_mark
        return True

    def _take(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.write(data)
            return
        self.fields[self._name] += data.decode("utf-8", "replace")
        if len(self.fields[self._name]) > LARGEST_FIELD:
            raise BadForm(f"field {self._name} is too long")

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False


def _extended(value: str) -> str:
    """``UTF-8''%E6%96%87.txt`` (RFC 8187)."""
    charset, _, encoded = value.replace("'", "\0", 2).rpartition("\0")
    try:
        return unquote_to_bytes(encoded).decode(charset.partition("\0")[0] or "utf-8", "replace")
    except LookupError:
        raise BadForm("the charset of the file name is unknown") from None


def boundary_of(content_type: str) -> str:
    """The boundary of a form. Raises ``BadForm`` for another content type."""
    kind, _, rest = content_type.partition(";")
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', rest)
    if kind.strip().lower() != "multipart/form-data" or not found:
        raise BadForm("Content-Type should be multipart/form-data with a boundary")
    return found[1] or found[2]


def read(pieces: Iterable[bytes], content_type: str, open_file: Callable[[str], Sink]) -> dict[str, str]:
    """The fields of a form whose file went to ``open_file``. All of it is read, a bad one too. Raises ``BadForm``."""
    try:
        form = Form(boundary_of(content_type), open_file)
        for piece in pieces:
            form.feed(piece)
    except BadForm:
        for _piece in pieces:
            pass
        raise
    if not form.complete:
        raise BadForm("the form has no end")
    return form.fields
