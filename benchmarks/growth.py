"""How does the cost of a call grow with deployments, plugins, the prompt and the answer, and that of a stream with its length?

In memory. Deployments and plugins: a router with many against one with few, where only the number differs; the route takes
two of them, and once more all of them. Lengths: what each further character or chunk costs, against the same for its JSON
alone (`json.dumps` of the request, `json.loads` of the answer); and the slope of the upper half of the range against that of
the lower half, which is 1 for a straight line.

    python benchmarks/growth.py --check
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable

import attrs
from harness import prove, samples, script, subjects
from harness.rounds import Ratio, Size, compare, repeated, seconds, slope
from harness.script import Figure
from harness.subjects import MemoryTransport
from harness.vendor import Vendor

import cnroute

DIALECT = samples.MINIMAX
NOWHERE = "http://127.0.0.1:1"
FEW, MANY = 2, 200
PLUGINS = (3, 50)
# Characters, and chunks: the shortest, and what is added for the middle and for the longest.
PROMPTS = (100, 50_000, 99_900)
ANSWERS = (100, 50_000, 99_900)
CHUNKS = (200, 9_900, 19_800)

Ends = tuple[int, int, int]
# JSON alone, and a routed call, for so many characters or chunks.
Pair = tuple[Callable[[int], object], Callable[[int], object]]


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Numbers of things, then lengths."""
    small = attrs.evolve(size, blocks=min(size.blocks, 15))
    return [
        _deployments(size, "200 deployments against 2, a route of two", in_route=False),
        _deployments(size, "200 deployments against 2, all in the route", in_route=True),
        _plugins(size),
        *_lengths("prompt character", PROMPTS, _prompt, small, "character"),
        *_lengths("answer character", ANSWERS, _answer, small, "character"),
        *_lengths("chunk of a stream", CHUNKS, _stream, small, "chunks"),
    ]


def _against(name: str, few: cnroute.Router, many: cnroute.Router, size: Size, gate: str | None) -> Figure:
    with few, many:
        works = {"few": functools.partial(subjects.text_of, few), "many": functools.partial(subjects.text_of, many)}
        prove.same_text(works, samples.text())
        ratio = compare({each: repeated(work) for each, work in works.items()}, "few", size, size.times(2))["many"]
    return Figure.of(name, ratio, gate, "x")


def _deployments(size: Size, name: str, in_route: bool) -> Figure:
    def router(count: int) -> cnroute.Router:
        given = [subjects.deployment(f"d{number}", DIALECT, NOWHERE) for number in range(count)]
        targets = [each.name for each in given[: count if in_route else FEW]]
        transport = MemoryTransport(samples.answer(DIALECT))
        return cnroute.Router(given, {"chat": targets}, plugins=subjects.host(), transport=transport)

    return _against(name, router(FEW), router(MANY), size, "deployments")


def _plugins(size: Size) -> Figure:
    def router(count: int) -> cnroute.Router:
        given = [subjects.deployment("one", DIALECT, NOWHERE)]
        transport = MemoryTransport(samples.answer(DIALECT))
        return cnroute.Router(given, {"chat": ["one"]}, plugins=subjects.host(count), transport=transport)

    few, many = map(router, PLUGINS)
    return _against("50 plugins against 3", few, many, size, "plugins")


def _routed(answer: bytes = b"", pieces: tuple[bytes, ...] = ()) -> cnroute.Router:
    """A router over one deployment that takes prompts of any length."""
    transport = MemoryTransport(answer, pieces)
    return cnroute.Router([subjects.deployment("one", DIALECT, NOWHERE)], {"chat": ["one"]}, transport=transport)


def _prompt(lengths: Ends) -> Pair:
    router = _routed(samples.answer(DIALECT))
    answer = samples.answer(DIALECT)

    def alone(length: int) -> None:
        json.dumps(samples.request(DIALECT, characters=length)).encode()
        json.loads(answer)

    return alone, functools.partial(subjects.text_of, router)


def _answer(lengths: Ends) -> Pair:
    routers = {length: _routed(samples.answer(DIALECT, length)) for length in lengths}

    def alone(length: int) -> None:
        json.dumps(samples.request(DIALECT)).encode()
        json.loads(samples.answer(DIALECT, length))

    return alone, lambda length: subjects.text_of(routers[length])


def _stream(counts: Ends) -> Pair:
    events = {count: tuple(samples.events(DIALECT, count)) for count in counts}
    routers = {count: _routed(pieces=pieces) for count, pieces in events.items()}

    def alone(count: int) -> None:
        for event in events[count]:
            json.loads(event[6:])

    return alone, lambda count: subjects.stream_of(routers[count])


def _lengths(what: str, full: Ends, pair_of: Callable[[Ends], Pair], size: Size, gate: str) -> list[Figure]:
    """The slope against that of JSON alone over the whole range, and how straight the line is."""
    low, middle, high = ends = (full[0], *(full[0] + size.some(end) for end in full[1:]))
    works = {
        f"{name} {end}": repeated(functools.partial(subject, end))
        for name, subject in zip(("json", "cnroute"), pair_of(ends), strict=True)
        for end in ends
    }
    found = seconds(works, size, 1, warm_up=1)

    def between(name: str, start: int, end: int) -> list[float]:
        return slope(found[f"{name} {start}"], found[f"{name} {end}"], end - start)

    against = Ratio.of(between("cnroute", low, high), between("json", low, high))
    straight = Ratio.of(between("cnroute", middle, high), between("cnroute", low, middle))
    spread = f"quartiles {straight.low:.2f} to {straight.high:.2f}"
    each = f"{1000 * against.microseconds:.1f} of {1000 * against.base:.1f} ns; quartiles {against.low:.2f} to {against.high:.2f}"
    return [
        Figure(f"each {what}, {low:,} to {high:,}", against.value, "x JSON", gate, each),
        Figure(f"each {what}, upper half against lower", straight.value, "x", "straight", spread),
    ]


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
