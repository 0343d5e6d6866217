"""any-llm with its OpenAI provider, the client kept."""

from __future__ import annotations

import functools
from typing import Any

from any_llm import AnyLLM
from harness import samples

GATE = None
DIALECT = samples.OPENAI


@functools.cache
def _client(base_url: str) -> AnyLLM:
    return AnyLLM.create("openai", api_key=samples.KEY, api_base=base_url)


def _ask(base_url: str, **more: Any) -> Any:
    return _client(base_url).completion(
        model=samples.MODELS[DIALECT], messages=samples.messages(), max_tokens=samples.MAX_TOKENS, **more
    )


def call(base_url: str) -> str:
    """The text of a plain answer."""
    return _ask(base_url).choices[0].message.content


def stream(base_url: str) -> str:
    """The text of a streamed answer, delta by delta."""
    chunks = _ask(base_url, stream=True, stream_options={"include_usage": True})
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
