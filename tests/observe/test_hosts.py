"""The hosts that must work, each in a process of its own: success, fallback, stream and failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cnroute.explain import explain, find_record
from tests.observe.scene import CALLS, KEY, PROMPT

ROOT = Path(__file__).parents[2]


def host(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished host; it must end well and print nothing to stderr."""
    command = [sys.executable, "-X", "utf8", "-W", "error", "-m", "tests.observe.host", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert KEY not in done.stdout
    assert PROMPT not in done.stdout
    return done


def lines(text: str, prefix: str = "cnroute") -> list[dict[str, Any]]:
    """The lines of our loggers, decoded."""
    found = [json.loads(line) for line in text.splitlines()]
    return [line for line in found if str(line.get("logger", line.get("name"))).startswith(prefix)]


def test_a_host_that_configured_nothing_sees_nothing() -> None:
    """Neither on stdout nor on stderr."""
    assert host("bare").stdout == ""


def test_structlog_is_imported_when_something_is_logged() -> None:
    """Not at import, not for a router, not for calls whose events are off; then with the first event."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.observe.host", "quiet"],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_host_with_the_standard_librarys_logging() -> None:
    """Records under `cnroute.*` with the right level and the fields as attributes."""
    seen = lines(host("basic").stdout)
    calls = [line for line in seen if line["name"] == "cnroute.call"]
    assert [(line["levelname"], line["shown"]) for line in calls] == [("INFO", "INFO:cnroute.call:call finished")] * CALLS
    assert [line["outcome"] for line in calls] == ["ok", "ok", "ok", "auth"]
    assert [line["attempts"] for line in calls] == [1, 2, 1, 1]
    assert [line["stream"] for line in calls] == [False, False, True, False]
    assert [line["deployment"] for line in calls] == ["yi", "mm", "mm", "kb"]
    assert [line["name"] for line in seen if line["levelname"] == "ERROR"] == ["cnroute.deployment"]
    assert {line["levelname"] for line in seen if line["name"] == "cnroute.attempt"} == {"DEBUG"}


def test_a_host_with_structlog_over_the_standard_library() -> None:
    """Events go through the host's chain; its context appears, also where our names or logging's are taken."""
    seen = lines(host("structured").stdout)
    calls = [line for line in seen if line["event"] == "call finished"]
    assert len(calls) == CALLS
    for line in calls:
        assert line["level"] == "info"
        assert line["logger"] == "cnroute.call"
        assert line["user"] == "李雷"
        assert line["context_request_id"] == "host-7"
        assert line["request_id"] not in (None, "host-7")
    assert [line["level"] for line in seen if line["event"] == "deployment needs attention"] == ["error"]


def test_a_host_that_writes_json_to_a_file(tmp_path: Path) -> None:
    """Each line parses, Chinese is readable, and at DEBUG the call's record can be explained from the line."""
    file = tmp_path / "log.jsonl"
    host("json_file", str(file))
    text = file.read_text(encoding="utf-8")
    assert "杭州" in text
    assert "\\u" not in text
    assert KEY not in text
    assert PROMPT not in text
    calls = [line for line in lines(text) if line["event"] == "call finished"]
    assert len(calls) == CALLS
    assert all(line["request_id"] for line in calls)
    for line in calls:
        record = find_record(line)
        assert record is not None
        assert record["call_id"] == line["call_id"]
        assert line["call_id"] in explain(record, "zh")
