"""Checks of failures: what each exception of the wire becomes, what it says of money, and what it does not show."""

from __future__ import annotations

import socket

from cnroute.failures import FailureKind
from cnroute.testing.contract.checking import check, same
from cnroute.testing.transports.base import TransportBase
from cnroute.testing.transports.cancelling import hanging_lookups
from cnroute.testing.transports.groups import ERROR
from cnroute.testing.transports.rawserver import fin, request, rst, send, silent
from cnroute.testing.transports.wires import KEY

K = FailureKind
UNPAID = "billing none before a byte of the request was written"
PAID = "billing unknown once the request was written"


class ErrorChecks(TransportBase):
    """Group 7."""

    @check(ERROR)
    def test_a_refused_connection(self) -> None:
        """`connect_error`, and nothing was spent."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with self.wire(deployment={"base_url": f"http://127.0.0.1:{port}/v1"}) as wire:
            same("its billing", "none", wire.failure(wire.send, K.CONNECT_ERROR).billing, change=UNPAID)
            same(
                "what the deadline knows",
                (False, None),
                (bool(wire.deadline.begun), wire.deadline.written),
                change="set deadline.begun just before the request is written, deadline.written just after",
            )

    @check(ERROR)
    def test_a_name_that_does_not_exist(self) -> None:
        """`dns_error`, and nothing was spent."""
        original = socket.getaddrinfo

        def lookup(host: object, *args: object, **more: object) -> object:
            if host in ("nowhere.example", b"nowhere.example"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return original(host, *args, **more)  # type: ignore[arg-type]

        socket.getaddrinfo = lookup  # type: ignore[assignment]
        try:
            with self.wire(deployment={"base_url": "http://nowhere.example/v1", "allow_http": True}) as wire:
                same("its billing", "none", wire.failure(wire.send, K.DNS_ERROR).billing, change=UNPAID)
        finally:
            socket.getaddrinfo = original

    @check(ERROR)
    def test_the_time_of_a_name_look_up_counts(self) -> None:
        """`connect` covers it: `connect_timeout`."""
        self.needs("cancels_connecting")
        with self.wire(deployment={"base_url": "http://slow.example/v1", "allow_http": True}) as wire, hanging_lookups():
            error = wire.failure(lambda: wire.send(connect=0.3), K.CONNECT_TIMEOUT, within=0.3)
            same("its billing", "none", error.billing, change=UNPAID)

    @check(ERROR)
    def test_a_connection_that_ends_without_an_answer(self) -> None:
        """`connection_lost`, and it may have cost money."""
        for script in ([request, fin], [request, rst]):
            for way in (0, 1):
                with self.wire(script) as wire:
                    same("its billing", "unknown", wire.failure(wire.ways()[way][1], K.CONNECTION_LOST).billing, change=PAID)

    @check(ERROR)
    def test_what_is_no_http_is_a_protocol_error(self) -> None:
        """Another protocol, random bytes, a status that is no number."""
        for data in (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", bytes(range(128, 256)) + b"\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n"):
            with self.wire([request, send(data), fin]) as wire:
                same("its billing", "unknown", wire.failure(wire.send, K.PROTOCOL_ERROR).billing, change=PAID)

    @check(ERROR)
    def test_a_header_is_never_split(self) -> None:
        """CR and LF in a value are refused before anything is sent, and the refusal does not show the value."""
        for bad in ("a\r\nX-Evil: 1", "a\nb"):
            with self.wire() as wire:
                wire.failure(lambda: wire.send(headers={"X-Own": f"{KEY}{bad}"}), K.BAD_REQUEST, K.PLUGIN_ERROR, K.PROTOCOL_ERROR)  # noqa: B023
                same(
                    "nothing was sent",
                    [],
                    wire.server.requests,
                    sample=repr(bad),
                    change="look at header values before they are written",
                )
                wire.serves(4)

    @check(ERROR)
    def test_the_deadline_learns_when_the_request_left(self) -> None:
        """`begun` and `written` are set: the limits for the first byte and the first token count from there."""
        with self.wire([request, silent]) as wire:
            before = wire.deadline.now()
            wire.failure(lambda: wire.send(first_byte=0.2), K.FIRST_BYTE_TIMEOUT)
            told = (
                wire.deadline.begun,
                wire.deadline.written is not None and before <= wire.deadline.written <= wire.deadline.now(),
            )
        same(
            "what the deadline knows",
            (True, True),
            told,
            change="set deadline.begun before the request is written, .written after",
        )
