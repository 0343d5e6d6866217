"""What a routed call may cost: the table of the project's performance page, section 2, as data."""

from __future__ import annotations

import attrs


@attrs.frozen
class Gate:
    """A row: what is measured, what it must hold, what to be proud of. `least`: the figure must be at least that."""

    key: str
    what: str
    must: float
    proud: float
    unit: str = "U"
    least: bool = False

    def holds(self, value: float) -> bool:
        """Whether the figure is good enough."""
        return value >= self.must if self.least else value <= self.must

    def verdict(self, value: float) -> str:
        """`proud`, `ok` or `BROKEN`."""
        if not self.holds(value):
            return "BROKEN"
        return "proud" if (value >= self.proud if self.least else value <= self.proud) else "ok"

    def limit(self, value: float) -> str:
        """A limit as it is printed."""
        return f"{'>=' if self.least else '<='} {value:g}"


GATES = (
    Gate("call", "one routed call, five providers, default logging", 1.00, 0.92),
    Gate("call logged", "the same with one JSON log event rendered", 1.10, 1.00),
    Gate("in memory", "own work in memory, against JSON encode and decode", 2.8, 2.3, "x"),
    Gate("chunk burst", "streamed chunk, burst, stdlib json", 0.95, 0.84),
    Gate("chunk burst fast", "streamed chunk, burst, the extra `fast`", 0.75, 0.66),
    Gate("chunk paced", "streamed chunk, paced", 1.00, 0.92),
    Gate("chunk sdk", "DashScope stream against the vendor's SDK", 0.38, 0.28, "x"),
    Gate("latency", "bytes on the socket to the delta", 20, 5, "ms"),
    Gate("failover", "failover 503 -> 200, error-in-200 -> 200", 2.0, 1.8, "calls"),
    Gate("threads rate", "64 threads, 50 ms latency: calls/s", 0.95, 1.0, "x", least=True),
    Gate("threads cpu", "64 threads, 50 ms latency: CPU", 1.05, 0.95, "x"),
    Gate("tasks cpu", "64 tasks against urllib3 in an executor: CPU", 1.15, 1.05, "x"),
    Gate("deployments", "200 deployments against 2", 1.2, 1.03, "x"),
    Gate("plugins", "50 plugins against 3", 1.2, 1.03, "x"),
    Gate("character", "each further character, against JSON alone", 1.3, 1.1, "x"),
    Gate("chunks", "each further chunk, against JSON alone", 2.8, 2.3, "x"),
    Gate("straight", "lengths: upper half of the range against lower", 1.2, 1.05, "x"),
    Gate("open breaker", "a deployment whose breaker is open", 2.0, 0.5, "% of a call"),
    Gate("import", "CPU of `import cnroute`, against the five together", 0.6, 0.3, "x"),
    Gate("memory", "memory after import, against urllib3's", 1.35, 1.25, "x"),
    Gate("memory growth", "memory growth over 20,000 calls", 512, 64, "kB"),
    Gate("distributions", "core install: distributions besides itself", 6, 6, ""),
    Gate("install size", "core install: size", 2.5, 2.5, "MB"),
    Gate("litellm call", "LiteLLM Router against cnroute, a call", 20, 27, "x", least=True),
    Gate("litellm chunk", "LiteLLM Router against cnroute, a chunk", 80, 80, "x", least=True),
    Gate("openai call", "openai SDK against cnroute, a call", 5, 6, "x", least=True),
    Gate("openai chunk", "openai SDK against cnroute, a chunk", 20, 20, "x", least=True),
    Gate("dashscope call", "dashscope SDK against cnroute, a call", 2.5, 3.3, "x", least=True),
    Gate("dashscope chunk", "dashscope SDK against cnroute, a chunk", 2.5, 3.3, "x", least=True),
)
BY_KEY = {gate.key: gate for gate in GATES}
