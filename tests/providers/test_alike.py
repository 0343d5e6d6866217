"""Frames that are read by their text alone say what they say when they are read whole."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from cnroute import codec
from cnroute.events import StreamState, TextDelta
from cnroute.providers import alike as alike_module
from cnroute.providers.alike import Alike
from cnroute.providers.dashscope import stream as dashscope
from cnroute.providers.minimax.v2.stream import parse_stream_line
from tests.providers.test_usual_frames import DEPLOYMENT, read

FIRST = {
    "id": "04aa", "choices": [{"index": 0, "delta": {"content": "你", "role": "assistant", "name": "MM"}}], "created": 17,
    "model": "MiniMax-Text-01", "output_sensitive": False, "base_resp": {"status_code": 0, "status_msg": ""},
}  # fmt: skip
TEXTS = ["好", "", "a b", '"', "\\", "\n", "\u2028", "\u0000", "\U0001f600", "\ud83d", "{", "[1]", '"content":"x"', "好" * 400]
# What may stand in the place of a text, as the line has it; not all of it is JSON.
ODD = [
    "7", "null", "true", '["a"]', '{"a":1}', "", '"', '"a', 'a"', '"a" ', ' "a"', '\ufeff"a"', '"a"x', '"a","content":"b"',
    '"a","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]', '"a"},"finish_reason":"stop","x":{"y":"z"',
    '"\\ud83d"', '"\\ud83d\\ude00"', '"\\u00e4"', '"\\x"', '"\t"', '"a" , "role":"tool"',
]  # fmt: skip


def line(value: str, frame: dict[str, Any] = FIRST, blank: str = " ") -> str:
    """A data line of a frame whose text is `value`, which is JSON as a rule."""
    whole = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    return f"data:{blank}{whole.replace(json.dumps('你', ensure_ascii=False), value, 1)}"


def near(draw: random.Random) -> dict[str, Any]:
    """A frame that is not quite like the first one."""
    choice: dict[str, Any] = {"index": 0, "delta": {"content": "你", "role": "assistant"}}
    if draw.random() < 0.4:
        choice |= draw.choice([
            {"finish_reason": "stop"}, {"message": {"content": "你好"}}, {"delta": {"content": "你"}}, {"index": 1},
        ])  # fmt: skip
    if draw.random() < 0.3:
        choice["delta"] |= draw.choice([{"reasoning_content": "想"}, {"role": "tool"}, {"name": '"content":'}])
    made = {**FIRST, "choices": [choice] * draw.choice([1] * 8 + [0, 2])}
    if draw.random() < 0.4:
        made |= draw.choice([
            {"id": "other"}, {"id": None}, {"usage": {"total_tokens": 9}}, {"usage": None}, {"model": "another"}, {"error": {}},
            {"base_resp": {"status_code": 1002, "status_msg": "limit"}}, {"content": "你"}, {"zusatz": {"content": "里"}},
        ])  # fmt: skip
    return {"content": "x", **made} if draw.random() < 0.1 else made


def lines(draw: random.Random) -> list[str]:
    """A stream: runs of like frames, with odd values and other lines among them."""
    out: list[str] = []
    frame = FIRST
    for _ in range(draw.randrange(3, 12)):
        if draw.random() < 0.2:
            frame = near(draw)
        value = draw.choice(ODD) if draw.random() < 0.25 else json.dumps(draw.choice(TEXTS), ensure_ascii=draw.random() < 0.5)
        data = line(value, frame, draw.choice(["", " ", " ", " "]))
        out += [data[:30], "data:" + data[30:]] if draw.random() < 0.1 else [data]
        out += draw.choice([[""], [""], [], ["", ""], [": ping", ""], ["data: [DONE]", ""]])
    return out


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are read by their values from now on; the list grows."""
    taken: list[str] = []
    text_of = Alike.text

    def text(self: Alike, given: str) -> str | None:
        found = text_of(self, given)
        if found is not None:
            taken.append(given)
        return found

    monkeypatch.setattr(Alike, "text", text)
    return taken


