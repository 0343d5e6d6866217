"""Samples: a vendor's answers as JSON documents, and what a provider must make of them.

Rules of this file
- One JSON document a file; the keys are those of `KEYS` and no others, and every problem of every file comes at once.
- A key that is absent from `expect` is not compared; null means "must be unknown".
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from cnroute.errors import ConfigurationError, Problem
from cnroute.failures import FailureKind
from cnroute.http import Headers, HttpResponse

KEYS = ("name", "call", "stream", "status", "headers", "body", "body_base64", "expect", "expect_request", "answer")
EXPECTED = ("text", "reasoning", "finish_reason", "usage", "tool_calls", "request_id", "failure")
IN_FAILURE = ("kind", "vendor_code", "retry_after")
IN_REQUEST = ("method", "url", "headers", "json")
IN_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
}
DEFAULT_CALL = {"messages": "你好"}


@attrs.frozen
class Sample:
    """One exchange with the vendor."""

    name: str
    body: bytes = attrs.field(repr=False)
    call: Mapping[str, Any] = attrs.field(factory=dict)
    stream: bool = False
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    expect: Mapping[str, Any] = attrs.field(factory=dict)
    expect_request: Mapping[str, Any] | None = None
    answer: str | None = None

    @property
    def failure(self) -> Mapping[str, Any] | None:
        """What failure is expected, if one is."""
        return self.expect.get("failure")

    @property
    def refused(self) -> bool:
        """Whether the answer is an error: it is expected to be one, or its status says so."""
        return self.failure is not None or not 200 <= self.status < 300

    @property
    def in_lines(self) -> bool:
        """Whether the body is a stream that `parse_stream_line` reads, and not a whole answer to a stream request."""
        start = self.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        return self.stream and 200 <= self.status < 300 and start not in (b"{", b"[", b"<")

    @property
    def response(self) -> HttpResponse:
        """The answer as a complete one."""
        return HttpResponse(self.status, Headers(self.headers), self.body)

    def document(self) -> Any:
        """The body decoded from JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def load(source: Any, beside: Path | None = None) -> tuple[Sample, ...]:
    """The samples of a folder (beside the file `beside`, if its path is relative) or of a list of documents.

    Raises ConfigurationError with every problem of every document.
    """
    problems: list[Problem] = []
    samples = [_sample(document, place, problems) for place, document in _documents(source, beside, problems)]
    found = [sample for sample in samples if sample is not None]
    names = [sample.name for sample in found]
    problems += [Problem(name, "two samples have this name") for name in sorted({n for n in names if names.count(n) > 1})]
    if problems:
        raise ConfigurationError(problems)
    return tuple(found)


def _documents(source: Any, beside: Path | None, problems: list[Problem]) -> Iterable[tuple[str, Any]]:
    if isinstance(source, str | Path):
        return _files(Path(source) if beside is None else beside.parent / source, problems)
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return [(f"sample {number}", document) for number, document in enumerate(source, 1)]
    problems.append(Problem("samples", "must be a folder, or a list of documents"))
    return []


def _files(folder: Path, problems: list[Problem]) -> list[tuple[str, Any]]:
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        what = "has no *.json in it" if folder.is_dir() else "is no folder"
        problems.append(Problem("samples", f"{what}; put one JSON document a sample there", str(folder)))
    found = []
    for path in paths:
        try:
            found.append((str(path), {"name": path.stem, **_object(json.loads(path.read_text("utf-8")))}))
        except (OSError, ValueError) as error:
            problems.append(Problem("", f"cannot be read as JSON: {error}", str(path)))
    return found


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("a sample is a JSON object")  # noqa: TRY004 (told like broken JSON)
    return value


def _sample(document: Any, place: str, problems: list[Problem]) -> Sample | None:
    if isinstance(document, Sample):
        return document
    found = list(_wrong(document)) if isinstance(document, Mapping) else [("", "a sample is a JSON object")]
    problems += [Problem(key, reason, place) for key, reason in found]
    if found:
        return None
    name = str(document.get("name") or place)
    stream = bool(document.get("stream", False))
    body = _body(document)
    kind = "text/event-stream" if stream and body.lstrip()[:1] != b"{" else "application/json"
    headers = document.get("headers")
    return Sample(
        name,
        body,
        {**DEFAULT_CALL, **(document.get("call") or {})},
        stream,
        document.get("status", 200),
        {"Content-Type": kind} if headers is None else dict(headers),
        _expect(document.get("expect") or {}),
        document.get("expect_request"),
        document.get("answer"),
    )


def _expect(expect: Mapping[str, Any]) -> Mapping[str, Any]:
    """The expectation with a failure that is only a kind spelled out."""
    failure = expect.get("failure")
    return {**expect, "failure": {"kind": failure}} if isinstance(failure, str) else expect


def _body(document: Mapping[str, Any]) -> bytes:
    if "body_base64" in document:
        return base64.b64decode(document["body_base64"])
    body = document["body"]
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode("utf-8", "surrogatepass")


def _wrong(document: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Every problem of one document, as key and reason."""
    yield from _unknown(document, KEYS, "")
    if ("body" in document) == ("body_base64" in document):
        yield "body", "a sample needs one of body and body_base64"
    for key, kind, what in _TYPES:
        if key in document and document[key] is not None and not isinstance(document[key], kind):
            yield key, f"must be {what}"
    if isinstance(document.get("status", 200), int) and not 100 <= document.get("status", 200) <= 599:
        yield "status", "must be from 100 to 599"
    yield from _wrong_base64(document)
    for key, known in (("expect", EXPECTED), ("expect_request", IN_REQUEST)):
        if isinstance(document.get(key), Mapping):
            yield from _unknown(document[key], known, f"{key}.")
    if isinstance(document.get("expect"), Mapping):
        yield from _wrong_expectation(document["expect"])


_TYPES = (
    ("name", str, "text"),
    ("call", Mapping, "an object: the arguments of router.chat"),
    ("stream", bool, "true or false"),
    ("status", int, "a number"),
    ("headers", Mapping, "an object"),
    ("body_base64", str, "text"),
    ("expect", Mapping, "an object"),
    ("expect_request", Mapping, "an object"),
    ("answer", str, "text"),
)


def _wrong_base64(document: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if isinstance(document.get("body_base64"), str):
        try:
            base64.b64decode(document["body_base64"], validate=True)
        except binascii.Error as error:
            yield "body_base64", f"is no base64: {error}"


def _wrong_expectation(expect: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    failure, usage = expect.get("failure"), expect.get("usage")
    if isinstance(failure, str):
        failure = {"kind": failure}
    if isinstance(failure, Mapping):
        yield from _unknown(failure, IN_FAILURE, "expect.failure.")
        if failure.get("kind", "auth") not in set(FailureKind):
            yield "expect.failure.kind", f"is no failure kind; kinds are {', '.join(FailureKind)}"
    elif failure is not None:
        yield "expect.failure", 'must be an object such as {"kind": "rate_limit"}, or null'
    if isinstance(usage, Mapping):
        yield from _unknown(usage, tuple(IN_USAGE), "expect.usage.")
    elif usage is not None:
        yield "expect.usage", "must be an object, or null"
    if not isinstance(expect.get("tool_calls") or [], list):
        yield "expect.tool_calls", "must be a list"


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> Iterable[tuple[str, str]]:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; keys are {', '.join(known)}"
            yield f"{prefix}{key}", f"is no key of a sample{hint}"
