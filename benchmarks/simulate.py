"""How long does it take to replay a recorded day of 10,000 calls under another policy?

The log is made up here, line by line as the router logs them: four deployments with their own speeds, prices and faults, a
third of the calls streamed. Timed are reading it, and playing it through the real flow: the unchanged configuration alone, and
beside `cheapest`. CPU seconds are of this process; the wall clock is what a user waits.

    python benchmarks/simulate.py --check
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

from harness.script import machine, table

from cnroute.simulate import read_log, simulate

# provider, model, seconds to begin, seconds a token, rate of failures
VENDORS = {
    "yi": ("dashscope", "yi-large", 0.8, 0.02, 0.03), "qwen": ("dashscope", "qwen-plus", 0.4, 0.01, 0.02),
    "mm": ("minimax-v2", "MiniMax-Text-01", 0.6, 0.015, 0.05), "kb": ("minimax-pro", "abab6.5s-chat", 0.5, 0.012, 0.04),
}
PRICES = {"yi": "20", "qwen": "2", "mm": "8", "kb": "1"}
MOST_SECONDS = 10.0


def configuration() -> dict[str, Any]:
    """The four deployments, in a weighted route."""
    deployments = {
        name: {"provider": provider, "model": model, "price": {"currency": "CNY", "input": PRICES[name], "output": PRICES[name]}}
        for name, (provider, model, *_) in VENDORS.items()
    }
    return {"deployments": deployments, "routes": {"chat": {"policy": "weighted", "targets": dict.fromkeys(VENDORS, 1)}}}


def line(rng: random.Random, index: int, at: float) -> dict[str, Any]:
    """One finished call: answered by the first, or by the second after a failure."""
    names = rng.sample(list(VENDORS), 2)
    failed = rng.random() < VENDORS[names[0]][4]
    name = names[failed]
    provider, model, begin, each, _ = VENDORS[name]
    given, made = rng.randint(20, 2000), max(1, round(rng.lognormvariate(5, 0.9)))
    seconds, stream = (begin + each * made) * rng.lognormvariate(0, 0.3), rng.random() < 0.33
    tried = [f"{names[0]}: server_error 0.200000 unknown"] * failed + [f"{name}: ok {seconds:.6f} billed"]
    return {
        "event": "call finished", "call_id": f"call-{index}", "route": "chat", "outcome": "ok", "stream": stream, "started": at,
        "seconds": seconds + 0.2 * failed, "first_content": begin if stream else None, "attempts": 1 + failed,
        "tried": "; ".join(tried), "deployment": name, "provider": provider, "model": model, "finish_reason": "stop",
        "input_tokens": given, "output_tokens": made, "total_tokens": given + made, "bill_confirmed": "0.01 CNY",
        "bill_possible": "0 CNY", "metadata": {"tenant": rng.choice("abc")},
    }


def timed(work: Any) -> tuple[Any, float, float]:
    """What `work()` returns, with its CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    return done, time.process_time() - cpu, time.perf_counter() - wall


def scaled(calls: int, *parts: Sequence[float]) -> list[float]:
    """What the parts take together for 10,000 calls."""
    return [sum(part[place] for part in parts) * 10_000 / calls for place in (0, 1)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Time it, print the table; with `--check` 1 when it took too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls the day has")
    parser.add_argument("--check", action="store_true", help="exit with 1 when it took more CPU than it may")
    options = parser.parse_args(arguments)
    rng = random.Random(1)
    lines = (line(rng, index, 1_790_000_000 + index * 86_400 / options.calls) for index in range(options.calls))
    text = "\n".join(map(json.dumps, lines))
    day, *reading = timed(lambda: read_log(text))
    _, *alone = timed(lambda: simulate(day, config=configuration()))
    report, *both = timed(lambda: simulate(day, config=configuration(), policies=["cheapest"]))
    played = sum(result["calls"] for result in report["results"][1:])
    rows = [
        ("reading the log", options.calls, *reading), ("playing it unchanged", options.calls, *alone),
        ("playing it unchanged and by cheapest", played, *both),
        ("reading and playing 10,000 calls", 10_000, *(scaled(options.calls, reading, alone))),
    ]
    print(machine())
    cells = [(what, str(calls), f"{cpu:.2f}", f"{wall:.2f}", f"{cpu / calls * 1e6:.0f}") for what, calls, cpu, wall in rows]
    print("\n".join(table(cells, ("what", "calls", "CPU s", "wall s", "us of CPU a call"))))
    return int(options.check and rows[-1][2] > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
