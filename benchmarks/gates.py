"""Does every row of the table hold: what a routed call may cost (docs/performance.md)?

Runs every script and prints one table. A row that several figures answer shows the worst of them. Rows about peers come from
a file that `peers/run.py` has written; without it they are not measured.

    python benchmarks/gates.py --check
    python benchmarks/gates.py --only call stream --runs 1
    python benchmarks/gates.py --peers peers.json --record && python docs/tables.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.gates import GATES, Gate
from harness.script import machine, table

HERE = Path(__file__).parent
# What the pages show (docs/tables.py).
RECORD = HERE / "recorded.json"
SCRIPTS = ("call", "inmemory", "stream", "concurrency", "failover", "growth", "imports", "memory", "install")
HEADINGS = ("what", "measured", "unit", "spread", "must", "proud", "verdict", "worst of")


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help="processes of each script (each script's own number, mostly 5)")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, metavar="SCRIPT", help="a few of the scripts")
    parser.add_argument("--peers", type=Path, metavar="FILE", help="what peers/run.py has written")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a row is broken")
    parser.add_argument("--tiny", action="store_true", help="a few calls, to see that it works; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--record", dest="json", action="store_const", const=RECORD, help="write them where the pages look")
    return parser.parse_args(arguments)


def measured(names: Iterable[str], given: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of these scripts, whose own tables are printed as they come."""
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder, f"{name}.json")
            subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *given], check=True)
            print(flush=True)
            figures += json.loads(file.read_text("utf-8"))["figures"]
    return figures


def row(gate: Gate, figures: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """One gate, and the worst of the figures that answer it."""
    limits = (gate.limit(gate.must), gate.limit(gate.proud))
    mine = sorted((each for each in figures if each["gate"] == gate.key), key=lambda each: each["value"], reverse=not gate.least)
    if not mine:
        return (gate.what, "-", gate.unit, "", *limits, "not measured", "")
    worst = mine[0]
    spread = f"{min(worst['values']):.3g} to {max(worst['values']):.3g}"
    return (gate.what, f"{worst['value']:.3g}", gate.unit, spread, *limits, gate.verdict(worst["value"]), worst["name"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print; 1 when `--check` finds a broken row."""
    asked = options(arguments)
    given = [*(["--runs", str(asked.runs)] if asked.runs else []), *(["--tiny"] if asked.tiny else [])]
    figures = measured(asked.only, given)
    peers = json.loads(asked.peers.read_text("utf-8")) if asked.peers else {}
    rows = [row(gate, [*figures, *(each for peer in peers.values() for each in peer["figures"])]) for gate in GATES]
    print(*table(rows, HEADINGS), machine(), sep="\n", flush=True)
    if asked.json:
        named = [dict(zip(HEADINGS, each, strict=True)) for each in rows]
        document = {"machine": machine(), "rows": named, "figures": figures, "peers": peers}
        asked.json.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
    broken = [each for each in rows if "BROKEN" in each]
    return 1 if asked.check and broken else 0


if __name__ == "__main__":
    sys.exit(main())
