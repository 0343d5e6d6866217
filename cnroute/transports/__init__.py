"""What performs an `HttpRequest`. Providers, routing and the flow never look inside.

A transport raises `cnroute.error_for(Failure(...))` for what goes wrong on the wire: kinds `dns_error` to `redirect`,
`cancelled`, `local_overload`. It never retries and never follows a redirect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cnroute.deployments import Deployment
    from cnroute.http import HttpRequest, HttpResponse
    from cnroute.routing.deadline import Deadline


class ByteStream(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; case does not matter."""

    def read(self) -> bytes:
        """The next bytes of the decoded body, b"" at its end; bytes that have arrived are never held back."""

    def close(self) -> None:
        """Give the connection back or close it; from any thread, any number of times."""


class Transport(Protocol):
    """Sends requests. One with `is_async = True` has the same methods as coroutines, for `AsyncRouter` only;
    its streams have `read` and `close` as coroutines, and a stream is freed too when its deadline is cancelled, since a
    stream that is collected cannot be awaited any more.

    `bind(deployment)`, where it exists, is called once per deployment and returns the transport to use for it. A
    transport sets `deadline.begun` to False at its first step, to True before it writes a request, and
    `deadline.written` when it has; it asks
    `deadline.remaining()` before each wait.
    """

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """The whole answer."""

    def open(self, request: HttpRequest, deadline: Deadline) -> ByteStream:
        """The answer as a stream, once its head has arrived."""

    def close(self) -> None:
        """Close every connection."""


class BindingTransport(Transport, Protocol):
    """A transport that wants to know each deployment: TLS, proxy, limits, pool."""

    def bind(self, deployment: Deployment) -> Transport:
        """The transport for one deployment."""
