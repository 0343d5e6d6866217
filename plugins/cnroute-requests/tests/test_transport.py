"""What the contract does not ask for: settings, the plugin itself, forks, and the other router."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from cnroute_requests import RequestsTransport, connections, create_transport, watch

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing import TransportContract


def emulated(emulator: Emulator, provider: str, model: str, **options: str) -> cnroute.Deployment:
    return cnroute.Deployment(
        "d", provider, model, api_key="test-key", base_url=emulator.base_url(provider), options=options
    )


VENDORS = [
    ("dashscope", "yi-large", {}),
    ("minimax-v2", "MiniMax-Text-01", {}),
    ("minimax-pro", "abab6.5s-chat", {"group_id": "1700000000000000000"}),
    ("minimax-legacy", "abab5.5-chat", {"group_id": "1700000000000000000"}),
]


@pytest.mark.parametrize(("provider", "model", "options"), VENDORS, ids=lambda value: str(value)[:20])
def test_every_dialect_plain_and_streamed(provider: str, model: str, options: dict[str, str]) -> None:
    """The same answers as over the default transport, from both routers."""
    with Emulator() as emulator:
        place = emulated(emulator, provider, model, **options)
        with cnroute.Router([place]) as usual, cnroute.Router([place], transport="requests") as other:
            wanted = usual.chat("你好", model="d").usage
            assert other.chat("你好", model="d").usage == wanted
            with other.stream("你好", model="d") as stream:
                assert "".join(stream.texts())

        async def asynchronously() -> None:
            async with cnroute.AsyncRouter([place], transport="requests") as router:
                assert (await router.chat("你好", model="d")).usage == wanted
                async with router.stream("你好", model="d") as stream:
                    assert "".join([text async for text in stream.texts()])

        asyncio.run(asynchronously())


def test_it_is_found_by_its_name() -> None:
    """The installed entry point answers to `requests`, and to nothing else."""
    host = cnroute.PluginHost(load=["requests"])
    assert host.problems == []
    made = host.create("create_transport", "requests", {"keepalive": False})
    assert isinstance(made, RequestsTransport)
    assert made.keepalive is False
    assert create_transport("urllib3", {}) is None


def test_the_contract_makes_it_by_its_name() -> None:
    """What is installed under `transport` is what its checks are about."""
    kit = type("Named", (TransportContract,), {"__test__": False, "transport": "requests"})()
    assert type(kit.make_transport()) is RequestsTransport


def test_binding_comes_first() -> None:
    """Limits, TLS and proxy belong to a deployment."""
    transport: Any = RequestsTransport()
    for method in (transport.send, transport.open):
        with pytest.raises(TypeError, match="bind"):
            method(None, None)


def test_impossible_settings_are_refused_when_bound() -> None:
    """A certificate that is not there and a proxy that is none are the router's problems, all at once."""
    places = [
        cnroute.Deployment("a", "dashscope", "m", api_key="k-123456", tls=cnroute.TLS(ca_file="/nowhere/ca.pem")),
        cnroute.Deployment("b", "dashscope", "m", api_key="k-123456", proxy="socks5://127.0.0.1:1"),
    ]
    with pytest.raises(cnroute.ConfigurationError) as caught:
        cnroute.Router(places, transport="requests")
    assert len(caught.value.problems) == 2


class Kit(TransportContract):
    """The contract's own server and wire, for tests beside its checks."""

    __test__ = False

    def make_transport(self) -> RequestsTransport:
        return RequestsTransport()


def test_without_keepalive_every_call_has_its_own_connection() -> None:
    """And the server sees each of them end."""
    kit: Any = Kit()
    kit.make_transport = lambda: RequestsTransport(keepalive=False)
    with kit.wire() as wire:
        for _ in range(2):
            wire.send()
        wire.peers_gone("each connection is closed")
        assert wire.server.connections == 2


def test_a_connection_that_rested_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vendors' gateways close idle connections without a word."""
    monkeypatch.setattr(connections, "MAX_IDLE", 0.0)
    with Kit().wire() as wire:
        for _ in range(2):
            wire.send()
        assert wire.server.connections == 2


def test_after_a_fork_nothing_of_the_parent_is_used() -> None:
    """The child has its own connections; the parent's go on working."""
    with Kit().wire() as wire:
        wire.send(b"parent")
        before = wire.bound.adapter
        wire.transport.after_fork()
        assert wire.bound.adapter is not before
        assert wire.send(b"child").body == b"child"
        assert wire.server.connections == 2
        before.close()


def test_the_watch_ends_when_the_transport_is_closed() -> None:
    """No thread outlives the transport for long."""
    before = set(threading.enumerate())
    with Kit().wire() as wire:
        wire.send()
        (one,) = [each for each in set(threading.enumerate()) - before if each.name == "cnroute requests watch"]
    one.join(watch.TICK + 3)
    assert not one.is_alive()


def test_a_retired_deployment_keeps_no_connection() -> None:
    """After a reload that changed it, its idle connections are closed; a running stream ends as it will."""
    with Kit().wire() as wire:
        stream = wire.open(b"running")
        wire.bound.retire()
        assert stream.rest() == b"running"
        del stream
        gc.collect()
        wire.peers_gone("a retired deployment keeps no connection")
