"""Forked workers over one Redis: how many calls does a budget admit, in all?

    python -m tests.stores.workers URL WORKERS CALLS CAP
"""

from __future__ import annotations

import os
import sys
import threading

import cnroute
from cnroute.testing import FakeTransport
from tests.flow import toy

THREADS = 4


def router_over(url: str, cap: str) -> cnroute.Router:
    """Every call reserves and costs exactly one unit."""
    unit = cnroute.Price("CNY", input="0", output="1", per="1")
    return cnroute.Router(
        [toy.deployment("a", price=unit)], transport=FakeTransport([toy.answer(usage=[3, 1])]), plugins=toy.host(),
        budgets=[cnroute.Budget(cap, per=None)], store=cnroute.RedisStore(url, timeout=10),
    )


def work(router: cnroute.Router, calls: int) -> int:
    """How many calls were admitted, in a few threads at once."""
    admitted: list[str] = []

    def some() -> None:
        for _ in range(calls // THREADS):
            try:
                reply = router.chat("你好", model="a", max_tokens=1)
            except cnroute.BudgetExceededError:
                continue
            admitted.append("degraded" if reply.record()["degraded"] else "yes")

    crew = [threading.Thread(target=some) for _ in range(THREADS)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    assert "degraded" not in admitted
    return len(admitted)


def count_from(reader: int) -> int:
    with os.fdopen(reader) as pipe:
        return int(pipe.read() or -1_000_000)


def main(url: str, workers: str, calls: str, cap: str) -> None:
    router = router_over(url, cap)
    first = work(router, THREADS)  # the children are born with a connected store
    pipes = []
    for _ in range(int(workers)):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, str(work(router, int(calls))).encode())
                router.close()
            finally:
                os._exit(0)
        os.close(writer)
        pipes.append(reader)
    counts = [count_from(reader) for reader in pipes]
    for _ in counts:
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    router.close()
    print(first + sum(counts), min(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
