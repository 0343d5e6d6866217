# ruff: noqa: E501 (tables are wider)
"""DashScope's dialect: forms, streams, usage, refusals. Sources: seeds 000 and 002, Model Studio pages."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from cnroute.emulator import Emulator, answers

from . import client

P = "dashscope"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "天气", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}]  # fmt: skip


def messages(*contents: str) -> dict[str, Any]:
    roles = ["system", "user"] if len(contents) == 2 else ["user"]
    return {"input": {"messages": [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]}}


@pytest.mark.parametrize(("model", "usage"), [
    ("yi-large", {"total_tokens": 15, "input_tokens": 8, "output_tokens": 7}),
    ("abab6.5s-chat", {"total_tokens": 15}),
])  # fmt: skip
def test_the_documented_example_comes_out_literally(emulator: Emulator, model: str, usage: dict[str, int]) -> None:
    """Seeds 002 and 000: request, answer and usage as printed on the pages."""
    outcome = client.exchange(emulator, P, {"model": model, **messages("You are a helpful assistant.", "你好")})
    document = outcome.json
    assert document["output"] == {
        "choices": [{"message": {"content": "你好!今天我能帮你什么?", "role": "assistant"}, "index": 0, "finish_reason": "stop"}]
    }
    assert document["usage"] == usage == emulator.requests[0].usage
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["request_id"])
    assert outcome.headers["content-type"] == "application/json"


def test_qwen_answers_in_text_form_unless_told(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "你好", model="qwen-turbo").json
    assert document["output"] == {"text": emulator.answer("你好"), "finish_reason": "stop"}
    assert set(document["usage"]) == {"input_tokens", "output_tokens"}
    assert "choices" in client.ask(emulator, P, "你好", model="qwen-turbo", result_format="message").json["output"]
    assert client.ask(emulator, P, "你好", model="qwen-plus").json["usage"]["total_tokens"] == 9


def test_a_prompt_is_a_message(emulator: Emulator) -> None:
    assert client.text_in(
        client.exchange(emulator, P, {"model": "qwen-turbo", "input": {"prompt": "你好"}}).json
    ) == emulator.answer("你好")


def test_frames_are_written_as_dashscope_writes_them(emulator: Emulator) -> None:
    outcome = client.ask(emulator, P, "你好", model="yi-large", stream=True)
    frames = outcome.body.decode().split("\n\n")
    assert frames.pop() == "" and "[DONE]" not in outcome.body.decode()
    for number, frame in enumerate(frames, 1):
        lines = frame.split("\n")
        assert lines[:3] == [f"id:{number}", "event:result", ":HTTP_STATUS/200"] and lines[3].startswith('data:{"output"')
    assert outcome.headers["content-type"] == "text/event-stream;charset=UTF-8"


def test_streams_are_cumulative_unless_told(emulator: Emulator) -> None:
    seen = client.events(client.ask(emulator, P, "你好", model="yi-large", stream=True).body)
    texts = [event["output"]["choices"][0]["message"]["content"] for event in seen]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts)) and texts[-1] == emulator.answer("你好")
    assert [event["output"]["choices"][0]["finish_reason"] for event in seen] == ["null"] * (len(seen) - 1) + ["stop"]
    assert len({event["request_id"] for event in seen}) == 1
    counts = [event["usage"]["output_tokens"] for event in seen]
    assert counts == sorted(counts) and counts[-1] == 7


def test_incremental_streams_close_with_an_empty_event(emulator: Emulator) -> None:
    for model in ("qwen-plus", "yi-large"):
        body = client.ask(emulator, P, "你好", model=model, stream=True, incremental_output=True).body
        seen = client.events(body)
        last = seen[-1]["output"] if model == "qwen-plus" else seen[-1]["output"]["choices"][0]
        assert last["finish_reason"] == "stop" and (last["text"] if "text" in last else last["message"]["content"]) == ""
        assert client.stream_text(P, body, incremental=True) == emulator.answer("你好")
        assert emulator.requests[-1].answered == emulator.answer("你好")


@pytest.mark.parametrize(("limit", "said"), [(1, "你"), (3, "你好!今天")])
def test_max_tokens_cuts_with_length(emulator: Emulator, limit: int, said: str) -> None:
    document = client.ask(emulator, P, "你好", model="yi-large", max_tokens=limit).json
    choice = document["output"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (answers.shorten(emulator.answer("你好"), limit), "length")
    assert choice["message"]["content"].startswith(said[:1]) and document["usage"]["output_tokens"] <= limit
    body = client.ask(emulator, P, "你好", model="yi-large", stream=True, max_tokens=limit).body
    assert client.stream_text(P, body) == choice["message"]["content"] and client.reasons(client.events(body)) == ["length"]


def test_thinking_comes_first_and_is_counted(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "你好", model="MiniMax-M2.5").json
    message = document["output"]["choices"][0]["message"]
    assert message["content"] == emulator.answer("你好") and "你好" in message["reasoning_content"]
    assert document["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    for incremental in (True, False):
        seen = client.events(
            client.ask(
                emulator,
                P,
                "你好",
                model="qwen-plus",
                stream=True,
                enable_thinking=True,
                result_format="message",
                incremental_output=incremental,
            ).body
        )
        parts = [event["output"]["choices"][0]["message"] for event in seen]
        thought = [part["reasoning_content"] for part in parts]
        assert ("".join(thought) if incremental else thought[-1]) == message["reasoning_content"]
        assert parts[0]["content"] == "" and thought[0]


def test_search_gives_sources(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "你好", result_format="message", enable_search=True).json
    assert {"title", "url", "site_name", "index"} <= set(document["output"]["search_info"]["search_results"][0])
    assert document["usage"]["plugins"] == {"search": {"count": 1}}
    seen = client.events(client.ask(emulator, P, "你好", stream=True, result_format="message", enable_search=True).body)
    assert seen[-1]["output"]["search_info"] == document["output"]["search_info"]


def test_several_choices(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "你好", result_format="message", n=2).json
    texts = [choice["message"]["content"] for choice in document["output"]["choices"]]
    assert texts == [answers.answer("你好", 0), answers.answer("你好", 1)]
    assert document["usage"]["output_tokens"] == sum(map(answers.tokens, texts))
    seen = client.events(client.ask(emulator, P, "你好", stream=True, result_format="message", n=2, incremental_output=True).body)
    for index in (0, 1):
        own = [event["output"]["choices"][0] for event in seen if event["output"]["choices"][0]["index"] == index]
        assert "".join(choice["message"]["content"] for choice in own) == texts[index] and own[-1]["finish_reason"] == "stop"


def test_json_mode(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "用 JSON 回答", response_format={"type": "json_object"}).json
    assert json.loads(document["output"]["text"])["answer"] == emulator.answer("用 JSON 回答")


def test_tools_are_called_and_their_results_used(emulator: Emulator) -> None:
    document = client.ask(emulator, P, "上海天气", result_format="message", tools=TOOLS).json
    choice = document["output"]["choices"][0]
    (called,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == ""
    assert (called["function"]["name"], json.loads(called["function"]["arguments"])) == ("get_weather", {"city": "上海"})
    turns = [
        {"role": "user", "content": "上海天气"},
        {**choice["message"]},
        {"role": "tool", "content": "晴,23 度", "tool_call_id": called["id"]},
    ]
    after = client.exchange(
        emulator, P, {"model": "qwen-plus", "input": {"messages": turns}, "parameters": {"tools": TOOLS}}
    ).json
    assert "晴,23 度" in after["output"]["text"]
    none = client.ask(emulator, P, "上海天气", result_format="message", tools=TOOLS, tool_choice="none").json
    assert none["output"]["choices"][0]["finish_reason"] == "stop"


def test_a_forced_tool_is_called(emulator: Emulator) -> None:
    two = [*TOOLS, {"type": "function", "function": {"name": "get_time", "parameters": {}}}]
    choice = {"type": "function", "function": {"name": "get_time"}}
    document = client.ask(emulator, P, "上海天气", result_format="message", tools=two, tool_choice=choice).json
    assert document["output"]["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": "get_time", "arguments": "{}"}


def test_streamed_tool_calls_are_fragments_or_snapshots(emulator: Emulator) -> None:
    def parts(incremental: bool) -> list[Any]:
        body = client.ask(
            emulator, P, "上海天气", stream=True, result_format="message", tools=TOOLS, incremental_output=incremental
        ).body
        seen = client.events(body)
        assert client.reasons(seen) == ["tool_calls"]
        return [call for event in seen for call in event["output"]["choices"][0]["message"].get("tool_calls", [])]

    fragments, snapshots = parts(True), parts(False)
    assert fragments[0]["function"] == {"name": "get_weather", "arguments": ""} and fragments[0]["id"]
    assert all(one["id"] == "" and "name" not in one["function"] and one["index"] == 0 for one in fragments[1:])
    assert "".join(one["function"]["arguments"] for one in fragments) == snapshots[-1]["function"]["arguments"]
    assert all(one["id"] == fragments[0]["id"] and one["function"]["name"] == "get_weather" for one in snapshots)


# -- refusals: (document, status, code, part of the message)

USER = messages("你好")
REFUSED = [
    ({**USER}, 400, "BadRequest.EmptyModel", "model"),
    ({"model": "qwen-plus"}, 400, "BadRequest.EmptyInput", "input"),
    ({"model": "qwen-plus", "messages": USER["input"]["messages"], **USER}, 400, "InvalidParameter", "inside of input"),
    ({"model": "qwen-plus", "input": {}}, 400, "BadRequest.EmptyInput", "input"),
    ({"model": "qwen-plus", "input": {"messages": []}}, 400, "InvalidParameter", "messages"),
    ({"model": "yi-large", "input": {"prompt": "你好"}}, 400, "InvalidParameter", "messages"),
    ({"model": "yi-large", **messages("")}, 400, "InvalidParameter", "content should not be empty"),
    ({"model": "yi-large", "input": {"messages": [{"role": "user", "content": None}]}}, 400, "InvalidParameter", "content"),
    ({"model": "yi-large", "input": {"messages": [{"role": "tool", "content": "x"}]}}, 400, "InvalidParameter", "Role"),
    ({"model": "yi-large", **USER, "parameters": []}, 400, "InvalidParameter", "parameters"),
    ({"model": "qwen-plus", **USER, "parameters": {"incremental_output": True}}, 400, "InvalidParameter", "stream"),
    ({"model": "qwen-plus", **USER, "parameters": {"result_format": "xml"}}, 400, "InvalidParameter", "result_format"),
    ({"model": "qwen-plus", **USER, "parameters": {"tools": [{"type": "function"}]}}, 400, "InvalidParameter", "tools"),
    ({"model": "qwen-plus", **USER, "parameters": {"response_format": {"type": "json_object"}}}, 400, "InvalidParameter", "json"),
    ({"model": "MiniMax-M2.5", **USER, "parameters": {"thinking_budget": 10}}, 400, "InvalidParameter", "thinking_budget"),
    ({"model": "qwen3-8b", **USER, "parameters": {"enable_thinking": True}}, 400, "InvalidParameter", "enable_thinking"),
    ({"model": "yi-large", **messages("长" * 27000)}, 400, "InvalidParameter", "Range of input length should be [1, 16000]"),
    ([1], 400, "InvalidParameter", "JSON"),
]


@pytest.mark.parametrize(("document", "status", "code", "part"), REFUSED)
def test_refusals(emulator: Emulator, document: Any, status: int, code: str, part: str) -> None:
    outcome = client.exchange(emulator, P, document)
    assert (outcome.status, outcome.json["code"]) == (status, code) and part in outcome.json["message"]
    assert set(outcome.json) == {"code", "message", "request_id"} and emulator.requests[0].fault == "refused"


@pytest.mark.parametrize(("model", "name", "value", "fine"), [
    ("yi-large", "temperature", 0, True), ("yi-large", "temperature", 1.99, True), ("yi-large", "temperature", 2, False),
    ("yi-large", "temperature", -0.1, False), ("yi-large", "temperature", True, False), ("yi-large", "top_p", 0, True),
    ("yi-large", "top_p", 1, False), ("abab6.5s-chat", "top_p", 1, True), ("abab6.5s-chat", "top_p", 0, False), ("qwen-plus", "top_p", 1, False),
    ("abab6.5s-chat", "max_tokens", 245760, True), ("abab6.5s-chat", "max_tokens", 245761, False), ("abab6.5t-chat", "max_tokens", 8192, True),
    ("abab6.5g-chat", "max_tokens", 8193, False), ("yi-large", "max_tokens", 0, False), ("yi-large", "max_tokens", 1.5, False),
    ("qwen-plus", "n", 5, False), ("qwen-plus", "seed", "x", False),
    ("yi-large", "top_k", 5, False), ("yi-large", "tools", [], False), ("yi-large", "result_format", "message", False),
    ("abab6.5s-chat", "seed", 1, False), ("abab6.5s-chat", "stop", ["x"], False), ("qwen-plus", "top_k", 5, True), ("qwen-plus", "stop", ["x"], True),
])  # fmt: skip
def test_ranges_and_lists_of_parameters(emulator: Emulator, model: str, name: str, value: Any, fine: bool) -> None:
    outcome = client.ask(emulator, P, "你好", model=model, **{name: value})
    assert outcome.status == (200 if fine else 400)
    if not fine:
        assert outcome.json["code"] == "InvalidParameter" and name in outcome.json["message"]


def test_keys(emulator: Emulator) -> None:
    for key, message in (("", "No API-key provided."), ("wrong-key", "Invalid API-key provided.")):
        outcome = client.exchange(emulator, P, client.body_for(P), key=key)
        assert (outcome.status, outcome.json["code"], outcome.json["message"]) == (401, "InvalidApiKey", message)
    assert [entry.authorized for entry in emulator.requests] == [False, True]
    with Emulator(api_key="sk-1") as strict:
        assert client.exchange(strict, P, client.body_for(P), key="sk-2").status == 401
        assert client.exchange(strict, P, client.body_for(P), key="sk-1").status == 200
