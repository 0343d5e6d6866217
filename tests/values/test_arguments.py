"""Wrong arguments of a call are refused with a typed error before anything is sent."""

from __future__ import annotations

import math
import types
from decimal import Decimal
from typing import Any

import pytest

import cnroute
from tests.flow.toy import KEY, Toy, answer, deployment, raised

CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
HUGE = 10**5000

WRONG = [
    *[("timeout", value) for value in (0, -1, -0.5, math.nan, math.inf, "5", True, [], HUGE)],
    *[("max_tokens", value) for value in (0, -1, True, 10**12, 1.5, "5", HUGE, math.nan)],
    *[("temperature", value) for value in (-0.1, math.nan, math.inf, "0.5", True, Decimal("0.5"), HUGE)],
    *[("top_p", value) for value in (-1, math.nan, "1", False)],
    *[("seed", value) for value in (1.0, "1", True)],
    *[("stop", value) for value in (5, "", [""], [1], {"a": 1}, b"x", ["a", None])],
    *[
        ("tools", value)
        for value in (
            "x",
            {},
            [1],
            [{}],
            [{"function": {}}],
            [{"function": {"name": ""}}],
            [{"function": {"name": 5}}],
            5,
            [{"function": {"name": "f", "parameters": {1, 2}}}],
            [{"function": {"name": "f", "parameters": math.nan}}],
            [{"function": {"name": "f", "parameters": b"x"}}],
            [{"function": {"name": "f", "parameters": CIRCLE}}],
            [{"function": {"name": "f", "parameters": object()}}],
            [{"function": {"name": "f", "parameters": {1: 2}}}],
            [{"function": {"name": "f", "parameters": HUGE}}],
        )
    ],
    *[("tool_choice", value) for value in ("any", 5, {}, {"function": "f"}, {"function": {"name": 1}}, ["auto"])],
    *[("response_format", value) for value in ("json", {}, {"type": 1}, {"type": "json_schema", "json_schema": {1, 2}})],
    *[("reasoning", value) for value in (0, -5, "on", 1.5)],
    *[("web_search", value) for value in (1, "yes")],
    *[("drop_unsupported", value) for value in (1, "yes")],
    *[("knowledge_base", value) for value in (-1, True, 1.5, "abc", "", "１２", "9" * 30, [], {})],
    *[
        ("knowledge_base", cnroute.KnowledgeBase(**fields))
        for fields in (
            {"id": -1},
            {"id": 1, "top_k": 0},
            {"id": 1, "top_k": "5"},
            {"id": 1, "threshold": math.nan},
            {"id": 1, "pattern": 5},
            {"id": 1, "previous_messages": -1},
            {"id": 1, "previous_messages": True},
        )
    ],
    *[
        ("metadata", value)
        for value in (
            "x",
            {"a": 1},
            {1: "a"},
            {"k" * 257: "v"},
            {"k": "v" * 257},
            {str(n): "v" for n in range(17)},
            [("a", "b")],
        )
    ],
    *[("max_cost", value) for value in (0.5, "-1", "abc", "nan", "inf", True, -1, Decimal("NaN"), [])],
    *[
        ("extra", value)
        for value in (
            "x",
            {"toy": 5},
            {1: {}},
            [("toy", {})],
            {"toy": {"a": {1, 2}}},
            {"toy": {"a": math.inf}},
            {"toy": CIRCLE},
            {"toy": {"a": object()}},
        )
    ],
]


@pytest.mark.parametrize("method", ["chat", "stream", "plan"])
@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}-{number}" for number, (name, _) in enumerate(WRONG)])
def test_a_wrong_argument_is_a_bad_request_that_names_it(method: str, name: str, value: Any) -> None:
    """Each argument refuses values that no vendor could take, whichever method they are given to."""
    toy = Toy([answer()])
    error = raised(lambda: getattr(toy, method, getattr(toy.router, method))("你好", model="chat", **{name: value}))
    assert type(error) is cnroute.BadRequestError
    assert error.kind == "bad_request"
    assert name in error.message
    assert error.billing == "none"
    assert len(error.message) < 500
    assert toy.asked == []


