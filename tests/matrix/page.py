"""The table of `docs/reliability.md`, written from the rows: `python -m tests.matrix.page` rewrites it."""

from __future__ import annotations

from pathlib import Path

from tests.matrix.rows import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
START, END = "<!-- rows of the fault matrix: python -m tests.matrix.page -->\n", "<!-- end of rows -->"
SECOND = {"ok": "answers", "no": "is not asked", None: ""}
AFTER = {"R": "kept", "C": "closed", "R/C": "either"}
WITHIN = {"q": "0.3 s", "f": "first byte + 0.3 s", "i": "idle + 0.3 s", "d": "total + 0.25 s"}


def table() -> str:
    """One line for each entry of the matrix."""
    lines = ["| row | what happens | the call ends as | another vendor | cost | connection | within |", "|" + "---|" * 7]
    for row in ROWS:
        kinds = ", ".join(f"`{kind}`" for kind in row.kinds)
        cells = (str(row.number), row.title, kinds, SECOND[row.second], f"`{row.billing}`", AFTER[row.after], _within(row))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _within(row: Row) -> str:
    return WITHIN[row.bound] if isinstance(row.bound, str) else f"{row.bound:g} s"


def rendered(text: str) -> str:
    """The page with the table as the rows have it now."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), "utf-8")
