"""What does installing cnroute bring along: how many distributions, how many bytes?

Read from the metadata of what is installed here: the requirements without extras, followed to their end. Compiled files are
left out, since they are made on the machine; cnroute's own files are counted in its package, wherever that lies.

    python benchmarks/install.py --check
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

from harness import script
from harness.rounds import Size
from harness.script import Figure
from harness.vendor import Vendor

import cnroute


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Distributions and megabytes."""
    sizes = {name: _bytes_of(name) for name in requirements("cnroute")}
    own = sum(path.stat().st_size for path in Path(cnroute.__file__).parent.rglob("*") if _counts(str(path)) and path.is_file())
    listed = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in sizes.items())
    whole = (own + sum(sizes.values())) / 1e6
    return [
        Figure("distributions besides cnroute", len(sizes), "", "distributions", ", ".join(sizes)),
        Figure("size with cnroute", whole, "MB", "install size", f"cnroute {own / 1e6:.2f}, {listed}"),
    ]


def requirements(name: str) -> list[str]:
    """Every distribution that `name` needs without extras, sorted."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        for line in importlib.metadata.requires(ahead.pop()) or ():
            requirement = _wanted(line)
            if requirement is not None and requirement not in found:
                found.add(requirement)
                ahead.append(requirement)
    return sorted(found)


def _wanted(line: str) -> str | None:
    """The name in a requirement that holds here, without extras."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    holds = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return re.sub(r"[-_.]+", "-", requirement.name).lower() if holds else None


def _bytes_of(name: str) -> int:
    files = importlib.metadata.files(name) or []
    return sum(Path(str(file.locate())).stat().st_size for file in files if _counts(str(file)))


def _counts(path: str) -> bool:
    return "__pycache__" not in path and not path.endswith(".pyc")


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure, runs=1))
