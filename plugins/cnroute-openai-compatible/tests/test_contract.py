"""The conformance kit over every vendor: one of them in each run, all of them with `-m "slow or not slow"` (as tox does)."""

from __future__ import annotations

import os

import pytest

from cnroute.testing import ProviderContract

# How many random cases the kit tries: 1 is its own measure.
EFFORT = float(os.environ.get("CNROUTE_EFFORT", "0.1"))


class TestDeepseek(ProviderContract):

    effort = EFFORT
    provider = "deepseek"
    model = "deepseek-v4-flash"
    samples = "samples/deepseek"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestMoonshot(ProviderContract):

    effort = EFFORT
    provider = "moonshot"
    model = "kimi-k2.6"
    samples = "samples/moonshot"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestZhipu(ProviderContract):

    effort = EFFORT
    provider = "zhipu"
    model = "glm-4.6"
    samples = "samples/zhipu"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestSiliconflow(ProviderContract):

    effort = EFFORT
    provider = "siliconflow"
    model = "deepseek-ai/DeepSeek-V3.2"
    samples = "samples/siliconflow"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestVolcanoArk(ProviderContract):

    effort = EFFORT
    provider = "volcano-ark"
    model = "doubao-seed-1-6-251015"
    samples = "samples/volcano-ark"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestLingyiwanwu(ProviderContract):

    effort = EFFORT
    provider = "01ai"
    model = "yi-lightning"
    samples = "samples/01ai"


@pytest.mark.slow
class TestMinimaxCompatible(ProviderContract):

    effort = EFFORT
    provider = "minimax-compatible"
    model = "MiniMax-M2.5"
    samples = "samples/minimax-compatible"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestDashscopeCompatible(ProviderContract):

    effort = EFFORT
    provider = "dashscope-compatible"
    model = "qwen-plus"
    samples = "samples/dashscope-compatible"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestVllm(ProviderContract):

    effort = EFFORT
    provider = "vllm"
    model = "Qwen/Qwen3-8B"
    samples = "samples/vllm"
    supports_tools = True
    supports_reasoning = True


@pytest.mark.slow
class TestOllama(ProviderContract):

    effort = EFFORT
    provider = "ollama"
    model = "qwen3:8b"
    samples = "samples/ollama"
    supports_tools = True
    supports_reasoning = True
