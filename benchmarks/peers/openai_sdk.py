"""The openai SDK against an OpenAI-compatible vendor: a kept client, its own retries off."""

from __future__ import annotations

import functools

import openai
from harness import samples

GATE = "openai"
DIALECT = samples.OPENAI


@functools.cache
def _client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=samples.KEY, base_url=base_url, max_retries=0)


def call(base_url: str) -> str:
    """The text of a plain answer."""
    answer = _client(base_url).chat.completions.create(
        model=samples.MODELS[DIALECT], messages=samples.messages(), max_tokens=samples.MAX_TOKENS
    )
    return answer.choices[0].message.content


def stream(base_url: str) -> str:
    """The text of a streamed answer, delta by delta."""
    chunks = _client(base_url).chat.completions.create(
        model=samples.MODELS[DIALECT], messages=samples.messages(), max_tokens=samples.MAX_TOKENS,
        stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
