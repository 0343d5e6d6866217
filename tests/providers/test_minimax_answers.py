"""What MiniMax's three providers make of answers and streams beyond the wire cases."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest

from cnroute.chat import ChatCompletion, ChatRequest, Message, Source, Usage
from cnroute.deployments import Deployment
from cnroute.events import Finish, ReasoningDelta, SourceFound, TextDelta, ToolCallDelta, UsageUpdate
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState
from cnroute.http import HttpResponse
from cnroute.providers.minimax import legacy, pro, v2
from cnroute.providers.minimax.answers import finish_reason, usage_of

PLACE = Deployment("d", "minimax", "m", "sk-of-a-test", "https://api.minimaxi.com/v1", options={"group_id": "1"})
OK = {"base_resp": {"status_code": 0, "status_msg": ""}}


def parsed(plugin: Any, body: dict[str, Any]) -> ChatCompletion:
    response = HttpResponse(200, {}, json.dumps({**body, **OK}).encode())
    assert plugin.map_error(response, PLACE) is None
    result = plugin.parse_response(response, PLACE)
    assert isinstance(result, ChatCompletion), result
    return result


def failed(plugin: Any, body: dict[str, Any]) -> None:
    result = plugin.parse_response(HttpResponse(200, {}, json.dumps({**body, **OK}).encode()), PLACE)
    assert isinstance(result, Failure)
    assert result.kind == "bad_response"


def play(plugin: Any, *frames: Any) -> list[Any]:
    return played(plugin, StreamState(ChatRequest((Message("user", "x"),))), *frames)


def played(plugin: Any, state: StreamState, *frames: Any) -> list[Any]:
    lines = [frame if isinstance(frame, str) else "data: " + json.dumps(frame) for frame in frames]
    events = [event for line in [*lines, ""] for event in plugin.parse_stream_line(line, state, PLACE)]
    pickle.dumps((events, state))
    return events


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "a1", "choices": [{"index": 0, "delta": delta, **({"finish_reason": finish} if finish else {})}]}


def message(finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    return {"id": "a1", "choices": [{"index": 0, "message": fields, "finish_reason": finish}], **OK}


def call(name: str = "f", arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **fields}


# ---- shared


@pytest.mark.parametrize(
    ("mark", "called", "word"),
    [
        ("stop", False, "stop"), ("stop", True, "tool_calls"), ("length", True, "length"),
        ("max_output", False, "length"), ("tool_calls", False, "tool_calls"),
        ("content_filter", False, "content_filter"), ("sensitive", False, None),
        (None, True, None),
    ],
)  # fmt: skip
def test_finish_reasons(mark: str | None, called: bool, word: str | None) -> None:
    """The vendor's words, and None for one that is not known."""
    assert finish_reason(mark, called) == word


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        ({"total_tokens": 7}, Usage(None, None, 7)),
        ({"total_tokens": 0, "total_characters": 0}, None),
        ({"total_tokens": 0, "prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4, 7)),
        ({"prompt_tokens": 3}, Usage(3, None, None)),
        ({"total_tokens": "x", "prompt_tokens": None}, None),
        (
            {"total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": []},
            Usage(None, None, 7, 2),
        ),
        ([], None),
    ],
)
def test_usage(usage: Any, known: Usage | None) -> None:
    """What is not known is unknown; a total of 0 is a placeholder."""
    assert usage_of({"usage": usage}) == known


@pytest.mark.parametrize("name", ["v2", "pro", "legacy"])
def test_imports(name: str) -> None:
    """Importing one dialect imports none of the others, and nothing of the router's."""
    code = f"import sys, cnroute.providers.minimax.{name}\nprint(*[m for m in sys.modules if m.startswith('cnroute.')])"
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert not loaded.stderr
    modules = loaded.stdout.split()
    others = {f"cnroute.providers.minimax.{other}" for other in ("v2", "pro", "legacy") if other != name}
    assert not others & set(modules)
    assert not [module for module in modules if module.split(".")[1] in ("routing", "flow", "transports", "emulator")]


@pytest.mark.parametrize("plugin", [v2, pro, legacy])
def test_frames_that_say_nothing(plugin: Any) -> None:
    """[DONE], null and empty objects give nothing; other values and broken JSON are no answer."""
    assert play(plugin, "data: [DONE]", "data: null", "data: {}", ": c", "", "event: x", "data:") == []
    for line in ("data: []", "data: 7", 'data: "x"', "data: true", "data: {broken"):
        (failure,) = play(plugin, line)
        assert failure.kind == "bad_response"


