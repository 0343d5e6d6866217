"""Errors of every vendor: what is one, and what its code means.

    {"error": {"message": ..., "type": ..., "code": ..., "param": ...}}   most; code is a number, a text or null
    {"error": "..."}                                                      some local servers
    {"object": "error", "message": ..., "code": 400}                      older vLLM
    {"detail": [{"loc": ..., "msg": ...}]} or {"detail": "..."}           FastAPI in front of a model
    {"code": 20012, "message": ..., "data": null}                         SiliconFlow
    {"base_resp": {"status_code": 1004, "status_msg": ...}}               MiniMax, inside of HTTP 200 too
    "Invalid token"                                                       SiliconFlow: a text as JSON

Rules of this file
- An error beside an answer wins. A vendor's number is never taken for an HTTP status.
- The code decides, then the type, then the words of the message, then the HTTP status; the words also where the code
  says no more than "a bad request".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cnroute import CnrouteError, Deployment, Failure, FailureKind, HttpResponse
from cnroute.wire import (
    by_status,
    data_of,
    header_request_id,
    header_retry_after,
    loads,
    masked,
    positive_seconds,
    text_or_none,
)
from cnroute_openai_compatible.reply import failed_answer
from cnroute_openai_compatible.vendor import Vendor, plain_code

K = FailureKind

# What OpenAI-like servers say in their messages, in the words of all of them.
_WORDS: tuple[tuple[str, FailureKind], ...] = (
    ("maximum context length", K.CONTEXT_LENGTH),
    ("context window", K.CONTEXT_LENGTH),
    ("context_length_exceeded", K.CONTEXT_LENGTH),
    ("token length too long", K.CONTEXT_LENGTH),
    ("exceeded model token limit", K.CONTEXT_LENGTH),
    ("range of input length should be", K.CONTEXT_LENGTH),
)
# Types and codes that mean the same everywhere.
_USUAL: Mapping[str, FailureKind] = {
    plain_code(code): kind
    for kind, codes in {
        K.AUTH: "invalid_api_key authentication_error invalid_authentication_error incorrect_api_key_error AuthenticationError",
        K.PERMISSION: "permission_error permission_denied_error PermissionDeniedError access_denied",
        K.QUOTA: "insufficient_quota insufficient_balance billing_not_active",
        K.RATE_LIMIT: "rate_limit_error rate_limit_exceeded rate_limit_reached_error RateLimitError",
        K.BAD_REQUEST: "invalid_request_error BadRequestError invalid_parameter invalid_parameter_error",
        K.CONTEXT_LENGTH: "context_length_exceeded",
        K.CONTENT_FILTER: "content_filter content_policy_violation",
        K.MODEL_NOT_FOUND: "model_not_found NotFoundError not_found_error",
        K.SERVER_ERROR: "server_error internal_error InternalServerError api_error",
        K.OVERLOADED: "overloaded_error engine_overloaded_error ServiceUnavailableError service_unavailable",
    }.items()
    for code in codes.split()
}
_WAIT = re.compile(r"(?:after|in) (\d{1,5}(?:\.\d{1,3})?) ?(?:s\b|seconds?\b)")
# Without one of these a body under a good status holds no error.
_MARKS = (b'"error"', b'"base_resp"', b'"detail"', b'"code"')
# More of a message is neither read nor shown.
_READ = 4096


@attrs.frozen
class Complaint:
    """What a vendor says went wrong. `status` is an HTTP status that stands in a body, as vLLM's `code` does."""

    code: str | None
    type: str | None
    message: str
    status: int | None = None


def map_error(vendor: Vendor, response: HttpResponse, deployment: Deployment) -> Failure | None:
    """The failure in a complete answer: JSON, or the SSE text of a refused stream; None for anything else."""
    good = by_status(response.status) is None
    if good and not any(mark in response.body for mark in (*_MARKS, *vendor.marks)):
        return None  # so that a good answer is decoded once only
    try:
        data = response.json()
    except CnrouteError:
        found = next((each for each in _frames(response) if each), None)
    else:
        found = complaint_in(data, good=good)
        if found is None and good:
            return failed_answer(vendor, data, request_id_of(vendor, response))
    if found is None:
        return None
    failure = failure_of(vendor, found, response.status, deployment, request_id=request_id_of(vendor, response))
    if failure.retry_after is None:
        failure.retry_after = header_retry_after(response.headers)
    return failure


def request_id_of(vendor: Vendor, response: HttpResponse) -> str | None:
    """The vendor's id of the exchange from its header, or a usual one."""
    named = (response.headers.get(name) for name in vendor.request_ids)
    return next((value for value in named if value), None) or header_request_id(response.headers)


