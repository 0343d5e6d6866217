"""Makes an environment for each peer, measures it there, prints one table for all.

    python benchmarks/peers/run.py --cache DIR [--only openai litellm] [--json FILE]

Each environment lies under DIR and is made once; `--renew` makes it anew. A peer that cannot be installed is named with the
reason, and the others are measured.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from harness.script import table  # noqa: E402 (this folder is not the one of the scripts)


@attrs.frozen
class Peer:
    """A file of this folder, what to install for it, and what its environment must say."""

    name: str
    module: str
    requirement: str
    environment: dict[str, str] = attrs.field(factory=dict)


PEERS = (
    Peer("litellm", "litellm_router", "litellm", {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
    Peer("openai", "openai_sdk", "openai"),
    Peer("dashscope", "dashscope_sdk", "dashscope"),
    Peer("any-llm", "any_llm_sdk", "any-llm-sdk[openai]"),
    Peer("pydantic-ai", "pydantic_ai_agent", "pydantic-ai-slim[openai]"),
)
HEADINGS = ("peer", "figure", "median", "unit", "spread")


class NotInstalled(Exception):
    """The peer's environment could not be made."""


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where the environments lie")
    parser.add_argument("--only", nargs="+", choices=[peer.name for peer in PEERS], metavar="PEER")
    parser.add_argument("--renew", action="store_true", help="install again, the newest versions")
    parser.add_argument("--runs", type=int, default=3, help="processes for each peer (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a few calls, to see that it works; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(arguments)


def dependencies() -> list[str]:
    """What cnroute itself needs; the package is taken from this checkout."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["options"]["install_requires"].split()


def environment(peer: Peer, cache: Path, renew: bool, with_pip: bool = True) -> Path:
    """The interpreter of the peer's environment, made if need be. Raises NotInstalled."""
    place = cache / peer.name
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = place / "installed"
    if renew or not done.exists():
        venv.create(place, with_pip=with_pip)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
        installed = subprocess.run([*command, peer.requirement, *dependencies()], capture_output=True, text=True, check=False)
        if installed.returncode:
            raise NotInstalled(installed.stderr.strip().splitlines()[-1])
        done.touch()
    return python


def measured(peer: Peer, python: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """What `measure.py` writes in the peer's environment."""
    file = asked.cache / f"{peer.name}.json"
    command = [str(python), str(HERE / "measure.py"), peer.module, "--runs", str(asked.runs), "--json", str(file)]
    given = {**os.environ, **peer.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, *(["--tiny"] if asked.tiny else [])], env=given, check=True)
    document: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return document


def rows(name: str, figures: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The figures of one peer."""
    return [
        (name, each["name"], f"{each['value']:.3g}", each["unit"], f"{min(each['values']):.3g} to {max(each['values']):.3g}")
        for each in figures
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every peer; 1 when one could not be."""
    asked = options(arguments)
    asked.cache.mkdir(parents=True, exist_ok=True)
    lines: list[tuple[str, ...]] = []
    documents: dict[str, Any] = {}
    missing: list[str] = []
    for peer in PEERS:
        if asked.only and peer.name not in asked.only:
            continue
        print(f"-- {peer.name}", flush=True)
        try:
            document = measured(peer, environment(peer, asked.cache, asked.renew), asked)
        except (NotInstalled, subprocess.CalledProcessError) as error:
            missing.append(f"{peer.name}: not measured, {error}")
            continue
        documents[peer.name] = document
        lines += rows(peer.name, document["figures"])
    print(*table(lines, HEADINGS), sep="\n")
    print(*(f"{name}: {document['machine']}" for name, document in documents.items()), *missing, sep="\n")
    if asked.json:
        asked.json.write_text(json.dumps(documents, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
