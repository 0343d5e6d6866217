"""The library's log: structlog over stdlib loggers, silent in a host that configured nothing."""

from __future__ import annotations

from collections.abc import Callable

from cnroute.notices import Notice


def make_log(log_content: bool) -> Callable[[Notice], None]:
    """The function that logs notices."""
    return lambda notice: None


def observer_failed(name: str, error: Exception) -> None:
    """Report, once per plugin, that an observer raised."""
