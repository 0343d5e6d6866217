"""Prices, costs and bills: exact decimals, ranges, and "unknown" as a value.

Rules of this file (contract, section 4)
- `None` is unknown, `"0"` is free; neither is ever taken for the other.
- Floats are refused: 0.8 is not eight tenths.
- All arithmetic runs in a decimal context of this file, so the host's context changes no bill.
- Currencies never meet here; only `cnroute.Router(exchange=...)` joins them.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal, DecimalException
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.errors import ConfigurationError

if TYPE_CHECKING:
    from cnroute.chat import Usage

# Wide enough that nothing below is ever rounded but a division by an odd `per`: rates have at most 32 digits.
EXACT = Context(prec=120, Emin=-999_999, Emax=999_999)
_FUSED = EXACT.fma
_MOST_DIGITS = 32
ZERO = Decimal(0)


def amount(value: object, key: str) -> Decimal:
    """`value` (text, int or Decimal) as a Decimal; floats, NaN and negative amounts are a ConfigurationError."""
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        raise ConfigurationError(f"{key} must be text or Decimal such as \"0.8\", not {type(value).__name__}", key)
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except DecimalException:
        raise ConfigurationError(f"{key} is no decimal number", key) from None
    if not number.is_finite() or number < 0:
        raise ConfigurationError(f"{key} must be a finite amount of at least 0", key)
    if number and (len(number.as_tuple().digits) > _MOST_DIGITS or not -_MOST_DIGITS <= number.adjusted() < _MOST_DIGITS // 2):
        raise ConfigurationError(f"{key} must have at most {_MOST_DIGITS} digits and be below 10^{_MOST_DIGITS // 2}", key)
    return number


def _rate(value: object, key: str) -> Decimal | None:
    return None if value is None else amount(value, key)


def _input_rate(value: object) -> Decimal | None:
    return _rate(value, "input")


def _output_rate(value: object) -> Decimal | None:
    return _rate(value, "output")


def _cached_rate(value: object) -> Decimal | None:
    return _rate(value, "cached")


def _search_rate(value: object) -> Decimal | None:
    return _rate(value, "search")


def _reasoning_rate(value: object) -> Decimal | None:
    return _rate(value, "reasoning")


def _per(value: object) -> Decimal:
    return amount(value, "per")


def _date(value: object, key: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, datetime.date):
        return value.isoformat()
    try:
        return datetime.date.fromisoformat(value).isoformat()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigurationError(f"{key} must be a date such as \"2025-06-01\", not {value!r:.40}", key) from None


def _as_of(value: object) -> str | None:
    return _date(value, "as_of")


def _valid_from(value: object) -> str | None:
    return _date(value, "valid_from")


def _valid_until(value: object) -> str | None:
    return _date(value, "valid_until")


# Price lists of these vendors change at midnight in China, which has had one time since 1991.
_CHINA = datetime.timezone(datetime.timedelta(hours=8), "Asia/Shanghai")


def day_of(now: float) -> str:
    """The date in China at the Unix time `now`: prices hold by it."""
    return datetime.datetime.fromtimestamp(now, _CHINA).date().isoformat()


def start_of(day: str) -> float:
    """The Unix time at which a date begins in China."""
    return datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time(), _CHINA).timestamp()


def day_after(day: str) -> str:
    """The next date."""
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days=1)).isoformat()


def currency_code(value: object) -> str:
    """A currency as three capital letters; anything else is a ConfigurationError."""
    if not isinstance(value, str) or len(value) != 3 or not (value.isascii() and value.isalpha() and value.isupper()):
        raise ConfigurationError(f"currency must be three capital letters such as CNY, not {value!r}", "currency")
    return value


@attrs.frozen
class Tier:
    """Rates for requests of at most `up_to` input tokens (inclusive; None: no upper end)."""

    up_to: int | None = None
    input: Decimal | None = attrs.field(default=None, converter=_input_rate)
    output: Decimal | None = attrs.field(default=None, converter=_output_rate)
    cached: Decimal | None = attrs.field(default=None, converter=_cached_rate)
    reasoning: Decimal | None = attrs.field(default=None, converter=_reasoning_rate)


def _tiers(value: Iterable[Any]) -> tuple[Tier, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError("tiers must be a list of tiers", "tiers")
    return tuple(map(_tier, value))


def _tier(value: Any) -> Tier:
    if isinstance(value, Tier):
        return value
    known = [field.name for field in attrs.fields(Tier)]
    if not isinstance(value, Mapping) or not set(value) <= set(known):
        raise ConfigurationError(f"a tier is a Tier, or a mapping with {', '.join(known)}", "tiers")
    return Tier(**value)


def _source(value: object) -> str | None:
    if isinstance(value, str | None):
        return value
    raise ConfigurationError("source must be text", "source")


# Without slots: a frozen object is made in half the time.
@attrs.frozen(slots=False)
class Cost:
    """Between `low` and `high` in `currency`. Exact when both are equal and nothing was estimated."""

    low: Decimal
    high: Decimal
    currency: str
    estimated: bool = False

    @property
    def exact(self) -> bool:
        """True when the amount is known to the last digit."""
        return self.low == self.high and not self.estimated

    @property
    def amount(self) -> Decimal | None:
        """The amount, if it is exact."""
        return self.low if self.exact else None

    def plus(self, other: Cost) -> Cost:
        """The sum of two costs of one currency."""
        if other.currency != self.currency:
            raise ValueError("costs of different currencies cannot be added")
        low, high = EXACT.add(self.low, other.low), EXACT.add(self.high, other.high)
        return Cost(low, high, self.currency, self.estimated or other.estimated)

    def times(self, rate: Decimal, currency: str) -> Cost:
        """The cost in another currency at `rate`."""
        return Cost(EXACT.multiply(self.low, rate), EXACT.multiply(self.high, rate), currency, self.estimated)

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        span = plain(self.low) if self.low == self.high else f"{plain(self.low)} to {plain(self.high)}"
        return f"{about}{span} {self.currency}"


def plain(number: Decimal) -> str:
    """A decimal without exponent and without superfluous zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@attrs.frozen
