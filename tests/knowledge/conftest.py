"""A vendor and both clients; one scenario serves the two, since their methods have the same names."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cnroute
from tests.contract.kit import plain_host
from tests.knowledge.vendor import GROUP, KEY, Vendor

QUICK = {
    "timeouts": cnroute.Timeouts(total=8, connect=2, first_byte=2, idle=2, write=2),
    "retries": cnroute.Retries(backoff=0.01, throttled_backoff=0.01),
}


class Sync:
    """The synchronous client as it is."""

    def __init__(self, **settings: Any) -> None:
        self.client = cnroute.KnowledgeClient(**settings)
        self.close = self.client.close

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return (lambda **arguments: list(method(**arguments))) if name == "list" else method


class Async:
    """The asynchronous client, each operation awaited in a loop of its own thread."""

    def __init__(self, **settings: Any) -> None:
        self.client = cnroute.AsyncKnowledgeClient(**settings)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def listed(**arguments: Any) -> list[Any]:
            return [base async for base in method(**arguments)]  # not awaited: arguments are checked at once

        chosen = listed if name == "list" else method
        return lambda *values, **arguments: asyncio.run(_awaited(chosen(*values, **arguments)))

    def close(self) -> None:
        asyncio.run(self.client.close())


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    made = Vendor()
    yield made
    made.close()


Make = Callable[..., Any]


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def make(request: pytest.FixtureRequest, vendor: Vendor) -> Iterator[Make]:
    """Makes a client of either kind."""
    made: list[Any] = []

    def build(**settings: Any) -> Any:
        given = {"api_key": KEY, "group_id": GROUP, "base_url": vendor.base_url, **QUICK, **plain_host(), **settings}
        made.append(request.param(**given))
        return made[-1]

    yield build
    for client in made:
        client.close()


@pytest.fixture
def kb(make: Make) -> Any:
    """A client of either kind."""
    return make()
