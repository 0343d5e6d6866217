"""What MiniMax's three providers send: the vendor's samples, every parameter, every refusal by name."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from cnroute.chat import ChatRequest, KnowledgeBase, Message, ToolCall, message_from
from cnroute.deployments import Deployment
from cnroute.errors import ConfigurationError, UnsupportedRequestError
from cnroute.http import HttpRequest
from cnroute.providers.minimax import legacy, pro, v2

V2, PRO, LEGACY = "minimax-v2", "minimax-pro", "minimax-legacy"
PLUGINS: dict[str, Any] = {V2: v2, PRO: pro, LEGACY: legacy}
GROUP = "1700000000000000019"
KEY = "sk-of-a-test"
BASE_ID = 863831823174049792
MODELS = {V2: "MiniMax-M2.1", PRO: "abab6.5s-chat", LEGACY: "abab5.5-chat"}
HELLO = (Message("user", "你好"),)
SYSTEM = "MM智能助理是一款由MiniMax自研的,没有调用其他产品的接口的大型语言模型。"
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "天气", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def place(provider: str, model: str | None = None, **options: Any) -> Deployment:
    given = {"group_id": GROUP, **options} if provider != V2 else options
    base = "https://api.minimaxi.com/v1"
    return Deployment("d", provider, model or MODELS[provider], KEY, base, options=given)


def built(
    provider: str, *, stream: bool = False, model: str | None = None, options: Any = (), **fields: Any
) -> HttpRequest:
    request = ChatRequest(fields.pop("messages", HELLO), "chat", **fields)
    deployment = place(provider, model, **dict(options))
    result: HttpRequest = PLUGINS[provider].build_request(request, deployment, stream)
    return result


def body(provider: str, **arguments: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(built(provider, **arguments).body)
    return fields


def refused(provider: str, **arguments: Any) -> str:
    with pytest.raises(UnsupportedRequestError) as caught:
        built(provider, **arguments)
    assert caught.value.reason
    return caught.value.parameter


def messages(*fields: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(map(message_from, fields))


# ---- the vendor's own samples


@pytest.mark.parametrize("stream", [False, True])
def test_v2_sample(stream: bool) -> None:
    """The body is the vendor's sample of chatcompletion_v2 (2024-08-20), field by field."""
    spoken = messages(
        {"role": "system", "name": "MM智能助理", "content": SYSTEM}, {"role": "user", "name": "用户", "content": "分类"}
    )
    sent = body(
        V2, model="abab6.5s-chat", messages=spoken, stream=stream, tool_choice="none", max_tokens=2048,
        temperature=0.1, top_p=0.9,
    )  # fmt: skip
    assert sent.pop("stream_options", None) == ({"include_usage": True} if stream else None)
    assert sent == {
        "model": "abab6.5s-chat",
        "messages": [
            {"role": "system", "name": "MM智能助理", "content": SYSTEM},
            {"role": "user", "name": "用户", "content": "分类"},
        ],
        "tool_choice": "none",
        "stream": stream,
        "max_tokens": 2048,
        "temperature": 0.1,
        "top_p": 0.9,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_pro_sample(stream: bool) -> None:
    """The body is the vendor's sample of chatcompletion_pro (2024-08-20), field by field."""
    spoken = messages(
        {"role": "system", "content": SYSTEM},
        {"role": "user", "name": "小明", "content": "帮我用英文翻译下面这句话:我是谁"},
    )
    assert body(PRO, messages=spoken, stream=stream, max_tokens=2048, temperature=0.1, top_p=0.9) == {
        "model": "abab6.5s-chat",
        "tokens_to_generate": 2048,
        "temperature": 0.1,
        "top_p": 0.9,
        "stream": stream,
        "reply_constraints": {"sender_type": "BOT", "sender_name": "MM智能助理"},
        "sample_messages": [],
        "plugins": [],
        "messages": [{"sender_type": "USER", "sender_name": "小明", "text": "帮我用英文翻译下面这句话:我是谁"}],
        "bot_setting": [{"bot_name": "MM智能助理", "content": SYSTEM}],
    }


def test_legacy_sample() -> None:
    """The body is the vendor's Python sample of chat with retrieval, field by field."""
    spoken = messages({"role": "system", "content": "你是专家。"}, {"role": "user", "content": "我给定的故事"})
    names = {"user_name": "我", "bot_name": "专家"}
    sent = body(LEGACY, model="abab5-chat", options=names, messages=spoken, knowledge_base=KnowledgeBase(BASE_ID))
    assert sent == {
        "model": "abab5-chat",
        "prompt": "你是专家。",
        "role_meta": {"user_name": "我", "bot_name": "专家"},
        "messages": [{"sender_type": "USER", "text": "我给定的故事"}],
        "knowledge_base_param": {"knowledge_base_id": BASE_ID},
    }


def test_pro_retrieval_sample() -> None:
    """The body of the retrieval page's curl sample, which is pro's in all but its URL."""
    spoken = messages({"role": "system", "content": SYSTEM}, {"role": "user", "content": "齐天是谁"})
    sent = body(
        PRO, model="abab5.5-chat", messages=spoken, max_tokens=1024, temperature=0.9, top_p=0.95, web_search=True,
        knowledge_base=KnowledgeBase(BASE_ID), extra={"beam_width": 1},
    )  # fmt: skip
    assert sent == {
        "model": "abab5.5-chat",
        "tokens_to_generate": 1024,
        "temperature": 0.9,
        "top_p": 0.95,
        "stream": False,
        "beam_width": 1,
        "reply_constraints": {"sender_type": "BOT", "sender_name": "MM智能助理"},
        "sample_messages": [],
        "plugins": ["plugin_web_search"],
        "messages": [{"sender_type": "USER", "sender_name": "用户", "text": "齐天是谁"}],
        "bot_setting": [{"bot_name": "MM智能助理", "content": SYSTEM}],
        "knowledge_base_param": {"knowledge_base_id": BASE_ID},
    }


# ---- URL, headers, group


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        (V2, "https://api.minimaxi.com/v1/text/chatcompletion_v2"),
        (PRO, f"https://api.minimaxi.com/v1/text/chatcompletion_pro?GroupId={GROUP}"),
        (LEGACY, f"https://api.minimaxi.com/v1/text/chatcompletion?GroupId={GROUP}"),
    ],
)
def test_url_and_headers(provider: str, url: str) -> None:
    """The key goes into one header, the GroupId into the query, and neither anywhere else."""
    sent = built(provider)
    assert (sent.method, sent.url) == ("POST", url)
    assert dict(sent.headers) == {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    assert KEY not in repr(sent)
    assert KEY.encode() not in sent.body
    assert GROUP.encode() not in sent.body
    assert sent.body == built(provider).body


@pytest.mark.parametrize("provider", PLUGINS)
def test_base_url_prefix(provider: str) -> None:
    """A path prefix of the base URL stays; the GroupId is quoted."""
    options = {} if provider == V2 else {"group_id": "a&b=c d/é"}
    deployment = attrs.evolve(place(provider, **options), base_url="http://127.0.0.1:8/p/v1")
    url = PLUGINS[provider].build_request(ChatRequest(HELLO), deployment, False).url
    assert url.startswith("http://127.0.0.1:8/p/v1/text/chatcompletion")
    assert provider == V2 or url.endswith("?GroupId=a%26b%3Dc%20d%2F%C3%A9")


@pytest.mark.parametrize("provider", [PRO, LEGACY])
@pytest.mark.parametrize("group", [None, "", "  "])
def test_a_missing_group(provider: str, group: str | None) -> None:
    """Without a GroupId nothing can be sent."""
    with pytest.raises(ConfigurationError, match="group_id"):
        built(provider, options={"group_id": group})


@pytest.mark.parametrize("provider", PLUGINS)
def test_description(provider: str) -> None:
    """The description is complete: what is required goes into the URL, models come from the catalogue."""
    info = PLUGINS[provider].describe_provider()
    needed = () if provider == V2 else ("group_id",)
    assert (info.name, info.base_url) == (provider, "https://api.minimaxi.com/v1")
    assert info.required == info.url_options == needed
    assert set(needed) <= set(info.options)
    assert info.env["api_key"] == "MINIMAX_API_KEY"
    assert info.env["base_url"] == "MINIMAX_API_HOST"
    assert info.env.get("group_id") == (None if provider == V2 else "MINIMAX_GROUP_ID")
    assert all(model.source and model.as_of and model.status for model in info.models)
    assert all(model.price.as_of and model.price.source for model in info.models if model.price)
    assert all(model.capabilities <= info.capabilities for model in info.models if model.capabilities is not None)


def test_catalogue_prices() -> None:
    """Documented prices are shipped exactly, wild ones not at all."""
    prices = {model.name: model.price for model in v2.describe_provider().models}
    assert str(prices["MiniMax-Text-01"].of(1_000_000, 1_000_000)) == "9 CNY"
    assert [str(prices["MiniMax-M1"].of(tokens, 0)) for tokens in (32_000, 32_001, 128_001)] == [
        "0.0256 CNY", "0.0384012 CNY", "0.3072024 CNY",
    ]  # fmt: skip
    assert {name for name, price in prices.items() if price is None} == {
        "MiniMax-M3", "MiniMax-M2.1", "MiniMax-M2", "MiniMax-M2-Stable", "abab6.5s-chat",
    }  # fmt: skip


# ---- parameters that all three treat alike


TOKENS = {V2: "max_tokens", PRO: "tokens_to_generate", LEGACY: "tokens_to_generate"}


@pytest.mark.parametrize("provider", PLUGINS)
def test_sampling(provider: str) -> None:
    """Temperature, top_p and the token limit are sent under the vendor's names."""
    sent = built(provider, temperature=1, top_p=0.5, max_tokens=100)
    fields = json.loads(sent.body)
    assert (fields["temperature"], fields["top_p"], fields[TOKENS[provider]]) == (1, 0.5, 100)
    assert sent.adjusted == {}
    assert not {"temperature", "top_p", TOKENS[provider]} & set(body(provider))


@pytest.mark.parametrize("provider", PLUGINS)
@pytest.mark.parametrize("parameter", ["temperature", "top_p"])
def test_open_bounds_move(provider: str, parameter: str) -> None:
    """0 is moved to the nearest legal value and noted; beyond the range the parameter is refused by name."""
    sent = built(provider, **{parameter: 0})
    assert json.loads(sent.body)[parameter] == 0.01
    assert "(0, 1]" in sent.adjusted[parameter]
    assert refused(provider, **{parameter: 1.01}) == parameter
    assert refused(provider, **{parameter: -0.01}) == parameter


@pytest.mark.parametrize(
    ("provider", "model", "most"),
    [(PRO, "abab6.5s-chat", 245760), (PRO, "MiniMax-Text-01", 1000192), (LEGACY, "abab5.5s-chat", 8192)],
)
def test_token_limits(provider: str, model: str, most: int) -> None:
    """The documented most of a model is taken, one more is refused; unknown models have no limit."""
    assert body(provider, model=model, max_tokens=most)["tokens_to_generate"] == most
    assert refused(provider, model=model, max_tokens=most + 1) == "max_tokens"
    assert body(provider, model="new", max_tokens=most + 1)["tokens_to_generate"] == most + 1


REFUSED = [
    (V2, "stop", ("x",)),
    (V2, "knowledge_base", KnowledgeBase(BASE_ID)),
    (PRO, "stop", ("x",)),
    (PRO, "reasoning", True),
    (PRO, "reasoning", 0),
    (LEGACY, "stop", ("x",)),
    (LEGACY, "reasoning", 512),
    (LEGACY, "tools", (TOOL,)),
    (LEGACY, "tool_choice", "auto"),
    (LEGACY, "web_search", True),
    (LEGACY, "response_format", {"type": "json_object"}),
    *((provider, "seed", seed) for provider in PLUGINS for seed in (0, 7)),
]


@pytest.mark.parametrize(("provider", "parameter", "value"), REFUSED)
def test_refused_by_name(provider: str, parameter: str, value: Any) -> None:
    """What the dialect cannot express is refused by its name."""
    assert refused(provider, **{parameter: value}) == parameter


@pytest.mark.parametrize("provider", PLUGINS)
def test_nothing_asked_is_nothing_refused(provider: str) -> None:
    """False, empty and default values ask for nothing and change nothing."""
    model = "MiniMax-Text-01" if provider == V2 else None
    asked = {"stop": (), "tools": (), "web_search": False, "reasoning": False, "response_format": {"type": "text"}}
    assert body(provider, model=model, **asked) == body(provider, model=model)


@pytest.mark.parametrize("provider", PLUGINS)
@pytest.mark.parametrize("field", ["model", "stream", "messages"])
def test_extra_may_not_set_the_call(provider: str, field: str) -> None:
    """`extra` may not set model, stream or messages."""
    assert refused(provider, extra={field: "x"}) == "extra"


@pytest.mark.parametrize("provider", PLUGINS)
def test_extra_merges(provider: str) -> None:
    """`extra` merges into the body and leaves the request as it was."""
    extra = {"mask_sensitive_info": False, "deep": {"a": 1}}
    kept = json.dumps(extra)
    assert body(provider, extra=extra).items() >= extra.items()
    assert json.dumps(extra) == kept


@pytest.mark.parametrize("provider", PLUGINS)
def test_strange_texts(provider: str) -> None:
    """Chinese, emoji, lone surrogates, empty and long texts make valid JSON in UTF-8."""
    for text in ("你好", "😀", "\ud800", "长" * 300_000):
        sent = built(provider, messages=(Message("user", text),))
        assert json.loads(sent.body.decode("utf-8"))["messages"]


def test_pro_takes_no_empty_text_and_no_last_word_of_its_own() -> None:
    """The vendor would refuse the whole call; so the deployment is left out by name."""
    assert refused(PRO, messages=(Message("user", ""),)) == "messages"
    assert refused(PRO, messages=(*HELLO, Message("assistant", "好"))) == "messages"


# ---- v2


def test_v2_tool_turn() -> None:
    """A tool loop goes in the OpenAI layout; content is never null."""
    call = ToolCall("c1", "get_weather", '{"city":"北京"}')
    spoken = (
        Message("system", "一"), Message("system", "二"), Message("user", "天气?"),
        Message("assistant", None, tool_calls=(call,)), Message("tool", "晴", tool_call_id="c1", name="get_weather"),
    )  # fmt: skip
    sent = body(V2, messages=spoken, tools=(TOOL, {"function": TOOL["function"]}), tool_choice="auto", web_search=True)
    assert sent["tools"] == [TOOL, TOOL, {"type": "web_search"}]
    assert sent["tool_choice"] == "auto"
    function = {"name": "get_weather", "arguments": '{"city":"北京"}'}
    assert sent["messages"] == [
        {"role": "system", "content": "一"},
        {"role": "system", "content": "二"},
        {"role": "user", "content": "天气?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "content": "晴", "name": "get_weather", "tool_call_id": "c1"},
    ]


def test_v2_parts() -> None:
    """Text and images are sent as parts; other parts are refused."""
    parts = ({"type": "text", "text": "看"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})
    assert body(V2, messages=(Message("user", parts),))["messages"][0]["content"] == list(parts)
    assert refused(V2, messages=(Message("user", ({"type": "input_audio"},)),)) == "messages"


def test_v2_needs_a_user() -> None:
    """Without a user message v2 is not asked."""
    assert refused(V2, messages=(Message("system", "x"),)) == "messages"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_v2_tool_choice(choice: Any) -> None:
    """Only none and auto exist."""
    assert refused(V2, tools=(TOOL,), tool_choice=choice) == "tool_choice"


@pytest.mark.parametrize("provider", [V2, PRO])
def test_tools_must_be_functions(provider: str) -> None:
    """A tool that is no function is refused."""
    assert refused(provider, tools=({"type": "code_interpreter"},)) == "tools"


def test_v2_response_format() -> None:
    """A json_schema is for MiniMax-Text-01 only; json_object does not exist."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert body(V2, model="MiniMax-Text-01", response_format=wanted)["response_format"] == wanted
    assert refused(V2, response_format=wanted) == "response_format"
    assert refused(V2, model="MiniMax-Text-01", response_format={"type": "json_object"}) == "response_format"


@pytest.mark.parametrize("model", ["MiniMax-M1", "MiniMax-M2", "MiniMax-M2.7-highspeed", "MiniMax-M3"])
def test_v2_thinking_models(model: str) -> None:
    """Models that think by themselves can be asked to, and not told how long or not to."""
    assert body(V2, model=model, reasoning=True) == body(V2, model=model)
    for value in (False, 1, 1024):
        assert refused(V2, model=model, reasoning=value) == "reasoning"


@pytest.mark.parametrize("model", ["MiniMax-Text-01", "abab6.5s-chat", "M2-her"])
def test_v2_other_models(model: str) -> None:
    """The others cannot be asked to think."""
    assert body(V2, model=model, reasoning=False) == body(V2, model=model)
    for value in (True, 0, 1024):
        assert refused(V2, model=model, reasoning=value) == "reasoning"


# ---- pro


def test_pro_names_and_systems() -> None:
    """Names come from messages, else from options, else are the fixed ones; system texts are joined."""
    spoken = (
        Message("system", "一"), Message("user", "a", name="小明"), Message("system", "二"), Message("assistant", "b"),
        Message("assistant", "c", name="二号"), Message("user", ({"type": "text", "text": "d"},)),
    )  # fmt: skip
    sent = body(PRO, messages=spoken, options={"bot_name": "专家", "user_name": "我"})
    assert sent["bot_setting"] == [{"bot_name": "专家", "content": "一\n二"}]
    assert sent["reply_constraints"] == {"sender_type": "BOT", "sender_name": "专家"}
    assert [tuple(message.values()) for message in sent["messages"]] == [
        ("USER", "小明", "a"), ("BOT", "专家", "b"), ("BOT", "二号", "c"), ("USER", "我", "d"),
    ]  # fmt: skip


@pytest.mark.parametrize("spoken", [HELLO, (Message("system", ""), *HELLO)])
def test_a_neutral_prompt(spoken: tuple[Message, ...]) -> None:
    """Without a system text the vendor's required prompt is a neutral sentence."""
    assert body(PRO, messages=spoken)["bot_setting"][0]["content"] == "你是一个乐于助人的智能助理。"
    assert body(LEGACY, messages=spoken)["prompt"] == "你是一个乐于助人的智能助理。"


@pytest.mark.parametrize("provider", [PRO, LEGACY])
def test_text_only(provider: str) -> None:
    """Images cannot be sent, and a conversation needs more than system texts."""
    image = Message("user", ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},))
    assert refused(provider, messages=(image,)) == "messages"
    assert refused(provider, messages=(Message("system", "x"),)) == "messages"


