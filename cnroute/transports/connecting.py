"""From a host name to a connected socket, within one limit and cancellable at any moment.

Rules of this file
- `getaddrinfo` has no limit of its own (U13): it runs in a side thread that is abandoned when the exchange ends.
  One look-up per name at a time, at most MAX_LOOKUPS names: a dead name server costs a bounded number of threads.
- The limit covers the phase; each address gets an equal part of what is left, so that one dead address does not
  use up the time of the next.
- With `public_only` an address is judged before anything is sent to it, a SYN included (reliability 3.3).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import sys
import threading
from collections.abc import Iterable
from typing import Any

from cnroute.failures import FailureKind
from cnroute.transports.exchange import Exchange
from cnroute.transports.steps import CONNECT, WireError

K = FailureKind
MAX_LOOKUPS = 16

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def _option(level: int, name: str, value: int) -> list[tuple[int, int, int]]:
    number = getattr(socket, name, None)
    return [] if number is None else [(level, number, value)]


# A peer that died without a word is noticed after a minute (U32); the idle limit is the real guard.
SOCKET_OPTIONS = [
    *_option(socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    *_option(socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    *_option(socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    *_option(socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    *_option(socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    *_option(socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 60_000),
]

_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)


class Lookup(threading.Thread):
    """One running `getaddrinfo`. `done` is set with `addresses` or `error` filled in."""

    def __init__(self, resolver: Resolver, host: str, port: int) -> None:
        super().__init__(name="cnroute name look-up", daemon=True)
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.error: OSError | None = None
        self._where = (resolver, host, port)

    def run(self) -> None:
        """Ask the system; a failure is kept for whoever waits."""
        resolver, host, port = self._where
        try:
            self.addresses = addresses_of(host, port)
        except (OSError, UnicodeError) as error:
            self.error = error if isinstance(error, OSError) else OSError(errno.EINVAL, "not a host name")
        finally:
            resolver.forget(host, port)
            self.done.set()


class Resolver:
    """Name look-ups of one transport, one per name at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], Lookup] = {}

    def resolve(self, host: str, port: int, exchange: Exchange) -> list[Address]:
        """The addresses of `host`. Raises OSError or, when time is up, TimeoutError."""
        if _is_literal(host):
            return addresses_of(host, port)
        lookup = self._lookup(host, port)
        while not lookup.done.wait(exchange.tick()):
            pass
        if lookup.error is not None:
            raise OSError(lookup.error.errno, lookup.error.strerror)
        return lookup.addresses

    def _lookup(self, host: str, port: int) -> Lookup:
        with self._lock:
            running = self._running.get((host, port))
            if running is None:
                if len(self._running) >= MAX_LOOKUPS:
                    raise WireError(K.DNS_ERROR, "too many name look-ups are hanging")
                running = self._running[host, port] = Lookup(self, host, port)
                _start(running, self._running)
            return running

    def forget(self, host: str, port: int) -> None:
        """The look-up is over: the next one asks again."""
        with self._lock:
            self._running.pop((host, port), None)


def _start(lookup: Lookup, running: dict[tuple[str, int], Lookup]) -> None:
    try:
        lookup.start()
        return
    except RuntimeError:  # the system gives no more threads
        running.popitem()
    raise WireError(K.DNS_ERROR, "no thread is left for a name look-up")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def addresses_of(host: str, port: int) -> list[Address]:
    """What the system knows of `host`, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, where) for family, _, _, _, where in found]


def dial(addresses: Iterable[Address], exchange: Exchange, *, public_only: bool = False) -> socket.socket:
    """A socket connected to the first of `addresses` that answers. Raises OSError like the last one did."""
    exchange.step = CONNECT
    last: Exception = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    open_to = [address for address in addresses if not public_only or is_public(address[1][0])]
    if not open_to and public_only:
        raise WireError(K.CONNECT_ERROR, "block_private: the host has no address on the public internet")
    for rest, (family, where) in zip(range(len(open_to), 0, -1), open_to, strict=True):
        try:
            return _connect(family, where, exchange, exchange.allow() / rest)
        except OSError as error:
            last = error
    try:
        raise last
    finally:
        del last  # an exception that its own frame holds is a cycle


def _connect(family: socket.AddressFamily, where: tuple[Any, ...], exchange: Exchange, limit: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in SOCKET_OPTIONS:
            sock.setsockopt(*option)
        sock.setblocking(False)
        _await_connected(sock, where, exchange, exchange.deadline.now() + limit)
    except BaseException:
        sock.close()
        raise
    return sock


def _await_connected(sock: socket.socket, where: tuple[Any, ...], exchange: Exchange, until: float) -> None:
    code = sock.connect_ex(where)
    while code in _IN_PROGRESS:
        left = min(exchange.tick(), until - exchange.deadline.now())
        if left <= 0:
            raise TimeoutError
        if _writable(sock, left):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _writable(sock: socket.socket, seconds: float) -> bool:
    if sys.platform == "win32":
        _, ready, broken = select.select([], [sock], [sock], seconds)
        return bool(ready or broken)
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


# Addresses that carry an IPv4 address inside (RFC 6052): the inner one decides.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """True for an address on the public internet; one that wraps another address is as public as that."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast
