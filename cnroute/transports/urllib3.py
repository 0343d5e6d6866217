"""The default transport: urllib3's connections under our own clock.

Rules of this file
- urllib3's pool and `urlopen` are not used: by its connections alone a call costs 0.70 of `PoolManager.request`,
  by `urlopen` 0.82 (measured), and with the pool go U1 to U7. Places and idle connections are `places.py`.
- Errors are raised outside of `except`, so that no `__context__` holds a request or a key (reliability 3.1).
- Building a transport or binding a deployment opens no socket and loads no certificate.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import socket
import weakref
from collections.abc import Mapping
from typing import cast

from cnroute.deployments import Deployment
from cnroute.errors import ConfigurationError, error_for
from cnroute.http import HttpRequest, HttpResponse
from cnroute.settings import Limits
from cnroute.transports.calls import Busy, Call
from cnroute.transports.connecting import Resolver, dial
from cnroute.transports.exchange import Deadline, Exchange
from cnroute.transports.guarded import Guarded, GuardedTLS, self_test
from cnroute.transports.heads import Head, request_head
from cnroute.transports.origins import Contexts, Origin, check_files, proxy_of
from cnroute.transports.places import Places
from cnroute.transports.steps import ERRORS

_WITHOUT_BODY = ("GET", "HEAD", "DELETE")


class UrllibStream:
    """An open answer (contract, `ByteStream`)."""

    __slots__ = ("__weakref__", "_call", "_finalizer", "headers", "status")

    def __init__(self, call: Call) -> None:
        answer = cast(Head, call.answer)
        self.status: int = answer.status
        self.headers = answer.fields
        self._call = call
        self._finalizer = weakref.finalize(self, call.drop)
        self._finalizer.atexit = False

    def read(self) -> bytes:
        """The next bytes of the body as soon as some have arrived; b"" at its end. Raises CallError."""
        call = self._call
        try:
            return call.read_piece()
        except ERRORS as error:
            failure = call.fail(error)
        except Busy:
            raise
        except BaseException:
            call.end()
            raise
        raise error_for(failure)

    def close(self, drain: bool = False) -> None:
        """Give the connection back; `drain` tries for 0.1 s and 64 KiB to reach the end so that it can be kept."""
        self._call.close(drain=drain)

    def __enter__(self) -> UrllibStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class BoundTransport:
    """The transport of one deployment: its origin, TLS, proxy, limits and connections."""

    def __init__(self, transport: Urllib3Transport, deployment: Deployment) -> None:
        self.limits = deployment.limits or Limits()
        self.keepalive = transport.keepalive
        self.resend_stale = transport.resend_stale
        self.places: Places[Guarded] = Places(self.limits.max_connections, transport.max_idle)
        self.active: set[Call] = set()
        self._transport = transport
        self._tls = deployment.tls
        self._origin = Origin.of(deployment.base_url)
        self._proxy = proxy_of(deployment, self._origin, transport.trust_env)
        if transport.block_private and self._proxy is not None:
            raise ConfigurationError("block_private cannot judge addresses behind a proxy", "proxy")
        check_files(self._tls)
        self._fixed = {"Host": self._origin.host_field, "User-Agent": _user_agent(), "Accept-Encoding": "identity"}
        self._kept: tuple[tuple[str, str], dict[str, str], bytes] | None = None
        if not self.keepalive:
            self._fixed["Connection"] = "close"
        if self._proxy is not None and not self._origin.tls:
            self._fixed.update(self._proxy.headers)

    def bind(self, deployment: Deployment) -> BoundTransport:
        """Another deployment's transport."""
        return self._transport.bind(deployment)

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """Send `request`, read the whole answer. Raises CallError; any status outside of 3xx is an answer."""
        call = Call(self, deadline)
        try:
            call.begin(request)
            return call.whole()
        except ERRORS as error:
            failure = call.fail(error)
        except BaseException:
            call.end()
            raise
        raise error_for(failure)

    def open(self, request: HttpRequest, deadline: Deadline) -> UrllibStream:
        """Send `request`, read the answer's head. Raises CallError."""
        call = Call(self, deadline)
        try:
            call.begin(request)
            stream = UrllibStream(call)
            call.leave()
            return stream
        except ERRORS as error:
            failure = call.fail(error)
        except BaseException:
            call.end()
            raise
        raise error_for(failure)

    def retire(self) -> None:
        """Nobody will bind this deployment again: running exchanges end as they will, no connection is kept."""
        self.places.retire()

    def over(self) -> bool:
        """Whether it is retired and its last exchange has ended."""
        return self.places.retired and not self.active

    def close(self) -> None:
        """Close idle connections and cancel running exchanges. Later calls fail with kind `closed`."""
        self.places.close()
        for call in tuple(self.active):
            call.close()

    def free_places(self) -> int:
        """How many exchanges could start now without waiting."""
        return self.places.free()

    def idle_connections(self) -> int:
        """How many open connections wait to be used again."""
        return self.places.idle()

    def after_fork(self) -> None:
        """In the child: nothing of the parent is used."""
        self.active = set()
        self.places.after_fork()

    def path_of(self, url: str) -> str:
        """What stands in the request line. Raises WireError for a URL of another origin."""
        path = self._origin.path_of(url)
        return self._origin.text + path if self._proxy is not None and not self._origin.tls else path

    def head_of(self, request: HttpRequest, path: str) -> bytes:
        """The head of `request`; the part that is the same for most requests is kept from one to the next."""
        method, fields, kept = request.method, request.headers, self._kept
        if kept is None or kept[0] != (method, path) or kept[1] != fields:
            kept = self._kept = ((method, path), dict(fields), request_head(method, path, self._all_fields(fields)))
        length = len(request.body) if isinstance(request.body, bytes) else request.body.length
        if not length and method in _WITHOUT_BODY:
            return kept[2] + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n" % (kept[2], length)

    def _all_fields(self, own: Mapping[str, str]) -> dict[str, str]:
        """The request's headers, and ours where it has none."""
        given = {name.lower() for name in own}
        return {name: value for name, value in self._fixed.items() if name.lower() not in given} | dict(own)

    def new_connection(self) -> Guarded:
        """A connection that is not connected yet."""
        where = self._proxy or self._origin
        if self._origin.tls:
            context = self._transport.contexts.of(self._tls)
            connection: Guarded = GuardedTLS(where.host, where.port, self._dial, ssl_context=context)
        else:
            connection = Guarded(where.host, where.port, self._dial)
        if self._proxy is not None and self._origin.tls:
            connection.set_tunnel(self._origin.host, self._origin.port, dict(self._proxy.headers))
        connection.max_idle = self._transport.max_idle
        self.places.know(connection)
        return connection

    def _dial(self, exchange: Exchange) -> socket.socket:
        where = self._proxy or self._origin
        addresses = self._transport.resolver.resolve(where.host, where.port, exchange)
        return dial(addresses, exchange, public_only=self._transport.block_private)


