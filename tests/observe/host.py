"""A host program: `python -m tests.observe.host NAME [FILE]` sets logging up in its way and plays the scene."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from tests.observe import scene


def bare() -> None:
    """Configures nothing: nothing may be printed."""
    act()


def quiet() -> None:
    """Wants no log at first: then structlog stays out of the process."""
    logging.basicConfig(level=logging.CRITICAL)
    act()
    assert "structlog" not in sys.modules
    logging.getLogger().setLevel(logging.INFO)
    act()
    assert "structlog" in sys.modules


class Dump(logging.Handler):
    """Prints every record with all its attributes as one line of JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        print(json.dumps({**vars(record), "shown": self.format(record)}, ensure_ascii=False, default=str))


def basic() -> None:
    """The standard library's own set-up, at DEBUG for every logger."""
    logging.basicConfig(level=logging.DEBUG, handlers=[Dump()])
    act()


def structured() -> None:
    """structlog over the standard library, with context variables, some of them under taken names."""
    import structlog

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    before = structlog.get_config()
    structlog.contextvars.bind_contextvars(user="李雷", request_id="host-7", name="taken", message="taken too")
    act()
    assert structlog.get_config() == before


class JsonLines(logging.Formatter):
    """What many services write: chosen attributes, then everything that came as `extra`."""

    usual = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in self.usual}
        return json.dumps({"event": record.getMessage(), "logger": record.name, **extra}, ensure_ascii=False)


def json_file() -> None:
    """JSON lines in a file, at DEBUG."""
    handler = logging.FileHandler(sys.argv[2], encoding="utf-8")
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    act()
    handler.close()


def act() -> None:
    """The scene, in a router of its own."""
    with scene.stage() as (router, emulator):
        scene.play(router, emulator)


if __name__ == "__main__":
    {"bare": bare, "quiet": quiet, "basic": basic, "structured": structured, "json_file": json_file}[sys.argv[1]]()
