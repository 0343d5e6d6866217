"""The local server: sockets, HTTP/1.1, the log, and the steps of the chosen fault.

Rules of this file: loopback only; no outbound request; Authorization is never logged; a thread per connection, and every
wait ends when the client leaves or ``close()`` is called, because ``close()`` shuts every socket down.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnroute.emulator import answers, control, dashscope, minimax
from cnroute.emulator.allowance import Allowances
from cnroute.emulator.choices import Choices, Weights, split
from cnroute.emulator.exchange import Ask, Dialect, Refusal
from cnroute.emulator.faults import Chosen, UnknownFault, play
from cnroute.emulator.knowledge import CALLS, Library, Quotas, StoredBase, StoredFile
from cnroute.emulator.knowledge.arriving import Arriving, shown
from cnroute.emulator.reading import BadRequest, Head, Reader
from cnroute.emulator.received import Log, Received
from cnroute.emulator.steps import End, Pause, Scene, Send, Step, Steps, Take, head, json_reply

HOSTS = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
PREFIXES = {
    "dashscope": "/dashscope",
    "minimax-v2": "/minimax",
    "minimax-pro": "/minimax",
    "minimax-legacy": "/minimax",
    "minimax-knowledge": "/minimax",
}
BASES = {
    "dashscope": "/dashscope/api/v1",
    **dict.fromkeys(("minimax-v2", "minimax-pro", "minimax-legacy", "minimax-knowledge"), "/minimax/v1"),
}

# The vendors' own paths work with and without the emulator's prefix.
CHATS: dict[str, type[Dialect]] = {dashscope.PATH: dashscope.Dashscope, **minimax.PATHS}
PLACES: dict[tuple[str, str], type[Dialect]] = {**{("POST", path): kind for path, kind in CHATS.items()}, **CALLS}
DIALECTS = {(method, prefix + path): kind for (method, path), kind in PLACES.items() for prefix in ("", PREFIXES[kind.provider])}
MODEL_AT = re.compile(rb'"model"\s*:\s*"((?:[^"\\]|\\.)*)"')
EARLY_BYTES = 65536
PATIENCE = 0.5


@dataclass(slots=True)
class Site:
    """What all connections of one emulator share."""

    seed: int
    api_key: str | None
    pace: float
    choices: Choices
    connections: Connections
    allowances: Allowances
    library: Library
    group: str | None = None
    latency: float = 0.0
    log: Log = field(default_factory=Log)
    closed: bool = False


class Emulator:
    """A local server that speaks the dialects of all built-in providers, with faults on demand.

    A fault is chosen by the suffix of the model name (``"yi-large!http_503"``), else by ``script``, else by ``weights``.
    ``api_key``: the only accepted key; without it every key but ``"wrong-key"`` is. ``pace``: seconds between the events of
    a stream. ``latency``: seconds before every answer, good or bad. ``limits``: what models allow in a minute, as in
    ``{"yi-large": {"requests": 60, "tokens": 100_000}}``, counted on ``clock``. ``group_id``: the only accepted GroupId of
    MiniMax; without it every one but ``"wrong-group"`` is. ``loading``: seconds that a knowledge base is ``loading`` after
    a change, on ``clock``. ``quotas``: other limits of files and bases than the vendor's, as in ``{"bases": 2}``. Use it
    as a context manager; after ``close()`` no thread, no socket and no file is left.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0, api_key: str | None = None,
                 weights: Weights | None = None, pace: float = 0.0, limits: Mapping[str, Mapping[str, Any]] | None = None,
                 clock: Callable[[], float] = time.monotonic, latency: float = 0.0, group_id: str | None = None,
                 loading: float = 0.05, quotas: Mapping[str, int] | None = None) -> None:  # fmt: skip
        if host not in HOSTS:
            raise ValueError(f"the emulator listens on loopback only (127.0.0.1 or ::1), not on {host!r}")
        self.host = HOSTS[host]
        self.seed = seed
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise ValueError(f"port must be a whole number from 0 (a free one) to 65535, not {port!r:.40}")
        self.port = port
        library = Library(Quotas(**(quotas or {})), loading, clock)
        self._site = Site(seed, api_key, pace, Choices(seed, weights, BASES), Connections(), Allowances(limits, clock),
                          library, group_id, latency)  # fmt: skip
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    # -- life

    def start(self) -> Emulator:
        """Listen and serve in background threads. Raises ``OSError`` if the port is taken."""
        if self._site.closed or self._listener:
            raise RuntimeError("an emulator starts once")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family, backlog=512)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="emulator-accept", daemon=True)
        self._acceptor.start()
        return self

    def __enter__(self) -> Emulator:
        return self.start() if self._listener is None else self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop within a second, whatever is in progress. May be called again."""
        if self._site.closed or self._listener is None:
            self._site.closed = True
            return
        self._site.closed = True
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=PATIENCE):
            pass  # wakes accept(); shutting a listening socket down does that on Linux only
        if self._acceptor:
            self._acceptor.join()
        self._listener.close()
        self._site.connections.close()
        self._site.library.clear()

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                time.sleep(0.01)  # out of file descriptors, or the client is gone already
                continue
            if self._site.closed:
                sock.close()
                return
            self._site.connections.serve(sock, self._site)

    # -- what users read and set

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def base_url(self, provider: str) -> str:
        """The base URL to configure for a provider."""
        if provider not in BASES:
            raise ValueError(f"unknown provider {provider!r}; known: {', '.join(BASES)}")
        return self.url + BASES[provider]

    def script(self, model: str, faults: Sequence[str]) -> None:
        """Faults for the next requests for a model, one each, then ``ok``; ``"@connect"`` scripts new connections.

        A call about files or knowledge bases is scripted under its path, such as ``"files/upload"``.
        """
        self._site.choices.script(model, faults)

    def answer(self, text: str) -> str:
        """The reply to a user text."""
        return answers.answer(text, self.seed)

    @property
    def requests(self) -> list[Received]:
        """What arrived, in order of arrival: a copy of the list."""
        return self._site.log.copy()

    @property
    def files(self) -> list[StoredFile]:
        """The files that it keeps, the oldest first: a copy of the list."""
        return self._site.library.files

    @property
    def bases(self) -> list[StoredBase]:
        """The knowledge bases as they are now, the oldest first: a copy of the list."""
        return self._site.library.bases

    def next_ids(self, *ids: int) -> None:
        """Give the next files and bases these ids, in this order; then its own again."""
        self._site.library.ids.wanted.extend(ids)

    def settle(self) -> None:
        """Make every knowledge base available now."""
        self._site.library.settle()

    def empty(self) -> None:
        """Delete all files and knowledge bases."""
        self._site.library.clear()

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._site.connections.open

    @property
    def accepted_connections(self) -> int:
        """How many connections were ever accepted."""
        return self._site.connections.accepted

    def reset(self) -> None:
        """Forget the log and the scripts; files and knowledge bases stay."""
        self._site.log.clear()
        self._site.choices.clear()


class Connections:
    """The open sockets and their threads."""

    def __init__(self) -> None:
        self.accepted: int = 0
        self._lock = threading.Lock()
        self._open: dict[int, tuple[socket.socket, threading.Thread]] = {}

    @property
    def open(self) -> int:
        """How many are open now."""
        return len(self._open)

    def serve(self, sock: socket.socket, site: Site) -> None:
        """Give the socket a thread of its own."""
        self.accepted += 1
        number = self.accepted
        link = Connection(sock, number, site)
        thread = threading.Thread(target=self._run, args=(link,), name=f"emulator-{number}", daemon=True)
        with self._lock:
            self._open[number] = (sock, thread)
        thread.start()

    def _run(self, link: Connection) -> None:
        try:
            link.run()
        finally:
            with self._lock:
                del self._open[link.number]
                link.sock.close()

    def close(self) -> None:
        """Shut every socket down, which wakes its thread, and wait for the threads."""
        with self._lock:
            running = list(self._open.values())
            for sock, _thread in running:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for _sock, thread in running:
            thread.join()


class Connection:
    """One TCP connection and the requests that come over it."""

    def __init__(self, sock: socket.socket, number: int, site: Site) -> None:
        self.sock = sock
        self.number = number
        self.site = site
        self.served = 0
        self._reader = Reader(sock)
        self._awaited = 0

    def run(self) -> None:
        """Serve until either side ends the connection."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            fault = self.site.choices.connecting()
            if fault:
                self._perform(fault.fault.write(Scene(dashscope.Dashscope(Ask("", {})))), None)
                return
            while self._serve():
                pass

    def _serve(self) -> bool:
        """One request; True if another may follow."""
        try:
            request = self._reader.head()
            return request is not None and self._handle(request)
        except BadRequest as problem:
            self._perform(_refuse_http(400, str(problem)), None)
            return False

    def _handle(self, request: Head) -> bool:
        self._awaited = sys.maxsize if request.chunked else request.length
        if request.headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(head(100, []))
        if request.path.startswith(control.PREFIX):
            body = _decode(self._reader.body(request))
            return self._perform(control.control(self.site, request.method, request.path, body), None) and request.keep_alive
        dialect = DIALECTS.get((request.method, request.path))
        if dialect is None:
            return self._nowhere(request)
        if self._is_early(request, dialect):
            return self._early(request, dialect)
        if not dialect.receives_form:
            return self._exchange(request, dialect, *self._body(request))
        with Arriving(self.site.library) as arriving:
            form = arriving.read(self._reader.pieces(request), request.headers.get("content-type", ""))
            return self._exchange(request, dialect, form, shown(form))

    # -- requests that are answered before their body is read

    def _is_early(self, request: Head, kind: type[Dialect]) -> bool:
        """Whether the model name, where it stands near the start of the body, asks for an early fault."""
        with contextlib.suppress(UnknownFault):
            return self.site.choices.peek(kind.script or self._model_seen(request)).fault.early
        return False

    def _model_seen(self, request: Head) -> str:
        """The model name in what has arrived of the body."""
        seen = b"" if request.chunked else self._reader.peek(min(request.length, EARLY_BYTES))
        found = MODEL_AT.search(seen)
        name = _decode(b'"' + found[1] + b'"') if found else None
        return name if isinstance(name, str) else ""

    def _early(self, request: Head, kind: type[Dialect]) -> bool:
        model = "" if kind.script else self._model_seen(request)
        chosen = self.site.choices.choose(kind.provider, kind.script or model)
        dialect = kind(self._ask(request, {"model": model}))
        entry = self._enter(request, kind.provider, dialect.ask.model, b"", dialect)
        entry.fault = str(chosen)
        self._perform(play(chosen, Scene(dialect, served=self.served)), entry)
        if entry.ended == "done":
            self._linger()
        return False

    def _linger(self) -> None:
        """Read what still comes for a moment, so that the answer is not lost in a reset."""
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(EARLY_BYTES):
                    return

    # -- ordinary requests

    def _body(self, request: Head) -> tuple[object, dict[str, Any] | bytes]:
        """The body decoded, and as it goes into the log; a GET is asked by its query."""
        data = self._reader.body(request)
        if request.method == "GET":
            return request.query, data
        body = _decode(data)
        return body, body if isinstance(body, dict) else data

    def _exchange(self, request: Head, kind: type[Dialect], body: object, logged: dict[str, Any] | bytes) -> bool:
        ask = self._ask(request, body if isinstance(body, dict) else {})
        dialect = kind(ask)
        entry = self._enter(request, kind.provider, ask.model, logged, dialect)
        scene = Scene(dialect, dialect.stream, request.keep_alive, self.served, self.site.pace, target=request.target)
        scene.key = _bearer(request)
        self.served += 1
        return self._perform(self._steps(scene, body, entry), entry) and request.keep_alive

    def _steps(self, scene: Scene, body: object, entry: Received) -> Steps:
        """The vendor's refusal of a wrong request, else the chosen fault."""
        try:
            chosen = self._admit(scene, body)
        except Refusal as refusal:
            entry.fault = "refused"
            return _refused(scene, refusal)
        entry.fault = str(chosen)
        steps = _watched(play(chosen, scene), scene.dialect, entry)
        return itertools.chain([Pause(self.site.latency)], steps) if self.site.latency else steps

    def _admit(self, scene: Scene, body: object) -> Chosen:
        dialect = scene.dialect
        dialect.check_key(scene.key, self.site.api_key, self.site.group)
        if not isinstance(body, dict):
            raise dialect.refusal("bad_parameter", "invalid params, the body is not a JSON object")
        dialect.check()
        self.site.allowances.check(dialect)
        try:
            return self.site.choices.choose(dialect.provider, dialect.script or str(body["model"]))
        except UnknownFault as problem:
            refusal = dialect.refusal("bad_parameter", str(problem))
            refusal.status = 400
            raise refusal from None

    def _ask(self, request: Head, body: dict[str, Any]) -> Ask:
        model = body.get("model")
        name = split(model)[0] if isinstance(model, str) else ""
        number = self.site.log.number()
        return Ask(name, body, request.headers, request.query, self.site.seed, number, int(time.time()), self.site.library)

    def _enter(self, request: Head, provider: str, model: str, body: dict[str, Any] | bytes, dialect: Dialect | None) -> Received:
        """A new entry of the log; the key itself is never kept."""
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        entry = Received(
            number=dialect.ask.number if dialect else self.site.log.number(), provider=provider, model=model,
            stream=dialect.stream if dialect else False, method=request.method, path=request.path, query=request.query,
            headers=headers, authorized=bool(_bearer(request)), body=body, connection=self.number, at=time.time(),
        )  # fmt: skip
        self.site.log.add(entry)
        return entry

    def _nowhere(self, request: Head) -> bool:
        """404 for a path or method that no vendor has."""
        data = self._reader.body(request)
        kind, body = (dashscope.Dashscope if "/api/" in request.path else Dialect).unknown_path
        entry = self._enter(request, "", "", data, None)
        entry.fault = "refused"
        reply = head(404, [("Content-Type", kind), ("Content-Length", str(len(body)))]) + body
        return self._perform(iter([Send(reply, status=404)]), entry) and request.keep_alive

    # -- steps

    def _perform(self, steps: Steps, entry: Received | None) -> bool:
        """Do what the steps say; True if the connection is still good."""
        begun = time.monotonic()
        try:
            return self._do(steps, entry)
        except OSError:
            self._settle(entry, "client_closed")
            return False
        finally:
            if entry:
                entry.seconds = time.monotonic() - begun

    def _do(self, steps: Steps, entry: Received | None) -> bool:
        for step, following in _with_next(steps):
            if isinstance(step, End):
                self._settle(entry, "done" if step.done else "fault")
                self._end(step)
                return False
            if isinstance(step, Pause):
                self._wait(step.seconds)
                continue
            if isinstance(step, Take):
                self._reader.drop(min(step.size, self._awaited))
                continue
            _note(entry, step)
            if following is None or (isinstance(following, End) and following.done):
                self._settle(entry, "done")  # before the write: the client may look at the log as soon as it has the answer
            self.sock.sendall(step.data)
        return True

    def _settle(self, entry: Received | None, how: str) -> None:
        if entry:
            closing = how == "client_closed" and self.site.closed
            entry.ended = "fault" if closing else how

    def _end(self, step: End) -> None:
        if step.reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.sock.shutdown(socket.SHUT_WR)

    def _wait(self, seconds: float) -> None:
        """Stay silent; raises ``OSError`` as soon as the client (or ``close``) ends the connection."""
        deadline = time.monotonic() + min(seconds, 86400.0)
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1, socket.MSG_PEEK) or self.site.closed or _hung_up(self.sock):
                    raise ConnectionResetError("the client has closed")
            except TimeoutError:
                break
            time.sleep(min(left, 0.02))  # bytes of a next request are waiting: a peek cannot block behind them
        self.sock.settimeout(None)


