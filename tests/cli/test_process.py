"""The command line as a process: start, pipes, signals, terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cnroute.cli import failing
from cnroute.cli.app import COMMANDS, commands
from cnroute.emulator import Emulator
from tests.cli.conftest import KEY, ROOT, Run, Start, command, process, wait_for


def test_help_imports_no_router() -> None:
    """Neither the help of the whole nor listing commands loads the router, urllib3, structlog or rich."""
    code = (
        "import sys; from cnroute.cli import main; assert main(['--help']) == 0; "
        "print([name for name in ('cnroute.router', 'cnroute.engine', 'urllib3', 'structlog', 'cattrs', 'cnroute.cli.chat')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=30, check=False, cwd=ROOT)
    assert done.stderr == "[]\n"
    assert all(name in done.stdout for name in COMMANDS)


def test_the_page_knows_every_command_and_exit_code() -> None:
    """docs/command-line.md names each command, and each exit code that an error can have."""
    page = (ROOT / "docs/command-line.md").read_text("utf-8")
    assert all(f"| `{name}" in page for name in COMMANDS)
    codes = {value for name, value in vars(failing).items() if name.isupper() and isinstance(value, int)}
    assert codes == {1, 2, 3, 4, 5, 6, 130}
    assert all(f"\n| {code} | " in page for code in codes)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_has_json(run: Run, name: str) -> None:
    """The short help of the table is the command's own; --json and --no-color are everywhere."""
    found = commands.get_command(commands.make_context("cnroute", ["demo"]), name)
    assert found is not None
    assert found.short_help == COMMANDS[name][2]
    inner = getattr(found, "commands", {"": found})
    for each in inner:
        done = run(name, *filter(None, [each]), "--help")
        assert done.code == 0
        assert "--json" in done.out
        assert "--no-color" in done.out


def test_without_the_extra_it_is_named(tmp_path: Path) -> None:
    """Without click one line names the extra, and the exit code is 2."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('No module named click', name='click')", "utf-8")
    done = process("demo", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stdout == ""
    assert "cnroute[cli]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_usage_is_2() -> None:
    """An unknown command, and nothing at all."""
    done = process("shout")
    assert (done.returncode, done.stdout) == (2, "")
    assert "shout" in done.stderr


@pytest.mark.parametrize("argv", [("prices", "list"), ("demo",), ("--help",), ("demo", "--json")], ids=" ".join)
def test_a_closed_pipe_ends_quietly(argv: tuple[str, ...]) -> None:
    """The reader has left before anything was written: no traceback, no error."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            command(*argv), stdout=pipe, stderr=subprocess.PIPE, encoding="utf-8", timeout=30, check=False, cwd=ROOT
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_that_closes_in_a_stream(config: str, vendor: Emulator, started: Start) -> None:
    """The reader leaves after the first bytes of an endless answer: the call is cancelled, quietly."""
    vendor.script("MiniMax-Text-01", ["stream_endless"])
    child = started("chat", "--config", config, "--model", "mm", "你好")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.read(1)
    child.stdout.close()
    assert child.wait(10) == 0
    assert child.stderr.read() == ""


def test_ctrl_c_is_130(config: str, vendor: Emulator, started: Start) -> None:
    """In the middle of a call, within a second, without a traceback."""
    vendor.script("yi-large", ["hang"])
    child = started("chat", "--config", config, "--model", "yi", "你好")
    wait_for(lambda: len(vendor.requests) == 1)
    begun = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130
    assert time.monotonic() - begun < 2
    assert child.stderr is not None
    assert child.stderr.read().strip() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_emulator_says_where_it_is(started: Start, number: signal.Signals) -> None:
    """The first line on stderr is the address; SIGTERM and Ctrl-C end it within a second."""
    child = started("emulate", "--port", "0", "--json")
    assert child.stderr is not None
    assert child.stdout is not None
    url = child.stderr.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    assert json.loads(child.stdout.readline())["base_urls"]["dashscope"].startswith(url)
    with urllib.request.urlopen(f"{url}/_emulator/requests", timeout=5) as response:
        assert json.load(response) == []
    begun = time.monotonic()
    child.send_signal(number)
    assert child.wait(10) == 0
    assert time.monotonic() - begun < 1
    assert child.stderr.read() == ""


@pytest.mark.parametrize("argv", [["--host", "0.0.0.0"], ["--weights", "x"], ["--weights", '{"nope": 1}'], ["--port", "-1"]])
def test_the_emulator_refuses(run: Run, argv: list[str]) -> None:
    """Other addresses than loopback, weights that are none."""
    done = run("emulate", *argv)
    assert (done.code, done.out) == (2, "")


def test_no_key_is_4(run: Run) -> None:
    """Without configuration and key there is nobody to ask; the variables are named."""
    done = run("chat", "--model", "dashscope/qwen-plus", "你好")
    assert (done.code, done.out) == (4, "")
    assert "DASHSCOPE_API_KEY" in done.err


def test_a_key_of_the_environment_is_enough(run: Run, vendor: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`provider/model` with nothing but the vendors' own variables."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", vendor.base_url("dashscope"))
    assert run("chat", "--model", "dashscope/qwen-plus", "你好").out == "你好!今天我能帮你什么?\n"
    assert [entry.model for entry in vendor.requests] == ["qwen-plus"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
@pytest.mark.parametrize(("env", "argv", "coloured"), [
    ({"TERM": "xterm-256color"}, (), True),
    ({"TERM": "xterm-256color"}, ("--no-color",), False),
    ({"TERM": "xterm-256color", "NO_COLOR": "1"}, (), False),
    ({"TERM": "dumb"}, (), False),
])  # fmt: skip
def test_colour_is_for_terminals(env: dict[str, str], argv: tuple[str, ...], coloured: bool) -> None:
    """On a terminal unless it is switched off; never in a pipe."""
    text = on_a_terminal("plugins", *argv, env=env)
    assert "dashscope" in text
    assert ("\x1b[" in text) is coloured
    assert "\x1b" not in process("plugins", *argv, env={**env, "FORCE_COLOR": "1"}).stdout


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_an_answer_cannot_steer_a_terminal(config: str) -> None:
    """Control characters of a model are shown on a terminal, and passed on to a pipe."""
    argv = ("chat", "--config", config, "--model", "yi", "a\x1b[2Jb")
    assert "\\x1b[2J" in on_a_terminal(*argv, env={"TERM": "xterm"})
    assert "\x1b[2J" in process(*argv).stdout


def on_a_terminal(*argv: str, env: dict[str, str]) -> str:
    """What a command writes to a pseudo terminal."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        command(*argv), stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **env}
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:
        pass  # the other side is closed
    finally:
        os.close(ours)
    assert child.wait(30) == 0
    return b"".join(parts).decode()
