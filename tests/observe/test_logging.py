"""The log of one process: one line a call, errors for operators, nothing that must not be there."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.chat import Usage
from cnroute.failures import Attempt, Failure, FailureKind
from cnroute.money import Bill, Cost
from cnroute.notices import (
    AttemptFinished,
    AttemptSkipped,
    AttemptStarted,
    BudgetOverrun,
    CallFinished,
    KnowledgeFinished,
    StoreChanged,
)
from cnroute.observe import events
from cnroute.observe.logging import RESERVED, Log, make_log, observer_failed
from cnroute.routing.fallback import TABLE
from tests.observe import scene

DOCS = Path(__file__).parents[2] / "docs" / "logging.md"


class Keep(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def named(self, event: str) -> list[Any]:
        return [record for record in self.records if record.msg == event]


@pytest.fixture
def log() -> Iterator[Keep]:
    """Everything that any logger says, at DEBUG."""
    root, keep = logging.getLogger(), Keep()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield keep
    root.setLevel(level)
    root.removeHandler(keep)


# -- values for the catalogue ------------------------------------------------------------------------------

COST = Cost(Decimal("0.0001"), Decimal("0.0001"), "CNY")


def attempt(kind: str | None = None, message: str = "no") -> Attempt:
    failure = Failure(FailureKind(kind), message) if kind else None
    return Attempt("yi", "dashscope", 1, failure, 200, "r-1", "billed", 1.0, 0.25, Usage(3, 4), COST, {"top_p": "moved"})


def finished(kind: str | None = None, message: str = "no") -> AttemptFinished:
    return AttemptFinished(
        call_id="c-1", route="chat", model="yi-large", stream=False, attempt=attempt(kind, message), decision="done",
        metadata={"tenant": "a"},
    )


def ended(**changes: Any) -> CallFinished:
    notice = CallFinished(
        call_id="c-1", route="chat", stream=False, outcome="ok", seconds=0.5, attempts=(attempt(),), deployment="yi",
        provider="dashscope", model="yi-large", finish_reason="stop", usage=Usage(3, 4), cost=COST, bill=Bill(COST, COST),
        error=None, plan=None, metadata={"tenant": "a"},
    )
    return attrs.evolve(notice, **changes)


NOTICES: dict[str, Any] = {
    "call finished": ended(),
    "attempt started": AttemptStarted(
        call_id="c-1", route="chat", deployment="yi", provider="dashscope", model="yi-large", number=1, stream=False, metadata={}
    ),
    "attempt finished": finished(),
    "candidate skipped": AttemptSkipped(
        call_id="c-1", route="chat", deployment="yi", provider="dashscope", reason="full", detail="", metadata={}
    ),
    "deployment needs attention": finished("auth"),
    "price unknown": events.Unpriced(deployments=("yi", "mm"), detail="nobody knows"),
    "budget overrun": BudgetOverrun(
        call_id="c-1", route="chat", deployment="yi", provider="dashscope", reserved="1", spent="2", currency="CNY", metadata={}
    ),
    "store degraded": StoreChanged(store="RedisStore('r')", state="degraded", reason="TimeoutError"),
    "store restored": StoreChanged(store="RedisStore('r')", state="restored", reason=""),
    "knowledge finished": KnowledgeFinished(
        call_id="c-1", operation="create", outcome="overloaded", deployment="knowledge", seconds=1.0,
        attempts=(attempt("overloaded"),), ids={"files": (2**63 - 1,), "bases": ()}, looked=True,
        error=cnroute.ServerError("busy", kind="overloaded", vendor_code="2034"),
    ),
    "observer failed": events.ObserverFailed(plugin="p", error=ValueError("x")),
    "close failed": events.CloseFailed(transport="T", error=ValueError("x")),
}


# -- the catalogue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", events.EVENTS, ids=lambda event: event.name)
def test_every_event_has_exactly_its_fields(event: events.Event, log: Keep) -> None:
    """What is logged is what the table says: logger, level and fields."""
    Log(True)(NOTICES[event.name])
    (record,) = log.named(event.name)
    assert (record.name, record.levelno) == (event.logger, event.level)
    extra = set(vars(record)) - set(vars(logging.makeLogRecord({}))) - {"message"}
    assert extra == {*event.fields, *event.at_debug, *event.with_content}


def test_no_field_has_a_reserved_name() -> None:
    """logging refuses some names in `extra`, and structlog's processors overwrite others."""
    for event in events.EVENTS:
        assert not RESERVED.intersection((*event.fields, *event.at_debug, *event.with_content))
        assert len(set(event.fields)) == len(event.fields)


