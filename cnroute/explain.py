"""A record as text for people, in English and Chinese; made from the JSON alone.

`explain(record, "zh")` reads what `reply.record()`, `error.record()` and `plan.record()` return, what is logged at
DEBUG, and the same read back from a file. The words are data (`cnroute.observe.words`); so a record that was written
elsewhere, or long ago, reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cnroute.failures import clean_text
from cnroute.observe import words
from cnroute.observe.records import (
    SCHEMA,
    find_record,
    record_of_completion,
    record_of_error,
    record_of_notice,
    record_of_plan,
)

__all__ = [
    "SCHEMA", "explain", "find_record", "record_of_completion", "record_of_error", "record_of_notice", "record_of_plan",
    "record_schema",
]
_LINE = 2000


def explain(record: Mapping[str, Any], lang: str = "en") -> str:
    """The record as text: what was asked, who was tried in which order and why, what went wrong, what it cost.

    Raises ValueError for a language other than `en` and `zh`, and for what is no record of a known schema.
    """
    if lang not in words.LANGUAGES:
        raise ValueError(f'lang must be "en" or "zh", not {lang!r:.40}')
    if not isinstance(record, Mapping) or record.get("kind") not in _KINDS:
        raise ValueError("this is no record of cnroute")
    if record.get("schema") != SCHEMA:
        raise ValueError(f"records of schema {SCHEMA} can be read, not of schema {record.get('schema')!r:.40}")
    try:
        lines = list(_KINDS[record["kind"]](_Teller(lang), record))
    except KeyError as error:
        raise ValueError(f"the record is damaged: it has no {clean_text(error.args[0], 100)}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the record is damaged: {clean_text(error, 100)}") from None
    return "\n".join(clean_text(line, _LINE) for line in lines)


def record_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of records, as it is shipped in `cnroute/schemas`."""
    from importlib import resources

    from cnroute.codec import loads

    file = resources.files("cnroute").joinpath(f"schemas/record-{SCHEMA}.json")
    return dict(loads(file.read_text("utf-8")))


class _Teller:
    """Says things in one language."""

    def __init__(self, lang: str) -> None:
        self._index = words.LANGUAGES.index(lang)
        self._foreign = lang != "en"

    def say(self, phrase: str, **values: object) -> str:
        """A phrase with its gaps filled in."""
        return words.PHRASES[phrase][self._index].format(**values)

    def word(self, table: Mapping[str, words.Pair], key: Any) -> str:
        """A word of a table; what the table does not know is shown as it is."""
        pair = table.get(key)
        return str(key) if pair is None else pair[self._index]

    def why(self, rule: Any) -> str:
        """A rule or failure kind as a clause."""
        return self.word(words.RULES if rule in words.RULES else words.FAILURES, rule)

    def own(self, text: str) -> str:
        """Words that the router wrote in English into the record, in this language."""
        for pattern, chinese in words.IN_CHINESE if self._foreign else ():
            match = pattern.fullmatch(text)
            if match:
                return match.expand(chinese)
        return text

    def amount(self, number: str, currency: str) -> str:
        """An amount with its currency."""
        return f"{number} {words.CURRENCIES.get(currency, currency) if self._foreign else currency}"

    def join(self, parts: Iterable[str], mark: str = "join") -> str:
        """Several things side by side; empty ones are left out."""
        return self.say(mark).join(filter(None, parts))


# -- whole records -----------------------------------------------------------------------------------------


def _call(teller: _Teller, record: Mapping[str, Any]) -> Iterator[str]:
    yield _head(teller, record)
    yield from _cause(teller, record["error"], bool(record["attempts"]))
    yield from _asked(teller, record)
    yield from _plan(teller, record)
    if record["attempts"]:
        yield teller.say("attempts made")
        yield from (_attempt(teller, attempt) for attempt in record["attempts"])
    yield from _endings(teller, record)


def _forecast(teller: _Teller, record: Mapping[str, Any]) -> Iterator[str]:
    yield teller.say("plan", route=record["route"])
    yield from _asked(teller, record)
    yield from _plan(teller, record)


_KINDS: Mapping[str, Callable[[_Teller, Mapping[str, Any]], Iterator[str]]] = {
    "completion": _call,
    "error": _call,
    "plan": _forecast,
}


def _head(teller: _Teller, record: Mapping[str, Any]) -> str:
    outcome = record["outcome"]
    call = teller.say("call", id=record["call_id"]) if record["call_id"] else teller.say("a call")
    if outcome == "unfinished":
        return teller.say("unfinished", call=call)
    time = "" if record["seconds"] is None else teller.say("time", seconds=_seconds(record["seconds"]))
    count = _count(teller, len(record["attempts"]))
    if outcome == "ok":
        return teller.say("answered", call=call, name=_name(teller, record), time=time, count=count)
    return teller.say("failed", call=call, time=time, count=count, why=teller.why(outcome), kind=outcome)


