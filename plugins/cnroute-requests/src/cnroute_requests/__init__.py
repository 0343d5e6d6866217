"""A transport for cnroute over `requests`, for programs whose tests mock requests (with `responses`, for example).

It calls `HTTPAdapter.send` itself: there is no Session, so no cookies, no netrc, no redirects and nothing of the
environment.

    router = cnroute.Router(deployments, transport="requests")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cnroute
from cnroute_requests.transport import VERSION, RequestsTransport

__all__ = ["RequestsTransport", "create_transport"]
__version__ = VERSION


@cnroute.hookimpl
def create_transport(name: str, settings: Mapping[str, Any]) -> RequestsTransport | None:
    """The transport `requests`; settings are the arguments of `RequestsTransport`."""
    return RequestsTransport(**settings) if name == "requests" else None
