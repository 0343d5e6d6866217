"""MiniMax's errors: `base_resp` under HTTP 200, and the OpenAI-like envelope of newer gateways.

Rules of this file
- The vendor's number is never taken for an HTTP status.
- An error beside a full answer wins; `"0"` and 0 are no error.
- The meaning of a number is data (error tables of platform.minimaxi.com, 2025-09, and platform.minimax.io, 2026).
- No GroupId and no key in a message, although the vendor may echo them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from cnroute.deployments import Deployment
from cnroute.failures import Billing, Failure, FailureKind
from cnroute.hookspecs import hookimpl
from cnroute.http import Headers, HttpResponse
from cnroute.wire import (
    JsonError,
    by_status,
    data_of,
    header_request_id,
    header_retry_after,
    loads,
    masked,
    text_or_none,
)

K = FailureKind

KINDS: dict[str, FailureKind] = {
    "1000": K.SERVER_ERROR,
    "1001": K.VENDOR_TIMEOUT,
    "1002": K.RATE_LIMIT,
    "1004": K.AUTH,
    "1008": K.QUOTA,
    "1013": K.SERVER_ERROR,
    "1024": K.SERVER_ERROR,
    "1026": K.CONTENT_FILTER,
    "1027": K.CONTENT_FILTER,
    "1033": K.SERVER_ERROR,
    # Pages disagree: tokens per minute (pro, legacy, files), or "adjust max_tokens"; most say that waiting helps.
    "1039": K.RATE_LIMIT,
    "1041": K.RATE_LIMIT,
    "1042": K.BAD_REQUEST,
    "1043": K.BAD_REQUEST,
    "1044": K.BAD_REQUEST,
    "2013": K.BAD_REQUEST,
    "2032": K.QUOTA,
    "2033": K.QUOTA,
    "2034": K.OVERLOADED,
    "2036": K.OVERLOADED,
    "2037": K.BAD_REQUEST,
    "2038": K.BAD_REQUEST,
    "2039": K.BAD_REQUEST,
    "2042": K.BAD_REQUEST,
    "2044": K.PERMISSION,
    "2045": K.RATE_LIMIT,
    "2048": K.BAD_REQUEST,
    "2049": K.AUTH,
    # The window of a plan, hours long: waiting a minute does not help.
    "2056": K.QUOTA,
    "2061": K.PERMISSION,
    "20132": K.BAD_REQUEST,
}

# 2013 is "bad parameters" for everything; only the message tells these two (seen in the wild).
_BY_MESSAGE: tuple[tuple[str, FailureKind], ...] = (
    ("context window", K.CONTEXT_LENGTH),
    ("unknown model", K.MODEL_NOT_FOUND),
)

# The input filter refuses before the model works; after the output filter nobody says whether it is charged.
_BILLING: dict[str, Billing] = {"1026": "none", "1027": "unknown"}

_REGION_HINT = (
    " [the key must be of the host's region (base_url: api.minimaxi.com in China, api.minimax.io elsewhere)"
    " and of the same group as the GroupId]"
)
_NO_HEADERS = Headers()
# What stands in every good answer.
_ALL_WELL = {"status_code": 0, "status_msg": ""}
_TRAILING_NUMBER = re.compile(r"\((\d{3,6})\)\W*$")


@attrs.frozen
class Complaint:
    """What the vendor said went wrong; `http_code` is the status that an envelope speaks of."""

    code: str | None
    message: str
    http_code: int | None = None


@hookimpl
def map_error(response: HttpResponse, deployment: Deployment) -> Failure | None:
    """The failure in a complete answer of any status: JSON, SSE text of a 4xx, or a gateway's plain 404."""
    data = response.json_or_none()
    if isinstance(data, dict):
        return failure_in(data, deployment, response.status, response.headers)
    return _wrong_path(response) or _failure_in_sse(response, deployment)


