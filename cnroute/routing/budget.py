"""Budgets: how much money may be spent, by whom, in which time.

Rules of this file (contract section 10, reliability S11)
- Everything that is wrong with a budget is said at once, when it is made.
- A budget covers every call. One by metadata counts calls that lack the key together, under no value: leaving the
  key out is no way around it.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from cnroute.accounts import Account, Charge, Period
from cnroute.errors import ConfigurationError, Problem
from cnroute.money import EXACT, amount, currency_code, plain

PERIODS = ("minute", "hour", "day", "month")
_BY = re.compile(r"router|route|deployment|metadata:.{1,256}", re.DOTALL)
_HOME = "Asia/Shanghai"
# China has had one time and no summer time since 1991, so this is exact where the host has no zone files.
_SHANGHAI = datetime.timezone(datetime.timedelta(hours=8), _HOME)
_LONGEST = 3_660 * 86_400.0


def _as_given(cap: Decimal | str | int) -> Decimal:
    """The cap as a Decimal; what is none stays what it is, and is a problem beside the others."""
    try:
        return amount(cap, "cap")
    except ConfigurationError:
        return cap  # type: ignore[return-value]


@attrs.frozen
class Budget:
    """At most `cap` may be spent in each window of `per`, counted for each value of `by`.

    `cap` is text or Decimal, in `currency` (None: the router's; another one needs an `exchange` rate). `per` is
    `minute`, `hour`, `day`, `month`, a number of seconds, or None for ever; windows are fixed on the wall clock of `tz`.
    `by` is `router` (all calls together), `route` (the name that was called), `deployment`, or `metadata:<key>`.
    Raises ConfigurationError with every problem at once.
    """

    cap: Decimal = attrs.field(converter=_as_given)
    currency: str | None = None
    per: str | float | None = None
    by: str = "router"
    tz: str = _HOME
    period: Period = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        problems: list[Problem] = []
        _try(problems, "cap", lambda: amount(self.cap, "cap"))
        if self.currency is not None:
            _try(problems, "currency", lambda: currency_code(self.currency))
        _try(problems, "per", lambda: _checked_per(self.per))
        _try(problems, "by", lambda: _checked_by(self.by))
        zone = _try(problems, "tz", lambda: _zone(self.tz))
        if problems:
            raise ConfigurationError(problems)
        object.__setattr__(self, "period", Period(self.per, zone or _SHANGHAI))

    @property
    def title(self) -> str:
        """The budget in words."""
        every = "" if self.per is None else f" per {self.per}" if isinstance(self.per, str) else f" per {self.per:g} s"
        return f"{plain(self.cap)}{f' {self.currency}' if self.currency else ''}{every} by {self.by}"

    def account(self, route: str, deployment: str, metadata: Mapping[str, str]) -> Account:
        """Whom a call is counted for. The cap is no part of it: what was spent stays when the cap is changed."""
        who = _SUBJECTS[self.by](route, deployment) if self.by in _SUBJECTS else metadata.get(self.by.partition(":")[2], "")
        return (self.by, str(self.per), self.tz, who)

    def charge(self, cap: Decimal, account: Account, worst: Decimal) -> Charge:
        """The claim of one attempt; `cap` is this budget's in the router's currency."""
        who = f" ({account[-1][:60]})" if account[-1] else ""
        return Charge(account, self.title + who, cap, self.period, worst)

    def cap_in(self, currency: str, rates: Mapping[str, Decimal]) -> Decimal:
        """The cap in the router's currency. Raises ConfigurationError where no rate is known."""
        rate = Decimal(1) if self.currency in (None, currency) else rates.get(str(self.currency))
        if rate is None:
            raise ConfigurationError(
                f"is in {self.currency}; counting it needs exchange={{{self.currency!r}: "
                f'{{"rate": ..., "as_of": ...}}}} to {currency}', "currency",
            )
        return EXACT.multiply(self.cap, rate)


_SUBJECTS: Mapping[str, Callable[[str, str], str]] = {
    "router": lambda route, deployment: "",
    "route": lambda route, deployment: route,
    "deployment": lambda route, deployment: deployment,
}


def _try(problems: list[Problem], key: str, check: Callable[[], Any]) -> Any:
    try:
        return check()
    except ConfigurationError as error:
        problems += [attrs.evolve(problem, key=problem.key or key) for problem in error.problems]
    return None


def _checked_per(per: object) -> None:
    if per is None or (isinstance(per, str) and per in PERIODS):
        return
    number = isinstance(per, int | float) and not isinstance(per, bool)
    if not number or not math.isfinite(per) or not 1 <= per <= _LONGEST:  # type: ignore[arg-type, operator]
        raise ConfigurationError(
            f"per must be {', '.join(PERIODS)}, a number of at least 1 second, or nothing, not {per!r:.40}", "per"
        )


def _checked_by(by: object) -> None:
    if not isinstance(by, str) or not _BY.fullmatch(by) or not by.isprintable():
        raise ConfigurationError(f"by must be router, route, deployment or metadata:<key>, not {by!r:.60}", "by")


def _zone(name: object) -> datetime.tzinfo:
    if not isinstance(name, str):
        raise ConfigurationError(f"tz must be the name of a time zone, not a {type(name).__name__}", "tz")
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        if name == _HOME:
            return _SHANGHAI
    raise ConfigurationError(
        f"there is no time zone {name!r:.60} here; install the package tzdata if the name is right", "tz"
    )
