"""Programs whose tests mock requests: `responses` sees every call of a router with this transport."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import requests
import responses
import urllib3.exceptions

import cnroute
from cnroute import FailureKind as K

URL = "https://vendor.example/api/v1/services/aigc/text-generation/generation"
GOOD = {
    "output": {"choices": [{"message": {"role": "assistant", "content": "你好"}, "finish_reason": "stop"}]},
    "usage": {"input_tokens": 3, "output_tokens": 2},
    "request_id": "r-1",
}


def router(*names: str, **settings: Any) -> cnroute.Router:
    places = [
        cnroute.Deployment(name, "dashscope", "qwen-plus", api_key=f"sk-{name}", base_url="https://vendor.example/api/v1")
        for name in names or ("a",)
    ]
    return cnroute.Router(places, {"chat": list(names or ("a",))}, transport="requests", **settings)


@responses.activate
def test_a_plain_call() -> None:
    """The mock answers, and sees the request with its key and its body."""
    responses.post(URL, json=GOOD)
    with router() as made:
        reply = made.chat("hello", model="chat")
    assert (reply.text, reply.request_id) == ("你好", "r-1")
    (call,) = responses.calls
    assert call.request.headers["Authorization"] == "Bearer sk-a"
    assert json.loads(call.request.body)["model"] == "qwen-plus"


@responses.activate
def test_a_stream() -> None:
    """A body of events is read like one from a socket."""
    frames = [("你", "null"), ("好", "null"), ("", "stop")]
    choices = [{"output": {"choices": [{"message": {"content": text}, "finish_reason": end}]}} for text, end in frames]
    responses.post(URL, body="".join(f"data:{json.dumps(each)}\n\n" for each in choices), content_type="text/event-stream")
    with router() as made, made.stream("hello", model="chat") as stream:
        assert "".join(stream.texts()) == "你好"
    assert stream.completion.finish_reason == "stop"


@responses.activate
def test_a_refusal_and_a_fallback() -> None:
    """A status of 429 is the provider's to read, and the next deployment is asked."""
    responses.post(URL, status=429, json={"code": "Throttling", "message": "slow down"}, headers={"Retry-After": "7"})
    responses.post(URL, json=GOOD)
    with router("a", "b") as made:
        reply = made.chat("hello", model="chat")
    assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == [K.RATE_LIMIT, None]
    first = reply.attempts[0].failure
    assert first is not None and first.retry_after == 7


@responses.activate
def test_what_nobody_has_mocked() -> None:
    """A call that matches no mock is a refused connection: nothing was sent, nothing was spent."""
    with router() as made, pytest.raises(cnroute.ConnectionFailedError) as caught:
        made.chat("hello", model="chat", timeout=1)
    assert (caught.value.kind, caught.value.billing) == (K.CONNECT_ERROR, "none")


inside = requests.exceptions
RAISED = [
    (inside.ConnectTimeout("x"), K.CONNECT_TIMEOUT),
    (inside.ReadTimeout("x"), K.FIRST_BYTE_TIMEOUT),
    (inside.Timeout("x"), K.FIRST_BYTE_TIMEOUT),
    (inside.SSLError("x"), K.TLS_ERROR),
    (inside.ProxyError("x"), K.CONNECT_ERROR),
    (inside.ConnectionError("x"), K.CONNECT_ERROR),
    (inside.ChunkedEncodingError("x"), K.CONNECTION_LOST),
    (inside.ContentDecodingError("x"), K.DECODE_ERROR),
    (inside.InvalidHeader("x"), K.BAD_REQUEST),
    (inside.InvalidURL("x"), K.BAD_REQUEST),
    (inside.ConnectionError(urllib3.exceptions.ProtocolError("x", ConnectionResetError(104, "reset"))), K.CONNECT_ERROR),
    (inside.ConnectionError(socket.gaierror(-2, "no name")), K.CONNECT_ERROR),
    (ConnectionRefusedError(111, "refused"), K.CONNECT_ERROR),
    (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), K.IDLE_TIMEOUT),  # type: ignore[arg-type]
    (urllib3.exceptions.LocationParseError("x"), K.BAD_REQUEST),
]


@pytest.mark.parametrize(("raised", "kind"), RAISED, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
@responses.activate
def test_what_a_mock_raises_has_its_kind(raised: Exception, kind: K) -> None:
    """requests' exceptions are told apart although many of them are subclasses of each other."""
    responses.post(URL, body=raised)
    with router() as made, pytest.raises(cnroute.CallError) as caught:
        made.chat("hello", model="chat", timeout=1)
    assert caught.value.attempts[0].failure is not None
    assert caught.value.attempts[0].failure.kind is kind
    assert caught.value.__context__ is None
