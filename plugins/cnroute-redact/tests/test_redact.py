"""The installed plugin, found by its entry point, in front of a router's transport."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from cnroute_redact import DEFAULT_KINDS, Redactor
from hypothesis import given, settings
from hypothesis import strategies as st
from personal import AROUND, PERSONAL, bare, checked_card

import cnroute
from cnroute.testing import FakeTransport
from cnroute.wire import query_url

PHONE, MAIL = "13800138000", "zhang@example.com"
BUILT_IN = {
    "dashscope": ("qwen-plus", {}),
    "minimax-v2": ("MiniMax-Text-01", {}),
    "minimax-pro": ("abab6.5s-chat", {"group_id": "1700000000000000000", "bot_name": "MM智能助理"}),
    "minimax-legacy": ("abab5.5-chat", {"group_id": "1700000000000000000"}),
}
WITH_TOOLS = ("dashscope", "minimax-v2", "minimax-pro")
ANSWER = (500, {"error": "never mind"})  # only the request counts


@functools.cache
def installed() -> cnroute.PluginHost:
    """What is found where this distribution is installed, and no other plugin beside it."""
    return cnroute.PluginHost(load=["redact"])


def deployment(provider: str, **settings: Any) -> cnroute.Deployment:
    model, options = BUILT_IN[provider]
    values = {"model": model, "options": options, "api_key": "sk-test-0123456789", **settings}
    return cnroute.Deployment("it", provider, **values)


def sent(provider: str, host: cnroute.PluginHost | None = None, **call: Any) -> Any:
    """The request that goes out for a call, whatever comes back."""
    transport = FakeTransport([ANSWER])
    retries = cnroute.Retries(max_attempts=1)
    router = cnroute.Router([deployment(provider)], transport=transport, plugins=host or installed(), retries=retries)
    with router, pytest.raises(cnroute.ServerError):
        router.chat(model="it", **call)
    (request,) = transport.requests
    return request


def wire(request: Any) -> str:
    """Everything that leaves, decoded, without the deployment's own GroupId."""
    said = json.dumps(json.loads(request.body), ensure_ascii=False)
    return f"{request.url.split('?')[0]}\n{dict(request.headers)}\n{said}"


def test_it_is_on_where_it_is_installed() -> None:
    """Nobody switched it on: one value has one placeholder, and the attempt says what was masked."""
    assert [(each.name, each.state) for each in cnroute.PluginHost().plugins() if each.name == "redact"] == [("redact", "loaded")]
    answer = {"output": {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}}
    transport = FakeTransport([answer])
    with cnroute.Router([deployment("dashscope")], transport=transport, plugins=installed()) as router:
        reply = router.chat("call 138-0013-8000 or +86 13800138000, card 4111 1111 1111 1111, a@b.com", model="it")
    (message,) = transport.requests[0].json()["input"]["messages"]
    assert message["content"] == "call [PHONE_1] or [PHONE_1], card [CARD_1], [MAIL_1]"
    assert reply.attempts[0].adjusted == {"messages": "personal data masked by cnroute-redact: PHONE 1, CARD 1, MAIL 1"}


def test_a_call_without_personal_data_is_left_as_it_is() -> None:
    """The same bytes as without the plugin, and nothing is noted."""
    bare_host = cnroute.PluginHost(autoload=False)
    for provider in BUILT_IN:
        call = {"messages": "订单 20138001380001234567890 的状态?", "max_tokens": 20}
        assert sent(provider, **call).body == sent(provider, bare_host, **call).body


