"""Rows 1 to 17 that need more than a script: names, addresses, black holes, TLS, places, descriptors."""

from __future__ import annotations

import datetime
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from cnroute.deployments import TLS, Deployment
from cnroute.errors import CallError, ConfigurationError
from cnroute.failures import FailureKind as K
from cnroute.testing.transports.rawserver import Peer, black_hole, fin, plainly, request, rst, send, silent
from cnroute.transports.connecting import is_public
from cnroute.transports.urllib3 import Urllib3Transport
from tests.transports.conftest import LIMITS, Connect, server_context, until

CONNECT = LIMITS["connect"]
SLACK = 0.5

Names = dict[str, Any]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Host names of this test: a list of addresses, an exception, or a number of seconds to block."""
    known: Names = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        answer = known.get(host)
        if answer is None:
            return real(host, port, *args, **more)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, threading.Event):
            answer.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "too late")
        return [found for address in answer for found in real(address, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """An event that a name look-up waits for; set at the end, so that its thread ends too."""
    event = threading.Event()
    yield event
    event.set()


def fails(one: Any, way: str = "send", **limits: float) -> CallError:
    with pytest.raises(CallError) as caught:
        getattr(one, way)(**{**LIMITS, **limits})
    return caught.value


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def to(port: int, host: str = "127.0.0.1", scheme: str = "http") -> dict[str, Any]:
    return {"base_url": f"{scheme}://{host}:{port}", "allow_http": True}


def test_row_1_nobody_listens(wire: Connect) -> None:
    """Refused: connect_error, nothing was sent."""
    error = fails(wire(deployment=to(closed_port())))
    assert (error.kind, error.billing) == (K.CONNECT_ERROR, "none")


def test_row_2_black_hole(wire: Connect) -> None:
    """A SYN without an answer ends at the connect limit."""
    with black_hole() as port:
        one, started = wire(deployment=to(port)), time.monotonic()
        error = fails(one)
    assert (error.kind, error.billing) == (K.CONNECT_TIMEOUT, "none")
    assert time.monotonic() - started < CONNECT + SLACK


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        pytest.param([plainly, silent], K.TLS_TIMEOUT, id="6-silent"),
        pytest.param([plainly, fin], K.TLS_ERROR, id="7-closes"),
        pytest.param([plainly, Peer.receive, rst], K.TLS_ERROR, id="7-resets"),
        pytest.param([plainly, send(b"HTTP/1.1 400 Bad\r\n\r\n"), fin], K.TLS_ERROR, id="8-plain-http"),
    ],
)
@pytest.mark.parametrize("way", ["send", "read"])
def test_rows_6_to_8_handshake(wire: Connect, authority: trustme.CA, script: list[Any], kind: K, way: str) -> None:
    """Trouble in the handshake is billed as nothing, whatever urllib3 calls it (U12)."""
    one, started = wire(script, tls=server_context(authority)), time.monotonic()
    error = fails(one, way)
    assert (error.kind, error.billing) == (kind, "none")
    assert time.monotonic() - started < CONNECT + SLACK
    one.serves()


def expired(authority: trustme.CA) -> ssl.SSLContext:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)
    return server_context(authority, "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1))


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(lambda authority: server_context(authority, "elsewhere.example"), id="9-another-host"),
        pytest.param(lambda authority: server_context(trustme.CA()), id="10-unknown-ca"),
        pytest.param(expired, id="11-expired"),
    ],
)
def test_rows_9_to_11_certificates(wire: Connect, authority: trustme.CA, context: Any) -> None:
    """A refused certificate is tls_verify, and no request was sent."""
    one = wire(tls=context(authority))
    error = fails(one)
    assert (error.kind, error.billing) == (K.TLS_VERIFY, "none")
    assert one.server.requests == []


def test_tls_answers_and_keeps_the_connection(wire: Connect, authority: trustme.CA) -> None:
    """The good case under TLS: one handshake for several calls, streamed or not."""
    one = wire(tls=server_context(authority))
    one.serves()
    assert one.read(b"streamed") == b"streamed"
    assert one.server.connections == 1


def test_row_12_unknown_name(wire: Connect, names: Names) -> None:
    """A name that does not exist is dns_error."""
    names["nowhere.invalid"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    error = fails(wire(deployment=to(80, "nowhere.invalid")))
    assert (error.kind, error.billing) == (K.DNS_ERROR, "none")


def test_row_13_look_up_hangs(wire: Connect, names: Names, blocked: threading.Event) -> None:
    """getaddrinfo has no limit of its own; the connect limit holds, and callers share one thread (U13)."""
    names["slow.example"] = blocked
    one, started = wire(deployment=to(80, "slow.example")), time.monotonic()
    assert {fails(one, connect=0.1).kind for _ in range(3)} == {K.CONNECT_TIMEOUT}
    assert time.monotonic() - started < 0.3 + SLACK
    assert sum(thread.name == "cnroute name look-up" for thread in threading.enumerate()) == 1
    blocked.set()


def test_row_14_second_address(wire: Connect, names: Names) -> None:
    """A refused first address does not matter."""
    names["two.example"] = ["::1", "127.0.0.1"]
    one = wire()
    both = wire(deployment=to(one.server.port, "two.example"))
    assert both.send(b"hello").body == b"hello"
    both.transport.close()


def test_row_15_five_black_holes(wire: Connect, names: Names) -> None:
    """The connect limit covers the phase, not each address."""
    names["holes.example"] = ["127.0.0.1"] * 5
    with black_hole() as port:
        one, started = wire(deployment=to(port, "holes.example")), time.monotonic()
        error = fails(one)
    assert error.kind is K.CONNECT_TIMEOUT
    assert time.monotonic() - started < CONNECT + SLACK


def test_a_dead_address_leaves_time_for_the_next(wire: Connect, names: Names) -> None:
    """Each address gets its part of the connect limit."""
    with black_hole() as port, socket.create_server(("127.0.0.2", port)) as listener:
        names["half.example"] = ["127.0.0.1", "127.0.0.2"]
        assert fails(wire(deployment=to(port, "half.example")), connect=0.4).kind is K.FIRST_BYTE_TIMEOUT
        listener.close()


def test_row_16_no_place(wire: Connect) -> None:
    """The only connection is held by a stream: the second call waits for the pool limit, then local_overload."""
    one = wire(limits={"max_connections": 1})
    with one.open(b"held"):
        started = time.monotonic()
        error = fails(one)
        assert (error.kind, error.billing) == (K.LOCAL_OVERLOAD, "none")
        assert time.monotonic() - started < LIMITS["pool"] + SLACK


def test_a_freed_place_goes_to_who_waits(wire: Connect) -> None:
    """A waiting call starts as soon as a place is given back."""
    one = wire([request, silent], limits={"max_connections": 1})
    threading.Timer(0.1, one.bound.free_places).start()
    held = threading.Thread(target=lambda: fails(one, first_byte=0.2))
    held.start()
    until(lambda: one.bound.free_places() == 0)
    assert one.bound.send(one.request(b"waited"), one.new_deadline(pool=1.0, total=3.0)).body == b"waited"
    held.join()


def test_row_17_no_descriptor_left(wire: Connect) -> None:
    """EMFILE is connect_error, and calls work again afterwards."""
    one = wire()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        error = fails(one)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (error.kind, error.billing) == (K.CONNECT_ERROR, "none")
    one.serves()


def test_ipv6_literal(wire: Connect) -> None:
    """An IPv6 literal works (U30)."""
    one = wire(host="::1")
    one.serves()
    assert f"Host: [::1]:{one.server.port}".encode() in one.server.requests[0][0]


# -- addresses that must not be called


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433"])
def test_block_private_before_a_byte(wire: Connect, host: str) -> None:
    """With block_private no connection is made to an address that is not public, however it is written."""
    server = wire()
    error = fails(wire(deployment=to(server.server.port, host), block_private=True))
    assert (error.kind, error.billing) == (K.CONNECT_ERROR, "none")
    assert "block_private" in error.message
    assert server.server.connections == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
        ("10.0.0.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
def test_is_public(address: str, public: bool) -> None:
    """An address inside another one decides."""
    assert is_public(address) is public


def test_block_private_and_a_proxy_contradict_each_other() -> None:
    """Behind a proxy no address can be judged."""
    transport = Urllib3Transport(block_private=True)
    with pytest.raises(ConfigurationError, match="behind a proxy"):
        transport.bind(Deployment("d", "p", "m", base_url="https://vendor.example", proxy="http://127.0.0.1:3128"))


# -- settings that cannot work


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"base_url": None}, "base_url"),
        ({"proxy": "socks5://user:canary@h"}, "proxy must be"),
        ({"proxy": "http://h:99999"}, "proxy must be"),
        ({"tls": TLS(ca_file="/no/such/file")}, "ca_file is not a file"),
    ],
)
def test_bind_refuses(fields: dict[str, Any], match: str) -> None:
    """What cannot work is said when the deployment is bound, without secrets."""
    with pytest.raises(ConfigurationError, match=match) as caught:
        Urllib3Transport().bind(Deployment("d", "p", "m", **{"base_url": "https://vendor.example", **fields}))
    assert "canary" not in str(caught.value)


def test_broken_ca_file(wire: Connect, authority: trustme.CA, tmp_path: Any) -> None:
    """A CA file that holds no certificate is tls_error, nothing is sent."""
    (tmp_path / "ca.pem").write_text("nothing")
    one = wire(tls=server_context(authority), deployment={"tls": TLS(ca_file=str(tmp_path / "ca.pem"))})
    error = fails(one)
    assert (error.kind, error.billing) == (K.TLS_ERROR, "none")


def test_contexts_are_late_and_shared(authority: trustme.CA, ca_file: str) -> None:
    """Binding loads no certificate; equal TLS settings share one context."""
    transport = Urllib3Transport()
    for name in "ab":
        transport.bind(Deployment(name, "p", "m", base_url="https://vendor.example", tls=TLS(ca_file=ca_file)))
    assert transport.contexts._made == {}
    assert transport.contexts.of(TLS(ca_file=ca_file)) is transport.contexts.of(TLS(ca_file=ca_file))
