"""The host of plugins: every trap is caught at load, named with its distribution, and breaks nothing else."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.plugins import BUILT_IN
from cnroute.testing import FakeClock, FakeTransport
from tests.flow.toy import BASE, Toy, ToyProvider, answer, deployment, error, frames, good_stream, host, raised

GOOD = """
import cnroute
from cnroute import wire

@cnroute.hookimpl
def describe_provider():
    return cnroute.ProviderInfo(NAME, "https://x.example", {}, {}, {"streaming"})

@cnroute.hookimpl
def build_request(request, deployment, stream):
    return cnroute.HttpRequest.post_json(deployment.base_url + "/x", {"texts": [each.text for each in request.messages]})

@cnroute.hookimpl
def parse_response(response, deployment):
    return cnroute.ChatCompletion(text=response.json()["text"], finish_reason="stop")
"""


class Site:
    """A folder on `sys.path` with installed distributions in it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def install(self, distribution: str, points: dict[str, str], version: str = "1.0", **modules: str) -> None:
        """What an installer leaves behind: modules, metadata and entry points."""
        for name, source in modules.items():
            (self.place / f"{name}.py").write_text(source)
        folder = self.place / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (folder / "entry_points.txt").write_text(f"[cnroute]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A fresh site; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def problem(made: cnroute.PluginHost, name: str) -> Any:
    """The one problem of the plugin `name`."""
    (found,) = [each for each in made.problems if each.plugin == name]
    assert "\n" not in str(found)
    return found


def test_an_installed_provider_answers(site: Site) -> None:
    """An entry point is loaded when a host is built, and its deployments work."""
    site.install("acme-llm", {"acme": "acme_llm"}, acme_llm=f"NAME = 'acme'{GOOD}")
    made = cnroute.PluginHost()
    state = next(each for each in made.plugins() if each.name == "acme")
    assert (state.state, state.distribution) == ("loaded", "acme-llm 1.0")
    assert set(state.hooks) == {"describe_provider", "build_request", "parse_response"}
    router = cnroute.Router([cnroute.Deployment("a", "acme", "m")], transport=FakeTransport([{"text": "hi"}]), plugins=made)
    assert router.chat("x", model="a").text == "hi"
    assert router.plugins is made


BROKEN = {
    "import_error": "import nothing_of_this_name",
    "syntax_error": "def (",
    "system_exit": "raise SystemExit(3)",
    "raises": "raise RuntimeError('boom\\nfake log line')",
    "empty": "",
    "plain": "def build_request(request, deployment, stream): pass",
    "async": "import cnroute\n@cnroute.hookimpl\nasync def observe(notice): pass",
    "generator": "import cnroute\n@cnroute.hookimpl\ndef observe(notice): yield",
    "default": "import cnroute\n@cnroute.hookimpl\ndef observe(notice=None): pass",
    "unknown_argument": "import cnroute\n@cnroute.hookimpl\ndef observe(notise): pass",
    "star": "import cnroute\n@cnroute.hookimpl\ndef observe(*notice): pass",
    "star_star": "import cnroute\n@cnroute.hookimpl\ndef observe(**notice): pass",
    "misspelt": "import cnroute\n@cnroute.hookimpl\ndef obsrve(notice): pass",
    "incomplete": "import cnroute\n@cnroute.hookimpl\ndef build_request(request, deployment, stream): pass",
    "only_map_error": "import cnroute\n@cnroute.hookimpl\ndef map_error(response, deployment): pass",
    "foreign_marker": "import pluggy\nmark = pluggy.HookimplMarker('other')\n@mark\ndef observe(notice): pass",
    "number": "import cnroute\nPLUGIN = 5",
    "panic": "class Panic(BaseException):\n    pass\nraise Panic",
    "no_look": "import cnroute\ndef __dir__():\n    raise OSError('no look')",
    "no_signature": "import cnroute\n@cnroute.hookimpl\ndef observe(notice): pass\nobserve.__signature__ = 5",
    "keyword_only": "import cnroute\n@cnroute.hookimpl\ndef observe(*, notice): pass",
}
WORDS = {
    "import_error": "ModuleNotFoundError",
    "syntax_error": "SyntaxError",
    "system_exit": "SystemExit",
    "raises": "RuntimeError",
    "empty": "no hook",
    "plain": "hookimpl missing",
    "async": "async",
    "generator": "generator",
    "default": "default",
    "unknown_argument": "notise",
    "star": "*notice",
    "star_star": "notice",
    "misspelt": "obsrve",
    "incomplete": "describe_provider",
    "only_map_error": "describe_provider",
    "foreign_marker": "hookimpl missing",
    "number": "no hook",
    "panic": "Panic",
    "no_look": "OSError",
    "no_signature": "__signature__",
    "keyword_only": "keyword",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_distribution_is_quarantined_and_named(site: Site, name: str) -> None:
    """Whatever is wrong with it: the reason in one line, the distribution, and everything else still works."""
    site.install(
        f"bad-{name}",
        {"bad": f"bad_{name}:PLUGIN" if name == "number" else f"bad_{name}"},
        "2.5",
        **{f"bad_{name}": BROKEN[name]},
    )
    site.install("good-one", {"good": "good_one"}, good_one=f"NAME = 'good'{GOOD}")
    made = cnroute.PluginHost()
    found = problem(made, "bad")
    assert WORDS[name] in found.reason
    assert found.distribution == f"bad-{name} 2.5"
    assert str(found).startswith(f"bad (bad-{name} 2.5): ")
    assert next(each for each in made.plugins() if each.name == "bad").state == "quarantined"
    assert "good" in made.providers() and "bad" not in made.providers()
    caught = raised(
        lambda: cnroute.Router([cnroute.Deployment("a", "bad", "m")], plugins=made, transport=FakeTransport()),
        cnroute.ConfigurationError,
    )
    assert WORDS[name] in str(caught)
    router = cnroute.Router([cnroute.Deployment("a", "good", "m")], plugins=made, transport=FakeTransport([{"text": "hi"}]))
    assert router.chat("x", model="a").text == "hi"


def test_entry_points_that_lead_nowhere_are_quarantined(site: Site) -> None:
    """A missing attribute and a broken target are reasons, not crashes."""
    site.install("lost", {"lost": "lost_module:nothing", "odd": "not a target!", "gone": "json:nothing.at.all"}, lost_module="")
    made = cnroute.PluginHost()
    assert {each.plugin for each in made.problems} == {"lost", "odd", "gone"}


@pytest.mark.parametrize("content", [b"[cnroute]\nnonsense\n", b"[other]\nnonsense\n", b"[cnroute]\nb\xff = bad\n"])
def test_entry_points_that_nobody_can_read_hide_no_others(site: Site, content: bytes) -> None:
    """One damaged file in the environment, of whatever project: it is named, and every other plugin is there."""
    site.install("good-one", {"good": "good_one"}, good_one=f"NAME = 'good'{GOOD}")
    site.install("torn", {}, "2.5")
    (site.place / "torn-2.5.dist-info" / "entry_points.txt").write_bytes(content)
    made = cnroute.PluginHost()
    assert "good" in made.providers()
    assert str(problem(made, "torn")).startswith("torn (torn 2.5): its entry points cannot be read")


@pytest.mark.parametrize("error", ["SystemExit", "BaseException"])
def test_a_provider_that_ends_the_process_when_asked_for_its_name_ends_nothing(site: Site, error: str) -> None:
    """It is loaded as far as it goes; a deployment that names it is refused with the reason."""
    ending = f"NAME = 'bad'{GOOD}\n@cnroute.hookimpl\ndef describe_provider():\n    raise {error}(3)\n"
    site.install("ending", {"bad": "bad_ending"}, bad_ending=ending)
    made = cnroute.PluginHost()
    made.register(types.SimpleNamespace(describe_provider=lambda: sys.exit(3)))
    caught = raised(
        lambda: cnroute.Router([cnroute.Deployment("a", "bad", "m")], plugins=made, transport=FakeTransport()),
        cnroute.ConfigurationError,
    )
    assert f"plugin bad (ending 1.0): describe_provider raised {error} (bad_ending.py:" in str(caught)


def test_ctrl_c_while_a_plugin_is_imported_is_the_users(site: Site) -> None:
    """What the user does is not swallowed."""
    site.install("slow", {"slow": "slow_module"}, slow_module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        cnroute.PluginHost()


def test_a_distribution_without_metadata_breaks_nothing(site: Site) -> None:
    """Half-removed distributions exist."""
    folder = site.place / "half-1.0.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[cnroute]\nhalf = half_module\n")
    assert problem(cnroute.PluginHost(), "half")


def test_two_entry_points_of_one_name_are_both_named(site: Site) -> None:
    """Neither wins by the order of folders."""
    for name in ("one", "two"):
        site.install(f"dist-{name}", {"same": f"module_{name}"}, **{f"module_{name}": f"NAME = 'same'{GOOD}"})
    made = cnroute.PluginHost()
    assert {each.distribution for each in made.problems} == {"dist-one 1.0", "dist-two 1.0"}
    assert "same" not in made.providers()
    assert not {"module_one", "module_two"} & set(sys.modules)


@pytest.mark.parametrize("name", [*BUILT_IN])
def test_a_built_in_name_is_never_given_away(site: Site, name: str) -> None:
    """A claim on it is quarantined without being imported, and the built-in keeps working."""
    site.install("thief", {name: "thief_module"}, thief_module="raise AssertionError('imported')")
    made = cnroute.PluginHost()
    found = problem(made, name)
    assert "built-in" in found.reason
    router = cnroute.Router(
        [cnroute.Deployment("a", "dashscope", "qwen-plus", api_key="k-123456")],
        plugins=made,
        transport=FakeTransport([(503, "")]),
        clock=FakeClock(),
    )
    assert type(raised(lambda: router.chat("x", model="a"))) is cnroute.ServerError
    assert "thief_module" not in sys.modules
    registered = cnroute.PluginHost(autoload=False)
    registered.register(ToyProvider(name), name)
    assert len(registered.problems) == 1


def test_the_defaults_cannot_be_pushed_aside_by_a_name() -> None:
    """A plugin called `defaults` is one like any other."""

    class Observer:
        @cnroute.hookimpl
        def observe(self) -> None: ...

    made = host(ToyProvider())
    made.register(Observer(), "defaults")
    made.register(Observer(), "cnroute.providers.defaults")
    assert "cnroute's own" in problem(made, "cnroute.providers.defaults").reason
    assert raised(Toy([(502, "")], plugins=made, names="a").chat).kind == "server_error"


def test_blocked_and_unlisted_plugins_are_never_imported(site: Site) -> None:
    """`block` acts before the import, `load` is a strict list, an empty one loads nothing, `autoload=False` neither."""
    source = "raise AssertionError('imported')"
    site.install("evil", {"evil": "evil_module"}, evil_module=source)
    site.install("fine", {"fine": "fine_module"}, fine_module=f"NAME = 'fine'{GOOD}")
    for arguments, states in (
        ({"block": ["evil"]}, {"evil": "blocked", "fine": "loaded"}),
        ({"load": ["fine"]}, {"evil": "not loaded", "fine": "loaded"}),
        ({"load": []}, {"evil": "not loaded", "fine": "not loaded"}),
        ({"load": ["evil", "fine"], "block": ["evil"]}, {"evil": "blocked", "fine": "loaded"}),
    ):
        made = cnroute.PluginHost(**arguments)
        assert {each.name: each.state for each in made.plugins() if each.name in states} == states
        assert not made.problems
    assert not {each.name for each in cnroute.PluginHost(autoload=False).plugins()} & {"evil", "fine"}
    assert "evil_module" not in sys.modules
    caught = raised(
        lambda: cnroute.Router(
            [cnroute.Deployment("a", "evil", "m")], plugins=cnroute.PluginHost(block=["evil"]), transport=FakeTransport()
        ),
        cnroute.ConfigurationError,
    )
    assert "blocked" in str(caught)


def test_a_plugin_that_is_no_provider_is_not_called_one(site: Site) -> None:
    """A deployment that names it is told what it is, and one that was not loaded is told that."""
    site.install("watch", {"watch": "watch_module"}, watch_module="import cnroute\n@cnroute.hookimpl\ndef observe(notice): pass")
    for load, words in (None, "the plugin watch is loaded, but it is no provider"), ([], "the plugin watch is not loaded"):
        made = cnroute.PluginHost(load=load)
        assert str(raised(lambda made=made: made.provider("watch"), cnroute.ConfigurationError)).endswith(words)


def test_a_built_in_may_be_blocked() -> None:
    """Then it is no provider, and never imported for this host."""
    made = cnroute.PluginHost(autoload=False, block=["dashscope"])
    assert "dashscope" not in made.providers()
    caught = raised(
        lambda: cnroute.Router([deployment("a", provider="dashscope")], plugins=made, transport=FakeTransport()),
        cnroute.ConfigurationError,
    )
    assert "blocked" in str(caught)


class Unhashable(ToyProvider):
    __hash__ = None  # type: ignore[assignment]


@attrs.define
class WithEquality:
    @cnroute.hookimpl
    def observe(self, notice: Any) -> None: ...


class Lazy(ToyProvider):
    """Attributes that must stay asleep."""

    @property
    def shy(self) -> Any:
        raise AssertionError("woken")

    @functools.cached_property
    def late(self) -> Any:
        raise AssertionError("woken")


OBJECTS: dict[str, tuple[Any, str]] = {
    "class": (ToyProvider, "class"),
    "unhashable": (Unhashable(), "hashable"),
    "equality": (WithEquality(), "hashable"),
    "nothing": (object(), "no hook"),
    "text": ("toy", "no hook"),
    "none": (None, "no hook"),
    "empty module": (types.ModuleType("empty"), "no hook"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_is_no_plugin_is_quarantined(name: str) -> None:
    """Classes, unhashable objects and things without hooks are refused at once, in words."""
    thing, word = OBJECTS[name]
    made = cnroute.PluginHost(autoload=False)
    made.register(thing, "odd")
    assert word in problem(made, "odd").reason


def test_properties_of_a_plugin_stay_asleep() -> None:
    """Registering and binding look at functions only; where pluggy wakes one itself, the plugin is put aside."""
    made = cnroute.PluginHost(autoload=False)
    made.register(Lazy())
    if not made.problems:
        assert Toy([answer()], plugins=made).chat().text == "好"
    else:
        assert "woken" in made.problems[0].reason


def test_a_name_is_taken_once() -> None:
    """The second plugin of one name is quarantined and the first keeps working; the same object twice too."""
    first = ToyProvider()
    made = cnroute.PluginHost(autoload=False)
    for plugin in (first, ToyProvider(), first):
        made.register(plugin)
    assert [each.plugin for each in made.problems] == ["toy", "toy"]
    assert made.provider("toy").info.name == "toy"
    made = cnroute.PluginHost(autoload=False)
    made.register(first, "toy")
    made.register(first, "again")
    assert problem(made, "again")


def test_nothing_is_registered_after_the_first_router() -> None:
    """The host is frozen; the error names the plugin."""
    made = host()
    Toy([answer()], plugins=made)
    caught = raised(lambda: made.register(ToyProvider("late"), "late"), cnroute.PluginError)
    assert caught.plugin == "late"


def test_a_broken_plugin_among_plugin_objects_is_a_problem_of_the_host() -> None:
    """`plugins=` takes objects; they are added to the built-in ones."""
    made = cnroute.Router([deployment("a")], transport=FakeTransport(), plugins=[ToyProvider(), object()])
    assert len([each for each in made.plugins.problems if each.plugin == "object"]) == 1
    assert {"toy", "dashscope", "minimax-v2", "minimax-pro", "minimax-legacy"} <= set(made.plugins.providers())


@pytest.mark.parametrize(("given", "told"), [
    (ToyProvider, "ToyProvider: a class was registered; register an instance or a module"),
    (5, "int: it implements no hook"), (None, "NoneType: it implements no hook"), ("toy", "str: it implements no hook"),
    ([ToyProvider()], "list: the plugin object is not hashable"),
], ids=["a class", "a number", "nothing", "text", "a list"])
def test_what_can_be_no_plugin_is_refused(given: Any, told: str) -> None:
    """A class instead of an instance would be dropped, and nobody would notice."""
    caught = raised(
        lambda: cnroute.Router([deployment("a")], transport=FakeTransport(), plugins=[ToyProvider(), given]),
        cnroute.ConfigurationError,
    )
    assert [problem.key for problem in caught.problems] == ["plugins"]
    assert caught.problems[0].reason.startswith(told)


def info(**fields: Any) -> Any:
    return lambda: cnroute.ProviderInfo(**{"name": "toy", "base_url": BASE, **fields})


def shout() -> Any:
    raise RuntimeError("boom")


LIES: dict[str, Any] = {
    "raises": shout,
    "none": lambda: None,
    "text": lambda: "toy",
    "mapping": lambda: {"name": "toy"},
    "other name": info(name="dashscope"),
    "ftp": info(base_url="ftp://x"),
    "userinfo": info(base_url="https://u:p@x"),
    "plain http": info(base_url="http://x.example"),
    "no url": info(base_url=""),
    "url is none": info(base_url=None),
    "env": info(env=None),
    "options": info(options=5),
    "models": info(models=["m"]),
    "query": info(base_url="https://x?a=b"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_provider_that_describes_itself_wrongly_is_refused(name: str) -> None:
    """Its deployments are a ConfigurationError that names it; others are not touched."""
    made = host(ToyProvider("other"))
    made.register(ToyProvider(describe_provider=LIES[name]), "toy")
    caught = raised(
        lambda: cnroute.Router([deployment("a")], plugins=made, transport=FakeTransport()), cnroute.ConfigurationError
    )
    assert "toy" in str(caught) or "base_url" in str(caught)
    assert cnroute.Router([deployment("b", provider="other")], plugins=made, transport=FakeTransport()).models()


class Stateful(ToyProvider):
    """A provider object that remembers (which it should not): still one object, bound once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    @cnroute.hookimpl
    def build_request(self, request: Any, deployment: Any, stream: bool) -> Any:
        self.calls += 1
        return super().build_request(request, deployment, stream)


def test_a_provider_may_be_an_object() -> None:
    """Methods are bound to the object that was registered."""
    plugin = Stateful()
    toy = Toy([answer()], plugins=host(plugin), names="a")
    toy.chat()
    toy.chat()
    assert plugin.calls == 2


def test_first_calls_of_an_account_in_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider is bound once, whichever thread comes first."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "test-key")
    monkeypatch.setenv("MINIMAX_API_KEY", "test-key")
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(10):
            router = cnroute.Router.from_env(transport=FakeTransport([]), plugins=cnroute.PluginHost(autoload=False))
            with router, ThreadPoolExecutor(8) as pool:
                barrier = threading.Barrier(8)

                def plan(number: int, barrier: threading.Barrier = barrier, router: cnroute.Router = router) -> cnroute.Plan:
                    barrier.wait()
                    return router.plan("hi", model=("dashscope/m", "minimax-v2/m")[number % 2])

                assert len(list(pool.map(plan, range(8)))) == 8
    finally:
        sys.setswitchinterval(usual)


def test_error_frames_of_a_toy_stream_are_failures() -> None:
    """The toy vendor itself keeps the contract that these tests rest on."""
    toy = Toy({"a": [[frames({"error": {"kind": "overloaded"}})]], "b": [good_stream()]})
    assert "".join(toy.stream().texts()) == "好"
    assert Toy([error("auth")], names="a").router.health()["a"]["in_flight"] == 0
