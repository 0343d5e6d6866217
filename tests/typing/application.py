"""A user's program, checked by `mypy --strict` against the published types; it is never run."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import assert_type

import cnroute


def router() -> cnroute.Router:
    yi = cnroute.Deployment(
        "yi", "dashscope", "yi-large", api_key={"env": "DASHSCOPE_API_KEY"},
        price=cnroute.Price("CNY", input="20", output="20", as_of="2025-06-01", source="our contract"),
    )
    fast = cnroute.Timeouts(connect=2)
    mm = cnroute.Deployment("mm", provider="minimax-v2", model="MiniMax-Text-01", api_key="sk", timeouts=fast)
    return cnroute.Router(
        [yi, mm],
        {"chat": cnroute.Route(policy="cheapest", targets=["yi", "mm"]), "plain": ["yi"]},
        retries=cnroute.Retries(max_attempts=2), breaker=None,
    )


def build(path: str) -> int:
    with cnroute.KnowledgeClient("sk", "1700000000000000000") as kb:
        file = kb.upload(path, progress=lambda sent, size: print(f"{sent} of {size}"))
        base = kb.wait(kb.create("faq", file.id, chunk_size=500).id, timeout=60)
        assert_type([each.documents for each in kb.list(page_size=5)], list[tuple[cnroute.Document, ...]])
        assert_type(kb.list_files(), tuple[cnroute.File, ...])
        return base.id


async def build_asynchronously(path: str) -> None:
    async with cnroute.AsyncKnowledgeClient(deployment=cnroute.Deployment("kb", "minimax-pro", "m", api_key="sk")) as kb:
        file = await kb.upload(path)
        assert_type(await kb.create("faq", file.id), cnroute.Base)
        assert_type([each async for each in kb.list()], list[cnroute.Base])


def ask(question: str) -> str:
    with router() as made:
        reply = made.chat(question, model="chat", timeout=20, max_tokens=64, metadata={"tenant": "a"})
        assert_type(reply, cnroute.ChatCompletion)
        assert_type(reply.text, str)
        assert_type(reply.choices[0].message.tool_calls, tuple[cnroute.ToolCall, ...])
        if reply.usage is not None:
            assert_type(reply.usage.total_tokens, int | None)
        if reply.cost is not None:
            assert_type(reply.cost.amount, Decimal | None)
        assert_type(reply.attempts, tuple[cnroute.Attempt, ...])
        assert_type(made.plan(question, model="chat"), cnroute.Plan)
        return reply.text


def stream(question: str) -> str:
    with router() as made, made.stream([{"role": "user", "content": question}], model="chat") as deltas:
        parts: list[str] = []
        for delta in deltas:
            assert_type(delta, cnroute.Delta)
            parts.append(delta.text)
        return "".join(parts)


def careful(question: str) -> str | None:
    try:
        return ask(question)
    except cnroute.StreamInterruptedError as error:
        return error.partial_text
    except cnroute.RateLimitError as error:
        assert_type(error.retry_after, float | None)
        return None
    except cnroute.CallError as error:
        assert_type(error.kind, cnroute.FailureKind)
        raise


async def ask_async(question: str) -> str:
    async with cnroute.AsyncRouter([cnroute.Deployment("mm", "minimax-v2", "MiniMax-Text-01", api_key="sk")]) as made:
        reply = await made.chat(question, model="mm")
        assert_type(reply, cnroute.ChatCompletion)
        async with made.stream(question, model="mm") as deltas:
            async for delta in deltas:
                assert_type(delta, cnroute.Delta)
        return reply.text


if __name__ == "__main__":
    print(ask("你好"), stream("你好"), careful("你好"), asyncio.run(ask_async("你好")))
