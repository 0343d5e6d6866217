# ruff: noqa: E501 (tables are wider)
"""The emulated models' texts: predictable, sensible for the vendors' examples, with markers kept."""

from __future__ import annotations

import json

import pytest

from cnroute.emulator import Emulator, answers


def test_the_vendors_documented_figures_come_out() -> None:
    """Seeds 000 and 002 print this answer with 8 input and 7 output tokens."""
    assert answers.answer("你好") == "你好!今天我能帮你什么?"
    assert answers.tokens("You are a helpful assistant.") + answers.tokens("你好") == 8
    assert answers.tokens(answers.answer("你好")) == 7


@pytest.mark.parametrize(("question", "part"), [
    ("如何做西红柿炒鸡蛋?", "鸡蛋"), ("帮我用英文翻译下面这句话:我是谁", "Who am I"), ("1、学习三星堆正确拍照姿势", "1、"),
    ("从前有只叫聪聪的小猪", "帮助"), ("齐天是谁", "齐天"), ("笑一个", "哈哈"),
])  # fmt: skip
def test_example_questions_get_sensible_answers(question: str, part: str) -> None:
    assert part in answers.answer(question)


def test_other_questions_are_quoted() -> None:
    assert "长江有多长" in answers.answer("长江有多长")


def test_the_seed_changes_wording() -> None:
    for question in ("你好", "如何做西红柿炒鸡蛋?", "长江有多长"):
        assert len({answers.answer(question, seed) for seed in range(6)}) > 1
        assert answers.answer(question, 3) == answers.answer(question, 3)


@pytest.mark.parametrize("text", ["你好 marker:a-1", "marker:a-1", "问题 marker:a-1 很长" + "长" * 500, "marker:a-1 聪聪"])
def test_a_marker_comes_back_exactly_once(text: str) -> None:
    assert answers.answer(text).count("marker:a-1") == 1


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "\ud83d", "a" * 5000, "🚀" * 100])
def test_every_text_gets_a_short_encodable_answer(text: str) -> None:
    said = answers.answer(text)
    assert said and answers.tokens(said) <= 100
    said.encode()


def test_pieces_join_to_the_text_and_are_at_least_three() -> None:
    for text in ("abc", "你好!今天我能帮你什么?", answers.answer("长江有多长")):
        assert "".join(answers.pieces(text)) == text
        assert len(answers.pieces(text)) >= 3


def test_shorten_keeps_whole_characters_within_the_limit() -> None:
    for limit in range(1, 20):
        short = answers.shorten("春眠不觉晓,处处闻啼鸟。", limit)
        assert answers.tokens(short) <= limit
        assert "春眠不觉晓,处处闻啼鸟。".startswith(short)


def test_tool_arguments_fit_their_schema() -> None:
    schema = {"type": "object", "properties": {
        "city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}, "days": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}}, "deep": {"type": "object", "properties": {"x": {"type": "boolean"}}},
    }}  # fmt: skip
    called = answers.call(answers.Tool("get_weather", schema), "广州和上海的天气")
    assert json.loads(called.arguments) == {"city": "广州", "unit": "c", "days": 1, "tags": ["广州"], "deep": {"x": True}}
    assert json.loads(answers.call(answers.Tool("f", {}), "")[1]) == {}


def test_the_emulator_predicts_with_its_seed() -> None:
    assert Emulator(seed=2).answer("你好") == answers.answer("你好", 2)
