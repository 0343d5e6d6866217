"""MiniMax chatcompletion_pro: bots with names, function calls, knowledge bases, and answers in a given form (glyph).

Pages: "ChatCompletion Pro" of platform.minimaxi.com (2025-09, in its history list); client samples of 2024-08-20.
"""

from __future__ import annotations

from cnroute.deployments import ProviderInfo
from cnroute.hookspecs import hookimpl
from cnroute.providers.minimax.base import GROUP_OPTION, MASK_OPTION, NAME_OPTIONS, described
from cnroute.providers.minimax.codes import map_error
from cnroute.providers.minimax.pro.reply import parse_response
from cnroute.providers.minimax.pro.request import NAME, build_request
from cnroute.providers.minimax.pro.stream import parse_stream_line

__all__ = ["build_request", "describe_provider", "map_error", "parse_response", "parse_stream_line"]


@hookimpl
def describe_provider() -> ProviderInfo:
    """What `minimax-pro` is. `sample_messages`, `plugins` and glyphs of one's own go through `extra`."""
    capabilities = ("streaming", "tools", "json", "web_search", "knowledge_base")
    return described(NAME, capabilities, GROUP_OPTION | NAME_OPTIONS | MASK_OPTION, ("group_id",))
