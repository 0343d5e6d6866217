"""Chat with a knowledge base (seed 003): ``knowledge_base_param``, what is retrieved for it, and what the reply adds.

The page says what comes back and not how it is found. Here the question is the last user text behind as many messages as
``num_prev_messages`` says, the pieces are ranked by BM25 (``knowledge.ranking``), and ``thresh`` is the share of the
question's terms that a piece must hold. The model is given the pieces inside of ``pattern``, and those tokens are billed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cnroute.emulator.answers import tokens
from cnroute.emulator.exchange import JSON, Range, is_count, require
from cnroute.emulator.knowledge.ranking import terms
from cnroute.emulator.knowledge.values import Piece
from cnroute.emulator.minimax.dialect import MiniMax

PATTERN = "请根据以下资料回答问题。\n{{context}}\n问题:{{question}}"
PLACES = ("{{context}}", "{{question}}")
SENTENCES = re.compile(r"[^。!?\n\uff01\uff1f]+[。!?\uff01\uff1f]?")
LONGEST_QUOTE = 80


@dataclass(slots=True, frozen=True)
class Retrieved:
    """The pieces that fit a question of a request."""

    base: int
    question: str
    pieces: Sequence[Piece]
    pattern: str

    @property
    def tokens(self) -> int:
        """What the pieces and the pattern add to the input."""
        context = "\n".join(piece.content for piece in self.pieces)
        filled = self.pattern.replace(PLACES[0], context).replace(PLACES[1], "")
        return tokens(filled)

    @property
    def quote(self) -> str:
        """The sentence of the best piece that shares most with the question; empty where nothing was found."""
        if not self.pieces:
            return ""
        asked = set(terms(self.question))
        sentences = [found[0].strip() for found in SENTENCES.finditer(self.pieces[0].content)]
        best = max(filter(None, sentences), key=lambda sentence: len(asked.intersection(terms(sentence))), default="")
        return best[:LONGEST_QUOTE]

    @property
    def document(self) -> JSON:
        """What the reply adds; a piece's document is a string (seed 003)."""
        chunks = [{"content": one.content, "index": one.index, "document": str(one.document)} for one in self.pieces]
        return {"knowledge_base": {"knowledge_base_id": self.base, "chunks": chunks}}


class Retrieving(MiniMax):
    """A chat request that may name a knowledge base."""

    @cached_property
    def retrieved(self) -> Retrieved | None:
        """What was found for the request, once for all of its choices. Raises the vendor's refusal of an unknown base."""
        given = self.ask.body.get("knowledge_base_param")
        if not given or self.ask.library is None:
            return None
        base = given["knowledge_base_id"]
        question = _question(self.ask.body["messages"], given.get("num_prev_messages", 0))
        most, least = given.get("top_k", 5), given.get("thresh", 0)
        pieces = self.ask.library.search(self.ask.query["GroupId"], base, question, most, least)
        return Retrieved(base, question, pieces, given.get("pattern") or PATTERN)

    @property
    def knowledge(self) -> JSON:
        """What the reply adds."""
        return self.retrieved.document if self.retrieved else {}

    @property
    def quote(self) -> str:
        """What the model answers with."""
        return self.retrieved.quote if self.retrieved else ""

    @property
    def retrieved_tokens(self) -> int:
        """What retrieval adds to the input."""
        return self.retrieved.tokens if self.retrieved else 0


def last_text(messages: Iterable[Mapping[str, Any]]) -> str:
    return next((str(one["text"]) for one in reversed(list(messages)) if one["sender_type"] == "USER"), "")


def _question(messages: Sequence[Mapping[str, Any]], previous: int) -> str:
    """The last user text, behind the texts of so many messages before it."""
    at = max((number for number, one in enumerate(messages) if one["sender_type"] == "USER"), default=-1)
    return "\n".join(str(one["text"]) for one in messages[max(0, at - previous) : at + 1])


def knowledge_base_is_sound(request: Retrieving) -> None:
    given = request.ask.body.get("knowledge_base_param")
    if given is None:
        return
    number = given.get("knowledge_base_id") if isinstance(given, dict) else None
    require(is_count(number), request.invalid("knowledge_base_id should be an integer"))
    require(is_count(given.get("top_k", 5)), request.invalid("top_k should be positive"))
    near = given.get("thresh", 0) in Range(0, 1, low_in=True, high_in=False)
    require(near, request.invalid("thresh should be in [0, 1)"))
    pattern, previous = given.get("pattern", ""), given.get("num_prev_messages", 0)
    placed = isinstance(pattern, str) and (not pattern or all(place in pattern for place in PLACES))
    require(placed, request.invalid("pattern should hold {{context}} and {{question}}"))
    natural = is_count(previous) or (previous == 0 and not isinstance(previous, bool))
    require(natural, request.invalid("num_prev_messages should not be negative"))
    _ = request.retrieved  # an unknown base is refused here
