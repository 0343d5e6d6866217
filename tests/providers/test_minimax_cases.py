"""Every MiniMax exchange of the wire cases: however it is cut, whatever is missing from it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cnroute.chat import ChatCompletion, ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.events import Delta, Finish, ReasoningDelta, SourceFound, TextDelta, ToolCallDelta, UsageUpdate
from cnroute.failures import Failure
from cnroute.flow.lines import LineSplitter
from cnroute.hookspecs import StreamState
from cnroute.http import HttpResponse
from cnroute.providers.minimax import legacy, pro, v2
from tests.providers import replay

PLUGINS: dict[str, Any] = {"minimax-v2": v2, "minimax-pro": pro, "minimax-legacy": legacy}
GROUP = "1700000000000000019"
KEY = "sk-of-a-test"
FILE = Path(__file__).parent.parent / "data" / "wire_cases.jsonl"
# Split at line feeds only: a case holds U+2028.
LINES = FILE.read_text("utf-8").strip("\n").split("\n")
CASES = [case for line in LINES if (case := json.loads(line))["provider"] in PLUGINS]
STREAMS = [case for case in CASES if case["kind"] == "stream" and case["body"].lstrip()[:1] != "{"]
WHOLE = [case for case in CASES if case not in STREAMS]
ASKED = ChatRequest((Message("user", "你好"),))


def ids(cases: list[dict[str, Any]]) -> list[str]:
    return [case["id"] for case in cases]


def deployment(provider: str, model: str = "abab6.5s-chat", **options: Any) -> Deployment:
    given = options or ({} if provider == "minimax-v2" else {"group_id": GROUP})
    return Deployment("d", provider, model, KEY, "https://api.minimaxi.com/v1", options=given)


def of(case: dict[str, Any]) -> tuple[Any, Deployment]:
    return PLUGINS[case["provider"]], deployment(case["provider"], case["request"]["model"])


def accepted(expect: dict[str, Any], key: str) -> list[Any]:
    return expect.get(f"{key}_accept", [expect.get(key)])


def usage_dict(usage: Any) -> dict[str, int] | None:
    if usage is None:
        return None
    fields = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    return {name: getattr(usage, name) for name in fields if getattr(usage, name) is not None}


def known(usage: dict[str, Any] | None) -> dict[str, int] | None:
    return None if usage is None else {name: count for name, count in usage.items() if count is not None}


def check_failure(failure: Failure, expect: dict[str, Any]) -> None:
    assert failure.kind in accepted(expect, "kind")
    assert failure.vendor_code in accepted(expect, "vendor_code")
    assert failure.retryable == expect["retryable"]
    assert GROUP not in failure.message
    assert KEY not in failure.message


def check_tools(calls: list[tuple[str | None, str | None, str]], expect: dict[str, Any]) -> None:
    wanted = expect.get("tool_calls", [])
    assert [call[1:] for call in calls] == [(call["name"], call["arguments"]) for call in wanted]
    for (given, _, _), call in zip(calls, wanted, strict=True):
        assert given == call["id"] if call["id"] else given


def check_sources(sources: Any, expect: dict[str, Any]) -> None:
    wanted = expect.get("sources", [])
    assert len(sources) == len(wanted)
    for source, fields in zip(sources, wanted, strict=True):
        assert {name: getattr(source, name) for name in fields} == fields


@pytest.mark.parametrize("case", WHOLE, ids=ids(WHOLE))
def test_whole_answers(case: dict[str, Any]) -> None:
    """A complete answer, or a JSON answer to a stream request, gives what the case expects."""
    plugin, place = of(case)
    response = HttpResponse(case["http_status"], case["headers"], case["body"].encode())
    result, expect = replay.plain(plugin, response, place), case["expect"]
    assert result is not None
    assert result.request_id == expect["request_id"]
    if expect["kind"] is not None:
        assert isinstance(result, Failure)
        assert result.http_status == case["http_status"]
        check_failure(result, expect)
        return
    assert isinstance(result, ChatCompletion)
    assert result.text == expect["text"]
    assert result.reasoning == expect.get("reasoning", "")
    assert result.finish_reason in accepted(expect, "finish_reason")
    assert usage_dict(result.usage) == known(expect["usage"])
    check_tools([(call.id, call.name, call.arguments) for call in result.tool_calls], expect)
    check_sources(result.sources, expect)
    assert result.raw == json.loads(case["body"])
    assert result.model == result.raw["model"]


def joined_calls(events: list[Any]) -> list[tuple[str | None, str | None, str]]:
    calls: dict[int, list[Any]] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            call = calls.setdefault(event.index, [None, None, ""])
            call[0], call[1], call[2] = call[0] or event.id, call[1] or event.name, call[2] + event.arguments
    return [tuple(calls[index]) for index in sorted(calls)]  # type: ignore[misc]


def texts(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def check_stream(events: list[Any], state: StreamState, expect: dict[str, Any]) -> None:
    assert texts(events) == expect["text"]
    assert "".join(each.reasoning for each in events if isinstance(each, ReasoningDelta)) == expect.get("reasoning", "")
    check_tools(joined_calls(events), expect)
    check_sources([event.source for event in events if isinstance(event, SourceFound)], expect)
    usages = [usage_dict(event.usage) for event in events if isinstance(event, UsageUpdate)]
    assert (usages[-1] if usages else None) in [known(usage) for usage in accepted(expect, "usage")]
    assert state.request_id == expect["request_id"]
    finishes = [event.reason for event in events if isinstance(event, Finish)]
    failures = [event for event in events if isinstance(event, Failure)]
    if expect["kind"] is None:
        assert not failures
        assert len(finishes) == 1
        assert finishes[0] in accepted(expect, "finish_reason")
    else:
        assert not finishes
        check_failure(failures[0], expect)


def streamed(case: dict[str, Any], chunks: list[bytes]) -> tuple[list[Any], StreamState]:
    plugin, place = of(case)
    return replay.stream(plugin, chunks, ASKED, place)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_streams(case: dict[str, Any], ending: bytes) -> None:
    """A stream gives what the case expects, with either line end and without the last one."""
    body = case["body"].encode().replace(b"\n", ending)
    for whole in (body, body.rstrip(b"\r\n")):
        events, state = streamed(case, [whole])
        check_stream(events, state, case["expect"])
        assert state.model == case["request"]["model"]


def lines_of(chunks: list[bytes]) -> list[str]:
    splitter = LineSplitter(2**20)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, splitter.flush() or ""]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_streams_cut_anywhere(case: dict[str, Any], ending: bytes) -> None:
    """Cut at any one byte, a stream gives the same lines (all that a provider sees), and so the same events."""
    body = case["body"].encode().replace(b"\n", ending)
    lines, (expected, _) = lines_of([body]), streamed(case, [body])
    for at in range(1, len(body)):
        assert lines_of([body[:at], body[at:]]) == lines
    for at in range(1, len(body), 97):
        assert streamed(case, [body[:at], body[at:]])[0] == expected


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_streams_byte_by_byte(case: dict[str, Any]) -> None:
    """Byte by byte, and cut as the case says, a stream gives the same events."""
    body = case["body"].encode()
    expected, _ = streamed(case, [body])
    assert streamed(case, [body[at : at + 1] for at in range(len(body))])[0] == expected
    cuts = [0, *(case["chunking"] or {}).get("at", []), len(body)]
    assert streamed(case, [body[a:b] for a, b in pairwise(cuts)])[0] == expected


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_a_cut_stream_has_no_end(case: dict[str, Any]) -> None:
    """Without the frames that hold the end mark there is no Finish, and none is invented."""
    frames = [line for line in case["body"].split("\n") if line.startswith("data:")]
    first = next((at for at, line in enumerate(frames) if '"finish_reason"' in line), len(frames))
    events, _ = streamed(case, [("\n\n".join(frames[:first]) + "\n\n").encode()])
    assert not [event for event in events if isinstance(event, Finish)]


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_a_repeated_last_frame_adds_nothing(case: dict[str, Any]) -> None:
    """The last frame once more, and the frame that ended the answer once more, give no event."""
    if case["expect"]["kind"] is not None:
        return
    frames = [line for line in case["body"].split("\n") if line.startswith("data:")]
    expected, _ = streamed(case, ["\n\n".join(frames).encode()])
    assert streamed(case, ["\n\n".join([*frames, frames[-1]]).encode()])[0] == expected


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_keep_alives_add_nothing(case: dict[str, Any]) -> None:
    """Comments, empty events, other fields, null and empty objects between all lines change nothing."""
    expected, _ = streamed(case, [case["body"].encode()])
    noise = "\n: ping\n\nevent: x\nid: 7\nretry: 3\ndata: null\n\ndata: {}\n\n"
    assert streamed(case, [case["body"].replace("\n", noise).encode()])[0] == expected


def test_two_streams_do_not_mix() -> None:
    """Two streams read in turns give what each gives alone."""
    one, two = (case for case in STREAMS if case["id"] in ("v2-stream-tools", "v2-stream-message-next-to-delta"))
    plugin, place = of(one)
    states, found = [StreamState(ASKED), StreamState(ASKED)], ([], [])  # type: ignore[var-annotated]
    lines = [case["body"].split("\n") for case in (one, two)]
    for at in range(max(map(len, lines))):
        for who in (0, 1):
            line = lines[who][at] if at < len(lines[who]) else ""
            found[who].extend(plugin.parse_stream_line(line, states[who], place))
    assert found[0] == streamed(one, [one["body"].encode()])[0]
    assert found[1] == streamed(two, [two["body"].encode()])[0]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place inside a JSON value, as container and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from places(item)


def mutants(value: Any) -> Iterator[Any]:
    """The value with each field removed, and with each field replaced by something of another type."""
    for number in range(len(list(places(value)))):
        for new in (..., None, [], [7], 7, {}, {"a": 1}, "x", True, 1e300):
            mutant = copy.deepcopy(value)
            container, key = list(places(mutant))[number]
            if new is ...:
                del container[key]
            else:
                container[key] = new
            yield mutant


def check_events(events: Any) -> None:
    assert isinstance(events, tuple)
    assert all(isinstance(event, Delta | Failure) for event in events)


@pytest.mark.parametrize("case", WHOLE, ids=ids(WHOLE))
def test_mutated_answers(case: dict[str, Any]) -> None:
    """Whatever is missing or of a wrong type, the result is an answer or a failure."""
    if case["body"][0] != "{":
        return
    plugin, place = of(case)
    for mutant in mutants(json.loads(case["body"])):
        response = HttpResponse(case["http_status"], case["headers"], json.dumps(mutant).encode())
        assert isinstance(plugin.map_error(response, place), Failure | None)
        assert isinstance(plugin.parse_response(response, place), Failure | ChatCompletion)


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_mutated_streams(case: dict[str, Any]) -> None:
    """Whatever is missing or of a wrong type in one frame, every line gives events, at most one of them Finish."""
    plugin, place = of(case)
    lines = [line for line in case["body"].split("\n") if line.startswith("data: {")]
    for at, line in enumerate(lines):
        for mutant in mutants(json.loads(line[6:])):
            state, events = StreamState(ASKED), []
            for each in [*lines[:at], "data: " + json.dumps(mutant), *lines[at + 1 :], ""]:
                found = plugin.parse_stream_line(each, state, place)
                check_events(found)
                events += found
            assert sum(isinstance(event, Finish) for event in events) <= 1


@pytest.mark.parametrize("provider", PLUGINS)
def test_random_bytes(provider: str) -> None:
    """Random bytes and random pieces of real answers never raise."""
    chance, plugin, place = random.Random(20261121), PLUGINS[provider], deployment(provider)
    pieces = [case["body"].encode() for case in CASES]
    for _ in range(300):
        body = chance.choice(pieces)[: chance.randrange(400)] + chance.randbytes(chance.randrange(40))
        status = chance.choice((200, 400, 404, 500, 99, 600))
        response = HttpResponse(status, {}, body)
        assert isinstance(plugin.map_error(response, place), Failure | None)
        assert isinstance(plugin.parse_response(response, place), Failure | ChatCompletion)
        state = StreamState(ASKED)
        for line in body.decode("utf-8", "replace").split("\n"):
            check_events(plugin.parse_stream_line(line, state, place))
            check_events(plugin.parse_stream_line("data:" + line, state, place))
