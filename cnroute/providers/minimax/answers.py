"""What the replies of MiniMax's three dialects share: usage, end marks, ids, sources.

Rules of this file
- Nothing raises, whatever a field holds; what is not what the page says is unknown.
- A total of 0 tokens is a placeholder, never a free call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cnroute.chat import Source, Usage
from cnroute.wire import JsonError, dumps, loads, text_or_none, token_count

# The vendor's words; `max_output` (pro): prompt and answer together hit the model's limit.
_FINISH = {
    "stop": "stop",
    "length": "length",
    "max_output": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}

# Functions of the server itself (web search) are called `plugin_...`; callers' names may not begin so (pro page).
SERVER_FUNCTION = "plugin_"


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def end_mark(value: object) -> str | None:
    """The vendor's finish reason; None while the answer goes on."""
    return value if isinstance(value, str) and value and value != "null" else None


def finish_reason(mark: object, called: bool) -> str | None:
    """The neutral word for the vendor's; an answer that calls functions under `stop` is `tool_calls`."""
    word = _FINISH.get(mark) if isinstance(mark, str) else None
    return "tool_calls" if called and word == "stop" else word


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """The tokens that an answer or a frame speaks of; older models give a total only."""
    usage = data.get("usage")
    # The placeholder stands in every increment: decide it first.
    if not isinstance(usage, dict) or not any(map(usage.get, _COUNTS)):
        return None
    given, made = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    total = token_count(usage.get("total_tokens"))
    if not total and not given and not made:
        return None
    cached = _detail(usage.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _detail(usage.get("completion_tokens_details"), "reasoning_tokens")
    if not given and not made:  # a total says that they are placeholders
        return Usage(None, None, total, cached, reasoning)
    return Usage(given, made, total or None, cached, reasoning)


def _detail(details: object, name: str) -> int | None:
    return token_count(details.get(name)) if isinstance(details, dict) else None


def text_of(content: object) -> str | None:
    """The text of a `content` field: text, or a list of text parts. None for null and everything else."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if isinstance(content, list) and texts and len(texts) == len(content) else None


def arguments_of(value: object) -> str:
    """The arguments of a function call as JSON text; some servers send the object itself."""
    if isinstance(value, str) or value is None:
        return value or ""
    try:
        return dumps(value).decode()
    except (ValueError, RecursionError):
        return ""


def call_id(answer: str | None, data: Mapping[str, Any], call: str, index: int = 0) -> str:
    """An id for a function call that came without one: the same for the same answer, another for another."""
    seed = f"{_label(data.get('created'))} {call}".encode("utf-8", "replace")
    return f"call_{answer or hashlib.sha256(seed).hexdigest()[:24]}_{index}"


def web_sources(content: object) -> tuple[Source, ...]:
    """The pages in the JSON list that a web search puts into a message of its own."""
    try:
        pages = loads(content) if isinstance(content, str) else content
    except JsonError:
        return ()
    return tuple(_page(page) for page in pages if isinstance(page, dict)) if isinstance(pages, list) else ()


def _page(page: Mapping[str, Any]) -> Source:
    text, title, url = (text_or_none(page.get(key)) for key in ("content", "title", "url"))
    return Source("web_search", text=text, index=token_count(page.get("no")), title=title, url=url)


def knowledge_sources(data: Mapping[str, Any]) -> tuple[Source, ...]:
    """The chunks of `knowledge_base`, read leniently: the page types them as an object and their text as a number."""
    base = data.get("knowledge_base")
    chunks = base.get("chunks") if isinstance(base, dict) else None
    if isinstance(chunks, dict):
        chunks = [chunks] if "content" in chunks or "context" in chunks else list(chunks.values())
    return tuple(_chunk(chunk) for chunk in chunks if isinstance(chunk, dict)) if isinstance(chunks, list) else ()


def _chunk(chunk: Mapping[str, Any]) -> Source:
    text = _label(chunk.get("content")) or _label(chunk.get("context"))
    return Source("knowledge_base", text, _label(chunk.get("document")), token_count(chunk.get("index")))


def _label(value: object) -> str | None:
    """Text, or an exact integer as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text_or_none(value)
