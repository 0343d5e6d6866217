"""What `cnroute prices check` looks at: rules, each a word and a function of one price.

A complaint is no error: a price that a rule complains of is used as it stands. What cannot be used at all is a problem
of the file, and is found when it is read.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal

import attrs

from cnroute.config.values import did_you_mean
from cnroute.money import Price, plain

# The active codes of ISO 4217 for money that is spent; three capital letters alone do not make a currency.
_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC
CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR
ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE
SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER
ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())
_MEANT: Mapping[str, str] = {"RMB": "CNY", "CNH": "CNY", "YUA": "CNY", "NTD": "TWD", "HKG": "HKD"}
STALE_DAYS = 180
# A million tokens of these vendors' models has cost from 0.1 to 100 yuan.
_LEAST, _MOST = Decimal("0.005"), Decimal(500)
_USUAL = frozenset(("CNY", "USD", "EUR", "HKD", "GBP", "SGD"))


@attrs.frozen
class Complaint:
    """`rule` is one word for what is odd about the price at `key`; `reason` says it in a sentence."""

    rule: str
    key: str
    reason: str


@attrs.frozen
class Surroundings:
    """What a price is compared with: the date, how old it may be, and what a router knows (None: there is none)."""

    today: str
    stale_days: int = STALE_DAYS
    rates: frozenset[str] | None = None
    """The currencies that the router can compare."""
    models: Mapping[str, frozenset[str]] | None = None
    """The known models of each provider; a provider without a list takes any."""


Rule = Callable[[str, str, Price, Surroundings], "str | None"]


def complaints(rows: Iterable[tuple[str, str, str, Price]], around: Surroundings) -> Iterator[Complaint]:
    """What is odd about prices, given as (key, provider, model, price)."""
    for key, provider, model, price in rows:
        for word, rule in RULES.items():
            reason = rule(provider, model, price, around)
            if reason is not None:
                yield Complaint(word, key, reason)


def _unknown_provider(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if around.models is None or provider in around.models:
        return None
    return f"there is no provider {provider!r:.60} here{did_you_mean(provider, around.models)}"


def _unknown_model(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    known = (around.models or {}).get(provider)
    near = did_you_mean(model, known) if known and model not in known else ""
    return f"{model!r:.60} is no model that is known{near}" if near else None


def _unknown_price(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if price.known:
        return None
    return "input or output is left out, so the price is unknown: calls have no cost, and `cheapest` puts it last"


def _currency(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if price.currency in CURRENCIES:
        return None
    meant = _MEANT.get(price.currency)
    return f"{price.currency} is no currency of ISO 4217{f'; write {meant}' if meant else ''}"


def _no_rate(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if around.rates is None or price.currency in around.rates:
        return None
    return f"the router has no exchange rate from {price.currency}: it cannot be compared, nor kept within a budget"


def _undated(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    return None if price.as_of else "as_of is missing: nobody can tell how old the price is"


def _unsourced(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    return None if price.source else "source is missing: nobody can look it up"


def _stale(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if not price.as_of:
        return None
    days = (datetime.date.fromisoformat(around.today) - datetime.date.fromisoformat(price.as_of)).days
    if days < 0:
        return f"as_of {price.as_of} lies in the future"
    return f"as_of {price.as_of} is {days} days ago" if days > around.stale_days else None


def _expired(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    over = price.valid_until is not None and price.valid_until < around.today
    return f"it held until {price.valid_until}, so it is not used any more" if over else None


def _early(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    early = price.valid_from is not None and price.valid_from > around.today
    return f"it holds from {price.valid_from}, so it is not used yet" if early else None


def _unused(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    flat = price.tiers and any(rate is not None for rate in (price.input, price.output, price.cached, price.reasoning))
    return "it has tiers, so the rates beside them are not used" if flat else None


def _unit(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    if price.currency not in _USUAL:
        return None
    for rate in _rates(price):
        million = rate / price.per * 1_000_000
        if million and not _LEAST <= million <= _MOST:
            return f"{plain(rate)} per {plain(price.per)} is {plain(million.normalize())} per million tokens; is `per` right?"
    return None


def _cached(provider: str, model: str, price: Price, around: Surroundings) -> str | None:
    for _, _, tier in price.bands():
        if tier.cached is not None and tier.input is not None and tier.cached > tier.input:
            return f"cached tokens ({plain(tier.cached)}) cost more than others ({plain(tier.input)})"
    return None


def _rates(price: Price) -> Iterator[Decimal]:
    for _, _, tier in price.bands():
        yield from (rate for rate in (tier.input, tier.output, tier.cached, tier.reasoning) if rate is not None)


RULES: Mapping[str, Rule] = {
    "provider": _unknown_provider,
    "model": _unknown_model,
    "unknown": _unknown_price,
    "currency": _currency,
    "no-rate": _no_rate,
    "undated": _undated,
    "unsourced": _unsourced,
    "stale": _stale,
    "expired": _expired,
    "early": _early,
    "unused": _unused,
    "unit": _unit,
    "cached": _cached,
}
