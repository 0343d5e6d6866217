"""`cnroute demo`: three failures, a fallback, a stream, a plan, a bill; checked against the emulator's log."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

import cnroute
from cnroute.cli import demo
from cnroute.emulator import Received
from tests.cli.conftest import Run, process

TIMES = re.compile(r"\d+ ms")


def without_times(text: str) -> str:
    return TIMES.sub("", text)


def document(run: Run, seed: int) -> dict[str, Any]:
    done = run("demo", "--json", "--seed", str(seed))
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    for call in found["calls"]:
        for attempt in call["attempts"]:
            del attempt["seconds"]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_first_vendor_fails_in_three_ways(run: Run, seed: int) -> None:
    """A 503, an error inside a 200 and a cut stream each hit one question; every question is answered."""
    found = document(run, seed)
    failures = [
        attempt for call in found["calls"] for attempt in call["attempts"] if attempt["failure"] and attempt["deployment"] == "yi"
    ]
    assert sorted(attempt["failure"] for attempt in failures) == ["connection_lost", "overloaded", "rate_limit"]
    assert {attempt["http_status"] for attempt in failures if attempt["failure"] == "rate_limit"} == {200}
    assert all(call["text"] and call["finish_reason"] == "stop" for call in found["calls"])
    providers = {attempt["provider"] for call in found["calls"] for attempt in call["attempts"]}
    assert providers == {"dashscope", "minimax-v2", "minimax-pro"}
    assert found["attempts"] == sum(len(call["attempts"]) for call in found["calls"]) == 9
    assert found["attempts_equal_requests"] is True
    assert found["bill"]["currency"] == "CNY"


def test_a_seed_repeats_itself(run: Run) -> None:
    """The same seed gives the same output but for times; another seed gives another."""
    assert document(run, 3) == document(run, 3)
    texts = [run("demo", "--seed", seed).out for seed in ("3", "3", "4")]
    assert without_times(texts[0]) == without_times(texts[1]) != without_times(texts[2])
    assert without_times(texts[0]).replace("seed 3", "seed 4") != without_times(texts[2])


def test_an_attempt_that_nobody_received_is_found() -> None:
    """The check is a check: a missing request, and a request for another model, are named."""
    attempt = cnroute.Attempt("yi", "dashscope", 1, billing="billed")
    reply = cnroute.ChatCompletion("你好", attempts=(attempt,))
    entry = Received(1, "dashscope", "yi-large", True, "POST", "/", {}, {}, True, {}, answered="你好")
    assert demo.differences([reply], [entry]) == ""
    assert demo.differences([reply], []) == "1 attempts, but 0 requests arrived at the emulator"
    entry.model = "qwen-plus"
    assert "[1]" in demo.differences([reply], [entry])


def test_a_difference_ends_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that lies about its attempts fails."""
    monkeypatch.setattr(demo, "differences", lambda replies, requests: "they differ")
    done = run("demo")
    assert done.code == 1
    assert "they differ" in done.err


def test_it_needs_no_key_no_network_and_little_time() -> None:
    """In a bare process it is done within seconds, and writes nothing to stderr; a pipe gets no colour."""
    begun = time.monotonic()
    done = process("demo", env={"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begun < 10
    assert "你好" in done.stdout
    assert "\x1b" not in done.stdout
    assert "examples" in done.stdout
    assert "CNY" in done.stdout
    assert "demo-key" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
