"""A file on its way to the vendor: what may be sent, and its bytes in pieces as often as they are asked for.

Rules of this file (reliability 3.8)
- Checked before anything is sent: a regular file of a type and size that the vendor takes; nothing of it is read.
- Memory never holds more than a piece of it.
- The name that goes out is the base name without anything that could end a header; never a path.
- A file that changes while it is read ends the upload: half of one version and half of another is no file.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cnroute.errors import BadRequestError, CallCancelledError, error_for
from cnroute.failures import Failure, FailureKind
from cnroute.http import FileBody

MAX_BYTES = 512 * 2**20
"""The largest file (page "File"); an account holds 100 GB in all, which the vendor counts itself."""
CONTENT_TYPES: Mapping[str, str] = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".txt": "text/plain",
    ".jsonl": "application/jsonl",
}
_PIECE = 65536
_LONGEST_NAME = 200
_UNSAFE = re.compile(r"[^\w.\-]")


def _refused(reason: str) -> BadRequestError:
    return BadRequestError(reason, billing="none")


@attrs.define(eq=False)
class Source:
    """A file that can be sent: its name, size and content type, and how to read it from the beginning."""

    name: str
    size: int
    content_type: str
    _read: Callable[[], Iterator[bytes]] = attrs.field(repr=False)
    broken: BaseException | None = None
    """What the host's progress function raised; it ends the upload."""

    def form(self, boundary: str, fields: Mapping[str, str], progress: Callable[[int, int], object] | None) -> FileBody:
        """The multipart form with `fields` and this file. `progress(sent, size)` is called with each piece."""
        begin = f"--{boundary}\r\nContent-Disposition: form-data; name="
        parts = [f'{begin}"{key}"\r\n\r\n{text}\r\n' for key, text in fields.items()]
        parts.append(f'{begin}"file"; filename="{self.name}"\r\nContent-Type: {self.content_type}\r\n\r\n')
        head = "".join(parts).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        ended: list[bool] = []

        def chunks() -> Iterator[bytes]:
            if ended:
                # A transport that asks nobody would store the file twice.
                raise error_for(Failure(FailureKind.CONNECTION_LOST, "the connection was closed without an answer"))
            yield head
            sent = 0
            for piece in self._read():
                yield piece
                sent += len(piece)
                self._tell(progress, sent)
            if sent != self.size:
                raise _refused(f"the file changed while it was uploaded: {sent} bytes instead of {self.size}")
            yield tail
            ended.append(True)

        return FileBody(len(head) + self.size + len(tail), chunks, lambda: not ended)

    def _tell(self, progress: Callable[[int, int], object] | None, sent: int) -> None:
        if sent > self.size:
            raise _refused("the file grew while it was uploaded")
        if progress is None:
            return
        try:
            progress(sent, self.size)
        except BaseException as error:  # noqa: BLE001 (the host's code; it must not be taken for trouble on the wire)
            self.broken = error
        if self.broken is not None:
            raise CallCancelledError("the progress function raised", billing="unknown")


def source_of(file: Any, name: str | None) -> Source:
    """The source in a path, or in a binary file object that can be sought. Raises BadRequestError for what cannot be sent."""
    if isinstance(file, str | os.PathLike):
        return _of_path(Path(os.fsdecode(file)), name)
    if isinstance(file, bytes | bytearray):
        return _source(name, len(file), lambda: _pieces(io.BytesIO(file)))
    if isinstance(file, io.TextIOBase):
        raise _refused("the file must be opened in binary mode")
    if not all(callable(getattr(file, method, None)) for method in ("read", "seek", "tell")):
        raise _refused(f"file must be a path or a binary file that can be sought, not a {type(file).__name__}")
    return _of_object(file, name)


def _of_path(path: Path, name: str | None) -> Source:
    try:
        place = path.expanduser().resolve()
        about = place.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    else:
        if not stat.S_ISREG(about.st_mode):
            raise _refused(f"{path.name or 'the path'} is no regular file")
        return _source(name or path.name, about.st_size, lambda: _from_path(place, about))
    raise _refused(f"{path.name or 'the path'} cannot be read: {reason}")


def _from_path(place: Path, about: os.stat_result) -> Iterator[bytes]:
    """The file's pieces. Trouble with the disk is no trouble on the wire, so it is told as what it is."""
    try:
        with open(place, "rb") as file:
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != (about.st_size, about.st_mtime_ns):
                raise _refused("the file changed since the upload was begun")
            yield from _pieces(file)
            return
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise _refused(f"the file cannot be read: {reason}")


def _of_object(file: Any, name: str | None) -> Source:
    own = getattr(file, "name", None)
    try:
        start = file.tell()
        file.seek(0, io.SEEK_END)
        size = file.tell() - start  # what `seek` returns is not every file's position
        file.seek(start)
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    else:
        def read() -> Iterator[bytes]:
            file.seek(start)
            yield from _pieces(file)

        return _source(name or (own if isinstance(own, str) else None), size, read)
    raise _refused(f"the file object cannot be sought ({reason}); give a path")


def _pieces(file: Any) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
        else:
            if not isinstance(piece, bytes):
                raise _refused("the file must be opened in binary mode")
            if not piece:
                return
            yield piece
            continue
        raise _refused(f"the file cannot be read: {reason}")


def _source(name: str | None, size: int, read: Callable[[], Iterator[bytes]]) -> Source:
    if not isinstance(name, str) or not name:
        raise _refused('a file without a name needs name="..."')
    shown = safe_name(name)
    suffix = os.path.splitext(shown)[1].lower()
    if suffix not in CONTENT_TYPES:
        known = ", ".join(CONTENT_TYPES)
        raise _refused(f"{shown}: the vendor takes {known}, not {suffix or 'a name without an ending'} (page File)")
    if not 0 < size <= MAX_BYTES:
        what = "is empty" if not size else f"has {size} bytes, more than the vendor's {MAX_BYTES}"
        raise _refused(f"{shown} {what} (page File)")
    return Source(shown, size, CONTENT_TYPES[suffix], read)


def safe_name(name: str) -> str:
    """The base name with `_` for everything but letters, digits, `.`, `-` and `_`, not longer than 200 characters."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = os.path.splitext(_UNSAFE.sub("_", base))
    return stem[: _LONGEST_NAME - len(suffix)] + suffix[:_LONGEST_NAME]