@pytest.mark.parametrize("provider", BUILT_IN)
@given(data=st.data())
@settings(deadline=None, max_examples=10)
def test_nothing_personal_reaches_the_wire(provider: str, data: st.DataObject) -> None:
    """In texts, parts, names, calls, results and raw fields, as text and as number: it does not leave."""
    values = [data.draw(PERSONAL) for _ in range(8)]
    texts = [data.draw(AROUND) + value + data.draw(AROUND) for value in values]
    messages: list[Any] = [
        {"role": "system", "content": texts[0]},
        {"role": "user", "content": [{"type": "text", "text": texts[1]}], "name": f"u:{values[2]}"},
    ]
    if provider in WITH_TOOLS:
        arguments = {"who": texts[3], "list": [values[4]], "inner": json.dumps({"again": texts[3]})}
        if bare(values[4]).isdigit():
            arguments["number"] = int(bare(values[4]))
        written = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
        call = {"id": "c1", "function": {"name": "find", "arguments": written}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": json.dumps({"found": [texts[5]]}, ensure_ascii=False)},
        ]
    messages += [{"role": "user", "content": texts[6]}]
    extra = {provider: {"note": texts[7], "deep": {"list": [texts[7]]}}}
    if bare(values[7]).isdigit():
        extra[provider]["number"] = int(bare(values[7]))
    left = bare(wire(sent(provider, messages=messages, extra=extra, max_tokens=64)))
    for value in values:
        assert bare(value) not in left


def test_arguments_and_results_stay_json() -> None:
    """A number in a call's arguments becomes a text, so that what the vendor reads is JSON still."""
    written = json.dumps({"phone": 13800138000, "deep": json.dumps({"mail": MAIL})})
    call = {"id": "c1", "function": {"name": "find", "arguments": written}}
    messages: list[Any] = [
        {"role": "user", "content": f"我是 {MAIL}"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '[{"phone": "138 0013 8000"}]'},
    ]  # fmt: skip
    _, asked, answered = sent("dashscope", messages=messages).json()["input"]["messages"]
    made = json.loads(asked["tool_calls"][0]["function"]["arguments"])
    assert made == {"phone": "[PHONE_1]", "deep": '{"mail":"[MAIL_1]"}'}
    assert json.loads(answered["content"]) == [{"phone": "[PHONE_1]"}]


def test_placeholders_follow_the_conversation() -> None:
    """Numbers are given in the order of speaking, for every vendor the same, and a longer conversation keeps them."""
    turns: list[Any] = [{"role": "user", "content": "13900000001 和 13900000002"}]
    first = sent("dashscope", messages=turns).json()["input"]["messages"]
    turns += [{"role": "assistant", "content": "好"}, {"role": "user", "content": "13900000003、13900000001"}]
    second = sent("dashscope", messages=turns).json()["input"]["messages"]
    assert second[0] == first[0] == {"role": "user", "content": "[PHONE_1] 和 [PHONE_2]"}
    assert second[2]["content"] == "[PHONE_3]、[PHONE_1]"
    pro = sent("minimax-pro", messages=[{"role": "system", "content": "客户 13900000009"}, *turns]).json()
    assert pro["bot_setting"][0]["content"] == "客户 [PHONE_1]"
    assert pro["messages"][0]["text"] == "[PHONE_2] 和 [PHONE_3]"


def test_names_have_no_brackets() -> None:
    """Vendors take letters, digits and `_` in a name."""
    messages = [{"role": "user", "content": "hi", "name": PHONE}]
    assert sent("minimax-v2", messages=messages).json()["messages"][0]["name"] == "PHONE_1"


def test_what_belongs_to_the_deployment_stays() -> None:
    """A model's name, a GroupId and a key are no personal data, even where they look like a card."""
    number = checked_card("202406151023012")
    request = sent("minimax-pro", messages=f"我的电话 {PHONE}")
    assert "GroupId=1700000000000000000" in request.url
    assert request.headers["Authorization"] == "Bearer sk-test-0123456789"
    transport = FakeTransport([ANSWER])
    named = deployment("dashscope", model=f"ep-{number}-x")
    with cnroute.Router([named], transport=transport, plugins=installed()) as router, pytest.raises(cnroute.CallError):
        router.chat(f"{number} {PHONE}", model="it", seed=13800138001)
    body = transport.requests[0].json()
    assert body["model"] == f"ep-{number}-x"
    assert body["input"]["messages"][0]["content"] == "[CARD_1] [PHONE_1]"
    assert body["parameters"]["seed"] == 13800138001


