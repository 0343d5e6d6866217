"""Settings from files, mappings and the environment: what is read, and every mistake at once."""

from __future__ import annotations

import logging
import os
import random
import string
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

import cnroute
from cnroute import config as config_module
from cnroute.config import Reader, environment_arguments, plugin_host, problems_of, router_arguments
from cnroute.emulator import Emulator

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEY = "sk-canary-9f3a7c21"
YI: dict[str, Any] = {"provider": "dashscope", "model": "yi-large", "api_key": KEY}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no configuration of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("DASHSCOPE_", "MINIMAX_", "CNROUTE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def keys_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "MINIMAX_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("MINIMAX_GROUP_ID", "1700000000000000000")


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "cnroute.toml"
    file.write_text(text, "utf-8")
    file.chmod(mode)
    return str(file)


def mistakes(config: Any) -> list[str]:
    with pytest.raises(cnroute.ConfigurationError) as caught:
        router_arguments(config)
    return [f"{problem.key}: {problem.reason}" for problem in caught.value.problems]


def with_yi(**changes: Any) -> dict[str, Any]:
    return {"deployments": {"yi": {**YI, **changes}}}


# -- what is read ----------------------------------------------------------------------------------------


def examples() -> list[str]:
    page = (DOCS / "configuration.md").read_text("utf-8")
    return [part.partition("```")[0] for part in page.split("```toml\n")[1:]]


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_of_the_page_are_good(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every TOML block of the configuration page is read, and a router takes it."""
    keys_set(monkeypatch)
    file = written(tmp_path, examples()[number])
    assert problems_of(file) == []
    assert problems_of(tomllib.loads(examples()[number])) == []


def test_the_page_knows_every_key() -> None:
    """docs/configuration.md names each key that is read, and each variable."""
    page = (DOCS / "configuration.md").read_text("utf-8")
    keys = {*Reader._ROUTER, *Reader._DEPLOYMENT, *Reader._ROUTE}
    kinds = (cnroute.Timeouts, cnroute.Limits, cnroute.Retries, cnroute.Breaker)
    fields = {field.name for kind in kinds for field in attrs.fields(kind)}
    names = ("CONFIG", "LOAD_PLUGINS", "BLOCK_PLUGINS", "KEY_FILE", "KEY_FILE_AT_HOME")
    variables = {getattr(config_module, name) for name in names}
    assert {name for name in keys | fields | variables if f"`{name}`" not in page and f"`{name} = " not in page} == set()


def test_every_key_of_the_page_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file says arrives as values of the library."""
    keys_set(monkeypatch)
    arguments = router_arguments({
        "router": {
            "policy": "fastest", "timeouts": {"total": 60}, "limits": {"max_in_flight": 8}, "retries": {"max_attempts": 2},
            "breaker": {"failures": 3}, "currency": "CNY", "exchange": {"USD": {"rate": "7.10", "as_of": "2026-11-01"}},
            "defaults": {"max_tokens": 99, "stop": "完"}, "transport": "urllib3",
        },
        "deployments": {"kb": {
            "provider": "minimax-pro", "model": "abab6.5s-chat", "api_key": {"env": "MINIMAX_API_KEY"},
            "options": {"group_id": {"env": "MINIMAX_GROUP_ID"}, "bot_name": "智能助理"}, "headers": {"X-Tenant": "a"},
            "price": {"currency": "CNY", "input": 1, "output": "1.5", "as_of": "2025-01-01"}, "tls": {"ca_file": "/ca.pem"},
            "timeouts": 30, "proxy": "http://127.0.0.1:3128", "breaker": {"failures": 9}, "limits": {"max_connections": 4},
            "rate_limit": {"requests_per_minute": 60}, "defaults": {"temperature": 0.5}, "allow_http": True,
            "base_url": "http://vendor.internal/v1/",
        }},
        "routes": {"chat": {
            "policy": "ordered", "targets": ["kb", {"policy": "cheapest", "targets": ["kb"]}], "fallback_on": ["content_filter"],
            "fallback": {"bad_request": "next"}, "timeouts": {"total": 9}, "retries": {"backoff": 1}, "defaults": {"seed": 1},
        }},
    })  # fmt: skip
    (kb,) = arguments["deployments"]
    assert arguments["timeouts"] == cnroute.Timeouts(total=60)
    assert arguments["breaker"] == cnroute.Breaker(failures=3)
    assert arguments["defaults"] == {"max_tokens": 99, "stop": ("完",)}
    assert arguments["exchange"]["USD"]["rate"] == "7.10"
    assert kb.api_key.reveal() == KEY
    assert kb.options["group_id"] == "1700000000000000000"
    assert (kb.base_url, kb.timeouts.total, kb.price.output) == ("http://vendor.internal/v1", 30, Decimal("1.5"))
    assert kb.tls == cnroute.TLS(ca_file="/ca.pem")
    assert kb.rate_limit == cnroute.RateLimit(60)
    route = arguments["routes"]["chat"]
    assert route.targets[1] == cnroute.Route("cheapest", ["kb"])
    assert route.fallback_on == {"content_filter"}


def test_a_router_is_made_and_answers(vendor: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """from_config takes a path or a mapping; arguments in code win over both."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    text = f"""
        [router]
        timeouts = {{ total = 20 }}
        [deployments.yi]
        provider = "dashscope"
        model = "yi-large"
        api_key = {{ env = "DASHSCOPE_API_KEY" }}
        base_url = "{vendor.base_url("dashscope")}"
        [routes]
        chat = ["yi"]
    """
    for config in (written(tmp_path, text), tmp_path / "cnroute.toml", tomllib.loads(text)):
        with cnroute.Router.from_config(config, timeouts=cnroute.Timeouts(total=5)) as router:
            assert router.chat("你好", model="chat").text == "你好!今天我能帮你什么?"
    assert all(entry.authorized for entry in vendor.requests)


def test_the_breaker_can_be_switched_off_for_all() -> None:
    """`breaker = false` in [router] means None; elsewhere it is a mistake."""
    assert router_arguments({"router": {"breaker": False}, **with_yi()})["breaker"] is None
    assert "breaker" not in router_arguments(with_yi())
    assert "only the whole router's" in mistakes(with_yi(breaker=False))[0]


def test_deployments_may_stand_in_code(vendor: Emulator) -> None:
    """A configuration without deployments leaves its targets to the code that adds them."""
    yi = cnroute.Deployment("yi", "dashscope", "yi-large", api_key=KEY, base_url=vendor.base_url("dashscope"))
    with cnroute.Router.from_config({"routes": {"chat": ["yi"]}}, deployments=[yi]) as router:
        assert router.chat("你好", model="chat").deployment == "yi"


def test_values_of_the_library_may_stand_in_a_mapping() -> None:
    """Prices, time limits and callables for keys, as code has them."""
    arguments = router_arguments(with_yi(
        api_key=lambda: KEY, price=cnroute.Price("CNY", "1", "2"), timeouts=cnroute.Timeouts(idle=3),
    ))  # fmt: skip
    (yi,) = arguments["deployments"]
    assert (yi.api_key.reveal(), yi.price.input, yi.timeouts.idle) == (KEY, 1, 3)


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    """A relative path starts at the folder of the file that names it; the last line end is no part of the key."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/yi").write_text(f"{KEY}\n", "utf-8")
    text = '[deployments.yi]\nprovider = "dashscope"\nmodel = "yi-large"\napi_key = { file = "keys/yi" }\n'
    (yi,) = router_arguments(written(tmp_path, text))["deployments"]
    assert yi.api_key.reveal() == KEY
    assert "cannot be read" in mistakes(written(tmp_path, text.replace("keys/yi", "keys/none")))[0]


# -- mistakes --------------------------------------------------------------------------------------------

GOLDEN_FILE = """
[router]
polcy = "ordered"
timeouts = { total = "60", conect = 5, idle = -1 }
limits = { max_in_flight = 1.5 }
breaker = { ratio = 2 }
exchange = { USD = { rate = 7.1, as_of = "2026-11-01" } }
defaults = { max_tokens = 0, temprature = 1 }

[deployment.yi]

[deployments.yi]
provider = "dashscop"
modell = "yi-large"
api_key = { env = "CNROUTE_TEST_NO_SUCH_KEY" }
base_url = "http://example.com/v1"
price = { input = 0.8, output = "x", as_of = "yesterday" }

[deployments.qwen]
provider = "dashscope"
model = "qwen-plus"
api_key = "${DASHSCOPE_API_KEY}"
options = { workspace = { env = "CNROUTE_TEST_NO_SUCH_ID" } }
headers = { "X Bad" = "a" }

[deployments.kb]
provider = "minimax-pro"
model = "abab6.5s-chat"
api_key = "sk-inline-canary"

[routes.chat]
policy = "chepest"
targets = ["yi", "quen", { targets = [] }, 3]
fallback_on = ["contentfilter"]

[routes.trial]
policy = "ordered"
targets = { yi = 1, kb = "x" }

[routes.good]
targets = ["kb"]
"""

# What stands before "..." is this file's; the rest is said where the value lives.
GOLDEN = """\
deployment: unknown key; did you mean 'deployments'?
router.polcy: unknown key; did you mean 'policy'?
router.timeouts.conect: unknown key; did you mean 'connect'?
router.timeouts.total: must be a number, not text
router.timeouts.idle: idle must be ...
router.limits.max_in_flight: must be a whole number, not a number with a point
router.breaker.ratio: ratio must be ...
router.exchange.USD.rate: a number with a point is not exact; quote it: rate = "7.1"
router.defaults.temprature: unknown key; did you mean 'temperature'?
router.defaults.max_tokens: max_tokens must be ...
deployments.yi.modell: unknown key; did you mean 'model'?
deployments.yi.model: is missing
deployments.yi.api_key: the environment variable CNROUTE_TEST_NO_SUCH_KEY is not set
deployments.yi.price.currency: is missing; write currency = "CNY"
deployments.yi.price.input: a number with a point is not exact; quote it: input = "0.8"
deployments.yi.price.output: ...
deployments.yi.price.as_of: as_of must be a date ...
deployments.yi.base_url: base_url uses plain http ...
deployments.qwen.api_key: is no key; for the variable write { env = "DASHSCOPE_API_KEY" }
deployments.qwen.options.workspace: the environment variable CNROUTE_TEST_NO_SUCH_ID is not set
deployments.qwen.headers: ...
routes.chat.targets[2].targets: a route needs at least one target
routes.chat.targets[3]: must be a name or a nested route, not a whole number
routes.chat.fallback_on[0]: there is no failure kind 'contentfilter'; did you mean 'content_filter'?
routes.trial.targets: weight of kb ...
routes.trial.targets: targets with weights need policy = "weighted", not 'ordered'
routes.chat.targets[1]: there is no deployment or route 'quen'; did you mean 'qwen'?
deployments.yi.provider: there is no provider 'dashscop'; did you mean 'dashscope'?
routes.chat.policy: there is no policy 'chepest'; did you mean 'cheapest'?
deployments.kb.options.group_id: provider minimax-pro needs this option ...
"""


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """One file with thirty mistakes: each is named with its key, none hides another, and no key is shown."""
    file = written(tmp_path, GOLDEN_FILE)
    with pytest.raises(cnroute.ConfigurationError) as caught:
        router_arguments(file)
    problems = caught.value.problems
    assert {problem.file for problem in problems} == {file}
    told = [f"{problem.key}: {problem.reason}" for problem in problems]
    expected = GOLDEN.splitlines()
    pairs = zip(told, expected, strict=True)
    shown = [line[: len(start) - 3] + "..." if start.endswith("...") else line for line, start in pairs]
    assert shown == expected
    assert "canary" not in str(caught.value)
    assert "MINIMAX_GROUP_ID" in told[-1]


WRONG = [
    ({"router": 3}, "router: must be a table, not a whole number"),
    ({"deployments": []}, "deployments: must be a table, not a list"),
    ({"deployments": {"a/b": YI}}, "deployments.\"a/b\".name: "),
    ({"deployments": {"yi": "x"}}, "deployments.yi: must be a table, not text"),
    ({"routes": {"chat": "yi"}}, "routes.chat: must be a table, or a list of targets, not text"),
    (with_yi(model=7), "deployments.yi.model: must be text, not a whole number"),
    (with_yi(model=None), "deployments.yi.model: must be text, not nothing"),
    (with_yi(api_key=7), "deployments.yi.api_key: "),
    (with_yi(api_key="a b"), "deployments.yi.api_key: the key (text) must be 1 to 512 visible"),
    (with_yi(api_key={"env": "A", "file": "B"}), "deployments.yi.api_key: "),
    (with_yi(allow_http="yes"), "deployments.yi.allow_http: must be true or false, not text"),
    (with_yi(timeouts={"total": True}), "deployments.yi.timeouts.total: must be a number, not true or false"),
    (with_yi(headers={"X-A": 1}), "deployments.yi.headers.X-A: must be text, not a whole number"),
    (with_yi(rate_limit={"requests_per_minute": "9"}), "deployments.yi.rate_limit.requests_per_minute: must be a whole number"),
    (with_yi(price={"currency": "yuan"}), "deployments.yi.price.currency: "),
    (with_yi(price={"currency": "CNY", "tiers": [{"up_to": 5, "input": "1"}]}), "deployments.yi.price.tiers: "),
    (with_yi(price={"currency": "CNY", "tiers": [{"input": 0.5}]}), "deployments.yi.price.tiers[0].input: a number with a point"),
    (with_yi(price="1"), "deployments.yi.price: must be a table, not text"),
    (with_yi(tls={"verify": False}), "deployments.yi.tls.verify: unknown key; known are ca_file, client_cert, client_key"),
    (with_yi(defaults={"timeout": 3}), "deployments.yi.defaults.timeout: unknown key"),
    ({"routes": {"chat": {"targets": ["yi"], "fallback": {"auth": "on"}}}, **with_yi()}, "routes.chat.fallback.auth: "),
    ({"routes": {"chat": {"targets": {"yi": -1}}}, **with_yi()}, "routes.chat.targets"),
    ({"routes": {"chat": {"policy": "cheapest"}}, **with_yi()}, "routes.chat.targets: a route needs at least one target"),
    ({"router": {"transport": 3}}, "router.transport: must be a name, not a whole number"),
    ({"router": {"exchange": {"USD": {"rate": "7"}}}}, "router.exchange.USD: a rate needs its date"),
    ({1: 2}, ": keys must be text, not a whole number"),
]


@pytest.mark.parametrize(("config", "expected"), WRONG, ids=[expected[:50] for _, expected in WRONG])
def test_a_mistake_is_named_with_its_key(config: dict[Any, Any], expected: str) -> None:
    """Wrong types are never converted, and a message never shows a value that may be a key."""
    (told, *_) = mistakes(config)
    assert told.startswith(expected)
    assert KEY not in told


FILES = [
    ("[router\n", "the file is not TOML"),
    ("[router]\n[router]\n", "the file is not TOML"),
]


@pytest.mark.parametrize(("text", "reason"), FILES)
def test_a_file_that_is_no_toml(tmp_path: Path, text: str, reason: str) -> None:
    """The file is named, and the place in it."""
    with pytest.raises(cnroute.ConfigurationError) as caught:
        router_arguments(written(tmp_path, text))
    assert reason in str(caught.value)
    assert "line" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8, no path at all."""
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    for config, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory"), (tmp_path / "latin.toml", "not UTF-8")):
        with pytest.raises(cnroute.ConfigurationError, match=reason):
            router_arguments(config)
    with pytest.raises(cnroute.ConfigurationError, match="a path or a mapping"):
        router_arguments(3)  # type: ignore[arg-type]
    file = tmp_path / "bom.toml"
    file.write_bytes(b"\xef\xbb\xbf[routes]\n")
    assert router_arguments(str(file))["routes"] == {}


def test_nothing_but_configuration_errors(tmp_path: Path) -> None:
    """Whatever a mapping holds, the answer is arguments or a ConfigurationError."""
    chance = random.Random(7)
    values: list[Any] = [
        None, True, 0, -1, 2.5, "", "x", "$X", [], ["x"], {}, {"env": "X"}, {"env": 3}, {"file": ""}, [{}], {"x": {}},
    ]  # fmt: skip
    keys = ["provider", "model", "api_key", "price", "timeouts", "targets", "policy", "breaker", "tiers", "options", "tls", "env"]
    for _ in range(300):
        config = {
            section: {
                chance.choice(["a", "b", "timeouts", "breaker", "exchange", "defaults"]): chance.choice([
                    chance.choice(values), {chance.choice(keys): chance.choice(values) for _ in range(4)},
                ])
                for _ in range(3)
            }
            for section in chance.sample(["router", "deployments", "routes", chance.choice(string.ascii_letters)], 3)
        }  # fmt: skip
        try:
            router_arguments(config)
        except cnroute.ConfigurationError as error:
            assert error.problems


def test_a_plugins_names_are_left_to_the_router() -> None:
    """A provider or policy that a plugin brings later is no mistake of the file."""
    arguments = router_arguments({
        "deployments": {"a": {"provider": "acme", "model": "m", "api_key": KEY}},
        "routes": {"chat": {"policy": "moon", "targets": ["a"]}},
    })  # fmt: skip
    assert arguments["deployments"][0].provider == "acme"


def test_inline_keys_in_a_file_for_everybody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning names file and mode; none for 0600, none for references."""
    text = '[deployments.yi]\nprovider = "dashscope"\nmodel = "yi-large"\napi_key = {}\n'
    (tmp_path / "key").write_text(KEY, "utf-8")
    with caplog.at_level(logging.WARNING, "cnroute.config"):
        router_arguments(written(tmp_path, text.format('"sk-inline-canary"'), 0o600))
        router_arguments(written(tmp_path, text.format('{ file = "key" }'), 0o644))
        assert caplog.records == []
        router_arguments(written(tmp_path, text.format('"sk-inline-canary"'), 0o640))
    (record,) = caplog.records
    assert "0640" in record.getMessage()
    assert "canary" not in record.getMessage()


# -- the environment -------------------------------------------------------------------------------------


def accounts() -> dict[str, cnroute.Deployment]:
    found: dict[str, cnroute.Deployment] = environment_arguments()["_accounts"]
    return found


def test_no_key_at_all() -> None:
    """The variables that would help are named."""
    with pytest.raises(cnroute.ConfigurationError, match=r"DASHSCOPE_API_KEY.*MINIMAX_API_KEY.*CNROUTE_CONFIG"):
        cnroute.Router.from_env()


def test_one_account_for_each_provider_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """minimax-pro and minimax-legacy need the group, too; an empty variable is none."""
    monkeypatch.setenv("MINIMAX_API_KEY", KEY)
    monkeypatch.setenv("DASHSCOPE_API_KEY", "")
    assert list(accounts()) == ["minimax-v2"]
    monkeypatch.setenv("MINIMAX_GROUP_ID", "17")
    assert list(accounts()) == ["minimax-v2", "minimax-pro", "minimax-legacy"]
    assert accounts()["minimax-pro"].options == {"group_id": "17"}


def test_dashscope_keys_are_found_where_its_sdk_finds_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable, then the named file, then the file at home."""
    home = tmp_path / "home/.dashscope"
    home.mkdir(parents=True)
    (home / "api_key").write_text("sk-home\n", "utf-8")
    assert key_of("dashscope") == "sk-home"
    (tmp_path / "named").write_text("sk-named", "utf-8")
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(tmp_path / "named"))
    assert key_of("dashscope") == "sk-named"
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-variable")
    assert key_of("dashscope") == "sk-variable"


def key_of(provider: str) -> str:
    secret = accounts()[provider].api_key
    assert secret is not None
    return secret.reveal()


def test_a_key_that_cannot_be_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A named file that is not there, and a key with a blank: an error, never another place."""
    monkeypatch.setenv("DASHSCOPE_API_KEY_FILE_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("MINIMAX_API_KEY", "a b-canary")
    with pytest.raises(cnroute.ConfigurationError) as caught:
        environment_arguments()
    told = str(caught.value)
    assert "dashscope: the key file" in told
    assert "minimax-v2: the key (env MINIMAX_API_KEY)" in told
    assert "canary" not in told


HOSTS = [
    ("api.minimax.io", "https://api.minimax.io/v1"),
    ("https://api.minimax.io", "https://api.minimax.io/v1"),
    ("https://api.minimax.io/", "https://api.minimax.io/v1"),
    ("https://proxy.example/minimax/v1/", "https://proxy.example/minimax/v1"),
    ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
    ("localhost:8080/v1", "http://localhost:8080/v1"),
]


@pytest.mark.parametrize(("written", "url"), HOSTS)
def test_a_host_becomes_a_base_url(monkeypatch: pytest.MonkeyPatch, written: str, url: str) -> None:
    """A bare host, a URL without a path, a URL with one."""
    monkeypatch.setenv("MINIMAX_API_KEY", KEY)
    monkeypatch.setenv("MINIMAX_API_HOST", written)
    assert accounts()["minimax-v2"].base_url == url


def test_a_wrong_host_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http to a host that is not loopback."""
    monkeypatch.setenv("MINIMAX_API_KEY", KEY)
    monkeypatch.setenv("MINIMAX_API_HOST", "http://api.minimax.io")
    with pytest.raises(cnroute.ConfigurationError, match="minimax-v2: base_url"):
        environment_arguments()


def test_a_router_of_the_environment_calls(vendor: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`provider/model` makes the deployment."""
    keys_set(monkeypatch)
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", vendor.base_url("dashscope"))
    monkeypatch.setenv("MINIMAX_API_HOST", vendor.url)
    with cnroute.Router.from_env() as router:
        for model in ("dashscope/qwen-plus", "minimax-v2/MiniMax-M2", "minimax-pro/abab6.5s-chat", "minimax-legacy/abab5.5-chat"):
            assert router.chat("你好", model=model).text
    assert [entry.provider for entry in vendor.requests] == ["dashscope", "minimax-v2", "minimax-pro", "minimax-legacy"]


def test_a_model_of_the_environment_may_have_a_slash(vendor: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`provider/owner/model`, as hubs name their models: the first slash ends the provider."""
    keys_set(monkeypatch)
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", vendor.base_url("dashscope"))
    with cnroute.Router.from_env() as router:
        reply = router.chat("你好", model="dashscope/deepseek-ai/DeepSeek-V3")
    assert (reply.text, reply.deployment) == (vendor.answer("你好"), "dashscope:deepseek-ai:DeepSeek-V3")
    assert vendor.requests[0].body["model"] == "deepseek-ai/DeepSeek-V3"  # type: ignore[index,call-overload]


def test_a_configuration_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CNROUTE_CONFIG is what from_env reads."""
    text = '[deployments.yi]\nprovider = "dashscope"\nmodel = "yi-large"\napi_key = "sk-x"\n'
    monkeypatch.setenv("CNROUTE_CONFIG", written(tmp_path, text))
    with cnroute.Router.from_env() as router:
        assert [info.name for info in router.models()] == ["yi"]


def test_plugins_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CNROUTE_BLOCK_PLUGINS blocks built-in providers, too: they have no account."""
    keys_set(monkeypatch)
    monkeypatch.setenv("CNROUTE_BLOCK_PLUGINS", "minimax-legacy, minimax-pro")
    monkeypatch.setenv("CNROUTE_LOAD_PLUGINS", "")
    assert list(accounts()) == ["dashscope", "minimax-v2"]
    assert plugin_host().providers() == ["dashscope", "minimax-v2"]


@pytest.mark.parametrize(("provider", "options", "option"), [
    ("dashscope", {"workspace": "工作"}, "workspace"),
    ("dashscope", {"workspace": 5}, "workspace"),
    ("dashscope", {"workspace": {}}, "workspace"),
    ("dashscope", {"data_inspection": "yes"}, "data_inspection"),
    ("dashscope", {"data_inspection": {}}, "data_inspection"),
    ("dashscope", {"data_inspection": 1}, "data_inspection"),
    ("minimax-legacy", {"group_id": "1", "beam_width": 9}, "beam_width"),
    ("minimax-pro", {"group_id": "1", "mask_sensitive_info": "yes"}, "mask_sensitive_info"),
    ("minimax-pro", {"group_id": ["1"]}, "group_id"),
    ("minimax-pro", {"group_id": "1", "user_name": 5}, "user_name"),
], ids=str)
def test_a_value_that_an_option_cannot_have_is_a_problem(provider: str, options: dict[str, Any], option: str) -> None:
    """It is told when the configuration is read, not by calls that never go there."""
    settings = {"provider": provider, "model": "m", "api_key": "x", "options": options}
    with pytest.raises(cnroute.ConfigurationError) as caught:
        cnroute.Router.from_config({"deployments": {"a": settings}})
    assert [problem.key for problem in caught.value.problems] == [f"deployments.a.options.{option}"]


@pytest.mark.parametrize("value", [True, False, "true", "0", "enable", "", None])
def test_inspection_is_a_flag(value: Any) -> None:
    """As a value of its type, or as the text that stands in a variable."""
    settings = {"provider": "dashscope", "model": "m", "api_key": "x", "options": {"data_inspection": value}}
    cnroute.Router.from_config({"deployments": {"a": settings}}).close()


@pytest.mark.parametrize("url", [f"https://{'a' * 70}.com", "https://a..b", "https://.a", "https://" + "ab." * 90 + "com"])
def test_a_host_name_that_cannot_be_is_a_problem_of_the_base_url(url: str) -> None:
    """Names are too long, or have an empty part: no resolver could find them."""
    settings = {"provider": "dashscope", "model": "m", "api_key": "x", "base_url": url}
    with pytest.raises(cnroute.ConfigurationError, match="host name") as caught:
        cnroute.Router.from_config({"deployments": {"a": settings}})
    assert [problem.key for problem in caught.value.problems] == ["deployments.a.base_url"]


@pytest.mark.parametrize(("sections", "problem"), [
    ({"deployments": {"price": "20"}}, "deployments.a.price: must be a table, not text; write"),
    (
        {"routes": {"chat": {"targets": ["a"], "fallback": {"server_error": ["next"]}}}},
        "routes.chat.fallback.server_error: fallback of",
    ),
    ({"router": {"store": "redis"}}, 'router.store: must be a table such as { redis = "redis://'),
    (
        {"deployments": {"provider": "nobody"}, "routes": {"chat": ["a"], "deep": ["chat"]}},
        "deployments.a.provider: there is no provider",
    ),
], ids=str)
def test_one_mistake_is_one_problem_in_plain_words(sections: dict[str, Any], problem: str) -> None:
    """No signature of a function, no word of Python, and nothing false that follows from it."""
    settings = {"provider": "dashscope", "model": "m", "api_key": "x", **sections.get("deployments", {})}
    with pytest.raises(cnroute.ConfigurationError) as caught:
        cnroute.Router.from_config({**sections, "deployments": {"a": settings}})
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(problem)