def test_pro_functions() -> None:
    """Functions, the choice among them, and their results in the vendor's words."""
    one, two = ToolCall("a", "get_weather", "{}"), ToolCall("b", "get_weather", '{"x":1}')
    spoken = (
        Message("user", "天气?"), Message("assistant", "查", tool_calls=(one, two)),
        Message("tool", "雨", tool_call_id="b"), Message("tool", "晴", tool_call_id="a", name="气象"),
        Message("user", "好"),
    )  # fmt: skip
    sent = body(PRO, messages=spoken, tools=(TOOL,), tool_choice=TOOL)
    assert sent["functions"] == [TOOL["function"]]
    assert sent["function_call"] == {"type": "specific", "name": "get_weather"}
    bot = {"sender_type": "BOT", "sender_name": "MM智能助理"}
    assert sent["messages"] == [
        {"sender_type": "USER", "sender_name": "用户", "text": "天气?"},
        {**bot, "text": "查", "function_call": {"name": "get_weather", "arguments": "{}"}},
        {"sender_type": "FUNCTION", "sender_name": "气象", "text": "晴"},
        {**bot, "text": "", "function_call": {"name": "get_weather", "arguments": '{"x":1}'}},
        {"sender_type": "FUNCTION", "sender_name": "MM智能助理", "text": "雨"},
        {"sender_type": "USER", "sender_name": "用户", "text": "好"},
    ]


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_pro_function_call(choice: str) -> None:
    """auto and none are types of function_call."""
    assert body(PRO, tools=(TOOL,), tool_choice=choice)["function_call"] == {"type": choice}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "other"}}, {"type": "x"}])
