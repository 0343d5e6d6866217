"""The four built-in providers keep every promise of the contract that strangers' providers are held to."""

from __future__ import annotations

import os

from cnroute.testing import ProviderContract
from tests.conformance.wire_samples import samples

# How many random cases the kit tries; 1 is its own measure (and that of the planted bugs).
EFFORT = float(os.environ.get("CNROUTE_EFFORT", "0.25"))


class TestDashScope(ProviderContract):
    effort = EFFORT
    provider = "dashscope"
    model = "qwen-plus"
    options = {"workspace": "ws-conformance", "data_inspection": "enable"}
    samples = samples("dashscope")
    supports_tools = True
    supports_reasoning = True


class TestMiniMaxV2(ProviderContract):
    effort = EFFORT
    provider = "minimax-v2"
    model = "MiniMax-M2.1"
    samples = samples("minimax-v2")
    supports_tools = True
    supports_reasoning = True


class TestMiniMaxPro(ProviderContract):
    effort = EFFORT
    provider = "minimax-pro"
    model = "abab6.5s-chat"
    options = {"group_id": "1700000000000000019", "bot_name": "MM智能助理"}
    samples = samples("minimax-pro")
    supports_tools = True
    supports_knowledge_base = True


class TestMiniMaxLegacy(ProviderContract):
    effort = EFFORT
    provider = "minimax-legacy"
    model = "abab5.5-chat"
    options = {"group_id": "1700000000000000019"}
    samples = samples("minimax-legacy")
    supports_knowledge_base = True
