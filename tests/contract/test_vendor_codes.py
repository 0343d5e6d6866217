"""Every code of the vendors' tables, end to end: in a plain answer, in a stream, in an error body of a stream request.

The tables are the vendors' pages; "again" is whether the same request may succeed later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import cnroute
from cnroute.testing import FakeTransport
from tests.contract.kit import Seen, Spelled, ask, finish, plain_host
from tests.contract.wire_cases import assert_nothing_told, deployment

ID = "7c1e2b90-4f6a-9d13-8e55-0000000000aa"
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream;charset=UTF-8"}

# HTTP statuses | codes | kind | again | message
DASHSCOPE_TABLE = """
400 | InvalidParameter invalid_parameter | bad_request | no | Required parameter is missing.
400 | InvalidParameter | context_length | no | Range of input length should be [1, 30720]
400 | InvalidParameter | bad_request | no | Range of max_tokens should be [1, 2000]
400 404 | InvalidParameter | model_not_found | no | Model not exist.
404 | ModelNotFound model_not_found Model.NotExist NotFound | model_not_found | no | The model does not exist.
404 | WorkSpaceNotFound | permission | no | Workspace not found.
400 | DataInspectionFailed data_inspection_failed | content_filter | no | Input data may contain inappropriate content.
400 | DataInspectionFailed | content_filter | no | Output data may contain inappropriate content.
400 | Arrearage | quota | no | Access denied, your account is overdue.
400 | BadRequest.EmptyInput BadRequest.EmptyParameters BadRequest.EmptyModel | bad_request | no | Wrong.
400 | InvalidURL UnsupportedOperation | bad_request | no | Wrong.
401 | InvalidApiKey invalid_api_key | auth | no | Invalid API-key provided.
401 | NOT_AUTHORIZED | permission | no | Access denied: workspace.
403 | AccessDenied AccessDenied.Unpurchased Model.AccessDenied | permission | no | Access denied.
403 | App.AccessDenied Workspace.AccessDenied | permission | no | Access denied.
403 | AllocationQuota.FreeTierOnly | quota | no | The free tier of the model has been exhausted.
408 500 | RequestTimeOut | vendor_timeout | yes | Request timed out, please try again later.
413 | BadRequest.TooLarge | request_too_large | no | Payload Too Large
429 | Throttling Throttling.RateQuota LimitRequests Throttling.BurstRate | rate_limit | yes | Requests rate limit exceeded.
429 | Throttling.AllocationQuota insufficient_quota | rate_limit | yes | Allocated quota exceeded, please increase it.
429 | Throttling.AllocationQuota | quota | no | Free allocated quota exceeded.
429 | CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue | quota | no | The bill is overdue.
500 | InternalError InternalError.Algo SystemError ModelServiceFailed InvokePluginFailed | server_error | yes | An internal error.
500 | InternalError.Timeout | vendor_timeout | yes | An internal timeout.
500 503 | ModelServingError | overloaded | yes | Too many requests: capacity.
503 | ModelUnavailable ServiceUnavailable | overloaded | yes | The model is unavailable, try again later.
429 | SomethingNew | rate_limit | yes | A code that no page knows: the status decides.
"""

# codes | kind | again | message
MINIMAX_TABLE = """
1000           | server_error    | yes | unknown error
1001           | vendor_timeout  | yes | request timeout
1002           | rate_limit      | yes | rate limit, please try again later
1004           | auth            | no  | login fail: Please carry the API secret key
1004           | auth            | no  | token not match group
1004           | auth            | no  | cookie is missing, log in again
1008           | quota           | no  | insufficient balance
1013 1024 1033 | server_error    | yes | internal service error
1026           | content_filter  | no  | input new_sensitive
1027           | content_filter  | no  | output new_sensitive
1039           | rate_limit      | yes | token limit
1041           | rate_limit      | yes | conn limit
1042           | bad_request     | no  | invisible character ratio limit
2013           | bad_request     | no  | invalid params, messages is empty
2013           | context_length  | no  | invalid params, context window exceeds limit
2013           | model_not_found | no  | invalid params, unknown model 'x'
2032 2033      | quota           | no  | too many knowledge bases
2034 2036      | overloaded      | yes | the knowledge base is being changed
2044           | permission      | no  | no right to this endpoint
2045           | rate_limit      | yes | rate growth limit
2049           | auth            | no  | invalid api key
2056           | quota           | no  | usage limit exceeded, resets at 2026-11-22 00:00
2061           | permission      | no  | your plan does not support this model
1043 1044 2037 2038 2039 2042 2048 20132 | bad_request | no | voice
4711           | server_error    | yes | a code that no page knows
"""


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


DASHSCOPE = [
    (int(status), code.replace("NOT_AUTHORIZED", "NOT AUTHORIZED"), kind, again == "yes", message)
    for statuses, codes, kind, again, message in rows(DASHSCOPE_TABLE)
    for status in statuses.split()
    for code in codes.split()
]
MINIMAX = [
    (code, kind, again == "yes", message)
    for codes, kind, again, message in rows(MINIMAX_TABLE)
    for code in codes.split()
]
MINIMAX_DIALECTS = {
    "minimax-v2": ("MiniMax-Text-01", {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "文"}}]}),
    "minimax-pro": ("abab6.5s-chat", {"choices": [{"messages": [{"sender_type": "BOT", "sender_name": "b", "text": "文"}]}]}),
    "minimax-legacy": ("abab5.5-chat", {"choices": [{"delta": "文"}]}),
}  # fmt: skip


class Caller:
    """One router for each model, all over one transport that gives the answer it is told."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.transport = FakeTransport([lambda sent: cnroute.HttpResponse(*self.answer)])
        self.routers: dict[str, cnroute.Router] = {}

    def router(self, provider: str, model: str) -> cnroute.Router:
        if provider + model not in self.routers:
            self.routers[provider + model] = cnroute.Router(
                [deployment(provider, model)], transport=self.transport, breaker=None,
                retries=cnroute.Retries(max_attempts=1), **plain_host(),
            )  # fmt: skip
        return self.routers[provider + model]

    def __call__(self, provider: str, model: str, answer: tuple[int, dict[str, str], bytes], stream: bool) -> Seen:
        self.answer = answer
        seen: Seen = finish(ask(Spelled(self.router(provider, model)), stream, model="d"))
        return seen


