"""Prices as JSON and as text. An unknown price is said to be unknown, and a currency is always shown."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cnroute.money import Price, plain


def price_document(price: Price | None) -> dict[str, Any] | None:
    """A price as JSON-ready data; amounts are text."""
    if price is None:
        return None
    return {
        "currency": price.currency, "per": _amount(price.per), "input": _amount(price.input), "output": _amount(price.output),
        "cached": _amount(price.cached), "search": _amount(price.search),
        "tiers": [
            {"up_to": tier.up_to, "input": _amount(tier.input), "output": _amount(tier.output), "cached": _amount(tier.cached)}
            for tier in price.tiers
        ],
        "as_of": price.as_of, "source": price.source,
    }


def price_text(price: Mapping[str, Any] | None) -> str:
    """A price on one line."""
    if price is None:
        return "unknown"
    rates = "; ".join(f"up to {tier['up_to'] or 'any'}: {_rates(tier)}" for tier in price["tiers"]) or _rates(price)
    search = f", {price['search']} a search" if price["search"] is not None else ""
    return f"{rates} {price['currency']} per {int(price['per']):,}{search}"


def _rates(rates: Mapping[str, Any]) -> str:
    known = [f"{rates[key] if rates[key] is not None else '?'} {word}" for key, word in (("input", "in"), ("output", "out"))]
    return ", ".join(known + ([f"{rates['cached']} cached"] if rates["cached"] is not None else []))


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
