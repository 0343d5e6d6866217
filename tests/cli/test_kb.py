"""`cnroute kb`: the vendor's three steps from a shell, and what a failed step leaves on the screen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnroute.cli import main
from cnroute.emulator import Emulator
from tests.cli.conftest import ROOT, Run, Start, command, wait_for

KEY, GROUP = "eyJ-canary-91f2", "1700000000000000042"


@pytest.fixture
def account(vendor: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The environment holds an account of the emulator."""
    vendor.empty()
    for name, value in (("KEY", KEY), ("HOST", vendor.base_url("minimax-pro"))):
        monkeypatch.setenv(f"MINIMAX_API_{name}", value)
    monkeypatch.setenv("MINIMAX_GROUP_ID", GROUP)
    yield vendor
    vendor.empty()


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    contents = {
        "faq.txt": "退货政策:七天之内可以退货。\n运费由商家承担。\n", "more.txt": "周末也发货。\n",
        "third.jsonl": '{"text": "会员有折扣"}\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, "utf-8")
    return [str(tmp_path / name) for name in contents]


def document(run: Run, *argv: str) -> Any:
    done = run("kb", *argv, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_create_ask_and_delete(run: Run, account: Emulator, texts: list[str]) -> None:
    """One command uploads and builds, one asks and shows the sources, one deletes."""
    made = document(run, "create", "shop", *texts, "--chunk-size", "40", "--chunk-overlap", "0", "--description", "all of it")
    base, files = made["base"], made["files"]
    assert (base["status"], [each["file_id"] for each in base["documents"]]) == ("available", [file["id"] for file in files])
    (kept,) = account.bases
    assert (kept.id, kept.description, [each.params.chunk_size for each in kept.documents]) == (base["id"], "all of it", [40] * 3)
    done = run("kb", "ask", str(base["id"]), "退货政策是什么?", "--top-k", "2")
    assert (done.code, done.err) == (0, "")
    answer, *sources = done.out.splitlines()
    assert "七天之内可以退货" in answer
    assert sources[0].startswith(f"[1] file {files[0]['id']}, piece 0: 退货政策")
    asked = document(run, "ask", str(base["id"]), "周末发货吗?", "--model", "minimax-legacy/abab5.5-chat")
    assert asked["sources"][0]["document"] == str(files[1]["id"]) and asked["record"]["outcome"] == "ok" and asked["lost"] == {}
    deleted = run("kb", "delete", str(base["id"]), *(word for file in files for word in ("--file", str(file["id"]))))
    assert deleted.code == 0 and deleted.out.count("is gone") == 4
    assert account.bases == account.files == []


def test_upload_add_list_and_show(run: Run, account: Emulator, texts: list[str]) -> None:
    """Step by step; every id is printed whole, and what is listed is what is kept."""
    files = document(run, "upload", *texts)["files"]
    assert [file["id"] for file in files] == [each.id for each in account.files]
    assert run("kb", "upload", texts[0]).out.splitlines()[1].split() == [str(account.files[-1].id), "faq.txt", "66"]
    base = document(run, "create", "empty")["base"]
    assert base["documents"] == []
    number = str(base["id"])
    added = document(run, "add", number, texts[1], "--file-id", str(files[0]["id"]))
    assert [each["file_id"] for each in added["base"]["documents"]] == [files[0]["id"], added["files"][0]["id"]]
    assert document(run, "list")["bases"] == [document(run, "show", number)["base"]]
    assert len(document(run, "list", "--files")["files"]) == len(account.files) == 5
    assert run("kb", "show", number).out.startswith(f"{number}  empty  available\n  file {files[0]['id']}")
    assert number in run("kb", "list").out and str(files[0]["id"]) in run("kb", "list", "--files").out
    again = document(run, "add", number, "--file-id", str(files[2]["id"]), "--no-wait", "--separator", "\\n")
    assert again["base"]["id"] == base["id"]


def test_the_account_of_a_configuration(run: Run, account: Emulator, tmp_path: Path) -> None:
    """The first deployment that has knowledge bases, or the one that is named."""
    rows = (("v2", "minimax-v2", ""), ("a", "minimax-pro", "1"), ("b", "minimax-legacy", "2"))
    text = "".join(
        f'[deployments.{name}]\nprovider = "{provider}"\nmodel = "abab5.5-chat"\napi_key = {{ env = "MINIMAX_API_KEY" }}\n'
        f'base_url = "{account.base_url(provider)}"\n' + (f'options = {{ group_id = "{GROUP}{group}" }}\n' if group else "")
        for name, provider, group in rows
    )
    file = tmp_path / "cnroute.toml"
    file.write_text(text + '[routes.docs]\ntargets = ["b", "v2"]\n', "utf-8")
    document(run, "create", "one", "--config", str(file))
    made = document(run, "create", "two", "--config", str(file), "--deployment", "b")["base"]
    assert [base.group for base in account.bases] == [f"{GROUP}1", f"{GROUP}2"]
    done = run("kb", "ask", str(made["id"]), "你好", "--config", str(file))
    assert done.code == 2 and "--model is needed: docs, v2, a, b" in done.err
    assert run("kb", "ask", str(made["id"]), "你好", "--config", str(file), "--model", "docs").code == 0
    assert run("kb", "list", "--deployment", "b").code == 2
def test_an_answer_without_the_base_says_so(run: Run, account: Emulator, tmp_path: Path) -> None:
    """Whoever allowed the loss still sees it, on stderr; the answer alone is on stdout."""
    file = tmp_path / "cnroute.toml"
    file.write_text(
        f'[deployments.v2]\nprovider = "minimax-v2"\nmodel = "MiniMax-Text-01"\napi_key = {{ env = "MINIMAX_API_KEY" }}\n'
        f'base_url = "{account.base_url("minimax-v2")}"\n[routes.docs]\ntargets = ["v2"]\nknowledge_fallback = "without"\n',
        "utf-8",
    )
    done = run("kb", "ask", "5", "你好", "--config", str(file), "--model", "docs")
    assert done.code == 0 and done.out.strip() and "[1]" not in done.out
    assert done.err.startswith("cnroute: knowledge_base dropped: this deployment does not hold the base")


FAILING = [
    ("files/upload", ["ok", "http_401"], ("create", "x"), 4, 1, 0),
    ("embedding/create_knowledge_base", ["code:2032"], ("create", "x"), 5, 3, 0),
    ("embedding/add_document", ["ok", "http_400"], ("create", "x"), 1, 3, 1),
]


@pytest.mark.parametrize(("step", "faults", "argv", "code", "files", "bases"), FAILING)
def test_a_failed_step_names_what_is_there(
    run: Run, account: Emulator, texts: list[str], step: str, faults: list[str], argv: tuple[str, ...], code: int, files: int,
    bases: int,
) -> None:
    """Everything that was made before, on stderr and in the JSON; nothing has to be uploaded again."""
    account.script(step, faults)
    done = run("kb", *argv, *texts, "--json")
    found = json.loads(done.out)
    assert (done.code, found["exit_code"]) == (code, code)
    assert found["error"]["ids"].get("files", []) == [file.id for file in account.files]
    assert found["error"]["ids"].get("bases", []) == [base.id for base in account.bases]
    assert (len(account.files), len(account.bases)) == (files, bases)
    assert all(str(each.id) in done.err for each in (*account.files, *account.bases))
    assert "  next: " in done.err and KEY not in done.err + done.out and GROUP not in done.err + done.out


def test_a_deletion_that_stops_names_what_is_gone(run: Run, account: Emulator) -> None:
    """So that nobody deletes twice, or believes that all of it failed."""
    first, second = (document(run, "create", name)["base"]["id"] for name in ("a", "b"))
    account.script("embedding/delete_knowledge_base", ["ok", "http_401"])
    done = run("kb", "delete", str(first), str(second), "--json")
    assert done.code == 4 and json.loads(done.out)["error"]["ids"]["deleted_bases"] == [first]
    assert f"deleted_bases {first}" in done.err and [base.id for base in account.bases] == [second]


def test_who_interrupts_is_told_what_is_there(account: Emulator, texts: list[str], started: Start) -> None:
    """Ctrl-C while the vendor makes the base: the file was uploaded, and its id is on the screen."""
    account.script("embedding/create_knowledge_base", ["hang"])
    child = started("kb", "create", "x", texts[0])
    wait_for(lambda: any("create_knowledge_base" in request.path for request in account.requests))
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130 and child.stderr is not None
    (file,) = account.files
    assert child.stderr.read().strip() == f"cnroute: done before it was ended: files {file.id}"


EARLY = [
    (("create", "x", "{0}", "--file-id", "five"), "is no id"), (("add", "5", "{0}", "--file-id", "five"), "is no id"),
    (("create", "x", "{0}", "--chunk-size", "10", "--chunk-overlap", "5"), "2 x chunk_overlap"),
    (("add", "5", "{0}", "--chunk-size", "10", "--chunk-overlap", "5"), "2 x chunk_overlap"),
    (("create", " ", "{0}"), "name must be text"), (("create", "x", "{0}", "{1}"), "not .py"),
    (("upload", "{0}", "{1}"), "not .py"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "word"), EARLY)
def test_nothing_is_uploaded_for_a_command_that_is_wrong(
    run: Run, account: Emulator, texts: list[str], argv: tuple[str, ...], word: str
) -> None:
    """What can be told here is told before the first file is sent."""
    asked = len(account.requests)
    done = run("kb", *(each.format(texts[0], __file__) for each in argv))
    assert (done.code, done.out, len(account.requests)) == (2, "", asked)
    assert word in done.err and "cnroute chat" not in done.err


WRONG = [
    (("show", "five"), 2, "is no id"), (("delete",), 2, "give BASES"), (("add", "5"), 2, "give FILES"),
    (("upload",), 2, "FILES"), (("upload", "/no/such.txt"), 2, "exist"),
    (("create", "x", "--chunk-size", "10", "--chunk-overlap", "5"), 2, "2 x chunk_overlap"),
    (("show", "5"), 1, "does not exist"), (("show", "5", "--timeout", "-1"), 2, "positive"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "code", "word"), WRONG)
def test_wrong_usage(run: Run, account: Emulator, argv: tuple[str, ...], code: int, word: str) -> None:
    """The exit codes are those of every command."""
    done = run("kb", *argv)
    assert done.code == code and word in done.err and done.out == ""


def test_without_an_account(run: Run) -> None:
    """No key, no group: what to set."""
    done = run("kb", "list")
    assert done.code == 4 and "MINIMAX_API_KEY" in done.err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_a_terminal_sees_bars_and_a_pipe_does_not(account: Emulator, texts: list[str]) -> None:
    """Bars go to standard error and are gone at the end; standard output holds the same in both cases."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    child = subprocess.Popen(
        command("kb", "create", "seen", *texts), stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, env=environment,
        cwd=ROOT,
    )
    os.close(theirs)
    parts: list[bytes] = []
    with contextlib.suppress(OSError):  # the other side is closed
        while part := os.read(ours, 65536):
            parts.append(part)
    os.close(ours)
    out, _ = child.communicate(timeout=30)
    shown = b"".join(parts).decode("utf-8", "replace")
    assert child.returncode == 0, shown
    assert "faq.txt" in shown and "━" in shown
    assert b"\x1b" not in out and "seen  available" in out.decode()


def test_listing_commands_loads_no_client() -> None:
    """The group is imported without the client, urllib3 or bars."""
    code = (
        "import sys; from cnroute.cli import main; main(['kb', '--help']); "
        "print([name for name in ('cnroute.knowledge', 'urllib3', 'rich.console', 'structlog') if name in sys.modules],"
        " file=sys.stderr)"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
    assert done.stderr == "[]\n" and main(["kb", "--help"]) == 0
