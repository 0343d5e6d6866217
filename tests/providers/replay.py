"""Plays a vendor's bytes to a provider's hooks the way the flow does, without the flow."""

from __future__ import annotations

from typing import Any

from cnroute.chat import ChatCompletion, ChatRequest
from cnroute.codec import loads
from cnroute.deployments import Deployment
from cnroute.failures import Failure
from cnroute.flow.lines import LineSplitter
from cnroute.hookspecs import StreamState
from cnroute.http import HttpResponse


def plain(provider: Any, response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure | None:
    """What `map_error` and `parse_response` make of a complete answer."""
    return provider.map_error(response, deployment) or provider.parse_response(response, deployment)


def stream(
    provider: Any, chunks: list[bytes], request: ChatRequest, deployment: Deployment
) -> tuple[list[Any], StreamState]:
    """All events of a stream that arrives in `chunks`, and the state at its end."""
    state = StreamState(request, loads(provider.build_request(request, deployment, True).body))
    splitter, lines = LineSplitter(2**20), []
    for chunk in chunks:
        lines += splitter.feed(chunk)
    last = splitter.flush()
    lines += [last] if last is not None else []
    events = [event for line in [*lines, ""] for event in provider.parse_stream_line(line, state, deployment)]
    return events, state
