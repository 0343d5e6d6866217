"""pydantic-ai: an agent over a FallbackModel of two equal models, in one event loop that is kept."""

from __future__ import annotations

import asyncio
import functools

from harness import samples
from pydantic_ai import Agent
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

GATE = None
DIALECT = samples.OPENAI
_RUNNER = asyncio.Runner()
_SYSTEM, _QUESTION = (message["content"] for message in samples.messages())


@functools.cache
def _agent(base_url: str) -> Agent:
    provider = OpenAIProvider(base_url=base_url, api_key=samples.KEY)
    models = [OpenAIChatModel(samples.MODELS[DIALECT], provider=provider) for _ in range(2)]
    return Agent(FallbackModel(*models), system_prompt=_SYSTEM, model_settings={"max_tokens": samples.MAX_TOKENS}, retries=0)


def call(base_url: str) -> str:
    """The text of a plain answer."""
    return _RUNNER.run(_agent(base_url).run(_QUESTION)).output


def stream(base_url: str) -> str:
    """The text of a streamed answer, delta by delta."""
    return _RUNNER.run(_streamed(base_url))


async def _streamed(base_url: str) -> str:
    async with _agent(base_url).run_stream(_QUESTION) as run:
        return "".join([piece async for piece in run.stream_text(delta=True, debounce_by=None)])
