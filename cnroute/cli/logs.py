"""What of the library's log a terminal sees: warnings about the configuration; more with CNROUTE_LOG_LEVEL."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import click

LEVEL = "CNROUTE_LOG_LEVEL"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@contextlib.contextmanager
def logs_to_stderr() -> Iterator[None]:
    """For one command, the loggers `cnroute.*` (at CNROUTE_LOG_LEVEL) or `cnroute.config` alone write to stderr."""
    wanted = os.environ.get(LEVEL, "").upper()
    if wanted and wanted not in LEVELS:
        raise click.UsageError(f"{LEVEL} must be one of {', '.join(LEVELS)}, not {wanted[:40]!r}")
    logger = logging.getLogger("cnroute" if wanted else "cnroute.config")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("cnroute: %(levelname)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(wanted or "WARNING")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
