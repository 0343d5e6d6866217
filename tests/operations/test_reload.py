"""A router takes another configuration while it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from tests.contract.kit import until


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def config(emulator: Emulator, *names: str, **settings: Any) -> dict[str, Any]:
    """A configuration with these deployments, all behind the route `chat`."""
    providers = {"yi": ("dashscope", "yi-large"), "mm": ("minimax-v2", "MiniMax-Text-01")}
    deployments = {
        name: {
            "provider": providers[name][0], "model": providers[name][1], "api_key": "test-key",
            "base_url": emulator.base_url(providers[name][0]),
        }
        for name in names
    }
    return {"router": settings, "deployments": deployments, "routes": {"chat": {"targets": list(names)}}}


def test_new_calls_follow_the_new_configuration(emulator: Emulator) -> None:
    """Routes, deployments and names are those of the configuration that was read last."""
    with cnroute.Router.from_config(config(emulator, "yi")) as router:
        assert router.chat("你好", model="chat").deployment == "yi"
        router.reload(config(emulator, "mm"))
        assert router.chat("你好", model="chat").deployment == "mm"
        with pytest.raises(cnroute.ModelNotFoundError):
            router.chat("你好", model="yi")


def test_a_bad_configuration_is_refused_whole(emulator: Emulator) -> None:
    """Nothing has changed after a ConfigurationError, not even what was right in it."""
    with cnroute.Router.from_config(config(emulator, "yi")) as router:
        bad = config(emulator, "mm")
        bad["routes"]["broken"] = ["nobody"]
        with pytest.raises(cnroute.ConfigurationError, match="nobody"):
            router.reload(bad)
        assert router.chat("你好", model="chat").deployment == "yi"
        assert [model.name for model in router.models()] == ["chat", "yi"]


def test_the_transport_stays(emulator: Emulator) -> None:
    """A configuration that names another transport is refused."""
    router = cnroute.Router.from_config(config(emulator, "yi"))
    with router, pytest.raises(cnroute.ConfigurationError, match="transport"):
        router.reload(config(emulator, "yi", transport="requests"))


class Watching:
    """A plugin that looks at every reply of the dialect."""

    def __init__(self) -> None:
        self.asked = 0

    @cnroute.hookimpl(wrapper=True)
    def parse_response(self) -> Any:
        self.asked += 1
        return (yield)


def test_the_plugins_stay(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the router was made with, also where they came from an iterator; no entry point is read again."""
    watching = Watching()
    with cnroute.Router.from_config(config(emulator, "yi"), plugins=iter([watching])) as router:
        monkeypatch.setattr("cnroute.plugins.metadata.entry_points", None)
        router.reload(config(emulator, "mm"))
        router.chat("你好", model="chat")
        assert watching.asked == 1
        assert [each.name for each in router.plugins.plugins() if each.state == "registered"] == ["Watching"]


def test_unchanged_deployments_keep_health_and_connections(emulator: Emulator) -> None:
    """A cool-down outlives a reload; a connection too."""
    with cnroute.Router.from_config(config(emulator, "yi", "mm")) as router:
        emulator.script("yi-large", ["invalid_key"])
        assert router.chat("你好", model="chat").deployment == "mm"
        opened = emulator.accepted_connections
        router.reload(config(emulator, "yi", "mm"))
        assert router.health()["yi"]["ready_in_seconds"] > 50
        assert router.chat("你好", model="mm").deployment == "mm"
        assert emulator.accepted_connections == opened


def test_a_running_stream_keeps_what_it_began_with() -> None:
    """A deployment that is gone still finishes the stream that runs there."""
    with Emulator(pace=0.05) as emulator, cnroute.Router.from_config(config(emulator, "yi")) as router:
        stream = router.stream("你好", model="chat")
        text = next(stream).text
        router.reload(config(emulator, "mm"))
        assert text + "".join(stream.texts()) == emulator.answer("你好")
        assert router.transport.idle_connections() == 0


def _calls(router: cnroute.Router, emulator: Emulator, failed: list[object], made: list[int], done: threading.Event) -> None:
    while not done.is_set():
        question = f"问题 {threading.get_ident()}"
        try:
            if router.chat(question, model="chat", timeout=20).text != emulator.answer(question):
                failed.append("another call's answer")
        except cnroute.CnrouteError as error:
            failed.append(error)
        made.append(1)


@pytest.mark.parametrize("reloads", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_reloads_under_load(emulator: Emulator, reloads: int) -> None:
    """16 threads call while the configuration changes to and fro: no failed and no mixed call, and calls in between."""
    failed: list[object] = []
    made: list[int] = []
    done = threading.Event()
    with cnroute.Router.from_config(config(emulator, "yi", "mm")) as router:
        threads = [threading.Thread(target=_calls, args=(router, emulator, failed, made, done)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for number in range(reloads):
            names = (("yi", "mm"), ("mm",), ("mm", "yi"))[number % 3]
            router.reload(config(emulator, *names))
            before = len(made)
            until(lambda: len(made) > before, 20)  # noqa: B023 (it is over before the next turn)
        done.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(made) >= reloads
        assert all(report["in_flight"] == 0 for report in router.health().values())


def test_a_rotated_key_file_is_read_after_a_refusal(emulator: Emulator, tmp_path: Any) -> None:
    """The vendor refuses the key, the file holds a new one: the next call uses it, without a restart."""
    file = tmp_path / "key"
    file.write_text("wrong-key\n")
    deployment = cnroute.Deployment(
        "yi", "dashscope", "yi-large", api_key={"file": str(file)}, base_url=emulator.base_url("dashscope")
    )
    with cnroute.Router([deployment], breaker=None) as router:
        file.write_text("good-key\n")
        with pytest.raises(cnroute.AuthenticationError):
            router.chat("你好", model="yi")
        assert router.chat("你好", model="yi").text == emulator.answer("你好")
        file.unlink()
        emulator.script("yi-large", ["invalid_key"])
        with pytest.raises(cnroute.AuthenticationError):
            router.chat("你好", model="yi")
        assert router.chat("你好", model="yi").text == emulator.answer("你好"), "read again at most once a minute"
