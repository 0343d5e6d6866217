"""Thousands of seeded fault scripts, each on one router with a virtual clock; every call is held to reliability, section 1.

To replay a failing seed: python -m tests.simulation.test_world SEED
To play many and see how long they take: python -m tests.simulation.test_world 0-10000
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.world import World, run

# Every so many seeds a script is played twice, with the record of every call.
TWICE = 20
PART = 250
# What the scripts must have met at least once, or they prove nothing.
MET = (
    "ok", "opened", "breaker_open", "cooling_down", "full", "unsupported", "budget_exceeded", "cancelled",
    "deadline_exceeded", "first_byte_timeout", "first_token_timeout", "idle_timeout", "write_timeout", "connect_timeout",
    "tls_timeout", "tls_verify", "tls_error", "dns_error", "connect_error", "connection_lost", "protocol_error",
    "decode_error", "bad_response", "response_too_large", "redirect", "rate_limit", "overloaded", "server_error",
    "vendor_timeout", "auth", "permission", "quota", "model_not_found", "bad_request", "context_length", "content_filter",
    "plugin_error", "local_overload", "told_without_breaker",
)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Looking for garbage after every few objects is a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    yield
    gc.set_threshold(*before)


def played(seeds: range) -> tuple[Counter[str], list[str]]:
    """Play all `seeds`: what happened how often, and the first lines of what was violated."""
    met: Counter[str] = Counter()
    broken: list[str] = []
    with rare_collections():
        for seed in seeds:
            twice = seed % TWICE == 0
            world = run(seed, records=twice)
            met.update(world.counts)
            met["scripts"] += 1
            met["calls"] += len(world.calls)
            broken += [f"seed {seed}: {line}" for line in world.broken]
            if twice and _text(run(seed, records=True)) != _text(world):
                broken.append(f"seed {seed}: [same seed] two runs differ")
            if len(broken) > 20:
                break
    return met, broken


def played_by_all_cores(seeds: range) -> tuple[Counter[str], list[str]]:
    """The same, shared among processes: scripts know nothing of each other."""
    met: Counter[str] = Counter()
    broken: list[str] = []
    parts = [range(at, min(at + PART, seeds.stop)) for at in range(seeds.start, seeds.stop, PART)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for counts, lines in pool.map(played, parts):
            met.update(counts)
            broken += lines
    return met, broken


def must_hold(met: Counter[str], broken: list[str]) -> None:
    """Fail with what was violated, and how to see it again; or because something was never met."""
    if broken:
        replay = f"python -m tests.simulation.test_world {broken[0].split()[1].rstrip(':')}"
        pytest.fail("\n".join([*broken, f"replay: {replay}"]), pytrace=False)
    assert [name for name in MET if not met[name]] == []


def _text(world: World) -> str:
    return json.dumps(world.trace, sort_keys=True, default=str)


@pytest.mark.parametrize("scripts", [1000, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_rule_holds_under_fault_scripts(scripts: int) -> None:
    """One outcome, in time, within attempts and money, text exact, everything given back."""
    must_hold(*played(range(scripts)))


@pytest.mark.slow
def test_every_rule_holds_under_10000_fault_scripts() -> None:
    """The same under 10,000 other scripts."""
    must_hold(*played_by_all_cores(range(100_000, 110_000)))


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


def main(word: str) -> int:
    """Show one script, or play a range of them; exit code 1 when a rule was violated."""
    first, many, last = word.partition("-")
    if not many:
        print(show(int(first)))
        return 0
    begun = time.monotonic()
    met, broken = played_by_all_cores(range(int(first), int(last)))
    print(*broken, sep="\n", end="\n" if broken else "")
    print(", ".join(f"{name} {met[name]}" for name in MET))
    seconds, used = time.monotonic() - begun, os.times().children_user + os.times().children_system
    what = f"{met['scripts']} scripts, {met['calls']} calls"
    print(f"{what} in {seconds:.1f} s ({used:.1f} s of processor time): {len(broken)} violations")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
