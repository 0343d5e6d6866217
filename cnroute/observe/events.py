"""Every event that cnroute logs: one table, and how a notice becomes the fields of an event.

Rules of this file
- Names, levels and fields are API (`docs/logging.md`); a test compares the table with that page.
- An event always has all its fields; None is unknown. No field has a name that a LogRecord or the usual
  processors of structlog take for themselves.
- No key and no content; `prompt` and `text` come only under `log_content=True`, cut to 200 characters.
- Imports neither logging nor structlog.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from cnroute.chat import Usage
from cnroute.codec import escaped
from cnroute.failures import Attempt, clean_text
from cnroute.money import Bill, Cost, plain
from cnroute.notices import (
    AttemptFinished,
    AttemptSkipped,
    AttemptStarted,
    BudgetOverrun,
    CallFinished,
    KnowledgeFinished,
    StoreChanged,
)
from cnroute.observe.records import model_of, record_of_notice, request_id_of
from cnroute.routing.fallback import TABLE

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVEL_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error"}
_CONTENT = 200
_TEXT = 500
Fields = dict[str, Any]


@attrs.frozen(kw_only=True)
class ObserverFailed:
    """An observer of a plugin raised, for the first time in this router."""

    plugin: str
    error: Exception


@attrs.frozen(kw_only=True)
class CloseFailed:
    """A stream of a plugin's transport could not be closed."""

    transport: str
    error: Exception


@attrs.frozen(kw_only=True)
class Unpriced:
    """Deployments that no call can go to, since budgets are set and their prices are unknown."""

    deployments: tuple[str, ...]
    detail: str


@attrs.frozen(kw_only=True)
class Event:
    """One row: what is logged where, for which notices (`of`, and `when` if given), with which fields.

    `at_debug` are fields that come only where the logger is enabled for DEBUG, `with_content` those that come
    only under `log_content=True`.
    """

    name: str
    logger: str
    level: int
    says: str
    of: type
    make: Callable[[Any], Fields]
    fields: tuple[str, ...]
    when: Callable[[Any], bool] | None = None
    at_debug: Mapping[str, Callable[[Any], object]] = attrs.field(factory=dict)
    with_content: Mapping[str, Callable[[Any], object]] = attrs.field(factory=dict)


class RecordField(dict[str, Any]):
    """A record as a log field: data for JSON hosts, and one line of JSON where a format asks for text."""

    def __str__(self) -> str:
        return escaped(self)


# -- fields ------------------------------------------------------------------------------------------------


