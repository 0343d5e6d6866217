"""The report of a run: one table for people, one document for machines."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from chaosbench import checks
from chaosbench.running import Run
from chaosbench.traffic import Result


def quantile(values: list[float], part: float) -> float:
    """The value below which `part` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _latency(results: list[Result]) -> dict[str, float]:
    seconds = [result.seconds for result in results]
    return {f"p{part}": round(1000 * quantile(seconds, part / 100), 1) for part in (50, 95, 99)}


def _tokens(run: Run) -> tuple[int, int]:
    """Tokens of the answers that were used, and all that the vendors billed."""
    used = billed = 0
    for result in run.results:
        requests = [checks.as_sent(request, result) for request in run.seen.requests[result.task.name]]
        billed += sum(map(checks.tokens_of, requests))
        if result.reply is not None and result.reply.usage is not None:
            used += result.reply.usage.total_tokens or 0
    return used, billed


def document(run: Run, found: Mapping[str, list[str]]) -> dict[str, Any]:
    """Everything that the report says, JSON-ready."""
    clean = [result for result in run.results if checks.is_clean(run, result)]
    names = {result.task.name for result in clean}
    faulty = [result for result in run.results if result.task.name not in names and not result.deliberate]
    requests = sum(len(run.seen.requests[result.task.name]) for result in run.results)
    late = max(checks.overshoots(run), key=lambda each: each.seconds, default=None)
    used, billed = _tokens(run)
    return {
        "seed": run.seed,
        "variant": run.variant,
        "calls": len(run.results),
        "seconds": round(run.seconds, 1),
        "success": round(checks.success(run), 5),
        "bound": round(checks.bound(run), 5),
        "slack": round(checks.slack(run), 5),
        "outcomes": dict(collections.Counter(result.outcome for result in run.results).most_common()),
        "clean_ms": _latency(clean),
        "faulty_ms": _latency(faulty),
        "clean_attempt_ms": round(1000 * checks.median(checks.wire_seconds(run.results)), 1),
        "quiet_attempt_ms": round(1000 * checks.quiet_median(run), 1),
        "requests_per_call": round(requests / max(1, len(run.results)), 4),
        "extra_tokens_percent": round(100 * (billed / used - 1), 2) if used else None,
        "estimated_replies": sum(1 for each in run.results if each.reply is not None and each.reply.usage is None),
        "overshoot_ms": {"of": late.what, "most": round(1000 * late.seconds, 1)} if late else {"of": "nothing", "most": 0.0},
        "machine": {
            **{f"{name}_lost_percent": round(100 * run.lag.share(phase), 1) for name, phase in run.phases.items()},
            "most_ms": round(1000 * run.lag.most(), 1),
            "excused": len([each for each in checks.beyond(run) if each.excused(run)]),
        },
        "breakers_open": {name: [round(at, 2) for at in times] for name, times in run.opened.items()},
        "healed_seconds": None if run.healing is None else round(run.healing, 2),
        "dead_requests": len(checks.dead_requests(run)),
        "open_connections": {"at_rest": run.open_at_rest[0], "idle_here": run.open_at_rest[1], "closed": run.open_closed},
        "before": _held(run.before),
        "after": _held(run.closed),
        "log_lines": run.ear.lines,
        "canary_hits": len(run.ear.hits),
        "children": len(run.children),
        "faults": {name: {"plain": plain, "stream": stream} for name, (plain, stream) in checks.delivered(run).items()},
        "violations": {name: len(lines) for name, lines in found.items()},
        "violated": {name: lines[:20] for name, lines in found.items() if lines},
    }


def _held(usage: Any) -> dict[str, Any]:
    return {"threads": usage.threads, "fds": usage.fds, "rss_mib": usage.rss and round(usage.rss, 1)}


ROWS = (
    ("calls", "{calls} in {seconds} s, {requests_per_call} requests each, {extra_tokens_percent} % more tokens billed than used"),
    ("success", "{success:.2%}, bound S {bound:.2%} - {slack:.2%}"),
    ("outcomes", "{outcomes}"),
    ("clean ms", "{clean_ms}; a clean attempt {clean_attempt_ms}, without faults {quiet_attempt_ms}"),
    ("faulty ms", "{faulty_ms}"),
    ("overshoot", "{overshoot_ms}"),
    ("the machine", "{machine} (turns that this process did not get; limits passed only because of that)"),
    ("breakers", "{breakers_open} (seconds of the storm at which they opened, closed, opened ...)"),
    ("healed after", "{healed_seconds} s"),
    ("at the vendors", "{open_connections}"),
    ("before", "{before}"),
    ("after", "{after}"),
    ("log", "{log_lines} lines at DEBUG, {canary_hits} with a key or a prompt"),
)


def lines(report: Mapping[str, Any]) -> list[str]:
    """The same as a table."""
    told = [f"seed {report['seed']}, variant {report['variant']}"]
    told += [f"  {name:<15} {form.format(**{key: _plain(value) for key, value in report.items()})}" for name, form in ROWS]
    faults = ", ".join(f"{name} {each['plain']}+{each['stream']}" for name, each in report["faults"].items())
    told += [f"  {'delivered':<15} {faults} (plain+stream)"]
    if report["dead_requests"]:
        told += [f"  {'dead vendor':<15} {report['dead_requests']} requests"]
    told += [f"  {'ok' if not count else 'VIOLATED':<9} {count:>4}  {name}" for name, count in report["violations"].items()]
    for name, each in report["violated"].items():
        told += [f"  {name}: {line}" for line in each]
    return told


def _plain(value: Any) -> Any:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value
