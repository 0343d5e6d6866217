"""What a run of a contract came to: a small table and the closing line, with and without pytest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from cnroute.testing.contract.checking import VERSION, Check

PASSED, FAILED, NOT_APPLICABLE, EXPECTED, NOT_RUN = "passed", "failed", "not applicable", "expected to fail", "not run"
ORDER = (PASSED, FAILED, EXPECTED, NOT_APPLICABLE, NOT_RUN)


@attrs.frozen
class Result:
    """How one check of one contract ended; `text` says why it failed or does not apply."""

    check: str
    outcome: str
    text: str = ""


def counted(checks: Mapping[str, Check], results: Iterable[Result]) -> dict[str, int]:
    """How many checks ended how; those without a result were not run."""
    by_name = {result.check: result.outcome for result in results}
    outcomes = [by_name.get(name, NOT_RUN) for name in checks]
    return {outcome: outcomes.count(outcome) for outcome in ORDER}


def closing_line(
    checks: Mapping[str, Check], results: Iterable[Result], kind: str = "contract", version: int = VERSION
) -> str:
    """`cnroute contract 1: 41 passed, 2 not applicable`."""
    counts = counted(checks, results)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count or outcome == PASSED)
    return f"cnroute {kind} {version}: {told}"


def table(checks: Mapping[str, Check], results: Iterable[Result]) -> Iterator[str]:
    """A line for each group of checks, then one for each check that failed."""
    listed = list(results)
    by_name = {result.check: result for result in listed}
    groups = list(dict.fromkeys(check.group for check in checks.values()))
    width = max(map(len, groups), default=0)
    yield f"{'group':<{width}}  passed  failed  not applicable"
    for group in groups:
        names = [name for name, check in checks.items() if check.group == group]
        ended = [by_name[name].outcome for name in names if name in by_name]
        yield f"{group:<{width}}  {ended.count(PASSED):>6}  {ended.count(FAILED):>6}  {ended.count(NOT_APPLICABLE):>14}"
    for result in listed:
        if result.outcome == FAILED:
            yield f"failed: {result.check}"
    for reason, names in _reasons(listed).items():
        yield f"not applicable: {', '.join(names)} ({reason})"


def _reasons(results: list[Result]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for result in results:
        if result.outcome == NOT_APPLICABLE:
            found.setdefault(result.text or "no reason given", []).append(result.check)
    return found


def document(checks: Mapping[str, Check], results: Iterable[Result]) -> dict[str, Any]:
    """The same as JSON-ready data."""
    listed = list(results)
    by_name = {result.check: result for result in listed}
    rows = [
        {
            "check": name,
            "group": check.group,
            "promise": check.promise.split("\n")[0],
            "outcome": by_name[name].outcome if name in by_name else NOT_RUN,
            "text": by_name[name].text if name in by_name else "",
        }
        for name, check in checks.items()
    ]
    return {"contract": VERSION, "counts": counted(checks, listed), "line": closing_line(checks, listed), "checks": rows}
