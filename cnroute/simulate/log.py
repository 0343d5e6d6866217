"""A recorded day: the log's lines of finished calls, or a CSV of the same fields, as values.

Rules of this file
- A line that claims to be a finished call and is none is an error with its number; all such lines are told at once.
- Lines of others (text, other events) are passed over and counted. The same line twice is one call.
- What a line does not tell is None, and is counted where somebody has to assume something instead.
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs

from cnroute.chat import Usage
from cnroute.codec import JsonError, loads
from cnroute.errors import ConfigurationError, Problem
from cnroute.explain import find_record
from cnroute.failures import FailureKind, clean_text
from cnroute.money import ZERO, Cost
from cnroute.routing.budget import Budget
from cnroute.wire import MAX_TOKENS_SEEN

_EVENT = "call finished"
_EVENT_KEYS = ("event", "message", "msg")
# Where loggers put the time at which a line was written.
_TIME_KEYS = ("timestamp", "@timestamp", "time", "ts", "asctime", "created")
_OUTCOMES = frozenset(("ok", *(kind.value for kind in FailureKind)))
_TRIED = re.compile(r"(.+?): (\w+) (\d+(?:\.\d+)?) (none|unknown|billed)(?:; |$)")
_COST = re.compile(r"(about )?(\d+(?:\.\d+)?)(?: to (\d+(?:\.\d+)?))? ([A-Z]{3})")
# What was logged without an offset is of this place, where budgets have their days, too.
HOME = Budget("0").period.zone
_MILLISECONDS = 1e11
# Beyond these nothing can be played: a year that no calendar has, a call of three years, more tokens than are believed.
_LATEST = 1e11
_LONGEST = 1e8
_USAGE = tuple(field.name for field in attrs.fields(Usage))
Costs = tuple[Cost, ...]
Fields = Mapping[str, Any]


class LogError(ConfigurationError):
    """The log cannot be read. `problems` holds every wrong line: its file, `line N`, and the reason."""


@attrs.frozen
class Try:
    """One attempt as the log tells it. `seconds` is None where only the whole call was measured."""

    deployment: str
    outcome: str
    seconds: float | None
    billing: str
    usage: Usage | None = None
    first_content: float | None = None
    retry_after: float | None = None


@attrs.frozen
class Recorded:
    """One finished call as the log tells it. `at` is in Unix seconds; `hidden` attempts are counted but not told.

    `confirmed` and `possible` are what it cost, one entry a currency; None: unknown.
    """

    line: int
    call_id: str
    at: float | None
    route: str
    outcome: str
    stream: bool
    seconds: float
    tries: tuple[Try, ...]
    hidden: int = 0
    deployment: str | None = None
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    confirmed: Costs | None = None
    possible: Costs | None = None


@attrs.frozen
class Day:
    """What was recorded, in the order in which it began. The counts say what the log lacked."""

    file: str
    calls: tuple[Recorded, ...]
    lines: int
    passed_over: int = 0
    twice: int = 0
    cut_off: int = 0
    untimed: int = 0


def read_log(text: str, file: str = "the log") -> Day:
    """The calls of a log: JSON lines as the router logs them, records, or a CSV with a header of the same names.

    Raises LogError with every wrong line, and for a log without a single call.
    """
    reader = _Reading(file)
    lines = text.removesuffix("\n").split("\n")  # no others: JSON may hold U+2028 and U+0085 inside of a text
    calls = list(reader.csv(text) if _is_csv(lines) else reader.json(lines))
    if reader.problems:
        raise LogError(reader.problems)
    kept = _once(calls)
    if not kept:
        raise LogError([Problem("", "it holds no line of a finished call (`call finished`)", file)])
    untimed = sum(call.at is None for call in kept)
    ordered = _one_after_the_other(kept) if untimed else sorted(kept, key=lambda call: call.at or 0.0)
    return Day(file, tuple(ordered), len(lines), reader.passed_over, len(calls) - len(kept), reader.cut_off, untimed)


def _is_csv(lines: Iterable[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    names = [name.strip().strip('"') for name in first.lstrip("\ufeff").split(",")]
    return not first.lstrip().startswith(("{", "[")) and "outcome" in names


def _once(calls: Iterable[Recorded]) -> list[Recorded]:
    """Each call once: two handlers write a line twice."""
    seen: dict[tuple[Any, ...], Recorded] = {}
    for call in calls:
        seen.setdefault((call.call_id or call.line, call.at, call.seconds, call.route), call)
    return list(seen.values())


def _one_after_the_other(calls: list[Recorded]) -> list[Recorded]:
    """Without times the calls begin as the lines stand, each when the one before it has ended."""
    at, placed = 0.0, []
    for call in calls:
        placed.append(attrs.evolve(call, at=at))
        at += call.seconds
    return placed


class _Reading:
    """One log while it is read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.passed_over = 0
        self.cut_off = 0

    def json(self, lines: list[str]) -> Iterator[Recorded]:
        """The calls of JSON lines."""
        last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=0)
        for number, line in enumerate(lines, 1):
            fields = self._decoded(line.strip(), number, number == last)
            if fields is None:
                continue
            made = _reader_of(fields)
            if made is None:
                self.passed_over += 1
                continue
            call = self._made(made, fields, number)
            if call is not None:
                yield call

    def _decoded(self, line: str, number: int, last: bool) -> Fields | None:
        if not line.startswith("{"):
            self.passed_over += bool(line)
            return None
        try:
            value = loads(line)
        except JsonError as error:
            if last:  # a log that is being written ends anywhere
                self.cut_off += 1
            else:
                self._wrong(number, f"it is no JSON: {error}")
            return None
        return value if isinstance(value, dict) else None

    def csv(self, text: str) -> Iterator[Recorded]:
        """The calls of a CSV."""
        rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), skipinitialspace=True)
        try:
            for row in rows:
                call = self._made(_from_row, row, rows.line_num)
                if call is not None:
                    yield call
        except csv.Error as error:
            self._wrong(rows.line_num, f"it is no CSV: {error}")

    def _made(self, make: Callable[[Fields, int], Recorded], fields: Fields, number: int) -> Recorded | None:
        try:
            return make(fields, number)
        except (_Wrong, ConfigurationError) as wrong:
            self._wrong(number, str(wrong))
            return None

    def _wrong(self, number: int, reason: str) -> None:
        self.problems.append(Problem(f"line {number}", clean_text(reason, 300), self.file))


