"""What every check of a contract has in common: how it fails, when it does not apply, and who guards it.

Rules of this file
- A check is a method marked with `@check(group)`; its name states the promise, its docstring says it in a sentence.
- A check fails with `ContractBroken`, which says sample, expected, got, and what to change.
- A check that has nothing to look at raises `NotApplicable`; pytest shows it as skipped.
- A contract's checks are noted when its class is made: one that is replaced or removed later is found by `tampered`.
"""

from __future__ import annotations

import inspect
import unittest
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import attrs

F = TypeVar("F", bound=Callable[..., Any])

VERSION = 1
"""The number in the closing line; it changes when a check is added or made stricter."""

_LONGEST = 400


class NotApplicable(unittest.SkipTest):
    """The check has nothing to look at; the text says why."""


class NotRun(NotApplicable):
    """The check could not be tried, for a reason that another one has failed with."""

    BEGINS = "not run: "

    def __init__(self, reason: str) -> None:
        super().__init__(self.BEGINS + reason)


class ContractBroken(AssertionError):
    """A promise of the contract that the plugin does not keep."""


@attrs.frozen
class Check:
    """One check of a contract: the method's name, the group that it belongs to, the promise in a sentence."""

    name: str
    group: str
    promise: str
    function: Any = attrs.field(repr=False)


def check(group: str) -> Callable[[F], F]:
    """Mark a method as a check of `group`."""

    def mark(function: F) -> F:
        function.contract_group = group  # type: ignore[attr-defined]
        return function

    return mark


def checks_of(contract: type) -> dict[str, Check]:
    """The checks that a contract class has now, in the order of its groups."""
    found = [
        Check(name, value.contract_group, inspect.getdoc(value) or name, value)
        for base in contract.__mro__
        for name, value in vars(base).items()
        if name.startswith("test_") and hasattr(value, "contract_group")
    ]
    return {each.name: each for each in sorted(found, key=lambda each: each.group)}


def tampered(contract: type, registered: dict[str, Check]) -> list[str]:
    """What was done to the checks of `contract`, one line each; a check that is marked xfail with a reason is left out."""
    return [reason for each in registered.values() if (reason := _tampering(contract, each)) is not None]


def _tampering(contract: type, registered: Check) -> str | None:
    now = inspect.getattr_static(contract, registered.name, None)
    if now is registered.function or _expected_to_fail(now):
        return None
    what = "deleted" if now is None else "overridden"
    return (
        f"{registered.name} is {what} in {contract.__name__}; take that out, or mark it "
        '@pytest.mark.xfail(reason="...") with the reason why this provider cannot keep the promise'
    )


def _expected_to_fail(function: Any) -> bool:
    marks = getattr(function, "pytestmark", [])
    return callable(function) and any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


class Contract:
    """What a contract is for pytest and for its closing table.

    `class XContract(..., Contract, root=True)` notes its checks; what subclasses it in a pytest file is collected.
    """

    __test__ = False
    contract_kind: ClassVar[str] = "contract"
    contract_version: ClassVar[int] = VERSION
    _checks: ClassVar[dict[str, Check]] = {}

    def __init_subclass__(cls, *, root: bool = False, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.__test__ = bool(cls.__dict__.get("__test__", not root))
        if root:
            cls._checks = checks_of(cls)

    @classmethod
    def contract_checks(cls) -> dict[str, Check]:
        """The checks of this contract by name."""
        return cls._checks

    @classmethod
    def contract_notes(cls) -> list[str]:
        """What stands below the closing table."""
        return []

    @classmethod
    def tampering(cls) -> list[str]:
        """What was done to the checks, one line each."""
        return tampered(cls, cls._checks)


def fail(promise: str, *, expected: object, got: object, change: str, sample: str | None = None) -> None:
    """Raise ContractBroken. `change` tells the author what to do; `sample` names the sample at hand."""
    __tracebackhide__ = True
    rows = (("sample", sample), ("expected", shown(expected)), ("got", shown(got)), ("change", change))
    lines = [f"  {name + ':':<10}{value}" for name, value in rows if value is not None]
    raise ContractBroken("\n".join((promise, *lines)))


def same(promise: str, expected: object, got: object, *, change: str, sample: str | None = None) -> None:
    """Fail unless both are equal."""
    __tracebackhide__ = True
    if expected != got:
        fail(promise, expected=expected, got=got, change=change, sample=sample)


def require(true: object, promise: str, *, expected: object, got: object, change: str, sample: str | None = None) -> None:
    """Fail unless `true`."""
    __tracebackhide__ = True
    if not true:
        fail(promise, expected=expected, got=got, change=change, sample=sample)


def shown(value: object) -> str:
    """A value in a message: text as it is, everything else by its repr, cut in the middle."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def each_of(rows: Any, reason: str) -> Iterator[Any]:
    """The rows, or NotApplicable for that reason when there is none."""
    listed = list(rows)
    if not listed:
        raise NotApplicable(reason)
    yield from listed