def test_what_is_read_by_its_text_is_what_would_be_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 random streams: events, ids, models and raw frames; enough of them are really read so."""
    draw, taken = random.Random("frames alike"), counted(monkeypatch)
    for _ in range(5000):
        given = lines(draw)
        by_text = read(parse_stream_line, given, b"{}")
        with monkeypatch.context() as patch:
            patch.setattr(Alike, "learn", lambda *_: None)
            assert by_text == read(parse_stream_line, given, b"{}"), given
    assert len(taken) > 5000


COUNTS = [
    '{"total_tokens":5,"input_tokens":3,"output_tokens":2}', '{"total_tokens":6,"details":{"a":[1]}}', '{"total_tokens":0}', "{}",
    '{"total_tokens":"5"}', "null", "[]", '{"total_tokens":5', '{"total_tokens":5}}', '{"total_tokens":5},"code":"Throttling"',
    '{"total_tokens":5},"x":{"y":1}', ' {"total_tokens":5}', '{"total_tokens":5} ', '{"a":' * 70 + "1" + "}" * 70,
    '{"total_tokens":5,"usage":{"total_tokens":7}}', '{"total_tokens":12345678901234567890123}',
]  # fmt: skip
NUMBERS = ["0"] * 4 + [
    "1", "17", "999999999", "1000000000", "-1", "-0", "01", "1.0", "1e2", "1E+2", "0.5", "1_0", "\u0661", "0x1", "7 ",
    " 7", '"7"', "null",
]  # fmt: skip
SHAPES = [
    '{"total_tokens":5,"input_tokens":0,"output_tokens":2}',
    '{"input_tokens":3,"details":{"cached":0,"v2":[1,{"7":-4}]},"total_tokens":5}',
    '{ "total_tokens" : 5 , "plan":"5 : 7, {5}","rate":0.25,"input_tokens":3}', '{"total_tokens":5,"total_tokens":6}',
]  # fmt: skip


def other_counts(draw: random.Random, shape: str) -> str:
    """The shape with other numbers, which as a rule are those of an increasing count."""

    def number(found: re.Match[str]) -> str:
        usual = "0" if found[0] == "0" else str(draw.randrange(1, 4000))
        return usual if draw.random() < 0.98 else draw.choice(NUMBERS)

    return re.sub(r"\d+", number, shape)


BODY = json.dumps({"parameters": {"incremental_output": True}}).encode()


def counted_line(draw: random.Random, shape: str) -> str:
    """A data line of DashScope, usual as a rule."""
    text = draw.choice(ODD) if draw.random() < 0.1 else json.dumps(draw.choice(TEXTS), ensure_ascii=draw.random() < 0.5)
    counts = shape if draw.random() < 0.3 else other_counts(draw, shape) if draw.random() < 0.9 else draw.choice(COUNTS)
    reason = draw.choice(['"null"'] * 19 + ['"stop"', "null"])
    rest = draw.choice(['"request_id":"r"'] * 19 + ['"request_id":"other"', '"request_id":"r","code":""'])
    around = draw.choice([""] * 9 + ['"index":0,', '"index":1,', '"content":"x",'])
    row = f'{{{around}"message":{{"content":{text},"role":"assistant"}},"finish_reason":{reason}}}'
    return f'data:{{"output":{{"choices":[{row}]}},"usage":{counts},{rest}}}'


def test_so_it_is_with_a_text_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """DashScope's frames, in which the counts are new in each; 3,000 random streams."""
    draw, taken = random.Random("frames with counts"), counted(monkeypatch)
    for _ in range(3000):
        given: list[str] = []
        shape = draw.choice(SHAPES)
        for number in range(draw.randrange(3, 18)):
            event = draw.choice(["event:result"] * 19 + ["event:error"])
            given += [f"id:{number}", event, ":HTTP_STATUS/200", counted_line(draw, shape), ""]
        by_values = read(dashscope.parse_stream_line, given, BODY)
        with monkeypatch.context() as patch:
            patch.setattr(Alike, "learn", lambda *_: None)
            assert by_values == read(dashscope.parse_stream_line, given, BODY), given
    assert len(taken) > 1500


