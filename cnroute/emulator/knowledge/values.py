"""What the library keeps, as values that tests may read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

MIB = 1 << 20
LARGEST_ID = 2**63 - 1

# The id that the vendor's pages show, and odd steps: neither files nor bases get an id that a float could hold.
FIRST_BASE, FIRST_FILE, STEP = 863831823174049792, 863831827469017089, 1_000_006


@dataclass(slots=True, frozen=True)
class Quotas:
    """The vendor's limits (Retrieval and File pages): bases of a group, characters, bytes."""

    bases: int = 10
    base_characters: int = 50_000_000
    document_characters: int = 2_000_000
    file_bytes: int = 512 * MIB
    all_bytes: int = 100 * 1024 * MIB


@dataclass(slots=True, frozen=True)
class StoredFile:
    """An uploaded file. ``created`` is the wall clock in whole seconds, ``path`` where its bytes are."""

    id: int
    name: str
    bytes: int
    purpose: str
    created: int
    group: str
    path: Path

    def as_json(self) -> dict[str, Any]:
        """The file as a JSON document, without its path."""
        return {name: getattr(self, name) for name in ("id", "name", "bytes", "purpose", "created", "group")}


@dataclass(slots=True, frozen=True)
class DocParams:
    """How a document is split: the vendor's names and defaults."""

    chunk_size: int = 500
    chunk_overlap: int = 50
    separators: tuple[str, ...] = ("\n", "")
    is_regex: bool = False


@dataclass(slots=True, frozen=True)
class StoredDocument:
    """A file inside of a base: how long its text is and how many pieces it was split into."""

    file_id: int
    name: str
    characters: int
    chunks: int
    params: DocParams = DocParams()


@dataclass(slots=True, frozen=True)
class StoredBase:
    """A knowledge base at one moment. ``status`` is ``loading`` or ``available``, times are milliseconds."""

    id: int
    group: str
    name: str
    description: str
    embedding_model: str
    created: int
    inserted: int
    status: str
    documents: tuple[StoredDocument, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The base as a JSON document; a document as its file's id, name, characters and number of chunks."""
        kept = ("file_id", "name", "characters", "chunks")
        documents = [{name: getattr(one, name) for name in kept} for one in self.documents]
        names = ("id", "group", "name", "description", "embedding_model", "created", "inserted", "status")
        return {**{name: getattr(self, name) for name in names}, "documents": documents}


@dataclass(slots=True, frozen=True)
class Piece:
    """A retrieved chunk: its text, its place in its document, and the document's file."""

    content: str
    index: int
    document: int


@dataclass(slots=True)
class Ids:
    """Where new ids come from: those that a test asked for, then two series above 2^53."""

    wanted: deque[int] = field(default_factory=deque)
    bases: count[int] = field(default_factory=lambda: count(FIRST_BASE, STEP - 1))
    files: count[int] = field(default_factory=lambda: count(FIRST_FILE, STEP))

    def next_base(self) -> int:
        """The id of the next base."""
        return self.wanted.popleft() if self.wanted else next(self.bases)

    def next_file(self) -> int:
        """The id of the next file."""
        return self.wanted.popleft() if self.wanted else next(self.files)
