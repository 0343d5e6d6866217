"""Which price holds for a deployment today: four sources in order, each price within its own dates.

Rules of this file
- The order is the deployment's own price, the user's file, prices of plugins, the shipped catalogue.
- A price outside of its first and last day is none, and the next source is asked.
- A price with an unknown half is an answer, too: it says "unknown", and nobody behind it is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import attrs

from cnroute.errors import ConfigurationError, Problem
from cnroute.money import Price, day_after

Row = tuple[str, str, Price]
_Prices = Mapping[tuple[str, str], tuple[Price, ...]]
_FIRST, _LAST = "0001-01-01", "9999-12-31"


@attrs.define
class PriceBook:
    """Prices by provider and model: those of the user's file, and those of plugins."""

    file: _Prices = attrs.field(factory=dict)
    plugins: _Prices = attrs.field(factory=dict)

    def prices(self, own: Price | None, provider: str, model: str, shipped: Price | None) -> Iterator[Price]:
        """Every price that may come to hold, the one that goes first at the front; behind one without dates nothing may.

        Of one source's rows that hold on the same day the last one is meant.
        """
        key = provider, model
        for each in (own, *reversed(self.file.get(key, ())), *reversed(self.plugins.get(key, ())), shipped):
            if each is not None:
                yield each
                if not (each.valid_from or each.valid_until):
                    return


def of_today(prices: Iterable[Price], day: str) -> Price | None:
    """The first of `prices` that holds on the date `day`."""
    return next((price for price in prices if price.valid_on(day)), None)


def next_change(prices: Iterable[Price], day: str) -> str | None:
    """The first date after `day` on which one of `prices` begins to hold or no longer does."""
    dates = {date for price in prices for date in _turns(price) if date > day}
    return min(dates, default=None)


def _turns(price: Price) -> Iterator[str]:
    if price.valid_from:
        yield price.valid_from
    if price.valid_until and price.valid_until < _LAST:
        yield day_after(price.valid_until)


def by_model(rows: Iterable[Row]) -> _Prices:
    """Rows as a book keeps them."""
    found: dict[tuple[str, str], tuple[Price, ...]] = {}
    for provider, model, price in rows:
        found[provider, model] = (*found.get((provider, model), ()), price)
    return found


def checked_rows(rows: object) -> tuple[Row, ...]:
    """The user's rows. Raises ConfigurationError for what is none, and for two prices of one model on the same day."""
    if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
        raise ConfigurationError(f"must be rows of provider, model and Price, not a {type(rows).__name__}", "prices")
    kept = tuple(map(_row, itertools.count(), rows))
    problems = [Problem(f"prices[{index}]", reason) for index, reason in overlaps(kept)]
    if problems:
        raise ConfigurationError(problems)
    return kept


def _row(index: int, row: object) -> Row:
    match row:
        case (str() as provider, str() as model, Price() as price):
            return provider, model, price
    raise ConfigurationError("a row is provider, model and Price", f"prices[{index}]")


def overlaps(rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """The rows whose dates meet those of an earlier row of the same model, and why."""
    seen: dict[tuple[str, str], list[tuple[int, Price]]] = {}
    for index, (provider, model, price) in enumerate(rows):
        before = seen.setdefault((provider, model), [])
        for earlier, other in before:
            if _meet(price, other):
                yield index, f"{provider}/{model} has a price for the same days already, in row {earlier}"
                break
        before.append((index, price))


def _meet(one: Price, other: Price) -> bool:
    first = max(one.valid_from or _FIRST, other.valid_from or _FIRST)
    return first <= min(one.valid_until or _LAST, other.valid_until or _LAST)
