"""A pytest plugin: every record of every logger at DEBUG, in every test, is searched for the keys and prompts of all tests.

    pytest -p tests.security.everywhere tests/contract

It writes nothing of its own into a test; at the end of the session it names what was found, and fails the session.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.contract import kit
from tests.matrix import running
from tests.security.watch import CONTENT, SECRETS, Watch, forms, hits

FORBIDDEN = SECRETS | CONTENT | {
    "key of the kit": {kit.KEY}, "key of the matrix": forms(running.KEY), "group of the matrix": {running.GROUP},
    "group of the kit": {kit.GROUP}, "group of the transports": {"canary-group"}, "prompt of the kit": {kit.QUESTION},
    "prompt of the matrix": {"笑一个 marker:"},
}  # fmt: skip


class Everywhere(Watch):
    """Keeps counts and hits, not lines."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0
        self.found: dict[str, set[str]] = {}
        self.test = ""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self.records += 1
        for text in (*self.lines, *self.shown):
            for name in hits(text, FORBIDDEN):
                self.found.setdefault(self.test, set()).add(f"{name} in {record.name}")
        self.lines.clear()
        self.shown.clear()


_EVERYWHERE = Everywhere()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Listen while a test runs, set-up and tear-down too."""
    root = logging.getLogger()
    level, _EVERYWHERE.test = root.level, item.nodeid
    root.addHandler(_EVERYWHERE)
    root.setLevel(logging.DEBUG)
    try:
        return (yield)
    finally:
        root.removeHandler(_EVERYWHERE)
        root.setLevel(level)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Something was found, or nothing was heard: either is a failure."""
    if _EVERYWHERE.found or not _EVERYWHERE.records:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line, and what was found where."""
    found = _EVERYWHERE.found
    terminalreporter.write_line(f"canaries: {_EVERYWHERE.records} records at DEBUG, {len(found)} tests with hits")
    for test, names in found.items():
        terminalreporter.write_line(f"canary: {test}: {', '.join(sorted(names))}")
