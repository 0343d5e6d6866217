"""The library's log: structlog over stdlib loggers, silent in a host that configured nothing.

Rules of this file
- Never `structlog.configure`, never `logging.basicConfig`, no level; the one handler is a NullHandler on `cnroute`.
- The level is asked first. structlog is imported when the first event is really logged: its import is slow.
- The processors are given here, so a host's own configuration of structlog changes nothing; what the host bound
  with `bind_contextvars` appears, and may neither break a LogRecord nor hide a field of ours.
- A handler or filter of the host that raises breaks no call.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from cnroute.notices import Notice
from cnroute.observe.events import DEBUG, EVENTS, LEVEL_NAMES, CloseFailed, Event, ObserverFailed, Unpriced, cleaned

# Names that logging refuses in `extra` or reads itself, and those that the usual structlog processors write.
RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "event", "exc_info", "stack_info", "stacklevel", "level", "logger", "timestamp",
}


def make_log(log_content: bool) -> Log:
    """The function that logs notices. It raises nothing but MemoryError."""
    _quiet()
    return Log(log_content)


def observer_failed(name: str, error: Exception) -> None:
    """Report, once per plugin, that an observer raised."""
    _quiet()
    Log(False)(ObserverFailed(plugin=name, error=error))


def close_failed(transport: str, error: Exception) -> None:
    """Report that a transport's stream raised when it was closed."""
    _quiet()
    Log(False)(CloseFailed(transport=transport, error=error))


def unpriced(deployments: tuple[str, ...], detail: str) -> None:
    """Report, once per router, deployments that a budget leaves out."""
    _quiet()
    Log(False)(Unpriced(deployments=deployments, detail=detail))


def _quiet() -> None:
    """Keep logging's last resort from printing to stderr where the host configured nothing."""
    root = logging.getLogger("cnroute")
    if not any(isinstance(handler, logging.NullHandler) for handler in root.handlers):
        root.addHandler(logging.NullHandler())


class Log:
    """Writes notices as the events of the catalogue. `failures` counts what the host's logging raised."""

    def __init__(self, log_content: bool) -> None:
        self.failures = 0
        self._content = log_content
        self._bound: dict[str, Any] = {}
        self._rows: dict[type, list[tuple[logging.Logger, Event]]] = {}
        for event in EVENTS:
            self._rows.setdefault(event.of, []).append((logging.getLogger(event.logger), event))
        self._always = {
            kind: [(logger, event.level) for logger, event in rows if event.when is None] for kind, rows in self._rows.items()
        }

    def hears(self, kind: type) -> bool:
        """Whether every notice of this kind makes an event now."""
        for logger, level in self._always.get(kind, ()):  # noqa: SIM110 (a generator costs as much as the question)
            if logger.isEnabledFor(level):
                return True
        return False

    def __call__(self, notice: Notice | ObserverFailed | CloseFailed | Unpriced) -> None:
        """Log what the catalogue says about `notice`."""
        for logger, event in self._rows.get(type(notice), ()):
            if logger.isEnabledFor(event.level) and (event.when is None or event.when(notice)):
                self._try(logger, event, notice)

    def _try(self, logger: logging.Logger, event: Event, notice: Notice | ObserverFailed | CloseFailed | Unpriced) -> None:
        try:
            self._write(logger, event, notice)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (handlers, filters and formatters of the host)
            self.failures += 1
            if self.failures == 1 and not isinstance(notice, ObserverFailed):
                observer_failed("logging", error)

    def _write(self, logger: logging.Logger, event: Event, notice: Notice | ObserverFailed | CloseFailed | Unpriced) -> None:
        fields = cleaned(event.make(notice))
        if self._content:
            fields |= {name: make(notice) for name, make in event.with_content.items()}
        if event.at_debug and logger.isEnabledFor(DEBUG):
            fields |= {name: make(notice) for name, make in event.at_debug.items()}
        getattr(self._logger(event.logger), LEVEL_NAMES[event.level])(event.name, **fields)

    def _logger(self, name: str) -> Any:
        if name not in self._bound:
            self._bound[name] = _bind(name)
        return self._bound[name]


def _bind(name: str) -> Any:
    """A structlog logger around the stdlib logger `name`, with processors of its own."""
    import structlog
    from structlog.contextvars import get_contextvars
    from structlog.stdlib import render_to_log_kwargs

    def merge_context(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Add the host's context variables; one whose name is taken comes as `context_<name>`."""
        for key, value in get_contextvars().items():
            event.setdefault(f"context_{key}" if key in event or key in RESERVED else key, value)
        return event

    # The level was asked before; this bound logger asks no second time.
    return structlog.wrap_logger(
        _Straight(logging.getLogger(name)), processors=[merge_context, render_to_log_kwargs],
        wrapper_class=structlog.make_filtering_bound_logger(0), context_class=dict, cache_logger_on_first_use=False,
    ).bind()


class _Straight:
    """Hands a stdlib logger the record of an event.

    `Logger.info` walks the stack for the line that logs, which is always the same one of structlog's; without that walk,
    and without asking twice whether names of fields are free, handing over costs half (measured).
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def _hand_over(self, level: int, msg: str, extra: dict[str, Any]) -> None:
        logger = self._logger
        record = logger.makeRecord(logger.name, level, __file__, 0, msg, (), None, None, None)
        record.__dict__.update(extra)
        logger.handle(record)

    def debug(self, msg: str, extra: dict[str, Any]) -> None:
        self._hand_over(logging.DEBUG, msg, extra)

    def info(self, msg: str, extra: dict[str, Any]) -> None:
        self._hand_over(logging.INFO, msg, extra)

    def warning(self, msg: str, extra: dict[str, Any]) -> None:
        self._hand_over(logging.WARNING, msg, extra)

    def error(self, msg: str, extra: dict[str, Any]) -> None:
        self._hand_over(logging.ERROR, msg, extra)
