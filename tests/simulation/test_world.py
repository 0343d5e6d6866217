"""Thousands of seeded fault scripts, each on one router with a virtual clock; every call is held to reliability, section 1.

To replay a failing seed: python -m tests.simulation.test_world SEED
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.world import World, run

# Every so many seeds a script is played twice, with the record of every call.
TWICE = 20
# What the scripts must have met at least once, or they prove nothing.
MET = (
    "ok", "opened", "breaker_open", "cooling_down", "full", "unsupported", "budget_exceeded", "cancelled",
    "deadline_exceeded", "first_byte_timeout", "first_token_timeout", "idle_timeout", "write_timeout", "connect_timeout",
    "tls_timeout", "tls_verify", "tls_error", "dns_error", "connect_error", "connection_lost", "protocol_error",
    "decode_error", "bad_response", "response_too_large", "redirect", "rate_limit", "overloaded", "server_error",
    "vendor_timeout", "auth", "permission", "quota", "model_not_found", "bad_request", "context_length", "content_filter",
    "plugin_error", "local_overload",
)


@pytest.fixture(autouse=True)
def rare_collections() -> Iterator[None]:
    """Looking for garbage after every few objects is a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    yield
    gc.set_threshold(*before)


def play(seeds: range) -> dict[str, int]:
    """Play all `seeds`; what happened how often. Fails with the first lines of what was violated."""
    met: dict[str, int] = {}
    broken: list[str] = []
    for seed in seeds:
        twice = seed % TWICE == 0
        world = run(seed, records=twice)
        for name, count in world.counts.items():
            met[name] = met.get(name, 0) + count
        broken += [f"seed {seed}: {line}" for line in world.broken]
        if twice and _text(run(seed, records=True)) != _text(world):
            broken.append(f"seed {seed}: [same seed] two runs differ")
        if len(broken) > 20:
            break
    if broken:
        replay = f"python -m tests.simulation.test_world {broken[0].split()[1].rstrip(':')}"
        pytest.fail("\n".join([*broken, f"replay: {replay}"]), pytrace=False)
    return met


def _text(world: World) -> str:
    return json.dumps(world.trace, sort_keys=True, default=str)


def test_every_rule_holds_under_2000_fault_scripts() -> None:
    """One outcome, in time, within attempts and money, text exact, everything given back: 2,000 scripts."""
    met = play(range(2000))
    assert [name for name in MET if not met.get(name)] == []


@pytest.mark.slow
def test_every_rule_holds_under_10000_fault_scripts() -> None:
    """The same under 10,000 other scripts."""
    play(range(100_000, 110_000))


def show(seed: int) -> str:
    """A script and what became of it, as text."""
    world = run(seed, records=True)
    lines = [f"{world.dialects}", f"{world.retries}", f"{world.breaker}", f"{world.timeouts}", f"{world.routes}"]
    for call in world.calls:
        lines.append(
            f"call {call.index}: {'stream' if call.stream else 'plain'}, {call.total} s from {call.started}: {call.outcome}"
        )
        lines += [f"    {notice}" for notice in call.notices]
        lines += [f"    slept {seconds} s at {at}" for at, seconds in call.sleeps]
        lines += [f"    {each.deployment}: {each.fate}, raised {each.raised} at {each.raised_at}" for each in call.exchanges]
    return "\n".join([*lines, *world.broken, f"{len(world.broken)} violations"])


if __name__ == "__main__":
    print(show(int(sys.argv[1])))
