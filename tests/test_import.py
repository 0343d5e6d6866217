"""What `import cnroute` costs and touches. Each test asks a fresh interpreter."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

import pytest

HEAVY = ("urllib3", "structlog", "cattrs", "pluggy", "asyncio", "ssl", "socket")
FIVE = "import pluggy, attrs, cattrs, urllib3, structlog"

# Anything that reaches for the network, a process or a thread raises; reading the environment is noted.
GUARD = """
import os, sys
families = ("socket", "subprocess", "urllib", "http")
events = ("os.fork", "os.system", "_thread.start_new_thread")
def forbid(event, arguments):
    if event.partition(".")[0] in families or event in events:
        raise RuntimeError(f"import touched {event}")
sys.addaudithook(forbid)
asked = []
class Environment(dict):
    def __getitem__(self, name): asked.append(name); return super().__getitem__(name)
    def get(self, name, default=None): asked.append(name); return super().get(name, default)
    def __contains__(self, name): asked.append(name); return super().__contains__(name)
os.environ = Environment(os.environ)
"""


def fresh(code: str, *options: str) -> Any:
    """Run `code` in a new interpreter; what it prints, as JSON."""
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout or "null")


def test_importing_touches_nothing() -> None:
    """No network, no process, no thread, no output, no environment variable; no warning either."""
    code = GUARD + "import threading, json; import cnroute; print(json.dumps([threading.active_count(), asked]))"
    assert fresh(code, "-W", "error") == [1, []]


def test_importing_is_silent() -> None:
    """Nothing is written."""
    assert fresh("import cnroute", "-W", "error") is None


@pytest.mark.parametrize("module", ["cnroute", "cnroute.testing.pytest_plugin"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    """HTTP, log, plugins and asyncio come with the first router (a pytest run imports the fixture plugin always)."""
    before = "pytest" if "pytest" in module else "sys"
    note = f"import sys, json; import {before}; old = set(sys.modules)"
    loaded = fresh(f"{note}; import {module}; print(json.dumps(sorted(set(sys.modules) - old)))")
    assert [name for name in HEAVY if name in loaded] == []


def test_every_public_name_can_be_had() -> None:
    """The lazy door opens for each name that `cnroute.__all__` lists, and for no other."""
    code = """
import json, cnroute
print(json.dumps([[name for name in cnroute.__all__ if getattr(cnroute, name, None) is None],
                  sorted(set(cnroute.__all__) - set(dir(cnroute))), hasattr(cnroute, "NoSuchName")]))
"""
    assert fresh(code, "-W", "error") == [[], [], False]


def test_importing_is_cheap() -> None:
    """`import cnroute` takes at most 1.3 times the CPU time of importing its five dependencies (median of 7 pairs)."""
    clock = "import time; begun = time.process_time()\n{}\nprint(time.process_time() - begun)"
    fresh(clock.format("import cnroute")), fresh(clock.format(FIVE))  # compiled files and disk caches
    ratios = [fresh(clock.format("import cnroute")) / fresh(clock.format(FIVE)) for _ in range(7)]
    assert statistics.median(ratios) <= 1.3, ratios
