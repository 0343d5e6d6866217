"""The fault wall: every dialect, plain and streamed, through both routers, over real sockets.

Before the first content the next vendor answers and the record shows why; after it the caller gets a typed error with the
exact text so far, and nothing is sent to anybody else.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest

import cnroute
from cnroute.emulator import FAULTS, Emulator
from tests.contract.kit import DIALECTS, NEXT, QUESTION, WORLDS, Seen, ask, assert_at_rest, deployment, hasty, sent_to

SLACK = 0.25 + 0.5  # what the contract allows behind a deadline, and what a busy machine takes
ONCE = cnroute.Retries(max_attempts=1)


class Row(NamedTuple):
    """A fault of the first vendor: what it is called there, the kind that it has here, and what it may have cost."""

    fault: str
    kind: str
    billing: str
    error: type[cnroute.CallError]


def row(fault: str, kind: str, billing: str, error: type[cnroute.CallError]) -> Any:
    return pytest.param(Row(fault, kind, billing, error), id=fault.replace(":", "-"))


BEFORE_BOTH = [
    row("http_503", "overloaded", "none", cnroute.ServerError),
    row("error_in_200", "rate_limit", "none", cnroute.RateLimitError),
    row("error_in_200:internal_error", "server_error", "unknown", cnroute.ServerError),
    row("error_in_200_choices_null", "rate_limit", "none", cnroute.RateLimitError),
    row("choices_null", "bad_response", "unknown", cnroute.ResponseError),
    row("choices_missing", "bad_response", "unknown", cnroute.ResponseError),
    row("html_200", "bad_response", "unknown", cnroute.ResponseError),
    row("empty_200", "bad_response", "unknown", cnroute.ResponseError),
    row("close", "connection_lost", "unknown", cnroute.ConnectionFailedError),
    row("hang", "first_byte_timeout", "unknown", cnroute.CallTimeoutError),
]
PLAIN = [
    *BEFORE_BOTH,
    row("half_body_reset", "connection_lost", "unknown", cnroute.ConnectionFailedError),
    row("half_body_hang", "idle_timeout", "unknown", cnroute.CallTimeoutError),
    row("json_cut", "bad_response", "unknown", cnroute.ResponseError),
]
STREAMED = [
    *BEFORE_BOTH,
    row("stream_error_only", "rate_limit", "none", cnroute.RateLimitError),
    row("stream_error_only:internal_error", "server_error", "unknown", cnroute.ServerError),
    row("stream_empty", "bad_response", "unknown", cnroute.ResponseError),
    row("stream_error_first", "rate_limit", "none", cnroute.RateLimitError),
    row("stream_bare_error:rate_limit", "rate_limit", "none", cnroute.RateLimitError),
    row("stream_role_then_error", "rate_limit", "none", cnroute.RateLimitError),
    row("stream_cut_first", "connection_lost", "unknown", cnroute.ConnectionFailedError),
    row("stream_fin_first", "connection_lost", "unknown", cnroute.ConnectionFailedError),
    row("stream_pings:0.05", "first_token_timeout", "unknown", cnroute.CallTimeoutError),
    row("headers_hang", "first_token_timeout", "unknown", cnroute.CallTimeoutError),
]
AFTER = [
    row("stream_no_finish", "bad_response", "billed", cnroute.StreamInterruptedError),
    row("stream_end:2", "bad_response", "billed", cnroute.StreamInterruptedError),
    row("stream_cut:2", "connection_lost", "billed", cnroute.StreamInterruptedError),
    row("stream_fin:2", "connection_lost", "billed", cnroute.StreamInterruptedError),
    row("stream_half_chunk:2", "connection_lost", "billed", cnroute.StreamInterruptedError),
    row("stream_error:2", "server_error", "billed", cnroute.StreamInterruptedError),
    row("stream_filtered:2", "content_filter", "billed", cnroute.StreamInterruptedError),
    row("stream_hang:2", "idle_timeout", "billed", cnroute.StreamInterruptedError),
]
CASES = [(stream, case) for stream, rows in ((False, PLAIN), (True, STREAMED)) for case in rows]


def everywhere(cases: list[tuple[bool, Any]], turn: int) -> Any:
    """Every case in every dialect through both routers; outside of the long run a half of it, of what waits a quarter."""
    waits, found = [fault for fault in FAULTS if hasty(fault)], []
    for turns, (world, name) in enumerate(itertools.product(WORLDS, DIALECTS), turn):
        for number, (stream, case) in enumerate(cases):
            (row,) = case.values
            rests = (turns + number) % (4 if row.fault.partition(":")[0] in waits else 2)
            ident = f"{'streamed' if stream else 'plain'}-{case.id}-{name}-{world}"
            found.append(pytest.param(world, name, stream, row, id=ident, marks=[pytest.mark.slow] if rests else []))
    return pytest.mark.parametrize(("world", "name", "stream", "case"), found)


def charged(vendor: Emulator, case: Row) -> str:
    """The billing of the first attempt: `billed` where a stream told tokens before it failed."""
    first = vendor.requests[0]
    told = first.usage if first.stream and case.fault != "stream_error_first" else None
    return "billed" if told and any(told.values()) else case.billing


def wall(vendor: Emulator, world: str, name: str, fault: str, stream: bool, *, alone: bool = False, **settings: Any) -> Seen:
    """A call whose first vendor has `fault`; afterwards nothing may be left of it."""
    vendor.script(DIALECTS[name][1], [fault] * 3)
    first = deployment(name, vendor, timeouts=hasty(fault))
    places = [first] if alone else [first, deployment(NEXT[name], vendor)]

    async def scenario(router: Any) -> Seen:
        seen = await ask(router, stream, model="route", timeout=10)
        assert_at_rest(router, vendor)
        return seen

    return WORLDS[world](scenario, places, {"route": [place.name for place in places]}, **settings)


@everywhere(CASES, 0)
def test_before_the_first_content_the_next_vendor_answers(
    vendor: Emulator, world: str, name: str, stream: bool, case: Row
) -> None:
    """The answer is the second vendor's, whole and once; the record has the failed attempt with its kind and billing."""
    seen = wall(vendor, world, name, case.fault, stream)
    assert seen.error is None, repr(seen.error)
    assert seen.reply.text == vendor.answer(QUESTION)
    assert not stream or seen.text == vendor.answer(QUESTION)
    assert (seen.reply.deployment, seen.reply.finish_reason) == (NEXT[name], "stop")
    assert seen.record() == [(name, case.kind, charged(vendor, case)), (NEXT[name], None, "billed")]
    assert [each.number for each in seen.attempts] == [1, 2]
    assert len(sent_to(vendor, name)) == len(sent_to(vendor, NEXT[name])) == 1
    assert seen.seconds < 0.15 + SLACK


