"""The end of a pytest run: what every contract came to, from the reports alone, which may come from other processes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cnroute.testing.contract.checking import Check, NotRun
from cnroute.testing.contract.report import EXPECTED, FAILED, NOT_APPLICABLE, NOT_RUN, PASSED, Result, closing_line, table

PROPERTY = "cnroute_contract"
_OUTCOMES = {
    "passed": PASSED,
    "failed": FAILED,
    "error": FAILED,
    "skipped": NOT_APPLICABLE,
    "xfailed": EXPECTED,
    "xpassed": EXPECTED,
}


def lines(stats: Mapping[str, list[Any]]) -> Iterator[str]:
    """The lines to print: a heading, a table and the closing line for each contract."""
    for contract, results in sorted(_collected(stats).items()):
        owner = _owner(contract)
        checks: dict[str, Check] = owner.contract_checks()
        yield ""
        yield f"== {contract.partition(':')[2]} =="
        yield from table(checks, results)
        yield from owner.contract_notes()
        yield closing_line(checks, results, owner.contract_kind, owner.contract_version)


def _collected(stats: Mapping[str, list[Any]]) -> dict[str, list[Result]]:
    found: dict[str, dict[str, Result]] = {}
    for category, reports in stats.items():
        for report in reports:
            place = dict(getattr(report, "user_properties", ())).get(PROPERTY)
            if place is not None and category in _OUTCOMES:
                contract, name = place
                result = Result(name, *_ended(category, report))
                known = found.setdefault(contract, {}).get(name)
                if known is None or result.outcome == FAILED:
                    found[contract][name] = result
    return {contract: list(results.values()) for contract, results in found.items()}


def _ended(category: str, report: Any) -> tuple[str, str]:
    """The outcome of a report, and the reason why it was skipped; a skip mark is no reason of the contract's."""
    if category != "skipped":
        return _OUTCOMES[category], ""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = text.removeprefix("Skipped: ")
    return (NOT_RUN if report.when == "setup" or reason.startswith(NotRun.BEGINS) else NOT_APPLICABLE), reason


def _owner(contract: str) -> Any:
    """A contract class; the provider's where the class cannot be found any more."""
    module, _, name = contract.partition(":")
    owner = getattr(sys.modules.get(module), name, None)
    return owner if owner is not None else importlib.import_module("cnroute.testing.contract").ProviderContract
