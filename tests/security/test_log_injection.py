"""What a vendor says cannot make a second log line, colour a terminal, or turn text around."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.cli import main
from cnroute.emulator import Emulator
from cnroute.testing import FakeTransport
from tests.contract.kit import plain_host
from tests.security.watch import call, deployment, watching

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FAKE = "2026-01-01 00:00:00 ERROR paid twice"
DIRTY = f"bad\r\n{FAKE}\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J\u202eesrever\u2066\u2028\u2029\x85\x0b\x0c\x00\x7f\u200f\ud800end"
# What a header can hold on the wire: Latin-1 without line ends.
IN_HEADER = f"id {FAKE}\x1b[31m\x9b2J\x85\x07end"


def bodies(provider: str) -> list[bytes]:
    """The dirty text in every place that a vendor has for words."""
    documents = [
        {"code": DIRTY, "message": DIRTY, "request_id": DIRTY},
        {"base_resp": {"status_code": DIRTY, "status_msg": DIRTY}, "id": DIRTY, "model": DIRTY},
        {"error": {"message": DIRTY, "type": DIRTY, "code": DIRTY, "http_code": DIRTY}},
        {"error": DIRTY},
    ]
    plain = [json.dumps(document).encode() for document in documents]
    return [
        *plain,
        *(b"event:error\n:HTTP_STATUS/400\ndata: " + each + b"\n\n" for each in plain),
        DIRTY.encode("utf-8", "surrogatepass"),
    ]


def good(provider: str) -> bytes:
    """A good answer whose id, model and finish reason are dirty."""
    choice = {
        "message": {"content": "x", "role": "assistant"},
        "finish_reason": DIRTY,
        "messages": [{"sender_type": "BOT", "text": "x"}],
        "text": "x",
    }
    return json.dumps({
        "output": {"choices": [choice]}, "choices": [choice], "reply": "x", "request_id": DIRTY, "id": DIRTY, "model": DIRTY,
        "usage": {"total_tokens": 3}, "base_resp": {"status_code": 0, "status_msg": DIRTY},
    }).encode()  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("provider", ["dashscope", "minimax-v2", "minimax-pro", "minimax-legacy"])
def test_one_clean_line(provider: str, stream: bool) -> None:
    """Message, code, request id, headers, model: one line per event, in text and in JSON, and one line per error."""
    headers = {
        "x-request-id": IN_HEADER,
        "Trace-Id": IN_HEADER,
        "Location": f"https://x.example/{IN_HEADER}",
        "Retry-After": IN_HEADER,
    }
    answers = [cnroute.HttpResponse(status, headers, body) for status in (200, 302, 400, 401, 500) for body in bodies(provider)]
    answers.append(cnroute.HttpResponse(200, headers, good(provider)))
    place = deployment(provider, "m", "https://vendor.example/v1")
    settings: dict[str, Any] = {"breaker": None, "retries": cnroute.Retries(max_attempts=1), **plain_host()}
    with watching() as watch, cnroute.Router([place], transport=FakeTransport(answers), **settings) as router:
        errors = [call(router, "d", stream) for _ in answers]
    for error in errors[:-1]:
        assert isinstance(error, cnroute.CallError)
        shown = [str(error), *error.__notes__, error.vendor_code or "", error.request_id or "", str(error.attempts[0].request_id)]
        assert [text for text in shown if UNSAFE.search(text) or len(text) > 2000] == []
    assert len(watch.lines) == 3 * len(answers) + len([line for line in watch.lines if "needs attention" in line])
    assert [line[:400] for line in watch.lines if UNSAFE.search(line)] == []
    assert sum("call finished" in line for line in watch.lines) == len(answers)


def test_redirects_over_a_wire(vendor: Emulator) -> None:
    """The Location of a redirect, as the real transport reports it: scheme and host at most."""
    place = deployment(
        "dashscope", "qwen-plus!redirect_302:https://user:word@x.example/secret-path?secret-query", vendor.base_url("dashscope")
    )
    with cnroute.Router([place], **plain_host()) as router:
        error = call(router, "d", False)
    assert isinstance(error, cnroute.ResponseError)
    assert error.kind == "redirect"
    assert not any(part in str(error) for part in ("secret", "word", "user"))


def test_the_hosts_own_formats(vendor: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """A plain text format, with every field of the event in it, makes one line per event."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s detail=%(detail)s code=%(vendor_code)s id=%(request_id)s")
    )
    logger = logging.getLogger("cnroute.call")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        place = deployment("dashscope", "qwen-plus!http_400_dirty", vendor.base_url("dashscope"))
        with cnroute.Router([place], **plain_host()) as router:
            call(router, "d", False)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert not UNSAFE.search(written[:-1])
    assert "paid twice" in written


@pytest.mark.parametrize("argv", [("--json",), ("--no-stream",), ("--no-stream", "--json"), ("--explain",)])
@pytest.mark.parametrize("level", ["", "debug"])
def test_the_command_line(
    vendor: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    argv: tuple[str, ...],
) -> None:
    """Errors are clean lines, logs are whole lines of JSON, and stdout holds nothing that steers."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNROUTE_LOG_LEVEL", level)
    file = tmp_path / "c.toml"
    model = "qwen-plus!http_400_dirty"
    file.write_text(
        f'[deployments.d]\nprovider = "dashscope"\nmodel = "{model}"\napi_key = "sk-canary-1"\n'
        f'base_url = "{vendor.base_url("dashscope")}"\n'
    )
    file.chmod(0o600)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["chat", "--model", "d", "--config", str(file), *argv, "x"]) != 0
    out, err = capsys.readouterr()
    assert [line for line in (out + err).split("\n") if UNSAFE.search(line)] == []
    assert not any(line.startswith(FAKE) for line in err.split("\n"))
    if level:
        logged = [json.loads(line) for line in err.split("\n") if line.startswith("{")]
        assert {"attempt started", "attempt finished", "call finished"} <= {line["event"] for line in logged}
