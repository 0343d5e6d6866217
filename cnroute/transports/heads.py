"""The heads of HTTP messages: ours written, the vendor's read.

Rules of this file
- What could end a line or a word of ours is refused before anything is written (U26); the framing of a request is
  ours alone.
- A broken line of an answer is an error and is never logged: urllib3 would log it together with the URL's query (U31).
- By hand, because a head is a quarter of a call: urllib3 and http.client make 60 calls to write five headers, and read
  eleven with the e-mail parser in 54 us; here it is 2 us and 9 us (measured).
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping

import attrs

from cnroute.failures import FailureKind
from cnroute.http import Headers
from cnroute.transports.exchange import Inbox
from cnroute.transports.steps import WireError

K = FailureKind

_MAX_LINE = 65536
_MAX_HEADERS = 100
_BLANK = (b"\r\n", b"\n")
_FOLDS = (" ", "\t")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_STATUS_LINE = re.compile(r"HTTP/(\d+)\.(\d+)[ \t]+(\d{3})(?:[ \t][^\r\n]*)?")
# Ours, whatever a plugin says: a length that does not fit would make one request two.
_FRAMING = frozenset(("content-length", "transfer-encoding"))


def request_head(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Request line and headers, but for the length of the body and the blank line.

    Raises WireError for what cannot stand in them, without saying it.
    """
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise WireError(K.BAD_REQUEST, "the URL or the method holds characters that HTTP does not allow")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in fields.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise WireError(K.BAD_REQUEST, "a header holds characters that HTTP does not allow")
        if name.lower() not in _FRAMING:
            lines.append(f"{name}: {value}")
    try:
        return "\r\n".join([*lines, ""]).encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise WireError(K.BAD_REQUEST, "a header holds characters that HTTP does not allow")


@attrs.define(eq=False)
class Head:
    """An answer's status and headers; `lengths` and `codings` are every Content-Length and Transfer-Encoding.

    `last`: the connection ends with this answer.
    """

    status: int
    fields: Headers
    lengths: list[str]
    codings: list[str]
    last: bool


def read_head(inbox: Inbox) -> Head:
    """Status line and headers, after any number of `100 Continue`.

    Raises WireError for too many, too long or broken lines (U23, U24), RemoteDisconnected where nothing came.
    """
    while True:
        head = _quickly(inbox) or _line_by_line(inbox)
        if head.status != http.client.CONTINUE:
            return head


def _quickly(inbox: Inbox) -> Head | None:
    """A head that has arrived whole, as nearly all do; None where it has not, or where anything is unusual."""
    arrived = inbox.peek()
    end = arrived.find(b"\r\n\r\n")
    if end < 0:
        return None
    status_line, *lines = arrived[:end].decode("latin-1").split("\r\n")
    pairs = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "\n" in value:
            return None
        pairs.append((name.lower(), value.strip()))
    found = _STATUS_LINE.fullmatch(status_line)
    if len(pairs) >= _MAX_HEADERS or not found or found[1] != "1":
        return None
    inbox.skip(end + 4)
    return _head(found, pairs)


def _line_by_line(inbox: Inbox) -> Head:
    line = inbox.readline(_MAX_LINE + 1)
    if not line:
        raise http.client.RemoteDisconnected("closed without an answer")
    found = _STATUS_LINE.fullmatch(line.decode("latin-1").strip())
    if not found or found[1] != "1":
        raise WireError(K.PROTOCOL_ERROR, "the answer does not begin like one of HTTP/1")
    return _head(found, _pairs(inbox))


def _head(found: re.Match[str], pairs: list[tuple[str, str]]) -> Head:
    lengths = [value for name, value in pairs if name == "content-length"]
    codings = [value for name, value in pairs if name == "transfer-encoding"]
    fields = Headers.in_lower_case(pairs)
    wish = fields.get("connection", "").lower()
    kept = "keep-alive" in wish if found[2] == "0" else "close" not in wish
    return Head(int(found[3]), fields, lengths, codings, not kept or not (lengths or codings))


def _pairs(inbox: Inbox) -> list[tuple[str, str]]:
    """Header lines up to the blank one."""
    pairs: list[tuple[str, str]] = []
    for _ in range(_MAX_HEADERS):
        line = inbox.readline(_MAX_LINE + 1)
        if line in _BLANK:
            return pairs
        if not line.endswith(b"\n"):
            raise _cut_line(line)
        text = line.decode("latin-1")
        name, colon, value = text.partition(":")
        if text[0] in _FOLDS and pairs:  # an old way to go on with a value on the next line
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {text.strip()}")
        elif not colon or not name or name != name.strip():
            raise WireError(K.PROTOCOL_ERROR, "a header line of the answer is broken")
        else:
            pairs.append((name.lower(), value.strip()))
    raise WireError(K.PROTOCOL_ERROR, "the answer has too many header lines")


def _cut_line(line: bytes) -> WireError:
    if len(line) > _MAX_LINE:
        return WireError(K.PROTOCOL_ERROR, "a line of the answer's head is too long")
    return WireError(K.CONNECTION_LOST, "the connection was closed inside the answer's head")