def _count(teller: _Teller, number: int) -> str:
    return teller.say({0: "no attempt", 1: "one attempt"}.get(number, "attempts"), n=number)


def _cause(teller: _Teller, error: Mapping[str, Any] | None, tried: bool) -> Iterator[str]:
    """What the error knows beyond its kind; after attempts their own lines say it."""
    if error is None:
        return
    if error["cause_kind"]:
        yield teller.say("cause", why=teller.why(error["cause_kind"]), kind=error["cause_kind"])
    elif not tried:
        yield teller.say("said", message=error["message"])


def _asked(teller: _Teller, record: Mapping[str, Any]) -> Iterator[str]:
    if record["route"] is not None:
        yield teller.say("asked", route=record["route"], tokens=record["estimated_input_tokens"])


def _name(teller: _Teller, place: Mapping[str, Any]) -> str:
    details = teller.join(place[key] or "" for key in ("provider", "model"))
    name = place["deployment"] or "?"
    return teller.say("name", deployment=name, details=details) if details else str(name)


def _seconds(number: float) -> str:
    return f"{number:.3f}"


# -- the plan and what became of it ------------------------------------------------------------------------


def _plan(teller: _Teller, record: Mapping[str, Any]) -> Iterator[str]:
    plan = record["plan"]
    if plan is None:
        return
    yield _order(teller, record["policy"]) if plan["candidates"] else teller.say("no candidates")
    for each in plan["candidates"]:
        yield teller.say("candidate", rank=each["rank"], name=_name(teller, each), facts=_facts(teller, each))
    if plan["excluded"]:
        yield teller.say("out")
        yield from (teller.say("out one", name=_name(teller, each), why=_reason(teller, each)) for each in plan["excluded"])


def _order(teller: _Teller, policy: str) -> str:
    if policy not in words.POLICIES:
        return teller.say("order of plugin", policy=policy)
    return teller.say("order", policy=policy, how=teller.word(words.POLICIES, policy))


def _facts(teller: _Teller, each: Mapping[str, Any]) -> str:
    """What became of a candidate, and what was known of it beforehand."""
    known = teller.join((*_expectation(teller, each["order"], each["cost"]), *_weighed(teller, each), _health(teller, each)))
    return teller.join((_fate(teller, each), known), "list")


def _expectation(teller: _Teller, order: str, cost: Mapping[str, Any] | None) -> tuple[str, str]:
    """Why it has its rank, where neither the policy's line nor the cost says so already, and the expected cost."""
    *around, own = order.split(", then ")
    own = "" if own.startswith("expected cost") or (not around and own in ("as written", "drawn by weight")) else own
    place = teller.join((teller.own(part) for part in (*around, own) if part), "then")
    if cost is not None:
        return place, teller.say("estimate", cost=_span(teller, cost))
    return place, "" if own.startswith("unknown price") else teller.say("no price")


def _weighed(teller: _Teller, each: Mapping[str, Any]) -> Iterator[str]:
    """What the policy went by beyond the cost: weights, and how often the deployment failed lately."""
    for level in each.get("order_by") or ():
        if "weight" in level:
            yield teller.say("weight", weight=level["weight"])
        if level.get("success", 1) < 1 or level.get("paid_failure", 0) > 0:
            yield teller.say("successes", rate=f"{level['success']:.0%}")
            if level.get("expected") is not None:
                yield teller.say("counts as", cost=teller.amount(level["expected"], level["currency"]))


def _health(teller: _Teller, each: Mapping[str, Any]) -> str:
    health, wait = teller.word(words.HEALTH, each["health"]), each.get("ready_in")
    return health if wait is None else teller.say("health for", health=health, seconds=f"{wait:.1f}")


def _fate(teller: _Teller, each: Mapping[str, Any]) -> str:
    state = each["state"]
    if state == "candidate":
        return ""
    word = teller.word(words.STATES, state)
    # How an attempt ended is told below, attempt by attempt.
    return word if state in ("chosen", "tried") else teller.say("state why", state=word, why=_reason(teller, each))


def _reason(teller: _Teller, each: Mapping[str, Any]) -> str:
    rule, detail = each["rule"], each["reason"]
    clause = teller.why(rule)
    if each["state"] == "not_needed":
        return clause
    if not detail:
        return teller.say("why", words=clause, rule=rule)
    return teller.say("why in detail", words=clause, rule=rule, detail=teller.own(detail))


