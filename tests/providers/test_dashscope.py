"""DashScope: every wire case, streams whole, cut at every byte, with LF and with CRLF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnroute.chat import ChatCompletion, ChatRequest, Message, Usage
from cnroute.deployments import Deployment
from cnroute.events import Finish
from cnroute.failures import Failure, FailureKind
from cnroute.flow.lines import LineSplitter
from cnroute.http import Headers, HttpResponse
from cnroute.providers import dashscope, defaults
from cnroute.wire import dumps
from tests.providers import replay

LINES = (Path(__file__).parent.parent / "data" / "wire_cases.jsonl").read_text("utf-8").strip().split("\n")
CASES = [case for case in map(json.loads, LINES) if case["provider"] == "dashscope"]
STREAMS = [case for case in CASES if case["kind"] == "stream"]
COMPLETE = [case for case in CASES if case["kind"] != "stream"]
NAMES = {"ids": lambda case: case["id"]}


def deployment_for(case: dict[str, Any]) -> Deployment:
    """A deployment of the case's model."""
    url = "https://dashscope.aliyuncs.com/api/v1"
    return Deployment("d", "dashscope", case["request"]["model"], api_key="sk-0123456789", base_url=url)


def request_for(case: dict[str, Any]) -> ChatRequest:
    """A request whose body has the stream mode of the case."""
    asked = {"incremental_output": False, **case["request"].get("parameters", {})}
    return ChatRequest((Message("user", "你好"),), extra={"parameters": asked})


def events_of(case: dict[str, Any], chunks: list[bytes]) -> tuple[list[Any], Any]:
    """The events of the case's body in these chunks."""
    return replay.stream(dashscope, chunks, request_for(case), deployment_for(case))


def tokens(usage: Usage | None) -> dict[str, int] | None:
    """The known numbers of a usage."""
    if usage is None:
        return None
    names = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")
    return {name: getattr(usage, name) for name in names if getattr(usage, name) is not None}


def known(usage: dict[str, Any] | None) -> dict[str, int] | None:
    """The known numbers of an expected usage."""
    return usage and {name: count for name, count in usage.items() if count is not None}


def accepts(expect: dict[str, Any], key: str, value: object) -> bool:
    """Whether `value` is what the case expects under `key`."""
    return value in [*expect.get(f"{key}_accept", ()), expect.get(key)]


def collected(events: list[Any]) -> dict[str, Any]:
    """A stream's events put together as the flow puts them together."""
    calls: dict[int, dict[str, Any]] = {}
    for piece in (piece for event in events if not isinstance(event, Failure) for piece in event.tool_calls):
        call = calls.setdefault(piece.index, {"id": None, "name": None, "arguments": ""})
        call |= {"id": call["id"] or piece.id, "name": call["name"] or piece.name}
        call["arguments"] += piece.arguments
    good = [event for event in events if not isinstance(event, Failure)]
    return {
        "text": "".join(event.text for event in good),
        "reasoning": "".join(event.reasoning for event in good),
        "tool_calls": [calls[index] for index in sorted(calls)],
        "deltas": [event.text for event in good if event.text],
        "finish": [event.finish_reason for event in good if isinstance(event, Finish)],
        "usage": next((event.usage for event in reversed(good) if event.usage), None),
        "sources": [source for event in good for source in event.sources],
        "failure": next((event for event in events if isinstance(event, Failure)), None),
    }


def test_the_file_has_all_dashscope_cases() -> None:
    """Nothing is left out by accident."""
    assert len(CASES) == 44


@pytest.mark.parametrize("case", COMPLETE, **NAMES)
def test_complete_answer(case: dict[str, Any]) -> None:
    """Plain answers and errors become what the case expects; the default sees what the provider does not."""
    response = HttpResponse(case["http_status"], case["headers"], case["body"].encode())
    found = replay.plain(dashscope, response, deployment_for(case))
    if case["http_status"] != 200 and dashscope.map_error(response, deployment_for(case)) is None:
        found = defaults.map_error(response, deployment_for(case))
    expect = case["expect"]
    if expect["kind"] is not None:
        assert isinstance(found, Failure)
        assert accepts(expect, "kind", found.kind)
        assert (found.vendor_code, found.request_id) == (expect["vendor_code"], expect["request_id"])
        assert found.retryable is expect["retryable"]
        return
    assert isinstance(found, ChatCompletion)
    assert (found.text, found.reasoning) == (expect["text"], expect.get("reasoning", ""))
    assert (found.finish_reason, found.request_id) == (expect["finish_reason"], expect["request_id"])
    assert tokens(found.usage) == known(expect["usage"])
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in found.tool_calls]
    assert calls == expect.get("tool_calls", [])
    assert [choice.message.text for choice in found.choices] == expect.get("choices", [expect["text"]])
    wanted = expect.get("sources", [])
    assert [{key: getattr(got, key) for key in want} for got, want in zip(found.sources, wanted, strict=True)] == wanted
    assert found.raw == json.loads(case["body"])


