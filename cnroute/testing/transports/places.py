"""Checks of accounting: after every ending exactly as many exchanges can run as before, each with its own answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cnroute.errors import CallError
from cnroute.testing.contract.checking import check, require, same
from cnroute.testing.transports.answers import TEXT
from cnroute.testing.transports.base import TransportBase
from cnroute.testing.transports.groups import PLACE
from cnroute.testing.transports.rawserver import Action, chunked, fin, good, head, request, rst, send, silent
from cnroute.testing.transports.streams import OPEN, PIECES
from cnroute.testing.transports.wires import Wire

PLACES = 2


def _refused(wire: Wire) -> None:
    """One exchange that fails at once or at its deadline."""
    try:
        wire.send(total=0.3)
    except CallError:
        return


def _left(wire: Wire) -> None:
    stream = wire.open()
    stream.read()
    stream.close()


def _cancelled(wire: Wire) -> None:
    wire.cancelled(wire.send, after=0.05)


ENDINGS: Mapping[str, tuple[list[Action], Callable[[Wire], object]]] = {
    "a whole answer": ([request, send(good(TEXT))], Wire.send),
    "a whole stream": ([request, send(chunked(*PIECES))], Wire.read),
    "an answer to the end of its connection": ([request, send(head() + TEXT), fin], Wire.send),
    "a stream that is left": (OPEN, _left),
    "a refusal": ([request, send(head("Content-Length: 2", status="503 Busy") + b"no")], Wire.send),
    "a reset": ([request, rst], _refused),
    "a body that is cut": ([request, send(head("Content-Length: 99") + b"x"), fin], _refused),
    "random bytes": ([request, send(b"\x00\x01nothing of HTTP\r\n\r\n"), fin], _refused),
    "a deadline before the head": ([request, silent], _refused),
    "a deadline in the body": ([request, send(head("Content-Length: 99") + b"x"), silent], _refused),
    "a cancel": ([request, silent], _cancelled),
    "a redirect": ([request, send(head("Location: /", "Content-Length: 0", status="307 Go"))], _refused),
    "204": ([request, send(head(status="204 No Content"))], _refused),
    "an encoding that nobody asked for": ([request, send(good(TEXT, "Content-Encoding: br"))], _refused),
    "bytes behind the answer": ([request, send(good(TEXT) + good(b"forged"))], Wire.send),
    "bytes behind the last chunk": ([request, send(chunked(TEXT) + good(b"forged"))], Wire.read),
}


class PlaceChecks(TransportBase):
    """Group 6."""

    @check(PLACE)
    def test_every_ending_gives_its_place_back(self) -> None:
        """After each of them max_connections exchanges can run at once, no more and no fewer, and none sees another's bytes."""
        for name, (script, end) in ENDINGS.items():
            with self.wire(script, places=PLACES) as wire:
                end(wire)
                try:
                    wire.serves(PLACES)
                except (AssertionError, CallError) as error:
                    error.add_note(f"after: {name}")
                    raise

    @check(PLACE)
    def test_no_connection_is_opened_beyond_the_limit(self) -> None:
        """At no time does the server see more than max_connections of them."""
        with self.wire(places=PLACES) as wire:
            streams = [wire.open(b"x", pool=1 + self.slack) for _ in range(PLACES)]
            same("one connection for each exchange", PLACES, wire.server.open, change="open no connection ahead of need")
            for stream in streams:
                stream.rest()
            for _ in range(3):
                wire.serves(PLACES)
            wire.until(lambda: wire.server.open <= PLACES, "no more connections than places", "count places before connecting")

    @check(PLACE)
    def test_connections_are_kept_as_the_flag_says(self) -> None:
        """keeps_connections: calls after one another share one; False: each has its own."""
        with self.wire() as wire:
            for number in range(3):
                wire.send(b"%d" % number)
            wanted = 1 if self.keeps_connections else 3
            same(
                "connections for three calls",
                wanted,
                wire.server.connections,
                change="keep them, or set keeps_connections = False",
            )

    @check(PLACE)
    def test_an_answer_that_forbids_it_is_not_kept(self) -> None:
        """`Connection: close` is obeyed."""
        with self.wire([request, send(good(b"1", "Connection: close")), silent]) as wire:
            wire.send()
            wire.peers_gone("a connection that must not be kept is closed")
            require(
                wire.send(b"2").body == b"2",
                "the next call has a new one",
                expected=2,
                got=wire.server.connections,
                change="obey Connection: close",
            )
