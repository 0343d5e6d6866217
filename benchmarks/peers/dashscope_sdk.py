"""DashScope's own SDK on its native protocol, as its documentation calls it."""

from __future__ import annotations

from typing import Any

import dashscope
from harness import samples

GATE = "dashscope"
DIALECT = samples.DASHSCOPE


def _ask(base_url: str, **more: Any) -> Any:
    dashscope.base_http_api_url = base_url
    return dashscope.Generation.call(
        api_key=samples.KEY, model=samples.MODELS[DIALECT], messages=samples.messages(), result_format="message",
        max_tokens=samples.MAX_TOKENS, **more,
    )  # fmt: skip


def call(base_url: str) -> str:
    """The text of a plain answer."""
    return _ask(base_url).output.choices[0].message.content


def stream(base_url: str) -> str:
    """The text of a streamed answer, delta by delta."""
    return "".join([each.output.choices[0].message.content for each in _ask(base_url, stream=True, incremental_output=True)])
