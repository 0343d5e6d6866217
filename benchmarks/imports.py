"""How much CPU does `import cnroute` take, against importing the five libraries it stands on?

Each import in a fresh interpreter, in turns; compiled files are written by a first import that is not counted. The CPU of
the interpreter's own start is not in the figure. What is loaded later, by the first router and its first call, is printed too.

    python benchmarks/imports.py --check
"""

from __future__ import annotations

import subprocess
import sys

from harness import samples, script
from harness.rounds import Ratio, Size
from harness.script import Figure
from harness.vendor import Vendor

FIVE = "import attrs, cattrs, pluggy, structlog, urllib3"
FIRST_CALL = """
import cnroute
with cnroute.Router([cnroute.Deployment("one", {dialect!r}, "MiniMax-Text-01", api_key="k", base_url={base!r})]) as router:
    router.chat("hello", model="one")
"""
_TIMED = """
import sys, time
sys.path[:] = {path!r}
work = compile({work!r}, "work", "exec")
begun = time.process_time()
exec(work)
print(time.process_time() - begun)
"""


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """The import, and all that a first call needs."""
    works = {
        "cnroute": "import cnroute",
        "five": FIVE,
        "urllib3": "import json, urllib3",
        "first call": FIRST_CALL.format(dialect=samples.MINIMAX, base=vendor.base("plain")),
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        _cpu(work)
    for block in range(min(size.blocks, 9)):
        for name in sorted(works, reverse=bool(block % 2)):
            found[name].append(_cpu(works[name]))
    return [
        Figure.of("import cnroute", Ratio.of(found["cnroute"], found["five"]), "import", "x"),
        Figure.of("import urllib3, for comparison", Ratio.of(found["urllib3"], found["five"]), None, "x"),
        Figure.of("import, first router and first call", Ratio.of(found["first call"], found["five"]), None, "x"),
    ]


def _cpu(work: str) -> float:
    """CPU seconds of `work` in a fresh interpreter."""
    command = [sys.executable, "-c", _TIMED.format(path=sys.path, work=work)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure, runs=3))
