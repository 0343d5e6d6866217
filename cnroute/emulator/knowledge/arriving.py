"""An upload on its way from the socket to the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cnroute.emulator.knowledge import forms
from cnroute.emulator.knowledge.library import Incoming, Library


class Arriving:
    """The form of one upload; leaving the ``with`` block deletes what was not kept as a file."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._files: list[Incoming] = []

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_exception: object) -> None:
        kept = {file.path for file in self._library.files}
        for file in self._files:
            if file.path not in kept:
                file.discard()

    def read(self, pieces: Iterator[bytes], content_type: str) -> dict[str, Any]:
        """The fields, and under ``file`` the file; a form that is none gives its ``problem`` instead."""
        try:
            fields = forms.read(pieces, content_type, self._open)
        except forms.BadForm as problem:
            return {"problem": str(problem)}
        for file in self._files:
            file.close()
        return {**fields, **({"file": self._files[0]} if self._files else {})}

    def _open(self, name: str) -> Incoming:
        self._files.append(self._library.incoming(name))
        return self._files[-1]


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """The body of an upload for the log: the file as its name and size."""
    file = body.get("file")
    return {**body, "file": {"filename": file.name, "bytes": file.bytes}} if isinstance(file, Incoming) else body
