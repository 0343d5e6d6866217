"""What an exception of requests means.

Rules of this file
- What the standard library has raised at the bottom decides, in the step that the exchange was in. requests' own types
  decide only where there is nothing below them: when a test has raised them.
- The order of the table matters: `ConnectTimeout` is a `ConnectionError` and a `Timeout`, `SSLError` and `ProxyError` are
  `ConnectionError`s.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

from cnroute import FailureKind as K
from cnroute.transports.parts import CONNECT, DNS, TLS, Exchange, WireError

# What a call of requests, or reading its answer, may raise. RequestException is an OSError; ValueError: a header or URL
# that cannot be written.
ERRORS = (WireError, OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError)

_BOTTOM = (WireError, OSError, http.client.HTTPException)
_ALONE: tuple[tuple[type[Exception], K], ...] = (
    (requests.exceptions.ConnectTimeout, K.CONNECT_TIMEOUT),
    (requests.exceptions.ReadTimeout, K.FIRST_BYTE_TIMEOUT),
    (requests.exceptions.Timeout, K.FIRST_BYTE_TIMEOUT),
    (requests.exceptions.SSLError, K.TLS_ERROR),
    (requests.exceptions.ProxyError, K.CONNECT_ERROR),
    (requests.exceptions.ChunkedEncodingError, K.CONNECTION_LOST),
    (requests.exceptions.ContentDecodingError, K.DECODE_ERROR),
    (requests.exceptions.InvalidHeader, K.BAD_REQUEST),
    (requests.exceptions.InvalidURL, K.BAD_REQUEST),
    (urllib3.exceptions.LocationValueError, K.BAD_REQUEST),
    (urllib3.exceptions.NameResolutionError, K.DNS_ERROR),
    (urllib3.exceptions.NewConnectionError, K.CONNECT_ERROR),
    (urllib3.exceptions.ConnectTimeoutError, K.CONNECT_TIMEOUT),
    (urllib3.exceptions.ReadTimeoutError, K.IDLE_TIMEOUT),
)
_CUT = (urllib3.exceptions.IncompleteRead, http.client.IncompleteRead)


def meaning(error: Exception, exchange: Exchange) -> Exception:
    """The exception that says most about `error`: one that `Exchange.failure` understands."""
    found = list(_chain(error))
    if any(isinstance(each, _CUT) for each in found):
        return WireError(K.CONNECTION_LOST, "the connection was closed before the end of the body")
    bottom = next((each for each in reversed(found) if _is_bottom(each)), None)
    if bottom is not None:
        _settle(bottom, exchange)
        return bottom
    for kind, means in _ALONE:
        if isinstance(error, kind):
            return WireError(means, f"requests raised {type(error).__name__}")
    if isinstance(error, requests.exceptions.ConnectionError):
        return OSError(type(error).__name__)
    return error


def _is_bottom(error: BaseException) -> bool:
    return isinstance(error, _BOTTOM) and not isinstance(error, requests.RequestException)


def _settle(bottom: BaseException, exchange: Exchange) -> None:
    """Connecting is one step to us and three to the table: what has broken says which of them it was."""
    if exchange.step is not DNS:
        return
    if isinstance(bottom, ssl.SSLError):
        exchange.step = TLS
    elif not isinstance(bottom, socket.gaierror):
        exchange.step = CONNECT


def _chain(error: BaseException) -> Iterator[Exception]:
    """`error` and everything below it, the deepest last."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, Exception) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
