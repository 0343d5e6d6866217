"""How many Python calls does a routed call cost, and each line of a stream, with 1 and with 50 plugins installed?

Counted with `sys.setprofile` over the real router and an in-memory transport: no kernel, no network, no clock, so
the figures are the same on every run. `python benchmarks/counts.py` prints them beside the recorded ones and fails when
one has grown by more than 5 %; `--record` writes them into counts.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cnroute
from cnroute.http import Headers

RECORD = Path(__file__).with_name("counts.json")
ALLOWED = 1.05
PLUGINS = (1, 50)
SHORT, LONG = 20, 120
MODELS = {"dashscope": "qwen-plus", "minimax-v2": "MiniMax-Text-01"}
SSE = Headers({"Content-Type": "text/event-stream"})
JSON = Headers({"Content-Type": "application/json"})


class Stream:
    """A body whose pieces are in memory, one a read."""

    status = 200
    headers = SSE

    def __init__(self, pieces: list[bytes]) -> None:
        self.read = iter([*pieces, b""]).__next__

    def close(self) -> None:
        """Nothing is held."""


class Transport:
    """Answers every request with the same bytes."""

    def __init__(self, body: bytes, pieces: list[bytes]) -> None:
        self._body = body
        self._pieces = pieces

    def send(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> cnroute.HttpResponse:
        """The whole answer."""
        return cnroute.HttpResponse(200, JSON, self._body)

    def open(self, request: cnroute.HttpRequest, deadline: cnroute.Deadline) -> Stream:
        """The answer as a stream."""
        return Stream(self._pieces)

    def close(self) -> None:
        """Nothing is held."""


class Toy:
    """A provider that is installed and never asked."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cnroute.hookimpl
    def describe_provider(self) -> cnroute.ProviderInfo:
        """Say its name."""
        return cnroute.ProviderInfo(self._name, "https://toy.example/v1")

    @cnroute.hookimpl
    def build_request(self, request: Any, deployment: Any, stream: bool) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def map_error(self, response: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def parse_response(self, response: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)

    @cnroute.hookimpl
    def parse_stream_line(self, line: str, state: Any, deployment: Any) -> Any:
        """Never asked."""
        raise AssertionError(self._name)


def router(provider: str, plugins: int, transport: Transport) -> cnroute.Router:
    """A router with one deployment and `plugins` providers, the one that is used included."""
    host = cnroute.PluginHost(autoload=False)
    for number in range(plugins - 1):
        host.register(Toy(f"toy-{number}"))
    deployment = cnroute.Deployment("one", provider, MODELS[provider], api_key="sk-counts")
    return cnroute.Router([deployment], {"chat": ["one"]}, plugins=host, transport=transport)


def v2_frame(**choice: Any) -> bytes:
    """A line of a chatcompletion_v2 stream with its blank line."""
    choices = [{"index": 0, **choice}]
    frame = {"id": "04", "choices": choices, "created": 1, "model": "MiniMax-Text-01", "object": "chat.completion.chunk"}
    return b"data: " + json.dumps(frame).encode() + b"\n\n"


def dashscope_frame(text: str, finish: str) -> bytes:
    """An event of a DashScope stream."""
    frame = {
        "output": {"choices": [{"message": {"content": text, "role": "assistant"}, "finish_reason": finish}]},
        "usage": {"total_tokens": 9, "input_tokens": 2, "output_tokens": 7}, "request_id": "r",
    }
    return b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:" + json.dumps(frame).encode() + b"\n\n"


def pieces(provider: str, chunks: int) -> list[bytes]:
    """A stream of `chunks` contents, each in a read of its own."""
    if provider == "dashscope":
        return [*[dashscope_frame("字", "null")] * chunks, dashscope_frame("", "stop")]
    content = v2_frame(delta={"content": "字", "role": "assistant"})
    return [*[content] * chunks, v2_frame(delta={}, finish_reason="stop")]


def body(provider: str) -> bytes:
    """A plain answer."""
    message = {"role": "assistant", "content": "你好!今天我能帮你什么?"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    if provider == "dashscope":
        usage = {"total_tokens": 9, "input_tokens": 2, "output_tokens": 7}
        return json.dumps({"output": {"choices": choices}, "usage": usage, "request_id": "r"}).encode()
    usage = {"total_tokens": 9, "prompt_tokens": 2, "completion_tokens": 7}
    good = {"status_code": 0, "status_msg": ""}
    return json.dumps({"id": "04", "choices": choices, "usage": usage, "base_resp": good}).encode()


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions run (or generators go on) in `work`; the smallest of three, after a warm-up."""
    counts = []
    for _ in range(4):
        count = 0

        def note(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(None)
        counts.append(count)
    return min(counts[1:])


def call_cost(provider: str, plugins: int) -> int:
    """Python calls of one plain routed call."""
    with router(provider, plugins, Transport(body(provider), [])) as made:
        assert made.chat("你好", model="chat").text
        return calls_of(lambda: made.chat("你好", model="chat"))


def line_cost(provider: str, plugins: int) -> float:
    """Python calls for each line with content, from the bytes to the caller's loop, when each comes in a read of its own."""
    return _line_cost(provider, plugins, list)


def burst_cost(provider: str, plugins: int) -> float:
    """The same when all lines come in one read."""
    return _line_cost(provider, plugins, lambda parts: [b"".join(parts)])


def _line_cost(provider: str, plugins: int, cut: Callable[[list[bytes]], list[bytes]]) -> float:
    costs = []
    for chunks in (SHORT, LONG):
        with router(provider, plugins, Transport(b"", cut(pieces(provider, chunks)))) as made:

            def consume(made: cnroute.Router = made) -> str:
                with made.stream("你好", model="chat") as stream:
                    return "".join([delta.text for delta in stream])

            assert consume() == "字" * chunks
            costs.append(calls_of(consume))
    return (costs[1] - costs[0]) / (LONG - SHORT)


def measure() -> dict[str, dict[str, float]]:
    """Every figure, as `{"call dashscope": {"1": ..., "50": ...}}`."""
    return {
        f"{name} {provider}": {str(plugins): cost(provider, plugins) for plugins in PLUGINS}
        for name, cost in (("call", call_cost), ("line", line_cost), ("line in a burst", burst_cost))
        for provider in MODELS
    }


def recorded() -> dict[str, dict[str, float]]:
    """The figures in counts.json."""
    figures: dict[str, dict[str, float]] = json.loads(RECORD.read_text("utf-8"))
    return figures


def problems(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> list[str]:
    """What has grown: a figure by more than 5 %, or the cost of a line with the number of plugins."""
    found = [
        f"{name} with {plugins} plugins: {value:g}, recorded {before[name][plugins]:g}"
        for name, values in now.items()
        for plugins, value in values.items()
        if value > before[name][plugins] * ALLOWED
    ]
    return found + [
        f"{name}: {values['1']:g} with 1 plugin, {values['50']:g} with 50"
        for name, values in now.items()
        if name.startswith("line") and values["1"] != values["50"]
    ]


def main() -> int:
    """Print, compare, and record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the figures into counts.json")
    options = parser.parse_args()
    now = measure()
    if options.record:
        RECORD.write_text(json.dumps(now, indent=2) + "\n", "utf-8")
    before = recorded()
    print(f"{'Python calls':<26} {'1 plugin':>9} {'50 plugins':>11} {'recorded':>9}")
    for name, values in now.items():
        print(f"{name:<26} {values['1']:>9g} {values['50']:>11g} {before[name]['50']:>9g}")
    found = problems(now, before)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
