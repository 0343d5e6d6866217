"""Hooks that more than one plugin has: wrappers reach every provider, observers and prices are collected.

How plugins get into the host, and which are refused, stands in `test_host`.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.testing import FakeTransport
from tests.flow.toy import Toy, ToyProvider, answer, deployment, good_stream, host, raised


def shout() -> Any:
    raise RuntimeError("boom")


class TestWrappers:
    """`hookimpl(wrapper=True)` works for every provider at once."""

    class Everywhere:
        """A tenant header, errors retold, lines redacted, answers stamped."""

        @cnroute.hookimpl(wrapper=True)
        def build_request(self, request: Any, deployment: Any, stream: bool) -> Any:
            made = yield
            return attrs.evolve(made, headers={**made.headers, "X-Tenant": deployment.name})

        @cnroute.hookimpl(wrapper=True)
        def map_error(self, response: Any) -> Any:
            failure = yield
            return attrs.evolve(failure, message="redacted") if failure else None

        @cnroute.hookimpl(wrapper=True)
        def parse_stream_line(self, line: str) -> Any:
            events = yield
            return tuple(cnroute.TextDelta(each.text.upper()) if each.text else each for each in events)

        @cnroute.hookimpl(wrapper=True)
        def parse_response(self) -> Any:
            made = yield
            return attrs.evolve(made, text=made.text.upper())

    def test_they_reach_built_in_and_foreign_providers(self) -> None:
        """Request, answer, error and every line of both."""
        deployments = [deployment("a"), cnroute.Deployment("q", "dashscope", "qwen-plus", api_key="k-123456")]
        vendor = {
            "output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "abc"}}]},
            "usage": {},
        }
        toy = Toy({"a": [answer("abc")], "q": [vendor]}, deployments=deployments, plugins=host(ToyProvider(), self.Everywhere()))
        for name in "aq":
            assert toy.chat(model=name).text == "ABC"
            assert toy.transport.requests[-1].headers["X-Tenant"] == name
        toy = Toy(
            {"a": [good_stream("abc")], "q": [(401, "{}")]},
            deployments=deployments,
            plugins=host(ToyProvider(), self.Everywhere()),
        )
        assert "".join(toy.stream(model="a").texts()) == "ABC"
        assert raised(lambda: toy.chat(model="q")).message == "redacted"

    def test_the_defaults_survive(self) -> None:
        """A proxy's 502 is found by the default, with and without wrappers, also for a provider without `map_error`."""

        class Bare:
            """Only what is required."""

            describe_provider = ToyProvider.describe_provider
            build_request = ToyProvider.build_request
            parse_response = ToyProvider.parse_response
            name, models = "toy", ()

            def __init__(self) -> None:
                self.changed: dict[str, Any] = {}

        for plugins in ([Bare()], [Bare(), self.Everywhere()], [ToyProvider(), self.Everywhere()], [ToyProvider()]):
            toy = Toy([(502, "<html>Bad gateway</html>")], plugins=host(*plugins), names="a")
            assert raised(toy.chat).kind == "server_error"

    def test_a_wrapper_that_raises_is_a_plugin_error(self) -> None:
        """It breaks that attempt and nothing else."""

        class Broken:
            @cnroute.hookimpl(wrapper=True)
            def build_request(self, deployment: Any) -> Any:
                made = yield
                if deployment.name == "a":
                    raise RuntimeError("boom")
                return made

        toy = Toy([answer()], plugins=host(ToyProvider(), Broken()))
        reply = toy.chat()
        assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == ["plugin_error", None]


class Other(ToyProvider):
    """A provider whose comparisons are counted: nobody should look at it while another one streams."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Other.compared += 1
        return self is other

    __hash__ = object.__hash__


@pytest.mark.parametrize("wrapped", [False, True])
def test_fifty_plugins_do_not_change_the_bound_callables(wrapped: bool) -> None:
    """Without a wrapper a bound hook is the provider's own function; with one, other providers are not even looked at."""
    own = ToyProvider()
    crowd = [Other(f"toy{number}") for number in range(50)]
    made = host(own, *crowd, *([TestWrappers.Everywhere()] if wrapped else []))
    hooks = made.provider("toy")
    if not wrapped:
        for hook in ("build_request", "parse_response", "parse_stream_line"):
            assert getattr(hooks, hook) == getattr(own, hook)
        assert hooks.count_tokens is None
    Other.compared = 0
    state = cnroute.StreamState(cnroute.ChatRequest(()))
    for _ in range(100):
        assert hooks.parse_stream_line is not None
        assert hooks.parse_stream_line('data: {"text": "a"}', state, deployment("a"))
    assert Other.compared == 0


