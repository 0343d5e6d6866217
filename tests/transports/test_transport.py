"""What belongs to the transport as a whole: the self-test, secrets, headers, proxies, forks, load."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import random
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
import urllib3.connection

from cnroute.deployments import Deployment
from cnroute.errors import CallError, ConfigurationError
from cnroute.failures import FailureKind as K
from cnroute.http import HttpRequest, SecretText
from cnroute.testing.transports.rawserver import (
    Peer,
    RawServer,
    chunked,
    drip,
    fin,
    good,
    head,
    request,
    rst,
    send,
    silent,
    sleep,
)
from cnroute.transports import guarded
from cnroute.transports.urllib3 import Urllib3Transport
from tests.transports.conftest import LIMITS, Connect, Wire, server_context, until

# -- another urllib3


def test_the_self_test_passes() -> None:
    """The installed urllib3 can be guarded."""
    guarded.self_test()


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (guarded, "__version__", "2.6.3"),
        (guarded, "__version__", "3.0.0"),
        (urllib3.connection.HTTPConnection, "connect", lambda self: setattr(self, "sock", None)),
        (urllib3.connection.HTTPSConnection, "connect", lambda self: None),
    ],
    ids=["too-old", "too-new", "own-socket", "own-tls-socket"],
)
def test_another_urllib3_is_refused(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, value: Any) -> None:
    """A urllib3 that goes around the guard is a ConfigurationError, never a silent loss of the deadline."""
    monkeypatch.setattr(place, name, value)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Urllib3Transport()


def test_bind_first() -> None:
    """The transport itself has no origin."""
    transport = Urllib3Transport()
    for call in (transport.send, transport.open):
        with pytest.raises(TypeError, match="bind"):
            call(HttpRequest("POST", "http://h/"), None)  # type: ignore[arg-type]


# -- what is sent


def test_headers_and_path(wire: Connect) -> None:
    """Path and query go out as they are; ours are added, the request's own win; secrets are sent as they are."""
    one = wire()
    headers = {"Authorization": SecretText("Bearer canary-key"), "user-agent": "mine"}
    one.bound.send(one.request(headers=headers), one.new_deadline())
    lines = one.server.requests[0][0].decode().split("\r\n")
    assert lines[0] == "POST /v1/chat?GroupId=canary-group HTTP/1.1"
    assert "Authorization: Bearer canary-key" in lines
    assert "Accept-Encoding: identity" in lines
    assert [line for line in lines if line.lower().startswith("user-agent")] == ["user-agent: mine"]


def test_user_agent(wire: Connect) -> None:
    """Without one of its own a request names cnroute."""
    one = wire()
    one.send()
    assert b"User-Agent: cnroute/" in one.server.requests[0][0]


def test_another_origin_is_refused(wire: Connect) -> None:
    """A URL of another host never leaves, however similar it looks."""
    one = wire()
    for url in (
        "http://evil.example/",
        f"http://127.0.0.1:{one.server.port}1/",
        f"http://127.0.0.1:{one.server.port}@evil.example/",
    ):
        with pytest.raises(CallError) as caught:
            one.bound.send(HttpRequest("POST", url), one.new_deadline())
        assert (caught.value.kind, caught.value.billing) == (K.PLUGIN_ERROR, "none")
    assert one.server.connections == 0


@pytest.mark.parametrize("value", ["a\r\nX: y", "\u5bc6\u94a5", "a\nb"])
def test_impossible_header(wire: Connect, value: str) -> None:
    """A header that cannot be written is an error without its value, and nothing is sent (U26)."""
    one = wire()
    with pytest.raises(CallError) as caught:
        one.bound.send(one.request(headers={"Authorization": "canary" + value}), one.new_deadline())
    assert (caught.value.kind, caught.value.billing) == (K.BAD_REQUEST, "none")
    assert "canary" not in repr(caught.value.__dict__)
    assert one.server.requests == []
    one.serves()


class FileBody:
    """What the knowledge client sends: a length and chunks that can be had again."""

    length = 6

    def chunks(self) -> Iterator[bytes]:
        yield b"abc"
        yield b"def"


def test_file_body(wire: Connect) -> None:
    """A body in chunks has its length in the head, and is sent again after a stale connection."""
    one = wire([lambda peer: (peer.read_request(), peer.sock.sendall(good(b"x"))), request, fin])
    one.send()
    assert one.bound.send(one.request(FileBody()), one.new_deadline()).body == b"abcdef"  # type: ignore[arg-type]
    assert b"Content-Length: 6" in one.server.requests[-1][0]


# -- secrets


