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
        "cached": _amount(price.cached), "reasoning": _amount(price.reasoning), "search": _amount(price.search),
        "tiers": [
            {
                "up_to": tier.up_to, "input": _amount(tier.input), "output": _amount(tier.output),
                "cached": _amount(tier.cached), "reasoning": _amount(tier.reasoning),
            }
            for tier in price.tiers
        ],
        "valid_from": price.valid_from, "valid_until": price.valid_until, "as_of": price.as_of, "source": price.source,
    }


def price_text(price: Mapping[str, Any] | None) -> str:
    """A price on one line."""
    if price is None:
        return "unknown"
    rates = "; ".join(f"up to {tier['up_to'] or 'any'}: {_rates(tier)}" for tier in price["tiers"]) or _rates(price)
    search = f", {price['search']} a search" if price["search"] is not None else ""
    return f"{rates} {price['currency']} per {Decimal(price['per']):,}{search}{_dates(price)}"


def _dates(price: Mapping[str, Any]) -> str:
    begin, end = price["valid_from"], price["valid_until"]
    return (f", from {begin}" if begin else "") + (f", until {end}" if end else "")


def _rates(rates: Mapping[str, Any]) -> str:
    known = [f"{rates[key] if rates[key] is not None else '?'} {word}" for key, word in (("input", "in"), ("output", "out"))]
    return ", ".join(known + [f"{rates[key]} {key}" for key in ("cached", "reasoning") if rates[key] is not None])


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
