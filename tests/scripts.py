"""The scripts of benchmarks/, loaded as modules under names that nobody else has."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

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
