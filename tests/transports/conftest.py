"""What the tests of transports share: a client with short limits, and the check that nothing is left behind."""

from __future__ import annotations

import gc
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from cnroute.deployments import TLS, Deployment
from cnroute.http import HttpRequest, HttpResponse
from cnroute.routing.deadline import Deadline
from cnroute.settings import Limits, Timeouts
from cnroute.testing.transports.rawserver import Action, RawServer
from cnroute.transports.urllib3 import BoundTransport, Urllib3Transport, UrllibStream

LIMITS = {"total": 0.6, "connect": 0.2, "first_byte": 0.3, "idle": 0.25, "write": 0.2, "pool": 0.2}
# For calls that should succeed: a busy machine must not turn them into failures.
PATIENT = {"total": 9.0, "connect": 3.0, "first_byte": 4.0, "idle": 4.0, "write": 4.0, "pool": 3.0}


class Wire:
    """One server, one bound transport."""

    def __init__(self, server: RawServer, transport: Urllib3Transport, deployment: Deployment) -> None:
        self.server = server
        self.transport = transport
        self.deployment = deployment
        self.bound: BoundTransport = transport.bind(deployment)
        self.deadline: Deadline = self.new_deadline()

    def new_deadline(self, **limits: float) -> Deadline:
        timeouts = Timeouts(**{**PATIENT, **limits})
        self.deadline = Deadline(time.monotonic() + timeouts.total, timeouts, time)
        return self.deadline

    def request(self, body: bytes = b"marker", **fields: Any) -> HttpRequest:
        headers = {"Content-Type": "application/json", **fields.pop("headers", {})}
        return HttpRequest("POST", f"{self.deployment.base_url}/chat?GroupId=canary-group", headers, body)

    def send(self, body: bytes = b"marker", **limits: float) -> HttpResponse:
        return self.bound.send(self.request(body), self.new_deadline(**limits))

    def open(self, body: bytes = b"marker", **limits: float) -> UrllibStream:
        return self.bound.open(self.request(body), self.new_deadline(**limits))

    def read(self, body: bytes = b"marker", **limits: float) -> bytes:
        """The same as `send`, as a stream."""
        stream = self.open(body, **limits)
        return b"".join(iter(stream.read, b""))

    def at_rest(self) -> None:
        """Every place is free, and the server's connections are our idle ones."""
        assert self.bound.free_places() == self.bound.limits.max_connections
        assert not self.bound.active
        until(lambda: self.server.open == self.bound.idle_connections())

    def serves(self) -> None:
        """The next calls get their own answers."""
        for marker in (b"first after", b"second after"):
            assert self.send(marker).body == marker


def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


def descriptors() -> set[str]:
    """Our sockets, by number and inode."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No socket and no thread outlives a test."""
    sockets, threads = descriptors(), set(threading.enumerate())
    yield
    gc.collect()
    until(lambda: set(threading.enumerate()) <= threads)
    assert descriptors() <= sockets


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(authority: trustme.CA, *names: str, **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **more).configure_cert(context)
    return context


Connect = Callable[..., Wire]


@pytest.fixture
def wire(ca_file: str) -> Iterator[Connect]:
    """Makes a `Wire` from scripts; afterwards it must be at rest."""
    made: list[Wire] = []

    def connect(
        *scripts: list[Action],
        tls: ssl.SSLContext | None = None,
        limits: dict[str, int] | None = None,
        host: str = "127.0.0.1",
        deployment: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Wire:
        server = RawServer(*scripts, tls=tls, host=host)
        shown = f"[{host}]" if ":" in host else host
        fields: dict[str, Any] = {
            "base_url": f"{'https' if tls else 'http'}://{shown}:{server.port}/v1",
            "limits": Limits(**{"max_connections": 4, **(limits or {})}),
            "tls": TLS(ca_file=ca_file) if tls else None,
            **(deployment or {}),
        }
        made.append(Wire(server, Urllib3Transport(**settings), Deployment("d", "p", "m", **fields)))
        return made[-1]

    yield connect
    for one in made:
        try:
            one.at_rest()
        finally:
            one.transport.close()
            one.server.close()
