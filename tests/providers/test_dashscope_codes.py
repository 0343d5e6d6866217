"""DashScope's error codes: every row of the table in plain answers, stream frames and SSE error bodies."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cnroute.chat import ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.failures import Failure, FailureKind
from cnroute.hookspecs import StreamState
from cnroute.http import Headers, HttpResponse
from cnroute.providers import dashscope
from cnroute.wire import dumps

KEY = "sk-0123456789abcdef"
DEPLOYMENT = Deployment("d", "dashscope", "yi-large", api_key=KEY, base_url="https://dashscope.aliyuncs.com/api/v1")

# (HTTP status, code, message, kind)
TABLE = [
    (400, "InvalidParameter", "Required parameter(s) missing or invalid", "bad_request"),
    (400, "InvalidParameter", "Range of input length should be [1, 30720]", "context_length"),
    (400, "InvalidParameter", "Range of max_tokens should be [1, 8192]", "bad_request"),
    (400, "InvalidParameter", "Model not exist.", "model_not_found"),
    (404, "InvalidParameter", "Model not exist.", "model_not_found"),
    (404, "InvalidParameter", "something else", "bad_request"),
    (400, "invalid_parameter_error", "Range of input length should be [1, 8]", "context_length"),
    (404, "ModelNotFound", "", "model_not_found"),
    (404, "model_not_found", "", "model_not_found"),
    (404, "Model.NotExist", "", "model_not_found"),
    (404, "NotFound", "", "model_not_found"),
    (404, "WorkSpaceNotFound", "", "permission"),
    (400, "DataInspectionFailed", "Output data may contain inappropriate content.", "content_filter"),
    (400, "data_inspection_failed", "", "content_filter"),
    (400, "Arrearage", "", "quota"),
    (400, "BadRequest.EmptyInput", "", "bad_request"),
    (400, "BadRequest.EmptyParameters", "", "bad_request"),
    (400, "BadRequest.EmptyModel", "", "bad_request"),
    (400, "InvalidURL", "", "bad_request"),
    (400, "UnsupportedOperation", "", "bad_request"),
    (401, "InvalidApiKey", "Invalid API-key provided.", "auth"),
    (401, "invalid_api_key", "", "auth"),
    (401, "NOT AUTHORIZED", "", "permission"),
    (403, "AccessDenied", "", "permission"),
    (403, "access_denied", "", "permission"),
    (403, "AccessDenied.Unpurchased", "", "permission"),
    (403, "Model.AccessDenied", "", "permission"),
    (403, "App.AccessDenied", "", "permission"),
    (403, "Workspace.AccessDenied", "", "permission"),
    (403, "AllocationQuota.FreeTierOnly", "", "quota"),
    (408, "RequestTimeOut", "", "vendor_timeout"),
    (500, "RequestTimeOut", "", "vendor_timeout"),
    (413, "BadRequest.TooLarge", "", "request_too_large"),
    (429, "Throttling", "", "rate_limit"),
    (429, "Throttling.RateQuota", "", "rate_limit"),
    (429, "LimitRequests", "", "rate_limit"),
    (429, "limit_requests", "", "rate_limit"),
    (429, "Throttling.BurstRate", "", "rate_limit"),
    (429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit.", "rate_limit"),
    (429, "Throttling.AllocationQuota", "Free allocated quota exceeded.", "quota"),
    (429, "insufficient_quota", "Free allocated quota exceeded.", "quota"),
    (429, "insufficient_quota", "", "rate_limit"),
    (429, "CommodityNotPurchased", "", "quota"),
    (429, "PrepaidBillOverdue", "", "quota"),
    (429, "PostpaidBillOverdue", "", "quota"),
    (500, "InternalError", "", "server_error"),
    (500, "internal_error", "", "server_error"),
    (500, "InternalError.Algo", "", "server_error"),
    (500, "SystemError", "", "server_error"),
    (500, "ModelServiceFailed", "", "server_error"),
    (500, "InvokePluginFailed", "", "server_error"),
    (500, "InternalError.Timeout", "", "vendor_timeout"),
    (500, "ModelServingError", "", "overloaded"),
    (503, "ModelServingError", "", "overloaded"),
    (503, "ModelUnavailable", "", "overloaded"),
    (503, "ServiceUnavailable", "", "overloaded"),
    (429, "SomethingNew.Limited", "", "rate_limit"),
    (200, "SomethingNew.Limited", "", "server_error"),
]


def mapped(body: Any, status: int = 200, **headers: str) -> Failure | None:
    """What `map_error` sees in a complete answer."""
    raw = body if isinstance(body, bytes) else dumps(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return dashscope.map_error(HttpResponse(status, Headers(names), raw), DEPLOYMENT)


def streamed(*lines: str) -> list[Any]:
    """The events of these lines."""
    state = StreamState(ChatRequest((Message("user", "x"),)), {"parameters": {"incremental_output": True}})
    return [event for line in lines for event in dashscope.parse_stream_line(line, state, DEPLOYMENT)]


@pytest.mark.parametrize("spelling", [str, str.upper, str.lower])
@pytest.mark.parametrize(("status", "code", "message", "kind"), TABLE)
def test_code_in_a_plain_answer(status: int, code: str, message: str, kind: str, spelling: Any) -> None:
    """The code decides, whatever its case, under its own status and under HTTP 200."""
    body = {"code": spelling(code), "message": message, "request_id": "r-1"}
    for at in (status, 200) if "New" not in code else (status,):
        failure = mapped(body, at)
        assert failure is not None
        assert (failure.kind, failure.vendor_code, failure.request_id) == (kind, spelling(code), "r-1")
        assert failure.http_status == at
        assert failure.message.startswith(message or spelling(code))


@pytest.mark.parametrize(("status", "code", "message", "kind"), TABLE)
def test_code_in_a_stream(status: int, code: str, message: str, kind: str) -> None:
    """An error frame is a failure, after an `event:error` line or without one."""
    data = "data:" + dumps({"code": code, "message": message, "request_id": "r-1"}).decode()
    framed = streamed("id:1", "event: error", f":HTTP_STATUS/{status}", data, "")
    assert [(found.kind, found.vendor_code, found.request_id) for found in framed] == [(kind, code, "r-1")]
    if "New" not in code:
        assert [found.kind for found in streamed(data)] == [kind]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("status", "code", "message", "kind"), TABLE)
def test_code_in_the_sse_text_of_a_refusal(status: int, code: str, message: str, kind: str, ending: str) -> None:
    """The JSON is dug out of the data line."""
    data = dumps({"code": code, "message": message, "request_id": "r-1"}).decode()
    body = ending.join(("id:1", "event:error", f":HTTP_STATUS/{status}", f"data:{data}", "", "")).encode()
    for at in (status, 200):
        failure = mapped(body, at, content_type="text/event-stream")
        assert failure is not None
        assert (failure.kind, failure.vendor_code, failure.request_id) == (kind, code, "r-1")


def test_openai_style_envelope() -> None:
    """The compatible mode's envelope is read too; its `type` counts where there is no code."""
    inner = {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}}
    failure = mapped(inner, 401, x_request_id="r-2")
    assert failure is not None
    assert (failure.kind, failure.vendor_code, failure.request_id) == ("auth", "invalid_api_key", "r-2")
    assert [found.kind for found in streamed("data:" + dumps(inner).decode())] == ["auth"]
    typed = mapped({"error": {"message": "m", "type": "insufficient_quota", "code": None}}, 429)
    assert typed is not None
    assert (typed.kind, typed.vendor_code) == ("rate_limit", "insufficient_quota")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "bad_request"), (401, "auth"), (403, "permission"), (404, "model_not_found"), (408, "vendor_timeout"),
     (413, "request_too_large"), (422, "bad_request"), (429, "rate_limit"), (500, "server_error"),
     (502, "server_error"), (503, "overloaded"), (504, "vendor_timeout"), (529, "overloaded"), (599, "server_error")],
)  # fmt: skip
def test_json_without_a_code_goes_by_status(status: int, kind: str) -> None:
    """The message and the id are kept."""
    failure = mapped({"message": "slow down", "request_id": "r-3", "code": ""}, status)
    assert failure is not None
    assert (failure.kind, failure.vendor_code, failure.request_id) == (kind, None, "r-3")
    assert failure.message.startswith("slow down")


