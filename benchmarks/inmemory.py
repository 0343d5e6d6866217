"""What is the library's own work for a call and for a chunk, against encoding and decoding the JSON alone?

The transport is in memory: no kernel, no network, so this ratio is the steadiest of all. The base is `json.dumps` of the
request and `json.loads` of the answer's bytes (of each event's data for a stream), and nothing else.

    python benchmarks/inmemory.py --check
"""

from __future__ import annotations

import functools
import json
import sys

from harness import prove, samples, script, subjects
from harness.rounds import Size, against, compare, repeated, slopes
from harness.script import Figure
from harness.subjects import MemoryTransport
from harness.vendor import Vendor

DIALECTS = (samples.MINIMAX, samples.DASHSCOPE)
SHORT, LONG = 10, 410


def json_alone(dialect: str) -> object:
    """Encode the request, decode the answer."""
    json.dumps(samples.request(dialect)).encode()
    return json.loads(samples.answer(dialect))


def json_of_events(lines: dict[int, list[bytes]], count: int) -> None:
    """Decode each event's data."""
    for line in lines[count]:
        json.loads(line)


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """A call and a chunk in both dialects."""
    return [figure for dialect in DIALECTS for figure in (_call(size, dialect), *_chunks(size, dialect))]


def _call(size: Size, dialect: str) -> Figure:
    transport = MemoryTransport(samples.answer(dialect))
    deployments = [subjects.deployment(name, dialect, "http://127.0.0.1:1") for name in ("one", "two")]
    with subjects.router(deployments, transport=transport) as router:
        prove.same_text({"cnroute": functools.partial(subjects.text_of, router)}, samples.text())
        works = {
            "json": repeated(functools.partial(json_alone, dialect)),
            "cnroute": repeated(functools.partial(subjects.text_of, router)),
        }
        ratio = compare(works, "json", size, size.times(4))["cnroute"]
    return Figure.of(f"call in memory, {dialect}", ratio, "in memory", "x JSON")


def _chunks(size: Size, dialect: str) -> list[Figure]:
    """A chunk when each event comes in a read of its own, and when all come in one."""
    events = {count: list(samples.events(dialect, count)) for count in (SHORT, LONG)}
    lines = {count: [_data(event) for event in each] for count, each in events.items()}
    cuts = {"alone": lambda parts: parts, "in one read": lambda parts: [b"".join(parts)]}
    figures = []
    for name, cut in cuts.items():
        routers = {
            count: subjects.router(
                [subjects.deployment("one", dialect, "http://127.0.0.1:1")], transport=MemoryTransport(pieces=cut(events[count]))
            )
            for count in events
        }
        for count, router in routers.items():
            prove.same_text({"cnroute": functools.partial(subjects.stream_of, router)}, samples.said(count))
        works = {
            "json": functools.partial(json_of_events, lines),
            "cnroute": lambda count, routers=routers: subjects.stream_of(routers[count]),
        }
        ratio = against("json", slopes(works, size, SHORT, LONG))["cnroute"]
        figures.append(Figure.of(f"chunk in memory, {dialect}, {name}", ratio, None, "x JSON"))
    return figures


def _data(event: bytes) -> bytes:
    return next(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
