"""The log of what arrived and what became of it."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from cnroute.emulator.exchange import JSON


@dataclass(slots=True)
class Received:
    """One request.

    ``headers`` have lower-case names and no Authorization: ``authorized`` says whether a Bearer key was there.
    ``answered`` and ``usage`` are what was really written, as it was on the wire (``None``: no usage was written).
    ``ended``: ``done`` (complete answer), ``client_closed``, ``fault``, or ``None`` while it runs.
    ``at`` is the wall clock at arrival, ``seconds`` the time from there to the end.
    """

    number: int
    provider: str
    model: str
    stream: bool
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    authorized: bool
    body: JSON | bytes
    fault: str = "ok"
    status: int | None = None
    answered: str = ""
    usage: JSON | None = None
    connection: int = 0
    ended: str | None = None
    at: float = 0.0
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry as a JSON document; a body that was no JSON becomes text."""
        document = asdict(self)
        if isinstance(self.body, bytes):
            document["body"] = self.body.decode("utf-8", "replace")
        return document


@dataclass(slots=True)
class Log:
    """Entries in order of arrival; safe to use from any thread."""

    entries: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: int = 0

    def number(self) -> int:
        """The next number; numbers are never used again, not even after a reset."""
        with self.lock:
            self.last += 1
            return self.last

    def add(self, entry: Received) -> None:
        """Append an entry."""
        with self.lock:
            self.entries.append(entry)

    def copy(self) -> list[Received]:
        """All entries, in order of arrival."""
        with self.lock:
            return sorted(self.entries, key=lambda entry: entry.number)

    def clear(self) -> None:
        """Forget all entries."""
        with self.lock:
            self.entries.clear()
