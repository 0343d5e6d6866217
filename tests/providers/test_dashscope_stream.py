"""DashScope streams: snapshots and increments, several choices, end marks, and lines that tell nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from unittest.mock import ANY

import attrs
import pytest

from cnroute.chat import ChatRequest, Message, Usage
from cnroute.deployments import Deployment
from cnroute.events import Finish, ReasoningDelta, SourceFound, TextDelta, ToolCallDelta, UsageUpdate
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import StreamState
from cnroute.providers import dashscope
from cnroute.wire import dumps

DEPLOYMENT = Deployment("d", "dashscope", "qwen-plus", api_key="sk-0123456789", base_url="https://x.example")


def state_of(incremental: bool = True, **parameters: Any) -> StreamState:
    """The state of a stream in this mode."""
    body = {"parameters": {"incremental_output": incremental, **parameters}}
    return StreamState(ChatRequest((Message("user", "x"),)), body)


def read(state: StreamState, *lines: str) -> list[Any]:
    """The events of these lines."""
    return [event for line in lines for event in dashscope.parse_stream_line(line, state, DEPLOYMENT)]


def line(content: Any = None, finish: Any = "null", usage: Any = None, **fields: Any) -> str:
    """A data line of one choice; `index` goes to the choice, the rest to the message."""
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": content}}
    if "index" in fields:
        choice["index"] = fields.pop("index")
    choice["message"] |= fields
    frame = {"output": {"choices": [choice]}, "request_id": "r-1"} | ({"usage": usage} if usage else {})
    return "data:" + dumps(frame).decode()


def test_increments_are_never_compared() -> None:
    """A chunk that equals or extends the text so far is new text."""
    got = read(state_of(), line("ha"), line("ha"), line("haha"), line("", "stop"))
    assert got == [TextDelta("ha"), TextDelta("ha"), TextDelta("haha"), Finish("stop")]


@pytest.mark.parametrize("body", [None, [], {}, {"parameters": None}, {"parameters": {"incremental_output": "true"}}])
def test_snapshots_are_the_default(body: Any) -> None:
    """The mode is what the body says, and only true means increments."""
    state = StreamState(ChatRequest((Message("user", "x"),)), body)
    assert read(state, line("ha"), line("haha", "stop")) == [TextDelta("ha"), TextDelta("ha"), Finish("stop")]


def test_snapshots_that_are_equal_empty_or_null() -> None:
    """They add nothing."""
    got = read(state_of(False), line("春"), line("春"), line(""), line(None), line("春眠", "stop"))
    assert got == [TextDelta("春"), TextDelta("眠"), Finish("stop")]


@pytest.mark.parametrize("second", ["春", "秋眠不", "x"])
def test_a_snapshot_that_does_not_extend_the_text(second: str) -> None:
    """Never a guess."""
    got = read(state_of(False), line("春眠"), line(second))
    assert got[0] == TextDelta("春眠")
    assert [(found.kind, found.request_id) for found in got[1:]] == [(FailureKind.BAD_RESPONSE, "r-1")]


def test_snapshots_of_reasoning() -> None:
    """Reasoning has its own length."""
    got = read(
        state_of(False), line("", reasoning_content="先"), line("", reasoning_content="先想"),
        line("结", reasoning_content="先想"), line("结论", "stop", reasoning_content=""),
    )  # fmt: skip
    assert got == [ReasoningDelta("先"), ReasoningDelta("想"), TextDelta("结"), TextDelta("论"), Finish("stop")]


def call(index: int | None, arguments: str | None, name: str | None = None, id_: str | None = None) -> dict[str, Any]:
    """One entry of `tool_calls`."""
    fields: dict[str, Any] = {"type": "function", "function": {"arguments": arguments, "name": name}, "id": id_}
    return fields if index is None else {"index": index, **fields}


@pytest.mark.parametrize("placed", [True, False])
def test_snapshots_of_tool_calls(placed: bool) -> None:
    """The list grows, and so do the arguments; a list without indexes goes by position."""
    first, second = (0, 1) if placed else (None, None)
    got = read(
        state_of(False), line("", tool_calls=[call(first, "", "f", "a")]),
        line("", tool_calls=[call(first, '{"x"', "f", "a")]),
        line("", tool_calls=[call(first, '{"x":1}', "f", "a"), call(second, "{}", "g")]),
        line("", "tool_calls", tool_calls=[call(first, '{"x":1}', "f", "a"), call(second, "{}", "g")]),
    )  # fmt: skip
    assert got == [
        ToolCallDelta(0, "a", "f", ""), ToolCallDelta(0, None, None, '{"x"'), ToolCallDelta(0, None, None, ":1}"),
        ToolCallDelta(1, "call_1", "g", "{}"), Finish("tool_calls"),
    ]  # fmt: skip


def test_increments_of_tool_calls() -> None:
    """Fragments join by index; empty ones give nothing; `stop` with calls ended for them."""
    got = read(
        state_of(), line("", tool_calls=[call(0, "", "f", "a")]), line("", tool_calls=[call(0, "", None, "")]),
        line("", tool_calls=[call(0, "{}", "", "")]), line("", "stop"),
    )  # fmt: skip
    assert got == [ToolCallDelta(0, "a", "f", ""), ToolCallDelta(0, None, None, "{}"), Finish("tool_calls")]


def test_role_only_and_empty_frames_give_nothing() -> None:
    """They commit nothing."""
    empty = ("data:{}", "data:null", "data: {}", 'data:{"output":null}', "data:[DONE]")
    assert not read(state_of(), line(None), line(""), *empty)


@pytest.mark.parametrize("quiet", ["", "id:7", "event:result", ":HTTP_STATUS/200", ": ping", "retry: 3", "id", "data",
                                   "unknown: x", "datax:{}", "event", ":HTTP_STATUS/x", " "])  # fmt: skip
def test_lines_that_tell_nothing(quiet: str) -> None:
    """Between frames they change nothing."""
    got = read(state_of(), quiet, line("a"), quiet, line("b", "stop"), quiet)
    assert got == [TextDelta("a"), TextDelta("b"), Finish("stop")]


@pytest.mark.parametrize("data", ["1", '"x"', "[]", "[1]", "true", '{"output":5}', '{"output":[]}',
                                  '{"output":{"choices":5}}', '{"output":{"choices":[5]}}', '{"output":{"text":5}}',
                                  '{"output":{"choices":[{"message":[]}]}}'])  # fmt: skip
def test_data_that_is_no_answer(data: str) -> None:
    """`bad_response`, never skipped silently."""
    assert [found.kind for found in read(state_of(), f"data:{data}")] == [FailureKind.BAD_RESPONSE]


def test_data_that_is_not_json() -> None:
    """It is kept up to the blank line, joined, and then a failure if it still is none."""
    assert [found.kind for found in read(state_of(), 'data:{"output', "")] == [FailureKind.BAD_RESPONSE]
    text = line("好")
    cut = text.index('"choices"')
    assert read(state_of(), text[:cut], "data: " + text[cut:], "") == [TextDelta("好")]


def test_a_frame_without_data() -> None:
    """A bare JSON line is read like a frame."""
    assert read(state_of(), line("好", "stop")[5:]) == [TextDelta("好"), Finish("stop")]


def test_unknown_finish_reason_is_an_end_mark_without_a_word() -> None:
    """The vendor said that it ended, and not why."""
    assert read(state_of(), line("a", "brand_new")) == [TextDelta("a"), Finish(None)]


@pytest.mark.parametrize("finish", ["null", None, "", 5, [], {}])
def test_no_end_mark(finish: Any) -> None:
    """Neither the string null nor a wrong type ends a stream."""
    assert read(state_of(), line("a", finish), "") == [TextDelta("a")]


def test_after_the_end_mark() -> None:
    """Text and usage are kept, the last frame once more adds nothing, and there is one Finish."""
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    got = read(state_of(), line("a", "stop"), line("a", "stop"), line("b", "stop", usage), "data:[DONE]")
    assert got == [TextDelta("a"), Finish("stop"), TextDelta("b"), UsageUpdate(Usage(1, 2, 3))]


def test_placeholder_usage() -> None:
    """A total of zero is unknown."""
    assert read(state_of(), line("a", usage={"total_tokens": 0})) == [TextDelta("a")]
    assert read(state_of(), line("a", usage={"total_tokens": 9})) == [TextDelta("a"), UsageUpdate(Usage(None, None, 9))]


def count(output: int) -> dict[str, int]:
    """Usage of one choice."""
    return {"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output}


def test_several_choices() -> None:
    """Events are those of choice 0; the others are collected; output tokens are added over the choices."""
    state = state_of(n=2)
    got = read(
        state, line("甲", usage=count(1), index=0), line("乙", usage=count(2), index=1),
        line("案", "stop", count(3), index=0), line("方", "length", count(4), index=1),
    )  # fmt: skip
    totals = [event.usage.total_tokens for event in got if isinstance(event, UsageUpdate)]
    assert totals == [11, 13, 15, 17]
    assert [event for event in got if not isinstance(event, UsageUpdate)] == [
        TextDelta("甲"), TextDelta("案"), Finish("stop"),
    ]  # fmt: skip
    assert isinstance(got[-1], Finish)
    found = [(choice.index, choice.message.text, choice.finish_reason) for choice in state.choices]
    assert found == [(0, "甲案", "stop"), (1, "乙方", "length")]


def test_a_choice_that_ends_before_another_begins() -> None:
    """As many choices as were asked for must have ended."""
    state = state_of(n=2)
    assert read(state, line("是", "stop", index=0)) == [TextDelta("是")]
    assert read(state, line("否", "stop", index=1)) == [Finish("stop")]


def test_an_only_choice_of_another_index() -> None:
    """It is the answer, not an empty success."""
    got = read(state_of(), line("a", index=1), line("b", "stop", index=1))
    assert got == [TextDelta("ab"), Finish("stop")]


def test_choice_0_is_handed_out_whichever_comes_first() -> None:
    """The others are kept for the completion."""
    state = state_of()
    got = read(state, line("B", index=1), line("A", index=0), line("a", "stop", index=0), line("b", "length", index=1))
    assert got == [TextDelta("A"), TextDelta("a"), Finish("stop")]
    assert [choice.message.content for choice in state.choices] == ["Aa", "Bb"]


def test_sources_once_each() -> None:
    """Search results are repeated from frame to frame."""
    pages = [{"index": 1, "title": "T", "url": "u", "site_name": "s"}, {"index": 2, "title": "V"}, 5]
    frame = {"output": {"choices": [], "search_info": {"search_results": pages}}}
    data = "data:" + dumps(frame).decode()
    got = read(state_of(), data, data)
    assert [(event.source.kind, event.source.index, event.source.title) for event in got] == [
        ("web_search", 1, "T"), ("web_search", 2, "V"),
    ]  # fmt: skip
    assert all(isinstance(event, SourceFound) for event in got)


def test_an_error_after_text() -> None:
    """Partial text, then the vendor's failure."""
    error = 'data:{"code":"InternalError","message":"m"}'
    got = read(state_of(), line("a"), "event:error", ":HTTP_STATUS/500", error, "")
    assert got[0] == TextDelta("a")
    assert [(found.kind, found.vendor_code, found.request_id, found.http_status) for found in got[1:]] == [
        ("server_error", "InternalError", "r-1", 500)
    ]


