"""The tables of the pages say what the code does (docs/tables.py writes them)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import cnroute
from cnroute import hookspecs
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITTEN = [*sorted(DOCS.glob("*.md")), ROOT / "benchmarks/README.md"]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_what_the_code_says(page: Path, tables: ModuleType) -> None:
    """Run `python docs/tables.py` after a change that moves a table."""
    text = page.read_text("utf-8")
    assert tables.rendered(text) == text


def test_every_table_stands_on_a_page(tables: ModuleType) -> None:
    """No table is written for nobody."""
    text = "".join(page.read_text("utf-8") for page in WRITTEN)
    assert [name for name in tables.TABLES if f"<!-- table: {name} -->" not in text] == []


def test_every_public_name_stands_in_the_reference() -> None:
    """An exported name without a place in the reference fails here, and so does a place without a name."""
    text = (DOCS / "reference.md").read_text("utf-8")
    listed = set(re.findall(r"^\.\. auto(?:class|exception|function|data):: cnroute\.(\w+)$", text, re.MULTILINE))
    assert listed == set(cnroute.__all__) - {"__version__"}


def test_every_hook_has_a_section() -> None:
    """The plugin page shows each hook's docstring, which is the contract."""
    text = (DOCS / "plugins.md").read_text("utf-8")
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "cnroute_spec")]
    assert len(hooks) == 10
    assert [name for name in hooks if f"autofunction:: cnroute.hookspecs.{name}" not in text] == []


def test_the_error_tree_is_drawn_whole() -> None:
    """Every exception class stands in the tree of the error page, below its base."""
    text = (DOCS / "errors.md").read_text("utf-8")
    tree = text[text.index("```text\nCnrouteError") :].split("```")[1].splitlines()[1:]
    bases: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in tree:
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        bases[depth:] = [name]
        drawn[name] = bases[depth - 1] if depth else None
    public = {name: getattr(cnroute, name) for name in cnroute.__all__}
    errors = {name: value for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}
    assert drawn == {name: None if name == "CnrouteError" else value.__base__.__name__ for name, value in errors.items()}
