"""`python -m tests.matrix`: run the fault matrix and print it as a table. Exit code 1 unless every case holds.

    python -m tests.matrix [--full] [--lines] [--only WORD ...] [--world sync|async] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TextIO

import attrs

from tests.matrix.hygiene import Hygiene
from tests.matrix.rows import Case, cases
from tests.matrix.running import Result, run

THREADS = 16
AGAIN = 0.05
"""The share of the cases that may be run a second time."""


def results(chosen: Sequence[Case], threads: int = THREADS) -> Iterator[Result]:
    """The cases' results as they come: the light ones side by side, then the heavy ones one after the other.

    Most rows have to do with limits of half a second, which a machine that stands still for as long ends by itself. So
    what may be the machine's doing is run once more with nothing beside it, and that counts; but only a few.
    """
    again: list[tuple[Case, Result]] = []
    left = max(2, round(AGAIN * len(chosen)))
    for case, result in _first_runs(chosen, threads):
        if result.holds or result.certain or len(again) == left:
            yield result
        else:
            again.append((case, result))
    for case, first in again:
        yield attrs.evolve(run(case), before=first.problems)


def _first_runs(chosen: Sequence[Case], threads: int) -> Iterator[tuple[Case, Result]]:
    with ThreadPoolExecutor(threads) as pool:
        light = {pool.submit(run, case): case for case in sorted(chosen, key=_hanging) if not case.row.alone}
        for future in as_completed(light):
            yield light[future], future.result()
    for case in chosen:
        if case.row.alone:
            yield case, run(case)


def _hanging(case: Case) -> float:
    """The long ones first, so that the others run beside them."""
    return -max(case.row.seconds, case.row.timeouts.get("total", 0.0))


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    if options.without:
        from tests.matrix.guards import GUARDS  # only here: it reaches into the library

        GUARDS[options.without].remove()
    chosen = [case for case in cases(full=options.full, worlds=tuple(options.world)) if _wanted(case, options.only)]
    found: list[Result] = []
    with Hygiene() as hygiene:
        for result in results(chosen, options.threads):
            found.append(result)
            if options.lines:
                print(json.dumps(attrs.asdict(result)), flush=True)
    if options.lines:
        print(json.dumps({"left": hygiene.problems}), flush=True)
    else:
        show(sorted(found, key=lambda result: result.id), hygiene.problems, sys.stdout)
    return 0 if all(result.holds for result in found) and not hygiene.problems else 1


def _wanted(case: Case, words: Sequence[str]) -> bool:
    return not words or any(word in case.id for word in words)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="The fault matrix as a table.")
    parser.add_argument("--full", action="store_true", help="every fault in every dialect, asynchronous too")
    parser.add_argument("--lines", action="store_true", help="one JSON document a line")
    parser.add_argument("--only", nargs="*", default=(), metavar="WORD", help="cases whose id holds one of the words")
    parser.add_argument("--world", nargs="*", default=("sync", "async"), choices=("sync", "async"))
    parser.add_argument("--without", metavar="GUARD", help="take one guard of the library away (tests/matrix/guards.py)")
    parser.add_argument("--threads", type=int, default=THREADS)
    return parser.parse_args(argv)


COLUMNS = "{:<62} {:<20} {:<8} {:>3} {:>7} {:>5}  {}"


def show(found: Sequence[Result], left: Sequence[str], out: TextIO) -> None:
    """The table, what does not hold, and how far deadlines were overshot."""
    print(COLUMNS.format("case", "seen", "billing", "2nd", "seconds", "after", ""), file=out)
    for result in found:
        state = "FAILS" if not result.holds else "held alone" if result.before else ""
        print(
            COLUMNS.format(
                result.id, result.seen, result.billing, result.asked, f"{result.seconds:.2f}", result.after, state
            ).rstrip(),
            file=out,
        )
    for result in found:
        for problem in result.problems:
            print(f"FAILS {result.id}: {problem}", file=out)
        for problem in result.before:
            print(f"BESIDE OTHERS {result.id}: {problem}", file=out)
    for problem in left:
        print(f"LEFT {problem}", file=out)
    print(summary(found), file=out)


def summary(found: Sequence[Result]) -> str:
    """Passed of listed, in both worlds, rows and cases; overshoot of everything that hangs or drips."""
    lines = []
    for world in ("sync", "async"):
        some = [result for result in found if result.id.endswith(f"-{world}")]
        if some:
            failed = {result.number for result in some if not result.holds}
            numbers = {result.number for result in some}
            held = sum(result.holds for result in some)
            lines.append(f"{world}: {len(numbers - failed)} of {len(numbers)} rows, {held} of {len(some)} cases")
    late = sorted(result.overshoot for result in found if result.overshoot is not None)
    if late:
        lines.append(
            f"overshoot of {len(late)} hanging and dripping cases: p99 {late[int(0.99 * (len(late) - 1))]:.3f} s, "
            f"maximum {late[-1]:.3f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