@everywhere(CASES, 1)
def test_without_another_vendor_the_error_says_what_happened(
    vendor: Emulator, world: str, name: str, stream: bool, case: Row
) -> None:
    """One deployment: the class of its failure, nothing handed out, no finish reason from anywhere."""
    seen = wall(vendor, world, name, case.fault, stream, alone=True, retries=ONCE)
    assert type(seen.error) is case.error
    assert (seen.error.kind, seen.error.billing, seen.error.deployment) == (case.kind, charged(vendor, case), name)
    assert seen.record() == [(name, case.kind, charged(vendor, case))]
    assert seen.deltas == []
    assert not stream or (seen.reply.text, seen.reply.finish_reason) == ("", None)
    assert len(vendor.requests) == 1
    assert seen.seconds < 0.15 + SLACK


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with-a-next-vendor"])
@everywhere([(True, case) for case in AFTER], 0)
def test_after_the_first_content_nothing_is_repeated(
    vendor: Emulator, world: str, name: str, stream: bool, alone: bool, case: Row
) -> None:
    """A typed error with exactly the text that was handed out; nobody else is asked; no finish reason is made up."""
    seen = wall(vendor, world, name, case.fault, stream, alone=alone)
    error, whole = seen.error, vendor.answer(QUESTION)
    assert type(error) is case.error
    assert isinstance(error, cnroute.StreamInterruptedError)
    assert (error.kind, error.cause_kind, error.billing) == ("stream_interrupted", case.kind, "billed")
    assert error.partial_text == seen.text == seen.reply.text
    assert list(error.deltas) == seen.deltas
    assert seen.text
    assert whole.startswith(seen.text)
    assert (seen.text == whole) == (case.fault == "stream_no_finish")
    assert {delta.finish_reason for delta in seen.deltas} == {None}
    assert seen.reply.finish_reason is None
    assert seen.record() == [(name, case.kind, "billed")]
    assert len(vendor.requests) == 1
    assert seen.seconds < 0.15 + SLACK


