"""Play fuzz cases again: `python -m tests.fuzz NUMBER ...`; one of the form A-B plays a range and counts outcomes."""

from __future__ import annotations

import sys
from collections import Counter

from tests.fuzz.cases import case, play


def main(arguments: list[str]) -> None:
    """Play what the arguments name."""
    for word in arguments:
        first, _, last = word.partition("-")
        if last:
            print(Counter(play(number) for number in range(int(first), int(last))))
        else:
            print(case(int(first)))
            print(play(int(first)))


main(sys.argv[1:])
