"""The endpoints of MiniMax's files and knowledge bases: one row each, and the HTTP requests that they take.

Source: pages "File" and "Retrieval" of platform.minimaxi.com, 2025-09 and older. Everything takes `?GroupId=`, every
answer ends with `base_resp`.

Rules of this file
- Ids go out as integers, in a query as their digits.
- A write carries an `operator_id`: the same one replays the first write with it, so it is drawn once for each write that
  is meant, and sent again when the write is repeated.
- The key goes into a header only; file names and ids are quoted parts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from cnroute.deployments import Deployment
from cnroute.errors import BadRequestError, ConfigurationError
from cnroute.http import HttpRequest, SecretText
from cnroute.knowledge.uploads import Source
from cnroute.wire import dumps, query_url

PURPOSE = "retrieval"
EMBEDDING_MODEL = "kbq-001"


@attrs.frozen
class Endpoint:
    """One endpoint. `repeatable`: sending the request twice does no more than sending it once.

    `advice`: what a caller does when the vendor finds the request wrong.
    """

    name: str
    method: str
    path: str
    repeatable: bool
    advice: str


_LOOK_FOR_BASE = "see which bases there are with list(), and which files with list_files()"
_LOOK_FOR_FILE = "see which files there are with list_files()"

UPLOAD = Endpoint("upload", "POST", "/files/upload", False, "see that the file holds text as pdf, docx, txt or jsonl")
LIST_FILES = Endpoint("list_files", "GET", "/files/list", True, "")
GET_FILE = Endpoint("get_file", "GET", "/files/retrieve", True, _LOOK_FOR_FILE)
CONTENT = Endpoint("download", "GET", "/files/retrieve_content", True, _LOOK_FOR_FILE)
DELETE_FILE = Endpoint("delete_file", "POST", "/files/delete", True, _LOOK_FOR_FILE)
CREATE = Endpoint(
    "create", "POST", "/embedding/create_knowledge_base", True,
    "a name may be taken once: choose another, or find the base with list(); the file's id must be one of list_files()",
)
DELETE = Endpoint("delete", "POST", "/embedding/delete_knowledge_base", True, _LOOK_FOR_BASE)
GET = Endpoint("get", "GET", "/embedding/query_knowledge_base", True, _LOOK_FOR_BASE)
LIST = Endpoint("list", "GET", "/embedding/list_knowledge_base", True, "")
ADD = Endpoint("add_document", "POST", "/embedding/add_document", True, _LOOK_FOR_BASE)
UPDATE = Endpoint("update_document", "POST", "/embedding/update_document", True, _LOOK_FOR_BASE)
DELETE_DOCUMENT = Endpoint("delete_document", "POST", "/embedding/delete_document", True, _LOOK_FOR_BASE)
GET_DOCUMENT = Endpoint("get_document", "GET", "/embedding/query_document", True, _LOOK_FOR_BASE)


def new_operator_id() -> int:
    """A fresh idempotency number: 62 random bits, so that no two writes of the account share one by chance."""
    return secrets.randbits(62) | 1


@attrs.frozen
class Wire:
    """Makes the requests of one account."""

    deployment: Deployment

    def get(self, endpoint: Endpoint, **query: Any) -> HttpRequest:
        """A request without a body."""
        return HttpRequest("GET", self._url(endpoint, query), self._headers())

    def post(self, endpoint: Endpoint, body: Mapping[str, Any]) -> HttpRequest:
        """A request with JSON; what is None is left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return HttpRequest("POST", self._url(endpoint, {}), self._headers("application/json"), dumps(given))

    def upload(self, source: Source, progress: Callable[[int, int], object] | None) -> HttpRequest:
        """The multipart form of an upload; its content type is the form's own, never JSON (page "File")."""
        boundary = f"cnroute-{secrets.token_hex(16)}"
        headers = self._headers(f"multipart/form-data; boundary={boundary}")
        body = source.form(boundary, {"purpose": PURPOSE}, progress)
        return HttpRequest("POST", self._url(UPLOAD, {}), headers, cast(bytes, body))

    def _url(self, endpoint: Endpoint, query: Mapping[str, Any]) -> str:
        group = self.deployment.options.get("group_id")
        if group is None or not str(group).strip():
            raise ConfigurationError("MiniMax's knowledge bases need the account's GroupId", "group_id")
        given = {name: str(value) for name, value in query.items()}
        return query_url(self.deployment.base_url or "", endpoint.path, GroupId=str(group), **given)

    def _headers(self, content_type: str | None = None) -> dict[str, str]:
        headers: dict[str, str] = {} if content_type is None else {"Content-Type": content_type}
        if self.deployment.api_key is not None:
            headers["Authorization"] = SecretText("Bearer " + self.deployment.api_key.reveal())
        own = {name.lower() for name in self.deployment.headers}
        return {name: value for name, value in headers.items() if name.lower() not in own} | dict(self.deployment.headers)


# -- what a caller may ask for, checked before anything is sent ------------------------------------------------

_NAME = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
MAX_BASES = 10
"""How many knowledge bases an account may have (page "Retrieval")."""


def checked_name(value: object) -> str:
    """The name of a base. Raises BadRequestError."""
    if isinstance(value, str) and value.strip() and _NAME.fullmatch(value):
        return value
    raise BadRequestError("name must be text of 1 to 200 characters on one line", billing="none")


def doc_params(
    chunk_size: int | None, chunk_overlap: int | None, separators: Any, is_regex: bool
) -> dict[str, Any]:
    """How a document is cut into pieces. Raises BadRequestError for what the page does not allow."""
    size = _count("chunk_size", 500 if chunk_size is None else chunk_size, 1)
    overlap = _count("chunk_overlap", min(50, (size - 1) // 2) if chunk_overlap is None else chunk_overlap, 0)
    if size < 2 * overlap + 1:
        raise BadRequestError(
            f"chunk_size must be at least 2 x chunk_overlap + 1: {size} is less than {2 * overlap + 1} (page Retrieval)",
            billing="none",
        )
    if not isinstance(is_regex, bool):
        raise BadRequestError("is_regex must be True or False", billing="none")
    params = {"chunk_size": size, "chunk_overlap": overlap, "is_regex": is_regex or None, "separators": _separators(separators)}
    return {name: value for name, value in params.items() if value is not None}


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= 10**9:
        return value
    raise BadRequestError(f"{name} must be a whole number of at least {least}", billing="none")


def _separators(value: Any) -> list[str] | None:
    if value is None:
        return None
    words = list(value) if isinstance(value, list | tuple) else []
    if not words or not all(isinstance(each, str) for each in words):
        raise BadRequestError("separators must be a list of texts", billing="none")
    return words


def checked_page_size(value: object) -> int:
    """How many bases a page of the list holds: above 0, at most 100 (page "Retrieval"). Raises BadRequestError."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return value
    raise BadRequestError("page_size must be from 1 to 100", billing="none")


def checked_callback(value: object) -> str | None:
    """A URL that the vendor calls when it is done. Raises BadRequestError."""
    if value is None or (isinstance(value, str) and re.fullmatch(r"https?://[\x21-\x7e]{1,2000}", value)):
        return value
    raise BadRequestError("callback must be an http or https URL", billing="none")

