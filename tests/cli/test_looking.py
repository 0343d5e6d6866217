"""`models`, `prices`, `config`, `plugins`, `doctor`: what there is, without a call."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from cnroute.emulator import Emulator
from tests.cli.conftest import KEY, Run


def test_models_lists_what_can_be_called(run: Run, config: str) -> None:
    """Routes and deployments of a configuration."""
    found = json.loads(run("models", "--config", config, "--json").out)["models"]
    assert [row["name"] for row in found] == ["chat", "yi", "mm"]
    text = run("models", "--config", config).out
    assert "20 in, 20 out CNY per 1,000,000" in text


def test_models_of_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configuration: provider/model for the keys that are set; --all needs none."""
    assert run("models").code == 4
    monkeypatch.setenv("MINIMAX_API_KEY", KEY)
    names = [row["name"] for row in json.loads(run("models", "--json").out)["models"]]
    assert "minimax-v2/MiniMax-Text-01" in names
    assert not any(name.startswith("dashscope/") for name in names)
    assert "dashscope/yi-large" in run("models", "--all").out


def test_prices_say_currency_date_and_source(run: Run, config: str) -> None:
    """A known price has all three; an unknown one says so."""
    found = json.loads(run("prices", "list", "--config", config, "--json").out)["prices"]
    assert found[0]["price"]["source"] == "contract"
    assert all(row["price"]["currency"] and row["price"]["as_of"] for row in found if row["price"])
    assert "unknown" in run("prices", "list").out
    assert "unknown" not in run("prices", "list", "--known").out


