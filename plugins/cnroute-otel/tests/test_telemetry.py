"""Spans and metrics as an in-memory exporter of the SDK receives them."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cnroute_otel import Telemetry, names
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import cnroute
from cnroute.testing import FakeTransport

PRICE = cnroute.Price("CNY", input="20", output="40", as_of="2026-01-01", source="a contract")
USAGE = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
GOOD = {
    "output": {"choices": [{"message": {"role": "assistant", "content": "secret answer"}, "finish_reason": "stop"}]},
    "usage": USAGE, "request_id": "r-1",
}
BROKEN = (500, {"code": "InternalError", "message": "sorry"})


def frame(text: str, finish: str = "null") -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return f"data:{json.dumps({'output': {'choices': [choice]}, 'usage': USAGE})}\n\n".encode()


STREAM = [frame("a"), frame("ab"), frame("ab", "stop")]


class Host:
    """A router with telemetry, and what the exporters have received."""

    def __init__(self, answers: Any, *, kind: Any = cnroute.Router, content: bool = False, **settings: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(self.provider, self.meters, content=content)
        host = cnroute.PluginHost(autoload=False)
        host.register(self.telemetry, "otel")
        self.host = host
        places = [
            cnroute.Deployment(name, "dashscope", "yi-large", api_key="sk-x-secret", price=PRICE, base_url="https://v.example:8443/api")
            for name in ("a", "b")
        ]
        self.router = kind(places, {"chat": ["a", "b"]}, plugins=host, transport=FakeTransport(answers), **settings)
        self.tracer = self.provider.get_tracer("test")

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def call_and_attempts(self) -> tuple[Any, list[Any]]:
        """The one call's span and its children, in the order of their start; nothing else was exported."""
        spans = sorted(self.spans(), key=lambda span: span.start_time)
        (call,) = [span for span in spans if span.kind is SpanKind.INTERNAL]
        attempts = [span for span in spans if span.kind is SpanKind.CLIENT]
        assert {span.parent.span_id for span in attempts} <= {call.context.span_id}
        assert not self.telemetry._running
        return call, attempts

    def points(self, metric: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        found = [each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics]
        return [point for each in found if each.name == metric for point in each.data.data_points]

    def close(self) -> None:
        self.provider.shutdown()
        self.meters.shutdown()


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Host] = []

    def one(*args: Any, **settings: Any) -> Host:
        made.append(Host(*args, **settings))
        return made[-1]

    yield one
    for host in made:
        assert host.host.observer_failures == {}
        host.close()


def test_a_good_call(make: Any) -> None:
    """One span for the call, a CLIENT child for its attempt, by the names of the conventions."""
    host = make([GOOD])
    with host.tracer.start_as_current_span("mine") as mine:
        host.router.chat("secret prompt", model="a", max_tokens=9, temperature=0.5)
    (call,) = [span for span in host.spans() if span.name == "chat a"]
    (attempt,) = [span for span in host.spans() if span.kind is SpanKind.CLIENT]
    assert attempt.parent.span_id == call.context.span_id
    assert call.parent.span_id == mine.get_span_context().span_id
    assert (call.name, call.status.status_code) == ("chat a", StatusCode.UNSET)
    assert call.attributes["cnroute.route"] == "a"
    assert call.attributes["cnroute.attempts"] == 1
    assert call.attributes["cnroute.cost.amount"] == pytest.approx(0.04)
    assert (attempt.name, attempt.kind) == ("chat yi-large", SpanKind.CLIENT)
    wanted = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "dashscope", "gen_ai.request.model": "yi-large",
        "gen_ai.request.max_tokens": 9, "gen_ai.request.temperature": 0.5, "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 500, "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "v.example", "server.port": 8443, "cnroute.deployment": "a", "cnroute.attempt": 1,
        "cnroute.cost.currency": "CNY", "http.response.status_code": 200,
    }
    assert {name: attempt.attributes.get(name) for name in wanted} == wanted
    assert "error.type" not in attempt.attributes
    assert "secret" not in repr([dict(span.attributes) for span in host.spans()])


def test_a_fallback(make: Any) -> None:
    """The failed attempt is an error with its kind; the next one says why it was made."""
    host = make({"a": [BROKEN], "b": [GOOD]})
    host.router.chat("x", model="chat")
    call, (first, second) = host.call_and_attempts()
    assert call.status.status_code is StatusCode.UNSET
    assert (first.attributes["error.type"], first.status.status_code) == ("server_error", StatusCode.ERROR)
    assert "cnroute.fallback.reason" not in first.attributes
    assert second.attributes["cnroute.fallback.reason"] == "server_error"
    assert second.attributes["cnroute.deployment"] == "b"


