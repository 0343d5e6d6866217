"""A small raw client for the emulator's own tests: it shows bytes and ends as they are, and reads answers leniently.

It is a third reading of the wire, on purpose simple: it looks for text where each dialect keeps it and joins it.
"""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

PROVIDERS = ("dashscope", "minimax-v2", "minimax-pro", "minimax-legacy")
PATHS = {
    "dashscope": "/services/aigc/text-generation/generation",
    "minimax-v2": "/text/chatcompletion_v2",
    "minimax-pro": "/text/chatcompletion_pro?GroupId=17",
    "minimax-legacy": "/text/chatcompletion?GroupId=17",
}
MODELS = {
    "dashscope": "qwen-plus",
    "minimax-v2": "abab6.5s-chat",
    "minimax-pro": "abab6.5s-chat",
    "minimax-legacy": "abab5.5-chat",
}
QUESTION = "杭州有哪些好去处 marker:q1"


def body_for(provider: str, text: str = QUESTION, *, model: str = "", stream: bool = False, **extra: Any) -> dict[str, Any]:
    """A correct request body; ``extra`` goes to the top, or into ``parameters`` for DashScope."""
    model = model or MODELS[provider]
    if provider == "dashscope":
        return {"model": model, "input": {"messages": [{"role": "user", "content": text}]}, "parameters": extra}
    if provider == "minimax-v2":
        return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **extra}
    said = {"model": model, "messages": [{"sender_type": "USER", "sender_name": "小明", "text": text}], "stream": stream}
    if provider == "minimax-pro":
        bot = {"bot_setting": [{"bot_name": "MM", "content": "一个助理"}]}
        return {**said, **bot, "reply_constraints": {"sender_type": "BOT", "sender_name": "MM"}, **extra}
    return {**said, "prompt": "你是专家", "role_meta": {"user_name": "我", "bot_name": "专家"}, **extra}


@dataclass
class Outcome:
    """All bytes of one answer and how the connection stood at the end: fin, rst, open (silent), flood (no end in sight)."""

    data: bytes
    end: str
    seconds: float

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int | None:
        words = self.data[:12].split(b" ")
        return int(words[1]) if self.data.startswith(b"HTTP/1.") and words[1].isdigit() else None

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def raw_body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        """Chunks joined and unpacked, whatever there is of them."""
        body = unchunk(self.raw_body)[0] if self.headers.get("transfer-encoding") == "chunked" else self.raw_body
        if self.headers.get("content-encoding") in ("gzip", "deflate"):
            return zlib.decompressobj(47).decompress(body)
        return body

    @property
    def complete(self) -> bool:
        """Whether the framing says that the body is whole."""
        if self.headers.get("transfer-encoding") == "chunked":
            return unchunk(self.raw_body)[1]
        length = self.headers.get("content-length", "0" if self.status in (101, 204, 304) else "")
        return len(self.raw_body) >= int(length) if length.isdigit() else self.end == "fin"

    @property
    def is_whole(self) -> bool:
        """Whether the answer is there and was not framed by the end of the connection."""
        framed = {"transfer-encoding", "content-length"} & set(self.headers) or self.status in (101, 204, 304)
        return b"\r\n\r\n" in self.data and bool(framed) and self.complete

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def unchunk(data: bytes) -> tuple[bytes, bool]:
    """The bytes inside of the chunks, and whether the last chunk was there."""
    joined = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        size = line.partition(b";")[0]
        if not found or not set(size) <= set(b"0123456789abcdef") or not size:
            return joined, False
        if not int(size, 16):
            return joined, data.endswith(b"\r\n")
        joined, data = joined + data[: int(size, 16)], data[int(size, 16) + 2 :]


