"""The plugin contract: every hook, what it is given, what it must return.

A provider is a plugin (a module, or an object with identity equality) registered under its provider's name in
the entry-point group `cnroute`. It implements `describe_provider`, `build_request` and `parse_response`, and
`parse_stream_line` if it streams; `map_error` and `count_tokens` are optional. Any plugin may implement the
other hooks, and may wrap every hook of every provider with `@hookimpl(wrapper=True)`.

Rules for hooks
- A hook takes any subset of the arguments of its spec, by their names, without defaults.
- Hooks are pure and fast: no I/O, no sleep, no environment, no state of their own. Account, model and price
  come as `deployment`; the memory of a stream is `state.memory`.
- A hook that raises, or returns another type than its spec says, fails its attempt as `plugin_error`, and the
  next deployment is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from cnroute.events import StreamState as StreamState

if TYPE_CHECKING:
    from cnroute.chat import ChatCompletion, ChatRequest
    from cnroute.deployments import Deployment, ProviderInfo
    from cnroute.events import Delta
    from cnroute.failures import Failure
    from cnroute.http import HttpRequest, HttpResponse
    from cnroute.money import Price
    from cnroute.notices import Notice

PROJECT = "cnroute"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def describe_provider() -> ProviderInfo:  # type: ignore[empty-body]
    """Say what this provider is: name, API root, environment names, options, capabilities, models."""


@hookspec(firstresult=True)
def build_request(request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:  # type: ignore[empty-body]
    """Make the HTTP request, the same bytes for the same arguments.

    Every parameter of `request` that is not None is sent, mapped, or refused with
    `UnsupportedRequestError(parameter, reason)`; nothing is dropped silently. A value moved to the nearest legal
    one is named in `HttpRequest.adjusted`. `request.extra` is merged into the body; model, stream and messages are
    not its to set. The URL stays on the origin of `deployment.base_url`; the key goes
    into a header only.
    """


@hookspec(firstresult=True)
def map_error(response: HttpResponse, deployment: Deployment) -> Failure | None:
    """Find the failure in a complete answer of any status, HTTP 200 included; None means "no failure seen".

    For an answer that is none of the vendor's own errors return None: failures by status are found by the
    default of this hook.
    """


@hookspec(firstresult=True)
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:  # type: ignore[empty-body]
    """Read a complete answer that `map_error` accepted. A body that is no answer is a `bad_response` Failure."""


@hookspec(firstresult=True)
def parse_stream_line(  # type: ignore[empty-body]
    line: str, state: StreamState, deployment: Deployment
) -> tuple[Delta | Failure, ...]:
    """Read one decoded line of a stream, without its terminator; `()` means "nothing in it".

    After the body an unterminated last line and then one empty line are handed over, always. An error inside
    the stream is a `Failure` in the tuple. `Finish` is returned once, when the vendor sent its end mark, and
    never invented: the flow alone decides what a stream without one means.
    """


@hookspec(firstresult=True)
def count_tokens(request: ChatRequest, deployment: Deployment) -> int | None:
    """Count the input tokens better than the built-in estimate, or None to decline."""


@hookspec(firstresult=True)
def create_transport(name: str, settings: Mapping[str, Any]) -> Any:
    """Make the transport called `name`, or None to decline. The first answer wins."""


@hookspec(firstresult=True)
def create_policy(name: str, settings: Mapping[str, Any]) -> Any:
    """Make the policy called `name`, or None to decline. The first answer wins.

    A policy has `order(options, context)` which returns the options in the order of trying.
    """


@hookspec
def load_prices() -> Iterable[tuple[str, str, Price]]:  # type: ignore[empty-body]
    """Return prices as (provider, model, Price); all plugins' answers are collected."""


@hookspec
def observe(notice: Notice) -> None:
    """Look at an event of a call. Whatever happens here, the call goes on."""
