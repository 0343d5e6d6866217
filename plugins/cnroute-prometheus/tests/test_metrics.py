"""Calls through a router whose vendors answer from memory, and what a scrape of the text format then says."""

from __future__ import annotations

import gc
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cnroute_prometheus import Metrics
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

import cnroute
from cnroute.testing import FakeTransport

PRICE = cnroute.Price("CNY", input="20", output="40", as_of="2026-01-01", source="a contract")
USAGE = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
GOOD = {"output": {"choices": [{"message": {"role": "assistant", "content": "好"}, "finish_reason": "stop"}]}, "usage": USAGE}
BROKEN = (500, {"code": "InternalError", "message": "sorry"})
THROTTLED = (429, {"code": "Throttling.RateQuota", "message": "slow down"})
WHERE = {"deployment": "b", "provider": "dashscope", "model": "yi-large"}


def frame(text: str, finish: str = "null") -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"input_tokens": 3, "output_tokens": 2}
    return f"data:{json.dumps({'output': {'choices': [choice]}, 'usage': usage})}\n\n".encode()


class Host:
    """A router with metrics, and a scrape of them over HTTP."""

    def __init__(self, answers: Any, **settings: Any) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, **settings)
        self.server, self.thread = start_http_server(0, addr="127.0.0.1", registry=self.registry)
        host = cnroute.PluginHost(autoload=False)
        host.register(self.metrics, "prometheus")
        places = [cnroute.Deployment(name, "dashscope", "yi-large", api_key="sk-x", price=PRICE) for name in ("a", "b")]
        self.router = cnroute.Router(places, {"chat": ["a", "b"]}, plugins=host, transport=FakeTransport(answers))

    def scrape(self) -> dict[str, list[tuple[Mapping[str, str], float]]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def value(self, name: str, **labels: str) -> float | None:
        """The value of a series that is there, None of one that is not."""
        values = [value for found, value in self.scrape().get(name, []) if found == labels]
        assert len(values) < 2
        return values[0] if values else None

    def close(self) -> None:
        self.router.close()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Host] = []

    def one(answers: Any, **settings: Any) -> Host:
        made.append(Host(answers, **settings))
        return made[-1]

    yield one
    for host in made:
        host.close()


def test_a_good_call(make: Any) -> None:
    """Calls, attempts, duration, tokens and cost; nothing failed and nothing runs any more."""
    host = make([GOOD])
    host.router.chat("你好", model="b")
    assert host.value("cnroute_calls_total", route="b", outcome="ok") == 1
    assert host.value("cnroute_call_duration_seconds_count", route="b") == 1
    assert host.value("cnroute_calls_in_flight", route="b") == 0
    assert host.value("cnroute_attempts_total", route="b", **WHERE, outcome="ok") == 1
    assert host.value("cnroute_attempt_duration_seconds_count", **WHERE) == 1
    assert host.value("cnroute_tokens_total", **WHERE, type="input") == 1000
    assert host.value("cnroute_tokens_total", **WHERE, type="output") == 500
    assert host.value("cnroute_tokens_total", **WHERE, type="cached") is None
    assert host.value("cnroute_cost_low_total", **WHERE, currency="CNY") == pytest.approx(0.04)
    assert host.value("cnroute_cost_high_total", **WHERE, currency="CNY") == pytest.approx(0.04)
    assert "cnroute_failures_total" not in host.scrape()
    assert "cnroute_time_to_first_token_seconds_count" not in host.scrape()


def test_a_fallback(make: Any) -> None:
    """The failed attempt is counted by its kind, and that another deployment took over; what it may have cost is possible."""
    host = make({"a": [BROKEN], "b": [GOOD]})
    host.router.chat("你好", model="chat")
    first = {**WHERE, "deployment": "a"}
    assert host.value("cnroute_calls_total", route="chat", outcome="ok") == 1
    assert host.value("cnroute_failures_total", route="chat", **first, kind="server_error") == 1
    assert host.value("cnroute_fallbacks_total", route="chat", **first, kind="server_error") == 1
    assert host.value("cnroute_cost_low_total", **first, currency="CNY") == 0
    assert host.value("cnroute_cost_high_total", **first, currency="CNY") > 0


