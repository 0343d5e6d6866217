"""What attempts cost, from the vendor's usage or, where there is none, from a marked estimate."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import attrs

from cnroute.chat import ChatCompletion, ChatRequest, Usage
from cnroute.failures import Attempt
from cnroute.money import EXACT, ZERO, Bill, Cost, Price, add_up, nothing
from cnroute.routing import tokens
from cnroute.routing.plan import Place


def attempt_cost(
    place: Place, request: ChatRequest, usage: Usage | None, completion: ChatCompletion | None, counted_all: bool = True
) -> Cost | None:
    """The cost of an attempt that was or may have been charged; None when the price is unknown.

    Without usage it is an estimated range: from half to twice the estimated tokens for an answer that came,
    from nothing to the largest answer for one that did not. What a stream told before it broke off, or before more content
    came (`counted_all` is false), is the lower end.
    """
    price = place.deployment.price
    if price is None or not price.known:
        return None
    least, most = _searches(request, usage, completion)
    if most and price.search is None:
        return None
    cost = price.cost(usage)
    if cost is None:
        cost = _estimated(place, request, completion)
    elif completion is None or not counted_all:
        cost = _open_ended(price, request, usage, cost)
    if cost is not None and most:
        cost = _with_searches(cost, price.search or ZERO, least, most)
    if cost is None or place.rate is None:
        return cost
    return cost if place.rate == 1 else cost.times(place.rate, place.currency)


def _open_ended(price: Price, request: ChatRequest, usage: Usage | None, known: Cost) -> Cost:
    """From what the vendor had counted so far to the largest answer: it may have gone on, and charge for it."""
    given, made = usage.split() if usage is not None else (None, None)
    told = (usage.total_tokens if usage is not None else None) or 0
    top = price.of(told if given is None else given, max(made or 0, request.max_tokens or 0))
    return attrs.evolve(known, high=max(known.high, top.high if top is not None else ZERO), estimated=True)


def _searches(request: ChatRequest, usage: Usage | None, completion: ChatCompletion | None) -> tuple[int, int]:
    """How many web searches were charged, at least and at most.

    As the vendor counts them; else one where pages came; none or one where a search was asked for and nobody says.
    """
    if usage is not None and usage.searches is not None:
        return usage.searches, usage.searches
    sources = completion.sources if completion is not None else ()
    if sources and any(source.kind == "web_search" for source in sources):
        return 1, 1
    return 0, 1 if request.web_search else 0


def _with_searches(cost: Cost, price: Decimal, least: int, most: int) -> Cost:
    low, high = (EXACT.multiply(price, Decimal(count)) for count in (least, most))
    return attrs.evolve(cost, low=EXACT.add(cost.low, low), high=EXACT.add(cost.high, high))


def _estimated(place: Place, request: ChatRequest, completion: ChatCompletion | None) -> Cost | None:
    price = place.deployment.price
    if price is None:
        return None
    given = place.ratio.of(tokens.input_tokens(request))
    if completion is None:
        top = price.of(2 * given, request.max_tokens or 0)
        return None if top is None else Cost(ZERO, top.high, price.currency, estimated=True)
    made = round(tokens.estimate(completion.text) + tokens.estimate(completion.reasoning))
    low, high = price.of(given // 2, made // 2), price.of(2 * given, 2 * made + 1)
    if low is None or high is None:
        return None
    # A long request may be cheaper than a short one.
    return Cost(min(low.low, high.low), max(low.high, high.high), price.currency, estimated=True)


def worst_cost(place: Place, request: ChatRequest, body: bytes) -> Decimal | None:
    """More than the attempt can cost, in the router's currency; None when that cannot be known."""
    price = place.deployment.price
    if price is None or place.rate is None or (request.web_search and price.search is None):
        return None
    bound = price.highest(tokens.upper_bound(request, body), tokens.output_bound(request))
    if bound is None:
        return None
    return EXACT.multiply(EXACT.add(bound, price.search or ZERO) if request.web_search else bound, place.rate)


def bill_of(attempts: Iterable[Attempt], currency: str) -> Bill:
    """What the attempts cost together: confirmed, and possible on top."""
    kept = list(attempts)
    if len(kept) == 1 and kept[0].billing == "billed":
        return Bill(kept[0].cost, nothing(currency))
    sure = [attempt.cost for attempt in kept if attempt.billing == "billed"]
    maybe = [_from_zero(attempt.cost) for attempt in kept if attempt.billing == "unknown"]
    return Bill(add_up(sure, currency), add_up(maybe, currency))


def _from_zero(cost: Cost | None) -> Cost | None:
    return None if cost is None else attrs.evolve(cost, low=ZERO)