def clean(value: Any) -> Any:
    """A field's value with every text in it made safe for one log line."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        # What is printable has nothing to escape; asking costs a tenth of cleaning.
        return value if len(value) <= _TEXT and value.isprintable() else clean_text(value, _TEXT)
    return {clean(key): clean(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def cleaned(fields: Fields) -> Fields:
    """`fields` with every value clean; the usual ones, which are so already, without a call for each."""
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            if len(value) > _TEXT or not value.isprintable():
                fields[name] = clean(value)
        elif kind not in _CLEAN and value:
            fields[name] = clean(value)
    return fields


_CLEAN = frozenset((type(None), int, float, bool))


def _cost_fields(cost: Cost | None) -> Fields:
    if cost is None:
        return dict.fromkeys(("cost_low", "cost_high", "cost_currency", "cost_estimated"))
    low = plain(cost.low)
    high = low if cost.high is cost.low else plain(cost.high)
    return {"cost_low": low, "cost_high": high, "cost_currency": cost.currency, "cost_estimated": cost.estimated}


def _usage_fields(usage: Usage | None) -> Fields:
    known = usage or _NO_USAGE
    return {
        "input_tokens": known.input_tokens, "output_tokens": known.output_tokens, "total_tokens": known.total_tokens,
        "cached_tokens": known.cached_tokens, "reasoning_tokens": known.reasoning_tokens, "searches": known.searches,
    }


_NO_USAGE = Usage()


def _bill_fields(bill: Bill | None) -> Fields:
    known = bill or Bill()
    return {"bill_confirmed": _sum(known.confirmed), "bill_possible": _sum(known.possible)}


def _sum(part: Cost | tuple[Cost, ...] | None) -> str | None:
    if part is None:
        return None
    return " + ".join(map(str, part)) if isinstance(part, tuple) else str(part)


def _call_finished(notice: CallFinished) -> Fields:
    error = notice.error
    return {
        "call_id": notice.call_id,
        "route": notice.route,
        "outcome": notice.outcome,
        "stream": notice.stream,
        "started": None if notice.started is None else round(notice.started, 3),
        "seconds": round(notice.seconds, 6),
        "first_content": None if notice.first_content is None else round(notice.first_content, 6),
        "attempts": len(notice.attempts),
        "tried": "; ".join(map(_tried, notice.attempts)),
        "deployment": notice.deployment,
        "provider": notice.provider,
        "model": notice.model or model_of(notice.plan, notice.deployment),
        "finish_reason": notice.finish_reason,
        "request_id": request_id_of(notice),
        **_usage_fields(notice.usage),
        **_cost_fields(notice.cost),
        **_bill_fields(notice.bill),
        "http_status": notice.attempts[-1].http_status if notice.attempts else None,
        "vendor_code": error.vendor_code if error else None,
        "detail": error.message if error else None,
        "retry_after": error.retry_after if error else None,
        "metadata": notice.metadata,
    }


def _tried(attempt: Attempt) -> str:
    """An attempt in a few words: who was asked, how it ended, in how many seconds, and whether it was charged."""
    outcome = "ok" if attempt.failure is None else attempt.failure.kind.value
    return f"{attempt.deployment}: {outcome} {attempt.seconds:.6f} {attempt.billing}"


def _prompt(notice: CallFinished) -> object:
    return _shortened(notice.prompt)


def _answer(notice: CallFinished) -> object:
    """The answer, or what of it was handed out before the stream broke."""
    return _shortened(notice.text if notice.text is not None else getattr(notice.error, "partial_text", None))


def _shortened(text: str | None) -> str | None:
    return None if text is None else clean_text(text, _CONTENT)


def _record(notice: CallFinished) -> object:
    return RecordField(record_of_notice(notice))


def _attempt_started(notice: AttemptStarted) -> Fields:
    return {
        "call_id": notice.call_id,
        "route": notice.route,
        "deployment": notice.deployment,
        "provider": notice.provider,
        "model": notice.model,
        "attempt": notice.number,
        "stream": notice.stream,
        "metadata": notice.metadata,
    }


def _attempt_finished(notice: AttemptFinished) -> Fields:
    attempt, failure = notice.attempt, notice.attempt.failure
    return {
        "call_id": notice.call_id,
        "route": notice.route,
        "deployment": attempt.deployment,
        "provider": attempt.provider,
        "model": notice.model,
        "attempt": attempt.number,
        "stream": notice.stream,
        "outcome": "ok" if failure is None else failure.kind.value,
        "decision": notice.decision,
        "seconds": round(attempt.seconds, 6),
        "http_status": attempt.http_status,
        "vendor_code": failure.vendor_code if failure else None,
        "request_id": attempt.request_id,
        "detail": failure.message if failure else None,
        "retry_after": failure.retry_after if failure else None,
        "billing": attempt.billing,
        **_usage_fields(attempt.usage),
        **_cost_fields(attempt.cost),
        "adjusted": attempt.adjusted,
        "resent": attempt.resent,
        "metadata": notice.metadata,
    }


def _attempt_skipped(notice: AttemptSkipped) -> Fields:
    return {
        "call_id": notice.call_id,
        "route": notice.route,
        "deployment": notice.deployment,
        "provider": notice.provider,
        "reason": notice.reason,
        "detail": notice.detail,
        "metadata": notice.metadata,
    }


def _needs_attention(notice: AttemptFinished) -> bool:
    failure = notice.attempt.failure
    return failure is not None and TABLE[failure.kind].alarm


def _attention(notice: AttemptFinished) -> Fields:
    """What an operator needs to repair a deployment: who refused, in which words, and until when it rests."""
    fields = _attempt_finished(notice)
    failure = notice.attempt.failure
    rest = TABLE[failure.kind].cooldown if failure else 0.0
    return {name: fields[name] for name in _ATTENTION} | {"cool_down_seconds": rest}


def _unpriced(unpriced: Unpriced) -> Fields:
    return {"deployments": ", ".join(unpriced.deployments), "detail": unpriced.detail}


def _budget_overrun(notice: BudgetOverrun) -> Fields:
    return attrs.asdict(notice)


def _store_changed(notice: StoreChanged) -> Fields:
    return {"store": notice.store, "detail": notice.reason or None}


def _store_is(state: str) -> Callable[[StoreChanged], bool]:
    return lambda notice: notice.state == state


def _knowledge_finished(notice: KnowledgeFinished) -> Fields:
    last, error = notice.attempts[-1] if notice.attempts else None, notice.error
    return {
        "call_id": notice.call_id,
        "operation": notice.operation,
        "outcome": notice.outcome,
        "deployment": notice.deployment,
        "seconds": round(notice.seconds, 6),
        "attempts": len(notice.attempts),
        "files": _numbers(notice.ids["files"]),
        "bases": _numbers(notice.ids["bases"]),
        "looked": notice.looked,
        "http_status": last.http_status if last else None,
        "request_id": last.request_id if last else None,
        "vendor_code": error.vendor_code if error else None,
        "detail": error.message if error else None,
        "retry_after": error.retry_after if error else None,
        "advice": error.advice if error else None,
    }


def _numbers(ids: tuple[int, ...]) -> str:
    """Ids as text: they are larger than the integers that every JSON reader keeps exact."""
    return ", ".join(map(str, ids))


def _observer_failed(failed: ObserverFailed) -> Fields:
    return {
        "plugin": failed.plugin,
        "error_type": type(failed.error).__name__,
        "detail": _words(failed.error),
        "where": _where(failed.error),
    }


def _close_failed(failed: CloseFailed) -> Fields:
    return {
        "transport": failed.transport,
        "error_type": type(failed.error).__name__,
        "detail": _words(failed.error),
        "where": _where(failed.error),
    }


def _words(error: Exception) -> str:
    try:
        return clean_text(error, _CONTENT)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (the __str__ of a plugin's exception)
        return ""


def _where(error: Exception) -> str | None:
    """The line that raised. No traceback is logged: hosts render tracebacks with their local variables."""
    frames = traceback.extract_tb(error.__traceback__, -20)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


_USAGE = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "searches")
_COST = ("cost_low", "cost_high", "cost_currency", "cost_estimated")
_ATTENTION = (
    "call_id", "route", "deployment", "provider", "model", "attempt", "outcome", "http_status", "vendor_code", "request_id",
    "detail", "metadata",
)

# -- the catalogue -----------------------------------------------------------------------------------------

EVENTS: tuple[Event, ...] = (
    Event(
        name="call finished", logger="cnroute.call", level=INFO, of=CallFinished, make=_call_finished,
        says="A call ended, well or not: exactly one per call.",
        fields=(
            "call_id", "route", "outcome", "stream", "started", "seconds", "first_content", "attempts", "tried", "deployment",
            "provider", "model", "finish_reason", "request_id", *_USAGE, *_COST, "bill_confirmed", "bill_possible",
            "http_status", "vendor_code", "detail", "retry_after", "metadata",
        ),
        at_debug={"record": _record}, with_content={"prompt": _prompt, "text": _answer},
    ),
    Event(
        name="attempt started", logger="cnroute.attempt", level=DEBUG, of=AttemptStarted, make=_attempt_started,
        says="A deployment was admitted and is asked now.",
        fields=("call_id", "route", "deployment", "provider", "model", "attempt", "stream", "metadata"),
    ),
    Event(
        name="attempt finished", logger="cnroute.attempt", level=DEBUG, of=AttemptFinished, make=_attempt_finished,
        says="An attempt ended; `decision` is what follows: `done`, `again`, `next` or `stop`.",
        fields=(
            "call_id", "route", "deployment", "provider", "model", "attempt", "stream", "outcome", "decision", "seconds",
            "http_status", "vendor_code", "request_id", "detail", "retry_after", "billing", *_USAGE, *_COST, "adjusted",
            "resent", "metadata",
        ),
    ),
    Event(
        name="candidate skipped", logger="cnroute.attempt", level=DEBUG, of=AttemptSkipped, make=_attempt_skipped,
        says="A candidate was passed over before anything was sent to it.",
        fields=("call_id", "route", "deployment", "provider", "reason", "detail", "metadata"),
    ),
    Event(
        name="deployment needs attention", logger="cnroute.deployment", level=ERROR, of=AttemptFinished, make=_attention,
        says="A key, a permission, a quota, a model name or a certificate has to be put right by a person.",
        fields=(*_ATTENTION, "cool_down_seconds"), when=_needs_attention,
    ),
    Event(
        name="price unknown", logger="cnroute.deployment", level=WARNING, of=Unpriced, make=_unpriced,
        says="A budget is set, and these deployments have no known price: no call goes to them. Logged once per router.",
        fields=("deployments", "detail"),
    ),
    Event(
        name="budget overrun", logger="cnroute.deployment", level=ERROR, of=BudgetOverrun, make=_budget_overrun,
        says="A vendor charged more than the upper bound that was reserved: its price or its answers are not what they were.",
        fields=("call_id", "route", "deployment", "provider", "reserved", "spent", "currency", "metadata"),
    ),
    Event(
        name="store degraded", logger="cnroute.store", level=ERROR, of=StoreChanged, make=_store_changed,
        says="The shared store does not answer: each process goes on with its own share. Logged once per outage and process.",
        fields=("store", "detail"), when=_store_is("degraded"),
    ),
    Event(
        name="store restored", logger="cnroute.store", level=INFO, of=StoreChanged, make=_store_changed,
        says="The shared store answers again; what was spent meanwhile is not added to it.",
        fields=("store", "detail"), when=_store_is("restored"),
    ),
    Event(
        name="knowledge finished", logger="cnroute.knowledge", level=INFO, of=KnowledgeFinished, make=_knowledge_finished,
        says="An operation on files or knowledge bases ended, well or not: exactly one per operation.",
        fields=(
            "call_id", "operation", "outcome", "deployment", "seconds", "attempts", "files", "bases", "looked", "http_status",
            "request_id", "vendor_code", "detail", "retry_after", "advice",
        ),
    ),
    Event(
        name="observer failed", logger="cnroute.plugin", level=ERROR, of=ObserverFailed, make=_observer_failed,
        says="An observer raised. Logged once per plugin and router; further failures are only counted.",
        fields=("plugin", "error_type", "detail", "where"),
    ),
    Event(
        name="close failed", logger="cnroute.transport", level=ERROR, of=CloseFailed, make=_close_failed,
        says="A stream of a plugin's transport raised when it was closed: what it holds may stay open. The call is not changed.",
        fields=("transport", "error_type", "detail", "where"),
    ),
)