def check_stream(case: dict[str, Any], events: list[Any], state: Any) -> None:
    """The events and the state against the case's expectations."""
    expect, got = case["expect"], collected(events)
    assert (got["text"], got["reasoning"]) == (expect["text"], expect.get("reasoning", ""))
    assert got["tool_calls"] == expect.get("tool_calls", [])
    assert got["deltas"] == expect.get("deltas", got["deltas"])
    assert got["finish"] == ([expect["finish_reason"]] if expect["finish_reason"] else [])
    assert any(tokens(got["usage"]) == known(usage) for usage in [expect["usage"], *expect.get("usage_accept", ())])
    failure = got["failure"]
    assert (failure.request_id if failure else state.request_id) == expect["request_id"]
    if failure is None:
        # Truncation is the flow's to see: a stream without an end mark.
        assert expect["kind"] is None or not got["finish"]
    else:
        assert accepts(expect, "kind", failure.kind)
        assert (failure.vendor_code, failure.retryable) == (expect["vendor_code"], expect["retryable"])


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("case", STREAMS, **NAMES)
def test_stream(case: dict[str, Any], ending: str) -> None:
    """A stream in one piece and in pieces of one byte gives the same, expected events."""
    body = case["body"].replace("\r\n", "\n").replace("\n", ending).encode()
    events, state = events_of(case, [body])
    check_stream(case, events, state)
    bytewise, again = events_of(case, [body[at : at + 1] for at in range(len(body))])
    assert (bytewise, again.raw, again.choices) == (events, state.raw, state.choices)


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("case", STREAMS, **NAMES)
def test_stream_cut_at_every_byte(case: dict[str, Any], ending: str) -> None:
    """Whatever byte a stream is cut at, the provider sees the same lines."""
    body = case["body"].replace("\r\n", "\n").replace("\n", ending).encode()

    def lines(*chunks: bytes) -> list[str | None]:
        splitter = LineSplitter(2**20)
        fed: list[str | None] = [line for chunk in chunks for line in splitter.feed(chunk)]
        return [*fed, splitter.flush()]

    whole = lines(body)
    assert all(lines(body[:at], body[at:]) == whole for at in range(1, len(body)))


def test_two_interleaved_streams_do_not_mix() -> None:
    """All memory is in the state."""
    first, second = STREAMS[0], STREAMS[1]
    expected = [events_of(case, [case["body"].encode()])[0] for case in (first, second)]
    states = [events_of(case, [])[1] for case in (first, second)]
    got: list[list[Any]] = [[], []]
    rows = [case["body"].split("\n") for case in (first, second)]
    for number in range(max(map(len, rows))):
        for which, case in enumerate((first, second)):
            for line in rows[which][number : number + 1]:
                got[which] += dashscope.parse_stream_line(line, states[which], deployment_for(case))
    assert got == expected


def plain(body: Any, status: int = 200, **headers: str) -> ChatCompletion | Failure | None:
    """What becomes of a complete answer of qwen-plus."""
    raw = body if isinstance(body, bytes) else dumps(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return replay.plain(dashscope, HttpResponse(status, Headers(names), raw), deployment_for(CASES[0]))


def answer(message: Any, finish: Any = "stop", **fields: Any) -> dict[str, Any]:
    """A body in the message form."""
    return {"output": {"choices": [{"message": message, "finish_reason": finish}]}, "request_id": "r-1", **fields}


@pytest.mark.parametrize(
    ("finish", "neutral"),
    [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"), ("null", None), (None, None), ("", None),
     ("brand_new", None), (7, None)],
)  # fmt: skip
def test_finish_reasons_are_the_vendors_or_none(finish: Any, neutral: str | None) -> None:
    """A word that no page knows, or none at all, is never made a stop; the answer stays a success."""
    reply = plain(answer({"content": "好"}, finish))
    assert isinstance(reply, ChatCompletion)
    assert (reply.text, reply.finish_reason) == ("好", neutral)


def test_stop_with_tool_calls_and_an_id_that_is_missing() -> None:
    """Calls under `stop` end for the calls; a missing id is invented, the same each time."""
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"index": 1, "id": "x", "function": {"name": "g"}}]
    reply = plain(answer({"content": None, "tool_calls": calls}))
    assert isinstance(reply, ChatCompletion)
    made = [(call.id, call.name, call.arguments) for call in reply.tool_calls]
    assert made == [("call_0", "f", '{"a":1}'), ("x", "g", "")]
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


