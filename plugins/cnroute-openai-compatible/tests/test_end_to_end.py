"""Both routers over real sockets: plain, streamed, with tools, with fallback to a built-in vendor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from openai_server import ARGUMENTS, TEXT, OpenAIServer

import cnroute
from cnroute.emulator import Emulator

ANSWER = "".join(TEXT)
KEY = "sk-test-0123456789"
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
Ask = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def settings(server: OpenAIServer, emulator: Emulator | None = None) -> dict[str, Any]:
    models = ("deepseek-chat", "busy", "breaks", "cut")
    deployments = [cnroute.Deployment(model, "deepseek", model, api_key=KEY, base_url=server.base_url) for model in models]
    if emulator is not None:
        qwen = cnroute.Deployment("qwen", "dashscope", "qwen-plus", api_key="test-key", base_url=emulator.base_url("dashscope"))
        return {"deployments": [*deployments, qwen], "routes": {"chat": ["busy", "qwen"], "cut-chat": ["cut", "qwen"]}}
    return {"deployments": deployments}


def plainly(work: Callable[[cnroute.Router], Any], **arguments: Any) -> Any:
    with cnroute.Router(**arguments) as router:
        return work(router)


def awaited(work: Callable[[cnroute.AsyncRouter], Awaitable[Any]], **arguments: Any) -> Any:
    async def run() -> Any:
        router = cnroute.AsyncRouter(**arguments)
        try:
            return await work(router)
        finally:
            await router.close()

    return asyncio.run(run())


def chat(asynchronous: bool, arguments: dict[str, Any], **call: Any) -> cnroute.ChatCompletion:
    if not asynchronous:
        return plainly(lambda router: router.chat(**call), **arguments)
    return awaited(lambda router: router.chat(**call), **arguments)


def stream(asynchronous: bool, arguments: dict[str, Any], **call: Any) -> tuple[list[str], cnroute.ChatCompletion]:
    def one(router: cnroute.Router) -> Any:
        with router.stream(**call) as running:
            return [delta.text for delta in running if delta.text], running.completion

    async def other(router: cnroute.AsyncRouter) -> Any:
        async with router.stream(**call) as running:
            return [delta.text async for delta in running if delta.text], running.completion

    return plainly(one, **arguments) if not asynchronous else awaited(other, **arguments)


BOTH = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@BOTH
def test_a_plain_call(asynchronous: bool, server: OpenAIServer) -> None:
    """`deepseek/deepseek-chat` is asked under its own path, with the key in a header."""
    reply = chat(asynchronous, settings(server), messages="你好", model="deepseek/deepseek-chat")
    assert (reply.text, reply.finish_reason, reply.provider) == (ANSWER, "stop", "deepseek")
    assert reply.usage is not None and reply.usage.total_tokens == 12
    (asked,) = server.asked
    assert (asked["path"], asked["key"]) == ("/v1/chat/completions", f"Bearer {KEY}")


@BOTH
def test_a_stream(asynchronous: bool, server: OpenAIServer) -> None:
    """Chunk by chunk, with the usage of the last chunk."""
    texts, done = stream(asynchronous, settings(server), messages="你好", model="deepseek-chat")
    assert (texts, done.text, done.finish_reason) == (TEXT, ANSWER, "stop")
    assert done.usage is not None and done.usage.prompt_tokens == 7
    assert server.asked[0]["body"]["stream_options"] == {"include_usage": True}


@BOTH
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_two_turns_with_a_tool(asynchronous: bool, streamed: bool, server: OpenAIServer) -> None:
    """The loop that users of the openai SDK write: the reply's message is appended as it is."""
    messages: list[Any] = [{"role": "user", "content": "北京天气?"}]
    for _ in range(2):
        call = {"messages": messages, "model": "deepseek-chat", "tools": [WEATHER]}
        reply = stream(asynchronous, settings(server), **call)[1] if streamed else chat(asynchronous, settings(server), **call)
        messages.append(reply.message)
        for asked in reply.tool_calls:
            assert (asked.function.name, asked.function.arguments) == ("get_weather", ARGUMENTS)
            messages.append({"role": "tool", "tool_call_id": asked.id, "content": "晴"})
    assert (reply.text, reply.finish_reason) == (ANSWER, "stop")
    second = server.asked[1]["body"]["messages"]
    assert [message["role"] for message in second] == ["user", "assistant", "tool"]
    assert second[1]["reasoning_content"] == "要查。"
    assert second[1]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": ARGUMENTS}


@BOTH
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_fallback_to_a_built_in_vendor(asynchronous: bool, streamed: bool, server: OpenAIServer, emulator: Emulator) -> None:
    """DeepSeek is too busy, DashScope answers; the failed attempt says why."""
    arguments = settings(server, emulator)
    call = {"messages": "长江有多长", "model": "chat"}
    reply = stream(asynchronous, arguments, **call)[1] if streamed else chat(asynchronous, arguments, **call)
    assert (reply.provider, reply.text) == ("dashscope", emulator.answer("长江有多长"))
    failure = reply.attempts[0].failure
    assert failure is not None
    assert (reply.attempts[0].provider, str(failure.kind), failure.message) == ("deepseek", "overloaded", "Service is too busy")


@BOTH
@pytest.mark.parametrize(("model", "cause"), [("breaks", "server_error"), ("cut", "connection_lost")])
def test_a_stream_that_breaks_is_no_answer(asynchronous: bool, model: str, cause: str, server: OpenAIServer) -> None:
    """The error carries exactly what was handed out."""
    with pytest.raises(cnroute.StreamInterruptedError) as caught:
        stream(asynchronous, settings(server), messages="你好", model=model)
    assert caught.value.partial_text == "".join(TEXT[:2])
    assert str(caught.value.cause_kind) == cause
