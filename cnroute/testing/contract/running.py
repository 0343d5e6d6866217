"""The checks of a contract, run without pytest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnroute.errors import CnrouteError
from cnroute.testing.contract.checking import Check, ContractBroken, NotApplicable, NotRun
from cnroute.testing.contract.report import FAILED, NOT_APPLICABLE, NOT_RUN, PASSED, Result


def run(contract: type, checks: Mapping[str, Check]) -> Iterator[Result]:
    """The result of every check, one after the other."""
    for name in checks:
        yield run_one(contract, name)


def run_one(contract: type, name: str) -> Result:
    """The result of one check. What a check does not expect is a failure of the check, with its type."""
    instance: Any = contract()
    try:
        getattr(instance, name)()
    except NotRun as reason:
        return Result(name, NOT_RUN, str(reason))
    except NotApplicable as reason:
        return Result(name, NOT_APPLICABLE, str(reason))
    except ContractBroken as broken:
        return Result(name, FAILED, str(broken))
    except CnrouteError as error:
        return Result(name, FAILED, f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        return Result(name, FAILED, f"{type(error).__name__}: {error}")
    return Result(name, PASSED)