# -- attempts ----------------------------------------------------------------------------------------------


def _attempt(teller: _Teller, attempt: Mapping[str, Any]) -> str:
    failure = attempt["failure"]
    end = _success(teller, attempt) if failure is None else _failure(teller, attempt, failure)
    changes = [teller.say("change", name=name, what=teller.own(what)) for name, what in attempt["adjusted"].items()]
    more = [
        end,
        teller.say("adjusted", changes=teller.join(changes)) if changes else "",
        teller.say("resent") if attempt["resent"] else "",
        teller.word(words.BILLING, attempt["billing"]).format(cost=_cost(teller, attempt["cost"])),
    ]
    return teller.say(
        "attempt", n=attempt["number"], deployment=attempt["deployment"], seconds=_seconds(attempt["seconds"]),
        end=teller.join(more, "sentence"),
    )


def _success(teller: _Teller, attempt: Mapping[str, Any]) -> str:
    details = _details(teller, ("http", attempt["http_status"]), ("request", attempt["request_id"]))
    return teller.say("attempt ok", details=details)


def _failure(teller: _Teller, attempt: Mapping[str, Any], failure: Mapping[str, Any]) -> str:
    kind, details = failure["kind"], _details(
        teller, ("http", attempt["http_status"]), ("code", failure["vendor_code"]), ("request", attempt["request_id"]),
        first=failure["kind"],
    )
    wait = failure["retry_after"]
    return teller.join(
        (
            teller.say("attempt failed", words=teller.why(kind), details=details),
            teller.say("said", message=teller.own(failure["message"])) if failure["message"] else "",
            teller.say("retry", seconds=f"{wait:g}") if wait is not None else "",
        ),
        "sentence",
    )


def _details(teller: _Teller, *pairs: tuple[str, Any], first: str = "") -> str:
    known = teller.join((first, *(teller.say(key, value=value) for key, value in pairs if value is not None)))
    return teller.say("details", details=known) if known else ""


# -- tokens, money and the rest ----------------------------------------------------------------------------


def _endings(teller: _Teller, record: Mapping[str, Any]) -> Iterator[str]:
    answered = record["outcome"] == "ok"
    if answered or record["usage"] is not None:
        yield _usage(teller, record["usage"])
    if answered:
        yield teller.say("cost", cost=_cost(teller, record["cost"]))
    if record["bill"] is not None and record["attempts"]:
        confirmed, possible = record["bill"]["confirmed"], record["bill"]["possible"]
        phrase = "bill with more" if possible != [] else "bill free" if confirmed == [] else "bill"
        yield teller.say(phrase, confirmed=_sum(teller, confirmed), possible=_sum(teller, possible))
    if record["finish_reason"] is not None:
        reason = record["finish_reason"]
        yield teller.say("finish", words=teller.word(words.FINISH, reason), reason=reason)
    if record["request_id"] is not None:
        yield teller.say("request id", value=record["request_id"])
    if record.get("degraded"):
        yield teller.say("degraded", why=teller.own(record["degraded"]))
    if record["metadata"]:
        yield teller.say("metadata", pairs=teller.join(f"{key}={value}" for key, value in record["metadata"].items()))


def _usage(teller: _Teller, usage: Mapping[str, Any] | None) -> str:
    parts = [
        teller.say(part, n=(usage or {}).get(f"{part}_tokens"))
        for part in ("input", "output", "total", "cached", "reasoning")
        if (usage or {}).get(f"{part}_tokens") is not None
    ]
    return teller.say("usage", parts=teller.join(parts)) if parts else teller.say("no usage")


def _span(teller: _Teller, cost: Mapping[str, Any]) -> str:
    """The amount alone, with the word that says how sure it is."""
    high = teller.amount(cost["high"], cost["currency"])
    if cost["low"] == cost["high"]:
        return teller.say("about" if cost["estimated"] else "exact", amount=high)
    return teller.say("estimated" if cost["estimated"] else "between", low=cost["low"], high=high)


def _cost(teller: _Teller, cost: Mapping[str, Any] | None) -> str:
    """The amount, and why it is not exact where it is not."""
    if cost is None:
        return teller.say("unknown cost")
    span = _span(teller, cost)
    return span if cost["exact"] else teller.say("marked" if cost["estimated"] else "split", cost=span)


def _sum(teller: _Teller, costs: list[Mapping[str, Any]] | None) -> str:
    if costs is None:
        return teller.say("unknown sum")
    return " + ".join(_span(teller, cost) for cost in costs) or teller.say("free")
