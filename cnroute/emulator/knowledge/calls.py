# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""The endpoints of files and knowledge bases, one class each: what they need and what they do.

Sources: the vendor's pages File and Retrieval (named in seed 003), in their state of September 2025 and before. Ids are
JSON numbers there, and ``document`` of a retrieved chunk is a string. They type the same id differently from page to page, so
digit strings are taken too. The callback of a base is checked and never called: the emulator makes no outbound request.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from cnroute.emulator.answers import Answer, Turn
from cnroute.emulator.exchange import JSON, Ask, Download, Frame, Refusal, is_count, require
from cnroute.emulator.knowledge.library import Incoming, Library, invalid
from cnroute.emulator.knowledge.values import LARGEST_ID, DocParams, StoredBase, StoredFile
from cnroute.emulator.minimax.dialect import MiniMax

EMBEDDING_MODEL = "kbq-001"
PIECE = 1 << 18


def exact(value: object) -> int | None:
    """An id: a JSON integer or a string of digits, in 63 bits."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    return value if isinstance(value, int) and is_count(value) and value <= LARGEST_ID else None


class LibraryCall(MiniMax):
    """One request about files or bases. Its work is done once, when the first byte of the good answer is asked for."""

    provider = "minimax-knowledge"
    method: ClassVar[str] = "POST"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._done: JSON | None = None

    # -- what a call is given

    @property
    def library(self) -> Library:
        assert self.ask.library is not None
        return self.ask.library

    @property
    def group(self) -> str:
        return self.ask.query["GroupId"]

    def integer(self, name: str) -> int:
        found = exact(self.ask.body.get(name))
        if found is None:
            raise self.invalid(f"{name} should be an integer")
        return found

    def text(self, name: str, default: str = "") -> str:
        found = self.ask.body.get(name, default)
        if not isinstance(found, str):
            raise self.invalid(f"{name} should be a string")
        return found

    @property
    def file_id(self) -> int:
        return self.integer("file_id")

    @property
    def base_id(self) -> int:
        return self.integer("knowledge_base_id")

    def check(self) -> None:
        for name in self.needs:
            self.integer(name)

    # -- what it does

    def perform(self) -> JSON:
        """The answer without its base_resp. Raises the vendor's refusal."""
        raise NotImplementedError

    def document(self, *, finished: bool = True) -> JSON:
        """The answer, or the refusal: MiniMax sends both under HTTP 200."""
        if self._done is None:
            try:
                self._done = {**self.perform(), "base_resp": self.base_resp()}
            except Refusal as refusal:
                self._done, self.refused = self.error_document(refusal), True
        return copy.deepcopy(self._done)

    # -- what every dialect has, and a call about files does not

    @property
    def stream(self) -> bool:
        return False

    def answer(self, choice: int = 0) -> Answer:
        return Answer("", "", None, "stop", 0)

    def turn(self) -> Turn:
        return Turn("", 0)

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        return [Frame(self.document(), ends=True)]

    def opening(self) -> Frame:
        return Frame(self.null_document())

    def null_document(self) -> JSON:
        return {"base_resp": self.base_resp()}


# -- files


def file_document(file: StoredFile) -> JSON:
    """A file as the pages show it."""
    return {
        "file_id": file.id,
        "bytes": file.bytes,
        "created_at": file.created,
        "filename": file.name,
        "purpose": file.purpose,
    }


class Upload(LibraryCall):
    """A form with ``purpose`` and ``file``, in any order."""

    script = "files/upload"
    receives_form = True

    def check(self) -> None:
        problem = self.ask.body.get("problem")
        require(not problem, self.invalid(str(problem)))
        require(isinstance(self.ask.body.get("file"), Incoming), self.invalid("file is required"))

    def perform(self) -> JSON:
        return {"file": file_document(self.library.keep(self.group, self.text("purpose"), self.ask.body["file"]))}


class ListFiles(LibraryCall):
    """All files of the group, of one ``purpose`` if that is given."""

    script = "files/list"
    method = "GET"

    def perform(self) -> JSON:
        return {"files": [file_document(one) for one in self.library.list_files(self.group, self.text("purpose"))]}


