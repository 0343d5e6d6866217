"""Bugs that the samples of the built-in vendors would show by chance are planted in the provider of an imaginary one."""

from __future__ import annotations

import pytest

from cnroute.testing.contract import CHECKS, ProviderContract
from cnroute.testing.contract.report import FAILED, PASSED, closing_line
from cnroute.testing.contract.running import run
from tests.conformance.mutants import BROKE_OFF, MIXED, STATE, STREAM_USAGE, UNCHANGED, USAGE, WRONG_FIELD
from tests.conformance.vendor import SAMPLES, failures

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


PARSED = "    data = wire.sse_data(line, state.memory)\n"
SAID = '    said = text(reply, "say")\n'
REMEMBERS = {
    "what is kept in a dict": [(PARSED, "    data = wire.sse_data(line, MEMORY)\n")],
    "a dict by ids": [(SAID, f'{SAID}    MEMORY.setdefault(text(data, "trace"), reply)\n')],
    "a set of texts": [(SAID, f"{SAID}    SEEN.add(said)\n")],
    "an object's dict": [(SAID, f'{SAID}    NOTES.kept.setdefault("texts", []).append(said)\n')],
    "an object's field": [(SAID, f"{SAID}    NOTES.last = said\n")],
    "messages": [("    turns = []\n", "    turns = []\n    SEEN.update(message.text for message in request.messages)\n")],
}


@pytest.mark.parametrize("name", REMEMBERS)
def test_what_a_module_remembers_is_caught(name: str) -> None:
    """Also where the same samples over and over leave it as it is; the check finds it alone and after all others."""
    assert set(failures(*REMEMBERS[name], only=(STATE,))) == {STATE}
    assert set(failures(*REMEMBERS[name])) - {BROKE_OFF, MIXED} == {STATE}


def test_a_stream_that_spoils_the_next_one_is_caught() -> None:
    """Half an event that waits in the module for the stream after it."""
    found = failures(*REMEMBERS["what is kept in a dict"])
    assert BROKE_OFF in found and "streamed after a part of streamed" in found[BROKE_OFF]


ENGINE = "    turns = []\n"
CHANGES = {
    "deployment.options['calls'] absent": (ENGINE, f'{ENGINE}    deployment.options["calls"] = 1\n'),
    "deployment.headers['X-Said'] absent": (SAID, f'{SAID}    deployment.headers["X-Said"] = "1"\n'),
    "request.tools[0]['strict'] absent": (ENGINE, f'{ENGINE}    for tool in request.tools or (): tool["strict"] = True\n'),
}


@pytest.mark.parametrize("named", CHANGES)
def test_a_change_of_the_call_or_the_deployment_is_caught_and_named(named: str) -> None:
    """Also one that every call makes again, after other checks; the message names the field."""
    for only in ((), (UNCHANGED,)):
        assert named in failures(CHANGES[named], only=only)[UNCHANGED]


def test_a_crash_is_told_with_its_text_and_the_plugins_own_line() -> None:
    """Not the line of the library that the plugin has called, and not the key."""
    deep = '    wire.masked(7, deployment)\n    wire.merged({}, {"": deployment.api_key.reveal() + 1})\n'
    found = failures((ENGINE, ENGINE + deep), only=("test_a_request_is_what_the_samples_expect",))
    (told,) = found.values()
    assert "build_request raised AttributeError: 'int' object has no attribute 'replace' (tofu_" in told
    found = failures((SAID, SAID + '    raise ValueError("odd " + deployment.api_key.reveal())\n'), only=(WRONG_FIELD,))
    (told,) = found.values()
    assert "parse_response raised ValueError: odd" in told and "(tofu_" in told and "canary" not in told


def test_a_provider_that_is_not_installed_is_one_failure() -> None:
    """The first check says so; no check passes for want of a provider but those that look at samples and checks."""
    contract = type("Nowhere", (ProviderContract,), {"provider": "nowhere", "samples": SAMPLES, "__module__": __name__})
    results = list(run(contract, CHECKS))
    (failed,) = [result for result in results if result.outcome == FAILED]
    assert "the provider nowhere cannot be used" in failed.text and "not installed" in failed.text
    assert {result.check for result in results if result.outcome == PASSED} <= {
        "test_there_are_samples_of_every_kind", "test_no_check_is_overridden_or_deleted",
    }  # fmt: skip
    assert "2 passed, 1 failed, " in (line := closing_line(CHECKS, results)) and line.endswith(" not run")
