"""What every script does: run its measurement in processes of its own, print one table, fail when a gate is broken.

Rules of this file
- Ratios differ more between processes than inside one, so a figure is the median of several processes (five), and the
  spread printed is the lowest and the highest of them.
- One vendor process serves them all.
- JSON by the standard library means that orjson cannot be imported in the process that is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import cnroute
from harness.gates import BY_KEY
from harness.rounds import FULL, TINY, Ratio, Size
from harness.vendor import Vendor


@attrs.frozen
class Figure:
    """One measured number. `gate` names the row of the table that it answers, if it answers one."""

    name: str
    value: float
    unit: str = "U"
    gate: str | None = None
    note: str = ""

    @classmethod
    def of(cls, name: str, ratio: Ratio, gate: str | None = None, unit: str = "U") -> Figure:
        """A ratio, with both sides in microseconds beside it."""
        within = f"{ratio.microseconds:.1f} of {ratio.base:.1f} us; quartiles of a run {ratio.low:.3f} to {ratio.high:.3f}"
        return cls(name, ratio.value, unit, gate, within)


@attrs.frozen
class Merged:
    """The same figure from several processes."""

    figure: Figure
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """What the gate says, if there is one."""
        return BY_KEY[self.figure.gate].verdict(self.value) if self.figure.gate else ""

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        gate = BY_KEY.get(self.figure.gate or "")
        limits = (gate.limit(gate.must), gate.limit(gate.proud)) if gate else ("", "")
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        return (self.figure.name, f"{self.value:.3g}", self.figure.unit, spread, *limits, self.verdict, self.figure.note)

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**attrs.asdict(self.figure), "value": self.value, "values": self.values, "verdict": self.verdict}


VERSIONS = (
    "cnroute", "urllib3", "attrs", "pluggy", "cattrs", "structlog", "orjson",
    "litellm", "openai", "dashscope", "any-llm-sdk", "pydantic-ai-slim", "httpx", "requests", "aiohttp",
)
HEADINGS = ("figure", "median", "unit", "spread", "must", "proud", "verdict", "last run")


def table(rows: Iterable[Sequence[str]], headings: Sequence[str] = HEADINGS) -> list[str]:
    """Rows as a Markdown table, aligned for terminals."""
    filled = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in filled]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def machine() -> str:
    """Where this was measured, with which versions, under which load."""
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    load = "/".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    known = " ".join(f"{name} {version}" for name in VERSIONS if (version := version_of(name)))
    return f"{os.cpu_count()} cores ({model}), load {load}, Python {platform.python_version()}, {known}"


def version_of(name: str) -> str | None:
    """The version of a distribution; of cnroute that which is measured, installed or not."""
    try:
        return importlib.metadata.version(name) if name != "cnroute" else cnroute.__version__
    except importlib.metadata.PackageNotFoundError:
        return None


def merge(runs: Iterable[Iterable[Mapping[str, Any]]]) -> list[Merged]:
    """The figures of several processes by name, in their order."""
    found: dict[str, list[Figure]] = {}
    for run in runs:
        for fields in run:
            found.setdefault(fields["name"], []).append(Figure(**fields))
    return [Merged(figures[-1], tuple(figure.value for figure in figures)) for figures in found.values()]


def options(question: str, arguments: Sequence[str], runs: int) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=question, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="processes; the figure is the median of them (%(default)s)")
    parser.add_argument("--blocks", type=int, default=FULL.blocks, help="interleaved blocks of a run (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a few calls, to see that it works; the figures mean nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a gate is broken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--once", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--codec", default="stdlib", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(
    question: str | None, measure: Callable[[Size, Vendor], list[Figure]], codecs: Sequence[str] = ("stdlib",), runs: int = 5,
    words: Sequence[str] = (),
) -> int:
    """Run `measure` in processes of its own; 1 when `--check` finds a broken gate.

    `words` stand before the options on the command line, and are handed on.
    """
    arguments = sys.argv[1 + len(words) :]
    asked = options(question or "", arguments, runs)
    size = TINY if asked.tiny else attrs.evolve(FULL, blocks=asked.blocks)
    if asked.once:
        size = attrs.evolve(size, fast=asked.codec == "fast")
        print(json.dumps([attrs.asdict(figure) for figure in measure(size, Vendor(asked.once))]))
        return 0
    print((question or "").partition("\n")[0])
    with Vendor() as vendor:
        runs = [_process([*words, *_handed_on(asked, vendor, codec)], codec) for _ in range(asked.runs) for codec in codecs]
    merged = merge(runs)
    report(merged, asked.json)
    return 1 if asked.check and any(each.verdict == "BROKEN" for each in merged) else 0


def report(merged: Sequence[Merged], file: Path | None) -> None:
    """Print the table and the machine; write JSON."""
    print(*table(each.cells() for each in merged), machine(), sep="\n", flush=True)
    if file is not None:
        document = {"machine": machine(), "figures": [each.document() for each in merged]}
        file.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _handed_on(asked: argparse.Namespace, vendor: Vendor, codec: str) -> list[str]:
    return ["--once", vendor.url, "--codec", codec, "--blocks", str(asked.blocks), *(["--tiny"] if asked.tiny else [])]


def _process(given: Sequence[str], codec: str) -> list[dict[str, Any]]:
    """One run in a process of its own."""
    blocked = [] if codec == "fast" else ["-c", _WITHOUT_ORJSON]
    command = [sys.executable, *blocked, sys.argv[0], *given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return figures


# Runs a script as if it were started directly.
_WITHOUT_ORJSON = """
import os, runpy, sys
sys.modules["orjson"] = None
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
