"""`cnroute models`: the names that can be called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from cnroute.cli.calling import config_option, open_router
from cnroute.cli.output import console, print_json, print_table, with_output_options
from cnroute.cli.pricing import price_document, price_text

_COLUMNS = ("name", "provider", "context", "max output", "capabilities", "price")


@click.command(short_help="List every name that can be called.")
@config_option
@click.option("--all", "everything", is_flag=True, help="Also what no key is set for: all models that are known.")
@with_output_options
def models(config: str | None, everything: bool, as_json: bool, no_color: bool) -> None:
    """List every name that can be called: routes, deployments, and provider/model for the keys in the environment.

    A provider takes models that are not listed, too: the list is what is known of them.
    """
    rows = list(_rows(config, everything))
    if as_json:
        print_json({"models": rows})
        return
    print_table(_COLUMNS, [_cells(row) for row in rows], console(no_color))


def _rows(config: str | None, everything: bool) -> Iterator[dict[str, Any]]:
    from cnroute.config import CONFIG, key_sources, plugin_host

    configured = bool(config or os.environ.get(CONFIG))
    if configured or not everything:
        with open_router(config) as router:
            yield from (_row(info, info.name, info.provider, "configured") for info in router.models())
    if everything or not configured:
        for source in key_sources(plugin_host()):
            ready = source.secret is not None and not source.missing
            if everything or ready:
                state = "key" if ready else "no key"
                yield from (
                    _row(info, f"{source.provider}/{info.name}", source.provider, state, source.info.capabilities)
                    for info in source.info.models
                )


def _row(
    info: Any, name: str, provider: str | None, state: str, capabilities: frozenset[str] = frozenset()
) -> dict[str, Any]:
    known = capabilities if info.capabilities is None else info.capabilities
    return {
        "name": name, "provider": provider, "state": state, "context": info.context, "max_output": info.max_output,
        "capabilities": sorted(known), "price": price_document(info.price),
        "status": info.status, "as_of": info.as_of,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"], row["provider"] or "route", *(_number(row[key]) for key in ("context", "max_output")),
        " ".join(row["capabilities"]), price_text(row["price"]) if row["provider"] else "",
    ]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
