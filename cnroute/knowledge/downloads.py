"""Where the content of a file goes: a path of the caller's, or a file object; never a name of the vendor's.

Rules of this file
- A path gets its content only when it is complete: the bytes wait in a file beside it, which every other ending removes.
- Nothing is overwritten unless the caller says so.
- Trouble with the disk is told as what it is, not as trouble on the wire.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from cnroute.errors import BadRequestError

T = TypeVar("T")


def _try(action: Callable[[], T]) -> T:
    try:
        return action()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise BadRequestError(f"the target cannot be written: {reason}", billing="none")


class Sink:
    """Takes the pieces of a download, from the beginning each time that `begin` is called."""

    size = 0

    def begin(self) -> None:
        """Forget what was written: the download starts anew."""

    def write(self, piece: bytes) -> None:
        """The next bytes."""

    def finish(self) -> None:
        """The content is complete."""

    def drop(self) -> None:
        """The download has ended in any way. Raises nothing."""


class ToPath(Sink):
    """To a path."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.part")
        self._file: IO[bytes] | None = None

    def begin(self) -> None:
        """Open the file beside the target."""
        self.drop()
        self._file = _try(lambda: open(self._part, "xb"))  # noqa: SIM115 (`drop` closes it, whatever happens)
        self.size = 0

    def write(self, piece: bytes) -> None:
        """The next bytes."""
        file = self._file
        assert file is not None  # noqa: S101 (begin comes first)
        _try(lambda: file.write(piece))
        self.size += len(piece)

    def finish(self) -> None:
        """Put the complete file in its place."""
        assert self._file is not None  # noqa: S101 (begin comes first)
        _try(self._file.close)
        if self._path.exists() and not self._overwrite:
            raise BadRequestError("target has appeared during the download; say overwrite=True to replace it", billing="none")
        _try(lambda: os.replace(self._part, self._path))

    def drop(self) -> None:
        """Close and remove what is not finished."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                self._part.unlink()


class ToFile(Sink):
    """To a binary file object of the caller's, from where it stands. One that cannot be sought is written once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start: int | None = None
        self.size = 0

    def begin(self) -> None:
        """Go back to where it stood."""
        if self._start is None:
            seekable = callable(getattr(self._file, "seekable", None)) and _try(self._file.seekable)
            self._start = _try(self._file.tell) if seekable else -1
        if self.size:
            if self._start < 0:
                raise BadRequestError("the download broke, and its target cannot be written anew", billing="none")
            _try(lambda: (self._file.seek(self._start), self._file.truncate()))
        self.size = 0

    def write(self, piece: bytes) -> None:
        """The next bytes."""
        rest = piece
        while rest:
            rest = rest[self._taken(rest) :]
        self.size += len(piece)

    def _taken(self, rest: bytes) -> int:
        """How many bytes the file took: an unbuffered one may take fewer than it is given, or none."""
        taken = _try(lambda: self._file.write(rest))
        if taken == 0 or (taken is None and isinstance(self._file, io.RawIOBase)):
            raise BadRequestError("the target cannot be written: it takes no more", billing="none")
        return taken if isinstance(taken, int) else len(rest)


def sink_of(target: Any, overwrite: bool) -> Sink:
    """The sink for a path or a binary file object. Raises BadRequestError for a folder and for what is in the way."""
    if not isinstance(target, str | os.PathLike):
        if not callable(getattr(target, "write", None)):
            raise BadRequestError(f"target must be a path or a binary file, not a {type(target).__name__}", billing="none")
        if isinstance(target, io.TextIOBase):
            raise BadRequestError("target must be opened in binary mode", billing="none")
        return ToFile(target)
    path = Path(os.fsdecode(target)).expanduser()
    if path.is_dir():
        raise BadRequestError("target is a folder; say which file (the vendor's own names are never used)", billing="none")
    if path.exists() and not overwrite:
        raise BadRequestError("target exists already; say overwrite=True to replace it", billing="none")
    return ToPath(path, overwrite)
