"""The four built-in providers keep every promise of the contract that strangers' providers are held to."""

from __future__ import annotations

from cnroute.testing import ProviderContract
from tests.conformance.wire_samples import samples


class TestDashScope(ProviderContract):
    provider = "dashscope"
    model = "qwen-plus"
    options = {"workspace": "ws-conformance", "data_inspection": "enable"}
    samples = samples("dashscope")
    supports_tools = True
    supports_reasoning = True


class TestMiniMaxV2(ProviderContract):
    provider = "minimax-v2"
    model = "MiniMax-M2.1"
    samples = samples("minimax-v2")
    supports_tools = True
    supports_reasoning = True


class TestMiniMaxPro(ProviderContract):
    provider = "minimax-pro"
    model = "abab6.5s-chat"
    options = {"group_id": "1700000000000000019", "bot_name": "MM智能助理"}
    samples = samples("minimax-pro")
    supports_tools = True
    supports_knowledge_base = True


class TestMiniMaxLegacy(ProviderContract):
    provider = "minimax-legacy"
    model = "abab5.5-chat"
    options = {"group_id": "1700000000000000019"}
    samples = samples("minimax-legacy")
    supports_knowledge_base = True
