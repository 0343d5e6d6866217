"""A key shows itself nowhere, is read where it was said to be, and is checked before it is used."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.http import SecretText
from cnroute.testing import FakeTransport
from tests.flow.toy import Toy, answer, deployment, error, host, raised

CANARY = "canary-secret-0123456789"
BAD = {
    "cr": f"{CANARY}\r",
    "lf": f"{CANARY}\nx",
    "crlf": f"{CANARY}\r\n x",
    "nul": f"{CANARY}\x00",
    "newline": f"{CANARY}\n",
    "chinese": f"密钥{CANARY}",
    "long": CANARY * 500,
    "empty": "",
    "blank": f"{CANARY} x",
    "space": " ",
    "tab": f"{CANARY}\t",
    "latin": f"{CANARY}é",
    "surrogate": f"{CANARY}\ud800",
}


@pytest.mark.parametrize("source", ["text", "env", "file", "callable"])
@pytest.mark.parametrize("name", BAD)
def test_an_impossible_key_is_refused_without_being_shown(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At construction for text, variables and files, at the first use for callables; the value stays hidden."""
    value, sent = BAD[name], FakeTransport([answer()])
    if source == "env":
        if "\x00" in value or "\ud800" in value:
            pytest.skip("no environment variable can hold it")
        monkeypatch.setenv("CNROUTE_TEST_KEY", value)
    (tmp_path / "key").write_bytes(value.encode("utf-8", "surrogatepass"))
    sources = {
        "text": value,
        "env": {"env": "CNROUTE_TEST_KEY"},
        "file": {"file": str(tmp_path / "key")},
        "callable": lambda: value,
    }

    def use() -> None:
        router = cnroute.Router([deployment("a", api_key=sources[source])], transport=sent, plugins=host())
        router.chat("x", model="a")

    if source == "file" and name in ("cr", "newline"):
        use()
        assert sent.requests[0].headers["Authorization"] == f"Bearer {CANARY}"
        return
    caught = raised(use, cnroute.CnrouteError)
    assert isinstance(caught, cnroute.AuthenticationError if source == "callable" else cnroute.ConfigurationError)
    for text in (str(caught), repr(caught), repr(caught.__dict__), repr(caught.args)):
        assert CANARY not in text
    assert sent.requests == []


def test_a_secret_shows_stars_everywhere() -> None:
    """`repr`, `str`, format and containers; there is no JSON of it, and attrs hides it too."""
    secret = cnroute.Secret(CANARY)
    assert secret.reveal() == CANARY
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{secret!r}",
        f"{[secret]}",
        f"{secret} {secret!r}",
    ):
        assert CANARY not in text
        assert "***" in text
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert not hasattr(secret, "__dict__")
    assert CANARY not in repr(attrs.asdict(deployment("a", api_key=CANARY)))


def test_a_secret_pickles_without_its_value() -> None:
    """What comes out of a pickle says that the key stayed behind; copies in the process keep it."""
    data = pickle.dumps(deployment("a", api_key=CANARY))
    assert CANARY.encode() not in data
    gone = pickle.loads(data).api_key
    assert "***" in repr(gone)
    with pytest.raises(cnroute.ConfigurationError, match="pickle"):
        gone.reveal()
    for twin in (copy.copy(cnroute.Secret(CANARY)), copy.deepcopy(deployment("a", api_key=CANARY)).api_key):
        assert twin is not None and twin.reveal() == CANARY


def test_secrets_compare_by_value() -> None:
    """Two sources of one key are equal; other types never are."""
    assert cnroute.Secret(CANARY) == cnroute.Secret(lambda: CANARY)
    assert cnroute.Secret(CANARY) != cnroute.Secret("other")
    assert cnroute.Secret(CANARY) != CANARY
    assert len({cnroute.Secret(CANARY), cnroute.Secret(CANARY)}) == 1


