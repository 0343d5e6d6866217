"""What a stream hands out and when: content before a failure, sources with the first text, the end in the last delta.

Who ends a stream, and from where, stands in `test_streams`.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing import FakeTransport
from tests.contract.kit import DIALECTS, QUESTION, WORLDS, ask, deployment, in_flight


def frames(*documents: Any) -> list[bytes]:
    return [b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n" for document in documents]


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, **({"finish_reason": finish} if finish else {})}
    return {"id": "x", "object": "chat.completion.chunk", "model": "MiniMax-Text-01", "choices": [choice]}


ROLE = chunk(role="assistant", content="")
PAGES = chunk(finish="stop", role="tool", content=json.dumps([{"title": "天气", "url": "https://example.com/w"}]))
FAILED = {"id": "x", "base_resp": {"status_code": 1000, "status_msg": "unknown error"}}
WORDS = [chunk(role="assistant", content=word) for word in "你好"]
GOOD = frames(ROLE, *WORDS, chunk(finish="stop", content=""))


def played(world: str, first: Any, stream: bool = True, **settings: Any) -> tuple[Any, FakeTransport]:
    """A call whose first vendor answers with `first`, and the transport behind it."""
    transport = FakeTransport({"v2": [first], "second": [list(GOOD)]})
    places = [deployment("v2"), deployment("v2", name="second")]

    async def scenario(router: Any) -> Any:
        seen = await ask(router, stream, model="route")
        assert in_flight(router) == 0
        return seen

    seen = WORLDS[world](scenario, places, {"route": ["v2", "second"]}, transport=transport, **settings)
    assert transport.open_streams == 0
    return seen, transport


worlds = pytest.mark.parametrize("world", WORLDS)


@worlds
@pytest.mark.parametrize("pieces", [frames(ROLE, FAILED), frames(ROLE, PAGES, FAILED), [b": ping\n\n", *frames(ROLE, FAILED)]])
def test_a_failed_vendor_leaves_no_trace(world: str, pieces: list[bytes]) -> None:
    """Roles, keep-alives and sources do not commit: what the second vendor sends is all that is handed out."""
    seen, _ = played(world, pieces)
    assert seen.text == "你好"
    assert seen.reply.sources == ()
    assert not any(delta.sources for delta in seen.deltas)
    assert seen.record() == [("v2", "server_error", "unknown"), ("second", None, "billed")]


@worlds
@pytest.mark.parametrize("together", [False, True], ids=["one-read-each", "one-read"])
def test_content_before_a_failure_commits(world: str, together: bool) -> None:
    """Content in the same read as a failure is handed out first; then the error; nobody else is asked."""
    pieces = frames(ROLE, chunk(content="你"), FAILED)
    seen, transport = played(world, [b"".join(pieces)] if together else pieces)
    assert isinstance(seen.error, cnroute.StreamInterruptedError)
    assert [delta.text for delta in seen.deltas] == ["你"]
    assert (seen.error.partial_text, seen.error.cause_kind, seen.error.vendor_code) == ("你", "server_error", "1000")
    assert [sent.deployment for sent in transport.requests] == ["v2"]


@worlds
@pytest.mark.parametrize("content", [
    {"content": "你"}, {"reasoning_content": "想"},
    {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
], ids=["text", "reasoning", "tool-call"])  # fmt: skip
def test_what_commits(world: str, content: dict[str, Any]) -> None:
    """Text, reasoning and a fragment of a tool call are content."""
    seen, transport = played(world, frames(chunk(**content), FAILED))
    assert isinstance(seen.error, cnroute.StreamInterruptedError)
    assert len(seen.deltas) == 1
    assert len(transport.requests) == 1


@worlds
def test_sources_come_with_the_first_content(world: str) -> None:
    """They are kept until then, and are neither text nor an end."""
    seen, _ = played(world, frames(ROLE, PAGES, chunk(content="晴"), chunk(finish="stop", content="")))
    order = [(bool(delta.sources), delta.text) for delta in seen.deltas]
    assert order[:2] == [(True, ""), (False, "晴")]
    assert [(source.title, source.url) for source in seen.reply.sources] == [("天气", "https://example.com/w")]
    assert (seen.reply.text, seen.reply.finish_reason) == ("晴", "stop")


@worlds
def test_a_json_answer_to_a_stream_request_is_one_delta(world: str) -> None:
    """Whatever it carries comes in that one, finish reason and usage too."""
    answer = {
        "id": "x", "model": "MiniMax-Text-01", "object": "chat.completion", "base_resp": {"status_code": 0, "status_msg": ""},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "整个回答"}}],
        "usage": {"total_tokens": 12, "prompt_tokens": 5, "completion_tokens": 7},
    }  # fmt: skip
    seen, _ = played(world, cnroute.HttpResponse(200, {"Content-Type": "text/event-stream"}, json.dumps(answer).encode()))
    (delta,) = seen.deltas
    assert (delta.text, delta.finish_reason, delta.usage.total_tokens) == ("整个回答", "stop", 12)
    assert (seen.reply.text, seen.reply.finish_reason, seen.reply.usage) == ("整个回答", "stop", delta.usage)


@pytest.mark.parametrize("name", DIALECTS)
@worlds
def test_a_plain_answer_of_every_vendor_to_a_stream_request(vendor: Emulator, world: str, name: str) -> None:
    """The same over sockets."""
    vendor.script(DIALECTS[name][1], ["plain_json_on_stream"])
    seen = WORLDS[world](lambda router: ask(router, True, model=name), [deployment(name, vendor)])
    assert [delta.text for delta in seen.deltas] == [vendor.answer(QUESTION)]
    assert seen.deltas[0].finish_reason == seen.reply.finish_reason == "stop"
    assert seen.reply.usage is not None


@worlds
def test_the_stream_never_reads_ahead(world: str) -> None:
    """A delta is in the consumer's hands before the next bytes are asked for."""
    steps: list[str] = []
    transport = FakeTransport([list(GOOD)], advance=lambda step, _: steps.append(step))

    async def scenario(router: Any) -> None:
        stream = router.stream(QUESTION, model="v2")
        assert steps == []
        assert (await stream.__anext__()).text == "你"
        assert steps == ["open", "read", "read"]
        assert (await stream.__anext__()).text == "好"
        assert steps == ["open", "read", "read", "read"]
        await stream.close()

    WORLDS[world](scenario, [deployment("v2")], transport=transport)
    assert transport.open_streams == 0


@worlds
def test_one_delta_a_chunk_and_the_last_has_the_end(world: str) -> None:
    """The joined text is the completion's; finish reason and usage stand in the last delta alone."""
    usage = {"object": "chat.completion", "choices": [], "usage": {"total_tokens": 9}, "base_resp": {"status_code": 0}}
    seen, _ = played(world, [*GOOD, *frames(usage)])
    assert [delta.text for delta in seen.deltas] == ["你", "好", ""]
    assert [delta.finish_reason for delta in seen.deltas] == [None, None, "stop"]
    assert [delta.usage and delta.usage.total_tokens for delta in seen.deltas] == [None, None, 9]
    assert seen.text == seen.reply.text


@worlds
def test_the_deadline_counts_from_stream(vendor: Emulator, world: str) -> None:
    """The consumer's own time is part of it."""

    async def scenario(router: Any) -> None:
        stream = router.stream(QUESTION, model="v2", timeout=0.15)
        time.sleep(0.2)
        with pytest.raises(cnroute.DeadlineExceededError):
            await stream.__anext__()
        assert in_flight(router) == 0

    WORLDS[world](scenario, [deployment("v2", vendor)])
    assert vendor.requests == []
