"""The operations themselves, each a generator of effects: the same for both clients.

Rules of this file
- Nothing here waits and nothing here knows a socket; what waits is an effect.
- Writes on one base take turns within a client; what another client does shows itself as a busy answer.
- After a failed write the vendor's own lists are looked at, once, so that the error names what is there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from cnroute.errors import CallError, QuotaExceededError, error_for
from cnroute.failures import Failure, FailureKind
from cnroute.flow.answer import AttemptFailed
from cnroute.flow.effects import Open, Read, Send, Sleep
from cnroute.http import HttpRequest, HttpResponse
from cnroute.knowledge import wire
from cnroute.knowledge.downloads import Sink, sink_of
from cnroute.knowledge.effects import Begin, Turn, Work
from cnroute.knowledge.operation import (
    BadAnswer,
    Flow,
    Operation,
    accepted,
    ask,
    decoded,
    note,
    out_of_time,
    pause_before_next,
    relabelled,
)
from cnroute.knowledge.turns import Turns
from cnroute.knowledge.uploads import Source, source_of
from cnroute.knowledge.values import Base, Document, File, base_in, document_in, file_in, id_or_none

K = FailureKind
T = TypeVar("T")
Data = Mapping[str, Any]
Progress = Callable[[int, int], object]

_PAGE = 100
# Bases and files that were made earlier than this many seconds before an operation began are none of it, whatever the
# difference between the vendor's clock and ours.
_CLOCKS_DIFFER = 300.0
_WAIT_FIRST, _WAIT_MOST = 0.1, 3.0
# The seconds before the deadline in which the status is asked for the last time.
_LAST_LOOK = 0.5
_SMALL = 65536


# -- reading answers -------------------------------------------------------------------------------------------


def _file(data: Data) -> File:
    found = file_in(data.get("file")) or file_in(data)
    if found is None:
        raise BadAnswer("the answer has no file_id")
    return found


def _files(data: Data) -> tuple[File, ...]:
    return tuple(found for each in _listed(data, "files") if (found := file_in(each)) is not None)


def _listed(data: Data, name: str) -> list[Any]:
    """A list of the answer. Where nothing is, a vendor may leave it out; but not every JSON object is its answer."""
    listed = data.get(name)
    if name not in data and "base_resp" not in data:
        raise BadAnswer(f"the answer has no {name}")
    if listed is not None and not isinstance(listed, list):
        raise BadAnswer(f"the answer's {name} are no list")
    return listed or []


def _base(data: Data) -> Base:
    found = base_in(_nested(data)) or base_in(data)
    if found is None:
        raise BadAnswer("the answer has no knowledge_base_id")
    return found


def _nested(data: Data) -> object:
    """The `knowledge_base` object; a page shows it inside another one of the same name."""
    inner = data.get("knowledge_base")
    deeper = inner.get("knowledge_base") if isinstance(inner, dict) else None
    return deeper if isinstance(deeper, dict) else inner


@attrs.frozen
class Page:
    """A page of the list of bases; `total` is how many there are in all, if the vendor says so."""

    bases: tuple[Base, ...]
    total: int | None


def _page(data: Data) -> Page:
    bases = tuple(found for each in _listed(data, "knowledge_bases") if (found := base_in(each)) is not None)
    return Page(bases, id_or_none(data.get("total")))


_ENDS = ("base_resp", "file_id", "knowledge_base_id", "knowledge_base")


def _done(data: Data) -> None:
    """An answer of which only the absence of a failure counts; every answer ends with `base_resp` (pages File, Retrieval)."""
    if not any(name in data for name in _ENDS):
        raise BadAnswer("the answer has no base_resp")


# -- files -----------------------------------------------------------------------------------------------------


class Flows:
    """Makes the operations of one account."""

    def __init__(self, requests: wire.Wire, max_bases: int | None) -> None:
        self._wire = requests
        self._max_bases = max_bases
        self._files: set[int] = set()
        """The files that this client has heard of: none of them is what an upload without an answer has stored."""
        self.turns = Turns()

    def upload(self, run: Operation, file: Any, name: str | None, progress: Progress | None) -> Flow[File]:
        """Send a file; the answer names its id."""
        source: Source = yield Work(lambda: source_of(file, name))
        try:
            stored = yield from ask(run, wire.UPLOAD, lambda: self._wire.upload(source, progress), _file, whole=False)
        except CallError:
            if source.broken is not None:
                raise source.broken from None
            # A file like this one that is there after a plain refusal is somebody else's.
            yield from self._look(run, file_like=source if run.uncertain() else None)
            raise
        run.files.append(stored.id)
        self._files.add(stored.id)
        if stored.bytes is not None and stored.bytes != source.size:
            text = f"the vendor stored {stored.bytes} of {source.size} bytes as file {stored.id}"
            run.looked, run.advice = True, "delete that file and upload it again"
            raise error_for(Failure(K.BAD_RESPONSE, text))
        return attrs.evolve(stored, name=stored.name or source.name, bytes=source.size)

    def list_files(self, run: Operation) -> Flow[tuple[File, ...]]:
        """All files of the account that were uploaded for retrieval."""
        listed = yield from ask(run, wire.LIST_FILES, self._listing, _files)
        self._files.update(file.id for file in listed)
        return listed

    def _listing(self) -> HttpRequest:
        return self._wire.get(wire.LIST_FILES, purpose=wire.PURPOSE)

    def get_file(self, run: Operation, file_id: int) -> Flow[File]:
        """What the vendor knows of a file."""
        run.files.append(file_id)
        return (yield from self._about(run, wire.GET_FILE, lambda: self._wire.get(wire.GET_FILE, file_id=file_id), _file))

    def delete_file(self, run: Operation, file_id: int) -> Flow[None]:
        """Delete a file. One that is gone when an answer was lost has been deleted."""
        run.files.append(file_id)
        body = {"file_id": file_id, "purpose": wire.PURPOSE}
        try:
            yield from ask(run, wire.DELETE_FILE, lambda: self._wire.post(wire.DELETE_FILE, body), _done, whole=False)
        except CallError as error:
            _advise(run, wire.DELETE_FILE, error)
            yield from self._look(run)
            if not (run.looked and not run.files and run.uncertain()):
                raise
        run.files.clear()

    def download(
        self, run: Operation, file_id: int, target: Any, overwrite: bool, progress: Progress | None
    ) -> Flow[int]:
        """Write a file's content to `target`; returns its bytes."""
        sink: Sink = yield Work(lambda: sink_of(target, overwrite))
        about = yield from self.get_file(run, file_id)
        try:
            yield from self._fetch(run, about, sink, progress)
            yield Work(sink.finish)
        finally:
            sink.drop()
        return sink.size

    def _fetch(self, run: Operation, about: File, sink: Sink, progress: Progress | None) -> Flow[None]:
        while True:
            request, deadline = self._wire.get(wire.CONTENT, file_id=about.id), run.deadline()
            yield Begin(deadline)
            begun, wall = run.clock.monotonic(), run.clock.time()
            head: Any = None
            try:
                head = yield Open(run.place, request, deadline)
                yield from _receive(run, head, about, sink, progress)
            except AttemptFailed as failed:
                failure = failed.failure
            except CallError as error:
                if error.kind is K.BAD_REQUEST and error.billing == "none":  # the disk, not the vendor
                    raise
                failure = relabelled(run, error.failure(), deadline)
            else:
                note(run, None, HttpResponse(head.status, head.headers), begun, wall, deadline)
                return
            note(run, failure, None, begun, wall, deadline)
            pause = pause_before_next(run, wire.CONTENT, failure, request, deadline)
            if pause is None:
                raise error_for(failure)
            yield Sleep(pause, deadline)

    # -- bases -------------------------------------------------------------------------------------------------

    def create(
        self, run: Operation, name: str, description: str | None, model: str, document: Data, callback: str | None
    ) -> Flow[Base]:
        """Make a base, of one file or of none."""
        if "file_id" in document:
            run.files.append(document["file_id"])
        before = yield from self._leave_room(run)
        body = {
            "operator_id": run.operator_id, "name": name, "description": description, "embedding_model": model, **document,
            "callback": callback,
        }
        try:
            made = yield from ask(run, wire.CREATE, lambda: self._wire.post(wire.CREATE, body), _base, whole=False)
        except CallError as error:
            _advise(run, wire.CREATE, error)
            # Without a look at what was there before, a base of this name may be the one that was in the way.
            yield from self._look(run, base_name=name if before is not None or run.uncertain() else None, before=before)
            raise
        run.bases.append(made.id)
        return attrs.evolve(
            made, name=made.name or name, description=made.description or description, status=made.status or "loading"
        )

    def _leave_room(self, run: Operation) -> Flow[frozenset[int] | None]:
        """The bases that there are, if they fit on one page and anybody counts them; nothing is written.

        Raises QuotaExceededError when the account has as many as it may.
        """
        if self._max_bases is None:
            return None
        page = yield from ask(run, wire.LIST, lambda: self._wire.get(wire.LIST, page=0, page_size=_PAGE), _page)
        count = max(page.total or 0, len(page.bases))
        if count >= self._max_bases:
            run.advice = "delete a base that is not needed, or set max_bases if the account may have more"
            text = f"the account has {count} knowledge bases, and may have {self._max_bases} (page Retrieval)"
            raise QuotaExceededError(text, billing="none")
        whole = page.total is None or page.total <= len(page.bases)
        return frozenset(base.id for base in page.bases) if whole else None

    def get(self, run: Operation, base_id: int) -> Flow[Base]:
        """A base with its status and documents."""
        run.bases.append(base_id)
        return (yield from self._about(run, wire.GET, lambda: self._detail(base_id), _base))

    def _detail(self, base_id: int) -> HttpRequest:
        return self._wire.get(wire.GET, knowledge_base_id=base_id)

    def page(self, run: Operation, number: int, size: int) -> Flow[Page]:
        """A page of the list of bases; the first has number 0."""
        return (yield from ask(run, wire.LIST, lambda: self._wire.get(wire.LIST, page=number, page_size=size), _page))

    def wait(self, run: Operation, base_id: int) -> Flow[Base]:
        """The base as soon as it is available."""
        pause, base = _WAIT_FIRST, None
        while True:
            try:
                base = yield from self.get(run, base_id)
            except CallError as error:
                if base is None or error.kind is not K.DEADLINE_EXCEEDED:
                    raise
                raise _still_loading(run, base) from None
            run.bases[:] = [base_id]
            if base.available:
                return base
            room = run.remaining() - min(_LAST_LOOK, run.total / 10)
            if room <= 0:
                raise _still_loading(run, base)
            yield Sleep(min(pause * (0.8 + 0.2 * run.random()), room), run.deadline())
            pause = min(pause * 1.5, _WAIT_MOST)

    def delete(self, run: Operation, base_id: int) -> Flow[None]:
        """Delete a base. One that is gone when an answer was lost has been deleted."""
        run.bases.append(base_id)
        body = {"operator_id": run.operator_id, "knowledge_base_id": base_id}
        try:
            yield from self._in_turn(run, base_id, wire.DELETE, body, _done)
        except CallError as error:
            _advise(run, wire.DELETE, error)
            yield from self._look(run)
            if not (run.looked and not run.bases and run.uncertain()):
                raise
        run.bases.clear()

    # -- documents ---------------------------------------------------------------------------------------------

    def change_document(
        self, run: Operation, endpoint: wire.Endpoint, base_id: int, document: Data, callback: str | None
    ) -> Flow[Document]:
        """Add, update or delete a document."""
        run.bases.append(base_id)
        run.files.append(document["file_id"])
        body = {"operator_id": run.operator_id, "knowledge_base_id": base_id, **document, "callback": callback}
        try:
            yield from self._in_turn(run, base_id, endpoint, body, _done)
        except CallError as error:
            _advise(run, endpoint, error)
            yield from self._look(run)
            raise
        return Document(document["file_id"], base_id)

    def get_document(self, run: Operation, base_id: int, file_id: int) -> Flow[Document]:
        """A document of a base."""
        run.bases.append(base_id)
        run.files.append(file_id)

        def document(data: Data) -> Document:
            inner = data.get("document")
            found = document_in(inner if isinstance(inner, dict) else data, base_id)
            if found is None:
                raise BadAnswer("the answer has no file_id")
            return found

        def request() -> HttpRequest:
            # The page lists an operator_id for this question, too; it changes nothing.
            return self._wire.get(
                wire.GET_DOCUMENT, operator_id=run.operator_id, knowledge_base_id=base_id, file_id=file_id
            )

        return (yield from self._about(run, wire.GET_DOCUMENT, request, document))

    # -- what they share ---------------------------------------------------------------------------------------

    def _about(
        self, run: Operation, endpoint: wire.Endpoint, make: Callable[[], HttpRequest], read: Callable[[Data], T]
    ) -> Flow[T]:
        """A question about something that may not exist."""
        try:
            return (yield from ask(run, endpoint, make, read))
        except CallError as error:
            _advise(run, endpoint, error)
            yield from self._look(run)
            raise

    def _in_turn(
        self, run: Operation, base_id: int, endpoint: wire.Endpoint, body: Data, read: Callable[[Data], T]
    ) -> Flow[T]:
        """A write on a base, when no other operation of this client is changing it."""
        ticket = yield Turn(self.turns, base_id, run.deadline())
        try:
            return (yield from ask(run, endpoint, lambda: self._wire.post(endpoint, body), read, whole=False))
        finally:
            ticket.end()

    def _look(
        self, run: Operation, file_like: Source | None = None, base_name: str | None = None,
        before: frozenset[int] | None = None,
    ) -> Flow[None]:
        """After a failure: keep of the ids those that exist, and add what the lost answer may have made.

        Asked once; when that fails too, the error goes by what was known before.
        """
        if not run.reachable():
            return
        files, bases = list(run.files), list(run.bases)
        try:
            if files or file_like is not None:
                listed = yield from _once(run, self._listing(), _files)
                files = [file.id for file in listed if file.id in files or self._may_be(run, file, file_like)]
            if bases or base_name is not None:
                found = yield from self._all_bases(run)
                bases = [base.id for base in found if base.id in bases or _made_now(run, base, base_name, before)]
        except (AttemptFailed, CallError) as error:
            if isinstance(error, CallError) and error.kind in (K.CANCELLED, K.CLOSED):
                raise
            return
        run.files[:], run.bases[:], run.looked = files, bases, True

    def _may_be(self, run: Operation, file: File, source: Source | None) -> bool:
        """Whether `file` may be what an upload without an answer has stored: new, of its name and size."""
        if source is None or file.name != source.name or file.id in self._files:
            return False
        return file.bytes in (None, source.size) and _young(run, file.created)

    def _all_bases(self, run: Operation) -> Flow[list[Base]]:
        found: dict[int, Base] = {}
        number = 0
        while True:
            page = yield from _once(run, self._wire.get(wire.LIST, page=number, page_size=_PAGE), _page)
            known, number = len(found), number + 1
            found.update((base.id, base) for base in page.bases)
            if len(found) in (known, page.total):
                return list(found.values())


