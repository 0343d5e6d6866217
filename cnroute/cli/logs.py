"""What of the library's log a terminal sees: warnings about the configuration; more with CNROUTE_LOG_LEVEL.

Then every event is a line of JSON, so that `cnroute explain` can read what was written at DEBUG.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import click

from cnroute.codec import escaped

LEVEL = "CNROUTE_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A log record as one line of JSON: level, logger, event, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        line = {"level": record.levelname.lower(), "logger": record.name, "event": record.getMessage(), **fields}
        return escaped(line, default=str)


@contextlib.contextmanager
def logs_to_stderr() -> Iterator[None]:
    """For one command, the loggers `cnroute.*` (at CNROUTE_LOG_LEVEL) or `cnroute.config` alone write to stderr."""
    wanted = os.environ.get(LEVEL, "").upper()
    if wanted and wanted not in LEVELS:
        raise click.UsageError(f"{LEVEL} must be one of {', '.join(LEVELS)}, not {wanted[:40]!r}")
    logger = logging.getLogger("cnroute" if wanted else "cnroute.config")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if wanted else logging.Formatter("cnroute: %(levelname)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(wanted or "WARNING")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
