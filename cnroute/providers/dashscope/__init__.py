"""DashScope (Alibaba Model Studio), native text generation: Yi, abab and MiniMax-M2.x, Qwen, DeepSeek.

This module is the plugin `dashscope`. What is where
- `models`: what each family of models takes, as a table.
- `request`: a call into an HTTP request.
- `reply`: a complete answer into a completion.
- `stream`: a line of a stream into events.
- `codes`: error codes into failures, as a table.
"""

from __future__ import annotations

from cnroute import catalogue
from cnroute.deployments import ProviderInfo
from cnroute.hookspecs import hookimpl
from cnroute.providers.dashscope.codes import map_error
from cnroute.providers.dashscope.reply import parse_response
from cnroute.providers.dashscope.request import build_request
from cnroute.providers.dashscope.stream import parse_stream_line

__all__ = ["build_request", "describe_provider", "map_error", "parse_response", "parse_stream_line"]


@hookimpl
def describe_provider() -> ProviderInfo:
    """DashScope in China (Beijing); other regions have other hosts, and a key belongs to one region."""
    return ProviderInfo(
        name="dashscope",
        base_url="https://dashscope.aliyuncs.com/api/v1",
        env={"api_key": "DASHSCOPE_API_KEY", "base_url": "DASHSCOPE_HTTP_BASE_URL"},
        options={
            "workspace": "id of the workspace that the call runs in; needed with a sub-account's key",
            "data_inspection": "true asks for Alibaba's content inspection (header X-DashScope-DataInspection)",
        },
        capabilities=frozenset(("streaming", "tools", "json", "web_search", "reasoning")),
        models=catalogue.models("dashscope"),
    )
