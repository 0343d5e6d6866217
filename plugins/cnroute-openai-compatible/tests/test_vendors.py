"""What each row of data makes of a call: sent, mapped, refused by name."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from cnroute_openai_compatible import VENDORS, Provider, Rules, Vendor, deepseek

import cnroute
from cnroute.testing import FakeTransport

SAMPLING = {"temperature": 1.5, "top_p": 0.9, "stop": ["。"]}
JSON = {"response_format": {"type": "json_object"}}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
REQUIRED = {"tools": [WEATHER], "tool_choice": "required"}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}
HELLO: dict[str, Any] = {"messages": "你好", "max_tokens": 64}


def deployment(provider: str, model: str) -> cnroute.Deployment:
    return cnroute.Deployment("it", provider, model, api_key="sk-test-0123456789")


@functools.cache
def host(provider: str) -> cnroute.PluginHost:
    """One for all routers of a vendor: to find what is installed takes longer than a call."""
    return cnroute.PluginHost(load=[provider])


def sent(provider: str, model: str, **call: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The body that goes out, and what the attempt says of it."""
    transport = FakeTransport([ANSWER])
    with cnroute.Router([deployment(provider, model)], transport=transport, plugins=host(provider)) as router:
        reply = router.chat(**{"model": "it", **HELLO, **call})
    return transport.requests[0].json(), dict(reply.attempts[0].adjusted)


def refused(provider: str, model: str, **call: Any) -> str:
    """The message of the refusal; nothing is sent."""
    transport = FakeTransport([ANSWER])
    router = cnroute.Router([deployment(provider, model)], transport=transport, plugins=host(provider))
    with router, pytest.raises(cnroute.UnsupportedRequestError) as caught:
        router.chat(**{"model": "it", **HELLO, **call})
    assert transport.requests == []
    return str(caught.value)


