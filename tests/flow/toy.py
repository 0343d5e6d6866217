"""A toy vendor whose answers say plainly what they are, and routers over it: no network, no waiting.

A plain answer is `{"text": ..., "finish": ..., "usage": [in, out]}` or `{"error": {"kind": ...}}`; a stream has
one such object in each `data:` line.
"""

from __future__ import annotations

import functools
import json
import random
from typing import Any

import cnroute
from cnroute import wire
from cnroute.testing import FakeClock, FakeTransport

BASE = "https://toy.example/v1"
KEY = "canary-7f3a-key-0001"


def failure_of(error: dict[str, Any]) -> cnroute.Failure:
    fields = {name: value for name, value in error.items() if name not in ("kind", "message")}
    return cnroute.Failure(error["kind"], error.get("message", "the vendor said so"), **fields)


class ToyProvider:
    """One vendor dialect as an object; `changed` replaces what its hooks do."""

    def __init__(self, name: str = "toy", models: tuple[cnroute.ModelInfo, ...] = (), **changed: Any) -> None:
        self.name = name
        self.models = models
        self.changed = changed

    @cnroute.hookimpl
    def describe_provider(self) -> cnroute.ProviderInfo:
        if "describe_provider" in self.changed:
            return self.changed["describe_provider"]()
        return cnroute.ProviderInfo(
            self.name, BASE, {"api_key": "TOY_KEY"}, {"region": "where"}, {"streaming", "tools"}, self.models
        )

    @cnroute.hookimpl
    def build_request(self, request: cnroute.ChatRequest, deployment: cnroute.Deployment, stream: bool) -> cnroute.HttpRequest:
        if "build_request" in self.changed:
            return self.changed["build_request"](request, deployment, stream)
        return toy_request(request, deployment, stream)

    @cnroute.hookimpl
    def map_error(self, response: cnroute.HttpResponse, deployment: cnroute.Deployment) -> cnroute.Failure | None:
        if "map_error" in self.changed:
            return self.changed["map_error"](response, deployment)
        try:
            value = wire.loads(response.body)
        except wire.JsonError:
            return None
        error = value.get("error") if isinstance(value, dict) else None
        return failure_of(error) if error else None

    @cnroute.hookimpl
    def parse_response(
        self, response: cnroute.HttpResponse, deployment: cnroute.Deployment
    ) -> cnroute.ChatCompletion | cnroute.Failure:
        if "parse_response" in self.changed:
            return self.changed["parse_response"](response, deployment)
        value = response.json()
        if not isinstance(value, dict) or "text" not in value:
            return cnroute.Failure("bad_response", "no answer in it")
        return cnroute.ChatCompletion(
            text=value["text"],
            finish_reason=value.get("finish", "stop"),
            usage=wire.usage_from(*value.get("usage", ())),
            id=value.get("id"),
            raw=value,
            sources=[cnroute.Source(text=text) for text in value.get("sources", ())]
            + [cnroute.Source("web_search", text=text) for text in value.get("pages", ())],
        )

    @cnroute.hookimpl
    def parse_stream_line(
        self, line: str, state: cnroute.StreamState, deployment: cnroute.Deployment
    ) -> tuple[cnroute.Delta | cnroute.Failure, ...]:
        if "parse_stream_line" in self.changed:
            return self.changed["parse_stream_line"](line, state, deployment)
        value = wire.sse_data(line, state.memory)
        if isinstance(value, cnroute.Failure):
            return (value,)
        if not isinstance(value, dict):
            return ()
        return tuple(events_of(value))


def events_of(value: dict[str, Any]) -> list[Any]:
    """The events of one frame, in the order of its keys."""
    makers = {
        "text": cnroute.TextDelta,
        "reasoning": cnroute.ReasoningDelta,
        "tool": lambda parts: cnroute.ToolCallDelta(*parts),
        "source": lambda text: cnroute.SourceFound(cnroute.Source(text=text)),
        "usage": lambda parts: cnroute.UsageUpdate(wire.usage_from(*parts)),
        "finish": cnroute.Finish,
        "error": failure_of,
        "role": lambda role: cnroute.StepDelta(role=role),
    }
    return [makers[key](part) for key, part in value.items()]