@pytest.mark.parametrize("value", ODD)
def test_only_one_string_in_the_place_of_the_text_is_a_text(value: str) -> None:
    """All else is left to the reading of whole frames."""
    alike = Alike(_put, "content")
    alike.learn(line('"你"'), FIRST)
    assert alike.text(line('"好"')) == "好"
    text = alike.text(line(value))
    assert text is None or text == codec.loads(value)
    assert (text is not None) == (value in ('"\\ud83d"', '"\\ud83d\\ude00"', '"\\u00e4"'))


def test_a_stream_that_never_repeats_itself_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each of its frames is read whole, and nothing is looked for any more."""
    looked_for: list[str] = []
    pieces = alike_module._pieces
    monkeypatch.setattr(alike_module, "_pieces", lambda given, keys: looked_for.append(given) or pieces(given, keys))
    state = StreamState(None, b"{}")  # type: ignore[arg-type]
    for number in range(20):
        assert parse_stream_line(line('"a"', {**FIRST, "created": number}), state, DEPLOYMENT) == (TextDelta("a"),)
    assert len(looked_for) == 3


def _put(frame: dict[str, Any], values: tuple[Any, ...]) -> dict[str, Any]:
    (choice,) = frame["choices"]
    return {**frame, "choices": [{**choice, "delta": {**choice["delta"], "content": values[0]}}]}


def test_where_the_text_stands_cannot_be_forged() -> None:
    """A vendor that writes the words that the place is tried with is read whole: they are others in every process."""
    (text, _), state = alike_module._OTHERS, StreamState(None, b"{}")  # type: ignore[arg-type]
    with_key = 'data: {"id":"i","content":"%s","choices":[{"delta":{"content":"%s"}}]}'
    for first in ("another text", "a", "b"):
        assert parse_stream_line(with_key % (first, "another text"), state, DEPLOYMENT) == (TextDelta("another text"),)
    assert text not in ("", "another text") and len(text) > 16


@pytest.mark.parametrize(
    "counts",
    [f'"x":[0{",0" * 200_000}]', f'"z":"{"z" * 400_000}"', '"z":"\\\\u4f60"', f'"x":[7{",7" * 400}]'],
    ids=["many", "long", "escaped", "a few too many"],
)
def test_an_object_of_counts_that_is_like_no_vendors_is_read_whole(counts: str) -> None:
    """Whatever is to be said of it must be said in linear time; nothing is learned of it."""
    alike = Alike(dashscope._with_values, "content", "usage")
    row = '{"message":{"content":"a","role":"assistant"},"finish_reason":"null"}'
    given = f'data:{{"output":{{"choices":[{row}]}},"usage":{{"total_tokens":5,{counts}}},"request_id":"r"}}'
    alike.learn(given, json.loads(given[5:]))
    assert alike.text(given) is None or len(alike._between) <= 17
    assert (alike.text(given) is None) == (len(counts) > 1000 or "\\" in counts)


def test_an_escaped_half_around_the_text_is_mended_with_it() -> None:
    """A frame with half a surrogate pair anywhere is mended as a whole: nothing is learned of it."""
    state = StreamState(None, b"{}")  # type: ignore[arg-type]
    for text in ("a", "\ud83d"):
        said = parse_stream_line(line(f'"{text}"', {**FIRST, "id": "\ud83d"}).replace("\ud83d", "\\ud83d", 1), state, DEPLOYMENT)
    assert said == (TextDelta("\ufffd"),)
