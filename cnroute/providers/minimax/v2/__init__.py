"""MiniMax chatcompletion_v2: the dialect near to OpenAI's, and the one that still gets new models.

Pages: "Text generation (chatcompletion_v2)" of platform.minimaxi.com (2025-09, 2026) and platform.minimax.io (2026);
client samples of 2024-08-20.
"""

from __future__ import annotations

from cnroute.deployments import ProviderInfo
from cnroute.hookspecs import hookimpl
from cnroute.providers.minimax.base import MASK_OPTION, described
from cnroute.providers.minimax.codes import map_error
from cnroute.providers.minimax.v2.reply import parse_response
from cnroute.providers.minimax.v2.request import NAME, build_request
from cnroute.providers.minimax.v2.stream import parse_stream_line

__all__ = ["build_request", "describe_provider", "map_error", "parse_response", "parse_stream_line"]


@hookimpl
def describe_provider() -> ProviderInfo:
    """What `minimax-v2` is; `json` holds for MiniMax-Text-01 only, `reasoning` for models that think by themselves."""
    return described(NAME, ("streaming", "tools", "json", "web_search", "reasoning"), MASK_OPTION)
