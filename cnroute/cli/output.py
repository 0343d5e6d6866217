"""What the terminal gets: colour only where it is wanted, JSON, text that cannot steer a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from cnroute.codec import escaped

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

_WIDTH_OF_A_PIPE = 110
# What could move the cursor, ring, or turn text around; line ends and tabs stay.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def with_output_options(command: F) -> F:
    """The options that every command has: `--json` and `--no-color`."""
    for option in (
        click.option("--no-color", is_flag=True, help="No colour (also with NO_COLOR or TERM=dumb)."),
        click.option("--json", "as_json", is_flag=True, callback=_note_json, help="JSON on stdout instead of text."),
    ):
        command = option(command)
    return command


def _note_json(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Remember it where errors are reported."""
    ctx.find_root().meta["cnroute.json"] = value
    return value


def coloured(stream: IO[str], no_color: bool = False) -> bool:
    """Whether colour is wanted on `stream`."""
    plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def console(no_color: bool = False) -> Console:
    """A rich console on stdout that takes text as it is: no markup, no emoji names, no guessed highlights."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `app` ends quietly

    terminal = sys.stdout.isatty()
    return Ours(
        file=sys.stdout, force_terminal=terminal, color_system="auto" if coloured(sys.stdout, no_color) else None,
        width=None if terminal else _WIDTH_OF_A_PIPE, markup=False, emoji=False, highlight=False, soft_wrap=True,
    )


def print_json(document: Any, *, line: bool = False) -> None:
    """One JSON document on stdout; with `line` on one line, sent at once."""
    text = escaped(document, indent=None if line else 2)
    print(text, flush=line)


def harmless(text: str) -> str:
    """`text` as a terminal may have it: control characters are shown, not obeyed. A pipe gets it untouched."""
    return _STEERING.sub(lambda found: ascii(found.group())[1:-1], text) if sys.stdout.isatty() else text


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], out: Console) -> None:
    """A table without lines: one row a line, whole cells, so that it can be read and grepped."""
    kept = [[harmless(cell) for cell in row] for row in rows]
    widths = [max(map(_cells, column)) for column in zip(columns, *kept, strict=True)]
    for index, row in enumerate((columns, *kept)):
        line = "  ".join(cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), style="bold" if index == 0 else "")


def _cells(text: str) -> int:
    """How many columns a text takes: a Chinese character takes two."""
    from rich.cells import cell_len

    return cell_len(text)
