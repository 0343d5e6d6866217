"""What a sample expects, compared with what came of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cnroute.failures import Failure
from cnroute.testing.contract.checking import fail
from cnroute.testing.contract.samples import IN_USAGE, Sample
from cnroute.testing.contract.subject import Outcome

_CHANGE = "correct the hook, or the sample's `expect` if the vendor's page says so"
# A stream that just stops is the transport's failure or the flow's, depending on how it stops.
_CUT_SHORT = frozenset(("bad_response", "connection_lost"))


def check(sample: Sample, outcome: Outcome, keys: tuple[str, ...]) -> None:
    """Compare those of `keys` that the sample expects something of."""
    __tracebackhide__ = True
    for key, want, got in compared(sample, outcome):
        if key.partition(".")[0] in keys and want != got:
            fail(f"the {key} is what the sample expects", expected=want, got=got, change=_CHANGE, sample=sample.name)


def compared(sample: Sample, outcome: Outcome) -> Iterator[tuple[str, Any, Any]]:
    """Every expectation of a sample as key, wanted value and value."""
    answer, expect = outcome.answer, sample.expect
    for key in ("text", "reasoning", "finish_reason", "request_id"):
        if key in expect and (outcome.completion is not None or key in ("text", "reasoning")):
            got = getattr(answer, key)
            yield key, expect[key], got if got or expect[key] is not None else None
    if "usage" in expect and outcome.completion is not None:
        yield from _usage(expect["usage"], answer.usage)
    if "tool_calls" in expect:
        yield from _calls(expect["tool_calls"] or [], answer.tool_calls)
    if "failure" in expect:
        yield from _failure(expect["failure"], outcome.failure)
    if "request_id" in expect and outcome.failure is not None:
        yield "request_id", expect["request_id"], outcome.failure.request_id


def _usage(want: Mapping[str, Any] | None, got: Any) -> Iterator[tuple[str, Any, Any]]:
    if want is None or got is None:
        yield "usage", _known(want), got
        return
    yield "usage", dict(want), {key: getattr(got, IN_USAGE[key]) for key in want}


def _known(want: Mapping[str, Any] | None) -> Any:
    """An expected usage of which nothing is known is none."""
    return want if want is not None and any(value is not None for value in want.values()) else None


def _calls(want: list[Any], got: Any) -> Iterator[tuple[str, Any, Any]]:
    yield (
        "tool_calls",
        [_wanted_call(call) for call in want],
        [_call(call, given) for call, given in zip([*want, *[{}] * (len(got) - len(want))], got, strict=False)],
    )


def _wanted_call(call: Mapping[str, Any]) -> dict[str, Any]:
    fields = {**call, **call.get("function", {})}
    return {key: fields[key] for key in ("id", "name", "arguments") if fields.get(key) is not None}


def _call(want: Mapping[str, Any], got: Any) -> dict[str, Any]:
    """The same fields of a call as are wanted; all of them where none are."""
    keys = _wanted_call(want) or dict.fromkeys(("id", "name", "arguments"))
    fields = {key: getattr(got, key) for key in keys}
    if isinstance(keys.get("arguments"), dict):
        with contextlib.suppress(ValueError):
            fields["arguments"] = json.loads(got.arguments)
    return fields


def _failure(want: Mapping[str, Any] | None, got: Failure | None) -> Iterator[tuple[str, Any, Any]]:
    if want is None or got is None:
        yield "failure", None if want is None else dict(want), None if got is None else _said(got)
        return
    for key, value in want.items():
        given = getattr(got, key)
        given = value if key == "kind" and {value, given} <= _CUT_SHORT else given
        yield f"failure.{key}", value, str(given) if key == "kind" else given


def _said(failure: Failure) -> str:
    return f"{failure.kind}: {failure.message}"
