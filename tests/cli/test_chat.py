"""`chat`, `plan` and `explain`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnroute.emulator import Emulator
from tests.cli.conftest import KEY, Run

ANSWER = "你好!今天我能帮你什么?\n"


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_stdout_is_the_answer_alone(run: Run, config: str, vendor: Emulator, options: tuple[str, ...]) -> None:
    """The answer and its line end, whether or not a vendor failed before."""
    vendor.script("yi-large", ["http_503"])
    assert run("chat", "--config", config, "--model", "chat", *options, "你好") == (0, ANSWER, "")
    assert [entry.stream for entry in vendor.requests] == [not options] * 2


def test_text_comes_from_standard_input(run: Run, config: str, vendor: Emulator) -> None:
    """`-` is the text of the pipe, without its last line end; --system stands before it."""
    done = run("chat", "--config", config, "--model", "yi", "--system", "你是厨师", "-", stdin="你好\n")
    assert done == (0, ANSWER, "")
    (request,) = vendor.requests
    assert isinstance(request.body, dict)
    messages = request.body["input"]["messages"]
    assert [message["content"] for message in messages] == ["你是厨师", "你好"]


def test_arguments_of_a_call_reach_the_vendor(run: Run, config: str, vendor: Emulator) -> None:
    """Options are the keyword arguments of `router.chat`."""
    run("chat", "--config", config, "--model", "yi", "--max-tokens", "7", "--temperature", "0.5", "--top-p", "0.5", "你好")
    (request,) = vendor.requests
    assert isinstance(request.body, dict)
    sent = request.body["parameters"]
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (7, 0.5, 0.5)


def test_json_is_a_line_for_each_piece(run: Run, config: str) -> None:
    """Deltas, then the end with the record; the joined deltas are the text."""
    done = run("chat", "--config", config, "--model", "chat", "--json", "你好")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, done.err, lines[-1]["type"]) == (0, "", "end")
    assert len(lines) > 3
    assert "".join(line["text"] for line in lines[:-1]) == lines[-1]["text"] == ANSWER.strip()
    assert lines[-1]["record"]["outcome"] == "ok"


def test_json_without_a_stream_is_one_document(run: Run, config: str) -> None:
    """Text, finish reason and record."""
    found = json.loads(run("chat", "--config", config, "--model", "chat", "--json", "--no-stream", "你好").out)
    assert (found["text"], found["finish_reason"], found["record"]["deployment"]) == (ANSWER.strip(), "stop", "yi")


CALLS = [
    ("http_500_empty", 1),
    ("content_filter_input", 1),
    ("http_401", 4),
    ("http_403", 4),
    ("http_429", 5),
    ("rate_limit", 5),
    ("stream_cut", 1),
]


@pytest.mark.parametrize(("fault", "code"), CALLS)
def test_exit_codes_of_calls(run: Run, config: str, vendor: Emulator, fault: str, code: int) -> None:
    """The class of the error decides; stderr says what happened and what to do, and no key is anywhere."""
    vendor.script("yi-large", [fault] * 3)
    done = run("chat", "--config", config, "--model", "yi", "你好")
    assert done.code == code
    first, second = done.err.splitlines()
    assert first.startswith("cnroute: ")
    assert second.startswith("  next: ")
    assert KEY not in done.out + done.err


def test_a_broken_stream_keeps_what_it_said(run: Run, config: str, vendor: Emulator) -> None:
    """The partial text stands on stdout, and the error says that it is partial."""
    vendor.script("yi-large", ["stream_cut"])
    done = run("chat", "--config", config, "--model", "yi", "你好")
    assert done.out == "你好!\n"
    assert "incomplete" in done.err


@pytest.mark.parametrize("options", [(), ("--no-stream",)])
def test_a_timeout_is_6(run: Run, config: str, vendor: Emulator, options: tuple[str, ...]) -> None:
    """The call's own deadline."""
    vendor.script("yi-large", ["hang"])
    assert run("chat", "--config", config, "--model", "yi", "--timeout", "0.6", *options, "你好").code == 6


def test_a_budget_is_5(run: Run, config: str, vendor: Emulator) -> None:
    """A call that could cost more than --max-cost is not sent."""
    assert run("chat", "--config", config, "--model", "yi", "--max-cost", "0.00001", "你好").code == 5
    assert vendor.requests == []


USAGE = [
    ["chat", "--model", "yi"],
    ["chat", "你好"],
    ["chat", "--model", "nope", "你好"],
    ["chat", "--model", "yi", "--timeout", "-1", "你好"],
    ["chat", "--model", "yi", "--max-tokens", "0", "你好"],
    ["chat", "--model", "yi", "--max-tokens", "x", "你好"],
    ["chat", "--model", "yi", "--max-cost", "x", "你好"],
    ["chat", "--model", "yi", "--api-key", "x", "你好"],
    ["plan", "--model", "yi", "--lang", "fr", "你好"],
    ["plan", "--model", "nope", "你好"],
]


@pytest.mark.parametrize("argv", USAGE, ids=" ".join)
def test_wrong_usage_is_2(run: Run, config: str, vendor: Emulator, argv: list[str]) -> None:
    """Nothing is printed on stdout, nothing is sent."""
    done = run(*argv, "--config", config)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert vendor.requests == []


