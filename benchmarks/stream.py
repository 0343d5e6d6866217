"""What does one streamed chunk cost, against the same stream read by hand with urllib3, and how late does it come?

A burst is written as fast as the socket takes it, one event an HTTP chunk; a paced stream comes event by event. The cost of
a chunk is that of a long stream less that of a short one. Both JSON codecs, in processes of their own.

    python benchmarks/stream.py --check
"""

from __future__ import annotations

import functools
import statistics
import sys
import time

import attrs
from harness import prove, samples, script, subjects
from harness.rounds import Size, against, slopes
from harness.script import Figure
from harness.vendor import Vendor
from harness.yardstick import Urllib3

DIALECTS = (samples.MINIMAX, samples.DASHSCOPE)
# The name of a scenario, its short stream, by how much the long one is longer, and how many streams a block has.
BURST = ("burst-{}", 50, 800, 2)
PACED = ("paced-{}-1000", 5, 60, 2)
LATE = ("stamped-{}-2000", "stamped-{}-2000-raw")


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Burst with either codec; paced and the delay with the standard library's."""
    figures = []
    for dialect in DIALECTS:
        figures.append(_slope(size, vendor, dialect, "burst", *BURST))
        if not size.fast:
            figures.append(_slope(size, vendor, dialect, "paced", *PACED))
    return figures if size.fast else [*figures, *_latency(size, vendor)]


def _slope(size: Size, vendor: Vendor, dialect: str, kind: str, form: str, short: int, more: int, times: int) -> Figure:
    long = short + size.some(more)
    by_hand = Urllib3()
    deployments = [subjects.deployment(f"{count} events", dialect, vendor.base(form.format(count))) for count in (short, long)]
    with subjects.router(deployments) as router:
        works = {
            "urllib3": lambda count: "".join(by_hand.stream(vendor.endpoint(form.format(count), dialect), dialect)),
            "cnroute": lambda count: subjects.stream_of(router, f"{count} events"),
        }
        for count in (short, long):
            prove.same_text({name: functools.partial(work, count) for name, work in works.items()}, samples.said(count))
        prove.keeps_connection({name: functools.partial(work, short) for name, work in works.items()}, vendor, size)
        ratio = against("urllib3", slopes(works, size, short, long, times))["cnroute"]
    if not size.fast:
        return Figure.of(f"chunk, {kind}, {dialect}", ratio, f"chunk {kind}")
    figure = Figure.of(f"chunk, {kind}, {dialect}, fast", ratio, f"chunk {kind} fast")
    return figure if "orjson" in sys.modules else attrs.evolve(figure, note="the package does not use orjson")


def _latency(size: Size, vendor: Vendor) -> list[Figure]:
    """Milliseconds from the vendor's write to the caller's loop; wall time, the one figure that is not CPU."""
    figures = []
    for form, name in zip(LATE, ("chunked", "not chunked"), strict=True):
        base = vendor.base(form.format(5 + size.some(100)))
        with subjects.router([subjects.deployment("one", samples.MINIMAX, base)]) as router:
            late: list[float] = []
            for _ in range(max(1, size.blocks // 8)):
                with router.stream("你好", model="chat") as stream:
                    late += [(time.monotonic_ns() - int(piece)) / 1e6 for piece in stream.texts()]
        worst = statistics.quantiles(late, n=100)[-1]
        note = f"99 % within {worst:.2f} ms, the latest {max(late):.2f} ms"
        figures.append(Figure(f"bytes to delta, {name}", statistics.median(late), "ms", "latency", note))
    return figures


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure, ("stdlib", "fast")))
