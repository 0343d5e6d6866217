"""DashScope requests: what is sent, what is moved, what is refused and under which name."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from cnroute.chat import ChatRequest, KnowledgeBase, Message, ToolCall
from cnroute.deployments import Deployment
from cnroute.errors import UnsupportedRequestError
from cnroute.http import HttpRequest
from cnroute.providers import dashscope

KEY = "sk-0123456789abcdef"
ROOT = "https://dashscope.aliyuncs.com/api/v1"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HELLO = (Message("user", "你好"),)
SMALL = ("yi-large", "yi-medium", "yi-large-turbo", "abab6.5s-chat", "abab6.5t-chat", "abab6.5g-chat")
NATIVE = ("qwen-plus", "deepseek-v3", "MiniMax-M2.5", "something-new")


def built(model: str = "qwen-plus", stream: bool = False, options: Any = (), **fields: Any) -> HttpRequest:
    """The HTTP request for these parameters."""
    deployment = Deployment("d", "dashscope", model, api_key=KEY, base_url=ROOT, options=dict(options))
    return dashscope.build_request(ChatRequest(**{"messages": HELLO, **fields}), deployment, stream)


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    """Its decoded body."""
    return json.loads(built(*args, **fields).body)


def refused(*args: Any, **fields: Any) -> tuple[str, str]:
    """The parameter that is refused, and why."""
    with pytest.raises(UnsupportedRequestError) as caught:
        built(*args, **fields)
    return caught.value.parameter, caught.value.reason


def test_the_smallest_requests() -> None:
    """Body and headers, plain and streamed, of both kinds of families."""
    plain = built()
    assert (plain.method, plain.url) == ("POST", f"{ROOT}/services/aigc/text-generation/generation")
    assert dict(plain.headers) == {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    assert json.loads(plain.body) == {
        "model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "你好"}]},
        "parameters": {"result_format": "message"},
    }  # fmt: skip
    streamed = built(stream=True)
    assert streamed.headers["X-DashScope-SSE"] == "enable"
    assert streamed.headers["Accept"] == "text/event-stream"
    assert json.loads(streamed.body)["parameters"] == {"result_format": "message", "incremental_output": True}


@pytest.mark.parametrize("model", [*SMALL, "yi-large-rag"])
def test_yi_and_abab_get_only_what_their_pages_list(model: str) -> None:
    """No result form, no switch for increments."""
    sent = {"temperature": 0.5, "top_p": 0.5, "max_tokens": 100}
    assert body(model, True, **sent)["parameters"] == sent


@pytest.mark.parametrize("model", NATIVE)
def test_native_families(model: str) -> None:
    """The message form always, increments on streams; unknown names are passed on like Qwen."""
    assert body(model)["parameters"] == {"result_format": "message"}
    assert body(model, True)["parameters"]["incremental_output"] is True
    assert body(model)["model"] == model


def test_every_parameter_of_qwen() -> None:
    """Each is sent under the vendor's name."""
    format_ = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    choice = {"type": "function", "function": {"name": "f"}}
    sent = body(
        temperature=0.1, top_p=0.2, max_tokens=3, stop=("甲", "b"), seed=7, tools=(TOOL,), tool_choice=choice,
        response_format=format_, reasoning=500, web_search=True,
    )["parameters"]  # fmt: skip
    assert sent == {
        "result_format": "message", "temperature": 0.1, "top_p": 0.2, "max_tokens": 3, "stop": ["甲", "b"], "seed": 7,
        "tools": [TOOL], "tool_choice": choice, "response_format": format_, "enable_thinking": True,
        "thinking_budget": 500, "enable_search": True,
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "sent"), [
    (True, {"enable_thinking": True}), (False, {"enable_thinking": False}), (0, {"enable_thinking": False}),
    (9, {"enable_thinking": True, "thinking_budget": 9}),
])  # fmt: skip
def test_reasoning(asked: Any, sent: dict[str, Any]) -> None:
    """A switch, or a budget that switches it on."""
    assert body(reasoning=asked)["parameters"] == {"result_format": "message", **sent}


def test_web_search_can_be_switched_off() -> None:
    """False is sent, not left out."""
    assert body(web_search=False)["parameters"]["enable_search"] is False