def toy_request(request: cnroute.ChatRequest, deployment: cnroute.Deployment, stream: bool) -> cnroute.HttpRequest:
    names = ("temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format", "web_search")
    body: dict[str, Any] = {"model": deployment.model, "stream": stream, "texts": [each.text for each in request.messages]}
    body.update({name: getattr(request, name) for name in names if getattr(request, name) is not None})
    return cnroute.HttpRequest.post_json(
        f"{deployment.base_url}/chat", wire.merged(body, request.extra), bearer=deployment.api_key
    )


def deployment(name: str, model: str = "toy-1", provider: str = "toy", **fields: Any) -> cnroute.Deployment:
    return cnroute.Deployment(name, provider, model, **{"api_key": KEY, **fields})


def host(*plugins: Any) -> cnroute.PluginHost:
    """A host with the toy vendor and `plugins`, and nothing that happens to be installed."""
    made = cnroute.PluginHost(autoload=False)
    for plugin in plugins or (ToyProvider(),):
        made.register(plugin)
    assert not made.problems, made.problems
    return made


@functools.cache
def usual_host() -> cnroute.PluginHost:
    """The host of all routers that say nothing of plugins: to fill one costs more than most of their tests."""
    return host()


class Toy:
    """A router over the toy vendor with a fake transport and a fake clock. `names` are its deployments, in order."""

    def __init__(self, answers: Any = (), names: str = "a b", routes: Any = None, **keywords: Any) -> None:
        self.clock = keywords.pop("clock", None) or FakeClock()
        self.transport = keywords.pop("transport", None) or FakeTransport(answers, advance=keywords.pop("advance", None))
        plugins = keywords.pop("plugins", None) or usual_host()
        deployments = keywords.pop("deployments", None) or [deployment(name) for name in names.split()]
        self.random = keywords.pop("random", None) or random.Random(1)
        targets = [each.name for each in deployments]
        self.router = cnroute.Router(
            deployments,
            routes if routes is not None else {"chat": targets},
            transport=self.transport,
            plugins=plugins,
            clock=self.clock,
            random=self.random,
            **keywords,
        )

    @property
    def asked(self) -> list[str]:
        """The deployments in the order in which they were asked."""
        return [sent.deployment or "" for sent in self.transport.requests]

    def chat(self, messages: Any = "你好", model: str = "chat", **arguments: Any) -> cnroute.ChatCompletion:
        return self.router.chat(messages, model=model, **arguments)

    def stream(self, messages: Any = "你好", model: str = "chat", **arguments: Any) -> cnroute.ChatStream:
        return self.router.stream(messages, model=model, **arguments)


def answer(text: str = "好", **fields: Any) -> dict[str, Any]:
    return {"text": text, "finish": "stop", "usage": [3, 2], **fields}


def error(kind: str, **fields: Any) -> tuple[int, Any]:
    """An error inside an HTTP 200."""
    return 200, {"error": {"kind": kind, **fields}}


def frames(*values: Any) -> bytes:
    """A stream of these frames; text is taken as a raw line."""
    lines = [value if isinstance(value, str) else "data: " + json.dumps(value, ensure_ascii=False) for value in values]
    return "".join(f"{line}\n\n" for line in lines).encode()


def good_stream(text: str = "好") -> list[bytes]:
    return [frames({"text": text}, {"finish": "stop", "usage": [3, 2]})]


def raised(action: Any, kind: type[BaseException] = cnroute.CallError) -> Any:
    """The exception of `kind` that `action` raises."""
    try:
        action()
    except kind as caught:
        return caught
    raise AssertionError(f"{kind.__name__} was not raised")