class TestOtherHooks:
    """`observe`, `load_prices`, `create_transport`, `create_policy`."""

    def test_an_observer_that_raises_hurts_nobody(self) -> None:
        """It is counted; the others and the call go on. MemoryError and KeyboardInterrupt pass through."""

        class Observer:
            def __init__(self, error: BaseException | None = None) -> None:
                self.error, self.seen = error, []

            @cnroute.hookimpl
            def observe(self, notice: Any) -> None:
                self.seen.append(notice)
                if self.error and not isinstance(notice, cnroute.CallStarted):  # while something is held
                    raise self.error

        fine, made = Observer(), cnroute.PluginHost(autoload=False)
        for name, plugin in {
            "toy": ToyProvider(),
            "bad": Observer(ValueError("x")),
            "deep": Observer(RecursionError()),
            "fine": fine,
        }.items():
            made.register(plugin, name)
        assert Toy([answer()], plugins=made, names="a").chat().text == "好"
        assert len(fine.seen) == 4
        assert made.observer_failures == {"bad": 3, "deep": 3}
        for fatal in (MemoryError, KeyboardInterrupt, SystemExit):
            toy = Toy([answer()], plugins=host(ToyProvider(), Observer(fatal())), names="a")
            raised(toy.chat, fatal)
            assert toy.router.health()["a"]["in_flight"] == 0

    def test_prices_of_plugins_lie_between_the_users_and_the_catalogue(self) -> None:
        """The user's configuration wins, then `load_prices`, then the provider's own."""
        own = cnroute.Price("CNY", "9", "9")

        class Prices:
            @cnroute.hookimpl
            def load_prices(self) -> Any:
                return [("toy", "toy-1", cnroute.Price("CNY", "5", "5"))]

        models = (cnroute.ModelInfo("toy-1", price=own), cnroute.ModelInfo("toy-2", price=own))
        toy = Toy(
            plugins=host(ToyProvider(models=models), Prices()),
            deployments=[
                deployment("a"),
                deployment("b", "toy-2"),
                deployment("c", price=cnroute.Price("CNY", "1", "1")),
            ],
        )
        assert [str(each.price.input) for each in toy.router.models() if each.price] == ["5", "9", "1"]

    @pytest.mark.parametrize(
        "value", [5, [1], [("toy", "m")], [("toy", "m", "1")], [(1, "m", cnroute.Price("CNY"))], None, "error", "exit"]
    )
    def test_broken_prices_are_a_problem_of_that_plugin(self, value: Any) -> None:
        """The router is made without them."""

        class Prices:
            @cnroute.hookimpl
            def load_prices(self) -> Any:
                if value == "error":
                    raise RuntimeError("boom")
                if value == "exit":
                    sys.exit(1)
                return value

        made = host(ToyProvider(), Prices())
        Toy(plugins=made)
        assert [each.plugin for each in made.problems] == ["Prices"]

    def test_a_transport_of_a_plugin(self) -> None:
        """The first answer wins, None declines, a lie or an exception is a ConfigurationError."""
        transport = FakeTransport([answer()])

        class Maker:
            def __init__(self, make: Any) -> None:
                self.make = make

            @cnroute.hookimpl
            def create_transport(self, name: str, settings: Any) -> Any:
                return self.make() if name == "mine" else None

        router = cnroute.Router([deployment("a")], plugins=host(ToyProvider(), Maker(lambda: transport)), transport="mine")
        assert router.chat("x", model="a").text == "好"
        assert router.transport is transport
        for make in (lambda: 5, shout, lambda: sys.exit(1), lambda: FakeTransport):
            caught = raised(
                lambda make=make: cnroute.Router([deployment("a")], plugins=host(ToyProvider(), Maker(make)), transport="mine"),
                cnroute.ConfigurationError,
            )
            assert "transport" in str(caught)
        assert "other" in str(
            raised(lambda: cnroute.Router([deployment("a")], plugins=host(), transport="other"), cnroute.ConfigurationError)
        )

    def test_an_asynchronous_transport_is_refused(self) -> None:
        """A synchronous router cannot await."""
        transport = FakeTransport()
        transport.is_async = True  # type: ignore[attr-defined]
        caught = raised(
            lambda: cnroute.Router([deployment("a")], plugins=host(), transport=transport), cnroute.ConfigurationError
        )
        assert "AsyncRouter" in str(caught)

    @pytest.mark.parametrize(
        ("count", "word"),
        [(7, None), (None, None), (-1, "int"), (True, "bool"), ("5", "str"), (RuntimeError("x"), "RuntimeError")],
    )
    def test_count_tokens_replaces_the_estimate(self, count: Any, word: str | None) -> None:
        """None declines; what is no count is a plugin_error of that deployment, and the next is asked."""

        class Counting(ToyProvider):
            @cnroute.hookimpl
            def count_tokens(self, request: Any, deployment: Any) -> Any:
                assert set(request.extra) <= {"mine"}
                if isinstance(count, Exception):
                    raise count
                return count

        price = cnroute.Price("CNY", "1", "0", per=1)
        made = [deployment("a", provider="counting", price=price), deployment("b", price=price)]
        toy = Toy([answer()], plugins=host(ToyProvider(), Counting("counting")), deployments=made)
        plan = toy.router.plan("你" * 100, model="chat", extra={"counting": {"mine": 1}, "toy": {"other": 1}})
        if word is None:
            assert plan.candidates[0].cost.low == (7 if count else plan.candidates[1].cost.low)
            assert toy.chat().deployment == "a"
            return
        assert plan.excluded[0].rule == "plugin_error"
        assert "counting: count_tokens" in plan.excluded[0].reason and word in plan.excluded[0].reason
        assert toy.chat().deployment == "b"
        assert type(raised(lambda: toy.chat(model="a"))) is cnroute.HookError


