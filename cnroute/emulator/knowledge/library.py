"""What is kept: files in a temporary folder, knowledge bases, and the vendor's rules about both.

Rules of this file: everything belongs to a group, and another group sees nothing of it; one lock lets one change in at a
time, and only the bytes of an upload arrive outside of it; a base is ``loading`` for a while after a change, and busy for
other changes until then; the answer of a change is kept under its ``operator_id`` and given again for the same one.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from cnroute.emulator.exchange import JSON, Refusal, require
from cnroute.emulator.knowledge.documents import suffix, text_of
from cnroute.emulator.knowledge.ranking import Index
from cnroute.emulator.knowledge.splitting import split
from cnroute.emulator.knowledge.values import DocParams, Ids, Piece, Quotas, StoredBase, StoredDocument, StoredFile

PURPOSES = frozenset({"retrieval", "assistants", "fine-tune"})
TYPES = frozenset({"pdf", "docx", "txt", "jsonl"})
COUNT_LIMIT = Refusal("2032", "knowledge base count limit")
CHARACTER_LIMIT = Refusal("2033", "knowledge base characters limit")
OPERATED = Refusal("2034", "knowledge base is being operated")
OPERATED_LATER = Refusal("2036", "knowledge base is being operated, try again later")


def invalid(message: str) -> Refusal:
    """The vendor's 2013."""
    return Refusal("2013", f"invalid params, {message}")


class Incoming:
    """A file that is arriving: on disk from its first byte; behind the quota bytes are counted and not kept."""

    def __init__(self, name: str, path: Path, most: int) -> None:
        self.name = name
        self.path = path
        self.bytes = 0
        self._most = most
        self._target: BinaryIO = path.open("wb")

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        self.bytes += len(data)
        if self.bytes <= self._most:
            self._target.write(data)

    def close(self) -> None:
        """All bytes are there."""
        self._target.close()

    def discard(self) -> None:
        """Delete what has arrived, unless the file was kept in the meantime."""
        self.close()
        self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class Base:
    """A base as it changes. ``ready_at`` is when it is available, on the library's clock."""

    id: int
    group: str
    name: str
    description: str
    embedding_model: str
    created: int
    inserted: int
    ready_at: float = 0.0
    documents: dict[int, StoredDocument] = field(default_factory=dict)
    loading: set[int] = field(default_factory=set)


