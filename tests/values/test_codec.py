"""The JSON seam with the extra `fast`: it reads the same as without, or leaves the text to the exact reader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from cnroute import codec
from cnroute.codec import JsonError

Reader = Callable[[str], Any]


def reader(quick: Any) -> Reader:
    """`loads` with the quick reader or without one, and without a limit of depth."""

    def read(text: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(codec, "_quick", quick)
            return codec.loads(text, 10**6)

    return read


read_exactly = reader(None)


@pytest.fixture(scope="module")
def quickly() -> Reader:
    """The reader that the extra brings."""
    return reader(pytest.importorskip("orjson").loads)


def outcome(read: Reader, text: str) -> str:
    """What a reader makes of a text, with types and signs, or that it refuses."""
    try:
        return repr(read(text))
    except JsonError:
        return "refused"


HARD = [
    "1e999", "-1e999", "[1e-400]", "-0", "-0.0", "0.1e1", "1.", "01", "NaN", "-Infinity", "9007199254740993",
    "863831823174049792", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "-9223372036854775808", "-9223372036854775809", "1" * 30, "-" + "1" * 40, '{"id": 123456789012345678901234567890, "a": 1}',
    '["0123456789012345678901234567890"]', "12345678901234567890.5", "1.7976931348623159e308", '{"a": 1, "a": 2}',
    '"\\ud83d"', '"\\ud83d\\ude00"', '"\\u0000"', '"\t"', '"\x7f"', "\ufeff[1]", " \n[1]\r\n ", "[1] x", "", " ", "null", "[1,]",
    "{'a': 1}", '{"a"}', "[" * 5000, "\ud800", '"\ud800"', "tru", "\u00a0[1]", "[1]\u2028",
]


@pytest.mark.parametrize("text", HARD, ids=lambda text: ascii(text)[:30])
def test_hard_texts_read_the_same(quickly: Reader, text: str) -> None:
    """Integers of any size, signs, lone surrogates, byte order marks, and everything that is no JSON."""
    assert outcome(quickly, text) == outcome(read_exactly, text)


def test_integers_of_every_length_at_every_place_are_exact(quickly: Reader) -> None:
    """No integer becomes a float, wherever it stands: long ones are found by a sample of the text."""
    for digits in range(15, 25):
        for before in range(20):
            text = json.dumps({"x" * before: int("9" * digits), "short": [12, 345]})
            assert quickly(text) == json.loads(text)
            assert all(type(value) is not float for value in quickly(text).values())


def test_random_values_read_the_same(quickly: Reader) -> None:
    """Seeded values of all types, whole and damaged."""
    draw = random.Random(7)
    for _ in range(2000):
        text = json.dumps(_value(draw, 4), ensure_ascii=draw.random() < 0.5)
        if draw.random() < 0.5:
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice('"{}[],:0\\eu.-') + text[at + draw.randrange(2) :]
        assert outcome(quickly, text) == outcome(read_exactly, text)


def _value(draw: random.Random, depth: int) -> Any:
    kind = draw.randrange(8 if depth else 6)
    if kind == 6:
        return [_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 7:
        return {_text(draw): _value(draw, depth - 1) for _ in range(draw.randrange(4))}
    makers: list[Callable[[], Any]] = [
        lambda: None, lambda: draw.random() < 0.5, lambda: draw.randrange(-(10 ** draw.randrange(1, 25)), 10**18),
        lambda: draw.uniform(-1e9, 1e9), lambda: draw.expovariate(1e-30), lambda: _text(draw),
    ]  # fmt: skip
    return makers[kind]()


def _text(draw: random.Random) -> str:
    return "".join(draw.choice('ab1 "\\\n\u6c34\u2028\U0001f600') for _ in range(draw.randrange(8)))


def test_loads_uses_what_is_installed() -> None:
    """Where orjson can be imported, `loads` reads with it."""
    assert codec._quick is pytest.importorskip("orjson").loads