def test_a_call_that_fails(make: Any) -> None:
    """The call's span has the last kind; a deployment that was passed over is an event of it."""
    host = make([(429, {"code": "Throttling.RateQuota", "message": "slow down"})])
    for _ in range(2):
        with pytest.raises(cnroute.CallError):
            host.router.chat("x", model="chat", timeout=0.2)
        last = [span for span in host.spans() if span.kind is SpanKind.INTERNAL][-1]
        assert last.attributes["error.type"] == "rate_limit" or last.attributes["error.type"] == "no_candidate"
        assert last.status.status_code is StatusCode.ERROR
    assert {event.name for event in last.events} == {names.SKIPPED}
    assert last.events[0].attributes[names.REASON] == "cooling_down"


def test_metrics(make: Any) -> None:
    """Duration, tokens and time to the first chunk, with the boundaries of the conventions."""
    host = make({"a": [GOOD], "b": [BROKEN]})
    host.router.chat("x", model="a")
    with pytest.raises(cnroute.CallError):
        host.router.chat("x", model="b", timeout=0.5)
    (good,) = [point for point in host.points("gen_ai.client.operation.duration") if "error.type" not in point.attributes]
    assert good.attributes["gen_ai.provider.name"] == "dashscope"
    assert list(good.explicit_bounds) == names.SECONDS
    assert good.explicit_bounds[-1] == pytest.approx(81.92)
    tokens = {point.attributes["gen_ai.token.type"]: point for point in host.points("gen_ai.client.token.usage")}
    assert {name: point.sum for name, point in tokens.items()} == {"input": 1000, "output": 500}
    assert tokens["input"].explicit_bounds[-1] == 67108864
    assert host.points("gen_ai.client.operation.time_to_first_chunk") == []
    assert not any("secret" in str(point.attributes) for point in tokens.values())


def test_a_stream(make: Any) -> None:
    """Its spans end with it; the first chunk is timed."""
    host = make([STREAM])
    with host.router.stream("x", model="a") as stream:
        next(stream)
        assert host.spans() == []
        list(stream)
    _, (attempt,) = host.call_and_attempts()
    assert attempt.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert attempt.attributes["gen_ai.request.stream"] is True
    (point,) = host.points("gen_ai.client.operation.time_to_first_chunk")
    assert point.count == 1


@pytest.mark.parametrize("way", ["closed", "cancelled", "dropped", "router closed"])
def test_a_stream_that_is_left(make: Any, way: str) -> None:
    """However its consumer leaves, both spans end, as cancelled and not as errors."""
    host = make([STREAM])
    stream = host.router.stream("x", model="a")
    next(stream)
    {"closed": stream.close, "cancelled": stream.cancel, "router closed": host.router.close, "dropped": int}[way]()
    del stream
    gc.collect()
    call, (attempt,) = host.call_and_attempts()
    for span in (call, attempt):
        assert (span.attributes["error.type"], span.status.status_code) == ("cancelled", StatusCode.UNSET)


def test_a_stream_that_was_never_read_has_no_span(make: Any) -> None:
    """Nothing was begun."""
    host = make([STREAM])
    host.router.stream("x", model="a").close()
    gc.collect()
    assert host.spans() == []


def test_cancelled_before_it_began(make: Any) -> None:
    """The router tells of the end alone; the span is as long as the call was."""
    host = make([STREAM])
    stream = host.router.stream("x", model="a")
    stream.cancel()
    with pytest.raises(cnroute.CallCancelledError):
        next(stream)
    assert [span.attributes.get("error.type") for span in host.spans()] == ["cancelled"]
    assert not host.telemetry._running


@pytest.mark.parametrize(("allowed", "wanted"), [(False, True), (True, False), (True, True)])
def test_content_needs_two_to_agree(make: Any, allowed: bool, wanted: bool) -> None:
    """Messages stand on the call's span only under log_content=True and content=True."""
    host = make([GOOD], content=wanted, log_content=allowed)
    host.router.chat([{"role": "system", "content": "be secret"}, {"role": "user", "content": "secret prompt"}], model="a")
    call, (attempt,) = host.call_and_attempts()
    assert "secret" not in repr(dict(attempt.attributes))
    if not (allowed and wanted):
        assert "secret" not in repr(dict(call.attributes))
        return
    assert json.loads(call.attributes[names.INPUT_MESSAGES]) == [
        {"role": "user", "parts": [{"type": "text", "content": "secret prompt"}]}
    ]
    assert json.loads(call.attributes[names.SYSTEM]) == [{"type": "text", "content": "be secret"}]
    (answer,) = json.loads(call.attributes[names.OUTPUT_MESSAGES])
    assert (answer["parts"][0]["content"], answer["finish_reason"]) == ("secret answer", "stop")