@pytest.fixture(scope="module")
def call() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    for router in caller.routers.values():
        router.close()


def check(seen: Seen, kind: str, code: str, again: bool, status: int, where: str) -> None:
    error = seen.error
    assert error is not None, where
    assert (where, error.kind, error.vendor_code, error.retryable, error.http_status) == (where, kind, code, again, status)
    assert (seen.deltas, error.request_id) == ([], ID), where
    assert type(error) is type(cnroute.error_for(cnroute.Failure(kind))), where
    assert_nothing_told(error)


def check_interrupted(seen: Seen, kind: str, code: str, again: bool, where: str) -> None:
    error = seen.error
    assert isinstance(error, cnroute.StreamInterruptedError), where
    failure = error.attempts[-1].failure
    assert (where, error.cause_kind, error.vendor_code, failure.retryable) == (where, kind, code, again)
    assert error.partial_text == seen.text == "文", where


def frame(number: int, event: str, status: int, data: Any) -> bytes:
    """An event as DashScope writes it."""
    text = json.dumps(data, ensure_ascii=False)
    return f"id:{number}\nevent:{event}\n:HTTP_STATUS/{status}\ndata:{text}\n\n".encode()


@pytest.mark.parametrize("model", ["yi-large", "qwen-plus"])
@pytest.mark.parametrize(("status", "code", "kind", "again", "message"), DASHSCOPE)
def test_dashscope_codes(call: Caller, model: str, status: int, code: str, kind: str, again: bool, message: str) -> None:
    """The same kind in an error body (JSON, SSE text), as first event of a stream, and behind content."""
    document = {"code": code, "message": message, "request_id": ID}
    body = json.dumps(document).encode()
    failed = frame(1, "error", status, document)
    content = frame(1, "result", 200, {
        "output": {"choices": [{"message": {"content": "文", "role": "assistant"}, "finish_reason": "null"}]}, "request_id": ID,
    })  # fmt: skip
    for stream in (False, True):
        check(call("dashscope", model, (status, JSON, body), stream), kind, code, again, status, f"a body, stream {stream}")
    check(call("dashscope", model, (status, SSE, failed), True), kind, code, again, status, "a refusal as SSE text")
    check(call("dashscope", model, (200, SSE, failed), True), kind, code, again, status, "the first event")
    check_interrupted(call("dashscope", model, (200, SSE, content + failed), True), kind, code, again, "behind content")


