"""A vendor on loopback that costs as little as possible, to be run in a process of its own.

The first part of the path says what happens, what follows it is the vendor's own path:

    /plain[-CHARACTERS]     an answer, at once
    /slow-MS                an answer after MS milliseconds
    /503  /error-in-200     a refusal
    /burst-EVENTS           a stream in one write, one event an HTTP chunk
    /paced-EVENTS-US        a stream whose events come one by one, US microseconds apart
    /stamped-EVENTS-US[-raw]  the same; the text of each event is the monotonic clock in nanoseconds when it was sent;
                            `raw` has no HTTP chunks: the end of the connection is the end of the body
    /_counters              connections and requests so far, as JSON

Rules of this file
- The standard library only. Bytes are made once; head and body go out in one write, with TCP_NODELAY.
- A thread per connection: up to a few hundred connections, which wait most of their time.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from harness import samples

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# What is written, each with the seconds before it. `None` after the last: the connection is closed.
Steps = Iterator[tuple[float, bytes | None]]


def _plain(dialect: str, characters: int = samples.CHARACTERS) -> Steps:
    yield 0, _whole(dialect, characters)


def _slow(dialect: str, milliseconds: int) -> Steps:
    yield milliseconds / 1000, _whole(dialect, samples.CHARACTERS)


@functools.cache
def _whole(dialect: str, characters: int) -> bytes:
    return samples.whole(200, samples.answer(dialect, characters))


def _refuse(dialect: str) -> Steps:
    yield 0, samples.whole(503, samples.refusal(dialect))


def _error_in_200(dialect: str) -> Steps:
    yield 0, samples.whole(200, samples.refusal(dialect))


def _burst(dialect: str, count: int) -> Steps:
    yield 0, samples.burst(dialect, count)


def _paced(dialect: str, count: int, microseconds: int) -> Steps:
    for data in _pieces(dialect, count):
        yield microseconds / 1e6, data


@functools.cache
def _pieces(dialect: str, count: int) -> tuple[bytes, ...]:
    """Head, events, end: each is one write."""
    first, *others, last = map(samples.chunk, samples.events(dialect, count))
    return (samples.CHUNKED + first, *others, last + samples.LAST_CHUNK)


def _stamped(dialect: str, count: int, microseconds: int, framing: str = "") -> Steps:
    raw = framing == "raw"
    framed: Callable[[bytes], bytes] = bytes if raw else samples.chunk
    yield 0, samples.UNFRAMED if raw else samples.CHUNKED
    for _ in range(count):
        time.sleep(microseconds / 1e6)
        yield 0, framed(samples.event(dialect, f"{time.monotonic_ns()} "))
    for data in samples.closing(dialect, ""):
        yield 0, framed(data)
    yield 0, None if raw else samples.LAST_CHUNK


SCENARIOS: dict[str, Callable[..., Steps]] = {
    "plain": _plain, "slow": _slow, "503": _refuse, "error-in-200": _error_in_200,
    "burst": _burst, "paced": _paced, "stamped": _stamped,
}  # fmt: skip
_NAMED = re.compile("/(" + "|".join(SCENARIOS) + r")((?:-\w+)*)(/.*)")


@functools.cache
def _found(path: str) -> tuple[Callable[..., Steps], tuple[Any, ...]]:
    """What a path asks for: the scenario and its arguments, the dialect first."""
    match = _NAMED.fullmatch(path)
    if match is None:
        raise LookupError(f"no scenario {path!r}")
    dialect = next(name for name, end in samples.PATHS.items() if match[3].endswith(end))
    arguments = [int(word) if word.isdigit() else word for word in match[2].split("-")[1:]]
    return SCENARIOS[match[1]], (dialect, *arguments)


class Server:
    """Accepts connections until the process ends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepted = itertools.count()
        self._requests = itertools.count()
        self._counters = {"connections": 0, "requests": 0}

    def run(self) -> None:
        """Serve."""
        while True:
            connection, _ = self._listener.accept()
            self._counters["connections"] = next(self._accepted) + 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while (path := _read_request(connection)) is not None:
                if path == "/_counters":
                    connection.sendall(samples.whole(200, json.dumps(self._counters).encode()))
                    continue
                self._counters["requests"] = next(self._requests) + 1
                scenario, arguments = _found(path)
                if not _perform(scenario(*arguments), connection):
                    return


def _perform(steps: Steps, connection: socket.socket) -> bool:
    """Write; False when the connection is to be closed."""
    for pause, data in steps:
        if pause:
            time.sleep(pause)
        if data is None:
            return False
        connection.sendall(data)
    return True


def _read_request(connection: socket.socket) -> str | None:
    """The path of the next request, whose body has been read; None at the end of the connection."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    length = _LENGTH.search(data, 0, end)
    left = end + 4 + (int(length[1]) if length else 0) - len(data)
    while left > 0:
        left -= len(connection.recv(min(left, 1 << 20)) or b"x" * left)
    return data[: data.index(b"\r")].split(b" ")[1].decode()


class Vendor:
    """The same in another process. A context manager; a URL makes it one that somebody else has started."""

    def __init__(self, url: str | None = None) -> None:
        self._process: subprocess.Popen[str] | None = None
        if url is None:
            command = [sys.executable, str(Path(__file__).resolve())]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self._process.stdout is not None
            url = self._process.stdout.readline().strip()
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def base(self, scenario: str) -> str:
        """The base URL of a vendor that does this."""
        return f"{self.url}/{scenario}/v1"

    def endpoint(self, scenario: str, dialect: str) -> str:
        """The whole URL."""
        return self.base(scenario) + samples.PATHS[dialect]

    def connections(self) -> int:
        """How many connections were accepted, without those of this method's calls."""
        self._asked = getattr(self, "_asked", 0) + 1
        fetched = urllib.request.Request(self.url + "/_counters", headers={"Connection": "close"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(fetched, timeout=10) as answer:
            counters: dict[str, int] = json.load(answer)
        return counters["connections"] - self._asked


def main() -> None:
    """Serve until whoever started this is gone."""
    server = Server()
    print(server.url, flush=True)
    threading.Thread(target=server.run, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
