"""How the tests of this folder run commands: in this process, or in one of their own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from cnroute.cli import main
from cnroute.emulator import Emulator

KEY = "sk-canary-9f3a7c21"
ROOT = Path(__file__).resolve().parents[2]

FILE = """
[router]
breaker = false
retries = {{ same_deployment = 1 }}

[deployments.yi]
provider = "dashscope"
model = "yi-large"
api_key = {{ env = "DASHSCOPE_API_KEY" }}
base_url = "{dashscope}"
price = {{ currency = "CNY", input = "20", output = "20", as_of = 2025-06-01, source = "contract" }}

[deployments.mm]
provider = "minimax-v2"
model = "MiniMax-Text-01"
api_key = {{ env = "DASHSCOPE_API_KEY" }}
base_url = "{minimax}"

[routes.chat]
targets = ["yi", "mm"]
"""


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no configuration and no terminal setting of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("DASHSCOPE_", "MINIMAX_", "CNROUTE_")) or name in ("NO_COLOR", "FORCE_COLOR", "YI_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process."""

    def run(*argv: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(argv)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def config(vendor: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration whose vendors are the emulator, its key in the environment."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    file = tmp_path / "cnroute.toml"
    file.write_text(FILE.format(dashscope=vendor.base_url("dashscope"), minimax=vendor.base_url("minimax-v2")), "utf-8")
    return str(file)


def command(*argv: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "cnroute", *argv]


def process(*argv: str, env: Mapping[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        command(*argv), capture_output=True, encoding="utf-8", timeout=30, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})}, **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command and leave it running; whatever still runs at the end is ended."""
    running: list[subprocess.Popen[str]] = []
    # A suite in the background ignores Ctrl-C, and its children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*argv: str, **options: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(  # type: ignore[call-overload]
            command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            cwd=ROOT, **options,
        )
        running.append(child)
        return child

    yield start
    signal.signal(signal.SIGINT, before)
    for child in running:
        child.kill()
        child.communicate()


def wait_for(true: Callable[[], bool]) -> None:
    """Until it is true, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