def test_the_page_and_the_table_say_the_same() -> None:
    """Every event with logger, level and fields stands in docs/logging.md, and no other does."""
    rows = re.findall(r"^\| `([^`]+)` \| `(cnroute\.[a-z]+)` \| (\w+) \| (.+) \|$", DOCS.read_text("utf-8"), re.M)
    told = {
        name: (logger, level.lower(), re.findall(r"`([a-z_]+)`", fields.partition("Fields:")[2]))
        for name, logger, level, fields in rows
    }
    assert told == {
        event.name: (
            event.logger, events.LEVEL_NAMES[event.level], [*event.fields, *event.at_debug, *event.with_content]
        )
        for event in events.EVENTS
    }


def test_values_are_ready_for_json(log: Keep) -> None:
    """No event carries anything that a JSON formatter cannot write."""
    for notice in NOTICES.values():
        Log(True)(notice)
    for record in log.records:
        event = next(event for event in events.EVENTS if event.name == record.msg)
        for name in (*event.fields, *event.at_debug, *event.with_content):
            json.dumps(getattr(record, name), allow_nan=False)


# -- what a call logs --------------------------------------------------------------------------------------


def test_one_info_line_a_call_with_what_an_operator_asks(log: Keep) -> None:
    """The canonical line: ids, outcome, tokens, money, finish reason, metadata."""
    with scene.stage() as (router, emulator):
        ends = scene.play(router, emulator)
    lines = [record for record in log.records if record.levelno == logging.INFO and record.name.startswith("cnroute")]
    assert [record.call_id for record in lines] == [end.call_id for end in ends]  # type: ignore[attr-defined]
    first, reply = log.named("call finished")[0], ends[0]
    assert isinstance(reply, cnroute.ChatCompletion)
    assert reply.usage is not None
    assert reply.cost is not None
    assert (first.model, first.request_id, first.finish_reason) == (reply.model, reply.request_id, "stop")
    assert (first.input_tokens, first.output_tokens) == (reply.usage.input_tokens, reply.usage.output_tokens)
    assert (Decimal(first.cost_low), first.cost_currency, first.cost_estimated) == (reply.cost.low, "CNY", False)
    assert first.bill_confirmed.endswith(" CNY")
    assert first.metadata == scene.METADATA
    failed = log.named("call finished")[-1]
    assert (failed.outcome, failed.http_status, failed.model) == ("auth", 401, "abab6.5s-chat")
    assert failed.detail


def test_attempts_in_the_log_are_the_requests_at_the_vendor(log: Keep) -> None:
    """One event for each start and each end, with the decision that followed."""
    with scene.stage() as (router, emulator):
        scene.play(router, emulator)
        asked = len(emulator.requests)
    assert len(log.named("attempt started")) == len(log.named("attempt finished")) == asked
    assert [record.decision for record in log.named("attempt finished")] == ["done", "next", "done", "done", "stop"]


def test_a_skipped_candidate_is_logged(log: Keep) -> None:
    """A deployment that cools down is named, with the reason."""
    with scene.stage() as (router, emulator):
        emulator.script("yi-large", ["http_401"])
        router.chat("x", model="chat")
        router.chat("x", model="chat")
    (record,) = log.named("candidate skipped")
    assert (record.deployment, record.reason) == ("yi", "cooling_down")


@pytest.mark.parametrize("kind", list(FailureKind))
def test_what_a_person_must_repair_is_an_error(kind: FailureKind, log: Keep) -> None:
    """Keys, permissions, quotas, model names, certificates: error level. Everything else is not."""
    make_log(False)(finished(kind.value))
    errors = [record for record in log.records if record.levelno >= logging.ERROR]
    assert len(errors) == (1 if TABLE[kind].alarm else 0)
    assert all(record.name == "cnroute.deployment" for record in errors)


# -- what may never be there -------------------------------------------------------------------------------


def everything(log: Keep) -> str:
    """All that handlers could show of all records."""
    return "\n".join(str(vars(record)) + record.getMessage() for record in log.records)


def test_no_key_and_no_content_anywhere(log: Keep) -> None:
    """Canaries in key, prompt and answer: no hit in any logger at DEBUG, in records, in explanations."""
    with scene.stage() as (router, emulator):
        ends = scene.play(router, emulator)
        answer = emulator.answer(scene.PROMPT)
    told = [everything(log)]
    for end in ends:
        told += [json.dumps(end.record(), ensure_ascii=False), end.explain("en"), end.explain("zh")]
    for text in told:
        for canary in (scene.KEY, scene.KEY[:11], scene.GROUP, scene.PROMPT, answer):
            assert canary not in text


def test_content_is_logged_on_request_only_and_cut(log: Keep) -> None:
    """`log_content` shows 200 characters, escaped; without it nothing, even if the notice carries content."""
    notice = ended(prompt="p" * 500, text="line\nline" + "t" * 500)
    make_log(False)(notice)
    make_log(True)(notice)
    silent, open_ = log.named("call finished")
    assert not hasattr(silent, "prompt")
    assert not hasattr(silent, "text")
    assert "pppp" not in str(vars(silent))
    assert len(open_.prompt) == len(open_.text) == 200
    assert open_.text.startswith("line\\x0aline")


