"""What counts as an answer, for transports of every library: its status, and the body behind its framing.

Rules of this file
- Nothing here knows a socket; pieces of a body come in as the library gives them, without their framing.
- A body is unpacked at most PIECE bytes at a time and counted, so that a bomb stays flat (U21, U23).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from cnroute.failures import FailureKind
from cnroute.transports.bodies import decoder_of
from cnroute.transports.steps import WireError

K = FailureKind

KEPT_OF_AN_ERROR = 65536
"""So many bytes of a refusal's body are kept: more explains nothing more."""

# Statuses that promise no body, or none that means anything here (U8, U24).
_NO_ANSWER = frozenset((204, 205, 304))


def check_status(status: int, headers: Mapping[str, str]) -> None:
    """Raise WireError for a status that is no answer, and for a redirect. `headers` know names in lower case."""
    if status < 200 or status > 599 or status in _NO_ANSWER:
        raise WireError(K.PROTOCOL_ERROR, f"status {status} is no answer", status)
    if 300 <= status < 400:
        raise WireError(K.REDIRECT, f"status {status} {_target_of(headers)}", status)


def _target_of(headers: Mapping[str, str]) -> str:
    """Scheme and host of a redirect, never its path or query (U2)."""
    try:
        parts = urlsplit(headers.get("location", ""))
        host = parts.hostname
    except ValueError:
        host = None
    return f"to {parts.scheme or 'the same scheme'}://{host}" if host else "without another host"


class Content:
    """A body: unpacked as its head says, and counted against `limit`, in bytes.

    `headers` know names in lower case. Raises WireError of kind `decode_error` for an encoding that nobody asked for.
    """

    __slots__ = ("_decoder", "_limit", "_size")

    def __init__(self, headers: Mapping[str, str], limit: int) -> None:
        self._decoder = decoder_of(headers)
        self._limit = limit
        self._size = 0

    @property
    def waiting(self) -> bool:
        """Whether `take()` has more to give before anything else is received."""
        return self._decoder is not None and self._decoder.waiting

    def take(self, data: bytes = b"") -> bytes:
        """What `data`, and what was kept, unpack to: the next piece of it, possibly nothing yet.

        Raises WireError of kind `decode_error`, or `response_too_large` once the limit is passed.
        """
        out = data if self._decoder is None else self._decoder.decode(data)
        self._size += len(out)
        if self._size > self._limit:
            raise WireError(K.RESPONSE_TOO_LARGE, f"the answer is longer than {self._limit} bytes")
        return out

    def end(self) -> None:
        """The body is over; raises WireError of kind `decode_error` if its packed data is not."""
        if self._decoder is not None:
            self._decoder.end()
