"""Fifty mutants that mutmut drew (tests/data/mechanical_mutants.json): each is caught, or listed as a survivor with the reason.

`python -m tests.conformance.mechanical` prints which check caught each, and `caught N / planted N, S survivors`. A mutant of
a file that several dialects share is put to each of them until one catches it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cnroute.testing.contract import CHECKS
from cnroute.testing.contract.report import FAILED
from cnroute.testing.contract.running import run_one
from tests.conformance.mutating import PROVIDERS, planted

FILE = Path(__file__).parent.parent / "data" / "mechanical_mutants.json"
MUTANTS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
_OWN = {
    "dashscope": ("dashscope",), "minimax/v2": ("minimax-v2",), "minimax/pro": ("minimax-pro",),
    "minimax/legacy": ("minimax-legacy",),
}  # fmt: skip
_SHARED = ("minimax-v2", "minimax-pro", "minimax-legacy")


def providers(file: str) -> tuple[str, ...]:
    """Who speaks through a file."""
    return next((names for begin, names in _OWN.items() if file.startswith(begin)), _SHARED)


def fits(mutant: dict[str, Any]) -> bool:
    """Whether the old text still stands in the provider once."""
    return (PROVIDERS / mutant["file"]).read_text("utf-8").count(mutant["old"]) == 1


def caught_by(mutant: dict[str, Any]) -> str | None:
    """The first check that a mutant fails, None if it survives all."""
    return next(filter(None, (_caught_in(provider, mutant) for provider in providers(mutant["file"]))), None)


def _caught_in(provider: str, mutant: dict[str, Any]) -> str | None:
    def patch(target: Path) -> None:
        file = target / mutant["file"]
        source = file.read_text("utf-8")
        assert source.count(mutant["old"]) == 1, mutant
        file.write_text(source.replace(mutant["old"], mutant["new"]), "utf-8")

    try:
        with planted(provider, patch, effort=1) as contract:
            return next((name for name in CHECKS if run_one(contract, name).outcome == FAILED), None)
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 (a mutant may not even import)
        return f"import: {type(error).__name__}"


def main() -> int:
    """Run all; 1 when one survives without a reason, or is caught in spite of one."""
    caught, wrong = 0, 0
    for mutant in MUTANTS:
        found, expected = caught_by(mutant), mutant.get("survives")
        caught += found is not None
        wrong += (found is None) != (expected is not None)
        print(f"{mutant['file']}: {mutant['new'].strip()[:90]!r}: {found or f'survived: {expected}'}", flush=True)
    print(f"caught {caught} / planted {len(MUTANTS)}, {len(MUTANTS) - caught} survivors")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