def _once(run: Operation, request: HttpRequest, read: Callable[[Data], T]) -> Flow[T]:
    """One exchange that is no attempt: it finds out what the attempts have left. Raises AttemptFailed or CallError."""
    deadline = run.deadline()
    yield Begin(deadline)
    response = yield Send(run.place, request, deadline)
    return decoded(run, response, read)


def _still_loading(run: Operation, base: Base) -> CallError:
    run.bases[:] = [base.id]
    run.looked, run.advice = True, "wait again: the base goes on loading at the vendor; get() shows its status"
    return out_of_time(run, f"the base {base.id} is still {base.status or 'without a status'} after {run.total:g} s")


def _made_now(run: Operation, base: Base, name: str | None, before: frozenset[int] | None) -> bool:
    """Whether a base of this name was made by this operation, as far as anybody can tell."""
    if name is None or base.name != name:
        return False
    return _young(run, base.created) if before is None else base.id not in before


def _young(run: Operation, created: float | None) -> bool:
    return created is None or created >= run.wall - _CLOCKS_DIFFER


def _advise(run: Operation, endpoint: wire.Endpoint, error: CallError) -> None:
    """What the endpoint knows better than the vendor's code about a request that was found wrong."""
    if error.kind is K.BAD_REQUEST and run.attempts:
        run.advice = endpoint.advice


def _take(data: bytes, sink: Sink, about: File, progress: Progress | None) -> None:
    sink.write(data)
    if progress is not None:
        progress(sink.size, sink.size if about.bytes is None else max(about.bytes, sink.size))


def _receive(run: Operation, head: Any, about: File, sink: Sink, progress: Progress | None) -> Flow[None]:
    """The content of a file, all of it. Raises AttemptFailed for an error in its place."""
    yield Work(sink.begin)
    first = b""
    while True:
        data = yield Read()
        if not data:
            break
        if len(first) < _SMALL:
            first += data
        if head.status >= 300:
            if len(first) >= _SMALL:
                break
            continue
        yield Work(functools.partial(_take, data, sink, about, progress))
    if head.status < 300 and sink.size == about.bytes:
        return
    # Not what was announced: an error of the vendor, which comes as JSON in place of the content, or a cut one.
    if head.status >= 300 or sink.size < _SMALL:
        accepted(run, HttpResponse(head.status, head.headers, first))
    if about.bytes is not None:
        raise AttemptFailed(Failure(K.CONNECTION_LOST, f"{sink.size} bytes came of {about.bytes}", http_status=head.status))

