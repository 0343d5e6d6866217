"""U: the call and the stream that a careful engineer writes by hand with urllib3 and the standard library's JSON.

Rules of this file
- `urllib3.PoolManager.request`, `json.dumps`, `json.loads`, retries off: what the documentation of urllib3 shows first.
- It checks what has to be checked: the status, the vendor's error inside of a 200, the finish reason of a stream.
- Streams follow the rules of server-sent events that vendors make use of: any split of the bytes, CRLF, comments,
  one optional blank, data joined over several lines, a last line without its newline.
- urllib3 and the standard library only: the peers' environments import it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import urllib3

from harness import samples


class Refused(Exception):
    """The vendor did not answer."""


class Urllib3:
    """A pool and the two functions around it."""

    def __init__(self, maxsize: int = 1) -> None:
        self._pool = urllib3.PoolManager(maxsize=maxsize)

    def call(self, url: str, dialect: str, characters: int = samples.CHARACTERS) -> str:
        """The text of a plain answer."""
        body = json.dumps(samples.request(dialect, characters=characters)).encode()
        return self.post(url, dialect, body)

    def post(self, url: str, dialect: str, body: bytes) -> str:
        """The same with a body that is ready."""
        response = self._pool.request("POST", url, body=body, headers=samples.request_headers(dialect), retries=False)
        answer = json.loads(response.data)
        if response.status != 200:
            raise Refused(answer)
        return str(_choice(dialect, answer)["message"]["content"])

    def stream(self, url: str, dialect: str) -> Iterator[str]:
        """The pieces of text of a streamed answer."""
        body = json.dumps(samples.request(dialect, stream=True)).encode()
        headers = samples.request_headers(dialect, stream=True)
        response = self._pool.request("POST", url, body=body, headers=headers, retries=False, preload_content=False)
        if response.status != 200:
            raise Refused(json.loads(response.data))
        try:
            yield from READERS[dialect](response.stream(65536))
        finally:
            response.release_conn()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _choice(dialect: str, answer: Any) -> Any:
    """The first choice of a good answer."""
    if dialect == samples.DASHSCOPE:
        if answer.get("code"):
            raise Refused(answer)
        return answer["output"]["choices"][0]
    if (answer.get("base_resp") or {}).get("status_code"):
        raise Refused(answer)
    return answer["choices"][0]


def events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event."""
    tail = b""
    data: list[bytes] = []
    for piece in pieces:
        *lines, tail = (tail + piece).split(b"\n")
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                if data:
                    yield b"\n".join(data)
                    data = []
            elif line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
    if tail.startswith(b"data:"):
        data.append(tail[5:].strip())
    if data:
        yield b"\n".join(data)


def _minimax(pieces: Iterable[bytes]) -> Iterator[str]:
    finish = None
    for data in events(pieces):
        if data == b"[DONE]":
            continue
        frame = json.loads(data)
        if (frame.get("base_resp") or {}).get("status_code"):
            raise Refused(frame)
        for choice in frame["choices"]:
            finish = choice.get("finish_reason") or finish
            content = (choice.get("delta") or {}).get("content")
            if content:
                yield content
    if finish is None:
        raise Refused("the stream has no end")


def _dashscope(pieces: Iterable[bytes]) -> Iterator[str]:
    finish = "null"
    for data in events(pieces):
        frame = json.loads(data)
        if frame.get("code"):
            raise Refused(frame)
        for choice in frame["output"]["choices"]:
            finish = choice.get("finish_reason") or finish
            content = choice["message"].get("content")
            if content:
                yield content
    if finish == "null":
        raise Refused("the stream has no end")


READERS: dict[str, Callable[[Iterable[bytes]], Iterator[str]]] = {
    samples.DASHSCOPE: _dashscope, samples.MINIMAX: _minimax, samples.OPENAI: _minimax,
}  # fmt: skip
