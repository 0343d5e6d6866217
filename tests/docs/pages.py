"""Reads the pages of the documentation and their fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md", ROOT / "plugins/README.md"])

_FENCE = re.compile(r"^(?P<fence>```+|:::+)(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"\s*<!-- output -->\s*")


class Block(NamedTuple):
    """One fenced block: language, code, its first line in the page, and the output that the page claims."""

    language: str
    code: str
    line: int
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    """Every fenced block. A text block behind the comment `<!-- output -->` is what the block before it prints."""
    text = page.read_text("utf-8")
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(text):
        block = Block(match["info"].strip(), match["code"], text.count("\n", 0, match.start("code")) + 1)
        if found and _OUTPUT.fullmatch(text, end, match.start()):
            found[-1] = found[-1]._replace(output=block.code)
        else:
            found.append(block)
        end = match.end()
    return found


def python_blocks(page: Path) -> Iterator[Block]:
    """The blocks that a reader may run."""
    return (block for block in blocks(page) if block.language == "python")


def headings(page: Path) -> list[str]:
    """Every heading, outside of blocks."""
    return re.findall(r"^(#{1,6} .*)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)


def section_command(page: Path, heading: str) -> str:
    """The `sh` block of a section."""
    text = page.read_text("utf-8")
    section = text[text.index(f"\n{heading}") :]
    match = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert match, f"{page.name}: no sh block under {heading!r}"
    return match[1].strip()
