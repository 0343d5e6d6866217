"""What a user gets: the wheel's contents, its dependencies, and the README's example run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnroute.emulator import Emulator
from tests.docs.emulated import KEYS, write_plugin
from tests.docs.pages import ROOT, python_blocks, section_command

PACKAGE = ROOT / "cnroute"
pytestmark = [
    pytest.mark.skipif(not PACKAGE.is_dir(), reason="the source tree is not here (tox -e wheel)"),
    pytest.mark.timeout(300),
]
# Python 3.11 before its fourth patch unpacks without filters.
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
NOT_SHIPPED = ("__pycache__", "_cache")
CORE = {"attrs", "cattrs", "pluggy", "structlog", "typing-extensions", "urllib3"}


def quiet(*command: str | Path, **options: Any) -> str:
    """Run a program; its output, or a failure that shows it."""
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [*map(str, command)]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that building leaves nothing in the repository."""
    target = tmp_path_factory.mktemp("tree")
    for name in ("setup.cfg", "setup.py", "MANIFEST.in", "README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "tox.ini"):
        shutil.copy(ROOT / name, target)
    shutil.copytree(PACKAGE, target / "cnroute", ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    for name in ("tests", "benchmarks", "docs", "plugins"):
        (target / name).mkdir()
        (target / name / "__init__.py").touch()
    return target


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    quiet(sys.executable, "-m", "pip", "wheel", "-q", "--use-pep517", "--no-deps", "-w", folder, tree)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    quiet(sys.executable, "-m", "pip", "--python", python, "install", "-q", wheel)
    return python


def shipped(path: Path) -> Iterator[str]:
    """The files that a wheel must hold."""
    for each in path.rglob("*"):
        if each.is_file() and not any(part.endswith(NOT_SHIPPED) for part in each.parts):
            yield each.relative_to(path.parent).as_posix()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of cnroute/ is in the wheel, and no test, benchmark, page or plugin is."""
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == set(shipped(PACKAGE))
    assert {"cnroute/py.typed", "cnroute/catalogue/dashscope.toml", "cnroute/catalogue/minimax.toml"} <= inside


def test_the_wheel_tells_what_it_is(wheel: Path) -> None:
    """Licence, README, console script and pytest plugin stand in the metadata."""
    archive = zipfile.ZipFile(wheel)
    text = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
    entry_points = archive.read(text["entry_points.txt"]).decode()
    assert "cnroute = cnroute.cli:main" in entry_points
    assert "cnroute = cnroute.testing.pytest_plugin" in entry_points
    assert any(name.endswith("LICENSE") for name in text)
    metadata = archive.read(text["METADATA"]).decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "## Quick start" in metadata


def test_the_sdist_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    """An sdist has all that a wheel needs, with licence and changes."""
    quiet(sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path, cwd=tree)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "unpacked", **SAFELY)
    assert {"LICENSE", "CHANGELOG.md", "README.zh-CN.md"} <= names
    (source,) = (tmp_path / "unpacked").iterdir()
    quiet(sys.executable, "-m", "pip", "wheel", "-q", "--use-pep517", "--no-deps", "-w", tmp_path, source)
    (again,) = tmp_path.glob("*.whl")
    contents = [{name: archive.read(name) for name in archive.namelist()} for archive in map(zipfile.ZipFile, (wheel, again))]
    for content in contents:
        content.pop(next(name for name in content if name.endswith("/RECORD")))
    assert contents[0].keys() == contents[1].keys()
    assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []


def test_an_installation_is_small(installed: Path) -> None:
    """cnroute brings its five dependencies, and what one of those needs."""
    code = "from importlib import metadata; print(*sorted(d.name.lower().replace('_', '-') for d in metadata.distributions()))"
    names = set(quiet(installed, "-I", "-c", code).split()) - {"cnroute"}
    assert names <= CORE


def test_the_installed_command_names_the_missing_extra(installed: Path) -> None:
    """Without the extra `cli` the command says what to install, and ends with 2."""
    done = run(installed, "-I", "-m", "cnroute")
    assert done.returncode == 2
    assert "cnroute[cli]" in done.stdout


def test_the_readme_example_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """In an empty environment the README's first block gets its answers from the emulator."""
    script = tmp_path / "example.py"
    script.write_text(next(python_blocks(ROOT / "README.md")).code, "utf-8")
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    with Emulator() as emulator:
        environment = {**os.environ, **KEYS, "PYTHONPATH": str(write_plugin(plugin, emulator)), "PYTHONUTF8": "1"}
        printed = quiet(installed, "-W", "error", script, env=environment, cwd=tmp_path)
        answers = [entry.answered for entry in emulator.requests]
    assert len(answers) == 2
    assert all(answer in printed for answer in answers)


@pytest.mark.skipif(os.name == "nt", reason="the command is for a POSIX shell")
def test_the_quick_start_works_from_a_fresh_clone(tree: Path) -> None:
    """The README's one command makes an environment, installs, and shows answers, fallbacks and the bill."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    printed = quiet("sh", "-c", section_command(ROOT / "README.md", "## Quick start"), cwd=tree, env=environment)
    assert "bill" in printed.lower()
    assert "failed" in printed