def test_pro_impossible_choices(choice: Any) -> None:
    """Anything else is refused."""
    assert refused(PRO, tools=(TOOL,), tool_choice=choice) == "tool_choice"


@pytest.mark.parametrize("name", ["", "a" * 65, "天气", "a.b", "plugin_x", "a\n"])
def test_pro_function_names(name: str) -> None:
    """A function's name must be one that the vendor takes."""
    assert refused(PRO, tools=({"type": "function", "function": {"name": name}},)) == "tools"


def test_pro_model_without_functions() -> None:
    """abab5.5s-chat knows no functions."""
    assert refused(PRO, model="abab5.5s-chat", tools=(TOOL,)) == "tools"


def test_pro_orphaned_result() -> None:
    """A result without its call cannot be sent."""
    assert refused(PRO, messages=(*HELLO, Message("tool", "x", tool_call_id="a"))) == "messages"
    assert refused(PRO, messages=(Message("tool", "x", tool_call_id="a"), *HELLO)) == "messages"


def test_pro_glyph() -> None:
    """A schema becomes a glyph; what the glyph cannot say of it is noted."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    sent = built(PRO, response_format=wanted)
    glyph = {"type": "json_value", "json_properties": SCHEMA["properties"]}
    assert json.loads(sent.body)["reply_constraints"]["glyph"] == glyph
    assert sent.adjusted == {}
    strict = {"type": "json_schema", "json_schema": {"schema": {**SCHEMA, "required": ["name"]}}}
    assert "response_format" in built(PRO, response_format=strict).adjusted
    assert refused(PRO, response_format={"type": "json_object"}) == "response_format"


@pytest.mark.parametrize("fields", [{"stream": True}, {"tools": (TOOL,)}])
def test_pro_glyph_excludes(fields: dict[str, Any]) -> None:
    """A glyph goes with neither streams nor functions, wherever it comes from."""
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    own = {"reply_constraints": {"glyph": {"type": "raw", "raw_glyph": "x"}}}
    assert refused(PRO, response_format=wanted, **fields) == "response_format"
    assert refused(PRO, extra=own, **fields) == "extra"


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
        {"type": "json_schema", "json_schema": {"schema": []}},
    ],
)
def test_pro_impossible_formats(wanted: dict[str, Any]) -> None:
    """A format that a glyph cannot express is refused."""
    assert refused(PRO, response_format=wanted) == "response_format"


def test_pro_extra() -> None:
    """Sample messages, plugins, several bots and a glyph of one's own arrive as given."""
    bots = [{"bot_name": "甲", "content": "x"}, {"bot_name": "乙", "content": "y"}]
    samples = [{"sender_type": "USER", "sender_name": "用户", "text": "z"}]
    glyph = {"type": "raw", "raw_glyph": "翻译:{{gen 'content'}}"}
    extra = {
        "bot_setting": bots, "sample_messages": samples, "plugins": ["plugin_x"],
        "reply_constraints": {"glyph": glyph}, "mask_sensitive_info": False,
    }  # fmt: skip
    sent = body(PRO, extra=extra)
    assert sent["bot_setting"] == bots
    assert sent["sample_messages"] == samples
    assert sent["plugins"] == ["plugin_x"]
    assert sent["mask_sensitive_info"] is False
    assert sent["reply_constraints"] == {"sender_type": "BOT", "sender_name": "甲", "glyph": glyph}
    assert body(PRO, extra=extra, options={"bot_name": "乙"})["reply_constraints"]["sender_name"] == "乙"
    chosen = {**extra, "reply_constraints": {"sender_name": "乙"}}
    assert body(PRO, extra=chosen)["reply_constraints"]["sender_name"] == "乙"


