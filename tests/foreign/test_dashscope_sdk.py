"""The vendor's own SDK (package ``dashscope``) against the emulator: what it parses is what DashScope would have sent.

It runs wherever the SDK is installed and is skipped elsewhere; the project does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from cnroute.emulator import Emulator

dashscope = pytest.importorskip("dashscope")
pytestmark = pytest.mark.filterwarnings("default")

QUESTION = "长江有多长"
MESSAGES = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": QUESTION}]
MODELS = ["yi-large", "abab6.5s-chat", "qwen-plus"]


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as running:
        monkeypatch.setattr(dashscope, "base_http_api_url", running.base_url("dashscope"))
        monkeypatch.setattr(dashscope, "api_key", "sk-test")
        yield running


def call(model: str, **options: Any) -> Any:
    return dashscope.Generation.call(model=model, messages=MESSAGES, **options)


def text(response: Any) -> str:
    """Qwen answers in text form unless told, the others in message form."""
    output = response.output
    return output.choices[0].message.content if output.choices else output.text


def reason(response: Any) -> str:
    return response.output.finish_reason or response.output.choices[0].finish_reason


@pytest.mark.parametrize("model", MODELS)
def test_a_plain_call(emulator: Emulator, model: str) -> None:
    response = call(model)
    assert (response.status_code, text(response), reason(response)) == (200, emulator.answer(QUESTION), "stop")
    assert response.usage.total_tokens == emulator.requests[0].usage["total_tokens"]  # type: ignore[index]
    assert response.request_id and not response.code


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_cumulative(emulator: Emulator, model: str) -> None:
    parts = list(call(model, stream=True))
    texts = [text(part) for part in parts]
    assert all(part.status_code == 200 for part in parts) and len({part.request_id for part in parts}) == 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1] == emulator.answer(QUESTION)
    assert [reason(part) for part in parts] == ["null"] * (len(parts) - 1) + ["stop"]


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_of_increments(emulator: Emulator, model: str) -> None:
    parts = list(call(model, stream=True, incremental_output=True))
    assert "".join(text(part) for part in parts) == emulator.answer(QUESTION) and reason(parts[-1]) == "stop"


@pytest.mark.parametrize("model", MODELS)
def test_the_sdk_merges_increments_itself(emulator: Emulator, model: str) -> None:
    """With ``incremental_output=False`` the SDK asks for increments and adds them up."""
    options = {"result_format": "message"} if model == "qwen-plus" else {}
    parts = list(call(model, stream=True, incremental_output=False, **options))
    assert parts[-1].output.choices[0].message.content == emulator.answer(QUESTION)
    assert emulator.requests[0].body["parameters"]["incremental_output"] is True  # type: ignore[call-overload,index]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("fault", "status", "code"), [
    ("rate_limit", 429, "Throttling.RateQuota"),
    ("permission", 403, "AccessDenied.Unpurchased"), ("http_500", 500, "InternalError"),
])  # fmt: skip
def test_errors(emulator: Emulator, model: str, fault: str, status: int, code: str) -> None:
    for options in ({}, {"stream": True}):
        emulator.script(model, [fault])
        found = call(model, **options)
        response = list(found)[-1] if options else found
        assert (response.status_code, response.code) == (status, code) and response.message and response.request_id


def test_a_refusal_as_sse_text(emulator: Emulator) -> None:
    (part,) = call("qwen-plus!refusal_sse:context_length", stream=True)
    assert (part.status_code, part.code) == (400, "InvalidParameter") and "input length" in part.message


def test_an_error_in_the_middle_of_a_stream(emulator: Emulator) -> None:
    *parts, last = call("yi-large!stream_filtered:2", stream=True)
    assert len(parts) == 2 and emulator.answer(QUESTION).startswith(text(parts[-1]))
    assert (last.status_code, last.code) == (400, "DataInspectionFailed")


def test_a_wrong_key(emulator: Emulator) -> None:
    response = call("yi-large", api_key="wrong-key")
    assert (response.status_code, response.code, response.message) == (401, "InvalidApiKey", "Invalid API-key provided.")


def test_tools_and_thinking(emulator: Emulator) -> None:
    tools = [
        {
            "type": "function",
            "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
        }
    ]
    called = call("qwen-plus", result_format="message", tools=tools).output.choices[0].message.tool_calls[0]
    assert called["function"] == {"name": "get_weather", "arguments": '{"city": "北京"}'}
    parts = list(call("qwen-plus", stream=True, result_format="message", incremental_output=True, enable_thinking=True))
    assert "".join(part.output.choices[0].message.get("reasoning_content") or "" for part in parts)
    assert "".join(part.output.choices[0].message.content for part in parts) == emulator.answer(QUESTION)


@pytest.mark.parametrize("name", ["abab", "yi"])
def test_the_pages_own_sample(emulator: Emulator, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python samples of seeds 000 and 002, word for word."""
    from pathlib import Path

    sample = Path(__file__).parents[1] / "emulator" / "samples" / f"dashscope_{name}.py"
    code = compile(sample.read_text(encoding="utf-8"), str(sample), "exec")
    exec(code, {"__name__": "__main__"})  # noqa: S102
    printed = capsys.readouterr().out
    assert "你好!今天我能帮你什么?" in printed and '"status_code": 200' in printed
