"""The short way of the frames that streams are full of says what the long way says."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

import cnroute
from cnroute.events import LateUsage, StreamState
from cnroute.flow.lines import LineSplitter
from cnroute.flow.stream import is_quiet
from cnroute.providers.dashscope import stream as dashscope
from cnroute.providers.minimax.v2 import stream as minimax
from tests.contract.wire_cases import STREAMED
from tests.fuzz.mutations import mutated

DEPLOYMENT = cnroute.Deployment("d", "dashscope", "qwen-plus", api_key="sk-x")
BODIES = [json.dumps({"parameters": each}).encode() for each in (
    {"incremental_output": True}, {"incremental_output": True, "n": 2}, {}, {"n": 3},
)]  # fmt: skip


def frame(random_: random.Random) -> dict[str, Any]:
    """A usual frame, or one near it: some fields are missing, empty, of another type or too many."""
    if random_.random() < 0.7:
        row = {"message": {"content": random_.choice("好a"), "role": "assistant"}, "index": 0, "finish_reason": "null"}
        counted = {"total_tokens": 5, "input_tokens": 3, "output_tokens": 2}
        return {"output": {"choices": [row]}, "usage": counted, "request_id": "r"}
    row = {
        "message": {"content": random_.choice(["好", "", "a", None, 3, ["x"]]), "role": "assistant"},
        "finish_reason": random_.choice(["null"] * 9 + [None, "stop", 7]),
    }
    for _ in range(random_.randrange(3)):
        key, value = random_.choice([("index", 0), ("index", 1), ("index", False), ("reasoning_content", "想"), ("message", []),
                                     ("tool_calls", [{"id": "c", "function": {"name": "f", "arguments": "{}"}}])])  # fmt: skip
        (row["message"] if "_c" in key and isinstance(row["message"], dict) else row)[key] = value
    usage = {"input_tokens": 3, "output_tokens": random_.randrange(4), "total_tokens": random_.choice([3, 4, 5, None, "6"])}
    made: dict[str, Any] = {"output": {"choices": [row] * random_.choice([1] * 8 + [0, 2])}, "usage": usage, "request_id": "r"}
    if random_.random() < 0.2:
        made |= random_.choice([{"code": "Throttling"}, {"request_id": "other"}, {"usage": None}, {"output": None}, {"more": 1}])
    if random_.random() < 0.1:
        made["output"] = {**(made["output"] or {}), "search_info": {"search_results": [{"index": 1, "title": "t"}]}}
    return made


def lines(random_: random.Random) -> list[str]:
    """Some frames with the lines around them, a few of these odd."""
    out: list[str] = []
    for number in range(random_.randrange(1, 8)):
        out += [f"id:{number}", random_.choice(["event:result"] * 29 + ["event:error"])]
        out += [random_.choice([":HTTP_STATUS/200"] * 9 + [":HTTP_STATUS/429", ":note"])]
        data = "data:" + json.dumps(frame(random_), ensure_ascii=False)
        out += [data[:40], "data:" + data[40:]] if random_.random() < 0.1 else [data]
        out += [""] * random_.choice([1, 1, 1, 0, 2])
    return out


def read(parse: Any, given: list[str], body: bytes) -> list[str]:
    """Everything that a caller can see of a stream, as text: failures have no equality."""
    state = StreamState(None, body)  # type: ignore[arg-type]
    seen = []
    for line in given:
        events = () if is_quiet(line, state.quiet) else parse(line, state, DEPLOYMENT)
        seen.append(str((events, state.id, state.request_id, state.model, state.raw, state.choices)))
    return seen


class Both:
    """Reads lines the short way and the long way. `taken`: how many frames really went the short way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.taken = 0

    def _counted(self, *given: Any) -> LateUsage:
        """Usage that is read late is made on the short way alone."""
        self.taken += 1
        return LateUsage(*given)

    def dashscope(self, given: list[str], body: bytes) -> None:
        """Both ways of DashScope, and their comparison."""
        with self._patch.context() as patch:
            patch.setattr(dashscope, "LateUsage", self._counted)
            short = read(dashscope.parse_stream_line, given, body)
            patch.setattr(dashscope, "_usual", lambda *_: None)
            patch.setattr(dashscope, "_QUIET", frozenset())
            assert short == read(dashscope.parse_stream_line, given, body)

    def minimax(self, given: list[str]) -> None:
        """Both ways of chatcompletion_v2, and their comparison."""
        short = read(minimax.parse_stream_line, given, b"{}")
        with self._patch.context() as patch:
            patch.setattr(minimax, "_ONLY_TEXT", frozenset())
            assert short == read(minimax.parse_stream_line, given, b"{}")


def test_frames_near_the_usual_one_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 random streams; enough of their frames take the short way for the comparison to mean something."""
    random_ = random.Random("usual frames")
    both = Both(monkeypatch)
    for _ in range(2000):
        both.dashscope(lines(random_), random_.choice(BODIES))
    assert both.taken > 500


@pytest.mark.parametrize("provider", ["dashscope", "minimax-v2"])
def test_streams_of_the_vendor_say_the_same(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """The recorded streams, whole and mutated."""
    random_ = random.Random(f"recorded frames of {provider}")
    bodies = [case["body"].encode() for case in STREAMED if case["provider"] == provider]
    both = Both(monkeypatch)
    for number in range(600):
        whole = bodies[number % len(bodies)]
        given = LineSplitter(2**24).feed((whole if number < len(bodies) else mutated(random_, whole)) + b"\n\n")
        both.minimax(given) if provider == "minimax-v2" else both.dashscope(given, BODIES[number % 2])
    assert len(bodies) > 5
    assert both.taken > 50 or provider == "minimax-v2"
