"""A prefork server whose workers share a router that was made before the fork; one is killed in mid-run.

    python -m tests.matrix.prefork URL CALLS

Rules of this file
- The parent makes the router, warms its pool, forks the workers and goes on calling; a worker answers each line of a
  client with what the vendor said to it, some as a stream.
- A worker is killed by SIGKILL while it is in the middle of calls, and a fresh one is forked from the parent as it is then.
- The questions are asked as plain calls, as streams, and through an asynchronous router, each in a loop of its own.
- Every answer is compared with the pure function of its own question, of which the worker's number is a part.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

import attrs

import cnroute
from cnroute.emulator import answers
from tests.contract.kit import plain_host
from tests.matrix.forking import ask, deployment_at

WORKERS, THREADS, CLIENTS = 3, 4, 8


def question(words: str) -> str:
    return f"笑一个 marker:{words}"


class Routers(NamedTuple):
    """Both routers, made before any fork."""

    plain: cnroute.Router
    asynchronous: cnroute.AsyncRouter

    @classmethod
    def at(cls, url: str) -> Routers:
        timeouts = cnroute.Timeouts(total=20)
        return cls(*(
            make([deployment_at(url)], timeouts=timeouts, **plain_host()) for make in (cnroute.Router, cnroute.AsyncRouter)
        ))  # fmt: skip

    def answered(self, words: str) -> str:
        """What the vendor says, asked in the way that the first letter tells."""
        if words[0] == "a":
            return asyncio.run(self.asynchronous.chat(question(words), model="first")).text
        if words[0] == "s":
            with self.plain.stream(question(words), model="first") as stream:
                return "".join(stream.texts())
        return self.plain.chat(question(words), model="first").text

    def idle_connections(self) -> tuple[int, int]:
        return self.plain.transport.idle_connections(), self.asynchronous.transport.idle_connections()


class Worker:
    """A forked process that answers clients."""

    def __init__(self, routers: Routers, listener: socket.socket) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(routers, listener)
            finally:
                os._exit(1)

    def kill(self) -> None:
        """It gets no chance to clean anything up."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _serve(routers: Routers, listener: socket.socket) -> None:
    threads = [threading.Thread(target=_answer_for_ever, args=(routers, listener), daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answer_for_ever(routers: Routers, listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        with client:
            try:
                asked = client.recv(1000).decode()
                client.sendall(routers.answered(f"{asked}.{os.getpid()}").encode() + b"\n")
            except (OSError, cnroute.CallError) as error:
                print(f"a worker: {error!r}", file=sys.stderr)


@attrs.define
class Load:
    """Clients that ask until all is asked; what a killed worker took with it is asked again."""

    port: int
    calls: int
    awaited: set[int] = attrs.field(factory=set)
    """Workers that must have answered before the clients go."""
    asked: int = 0
    wrong: list[str] = attrs.field(factory=list)
    lost: int = 0
    answered: int = 0
    pids: set[int] = attrs.field(factory=set)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def run(self) -> None:
        """One client."""
        while (words := self._next()) is not None:
            while (text := self._ask(words)) is None:
                with self._lock:
                    self.lost += 1
            self._judge(words, text)

    def _next(self) -> str | None:
        with self._lock:
            if self.answered >= self.calls and self.awaited <= self.pids:
                return None
            self.asked += 1
            return f"{'psa'[self.asked % 3]}{self.asked}"

    def _ask(self, words: str) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
                sock.sendall(words.encode())
                text = sock.makefile(encoding="utf-8").readline()
        except ConnectionError:
            return None
        return text.removesuffix("\n") if text.endswith("\n") else None

    def _judge(self, words: str, text: str) -> None:
        pid = text.partition(" ")[0].rpartition(".")[2]
        right = pid.isdecimal() and text == answers.answer(question(f"{words}.{pid}"))
        with self._lock:
            self.answered += 1
            if right:
                self.pids.add(int(pid))
            else:
                self.wrong.append(f"{words}: {text!r:.200}")


def in_parent(routers: Routers, stop: threading.Event) -> None:
    """The parent's own calls, over the pools that were warm before the fork."""
    for number in range(10**6):
        if stop.is_set():
            return
        _ask_both(routers, f"parent-own{number}")
        time.sleep(0.005)


def _ask_both(routers: Routers, words: str) -> None:
    ask(routers.plain, words)
    assert routers.answered(f"a-{words}").startswith(f"marker:a-{words} ")


def main(url: str, calls: int) -> None:
    """Serve `calls` questions; exit code 0 when all is as it must be."""
    routers = Routers.at(url)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    _ask_both(routers, "parent-warm")
    workers = [Worker(routers, listener) for _ in range(WORKERS)]
    load = Load(listener.getsockname()[1], calls)
    stop = threading.Event()
    own = threading.Thread(target=in_parent, args=(routers, stop))
    clients = [threading.Thread(target=load.run) for _ in range(CLIENTS)]
    load.awaited = {worker.pid for worker in workers}
    for thread in (own, *clients):
        thread.start()
    for share in (3, 2):  # at a third and at half of the answers
        while load.answered < calls // share or not load.awaited <= load.pids:
            time.sleep(0.002)
        workers[0].kill()
        workers = [*workers[1:], Worker(routers, listener)]
        load.awaited = {worker.pid for worker in workers}
    _end(clients)
    stop.set()
    _end([own])
    _ask_both(routers, "parent-after")
    for worker in workers:
        worker.kill()
    assert load.wrong == [], load.wrong[:5]
    assert load.lost <= 2 * (THREADS + CLIENTS), f"{load.lost} questions were lost with two workers"
    assert routers.idle_connections() == (1, 1), f"the parent has {routers.idle_connections()} idle connections"
    routers.plain.close()
    asyncio.run(routers.asynchronous.close())
    listener.close()


def _end(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
