"""What the contract does not ask for: routers over it, mocks, several loops, and calls that are cancelled by the hundred."""

from __future__ import annotations

import asyncio
import json
import random
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from cnroute_httpx import HttpxTransport, create_transport
from cnroute_httpx.tap import Tap

import cnroute
from cnroute import FailureKind as K
from cnroute.emulator import Emulator
from cnroute.testing import TransportContract
from cnroute.testing.transports.rawserver import chunked

BOTH = pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda each: each.__name__)
VENDORS = [
    ("dashscope", "yi-large", {}),
    ("minimax-v2", "MiniMax-Text-01", {}),
    ("minimax-pro", "abab6.5s-chat", {"group_id": "1700000000000000000"}),
    ("minimax-legacy", "abab5.5-chat", {"group_id": "1700000000000000000"}),
]
GOOD = {"output": {"choices": [{"message": {"role": "assistant", "content": "你好"}, "finish_reason": "stop"}]}}


def place(base_url: str, provider: str = "dashscope", model: str = "yi-large", **fields: Any) -> cnroute.Deployment:
    return cnroute.Deployment("d", provider, model, api_key="test-key", base_url=base_url, **fields)


@BOTH
@pytest.mark.parametrize(("provider", "model", "options"), VENDORS, ids=lambda value: str(value)[:20])
def test_every_dialect_plain_and_streamed(library: ModuleType, provider: str, model: str, options: dict[str, str]) -> None:
    """The same answers as over the default transport; no thread is made."""

    async def scene(one: cnroute.Deployment) -> Any:
        async with cnroute.AsyncRouter([one], transport=HttpxTransport(library=library)) as router:
            reply = await router.chat("你好", model="d")
            async with router.stream("你好", model="d") as stream:
                assert "".join([text async for text in stream.texts()])
            return reply.usage

    with Emulator() as emulator:
        one = place(emulator.base_url(provider), provider, model, options=options)
        with cnroute.Router([one]) as usual:
            assert asyncio.run(scene(one)) == usual.chat("你好", model="d").usage


def test_it_is_found_by_its_name() -> None:
    """The installed entry point answers to `httpx`, and to nothing else."""
    host = cnroute.PluginHost(load=["httpx"])
    assert host.problems == []
    made = host.create("create_transport", "httpx", {"keepalive": False})
    assert (type(made), made.keepalive, made.library) == (HttpxTransport, False, httpx2)
    assert create_transport("urllib3", {}) is None


def test_the_contract_makes_it_by_its_name() -> None:
    """What is installed under `transport` is what its checks are about."""
    kit = type("Named", (TransportContract,), {"__test__": False, "transport": "httpx"})()
    assert type(kit.make_transport()) is HttpxTransport


def test_a_synchronous_router_refuses_it() -> None:
    """With a hint, when it is made."""
    with pytest.raises(cnroute.ConfigurationError, match="AsyncRouter"):
        cnroute.Router([place("https://vendor.example")], transport="httpx")


@BOTH
def test_httpx_mocks(library: ModuleType) -> None:
    """A MockTransport takes the place of the network; its refusals and exceptions have their kinds."""
    answers: list[Any] = [
        library.Response(429, json={"code": "Throttling", "message": "slow"}),
        library.ReadTimeout("x"), library.ConnectError("x"), library.Response(200, json=GOOD),
    ]

    def handler(asked: Any) -> Any:
        assert asked.headers["authorization"] == "Bearer test-key"
        assert json.loads(asked.content)["model"] == "yi-large"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scene() -> None:
        transport = HttpxTransport(library=library, inner=library.MockTransport(handler))
        once: dict[str, Any] = {"retries": cnroute.Retries(max_attempts=1), "breaker": None}
        async with cnroute.AsyncRouter([place("https://vendor.example")], transport=transport, **once) as router:
            for kind in (K.RATE_LIMIT, K.FIRST_BYTE_TIMEOUT, K.CONNECT_ERROR):
                with pytest.raises(cnroute.CallError) as caught:
                    await router.chat("hi", model="d")
                assert caught.value.kind is kind
            assert (await router.chat("hi", model="d")).text == "你好"

    asyncio.run(scene())


def test_one_router_on_several_loops() -> None:
    """Each loop has connections of its own; those of a loop that is closed are forgotten."""

    async def scene(router: cnroute.AsyncRouter, last: bool) -> None:
        assert (await router.chat("hi", model="d")).text
        if last:
            await router.close()
        else:
            for bound in router.transport._bound:
                for inner, _ in bound._inner.values():
                    await inner.aclose()  # a program that leaves a loop for good closes what it has opened there

    with Emulator() as emulator:
        router = cnroute.AsyncRouter([place(emulator.base_url("dashscope"))], transport="httpx")
        for turn in range(3):
            asyncio.run(scene(router, turn == 2))


def slowly(peer: Any) -> None:
    """Answer every request with its own body, in chunks that take their time."""
    while True:
        peer.read_request()
        body = chunked(peer.body)
        for start in range(0, len(body), 20):
            peer.sock.sendall(body[start : start + 20])
            peer.server.stopping.wait(0.001)


class Kit(TransportContract):
    """The contract's own server and wire, for tests beside its checks."""

    __test__ = False
    transport = "httpx"


@BOTH
def test_hundreds_of_calls_that_are_cancelled_anywhere(library: ModuleType) -> None:
    """Afterwards every place is free, and nobody gets another's answer."""
    kit: Any = Kit()
    kit.make_transport = lambda: HttpxTransport(library=library)
    chance = random.Random(7)
    with kit.wire(*[[slowly]] * 300, places=5) as wire:

        async def one(number: int) -> None:
            marker = b"call %d" % number
            stream = await wire.bound.open(wire.request(marker), wire.new_deadline())
            try:
                while await stream.read():
                    pass
            finally:
                await stream.close()

        async def scene() -> None:
            tasks = [asyncio.ensure_future(one(number)) for number in range(150)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.004)
                if chance.random() < 0.7:
                    task.cancel()
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        wire.call(scene)
        wire.serves(5)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokH", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", False),
        (b"X" * (2**20 + 1), False),
    ],
)
def test_the_tap_knows_what_is_left_over(raw: bytes, clean: bool) -> None:
    """However the bytes are cut."""
    for size in (1, 7, len(raw)) if len(raw) < 1000 else (65536,):
        tap = Tap()
        for start in range(0, len(raw), size):
            tap.feed(raw[start : start + size])
        assert tap.clean is clean
        tap.begin()
        assert not tap.clean
