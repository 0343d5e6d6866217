"""How an answer reaches the client: as steps that a fault yields and the server performs.

A step is data (bytes to write, a pause, an end), so a fault is a plain generator that needs no socket to be read or
tested. One ``Send`` is one write: head and body go together, which spares the 40 ms of a delayed acknowledgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from math import inf
from typing import NamedTuple

from cnroute.emulator.exchange import JSON, Dialect, Download, Frame, Headers, encode


class Send(NamedTuple):
    """Bytes to write at once, and what of the answer they carry (for the log)."""

    data: bytes
    text: str = ""
    usage: JSON | None = None
    status: int | None = None


class Pause(NamedTuple):
    """Silence; it ends early when the client goes away or the emulator closes."""

    seconds: float = inf


class End(NamedTuple):
    """The end of the connection: FIN, or RST if ``reset``. ``done`` says that the answer was complete before it."""

    reset: bool = False
    done: bool = False


class Take(NamedTuple):
    """Read so many bytes of the request's body and drop them; less if the client sends less."""

    size: int


Step = Send | Pause | End | Take
Steps = Iterator[Step]


@dataclass(slots=True)
class Scene:
    """One request at the moment of its answer. ``served`` counts the answers that this connection gave before."""

    dialect: Dialect
    stream: bool = False
    keep_alive: bool = True
    served: int = 0
    pace: float = 0.0
    key: str = ""
    target: str = "/"
    parameter: str = ""

    def number(self, default: float) -> float:
        """The parameter as a number."""
        return float(self.parameter) if self.parameter else default

    @property
    def count(self) -> int:
        """The parameter as a number of content events: 2 unless told."""
        return int(self.number(2))


def head(status: int, headers: Headers, *, reason: str | None = None, version: str = "1.1") -> bytes:
    """A status line and headers as bytes; header values may hold any latin-1 character."""
    known = reason if reason is not None else _reason(status)
    lines = [f"HTTP/{version} {status} {known}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
CHUNKED = ("Transfer-Encoding", "chunked")


def connection(scene: Scene) -> Headers:
    """The Connection header, where there is something to say."""
    return [] if scene.keep_alive else [("Connection", "close")]


def sized(scene: Scene, body: bytes, kind: str, *, status: int = 200, extra: Headers | None = None) -> bytes:
    """A complete response framed by its length."""
    headers = [*scene.dialect.headers(kind), *(extra or []), ("Content-Length", str(len(body))), *connection(scene)]
    return head(status, headers) + body


def json_reply(scene: Scene, document: object, *, status: int = 200, extra: Headers | None = None) -> Send:
    """A complete JSON response that carries no answer."""
    return Send(sized(scene, encode(document), scene.dialect.json_type, status=status, extra=extra), status=status)


def stream_head(scene: Scene, *framing: tuple[str, str]) -> bytes:
    """The head of an event stream; chunked unless another framing is given."""
    headers = [*scene.dialect.headers(scene.dialect.stream_type), ("Cache-Control", "no-cache")]
    return head(200, [*headers, *(framing or (CHUNKED,)), *connection(scene)])


def events(scene: Scene, frames: Iterable[Frame], first: int = 1) -> list[bytes]:
    """The frames as the dialect writes them, numbered from ``first``."""
    return [scene.dialect.frame_bytes(frame, number) for number, frame in zip(count(first), frames)]  # noqa: B905


def text_of(frames: Iterable[Frame]) -> str:
    """The text that the frames add to the answer."""
    return "".join(frame.text for frame in frames)


def usage_of(frames: Iterable[Frame]) -> JSON | None:
    """The last usage among the frames."""
    return next((frame.usage for frame in reversed(list(frames)) if frame.usage), None)


def flow(scene: Scene, frames: list[Frame], start: bytes, tail: bytes = b"") -> Steps:
    """The frames as chunks behind ``start``: in one write, or at the emulator's pace."""
    parts = [chunk(event) for event in events(scene, frames)]
    if not scene.pace or len(parts) < 2:
        yield Send(start + b"".join(parts) + tail, text_of(frames), usage_of(frames), 200)
        return
    for number, (part, frame) in enumerate(zip(parts, frames, strict=True)):
        if number:
            yield Pause(scene.pace)
        lead, rest = (b"" if number else start), (tail if number == len(parts) - 1 else b"")
        yield Send(lead + part + rest, frame.text, frame.usage, 200)


def good(scene: Scene) -> Steps:
    """The answer as it should be."""
    download = scene.dialect.download()
    if download:
        yield from good_download(scene, download)
    elif scene.stream:
        yield from good_stream(scene)
    else:
        yield good_document(scene)


def good_download(scene: Scene, download: Download) -> Steps:
    """The bytes of a file, one write for each piece."""
    headers = [*scene.dialect.headers(download.kind), ("Content-Length", str(download.size)), *connection(scene)]
    yield Send(head(200, headers), status=200)
    for piece in download.pieces:
        yield Send(piece)


def good_stream(scene: Scene, ending: str = "") -> Steps:
    """The whole stream; one HTTP chunk for each event."""
    yield from flow(scene, scene.dialect.frames(ending=ending), stream_head(scene), LAST_CHUNK)


def good_document(scene: Scene) -> Send:
    """The whole plain answer in one write."""
    document = scene.dialect.document()
    data = sized(scene, encode(document), scene.dialect.json_type)
    return Send(data, scene.dialect.answer().text, document.get("usage"), 200)


class Payload(NamedTuple):
    """The good answer as one body, for faults of framing and encoding."""

    kind: str
    body: bytes
    text: str
    usage: JSON | None


def payload(scene: Scene) -> Payload:
    """JSON for a plain request, the joined events for a stream."""
    dialect = scene.dialect
    download = dialect.download()
    if download:
        return Payload(download.kind, b"".join(download.pieces), "", None)
    if not scene.stream:
        document = dialect.document()
        return Payload(dialect.json_type, encode(document), dialect.answer().text, document.get("usage"))
    frames = dialect.frames()
    return Payload(dialect.stream_type, b"".join(events(scene, frames)), text_of(frames), usage_of(frames))


def framed(scene: Scene, body: bytes, *headers: tuple[str, str], kind: str = "", status: int = 200) -> bytes:
    """A response with exactly the given framing headers in front of exactly the given body bytes."""
    kind = kind or payload(scene).kind
    return head(status, [*scene.dialect.headers(kind), *headers, *connection(scene)]) + body
