"""`cnroute plugins`: what is installed, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

import cnroute
from cnroute.cli.output import console, print_json, print_table, with_output_options

if TYPE_CHECKING:
    from cnroute.plugins import PluginHost, PluginState


@click.command(short_help="List plugins with their distribution, hooks and state.")
@with_output_options
def plugins(as_json: bool, no_color: bool) -> None:
    """List plugins with their distribution, hooks and state; broken ones with the reason.

    CNROUTE_LOAD_PLUGINS names those that may be loaded (empty: none), CNROUTE_BLOCK_PLUGINS those that may not.
    """
    from cnroute.config import plugin_host

    host = plugin_host()
    rows = listed(host)
    if as_json:
        print_json({"plugins": rows, "problems": [attrs.asdict(problem) for problem in host.problems]})
        return
    cells = [[row["name"], row["state"], row["distribution"] or "", " ".join(row["hooks"])] for row in rows]
    print_table(("plugin", "state", "distribution", "hooks"), cells, console(no_color))
    for problem in host.problems:
        click.echo(f"cnroute: {problem}", err=True)


def listed(host: PluginHost) -> list[dict[str, Any]]:
    """Every plugin as JSON-ready data; built-in providers are imported, so that their hooks are known."""
    for name in host.providers():
        try:
            host.provider(name)
        except cnroute.ConfigurationError as error:
            click.echo(f"cnroute: {name}: {error}", err=True)
    return [{**attrs.asdict(state), "hooks": list(state.hooks), "version": _version(state)} for state in host.plugins()]


def _version(state: PluginState) -> str | None:
    """The version of a plugin's distribution; a built-in one is as old as cnroute."""
    if state.state == "built-in":
        return cnroute.__version__
    return state.distribution.rpartition(" ")[2] if state.distribution else None