class Library:
    """The files and bases of one emulator. Every method may be called from any thread, and raises the vendor's refusals."""

    def __init__(self, quotas: Quotas, loading: float, clock: Callable[[], float]) -> None:
        self.ids = Ids()
        self._quotas = quotas
        self._loading = loading
        self._clock = clock
        self._lock = threading.RLock()
        self._files: dict[int, StoredFile] = {}
        self._bases: dict[int, Base] = {}
        self._answers: dict[tuple[str, int], tuple[str, JSON]] = {}
        self._folder: Path | None = None
        self._index: Index | None = None

    # -- life

    @property
    def folder(self) -> Path:
        """The temporary folder, made when it is first needed."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="cnroute-emulator-"))
            return self._folder

    @property
    def index(self) -> Index:
        """The index, made when it is first needed."""
        if self._index is None:
            self._index = Index(self.folder / "index.sqlite")
        return self._index

    def clear(self) -> None:
        """Delete all files and bases, and forget the answers."""
        with self._lock:
            for kept in (self._files, self._bases, self._answers):
                kept.clear()
            if self._index is not None:
                self._index.close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._index = self._folder = None

    def settle(self) -> None:
        """Make every base available now."""
        with self._lock:
            for base in self._bases.values():
                base.ready_at = self._clock()

    # -- what tests look at

    @property
    def files(self) -> list[StoredFile]:
        """All files, the oldest first."""
        with self._lock:
            return list(self._files.values())

    @property
    def bases(self) -> list[StoredBase]:
        """All bases as they are now, the oldest first."""
        with self._lock:
            return [self._seen(base) for base in self._bases.values()]

    # -- files

    def incoming(self, name: str) -> Incoming:
        """A place for a file that begins to arrive."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="upload-", delete=False) as place:
            return Incoming(name, Path(place.name), self._quotas.file_bytes)

    def keep(self, group: str, purpose: str, arrived: Incoming) -> StoredFile:
        """Enter a file whose bytes are there; it gets its id here."""
        require(purpose in PURPOSES, invalid(f"purpose {purpose!r} is not supported"))
        require(arrived.name, invalid("file name is required"))
        typed = purpose != "retrieval" or suffix(arrived.name) in TYPES
        require(typed, invalid("file type should be pdf, docx, txt or jsonl"))
        require(arrived.bytes, invalid("file is empty"))
        require(arrived.bytes <= self._quotas.file_bytes, invalid(f"file is larger than {self._quotas.file_bytes} bytes"))
        with self._lock:
            total = sum(one.bytes for one in self._files.values() if one.group == group) + arrived.bytes
            require(total <= self._quotas.all_bytes, invalid(f"files are larger than {self._quotas.all_bytes} bytes in all"))
            number = self.ids.next_file()
            file = StoredFile(number, arrived.name, arrived.bytes, purpose, int(time.time()), group, arrived.path)
            self._files[number] = file
            return file

    def file(self, group: str, number: int) -> StoredFile:
        """One file."""
        with self._lock:
            found = self._files.get(number)
            if found is None or found.group != group:
                raise invalid(f"file {number} does not exist")
            return found

    def list_files(self, group: str, purpose: str) -> list[StoredFile]:
        """The files of a group, of one purpose if that is given."""
        return [one for one in self.files if one.group == group and purpose in ("", one.purpose)]

    def delete_file(self, group: str, number: int) -> None:
        """Delete a file; bases keep what they have read of it."""
        with self._lock:
            self.file(group, number).path.unlink(missing_ok=True)
            del self._files[number]

    # -- bases

    def once(self, group: str, operator: int, what: str, act: Callable[[], JSON]) -> JSON:
        """The answer of a change; an ``operator_id`` that has done it before gets the first answer again."""
        with self._lock:
            if (group, operator) not in self._answers:
                self._answers[group, operator] = what, act()
            before, answer = self._answers[group, operator]
            require(before == what, invalid("operator_id was used for another operation"))
            return copy.deepcopy(answer)

    def create(self, group: str, name: str, description: str, embedding_model: str) -> Base:
        """A new base without documents: available."""
        with self._lock:
            mine = [one for one in self._bases.values() if one.group == group]
            require(name not in [one.name for one in mine], invalid(f"knowledge base name {name!r} exists"))
            require(len(mine) < self._quotas.bases, COUNT_LIMIT)
            now = int(time.time() * 1000)
            base = Base(self.ids.next_base(), group, name, description, embedding_model, now, now)
            self.index.create(base.id)
            self._bases[base.id] = base
            return base

    def base(self, group: str, number: int) -> StoredBase:
        """One base as it is now."""
        with self._lock:
            return self._seen(self._held(group, number))

    def list_bases(self, group: str) -> list[StoredBase]:
        """The bases of a group, the oldest first."""
        return [one for one in self.bases if one.group == group]

    def delete(self, group: str, number: int) -> None:
        """Delete a base that is not busy."""
        with self._lock:
            base = self._held(group, number)
            require(not self._busy(base), OPERATED_LATER)
            del self._bases[number]
            self.index.drop(number)

    # -- documents

    def put(self, group: str, number: int, file_id: int, params: DocParams, *, new: bool, loading: float | None = None) -> None:
        """Split a file into a base: a document that it does not hold yet (``new``), or one that it holds."""
        with self._changing(group, number, loading) as base:
            require(new or file_id in base.documents, invalid(f"document {file_id} does not exist"))
            require(not new or file_id not in base.documents, invalid(f"document {file_id} exists"))
            base.documents[file_id] = self._entered(base, self.file(group, file_id), params)
            base.loading = {file_id}

    def remove(self, group: str, number: int, file_id: int, loading: float | None = None) -> None:
        """Take a document out of a base."""
        with self._changing(group, number, loading) as base:
            require(file_id in base.documents, invalid(f"document {file_id} does not exist"))
            self.index.remove(number, file_id)
            del base.documents[file_id]

    def document(self, group: str, number: int, file_id: int) -> StoredDocument:
        """One document of a base."""
        with self._lock:
            found = self._held(group, number).documents.get(file_id)
            if found is None:
                raise invalid(f"document {file_id} does not exist")
            return found

    def search(self, group: str, number: int, question: str, most: int, least: float) -> list[Piece]:
        """At most so many pieces that fit the question, the best first; documents that still load are not found."""
        with self._lock:
            base = self._held(group, number)
            waiting = base.loading if self._busy(base) else frozenset()
            found: list[Piece] = []
            for hit in self.index.search(number, question):
                if hit.score >= least and hit.piece.document not in waiting:
                    found.append(hit.piece)
                if len(found) == most:
                    break
            return found

    @contextmanager
    def _changing(self, group: str, number: int, loading: float | None) -> Iterator[Base]:
        """A base that is not busy; after the change it loads for a while."""
        with self._lock:
            base = self._held(group, number)
            require(not self._busy(base), OPERATED)
            base.loading = set()
            yield base
            base.inserted = int(time.time() * 1000)
            base.ready_at = self._clock() + (self._loading if loading is None else loading)

    def _entered(self, base: Base, file: StoredFile, params: DocParams) -> StoredDocument:
        """The document, its chunks in the index in place of those it had."""
        most = self._quotas.document_characters
        require(file.purpose == "retrieval", invalid("the purpose of the file should be retrieval"))
        require(suffix(file.name) in ("pdf", "docx") or file.bytes <= 4 * most + 3, CHARACTER_LIMIT)
        text = text_of(file.path, file.name)
        others = sum(one.characters for one in base.documents.values() if one.file_id != file.id)
        require(len(text) <= most and others + len(text) <= self._quotas.base_characters, CHARACTER_LIMIT)
        self.index.remove(base.id, file.id)
        count = self.index.add(base.id, file.id, split(text, params))
        return StoredDocument(file.id, file.name, len(text), count, params)

    def _held(self, group: str, number: int) -> Base:
        base = self._bases.get(number)
        if base is None or base.group != group:
            raise invalid(f"knowledge base {number} does not exist")
        return base

    def _busy(self, base: Base) -> bool:
        return self._clock() < base.ready_at

    def _seen(self, base: Base) -> StoredBase:
        status = "loading" if self._busy(base) else "available"
        documents = tuple(map(replace, base.documents.values()))
        return StoredBase(base.id, base.group, base.name, base.description, base.embedding_model, base.created,
                          base.inserted, status, documents)  # fmt: skip
