"""Failures by HTTP status alone, for every provider whose own `map_error` saw none.

This module is a plugin: proxies, load balancers and gateways answer for every vendor in the same way.
"""

from __future__ import annotations

import html
import re
from http import HTTPStatus

from cnroute.deployments import Deployment
from cnroute.failures import Failure
from cnroute.hookspecs import hookimpl
from cnroute.http import HttpResponse, charset_of
from cnroute.wire import by_status, header_request_id, header_retry_after, masked

# How much of a body is looked at, and how much of it is shown.
_LOOKED_AT = 8192
_SHOWN = 300

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_TAGS = re.compile(r"<[^<>]*>")


@hookimpl(trylast=True)
def map_error(response: HttpResponse, deployment: Deployment) -> Failure | None:
    """A failure for every status but 2xx, with the beginning of the body as text."""
    kind = by_status(response.status)
    if kind is None:
        return None
    shown = _beginning(response, deployment)
    answered = f"HTTP {response.status}{_phrase(response.status)}"
    return Failure(
        kind, f"{answered}: {shown}" if shown else answered, http_status=response.status,
        request_id=header_request_id(response.headers), retry_after=header_retry_after(response.headers),
    )  # fmt: skip


def _phrase(status: int) -> str:
    return f" ({_PHRASES[status]})" if status in _PHRASES else ""


def _beginning(response: HttpResponse, deployment: Deployment) -> str:
    """The first words of the body, without tags, line ends and the deployment's key."""
    text = response.body[:_LOOKED_AT].decode(charset_of(response.headers), "replace")
    words = " ".join(html.unescape(_TAGS.sub(" ", text)).split())
    return masked(words, deployment)[:_SHOWN]
