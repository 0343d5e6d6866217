"""What do a call and a streamed chunk cost with another library, against urllib3 by hand and against cnroute?

Runs inside of the peer's environment, which `run.py` makes and starts.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness import prove, samples, script, subjects
from harness.rounds import Ratio, Size, repeated, seconds, slopes
from harness.script import Figure
from harness.vendor import Vendor
from harness.yardstick import Urllib3

SHORT, LONG = 20, 220


def measure(name: str, size: Size, vendor: Vendor) -> list[Figure]:
    """A call, then a chunk of a burst."""
    peer = importlib.import_module(f"peers.{name}")
    size = attrs.evolve(size, blocks=min(size.blocks, 15), warm_up=min(size.warm_up, 50))
    return [*_call(peer, size, vendor), *_chunk(peer, size, vendor)]


def to_the_end(work: Callable[[int], object]) -> Callable[[int], None]:
    """`work`, and what it leaves to threads of its own: some log after the answer, on the time of whoever comes next."""

    def ended(count: int) -> None:
        work(count)
        busy = True
        while busy:
            before = time.process_time()
            time.sleep(0.01)
            busy = time.process_time() - before > _AT_REST

    return ended


# CPU seconds of a nap in a process where nothing else runs, and then some.
_AT_REST = 0.0005


def _ours(peer: Any) -> str:
    """The dialect that cnroute speaks where the peer speaks OpenAI's: the same bytes."""
    return peer.DIALECT if peer.DIALECT == samples.DASHSCOPE else samples.MINIMAX


def _call(peer: Any, size: Size, vendor: Vendor) -> list[Figure]:
    with subjects.pair(vendor, _ours(peer), "plain") as router:
        all_of = {
            "urllib3": functools.partial(Urllib3().call, vendor.endpoint("plain", peer.DIALECT), peer.DIALECT),
            "cnroute": functools.partial(subjects.text_of, router),
            "peer": functools.partial(peer.call, vendor.base("plain")),
        }
        prove.same_text(all_of, samples.text())
        works = {each: repeated(work) for each, work in all_of.items()}
        found = seconds({**works, "peer": to_the_end(works["peer"])}, size, max(1, size.calls // 2))
        opened = _connections(all_of["peer"], vendor)
    return _figures(peer, "call", found, f"{opened} new connections for 20 calls")


def _chunk(peer: Any, size: Size, vendor: Vendor) -> list[Figure]:
    by_hand = Urllib3()
    ends = [subjects.deployment(f"{count} events", _ours(peer), vendor.base(f"burst-{count}")) for count in (SHORT, LONG)]
    with subjects.router(ends) as router:
        all_of = {
            "urllib3": lambda count: "".join(by_hand.stream(vendor.endpoint(f"burst-{count}", peer.DIALECT), peer.DIALECT)),
            "cnroute": lambda count: subjects.stream_of(router, f"{count} events"),
            "peer": lambda count: peer.stream(vendor.base(f"burst-{count}")),
        }
        for count in (SHORT, LONG):
            prove.same_text({each: functools.partial(work, count) for each, work in all_of.items()}, samples.said(count))
        found = slopes({**all_of, "peer": to_the_end(all_of["peer"])}, size, SHORT, LONG)
    return _figures(peer, "chunk", found, "")


def _connections(work: Any, vendor: Vendor) -> int:
    before = vendor.connections()
    for _ in range(20):
        work()
    return vendor.connections() - before


def _figures(peer: Any, what: str, found: dict[str, list[float]], note: str) -> list[Figure]:
    mine, theirs = (Ratio.of(found[each], found["urllib3"]) for each in ("cnroute", "peer"))
    dearer = Ratio.of(found["peer"], found["cnroute"])
    figures = [
        Figure.of(f"{what}, cnroute", mine),
        Figure.of(f"{what}, peer", theirs),
        Figure(f"{what}, peer against cnroute", dearer.value, "x", peer.GATE and f"{peer.GATE} {what}", note),
    ]
    if peer.GATE == "dashscope" and what == "chunk":
        figures.append(Figure.of("chunk, cnroute against the SDK", Ratio.of(found["cnroute"], found["peer"]), "chunk sdk", "x"))
    return figures


if __name__ == "__main__":
    # Nothing is hidden from a peer that may need orjson; its own cnroute then uses it too.
    sys.exit(script.main(__doc__, functools.partial(measure, sys.argv[1]), ("fast",), 3, sys.argv[1:2]))
