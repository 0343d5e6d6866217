"""A stand-in for the vendors: a plugin that puts the emulator's address in the place of theirs.

Blocks of the documentation name no address, as their readers' programs do. This plugin wraps `describe_provider`, is
found through the entry-point group like any other, and so needs no change to the block or to cnroute.
"""

from __future__ import annotations

from pathlib import Path

from cnroute.emulator import Emulator

PROVIDERS = ("dashscope", "minimax-v2", "minimax-pro", "minimax-legacy")
KEYS = {
    "DASHSCOPE_API_KEY": "sk-docs",
    "MINIMAX_API_KEY": "eyJ-docs",
    "MINIMAX_GROUP_ID": "1700000000000000000",
    "ACME_API_KEY": "acme-docs",
    "DEEPSEEK_API_KEY": "sk-docs",
}

_PLUGIN = '''
import attrs, cnroute

BASES = {bases!r}

@cnroute.hookimpl(wrapper=True)
def describe_provider():
    info = yield
    return attrs.evolve(info, base_url=BASES[info.name]) if info is not None and info.name in BASES else info
'''
MODULE = "cnroute_docs_emulated"
_ENTRY = f"[cnroute]\nzz-emulated = {MODULE}\n"


def write_plugin(folder: Path, emulator: Emulator) -> Path:
    """Make `folder` an importable place that holds the plugin as an installed distribution."""
    bases = {name: emulator.base_url(name) for name in PROVIDERS}
    (folder / f"{MODULE}.py").write_text(_PLUGIN.format(bases=bases), "utf-8")
    info = folder / f"{MODULE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cnroute-docs-emulated\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(_ENTRY, "utf-8")
    return folder