class _Wrong(Exception):
    """What is wrong with a line."""


def _reader_of(fields: Fields) -> Callable[[Fields, int], Recorded] | None:
    """How to read the line; None: it is no finished call."""
    if any(fields.get(key) == _EVENT for key in _EVENT_KEYS):
        return _from_line
    record = find_record(fields)
    if record is not None:
        return None if record.get("kind") == "plan" or record.get("outcome") == "unfinished" else _from_record
    return _from_line if all(key in fields for key in ("call_id", "route", "outcome", "seconds", "deployment")) else None


# -- one line ----------------------------------------------------------------------------------------------


def _from_line(fields: Fields, number: int) -> Recorded:
    outcome, seconds = _outcome(fields.get("outcome")), _number(fields, "seconds")
    if seconds is None:
        raise _Wrong("seconds is missing")
    route = _text(fields, "route")
    if not route:
        raise _Wrong("route is missing")
    usage = _usage(fields)
    told, hidden = _tries(fields, outcome, seconds, usage)
    return Recorded(
        number, _text(fields, "call_id") or "", _began(fields, seconds), route, outcome, fields.get("stream") is True, seconds,
        told, hidden, _text(fields, "deployment"), _text(fields, "provider"), _text(fields, "model"), usage,
        _text(fields, "finish_reason"), _metadata(fields.get("metadata")), *_bill(fields, outcome),
    )


def _from_record(fields: Fields, number: int) -> Recorded:
    """A file of records tells the same, but not whether a call was streamed."""
    record = find_record(fields) or {}
    attempts = record.get("attempts")
    route, seconds = _text(record, "route"), _number(record, "seconds") or 0.0
    if not isinstance(attempts, list) or not route:
        raise _Wrong("the record is damaged")
    bill, usage = record.get("bill") or {}, _usage(record.get("usage") or {})
    return Recorded(
        number, _text(record, "call_id") or "", _number(record, "started"), route, _outcome(record.get("outcome")), False,
        seconds, tuple(map(_recorded_try, attempts)), 0, _text(record, "deployment"), _text(record, "provider"),
        _text(record, "model"), usage, _text(record, "finish_reason"), _metadata(record.get("metadata")),
        _listed_costs(bill.get("confirmed")), _listed_costs(bill.get("possible")),
    )


def _recorded_try(attempt: Any) -> Try:
    if not isinstance(attempt, dict):
        raise _Wrong("the record is damaged")
    failure, name = attempt.get("failure") or {}, _text(attempt, "deployment")
    if name is None:
        raise _Wrong("an attempt without a deployment")
    return Try(
        name, _outcome(failure.get("kind", "ok")), _number(attempt, "seconds"), str(attempt.get("billing")),
        _usage(attempt.get("usage") or {}), None, _number(failure, "retry_after"),
    )


def _from_row(row: Fields, number: int) -> Recorded:
    fields: dict[str, Any] = {name: value for name, value in row.items() if value not in (None, "") and isinstance(name, str)}
    for name, kind in _COLUMNS.items():
        if name in fields:
            fields[name] = _read_as(kind, fields[name], name)
    inner = {name.partition(".")[2]: value for name, value in fields.items() if name.startswith("metadata.")}
    if inner or isinstance(fields.get("metadata"), str):
        fields["metadata"] = {**_json_object(fields.get("metadata")), **inner}
    return _from_line(fields, number)


def _flag(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[text.strip().casefold()]


_COLUMNS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("started", "seconds", "first_content", "retry_after"), float),
    **dict.fromkeys(("attempts", *_USAGE), int),
    "stream": _flag, "cost_estimated": _flag,
}


def _read_as(kind: Callable[[str], Any], text: str, name: str) -> Any:
    try:
        return kind(text)
    except (ValueError, KeyError):
        raise _Wrong(f"{name} cannot be {text!r:.40}") from None


