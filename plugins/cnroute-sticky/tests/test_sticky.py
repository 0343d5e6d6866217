"""The installed policy, found by its entry point, in front of a router's transport."""

from __future__ import annotations

import contextlib
import functools
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.testing import FakeTransport

ANSWER = {"output": {"choices": [{"message": {"content": "好"}, "finish_reason": "stop"}]}}
BUSY = (429, {"code": "Throttling.RateQuota", "message": "busy"})
TALKS = [f"talk-{number}" for number in range(300)]
README = Path(__file__).resolve().parents[1] / "README.md"


@functools.cache
def installed() -> cnroute.PluginHost:
    """What is found where this distribution is installed, and no other plugin beside it."""
    return cnroute.PluginHost(load=["sticky"])


def router(names: str, answers: Any = (ANSWER,), **route: Any) -> tuple[cnroute.Router, FakeTransport]:
    transport = FakeTransport(list(answers) if not isinstance(answers, dict) else answers)
    places = [cnroute.Deployment(name, "dashscope", "qwen-plus", api_key="sk-test") for name in names.split()]
    settings = {"policy": "sticky", "targets": names.split(), **route}
    return cnroute.Router(places, {"chat": settings}, plugins=installed(), transport=transport), transport


def homes(names: str, **route: Any) -> dict[str, list[str]]:
    """The order in which each conversation would be tried."""
    made, _ = router(names, **route)
    plans = {talk: made.plan("x", model="chat", metadata={"conversation": talk}) for talk in TALKS}
    return {talk: [each.deployment for each in plan.candidates] for talk, plan in plans.items()}


def test_it_is_loaded_under_its_name() -> None:
    """By its entry point, without a problem."""
    assert [state.state for state in installed().plugins() if state.name == "sticky"] == ["loaded"]
    assert installed().problems == []


def test_a_conversation_stays_where_it_was() -> None:
    """Call after call, in whatever order the targets are written."""
    made, transport = router("a b c")
    for _ in range(3):
        for talk in TALKS[:20]:
            made.chat("x", model="chat", metadata={"conversation": talk})
    asked = [sent.deployment for sent in transport.requests]
    assert asked[:20] == asked[20:40] == asked[40:]
    assert len(set(asked)) == 3
    assert homes("a b c") == homes("c a b")


def test_every_place_gets_its_share() -> None:
    """300 conversations over three places: 100 each, within four standard deviations."""
    firsts = Counter(order[0] for order in homes("a b c").values())
    assert all(abs(count - 100) < 33 for count in firsts.values()), firsts


def test_only_what_must_moves() -> None:
    """Taking one of four away moves its own conversations, and each of them to its second place."""
    before, after = homes("a b c d"), homes("a b c")
    for talk, order in before.items():
        assert after[talk] == [name for name in order if name != "d"]


def test_without_the_key_the_written_order_holds() -> None:
    """No metadata at all, or another key's."""
    made, _ = router("c a b")
    for metadata in (None, {}, {"tenant": "blue"}):
        plan = made.plan("x", model="chat", metadata=metadata)
        assert [each.deployment for each in plan.candidates] == ["c", "a", "b"]


def test_another_key() -> None:
    """`settings = { key = "tenant" }`."""
    made, _ = router("a b c", settings={"key": "tenant"})
    plans = [made.plan("x", model="chat", metadata={"tenant": talk}) for talk in TALKS]
    assert [[each.deployment for each in plan.candidates] for plan in plans] == list(homes("a b c").values())


def test_the_second_place_is_the_same_as_well() -> None:
    """Where the first is busy, the next in the conversation's own order answers."""
    order = homes("a b c")["talk-1"]
    made, transport = router("a b c", {order[0]: [BUSY], order[1]: [ANSWER], order[2]: [ANSWER]})
    assert made.chat("x", model="chat", metadata={"conversation": "talk-1"}).deployment == order[1]
    assert [sent.deployment for sent in transport.requests] == order[:2]


def test_it_nests() -> None:
    """Routes as targets, and as a target of other policies."""
    inner = {"policy": "sticky", "targets": ["b", "c"]}
    found = homes("a b c", policy="ordered", targets=["a", inner]).values()
    assert {tuple(order) for order in found} == {("a", "b", "c"), ("a", "c", "b")}


@pytest.mark.parametrize(("settings", "said"), [
    ({"kye": "tenant"}, "has no setting 'kye'"), ({"key": ""}, "name of a metadata key"), ({"key": 5}, "name of a metadata key"),
])  # fmt: skip
def test_wrong_settings_are_named_when_the_router_is_made(settings: dict[str, Any], said: str) -> None:
    """A ConfigurationError that names the route, the plugin and the mistake."""
    with pytest.raises(cnroute.ConfigurationError, match=said) as caught:
        router("a b", settings=settings)
    assert "routes.chat" in str(caught.value) and "sticky" in str(caught.value)


def test_every_process_chooses_alike() -> None:
    """No salt of the interpreter's own hash decides."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import test_sticky; print(test_sticky.homes('a b c')['talk-7'])"
    said = {
        subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent)], capture_output=True, text=True, check=True,
                       env={"PYTHONHASHSEED": str(seed)}).stdout.strip()
        for seed in (0, 1)
    }  # fmt: skip
    assert said == {str(homes("a b c")["talk-7"])}


def test_the_page_says_what_happens() -> None:
    """The README's program prints what stands below it."""
    parts = README.read_text("utf-8").split("```")
    code = next(part for part in parts if part.startswith("python\n")).removeprefix("python\n")
    shown = next(part for part in parts if part.startswith("text\n")).removeprefix("text\n")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == shown
