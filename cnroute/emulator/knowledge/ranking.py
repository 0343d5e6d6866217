"""Which chunks fit a question: BM25, by SQLite's own full-text index (FTS5), so the emulator needs no package for it.

Chinese has no blanks between words, so a run of Chinese characters counts as its overlapping pairs (a lone character as
itself), and everything else as words in lower case. The index is a file: ten full bases do not sit in memory.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cnroute.emulator.knowledge.values import Piece

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff"
RUNS = re.compile(f"([{HAN}]+)|((?:(?![{HAN}_])\\w)+)")
MOST_TERMS = 1000


def terms(text: str) -> Iterator[str]:
    """The words and pairs of a text, in order."""
    for run in RUNS.finditer(text.lower()):
        han, word = run.groups()
        if word:
            yield word
        elif len(han) == 1:
            yield han
        else:
            yield from (han[at : at + 2] for at in range(len(han) - 1))


class Hit(NamedTuple):
    """A chunk that shares a term with the question. ``score`` is the share of the question's terms that it holds."""

    piece: Piece
    score: float


class Index:
    """The chunks of all bases. Not locked: the library lets one thread in at a time."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")

    def create(self, base: int) -> None:
        """Make room for a base."""
        columns = "terms, content UNINDEXED, document UNINDEXED, number UNINDEXED"
        self._database.execute(f"CREATE VIRTUAL TABLE base_{base} USING fts5({columns}, tokenize = 'unicode61')")

    def drop(self, base: int) -> None:
        """Forget a base."""
        self._database.execute(f"DROP TABLE base_{base}")

    def add(self, base: int, document: int, chunks: Iterable[str]) -> int:
        """Enter the chunks of a document; how many they are."""
        rows = ((" ".join(terms(chunk)), chunk, document, number) for number, chunk in enumerate(chunks))
        with self._database:
            self._database.execute("BEGIN")
            return self._database.executemany(f"INSERT INTO base_{base} VALUES (?, ?, ?, ?)", rows).rowcount

    def remove(self, base: int, document: int) -> None:
        """Forget the chunks of a document."""
        self._database.execute(f"DELETE FROM base_{base} WHERE document = ?", (document,))

    def search(self, base: int, question: str) -> Iterator[Hit]:
        """The chunks that share a term with the question, the best first."""
        asked = list(dict.fromkeys(terms(question)))[:MOST_TERMS]
        if not asked:
            return
        phrase = " OR ".join(f'"{term}"' for term in asked)
        order = f"SELECT terms, content, number, document FROM base_{base} WHERE terms MATCH ? ORDER BY rank, document, number"
        for held, content, number, document in self._database.execute(order, (phrase,)):
            shared = set(held.split(" ")).intersection(asked)
            yield Hit(Piece(content, number, document), len(shared) / len(asked))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
