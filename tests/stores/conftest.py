"""A real Redis for the tests of what processes share. Without one they are skipped, and fail where CI is set."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT

MISSING = "no redis-server or valkey-server on PATH: what processes share is NOT tested"


def servers() -> Any:
    """The module that the chaos bench starts its Redis with."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("chaosbench.servers")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="session")
def running_redis() -> Iterator[Any]:
    module = servers()
    if module.found() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    with module.RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(running_redis: Any) -> Any:
    """The session's server, empty and running."""
    if running_redis.ask("PING") != b"+PONG\r\n":
        running_redis.stop()
        running_redis.start()
    running_redis.ask("FLUSHALL")
    return running_redis
