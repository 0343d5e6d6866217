"""The routers that are measured: five providers, ready for the vendor on loopback or for a transport in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cnroute
from cnroute.http import Headers
from harness import samples
from harness.vendor import Vendor

FIVE = ("dashscope", "minimax-v2", "minimax-pro", "minimax-legacy", "fifth")
PRICE = cnroute.Price("CNY", "1", "8", as_of="2026-11-01", source="benchmark")


class Toy:
    """A provider that is installed and never asked."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cnroute.hookimpl
    def describe_provider(self) -> cnroute.ProviderInfo:
        """Say its name."""
        return cnroute.ProviderInfo(self._name, "https://toy.example/v1")

    @cnroute.hookimpl
    def build_request(self, request: Any, deployment: Any, stream: bool) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def map_error(self, response: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def parse_response(self, response: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def parse_stream_line(self, line: str, state: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)


def host(plugins: int = 1) -> cnroute.PluginHost:
    """The built-in providers and so many others."""
    made = cnroute.PluginHost(autoload=False)
    for number in range(plugins):
        made.register(Toy("fifth" if not number else f"toy-{number}"))
    return made


def deployment(name: str, dialect: str, base_url: str, **more: Any) -> cnroute.Deployment:
    """A priced deployment."""
    return cnroute.Deployment(
        name, dialect, samples.MODELS[dialect], api_key=samples.KEY, base_url=base_url, price=PRICE, **more
    )


def others() -> list[cnroute.Deployment]:
    """A deployment of each provider, so that all five are bound; nobody calls them."""
    options = {"minimax-pro": {"group_id": "17"}, "minimax-legacy": {"group_id": "17"}}
    return [
        cnroute.Deployment(f"other-{name}", name, "some-model", api_key=samples.KEY, options=options.get(name, {}))
        for name in FIVE
    ]


def router(deployments: Iterable[cnroute.Deployment], kind: Callable[..., Any] = cnroute.Router, **more: Any) -> Any:
    """A router over these and one of each provider; the route `chat` takes the cheapest of the given ones."""
    given = list(deployments)
    routes = {"chat": cnroute.Route(policy=more.pop("policy", "cheapest"), targets=[each.name for each in given])}
    return kind([*given, *others()], routes, plugins=more.pop("plugins", None) or host(), **more)


def pair(vendor: Vendor, dialect: str, scenario: str, **more: Any) -> Any:
    """A router whose route `chat` has two equal deployments that do as the scenario says."""
    return router([deployment(name, dialect, vendor.base(scenario)) for name in ("one", "two")], **more)


def text_of(made: Any, characters: int = samples.CHARACTERS) -> str:
    """One plain call."""
    answered: str = made.chat(samples.messages(characters), model="chat", max_tokens=samples.MAX_TOKENS).text
    return answered


def stream_of(made: Any, model: str = "chat") -> str:
    """One streamed call, every delta handed out."""
    with made.stream(samples.messages(), model=model, max_tokens=samples.MAX_TOKENS) as stream:
        return "".join([delta.text for delta in stream])


JSON = Headers({"Content-Type": "application/json; charset=utf-8"})
SSE = Headers({"Content-Type": "text/event-stream; charset=utf-8"})


class MemoryStream:
    """A body whose pieces are in memory, one a read."""

    status = 200
    headers = SSE

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.read = iter([*pieces, b""]).__next__

    def close(self) -> None:
        """Nothing is held."""


class MemoryTransport:
    """Answers every request with the same bytes."""

    def __init__(self, body: bytes = b"", pieces: Iterable[bytes] = ()) -> None:
        self._body = body
        self._pieces = list(pieces)

    def send(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> cnroute.HttpResponse:
        """The whole answer."""
        return cnroute.HttpResponse(200, JSON, self._body)

    def open(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> MemoryStream:
        """The answer as a stream."""
        return MemoryStream(self._pieces)

    def close(self) -> None:
        """Nothing is held."""