def test_pictures_are_not_searched() -> None:
    """Digits in a file mean nothing; the address of a picture is text."""
    data = f"data:image/png;base64,AA+{PHONE}=="
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (data, f"https://example.cn/{PHONE}.png")]
    made = sent("minimax-v2", messages=[{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}]).json()
    urls = [part["image_url"]["url"] for part in made["messages"][0]["content"][:2]]
    assert urls == [data, "https://example.cn/[PHONE_1].png"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["我的电话是138", "00138000"], ["我的电话是[PHONE_1]"]),
        (["138", "0013", "8000,谢谢"], ["[PHONE_1]", ",谢谢"]),
        (["138", "00138000 139", "00139000 好"], ["[PHONE_1]", " [PHONE_2]", " 好"]),
        ([PHONE, "138", "00138000"], ["[PHONE_1]"] * 2),
        (["zhang@exam", "ple.com"], ["[MAIL_1]"]),
        (["一", "二"], ["一", "二"]),
        ([f"{PHONE} ", "2"], ["[PHONE_1] ", "2"]),
    ],
    ids=range(7),
)
def test_what_is_torn_between_two_parts_does_not_leave(texts: list[str], expected: list[str]) -> None:
    """A vendor that takes parts puts their texts together: what is personal in the whole is masked."""
    image = {"type": "image_url", "image_url": {"url": "https://example.cn/a.png"}}
    parts = [*({"type": "text", "text": text} for text in texts), image]
    made = sent("minimax-v2", messages=[{"role": "user", "content": parts}]).json()
    content = made["messages"][-1]["content"]
    assert [part["text"] for part in content if part["type"] == "text"] == expected
    assert content[-1] == image


def test_parts_with_a_picture_between_them_are_not_one_text() -> None:
    """Nor are two messages."""
    image = {"type": "image_url", "image_url": {"url": "https://example.cn/a.png"}}
    parts = [{"type": "text", "text": "138"}, image, {"type": "text", "text": "00138000"}]
    made = sent("minimax-v2", messages=[{"role": "user", "content": parts}]).json()
    assert made["messages"][-1]["content"] == parts


def test_streams_and_the_async_router_are_masked_too() -> None:
    """It is one place that all calls pass."""
    async def call() -> bytes:
        transport = FakeTransport([ANSWER])
        router = cnroute.AsyncRouter([deployment("minimax-v2")], transport=transport, plugins=installed())
        try:
            with pytest.raises(cnroute.ServerError):
                async with router.stream(PHONE, model="it") as stream:
                    async for _ in stream:
                        pass
        finally:
            await router.close()
        return transport.requests[0].body

    assert b"[PHONE_1]" in asyncio.run(call())


class Stranger:
    """A provider that knows other ways out than a JSON body."""

    way = "json"

    @cnroute.hookimpl
    def describe_provider(self) -> cnroute.ProviderInfo:
        return cnroute.ProviderInfo("stranger", "https://stranger.example")

    @cnroute.hookimpl
    def build_request(self, request: cnroute.ChatRequest, deployment: cnroute.Deployment) -> cnroute.HttpRequest:
        text, base = request.messages[0].text, str(deployment.base_url)
        return {
            "json": lambda: cnroute.HttpRequest("POST", base, {}, json.dumps({"prompt": text}).encode()),
            "url": lambda: cnroute.HttpRequest("POST", query_url(base, "/say", text=text)),
            "header": lambda: cnroute.HttpRequest("POST", base, {"X-Prompt": text}, b"{}"),
            "form": lambda: cnroute.HttpRequest("POST", base, {}, f"prompt={text}".encode()),
        }[self.way]()

    @cnroute.hookimpl
    def parse_response(self, response: cnroute.HttpResponse) -> cnroute.ChatCompletion:
        return cnroute.ChatCompletion(response.json()["said"])


