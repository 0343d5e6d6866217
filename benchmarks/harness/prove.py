"""Proofs before figures: both sides return the same text, and both keep their connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.rounds import Size
from harness.vendor import Vendor

# Calls over one connection (design page on performance, section 5).
CALLS = 51


class Unfair(Exception):
    """The two sides do not do the same work; no figure is given."""


def same_text(subjects: Mapping[str, Callable[[], str]], wanted: str) -> None:
    """Every subject returns exactly the text that the vendor sent. Raises Unfair."""
    for name, work in subjects.items():
        got = work()
        if got != wanted:
            raise Unfair(f"{name} returns {len(got)} characters, {len(wanted)} were sent: {got[:60]!r}")


def keeps_connection(subjects: Mapping[str, Callable[[], object]], vendor: Vendor, size: Size) -> None:
    """Many calls in a row (51) need at most one new connection. Raises Unfair."""
    calls = max(3, size.some(CALLS))
    for name, work in subjects.items():
        before = vendor.connections()
        for _ in range(calls):
            work()
        opened = vendor.connections() - before
        if opened > 1:
            raise Unfair(f"{name} opened {opened} connections for {calls} calls")
