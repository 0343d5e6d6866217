"""A raw loopback server that speaks OpenAI's chat completions, as the vendors do: for tests over real sockets.

The model's name says what happens: `busy` is refused with 503, `breaks` sends a text and then an error inside of the
stream, `cut` ends the connection in the middle; every other one answers, and calls the first tool that it is given.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
TEXT = ["你好", ",世界", "!😀"]
ARGUMENTS = '{"city": "北京"}'


class OpenAIServer:
    """`base_url` is where it listens, `asked` what arrived."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        asked = self.asked

        class Handler(_Handler):
            seen = asked

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append({"path": self.path, "key": self.headers["Authorization"], "body": body})
        if body["model"] == "busy":
            error = {"error": {"message": "Service is too busy", "type": "service_unavailable_error", "code": None}}
            self._whole(503, json.dumps(error).encode())
        elif body["stream"]:
            self._stream(body)
        else:
            self._whole(200, json.dumps(self._answer(body), ensure_ascii=False).encode())

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**self._head(body), "object": "chat.completion", "usage": USAGE,
                "choices": [{"index": 0, "message": _message(body), "finish_reason": _reason(body)}]}  # fmt: skip

    @staticmethod
    def _head(body: dict[str, Any]) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "created": 1_790_000_000, "model": body["model"]}

    def _whole(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in self._frames(body):
            data = frame.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()
        if body["model"] == "cut":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _frames(self, body: dict[str, Any]) -> Iterator[str]:
        yield ": keep-alive\n\n"
        for delta in _deltas(body):
            yield self._frame(body, [{"index": 0, "delta": delta, "finish_reason": None}])
            if body["model"] in ("breaks", "cut") and delta.get("content") == TEXT[1]:
                break
        if body["model"] == "breaks":
            yield 'data: {"error": {"message": "boom", "type": "server_error", "code": 500}}\n\n'
        if body["model"] in ("breaks", "cut"):
            return
        yield self._frame(body, [{"index": 0, "delta": {}, "finish_reason": _reason(body)}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield self._frame(body, [], usage=USAGE)
        yield "data: [DONE]\n\n"

    def _frame(self, body: dict[str, Any], choices: list[Any], **more: Any) -> str:
        frame = {**self._head(body), "object": "chat.completion.chunk", "choices": choices, **more}
        return f"data: {json.dumps(frame, ensure_ascii=False)}\n\n"


def _calls(body: dict[str, Any]) -> bool:
    return bool(body.get("tools")) and not any(message["role"] == "tool" for message in body["messages"])


def _reason(body: dict[str, Any]) -> str:
    return "tool_calls" if _calls(body) else "stop"


def _call(body: dict[str, Any], arguments: str) -> dict[str, Any]:
    name = body["tools"][0]["function"]["name"]
    return {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def _message(body: dict[str, Any]) -> dict[str, Any]:
    if _calls(body):
        return {"role": "assistant", "content": None, "reasoning_content": "要查。", "tool_calls": [_call(body, ARGUMENTS)]}
    return {"role": "assistant", "content": "".join(TEXT)}


def _deltas(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None}
    if _calls(body):
        yield {"reasoning_content": "要查。"}
        yield {"tool_calls": [_call(body, "")]}
        for start in range(0, len(ARGUMENTS), 4):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[start : start + 4]}}]}
        return
    for text in TEXT:
        yield {"content": text}