def test_a_missing_variable_or_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where the key was looked for."""
    monkeypatch.delenv("CNROUTE_TEST_KEY", raising=False)
    for source, part in (
        ({"env": "CNROUTE_TEST_KEY"}, "CNROUTE_TEST_KEY"),
        ({"file": str(tmp_path / "none")}, "none"),
        ({"file": str(tmp_path)}, "read"),
    ):
        caught = raised(
            lambda source=source: cnroute.Router([deployment("a", api_key=source)], transport=FakeTransport(), plugins=host()),
            cnroute.ConfigurationError,
        )
        assert part in str(caught)


KEYS = ("sk-0123456789abcdef", "a1b2c3d4e5f60718293a4b5c6d7e8f90", "eyJhbGciOiJSUzI1NiJ9.eyJHcm91cE5hbWUi")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("given", [
    {"api_key": {"env": "KEY"}}, {"api_key": {"file": "KEY"}}, {"api_key": {"file": "/etc/KEY"}}, {"provider": "KEY"},
    {"options": {"workspace": {"env": "KEY"}}}, {"options": {"workspace": {"file": "KEY"}}}, {"base_url": {"env": "KEY"}},
], ids=str)
def test_a_key_where_a_name_belongs_is_not_repeated(given: dict[str, Any], key: str) -> None:
    """Whoever writes the key itself as the name of a variable, file or provider is told so, without it."""
    told: Any = json.loads(json.dumps(given).replace("KEY", key))
    settings = {"provider": "dashscope", "model": "qwen-plus", "api_key": "x", **told}
    made = [lambda: cnroute.Router.from_config({"deployments": {"a": settings}})]
    if "base_url" not in given:
        made.append(lambda: cnroute.Router([cnroute.Deployment("a", **settings)]))
    for make in made:
        caught = raised(make, cnroute.ConfigurationError)
        assert key not in str(caught) + repr(caught.__dict__)
        assert "key" in caught.problems[0].reason and next(iter(given)) in caught.problems[0].key
    if isinstance(told.get("api_key"), dict):
        assert key not in cnroute.Secret(told["api_key"]).origin


_ACCOUNT = {"provider": "dashscope", "model": "qwen-plus"}


@pytest.mark.parametrize("make", [
    lambda key: cnroute.Secret(f"{key}\n"),
    lambda key: cnroute.Deployment("a/b", "dashscope", "qwen-plus", api_key=key),
    lambda key: cnroute.Deployment("a", "dashscope", "qwen-plus", api_key=key, base_url="ftp://x"),
    lambda key: cnroute.Deployment("a", "dashscope", "qwen-plus", api_key=key, proxxy=""),
    lambda key: cnroute.Deployment("a", "dashscope", "qwen-plus", api_key={"env": key}, base_url="ftp://x"),
    lambda key: cnroute.Router([cnroute.Deployment("a", "nobody", "qwen-plus", api_key=key)]),
    lambda key: cnroute.Router.from_config({"deployments": {"a": {**_ACCOUNT, "modle": "m", "api_key": key}}}),
    lambda key: cnroute.Router.from_config({"deployments": {"a": {"api_key": key}}}, policy="nobody"),
    lambda key: cnroute.Router([deployment("a")], plugins=host()).reload({"deployments": {"a": {"api_key": key}}}),
    lambda key: cnroute.KnowledgeClient(api_key=key, group_id=""),
    lambda key: cnroute.AsyncKnowledgeClient.from_config({"deployments": {"a": {"api_key": key}}}),
    lambda key: cnroute.RedisStore(f"http://:{key}@h"),
], ids=range(12))
def test_no_local_variable_of_a_failure_holds_the_key(make: Any) -> None:
    """Reports of errors show the local variables of every frame; what is wrong beside the key is told without it."""
    with pytest.raises((cnroute.ConfigurationError, TypeError)) as caught:
        make(CANARY)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if frame.f_code.co_filename != __file__]
    assert frames
    for frame in frames:
        assert CANARY not in repr(frame.f_locals), frame.f_code.co_name
    assert caught.value.__cause__ is None


def test_a_variable_of_an_odd_name_is_used_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hosts set names with points or dashes in them: only a missing one is taken for no name."""
    monkeypatch.setenv("team.key-1", "found")
    assert cnroute.Secret({"env": "team.key-1"}).reveal() == "found"


def test_a_callable_that_raises_costs_one_deployment_and_shows_nothing() -> None:
    """The next deployment answers; alone it is an AuthenticationError naming only the exception's type."""

    def broken() -> str:
        raise KeyError(CANARY)

    toy = Toy([answer()], deployments=[deployment("a", api_key=broken), deployment("b")])
    assert toy.chat().deployment == "b"
    caught = raised(lambda: toy.chat(model="a"))
    assert type(caught) is cnroute.AuthenticationError
    assert "KeyError" in str(caught)
    assert CANARY not in str(caught) + repr(caught.__dict__)


@pytest.mark.parametrize("kind", ["file", "callable", "text"])
def test_a_key_is_read_again_after_auth_at_most_once_a_minute(kind: str, tmp_path: Path) -> None:
    """Keys rotate without a restart; the same answer never makes the source be read in a loop."""
    place, reads = tmp_path / "key", []

    def read() -> str:
        reads.append(1)
        return place.read_text()

    place.write_text("old-key-1")
    source: Any = {"file": {"file": str(place)}, "callable": read, "text": "old-key-1"}[kind]
    toy = Toy([error("auth")], deployments=[deployment("a", api_key=source)], breaker=None)

    def sent_key() -> str:
        raised(toy.chat, cnroute.AuthenticationError)
        return toy.transport.requests[-1].headers["Authorization"].removeprefix("Bearer ")

    assert sent_key() == "old-key-1"
    place.write_text("new-key-2")
    assert sent_key() == ("old-key-1" if kind == "text" else "new-key-2")
    place.write_text("third-key-3")
    assert sent_key() == ("old-key-1" if kind == "text" else "new-key-2")
    toy.clock.advance(61)
    sent_key()
    assert sent_key() == ("old-key-1" if kind == "text" else "third-key-3")
    assert len(reads) <= 4


def test_a_callable_is_read_once_by_many_threads() -> None:
    """Eight threads at the first use make one read."""
    reads: list[int] = []

    def slow() -> str:
        reads.append(1)
        threading.Event().wait(0.02)
        return CANARY

    secret = cnroute.Secret(slow)
    threads = [threading.Thread(target=secret.reveal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


def test_secret_text_travels_but_is_not_shown() -> None:
    """Header values that hold a key are text to the transport and stars to everybody else."""
    text = SecretText(f"Bearer {CANARY}")
    assert text.encode() == f"Bearer {CANARY}".encode()
    assert CANARY not in repr(text) + repr({"Authorization": text})
    assert CANARY.encode() not in pickle.dumps(text)
    assert CANARY not in repr(cnroute.HttpRequest.post_json("https://x", {}, bearer=cnroute.Secret(CANARY)))
