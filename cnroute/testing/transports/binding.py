"""Checks of binding: what belongs to one deployment stays with it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from cnroute.errors import CallError, ConfigurationError
from cnroute.failures import FailureKind
from cnroute.settings import Limits
from cnroute.testing.contract.checking import NotApplicable, check, fail, same
from cnroute.testing.transports import certificates
from cnroute.testing.transports.base import TransportBase, tls_server
from cnroute.testing.transports.groups import BINDING
from cnroute.testing.transports.rawserver import Action, Peer, plainly, silent
from cnroute.testing.transports.wires import KEY, Wire

K = FailureKind


def proxying(to: Any) -> Action:
    """Answer CONNECT, then go on as the server that was asked for; anything else is the origin's to answer."""

    def run(peer: Peer) -> None:
        peer.read_request()
        if peer.server.requests[-1][0].startswith(b"CONNECT "):
            peer.sock.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
            peer.sock = to.wrap_socket(peer.sock, server_side=True)
        else:
            peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nvia proxy")

    return run


class BindingChecks(TransportBase):
    """Group 8."""

    @contextmanager
    def _bound_twice(self, **second: Any) -> Iterator[tuple[Wire, Wire]]:
        with self.wire(places=1) as one:
            other = attrs.evolve(one.deployment, name="other", **second)
            if not hasattr(one.transport, "bind"):
                raise NotApplicable("the transport has no bind: one for all deployments")
            two = Wire.__new__(Wire)
            two.__dict__.update(one.__dict__, deployment=other, bound=one.transport.bind(other))
            yield one, two

    @check(BINDING)
    def test_binding_opens_nothing(self) -> None:
        """No connection, no look-up: a router with a hundred deployments is made in a moment."""
        with self.wire() as wire:
            same("connections after bind", 0, wire.server.connections, change="connect with the first call")

    @check(BINDING)
    def test_each_deployment_has_its_own_places(self) -> None:
        """One that is full does not hold up another, even at the same origin."""
        with self._bound_twice(limits=Limits(max_connections=2)) as (one, two):
            held = one.open(b"held")
            same("another deployment's call", b"other", two.send(b"other").body, change="keep one pool for each deployment")
            two.serves(2)
            same("the one that held it", b"held", held.rest(), change="an open stream is not touched by others")

    @check(BINDING)
    def test_tls_trusts_the_deployments_authority_alone(self) -> None:
        """With its `ca_file` the call is answered; without it, or under another name, it is `tls_verify` and costs nothing."""
        self.needs("supports_tls")
        with tls_server() as (context, tls):
            with self.wire(tls=context, deployment={"tls": tls}) as wire:
                same("an answer over TLS", b"safe", wire.send(b"safe").body, change="verify against deployment.tls.ca_file")
                same("a stream over TLS", b"safe", wire.read(b"safe"), change="verify against deployment.tls.ca_file")
            with self.wire(tls=context) as wire:
                self._refused(wire, "an authority that nobody trusts")
        with tls_server(certificates.ANOTHER_HOST) as (context, tls), self.wire(tls=context, deployment={"tls": tls}) as wire:
            self._refused(wire, "a certificate of another host")

    @staticmethod
    def _refused(wire: Wire, why: str) -> None:
        __tracebackhide__ = True
        error = wire.failure(wire.send, K.TLS_VERIFY, why=f"for {why}")
        same(
            "nothing was sent",
            ([], "none"),
            (wire.server.requests, error.billing),
            change="never send before the certificate is good",
        )

    @check(BINDING)
    def test_a_handshake_that_hangs_or_breaks(self) -> None:
        """`tls_timeout` within `connect`, `tls_error` for what is no TLS; nothing was spent."""
        self.needs("supports_tls")
        with tls_server() as (context, tls):
            with self.wire([plainly, silent], tls=context, deployment={"tls": tls}) as wire:
                error = wire.failure(lambda: wire.send(connect=0.3), K.TLS_TIMEOUT, within=0.3)
                same("its billing", "none", error.billing, change="billing none before a byte of the request was written")
            with self.wire(
                [plainly, lambda peer: peer.sock.sendall(b"no TLS at all\r\n" * 9)], tls=context, deployment={"tls": tls}
            ) as wire:
                error = wire.failure(wire.send, K.TLS_ERROR)
                same("its billing", "none", error.billing, change="billing none before a byte of the request was written")

    @check(BINDING)
    def test_calls_go_through_the_deployments_proxy(self) -> None:
        """Plain ones by their whole URL, TLS through CONNECT; user and password of the proxy go to it alone."""
        self.needs("supports_proxy")
        with self.wire([proxying(None)]) as proxy:
            with self.wire(deployment={"proxy": _url(proxy)}) as wire:
                same("the proxy's answer", b"via proxy", wire.send().body, change="use deployment.proxy")
                same("the origin is not asked directly", 0, wire.server.connections, change="use deployment.proxy")
            first = proxy.server.requests[0][0].split(b"\r\n")
            same(
                "the request line holds the whole URL",
                True,
                first[0].startswith(b"POST http://127.0.0.1:"),
                change="absolute form",
            )
            same(
                "the proxy's credentials",
                1,
                [line.lower() for line in first].count(b"proxy-authorization: basic " + CREDENTIALS.lower()),
                change="send Proxy-Authorization: Basic",
            )

    @check(BINDING)
    def test_tls_goes_through_the_deployments_proxy(self) -> None:
        """The key is inside of the tunnel; the proxy sees the origin's name alone."""
        self.needs("supports_proxy")
        self.needs("supports_tls")
        with tls_server() as (context, tls), self.wire([proxying(context)]) as proxy:
            with self.wire(tls=context, deployment={"proxy": _url(proxy), "tls": tls}) as wire:
                same("an answer through the tunnel", b"marker", wire.send().body, change="CONNECT, then TLS inside of the tunnel")
                same("the origin is not asked directly", 0, wire.server.connections, change="use deployment.proxy")
            asked, inside = proxy.server.requests[0][0], proxy.server.requests[1][0]
            same(
                "the key is not the proxy's",
                (False, True),
                (KEY.encode() in asked, KEY.encode() in inside),
                change="CONNECT first",
            )

    @check(BINDING)
    def test_flags_that_deny_tls_or_a_proxy_tell_the_truth(self) -> None:
        """A deployment that needs what the transport has not is refused when it is bound, never called without it."""
        if not self.supports_proxy:
            with self.wire([proxying(None)]) as proxy:
                self._is_refused("supports_proxy", None, {"proxy": _url(proxy)})
        if not self.supports_tls:
            with tls_server() as (context, tls):
                self._is_refused("supports_tls", context, {"tls": tls})

    def _is_refused(self, flag: str, context: Any, fields: dict[str, Any]) -> None:
        __tracebackhide__ = True
        try:
            with self.wire(tls=context, deployment=fields) as wire:
                wire.send()
        except (ConfigurationError, CallError):
            return
        fail("a flag tells the truth", expected=f"a refusal, since {flag} = False", got="an answer", change=f"set {flag} = True")


CREDENTIALS = base64.b64encode(b"user:canary-word")


def _url(proxy: Wire) -> str:
    return f"http://user:canary-word@127.0.0.1:{proxy.server.port}"
