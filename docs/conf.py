"""Sphinx's settings. Build: `sphinx-build -n -W -b html docs docs/_build/html`."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import cnroute

project = "cnroute"
author = "the cnroute authors"
release = version = cnroute.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"cnroute {release}"

# Docstrings give types in words.
autodoc_typehints = "none"
autodoc_member_order = "bysource"

# Python's own names: the build asks no other server, so they stay without a link.
nitpick_ignore_regex = [("py:.*", r"(?!cnroute).*")]

SINGLE = re.compile(r"(?<![`\w])`([^`\n]+)`(?!`)(?=(\w)?)")


def as_restructured_text(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Docstrings are written to be read as they are: names in single backquotes, lists without a blank line before them."""
    text = SINGLE.sub(lambda match: f"``{match[1]}``" + ("\\ " if match[2] else ""), "\n".join(lines))
    text = re.sub(r"(?m)^(?!- |  )(.+)\n(?=- )", r"\1\n\n", text)
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text)
