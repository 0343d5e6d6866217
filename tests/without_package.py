"""Copies the repository without the package `cnroute`, so that only an installed wheel can answer for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("cnroute", ".git", ".tox", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "_build")
LEFT_OUT = shutil.ignore_patterns(*NAMES)


def main(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT, target, ignore=LEFT_OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