@pytest.mark.parametrize("way", ["json", "url", "header", "form"])
def test_a_strangers_provider_cannot_let_it_out(way: str) -> None:
    """What cannot be masked is refused, and nothing is sent; without personal data every way is open."""
    plugin = Stranger()
    plugin.way = way
    host = cnroute.PluginHost(load=["redact"])
    host.register(plugin)
    transport = FakeTransport([{"said": "ok"}])
    with cnroute.Router([cnroute.Deployment("it", "stranger", "m")], transport=transport, plugins=host) as router:
        assert router.chat("nothing personal", model="it").text == "ok"
        if way == "json":
            assert router.chat(f"{MAIL} １３８００１３８０００", model="it").text == "ok"
            assert transport.requests[1].json() == {"prompt": "[MAIL_1] [PHONE_1]"}
        else:
            with pytest.raises(cnroute.UnsupportedRequestError, match="personal data"):
                router.chat(f"it is {PHONE}", model="it")
            assert len(transport.requests) == 1


class Signing:
    """Signs what is sent: it has to see the masked body."""

    @cnroute.hookimpl(wrapper=True)
    def build_request(self) -> Any:
        made = yield
        return attrs.evolve(made, headers={**made.headers, "X-Signature": str(len(made.body))})


def test_a_wrapper_that_signs_signs_what_is_sent() -> None:
    """Redaction is the innermost wrapper, whichever plugin was registered first."""
    host = cnroute.PluginHost(load=["redact"])
    host.register(Signing())
    request = sent("dashscope", host, messages=f"{PHONE} {MAIL}")
    assert request.headers["X-Signature"] == str(len(request.body))


def own_host(*plugins: Any, block: tuple[str, ...] = ()) -> cnroute.PluginHost:
    host = cnroute.PluginHost(load=["redact"], block=block)
    for plugin in plugins:
        host.register(plugin)
    assert host.problems == []
    return host


def test_settings_of_ones_own() -> None:
    """Another redactor beside the installed one adds kinds and patterns; with that one blocked it replaces it."""
    text = f"{PHONE} 192.168.1.20 Ｅ１２３４５６ {MAIL}"
    more = Redactor(kinds=("ipv4",), patterns={"STAFF": "E[0-9]{6}"})
    assert sent("dashscope", own_host(more), messages=text).json()["input"]["messages"][0]["content"] == (
        "[PHONE_1] [IPV4_1] [STAFF_1] [MAIL_1]"
    )
    host = own_host(Redactor(kinds=("mail",)), block=("redact",))
    assert sent("dashscope", host, messages=text).json()["input"]["messages"][0]["content"] == text.replace(MAIL, "[MAIL_1]")
    assert PHONE.encode() in sent("dashscope", own_host(block=("redact",)), messages=text).body


@pytest.mark.parametrize("wrong", [
    {"kinds": ("face",)}, {"kinds": "phone"},
    {"patterns": {"A": "("}}, {"patterns": {"no name": "x"}}, {"patterns": {"phone": "x"}},
])  # fmt: skip
def test_a_wrong_setting_is_a_configuration_error(wrong: dict[str, Any]) -> None:
    """When the redactor is made, not at the first call."""
    with pytest.raises(cnroute.ConfigurationError):
        Redactor(**wrong)


def test_nothing_is_kept() -> None:
    """Every call counts from one, and the plugin holds no value of any."""
    redactor = Redactor()
    host = own_host(redactor, block=("redact",))
    for number in ("13900000001", "13900000002"):
        assert b'"[PHONE_1]"' in sent("dashscope", host, messages=number).body
    assert "1390000000" not in repr([getattr(redactor, name) for name in Redactor.__slots__ if name != "__weakref__"])
    assert redactor.kinds == DEFAULT_KINDS


def test_the_program_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what it says."""
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (output,) = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == output
