"""The asynchronous knowledge client: the same flows, awaited. Disks and synchronous transports wait in threads of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self, TypeVar

from cnroute.aio import AsyncDriver, CalledTurn, close_transport, run
from cnroute.knowledge.core import MODEL, KnowledgeCore, Pages
from cnroute.knowledge.effects import Begin, Step, Turn, Work
from cnroute.knowledge.flows import Progress
from cnroute.knowledge.operation import Flow
from cnroute.knowledge.turns import Ticket
from cnroute.knowledge.values import Base, Document, File
from cnroute.scope import Scope
from cnroute.transports.threaded import Threads

T = TypeVar("T")


class AsyncKnowledgeClient(KnowledgeCore):
    """The asynchronous twin of `KnowledgeClient`: the same names and arguments, to be awaited; `async for` over `list()`.

    Cancelling the task frees the socket. `progress` functions are called in a thread.
    """

    _asynchronous = True

    @functools.cached_property
    def _threads(self) -> Threads:
        return Threads(self._engine.places_in_all, "cnroute-knowledge")

    async def upload(
        self, file: Any, *, name: str | None = None, progress: Progress | None = None, timeout: float | None = None
    ) -> File:
        """Upload a file; see `KnowledgeClient.upload`."""
        return await self._do(self._upload(file, name, progress, timeout))

    async def list_files(self, *, timeout: float | None = None) -> tuple[File, ...]:
        """Every file of the account that was uploaded for retrieval."""
        return await self._do(self._list_files(timeout))

    async def get_file(self, file_id: int | str, *, timeout: float | None = None) -> File:
        """What the vendor knows of a file."""
        return await self._do(self._get_file(file_id, timeout))

    async def download(
        self, file_id: int | str, target: Any, *, overwrite: bool = False, progress: Progress | None = None,
        timeout: float | None = None,
    ) -> int:
        """Write a file's content to `target`; see `KnowledgeClient.download`."""
        return await self._do(self._download(file_id, target, overwrite, progress, timeout))

    async def delete_file(self, file_id: int | str, *, timeout: float | None = None) -> None:
        """Delete a file."""
        await self._do(self._delete_file(file_id, timeout))

    async def create(
        self, name: str, file_id: int | str | None = None, *, description: str | None = None, chunk_size: int | None = None,
        chunk_overlap: int | None = None, separators: Any = None, is_regex: bool = False, embedding_model: str = MODEL,
        callback: str | None = None, operator_id: int | None = None, timeout: float | None = None,
    ) -> Base:
        """Make a base; see `KnowledgeClient.create`."""
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex)
        return await self._do(self._create(name, document, description, embedding_model, callback, operator_id, timeout))

    async def get(self, base_id: int | str, *, timeout: float | None = None) -> Base:
        """A base with its status and documents."""
        return await self._do(self._get(base_id, timeout))

    def list(self, *, page_size: int = 10, timeout: float | None = None) -> AsyncIterator[Base]:
        """Every base of the account, page by page as they are asked for; `timeout` is for each page."""
        return self._all(self._pages(page_size, timeout))

    async def wait(self, base_id: int | str, *, timeout: float | None = None) -> Base:
        """The base as soon as it is available; see `KnowledgeClient.wait`."""
        return await self._do(self._wait(base_id, timeout))

    async def delete(self, base_id: int | str, *, operator_id: int | None = None, timeout: float | None = None) -> None:
        """Delete a base. Its files stay."""
        await self._do(self._delete(base_id, operator_id, timeout))

    async def add_document(
        self, base_id: int | str, file_id: int | str, *, chunk_size: int | None = None, chunk_overlap: int | None = None,
        separators: Any = None, is_regex: bool = False, callback: str | None = None, operator_id: int | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Add a file to a base, which then is loading again."""
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex, needed=True)
        return await self._do(self._change("add_document", base_id, document, callback, operator_id, timeout))

    async def update_document(
        self, base_id: int | str, file_id: int | str, *, chunk_size: int | None = None, chunk_overlap: int | None = None,
        separators: Any = None, is_regex: bool = False, callback: str | None = None, operator_id: int | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Cut a document of a base anew."""
        document = self._document(file_id, chunk_size, chunk_overlap, separators, is_regex, needed=True)
        return await self._do(self._change("update_document", base_id, document, callback, operator_id, timeout))

    async def get_document(self, base_id: int | str, file_id: int | str, *, timeout: float | None = None) -> Document:
        """A document of a base."""
        return await self._do(self._get_document(base_id, file_id, timeout))

    async def delete_document(
        self, base_id: int | str, file_id: int | str, *, operator_id: int | None = None, timeout: float | None = None
    ) -> None:
        """Take a document out of a base. Its file stays."""
        document = self._document(file_id, None, None, None, False, needed=True, cut=False)
        await self._do(self._change("delete_document", base_id, document, None, operator_id, timeout))

    async def close(self) -> None:
        """Cancel running operations, refuse new ones, close every connection."""
        engine = self._engine
        if engine.closed:
            return
        with engine.shutting_down():
            try:
                await close_transport(engine.transport)
            finally:
                self._threads.close()

    async def _all(self, pages: Pages) -> AsyncIterator[Base]:
        while (operation := pages.next_operation()) is not None:
            for base in pages.take(await self._do(operation)):
                yield base

    async def _do(self, flow: Flow[T]) -> T:
        scope = Scope()
        driver = AsyncKnowledgeDriver(self._engine, self._threads, scope)
        try:
            self._engine.enter(scope)
            return await run(flow, driver)
        finally:
            flow.close()
            try:
                await driver.give_back()
            finally:
                self._engine.leave(scope)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __del__(self) -> None:
        threads = self.__dict__.get("_threads")
        if threads is not None:
            threads.close()


class AsyncKnowledgeDriver(AsyncDriver):
    """Performs the effects of calls, and those of this package, by awaiting them."""

    async def perform(self, effect: Step) -> Any:
        """The effect's result. Raises CallError; anything else passes through untouched."""
        own = _PERFORM.get(type(effect))
        if own is None:
            return await super().perform(effect)  # type: ignore[arg-type]
        try:
            return await own(self, effect)
        except asyncio.CancelledError:
            self._scope.cancel()
            raise

    async def _next(self, effect: Begin) -> None:
        await self._begin(effect.deadline)
        self._scope.check()

    async def _work(self, effect: Work) -> Any:
        self._scope.check()
        return await self._threads.run(effect.function)

    async def _turn(self, effect: Turn) -> Ticket:
        turn = CalledTurn(asyncio.get_running_loop())
        ticket = effect.turns.ask(effect.key, turn.call)
        try:
            if not ticket.ready:
                await self._begin(effect.deadline)
                effect.deadline.on_cancel(turn.call)
                await turn.come_within(effect.deadline.remaining())
            self._scope.check()
            return effect.granted(ticket)
        except BaseException:
            ticket.end()
            raise


_PERFORM: Mapping[type, Callable[[AsyncKnowledgeDriver, Any], Awaitable[Any]]] = {
    Begin: AsyncKnowledgeDriver._next,  # noqa: SLF001 (the table of this class)
    Work: AsyncKnowledgeDriver._work,  # noqa: SLF001
    Turn: AsyncKnowledgeDriver._turn,  # noqa: SLF001
}