def test_what_the_state_tells() -> None:
    """Id of the exchange and the last frame."""
    state = state_of()
    read(state, line("a"), line("b", "stop"))
    assert (state.request_id, state.id, state.choices) == ("r-1", "r-1", ())
    assert state.raw["output"]["choices"][0]["message"]["content"] == "b"


def test_events_pickle() -> None:
    """Deltas and failures travel between processes."""
    got = read(state_of(), line("a", "stop", count(3), tool_calls=[call(0, "{}", "f")]), "data:5")
    assert pickle.loads(pickle.dumps(got)) == got
    assert isinstance(got[-1], Failure)


def test_a_count_that_is_read_late_is_an_update_like_any_other() -> None:
    """For wrappers that look at it, set it or make another one, for comparing, copying and pickling."""
    late = read(state_of(), line("a"), line("b", usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}))[-1]
    assert type(late) is not UsageUpdate and isinstance(late, UsageUpdate)
    plain = UsageUpdate(Usage(1, 2, 3))
    assert late == plain == late == ANY and late != UsageUpdate(None)
    assert (repr(late), pickle.loads(pickle.dumps(late)), copy.deepcopy(late)) == (repr(plain), plain, plain)
    assert attrs.evolve(late, usage=Usage(4)) == UsageUpdate(Usage(4))
    late.usage = Usage(5)
    assert late == UsageUpdate(Usage(5))
