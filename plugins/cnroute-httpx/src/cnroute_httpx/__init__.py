"""A native asynchronous transport for cnroute over httpx2, or httpx: no thread waits for any call.

    router = cnroute.AsyncRouter(deployments, transport="httpx")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cnroute
from cnroute_httpx.transport import VERSION, HttpxTransport

__all__ = ["HttpxTransport", "create_transport"]
__version__ = VERSION


@cnroute.hookimpl
def create_transport(name: str, settings: Mapping[str, Any]) -> HttpxTransport | None:
    """The transport `httpx`; settings are the arguments of `HttpxTransport`."""
    return HttpxTransport(**settings) if name == "httpx" else None
