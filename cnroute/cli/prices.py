"""`cnroute prices list` and `cnroute prices check`: what calls are reckoned with, and what is odd about it."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from typing import Any

import attrs
import click

from cnroute.cli.calling import config_option, open_router
from cnroute.cli.output import console, print_json, print_table, with_output_options
from cnroute.cli.pricing import price_document, price_text

_CheckRow = tuple[str, str, str, Any]


@click.group(short_help="List or check the prices that calls are reckoned with.")
def prices() -> None:
    """The prices that calls are reckoned with."""


@prices.command("list", short_help="List prices: of deployments, of your file, of plugins, of the shipped catalogue.")
@config_option
@click.option("--known", is_flag=True, help="Leave out models whose price is unknown.")
@with_output_options
def list_prices(config: str | None, known: bool, as_json: bool, no_color: bool) -> None:
    """List the prices of a configuration's deployments, then those of its price list, of plugins, of the shipped catalogue.

    Unknown is not free: a call at an unknown price has no cost, and `cheapest` puts it last.
    """
    rows = [row for row in _rows(config) if row["price"] is not None or not known]
    if as_json:
        print_json({"prices": rows})
        return
    cells = [[row["name"], row["from"], price_text(row["price"]), *_origin(row["price"])] for row in rows]
    print_table(("name", "from", "price", "as of", "source"), cells, console(no_color))


@prices.command("check", short_help="Say everything that is odd about prices: old, expired, of unknown currency ...")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@config_option
@click.option("--stale-days", type=click.IntRange(0), metavar="DAYS", help="How old a price may be (180 days).")
@click.option("--today", metavar="DATE", help="Check as of another day, such as 2027-01-01.")
@with_output_options
def check_prices(
    file: str | None, config: str | None, stale_days: int | None, today: str | None, as_json: bool, no_color: bool
) -> None:
    """Say everything that is odd about the price list FILE; without it about the prices of the configuration (its
    deployments and its price list); without a configuration about those of plugins and the shipped catalogue.

    Exit code 1 where something is odd, 3 where a price cannot be used at all.
    """
    from cnroute.cli.price_check import STALE_DAYS, complaints
    from cnroute.config import CONFIG

    config = config or os.environ.get(CONFIG) or None
    day = _day(today)
    rows = list(_rows_to_check(file, config))
    found = list(complaints(rows, _surroundings(config, day, STALE_DAYS if stale_days is None else stale_days)))
    if as_json:
        print_json({"today": day, "checked": len(rows), "complaints": [attrs.asdict(each) for each in found]})
    elif found:
        print_table(("price", "rule", "what"), [(each.key, each.rule, each.reason) for each in found], console(no_color))
    else:
        click.echo(f"{len(rows)} prices: nothing is odd")
    if found:
        click.get_current_context().exit(1)


def _day(text: str | None) -> str:
    from cnroute.money import day_of

    if text is None:
        return day_of(time.time())
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.BadParameter("must be a date such as 2027-01-01", param_hint="--today") from None


def _rows_to_check(file: str | None, config: str | None) -> Iterator[_CheckRow]:
    from cnroute.config import plugin_host, price_rows, router_arguments

    if file is not None:
        yield from _keyed(price_rows(file))
    elif config is not None:
        arguments = router_arguments(config)
        for deployment in arguments["deployments"]:
            if deployment.price is not None:
                yield f"deployments.{deployment.name}.price", deployment.provider, deployment.model, deployment.price
        yield from _keyed(arguments.get("prices", ()))
    else:
        host = plugin_host()
        yield from ((f"plugin {provider}/{model}", provider, model, price) for provider, model, price in host.prices())
        for name in host.providers():
            for info in host.provider(name).info.models:
                if info.price is not None:
                    yield f"catalogue {name}/{info.name}", name, info.name, info.price


def _keyed(rows: Any) -> Iterator[_CheckRow]:
    for index, (provider, model, price) in enumerate(rows):
        yield f"prices[{index}] {provider}/{model}", provider, model, price


def _surroundings(config: str | None, day: str, stale_days: int) -> Any:
    from cnroute.cli.price_check import Surroundings
    from cnroute.config import plugin_host, router_arguments

    host = plugin_host()
    models = {name: frozenset(info.name for info in host.provider(name).info.models) for name in host.providers()}
    rates = None
    if config is not None:
        arguments = router_arguments(config)
        rates = frozenset((arguments.get("currency", "CNY"), *arguments.get("exchange", {})))
    return Surroundings(day, stale_days, rates, models)


def _origin(price: dict[str, Any] | None) -> tuple[str, str]:
    return ("", "") if price is None else (price["as_of"] or "", price["source"] or "")


def _rows(config: str | None) -> Iterator[dict[str, Any]]:
    from cnroute.config import CONFIG, plugin_host, router_arguments

    place = config or os.environ.get(CONFIG)
    if place:
        with open_router(config) as router:
            yield from (_row(info.name, "configuration", info.price) for info in router.models() if info.provider)
        own = router_arguments(place).get("prices", ())
        yield from (_row(f"{provider}/{model}", "file", price) for provider, model, price in own)
    host = plugin_host()
    yield from (_row(f"{provider}/{model}", "plugin", price) for provider, model, price in host.prices())
    for name in host.providers():
        yield from (_row(f"{name}/{info.name}", "catalogue", info.price) for info in host.provider(name).info.models)


def _row(name: str, origin: str, price: Any) -> dict[str, Any]:
    return {"name": name, "from": origin, "price": price_document(price)}
