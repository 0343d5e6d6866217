"""Programs that fork, end early or are interrupted: each runs in a process of its own, started by `test_local.py`.

    python -m tests.matrix.forking PROGRAM URL [NUMBER]
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
from typing import Any

import cnroute
from tests.contract.kit import plain_host

PATH = "/minimax/v1"


def router_at(url: str, **settings: Any) -> cnroute.Router:
    one = cnroute.Deployment("first", "minimax-v2", "MiniMax-Text-01", api_key="k", base_url=url + PATH)
    return cnroute.Router([one], timeouts=cnroute.Timeouts(total=10), **plain_host(), **settings)


def ask(router: cnroute.Router, words: str) -> None:
    """One call, which must get its own answer."""
    text = router.chat(f"笑一个 marker:{words}", model="first").text
    assert text.startswith(f"marker:{words} "), f"{words} got {text}"


def warm(url: str, number: str) -> None:
    """L7: fork with a warm pool; both sides make calls at once; the child exits, the parent goes on as it was."""
    router = router_at(url)
    threads = [threading.Thread(target=ask, args=(router, f"warm{each}")) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = router.transport.idle_connections()
    child = os.fork()
    side = "child" if child == 0 else "parent"
    for each in range(int(number)):
        ask(router, f"{side}{each}")
    if child == 0:
        router.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child failed"
    for each in range(5):
        ask(router, f"after{each}")
    assert router.transport.idle_connections() == before, "the parent lost a connection"
    router.close()


def locked(url: str, number: str) -> None:
    """L8: fork while other threads hold every lock there is; each child's first call succeeds at once."""
    router = router_at(url)
    stop = threading.Event()

    def busy(name: int) -> None:
        for each in itertools.count():
            if stop.is_set():
                return
            ask(router, f"busy{name}-{each}")
            router.health()

    threads = [threading.Thread(target=busy, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(int(number)):
        time.sleep(random.Random(turn).random() * 0.02)
        child = os.fork()
        if child == 0:
            begun = time.monotonic()
            ask(router, f"fork{turn}")
            os._exit(0 if time.monotonic() - begun < 1.5 else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a child failed or waited"
    stop.set()
    for thread in threads:
        thread.join()
    router.close()


def interrupted(url: str, number: str) -> None:
    """L15: KeyboardInterrupt at random points of a call; it comes out, and nothing stays taken.

    One that comes inside of a `__del__` is swallowed by the interpreter, which ends that `__del__` too: no program can
    make that good, so the next turn begins with a new router.
    """
    swallowed: list[Any] = []
    sys.unraisablehook = swallowed.append
    limits = cnroute.Limits(max_connections=2, max_in_flight=2)
    router, chance = router_at(url, limits=limits), random.Random()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for turn in range(int(number)):
        before = len(swallowed)
        came = _interrupt_one(router, turn, chance.uniform(0.0001, 0.004))
        if len(swallowed) > before:
            router = router_at(url, limits=limits)
            continue
        assert came, "the interrupt did not come out"
        (bound,) = router.transport._bound
        assert router.health()["first"]["in_flight"] == 0, "a call is in flight"
        assert bound.free_places() == 2, f"{bound.free_places()} of 2 places are free"
    assert len(swallowed) <= 10 + int(number) // 20, f"{len(swallowed)} interrupts were swallowed"
    for each in range(4):
        ask(router, f"end{each}")
    router.close()


def _interrupt_one(router: cnroute.Router, turn: int, seconds: float) -> bool:
    """One call that is interrupted after `seconds`, or the pause behind it; whether the interrupt came out."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        if turn % 2:
            ask(router, f"turn{turn}")
        else:
            with router.stream(f"笑一个 marker:turn{turn}", model="first") as stream:
                assert "".join(stream.texts()).startswith(f"marker:turn{turn} ")
        time.sleep(0.05)
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def shutdown(url: str, number: str) -> None:
    """L19: the interpreter ends while streams are open, one of them blocked in a thread."""
    router = router_at(url)
    kept = [router.stream("笑一个 marker:open", model="first") for _ in range(3)]
    for stream in kept:
        next(stream)
    threading.Thread(target=lambda: list(kept[0]), daemon=True).start()
    time.sleep(0.2)
    globals()["kept"] = kept


PROGRAMS = {"warm": warm, "locked": locked, "interrupted": interrupted, "shutdown": shutdown}

if __name__ == "__main__":
    name, url, number = (*sys.argv[1:], "10")[:3]
    PROGRAMS[name](url, number)
