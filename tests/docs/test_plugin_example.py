"""The provider in the README, asked by a router over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import cnroute
from tests.docs.pages import ROOT, python_blocks


class Vendor(BaseHTTPRequestHandler):
    """Acme's server: OpenAI's layout, plain and streamed; a model called `broken` answers 503."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({"path": self.path, "key": self.headers["authorization"], **body})
        if body["model"] == "broken":
            self._reply(503, "application/json", b'{"error": {"message": "busy"}}')
        elif body["stream"]:
            events = [*map(_event, ({"content": "你"}, {"content": "好"}, {})), b"data: [DONE]\n\n"]
            self._reply(200, "text/event-stream", b"".join(events))
        else:
            choice = {"message": {"role": "assistant", "content": "你好"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 2}
            self._reply(200, "application/json", json.dumps({"choices": [choice], "usage": usage}).encode())

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _event(delta: dict[str, str]) -> bytes:
    choice = {"delta": delta, "finish_reason": None if delta else "stop"}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


@pytest.fixture
def acme() -> Iterator[str]:
    Vendor.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def router(acme: str) -> Iterator[cnroute.Router]:
    names: dict[str, Any] = {"__name__": "docs"}
    exec(list(python_blocks(ROOT / "README.md"))[1].code, names)
    deployments = [
        cnroute.Deployment(name, "acme", model, api_key="acme-key", base_url=acme)
        for name, model in (("first", "broken"), ("second", "acme-1"))
    ]
    with cnroute.Router(deployments, {"chat": ["first", "second"]}, plugins=[names["Acme"]()]) as made:
        yield made


def test_the_example_answers_and_falls_back(router: cnroute.Router) -> None:
    """A 503 of the first deployment is found without a line of the plugin; the second one answers."""
    reply = router.chat("你好", model="chat", temperature=0.5, extra={"acme": {"seed": 7, "model": "not this"}})
    assert (reply.text, reply.finish_reason, reply.deployment) == ("你好", "stop", "second")
    assert reply.usage == cnroute.Usage(3, 2, 5)
    assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == ["overloaded", None]
    sent = Vendor.asked[-1]
    assert (sent["path"], sent["key"], sent["model"]) == ("/v1/chat/completions", "Bearer acme-key", "acme-1")
    assert (sent["temperature"], sent["seed"]) == (0.5, 7)


def test_the_example_streams(router: cnroute.Router) -> None:
    """Deltas arrive one by one, and the end mark ends the stream."""
    with router.stream("你好", model="second") as stream:
        assert list(stream.texts()) == ["你", "好"]
    assert (stream.completion.text, stream.completion.finish_reason) == ("你好", "stop")


def test_the_example_refuses_by_name(router: cnroute.Router) -> None:
    """What the vendor cannot take is named, and nothing is sent."""
    with pytest.raises(cnroute.UnsupportedRequestError, match="web_search"):
        router.chat("你好", model="chat", web_search=True)
    assert Vendor.asked == []