def test_errors_are_json_too(run: Run, config: str, vendor: Emulator) -> None:
    """With --json stdout always parses: the failure, its exit code, its record."""
    vendor.script("yi-large", ["http_429"] * 2)
    done = run("chat", "--config", config, "--model", "yi", "--json", "--no-stream", "你好")
    found = json.loads(done.out)
    assert (done.code, found["exit_code"], found["error"]["kind"]) == (5, 5, "rate_limit")
    assert found["record"]["outcome"] == "rate_limit"
    done = run("chat", "--config", config, "--model", "nope", "--json", "你好")
    assert json.loads(done.out)["error"]["kind"] == "model_not_found"


def test_explaining_goes_to_stderr(run: Run, config: str, vendor: Emulator) -> None:
    """--explain leaves stdout alone, for answers and for failures."""
    vendor.script("yi-large", ["http_503"])
    done = run("chat", "--config", config, "--model", "chat", "--explain", "--lang", "zh", "你好")
    assert (done.code, done.out) == (0, ANSWER)
    assert "厂商" in done.err
    vendor.script("yi-large", ["http_401"])
    assert "HTTP 401" in run("chat", "--config", config, "--model", "yi", "--explain", "你好").err


def test_a_plan_sends_nothing(run: Run, config: str, vendor: Emulator) -> None:
    """As text in both languages, and as JSON."""
    argv = ["plan", "--config", config, "--model", "chat", "--max-tokens", "100", "你好"]
    english, chinese, record = run(*argv), run(*argv, "--lang", "zh"), run(*argv, "--json")
    assert "yi" in english.out
    assert "元" in chinese.out
    found = json.loads(record.out)
    assert [each["deployment"] for each in found["plan"]["candidates"]] == ["yi", "mm"]
    assert (english.code, chinese.code, record.code) == (0, 0, 0)
    assert vendor.requests == []


def test_records_are_explained(run: Run, config: str, vendor: Emulator, tmp_path: Path) -> None:
    """Lines and whole documents, from a file and from standard input; what holds no record is passed over."""
    vendor.script("yi-large", ["http_503"])
    lines = run("chat", "--config", config, "--model", "chat", "--json", "你好").out
    whole = run("chat", "--config", config, "--model", "chat", "--json", "--no-stream", "你好").out
    plan = run("plan", "--config", config, "--model", "chat", "--json", "你好").out
    log = tmp_path / "log.jsonl"
    log.write_text(f"not json\n{lines}", "utf-8")
    assert "2 attempts" in run("explain", str(log)).out
    assert "厂商" in run("explain", "-", "--lang", "zh", stdin=lines).out
    assert run("explain", "-", stdin=whole).code == run("explain", "-", stdin=plan).code == 0
    (found,) = map(json.loads, run("explain", "-", "--json", stdin=lines).out.splitlines())
    assert found["record"]["outcome"] == "ok"
    assert "2 attempts" in found["text"]


def test_a_record_with_a_line_separator_is_one_line(run: Run, config: str, vendor: Emulator) -> None:
    """JSON may hold U+2028 and U+0085 inside of a text; loggers write them as they are."""
    record = json.loads(run("plan", "--config", config, "--model", "chat", "--json", "你好").out)
    lines = json.dumps({**record, "note": "a\u2028b\x85c"}, ensure_ascii=False) + "\n"
    assert len(run("explain", "-", "--json", stdin=lines + lines).out.splitlines()) == 2


def test_what_cannot_be_explained_is_named(run: Run) -> None:
    """No record at all is wrong usage; a damaged one is named by its line and ends with 1."""
    assert run("explain", "-", stdin="nothing\n").code == 2
    assert run("explain", "no-such-file").code == 2
    done = run("explain", "-", stdin='{"schema": 1, "kind": "plan"}\n{"schema": 99, "kind": "plan"}\n')
    assert (done.code, done.out) == (1, "")
    assert "line 1" in done.err
    assert "line 2" in done.err


def test_the_log_is_lines_of_json(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At debug each call's record is in the log, and `explain` reads it there."""
    monkeypatch.setenv("CNROUTE_LOG_LEVEL", "debug")
    done = run("chat", "--config", config, "--model", "chat", "你好")
    assert done.out == ANSWER
    assert all(json.loads(line)["event"] for line in done.err.splitlines())
    assert "yi" in run("explain", "-", stdin=done.err).out
    monkeypatch.setenv("CNROUTE_LOG_LEVEL", "loud")
    assert run("models", "--config", config).code == 2


@pytest.mark.parametrize("argv", [
    ("check-plugin", "nope", "--json"), ("chat", "--json", "--model", "x"), ("models", "--jsn", "--json"), ("nobody", "--json"),
], ids=" ".join)
def test_wrong_usage_is_json_too(run: Run, argv: tuple[str, ...]) -> None:
    """The one document on stdout says what stderr says."""
    done = run(*argv)
    document = json.loads(done.out)
    assert (done.code, document["type"], document["exit_code"]) == (2, "error", 2)
    assert document["error"]["message"] in done.err
    assert not run("chat", "--jsn", "--", "--json").out


def test_a_damaged_record_is_json_too(run: Run) -> None:
    """What is missing is said in words, on stderr and in the document."""
    line = json.dumps({"schema": 1, "kind": "completion"})
    done = run("explain", "-", "--json", stdin=line)
    document = json.loads(done.out)
    assert (done.code, document["type"], document["exit_code"]) == (1, "error", 1)
    assert document["error"]["message"] == "record 1: the record is damaged: it has no outcome"
    assert "it has no outcome" in run("explain", "-", stdin=line).err
