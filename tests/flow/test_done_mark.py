"""`[DONE]` is handed to the provider before it ends the reading."""

from __future__ import annotations

import pytest

import cnroute
from cnroute.testing import FakeTransport


class EndsWithDone:
    """A dialect whose only end mark is [DONE]."""

    @cnroute.hookimpl
    def describe_provider(self):
        return cnroute.ProviderInfo("done", "https://done.example")

    @cnroute.hookimpl
    def build_request(self, request, deployment, stream):
        return cnroute.HttpRequest.post_json(f"{deployment.base_url}/x", {})

    @cnroute.hookimpl
    def parse_response(self, response):
        return cnroute.ChatCompletion(response.text, finish_reason="stop")

    @cnroute.hookimpl
    def parse_stream_line(self, line):
        if line == "data: [DONE]":
            return (cnroute.Finish("stop"),)
        return (cnroute.TextDelta(line[6:]),) if line.startswith("data: ") else ()


def answered(*pieces: bytes) -> cnroute.Router:
    deployment = cnroute.Deployment("a", "done", "m")
    return cnroute.Router([deployment], plugins=[EndsWithDone()], transport=FakeTransport([list(pieces)]))


def test_a_provider_may_finish_at_done() -> None:
    """The line reaches the hook, and what follows it does not."""
    with answered(b"data: one\n\ndata: [DONE]\n\ndata: junk\n\n").stream("x", model="a") as stream:
        assert "".join(stream.texts()) == "one"
    assert stream.completion.finish_reason == "stop"


def test_done_is_no_finish_by_itself() -> None:
    """Without the provider's word for it a stream that says [DONE] is still cut."""
    router = answered(b"data: one\n\n")
    with pytest.raises(cnroute.StreamInterruptedError):
        "".join(router.stream("x", model="a").texts())