@pytest.mark.parametrize(
    "script",
    [
        [request, fin],
        [request, send(b"junk\r\n")],
        [request, silent],
        [request, send(head("no colon"))],
        [request, send(chunked(end=b"zz\r\n"))],
    ],
)
def test_no_secret_anywhere(wire: Connect, script: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs at DEBUG nor errors with all locals show the key or the query (U31, U33)."""
    caplog.set_level(logging.DEBUG)
    one = wire(script)
    sent = one.request(headers={"Authorization": SecretText("Bearer canary-key")})
    with pytest.raises(CallError) as caught:
        one.bound.send(sent, one.new_deadline(**LIMITS))
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "canary-key" not in shown
    assert "canary" not in caplog.text + str(caught.value) + repr(caught.value.__dict__)
    assert caught.value.__context__ is None


# -- proxies


def forward(peer: Peer) -> None:
    """A proxy for plain HTTP: answers itself with the request line."""
    peer.read_request()
    peer.sock.sendall(good(peer.server.requests[-1][0].split(b"\r\n")[0]))


def test_http_proxy(wire: Connect) -> None:
    """Plain HTTP goes to the proxy with the whole URL and the proxy's credentials."""
    one = wire([forward])
    proxied = wire(
        deployment={"base_url": "http://127.0.0.9:1", "proxy": f"http://us%65r:pw@127.0.0.1:{one.server.port}"}
    )
    assert proxied.send().body == b"POST http://127.0.0.9:1/chat?GroupId=canary-group HTTP/1.1"
    assert b"Proxy-Authorization: Basic dXNlcjpwdw==" in one.server.requests[0][0]
    proxied.transport.close()


def tunnel_to(port: int) -> Any:
    """A proxy that connects to `port`, whatever was asked for."""

    def run(peer: Peer) -> None:
        while b"\r\n\r\n" not in peer.rest:
            peer.rest += peer.receive()
        peer.server.requests.append((peer.rest, b""))
        peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as far:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := far.recv(65536):
                        peer.sock.sendall(data)

            thread = threading.Thread(target=back)
            thread.start()
            try:
                while True:
                    far.sendall(peer.receive())
            finally:
                with contextlib.suppress(OSError):
                    far.shutdown(socket.SHUT_RDWR)
                thread.join()

    return run


def test_tunnel(wire: Connect, authority: trustme.CA) -> None:
    """HTTPS goes through a tunnel; the vendor's certificate is judged, and its key is not shown to the proxy."""
    vendor = wire(tls=server_context(authority))
    proxy = wire([tunnel_to(vendor.server.port)])
    one = wire(
        tls=server_context(authority),
        deployment={"base_url": vendor.deployment.base_url, "proxy": f"http://u:p@127.0.0.1:{proxy.server.port}"},
    )
    assert one.send(b"one").body == b"one"
    assert one.send(b"two").body == b"two"
    assert len(proxy.server.requests) == 1
    assert b"Proxy-Authorization" in proxy.server.requests[0][0]
    assert b"Proxy-Authorization" not in vendor.server.requests[0][0]
    one.transport.close()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([send(b"HTTP/1.1 407 Auth\r\n\r\n"), fin], K.CONNECT_ERROR),
        ([fin], K.TLS_ERROR),
        ([silent], K.TLS_TIMEOUT),
        ([drip(b"HTTP/1.1 200 OK\r\n" * 99, 0.02)], K.TLS_TIMEOUT),
    ],
    ids=["407", "closes", "silent", "drips"],
)
def test_tunnel_refused(wire: Connect, authority: trustme.CA, script: list[Any], kind: K) -> None:
    """A proxy that does not open the tunnel costs nothing and takes no longer than connecting may."""
    proxy = wire(script)
    one = wire(tls=server_context(authority), deployment={"proxy": f"http://u:p@127.0.0.1:{proxy.server.port}"})
    with pytest.raises(CallError) as caught:
        one.send(**LIMITS)
    assert (caught.value.kind, caught.value.billing) == (kind, "none")


