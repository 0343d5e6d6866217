"""Mutated vendor bytes through the real router: only typed outcomes, whatever the vendor sends.

A failure names its case and shows the bytes; `python -m tests.fuzz NUMBER` plays it again.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz.cases import PROVIDERS, STATUSES, case, play

USUAL, LONG, BLOCK = 5_000, 100_000, 1250


@pytest.mark.parametrize("start", range(0, USUAL, BLOCK))
def test_only_typed_outcomes(start: int) -> None:
    """A completion that can be used, or an error of a kind that the vendor's bytes can mean; never anything else."""
    seen = Counter(play(number) for number in range(start, start + BLOCK))
    assert seen["ok"] > BLOCK // 20
    assert len(seen) > 10


@pytest.mark.slow
@pytest.mark.parametrize("start", range(USUAL, LONG, 10 * BLOCK))
def test_only_typed_outcomes_many_times(start: int) -> None:
    """The same for the long run."""
    for number in range(start, min(start + 10 * BLOCK, LONG)):
        play(number)


def test_the_cases_are_the_same_each_time_and_reach_everything() -> None:
    """Every dialect, plain and streamed, every status; a number always makes the same case."""
    drawn = [case(number) for number in range(2000)]
    assert {(one.provider, one.stream) for one in drawn} == {(name, stream) for name in PROVIDERS for stream in (False, True)}
    assert set(STATUSES) <= {one.status for one in drawn}
    assert case(1234) == drawn[1234]
    assert len({one.body for one in drawn}) > 1600


def test_a_failure_says_how_to_play_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number and the bytes stand in the notes of what is raised."""
    monkeypatch.setattr("tests.fuzz.cases.BOUND", -1.0)
    with pytest.raises(AssertionError) as caught:
        play(77)
    note = "".join(caught.value.__notes__)
    assert "python -m tests.fuzz 77" in note
    assert f"bytes {case(77).body!r:.200}" in note
