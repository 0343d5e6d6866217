"""`cnroute simulate`: a recorded day under other policies, prices or outages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from cnroute.cli.calling import config_option, text_of
from cnroute.cli.output import console, print_json, print_table, with_output_options

_EXPLAINED = ("arguments", "one process")


@click.command(short_help="Replay a day's log under other policies, prices or outages: cost, success, latency.")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="A policy for every route, or a configuration (.toml).")
@config_option
@click.option("--prices", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="A price list that goes first.")
@click.option(
    "--outage", "outages", multiple=True, metavar="DEPLOYMENT@FROM-TO[=KIND]",
    help="As yi@10:00-12:00, by the clocks of Shanghai; may be given again.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Other luck in what is drawn.")
@with_output_options
def simulate(log: str, policies: tuple[str, ...], config: str | None, prices: str | None, outages: tuple[str, ...], seed: int,
             as_json: bool, no_color: bool) -> None:  # fmt: skip
    """Replay the LOG (- reads standard input) of a day through the real flow on a virtual clock, and compare.

    LOG holds lines of finished calls as cnroute logs them (JSON lines), records, or a CSV with columns of the same names.
    Side by side stand the log's own figures, the unchanged configuration, and each --policy. Nothing is sent and no key is
    needed. Without a configuration the deployments and routes are those of the log.
    """
    from cnroute.config import CONFIG, plugin_host
    from cnroute.simulate import LogError, read_log
    from cnroute.simulate import simulate as played

    given = config or os.environ.get(CONFIG) or None
    try:
        day = read_log(text_of(log), "standard input" if log == "-" else log)
        report = played(
            day, config=given, policies=policies, prices=prices, outages=outages, seed=seed, plugins=plugin_host()
        )
    except LogError as error:
        raise click.UsageError(_shortened(error.problems)) from None
    if as_json:
        print_json(report)
        return
    out = console(no_color)
    results = report["results"]
    print_table(["", *(result["name"] for result in results)], rows(results), out)
    for entry in report["assumptions"]:
        out.print(f"- {_sentence(entry)}")


_MOST = 20


def _shortened(problems: Sequence[Any]) -> str:
    lines = [str(problem) for problem in problems[:_MOST]]
    return "\n".join(lines + ([f"... and {len(problems) - _MOST} more"] if len(problems) > _MOST else []))


def _sentence(entry: Mapping[str, Any]) -> str:
    count = "" if entry["id"] in _EXPLAINED else f" ({entry['count']})"
    names = f": {', '.join(entry['deployments'])}" if entry["deployments"] else ""
    return f"{entry['text']}{names}{count}"


def rows(results: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The table's rows: one figure each, one column a result."""
    yield ["calls", *(str(result["calls"]) for result in results)]
    yield ["answered", *(_share(result["success"]) for result in results)]
    for kind in _names(results, "outcomes"):
        if kind != "ok":
            yield [f"  {kind}", *(str(result["outcomes"].get(kind, 0)) for result in results)]
    yield ["attempts per call", *(f"{result['attempts_per_call']:.3f}" for result in results)]
    yield ["cost", *(_sum(result, "confirmed") for result in results)]
    yield ["possibly more", *(_sum(result, "possible", "up to ") for result in results)]
    yield ["calls of unknown cost", *(str(result["cost"]["unpriced_calls"]) for result in results)]
    for part in ("p50", "p90", "p95", "p99", "mean"):
        yield [f"seconds {part}", *(_seconds(result["seconds"][part]) for result in results)]
    for name in _names(results, "deployments"):
        yield [f"attempts at {name}", *(_asked(result["deployments"].get(name)) for result in results)]
    yield ["attempts drawn", *(_drawn(result) for result in results)]


def _names(results: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result[key]))


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def _asked(counts: Mapping[str, int] | None) -> str:
    return "0" if counts is None else f"{counts['asked']} ({counts['answered']} answered)"


def _drawn(result: Mapping[str, Any]) -> str:
    drawn = result["origins"]["drawn"] + result["origins"]["pooled"]
    return _share(drawn / result["attempts"]) if result["attempts"] else "-"


def _sum(result: Mapping[str, Any], part: str, up_to: str = "") -> str:
    cost = result["cost"]
    nothing = "unknown" if cost["unpriced_calls"] == result["calls"] else "0"
    return " + ".join(_cost(each, up_to) for each in cost[part]) or nothing


def _cost(cost: Mapping[str, Any], up_to: str) -> str:
    low, high = cost["low"], cost["high"]
    span = f"{up_to}{high}" if up_to or low == high else f"{low} to {high}"
    return f"{span} {cost['currency']}"