class RetrieveFile(LibraryCall):
    """One file, with a ``download_url`` that needs no key."""

    script = "files/retrieve"
    method = "GET"
    needs = ("file_id",)

    def perform(self) -> JSON:
        file = self.library.file(self.group, self.file_id)
        link = f"http://{self.ask.headers.get('host', '')}/_emulator/files/{file.id}"
        return {"file": {**file_document(file), "download_url": link}}


class RetrieveContent(LibraryCall):
    """The bytes of a file; a refusal is JSON."""

    script = "files/retrieve_content"
    method = "GET"
    needs = ("file_id",)

    def perform(self) -> JSON:
        self.library.file(self.group, self.file_id)
        return {}

    def download(self) -> Download | None:
        self.document()
        return None if self.refused else download_of(self.library.file(self.group, self.file_id))


def download_of(file: StoredFile) -> Download:
    """The bytes of a file, read as they are sent."""
    return Download("application/octet-stream", file.bytes, _pieces(file.path))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(PIECE):
            yield piece


class DeleteFile(LibraryCall):
    """Bases keep what they have read of the file."""

    script = "files/delete"
    needs = ("file_id",)

    def perform(self) -> JSON:
        self.library.delete_file(self.group, self.file_id)
        return {"file_id": self.file_id}


# -- knowledge bases


def base_document(base: StoredBase) -> JSON:
    """A base as the pages show it; of a document they name the file's id only."""
    return {
        "knowledge_base_id": base.id,
        "name": base.name,
        "description": base.description,
        "embedding_model": base.embedding_model,
        "create_time": base.created,
        "insert_time": base.inserted,
        "delete_time": 0,
        "docs": [{"file_id": one.file_id} for one in base.documents],
        "status": base.status,
    }


def is_natural(value: object) -> bool:
    """A JSON integer from 0."""
    return (value == 0 and not isinstance(value, bool)) or is_count(value)


def doc_params(given: Any) -> DocParams:
    """``doc_params`` with the vendor's defaults. Raises the refusal of what its page forbids."""
    if given is None:
        return DocParams()
    require(isinstance(given, dict), invalid("doc_params should be an object"))
    default = DocParams()
    size, overlap = given.get("chunk_size", default.chunk_size), given.get("chunk_overlap", default.chunk_overlap)
    require(is_count(size), invalid("chunk_size should be positive"))
    require(is_natural(overlap), invalid("chunk_overlap should not be negative"))
    require(size >= 2 * overlap + 1, invalid("chunk_size should be at least 2 * chunk_overlap + 1"))
    separators, is_regex = given.get("separators", list(default.separators)), given.get("is_regex", False)
    sound = isinstance(separators, list) and all(isinstance(one, str) for one in separators)
    require(sound, invalid("separators should be a list of strings"))
    require(isinstance(is_regex, bool), invalid("is_regex should be a boolean"))
    require(not is_regex or all(map(_compiles, separators)), invalid("separators should be regular expressions"))
    return DocParams(size, overlap, tuple(separators), is_regex)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


class Change(LibraryCall):
    """A change of a base, done once for each ``operator_id``."""

    needs: ClassVar[tuple[str, ...]] = ("operator_id", "knowledge_base_id")

    def perform(self) -> JSON:
        return self.library.once(self.group, self.integer("operator_id"), self.script, self.change)

    def change(self) -> JSON:
        """Do it."""
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        doc_params(self.ask.body.get("doc_params"))
        callback = self.text("callback")
        require(callback.startswith(("http://", "https://")) or not callback, self.invalid("callback should be a URL"))

    @property
    def params(self) -> DocParams:
        return doc_params(self.ask.body.get("doc_params"))

    def outcome(self, base: int, file: int) -> JSON:
        """What a change answers."""
        document = base_document(self.library.base(self.group, base))
        return {"knowledge_base_id": base, "file_id": file, "knowledge_base": document, "usage": None}


