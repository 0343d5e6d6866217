"""`cnroute plan`: where a call would go; nothing is sent."""

from __future__ import annotations

from typing import Any

import click

from cnroute.cli.calling import arguments_of, lang_option, messages_of, open_router, with_call_options
from cnroute.cli.output import print_json, with_output_options


@click.command(short_help="Show where a call would go, in which order and why; sends nothing.")
@click.argument("text")
@with_call_options
@lang_option
@with_output_options
def plan(text: str, model: str, config: str | None, system: str | None, lang: str, as_json: bool, no_color: bool,
         **options: Any) -> None:  # fmt: skip
    """Show where a call with this TEXT (- reads it from standard input) would go, in which order and why.

    Nothing is sent. Costs are estimates: input from the text, output from --max-tokens.
    """
    with open_router(config) as router:
        found = router.plan(messages_of(text, system), model=model, **arguments_of(options))
    if as_json:
        print_json(found.record())
    else:
        click.echo(found.explain(lang))
