"""DashScope's error codes into failures: `{"code": ..., "message": ..., "request_id": ...}` under any status.

Rules of this file
- The code decides, then the message where one code means several things, then the HTTP status.
- HTTP 200 with a non-empty code is a failure (DashScope SDK).
- Pages: Model Studio error codes, and the older DashScope status codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cnroute.deployments import Deployment
from cnroute.errors import ResponseError
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import hookimpl
from cnroute.http import Headers, HttpResponse
from cnroute.wire import (
    by_status,
    header_request_id,
    header_retry_after,
    masked,
    positive_seconds,
    sse_data,
    text_or_none,
)

K = FailureKind

# One spelling for CamelCase (native) and snake_case (compatible mode): see `_plain`.
_CODES: dict[FailureKind, str] = {
    K.BAD_REQUEST: """InvalidParameter invalid_parameter_error BadRequest BadRequest.EmptyInput
        BadRequest.EmptyParameters BadRequest.EmptyModel InvalidURL UnsupportedOperation""",
    K.MODEL_NOT_FOUND: "ModelNotFound Model.NotExist NotFound",
    K.CONTENT_FILTER: "DataInspectionFailed",
    K.QUOTA: "Arrearage AllocationQuota.FreeTierOnly CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue",
    K.AUTH: "InvalidApiKey",
    K.PERMISSION: """NotAuthorized WorkSpaceNotFound AccessDenied AccessDenied.Unpurchased Model.AccessDenied
        App.AccessDenied Workspace.AccessDenied""",
    K.VENDOR_TIMEOUT: "RequestTimeOut InternalError.Timeout",
    K.REQUEST_TOO_LARGE: "BadRequest.TooLarge",
    K.RATE_LIMIT: """Throttling Throttling.RateQuota LimitRequests Throttling.BurstRate Throttling.AllocationQuota
        insufficient_quota""",
    K.SERVER_ERROR: "InternalError InternalError.Algo SystemError ModelServiceFailed InvokePluginFailed",
    K.OVERLOADED: "ModelServingError ModelUnavailable ServiceUnavailable",
}

# What the message says more exactly than the code: (kind by code, words in the message, kind).
_BY_MESSAGE: tuple[tuple[FailureKind, str, FailureKind], ...] = (
    (K.BAD_REQUEST, "range of input length should be", K.CONTEXT_LENGTH),
    (K.BAD_REQUEST, "model not exist", K.MODEL_NOT_FOUND),
    (K.RATE_LIMIT, "free allocated quota exceeded", K.QUOTA),
)

_REGION_HINT = " (a DashScope key belongs to one region: check that {host} is the host of the key's region)"
_HINT_AFTER = 300
# More of a message is neither read nor shown.
_READ = 4096


def _plain(code: str) -> str:
    """A code without case, blanks and underscores, so that both spellings meet."""
    return re.sub(r"[\s_-]", "", code).lower()


_KINDS = {_plain(code): kind for kind, codes in _CODES.items() for code in codes.split()}


@hookimpl
def map_error(response: HttpResponse, deployment: Deployment) -> Failure | None:
    """The failure in a complete answer: JSON, or the SSE text that a refused stream gets; None for anything else."""
    good = by_status(response.status) is None
    answer = response.json_or_none() if good else None
    if isinstance(answer, dict) and "code" not in answer and "error" not in answer:
        return None
    found = _error_body(response)
    if found is None:
        return None
    body, status = found
    if good and not said_code(body):
        return None
    return failure_of(body, status if good else response.status, deployment, response.headers)


def _error_body(response: HttpResponse) -> tuple[dict[str, Any], int] | None:
    """The object that tells of the error, and the status that it was sent with."""
    try:
        body = response.json()
    except ResponseError:
        return next(_error_frames(response), None)
    return (body, response.status) if isinstance(body, dict) else None


def _error_frames(response: HttpResponse) -> Iterator[tuple[dict[str, Any], int]]:
    """Frames with an error in SSE text."""
    if b"data:" not in response.body:
        return
    memory: dict[str, Any] = {}
    status = response.status
    for line in (*response.text.split("\n"), ""):
        status = status_comment(line) or status
        frame = sse_data(line.removesuffix("\r"), memory)
        if isinstance(frame, dict) and said_code(frame):
            yield frame, status


def status_comment(line: str) -> int | None:
    """The number in a `:HTTP_STATUS/400` line."""
    if not line.startswith(":HTTP_STATUS/"):
        return None
    number = line[13:].strip()
    return int(number) if number.isascii() and number.isdigit() and len(number) == 3 else None


def said_code(body: Mapping[str, Any]) -> str | None:
    """The vendor's code, native or in the envelope of the compatible mode; None if it is empty or no code."""
    inner = body.get("error")
    fields = (inner.get("code"), inner.get("type")) if isinstance(inner, dict) else ()
    return next((code for code in map(_code_text, (body.get("code"), *fields)) if code), None)


def _code_text(code: object) -> str | None:
    if type(code) is int and code not in _ALL_IS_WELL and abs(code) < 10**9:
        return str(code)
    return text_or_none(code)


_ALL_IS_WELL = (0, 200)


def failure_of(
    body: Mapping[str, Any], status: int | None, deployment: Deployment, headers: Mapping[str, str] | None = None
) -> Failure:
    """What an error object means. `status` is that of the answer or, in a stream, of the frame."""
    headers = headers if headers is not None else Headers()
    code, message = said_code(body), _message(body)
    kind = _kind(code, message, status)
    text = masked(message or code or f"DashScope answered with HTTP {status}", deployment)
    waits = positive_seconds(str(body.get("retry_after")))
    return Failure(
        kind, text[:_HINT_AFTER] + _region_hint(deployment) if kind is K.AUTH else text,
        vendor_code=masked(code, deployment) if code else None, http_status=status,
        request_id=text_or_none(body.get("request_id")) or header_request_id(headers),
        retry_after=waits if waits is not None else header_retry_after(headers),
        **_billing(kind, message),
    )  # fmt: skip


def _message(body: Mapping[str, Any]) -> str:
    inner = body.get("error")
    nested = inner.get("message") if isinstance(inner, dict) else inner
    return (text_or_none(body.get("message")) or text_or_none(nested) or "")[:_READ]


def _kind(code: str | None, message: str, status: int | None) -> FailureKind:
    known = _KINDS.get(_plain(code)) if code else None
    if known is None:
        return (by_status(status) if status else None) or K.SERVER_ERROR
    said = message.lower()
    return next((kind for by_code, words, kind in _BY_MESSAGE if known is by_code and words in said), known)


def _region_hint(deployment: Deployment) -> str:
    return _REGION_HINT.format(host=urlsplit(deployment.base_url or "").hostname or "base_url")


def _billing(kind: FailureKind, message: str) -> dict[str, Any]:
    """A prompt that was refused was not processed; where it may have been the answer, nobody knows."""
    said = message.lower()
    refused_prompt = kind is K.CONTENT_FILTER and "input" in said and "output" not in said
    return {"billing": "none"} if refused_prompt else {}
