"""The work grows with the bytes and not with their square: twice as much of anything costs about twice as much."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cnroute
from tests.fuzz.cases import PROVIDERS, Bench, Case, bench

# Twice the work, and slack for a busy machine. Work that grows with the square takes four times as long.
MOST = 2.6
TRIES, ENOUGH = 20, 5


def frame(provider: str, text: str, end: str | None = None, **more: Any) -> bytes:
    """An event with new text, in increments."""
    documents: dict[str, dict[str, Any]] = {
        "dashscope": {
            "output": {"choices": [{"message": {"content": text, "role": "assistant", **more}, "finish_reason": end or "null"}]}
        },
        "minimax-v2": {"choices": [{"delta": {"content": text, "role": "assistant", **more}, "finish_reason": end}]},
        "minimax-pro": {
            "reply": "",
            "choices": [{"messages": [{"sender_type": "BOT", "text": text, **more}], "finish_reason": end}],
        },
        "minimax-legacy": {"reply": "", "choices": [{"delta": text, "finish_reason": end, **more}]},
    }
    return b"data: " + json.dumps(documents[provider], ensure_ascii=False).encode() + b"\n\n"


def ended(provider: str, *frames: bytes) -> bytes:
    return b"".join(frames) + frame(provider, "x", "stop")


def fragment(provider: str, number: int) -> bytes:
    call = {"index": number % 900, "id": f"i{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return frame(provider, "", tool_calls=[call])


# What is doubled: each makes a stream of `size` bytes or lines.
STREAMS: dict[str, tuple[int, Callable[[str, int], bytes]]] = {
    "events": (500, lambda name, size: ended(name, frame(name, "文字") * size)),
    "one long text": (200_000, lambda name, size: ended(name, frame(name, "x" * size))),
    "one long line that is no JSON": (200_000, lambda name, size: ended(name, b'data: {"a":"' + b"x" * size + b"\n\n")),
    "blanks before anything": (250_000, lambda name, size: b" " * size + b"\n" + ended(name)),
    "comments": (6000, lambda name, size: ended(name, b": ping\n\n" * size)),
    "escapes": (20_000, lambda name, size: ended(name, frame(name, "y" + "@" * size).replace(b"@", b"\\ud800"))),
    "unknown keys": (6000, lambda name, size: ended(name, frame(name, "y", unknown={str(key): [key] for key in range(size)}))),
    "brackets": (50_000, lambda name, size: ended(name, b"data: " + b"[" * size + b"\n\n")),
    "tool calls": (500, lambda name, size: ended(name, *(fragment(name, number) for number in range(size)))),
    "one answer without an end": (250_000, lambda name, size: b"{" + b" " * size),
}
PLAIN: dict[str, tuple[int, Callable[[str, int], bytes]]] = {
    "one long text": (400_000, lambda name, size: ended(name, frame(name, "x" * size))[6:]),
    "data lines that are no JSON": (2000, lambda name, size: b'"code"\n' + b"data: {\n" * size),
    "error frames": (2000, lambda name, size: b'data: {"code":"","error":""}\n\n' * size),
    "markup": (100_000, lambda name, size: b"<" * size + b"<a>" * size),
    "one long message": (
        300_000,
        lambda name, size: json.dumps(
            {"code": "X", "message": "(1)(" * size, "base_resp": {"status_code": 1, "status_msg": "(1)(" * size}}
        ).encode(),
    ),
    "an envelope's message": (300_000, lambda name, size: json.dumps({"error": {"message": "(1234)!(" * size}}).encode()),
}


def cost(one: Case) -> float:
    """Seconds of processor time for a case, whatever comes out of it."""
    on = bench(one.provider)
    on.case = one
    on.requests.clear()
    begun = time.process_time()
    try:
        for _ in _outcome(on, one):
            pass
    except cnroute.CallError:
        pass
    return time.process_time() - begun


def _outcome(on: Bench, one: Case) -> Iterator[object]:
    if one.stream:
        return on.router.stream("x", model="d", **one.arguments)
    on.router.chat("x", model="d", **one.arguments)
    return iter(())


def made(provider: str, stream: bool, status: int, body: bytes, piece: int) -> Case:
    more = {"extra": {"dashscope": {"parameters": {"incremental_output": True}}}} if provider == "dashscope" else {}
    return Case(0, provider, "made", stream, status, {}, body, tuple(range(piece, len(body), piece)), more)


def assert_linear(one: Case, twice: Case) -> None:
    """The best of some tries each, since what else the machine does only adds; or most tries, where its speed changes."""
    gc.collect()
    best, best_twice, ratios = float("inf"), float("inf"), []
    for _ in range(TRIES):
        once, again = cost(one), cost(twice)
        best, best_twice, ratios = min(best, once), min(best_twice, again), [*ratios, again / once]
        if best_twice <= MOST * best or (len(ratios) >= ENOUGH and statistics.median(ratios) <= MOST):
            return
    raise AssertionError(f"{best:.4f} s, and {best_twice:.4f} s for twice as much: {best_twice / best:.2f} times")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("what", STREAMS)
def test_a_stream_costs_as_much_as_it_is_long(what: str, provider: str) -> None:
    """In pieces of some bytes, as a network cuts it."""
    size, body = STREAMS[what]
    one, twice = (made(provider, True, 200, body(provider, times * size), 61) for times in (1, 2))
    assert_linear(one, twice)


# Good answers and errors take turns outside of the long run.
ANSWERS = [
    pytest.param(what, provider, status, marks=[pytest.mark.slow] if (row + column + turn) % 2 else [])
    for row, what in enumerate(PLAIN)
    for column, provider in enumerate(PROVIDERS)
    for turn, status in enumerate((200, 500))
]


@pytest.mark.parametrize(("what", "provider", "status"), ANSWERS)
def test_an_answer_costs_as_much_as_it_is_long(what: str, provider: str, status: int) -> None:
    """Good answers and errors."""
    size, body = PLAIN[what]
    one, twice = (made(provider, False, status, body(provider, times * size), 10**9) for times in (1, 2))
    assert_linear(one, twice)


def test_an_event_over_many_lines_is_bounded() -> None:
    """Each further line of an unfinished event means reading it again; lines and bytes of it are limited."""
    for provider in PROVIDERS:
        body = ended(provider, b'data: {"a":"' + b"x" * 16_000 + b"\n", (b"data: " + b"x" * 16_000 + b"\n") * 2000)
        assert cost(made(provider, True, 200, body, 65_536)) < 3


def test_snapshots_cost_as_much_as_they_are_long() -> None:
    """DashScope's cumulative text: each event repeats all of it, and the work is that of reading it."""

    def body(size: int) -> bytes:
        return b"".join(frame("dashscope", "x" * 40 * number) for number in range(1, size)) + frame(
            "dashscope", "x" * 40 * size, "stop"
        )

    one, twice = body(300), body(424)  # the bytes grow with the square of the events
    assert 1.9 < len(twice) / len(one) < 2.1
    assert_linear(*(in_snapshots(made("dashscope", True, 200, each, 4096)) for each in (one, twice)))


def in_snapshots(one: Case) -> Case:
    """The same case with cumulative text."""
    return Case(0, one.provider, one.origin, one.stream, one.status, one.headers, one.body, one.cuts, {
        "extra": {"dashscope": {"parameters": {"incremental_output": False}}},
    })  # fmt: skip
