"""LiteLLM's Router over two equal deployments, its retries off; everything else as it comes.

It wants to fetch a price list when it is imported; the environment variable in `run.py` makes it take its own copy.
"""

from __future__ import annotations

import functools

import litellm
from harness import samples

GATE = "litellm"
DIALECT = samples.OPENAI


@functools.cache
def _router(base_url: str) -> litellm.Router:
    given = {"model": f"openai/{samples.MODELS[DIALECT]}", "api_base": base_url, "api_key": samples.KEY}
    return litellm.Router(model_list=[{"model_name": "chat", "litellm_params": given} for _ in range(2)], num_retries=0)


def call(base_url: str) -> str:
    """The text of a plain answer."""
    answer = _router(base_url).completion(model="chat", messages=samples.messages(), max_tokens=samples.MAX_TOKENS)
    return answer.choices[0].message.content


def stream(base_url: str) -> str:
    """The text of a streamed answer, delta by delta."""
    chunks = _router(base_url).completion(
        model="chat", messages=samples.messages(), max_tokens=samples.MAX_TOKENS,
        stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
