"""The guards of the library, and how each is taken away. For the test that proves that the matrix would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cnroute.flow import attempt
from cnroute.router import ChatStream
from cnroute.routing.health import Lease
from cnroute.transports import calls, places
from cnroute.transports.exchange import Inbox


class Guard(NamedTuple):
    """A guard, the cases that must fail without it, and what takes it away."""

    cases: str
    remove: Callable[[], None]


def _nothing(*_args: Any, **_more: Any) -> None:
    """Stands in for the guard."""


def _no_drain() -> None:
    attempt._AFTER_FINISH = attempt._AFTER_DONE = 0.0


def _no_rule_for_1xx() -> None:
    rule = calls.check_status
    calls.check_status = lambda status, headers: None if status < 200 else rule(status, headers)


def _no_finalizer() -> None:
    ChatStream.__del__ = _nothing  # type: ignore[method-assign]
    calls.Call.drop = _nothing  # type: ignore[method-assign]


# Without it the rows would drip for ever; for the test's own sake they end two seconds late.
_LATE = 2.0


def _no_deadline_per_receive() -> None:
    def receive(self: Inbox) -> bytes:
        exchange = self.exchange
        deadline = exchange.deadline
        if deadline.now() > deadline.at + _LATE:
            raise TimeoutError
        self._socket.settimeout(deadline.limits.idle)
        data = self._socket.recv(65536)
        exchange.received += len(data)
        return data

    Inbox.receive = receive  # type: ignore[method-assign]


def _no_release() -> None:
    calls.Call._free = _nothing  # type: ignore[method-assign]
    places.Token.__del__ = _nothing  # type: ignore[method-assign]


def _no_resend_window() -> None:
    calls.Call._may_resend = lambda self: True  # type: ignore[method-assign]


def _no_size_cap() -> None:
    calls.Call._too_long = _nothing  # type: ignore[method-assign]


def _no_lease_end() -> None:
    Lease.end = _nothing  # type: ignore[method-assign]


GUARDS: dict[str, Guard] = {
    "drain": Guard("143-stream_slow-0.05-v2-stream-alone-sync", _no_drain),
    "1xx-rule": Guard("035-early_hints_103-yi-plain-alone-sync", _no_rule_for_1xx),
    "finalizer": Guard("148-consumer_drop-yi-stream-alone-sync", _no_finalizer),
    "per-receive-deadline": Guard("126-slow_body-", _no_deadline_per_receive),
    "connection-release": Guard("052-http_500-", _no_release),
    "resend-window": Guard("134-stale_drop_late-1.5-", _no_resend_window),
    "size-cap": Guard("091-huge_json-", _no_size_cap),
    "lease-end": Guard("052-http_500-", _no_lease_end),
}
