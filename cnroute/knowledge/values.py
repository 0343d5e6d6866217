"""Files, knowledge bases and documents as MiniMax's pages describe them, read leniently.

Rules of this file
- An id is an exact integer; the pages type it as integer, string and object, so digits in text are read too. A float
  was rounded by somebody on the way: it is no id.
- What the pages do not settle (`docs[]`, the document object) is kept in `raw` beside what could be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cnroute.errors import BadRequestError
from cnroute.wire import text_or_none

MOST = 2**63 - 1
"""The largest id: they are int64 at the vendor."""
# Seconds since 1970 pass this in the year 5138; what is larger counts milliseconds.
_MILLISECONDS = 10**11


def id_or_none(value: object) -> int | None:
    """An exact id from 0 to 2^63 - 1, from an integer or its digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if good else None  # type: ignore[return-value]


def checked_id(value: object, name: str) -> int:
    """The id that a caller gave, as an integer or its digits. Raises BadRequestError."""
    number = id_or_none(value)
    if number is None:
        raise BadRequestError(f"{name} must be a whole number from 0 to 2^63 - 1, or its digits", billing="none")
    return number


def _number(value: object) -> int | None:
    return id_or_none(value)


def _seconds(value: object) -> float | None:
    """Unix seconds; some fields of the pages count milliseconds."""
    number = _number(value)
    if number is None or not number:
        return None
    return number / 1000 if number > _MILLISECONDS else float(number)


@attrs.frozen
class File:
    """An uploaded file. `bytes` is its size, `created` in Unix seconds; None is unknown."""

    id: int
    name: str | None = None
    bytes: int | None = None
    created: float | None = None


@attrs.frozen
class Document:
    """A file's place in a knowledge base. `raw` is what the vendor sent of it: its pages list the file's id alone."""

    file_id: int
    base_id: int | None = None
    name: str | None = None
    status: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class Base:
    """A knowledge base. `status` is the vendor's word: `loading`, then `available`. `created` is in Unix seconds."""

    id: int
    name: str | None = None
    description: str | None = None
    status: str | None = None
    documents: tuple[Document, ...] = ()
    created: float | None = None

    @property
    def available(self) -> bool:
        """Whether chats may ask it and writes may change it."""
        return self.status == "available"


def file_in(data: object) -> File | None:
    """The file in a file object of the vendor, if it has an id."""
    if not isinstance(data, Mapping):
        return None
    number = id_or_none(data.get("file_id"))
    if number is None:
        return None
    return File(number, text_or_none(data.get("filename")), _number(data.get("bytes")), _seconds(data.get("created_at")))


def document_in(data: object, base_id: int | None) -> Document | None:
    """The document in an element of `docs[]` or a document object: a file's id alone, or an object that has one."""
    if not isinstance(data, Mapping):
        number = id_or_none(data)
        return None if number is None else Document(number, base_id)
    number = id_or_none(data.get("file_id"))
    if number is None:
        return None
    name = text_or_none(data.get("filename")) or text_or_none(data.get("file_name")) or text_or_none(data.get("name"))
    return Document(number, base_id, name, text_or_none(data.get("status")), dict(data))


def base_in(data: object) -> Base | None:
    """The base in a `knowledge_base` object, if it has an id."""
    if not isinstance(data, Mapping):
        return None
    number = id_or_none(data.get("knowledge_base_id"))
    if number is None:
        return None
    docs = data.get("docs")
    listed = docs if isinstance(docs, list) else ()
    documents = tuple(found for each in listed if (found := document_in(each, number)) is not None)
    return Base(
        number, text_or_none(data.get("name")), text_or_none(data.get("description")), text_or_none(data.get("status")),
        documents, _seconds(data.get("create_time")),
    )