@pytest.mark.parametrize("plugin", [v2, pro, legacy])
def test_ids_in_streams(plugin: Any) -> None:
    """An id wins over the request_id that other frames have; model and last frame are kept."""
    state = StreamState(ChatRequest((Message("user", "x"),)))
    played(plugin, state, {"request_id": "r1", "model": "m1", "choices": []})
    assert (state.id, state.request_id, state.model) == (None, "r1", "m1")
    played(plugin, state, {"id": "a1", "choices": []}, "data: [DONE]")
    assert (state.id, state.request_id, state.model) == ("a1", "a1", "m1")
    assert state.raw == {"id": "a1", "choices": []}


# ---- v2


def test_v2_reply_with_reasoning() -> None:
    """Reasoning stands beside the content; a <think> inside the content stays."""
    reply = parsed(v2, message(content="<think>x</think>答", reasoning_content="想"))
    assert (reply.text, reply.reasoning, reply.message.reasoning) == ("<think>x</think>答", "想", "想")


@pytest.mark.parametrize("content", [None, 7, True, {}, [], [{"type": "image"}], ["x"]])
def test_v2_content_that_is_none(content: Any) -> None:
    """Null without tool calls and everything that is no text is no answer."""
    failed(v2, message(content=content))


def test_v2_null_beside_calls() -> None:
    """Null is fine beside tool calls; text parts are joined."""
    reply = parsed(v2, message("tool_calls", content=None, tool_calls=[call(id="c1")]))
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")
    assert parsed(v2, message(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).text == "ab"


def test_v2_calls() -> None:
    """Arguments may be an object, ids may lack, and `stop` beside calls is `tool_calls`."""
    calls = [call("f", {"a": 1}), call("f", None), call("plugin_web_search"), call("g", type="web_search"), 7, {}]
    reply = parsed(v2, message("stop", content="", tool_calls=calls))
    assert [(each.name, each.arguments) for each in reply.tool_calls] == [("f", '{"a":1}'), ("f", "")]
    assert [each.id for each in reply.tool_calls] == ["call_a1_0", "call_a1_1"]
    assert reply.finish_reason == "tool_calls"


def test_v2_web_search_in_a_reply() -> None:
    """The search's own call and its pages are no answer; the pages are sources."""
    pages = json.dumps([{"no": 1, "url": "https://example.com/n", "title": "题", "content": "文"}, 7])
    body = {"id": "a1", "choices": [
        {"finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call("s", type="web_search")]}},
        {"finish_reason": "stop", "message": {"role": "tool", "content": pages}},
        {"finish_reason": "stop", "message": {"role": "assistant", "content": "答"}},
    ]}  # fmt: skip
    reply = parsed(v2, body)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("答", (), "stop")
    assert reply.sources == (Source("web_search", "文", None, 1, "题", "https://example.com/n"),)
    assert len(reply.choices) == 1


def test_v2_several_choices() -> None:
    """More than one answer stands in `choices`."""
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"} for text in ("甲", "乙")]}
    reply = parsed(v2, body)
    assert reply.text == "甲"
    assert [choice.message.content for choice in reply.choices] == ["甲", "乙"]


def test_v2_unknown_finish_reason() -> None:
    """An unknown word is an end without a reason; the raw word stays in raw."""
    assert parsed(v2, message("odd", content="x")).finish_reason is None
    assert play(v2, chunk("odd", content="x")) == [TextDelta("x"), Finish(None)]
    assert play(v2, chunk("null", content="x"), chunk("", content="y")) == [TextDelta("x"), TextDelta("y")]


def test_v2_message_fills_only_what_is_missing() -> None:
    """The repeated answer gives the kinds that no delta brought, each by itself."""
    whole = message(content="答", reasoning_content="想", tool_calls=[call(id="c1"), call("g")])
    called = [ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(1, "call_a1_1", "g", "{}")]
    assert play(v2, whole) == [ReasoningDelta("想"), TextDelta("答"), *called, Finish("tool_calls")]
    assert play(v2, chunk(content="答"), whole) == [
        TextDelta("答"), ReasoningDelta("想"), *called, Finish("tool_calls"),
    ]  # fmt: skip
    assert play(v2, chunk(reasoning_content="想"), whole)[1] == TextDelta("答")


def test_v2_repeats_are_text() -> None:
    """Equal increments are text, before and after the end mark."""
    frames = [chunk(content="哈"), chunk(content="哈"), chunk("stop", content="哈"), chunk(content="哈")]
    assert play(v2, *frames) == [TextDelta("哈"), TextDelta("哈"), TextDelta("哈"), Finish("stop"), TextDelta("哈")]


def test_v2_running_usage() -> None:
    """Usage is a running total, handed out when it changes or more content came with it, after the end mark too."""
    frames = [{**chunk(content="x"), "usage": {"total_tokens": count}} for count in (0, 5, 5, 6)]
    events = play(v2, *frames, chunk("stop"), {"choices": [], "usage": {"total_tokens": 8}})
    assert [event.usage.total_tokens for event in events if isinstance(event, UsageUpdate)] == [5, 5, 6, 8]


def test_v2_tool_fragments() -> None:
    """Fragments without index and with an empty id continue the call before."""
    events = play(
        v2, chunk(tool_calls=[call("f", "", id="c1", index=0)]),
        chunk(tool_calls=[{"id": "", "function": {"arguments": "{"}}]),
        chunk(tool_calls=[{"function": {"arguments": "}"}}]),
        chunk(tool_calls=[call("g", {"a": 1}, id="c2")]),
        chunk("stop", content=None),
    )  # fmt: skip
    assert [(event.index, event.id, event.name, event.arguments) for event in events[:-1]] == [
        (0, "c1", "f", ""), (0, None, None, "{"), (0, None, None, "}"), (1, "c2", "g", '{"a":1}'),
    ]  # fmt: skip
    assert events[-1] == Finish("tool_calls")


def test_v2_search_beside_functions() -> None:
    """Fragments of the server's search are left out, the caller's own call after it is not."""
    search = chunk(tool_calls=[call("plugin_web_search", "{", id="s1", type="web_search")])
    more = chunk("tool_calls", tool_calls=[{"function": {"arguments": "}"}}])
    found = chunk("stop", role="tool", content="[]")
    own = chunk("tool_calls", tool_calls=[call("f", "{}", id="c1", type="function")])
    assert play(v2, search, more, found, own) == [ToolCallDelta(0, "c1", "f", "{}"), Finish("tool_calls")]


def test_v2_search_material() -> None:
    """Pages are sources, once each; material that is no list of pages is nothing."""
    page = {"url": "https://example.com/n", "title": "题"}
    frame = chunk("stop", role="tool", content=json.dumps([page, page]))
    source = SourceFound(Source("web_search", title="题", url="https://example.com/n"))
    assert play(v2, frame, frame, message(role="tool", content="x"), chunk("stop", content="答")) == [
        source, TextDelta("答"), Finish("stop"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [7, True, {"a": 1}, ["x"]])
def test_v2_content_of_a_wrong_type(content: Any) -> None:
    """A piece of the answer that is no text is a failure, not a gap."""
    assert play(v2, chunk(content=content))[0].kind == "bad_response"


# ---- pro


def spoken(text: Any, **fields: Any) -> dict[str, Any]:
    return {"sender_type": "BOT", "sender_name": "b", "text": text, **fields}


def pro_frame(*messages: Any, finish: str | None = None, reply: str = "", **fields: Any) -> dict[str, Any]:
    choice = {"messages": list(messages), **({"finish_reason": finish} if finish else {})}
    return {"created": 5, "reply": reply, "choices": [choice], **fields}


def pro_end(*messages: Any, **fields: Any) -> dict[str, Any]:
    return pro_frame(*messages, finish="stop", id="a1", usage={"total_tokens": 3}, **OK, **fields)


def test_pro_texts_without_a_reply() -> None:
    """Without `reply` the texts of the messages are joined; without either there is no answer."""
    assert parsed(pro, pro_end(spoken("a"), spoken("b"))).text == "ab"
    assert parsed(pro, pro_end(spoken(""))).text == ""
    assert parsed(pro, pro_end(spoken(""), glyph_result={"a": 1})).text == '{"a":1}'
    assert parsed(pro, {"reply": "x", "choices": None}).finish_reason is None
    for body in ({}, pro_end(), pro_end(spoken(None)), pro_end(spoken(7)), {"reply": "", "choices": []}):
        failed(pro, body)


def test_pro_call_ids() -> None:
    """Invented ids are the same for the same answer, another for another, with and without the answer's id."""
    asked = {"function_call": {"name": "f", "arguments": "{}"}}
    body = pro_frame(spoken("", **asked), finish="stop", **asked)
    answers: list[dict[str, Any]] = [{}, {}, {"created": 6}, {"id": "x"}, {"id": "y"}]
    ids = [parsed(pro, {**body, **answer}).tool_calls[0].id for answer in answers]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    plain, events = parsed(pro, {**body, "id": "x"}), play(pro, {**body, "id": "x", **OK})
    assert events[0].id == plain.tool_calls[0].id
    assert "sk-" not in ids[0]


def test_pro_plugins() -> None:
    """The search plugin's call and pages are neither text nor a call; its pages are sources, in streams once."""
    search = spoken("", function_call={"name": "plugin_web_search", "arguments": "{}"})
    pages = {"sender_type": "FUNCTION", "sender_name": "b", "text": '[{"title":"题","url":"https://example.com"}]'}
    source = Source("web_search", title="题", url="https://example.com")
    reply = parsed(pro, pro_end(search, pages, spoken("答")))
    assert (reply.text, reply.tool_calls, reply.finish_reason, reply.sources) == ("答", (), "stop", (source,))
    events = play(
        pro, pro_frame(search, finish="stop"), pro_frame(pages, finish="stop"), pro_frame(spoken("答")),
        pro_end(search, pages, spoken("答"), reply="答"),
    )  # fmt: skip
    assert events == [SourceFound(source), TextDelta("答"), Finish("stop"), UsageUpdate(Usage(None, None, 3))]


def test_pro_last_partial_call() -> None:
    """Of partial calls the last is it, also when the end frame has none; it comes once."""
    arguments = ("", '{"a"', '{"a":1}')
    partial = [pro_frame(spoken("", function_call={"name": "f", "arguments": text})) for text in arguments]
    events = play(pro, *partial, pro_end(spoken("")))
    assert events[:2] == [ToolCallDelta(0, "call_a1_0", "f", '{"a":1}'), Finish("tool_calls")]


def test_pro_end_beside_the_last_increment() -> None:
    """A finish reason alone stands beside an increment; what comes after it is kept."""
    events = play(
        pro, pro_frame(spoken("一")), pro_frame(spoken("二"), finish="stop", usage={"total_tokens": 0}),
        pro_frame(spoken("三")), pro_end(spoken("一二三"), reply="一二三"),
    )  # fmt: skip
    assert events == [
        TextDelta("一"), TextDelta("二"), Finish("stop"), TextDelta("三"), UsageUpdate(Usage(None, None, 3)),
    ]  # fmt: skip


CHUNK = {"content": "文", "index": "3", "document": 8}
CHUNKS: list[tuple[Any, tuple[Source, ...]]] = [
    *((nothing, ()) for nothing in ([], {}, 7, "x", None)),
    (CHUNK, (Source("knowledge_base", "文", "8", 3),)),
    ([CHUNK, 7], (Source("knowledge_base", "文", "8", 3),)),
    ({"a": {"context": 7}}, (Source("knowledge_base", "7"),)),
]


@pytest.mark.parametrize(("chunks", "sources"), CHUNKS)
@pytest.mark.parametrize("plugin", [pro, legacy])
def test_knowledge_sources(plugin: Any, chunks: Any, sources: tuple[Source, ...]) -> None:
    """Chunks are read leniently, in answers and in the last frame of streams."""
    choice = {"finish_reason": "stop", "text": "答", "messages": [spoken("答")], "delta": ""}
    body = {"reply": "答", "choices": [choice], "knowledge_base": {"knowledge_base_id": 1, "chunks": chunks}}
    assert parsed(plugin, body).sources == sources
    assert tuple(each.source for each in play(plugin, body) if isinstance(each, SourceFound)) == sources


def test_exact_documents() -> None:
    """Ids above 2^53 stay exact."""
    body = {"reply": "x", "knowledge_base": {"chunks": [{"content": "c", "document": 863831823174049793}]}}
    assert parsed(pro, body).sources[0].document == "863831823174049793"


# ---- legacy


def test_legacy_beams() -> None:
    """`reply` is the best beam; without it the choice of the best rank is; all of them stand in `choices`."""
    second = {"text": "乙", "index": 1, "finish_reason": "length"}
    choices = [second, {"text": "甲", "index": 0, "finish_reason": "stop"}]
    reply = parsed(legacy, {"choices": choices})
    assert (reply.text, reply.finish_reason) == ("甲", "stop")
    assert [choice.message.content for choice in reply.choices] == ["甲", "乙"]
    for body in ({}, {"reply": "", "choices": []}, {"choices": [{"finish_reason": "stop"}]}, {"reply": 7}):
        failed(legacy, body)
    assert parsed(legacy, {"reply": "x", "choices": [{"finish_reason": "stop"}]}).finish_reason == "stop"


def test_legacy_final_frame_alone() -> None:
    """If no increment came, the last frame's reply (or text) is the answer."""
    end = {"reply": "全文", "choices": [{"finish_reason": "stop", "delta": ""}]}
    assert play(legacy, end, end) == [TextDelta("全文"), Finish("stop")]
    assert play(legacy, {"choices": [{"finish_reason": "stop", "text": "全文"}]}) == [TextDelta("全文"), Finish("stop")]
    late = {"reply": "一二", "choices": [{"finish_reason": "stop", "delta": "二"}]}
    assert play(legacy, {"choices": [{"delta": "一"}]}, late) == [TextDelta("一"), TextDelta("二"), Finish("stop")]
    assert play(legacy, {"choices": [{"delta": {"content": "x"}}]})[0].kind == "bad_response"
