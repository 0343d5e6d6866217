"""What a vendor may send at most (decoded bytes), and that no more than some multiple of it is ever kept."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

import cnroute
from cnroute.codec import JsonError, loads
from cnroute.emulator import Emulator
from cnroute.testing import FakeTransport
from tests.contract.kit import plain_host
from tests.security.watch import deployment

MIB = 2**20
# The defaults divided by 16, so that the tests are quick: sizes are settings.
SMALL = cnroute.Limits(max_response_bytes=MIB, max_line_bytes=MIB // 16, max_stream_bytes=MIB, max_request_bytes=2 * MIB)


def kind_of(router: Any, stream: bool, name: str = "d") -> str:
    try:
        if stream:
            for _ in router.stream("x", model=name):
                pass
        else:
            router.chat("x", model=name)
    except cnroute.StreamInterruptedError as error:
        return error.cause_kind.value
    except cnroute.CallError as error:
        return error.kind.value
    return "ok"


def test_the_defaults() -> None:
    """As they are written down."""
    limits = cnroute.Limits()
    assert (limits.max_response_bytes, limits.max_line_bytes) == (16 * MIB, MIB)
    assert (limits.max_stream_bytes, limits.max_request_bytes) == (64 * MIB, 32 * MIB)


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        ("huge_json:3", False), ("endless_body", False), ("gzip_bomb:16", False), ("gzip_bomb:16", True),
        ("stream_long_line:1", True), ("stream_endless", True), ("endless_body", True),
    ],
)  # fmt: skip
def test_too_large_over_a_wire(vendor: Emulator, fault: str, stream: bool) -> None:
    """Bodies, bombs, lines and streams without end stop at their limit, and memory at three times of it."""
    place = deployment("dashscope", f"qwen-plus!{fault}", vendor.base_url("dashscope"), limits=SMALL)
    with cnroute.Router([place], breaker=None, retries=cnroute.Retries(max_attempts=1), **plain_host()) as router:
        gc.collect()
        tracemalloc.start()
        try:
            assert kind_of(router, stream) == "response_too_large"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < (3 * SMALL.max_stream_bytes if stream else 3 * SMALL.max_response_bytes) + 8 * MIB


def played(stream: bool, body: bytes, provider: str = "minimax-v2", **limits: int) -> str:
    """What becomes of one answer."""
    place = deployment(provider, "m", "https://vendor.example/v1", limits=cnroute.Limits(**limits) if limits else SMALL)
    transport = FakeTransport([body], chunk=65_536)
    with cnroute.Router(
        [place], transport=transport, breaker=None, retries=cnroute.Retries(max_attempts=1), **plain_host()
    ) as router:
        return kind_of(router, stream)


FRAME = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":"%s"}]}\n\n'


def test_a_line_and_a_stream_up_to_their_limits() -> None:
    """One byte more than allowed is too much, one less is not."""
    room = SMALL.max_line_bytes - len(FRAME % (b"", b"stop")) + 2
    assert played(True, FRAME % (b"x" * room, b"stop")) == "ok"
    assert played(True, FRAME % (b"x" * (room + 1), b"stop")) == "response_too_large"
    many = (FRAME % (b"x" * 1000, b"")) * 100 + FRAME % (b"", b"stop")
    assert played(True, many, max_stream_bytes=len(many)) == "ok"
    assert played(True, many, max_stream_bytes=len(many) - 1) == "response_too_large"
    assert played(True, b" " * (SMALL.max_line_bytes + 1)) == "response_too_large"
    assert played(True, b"{" + b" " * SMALL.max_response_bytes) == "response_too_large"


def test_an_event_over_many_lines() -> None:
    """4 MiB, or 256 lines, of an event that never becomes JSON."""
    lines = b"data: " + b"x" * 60_000 + b"\n"
    assert played(True, b"data: {\n" + lines * 200) == "response_too_large"
    assert played(True, b"data: {\n" + b"data: 1,\n" * 300) == "response_too_large"


def test_a_million_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of events is bounded too (here: 100)."""
    monkeypatch.setattr("cnroute.flow.stream._MAX_EVENTS", 100)
    assert played(True, (FRAME % (b"x", b"")) * 101) == "response_too_large"
    assert played(True, (FRAME % (b"x", b"")) * 99 + FRAME % (b"", b"stop")) == "ok"


@pytest.mark.parametrize("deep", ["[" * 64 + "]" * 64, '{"a":' * 63 + "{}" + "}" * 63])
def test_json_is_at_most_64_deep(deep: str) -> None:
    """Deeper is no JSON here, however deep: no RecursionError, and none later in what walks or writes it."""
    assert json.dumps(loads(deep), separators=(",", ":")) == deep
    for text in (f"[{deep}]", f'{{"b":{deep}}}', "[" * 900 + "]" * 900, "[" * 100_000, "[" * 900 + '"\\ud800"' + "]" * 900):
        with pytest.raises(JsonError):
            loads(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 4301])
def test_numbers_that_are_none(number: str) -> None:
    """Nothing that no float and no integer can hold."""
    for text in (number, f"[{number}]", f'{{"a":{{"b":{number}}}}}'):
        with pytest.raises(JsonError):
            loads(text)
    assert loads("9" * 4300) == int("9" * 4300)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00x"', '{"\\ud800":["\\udfff"]}', b'"\xed\xa0\x80"', b'"\xff"'])
def test_lone_surrogates_become_a_replacement(text: str | bytes) -> None:
    """Whatever is decoded can be encoded."""
    assert "\ufffd" in json.dumps(loads(text), ensure_ascii=False).encode().decode()
    assert loads('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(
    ("count", "known"),
    [(0, True), (10**9, True), (10**9 + 1, False), (-1, False), (True, False), (1.5, False), (None, False), ("x", False)],
)
def test_usage_counts_only_if_it_is_a_number_of_tokens(count: Any, known: bool) -> None:
    """Whole, not negative, at most 10^9; else it is unknown."""
    usage = {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": 2}
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    place = deployment("minimax-v2", "m", "https://vendor.example/v1")
    with cnroute.Router([place], transport=FakeTransport([body]), **plain_host()) as router:
        seen = router.chat("x", model="d").usage
    assert seen is not None
    assert seen.input_tokens == (count if known else None)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_request_that_is_too_large_is_not_sent(stream: bool) -> None:
    """Refused here, with a kind of its own."""
    transport = FakeTransport(["x"])
    place = deployment("dashscope", "m", "https://vendor.example/v1", limits=SMALL)
    with cnroute.Router([place], transport=transport, **plain_host()) as router, pytest.raises(cnroute.BadRequestError) as caught:
        if stream:
            next(router.stream("x" * 3 * MIB, model="d"))
        else:
            router.chat("x" * 3 * MIB, model="d")
    assert caught.value.kind == "request_too_large"
    assert transport.requests == []


def test_messages_are_cut() -> None:
    """A megabyte of vendor text is a message of at most 2,000 characters and a code of at most 200."""
    body = {"code": "c" * MIB, "message": "m" * MIB, "request_id": "r" * MIB}
    place = deployment("dashscope", "m", "https://vendor.example/v1")
    transport = FakeTransport([cnroute.HttpResponse(500, {}, json.dumps(body).encode())])
    with cnroute.Router([place], transport=transport, **plain_host()) as router, pytest.raises(cnroute.ServerError) as caught:
        router.chat("x", model="d")
    assert len(str(caught.value)) <= 2000
    assert len(caught.value.vendor_code or "") <= 200
    assert len(caught.value.request_id or "") <= 200