@pytest.mark.parametrize(("provider", "model", "call", "fields"), [
    ("deepseek", "deepseek-chat", SAMPLING, SAMPLING),
    ("deepseek", "deepseek-v4-pro", {"reasoning": False}, {"thinking": {"type": "disabled"}}),
    ("deepseek", "deepseek-reasoner", {"reasoning": True}, {}),
    ("deepseek", "deepseek-chat", REQUIRED, REQUIRED),
    ("moonshot", "kimi-k2.6", {"reasoning": False}, {"max_completion_tokens": 64, "thinking": {"type": "disabled"}}),
    ("moonshot", "moonshot-v1-8k", {"temperature": 0.3}, {"max_completion_tokens": 64, "temperature": 0.3}),
    ("zhipu", "glm-4.6", {"tools": [WEATHER], "tool_choice": "auto"}, {"tools": [WEATHER], "tool_choice": "auto"}),
    ("siliconflow", "Qwen/Qwen3-32B", {"reasoning": 512}, {"enable_thinking": True, "thinking_budget": 512}),
    ("siliconflow", "Qwen/Qwen3-32B", {"reasoning": False}, {"enable_thinking": False}),
    ("volcano-ark", "ep-20240615102301-abcde", JSON, JSON),
    ("01ai", "yi-large-fc", {"tools": [WEATHER]}, {"tools": [WEATHER]}),
    ("01ai", "yi-lightning", {"response_format": {"type": "text"}, "web_search": False}, {}),
    ("minimax-compatible", "MiniMax-M2.5", {"reasoning": True}, {"reasoning_split": True}),
    ("dashscope-compatible", "qwen-plus", {"reasoning": 9}, {"enable_thinking": True, "thinking_budget": 9}),
    ("vllm", "Qwen/Qwen3-8B", {"reasoning": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
    ("ollama", "qwen3:8b", {"reasoning": True}, {"reasoning_effort": "medium"}),
])  # fmt: skip
def test_what_a_vendor_takes_is_sent_in_its_words(
    provider: str, model: str, call: dict[str, Any], fields: dict[str, Any]
) -> None:
    """The usual fields, and those of this call, and nothing else."""
    body, _ = sent(provider, model, **call)
    usual = {"model": model, "messages": [{"role": "user", "content": "你好"}], "stream": False}
    tokens = {} if "max_completion_tokens" in fields else {"max_tokens": 64}
    fixed = {"reasoning_split": True} if provider == "minimax-compatible" else {}
    assert body == {**usual, **tokens, **fixed, **fields}


@pytest.mark.parametrize(("provider", "model", "call", "words"), [
    ("deepseek", "deepseek-chat", {"temperature": 2.5}, "temperature: 2.5 is outside [0, 2]"),
    ("deepseek", "deepseek-chat", {"seed": 1}, "seed"),
    ("deepseek", "deepseek-chat", {"stop": [str(each) for each in range(17)]}, "at most 16 stop words"),
    ("deepseek", "deepseek-v4-pro", {"reasoning": 1024}, "no budget of thinking can be set"),
    ("deepseek", "deepseek-reasoner", {"reasoning": False}, "thinks always"),
    ("deepseek", "deepseek-chat", SCHEMA, "response_format"),
    ("moonshot", "kimi-k2.6", {"temperature": 0.3}, "temperature"),
    ("moonshot", "moonshot-v1-8k", {"reasoning": True}, "thinks never"),
    ("moonshot", "moonshot-v1-8k", {"stop": ["很长" * 6]}, "at most 32 bytes"),
    ("moonshot", "kimi-k2.6", {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
    ("zhipu", "glm-4.6", {"tools": [WEATHER], "tool_choice": "none"}, "tool_choice"),
    ("zhipu", "glm-4.6", {"stop": ["一", "二"]}, "at most 1 stop words"),
    ("siliconflow", "Qwen/Qwen3-32B", {"reasoning": 64}, "64 is outside [128, 32768]"),
    ("volcano-ark", "ep-1", {"web_search": True}, "web_search"),
    ("01ai", "yi-lightning", {"tools": [WEATHER]}, "tools"),
    ("01ai", "yi-lightning", {"stop": ["。"]}, "stop"),
    ("minimax-compatible", "MiniMax-M2.5", {"reasoning": False}, "thinks always"),
    ("minimax-compatible", "MiniMax-M2.5", {"temperature": 1.5}, "temperature"),
    ("ollama", "qwen3:8b", {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
    ("vllm", "x", {"knowledge_base": 1}, "knowledge_base"),
])  # fmt: skip
def test_what_a_vendor_does_not_take_is_refused_by_name(provider: str, model: str, call: dict[str, Any], words: str) -> None:
    """The refusal names the parameter and the page."""
    told = refused(provider, model, **call)
    assert words in told
    assert VENDORS[provider].rules_for(model).page in told


@pytest.mark.parametrize("extra", [{"model": "x"}, {"stream": True}, {"messages": []}])
def test_extra_may_not_replace_what_the_call_says(extra: dict[str, Any]) -> None:
    """Model, stream switch and messages are the call's own."""
    assert "extra" in refused("deepseek", "deepseek-chat", extra={"deepseek": extra})


def test_extra_reaches_the_body_and_several_answers_are_read() -> None:
    """Raw fields are merged; `n` is for plain calls, and a stream refuses it."""
    rows = [{"index": index, "message": {"content": text}, "finish_reason": "stop"} for index, text in ((1, "二"), (0, "一"))]
    transport = FakeTransport([{"choices": rows}])
    with cnroute.Router([deployment("vllm", "m")], transport=transport) as router:
        reply = router.chat(model="it", extra={"vllm": {"n": 2, "top_k": 5}}, **HELLO)
        assert (transport.requests[0].json()["n"], transport.requests[0].json()["top_k"]) == (2, 5)
        assert [choice.message.content for choice in reply.choices] == ["一", "二"]
        assert reply.text == "一"
        stream = router.stream(model="it", extra={"vllm": {"n": 2}}, **HELLO)
        with pytest.raises(cnroute.UnsupportedRequestError), stream:
            next(stream)


def test_a_value_without_effect_is_noted() -> None:
    """DeepSeek takes a temperature while it thinks, and ignores it: the attempt says so, and not where thinking is off."""
    _, adjusted = sent("deepseek", "deepseek-v4-flash", temperature=0.5)
    assert "without effect" in adjusted["temperature"]
    _, adjusted = sent("deepseek", "deepseek-v4-flash", temperature=0.5, reasoning=False)
    assert adjusted == {}


def test_thoughts_of_a_turn_that_called_tools_go_back() -> None:
    """DeepSeek, Kimi and MiniMax want them beside the calls; elsewhere leaving them out is noted."""
    call = cnroute.ToolCall("c1", "get_weather", "{}")
    turn = [
        cnroute.Message("user", "天气?"), cnroute.Message("assistant", None, None, [call], None, "要查。"),
        cnroute.Message("tool", "晴", None, (), "c1"), cnroute.Message("assistant", "晴天。", reasoning="好。"),
        cnroute.Message("user", "谢谢"),
    ]  # fmt: skip
    for provider, model, field, value in (
        ("deepseek", "deepseek-v4-flash", "reasoning_content", "要查。"),
        ("moonshot", "kimi-k2.6", "reasoning_content", "要查。"),
        ("minimax-compatible", "MiniMax-M2.5", "reasoning_details", [{"type": "reasoning.text", "text": "要查。"}]),
    ):
        body, adjusted = sent(provider, model, messages=turn, tools=[WEATHER])
        assert body["messages"][1][field] == value
        assert "messages.reasoning" in adjusted  # the second thought, of a turn without calls
        assert all(field not in message for message in (body["messages"][0], *body["messages"][2:]))
    body, adjusted = sent("vllm", "m", messages=turn, tools=[WEATHER])
    assert "messages.reasoning" in adjusted
    assert body["messages"][1] == {
        "role": "assistant", "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    }  # fmt: skip
    assert body["messages"][2] == {"role": "tool", "content": "晴", "tool_call_id": "c1"}


def test_pictures_go_where_they_are_taken() -> None:
    """A part that no page of the vendor lists is refused."""
    parts = [{"type": "text", "text": "这是什么?"}, {"type": "image_url", "image_url": {"url": "https://example.cn/a.png"}}]
    messages = [{"role": "user", "content": parts}]
    assert sent("01ai", "yi-vision-v2", messages=messages)[0]["messages"][0]["content"] == parts
    assert "image_url" in refused("deepseek", "deepseek-chat", messages=messages)


def test_pages_of_a_search_are_sources() -> None:
    """Zhipu's and DashScope's, plain and streamed, each page once."""
    zhipu = {**ANSWER, "web_search": [{"title": "甲", "link": "https://example.cn/1", "content": "文", "media": "网"}]}
    found = {"title": "乙", "url": "https://example.cn/2", "site_name": "网", "index": 1}
    qwen = {**ANSWER, "search_info": {"search_results": [found]}}
    page = cnroute.Source("web_search", "文", "网", None, "甲", "https://example.cn/1")
    for provider, model, data, want in (
        ("zhipu", "glm-4.6", zhipu, page),
        ("dashscope-compatible", "qwen-plus", qwen, cnroute.Source("web_search", None, "网", 1, "乙", "https://example.cn/2")),
    ):
        with cnroute.Router([deployment(provider, model)], transport=FakeTransport([data])) as router:
            assert router.chat(model="it", web_search=True, **HELLO).sources == (want,)
    frame = {"choices": [{"index": 0, "delta": {"content": "答"}, "finish_reason": None}], "web_search": zhipu["web_search"]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "web_search": zhipu["web_search"]}
    body = [f"data: {json.dumps(each)}\n\n".encode() for each in (frame, end)]
    with cnroute.Router([deployment("zhipu", "glm-4.6")], transport=FakeTransport([body])) as router:
        with router.stream(model="it", web_search=True, **HELLO) as stream:
            assert "".join(stream.texts()) == "答"
        assert stream.completion.sources == (page,)


def test_every_row_is_dated_and_priced_in_a_currency() -> None:
    """A fact about a model says from when it is and where it stands; prices too."""
    for vendor in VENDORS.values():
        for model in vendor.models:
            assert model.as_of and model.source, (vendor.name, model.name)
            if model.price is not None:
                assert model.price.currency == "CNY" and model.price.as_of and model.price.source


def test_a_cached_answer_has_its_price() -> None:
    """DeepSeek's cache hits are priced apart: 56 tokens at 1, 64 at 0.02 and 40 at 2 CNY a million."""
    usage = {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160, "prompt_cache_hit_tokens": 64}
    transport = FakeTransport([{**ANSWER, "usage": usage}])
    with cnroute.Router([deployment("deepseek", "deepseek-v4-flash")], transport=transport) as router:
        cost = router.chat(model="it", **HELLO).cost
    assert cost is not None and str(cost.amount) == "0.00013728"


def test_local_servers_need_no_key_and_stay_on_loopback() -> None:
    """vLLM and Ollama answer on this machine; a key that is given is sent."""
    for name in ("vllm", "ollama"):
        transport = FakeTransport([ANSWER])
        with cnroute.Router([cnroute.Deployment("it", name, "m")], transport=transport) as router:
            router.chat("hi", model="it")
        assert transport.requests[0].url.startswith("http://127.0.0.1:")
        assert "Authorization" not in transport.requests[0].headers
        assert "api_key" not in Provider(VENDORS[name]).describe_provider().env
    with pytest.raises(cnroute.ConfigurationError, match="DEEPSEEK_API_KEY"):
        cnroute.Router([cnroute.Deployment("it", "deepseek", "deepseek-chat")])


def test_a_row_of_ones_own_is_a_provider() -> None:
    """What the page docs/vendors.md promises."""
    own = Provider(Vendor("acme", "https://api.acme.example/v1", Rules("Acme's page"), key="ACME_API_KEY"))
    transport = FakeTransport([ANSWER])
    with cnroute.Router([deployment("acme", "acme-1")], plugins=[own], transport=transport) as router:
        assert router.chat("hi", model="it").text == "ok"
    assert transport.requests[0].url == "https://api.acme.example/v1/chat/completions"


def test_names_of_models_and_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`deepseek/deepseek-chat` works from the key alone, and so does a model whose name holds a slash."""
    for name in ("DEEPSEEK_API_KEY", "SILICONFLOW_API_KEY"):
        monkeypatch.setenv(name, "sk-test-0123456789")
    with cnroute.Router.from_env(transport=FakeTransport([ANSWER])) as router:
        assert router.chat("hi", model="deepseek/deepseek-chat").model in (None, "deepseek-chat")
        assert router.chat("hi", model="siliconflow/deepseek-ai/DeepSeek-V3.2").text == "ok"


def test_the_plugin_objects_have_identity() -> None:
    """Two providers of one row are two plugins, and each can be hashed."""
    assert deepseek != Provider(deepseek.vendor)
    assert len({deepseek, Provider(deepseek.vendor)}) == 2