@pytest.mark.parametrize("provider", [PRO, LEGACY])
def test_knowledge_base(provider: str) -> None:
    """A knowledge base is sent with all that differs from the vendor's defaults; its id stays exact."""
    pattern = "{{context}} 回答 {{question}}"
    sent = body(provider, knowledge_base=KnowledgeBase(BASE_ID, 3, 0.5, pattern, 2))
    assert sent["knowledge_base_param"] == {
        "knowledge_base_id": BASE_ID, "top_k": 3, "thresh": 0.5, "pattern": pattern, "num_prev_messages": 2,
    }  # fmt: skip
    moved = built(provider, knowledge_base=KnowledgeBase(BASE_ID, threshold=1))
    assert json.loads(moved.body)["knowledge_base_param"]["thresh"] == 0.999
    assert "knowledge_base" in moved.adjusted
    assert refused(provider, knowledge_base=KnowledgeBase(BASE_ID, threshold=1.1)) == "knowledge_base"
    assert refused(provider, knowledge_base=KnowledgeBase(BASE_ID, pattern="{{context}}")) == "knowledge_base"


@pytest.mark.parametrize(
    ("provider", "option"), [(V2, "mask_sensitive_info"), (PRO, "mask_sensitive_info"), (LEGACY, "skip_info_mask")]
)
def test_masking_option(provider: str, option: str) -> None:
    """Masking is an option, also as text from the environment; the call's extra wins."""
    assert body(provider, options={option: False})[option] is False
    assert body(provider, options={option: "TRUE"})[option] is True
    assert body(provider, options={option: "0"}, extra={option: True})[option] is True
    with pytest.raises(ConfigurationError, match=option):
        built(provider, options={option: "maybe"})