@pytest.mark.parametrize(("world", "stream"), [("sync", False), ("async", True)], ids=["sync-plain", "async-streamed"])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_hanging_vendor_leaves_time_for_the_next(vendor: Emulator, world: str, name: str, stream: bool) -> None:
    """The first attempt is cut by its share of the deadline, not by the whole of it."""
    patient = cnroute.Timeouts(first_byte=30, first_token=30, idle=30, connect=5)
    vendor.script(DIALECTS[name][1], ["hang"])

    async def scenario(router: Any) -> Seen:
        seen = await ask(router, stream, model="route", timeout=0.6)
        assert_at_rest(router, vendor)
        return seen

    places = [deployment(each, vendor) for each in (name, NEXT[name])]
    seen = WORLDS[world](scenario, places, {"route": [name, NEXT[name]]}, timeouts=patient)
    assert seen.error is None, repr(seen.error)
    assert seen.reply.text == vendor.answer(QUESTION)
    assert seen.record() == [(name, "first_byte_timeout", "unknown"), (NEXT[name], None, "billed")]
    assert 0.27 < seen.seconds < 0.6 + SLACK


HANGS = ["hang", "headers_hang", "slow_headers:0.02", "continue_forever"]
HANGING = [(False, fault) for fault in (*HANGS, "half_body_hang", "slow_body")] + [
    (True, fault) for fault in (*HANGS, "stream_pings:0.02", "stream_hang:2", "stream_endless", "stream_slow:0.2")
]
# Outside of the long run the two take turns.
WAITING = [
    pytest.param(world, name, stream, fault, id=f"{'streamed' if stream else 'plain'}-{fault}-{world}",
                 marks=[pytest.mark.slow] if (number + turn) % 2 else [])
    for turn, (world, name) in enumerate([("sync", "qwen"), ("async", "pro")])
    for number, (stream, fault) in enumerate(HANGING)
]  # fmt: skip


@pytest.mark.parametrize(("world", "name", "stream", "fault"), WAITING)
def test_the_deadline_holds_against_every_way_of_waiting(
    vendor: Emulator, world: str, name: str, stream: bool, fault: str
) -> None:
    """With patient limits the call's own deadline ends it, in time, as `deadline_exceeded`."""
    vendor.script(DIALECTS[name][1], [fault] * 3)
    patient = cnroute.Timeouts(first_byte=30, first_token=30, idle=30)

    async def scenario(router: Any) -> Seen:
        seen = await ask(router, stream, model=name, timeout=0.2)
        assert_at_rest(router, vendor)
        return seen

    limits = cnroute.Limits(max_stream_bytes=2**40)
    seen = WORLDS[world](scenario, [deployment(name, vendor)], timeouts=patient, limits=limits)
    error = seen.error
    if isinstance(error, cnroute.StreamInterruptedError):
        assert error.cause_kind == "deadline_exceeded"
        assert error.partial_text == seen.text
    else:
        assert type(error) is cnroute.DeadlineExceededError
        assert seen.deltas == []
    assert 0.18 < seen.seconds < 0.2 + SLACK
