"""Do 64 callers at once get as many answers a second as with bare urllib3, and for how much CPU?

The vendor answers after 50 ms. 64 threads against 64 threads over one `PoolManager`; 64 asyncio tasks of the asynchronous
router against 64 tasks that call urllib3 in an executor of 64 threads. 64 / 50 ms = 1,280 calls a second are possible.

    python benchmarks/concurrency.py --check
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator

from harness import prove, samples, script, subjects
from harness.rounds import Ratio, Size, Work, cpu
from harness.script import Figure
from harness.vendor import Vendor
from harness.yardstick import Urllib3

import cnroute

CALLERS = 64
SCENARIO = "slow-50"
# Calls of each caller in a block; the first of them is not alone: all begin at once.
EACH = 5
LIMITS = cnroute.Limits(max_connections=CALLERS, max_in_flight=CALLERS)


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Threads, then tasks."""
    each = max(1, min(EACH, size.calls // 2))
    return [*_threads(size, vendor, each), *_tasks(size, vendor, each)]


def _by_hand(vendor: Vendor) -> Callable[[], str]:
    pool = Urllib3(maxsize=CALLERS)
    return functools.partial(pool.call, vendor.endpoint(SCENARIO, samples.MINIMAX), samples.MINIMAX)


def _router(vendor: Vendor, kind: Callable[..., object]) -> object:
    deployment = subjects.deployment("one", samples.MINIMAX, vendor.base(SCENARIO), limits=LIMITS)
    return subjects.router([deployment], kind)


def _threads(size: Size, vendor: Vendor, each: int) -> Iterator[Figure]:
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as threads, _router(vendor, cnroute.Router) as router:
        subjects_of = {"urllib3": _by_hand(vendor), "cnroute": functools.partial(subjects.text_of, router)}
        prove.same_text(subjects_of, samples.text())
        works = {name: functools.partial(_in_threads, threads, work) for name, work in subjects_of.items()}
        yield from _figures("threads", works, size, vendor, each)


def _in_threads(threads: concurrent.futures.Executor, work: Callable[[], object], times: int) -> None:
    """Every thread works so many times."""

    def many(number: int) -> None:
        for _ in range(times):
            work()

    list(threads.map(many, range(CALLERS)))


def _tasks(size: Size, vendor: Vendor, each: int) -> list[Figure]:
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as threads, asyncio.Runner() as runner:
        loop = runner.get_loop()
        router = _router(vendor, cnroute.AsyncRouter)
        asked = {"model": "chat", "max_tokens": samples.MAX_TOKENS}
        by_hand = _by_hand(vendor)

        async def routed() -> str:
            return (await router.chat(samples.messages(), **asked)).text

        async def in_executor() -> str:
            return await loop.run_in_executor(threads, by_hand)

        async def many(work: Callable[[], object], times: int) -> None:
            async def one() -> None:
                for _ in range(times):
                    await work()

            await asyncio.gather(*(one() for _ in range(CALLERS)))

        subjects_of = {"urllib3": in_executor, "cnroute": routed}
        prove.same_text({name: lambda work=work: runner.run(work()) for name, work in subjects_of.items()}, samples.text())
        works = {name: lambda times, work=work: runner.run(many(work, times)) for name, work in subjects_of.items()}
        figures = list(_figures("tasks", works, size, vendor, each))
        runner.run(router.close())
        return figures


def _figures(kind: str, works: dict[str, Work], size: Size, vendor: Vendor, each: int) -> Iterator[Figure]:
    """CPU and calls a second, both from the same blocks; no caller needs a second connection."""
    before = vendor.connections()
    for work in works.values():
        work(2)
    used: dict[str, list[float]] = {name: [] for name in works}
    rates: dict[str, list[float]] = {name: [] for name in works}
    for block in range(min(size.blocks, 15)):
        for name in sorted(works, reverse=bool(block % 2)):
            begun = time.monotonic()
            used[name].append(cpu(works[name], each) / CALLERS)
            rates[name].append(each * CALLERS / (time.monotonic() - begun))
    opened = vendor.connections() - before
    if opened > CALLERS * len(works):
        raise prove.Unfair(f"{opened} connections were opened by {len(works)} times {CALLERS} callers")
    ratio = Ratio.of(used["cnroute"], used["urllib3"])
    rate = Ratio.of(rates["cnroute"], rates["urllib3"])
    note = " against ".join(f"{statistics.median(rates[name]):,.0f} calls/s" for name in ("cnroute", "urllib3"))
    yield Figure(f"{CALLERS} {kind}, calls/s", rate.value, "x", "threads rate" if kind == "threads" else None, note)
    yield Figure.of(f"{CALLERS} {kind}, CPU", ratio, f"{kind} cpu", "x")


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
