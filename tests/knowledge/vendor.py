"""A small vendor at the level of sockets: it keeps files and bases, and fails where a test says so.

It is no emulator: it checks little, so that a test can make it answer anything; what it does keep is what a failed
operation has to name. Loopback, standard library only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-canary-4d1f77a0"
GROUP = "1700000000000000042"
FIRST = 863831823174049792
GOOD = {"status_code": 0, "status_msg": "success"}


class Gone(Exception):
    """The connection ends here."""


Fault = Callable[["Exchange"], Any]


class Exchange:
    """One request, as far as it was read, and the socket that it came from."""

    def __init__(self, sock: socket.socket, vendor: Vendor, method: str, target: str, headers: dict[str, str]) -> None:
        self.sock, self.vendor, self.method, self.headers = sock, vendor, method, headers
        parts = urlsplit(target)
        self.path = parts.path.removeprefix("/v1")
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.length = int(headers.get("content-length", 0))
        self.body = b""
        self.rest = b""

    def read_body(self, most: int | None = None) -> bytes:
        """The body, or its first `most` bytes; of a large one only the beginning is kept."""
        size, wanted = len(self.rest), self.length if most is None else min(most, self.length)
        kept = [self.rest]
        while size < wanted:
            data = self.sock.recv(65536)
            if not data:
                raise Gone
            if size < self.vendor.keep:
                kept.append(data)
            size += len(data)
        self.body = b"".join(kept)
        return self.body

    def json(self) -> Any:
        return json.loads(self.body)

    def reply(self, document: Any, status: int = 200) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
        kind = "application/octet-stream" if isinstance(document, bytes) else "application/json"
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)


# -- faults: each takes the place of one answer


def code(number: int, message: str = "no") -> Fault:
    """The vendor's own error, inside HTTP 200; nothing is done."""

    def fault(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply({"base_resp": {"status_code": number, "status_msg": message}})

    return fault


def status(number: int) -> Fault:
    """An HTTP status; nothing is done."""

    def fault(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply({}, number)

    return fault


def lost(exchange: Exchange) -> None:
    """It is done, and the answer never leaves."""
    exchange.read_body()
    exchange.vendor.act(exchange)
    time.sleep(0.02)
    raise Gone


def unheard(exchange: Exchange) -> None:
    """The request is read, nothing is done, nothing is said."""
    exchange.read_body()
    raise Gone


def silent(exchange: Exchange) -> None:
    """It is done, and nothing is said while anybody waits."""
    exchange.read_body()
    exchange.vendor.act(exchange)
    exchange.vendor.stopping.wait(10)
    raise Gone


def cut_upload(exchange: Exchange) -> None:
    """The connection is reset in the middle of the request."""
    exchange.read_body(exchange.length // 2)
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def twice(exchange: Exchange) -> None:
    """Two whole answers to one request."""
    exchange.read_body()
    body = json.dumps(exchange.vendor.act(exchange)).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    exchange.sock.sendall(answer + answer)


def saying(document: Any) -> Fault:
    """Another answer than the true one; nothing is done."""

    def fault(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(document)

    return fault


def half(exchange: Exchange) -> None:
    """Half of the content, then the end of the connection."""
    exchange.read_body()
    content = exchange.vendor.contents[int(exchange.query["file_id"])]
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
    exchange.sock.sendall(head.encode() + content[: len(content) // 2])
    raise Gone


class Vendor:
    """Listens on loopback. `faults[path]` are used up before a path is answered well."""

    def __init__(self) -> None:
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.requests: list[Exchange] = []
        self.files: dict[int, dict[str, Any]] = {}
        self.contents: dict[int, bytes] = {}
        self.bases: dict[int, dict[str, Any]] = {}
        self.done: dict[int, Any] = {}
        self.polls_until_available = 1
        self.ids = iter(range(FIRST, FIRST + 10**6))
        self.keep = 10**9
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._threads: dict[threading.Thread, socket.socket] = {}
        self._main = threading.Thread(target=self._accept)
        self._main.start()

    def fail(self, path: str, *faults: Fault) -> None:
        """The next answers of a path."""
        self.faults[path].extend(faults)

    def asked(self, path: str) -> list[Exchange]:
        """The requests that came to a path."""
        return [exchange for exchange in self.requests if exchange.path == path]

    # -- the wire

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads[thread] = sock
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(Gone, OSError):
            while True:
                self._answer(self._read(sock))

    def _read(self, sock: socket.socket) -> Exchange:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                raise Gone
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        exchange = Exchange(sock, self, method, target, headers)
        exchange.rest = rest
        self.requests.append(exchange)
        return exchange

    def _answer(self, exchange: Exchange) -> None:
        if self.faults[exchange.path]:
            self.faults[exchange.path].popleft()(exchange)
            return
        exchange.read_body()
        exchange.reply(self.act(exchange))

    def close(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._main.join(5)
        for thread, sock in self._threads.items():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    # -- what it does

    def act(self, exchange: Exchange) -> Any:
        """Do what is asked; a write that was done before is not done again."""
        with self.lock:
            if exchange.headers.get("authorization") != f"Bearer {KEY}" or exchange.query.get("GroupId") != GROUP:
                return refused(1004, f"token not match group {exchange.query.get('GroupId')}")
            action = getattr(self, exchange.path.rpartition("/")[2])
            if exchange.path == "/files/upload" or exchange.method == "GET":
                return action(exchange)
            asked = exchange.json()
            number = asked.get("operator_id")
            if number is None or number not in self.done:
                self.done[number] = action(asked)
            return self.done[number]

    def upload(self, exchange: Exchange) -> Any:
        boundary = exchange.headers["content-type"].partition("boundary=")[2].encode()
        _, purpose, file = exchange.body.split(b"--" + boundary + b"\r\n")
        head, _, content = file.partition(b"\r\n\r\n")
        content = content.removesuffix(b"\r\n--" + boundary + b"--\r\n")
        # What is around the file: two parts' heads, and three lines with the boundary.
        size = exchange.length - len(purpose) - len(head) - 4 - 2 * (len(boundary) + 4) - (len(boundary) + 8)
        number = next(self.ids)
        name = head.decode().partition('filename="')[2].partition('"')[0]
        self.files[number] = {
            "file_id": number, "bytes": size, "created_at": int(time.time()), "filename": name, "purpose": "retrieval",
        }
        self.contents[number] = content
        assert purpose.endswith(b"retrieval\r\n")
        return {"file": self.files[number], "base_resp": GOOD}

    def retrieve(self, exchange: Exchange) -> Any:
        number = int(exchange.query["file_id"])
        return {"file": self.files[number], "base_resp": GOOD} if number in self.files else refused(2013, "no such file")

    def retrieve_content(self, exchange: Exchange) -> Any:
        number = int(exchange.query["file_id"])
        return self.contents[number] if number in self.files else refused(2013, "no such file")

    def list(self, exchange: Exchange) -> Any:
        return {"files": list(self.files.values()), "base_resp": GOOD}

    def delete(self, asked: Any) -> Any:
        if self.files.pop(asked["file_id"], None) is None:
            return refused(2013, "no such file")
        return {"file_id": asked["file_id"], "base_resp": GOOD}

    def create_knowledge_base(self, asked: Any) -> Any:
        if any(base["name"] == asked["name"] for base in self.bases.values()):
            return refused(2013, "name is taken")
        number = next(self.ids)
        file = asked.get("file_id")
        self.bases[number] = {
            "knowledge_base_id": number, "name": asked["name"], "description": asked.get("description", ""),
            "status": "loading", "create_time": int(time.time() * 1000), "docs": [] if file is None else [{"file_id": file}],
            "polls": 0,
        }
        return {"knowledge_base_id": number, "file_id": file, "knowledge_base": self.bases[number], "base_resp": GOOD}

    def query_knowledge_base(self, exchange: Exchange) -> Any:
        base = self.bases.get(int(exchange.query["knowledge_base_id"]))
        if base is None:
            return refused(2013, "no such knowledge base")
        base["polls"] += 1
        if base["polls"] >= self.polls_until_available:
            base["status"] = "available"
        return {"knowledge_base": base, "base_resp": GOOD}

    def list_knowledge_base(self, exchange: Exchange) -> Any:
        page, size = int(exchange.query["page"]), int(exchange.query["page_size"])
        listed = list(self.bases.values())[page * size : (page + 1) * size]
        return {"total": len(self.bases), "knowledge_bases": listed, "base_resp": GOOD}

    def delete_knowledge_base(self, asked: Any) -> Any:
        if self.bases.pop(asked["knowledge_base_id"], None) is None:
            return refused(2013, "no such knowledge base")
        return {"base_resp": GOOD}

    def add_document(self, asked: Any) -> Any:
        base = self.bases.get(asked["knowledge_base_id"])
        if base is None:
            return refused(2013, "no such knowledge base")
        base["docs"].append({"file_id": asked["file_id"]})
        return {"base_resp": GOOD}

    def update_document(self, asked: Any) -> Any:
        return {"base_resp": GOOD} if asked["knowledge_base_id"] in self.bases else refused(2013, "no such knowledge base")

    def delete_document(self, asked: Any) -> Any:
        base = self.bases[asked["knowledge_base_id"]]
        base["docs"] = [each for each in base["docs"] if each["file_id"] != asked["file_id"]]
        return {"base_resp": GOOD}

    def query_document(self, exchange: Exchange) -> Any:
        return {"file_id": exchange.query["file_id"], "base_resp": GOOD}


def refused(number: int, message: str) -> Any:
    return {"base_resp": {"status_code": number, "status_msg": message}}