def _frames(response: HttpResponse) -> Iterator[Complaint | None]:
    """The complaints in the frames of SSE text that came as a complete answer."""
    if b"data:" not in response.body:
        return
    for line in response.text.split("\n"):
        data = data_of(line.removesuffix("\r"))
        if data and data.lstrip().startswith("{"):
            try:
                yield complaint_in(loads(data), good=True)
            except ValueError:
                continue


def complaint_in(data: Any, *, good: bool) -> Complaint | None:
    """The complaint in a decoded body or frame. `good`: the status was 2xx, so an answer is one until it says otherwise."""
    if isinstance(data, str) and data and not good:
        return Complaint(None, None, data)
    if not isinstance(data, dict):
        return None
    return next(filter(None, (read(data) for read in (_enveloped, _base_resp, _detailed))), None) or _bare(data)


def _enveloped(data: Mapping[str, Any]) -> Complaint | None:
    error = data.get("error")
    if isinstance(error, str) and error:
        return Complaint(None, None, error)
    if isinstance(error, dict) and error:
        return _named(error)
    return None


def _named(fields: Mapping[str, Any]) -> Complaint:
    code = _code(fields.get("code"))
    message = text_or_none(fields.get("message")) or text_or_none(fields.get("msg")) or ""
    return Complaint(code, _code(fields.get("type")), message, _status(code))


def _base_resp(data: Mapping[str, Any]) -> Complaint | None:
    inner = data.get("base_resp")
    code = _code(inner.get("status_code")) if isinstance(inner, dict) else None
    return Complaint(code, None, text_or_none(inner.get("status_msg")) or "") if code and isinstance(inner, dict) else None


def _detailed(data: Mapping[str, Any]) -> Complaint | None:
    """FastAPI's: a text, or a list of what is wrong with which field."""
    detail = data.get("detail")
    if not detail or "choices" in data:
        return None
    if isinstance(detail, list):
        told = [_told(each) for each in detail if isinstance(each, dict)]
        return Complaint(None, None, "; ".join(told))
    return _named(detail) if isinstance(detail, dict) else Complaint(None, None, text_or_none(detail) or "")


def _told(problem: Mapping[str, Any]) -> str:
    place = problem.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {text_or_none(problem.get('msg')) or ''}".removeprefix(": ")


def _bare(data: Mapping[str, Any]) -> Complaint | None:
    """A code and a message beside each other, where an answer would have choices."""
    if data.get("choices") or ("message" not in data and data.get("object") != "error"):
        return None
    found = _named(data)
    return found if found.code or data.get("object") == "error" else None


def _code(value: object) -> str | None:
    """A code as text; 0 and what is neither number nor text are none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()[:200]
    return text if text.strip("0") else None


def _status(code: str | None) -> int | None:
    return int(code) if code and re.fullmatch("[45][0-9][0-9]", code) else None


def failure_of(
    vendor: Vendor, found: Complaint, status: int, deployment: Deployment, *, request_id: str | None = None
) -> Failure:
    """What a complaint means; `status` is that of the answer."""
    message = found.message[:_READ]
    kind = _kind(vendor, found, status, message.lower())
    wait = _WAIT.search(message) if kind in (K.RATE_LIMIT, K.OVERLOADED) else None
    code = found.code or found.type
    failure = Failure(
        kind, masked(message or f"{vendor.name} error {code or status}", deployment),
        vendor_code=masked(code, deployment) if code else None, http_status=status, request_id=request_id,
        retry_after=positive_seconds(wait[1]) if wait else None,
    )  # fmt: skip
    if kind is K.CONTENT_FILTER and status >= 400:
        failure.billing = "none"  # the prompt was refused before the model worked
    return failure


def _kind(vendor: Vendor, found: Complaint, status: int, said: str) -> FailureKind:
    known = _by_code(vendor, found.code) or _by_code(vendor, found.type)
    if known in (None, K.BAD_REQUEST, K.RATE_LIMIT):
        known = next((kind for words, kind in (*vendor.words, *_WORDS) if words in said), known)
    told = found.status if 200 <= status < 300 and found.status else status
    by_number = vendor.statuses.get(told) or by_status(told)
    if known is None or (known is K.BAD_REQUEST and by_number not in (None, K.BAD_REQUEST)):
        return by_number or known or K.SERVER_ERROR
    return known


def _by_code(vendor: Vendor, code: str | None) -> FailureKind | None:
    """The code's own row, else that of its beginning up to a dot."""
    if code is None:
        return None
    words = plain_code(code).split(".")
    beginnings = (".".join(words[:count]) for count in range(len(words), 0, -1))
    return next((kind for each in beginnings if (kind := vendor.kinds.get(each) or _USUAL.get(each))), None)
