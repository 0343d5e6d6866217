"""The user's own price list: a TOML file of `[[prices]]`, each a provider, a model and the fields of a `Price`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cnroute.config.reading import Reader, document
from cnroute.config.values import indexed, kind_of
from cnroute.errors import ConfigurationError
from cnroute.money import Price
from cnroute.routing.prices import Row, overlaps

_PATH = ("prices",)


def price_rows(config: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of a price list (its path, or a mapping of the same structure) as (provider, model, Price).

    Raises ConfigurationError with every problem at once, each with its file and key.
    """
    reader = _PriceReader(*document(config))
    rows = reader.rows()
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return rows


class _PriceReader(Reader):
    """Reads a price list; a row is a price with two keys more."""

    def rows(self) -> tuple[Row, ...]:
        listed = self._table(self._document, (), ("prices",)).get("prices", [])
        if not isinstance(listed, Sequence) or isinstance(listed, str):
            self._problem(_PATH, f"must be a list of tables ([[prices]]), not {kind_of(listed)}")
            return ()
        found = [self._row(item, indexed(_PATH, index)) for index, item in enumerate(listed)]
        rows = [row for row in found if row is not None]
        for index, reason in overlaps(rows) if len(rows) == len(found) else ():
            self._problem(indexed(_PATH, index), reason)
        return tuple(rows)

    def _row(self, value: Any, path: tuple[str, ...]) -> Row | None:
        if not isinstance(value, Mapping):
            self._problem(path, f"must be a table, not {kind_of(value)}")
            return None
        names = [self._part(value, key, path) for key in ("provider", "model")]
        price = self._price({key: item for key, item in value.items() if key not in ("provider", "model")}, path)
        if not isinstance(price, Price) or None in names:
            return None
        provider, model = map(str, names)
        return provider, model, price

    def _part(self, value: Mapping[str, Any], key: str, path: tuple[str, ...]) -> str | None:
        if key not in value:
            self._problem((*path, key), "is missing")
            return None
        return self._text(value[key], (*path, key))