def test_minimax_m25_always_thinks() -> None:
    """True needs no switch; False and a budget are refused."""
    assert body("MiniMax-M2.5", reasoning=True)["parameters"] == {"result_format": "message"}
    for asked in (False, 5):
        parameter, reason = refused("MiniMax-M2.5", reasoning=asked)
        assert parameter == "reasoning"
        assert "Model Studio" in reason
    assert refused("MiniMax-M2.5", web_search=True)[0] == "web_search"
    assert body("MiniMax-M2.5", tools=(TOOL,))["parameters"]["tools"] == [TOOL]


def test_yi_large_rag_always_searches() -> None:
    """True needs no switch; False is refused; the other Yi models know neither."""
    assert body("yi-large-rag", web_search=True)["parameters"] == {}
    assert refused("yi-large-rag", web_search=False)[0] == "web_search"
    assert refused("yi-large", web_search=True)[0] == "web_search"


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(("name", "value"), [
    ("stop", ("x",)), ("seed", 1), ("tools", (TOOL,)), ("tool_choice", "auto"), ("web_search", True),
    ("response_format", {"type": "json_object"}), ("reasoning", True), ("knowledge_base", KnowledgeBase(1)),
])  # fmt: skip
def test_yi_and_abab_refuse_everything_else_by_name(model: str, name: str, value: Any) -> None:
    """Never a silent drop; the reason names the vendor's page."""
    parameter, reason = refused(model, **{name: value})
    assert parameter == name
    assert "Model Studio" in reason


@pytest.mark.parametrize(("model", "name", "value", "sent"), [
    ("yi-large", "top_p", 1, 0.999), ("yi-large", "temperature", 2, 1.999), ("abab6.5s-chat", "top_p", 0, 0.01),
    ("qwen-plus", "top_p", 1.0, 0.999), ("qwen-plus", "temperature", 2.0, 1.999),
])  # fmt: skip
def test_a_value_on_an_open_bound_is_moved_and_noted(model: str, name: str, value: float, sent: float) -> None:
    """The nearest legal value goes out, and `adjusted` says so."""
    request = built(model, **{name: value})
    assert json.loads(request.body)["parameters"][name] == sent
    assert list(request.adjusted) == [name]
    assert "Model Studio" in request.adjusted[name]


@pytest.mark.parametrize(("model", "name", "value"), [
    ("yi-large", "temperature", 2.5), ("yi-large", "top_p", 1.1), ("abab6.5t-chat", "top_p", 1.5),
    ("qwen-plus", "temperature", 3), ("qwen-plus", "top_p", 2), ("abab6.5t-chat", "max_tokens", 8193),
    ("abab6.5s-chat", "max_tokens", 245_761), ("MiniMax-M2.5", "max_tokens", 32_769),
])  # fmt: skip
def test_a_value_outside_is_refused(model: str, name: str, value: float) -> None:
    """Naming parameter, limit and page."""
    parameter, reason = refused(model, **{name: value})
    assert parameter == name
    assert "Model Studio" in reason
    assert any(character.isdigit() for character in reason)


@pytest.mark.parametrize(("model", "name", "value"), [
    ("yi-large", "temperature", 0), ("yi-large", "top_p", 0), ("abab6.5s-chat", "top_p", 1),
    ("abab6.5s-chat", "max_tokens", 245_760), ("abab6.5s-chat", "temperature", 1.0), ("yi-large", "max_tokens", 16_000),
])  # fmt: skip
def test_the_ends_of_a_range_that_belong_to_it(model: str, name: str, value: float) -> None:
    """They go out as they are."""
    request = built(model, **{name: value})
    assert json.loads(request.body)["parameters"][name] == value
    assert not request.adjusted


def test_json_mode_needs_the_word() -> None:
    """The vendor refuses json_object without "json" in a message; so it is not sent."""
    parameter, reason = refused(response_format={"type": "json_object"})
    assert parameter == "response_format"
    assert '"json"' in reason
    asked = (Message("user", "Answer in JSON"),)
    assert body(messages=asked, response_format={"type": "json_object"})["parameters"]["response_format"]
    assert refused(response_format={"type": "xml"})[0] == "response_format"
    assert body(response_format={"type": "text"})["parameters"]["response_format"] == {"type": "text"}