@pytest.mark.parametrize(("status", "code", "kind", "again", "message"), DASHSCOPE)
def test_dashscope_codes_under_200(call: Caller, status: int, code: str, kind: str, again: bool, message: str) -> None:
    """A code inside HTTP 200 has the meaning of its table row; what no table knows is `server_error`."""
    body = json.dumps({"code": code, "message": message, "request_id": ID}).encode()
    known = code != "SomethingNew"
    for stream in (False, True):
        seen = call("dashscope", "qwen-plus", (200, JSON, body), stream)
        check(seen, kind if known else "server_error", code, again, 200, f"stream {stream}")


@pytest.mark.parametrize("provider", MINIMAX_DIALECTS)
@pytest.mark.parametrize(("code", "kind", "again", "message"), MINIMAX)
def test_minimax_codes(call: Caller, provider: str, code: str, kind: str, again: bool, message: str) -> None:
    """The same kind in `base_resp` under 200 (number or text), alone or in a full object, and in frames of a stream."""
    model, content = MINIMAX_DIALECTS[provider]
    for number in (int(code), code):
        answer = {"id": ID, "base_resp": {"status_code": number, "status_msg": message}}
        for extra in ({}, {"choices": None, "usage": {"total_tokens": 0}}):
            body = json.dumps({**answer, **extra}).encode()
            for stream in (False, True):
                check(call(provider, model, (200, JSON, body), stream), kind, code, again, 200, f"stream {stream}")
            sse = b"data: " + body + b"\n\n"
            check(call(provider, model, (200, SSE, sse), True), kind, code, again, 200, "the only frame")
            begun = b"data: " + json.dumps({"id": ID, **content}).encode() + b"\n\n"
            check_interrupted(call(provider, model, (200, SSE, begun + sse), True), kind, code, again, "behind content")


@pytest.mark.parametrize("provider", MINIMAX_DIALECTS)
@pytest.mark.parametrize(("code", "kind", "again", "message"), MINIMAX)
def test_minimax_codes_in_the_envelope(call: Caller, provider: str, code: str, kind: str, again: bool, message: str) -> None:
    """Newer gateways put the number in parentheses behind the message, under a real status."""
    model, _ = MINIMAX_DIALECTS[provider]
    error = {"type": "some_error", "message": f"{message} ({code})", "http_code": "500"}
    body = json.dumps({"type": "error", "error": error, "request_id": ID}).encode()
    for stream in (False, True):
        check(call(provider, model, (500, JSON, body), stream), kind, code, again, 500, f"stream {stream}")


STATUSES = {
    400: "bad_request", 422: "bad_request", 401: "auth", 403: "permission", 404: "model_not_found", 408: "vendor_timeout",
    504: "vendor_timeout", 413: "request_too_large", 429: "rate_limit", 500: "server_error", 502: "server_error",
    503: "overloaded", 529: "overloaded",
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("provider", ["dashscope", *MINIMAX_DIALECTS])
def test_a_page_of_a_proxy_is_judged_by_its_status(call: Caller, provider: str, status: int, stream: bool) -> None:
    """HTML, text and nothing: no vendor code, the kind of the status."""
    model = MINIMAX_DIALECTS.get(provider, ("yi-large",))[0]
    for body in (b"<html><body>gateway</body></html>", b"sorry", b""):
        error = call(provider, model, (status, {"Content-Type": "text/html", "x-request-id": ID}, body), stream).error
        assert error is not None
        assert (error.kind, error.vendor_code, error.http_status, error.request_id) == (STATUSES[status], None, status, ID)
