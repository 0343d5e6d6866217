"""How many Python calls does a routed call cost, and each line of a stream; how much memory, how many modules?

Counted with `sys.setprofile` and `tracemalloc` over the real router and an in-memory transport: no kernel, no network, no
clock, so the figures are the same on every run and on every machine with this Python. JSON is the standard library's.
`python benchmarks/counts.py` prints them beside the recorded ones and fails when one has grown by more than it may;
`--record` writes them into counts.json.

What must not grow has several columns: with 1 and 50 plugins, with 2 and 200 deployments, with a short and a long text.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if "cnroute" not in sys.modules:
    sys.modules["orjson"] = None  # type: ignore[assignment] # the figures are those of a plain installation

from harness import samples, subjects
from harness.subjects import MemoryTransport

import cnroute

RECORD = Path(__file__).with_name("counts.json")
# Python calls may grow by 5 %. Memory and modules depend a little on the versions of the libraries.
ALLOWED, ALLOWED_ELSE = 1.05, 1.15
PLUGINS = (1, 50)
DEPLOYMENTS = (2, 200)
CANDIDATES = (20, 200)
LENGTHS = (100, 100_000)
# Beyond 8,192 characters the depth of JSON is found in another way (`codec.loads`), by one call more.
ANSWERS = (10_000, 100_000)
SHORT, LONG = 20, 120
LONGER = (400, 800)
# A router remembers the last 1,000 calls of a deployment.
FULL, KEPT = 1_050, 100
DIALECTS = (samples.DASHSCOPE, samples.MINIMAX)
NOWHERE = "http://127.0.0.1:1"

Figures = dict[str, dict[str, float]]


# -- what is counted -----------------------------------------------------------------------------------------------


def router(dialect: str, transport: MemoryTransport, plugins: int = 1, deployments: int = 1, **more: Any) -> cnroute.Router:
    """A router over so many deployments and other plugins; the route `chat` has the first deployment, or `targets`."""
    given = [subjects.deployment(f"d{number}", dialect, NOWHERE) for number in range(deployments)]
    route = cnroute.Route(policy=more.pop("policy", "ordered"), targets=more.pop("targets", ["d0"]))
    return cnroute.Router(given, {"chat": route}, plugins=subjects.host(plugins - 1), transport=transport, **more)


def answering(dialect: str, characters: int = samples.CHARACTERS) -> MemoryTransport:
    """A vendor with one plain answer."""
    return MemoryTransport(samples.answer(dialect, characters))


def streaming(dialect: str, chunks: int, together: bool = False) -> MemoryTransport:
    """A vendor with one stream, each event in a read of its own, or all in one."""
    pieces = list(samples.events(dialect, chunks))
    return MemoryTransport(pieces=[b"".join(pieces)] if together else pieces)


class Failing(MemoryTransport):
    """In memory, a vendor whose deployment `d0` refuses."""

    def bind(self, deployment: cnroute.Deployment) -> MemoryTransport:
        """The transport of one deployment."""
        dialect = deployment.provider
        return MemoryTransport(samples.refusal(dialect) if deployment.name == "d0" else samples.answer(dialect))


# -- how it is counted ---------------------------------------------------------------------------------------------


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions run (or generators go on) in `work`; the smaller of two, after a warm-up."""
    counts = []
    for _ in range(3):
        count = 0

        def note(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(None)
        counts.append(count)
    return min(counts[1:])


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that Python holds during `work` beyond what it held before; the smaller of two."""
    work()
    peaks = []
    for _ in range(2):
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            work()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
    return min(peaks)


def kept_of(work: Callable[[], object]) -> int:
    """The blocks of memory that each of many calls leaves behind, when every bounded memory is full."""
    for _ in range(FULL):
        work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(KEPT):
        work()
    gc.collect()
    return round((sys.getallocatedblocks() - before) / KEPT)


def asked(made: cnroute.Router, characters: int = samples.CHARACTERS) -> Callable[[], str]:
    """A call through a router that is kept, proven once."""
    assert subjects.text_of(made, characters)
    return lambda: subjects.text_of(made, characters)


def read(made: cnroute.Router, chunks: int) -> Callable[[], str]:
    """A stream through a router that is kept, proven once."""
    assert subjects.stream_of(made) == samples.said(chunks)
    return lambda: subjects.stream_of(made)


def _columns(values: Iterable[int], cost: Callable[[int], float]) -> dict[str, float]:
    return {str(value): cost(value) for value in values}


# -- the figures ---------------------------------------------------------------------------------------------------


def calls(dialect: str) -> Figures:
    """Python calls of a plain call, by what it must not depend on, and of its dearer kinds."""
    return {
        f"call {dialect}": _columns(PLUGINS, lambda count: calls_of(asked(router(dialect, answering(dialect), count)))),
        f"call, deployments {dialect}": _columns(
            DEPLOYMENTS, lambda count: calls_of(asked(router(dialect, answering(dialect), deployments=count)))
        ),
        f"call, prompt {dialect}": _columns(
            LENGTHS, lambda length: calls_of(asked(router(dialect, answering(dialect)), length))
        ),
        f"call, answer {dialect}": _columns(ANSWERS, lambda length: calls_of(asked(router(dialect, answering(dialect, length))))),
        f"call, cheapest of two {dialect}": {"": calls_of(asked(_two(dialect, answering(dialect), "cheapest")))},
        f"call, failed over {dialect}": {"": calls_of(asked(_two(dialect, Failing(), "ordered")))},
        f"call, each further candidate {dialect}": {"": _each_candidate(dialect)},
    }


def _two(dialect: str, transport: MemoryTransport, policy: str) -> cnroute.Router:
    return router(dialect, transport, deployments=2, targets=["d0", "d1"], policy=policy, breaker=None)


def _each_candidate(dialect: str) -> float:
    """Of an ordered route of 200 against one of 20."""
    less, more = (
        calls_of(asked(router(dialect, answering(dialect), deployments=count, targets=[f"d{number}" for number in range(count)])))
        for count in CANDIDATES
    )
    return round((more - less) / (CANDIDATES[1] - CANDIDATES[0]), 2)


def lines(dialect: str) -> Figures:
    """Python calls of each line with content, from the bytes to the caller's loop."""
    return {
        f"line {dialect}": _columns(PLUGINS, lambda count: _each_line(dialect, (SHORT, LONG), plugins=count)),
        f"line in a burst {dialect}": _columns(PLUGINS, lambda count: _each_line(dialect, (SHORT, LONG), True, count)),
        f"line in a burst, late {dialect}": {
            f"{SHORT} to {LONG}": _each_line(dialect, (SHORT, LONG), True),
            f"{LONGER[0]} to {LONGER[1]}": _each_line(dialect, LONGER, True),
        },
    }


def _each_line(dialect: str, ends: tuple[int, int], together: bool = False, plugins: int = 1) -> float:
    short, long = (calls_of(read(router(dialect, streaming(dialect, chunks, together), plugins), chunks)) for chunks in ends)
    return (long - short) / (ends[1] - ends[0])


def memory(dialect: str) -> Figures:
    """Bytes: the most that a call holds, what stays of it, and what each further chunk of a stream adds."""
    one = asked(router(dialect, answering(dialect)))
    short, long = (peak_of(read(router(dialect, streaming(dialect, chunks, True)), chunks)) for chunks in LONGER)
    return {
        f"bytes of a call {dialect}": {"": peak_of(one)},
        f"blocks kept of a call {dialect}": {"": kept_of(one)},
        f"bytes of a chunk {dialect}": {"": round((long - short) / (LONGER[1] - LONGER[0]), 1)},
    }


def modules() -> Figures:
    """Modules that are loaded by the import, and by all that a first call needs."""
    return {
        "modules of the import": {"": _loaded("import cnroute")},
        "modules of a first call": {"": _loaded(_FIRST_CALL.format(dialect=samples.MINIMAX))},
    }


_FIRST_CALL = """
import cnroute
one = cnroute.Deployment("one", {dialect!r}, "MiniMax-Text-01", api_key="k", base_url="http://127.0.0.1:1")
with cnroute.Router([one]) as router:
    try:
        router.chat("hello", model="one")
    except cnroute.ConnectionFailedError:
        pass
"""


def _loaded(work: str) -> int:
    """How many modules a fresh interpreter has loaded for this, beside those that some have at their start."""
    start = f"import sys; sys.path[:] = {sys.path!r}; import __future__, importlib, re, typing, warnings"
    code = f"{start}; before = len(sys.modules)\n{work}\nprint(len(sys.modules) - before)"
    return int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure() -> Figures:
    """Every figure, as `{"call dashscope": {"1": ..., "50": ...}}`."""
    found: Figures = {}
    for dialect in DIALECTS:
        found |= calls(dialect) | lines(dialect) | memory(dialect)
    return found | modules()


# -- the gate ------------------------------------------------------------------------------------------------------


def recorded() -> Figures:
    """The figures in counts.json."""
    figures: Figures = json.loads(RECORD.read_text("utf-8"))
    return figures


def allowed(name: str) -> float:
    """By how much a figure may have grown."""
    return ALLOWED_ELSE if name.startswith(("bytes", "blocks", "modules")) else ALLOWED


def problems(now: Figures, before: Figures) -> list[str]:
    """What has grown: a figure by more than it may, or from one column to the next."""
    found = [
        f"{name}{column and f' ({column})'}: {value:g}, recorded {before[name][column]:g}"
        for name, values in now.items()
        for column, value in values.items()
        if value > before[name][column] * allowed(name) + 1e-9
    ]
    return found + [
        f"{name} grows: " + ", ".join(f"{value:g} ({column})" for column, value in values.items())
        for name, values in now.items()
        if len(set(values.values())) > 1
    ]


def main() -> int:
    """Print, compare, and record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the figures into counts.json")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and compare nothing")
    options = parser.parse_args()
    now = measure()
    if options.json:
        print(json.dumps(now))
        return 0
    if options.record:
        RECORD.write_text(json.dumps(now, indent=2) + "\n", "utf-8")
    before = recorded()
    print(f"{'':<40} {'columns':>14} {'now':>8} {'recorded':>9}")
    for name, values in now.items():
        for column, value in values.items():
            print(f"{name:<40} {column:>14} {value:>8g} {before[name][column]:>9g}")
    found = problems(now, before)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