def _hung_up(sock: socket.socket) -> bool:
    """Whether the other side has closed, where the system tells it although bytes are still unread."""
    if sys.platform != "linux":
        return False
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def _with_next(steps: Steps) -> Iterator[tuple[Step, Step | None]]:
    """Each step with the one behind it."""
    held = next(steps, None)
    while held is not None:
        following = next(steps, None)
        yield held, following
        held = following


def _note(entry: Received | None, step: Send) -> None:
    if entry:
        entry.status = step.status or entry.status
        entry.answered += step.text
        entry.usage = step.usage or entry.usage


def _watched(steps: Steps, dialect: Dialect, entry: Received) -> Steps:
    """The steps; the log says so where the library refused what was asked."""
    for step in steps:
        if dialect.refused and entry.fault == "ok":
            entry.fault = "refused"
        yield step


def _refused(scene: Scene, refusal: Refusal) -> Steps:
    document = scene.dialect.error_document(refusal)
    yield json_reply(scene, document, status=refusal.status)


def _refuse_http(status: int, message: str) -> Steps:
    body = message.encode()
    yield Send(head(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]) + body)
    yield End()


def _bearer(request: Head) -> str:
    word, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if word.lower() == "bearer" else ""


def _decode(data: bytes) -> object:
    """The JSON of a body, or None."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# -- as a program


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the first line on stderr is the address. Exit code 2 for wrong usage."""
    options = _options(argv)
    try:
        emulator = Emulator(host=options.host, port=options.port, seed=options.seed, api_key=options.api_key,
                            weights=options.weights, pace=options.pace, latency=options.latency).start()  # fmt: skip
    except (ValueError, OSError) as problem:
        print(f"cnroute emulate: {problem}", file=sys.stderr)
        return 2
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    with emulator:
        print(emulator.url, file=sys.stderr, flush=True)
        stop.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cnroute emulate", description="A local server that speaks the vendors' dialects.")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 or ::1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="changes wording and chance")
    parser.add_argument("--api-key", default=None, help="the only accepted key; any key but wrong-key unless given")
    parser.add_argument("--weights", type=json.loads, default=None, help='JSON: {"ok": 9, "http_503": 1}, flat or by provider')
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between the events of a stream")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer, good or bad")
    return parser.parse_args(argv)
