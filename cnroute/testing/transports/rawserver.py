"""A vendor at the level of bytes: each connection follows a script of actions, then serves good answers.

Loopback, standard library only. The project's emulator is another, independent program.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence

Action = Callable[["Peer"], object]


class Gone(Exception):
    """The script wants this connection to end here."""


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self.sock = sock
        self.server = server
        self.body = b""
        self.rest = b""

    def receive(self) -> bytes:
        """What has arrived; raises Gone at the end."""
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        return data

    def read_request(self) -> None:
        """Read one whole request; remember it."""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.receive()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        while len(self.rest) < length:
            self.rest += self.receive()
        self.body, self.rest = self.rest[:length], self.rest[length:]
        self.server.requests.append((head, self.body))

    def serve_well(self) -> None:
        """Echo every request until the client closes."""
        while True:
            self.read_request()
            self.sock.sendall(good(self.body))


def good(body: bytes, *headers: str) -> bytes:
    """A whole answer that allows another request."""
    return head(f"Content-Length: {len(body)}", *headers) + body


def head(*headers: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    """The head of an answer."""
    return "\r\n".join((f"{version} {status}", *headers, "", "")).encode("latin-1")


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A whole answer in chunks."""
    return head("Transfer-Encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + end


# -- actions


def request(peer: Peer) -> None:
    """Read one whole request."""
    peer.read_request()


def echo(peer: Peer) -> None:
    """Read one request and answer with its body."""
    peer.read_request()
    peer.sock.sendall(good(peer.body))


def read_head(peer: Peer) -> None:
    """Read the head of a request, and of its body what came with it."""
    while b"\r\n\r\n" not in peer.rest:
        peer.rest += peer.receive()


def send(data: bytes) -> Action:
    """Send `data` at once."""
    return lambda peer: peer.sock.sendall(data)


def sleep(seconds: float) -> Action:
    """Wait."""
    return lambda peer: time.sleep(seconds)


def fin(peer: Peer) -> None:
    """Close the connection."""
    raise Gone


def rst(peer: Peer) -> None:
    """Close with RST instead of FIN, also under TLS."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def hang(peer: Peer) -> None:
    """Say nothing, read nothing, until the client is gone (where the system tells) or the server stops."""
    gone = _watch_for_the_end(peer.sock)
    while not gone() and not peer.server.stopping.wait(0.02):
        pass
    raise Gone


def _watch_for_the_end(sock: socket.socket) -> Callable[[], object]:
    """Tells whether the peer has closed, though nothing of what it sent was read."""
    hung_up = getattr(select, "POLLRDHUP", None)
    if hung_up is None:
        return lambda: False
    poll = select.poll()
    poll.register(sock, hung_up)
    return lambda: poll.poll(0)


def silent(peer: Peer) -> None:
    """Say nothing more; notice when the client closes."""
    while True:
        peer.receive()


def drip(data: bytes, every: float) -> Action:
    """Send `data` byte by byte."""

    def run(peer: Peer) -> None:
        for byte in data:
            peer.sock.sendall(bytes([byte]))
            if peer.server.stopping.wait(every):
                raise Gone

    return run


def forever(data: bytes, every: float = 0.0) -> Action:
    """Send `data` again and again."""

    def run(peer: Peer) -> None:
        while not peer.server.stopping.wait(every):
            peer.sock.sendall(data)

    return run


class RawServer:
    """Listens on loopback. The n-th connection follows the n-th script; later ones serve well from the start."""

    def __init__(self, *scripts: Sequence[Action], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.ends: list[float] = []
        self.stopping = threading.Event()
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="raw server")
        self._thread.start()

    @property
    def open(self) -> int:
        """How many connections the clients still hold."""
        with self._lock:
            return len(self._open)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number, self.connections = self.connections, self.connections + 1
            script = self._scripts[number] if number < len(self._scripts) else []
            thread = threading.Thread(target=self._serve, args=(sock, script), name="raw server peer")
            with self._lock:
                self._open[thread] = sock
            thread.start()

    def _serve(self, sock: socket.socket, script: Sequence[Action]) -> None:
        peer = Peer(sock, self)
        try:
            with contextlib.suppress(Gone, OSError):
                peer.sock = self._wrap(sock, script)
                for action in script:
                    action(peer)
                peer.serve_well()
        finally:
            peer.sock.close()
            self.ends.append(time.monotonic())
            with self._lock:
                del self._open[threading.current_thread()]

    def _wrap(self, sock: socket.socket, script: Sequence[Action]) -> socket.socket:
        if self._tls is None or (script and script[0] is plainly):
            return sock
        wrapped = self._tls.wrap_socket(sock, server_side=True)
        with self._lock:
            self._open[threading.current_thread()] = wrapped
        return wrapped

    def close(self) -> None:
        """End every connection and thread."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        with self._lock:
            peers = list(self._open.items())
        for thread, sock in peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            thread.join(5)
            if thread.is_alive():
                raise RuntimeError("a connection of the raw server does not end")


def plainly(peer: Peer) -> None:
    """First in a script: no TLS on this connection although the server has it."""


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """The port of a listener whose queue is full: a SYN is never answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
