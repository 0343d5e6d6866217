"""The kit's own proof: each planted bug is caught by the check that names it, and unrelated checks stay green."""

from __future__ import annotations

import pytest

from tests.conformance import mechanical
from tests.conformance.mutants import MUTANTS, Mutant
from tests.conformance.mutating import fits, put_to_the_kit

# Every run plants these, over cheaper checks; all of them are planted by `-m slow`, with every check.
FEW = (
    "key in the URL", "drops stop", "input and output change places", "KeyError on a missing field",
    "an error in a 200 missed", "stops at the first finish", "state shared between streams", "prints",
)  # fmt: skip
DEAR = (
    "test_importing_it_has_no_side_effect", "test_another_process_sends_the_same_bytes",
    "test_many_threads_give_the_same_results",
    "test_a_stream_is_the_same_however_its_bytes_are_cut", "test_a_long_line_costs_no_more_than_its_length",
    "test_a_long_stream_costs_no_more_than_its_length", "test_a_long_answer_costs_no_more_than_its_length",
    "test_a_huge_error_is_read_in_time", "test_random_bytes_crash_nothing", "test_mutated_samples_crash_nothing",
    "test_keep_alives_and_comments_give_nothing", "test_results_events_and_failures_pickle_and_copy",
    "test_nothing_is_remembered_between_calls",
)  # fmt: skip


def named(names: tuple[str, ...]) -> list[Mutant]:
    return [mutant for mutant in MUTANTS if mutant.name in names]


@pytest.mark.parametrize("mutant", named(FEW), ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant) -> None:
    """By the check that names it, and by no unrelated one."""
    assert put_to_the_kit(mutant, DEAR, few=True).problem is None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_planted_bug_is_caught(mutant: Mutant) -> None:
    """The full list: `python -m tests.conformance.mutating` prints caught / planted."""
    assert put_to_the_kit(mutant).problem is None


def test_the_list_is_long_and_of_both_families() -> None:
    """At least 40 mutants with names of their own, on DashScope and on MiniMax."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40
    assert min(len([each for each in MUTANTS if each.file.startswith(family)]) for family in ("dashscope", "minimax")) >= 15
    assert [mutant.name for mutant in MUTANTS if not fits(mutant)] == [], "a provider has changed under these patches"
    assert set(FEW) <= {mutant.name for mutant in MUTANTS}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(mechanical.MUTANTS)))
def test_a_mechanical_mutant_is_caught_or_has_a_reason(number: int) -> None:
    """Drawn by mutmut's own operators: what survives is listed with the reason, and does survive."""
    mutant = mechanical.MUTANTS[number]
    assert (mechanical.caught_by(mutant) is None) == ("survives" in mutant)


def test_the_mechanical_mutants_still_fit() -> None:
    """Fifty of them, each with an old text that stands in its file once; a third may survive at most."""
    assert len(mechanical.MUTANTS) == 50
    assert [mutant for mutant in mechanical.MUTANTS if not mechanical.fits(mutant)] == []
    assert len([mutant for mutant in mechanical.MUTANTS if "survives" in mutant]) <= 16
