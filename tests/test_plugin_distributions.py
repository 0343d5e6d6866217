"""The distributions in plugins/: built, installed all together into one environment, and tested there, as a stranger would.

Rules of this file
- The environment is fresh; what it lacks it takes from the one that runs this test, cnroute itself first of all. So
  nothing that is installed here changes the tests of the core.
- Each distribution is found by its entry points and its own tests run in a process of their own, beside all others.
  `tox -e plugin-NAME` runs the same tests with one distribution alone, in an environment that shares nothing.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cnroute

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted(path.parent for path in ROOT.glob("plugins/*/setup.cfg"))
NAMES = [folder.name for folder in FOLDERS]
pytestmark = pytest.mark.timeout(300)

LEFT_OUT = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".tox", ".hypothesis")
WANTED = ("LICENSE", "README.md", "setup.cfg", "setup.py", "src", "tests", "tox.ini")
STATES = """
import json, cnroute
host = cnroute.PluginHost()
print(json.dumps({"states": {plugin.name: [plugin.state, plugin.distribution] for plugin in host.plugins()},
                  "problems": list(map(str, host.problems))}))
"""


def run(*command: str | Path, **options: Any) -> str:
    """Run a program; its output, or a failure that shows it."""
    words = [*map(str, command)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def settings(folder: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(folder / "setup.cfg", "utf-8")
    return parser


def borrowing(folder: Path) -> Path:
    """A new environment's Python. Behind its own packages it sees this cnroute, then what is installed beside it."""
    venv.create(folder, with_pip=False)
    (own,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    lines = [str(Path(cnroute.__file__).parents[1]), *(f"import site; site.addsitedir({path!r})" for path in shared)]
    (own / "borrowed.pth").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of all distributions, so that building leaves nothing in the repository."""
    target = tmp_path_factory.mktemp("plugins")
    for folder in FOLDERS:
        shutil.copytree(folder, target / folder.name, ignore=LEFT_OUT)
    return target


@pytest.fixture(scope="module")
def python(copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which every distribution is installed, with what its tests need."""
    made = borrowing(tmp_path_factory.mktemp("environment"))
    install = [sys.executable, "-m", "pip", "--python", made, "install", "-q", "--disable-pip-version-check"]
    # One setuptools for all: an isolated build would fetch its own for each distribution.
    run(*install, "setuptools>=70.1")
    run(*install, "--no-build-isolation", *(f"{copies / name}[testing]" for name in NAMES))
    return made


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_distribution_is_whole(folder: Path) -> None:
    """Each has what a stranger would copy, and is listed in plugins/README.md and tox.ini."""
    assert [name for name in WANTED if not (folder / name).exists()] == []
    assert f"({folder.name}/README.md)" in (ROOT / "plugins/README.md").read_text("utf-8")
    place = f"    {folder.name.removeprefix('cnroute-')}: FOLDER = {{tox_root}}/plugins/{folder.name}\n"
    assert place in (ROOT / "tox.ini").read_text("utf-8")


def test_all_load_beside_each_other(python: Path, tmp_path: Path) -> None:
    """Every entry point is loaded under its name, with its distribution, and the host has no problem with any."""
    found = json.loads(run(python, "-W", "error", "-c", STATES, cwd=tmp_path))
    assert found["problems"] == []
    for folder in FOLDERS:
        origin = f"{folder.name} {settings(folder)['metadata']['version']}"
        names = [line.split("=")[0].strip() for line in settings(folder)["options.entry_points"]["cnroute"].split("\n") if line]
        assert {name: found["states"].get(name) for name in names} == {name: ["loaded", origin] for name in names}


@pytest.fixture(scope="module")
def own_tests(python: Path, copies: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The tests of every distribution, all at once: most of them wait for limits of time."""
    command = [str(python), "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = {name: subprocess.Popen(command, cwd=copies / name, **pipes) for name in NAMES}
    yield running
    for process in running.values():
        with process:  # closes its pipe, and waits
            process.kill()


@pytest.mark.parametrize("name", NAMES)
def test_its_own_tests_pass(name: str, own_tests: dict[str, subprocess.Popen[str]]) -> None:
    """The tests of a distribution pass against what was installed, every warning an error."""
    printed, _ = own_tests[name].communicate()
    assert own_tests[name].returncode == 0, printed


def test_their_types_are_right(python: Path, copies: Path) -> None:
    """`mypy --strict` finds nothing in any of them, with the types that cnroute publishes."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file", ""]
    run(*command, *(copies / name / "src" for name in NAMES), cwd=ROOT)