def _json_object(text: Any) -> dict[str, Any]:
    try:
        value = loads(text) if text else {}
    except JsonError:
        value = None
    if not isinstance(value, dict):
        raise _Wrong("metadata is no JSON object")
    return value


# -- one field ---------------------------------------------------------------------------------------------


def _outcome(value: Any) -> str:
    if value not in _OUTCOMES:
        raise _Wrong("outcome is missing" if value is None else f"there is no outcome {value!r:.60}")
    return str(value)


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise _Wrong(f"{name} must be text, not {type(value).__name__}")


def _number(fields: Fields, name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    most = _LATEST if name == "started" else _LONGEST
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _Wrong(f"{name} must be a number of at least 0 and at most {most:.0e}, not {value!r:.40}")
    return float(value)


def _count(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS_SEEN:
        raise _Wrong(f"{name} must be a whole number from 0 to 10^9, not {value!r:.40}")
    return value


def _usage(fields: Fields) -> Usage | None:
    counts = {name: _count(fields, name) for name in _USAGE}
    return None if all(count is None for count in counts.values()) else Usage(**counts)


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise _Wrong("metadata must map text to text")
    return dict(value)


def _began(fields: Fields, seconds: float) -> float | None:
    """When the call began: told, or so long before its line was written."""
    if fields.get("started") is not None:
        return _number(fields, "started")
    written = next((fields[key] for key in _TIME_KEYS if fields.get(key) is not None), None)
    return None if written is None else max(0.0, _instant(written) - seconds)


def _instant(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1000 * _LATEST:
        return float(value) / (1000 if value > _MILLISECONDS else 1)
    try:
        found = moment(str(value).strip().replace(",", "."))
    except ValueError:
        found = -1.0
    if not 0 <= found <= _LATEST:
        raise _Wrong(f"{value!r:.40} is no time")
    return found


def moment(text: str) -> float:
    """A date and time by ISO 8601 (without an offset: by the clocks of Shanghai) in Unix seconds. Raises ValueError."""
    found = datetime.datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=HOME)).timestamp()


# -- attempts and money ------------------------------------------------------------------------------------


def _tries(fields: Fields, outcome: str, seconds: float, usage: Usage | None) -> tuple[tuple[Try, ...], int]:
    """What is told of the attempts, and how many there were beside."""
    name, count = _text(fields, "deployment"), _count(fields, "attempts")
    first_content, after = _number(fields, "first_content"), _number(fields, "retry_after")
    found = [match.groups() for match in _TRIED.finditer(_text(fields, "tried") or "")]
    if not found:
        count = count if count is not None else int(name is not None)
        if name is None or count == 0:
            return (), count
        billing = "billed" if outcome == "ok" else "unknown"
        alone = seconds if count == 1 else None
        return (Try(name, outcome, alone, billing, usage, first_content if count == 1 else None, after),), count - 1
    parts = [Try(who, _outcome(how), _number({"tried": float(took)}, "tried"), billing) for who, how, took, billing in found]
    waited = seconds - (parts[-1].seconds or 0.0)
    content = None if first_content is None else max(0.0, first_content - waited)
    parts[-1] = attrs.evolve(parts[-1], usage=usage, first_content=content, retry_after=after)
    return tuple(parts), max(0, (count or 0) - len(parts))


def _bill(fields: Fields, outcome: str) -> tuple[Costs | None, Costs | None]:
    """What the call cost: its bill, else the cost of the answer."""
    if fields.get("bill_confirmed") is not None or fields.get("bill_possible") is not None:
        return _costs(fields, "bill_confirmed"), _costs(fields, "bill_possible")
    low, high, currency = (_text(fields, f"cost_{part}") for part in ("low", "high", "currency"))
    if low is None or high is None or currency is None:
        return (None, None) if outcome == "ok" else ((), ())
    return (_parsed(f"{'about ' if fields.get('cost_estimated') else ''}{low} to {high} {currency}", "cost_low"),), ()


def _costs(fields: Fields, name: str) -> Costs | None:
    text = _text(fields, name)
    return None if text is None else tuple(_parsed(part, name) for part in text.split(" + "))


def _parsed(text: str, name: str) -> Cost:
    match = _COST.fullmatch(text)
    if match is None:
        raise _Wrong(f"{name} is no cost: {text!r:.60}")
    about, low, high, currency = match.groups()
    return Cost(Decimal(low), Decimal(high or low), currency, about is not None)


def _listed_costs(value: Any) -> Costs | None:
    if value is None:
        return None
    try:
        return tuple(map(_listed_cost, value))
    except (KeyError, TypeError, ArithmeticError):
        raise _Wrong("the bill of the record is damaged") from None


def _listed_cost(each: Any) -> Cost:
    return Cost(Decimal(each["low"]), Decimal(each["high"]), each["currency"], bool(each["estimated"]))


def nothing(costs: Costs) -> bool:
    """Whether these costs are no money at all."""
    return all(cost.high == ZERO for cost in costs)
