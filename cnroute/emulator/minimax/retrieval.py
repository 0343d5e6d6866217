"""Chat with a knowledge base (seed 003): ``knowledge_base_param`` and what the reply adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cnroute.emulator.exchange import JSON, Range, is_count, require
from cnroute.emulator.minimax.dialect import MiniMax


def last_text(messages: Iterable[Mapping[str, Any]]) -> str:
    return next((str(one["text"]) for one in reversed(list(messages)) if one["sender_type"] == "USER"), "")


def knowledge(body: Mapping[str, Any]) -> JSON:
    """The retrieved pieces beside an answer with ``knowledge_base_param`` (seed 003), at most ``top_k`` of them."""
    given = body.get("knowledge_base_param")
    if not given:
        return {}
    base, question = given["knowledge_base_id"], last_text(body["messages"])[:12]
    numbers = range(1, 1 + min(2, given.get("top_k", 5)))
    chunks = [{"content": f"示例片段{n}:与“{question}”有关的内容。", "index": n, "document": str(base + n)} for n in numbers]
    return {"knowledge_base": {"knowledge_base_id": base, "chunks": chunks}}


def knowledge_base_is_sound(request: MiniMax) -> None:
    given = request.ask.body.get("knowledge_base_param")
    if given is None:
        return
    number = given.get("knowledge_base_id") if isinstance(given, dict) else None
    require(is_count(number), request.invalid("knowledge_base_id should be an integer"))
    require(is_count(given.get("top_k", 5)), request.invalid("top_k should be positive"))
    near = given.get("thresh", 0) in Range(0, 1, low_in=True, high_in=False)
    require(near, request.invalid("thresh should be in [0, 1)"))
