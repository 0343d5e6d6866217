"""What an exception of httpx means.

Rules of this file
- What the standard library has raised at the bottom decides, in the step that the exchange was in; then what h11 says of
  the bytes; then httpx's own types, by name, since httpx and httpx2 have the same ones.
- Texts of httpx and h11 are never shown: they hold header values and bytes of the answer.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from cnroute import FailureKind as K
from cnroute.transports.parts import CONNECT, DNS, TLS, WRITE, Exchange, WireError

_KINDS = {
    "PoolTimeout": K.LOCAL_OVERLOAD,
    "ConnectTimeout": K.CONNECT_TIMEOUT,
    "WriteTimeout": K.WRITE_TIMEOUT,
    "ReadTimeout": K.FIRST_BYTE_TIMEOUT,
    "TimeoutException": K.FIRST_BYTE_TIMEOUT,
    "ProxyError": K.CONNECT_ERROR,
    "ConnectError": K.CONNECT_ERROR,
    "ReadError": K.CONNECTION_LOST,
    "WriteError": K.CONNECTION_LOST,
    "CloseError": K.CONNECTION_LOST,
    "NetworkError": K.CONNECTION_LOST,
    "DecodingError": K.DECODE_ERROR,
    "LocalProtocolError": K.BAD_REQUEST,
    "UnsupportedProtocol": K.BAD_REQUEST,
    "InvalidURL": K.BAD_REQUEST,
    "RemoteProtocolError": K.PROTOCOL_ERROR,
}
_CUT = "peer closed connection"


def meaning(error: Exception, exchange: Exchange) -> Exception:
    """The exception that says most about `error`: one that `Exchange.failure` understands."""
    found = list(_chain(error))
    bottom = next((each for each in reversed(found) if isinstance(each, WireError | OSError)), None)
    if bottom is not None:
        return _settled(bottom, exchange)
    names = [kind.__name__ for kind in type(error).__mro__]
    if "RemoteProtocolError" in names and _is_cut(found):
        return WireError(K.CONNECTION_LOST, "the connection was closed before the end of the answer")
    means = next((_KINDS[name] for name in names if name in _KINDS), None)
    if isinstance(error, ValueError) and means is None and exchange.step is WRITE:
        means = K.BAD_REQUEST
    return error if means is None else WireError(means, f"httpx raised {type(error).__name__} in {exchange.step.name}")


def _settled(bottom: Exception, exchange: Exchange) -> Exception:
    """Connecting is one step to us and three to the table: what has broken says which of them it was."""
    if exchange.step is DNS:
        if isinstance(bottom, ssl.SSLError):
            exchange.step = TLS
        elif not isinstance(bottom, socket.gaierror):
            exchange.step = CONNECT
    return bottom


def _is_cut(found: list[Exception]) -> bool:
    """Whether the peer has ended in the middle; without anything of h11 below, it has never begun to answer."""
    below = [each for each in found if type(each).__module__.startswith("h11")]
    return not below or any(str(each).startswith(_CUT) for each in below)


def _chain(error: BaseException) -> Iterator[Exception]:
    """`error` and everything below it, the deepest last."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, Exception) and id(each) not in seen:
            seen.add(id(each))
            yield each
            inner = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
            waiting += [*inner, each.__cause__, each.__context__]
