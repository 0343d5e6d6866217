"""Checks of the whole transport: many calls at once, closing, and the kind that it says it is."""

from __future__ import annotations

import inspect
import threading

from cnroute.errors import CallError, ConfigurationError
from cnroute.failures import FailureKind
from cnroute.router import Router
from cnroute.testing.contract.checking import check, fail, require, same
from cnroute.testing.transports.base import TransportBase
from cnroute.testing.transports.groups import PROCESS
from cnroute.testing.transports.rawserver import request, silent
from cnroute.testing.transports.wires import PROMPT, Wire, elsewhere

K = FailureKind
CALLERS, CALLS, AT_ONCE = 12, 6, 8


class ProcessChecks(TransportBase):
    """Group 9."""

    @check(PROCESS)
    def test_many_calls_at_once_get_their_own_answers(self) -> None:
        """From many threads, or in many tasks of one loop: every answer is its own call's, and nothing is lost."""
        with self.wire(places=AT_ONCE) as wire:
            wrong: list[object] = []
            threads = [threading.Thread(target=self._caller, args=(wire, number, wrong)) for number in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            same("every call has its own answer", [], wrong, change="share nothing between calls but the pool")
            same("every call was sent once", CALLERS * CALLS, len(wire.server.requests), change="send each request once")
            require(
                wire.server.connections <= AT_ONCE,
                "no more connections than places",
                expected=AT_ONCE,
                got=wire.server.connections,
                change="count places before connecting",
            )
            wire.serves(AT_ONCE)

    @staticmethod
    def _caller(wire: Wire, number: int, wrong: list[object]) -> None:
        for turn in range(CALLS):
            marker = b"%d.%d" % (number, turn)
            try:
                body = wire.read(marker) if turn % 2 else wire.send(marker).body
            except Exception as error:  # noqa: BLE001 (counted)
                wrong.append(error)
            else:
                if body != marker:
                    wrong.append((marker, body))

    @check(PROCESS)
    def test_closing_ends_what_runs_and_what_rests(self) -> None:
        """A running call ends as `cancelled` or `closed`, idle connections are closed, closing again is quiet."""
        with self.wire([request, silent]) as wire:
            with elsewhere(wire.send) as outcome:
                wire.until(lambda: bool(wire.server.requests), "the call is sent", "send it", seconds=5)
                wire.call(wire.transport.close)
                wire.until(lambda: bool(outcome), "close() ends a running call", "shut its socket down", seconds=PROMPT)
            wire.peers_gone("close() ends every connection")
            error = outcome[0]
            require(
                isinstance(error, CallError) and error.kind in (K.CANCELLED, K.CLOSED),
                "a running call ends as cancelled",
                expected="a CallError of kind cancelled or closed",
                got=error,
                change="map what the shutdown looks like to cancelled",
            )
            wire.call(wire.transport.close)

    @check(PROCESS)
    def test_no_call_begins_after_closing(self) -> None:
        """It fails with kind `closed`, and nothing is sent."""
        with self.wire() as wire:
            wire.send()
            wire.call(wire.transport.close)
            error = wire.failure(wire.send, K.CLOSED, K.CANCELLED)
            same(
                "nothing was sent", (1, "none"), (len(wire.server.requests), error.billing), change="remember that it was closed"
            )

    @check(PROCESS)
    def test_it_is_the_kind_that_it_says_it_is(self) -> None:
        """With `is_async` its methods are coroutines and a synchronous router refuses it; without, they are plain functions."""
        with self.wire() as wire:
            functions = {name: getattr(wire.bound, name) for name in ("send", "open")}
            for name, function in functions.items():
                same(
                    f"{name} is a coroutine function where is_async says so",
                    wire.is_async,
                    inspect.iscoroutinefunction(function),
                    change="set is_async = True, or make the methods plain functions",
                )
            if wire.is_async:
                self._refused_by_a_synchronous_router(wire)

    @staticmethod
    def _refused_by_a_synchronous_router(wire: Wire) -> None:
        __tracebackhide__ = True
        try:
            Router([], transport=wire.transport)
        except ConfigurationError as error:
            require(
                "asynchronous" in str(error),
                "a synchronous router says why",
                expected="use AsyncRouter",
                got=error,
                change="is_async",
            )
            return
        fail("a synchronous router refuses it", expected="ConfigurationError", got="a router", change="set is_async = True")
