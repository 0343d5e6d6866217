"""A transport that answers from memory.

An answer is
- an `HttpResponse`, or a `(status, body)` pair;
- a mapping or list: that value as JSON with status 200;
- text or bytes: that body with status 200; a list of `bytes`: a stream in exactly these pieces;
- an exception: it is raised instead of an answer; inside a list of pieces it is raised between them;
- a function of the `SentRequest` that returns one of these.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from cnroute.http import Headers, HttpRequest, HttpResponse
from cnroute.routing.deadline import Deadline


@attrs.frozen
class SentRequest:
    """A request that arrived at the fake transport."""

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    stream: bool = False
    deployment: str | None = None
    deadline: Deadline | None = attrs.field(default=None, repr=False)

    def json(self) -> Any:
        """The body decoded from JSON."""
        return json.loads(self.body)


class FakeTransport:
    """Give it to a router as `transport=`. What was sent is in `requests`.

    `answers` are used up one by one, the last is used for ever; a mapping of deployment name to answers serves
    each deployment its own. `chunk` cuts every stream into pieces of so many bytes. `advance` is called with
    `("send" | "open" | "read", SentRequest)` before each step: a place to move a fake clock.
    """

    def __init__(self, answers: Any = (), *, chunk: int | None = None, advance: Callable[[str, SentRequest], None] | None = None):
        by_name = answers if isinstance(answers, Mapping) and _by_deployment(answers) else {None: answers}
        self._answers: dict[str | None, deque[Any]] = {name: deque(_listed(value)) for name, value in by_name.items()}
        self._chunk = chunk
        self._advance = advance
        self._lock = threading.Lock()
        self.requests: list[SentRequest] = []
        self.open_streams = 0
        self.closed = False

    def bind(self, deployment: Any) -> _Bound:
        """This transport for one deployment."""
        return _Bound(self, deployment.name)

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """The whole next answer."""
        return _Bound(self, None).send(request, deadline)

    def open(self, request: HttpRequest, deadline: Deadline) -> FakeStream:
        """The next answer as a stream."""
        return _Bound(self, None).open(request, deadline)

    def close(self) -> None:
        """Note that the router closed its transport."""
        self.closed = True

    def answer(self, sent: SentRequest) -> Any:
        """The next answer for `sent`, noted in `requests`."""
        with self._lock:
            self.requests.append(sent)
            queue = self._answers.get(sent.deployment) or self._answers.get(None)
            if not queue:
                raise AssertionError(f"FakeTransport has no answer for {sent.deployment or sent.url}")
            answer = queue[0] if len(queue) == 1 else queue.popleft()
        return answer(sent) if callable(answer) and not isinstance(answer, BaseException) else answer

    def step(self, name: str, sent: SentRequest) -> None:
        """Tell `advance` of a step."""
        if self._advance is not None:
            self._advance(name, sent)

    def pieces(self, body: bytes) -> list[bytes]:
        """A body as its pieces."""
        size = self._chunk or max(1, len(body))
        return [body[start:start + size] for start in range(0, len(body), size)]


class _Bound:
    """A fake transport seen from one deployment."""

    def __init__(self, transport: FakeTransport, deployment: str | None) -> None:
        self._transport = transport
        self._deployment = deployment

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """The whole answer."""
        _, answer = self._next("send", request, deadline, stream=False)
        assert not isinstance(answer, list), "a stream was scripted for a plain call"
        status, headers, body = _parts(answer)
        return HttpResponse(status, headers, body)

    def open(self, request: HttpRequest, deadline: Deadline) -> FakeStream:
        """The answer as a stream."""
        sent, answer = self._next("open", request, deadline, stream=True)
        if isinstance(answer, list):
            return FakeStream(self._transport, sent, 200, Headers({"content-type": "text/event-stream"}), answer)
        status, headers, body = _parts(answer)
        return FakeStream(self._transport, sent, status, headers, list(self._transport.pieces(body)))

    def _next(self, step: str, request: HttpRequest, deadline: Deadline, stream: bool) -> tuple[SentRequest, Any]:
        body: Any = request.body
        whole = body if isinstance(body, bytes) else b"".join(body.chunks())  # an upload comes in pieces
        sent = SentRequest(request.method, request.url, request.headers, whole, stream, self._deployment, deadline)
        self._transport.step(step, sent)
        deadline.written = deadline.now()
        answer = self._transport.answer(sent)
        if isinstance(answer, BaseException):
            raise answer
        return sent, answer


class FakeStream:
    """A stream from memory; `read` gives one piece at a time."""

    def __init__(self, transport: FakeTransport, sent: SentRequest, status: int, headers: Headers, pieces: list[Any]) -> None:
        self._transport = transport
        self._sent = sent
        self.status = status
        self.headers = headers
        self._pieces = deque(pieces)
        self._closed = False
        transport.open_streams += 1

    def read(self) -> bytes:
        """The next piece, b"" at the end."""
        self._transport.step("read", self._sent)
        piece = self._pieces.popleft() if self._pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece.encode() if isinstance(piece, str) else piece

    def close(self) -> None:
        """Close the stream; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._transport.open_streams -= 1


def _listed(answers: Any) -> Iterable[Any]:
    return answers if isinstance(answers, list | tuple | deque) and not _is_pair(answers) else [answers]


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], int) and not isinstance(value[0], bool)


def _by_deployment(answers: Mapping[Any, Any]) -> bool:
    """A mapping whose values are answers or lists of answers, by deployment; JSON answers are put in a list."""
    return all(isinstance(value, _ANSWERS) or callable(value) for value in answers.values())


_ANSWERS = (list, tuple, HttpResponse, BaseException, str, bytes)


def _parts(answer: Any) -> tuple[int, Headers, bytes]:
    if isinstance(answer, HttpResponse):
        return answer.status, Headers(answer.headers), answer.body
    if _is_pair(answer):
        return answer[0], Headers({"content-type": "application/json"}), _parts(answer[1])[2]
    if isinstance(answer, bytes | str):
        return 200, Headers({"content-type": "text/plain"}), answer.encode() if isinstance(answer, str) else answer
    return 200, Headers({"content-type": "application/json"}), json.dumps(answer, ensure_ascii=False).encode()
