"""Sphinx's settings. Build: `sphinx-build -n -W -b html docs docs/_build/html`."""

from __future__ import annotations

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

# Docstrings write names in single backquotes and give types in words.
default_role = "literal"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

# Python's own names: the build asks no other server, so they stay without a link.
nitpick_ignore_regex = [("py:.*", r"(?!cnroute).*")]
