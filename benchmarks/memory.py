"""How much memory does a process with cnroute hold, against one with urllib3, and does it grow with calls and streams?

Resident memory (Linux). After the import and after a first call, which loads what is loaded late; then over 20,000 calls and
over 2,000 streams, after a warm-up, each beginning and ending with a garbage collection.

    python benchmarks/memory.py --check
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from harness import prove, samples, script, subjects
from harness.rounds import Size
from harness.script import Figure
from harness.vendor import Vendor

CALLS, STREAMS = 20_000, 2_000
WARM_UP = 0.1
EVENTS = 50

_STARTED = """
import sys
sys.path[:0] = {path!r}
{work}
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""
_URLLIB3 = "import json, urllib3"
_CNROUTE = "import cnroute"
_A_CALL = {
    "urllib3": """
from harness import samples
from harness.yardstick import Urllib3
assert Urllib3().call({endpoint!r}, {dialect!r})
""",
    "cnroute": """
import cnroute
from harness import samples
with cnroute.Router([cnroute.Deployment("one", {dialect!r}, "MiniMax-Text-01", api_key="k", base_url={base!r})]) as router:
    assert router.chat(samples.messages(), model="one").text
""",
}


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """At rest, then growing."""
    names = {"endpoint": vendor.endpoint("plain", samples.MINIMAX), "base": vendor.base("plain"), "dialect": samples.MINIMAX}
    called = {name: _resident(work.format(**names)) for name, work in _A_CALL.items()}
    imported = {"urllib3": _resident(_URLLIB3), "cnroute": _resident(_CNROUTE)}
    bare = _resident("")
    figures = [
        _against("memory after the import", imported, bare, "memory"),
        _against("memory after a first call", called, bare, None),
    ]
    return [
        *figures,
        _growth(vendor, "plain", subjects.text_of, "calls", size.some(CALLS), "memory growth"),
        _growth(vendor, f"burst-{EVENTS}", subjects.stream_of, f"streams of {EVENTS} chunks", size.some(STREAMS), None),
    ]


def _resident(work: str) -> int:
    """The resident kB of a fresh process that did this."""
    path = [str(Path(__file__).parent), *(each for each in sys.path if each)]
    command = [sys.executable, "-c", _STARTED.format(path=path, work=work)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _against(name: str, kilobytes: dict[str, int], bare: int, gate: str | None) -> Figure:
    note = f"{kilobytes['cnroute'] / 1024:.1f} against {kilobytes['urllib3'] / 1024:.1f} MiB; Python alone {bare / 1024:.1f} MiB"
    return Figure(name, kilobytes["cnroute"] / kilobytes["urllib3"], "x", gate, note)


def _growth(vendor: Vendor, scenario: str, work: object, what: str, times: int, gate: str | None) -> Figure:
    """Resident memory of this process after many calls, less that before them."""
    with subjects.pair(vendor, samples.MINIMAX, scenario) as router:
        for _ in range(max(1, round(times * WARM_UP))):
            work(router)
        before = resident()
        for _ in range(times):
            work(router)
        grown = resident() - before
        opened = vendor.connections()
        work(router)
        if vendor.connections() > opened:
            raise prove.Unfair("the connection is not kept")
    return Figure(f"growth over {times:,} {what}", grown, "kB", gate, f"from {before / 1024:.1f} MiB")


def resident() -> int:
    """The resident kB of this process, its garbage collected."""
    gc.collect()
    with open("/proc/self/status") as lines:
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure, runs=3))
