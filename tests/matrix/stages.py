"""The vendor of a row: an emulator with its fault scripted, or a set-up in front of it for faults that no vendor makes.

A stage gives the fields of the deployment `first`, and says where a healthy path of the same vendor is afterwards: the
same deployment (the fault comes only so often), or the deployment `well`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import trustme

from cnroute.deployments import TLS
from cnroute.emulator import Emulator
from cnroute.testing.transports.rawserver import Action, Gone, Peer, RawServer, black_hole, fin, hang, plainly, rst, send
from tests.contract.kit import DIALECTS
from tests.matrix.rows import Case

TUNNELS = 16


@attrs.define
class Stage:
    """What a case needs of its first vendor."""

    emulator: Emulator
    fields: dict[str, Any] = attrs.field(factory=dict)
    """Fields of the deployment `first` beside the usual ones."""
    healthy: str = "first"
    """The deployment that is asked afterwards."""
    front: RawServer | None = None
    target: Emulator | None = None
    """Where a redirect points: nobody may ask there."""

    @property
    def open_connections(self) -> int:
        """The connections of `first` that the vendor still has."""
        return self.emulator.open_connections if self.front is None else self.front.open


@contextlib.contextmanager
def stage_of(case: Case, emulator: Emulator) -> Iterator[Stage]:
    """The stage of a case; everything of it ends with the block."""
    with contextlib.ExitStack() as stack:
        stage = Stage(emulator)
        if case.fault.startswith("="):
            STAGES[case.fault[1:]](case, stage, stack)
        else:
            connecting = case.fault.startswith("accept_")
            emulator.script("@connect" if connecting else DIALECTS[case.speaker][1], [case.fault] * case.row.times)
        yield stage


# -- names


class Names:
    """Host names that only these tests know: `getaddrinfo` asks here first. One for the whole process."""

    def __init__(self) -> None:
        self._known: dict[str, Callable[[int], list[Any]]] = {}
        self._number = 0
        self._lock = threading.Lock()
        self.real = socket.getaddrinfo

    def install(self) -> None:
        socket.getaddrinfo = self._getaddrinfo  # type: ignore[assignment]

    def remove(self) -> None:
        socket.getaddrinfo = self.real

    def add(self, answer: Callable[[int], list[Any]]) -> str:
        """A new host name that is looked up by `answer`."""
        with self._lock:
            self._number += 1
            name = f"vendor-{self._number}.test"
            self._known[name] = answer
        return name

    def addresses(self, *hosts: str) -> Callable[[int], list[Any]]:
        return lambda port: [found for host in hosts for found in self.real(host, port, type=socket.SOCK_STREAM)]

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **more: Any) -> list[Any]:
        answer = self._known.get(host)
        return self.real(host, port, *args, **more) if answer is None else answer(port)


NAMES = Names()


def _path(case: Case, emulator: Emulator) -> str:
    return emulator.base_url(DIALECTS[case.speaker][0]).removeprefix(emulator.url)


def _at(case: Case, stage: Stage, host: str, port: int, scheme: str = "http") -> None:
    stage.fields = {"base_url": f"{scheme}://{host}:{port}{_path(case, stage.emulator)}", "allow_http": True}


# -- nobody, nowhere


def _nobody(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # Bound and not listening: nobody else gets the port meanwhile, and a connection is refused.
    holder = stack.enter_context(socket.socket())
    holder.bind(("127.0.0.1", port))
    _at(case, stage, "127.0.0.1", port)
    stage.healthy = "well"


def _black_hole(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    _at(case, stage, "127.0.0.1", stack.enter_context(black_hole()))
    stage.healthy = "well"


def _black_holes(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    port = stack.enter_context(black_hole())
    _at(case, stage, NAMES.add(NAMES.addresses(*["127.0.0.1"] * 5)), port)
    stage.healthy = "well"


def _dns_missing(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    def missing(port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    _at(case, stage, NAMES.add(missing), 80)
    stage.healthy = "well"


def _dns_blocked(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    released = threading.Event()
    stack.callback(released.set)

    def blocked(port: int) -> list[Any]:
        released.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    _at(case, stage, NAMES.add(blocked), 80)
    stage.healthy = "well"


def _two_addresses(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
    name = NAMES.add(NAMES.addresses("::1", "127.0.0.1"))
    _at(case, stage, name, stage.emulator.port)


# -- TLS


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def _stranger() -> trustme.CA:
    return trustme.CA()


_making = threading.Lock()


def authority() -> trustme.CA:
    with _making:
        return _authority()


@functools.cache
def _context(kind: str) -> ssl.SSLContext:
    with _making:
        issuer = _stranger() if kind == "stranger" else _authority()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    times = {"not_before": past, "not_after": past + datetime.timedelta(days=30)} if kind == "expired" else {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("elsewhere.example" if kind == "host" else "127.0.0.1", **times).configure_cert(context)
    return context


def _greeted(peer: Peer) -> None:
    peer.rest = peer.receive()


PLAIN_ANSWER = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BROKEN_HANDSHAKES: dict[str, list[Action]] = {
    "tls_silent": [plainly, hang],
    "tls_closed": [plainly, _greeted, fin],
    "tls_closed_at_once": [plainly, fin],
    "tls_reset": [plainly, _greeted, rst],
    "tls_plain": [plainly, _greeted, send(PLAIN_ANSWER), fin],
}


def tunnel(port: int) -> Action:
    """Pass bytes to and from the emulator until either side ends."""

    def run(peer: Peer) -> None:
        with socket.create_connection(("127.0.0.1", port)) as inner:
            answers = threading.Thread(target=_pump, args=(inner.recv, peer.sock.sendall), name="tunnel")
            answers.start()
            _pump(peer.sock.recv, inner.sendall)
            inner.shutdown(socket.SHUT_RDWR)
            answers.join()
        raise Gone

    return run


def _pump(receive: Callable[[int], bytes], give: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError):
        while data := receive(65536):
            give(data)


def _secured(kind: str) -> Callable[[Case, Stage, contextlib.ExitStack], None]:
    """An emulator behind TLS: the first connection is broken, or the certificate always."""

    def make(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
        broken = BROKEN_HANDSHAKES.get(kind)
        scripts = [[tunnel(stage.emulator.port)] for _ in range(TUNNELS)]
        if broken:
            scripts = [*([broken] * case.row.times), *scripts]
        else:
            stage.healthy = "well"
        front = RawServer(*scripts, tls=_context(kind.removeprefix("tls_") if not broken else "good"))
        stack.callback(front.close)
        stage.front = front
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority().cert_pem.write_to_path(str(folder / "ca.pem"))
        _at(case, stage, "127.0.0.1", front.port, "https")
        stage.fields["tls"] = TLS(ca_file=str(folder / "ca.pem"))

    return make


# -- redirects


def _redirect(status: str) -> Callable[[Case, Stage, contextlib.ExitStack], None]:
    def make(case: Case, stage: Stage, stack: contextlib.ExitStack) -> None:
        stage.target = stack.enter_context(Emulator())
        stage.emulator.script(DIALECTS[case.speaker][1], [f"redirect_{status}:{stage.target.url}/secret?path=1"])

    return make


STAGES: dict[str, Callable[[Case, Stage, contextlib.ExitStack], None]] = {
    "nobody": _nobody,
    "black_hole": _black_hole,
    "black_holes": _black_holes,
    "dns_missing": _dns_missing,
    "dns_blocked": _dns_blocked,
    "two_addresses": _two_addresses,
    **{name: _secured(name) for name in (*BROKEN_HANDSHAKES, "tls_host", "tls_stranger", "tls_expired")},
    **{f"redirect_{status}": _redirect(status) for status in ("301", "302", "303", "307", "308")},
}


