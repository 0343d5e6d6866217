"""Notices of a router's calls, kept in a list."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cnroute.notices import Notice


@contextlib.contextmanager
def capture_notices(router: Any) -> Iterator[list[Notice]]:
    """Everything that observers of `router` are told inside the `with` block, in order."""
    seen: list[Notice] = []
    entry = ("capture_notices", seen.append)
    observers = router._engine.observers  # noqa: SLF001 (of this package)
    observers.append(entry)
    try:
        yield seen
    finally:
        observers.remove(entry)
