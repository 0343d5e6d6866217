"""What a simulation had to assume, as entries of the report: an id, the sentence, and how often it was needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cnroute.simulate.history import FEW, History
from cnroute.simulate.log import Day
from cnroute.simulate.tally import Tally

_SENTENCES = {
    "no configuration": "deployments and routes are those of the log; each is asked first as often as it was on the day",
    "no times": "no time of day in the log: calls begin one after the other, as their lines stand",
    "passed over": "lines of the log that are no finished call were passed over",
    "twice": "lines that stand twice in the log are one call",
    "cut off": "the last line is cut off and was left out",
    "hidden attempts": "failed attempts that the log counts but does not tell are missing: its deployments look too good",
    "total only": "calls with a total alone: input and output were split like other answers of the route",
    "no tokens": "calls without any count of tokens have those of the answered call of their route before them",
    "no first content": "streams whose first content is not in the log show it with their end, within the limits",
    "drawn": "attempts that did not happen on the day were drawn from the deployment's attempts nearest in time",
    "no history": "deployments of which the log tells nothing answer like all deployments together",
    "little history": f"deployments with fewer than {FEW} attempts in the log: their figures say little",
    "unpriced": "calls with an unknown price or cost are missing from the sums of money",
    "arguments": "what calls asked for beyond the log (timeout, max_cost, max_tokens, tools ...) is the configuration's default",
    "one process": "the day is played by one process, whatever number wrote the log",
}


def assumptions(
    day: Day, history: History, configured: bool, places: Iterable[str], tallies: Sequence[Tally]
) -> list[dict[str, Any]]:
    """Every assumption that was made, those that always hold last."""
    names = sorted(set(places))
    simulated = tallies[1:]
    found = dict(_of_log(day, history))
    found |= {
        "no configuration": int(not configured),
        "drawn": sum(tally.origins["drawn"] for tally in simulated),
        "unpriced": sum(tally.unpriced for tally in tallies),
    }
    unknown = [name for name in names if not history.attempts[name]]
    few = [name for name in names if 0 < history.attempts[name] < FEW]
    entries = [_entry(name, found[name]) for name in _SENTENCES if found.get(name)]
    if unknown:
        entries.append(_entry("no history", sum(tally.origins["pooled"] for tally in simulated), unknown))
    if few:
        entries.append(_entry("little history", sum(history.attempts[name] for name in few), few))
    return [*entries, _entry("arguments", len(day.calls)), _entry("one process", len(day.calls))]


def _of_log(day: Day, history: History) -> Iterator[tuple[str, int]]:
    yield "no times", day.untimed
    yield "passed over", day.passed_over
    yield "twice", day.twice
    yield "cut off", day.cut_off
    yield "hidden attempts", sum(call.hidden for call in day.calls)
    yield "total only", history.guessed["total"]
    yield "no tokens", history.guessed["none"]
    answered = [call for call in day.calls if call.stream and call.outcome == "ok"]
    yield "no first content", sum(call.tries == () or call.tries[-1].first_content is None for call in answered)


def _entry(name: str, count: int, deployments: Iterable[str] = ()) -> dict[str, Any]:
    return {"id": name, "text": _SENTENCES[name], "count": count, "deployments": list(deployments)}