# ---- legacy


def test_legacy_conversation() -> None:
    """A conversation ends with the user; its last named user gives the name; streams ask for standard SSE."""
    spoken = (
        Message("system", "一"), Message("user", "a", name="小明"), Message("assistant", "b"),
        Message("system", "二"), Message("user", "c", name="小红"),
    )  # fmt: skip
    sent = body(LEGACY, messages=spoken, stream=True)
    assert sent == {
        "model": "abab5.5-chat",
        "prompt": "一\n二",
        "role_meta": {"user_name": "小红", "bot_name": "MM智能助理"},
        "messages": [
            {"sender_type": "USER", "text": "a"},
            {"sender_type": "BOT", "text": "b"},
            {"sender_type": "USER", "text": "c"},
        ],
        "stream": True,
        "use_standard_sse": True,
    }


def test_legacy_last_message() -> None:
    """The bot may have the last word only where the vendor is asked to go on with it."""
    spoken = (*HELLO, Message("assistant", "我"))
    assert refused(LEGACY, messages=spoken) == "messages"
    assert body(LEGACY, messages=spoken, extra={"continue_last_message": True})["messages"][-1]["text"] == "我"


def test_legacy_knows_no_functions() -> None:
    """Calls and results in the history cannot be sent."""
    call = Message("assistant", None, tool_calls=(ToolCall("a", "f", "{}"),))
    assert refused(LEGACY, messages=(call, *HELLO)) == "messages"
    assert refused(LEGACY, messages=(Message("tool", "x", tool_call_id="a"), *HELLO)) == "messages"


def test_legacy_beams() -> None:
    """The number of beams is an option from 1 to 3."""
    assert body(LEGACY, options={"beam_width": "3"})["beam_width"] == 3
    with pytest.raises(ConfigurationError, match="beam_width"):
        built(LEGACY, options={"beam_width": 4})