def test_content_as_a_list_of_parts() -> None:
    """Text parts are joined, others left out."""
    reply = plain(answer({"content": [{"text": "甲"}, {"image": "u"}, {"text": "乙"}]}))
    assert isinstance(reply, ChatCompletion)
    assert reply.text == "甲乙"


@pytest.mark.parametrize("message", [{"content": ""}, {"content": None, "reasoning_content": "想"}])
def test_empty_text_is_an_answer(message: dict[str, Any]) -> None:
    """An empty string, and reasoning without text, are answers."""
    reply = plain(answer(message))
    assert isinstance(reply, ChatCompletion)
    assert (reply.text, reply.reasoning) == ("", message.get("reasoning_content", ""))


@pytest.mark.parametrize(
    "body",
    [
        None, [], "text", 7, {}, {"output": None}, {"output": []}, {"output": {}}, {"output": {"choices": []}},
        {"output": {"choices": {}}}, {"output": {"choices": {"0": 1}}}, {"output": {"choices": [None]}},
        {"output": {"text": 5}}, answer(None), answer({"content": None}), answer({"content": 5}),
        answer({"content": [5]}), answer({"content": "", "tool_calls": 5}), answer({"content": "", "tool_calls": [5]}),
        answer({"content": "", "tool_calls": [{"function": {}}]}), answer({"content": "x", "reasoning_content": 5}),
        b"", b"<html>login</html>", b'{"output":{"te', b"[" * 100_000, b"\xff\xfe", b'{"usage": NaN}',
    ],
    ids=lambda body: str(body)[:40],
)  # fmt: skip
def test_what_is_no_answer_is_a_bad_response(body: Any) -> None:
    """No body raises; one without an answer is `bad_response`, with the id of the exchange."""
    failure = plain(body, x_request_id="r-9")
    assert isinstance(failure, Failure)
    expected = "r-1" if isinstance(body, dict) and "request_id" in body else "r-9"
    assert (failure.kind, failure.http_status, failure.request_id) == (FailureKind.BAD_RESPONSE, 200, expected)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None), ({}, None), ([], None), ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, None),
        ({"total_tokens": 0}, None), ({"total_tokens": 9}, {"total_tokens": 9}),
        ({"input_tokens": "4", "output_tokens": -1}, {"input_tokens": 4}), ({"input_tokens": 10**18}, None),
        ({"input_tokens": 4, "output_tokens": 0}, {"input_tokens": 4, "output_tokens": 0, "total_tokens": 4}),
    ],
)  # fmt: skip
def test_usage_is_the_vendors_or_unknown(usage: Any, expected: Any) -> None:
    """Nothing is invented, and a placeholder of zeros is unknown."""
    reply = plain(answer({"content": "x"}, usage=usage))
    assert isinstance(reply, ChatCompletion)
    assert tokens(reply.usage) == expected


def test_gbk_labelled_gbk_and_a_byte_order_mark() -> None:
    """The charset of the content type counts; a byte order mark is forgiven."""
    body = dumps(answer({"content": "海水"}))
    gbk = plain(body.decode().encode("gbk"), content_type="application/json; charset=GBK")
    marked = plain(b"\xef\xbb\xbf" + body)
    assert isinstance(gbk, ChatCompletion)
    assert isinstance(marked, ChatCompletion)
    assert gbk.text == marked.text == "海水"


def test_description() -> None:
    """Name, API root, environment names, options, capabilities and dated models."""
    info = dashscope.describe_provider()
    assert (info.name, info.base_url) == ("dashscope", "https://dashscope.aliyuncs.com/api/v1")
    assert info.env == {"api_key": "DASHSCOPE_API_KEY", "base_url": "DASHSCOPE_HTTP_BASE_URL"}
    assert set(info.options) == {"workspace", "data_inspection"}
    assert info.capabilities == {"streaming", "tools", "json", "web_search", "reasoning"}
    assert info.model("yi-large") is not None