def test_config_check(run: Run, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 and a sentence, 3 and every problem, 4 when only keys are missing."""
    assert run("config", "check", config).code == run("config", "check", "--config", config).code == 0
    monkeypatch.delenv("DASHSCOPE_API_KEY")
    assert run("config", "check", config).code == 4
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[router]\npolcy = "x"\n[routes]\nchat = ["a"]\n[deployments]\n', "utf-8")
    done = run("config", "check", str(wrong))
    assert (done.code, done.out) == (3, "")
    assert "did you mean 'policy'" in done.err
    assert "routes.chat.targets[0]" in done.err
    found = json.loads(run("config", "check", str(wrong), "--json").out)
    assert [problem["key"] for problem in found["problems"]] == ["router.polcy", "routes.chat.targets[0]"]
    assert run("config", "check").code == 2
    assert run("config", "check", str(tmp_path / "none.toml")).code == 3


def test_config_check_knows_what_only_a_router_knows(run: Run, tmp_path: Path) -> None:
    """A missing option of a provider is found, with the file's name."""
    file = tmp_path / "c.toml"
    file.write_text('[deployments.kb]\nprovider = "minimax-pro"\nmodel = "m"\napi_key = "sk-xyz"\n', "utf-8")
    file.chmod(0o600)
    (problem,) = json.loads(run("config", "check", str(file), "--json").out)["problems"]
    assert (problem["file"], problem["key"]) == (str(file), "deployments.kb.options.group_id")


def test_config_show_hides_secrets(run: Run, tmp_path: Path, vendor: Emulator) -> None:
    """Every default is there and the text is TOML; no key, option, header value or proxy is."""
    file = tmp_path / "c.toml"
    secrets = {"sk-hidden-key", "1234567890", "tenant-secret", "proxy-password"}
    file.write_text(
        '[deployments."智 能"]\nprovider = "minimax-pro"\nmodel = "m"\napi_key = "sk-hidden-key"\n'
        'options = { group_id = "1234567890" }\nheaders = { X-Tenant = "tenant-secret" }\n'
        'proxy = "http://user:proxy-password@127.0.0.1:1"\n'
        '[routes.chat]\ntargets = { "智 能" = 1 }\npolicy = "weighted"\n', "utf-8",
    )  # fmt: skip
    file.chmod(0o600)
    text, document = run("config", "show", str(file)), run("config", "show", str(file), "--json")
    assert tomllib.loads(text.out) == json.loads(document.out)
    assert json.loads(document.out)["router"]["timeouts"]["total"] == 300
    assert not any(secret in text.out + document.out + text.err for secret in secrets)


def test_a_file_that_others_may_read_is_warned_of(run: Run, tmp_path: Path) -> None:
    """Inline keys and a wide mode: a warning on stderr, stdout untouched."""
    file = tmp_path / "c.toml"
    file.write_text('[deployments.yi]\nprovider = "dashscope"\nmodel = "yi-large"\napi_key = "sk-inline"\n', "utf-8")
    file.chmod(0o644)
    done = run("models", "--config", str(file))
    assert "chmod 600" in done.err
    assert "sk-inline" not in done.err
    file.chmod(0o600)
    assert run("models", "--config", str(file)).err == ""


def test_plugins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, state, distribution and hooks; a blocked one says that it is blocked."""
    monkeypatch.setenv("CNROUTE_BLOCK_PLUGINS", "minimax-legacy")
    found = json.loads(run("plugins", "--json").out)
    rows = {row["name"]: row for row in found["plugins"]}
    assert "build_request" in rows["dashscope"]["hooks"]
    assert rows["minimax-legacy"]["state"] == "blocked"
    assert "built-in" in run("plugins").out


def test_doctor_without_anything(run: Run) -> None:
    """No key is a problem with exit code 4; every place that was looked at is named."""
    done = run("doctor")
    assert done.code == 4
    assert "DASHSCOPE_API_KEY" in done.out
    assert "~/.dashscope/api_key" in done.out


def test_doctor_names_sources_and_no_values(run: Run, config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where keys come from: variable, named file, file at home; hints for variables of others."""
    done = run("doctor", "--config", config)
    assert done.code == 0
    assert "from env DASHSCOPE_API_KEY" in done.out
    monkeypatch.delenv("DASHSCOPE_API_KEY")
    (tmp_path / ".dashscope").mkdir()
    (tmp_path / ".dashscope/api_key").write_text(f"{KEY}\n", "utf-8")
    monkeypatch.setenv("YI_API_KEY", "yi-canary")
    monkeypatch.setenv("MINIMAX_API_KEY", "mm-canary")
    done = run("doctor")
    assert done.code == 0
    assert "from file ~/.dashscope/api_key" in done.out
    assert "MINIMAX_GROUP_ID is not set" in done.out
    assert "YI_API_KEY belongs" in done.out
    assert not any(secret in done.out + done.err for secret in (KEY, "yi-canary", "mm-canary"))


def test_doctor_finds_a_wrong_configuration(run: Run, tmp_path: Path) -> None:
    """Exit code 3, as for every command; as JSON, too."""
    file = tmp_path / "c.toml"
    file.write_text("[rooter]\n", "utf-8")
    found = json.loads(run("doctor", "--config", str(file), "--json").out)
    assert any("rooter" in finding["text"] for finding in found["findings"])
    assert run("doctor", "--config", str(file)).code == 3


def test_doctor_touches_vendors_only_when_asked(run: Run, config: str, vendor: Emulator) -> None:
    """--online sends a GET without a key to each host; without it nothing arrives."""
    run("doctor", "--config", config)
    assert vendor.requests == []
    done = run("doctor", "--config", config, "--online")
    assert done.code == 0
    assert done.out.count("answers in") == 2
    assert [(entry.method, entry.authorized) for entry in vendor.requests] == [("GET", False)] * 2


def test_doctor_says_when_a_host_does_not_answer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is not there is a problem with exit code 1."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "http://127.0.0.1:9/api/v1")
    done = run("doctor", "--online")
    assert done.code == 1
    assert "does not answer" in done.out


def test_what_to_do_next_names_the_file_where_there_is_one(run: Run, tmp_path: Path) -> None:
    """The advice fits the place of the mistake, also where the command is the one that looks."""
    file = tmp_path / "wrong.toml"
    file.write_text('[deployments.a]\nprovider = "dashscope"\n')
    assert f"next: correct {file}, and look again with `cnroute config check`" in run("config", "check", str(file)).err
