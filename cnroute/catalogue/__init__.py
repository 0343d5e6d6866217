"""Dated facts about models: limits, capabilities and prices, one TOML file per vendor.

Rules of this folder
- Every row says where it comes from (`source`) and as of when (`as_of`).
- A price that is not known is left out; `"0"` would mean free.
- `status` informs (`listed`, `retired`, ...); nothing is ever refused because of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from cnroute.deployments import ModelInfo
from cnroute.money import Price

_FACTS = ("context", "max_output", "capabilities", "status", "as_of", "source")


def models(vendor: str, provider: str | None = None) -> tuple[ModelInfo, ...]:
    """The models in the file of `vendor`; with `provider` only those that this provider serves.

    A row serves every provider of its vendor unless its `providers` names some. Raises FileNotFoundError for a
    vendor without a file and ConfigurationError for a price that is none.
    """
    rows = _rows(vendor)
    return tuple(_model(row, provider) for row in rows if _serves(row, provider))


@cache
def _rows(vendor: str) -> tuple[Mapping[str, Any], ...]:
    file = resources.files(__name__).joinpath(f"{vendor}.toml")
    return tuple(tomllib.loads(file.read_text("utf-8"))["models"])


def _serves(row: Mapping[str, Any], provider: str | None) -> bool:
    return provider is None or provider in row.get("providers", (provider,))


def _model(row: Mapping[str, Any], provider: str | None) -> ModelInfo:
    price = row.get("price")
    facts = {name: row.get(name) for name in _FACTS}
    return ModelInfo(row["name"], price=None if price is None else Price(**price), provider=provider, **facts)
