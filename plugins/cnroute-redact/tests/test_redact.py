"""The installed plugin, found by its entry point, in front of a router's transport."""

from __future__ import annotations

import cnroute
from cnroute.testing import FakeTransport

ANSWER = {"output": {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}}


def test_a_host_that_has_it_installed_sends_placeholders() -> None:
    """Nobody switched it on: one value has one placeholder, and the attempt says what was masked."""
    transport = FakeTransport([ANSWER])
    with cnroute.Router([cnroute.Deployment("a", "dashscope", "qwen-plus", api_key="sk-123456")], transport=transport) as router:
        reply = router.chat("call 138-0013-8000 or +86 13800138000, card 4111 1111 1111 1111, a@b.com", model="a")
    (message,) = transport.requests[0].json()["input"]["messages"]
    assert message["content"] == "call [PHONE_1] or [PHONE_1], card [CARD_1], [MAIL_1]"
    assert reply.attempts[0].adjusted == {"messages": "personal data masked by cnroute-redact: PHONE 1, CARD 1, MAIL 1"}