def failure_in(
    data: Mapping[str, Any], deployment: Deployment, status: int | None = None, headers: Mapping[str, str] = _NO_HEADERS
) -> Failure | None:
    """The failure that an answer, or a frame of a stream (no status, no headers), tells of, if it does."""
    if data.get("base_resp") == _ALL_WELL and "error" not in data:
        return None
    complaint = _base_resp(data) or _envelope(data)
    if complaint is None:
        return None
    kind = _kind(complaint, status or 200)
    return Failure(
        kind,
        _message(complaint, kind, deployment),
        vendor_code=complaint.code,
        http_status=status,
        request_id=request_id_of(data) or header_request_id(headers),
        retry_after=header_retry_after(headers),
        billing=_BILLING.get(complaint.code or "", Failure(kind).billing),
    )


def request_id_of(data: Mapping[str, Any]) -> str | None:
    """The vendor's id of an exchange: `id` of an answer, `request_id` of an envelope."""
    return text_or_none(data.get("id")) or text_or_none(data.get("request_id"))


def bad_response(response: HttpResponse, reason: str, data: object = None) -> Failure:
    """A good HTTP answer that is no answer of this vendor."""
    known = request_id_of(data) if isinstance(data, dict) else None
    return Failure(
        K.BAD_RESPONSE, reason, http_status=response.status, request_id=known or header_request_id(response.headers)
    )


def _base_resp(data: Mapping[str, Any]) -> Complaint | None:
    answer = data.get("base_resp")
    if not isinstance(answer, dict):
        return None
    code = _code(answer.get("status_code"))
    return Complaint(code, text_or_none(answer.get("status_msg")) or "") if code else None


def _code(value: object) -> str | None:
    """A code as text: pages type it as a number and as a string. Zeros of any kind are no code."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    return text if text.strip("0") else None


def _envelope(data: Mapping[str, Any]) -> Complaint | None:
    error = data.get("error")
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return None
    message = text_or_none(error.get("message")) or ""
    number = _TRAILING_NUMBER.search(message)
    code = number[1] if number else _code(error.get("code")) or text_or_none(error.get("type"))
    return Complaint(code, message, _status(error.get("http_code"))) if code or message else None


def _status(value: object) -> int | None:
    text = _code(value) or ""
    return int(text) if re.fullmatch("[45][0-9][0-9]", text) else None


def _kind(complaint: Complaint, status: int) -> FailureKind:
    known = KINDS.get(complaint.code or "")
    if known in (None, K.BAD_REQUEST):
        text = complaint.message.lower()
        known = next((kind for words, kind in _BY_MESSAGE if words in text), known)
    told = complaint.http_code if 200 <= status < 300 else status
    return known or by_status(told or 200) or K.SERVER_ERROR


def _message(complaint: Complaint, kind: FailureKind, deployment: Deployment) -> str:
    text = masked(complaint.message or f"MiniMax error {complaint.code}", deployment)
    group = str(deployment.options.get("group_id") or "")
    text = text.replace(group, "***") if len(group) >= _SHORTEST_GROUP else text
    return text[:300] + _REGION_HINT if kind is K.AUTH else text


# GroupIds have 19 digits; taking a shorter "one" out would only garble the text.
_SHORTEST_GROUP = 6


def _wrong_path(response: HttpResponse) -> Failure | None:
    """A gateway's "404 page not found" is a wrong base URL, not a missing model."""
    if response.status != 404 or "page not found" not in response.text[:200].lower():
        return None
    return Failure(
        K.BAD_REQUEST,
        "404 page not found: base_url is not MiniMax's API root",
        http_status=404,
        request_id=header_request_id(response.headers),
    )


def _failure_in_sse(response: HttpResponse, deployment: Deployment) -> Failure | None:
    """The first failure in the frames of an SSE text that came as the body of a complete answer."""
    for line in response.text.split("\n"):
        frame = _frame(data_of(line.removesuffix("\r")))
        failure = failure_in(frame, deployment, response.status, response.headers) if frame else None
        if failure:
            return failure
    return None


def _frame(data: str | None) -> dict[str, Any] | None:
    try:
        value = loads(data) if data else None
    except JsonError:
        return None
    return value if isinstance(value, dict) else None
