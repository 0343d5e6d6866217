"""A stream that breaks by itself while another thread cancels it: one outcome, and no delta between the two."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.http import Headers

KEY = "k" * 20
ROUNDS = 400


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


BROKEN = b"data: [1]\n\n"
# Where the break comes: with the content, in a read of its own, or from the wire (None).
WAYS: tuple[tuple[bytes | None, ...], ...] = (
    (event("m"), event("ar"), None), (event("m") + event("ar"), None), (event("m"), event("ar") + BROKEN),
    (event("m") + event("ar") + BROKEN,),
)  # fmt: skip


class Breaking:
    """A stream of these pieces."""

    status = 200
    headers = Headers({"Content-Type": "text/event-stream"})

    def __init__(self, pieces: tuple[bytes | None, ...]) -> None:
        self._pieces = iter(pieces)

    def read(self) -> bytes:
        piece = next(self._pieces, b"")
        if piece is None:
            raise error_for(cnroute.Failure(cnroute.FailureKind.CONNECTION_LOST, "cut"))
        return piece

    def close(self) -> None:
        """Nothing is held."""


class Transport:
    """Opens the streams one after the other."""

    def __init__(self) -> None:
        self._number = 0

    def open(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> Breaking:
        self._number += 1
        return Breaking(WAYS[self._number % len(WAYS)])

    def send(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> cnroute.HttpResponse:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def router() -> Iterator[cnroute.Router]:
    deployment = cnroute.Deployment(name="d", provider="minimax-v2", model="MiniMax-Text-01", api_key=KEY)
    with cnroute.Router([deployment], transport=Transport(), breaker=None, plugins=[]) as made:
        yield made


@pytest.mark.usefixtures("eager_threads")
def test_a_cancel_as_the_stream_breaks(router: cnroute.Router) -> None:
    """Whichever comes first wins; where the stream's own error does, its partial text is exactly what was handed out."""
    outcomes = set()
    for number in range(ROUNDS):
        stream, texts = router.stream("x", model="d"), []
        canceller = threading.Thread(target=lambda: (_spin(number % 20), stream.cancel()))  # noqa: B023 (joined below)
        canceller.start()
        with pytest.raises(cnroute.CallError) as caught:
            for delta in stream:
                texts.append(delta.text)
        canceller.join()
        outcomes.add(type(caught.value))
        if isinstance(caught.value, cnroute.StreamInterruptedError):
            assert (caught.value.partial_text, [delta.text for delta in caught.value.deltas]) == ("".join(texts), texts)
    assert outcomes <= {cnroute.CallCancelledError, cnroute.StreamInterruptedError}


def _spin(twentieth: int) -> None:
    until = time.perf_counter() + twentieth * 2e-5
    while time.perf_counter() < until:
        pass


def _one(stream: cnroute.ChatStream) -> list[str]:
    return [next(stream).text]


def _many(stream: cnroute.ChatStream) -> Iterator[str]:
    return (delta.text for delta in stream)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("ask", [_one, _many])
def test_two_threads_take_turns_or_are_told(router: cnroute.Router, ask: Callable[[cnroute.ChatStream], Iterable[str]]) -> None:
    """Deltas that have arrived are handed out once, whoever asks; nobody sees another exception than the promised ones."""
    for _ in range(ROUNDS // 4):
        stream, texts, odd = router.stream("x", model="d"), list[str](), list[BaseException]()

        def consume(stream: cnroute.ChatStream = stream, texts: list[str] = texts, odd: list[BaseException] = odd) -> None:
            while True:
                try:
                    texts.extend(ask(stream))
                except RuntimeError:
                    continue
                except cnroute.StreamInterruptedError:
                    return
                except BaseException as error:  # noqa: BLE001 (looked at below)
                    odd.append(error)
                    return

        threads = [threading.Thread(target=consume) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (sorted(texts), odd) == (["ar", "m"], [])
