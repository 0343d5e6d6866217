"""The wire cases as calls: what each asked for, what came back, and the check of a call's outcome against `expect`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cnroute
from cnroute.testing import FakeTransport
from tests.contract.kit import GROUP, KEY, Seen

FILE = Path(__file__).parent.parent / "data" / "wire_cases.jsonl"
# Split at line feeds only: a case holds U+2028.
CASES: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").strip("\n").split("\n")]
STREAMED = [case for case in CASES if case["request"].get("stream")]
PLAIN = [case for case in CASES if case not in STREAMED]
USAGE = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


class Cut(FakeTransport):
    """Answers every call with `body`, a stream in the pieces between `cuts`."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.body = case["body"].encode()
        self.cuts: Iterable[int] = ()
        super().__init__([self.now])

    def now(self, sent: Any) -> cnroute.HttpResponse:
        """The answer of the case."""
        return cnroute.HttpResponse(self.case["http_status"], self.case["headers"], self.body)

    def pieces(self, body: bytes) -> list[bytes]:
        """The body cut at `cuts`."""
        return [body[start:end] for start, end in pairwise([0, *self.cuts, len(body)])]


def deployment(provider: str, model: str, **fields: Any) -> cnroute.Deployment:
    """A deployment of the vendor's own address; nothing is sent there."""
    options = {"group_id": GROUP} if provider in ("minimax-pro", "minimax-legacy") else {}
    return cnroute.Deployment("d", provider, model, api_key=KEY, options=options, **fields)


def setup_of(case: dict[str, Any], transport: Any) -> tuple[list[cnroute.Deployment], dict[str, Any]]:
    """The arguments of a router for `case`."""
    settings = {"transport": transport, "breaker": None, "retries": cnroute.Retries(max_attempts=1)}
    return [deployment(case["provider"], case["request"]["model"])], settings


def arguments_of(case: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the call, so that the stream's mode is the one that the case was recorded in."""
    if case["provider"] != "dashscope" or not case["request"].get("stream"):
        return {}
    wanted = bool(case["request"].get("parameters", {}).get("incremental_output"))
    return {"extra": {"dashscope": {"parameters": {"incremental_output": wanted}}}}


def accepted(expect: dict[str, Any], key: str) -> list[Any]:
    """All values of `key` that are right."""
    return expect.get(f"{key}_accept", [expect.get(key)])


def usage_of(usage: Any) -> dict[str, int] | None:
    """The known fields of a usage."""
    return None if usage is None else {name: number for name in USAGE if (number := getattr(usage, name)) is not None}


def known(usage: dict[str, Any] | None) -> dict[str, int] | None:
    """The known fields of an expected usage; a usage that knows nothing is none."""
    return None if usage is None else {name: count for name, count in usage.items() if count is not None}


def check(case: dict[str, Any], seen: Seen) -> None:
    """Every key of `expect`, whatever way the call went."""
    expect = case["expect"]
    if case["request"].get("stream"):
        assert {delta.role for delta in seen.deltas} <= {None, "assistant"}
        assert seen.text == expect["text"]
    if expect["kind"] is None:
        _check_answer(case, seen)
    elif expect.get("interrupted"):
        _check_interrupted(expect, seen)
    else:
        _check_failure(case, seen)


def _check_answer(case: dict[str, Any], seen: Seen) -> None:
    expect, reply = case["expect"], seen.reply
    assert seen.error is None, repr(seen.error)
    assert reply.text == expect["text"]
    assert reply.reasoning == expect.get("reasoning", "")
    assert reply.finish_reason in accepted(expect, "finish_reason")
    assert usage_of(reply.usage) in [known(usage) for usage in accepted(expect, "usage")]
    assert reply.request_id in accepted(expect, "request_id")
    assert reply.model == case["request"]["model"]
    _check_tools(reply.tool_calls, expect)
    _check_sources(reply.sources, expect)
    if "choices" in expect:
        assert [choice.message.content for choice in reply.choices] == expect["choices"]
    for name, flag in (expect.get("sensitive") or {}).items():
        side, _, what = name.partition("_")
        assert reply.raw["_".join(filter(None, (side, "sensitive", what)))] == flag
    if not case["request"].get("stream"):
        assert reply.raw == json.loads(case["body"])
    else:
        assert "".join(delta.reasoning for delta in seen.deltas) == expect.get("reasoning", "")
        assert seen.deltas[-1].finish_reason == reply.finish_reason


def _check_tools(calls: Any, expect: dict[str, Any]) -> None:
    wanted = expect.get("tool_calls", [])
    assert [(call.name, call.arguments) for call in calls] == [(each["name"], each["arguments"]) for each in wanted]
    for call, each in zip(calls, wanted, strict=True):
        assert call.id == each["id"] if each["id"] else call.id
    assert len({call.id for call in calls}) == len(calls)


def _check_sources(sources: Any, expect: dict[str, Any]) -> None:
    wanted = expect.get("sources", [])
    assert [{name: getattr(found, name) for name in fields} for found, fields in zip(sources, wanted, strict=True)] == wanted


def _check_failure(case: dict[str, Any], seen: Seen) -> None:
    expect, error = case["expect"], seen.error
    assert seen.deltas == []
    assert error is not None
    assert not isinstance(error, cnroute.StreamInterruptedError)
    assert error.kind in accepted(expect, "kind")
    assert error.vendor_code in accepted(expect, "vendor_code")
    assert error.retryable == expect["retryable"]
    assert error.request_id in accepted(expect, "request_id")
    assert error.http_status == case["http_status"]
    assert [attempt.failure.kind for attempt in error.attempts] == [error.kind]
    assert_nothing_told(error)


def _check_interrupted(expect: dict[str, Any], seen: Seen) -> None:
    error = seen.error
    assert isinstance(error, cnroute.StreamInterruptedError)
    assert error.cause_kind in accepted(expect, "kind")
    assert error.vendor_code in accepted(expect, "vendor_code")
    assert error.partial_text == expect["text"] == seen.text
    assert error.attempts[-1].failure.retryable == expect["retryable"]
    assert usage_of(error.usage) in [known(usage) for usage in accepted(expect, "usage")]
    assert error.request_id in accepted(expect, "request_id")
    assert seen.reply.finish_reason is None
    assert_nothing_told(error)


def assert_nothing_told(error: cnroute.CallError) -> None:
    """No key and no GroupId in anything that gets printed."""
    shown = f"{error} {error!r} {error.__notes__} {error.attempts!r}"
    assert KEY not in shown
    assert GROUP not in shown