def test_a_conversation_with_tools() -> None:
    """Roles, tool calls and results in the OpenAI layout."""
    call = ToolCall("call_1", "f", '{"a": 1}')
    talk = (
        Message("system", "S"), Message("user", ({"type": "text", "text": "甲"}, {"type": "text", "text": "乙"})),
        Message("assistant", None, tool_calls=(call,)), Message("tool", "42", tool_call_id="call_1"),
        Message("assistant", "ok"), Message("user", "so"),
    )  # fmt: skip
    assert body(messages=talk)["input"]["messages"] == [
        {"role": "system", "content": "S"}, {"role": "user", "content": "甲乙"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "ok"}, {"role": "user", "content": "so"},
    ]  # fmt: skip
    assert refused("yi-large", messages=talk)[0] == "messages"
    assert refused("yi-large", messages=talk, tools=(TOOL,))[0] == "tools"


@pytest.mark.parametrize("content", ["", (), ({"type": "image_url", "image_url": {"url": "u"}},),
                                     ({"type": "text", "text": "x"}, {"type": "file"})])  # fmt: skip
def test_content_that_cannot_be_sent(content: Any) -> None:
    """Empty content and parts that are no text are refused, saying which message."""
    parameter, reason = refused(messages=(*HELLO, Message("user", content)))
    assert parameter == "messages"
    assert reason.startswith("message 2 (user)")


def test_names_and_earlier_reasoning_are_left_out_and_noted() -> None:
    """DashScope's messages have no place for them."""
    request = built(messages=(Message("user", "x", name="Ann"), Message("assistant", "y", reasoning="r")))
    assert set(request.adjusted) == {"messages.name", "messages.reasoning"}
    assert json.loads(request.body)["input"]["messages"] == [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"},
    ]  # fmt: skip


def test_tools_that_are_no_functions() -> None:
    """Refused by name."""
    assert refused(tools=({"type": "retrieval"},))[0] == "tools"


def test_knowledge_base() -> None:
    """MiniMax's alone."""
    assert refused(knowledge_base=KnowledgeBase(1))[0] == "knowledge_base"


def test_extra_is_merged() -> None:
    """Recursively, over what the call says; the flag of the stream mode too."""
    extra = {"parameters": {"top_k": 50, "incremental_output": False}, "input": {"x": 1}, "y": None}
    sent = body("qwen-plus", True, extra=extra)
    assert sent["parameters"] == {"result_format": "message", "incremental_output": False, "top_k": 50}
    assert (sent["input"]["x"], sent["y"]) == (1, None)
    assert sent["input"]["messages"]


@pytest.mark.parametrize("extra", [{"model": "x"}, {"stream": True}, {"messages": []}, {"input": {"messages": []}},
                                   {"input": None}, {"input": []}])  # fmt: skip
def test_extra_may_not_replace_the_call(extra: dict[str, Any]) -> None:
    """Neither model nor stream nor messages."""
    assert refused(extra=extra)[0] == "extra"


def test_options() -> None:
    """Workspace and inspection are headers."""
    headers = built(options={"workspace": "ws_1", "data_inspection": True}).headers
    assert (headers["X-DashScope-WorkSpace"], headers["X-DashScope-DataInspection"]) == ("ws_1", "enable")
    assert "X-DashScope-DataInspection" not in built(options={"data_inspection": False}).headers


@pytest.mark.parametrize("workspace", ["ws 1", "空间", 5, "x" * 2000])
def test_an_option_that_cannot_be_a_header(workspace: Any) -> None:
    """Refused before anything is sent."""
    assert refused(options={"workspace": workspace})[0] == "options.workspace"


def test_the_prefix_of_the_base_url_is_kept() -> None:
    """Only the endpoint's path is added; the key stands in one header and nowhere else."""
    deployment = Deployment("d", "dashscope", "yi-large", api_key=KEY, base_url="https://proxy.example/a/b/")
    request = dashscope.build_request(ChatRequest(HELLO), deployment, True)
    assert request.url == "https://proxy.example/a/b/services/aigc/text-generation/generation"
    assert KEY not in request.url + repr(request) + request.body.decode()


def test_same_bytes_and_an_untouched_request() -> None:
    """Pure and deterministic, lone surrogates and long texts too."""
    extra = {"parameters": {"stop": ["x"]}}
    asked = ChatRequest((Message("user", "\ud83d🙂" + "长" * 100_000),), stop=("a",), extra=extra)
    before = attrs.asdict(asked)
    deployment = Deployment("d", "dashscope", "qwen-plus", api_key=KEY, base_url=ROOT)
    first, second = (dashscope.build_request(asked, deployment, False) for _ in range(2))
    assert first == second
    assert first.body.decode("utf-8")
    assert attrs.asdict(asked) == before
