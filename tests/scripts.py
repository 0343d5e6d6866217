"""The scripts of benchmarks/, loaded as modules under names that nobody else has."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cnroute
from tests.docs.pages import ROOT

FOLDER = ROOT / "benchmarks"


def script(name: str) -> ModuleType:
    """benchmarks/NAME.py; what the scripts share (`harness`, `chaosbench`) is imported as they do it."""
    known = f"_benchmark_{name.replace('/', '_')}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.path.insert(0, str(FOLDER))
        try:
            module = sys.modules[known] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
        finally:
            sys.path.remove(str(FOLDER))
    return sys.modules[known]


def output(name: str, *arguments: str) -> str:
    """What benchmarks/NAME.py prints, run in a process of its own over the package that is tested here."""
    path = os.pathsep.join([str(Path(cnroute.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