@pytest.mark.parametrize("code", ["", None, 0, 200, [], {}, False])
def test_an_empty_code_in_a_200_is_no_failure(code: Any) -> None:
    """Neither in a plain answer nor in a stream."""
    body = {"code": code, "output": {"choices": [{"message": {"content": "code"}, "finish_reason": "stop"}]}}
    assert mapped(body) is None
    assert [event.text for event in streamed("data:" + dumps(body).decode()) if event.text] == ["code"]


def test_an_error_wins_over_a_text() -> None:
    """A code together with a full answer is a failure."""
    body = {"code": "DataInspectionFailed", "output": {"text": "x", "finish_reason": "stop"}}
    failure = mapped(body)
    assert failure is not None
    assert failure.kind == "content_filter"


@pytest.mark.parametrize(
    ("message", "billing"),
    [("Input data may contain inappropriate content.", "none"), ("Output data may contain it.", "unknown"),
     ("Input or output data may contain it.", "unknown"), ("", "unknown")],
)  # fmt: skip
def test_billing_of_the_content_filter(message: str, billing: str) -> None:
    """A refused prompt was not processed; where it may have been the answer, nobody knows."""
    failure = mapped({"code": "DataInspectionFailed", "message": message}, 400)
    assert failure is not None
    assert failure.billing == billing


