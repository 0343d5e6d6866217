"""The steps of one exchange, and which failure each of them means.

Rules of this file
- A step knows its own kinds: one for "took too long", one for "broke". Nothing else decides by step.
- Texts name what happened, never a URL, a header or a byte of the vendor's answer (reliability 3.1, row 24).
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import attrs
import urllib3.exceptions
from urllib3.util.ssl_match_hostname import CertificateError

from cnroute.failures import Failure, FailureKind

K = FailureKind


@attrs.frozen(eq=False)
class Step:
    """One step: its name, the kinds of its two failures, and whether request bytes may have left before it ended."""

    name: str
    late: FailureKind
    broken: FailureKind
    sent: bool = False


POOL = Step("waiting for a free connection", K.LOCAL_OVERLOAD, K.LOCAL_OVERLOAD)
DNS = Step("the name look-up", K.CONNECT_TIMEOUT, K.DNS_ERROR)
CONNECT = Step("connecting", K.CONNECT_TIMEOUT, K.CONNECT_ERROR)
TLS = Step("the TLS handshake", K.TLS_TIMEOUT, K.TLS_ERROR)
WRITE = Step("sending the request", K.WRITE_TIMEOUT, K.CONNECTION_LOST, sent=True)
HEAD = Step("waiting for the answer", K.FIRST_BYTE_TIMEOUT, K.CONNECTION_LOST, sent=True)
BODY = Step("reading the answer", K.IDLE_TIMEOUT, K.CONNECTION_LOST, sent=True)
REST = Step("reading the rest of the answer", K.IDLE_TIMEOUT, K.CONNECTION_LOST, sent=True)


class WireError(Exception):
    """A failure that this package itself has found; it never leaves the package."""

    def __init__(self, kind: FailureKind, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status


# What the standard library and urllib3 raise for trouble on the wire. ValueError: a header or URL that cannot be
# written (U26), and numbers in an answer's head that are none.
ERRORS = (WireError, OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError)

# A peer that has closed a kept connection shows itself as one of these (U14).
STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def failure_of(error: Exception, step: Step) -> Failure:
    """The failure that `error`, raised in `step`, means. Its text holds nothing that was sent or received."""
    kind, message = _kind_and_message(error, step)
    failure = Failure(kind, message, http_status=getattr(error, "status", None))
    if not step.sent:
        failure.billing = "none"
    return failure


def _kind_and_message(error: Exception, step: Step) -> tuple[FailureKind, str]:
    # The order matters: RemoteDisconnected is also a BadStatusLine, SSLError also an OSError, and an OSError
    # with ETIMEDOUT (the kernel gave the peer up) is also a TimeoutError.
    if isinstance(error, WireError):
        return error.kind, error.message
    if isinstance(error, ssl.SSLCertVerificationError | CertificateError):
        return K.TLS_VERIFY, f"the certificate was refused: {getattr(error, 'verify_message', '') or 'wrong host name'}"
    if isinstance(error, ssl.SSLError) and step is TLS:
        return K.TLS_ERROR, f"the TLS handshake failed: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT:
        return step.late, f"{step.name} took longer than allowed"
    if isinstance(error, OSError):
        return _broken_kind(error, step), _broken_message(error, step)
    if isinstance(error, ValueError) and step is WRITE:
        return K.BAD_REQUEST, "the URL or a header holds characters that HTTP does not allow"
    return K.PROTOCOL_ERROR, f"the answer is not HTTP as it should be ({type(error).__name__})"


def _broken_kind(error: OSError, step: Step) -> FailureKind:
    # A proxy that refuses the tunnel is known by nothing but http.client's text.
    return K.CONNECT_ERROR if step is TLS and str(error).startswith("Tunnel connection failed") else step.broken


def _broken_message(error: OSError, step: Step) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, ssl.SSLError):
        return f"{step.name} broke: {error.reason or type(error).__name__}"
    if isinstance(error, socket.gaierror) or error.errno is not None:
        return f"{step.name} broke: {error.strerror or type(error).__name__}"
    return f"{step.name} broke: {type(error).__name__}"
