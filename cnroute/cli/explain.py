"""`cnroute explain`: records as text for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from cnroute.cli.calling import lang_option, text_of
from cnroute.cli.failing import CALL_FAILED, print_failure
from cnroute.cli.output import print_json, with_output_options


@click.command(short_help="Explain records of calls: what was tried, what failed, what it cost.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@lang_option
@with_output_options
def explain(file: str, lang: str, as_json: bool, no_color: bool) -> None:
    """Explain the records in FILE (- reads standard input), one JSON object a line.

    Read are what `reply.record()` gives, what `cnroute chat --json` prints, and log lines written at DEBUG. Lines without a
    record are passed over.
    """
    from cnroute.explain import explain as explained
    from cnroute.explain import find_record

    found, wrong = 0, list[str]()
    for place, value in _values(text_of(file)):
        record = find_record(value)
        if record is None:
            continue
        try:
            text = explained(record, lang)
        except ValueError as error:
            wrong.append(f"{place}: {error}")
            click.echo(f"cnroute: {wrong[-1]}", err=True)
            continue
        if as_json:
            print_json({"record": record, "text": text}, line=True)
        else:
            click.echo(f"\n{text}" if found else text)
        found += 1
    if not found and not wrong:
        raise click.UsageError(f"{'standard input' if file == '-' else file} holds no record of a call")
    if wrong:
        if as_json:
            print_failure("; ".join(wrong), CALL_FAILED, "ValueError")
        sys.stdout.flush()
        click.get_current_context().exit(CALL_FAILED)


def _values(text: str) -> Iterator[tuple[str, Any]]:
    """Every JSON value of the text with its place: one document, or one on each line."""
    from cnroute.codec import JsonError, loads

    try:
        whole = loads(text)
    except JsonError:
        whole = None
    if whole is not None:
        values = whole if isinstance(whole, list) else [whole]
        yield from ((f"record {number}", value) for number, value in enumerate(values, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        try:
            yield f"line {number}", loads(line)
        except JsonError:
            continue
