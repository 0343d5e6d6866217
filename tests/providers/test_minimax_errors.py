"""MiniMax's errors: every code in every place where the vendor puts one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cnroute.chat import ChatRequest, Message
from cnroute.deployments import Deployment
from cnroute.events import Finish, TextDelta, UsageUpdate
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState
from cnroute.http import HttpResponse
from cnroute.providers.minimax import legacy, pro, v2

GROUP = "1700000000000000019"
KEY = "sk-of-a-test"
PLUGINS: dict[str, Any] = {"minimax-v2": v2, "minimax-pro": pro, "minimax-legacy": legacy}

# The table of the error pages: code, kind, whether the same request may succeed later.
TABLE = [
    ("1000", "server_error", True), ("1001", "vendor_timeout", True), ("1002", "rate_limit", True),
    ("1004", "auth", False), ("1008", "quota", False), ("1013", "server_error", True), ("1024", "server_error", True),
    ("1033", "server_error", True), ("1026", "content_filter", False), ("1027", "content_filter", False),
    ("1039", "rate_limit", True), ("1041", "rate_limit", True), ("1042", "bad_request", False),
    ("2013", "bad_request", False), ("2032", "quota", False), ("2033", "quota", False), ("2034", "overloaded", True),
    ("2036", "overloaded", True), ("2044", "permission", False), ("2045", "rate_limit", True), ("2049", "auth", False),
    ("2056", "quota", False), ("2061", "permission", False), ("1043", "bad_request", False),
    ("1044", "bad_request", False), ("2037", "bad_request", False), ("2038", "bad_request", False),
    ("2039", "bad_request", False), ("2042", "bad_request", False), ("2048", "bad_request", False),
    ("20132", "bad_request", False), ("9999", "server_error", True),
]  # fmt: skip
ANSWERS: dict[str, dict[str, Any]] = {
    "minimax-v2": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "全文"}}]},
    "minimax-pro": {"reply": "全文", "choices": [{"finish_reason": "stop", "messages": [{"text": "全文"}]}]},
    "minimax-legacy": {"reply": "全文", "choices": [{"finish_reason": "stop", "text": "全文", "delta": ""}]},
}


def place(provider: str = "minimax-v2") -> Deployment:
    return Deployment("d", provider, "m", KEY, "https://api.minimaxi.com/v1", options={"group_id": GROUP})


def mapped(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, provider: str = "minimax-v2"
) -> Failure:
    text = body if isinstance(body, str) else json.dumps(body)
    failure = PLUGINS[provider].map_error(HttpResponse(status, headers or {}, text.encode()), place(provider))
    assert isinstance(failure, Failure)
    return failure


def base_resp(code: Any, message: str = "wrong") -> dict[str, Any]:
    return {"base_resp": {"status_code": code, "status_msg": message}}


def forms(code: str) -> Iterator[Any]:
    yield from (int(code), code, f" {code} ", float(code))


@pytest.mark.parametrize("provider", PLUGINS)
@pytest.mark.parametrize(("code", "kind", "again"), TABLE)
def test_codes_in_answers(provider: str, code: str, kind: str, again: bool) -> None:
    """Under HTTP 200, alone, in an empty object or beside a full text: the error wins, as int and as string."""
    for form in forms(code):
        for body in ({}, {"choices": None, "usage": {"total_tokens": 0}}, ANSWERS[provider]):
            failure = mapped({"id": "r1", **body, **base_resp(form)}, 200, {"Trace-Id": "t1"}, provider)
            assert (failure.kind, failure.vendor_code, failure.retryable) == (kind, code, again)
            assert (failure.request_id, failure.http_status) == ("r1", 200)


@pytest.mark.parametrize("provider", PLUGINS)
@pytest.mark.parametrize(("code", "kind", "again"), TABLE)
def test_codes_in_frames(provider: str, code: str, kind: str, again: bool) -> None:
    """In any frame of a stream an error is a Failure, even beside a finish reason, and no Finish comes with it."""
    for form in forms(code):
        frame = {"id": "r1", **ANSWERS[provider], "usage": {"total_tokens": 9}, **base_resp(form)}
        events = PLUGINS[provider].parse_stream_line("data: " + json.dumps(frame), state(), place(provider))
        assert [type(event) for event in events] == [UsageUpdate, Failure]
        failure = events[-1]
        assert (failure.kind, failure.vendor_code, failure.retryable) == (kind, code, again)
        assert failure.request_id == "r1"


@pytest.mark.parametrize(("code", "kind", "again"), TABLE)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_codes_in_envelopes(code: str, kind: str, again: bool, status: int) -> None:
    """The number in the trailing parentheses of an OpenAI-like envelope is the code, whatever the status."""
    if code == "9999":
        return
    error = {"type": "some_error", "message": f"what went wrong ({code})", "http_code": str(status)}
    failure = mapped({"type": "error", "error": error, "request_id": "r2"}, status)
    assert (failure.kind, failure.vendor_code, failure.request_id) == (kind, code, "r2")


def state() -> StreamState:
    return StreamState(ChatRequest((Message("user", "x"),)))


@pytest.mark.parametrize("code", [0, "0", "", "00", None, False, [], {}, 0.0])
def test_no_code(code: Any) -> None:
    """Zeros and nothing are no error and never a vendor code."""
    response = HttpResponse(200, {}, json.dumps({**ANSWERS["minimax-v2"], **base_resp(code)}).encode())
    assert v2.map_error(response, place()) is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("invalid params, context window exceeds limit (2013)", "context_length"),
        ("invalid params, unknown model 'abab'", "model_not_found"),
        ("invalid params, temperature should be in (0, 1]", "bad_request"),
    ],
)
def test_by_message(message: str, kind: str) -> None:
    """2013 is several things; only its message tells them apart."""
    assert mapped(base_resp(2013, message)).kind == kind
    assert mapped({"error": {"message": message, "type": "bad_request_error"}}, 400).kind == kind
    assert mapped(base_resp(1000, message)).kind == "server_error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "auth"), (404, "model_not_found"), (429, "rate_limit"), (503, "overloaded"), (200, "server_error")],
)
def test_unknown_codes_go_by_status(status: int, kind: str) -> None:
    """An unknown code goes by the status; under 200 it is the server's error."""
    assert mapped(base_resp("Strange"), status).kind == kind
    failure = mapped({"error": {"type": "strange_error", "message": "no number"}}, status)
    assert (failure.kind, failure.vendor_code) == (kind, "strange_error")


