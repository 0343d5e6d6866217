"""A stranger's provider and observer, checked by `mypy --strict` against the published types; it is never run."""

from __future__ import annotations

from collections.abc import Generator

import cnroute
from cnroute import wire


class Acme:
    @cnroute.hookimpl
    def describe_provider(self) -> cnroute.ProviderInfo:
        return cnroute.ProviderInfo("acme", "https://api.acme.example/v1", {"api_key": "ACME_API_KEY"})

    @cnroute.hookimpl
    def build_request(self, request: cnroute.ChatRequest, deployment: cnroute.Deployment, stream: bool) -> cnroute.HttpRequest:
        if request.tools:
            raise cnroute.UnsupportedRequestError("tools", "none here")
        body = {"model": deployment.model, "stream": stream, "text": request.messages[-1].text}
        return cnroute.HttpRequest.post_json(f"{deployment.base_url}/chat", body, bearer=deployment.api_key)

    @cnroute.hookimpl
    def map_error(self, response: cnroute.HttpResponse) -> cnroute.Failure | None:
        if response.status == 418:
            return cnroute.Failure(cnroute.FailureKind.OVERLOADED, "a teapot", vendor_code="418")
        return None

    @cnroute.hookimpl
    def parse_response(self, response: cnroute.HttpResponse) -> cnroute.ChatCompletion:
        data = response.json()
        return cnroute.ChatCompletion(data["text"], finish_reason="stop", usage=wire.usage_from(1, 2), raw=data)

    @cnroute.hookimpl
    def parse_stream_line(self, line: str, state: cnroute.StreamState) -> tuple[cnroute.Delta | cnroute.Failure, ...]:
        return (cnroute.TextDelta(line),) if line else ()


class Watcher:
    @cnroute.hookimpl
    def observe(self, notice: object) -> None:
        if isinstance(notice, cnroute.CallFinished):
            print(notice.call_id, notice.outcome, notice.seconds)

    @cnroute.hookimpl(wrapper=True)
    def build_request(self) -> Generator[None, cnroute.HttpRequest, cnroute.HttpRequest]:
        return (yield)


host = cnroute.PluginHost(autoload=False)
host.register(Acme())
host.register(Watcher(), name="watcher")