PART = {"type": "text", "text": "x"}
WRONG_MESSAGES: list[Any] = [
    None,
    5,
    b"x",
    {},
    {"role": "user", "content": "x"},
    [],
    (),
    [5],
    ["x"],
    [None],
    [{}],
    [{"role": "user"}],
    iter([]),
    [{"content": "x"}],
    [{"role": "robot", "content": "x"}],
    [{"role": ["user"], "content": "x"}],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": {}}],
    [{"role": "user", "content": b"x"}],
    [{"role": "user", "content": [5]}],
    [{"role": "user", "content": [{}]}],
    [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "user", "content": [PART, {"type": "image_url", "image_url": object()}]}],
    [{"role": "user", "content": "x", "name": 5}],
    [{"role": "tool", "content": "x"}],
    [{"role": "tool", "content": "x", "tool_call_id": 5}],
    [{"role": "assistant", "content": None}],
    [{"role": "assistant", "content": None, "tool_calls": "x"}],
    [{"role": "assistant", "content": None, "tool_calls": [5]}],
    [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
    [{"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {}}}]}],
    "",
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": []}],
]


@pytest.mark.parametrize("number", range(len(WRONG_MESSAGES)))
@pytest.mark.parametrize("method", ["chat", "stream", "plan"])
def test_broken_messages_are_a_bad_request(number: int, method: str) -> None:
    """Messages that are no conversation are refused in words, before anything is sent."""
    toy = Toy([answer()])
    error = raised(lambda: getattr(toy.router, method)(WRONG_MESSAGES[number], model="chat"))
    assert type(error) is cnroute.BadRequestError
    assert "messages" in error.message
    assert toy.asked == []


@pytest.mark.parametrize("model", [None, "", 5, ["chat"], b"chat", {}])
def test_a_model_that_is_no_name_is_a_bad_request(model: Any) -> None:
    """`model` is text and not empty."""
    toy = Toy([answer()])
    assert type(raised(lambda: toy.chat(model=model))) is cnroute.BadRequestError


@pytest.mark.parametrize("method", ["chat", "stream", "plan"])
def test_an_unknown_keyword_is_a_type_error_that_names_it(method: str) -> None:
    """As everywhere in Python; the signature shows what exists."""
    toy = Toy([answer()])
    with pytest.raises(TypeError, match="max_token"):
        getattr(toy.router, method)("x", model="chat", max_token=5)
    with pytest.raises(TypeError):
        getattr(toy.router, method)("x")


@pytest.mark.parametrize(
    ("model", "near"),
    [("chta", "chat"), ("toy-2", "toy-1"), ("toy/toy-2", "toy/toy-1"), ("CHAT", "chat"), ("chat\r\nX: 1", None), ("啊", None)],
)
def test_an_unknown_model_suggests_near_names(model: str, near: str | None) -> None:
    """The error names what was asked for, safely, and what may have been meant."""
    toy = Toy([answer()], names="a")
    error = raised(lambda: toy.chat(model=model))
    assert type(error) is cnroute.ModelNotFoundError
    assert error.billing == "none"
    assert near is None or repr(near) in error.message
    assert not any(ord(character) < 32 for character in str(error))
    assert toy.asked == []


def test_names_are_found_in_their_order() -> None:
    """A route, a deployment, `provider/model`, and a bare model's every deployment."""
    toy = Toy(
        [answer()], deployments=[deployment("a", "m1"), deployment("b", "m2"), deployment("m1", "m2")], routes={"m2": ["a"]}
    )
    assert [each.deployment for each in toy.router.plan("x", model="m2").candidates] == ["a"]
    assert [each.deployment for each in toy.router.plan("x", model="m1").candidates] == ["m1"]
    assert [each.deployment for each in toy.router.plan("x", model="toy/m2").candidates] == ["b", "m1"]
    toy = Toy([answer()], deployments=[deployment("a", "m1"), deployment("b", "m2"), deployment("c", "m2")], routes={})
    assert [each.deployment for each in toy.router.plan("x", model="m2").candidates] == ["b", "c"]
    assert [info.name for info in toy.router.models()] == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["\ud83d", "a\x00b", "😀" * 1_000_000, " ", "\u2028", "x" * 1_000_000])
def test_any_text_is_sent_exactly(text: str) -> None:
    """Lone surrogates, NUL and a million emoji reach the wire and come back as they were."""
    toy = Toy([answer()], names="a")
    assert toy.chat(text).text == "好"
    assert toy.transport.requests[0].json()["texts"] == [text]
    assert list(toy.stream(text).texts()) == ["好"]


def test_a_request_above_its_bound_is_refused_locally() -> None:
    """32 MiB + 1 of prompt is `request_too_large`, and nothing is sent."""
    toy = Toy([answer()], names="a")
    error = raised(lambda: toy.chat("x" * (32 * 2**20 + 1)))
    assert type(error) is cnroute.BadRequestError
    assert error.kind == "request_too_large"
    assert error.attempts == ()
    assert toy.asked == []


def test_tools_may_be_any_mappings_and_are_taken_as_they_are_now() -> None:
    """Read-only mappings and tuples are sent as JSON; what the caller changes later changes nothing."""
    schema = {"type": "object", "enum": ("a", "b")}
    tool = types.MappingProxyType({"type": "function", "function": {"name": "f", "parameters": schema}})
    toy = Toy([answer()], names="a")
    stream = toy.stream("x", tools=(tool,), extra={"toy": types.MappingProxyType({"deep": types.MappingProxyType({"k": 1})})})
    schema["type"] = "changed"
    list(stream)
    body = toy.transport.requests[0].json()
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "enum": ["a", "b"]}
    assert body["deep"] == {"k": 1}


def test_arguments_given_as_none_are_not_given() -> None:
    """None means "not given" for every argument."""
    toy = Toy([answer()], names="a")
    names = "temperature top_p max_tokens stop seed tools tool_choice response_format reasoning web_search knowledge_base"
    toy.chat(**dict.fromkeys([*names.split(), "metadata", "timeout", "max_cost", "extra"]))
    body = toy.transport.requests[0].json()
    assert body == {"model": "toy-1", "stream": False, "texts": ["你好"], "max_tokens": 2048}


def test_a_knowledge_base_id_is_exact() -> None:
    """Ids above 2^53 stay exact, as text or number."""
    from cnroute.chat import knowledge_base_from

    assert knowledge_base_from("863831823174049792").id == 863831823174049792
    assert knowledge_base_from(2**63 + 1).id == 2**63 + 1
    assert knowledge_base_from(cnroute.KnowledgeBase(7, top_k=3)).top_k == 3


def test_stream_checks_its_arguments_and_sends_nothing() -> None:
    """The first `next` sends."""
    toy = Toy([answer()], names="a")
    stream = toy.stream()
    assert toy.asked == []
    assert next(stream).text == "好"
    assert toy.asked == ["a"]
    assert KEY not in repr(stream.__dict__)


def test_the_longest_timeout_is_named() -> None:
    """Who asks for no limit at all learns which one there is."""
    with pytest.raises(cnroute.BadRequestError, match=r"a week, 604800, is the longest"):
        Toy([answer()]).chat(timeout=1e300)