def test_environment_proxy_only_on_request(wire: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY counts only with trust_env, and NO_PROXY is heard (U27)."""
    one = wire([forward])
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{one.server.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    there = {"base_url": "http://vendor.invalid", "allow_http": True}
    asked = wire(deployment=there, trust_env=True)
    assert asked.send().body.startswith(b"POST http://vendor.invalid/")
    asked.transport.close()
    with pytest.raises(CallError):
        wire(deployment=there).send(**LIMITS)
    near = wire(trust_env=True)
    assert near.send(b"direct").body == b"direct"


# -- forks


def in_child(task: Any) -> None:
    """Run `task` in a forked child; its failure is ours."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        try:
            task()
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_row_l7_fork_with_a_warm_pool(wire: Connect, authority: trustme.CA, tls: bool) -> None:
    """Parent and child never share a connection; the parent's stay usable after the child has ended (U18)."""
    go = threading.Event()
    script = [request, send(head("Content-Length: 12") + b"parent"), lambda peer: go.wait(9), send(b"'s own")]
    one = wire(script, tls=server_context(authority) if tls else None, limits={"max_connections": 2})
    stream = one.open(idle=9.0, total=9.0)
    one.serves()

    def child() -> None:
        signal.alarm(5)
        assert one.bound.idle_connections() == 0
        assert one.bound.free_places() == 2
        for number in range(20):
            marker = f"child {number}".encode()
            assert one.send(marker).body == marker
        with pytest.raises(CallError):
            while stream.read():
                pass
        one.transport.close()
        gc.collect()

    in_child(child)
    go.set()
    assert b"".join(iter(stream.read, b"")) == b"parent's own"
    for number in range(20):
        marker = f"parent {number}".encode()
        assert one.send(marker).body == marker
    assert one.server.connections == 3


def test_row_l8_fork_while_others_hold_every_lock(wire: Connect) -> None:
    """The child's first call succeeds although other threads were in the middle of theirs."""
    one = wire(*[[sleep(0.02)]] * 4, limits={"max_connections": 2})
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            one.bound.send(one.request(b"busy"), one.new_deadline(pool=5.0, total=5.0))

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            in_child(lambda: one.serves() or one.transport.close())
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# -- load


def script_of(seed: int) -> list[Any]:
    """Something that can happen to a connection."""
    chance = random.Random(seed)
    return chance.choice(
        [
            [],
            [request, fin],
            [request, rst],
            [lambda peer: (peer.read_request(), peer.sock.sendall(good(peer.body))), request, fin],
            [request, send(head(status="103 Hints"))],
            [request, send(chunked(b"cut", end=b""))],
            [request, silent],
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_load_with_faults(wire: Connect, seed: int) -> None:
    """Many threads, few places, faulty connections: every call has one outcome, its own text, and all is given back."""
    one = wire(*[script_of(seed * 1000 + n) for n in range(60)], limits={"max_connections": 3})
    outcomes: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        for step in range(12):
            marker = f"{number}-{step}".encode()
            deadline = one.new_deadline(first_byte=0.1, idle=0.1)
            if chance.random() < 0.1:
                threading.Timer(0.01, deadline.cancel).start()
            try:
                body = call(one, marker, deadline, chance.random())
            except CallError as error:
                outcomes.append(error.kind)
            else:
                assert body in (marker, None)
                outcomes.append("ok")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 96
    assert outcomes.count("ok") > 30
    gc.collect()
    one.at_rest()


def call(one: Wire, marker: bytes, deadline: Any, dice: float) -> bytes | None:
    if dice < 0.5:
        return one.bound.send(one.request(marker), deadline).body
    stream = one.bound.open(one.request(marker), deadline)
    if dice < 0.6:
        return None  # dropped
    if dice < 0.7:
        stream.close(drain=dice < 0.65)
        return None
    return b"".join(iter(stream.read, b""))


# Between two bytecodes a socket may be nobody's yet: the collector closes it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_row_l15_interrupted_anywhere(wire: Connect) -> None:
    """A KeyboardInterrupt at a random point of a call passes through; place and connection are given back."""
    one, chance, wrong = wire(), random.Random(1), []

    def work() -> None:
        try:
            for number in range(3):
                marker = str(number).encode()
                if one.send(marker).body != marker or one.read(marker) != marker:
                    wrong.append(marker)
        except KeyboardInterrupt:
            return

    for _ in range(150):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(chance.random() * 0.003)
        set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
        set_exception(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
        thread.join()
    gc.collect()
    assert wrong == []
    one.at_rest()


def test_nothing_grows(wire: Connect) -> None:
    """Failing calls leave no objects behind that only a collection would find."""
    one = wire(*[[request, fin]] * 40)
    for _ in range(20):
        with pytest.raises(CallError):
            one.send()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with pytest.raises(CallError):
                one.send()
        left = [thing for thing in gc.get_objects() if str(type(thing).__module__).startswith("cnroute.transports")]
        assert not [thing for thing in left if type(thing).__name__ in ("Call", "Exchange", "Guarded")]
    finally:
        gc.enable()


def test_deployments_do_not_share_connections() -> None:
    """Each deployment has its own places; the transport counts idle connections over all of them."""
    server = RawServer()
    transport = Urllib3Transport()
    try:
        wires = [
            Wire(server, transport, Deployment(name, "p", "m", base_url=f"http://127.0.0.1:{server.port}"))
            for name in "ab"
        ]
        for one in wires:
            one.serves()
        assert transport.idle_connections() == 2
        assert [one.bound.idle_connections() for one in wires] == [1, 1]
    finally:
        transport.close()
        until(lambda: server.open == 0)
        server.close()
