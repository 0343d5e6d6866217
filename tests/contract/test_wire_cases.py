"""All wire cases through the real routers: plain, streamed, and cut in every way that a network may cut them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.contract.kit import WORLDS, ask, sync
from tests.contract.wire_cases import CASES, PLAIN, STREAMED, Cut, accepted, arguments_of, check, setup_of

ENDINGS = {"lf": b"\n", "crlf": b"\r\n"}
SAMPLE = 32


def cases(rows: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", rows, ids=[case["id"] for case in rows])


def with_ending(case: dict[str, Any], ending: str) -> bytes:
    body: bytes = case["body"].encode()
    return body.replace(b"\r\n", b"\n").replace(b"\n", ENDINGS[ending])


def play(case: dict[str, Any], body: bytes, ways: list[Any], world: str = "sync") -> None:
    """The case's call once for each way of cutting `body`; every outcome is checked."""
    transport = Cut(case)
    transport.body = body
    places, settings = setup_of(case, transport)
    stream = bool(case["request"].get("stream"))

    async def scenario(router: Any) -> None:
        for cuts in ways:
            transport.cuts = cuts
            seen = await ask(router, stream, model="d", **arguments_of(case))
            check(case, seen)
            assert transport.open_streams == 0

    WORLDS[world](scenario, places, **settings)
    assert len(transport.requests) == len(ways)


def test_there_are_as_many_cases_as_were_written() -> None:
    """No case falls between the tables below."""
    assert len(PLAIN) + len(STREAMED) == len(CASES) == len({case["id"] for case in CASES})


@pytest.mark.parametrize("world", WORLDS)
@cases(CASES)
def test_a_whole_answer(case: dict[str, Any], world: str) -> None:
    """An answer that arrives in one piece, or as the case says, gives what the case expects, through both routers."""
    body = case["body"].encode()
    chunking = case["chunking"] or {}
    cuts = chunking.get("at") or range(chunking.get("size", len(body)), len(body), chunking.get("size", len(body)))
    play(case, body, [(), cuts], world)


@pytest.mark.parametrize("ending", ENDINGS)
@cases(STREAMED)
def test_a_stream_cut_anywhere(case: dict[str, Any], ending: str) -> None:
    """Wherever one cut falls, inside a character or between CR and LF, the caller sees the same: places drawn by chance."""
    body = with_ending(case, ending)
    places = range(1, len(body))
    play(case, body, [(at,) for at in random.Random(f"{case['id']}{ending}").sample(places, min(len(places), SAMPLE))])


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@cases(STREAMED)
def test_a_stream_cut_everywhere(case: dict[str, Any], ending: str) -> None:
    """The same at every byte."""
    body = with_ending(case, ending)
    play(case, body, [(at,) for at in range(1, len(body))])


@cases(STREAMED)
def test_a_stream_between_cr_and_lf(case: dict[str, Any]) -> None:
    """A CR at the end of one read and its LF at the beginning of the next are one line end."""
    body = with_ending(case, "crlf")
    between = [at for at in range(1, len(body)) if body[at - 1:at + 1] == b"\r\n"]
    play(case, body, [(at,) for at in between] + [between])


@pytest.mark.parametrize("ending", ENDINGS)
@cases(STREAMED)
def test_a_stream_byte_by_byte_and_in_random_pieces(case: dict[str, Any], ending: str) -> None:
    """One byte a read, three bytes a read, and pairs of cuts drawn by chance."""
    body = with_ending(case, ending)
    chance = random.Random(case["id"])
    pairs = [sorted(chance.sample(range(1, len(body)), 2)) for _ in range(12)] if len(body) > 3 else []
    play(case, body, [range(1, len(body)), range(3, len(body), 3), *pairs])


@cases([case for case in STREAMED if "deltas" in case["expect"]])
def test_the_deltas_when_every_frame_arrives_alone(case: dict[str, Any]) -> None:
    """One delta for each frame with new text, none for the others."""
    transport = Cut(case)
    body = case["body"].encode()
    transport.cuts = [at for at in range(1, len(body)) if body[at - 2:at] == b"\n\n"]
    places, settings = setup_of(case, transport)
    seen = sync(lambda router: ask(router, True, model="d", **arguments_of(case)), places, **settings)
    assert [delta.text for delta in seen.deltas if delta.text] in accepted(case["expect"], "deltas")


@cases([case for case in STREAMED if case["expect"]["kind"] is None])
def test_a_stream_without_its_last_newlines(case: dict[str, Any]) -> None:
    """The last line counts although no newline follows it."""
    play(case, case["body"].encode().rstrip(b"\r\n"), [()])