def test_http_code_of_an_envelope() -> None:
    """Under HTTP 200 an envelope's own http_code decides where no number does."""
    error = {"type": "authorized_error", "message": "login fail", "http_code": "401"}
    assert mapped({"error": error}).kind == "auth"
    assert mapped({"error": {**error, "http_code": 2013}}).kind == "server_error"
    assert mapped({"error": "something"}, 400).vendor_code is None


def test_billing() -> None:
    """A refused input costs nothing; of a refused output nobody knows."""
    assert mapped(base_resp(1026)).billing == "none"
    assert mapped(base_resp(1027)).billing == "unknown"
    assert mapped(base_resp(1002)).billing == "none"
    assert mapped(base_resp(1000)).billing == "unknown"


def test_headers() -> None:
    """Retry-After and the header's request id are kept."""
    failure = mapped(base_resp(1002), 429, {"Retry-After": "7", "x-request-id": "h1"})
    assert (failure.retry_after, failure.request_id) == (7.0, "h1")


@pytest.mark.parametrize("code", [1004, 2049])
def test_auth_hints(code: int) -> None:
    """An auth message says that key, host and group must belong together."""
    message = mapped(base_resp(code, "x" * 1000)).message
    assert "region" in message
    assert "api.minimax.io" in message
    assert "GroupId" in message


def test_nothing_secret_in_messages() -> None:
    """Neither the key nor the GroupId stands in a message, although the vendor repeats them."""
    for body in (base_resp(1004, f"token {KEY} not match group {GROUP}"), {"error": {"message": f"{KEY}, {GROUP}"}}):
        failure = mapped(body, 401, provider="minimax-pro")
        assert KEY not in failure.message
        assert GROUP not in failure.message


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_sse_text_of_an_error_answer(ending: str) -> None:
    """The frame of an SSE text that came as an error's body is dug out."""
    lines = [": c", "event: error", "data: broken", "data: []", "data: " + json.dumps(base_resp(1008)), "", ""]
    failure = mapped(ending.join(lines), 400)
    assert (failure.kind, failure.vendor_code, failure.http_status) == ("quota", "1008", 400)


def test_wrong_path() -> None:
    """A gateway's plain 404 is a wrong base URL."""
    failure = mapped("404 page not found", 404, {"Trace-Id": "t"})
    assert (failure.kind, failure.vendor_code, failure.request_id) == ("bad_request", None, "t")


@pytest.mark.parametrize("status", [200, 301, 400, 404, 502])
@pytest.mark.parametrize("body", ["", "<html>502</html>", "{broken", "[]", "null", "7", '"x"', "{}", '{"error":{}}'])
def test_none_of_the_vendors(status: int, body: str) -> None:
    """What is no error of the vendor's is left to the default, and is no answer either."""
    response = HttpResponse(status, {"Trace-Id": "t"}, body.encode())
    for provider, plugin in PLUGINS.items():
        assert plugin.map_error(response, place(provider)) is None
        failure = plugin.parse_response(response, place(provider))
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.http_status, failure.request_id) == ("bad_response", status, "t")


def test_an_error_after_text_and_after_the_end() -> None:
    """An error in the closing frame is a Failure, after text and after a Finish too."""
    memory = state()
    lines = [
        'data: {"id":"r","choices":[{"delta":{"content":"一"},"finish_reason":"stop"}]}',
        'data: {"choices":[{"message":{"content":"一"},"finish_reason":"stop"}],"base_resp":{"status_code":1027}}',
    ]
    events = [event for line in lines for event in v2.parse_stream_line(line, memory, place())]
    assert events[:2] == [TextDelta("一"), Finish("stop")]
    assert events[2].kind == "content_filter"


def test_an_envelope_in_a_stream() -> None:
    """An envelope as a frame, and bare JSON in the middle of a stream, are Failures."""
    frame = {"type": "error", "error": {"message": "overloaded (1041)"}, "request_id": "r3"}
    for line in ("data: " + json.dumps(frame), json.dumps(frame)):
        (failure,) = v2.parse_stream_line(line, state(), place())
        assert (failure.kind, failure.vendor_code, failure.request_id) == ("rate_limit", "1041", "r3")
