"""Do thousands of calls over failing vendors lose nothing: no answer, no cent, no second, no socket, no secret?

A router and 32 threads call three emulated vendors (in a process of their own), of whose answers a fifth are faults.
Every invariant of the project's reliability page is a named check with a count of violations; one fails the run.

    python benchmarks/chaos.py --seeds 1-5
    python benchmarks/chaos.py --seeds 1 --variant fork --json fork.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from chaosbench import checks, reporting
from chaosbench.running import VARIANTS, run_once
from chaosbench.watching import Rest

# From the first run at rest to the last: of Python's blocks in percent, of memory in MiB.
MORE_BLOCKS, MORE_MEMORY = 1.0, 5.0


def seeds(text: str) -> list[int]:
    """`1-5`, `3` or `1,4,7`."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds, default=[1], metavar="1-5", help="one run for each")
    parser.add_argument("--variant", choices=VARIANTS, nargs="+", default=["plain"], help="what else happens: " + "; ".join(
        f"{name}: {variant.says}" for name, variant in VARIANTS.items()).replace("%", "%%"))  # fmt: skip
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--calls", type=int, default=150, help="of each thread")
    parser.add_argument("--seconds", type=float, default=90, help="after which no further call begins")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the reports as one JSON list")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, report; 1 when anything was violated."""
    asked = options(arguments)
    reports, resting = [], []
    for variant in asked.variant:
        for seed in asked.seeds:
            run = run_once(seed, variant, asked.threads, asked.calls, asked.seconds)
            reports.append(reporting.document(run, checks.violations(run)))
            del run
            resting.append(Rest.now())
            print(*reporting.lines(reports[-1]), sep="\n", flush=True)
    violated = sum(sum(report["violations"].values()) for report in reports)
    blocks, memory = resting[-1].since(resting[0])
    print(f"{len(reports)} runs, {violated} violations; first to last {blocks:+.2f} % of blocks, {memory:+.1f} MiB of memory")
    print("resident", *("?" if rest.rss is None else f"{rest.rss:.0f}" for rest in resting), "MiB")
    leaks = blocks > MORE_BLOCKS or memory > MORE_MEMORY
    if leaks:
        print(f"memory: at most {MORE_BLOCKS:+} % of blocks and {MORE_MEMORY:+} MiB are allowed")
    if asked.json:
        asked.json.write_text(json.dumps(reports, ensure_ascii=False, indent=1), "utf-8")
    return 1 if violated or leaks else 0


if __name__ == "__main__":
    sys.exit(main())
