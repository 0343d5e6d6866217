"""Bugs that the samples of the built-in vendors would show by chance are planted in the provider of an imaginary one."""

from __future__ import annotations

import pytest

from tests.conformance.mutants import STREAM_USAGE, USAGE
from tests.conformance.vendor import failures

COUNTS = 'wire.usage_from(wire.token_count(meter.get("in")), wire.token_count(meter.get("out")))'
ZERO = 'wire.usage_from(wire.token_count(meter.get("in")) or 0, wire.token_count(meter.get("out")) or 0)'
NO_METER = "    if not isinstance(meter, dict):\n        return None\n"
ZEROS = NO_METER.replace("None", "cnroute.Usage(0, 0, 0)")


def test_the_provider_itself_keeps_every_promise() -> None:
    """What fails below is the bug's doing."""
    assert failures() == {}


@pytest.mark.parametrize("bug", [(COUNTS, ZERO), (NO_METER, ZEROS)], ids=["half", "whole"])
def test_usage_that_is_made_up_is_caught(bug: tuple[str, str]) -> None:
    """A half that is 0, though `Usage` adds up a total that fits; and zeros where the vendor sends no usage at all."""
    found = failures(bug)
    assert set(found) == {USAGE, STREAM_USAGE}
    assert "0 with meter" in found[USAGE] and "0 without meter" in found[STREAM_USAGE]