def test_auth_names_the_host_of_the_key() -> None:
    """A key of another region is refused like a wrong one, so the message names the host."""
    failure = mapped({"code": "InvalidApiKey", "message": "No. " * 300}, 401)
    assert failure is not None
    assert "belongs to one region" in failure.message
    assert "dashscope.aliyuncs.com" in failure.message


def test_the_key_is_never_in_a_failure() -> None:
    """Vendors repeat the key in messages."""
    body = {"code": f"InvalidApiKey {KEY}", "message": f"Incorrect API key provided: {KEY}."}
    for failure in (mapped(body, 401), *streamed("data:" + dumps(body).decode())):
        assert failure is not None
        assert KEY not in repr(failure)
        assert "***" in failure.message


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({}, {"retry_after": "7"}, 7.0), ({}, {"retry_after_ms": "250"}, 0.25),
        ({"retry_after": 3}, {"retry_after": "7"}, 3), ({"retry_after": "1.5"}, {}, 1.5),
        ({"retry_after": -1}, {}, None), ({}, {"retry_after": "abc"}, None),
        ({}, {"retry_after": "9" * 400}, None), ({}, {}, None),
    ],
)  # fmt: skip
def test_retry_after(body: dict[str, Any], headers: dict[str, str], seconds: float | None) -> None:
    """Seconds from the body or the headers; nothing absurd."""
    failure = mapped({"code": "Throttling", **body}, 429, **headers)
    assert failure is not None
    assert failure.retry_after == seconds


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"null", b"[]", b'"code"', b'{"code"', b"data:", b"data:x\n\n"]
)
def test_what_is_none_of_the_vendors_errors_is_left_to_the_default(body: bytes) -> None:
    """None, under every status."""
    assert all(mapped(body, status) is None for status in range(100, 600))


def test_every_status_and_body() -> None:
    """Never raises; a message has at most 2,000 characters; failures pickle."""
    huge = {"code": "Throttling", "message": "x" * 2**20}
    bodies: list[Any] = [huge, {"code": {"a": 1}, "message": []}, {"error": 5}]
    for status in range(100, 600):
        for body in bodies if status % 100 == 0 else bodies[1:]:
            failure = mapped(body, status)
            if failure is not None:
                assert len(failure.message) <= 2000
                assert pickle.loads(pickle.dumps(failure)) == failure


def test_an_error_event_without_a_code() -> None:
    """The event name or the effective status is enough; the status says the kind."""
    named = streamed("event:error", 'data:{"message":"m","request_id":"r"}')
    assert [(found.kind, found.message) for found in named] == [(FailureKind.SERVER_ERROR, "m")]
    by_comment = streamed("event:result", ":HTTP_STATUS/429", 'data:{"message":"m"}')
    assert [found.kind for found in by_comment] == [FailureKind.RATE_LIMIT]