def test_a_call_that_fails(make: Any) -> None:
    """The outcome is the kind of the last failure; a deployment that is cooling down then is skipped."""
    host = make([THROTTLED])
    for _ in range(2):
        with pytest.raises(cnroute.CallError):
            host.router.chat("你好", model="chat", timeout=0.2)
    assert host.value("cnroute_calls_total", route="chat", outcome="rate_limit") == 1
    skipped = {"route": "chat", "deployment": "a", "provider": "dashscope", "reason": "cooling_down"}
    assert host.value("cnroute_skipped_total", **skipped) == 1
    assert host.value("cnroute_calls_in_flight", route="chat") == 0


def test_a_stream(make: Any) -> None:
    """While it is read it is in flight; its first content is timed."""
    host = make([[frame("a"), frame("ab"), frame("ab", "stop")]])
    with host.router.stream("你好", model="b") as stream:
        next(stream)
        assert host.value("cnroute_calls_in_flight", route="b") == 1
        list(stream)
    assert host.value("cnroute_calls_in_flight", route="b") == 0
    assert host.value("cnroute_time_to_first_token_seconds_count", **WHERE) == 1


@pytest.mark.parametrize("way", ["closed", "cancelled", "dropped", "never read"])
def test_a_stream_that_is_left(make: Any, way: str) -> None:
    """However its consumer leaves, it is not in flight any more."""
    host = make([[frame("a"), frame("ab"), frame("ab", "stop")]])
    stream = host.router.stream("你好", model="b")
    if way != "never read":
        next(stream)
    if way == "closed":
        stream.close()
    elif way == "cancelled":
        stream.cancel()
    del stream
    gc.collect()
    assert host.value("cnroute_calls_in_flight", route="b") in ((None,) if way == "never read" else (0,))


def test_many_threads_at_once(make: Any) -> None:
    """Nothing is lost and nothing is counted twice."""
    host = make([GOOD])

    def work() -> None:
        for _ in range(20):
            host.router.chat("你好", model="b")

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.value("cnroute_calls_total", route="b", outcome="ok") == 320
    assert host.value("cnroute_calls_in_flight", route="b") == 0
    assert host.value("cnroute_tokens_total", **WHERE, type="input") == 320_000


def test_a_call_that_ends_while_another_is_counted(make: Any) -> None:
    """A stream can be collected as garbage in the middle of counting: it is counted next, and nobody waits for ever."""
    host = make([[frame("a"), frame("a", "stop")]])
    stream = host.router.stream("你好", model="b")
    next(stream)
    left = [stream]
    del stream
    tell = host.metrics._tell[cnroute.CallStarted]

    def collected_meanwhile(notice: Any) -> None:
        left.clear()
        gc.collect()
        tell(notice)

    host.metrics._tell[cnroute.CallStarted] = collected_meanwhile
    list(host.router.stream("你好", model="b"))
    assert host.value("cnroute_calls_in_flight", route="b") == 0
    assert host.value("cnroute_calls_total", route="b", outcome="cancelled") == 1


def test_labels_are_bounded(make: Any) -> None:
    """Ids and messages are no labels, and names that callers choose cannot fill the memory."""
    host = make([GOOD], max_names=5)
    place = cnroute.Deployment("acme", "dashscope", "any", api_key="sk-x")
    router = cnroute.Router(
        [], {}, plugins=[host.metrics], transport=FakeTransport([GOOD]), _accounts={"dashscope": place},
    )
    for number in range(20):
        router.chat("你好", model=f"dashscope/model-{number}", metadata={"call_id": f"id-{number}"})
    found = host.scrape()
    assert len({labels["route"] for labels, _ in found["cnroute_calls_total"]}) == 6
    assert host.value("cnroute_calls_total", route="other", outcome="ok") == 15
    assert "id-1" not in str(found)


def test_one_for_a_registry() -> None:
    """A second one for the same registry is refused by prometheus_client; another prefix is another set."""
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)
    Metrics(registry, prefix="other")


def test_the_entry_point_is_loaded() -> None:
    """Installed, it counts into the default registry without a word of configuration."""
    host = cnroute.PluginHost(load=["prometheus"])
    assert host.problems == []
    (state,) = [each for each in host.plugins() if each.name == "prometheus"]
    assert (state.state, state.hooks) == ("loaded", ("observe",))
    assert (state.distribution or "").startswith("cnroute-prometheus ")
