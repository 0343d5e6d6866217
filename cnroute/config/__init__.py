"""Settings from a TOML file, a mapping or the environment, as the arguments of a router.

Every problem is found and reported at once, each with file, key and reason; unknown keys come with a suggestion.
"""

from __future__ import annotations

from cnroute.config.document import problems_of, router_arguments
from cnroute.config.environment import (
    BLOCK_PLUGINS,
    CONFIG,
    KEY_FILE,
    KEY_FILE_AT_HOME,
    LOAD_PLUGINS,
    KeySource,
    base_urls,
    environment_arguments,
    key_sources,
    plugin_host,
)
from cnroute.config.prices import price_rows
from cnroute.config.reading import Reader

__all__ = [
    "BLOCK_PLUGINS",
    "CONFIG",
    "KEY_FILE",
    "KEY_FILE_AT_HOME",
    "LOAD_PLUGINS",
    "KeySource",
    "Reader",
    "base_urls",
    "environment_arguments",
    "key_sources",
    "plugin_host",
    "price_rows",
    "problems_of",
    "router_arguments",
]
