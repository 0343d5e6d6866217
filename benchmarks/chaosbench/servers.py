"""A real Redis (or Valkey) of one's own: on a free port of loopback, with nothing on disk, stopped by its process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import Self

NAMES = ("redis-server", "valkey-server")
PATIENCE = 10.0


def found() -> str | None:
    """The server's program, if this machine has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class RedisServer:
    """A context manager; `stop` and `start` again keep the port and lose the data, as a crash does."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start it, and wait until it answers."""
        program = found()
        if program is None:
            raise RuntimeError(f"none of {', '.join(NAMES)} is on PATH")
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while self.ask("PING") != b"+PONG\r\n":
            if time.monotonic() > until or self._process.poll() is not None:
                self.stop()
                raise RuntimeError(f"{program} does not answer on port {self.port}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Kill it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def ask(self, command: str) -> bytes:
        """The first bytes of its answer to a line; nothing when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.sendall(f"{command}\r\n".encode())
                return sock.recv(65536)
        except OSError:
            return b""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