def test_the_text_of_a_broken_stream_is_content(log: Keep) -> None:
    """What was handed out before a stream broke appears under `log_content` only."""
    error = cnroute.StreamInterruptedError("it broke", partial_text="handed out")
    for content in (False, True):
        make_log(content)(ended(error=error, outcome="stream_interrupted"))
    silent, open_ = log.named("call finished")
    assert "handed out" not in str(vars(silent))
    assert open_.text == "handed out"


def test_a_vendor_cannot_forge_log_lines(log: Keep) -> None:
    """Newlines, ANSI codes, bidi marks in a vendor's message arrive escaped, in one line."""
    with scene.stage() as (router, emulator):
        emulator.script("abab6.5s-chat", ["http_400_dirty"])
        with pytest.raises(cnroute.BadRequestError) as caught:
            router.chat("x", model="kb", metadata={"tenant": "a\nb\x1b[31m"})
    ours = [record for record in log.records if record.name.startswith("cnroute")]
    for record in ours:
        for value in (record.getMessage(), *vars(record).values()):
            assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", f"{value}")
    assert log.named("call finished")[0].metadata == {"tenant": "a\\x0ab\\x1b[31m"}
    for text in (caught.value.explain("en"), caught.value.explain("zh")):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


# -- hosts and plugins that misbehave ----------------------------------------------------------------------


class Raising:
    """An observer that raises."""

    @cnroute.hookimpl
    def observe(self, notice: object) -> None:
        raise RuntimeError(f"broken\nobserver for {type(notice).__name__}")


def test_an_observer_that_raises_is_counted_and_reported_once(log: Keep) -> None:
    """It breaks no call; the first failure is an error in the log, the others are counted."""
    host = cnroute.PluginHost(autoload=False)
    host.register(Raising(), name="raising")
    with scene.stage(plugins=host) as (router, _):
        for _ in range(3):
            assert router.chat("x", model="mm").text
    assert host.observer_failures == {"raising": 12}
    (record,) = log.named("observer failed")
    assert (record.name, record.levelno) == ("cnroute.plugin", logging.ERROR)
    assert (record.plugin, record.error_type) == ("raising", "RuntimeError")
    assert record.detail == "broken\\x0aobserver for CallStarted"
    assert record.where.startswith(__file__)


class Mute(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_be_shown_is_reported_all_the_same(log: Keep) -> None:
    """Reporting an observer never raises."""
    observer_failed("p", Mute())
    assert log.named("observer failed")[0].detail == ""


@pytest.mark.parametrize("failure", [RuntimeError, RecursionError])
def test_a_handler_that_raises_breaks_no_call(log: Keep, failure: type[Exception]) -> None:
    """The host's handlers and filters are somebody else's code."""

    def refuse(record: logging.LogRecord) -> bool:
        raise failure("no")

    logging.getLogger("cnroute.call").addFilter(refuse)
    try:
        with scene.stage() as (router, _):
            assert router.chat("x", model="mm").text
            assert router.chat("x", model="mm").text
    finally:
        logging.getLogger("cnroute.call").removeFilter(refuse)
    (record,) = log.named("observer failed")
    assert (record.plugin, record.error_type) == ("logging", failure.__name__)


def test_memory_errors_pass_through(log: Keep) -> None:
    """A process without memory must not be told that all is well."""

    def exhaust(record: logging.LogRecord) -> bool:
        raise MemoryError

    logging.getLogger("cnroute.call").addFilter(exhaust)
    try:
        with pytest.raises(MemoryError):
            make_log(False)(ended())
    finally:
        logging.getLogger("cnroute.call").removeFilter(exhaust)


def test_one_null_handler_no_level(log: Keep) -> None:
    """However many routers there are."""
    for _ in range(3):
        make_log(False)
    ours = logging.getLogger("cnroute")
    assert [type(handler) for handler in ours.handlers] == [logging.NullHandler]
    assert ours.level == logging.NOTSET
    assert all(logging.getLogger(event.logger).level == logging.NOTSET for event in events.EVENTS)


def test_the_record_field_prints_as_one_line_of_json(log: Keep) -> None:
    """A plain format such as `%(record)s` writes what `cnroute explain` reads."""
    make_log(False)(ended())
    text = logging.Formatter("%(record)s").format(log.records[0])
    assert json.loads(text)["call_id"] == "c-1"


def test_the_record_comes_at_debug_only(log: Keep) -> None:
    """At INFO the line stays short."""
    logging.getLogger().setLevel(logging.INFO)
    make_log(False)(ended())
    assert not hasattr(log.records[0], "record")