class Price:
    """What a deployment charges per `per` tokens (and per web search); amounts are text or Decimal.

    `tiers` go by input tokens, the last with `up_to=None`; the whole request is priced at its tier.
    `cached` prices the cached part of the input; without it cached tokens pay the input price. Reasoning tokens
    are output; `reasoning` prices them where the vendor asks another price for thinking. A price with an unknown
    half is unknown: it never gives a cost. `as_of` (a date) and `source` say where the figures come from.
    `valid_from` and `valid_until` are its first and last day, by the date in China; outside of them it is no price.
    Raises ConfigurationError for floats and impossible values.
    """

    currency: str = attrs.field(converter=currency_code)
    input: Decimal | None = attrs.field(default=None, converter=_input_rate)
    output: Decimal | None = attrs.field(default=None, converter=_output_rate)
    per: Decimal = attrs.field(default=Decimal(1_000_000), converter=_per)
    cached: Decimal | None = attrs.field(default=None, converter=_cached_rate)
    search: Decimal | None = attrs.field(default=None, converter=_search_rate)
    tiers: tuple[Tier, ...] = attrs.field(default=(), converter=_tiers)
    as_of: str | None = attrs.field(default=None, converter=_as_of)
    source: str | None = attrs.field(default=None, converter=_source)
    reasoning: Decimal | None = attrs.field(default=None, converter=_reasoning_rate)
    valid_from: str | None = attrs.field(default=None, converter=_valid_from)
    valid_until: str | None = attrs.field(default=None, converter=_valid_until)
    _bands: tuple[tuple[int, int | None, Tier], ...] = attrs.field(init=False, repr=False, eq=False, default=())
    _floats: tuple[tuple[int | None, float, float], ...] = attrs.field(init=False, repr=False, eq=False, default=())
    known: bool = attrs.field(init=False, repr=False, eq=False, default=False)
    """True when every rate that a cost may need is known."""

    def __attrs_post_init__(self) -> None:
        if not self.per:
            raise ConfigurationError("per must be above 0", "per")
        bounds = [tier.up_to for tier in self.tiers]
        if bounds and bounds[-1] is not None:
            raise ConfigurationError("the last tier must have no up_to", "tiers")
        inner = bounds[:-1]
        if any(type(bound) is not int or bound < 1 for bound in inner) or inner != sorted(set(inner)):  # type: ignore[type-var]
            raise ConfigurationError("tiers must rise by up_to", "tiers")
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ConfigurationError("the last day is before the first", "valid_until")
        tiers = self.tiers or (Tier(None, self.input, self.output, self.cached, self.reasoning),)
        object.__setattr__(self, "_bands", tuple(_banded(tiers)))
        object.__setattr__(self, "known", all(tier.input is not None and tier.output is not None for tier in tiers))
        object.__setattr__(self, "_floats", tuple((tier.up_to, *self._float_rates(tier)) for tier in tiers))

    def _float_rates(self, tier: Tier) -> tuple[float, float]:
        made = tier.output or ZERO
        thought = made if tier.reasoning is None else tier.reasoning
        return float(tier.input or 0) / float(self.per), (float(made) + float(thought)) / 2 / float(self.per)

    def valid_on(self, day: str) -> bool:
        """Whether the price holds on the date `day`."""
        return (self.valid_from or day) <= day <= (self.valid_until or day)

    def about(self, input_tokens: int, output_tokens: int) -> float:
        """The cost of so many tokens as a float, where the price is known: to compare with, never to bill."""
        for up_to, given, made in self._floats:
            if up_to is None or input_tokens <= up_to:
                return input_tokens * given + output_tokens * made
        return 0.0

    def bands(self) -> tuple[tuple[int, int | None, Tier], ...]:
        """Every tier with its first and last number of input tokens."""
        return self._bands

    def cost(self, usage: Usage | None, searches: int = 0) -> Cost | None:
        """What `usage` costs: exact, or the range of every split that the usage allows. None: not known."""
        span = self._tokens_cost(usage) if usage is not None else None
        if span is None or (searches and self.search is None):
            return None
        if not searches:
            return Cost(*span, self.currency)
        extra = EXACT.multiply(self.search or ZERO, Decimal(searches))
        return Cost(EXACT.add(span[0], extra), EXACT.add(span[1], extra), self.currency)

    def of(self, input_tokens: int, output_tokens: int) -> Cost | None:
        """The cost of so many tokens, none of them cached, any of them thinking. None: the price is unknown."""
        tier = self._tier(input_tokens)
        if tier.input is None or tier.output is None:
            return None
        total = self._sum((input_tokens, tier.input), (output_tokens, tier.output))
        if tier.reasoning is None:
            return Cost(total, total, self.currency)
        thought = self._sum((input_tokens, tier.input), (output_tokens, tier.reasoning))
        return Cost(min(total, thought), max(total, thought), self.currency)

    def highest(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """An upper bound for a request of at most so many tokens, at the highest rate that may apply."""
        if not self.known:
            return None
        reached = [tier for first, _, tier in self.bands() if first <= input_tokens]
        top_in = max(max(tier.input or ZERO, tier.cached or ZERO) for tier in reached)
        top_out = max(max(tier.output or ZERO, tier.reasoning or ZERO) for tier in reached)
        return self._sum((input_tokens, top_in), (output_tokens, top_out))

    def _tier(self, input_tokens: int) -> Tier:
        for _, last, tier in self._bands:
            if last is None or input_tokens <= last:
                return tier
        raise AssertionError("the last tier has no end")

    def _sum(self, *parts: tuple[int, Decimal]) -> Decimal:
        total = ZERO
        for tokens, rate in parts:
            total = _FUSED(Decimal(tokens), rate, total)
        return EXACT.divide(total, self.per)

    def _tokens_cost(self, usage: Usage) -> tuple[Decimal, Decimal] | None:
        if not self.known:
            return None
        known_in, known_out, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
        if known_in is None or known_out is None:
            known_in, known_out = usage.split()
        told = (known_in or 0) + (known_out or 0)
        if known_in is not None and known_out is not None and (total is None or total <= told):
            return self._split_cost(known_in, known_out, usage)
        return None if total is None or total < told else self._total_cost(total, usage)

    def _total_cost(self, total: int, usage: Usage) -> tuple[Decimal, Decimal]:
        """The range over every split of `total`: linear inside a tier, so its ends are enough.

        Halves that are less than the total belong to it: nobody says which of the two the rest is.
        """
        ends: list[Decimal] = []
        least = max(min(usage.cached_tokens or 0, total), usage.input_tokens or 0)
        most = max(least, total - max(usage.reasoning_tokens or 0, usage.output_tokens or 0))
        for first, last, _ in self.bands():
            low, high = max(first, least), most if last is None else min(last, most)
            if low <= high:
                ends += self._split_cost(low, total - low, usage) + self._split_cost(high, total - high, usage)
        return min(ends), max(ends)

    def _split_cost(self, given: int, made: int, usage: Usage) -> tuple[Decimal, Decimal]:
        tier = self._tier(given)
        assert tier.input is not None and tier.output is not None  # noqa: S101 (self.known was asked)
        if tier.cached is None and tier.reasoning is None:
            total = self._sum((given, tier.input), (made, tier.output))
            return total, total
        ins = _halves(given, tier.input, usage.cached_tokens, tier.cached)
        outs = _halves(made, tier.output, usage.reasoning_tokens, tier.reasoning)
        sums = [self._sum(*one, *other) for one in ins for other in outs]
        return min(sums), max(sums)


_Part = tuple[int, Decimal]


def _halves(tokens: int, rate: Decimal, part: int | None, special: Decimal | None) -> list[tuple[_Part, ...]]:
    """How one half of a request may be made up: all of it at `rate`, or `part` of it (None: any) at a rate of its own."""
    if special is None:
        return [((tokens, rate),)]
    parts = (0, tokens) if part is None else (min(part, tokens),)
    return [((tokens - each, rate), (each, special)) for each in parts]


def _banded(tiers: tuple[Tier, ...]) -> Iterator[tuple[int, int | None, Tier]]:
    first = 0
    for tier in tiers:
        yield first, tier.up_to, tier
        first = (tier.up_to or 0) + 1


@attrs.frozen
class Bill:
    """What a whole call cost: `confirmed` for certain, and `possible` on top for attempts that may be charged.

    Each is a `Cost`, a tuple of them when currencies differ and no exchange rate joins them, or None when a
    price is unknown. No billed attempt at all is a `Cost` of zero.
    """

    confirmed: Cost | tuple[Cost, ...] | None = None
    possible: Cost | tuple[Cost, ...] | None = None

    def __str__(self) -> str:
        sure = _bill_text(self.confirmed)
        nothing = isinstance(self.possible, Cost) and not self.possible.high
        return sure if nothing else f"{sure}, possibly {_bill_text(self.possible)} more"


def _bill_text(part: Cost | tuple[Cost, ...] | None) -> str:
    if part is None:
        return "an unknown amount"
    return " + ".join(map(str, part)) if isinstance(part, tuple) else str(part)


@functools.lru_cache(64)
def nothing(currency: str) -> Cost:
    """A cost of zero."""
    return Cost(ZERO, ZERO, currency)


def add_up(costs: Iterable[Cost | None], currency: str) -> Cost | tuple[Cost, ...] | None:
    """The sum of `costs`: one Cost, several for several currencies, None as soon as one is unknown."""
    sums: dict[str, Cost] = {}
    for cost in costs:
        if cost is None:
            return None
        sums[cost.currency] = sums[cost.currency].plus(cost) if cost.currency in sums else cost
    if not sums:
        return nothing(currency)
    return next(iter(sums.values())) if len(sums) == 1 else tuple(sums.values())
