"""`new-plugin` and `check-plugin`: a stranger's way from nothing to a proven provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnroute.cli.new_plugin import files
from tests.cli.conftest import ROOT, Run

DIST_INFO = "Metadata-Version: 2.1\nName: cnroute-acme\nVersion: 0.1.0\n"


@pytest.fixture
def acme(run: Run, tmp_path: Path) -> Path:
    """A new distribution, untouched."""
    assert run("new-plugin", "acme", "--into", str(tmp_path)).code == 0
    return tmp_path / "cnroute-acme"


@pytest.fixture
def installed(acme: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution with what an editable installation leaves behind: a search path and metadata."""
    folder = acme / "cnroute_acme-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(DIST_INFO)
    (folder / "entry_points.txt").write_text("[cnroute]\nacme = cnroute_acme\n")
    monkeypatch.syspath_prepend(str(acme))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(acme), str(ROOT))))
    yield acme
    sys.modules.pop("cnroute_acme", None)


def program(*words: str, folder: Path) -> str:
    """The output of a Python program that ends well."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_plugin_passes_its_own_tests(installed: Path) -> None:
    """Untouched, it keeps every promise of the contract, and the run ends with the closing line."""
    out = program("-m", "pytest", "-q", "-W", "error", "-p", "no:randomly", folder=installed)
    assert "== TestAcme ==" in out
    assert "cnroute contract 1: 77 passed, 6 not applicable" in out.splitlines()


def test_check_plugin_needs_no_test_file(run: Run, installed: Path) -> None:
    """0 and a table for the new plugin; 1 and what to change for a sample that it breaks; 3 where nothing can be asked."""
    samples = str(installed / "samples")
    good = run("check-plugin", "acme", "--samples", samples, "--effort", "0.05", "--json")
    assert good.code == 0, good.out
    found = json.loads(good.out)
    assert found["plugin"] == "acme" and found["counts"]["failed"] == 0 and found["counts"]["passed"] > 60
    assert {row["outcome"] for row in found["checks"]} == {"passed", "not applicable"}
    plain = installed / "samples/plain.json"
    plain.write_text(plain.read_text("utf-8").replace('"input_tokens": 8', '"input_tokens": 9'), "utf-8")
    bad = run("check-plugin", "acme", "--samples", samples, "--model", "acme-1", "--effort", "0.05")
    assert bad.code == 1
    told = ("sample:   plain", "expected:", "got:", "change:", "failed: test_usage_is_the_vendors_or_unknown", " failed, ")
    assert [words for words in told if words not in bad.out] == []
    plain.write_text('{"bodi": {}}', "utf-8")
    broken = run("check-plugin", "acme", "--samples", samples)
    assert broken.code == 3 and "did you mean body?" in broken.err
    assert run("check-plugin", "acme", "--samples", str(installed / "nowhere")).code == 2
    assert run("check-plugin", "acme", "--samples", samples, "--option", "novalue").code == 2
    missing = run("check-plugin", "no-such-plugin", "--samples", samples)
    assert missing.code == 3 and "no-such-plugin" in missing.err


BAD_NAMES = ("", "Acme", "1acme", "acme_cloud", "acme--x", "-acme", "acme/x", "../acme", "a" * 41, "阿克", "dashscope")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_in_words(run: Run, tmp_path: Path, name: str) -> None:
    """The message says what a name looks like, and nothing is written."""
    done = run("new-plugin", "--into", str(tmp_path), "--", name)
    assert done.code == 2
    assert "such as acme" in done.err or "choose another" in done.err
    assert not list(tmp_path.glob("cnroute-*"))


def test_nothing_is_overwritten(run: Run, acme: Path) -> None:
    """A folder that is there stays as it is."""
    (acme / "README.md").write_text("mine")
    done = run("new-plugin", "acme", "--into", str(acme.parent))
    assert done.code == 2 and "already there" in done.err
    assert (acme / "README.md").read_text() == "mine"


def test_a_name_of_two_words() -> None:
    """Module, class and variable are spelled as Python and shells want them; no placeholder is left."""
    written = dict(files("acme-cloud"))
    assert "acme = cnroute" not in written["setup.cfg"] and "acme-cloud = cnroute_acme_cloud" in written["setup.cfg"]
    assert "class TestAcmeCloud" in written["tests/test_contract.py"]
    assert "ACME_CLOUD_API_KEY" in written["cnroute_acme_cloud.py"]
    assert not [place for place, text in written.items() if "@name@" in text or "@module@" in text]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tox_is_green_untouched(acme: Path) -> None:
    """The issue's promise as it stands: write it, go there, run tox."""
    pytest.importorskip("tox")
    out = program("-m", "tox", "-q", folder=acme)
    assert "cnroute contract 1: " in out
