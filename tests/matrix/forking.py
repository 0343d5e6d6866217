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


def deployment_at(url: str, api_key: Any = "k") -> cnroute.Deployment:
    return cnroute.Deployment("first", "minimax-v2", "MiniMax-Text-01", api_key=api_key, base_url=url + PATH)


def router_at(url: str, api_key: Any = "k", **settings: Any) -> cnroute.Router:
    return cnroute.Router([deployment_at(url, api_key)], timeouts=cnroute.Timeouts(total=10), **plain_host(), **settings)


def ask(router: cnroute.Router, words: str, model: str = "first") -> None:
    """One call, which must get its own answer."""
    text = router.chat(f"笑一个 marker:{words}", model=model).text
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
        in_child(router, f"fork{turn}", 1.5)
    stop.set()
    for thread in threads:
        thread.join()
    router.close()


def waiting(url: str, number: str) -> None:
    """L8: fork while another thread reads the key; each child reads it itself and calls at once."""
    parent, asked, go_on = os.getpid(), threading.Event(), threading.Event()

    def key() -> str:
        if os.getpid() == parent:
            asked.set()
            go_on.wait(20)
        return "k"

    router = router_at(url, key)
    thread = threading.Thread(target=ask, args=(router, "parent"))
    thread.start()
    assert asked.wait(10)
    for turn in range(int(number)):
        in_child(router, f"reading{turn}", 1.5)
    go_on.set()
    thread.join()
    router.close()


def account(url: str, number: str) -> None:
    """A name without a deployment, whose one place the parent holds: the child has a place of its own."""
    environment = {"MINIMAX_API_KEY": "k", "MINIMAX_API_HOST": url + PATH}
    os.environ.update(environment)
    limits = cnroute.Limits(max_connections=1, max_in_flight=1, max_queue=0)
    router = cnroute.Router.from_env(limits=limits, timeouts=cnroute.Timeouts(total=10), **plain_host())
    name = "minimax-v2/MiniMax-Text-01"
    with router.stream("笑一个 marker:parent", model=name) as stream:
        next(stream)
        for turn in range(int(number)):
            in_child(router, f"account{turn}", 1.5, name)
        assert "".join(stream.texts())
    ask(router, "after", name)
    router.close()


def in_child(router: cnroute.Router, words: str, seconds: float, model: str = "first") -> None:
    """One call in a child, which must get its own answer within `seconds`."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # what hangs in the child must not hang the parent
        begun, code = time.monotonic(), 4
        try:
            ask(router, words, model)
            code = 0 if time.monotonic() - begun < seconds else 3
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a child failed or waited"


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


PROGRAMS = {each.__name__: each for each in (warm, locked, waiting, account, interrupted, shutdown)}

if __name__ == "__main__":
    name, url, number = (*sys.argv[1:], "10")[:3]
    PROGRAMS[name](url, number)