def request_bytes(provider: str, base: str, document: Any, *, key: str = "k", stream: bool = False) -> bytes:
    """A whole HTTP request; DashScope streams are asked for by header."""
    body = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
    lines = [f"POST {base}{PATHS[provider]} HTTP/1.1", "Host: emulator", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["X-DashScope-SSE: enable"] if stream and provider == "dashscope" else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def read(sock: socket.socket, *, quiet: float = 0.4, total: float = 1.0, most: int = 600_000, after: float = 0.004) -> Outcome:
    """Read until the end, ``quiet`` seconds of silence (``after`` a complete body), ``total`` seconds or ``most`` bytes."""
    begun = time.monotonic()
    seen = Outcome(b"", "flood", 0.0)
    sock.settimeout(quiet)
    try:
        while time.monotonic() - begun < total and len(seen.data) < most:
            part = sock.recv(65536)
            if not part:
                seen.end = "fin"
                break
            seen.data += part
            if len(part) > 10 and len(seen.data) < 300_000 and seen.is_whole:
                sock.settimeout(after)
    except TimeoutError:
        seen.end = "open"
    except ConnectionResetError:
        seen.end = "rst"
    seen.seconds = time.monotonic() - begun
    return seen


def exchange(emulator: Any, provider: str, document: Any, *, key: str = "k", stream: bool = False, **limits: Any) -> Outcome:
    """One request on a fresh connection."""
    base = emulator.base_url(provider).removeprefix(emulator.url)
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        sock.sendall(request_bytes(provider, base, document, key=key, stream=stream))
        return read(sock, **limits)


def ask(emulator: Any, provider: str, text: str = QUESTION, *, model: str = "", fault: str = "", stream: bool = False,
        quiet: float = 0.4, total: float = 1.0, most: int = 600_000, after: float = 0.004, **extra: Any) -> Outcome:  # fmt: skip
    """A correct request, with a fault by suffix."""
    name = (model or MODELS[provider]) + (f"!{fault}" if fault else "")
    document = body_for(provider, text, model=name, stream=stream, **extra)
    return exchange(emulator, provider, document, stream=stream, quiet=quiet, total=total, most=most, after=after)


MODES = [(provider, stream) for provider in PROVIDERS for stream in (False, True)]


def ask_all(
    emulator: Any, fault: str = "", modes: Sequence[tuple[str, bool]] = MODES, **limits: Any
) -> list[tuple[str, bool, Outcome]]:
    """The same fault in all dialects, plain and streamed, at the same time."""
    with ThreadPoolExecutor(len(modes)) as pool:
        outcomes = pool.map(lambda mode: ask(emulator, mode[0], fault=fault, stream=mode[1], **limits), modes)
        return [(provider, stream, outcome) for (provider, stream), outcome in zip(modes, outcomes, strict=True)]


STREAMS = [(provider, True) for provider in PROVIDERS]


def events(body: bytes) -> list[Any]:
    """The JSON documents of the data lines; lines that do not parse are left out."""
    found = []
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if line.removeprefix(b"\xef\xbb\xbf").startswith(b"data:"):
            try:
                found.append(json.loads(line.partition(b":")[2].strip()))
            except ValueError:
                continue
    return [event for event in found if isinstance(event, dict)]


def text_in(document: Any) -> str:
    """The text of one plain document."""
    output = document.get("output") or document
    if output.get("text") is not None or output.get("reply"):
        return str(output.get("text") or output.get("reply"))
    choice = output["choices"][0]
    return str(choice["message"]["content"])


def deltas(documents: list[Any], *, cumulative: bool) -> list[str]:
    """What each event adds to the text."""
    added, so_far = [], ""
    for document in documents:
        piece = _piece(document)
        if cumulative and piece:
            piece, so_far = piece[len(so_far) :], piece
        if piece:
            added.append(piece)
    return added


def _piece(document: Any) -> str:
    output = document.get("output") or document
    if "text" in output and "choices" not in output:
        return output["text"] or ""
    for choice in output.get("choices") or []:
        if "delta" in choice:
            delta = choice["delta"]
            return (
                delta
                if isinstance(delta, str)
                else (delta or {}).get("content", "")
                if (delta or {}).get("role") != "tool"
                else ""
            )
        if "messages" in choice:
            return "" if document.get("reply") else choice["messages"][0]["text"]
        if document.get("object") != "chat.completion" and "message" in choice:
            return choice["message"]["content"]
    return ""


def stream_text(provider: str, body: bytes, *, incremental: bool = False) -> str:
    """The joined text of a stream."""
    return "".join(deltas(events(body), cumulative=provider == "dashscope" and not incremental))


def reasons(documents: list[Any]) -> list[str]:
    """All finish reasons, in order; the string null is none."""
    found = []
    for document in documents:
        output = document.get("output") or document
        for one in [output, *(output.get("choices") or [])]:
            if isinstance(one, dict) and one.get("finish_reason") not in (None, "null"):
                found.append(one["finish_reason"])
    return found
