"""A two-turn tool loop, written as for the openai SDK, runs unchanged on every dialect that has tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from tests.contract.kit import WORLDS, deployment

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "查询天气",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
QUESTION = "上海今天天气怎么样?"


def get_weather(city: str) -> str:
    return f"{city}:晴,18 度"


async def create(router: Any, stream: bool, messages: list[Any], model: str) -> Any:
    """One call, as a `client.chat.completions.create` would be wrapped."""
    if not stream:
        return await router.chat(messages, model=model, tools=TOOLS, tool_choice="auto")
    async with router.stream(messages, model=model, tools=TOOLS, tool_choice="auto") as opened:
        async for _ in opened:
            pass
    return opened.completion


async def loop(router: Any, stream: bool, model: str) -> tuple[list[Any], Any]:
    """What a user of the openai SDK writes: append the message, append the results, call again."""
    messages: list[Any] = [{"role": "system", "content": "你是天气助手。"}, {"role": "user", "content": QUESTION}]
    while True:
        response = await create(router, stream, messages, model)
        message = response.choices[0].message
        messages.append(message)
        if response.choices[0].finish_reason != "tool_calls":
            return messages, response
        for tool_call in message.tool_calls:
            assert tool_call.type == "function"
            arguments = json.loads(tool_call.function.arguments)
            result = {"get_weather": get_weather}[tool_call.function.name](**arguments)
            messages.append({"role": "tool", "tool_call_id": tool_call.id, "content": result})


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("name", ["qwen", "v2", "pro"])
def test_two_turns(vendor: Emulator, name: str, stream: bool, world: str) -> None:
    """The second answer is made from the tool's result, and the vendor got call and result in its own words."""
    messages, response = WORLDS[world](lambda router: loop(router, stream, name), [deployment(name, vendor)])
    roles = [getattr(each, "role", None) or each["role"] for each in messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    (call,) = messages[2].tool_calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "上海"})
    assert call.id == messages[3]["tool_call_id"]
    assert response.text == "根据查询结果:上海:晴,18 度"
    assert response.choices[0].finish_reason == "stop"
    first, second = vendor.requests
    assert first.stream is second.stream is stream
    SAID[name](first.body, second.body, call)


def said_openai(first: Any, second: Any, call: cnroute.ToolCall) -> None:
    """DashScope and v2 have OpenAI's words."""
    where = second.get("input", second)
    function = {"name": "get_weather", "arguments": call.arguments}
    assert [message["role"] for message in where["messages"]] == ["system", "user", "assistant", "tool"]
    (told,) = where["messages"][2]["tool_calls"]
    assert {"id": call.id, "type": "function", "function": function}.items() <= told.items()
    assert where["messages"][3]["tool_call_id"] == call.id
    assert where["messages"][3]["content"] == "上海:晴,18 度"
    assert (first.get("parameters") or first)["tools"][0]["function"]["name"] == "get_weather"


def said_pro(first: Any, second: Any, call: cnroute.ToolCall) -> None:
    """Pro has FUNCTION messages behind the BOT message with the call, and no ids."""
    user, bot, result = second["messages"]
    assert [user["sender_type"], bot["sender_type"], result["sender_type"]] == ["USER", "BOT", "FUNCTION"]
    assert bot["function_call"] == {"name": "get_weather", "arguments": call.arguments}
    assert result["text"] == "上海:晴,18 度"
    assert first["functions"][0]["name"] == "get_weather"
    assert first["bot_setting"][0]["content"] == "你是天气助手。"


SAID = {"qwen": said_openai, "v2": said_openai, "pro": said_pro}


@pytest.mark.parametrize("name", ["yi", "legacy"])
def test_models_without_tools_say_so(vendor: Emulator, name: str) -> None:
    """Nothing is sent, and the error names the parameter and the vendor's page."""
    refused = pytest.raises(cnroute.UnsupportedRequestError, match=r"tools.*\(.+\)")
    with cnroute.Router([deployment(name, vendor)]) as router, refused:
        router.chat(QUESTION, model=name, tools=TOOLS)
    assert vendor.requests == []


def test_a_loop_that_began_elsewhere_goes_on(vendor: Emulator) -> None:
    """Messages as plain dictionaries, as they come out of a database, and another vendor for the second turn."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "上海"}'}}
    messages = [
        {"role": "user", "content": QUESTION}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "晴"},
    ]  # fmt: skip
    with cnroute.Router([deployment(name, vendor) for name in ("qwen", "v2", "pro")]) as router:
        for name in ("qwen", "v2", "pro"):
            assert router.chat(messages, model=name, tools=TOOLS).text == "根据查询结果:晴"
