"""A recorded day once more, under other policies, prices or outages: what would it have cost, and how well would it have gone?

    day = read_log(Path("calls.jsonl").read_text())
    report = simulate(day, config="cnroute.toml", policies=["cheapest"], outages=["yi@10:00-12:00"])

The real flow runs on a virtual clock; the vendors' part is taken from the log (`cnroute.simulate.history` says how). What
the log does not tell is assumed, and `report["assumptions"]` names each assumption that was made.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from typing import Any

from cnroute.binding import suggest
from cnroute.errors import CallError, ModelNotFoundError, Problem
from cnroute.notices import CallFinished
from cnroute.plugins import PluginHost
from cnroute.simulate.assumptions import assumptions
from cnroute.simulate.history import Fate, History
from cnroute.simulate.log import Day, LogError, read_log
from cnroute.simulate.outages import Outage, as_data, in_force, outage
from cnroute.simulate.setting import Variant, make_engine, variants
from cnroute.simulate.stage import Play, Stage, VirtualClock
from cnroute.simulate.tally import Tally, recorded

__all__ = ["SCHEMA", "Day", "LogError", "read_log", "report_schema", "simulate"]

SCHEMA = 1


def simulate(
    day: Day, *, config: str | os.PathLike[str] | Mapping[str, Any] | None = None, policies: Iterable[str] = (),
    prices: str | os.PathLike[str] | Mapping[str, Any] | None = None, outages: Iterable[str] = (), seed: int = 0,
    plugins: PluginHost | None = None,
) -> dict[str, Any]:
    """The report, JSON-ready: the log's own figures, the unchanged configuration's, and those of each of `policies`.

    A policy is the name of one, for all routes, or the path of another configuration (`.toml`). Without `config` the
    deployments and routes are those that the log tells of. `prices` is a price list and `outages` are
    `DEPLOYMENT@FROM-TO[=KIND]`; both hold for every simulated column. The same seed gives the same report. Raises
    LogError where log and configuration do not fit together, ConfigurationError for everything else that is wrong.
    """
    host, planned = plugins or PluginHost(), tuple(map(outage, outages))
    history, columns = History(day, seed), variants(day, config, policies, prices, host)
    places = {deployment.name for variant in columns for deployment in variant.arguments["deployments"]}
    _check_outages(planned, places)
    played = [_Run(day, history, variant, planned, seed, host) for variant in columns]
    tallies = [recorded(day), *(run.tally for run in played)]
    return {
        "schema": SCHEMA,
        "kind": "simulation",
        "log": {
            "file": day.file, "lines": day.lines, "calls": len(day.calls), "from": day.calls[0].at, "to": day.calls[-1].at,
        },
        "seed": seed,
        "prices": None if prices is None else os.fspath(prices) if not isinstance(prices, Mapping) else "given",
        "outages": as_data(planned),
        "results": [tally.report() for tally in tallies],
        "assumptions": assumptions(day, history, config is not None, places, tallies),
    }


def report_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of reports, as it is shipped in `cnroute/schemas`."""
    from importlib import resources

    from cnroute.codec import loads

    return dict(loads(resources.files("cnroute").joinpath(f"schemas/simulation-{SCHEMA}.json").read_text("utf-8")))


class _Run:
    """One column, played."""

    def __init__(
        self, day: Day, history: History, variant: Variant, outages: tuple[Outage, ...], seed: int, host: PluginHost
    ) -> None:
        self._outages = outages
        self._history = history
        self.tally = Tally(variant.name)
        clock = VirtualClock(day.calls[0].at or 0.0)
        stage = Stage(clock, history, self._fate, self._told)
        engine = make_engine(variant, host, stage, clock, random.Random(seed))
        _check_names(engine, day, variant)
        stage.run(engine, day.calls, variant.names)
        engine.close()

    def _fate(self, play: Play, deployment: str, number: int) -> Fate:
        down = in_force(self._outages, deployment, play.stage.clock.time())
        return self._history.fate(play.index, deployment, number) if down is None else down.fate(play.limits())

    def _told(self, play: Play, notice: CallFinished) -> None:
        self.tally.finished(notice)
        self.tally.origins.update(play.origins)


def _check_outages(outages: Iterable[Outage], places: set[str]) -> None:
    for each in outages:
        if each.deployment not in places:
            near = suggest(each.deployment, places)
            raise LogError([Problem("outage", f"there is no deployment {each.deployment!r:.60}{near}")])


def _check_names(engine: Any, day: Day, variant: Variant) -> None:
    """Every name that was called on the day can be called here, or the lines that called it are told."""
    first: dict[str, int] = {}
    for call in day.calls:
        first.setdefault(call.route, call.line)
    problems = []
    for route, line in first.items():
        try:
            engine.course(variant.names.get(route, route))
        except ModelNotFoundError as error:
            problems.append(Problem(f"line {line}", f"{error.message} ({variant.name})", day.file))
        except CallError as error:
            problems.append(Problem(f"line {line}", error.message, day.file))
    if problems:
        raise LogError(problems)
