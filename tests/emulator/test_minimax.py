# ruff: noqa: E501 (tables are wider)
"""MiniMax's three dialects: shapes, streams, endings, tools, refusals. Sources: seeds 001 and 003, vendor pages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from cnroute.emulator import Emulator, answers

from . import client

V2, PRO, LEGACY = "minimax-v2", "minimax-pro", "minimax-legacy"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
FUNCTIONS = [{"name": "get_weather", "description": "天气", "parameters": SCHEMA}]


# -- v2


def test_v2_answers(emulator: Emulator) -> None:
    outcome = client.ask(emulator, V2, "你好")
    document = outcome.json
    assert (document["object"], document["base_resp"]) == ("chat.completion", {"status_code": 0, "status_msg": ""})
    assert document["choices"][0]["finish_reason"] == "stop" and document["choices"][0]["message"]["content"] == emulator.answer(
        "你好"
    )
    assert document["usage"] == {"total_tokens": 9} and outcome.headers["trace-id"] == document["id"]


def test_v2_usage_is_split_from_text_01_on_and_thinks_from_m1_on(emulator: Emulator) -> None:
    document = client.ask(emulator, V2, "你好", model="MiniMax-Text-01").json
    assert document["usage"] == {"total_tokens": 9, "total_characters": 0, "prompt_tokens": 2, "completion_tokens": 7}
    assert "reasoning_content" not in document["choices"][0]["message"]
    document = client.ask(emulator, V2, "你好", model="MiniMax-M1").json
    assert (
        document["choices"][0]["message"]["reasoning_content"]
        and document["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    )


@pytest.mark.parametrize("ending", "abcde")
@pytest.mark.parametrize("model", ["abab6.5s-chat", "MiniMax-M2"])
def test_v2_endings(emulator: Emulator, ending: str, model: str) -> None:
    body = client.ask(emulator, V2, "你好", model=model, fault=f"ending_{ending}", stream=True).body
    seen, last = client.events(body), body.rstrip().split(b"\n\n")
    assert client.stream_text(V2, body) == emulator.answer("你好")
    usages = [event["usage"] for event in seen if (event.get("usage") or {}).get("total_tokens")]
    assert len(usages) == {"a": 1, "b": 0, "c": 1, "d": 0, "e": 1}[ending]
    assert (last[-1] == b"data: [DONE]") == (ending in "cd")
    final = seen[-1]
    assert (final["object"] == "chat.completion") == (ending == "a")
    assert (final["choices"] == []) == (ending == "c")
    assert client.reasons(seen) == (["stop", "stop"] if ending == "a" else ["stop"])
    if ending in "ad":
        assert final["choices"][0]["message"]["content"] == emulator.answer("你好")
    if ending == "a":
        assert final["base_resp"]["status_code"] == 0
    if ending in "de":
        assert final["choices"][0]["delta"] == {}


def test_v2_usual_endings(emulator: Emulator) -> None:
    def final(**extra: Any) -> Any:
        return client.events(client.ask(emulator, V2, "你好", stream=True, **extra).body)[-1]

    assert final()["object"] == "chat.completion"
    assert final(model="MiniMax-M2")["usage"] == {"total_tokens": 0, "total_characters": 0}
    assert final(model="MiniMax-M2", stream_options={"include_usage": True})["choices"] == []


def test_v2_thinking_is_streamed_first(emulator: Emulator) -> None:
    seen = client.events(client.ask(emulator, V2, "你好", model="MiniMax-M2", stream=True).body)
    kinds = ["reasoning" if event["choices"][0]["delta"].get("reasoning_content") else "text" for event in seen]
    assert kinds == sorted(kinds) and set(kinds) == {"reasoning", "text"}


def test_v2_tools(emulator: Emulator) -> None:
    choice = client.ask(emulator, V2, "广州天气", tools=TOOLS).json["choices"][0]
    (called,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and json.loads(called["function"]["arguments"]) == {"city": "广州"}
    turns = [
        {"role": "user", "content": "广州天气"},
        choice["message"],
        {"role": "tool", "content": "雨", "tool_call_id": called["id"]},
    ]
    after = client.exchange(emulator, V2, {"model": "abab6.5s-chat", "messages": turns, "tools": TOOLS}).json
    assert after["choices"][0]["message"]["content"].endswith("雨") and after["choices"][0]["finish_reason"] == "stop"
    assert client.ask(emulator, V2, "广州天气", tools=TOOLS, tool_choice="none").json["choices"][0]["finish_reason"] == "stop"
    text = [{"type": "function", "function": {"name": "f", "parameters": json.dumps(SCHEMA)}}]
    assert (
        client.ask(emulator, V2, "广州", tools=text).json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        == '{"city": "广州"}'
    )


def test_v2_streamed_tools(emulator: Emulator) -> None:
    seen = client.events(client.ask(emulator, V2, "广州天气", stream=True, tools=TOOLS).body)
    fragments = [call for event in seen[:-1] for call in event["choices"][0]["delta"].get("tool_calls", [])]
    assert fragments[0]["id"] and fragments[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert all(one["id"] == "" and "name" not in one["function"] for one in fragments[1:]) and len(fragments) > 2
    whole = seen[-1]["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert "".join(one["function"]["arguments"] for one in fragments) == whole


def test_v2_web_search_is_done_by_the_server(emulator: Emulator) -> None:
    body = client.ask(emulator, V2, "你好", stream=True, tools=[{"type": "web_search"}]).body
    asked, found, *rest = client.events(body)
    assert (
        asked["choices"][0]["finish_reason"] == "tool_calls"
        and asked["choices"][0]["delta"]["tool_calls"][0]["type"] == "web_search"
    )
    assert found["choices"][0]["finish_reason"] == "stop" and found["choices"][0]["delta"]["role"] == "tool"
    assert {"title", "url"} <= set(json.loads(found["choices"][0]["delta"]["content"])[0])
    assert client.stream_text(V2, body) == emulator.answer("你好") and rest
    assert client.text_in(client.ask(emulator, V2, "你好", tools=[{"type": "web_search"}]).json) == emulator.answer("你好")


def test_v2_structured_answers(emulator: Emulator) -> None:
    shape = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    document = client.ask(emulator, V2, "你好", model="MiniMax-Text-01", response_format=shape).json
    assert set(json.loads(client.text_in(document))) == {"name"}


def test_v2_parts_and_limits(emulator: Emulator) -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "你好"}, {"type": "image_url", "image_url": {}}]}]
    assert client.text_in(client.exchange(emulator, V2, {"model": "abab6.5s-chat", "messages": turns}).json) == emulator.answer(
        "你好"
    )
    for name in ("max_tokens", "max_completion_tokens"):
        choice = client.ask(emulator, V2, "你好", **{name: 2}).json["choices"][0]
        assert choice["finish_reason"] == "length" and choice["message"]["content"] == answers.shorten(emulator.answer("你好"), 2)


# -- pro


def test_pro_answers(emulator: Emulator) -> None:
    document = client.ask(emulator, PRO, "帮我用英文翻译下面这句话:我是谁").json
    assert document["reply"] == "Who am I?" and document["base_resp"] == {"status_code": 0, "status_msg": ""}
    assert document["choices"] == [
        {"finish_reason": "stop", "messages": [{"sender_type": "BOT", "sender_name": "MM", "text": "Who am I?"}]}
    ]
    assert set(document["usage"]) == {"total_tokens"} and document["id"]


def test_pro_streams_repeat_everything_at_the_end(emulator: Emulator) -> None:
    body = client.ask(emulator, PRO, "你好", stream=True).body
    *increments, last = client.events(body)
    assert all(
        one["reply"] == "" and "usage" not in one and "id" not in one and "finish_reason" not in one["choices"][0]
        for one in increments
    )
    assert client.stream_text(PRO, body) == last["reply"] == last["choices"][0]["messages"][0]["text"] == emulator.answer("你好")
    assert last["usage"]["total_tokens"] and last["choices"][0]["finish_reason"] == "stop" and b"[DONE]" not in body


def test_pro_functions(emulator: Emulator) -> None:
    document = client.ask(emulator, PRO, "成都天气", functions=FUNCTIONS).json
    called = document["function_call"]
    assert document["choices"][0]["finish_reason"] == "stop" and document["reply"] == ""
    assert (
        document["choices"][0]["messages"][0]["function_call"]
        == called
        == {"name": "get_weather", "arguments": '{"city": "成都"}'}
    )
    turns = [{"sender_type": "USER", "sender_name": "小明", "text": "成都天气"},
             {"sender_type": "BOT", "sender_name": "MM", "text": "", "function_call": called},
             {"sender_type": "FUNCTION", "sender_name": "get_weather", "text": "多云"}]  # fmt: skip
    after = client.exchange(emulator, PRO, {**client.body_for(PRO), "messages": turns, "functions": FUNCTIONS}).json
    assert "多云" in after["reply"]
    assert "function_call" not in client.ask(emulator, PRO, "x", functions=FUNCTIONS, function_call={"type": "none"}).json
    two = [*FUNCTIONS, {"name": "other", "parameters_str": "{}"}]
    assert (
        client.ask(emulator, PRO, "x", functions=two, function_call={"type": "specific", "name": "other"}).json["function_call"][
            "name"
        ]
        == "other"
    )


def test_pro_streamed_function_calls_grow(emulator: Emulator) -> None:
    *partial, last = client.events(client.ask(emulator, PRO, "成都天气", stream=True, functions=FUNCTIONS).body)
    grown = [one["choices"][0]["messages"][0]["function_call"]["arguments"] for one in partial]
    assert grown[0] == "" and all(later.startswith(earlier) for earlier, later in pairwise(grown))
    assert last["function_call"]["arguments"] == grown[-1] and last["choices"][0]["finish_reason"] == "stop"


def test_pro_glyph_masking_plugins_and_limits(emulator: Emulator) -> None:
    def reply(text: str, **extra: Any) -> Any:
        glyph = extra.pop("glyph", None)
        body = client.body_for(PRO, text, **extra)
        body["reply_constraints"].update({"glyph": glyph} if glyph else {})
        return client.exchange(emulator, PRO, body).json

    assert reply("你好", glyph={"type": "raw", "raw_glyph": "译文:{{gen 'content'}}"})["reply"] == "译文:" + emulator.answer(
        "你好"
    )
    shaped = reply("你好", glyph={"type": "json_value", "json_properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
    assert set(json.loads(shaped["reply"])) == {"a", "b"}
    assert "me@example.com" not in reply("写信给 me@example.com")["reply"]
    assert "me@example.com" in reply("写信给 me@example.com", mask_sensitive_info=False)["reply"]
    assert "tokens_with_added_plugin" in reply("你好", plugins=["plugin_web_search"])["usage"]
    assert reply("你好", tokens_to_generate=2)["choices"][0]["finish_reason"] == "length"


def test_pro_max_output_where_the_window_is_full(emulator: Emulator) -> None:
    document = client.ask(emulator, PRO, "长" * 13640, model="abab5.5s-chat", tokens_to_generate=8192).json
    assert document["choices"][0]["finish_reason"] == "max_output" and document["reply"]


# -- legacy


def test_legacy_answers(emulator: Emulator) -> None:
    document = client.ask(emulator, LEGACY, "你好").json
    assert document["reply"] == emulator.answer("你好") == document["choices"][0]["text"]
    assert document["choices"][0]["index"] == 0 and document["choices"][0]["finish_reason"] == "stop"
    assert document["base_resp"] == {"status_code": 0, "status_msg": "success"} and set(document["usage"]) == {"total_tokens"}


def test_legacy_streams_have_single_newlines_unless_told(emulator: Emulator) -> None:
    body = client.ask(emulator, LEGACY, "你好", stream=True).body
    assert b"\n\n" not in body and body.endswith(b"\n")
    *increments, last = client.events(body)
    assert "".join(one["choices"][0]["delta"] for one in increments) == emulator.answer("你好") == last["reply"]
    assert last["choices"][0] == {"index": 0, "finish_reason": "stop", "delta": ""} and last["usage"]["total_tokens"]
    standard = client.ask(emulator, LEGACY, "你好", stream=True, use_standard_sse=True).body
    assert standard.count(b"\n\n") == len(client.events(standard)) == len(increments) + 1


def test_legacy_beams(emulator: Emulator) -> None:
    one = client.ask(emulator, LEGACY, "你好", model="abab5.5s-chat").json
    document = client.ask(emulator, LEGACY, "你好", model="abab5.5s-chat", beam_width=3).json
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2] and document["choices"][0]["text"] == document[
        "reply"
    ]
    assert document["usage"]["total_tokens"] > one["usage"]["total_tokens"]


def test_legacy_takes_the_pro_form_of_seed_003_as_a_whole(emulator: Emulator) -> None:
    document = client.exchange(
        emulator, LEGACY, {**client.body_for(PRO, "齐天是谁"), "model": "abab5.5-chat", "beam_width": 1}
    ).json
    assert "齐天" in document["reply"] and "text" in document["choices"][0]
    body = client.body_for(PRO)
    del body["reply_constraints"]
    assert client.exchange(emulator, LEGACY, body).json["base_resp"]["status_code"] == 2013


def test_legacy_continues_a_last_bot_message_only_if_told(emulator: Emulator) -> None:
    turns = [{"sender_type": "USER", "text": "你好"}, {"sender_type": "BOT", "text": "你"}]
    body = {**client.body_for(LEGACY), "messages": turns}
    assert client.exchange(emulator, LEGACY, body).json["base_resp"]["status_code"] == 2013
    assert client.exchange(emulator, LEGACY, {**body, "continue_last_message": True}).json["base_resp"]["status_code"] == 0


# -- refusals. Each row: provider, change of a good body (None removes), part of the message.

BOT = {"sender_type": "BOT", "sender_name": "MM"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (V2, {"model": None}, "model"), (V2, {"model": 3}, "model"), (V2, {"messages": None}, "messages"), (V2, {"messages": []}, "messages"),
    (V2, {"messages": ["x"]}, "messages"), (V2, {"messages": [{"role": "user", "content": None}]}, "null"),
    (V2, {"messages": [{"role": "user", "content": ""}]}, "empty"), (V2, {"messages": [{"role": "boss", "content": "x"}]}, "boss"),
    (V2, {"messages": [{"role": "system", "content": "x"}]}, "user message"),
    (V2, {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}, "tool_call_id"),
    (V2, {"tool_choice": "required"}, "tool_choice"), (V2, {"n": 2}, "n should be 1"), (V2, {"tools": [{"type": "function"}]}, "tools"),
    (V2, {"response_format": {"type": "json_schema"}}, "MiniMax-Text-01"), (V2, {"stream": "yes"}, "stream"),
    (PRO, {"bot_setting": None}, "bot_setting"), (PRO, {"bot_setting": [{"bot_name": ""}]}, "bot_setting"),
    (PRO, {"reply_constraints": None}, "reply_constraints"), (PRO, {"reply_constraints": {**BOT, "sender_type": "USER"}}, "sender_type"),
    (PRO, {"reply_constraints": {**BOT, "sender_name": "other"}}, "sender_name"),
    (PRO, {"messages": [{"sender_type": "USER", "text": "x"}]}, "sender_name"),
    (PRO, {"messages": [{"sender_type": "user", "sender_name": "x", "text": "x"}]}, "sender_type"),
    (PRO, {"messages": [{"sender_type": "USER", "sender_name": "x", "text": ""}]}, "text"),
    (PRO, {"messages": [{**BOT, "text": "x"}]}, "last message"),
    (PRO, {"messages": [{"sender_type": "FUNCTION", "sender_name": "f", "text": "x"}]}, "follow"),
    (PRO, {"reply_constraints": {**BOT, "glyph": {"type": "xml"}}}, "glyph"),
    (PRO, {"reply_constraints": {**BOT, "glyph": "raw"}}, "glyph"),
    (PRO, {"reply_constraints": {**BOT, "glyph": {"type": "raw", "raw_glyph": "x"}}, "stream": True}, "glyph does not support stream"),
    (PRO, {"reply_constraints": {**BOT, "glyph": {"type": "raw", "raw_glyph": "x"}}, "functions": FUNCTIONS}, "glyph does not support functions"),
    (PRO, {"functions": [{"name": "plugin_x"}]}, "functions"), (PRO, {"functions": [{"name": "中文"}]}, "functions"),
    (PRO, {"functions": [{"name": "a", "parameters_str": "{"}]}, "functions"), (PRO, {"functions": FUNCTIONS, "model": "abab5.5s-chat"}, "functions"),
    (PRO, {"function_call": {"type": "sometimes"}}, "function_call"), (PRO, {"function_call": {"type": "specific", "name": "x"}}, "function_call"),
    (PRO, {"plugins": "plugin_web_search"}, "plugins"), (PRO, {"tokens_to_generate": 245761}, "tokens_to_generate"),
    (PRO, {"knowledge_base_param": {"knowledge_base_id": "17"}}, "knowledge_base_id"), (PRO, {"knowledge_base_param": {}}, "knowledge_base_id"),
    (PRO, {"knowledge_base_param": {"knowledge_base_id": 17, "thresh": 1}}, "thresh"),
    (PRO, {"knowledge_base_param": {"knowledge_base_id": 17, "top_k": 0}}, "top_k"),
    (LEGACY, {"prompt": None}, "prompt"), (LEGACY, {"prompt": ""}, "prompt"), (LEGACY, {"role_meta": None}, "role_meta"),
    (LEGACY, {"role_meta": {"user_name": "我"}}, "role_meta"), (LEGACY, {"messages": [{"sender_type": "FUNCTION", "text": "x"}]}, "sender_type"),
    (LEGACY, {"messages": [{"sender_type": "USER", "text": ""}]}, "text"), (LEGACY, {"beam_width": 2}, "beam_width"),
    (LEGACY, {"beam_width": 4, "model": "abab5.5s-chat"}, "beam_width"), (LEGACY, {"tokens_to_generate": 16384}, "context window"),
    *[(provider, {name: value}, name) for provider in (V2, PRO, LEGACY) for name in ("temperature", "top_p") for value in (0, 1.01, "1", True)],
    (V2, {"max_tokens": 0}, "max_tokens"), (V2, {"messages": [{"role": "user", "content": "长" * 409600}]}, "context window"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "change", "part"), REFUSED, ids=[f"{row[0]}-{number}" for number, row in enumerate(REFUSED)]
)
def test_refusals(emulator: Emulator, provider: str, change: dict[str, Any], part: str) -> None:
    """HTTP 200 and 2013 with a message that names the trouble."""
    body = {name: value for name, value in {**client.body_for(provider), **change}.items() if value is not None}
    outcome = client.exchange(emulator, provider, body)
    assert outcome.status == 200 and set(outcome.json) == {"base_resp"}
    assert outcome.json["base_resp"]["status_code"] == 2013 and part in outcome.json["base_resp"]["status_msg"]


@pytest.mark.parametrize("provider", [V2, PRO, LEGACY])
def test_edges_that_are_allowed(emulator: Emulator, provider: str) -> None:
    assert client.ask(emulator, provider, temperature=1, top_p=1).json["base_resp"]["status_code"] == 0
    assert client.ask(emulator, provider, temperature=0.01, top_p=0.01).json["base_resp"]["status_code"] == 0


@pytest.mark.parametrize("provider", [V2, PRO, LEGACY])
def test_keys_and_groups(emulator: Emulator, provider: str) -> None:
    def code(key: str, path: str = client.PATHS[provider]) -> int:
        data = client.request_bytes(provider, "/v1", client.body_for(provider), key=key).replace(
            client.PATHS[provider].encode(), path.encode(), 1
        )
        with client.socket.create_connection(("127.0.0.1", emulator.port)) as sock:
            sock.sendall(data)
            outcome = client.read(sock)
        assert outcome.status == 200
        return int(outcome.json["base_resp"]["status_code"])

    assert (code(""), code("wrong-key"), code("k")) == (1004, 2049, 0)
    bare = client.PATHS[provider].partition("?")[0]
    for path in (bare, bare + "?GroupId="):
        assert code("k", path) == (0 if provider == V2 else 1004)
