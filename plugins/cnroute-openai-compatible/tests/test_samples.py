"""Every sample through a router: what a vendor answers, and what its user gets."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from cnroute_openai_compatible import VENDORS

import cnroute
from cnroute.testing import FakeTransport

FOLDER = Path(__file__).parent / "samples"
FILES = sorted(FOLDER.rglob("*.json"))
SAMPLES = [json.loads(path.read_text("utf-8")) for path in FILES]
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]
MODELS = {
    "deepseek": "deepseek-v4-flash",
    "moonshot": "kimi-k2.6",
    "zhipu": "glm-4.6",
    "siliconflow": "deepseek-ai/DeepSeek-V3.2",
    "volcano-ark": "doubao-seed-1-6-251015",
    "01ai": "yi-lightning",
    "minimax-compatible": "MiniMax-M2.5",
    "dashscope-compatible": "qwen-plus",
    "vllm": "Qwen/Qwen3-8B",
    "ollama": "qwen3:8b",
}
CHUNKS = (1, 100_000)


@functools.cache
def host(provider: str) -> cnroute.PluginHost:
    """One for all routers of a vendor: to find what is installed takes longer than a call."""
    return cnroute.PluginHost(load=[provider])


def deployment(provider: str, **settings: Any) -> cnroute.Deployment:
    key = None if VENDORS[provider].key is None else "sk-test-0123456789"
    return cnroute.Deployment("it", provider, MODELS[provider], api_key=key, **settings)


def answer(sample: dict[str, Any]) -> cnroute.HttpResponse:
    body = sample["body"] if isinstance(sample["body"], str) else json.dumps(sample["body"], ensure_ascii=False)
    kind = "text/event-stream" if sample.get("stream") else "application/json"
    return cnroute.HttpResponse(sample.get("status", 200), sample.get("headers", {"Content-Type": kind}), body.encode())


def play(provider: str, sample: dict[str, Any], chunk: int | None = None) -> tuple[Any, Any, str]:
    """The request that was sent, the completion or the error, and the text that was handed out."""
    transport = FakeTransport([answer(sample)], chunk=chunk)
    retries = cnroute.Retries(max_attempts=1)
    text = ""
    with cnroute.Router([deployment(provider)], transport=transport, retries=retries, plugins=host(provider)) as router:
        try:
            if not sample.get("stream"):
                done: Any = router.chat(model="it", **sample["call"])
                text = done.text
            else:
                with router.stream(model="it", **sample["call"]) as stream:
                    for delta in stream:
                        text += delta.text
                    done = stream.completion
        except cnroute.CallError as error:
            done = error
    return transport.requests[0], done, text


@pytest.mark.parametrize(("name", "sample"), list(zip(NAMES, SAMPLES, strict=True)), ids=NAMES)
def test_a_sample_is_read_as_it_says(name: str, sample: dict[str, Any]) -> None:
    """Text, thoughts, calls, finish reason, usage or failure, however the bytes arrive."""
    provider, expect = name.split("/")[0], sample["expect"]
    for chunk in CHUNKS if sample.get("stream") else (None,):
        _, done, text = play(provider, sample, chunk)
        assert text == expect.get("text", text)
        if "failure" in expect:
            failure = done.attempts[-1].failure
            assert {"kind": str(failure.kind), "vendor_code": failure.vendor_code} == {
                key: value for key, value in expect["failure"].items() if key != "retry_after"
            }
            assert failure.retry_after == expect["failure"].get("retry_after")
            assert failure.request_id == expect.get("request_id", failure.request_id)
            continue
        assert not isinstance(done, cnroute.CallError), done
        got = {
            "text": done.text,
            "reasoning": done.reasoning,
            "finish_reason": done.finish_reason,
            "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in done.tool_calls],
            "usage": done.usage and {key: getattr(done.usage, key) for key in expect.get("usage") or ()},
        }
        assert {key: got[key] for key in expect} == expect


@pytest.mark.parametrize(
    ("name", "sample"), [pair for pair in zip(NAMES, SAMPLES, strict=True) if "expect_request" in pair[1]],
    ids=[name for name, sample in zip(NAMES, SAMPLES, strict=True) if "expect_request" in sample],
)  # fmt: skip
def test_a_request_is_what_the_vendors_page_says(name: str, sample: dict[str, Any]) -> None:
    """Address, key and the whole body."""
    provider, want = name.split("/")[0], sample["expect_request"]
    sent, _, _ = play(provider, sample)
    assert sent.url == want.get("url", sent.url)
    assert sent.json() == want["json"]
    assert sent.headers.get("Authorization") == (None if VENDORS[provider].key is None else "Bearer sk-test-0123456789")


def test_every_vendor_has_its_samples() -> None:
    """A row without an answer of each kind would be a guess."""
    for provider in VENDORS:
        own = [sample for name, sample in zip(NAMES, SAMPLES, strict=True) if name.startswith(f"{provider}/")]
        assert any(not each.get("stream") and "failure" not in each["expect"] for each in own), provider
        assert any(each.get("stream") and "failure" not in each["expect"] for each in own), provider
        assert any("failure" in each["expect"] for each in own), provider
