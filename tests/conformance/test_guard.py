"""The guard of the kit: checks that are overridden, deleted or skipped are no proof, and the closing line says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnroute.cli.new_plugin import files
from cnroute.errors import ConfigurationError
from cnroute.testing.contract import CHECKS, ProviderContract
from cnroute.testing.contract.checking import checks_of, tampered
from cnroute.testing.contract.report import PASSED, Result, closing_line
from cnroute.testing.contract.samples import load
from tests.docs.pages import ROOT

GUARD = "test_no_check_is_overridden_or_deleted"
HEAD = """
import pytest
from cnroute.testing import ProviderContract
import cnroute_acme

class TestAcme(ProviderContract):
    plugin = cnroute_acme
    model = "acme-1"
    samples = "../samples"
"""


def out_of(folder: Path, body: str, *words: str) -> str:
    """What pytest prints for a contract of the new plugin with `body` in its class."""
    for place, text in files("acme"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")
    (folder / "tests/test_contract.py").write_text(HEAD + body, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-k", "guard or overridden or role or mine", *words]
    env = {"PYTHONPATH": f"{folder}:{ROOT}", "PATH": ""}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
    return f"{done.returncode}\n{done.stdout}"


OVERRIDDEN = """
    def test_the_role_of_a_message_is_sent(self):
        pass
"""
EXPECTED = """
    @pytest.mark.xfail(reason="the vendor knows no roles", strict=False)
    def test_the_role_of_a_message_is_sent(self):
        assert False

    def test_mine(self):
        assert self.subject().info.name == "acme"
"""


def test_an_overridden_check_fails_the_run(tmp_path: Path) -> None:
    """The guard names it; marked xfail with a reason, and beside a test of one's own, it is fine."""
    bad = out_of(tmp_path / "bad", OVERRIDDEN)
    assert bad.startswith("1\n") and f"failed: {GUARD}" in bad
    assert "test_the_role_of_a_message_is_sent is overridden in TestAcme" in bad
    good = out_of(tmp_path / "good", EXPECTED)
    assert good.startswith("0\n"), good
    assert f"cnroute contract 1: 1 passed, 1 expected to fail, {len(CHECKS) - 2} not run" in good


def test_every_way_of_taking_a_check_out_is_noticed() -> None:
    """Deleted by None, replaced later, replaced by a mixin; an xfail without a reason is no excuse."""
    name = "test_the_role_of_a_message_is_sent"

    class Mixin:
        def test_the_role_of_a_message_is_sent(self) -> None: ...

    def unreasoned(self: object) -> None: ...

    later = type("Later", (ProviderContract,), {})
    setattr(later, name, unreasoned)
    for contract in (
        type("Deleted", (ProviderContract,), {name: None}), later, type("Mixed", (Mixin, ProviderContract), {}),
        type("Unreasoned", (ProviderContract,), {name: pytest.mark.xfail(unreasoned)}),
    ):  # fmt: skip
        (problem,) = tampered(contract, CHECKS)
        assert name in problem and "xfail" in problem
    assert tampered(type("Untouched", (ProviderContract,), {}), CHECKS) == []


def test_every_check_states_its_promise() -> None:
    """Names of checks are sentences, docstrings are one line, groups are numbered; the class itself is no test."""
    assert checks_of(ProviderContract).keys() == CHECKS.keys()
    assert len(CHECKS) >= 70
    assert [check.name for check in CHECKS.values() if check.promise.count("\n") or len(check.name) < 20] == []
    assert not ProviderContract.__test__


def test_a_partial_run_makes_no_claim() -> None:
    """What was not run is counted."""
    line = closing_line(CHECKS, [Result("test_a_stream_is_asked_for", PASSED)])
    assert line == f"cnroute contract 1: 1 passed, {len(CHECKS) - 1} not run"


def test_all_problems_of_all_samples_come_at_once() -> None:
    """Unknown keys with a suggestion, wrong types, missing bodies, impossible kinds, names used twice."""
    documents = [
        {"nam": "x", "body": ""}, {"body": "", "body_base64": ""}, {"body": "", "status": "200"}, {"body_base64": "?"},
        {"body": "", "expect": {"failure": {"kind": "no such kind"}}}, {"body": "", "expect": {"usage": {"tokens": 1}}},
        {"name": "twice", "body": ""}, {"name": "twice", "body": ""}, 5,
    ]  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        load(documents)
    text = str(caught.value)
    told = (
        "did you mean name?", "one of body and body_base64", "must be a number", "no base64", "no failure kind", "tokens",
        "JSON object", "two samples",
    )  # fmt: skip
    assert [words for words in told if words not in text] == []
    with pytest.raises(ConfigurationError, match="is no folder"):
        load("nowhere", Path(__file__))
