"""`cnroute emulate`: the vendors' dialects on this computer."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import click

from cnroute.cli.output import print_json, with_output_options


@click.command(short_help="Run a local server that speaks the vendors' dialects.")
@click.option("--host", default="127.0.0.1", show_default=True, help="127.0.0.1 or ::1; anything else is refused.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--seed", type=int, default=0, show_default=True, help="Changes wording and chance.")
@click.option("--weights", metavar="JSON", help='Faults by chance: {"ok": 9, "http_503": 1}, flat or by provider.')
@click.option("--pace", type=float, default=0.0, show_default=True, help="Seconds between the events of a stream.")
@click.option("--latency", type=float, default=0.0, show_default=True, help="Seconds before every answer, good or bad.")
@with_output_options
def emulate(
    host: str, port: int, seed: int, weights: str | None, pace: float, latency: float, as_json: bool, no_color: bool
) -> None:
    """Run a local server that speaks the dialects of all built-in providers, with every fault on demand.

    The first line on stderr is its address; with --json stdout gets one line with the base URLs. SIGTERM or Ctrl-C ends it.
    A fault is asked for in the model's name, as in "yi-large!http_503"; any key but "wrong-key" is accepted.
    """
    from cnroute.emulator import Emulator
    from cnroute.plugins import BUILT_IN

    chances = None if weights is None else _weights(weights)
    try:
        emulator = Emulator(host=host, port=port, seed=seed, weights=chances, pace=pace, latency=latency).start()
    except (ValueError, OSError) as problem:
        raise click.UsageError(str(problem)) from None
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with emulator:
            click.echo(emulator.url, err=True)
            if as_json:
                print_json({"url": emulator.url, "base_urls": {name: emulator.base_url(name) for name in BUILT_IN}}, line=True)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _weights(text: str) -> Any:
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.BadParameter('must be a JSON object such as {"ok": 9, "http_503": 1}', param_hint="--weights")
    return value