@functools.cache
def _user_agent() -> str:
    try:
        return f"cnroute/{importlib.metadata.version('cnroute')}"
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "cnroute/0"


class Urllib3Transport:
    """The default transport.

    `keepalive`: connections serve several requests, each for at most `max_idle` seconds of rest. `resend_stale`: a
    request is sent once more when the kept connection turns out to be dead (nothing of an answer within 1 s).
    `block_private`: only addresses on the public internet. `trust_env`: proxies of the environment, where a
    deployment names none. Raises ConfigurationError when the installed urllib3 cannot be guarded.
    """

    def __init__(
        self,
        keepalive: bool = True,
        resend_stale: bool = True,
        block_private: bool = False,
        trust_env: bool = False,
        max_idle: float = 20.0,
    ) -> None:
        self_test()
        self.keepalive = keepalive
        self.resend_stale = resend_stale
        self.block_private = block_private
        self.trust_env = trust_env
        self.max_idle = max_idle
        self.contexts = Contexts()
        self.resolver = Resolver()
        self._bound: list[BoundTransport] = []
        _TRANSPORTS.add(self)

    def bind(self, deployment: Deployment) -> BoundTransport:
        """The transport for `deployment`; nothing is opened or loaded yet."""
        bound = BoundTransport(self, deployment)
        self._bound = [*(each for each in self._bound if not each.over()), bound]
        return bound

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).send`."""
        raise TypeError("bind(deployment) first")

    def open(self, request: HttpRequest, deadline: Deadline) -> UrllibStream:
        """Not possible: limits, TLS and proxy belong to a deployment. Use `bind(deployment).open`."""
        raise TypeError("bind(deployment) first")

    def idle_connections(self) -> int:
        """How many open connections wait to be used again, over all deployments."""
        return sum(bound.idle_connections() for bound in self._bound)

    def close(self) -> None:
        """Close everything, cancel what runs. Later calls fail with kind `closed`."""
        for bound in self._bound:
            bound.close()

    def after_fork(self) -> None:
        """In the child: new places, no connection of the parent, no look-up of its threads."""
        self.contexts = Contexts()
        self.resolver = Resolver()
        for bound in self._bound:
            bound.after_fork()


# Transports to mend in a forked child; weak, so that none lives longer for it.
_TRANSPORTS: weakref.WeakSet[Urllib3Transport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