def test_parents_under_64_threads(make: Any) -> None:
    """Every call is a child of its own thread's span, every attempt of its own call."""
    host = make({"a": [BROKEN], "b": [GOOD]}, breaker=None)

    def work(number: int) -> None:
        for turn in range(4):
            with host.tracer.start_as_current_span(f"{number}.{turn}"):
                marks = {"call_id": f"{number}.{turn}"}
                if turn % 2:
                    host.router.chat("x", model="chat", metadata=marks)
                else:
                    host.router.chat("x", model="b", metadata=marks)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _check_family(host, 64 * 4)
    assert sum(point.count for point in host.points("gen_ai.client.operation.duration")) == 64 * 6


def _check_family(host: Host, calls: int) -> None:
    spans = host.spans()
    by_id = {span.context.span_id: span for span in spans}
    internal = [span for span in spans if span.name.startswith("chat ") and span.kind is SpanKind.INTERNAL]
    assert len(internal) == calls
    for span in internal:
        assert by_id[span.parent.span_id].name == span.attributes["cnroute.call_id"]
    for span in spans:
        if span.kind is SpanKind.CLIENT:
            parent = by_id[span.parent.span_id]
            assert parent.kind is SpanKind.INTERNAL
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time
            assert span.context.trace_id == parent.context.trace_id


def test_parents_under_many_tasks(make: Any) -> None:
    """The same in asyncio, where the transport's work is done in other threads."""

    async def scene() -> Host:
        host: Host = make({"a": [BROKEN], "b": [GOOD, STREAM, STREAM]}, kind=cnroute.AsyncRouter, breaker=None)

        async def one(number: int) -> None:
            with host.tracer.start_as_current_span(str(number)):
                await asyncio.sleep(0)
                async with host.router.stream("x", model="b", metadata={"call_id": str(number)}) as stream:
                    async for _ in stream:
                        await asyncio.sleep(0)

        await host.router.chat("x", model="b", metadata={"call_id": "first"})
        host.exporter.clear()
        await asyncio.gather(*map(one, range(50)))
        await host.router.close()
        return host

    _check_family(asyncio.run(scene()), 50)


def test_a_plugin_that_breaks_before_anything_is_asked(make: Any) -> None:
    """Its attempt has a span all the same."""

    class Breaks:
        @cnroute.hookimpl(wrapper=True)
        def build_request(self) -> Any:
            yield
            raise RuntimeError("broken")

    host = make([GOOD])
    plugins = cnroute.PluginHost(autoload=False)
    plugins.register(host.telemetry, "otel")
    plugins.register(Breaks(), "breaks")
    place = cnroute.Deployment("a", "dashscope", "yi-large", api_key="sk-x-secret")
    with cnroute.Router([place], plugins=plugins, transport=FakeTransport([GOOD])) as router, pytest.raises(cnroute.CallError):
        router.chat("x", model="a")
    _, (attempt,) = host.call_and_attempts()
    assert attempt.attributes["error.type"] == "plugin_error"


def test_a_call_that_ends_while_another_is_being_told(make: Any) -> None:
    """A stream can be collected as garbage in the middle of a recording: it is told next, and nobody waits for ever."""
    host = make([STREAM])
    stream = host.router.stream("x", model="a")
    next(stream)
    left = [stream]
    del stream

    def collects() -> None:
        left.clear()
        gc.collect()

    host.telemetry._later(collects)
    _, (attempt,) = host.call_and_attempts()
    assert attempt.attributes["error.type"] == "cancelled"


def test_an_exporter_that_raises_breaks_no_call(make: Any) -> None:
    """The host's own mistakes stay its own."""

    class Broken(SimpleSpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("broken exporter")

    host = make([GOOD])
    host.provider.add_span_processor(Broken(host.exporter))
    assert host.router.chat("x", model="a").text
    assert host.host.observer_failures["otel"] > 0
    host.host.observer_failures.clear()
    assert not host.telemetry._running


def test_the_entry_point_is_loaded() -> None:
    """Installed, it uses the global providers, which do nothing until the host sets them."""
    host = cnroute.PluginHost(load=["otel"])
    assert host.problems == []
    (state,) = [each for each in host.plugins() if each.name == "otel"]
    assert (state.state, state.hooks) == ("loaded", ("observe",))
    place = cnroute.Deployment("a", "dashscope", "yi-large", api_key="sk-x-secret")
    with cnroute.Router([place], plugins=host, transport=FakeTransport([GOOD])) as router:
        assert router.chat("x", model="a").text
    assert host.observer_failures == {}
