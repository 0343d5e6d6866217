"""The synchronous knowledge client: files and knowledge bases of a MiniMax account, in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

from cnroute.knowledge.core import MODEL, KnowledgeCore, Pages
from cnroute.knowledge.effects import Begin, Step, Turn, Work
from cnroute.knowledge.flows import Progress
from cnroute.knowledge.operation import Flow
from cnroute.knowledge.turns import Ticket
from cnroute.knowledge.values import Base, Document, File
from cnroute.router import Driver, run
from cnroute.scope import Scope

T = TypeVar("T")


class KnowledgeClient(KnowledgeCore):
    """Files and knowledge bases of one MiniMax account: `upload`, `create`, `wait`, then ask with `knowledge_base=`.

    The same transports, time limits, errors and log as the router's. Thread safe; writes on one base take turns. Each
    operation has its own `timeout` in seconds, in place of `Timeouts.total`. Every `CallError` says in `.advice` what to do
    next, and names in `.ids` what the vendor has of the operation; a write can be repeated, also by another process, with
    the `operator_id` that stands in `.ids["operations"]`. A context manager; `close()` may be called more than once.

    Sources: MiniMax's pages "File" and "Retrieval", 2025-09 and older.
    """

    def upload(
        self, file: Any, *, name: str | None = None, progress: Progress | None = None, timeout: float | None = None
    ) -> File:
        """Upload a path, bytes, or a binary file object that can be sought; memory never holds all of it.

        pdf, docx, txt and jsonl of at most 512 MB. `progress(sent, size)` is called in bytes, from the beginning again when
        the upload is repeated. An upload is repeated only where the vendor cannot have it yet: an answer that is lost
        ends it, and the error names the files that it may have become.
        """
        return self._do(self._upload(file, name, progress, timeout))

    def list_files(self, *, timeout: float | None = None) -> tuple[File, ...]:
        """Every file of the account that was uploaded for retrieval."""
        return self._do(self._list_files(timeout))

    def get_file(self, file_id: int | str, *, timeout: float | None = None) -> File:
        """What the vendor knows of a file."""
        return self._do(self._get_file(file_id, timeout))

    def download(
        self, file_id: int | str, target: Any, *, overwrite: bool = False, progress: Progress | None = None,
        timeout: float | None = None,
    ) -> int:
        """Write a file's content to a path or a binary file object, in pieces; returns the number of bytes.

        A path appears when its content is complete. A download that breaks is begun anew.
        """
        return self._do(self._download(file_id, target, overwrite, progress, timeout))

    def delete_file(self, file_id: int | str, *, timeout: float | None = None) -> None:
        """Delete a file."""
        self._do(self._delete_file(file_id, timeout))

    def create(
        self, name: str, file_id: int | str | None = None, *, description: str | None = None, chunk_size: int | None = None,
        chunk_overlap: int | None = None, separators: Any = None, is_regex: bool = False, embedding_model: str = MODEL,
        callback: str | None = None, operator_id: int | None = None, timeout: float | None = None,
    ) -> Base:
        """Make a base, which then is `loading`; `wait` until it is available.

        The file is cut at the `separators` into pieces of `chunk_size` characters (500) that share `chunk_overlap` (50); the
        size must be at least 2 x overlap + 1. Raises QuotaExceededError, before anything is written, when the account
        has `max_bases` bases.
        """
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex)
        return self._do(self._create(name, document, description, embedding_model, callback, operator_id, timeout))

    def get(self, base_id: int | str, *, timeout: float | None = None) -> Base:
        """A base with its status and documents."""
        return self._do(self._get(base_id, timeout))

    def list(self, *, page_size: int = 10, timeout: float | None = None) -> Iterator[Base]:
        """Every base of the account, page by page as they are asked for; `timeout` is for each page."""
        return self._all(self._pages(page_size, timeout))

    def wait(self, base_id: int | str, *, timeout: float | None = None) -> Base:
        """The base as soon as it is available. Raises DeadlineExceededError when it still loads after `timeout` seconds."""
        return self._do(self._wait(base_id, timeout))

    def delete(self, base_id: int | str, *, operator_id: int | None = None, timeout: float | None = None) -> None:
        """Delete a base. Its files stay."""
        self._do(self._delete(base_id, operator_id, timeout))

    def add_document(
        self, base_id: int | str, file_id: int | str, *, chunk_size: int | None = None, chunk_overlap: int | None = None,
        separators: Any = None, is_regex: bool = False, callback: str | None = None, operator_id: int | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Add a file to a base, which then is loading again."""
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex, needed=True)
        return self._do(self._change("add_document", base_id, document, callback, operator_id, timeout))

    def update_document(
        self, base_id: int | str, file_id: int | str, *, chunk_size: int | None = None, chunk_overlap: int | None = None,
        separators: Any = None, is_regex: bool = False, callback: str | None = None, operator_id: int | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Cut a document of a base anew."""
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex, needed=True)
        return self._do(self._change("update_document", base_id, document, callback, operator_id, timeout))

    def get_document(self, base_id: int | str, file_id: int | str, *, timeout: float | None = None) -> Document:
        """A document of a base."""
        return self._do(self._get_document(base_id, file_id, timeout))

    def delete_document(
        self, base_id: int | str, file_id: int | str, *, operator_id: int | None = None, timeout: float | None = None
    ) -> None:
        """Take a document out of a base. Its file stays."""
        document = self._document(file_id, None, None, None, False, needed=True, cut=False)
        self._do(self._change("delete_document", base_id, document, None, operator_id, timeout))

    def close(self) -> None:
        """Cancel running operations, refuse new ones, close every connection."""
        engine = self._engine
        if engine.closed:
            return
        with engine.shutting_down():
            engine.transport.close()

    def _all(self, pages: Pages) -> Iterator[Base]:
        while (operation := pages.next_operation()) is not None:
            yield from pages.take(self._do(operation))

    def _do(self, flow: Flow[T]) -> T:
        scope = Scope()
        try:
            self._engine.enter(scope)
            return run(flow, KnowledgeDriver(self._engine.clock, scope))
        finally:
            flow.close()
            scope.give_back()
            self._engine.leave(scope)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class KnowledgeDriver(Driver):
    """Performs the effects of calls, and those of this package, in the calling thread."""

    __slots__ = ()

    def perform(self, effect: Step) -> Any:
        """The effect's result. Raises CallError; anything else passes through untouched."""
        own = _PERFORM.get(type(effect))
        return super().perform(effect) if own is None else own(self, effect)  # type: ignore[arg-type]

    def _begin(self, effect: Begin) -> None:
        self._scope.next_attempt(effect.deadline)
        self._scope.check()

    def _work(self, effect: Work) -> Any:
        self._scope.check()
        return effect.function()

    def _turn(self, effect: Turn) -> Ticket:
        woken = threading.Event()
        ticket = effect.turns.ask(effect.key, woken.set)
        try:
            if not ticket.ready:
                self._scope.next_attempt(effect.deadline)
                effect.deadline.on_cancel(woken.set)
                woken.wait(max(0.0, effect.deadline.remaining()))
            self._scope.check()
            return effect.granted(ticket)
        except BaseException:
            ticket.end()
            raise


_PERFORM: Mapping[type, Callable[[KnowledgeDriver, Any], Any]] = {
    Begin: KnowledgeDriver._begin,  # noqa: SLF001 (the table of this class)
    Work: KnowledgeDriver._work,  # noqa: SLF001
    Turn: KnowledgeDriver._turn,  # noqa: SLF001
}
