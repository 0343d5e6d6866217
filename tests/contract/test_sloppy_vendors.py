"""What vendors send that no page describes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure
from cnroute.http import Headers
from cnroute.testing import FakeTransport
from cnroute.testing.transport import FakeStream, SentRequest

KEY = "sk-canary-0123456789"


class Broken(FakeTransport):
    """Streams with any status, whose pieces may be errors of the wire."""

    def __init__(self, status: int, pieces: list[Any], headers: dict[str, str] | None = None) -> None:
        super().__init__("x")
        self.status, self.parts, self.head = status, pieces, Headers(headers or {})
        self.asked = 0

    def bind(self, deployment: Any) -> Any:
        return self

    def open(self, request: Any, deadline: Any) -> FakeStream:
        self.asked += 1
        deadline.written = deadline.now()
        sent = SentRequest(request.method, request.url, request.headers, request.body, True)
        return FakeStream(self, sent, self.status, self.head, list(self.parts))


def lost() -> Exception:
    return error_for(Failure("connection_lost", "cut"))


def router(transport: Any, *, second: bool = False) -> cnroute.Router:
    names = ["a", "b"] if second else ["a"]
    deployments = [cnroute.Deployment(name, "minimax-v2", "MiniMax-Text-01", api_key=KEY) for name in names]
    return cnroute.Router(deployments, {"chat": names}, transport=transport)


def failed(transport: Any, **extra: Any) -> cnroute.CallError:
    with pytest.raises(cnroute.CallError) as raised:
        "".join(router(transport, **extra).stream("你好", model="chat").texts())
    return raised.value


@pytest.mark.parametrize(("status", "kind", "billing"), [
    (400, "bad_request", "none"), (401, "auth", "none"), (413, "request_too_large", "none"), (429, "rate_limit", "none"),
    (500, "server_error", "unknown"), (503, "overloaded", "none"),
])
@pytest.mark.parametrize("pieces", [[b'{"base_resp":'], [], [b"x" * 70_000]], ids=["cut", "empty", "long"])
def test_a_status_stands_without_its_body(status: int, kind: str, billing: str, pieces: list[bytes]) -> None:
    """A refusal whose body breaks off is still this refusal, streamed as well as plain."""
    error = failed(Broken(status, [*pieces, lost()], {"Retry-After": "60"}))
    assert (error.kind, error.http_status, error.attempts[0].billing, error.retry_after) == (kind, status, billing, 60.0)


def test_a_refused_request_goes_to_nobody_else() -> None:
    """A cut body does not turn a bad request into something that may be tried elsewhere."""
    transport = Broken(400, [b'{"base_resp":', lost()])
    assert failed(transport, second=True).kind == "bad_request"
    assert transport.asked == 1


@pytest.mark.parametrize(("code", "retryable"), [(1027, False), (1002, True)])
def test_what_broke_the_stream_says_whether_to_try_again(code: int, retryable: bool) -> None:
    """An interruption by the content filter is not worth another try; a rate limit is."""
    text, end = 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', f'data: {{"base_resp":{{"status_code":{code}}}}}\n\n'
    error = failed(Broken(200, [text, end]))
    assert isinstance(error, cnroute.StreamInterruptedError)
    assert error.retryable is retryable


def test_a_broken_stream_keeps_status_and_request_id() -> None:
    """What the head and the frames told before the break stands in the record."""
    frames = [b'data: {"id":"r1","choices":[{"delta":{"content":"x"}}]}\n\n', lost()]
    error = failed(Broken(200, frames, {"Trace-Id": "t"}))
    assert (error.http_status, error.request_id, error.attempts[0].request_id) == (200, "r1", "r1")
    error = failed(Broken(200, [b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', lost()], {"Trace-Id": "t"}))
    assert error.request_id == "t"


@pytest.mark.parametrize("said", [KEY, base64.b64encode(KEY.encode()).decode(), KEY[:12], f"Bearer {KEY}"])
def test_no_form_of_the_key_gets_through(said: str) -> None:
    """Vendors repeat keys whole, encoded, or by their first characters."""
    body = {"base_resp": {"status_code": 1004, "status_msg": f"bad key {said}!"}}
    with pytest.raises(cnroute.AuthenticationError) as raised:
        router(FakeTransport([body])).chat("你好", model="chat")
    assert KEY[:8] not in repr(raised.value) + str(raised.value.__dict__)
    assert said not in repr(raised.value)


def test_a_vendor_that_repeats_the_prompt() -> None:
    """The prompt does not come back in an error."""
    prompt = "请帮我总结这份机密的并购合同,谢谢"
    body = {"base_resp": {"status_code": 2013, "status_msg": f"invalid params: {prompt[:14]}"}}
    with pytest.raises(cnroute.BadRequestError, match="invalid params") as raised:
        router(FakeTransport([body])).chat(prompt, model="chat")
    assert "机密" not in repr(raised.value) + str(raised.value.record())


def test_two_calls_under_one_index() -> None:
    """A fragment with another id and a name is another call, not more of the first."""
    def frame(ident: str, name: str) -> bytes:
        call = f'{{"index":0,"id":"{ident}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}'
        return f'data: {{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}\n\n'.encode()

    end = b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n'
    with router(Broken(200, [frame("a", "f"), frame("b", "g"), end])).stream("你好", model="chat") as stream:
        list(stream)
    assert [(call.id, call.name, call.arguments) for call in stream.completion.tool_calls] == [("a", "f", "{}"), ("b", "g", "{}")]


def test_choices_out_of_order() -> None:
    """`text` and `choices[0]` are the same answer."""
    rows = [{"index": 1, "message": {"content": "B"}, "finish_reason": "length"},
            {"index": 0, "message": {"content": "A"}, "finish_reason": "stop"}]
    transport = FakeTransport([{"output": {"choices": rows}, "request_id": "r"}])
    with cnroute.Router([cnroute.Deployment("a", "dashscope", "qwen-plus", api_key=KEY)], transport=transport) as one:
        reply = one.chat("你好", model="a")
    assert (reply.text, reply.choices[0].message.content, reply.finish_reason) == ("A", "A", "stop")


class HostTimeLimit(Exception):
    """What a host raises inside a call from a signal handler."""


def test_a_hosts_time_limit_passes_through() -> None:
    """An exception of the host in our own transport is neither swallowed nor turned into a fallback."""
    from cnroute.scope import transport_error
    from cnroute.transports.urllib3 import Urllib3Transport

    limit = HostTimeLimit()
    assert transport_error(Urllib3Transport(), limit) is limit
    assert isinstance(transport_error(Broken(200, []), limit), cnroute.HookError)
