"""`cnroute demo --kb`: the vendor's three steps by one command, with sources, while one vendor fails."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from cnroute.cli import demo_kb
from cnroute.emulator import Emulator
from tests.cli.conftest import Run, process

TIMES = re.compile(r"\d+ ms")


def document(run: Run, seed: int) -> dict[str, Any]:
    done = run("demo", "--kb", "--json", "--seed", str(seed))
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    for call in found["calls"]:
        for attempt in call["attempts"]:
            del attempt["seconds"]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_three_guides_three_questions_three_failures(run: Run, seed: int) -> None:
    """Every answer has sources in the guides, and every first vendor failed in another way."""
    found = document(run, seed)
    assert [file["name"] for file in found["files"]] == list(demo_kb.guides())
    assert found["base"]["documents"] == [file["id"] for file in found["files"]]
    failures = [call["attempts"][0]["failure"] for call in found["calls"]]
    assert sorted(failures) == ["connection_lost", "overloaded", "rate_limit"]
    assert "knowledge bases belong to minimax-pro" in found["excluded"]["mm"]
    texts = "".join(text.decode() for text in demo_kb.guides().values())
    for call in found["calls"]:
        assert [attempt["deployment"] for attempt in call["attempts"]] == found["plan"] == ["pro", "legacy"]
        assert 1 <= len(call["sources"]) <= 2 and all(source["text"] in texts for source in call["sources"])
    assert "由下一家接手" in found["calls"][0]["text"] and "left alone for five seconds" in found["calls"][1]["text"]
    assert "两倍加一" in found["calls"][2]["text"]
    assert found["equals_the_emulator"] is True


def test_a_seed_repeats_itself(run: Run) -> None:
    """The same output but for times; another seed, another order of failures."""
    first, again, other = [TIMES.sub("", run("demo", "--kb", "--seed", seed).out) for seed in ("3", "3", "4")]
    assert first == again != other


def test_a_difference_ends_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that says something else than the emulator knows fails."""
    monkeypatch.setattr(demo_kb, "differences", lambda built, replies, emulator: "they differ")
    done = run("demo", "--kb")
    assert done.code == 1 and "they differ" in done.err


def test_the_check_is_a_check() -> None:
    """Files, bases and documents that are not the emulator's are found."""
    with Emulator() as emulator:
        built = demo_kb._build(emulator, None, True, True)
        assert demo_kb.differences(built, [], emulator) == ""
        assert "other files" in demo_kb.differences(attrs.evolve(built, files=built.files[:2]), [], emulator)
        assert "other bases" in demo_kb.differences(attrs.evolve(built, base=attrs.evolve(built.base, id=5)), [], emulator)
        emulator.empty()
        assert "other documents" in demo_kb.differences(built, [], emulator)


def test_it_needs_no_key_and_no_network() -> None:
    """In a bare process: nothing on stderr, no colour in a pipe, the sources on the screen."""
    done = process("demo", "--kb", env={"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "demo-key" not in done.stdout
    assert "[1] guide.zh.txt, piece" in done.stdout and "exactly what the emulator was asked and keeps" in done.stdout