class CreateBase(Change):
    """A base, with its first document if ``file_id`` is given."""

    script = "embedding/create_knowledge_base"
    needs = ("operator_id",)

    def check(self) -> None:
        super().check()
        require(self.text("name"), self.invalid("name is required"))
        known = self.text("embedding_model") == EMBEDDING_MODEL
        require(known, self.invalid(f"embedding_model should be {EMBEDDING_MODEL}"))
        require(not self.ask.body.get("file_id") or self.file_id, self.invalid("file_id should be an integer"))

    def change(self) -> JSON:
        """A base that cannot take its document is not created."""
        names = self.text("name"), self.text("description"), self.text("embedding_model")
        base = self.library.create(self.group, *names).id
        file = self.file_id if self.ask.body.get("file_id") else 0
        if file:
            try:
                self.library.put(self.group, base, file, self.params, new=True, loading=self.loading)
            except Refusal:
                self.library.delete(self.group, base)
                raise
        return self.outcome(base, file)


class DeleteBase(Change):
    """Nothing is left of the base."""

    script = "embedding/delete_knowledge_base"

    def change(self) -> JSON:
        self.library.delete(self.group, self.base_id)
        return {"knowledge_base_id": self.base_id}


class QueryBase(LibraryCall):
    """One base."""

    script = "embedding/query_knowledge_base"
    method = "GET"
    needs = ("knowledge_base_id",)

    def perform(self) -> JSON:
        return {"knowledge_base": base_document(self.library.base(self.group, self.base_id))}


class ListBases(LibraryCall):
    """A page of the group's bases; pages count from 0."""

    script = "embedding/list_knowledge_base"
    method = "GET"

    def check(self) -> None:
        for name, least, most in (("page", 0, LARGEST_ID), ("page_size", 1, 100)):
            value = self.text(name, str(least))
            fits = re.fullmatch(r"[0-9]{1,19}", value) and least <= int(value) <= most
            require(fits, self.invalid(f"{name} should be in [{least}, {most}]"))

    def perform(self) -> JSON:
        page, size = int(self.text("page", "0")), int(self.text("page_size", "10"))
        bases = self.library.list_bases(self.group)
        return {"total": len(bases), "knowledge_bases": [base_document(one) for one in bases[page * size :][:size]]}


# -- documents


class AddDocument(Change):
    """A further document."""

    script = "embedding/add_document"
    needs = ("operator_id", "knowledge_base_id", "file_id")
    new: ClassVar[bool] = True

    def change(self) -> JSON:
        self.library.put(self.group, self.base_id, self.file_id, self.params, new=self.new, loading=self.loading)
        return self.outcome(self.base_id, self.file_id)


class UpdateDocument(AddDocument):
    """The same file again, read and split anew."""

    script = "embedding/update_document"
    new = False


class DeleteDocument(Change):
    """Take a document out."""

    script = "embedding/delete_document"
    needs = ("operator_id", "knowledge_base_id", "file_id")

    def change(self) -> JSON:
        self.library.remove(self.group, self.base_id, self.file_id, self.loading)
        return self.outcome(self.base_id, self.file_id)


class QueryDocument(LibraryCall):
    """One document; of its fields the page names ``file_id`` only."""

    script = "embedding/query_document"
    method = "GET"
    needs = ("knowledge_base_id", "file_id")

    def perform(self) -> JSON:
        found = self.library.document(self.group, self.base_id, self.file_id)
        params = {**asdict(found.params), "separators": list(found.params.separators)}
        document = {"file_id": found.file_id, "filename": found.name, "doc_params": params}
        return {"knowledge_base_id": self.base_id, "document": document}


KINDS: tuple[type[LibraryCall], ...] = (
    Upload,
    ListFiles,
    RetrieveFile,
    RetrieveContent,
    DeleteFile,
    CreateBase,
    DeleteBase,
    QueryBase,
    ListBases,
    AddDocument,
    UpdateDocument,
    DeleteDocument,
    QueryDocument,
)
CALLS: dict[tuple[str, str], type[LibraryCall]] = {(kind.method, f"/v1/{kind.script}"): kind for kind in KINDS}
