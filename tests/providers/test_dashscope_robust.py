"""DashScope against wrong bodies: fields removed, replaced and random bytes never raise."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnroute.chat import ChatCompletion, ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.events import Delta, Finish
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState
from cnroute.http import HttpResponse
from cnroute.providers import dashscope, defaults
from cnroute.wire import dumps

LINES = (Path(__file__).parent.parent / "data" / "wire_cases.jsonl").read_text("utf-8").strip().split("\n")
CASES = [case for case in map(json.loads, LINES) if case["provider"] == "dashscope"]
WITH_JSON = [case for case in CASES if case["body"].startswith("{")]
STREAMS = [case for case in CASES if case["kind"] == "stream"]
DEPLOYMENT = Deployment("d", "dashscope", "qwen-plus", api_key="sk-0123456789", base_url="https://x.example")
INSTEAD = (None, [], [None], {}, 0, -1, 1.5, 10**30, True, "", "x")


def mutants(value: Any) -> Iterator[Any]:
    """`value` with each field removed in turn, and each value replaced by something else."""
    yield from INSTEAD
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        rest = value.copy()
        del rest[key]
        yield rest
        for changed in mutants(value[key]):
            copy = value.copy()
            copy[key] = changed
            yield copy


def plain(body: bytes, status: int) -> None:
    """Every hook that sees a complete answer gives a result or a failure."""
    response = HttpResponse(status, {"Content-Type": "application/json"}, body)
    for hook in (dashscope.map_error, defaults.map_error):
        found = hook(response, DEPLOYMENT)
        assert found is None or isinstance(found, Failure)
        assert found is None or len(found.message) <= 2000
    reply = dashscope.parse_response(response, DEPLOYMENT)
    assert isinstance(reply, ChatCompletion | Failure)
    if isinstance(reply, ChatCompletion):
        texts = (reply.text, reply.reasoning, *(call.arguments for call in reply.tool_calls))
        assert all(isinstance(text, str) for text in texts)


def streamed(lines: list[str], parameters: dict[str, Any]) -> None:
    """Every line gives a tuple of events."""
    state = StreamState(ChatRequest((Message("user", "x"),)), {"parameters": parameters})
    finished = 0
    for line in lines:
        events = dashscope.parse_stream_line(line, state, DEPLOYMENT)
        assert isinstance(events, tuple)
        assert all(isinstance(event, Delta | Failure) for event in events)
        finished += sum(isinstance(event, Finish) for event in events)
    assert finished <= 1


@pytest.mark.parametrize("case", WITH_JSON, ids=lambda case: case["id"])
def test_mutated_answers(case: dict[str, Any]) -> None:
    """Under the status of the case."""
    for mutant in mutants(json.loads(case["body"])):
        plain(dumps(mutant), case["http_status"])


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case["id"])
def test_mutated_frames(case: dict[str, Any]) -> None:
    """Each frame of a stream in turn, in both modes."""
    lines = case["body"].replace("\r\n", "\n").split("\n")
    frames = [number for number, line in enumerate(lines) if line.startswith("data:")]
    for number in (frames[0], frames[-1]):
        for mutant in mutants(json.loads(lines[number][5:])):
            changed = [*lines[:number], "data:" + dumps(mutant).decode(), *lines[number + 1 :], ""]
            streamed(changed, {**case["request"]["parameters"], "n": len(changed) % 3})


@pytest.mark.parametrize(
    "parameters", [{"incremental_output": value, "n": n} for value in (True, False) for n in (1, "x", 2)]
)
def test_mutants_of_a_frame_with_everything(parameters: dict[str, Any]) -> None:
    """Several choices, tool calls, search results and an error at once."""
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]
    message = {"content": [{"text": "t"}], "reasoning_content": "r", "tool_calls": calls}
    frame = {
        "output": {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}, {"index": 1, "message": message}],
            "search_info": {"search_results": [{"index": 1, "title": "t", "url": "u"}]}, "text": None,
        },
        "usage": {"input_tokens": 1, "output_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
        "code": "", "error": {"code": "", "type": "", "message": ""}, "request_id": "r",
    }  # fmt: skip
    whole = "data:" + dumps(frame).decode()
    for mutant in mutants(frame):
        changed = "data:" + dumps(mutant).decode()
        streamed([changed, whole, "event:error", changed, ""], parameters)
        plain(dumps(mutant), 200)
        plain(dumps(mutant), 400)


def test_random_bytes_and_flipped_samples() -> None:
    """Seeded: the same every time."""
    random_ = random.Random(20261121)
    for _ in range(300):
        plain(random_.randbytes(random_.randrange(60)), random_.choice((200, 400, 500)))
    for case in CASES:
        body = case["body"].encode()
        for _ in range(40):
            at = random_.randrange(len(body))
            spoilt = body[:at] + random_.randbytes(random_.randrange(4)) + body[at + random_.randrange(4) :]
            plain(spoilt, case["http_status"])
            streamed([*spoilt.decode("utf-8", "replace").split("\n"), ""], case["request"].get("parameters", {}))


def test_long_input_is_not_quadratic() -> None:
    """Megabytes in one line, and many small lines, stay well under a second each."""
    big = "长" * 2**20
    many = ["data:" + dumps({"output": {"text": "长" * n}}).decode() for n in range(2000)]
    whole = "data:" + dumps({"output": {"text": big}}).decode()
    for lines in ([f"data:{big}", ""], [whole], many, [":" * 2**20], ["{" * 2**20, ""]):
        begun = time.process_time()
        streamed(lines, {})
        assert time.process_time() - begun < 2
    begun = time.process_time()
    deep = (b"<" * 2**20, b'{"code":' * 2**17)
    for body in (*deep, b"data:" * 2**18, b"data:x\n" * 2**15, b'"code"' + b"data:\n" * 2**17):
        for status in (200, 500):
            plain(body, status)
    assert time.process_time() - begun < 8
