"""The values that pass between sockets, dialects and faults.

Nothing here opens a socket, looks at a clock or draws a random number: a dialect is a pure reading of one request,
and everything it gives can be predicted from the request and the seed (and from the library, where a request is about
files and knowledge bases).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cnroute.emulator.answers import Answer, Turn, compose

if TYPE_CHECKING:
    from cnroute.emulator.knowledge.library import Library

JSON = dict[str, Any]
Headers = list[tuple[str, str]]


class Refusal(Exception):
    """What a vendor says instead of an answer: its own code and message, and the HTTP status it comes with."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(code, message, status)
        self.code = code
        self.message = message
        self.status = status


@dataclass(slots=True, frozen=True)
class Ask:
    """One request as it arrived, decoded, without its key. ``created`` is the wall clock in whole seconds.

    ``library`` holds the files and knowledge bases of the emulator.
    """

    model: str
    body: JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    number: int = 1
    created: int = 1722829751
    library: Library | None = None


class Download(NamedTuple):
    """An answer that is bytes and no JSON; they are read as they are sent."""

    kind: str
    size: int
    pieces: Iterator[bytes]


@dataclass(slots=True)
class Frame:
    """One event of a stream. ``text`` is what it adds to the answer, ``ends`` says that it carries a finish reason.

    ``raw`` is sent in place of a document (``[DONE]`` is the only one the vendors have).
    """

    document: JSON
    text: str = ""
    usage: JSON | None = None
    ends: bool = False
    content: bool = False
    event: str = "result"
    status: int = 200
    raw: str = ""


def encode(document: object) -> bytes:
    """JSON as the vendors write it: compact, characters as they are."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def identifier(*parts: object) -> str:
    """A stable id of 32 hexadecimal digits."""
    return hashlib.md5("\x1f".join(map(str, parts)).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


class Dialect:
    """One request in one vendor's dialect: what the vendor would refuse, answer, stream."""

    provider: ClassVar[str] = ""
    unknown_path: ClassVar[tuple[str, bytes]] = ("text/plain", b"404 page not found")
    script: ClassVar[str] = ""  # what its faults are scripted under; empty: the model of the request
    receives_form: ClassVar[bool] = False  # its body is a multipart form with a file
    refused: bool = False  # the library has refused what was asked
    loading: float | None = None  # how many seconds the base that it changes stays loading; None: as the emulator says

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.request_id = identifier(self.provider, ask.seed, ask.number)
        self._answers: dict[int, Answer] = {}

    # -- what differs from vendor to vendor

    @property
    def stream(self) -> bool:
        """Whether the request asks for a stream."""
        return self.ask.body.get("stream") is True

    def check_key(self, key: str, expected: str | None, group: str | None = None) -> None:
        """Raise the vendor's own refusal of a missing or wrong key (and group); ``None`` expects no certain one."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise the vendor's own refusal of the first thing in the body that its page forbids."""
        raise NotImplementedError

    def turn(self) -> Turn:
        """What the model has to answer."""
        raise NotImplementedError

    def document(self, *, finished: bool = True) -> JSON:
        """The whole answer; without its finish reason if ``finished`` is false."""
        raise NotImplementedError

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """The answer as events; ``ending`` chooses among the ways MiniMax v2 ends a stream (a to e)."""
        raise NotImplementedError

    def opening(self) -> Frame:
        """An event with a role and nothing else."""
        raise NotImplementedError

    def null_document(self) -> JSON:
        """A complete envelope that reports success and holds no answer."""
        raise NotImplementedError

    def refusal(self, name: str, message: str = "") -> Refusal:
        """The vendor's refusal for one of our readable names or one of the vendor's own codes."""
        raise NotImplementedError

    def refusal_of_status(self, status: int) -> Refusal:
        """What the vendor (or the gateway in front of it) writes into a body with this HTTP status."""
        raise NotImplementedError

    def error_document(self, refusal: Refusal, *, full: bool = False) -> JSON:
        """The body of a refusal; ``full`` wraps it into the complete envelope of an answer."""
        raise NotImplementedError

    def status_document(self, refusal: Refusal) -> JSON:
        """The body of a refusal that comes with a real HTTP error status."""
        return self.error_document(refusal)

    def error_frame(self, refusal: Refusal) -> Frame:
        """The refusal as an event of a stream."""
        raise NotImplementedError

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        """One event with its framing; ``number`` counts from 1."""
        raise NotImplementedError

    # -- what does not

    def answer(self, choice: int = 0) -> Answer:
        """The answer of this request; further choices are answers of the following seeds."""
        if choice not in self._answers:
            self._answers[choice] = compose(self.turn(), seed=self.ask.seed + choice)
        return self._answers[choice]

    def download(self) -> Download | None:
        """The answer where it is a file; ``None``: it is the document."""
        return None

    def headers(self, content_type: str) -> Headers:
        """The response headers that the vendor always sends."""
        return [("Content-Type", content_type)]

    json_type: ClassVar[str] = "application/json"
    stream_type: ClassVar[str] = "text/event-stream"


def require(condition: object, refusal: Refusal) -> None:
    """Raise the refusal unless the condition holds."""
    if not condition:
        raise refusal


def is_number(value: object) -> bool:
    """A JSON number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """A positive JSON integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(slots=True, frozen=True)
class Range:
    """An interval with its vendor's notation, such as ``(0, 1]``."""

    low: float
    high: float
    low_in: bool = False
    high_in: bool = True

    def __contains__(self, value: object) -> bool:
        if not is_number(value):
            return False
        number: float = value  # type: ignore[assignment]
        above = number >= self.low if self.low_in else number > self.low
        below = number <= self.high if self.high_in else number < self.high
        return above and below

    def __str__(self) -> str:
        return f"{'[' if self.low_in else '('}{self.low:g}, {self.high:g}{']' if self.high_in else ')'}"


def text_of(content: object) -> str:
    """The text of a message content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