def test_a_wrapper_of_observe_sees_every_observer() -> None:
    """Any hook may be wrapped, the collected ones too."""
    seen: list[str] = []

    class Wrapper:
        @cnroute.hookimpl(wrapper=True)
        def observe(self, notice: Any) -> Any:
            seen.append("wrapped")
            return (yield)

        @cnroute.hookimpl(wrapper=True)
        def load_prices(self) -> Any:
            return (yield)

    class Observer:
        @cnroute.hookimpl
        def observe(self) -> None:
            seen.append("seen")

        @cnroute.hookimpl
        def load_prices(self) -> Any:
            return [("toy", "toy-1", cnroute.Price("CNY", "3", "3"))]

    toy = Toy([answer()], plugins=host(ToyProvider(), Wrapper(), Observer()), names="a")
    toy.chat()
    assert seen == ["wrapped", "seen"] * 4
    assert str(toy.router.models()[-1].price.input) == "3"


def test_a_provider_judges_the_values_of_options_when_a_router_is_made() -> None:
    """It is asked for a request that nobody sends, without the key; what it says of anything else waits for calls."""
    keys: list[str] = []

    def build(request: Any, deployment: cnroute.Deployment, stream: bool) -> cnroute.HttpRequest:
        assert deployment.api_key is not None
        keys.append(deployment.api_key.reveal())
        if deployment.options["region"] == "moon":
            raise cnroute.UnsupportedRequestError("options.region", "there is nobody")
        raise cnroute.UnsupportedRequestError("stop", "there is none") if stream else RuntimeError("boom")

    def router(region: str) -> cnroute.Router:
        place = deployment("a", api_key=lambda: pytest.fail("the key was asked for"), options={"region": region})
        return cnroute.Router([place], plugins=host(ToyProvider(build_request=build)), transport=FakeTransport())

    caught = raised(lambda: router("moon"), cnroute.ConfigurationError)
    assert [str(problem) for problem in caught.problems] == ["deployments.a.options.region: there is nobody"]
    router("earth").close()
    assert len(keys) == 2 and len(set(keys)) == 1
