"""`cnroute prices list`: what calls are reckoned with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from cnroute.cli.calling import config_option, open_router
from cnroute.cli.output import console, print_json, print_table, with_output_options
from cnroute.cli.pricing import price_document, price_text


@click.group(short_help="List the prices that calls are reckoned with.")
def prices() -> None:
    """The prices that calls are reckoned with."""


@prices.command("list", short_help="List prices: of deployments, of plugins, of the shipped catalogue.")
@config_option
@click.option("--known", is_flag=True, help="Leave out models whose price is unknown.")
@with_output_options
def list_prices(config: str | None, known: bool, as_json: bool, no_color: bool) -> None:
    """List the prices of a configuration's deployments, then those of plugins and of the shipped catalogue.

    Unknown is not free: a call at an unknown price has no cost, and `cheapest` puts it last.
    """
    rows = [row for row in _rows(config) if row["price"] is not None or not known]
    if as_json:
        print_json({"prices": rows})
        return
    cells = [[row["name"], row["from"], price_text(row["price"]), *_origin(row["price"])] for row in rows]
    print_table(("name", "from", "price", "as of", "source"), cells, console(no_color))


def _origin(price: dict[str, Any] | None) -> tuple[str, str]:
    return ("", "") if price is None else (price["as_of"] or "", price["source"] or "")


def _rows(config: str | None) -> Iterator[dict[str, Any]]:
    from cnroute.config import CONFIG, plugin_host

    if config or os.environ.get(CONFIG):
        with open_router(config) as router:
            yield from (_row(info.name, "configuration", info.price) for info in router.models() if info.provider)
    host = plugin_host()
    yield from (_row(f"{provider}/{model}", "plugin", price) for provider, model, price in host.prices())
    for name in host.providers():
        yield from (_row(f"{name}/{info.name}", "catalogue", info.price) for info in host.provider(name).info.models)


def _row(name: str, origin: str, price: Any) -> dict[str, Any]:
    return {"name": name, "from": origin, "price": price_document(price)}
