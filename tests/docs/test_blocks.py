"""Every `python` block of the documentation runs, page by page, against the emulator."""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnroute.emulator import Emulator
from tests.docs.pages import PAGES, ROOT, Block, blocks, headings, python_blocks, section_command

RUNNABLE = [page for page in PAGES if page.exists() and any(True for _ in python_blocks(page))]
CHECKER = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def run(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run one block in `names`; what it prints is compared with what the page claims, if it does."""
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    if block.output is not None:
        assert CHECKER.check_output(block.output, printed.getvalue(), FLAGS), (
            f"{page.name}:{block.line} prints\n{printed.getvalue()}\nnot\n{block.output}"
        )


def run_doctest(block: Block, page: Path, names: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.code, names, page.name, str(page), block.line)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert not result.failed, "".join(report)


@contextlib.contextmanager
def closing(names: dict[str, Any]) -> Iterator[None]:
    """A program's beginning and end: logging that nobody has configured, and at last everything closed."""
    loggers = [logging.getLogger(name) for name in (None, "cnroute")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = []
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        for value in list(names.values()):
            if type(value).__module__.startswith("cnroute.") and type(value).__name__ in ("Router", "Emulator"):
                value.close()
        names.clear()
        gc.collect()


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, vendors: Emulator) -> None:
    """A reader who pastes a page's blocks one after the other sees what the page says."""
    names: dict[str, Any] = {"__name__": "docs"}
    with closing(names):
        for block in python_blocks(page):
            (run_doctest if block.code.startswith(">>>") else run)(block, page, names)


def test_the_embedding_example_calls_the_vendors(vendors: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """The first block of the README asks for a plain answer and a stream, and prints both."""
    names: dict[str, Any] = {"__name__": "docs"}
    with closing(names):
        exec(next(python_blocks(README)).code, names)
    assert [(entry.provider, entry.stream) for entry in vendors.requests] == [("dashscope", False), ("dashscope", True)]
    printed = capsys.readouterr().out
    assert all(entry.answered in printed for entry in vendors.requests)


def test_the_embedding_example_is_short() -> None:
    """Ten to twelve lines of code show a route, a call and a stream."""
    code = next(python_blocks(README)).code
    assert 10 <= sum(1 for line in code.splitlines() if line.strip()) <= 12


def test_both_readmes_have_the_same_blocks() -> None:
    """The Chinese README cannot fall behind in what can be run."""
    assert [block[:2] for block in blocks(CHINESE)] == [block[:2] for block in blocks(README)]


def test_both_readmes_have_the_same_headings() -> None:
    """Every English heading begins the Chinese one, so that both are found by the same words."""
    pairs = list(zip(headings(README), headings(CHINESE), strict=True))
    assert all(chinese.startswith(english) for english, chinese in pairs), pairs


@pytest.mark.parametrize("page", [README, CHINESE], ids=lambda page: page.name)
@pytest.mark.parametrize("heading", ["## Quick start", "## Run the tests"])
def test_a_section_holds_one_command_line(page: Path, heading: str) -> None:
    """One line to paste: nobody has to know what comes next."""
    assert len(section_command(page, heading).splitlines()) == 1


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of the READMEs names a file that exists."""
    for page in (README, CHINESE):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
