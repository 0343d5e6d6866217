"""Messages, events, HTTP values and the JSON seam."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnroute
from cnroute.chat import message_from
from cnroute.codec import JsonError, dumps, loads, plain
from cnroute.http import charset_of
from cnroute.wire import by_status, positive_seconds, token_count, usage_from
from tests.flow.toy import Toy, answer, raised


class TestJson:
    """`loads` and `dumps`: exact, strict, deterministic, and no exception of a codec."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "nan",
            "NaN",
            '{"a": Infinity}',
            "-Infinity",
            "[" * 100_000,
            "[" * 100_000 + "]" * 100_000,
            "1" * 10_000,
            '{"a":}',
            "\ufeff",
            "'a'",
            "{'a':1}",
        ],
        ids=range(13),
    )
    def test_what_is_no_json_is_a_json_error(self, text: str) -> None:
        """Broken, too deep, too long numbers, constants that JSON does not have: as text and as bytes."""
        for data in (text, text.encode()):
            with pytest.raises(JsonError):
                loads(data)

    def test_numbers_are_exact(self) -> None:
        """Ids above 2^53 and integers of 30 digits."""
        for number in (2**53 + 1, 863831823174049792, 10**29 + 1, -(2**64)):
            assert loads(str(number)) == number
            assert loads(dumps({"id": number}))["id"] == number

    def test_lone_surrogates(self) -> None:
        """In: U+FFFD; out: escaped in their own string, everything else as it was."""
        assert loads('"a\\ud83db"') == "a\ufffdb"
        assert loads('"\\ud83d\\ude00"') == "😀"
        assert loads('{"\\ud83d": ["\\udc00"]}') == {"\ufffd": ["\ufffd"]}
        assert dumps({"a": "\ud83d你"}) == '{"a":"\\ud83d你"}'.encode()
        assert json.loads(dumps("\ud83d")) == "\ud83d"

    def test_output_is_utf8_compact_and_ordered(self) -> None:
        """The same bytes for the same value."""
        assert dumps({"b": "你", "a": [1, None, True, "\x00"]}) == '{"b":"你","a":[1,null,true,"\\u0000"]}'.encode()
        for wrong in (math.nan, math.inf, {1, 2}, b"x", object()):
            with pytest.raises((ValueError, TypeError)):
                dumps(wrong)

    def test_marks_and_bad_bytes_are_forgiven(self) -> None:
        """A byte order mark goes, invalid UTF-8 becomes U+FFFD."""
        assert loads(b'\xef\xbb\xbf{"a": 1}') == loads('\ufeff{"a": 1}') == {"a": 1}
        assert loads(b'"a\xff"') == "a\ufffd"

    @settings(max_examples=100, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=9,
        )
    )
    def test_what_goes_out_comes_back(self, value: Any) -> None:
        """Every value that JSON can hold."""
        assert loads(dumps(value)) == value
        assert plain(value) == value


class TestHttp:
    """Plain values."""

    def test_headers_ignore_case(self) -> None:
        """The first of a repeated one wins; they are a mapping."""
        headers = cnroute.Headers([("Retry-After", "1"), ("retry-after", "2"), ("X", "y")])
        assert headers["RETRY-AFTER"] == headers.get("retry-After") == "1"
        assert "x" in headers and 5 not in headers and headers.get("none", "d") == "d"
        assert (len(headers), sorted(headers)) == (2, ["retry-after", "x"])
        with pytest.raises(KeyError):
            headers["none"]
        assert pickle.loads(pickle.dumps(headers)) == headers

    def test_a_body_that_is_no_json_is_our_error(self) -> None:
        """A ResponseError of kind `bad_response`, without any of the codec's."""
        for body in (b"", b"<html>", b"{", b"[" * 100_000):
            caught = raised(lambda body=body: cnroute.HttpResponse(200, {}, body).json())
            assert (type(caught), caught.kind, caught.http_status) == (cnroute.ResponseError, "bad_response", 200)
            assert caught.__context__ is None

    @pytest.mark.parametrize(
        ("kind", "charset"),
        [
            ("text/html; charset=GBK", "gbk"),
            ('x; charset="gb2312"', "gbk"),
            ("x; charset=utf-8", "utf-8"),
            ("x; charset=utf-7", "utf-8"),
            ("", "utf-8"),
            ("x;charset=gb18030;q=1", "gb18030"),
            ("x; charset=rot13", "utf-8"),
        ],
    )
    def test_charsets(self, kind: str, charset: str) -> None:
        """Those that Chinese gateways use; anything else is UTF-8."""
        assert charset_of({"content-type": kind}) == charset
        assert cnroute.HttpResponse(200, {"Content-Type": kind}, '{"a":"你"}'.encode(charset)).json() == {"a": "你"}

    def test_bodies_are_not_shown(self) -> None:
        """Only their size is."""
        assert "prompt" not in repr(cnroute.HttpRequest.post_json("https://x", {"a": "prompt"}))
        assert "prompt" not in repr(cnroute.HttpResponse(200, {}, b"prompt"))

    def test_kinds_by_status(self) -> None:
        """The table of statuses; none of 2xx is a failure, every other is one."""
        table = {
            400: "bad_request",
            422: "bad_request",
            401: "auth",
            403: "permission",
            404: "model_not_found",
            408: "vendor_timeout",
            504: "vendor_timeout",
            413: "request_too_large",
            429: "rate_limit",
            500: "server_error",
            502: "server_error",
            503: "overloaded",
            529: "overloaded",
            302: "redirect",
        }
        for status, kind in table.items():
            assert by_status(status) == kind
        for status in range(600):
            assert (by_status(status) is None) == (200 <= status < 300)

    def test_numbers_of_vendors(self) -> None:
        """Token counts and seconds are numbers or unknown, never an exception."""
        for good, value in ((0, 0), ("12", 12), (10**9, 10**9)):
            assert token_count(good) == value
        for bad in (-1, True, 1.5, "1.5", "", "-1", 10**18, "9" * 5000, None, [], {}, math.nan, "１"):
            assert token_count(bad) is None
        assert usage_from(None, "x", -1) is None
        for text in ("-1", "1e3", "nan", "", " ", "1.", None, 5, "9" * 30):
            assert positive_seconds(text) is None


class TestMessages:
    """What a conversation may be made of."""

    def test_a_reply_can_be_appended(self) -> None:
        """As a Message, as a mapping, or as an object of another SDK with the same attributes."""
        toy = Toy([answer("答")], names="a")
        reply = toy.chat()
        assert reply.choices[0].message.content == "答"
        toy.chat([{"role": "user", "content": "一"}, reply.message, {"role": "user", "content": "二"}])
        assert toy.transport.requests[-1].json()["texts"] == ["一", "答", "二"]

    def test_tool_calls_in_every_layout(self) -> None:
        """Mappings, ToolCalls, objects; `.type` and `.function` for OpenAI habits."""

        class Foreign:
            role, content = "assistant", None
            tool_calls = [cnroute.ToolCall("1", "f", "{}")]

        nested = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }
        for value in (nested, Foreign(), cnroute.Message("assistant", None, tool_calls=[cnroute.ToolCall("1", "f", "{}")])):
            (call,) = message_from(value).tool_calls
            assert (call.id, call.type, call.function.name, call.function.arguments) == ("1", "function", "f", "{}")

    def test_parts_and_developers(self) -> None:
        """Text parts are joined, `developer` is `system`, an empty name is none."""
        message = message_from(
            {
                "role": "developer",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}],
                "name": "",
            }
        )
        assert (message.role, message.text, message.only_text, message.name) == ("system", "a", False, None)

    def test_completions_copy_and_pickle(self) -> None:
        """With everything that the router added."""
        reply = Toy([answer()], names="a").chat(metadata={"call_id": "c"})
        for twin in (copy.copy(reply), copy.deepcopy(reply), pickle.loads(pickle.dumps(reply))):
            assert (twin.text, twin.call_id, twin.usage, twin.attempts, twin.plan, twin.choices) == (
                reply.text,
                reply.call_id,
                reply.usage,
                reply.attempts,
                reply.plan,
                reply.choices,
            )
            assert twin.record() == reply.record()
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            reply.text = "other"

    def test_deltas_show_all_their_parts(self) -> None:
        """What a kind does not carry is empty or None on each of them."""
        usage = cnroute.Usage(1, 2)
        for delta in (
            cnroute.TextDelta("a"),
            cnroute.ReasoningDelta("b"),
            cnroute.ToolCallDelta(0, "i", "f", "{}"),
            cnroute.SourceFound(cnroute.Source(text="s")),
            cnroute.UsageUpdate(usage),
            cnroute.Finish("stop"),
            cnroute.StepDelta(role="assistant"),
        ):
            assert isinstance(delta, cnroute.Delta)
            seen = (
                delta.text,
                delta.reasoning,
                len(delta.tool_calls),
                len(delta.sources),
                delta.role,
                delta.finish_reason,
                delta.usage,
            )
            assert sum(bool(each) for each in seen) == 1
            assert pickle.loads(pickle.dumps(delta)) == delta == copy.deepcopy(delta)


@pytest.mark.parametrize("name", ["a&b", "a#b", "/../x", "a b", "a?b=c", "a%0d%0a"])
def test_odd_model_names_stay_one_value(name: str) -> None:
    """They travel in the body; the URL is untouched."""
    from tests.flow.toy import deployment

    toy = Toy([answer()], deployments=[deployment("a", name)])
    toy.chat(model="a")
    assert toy.transport.requests[0].url == "https://toy.example/v1/chat"
    assert toy.transport.requests[0].json()["model"] == name


@pytest.mark.parametrize("value", ["1&x=2", "a#b", "/../..", "a b", "a?b", "密", "a%00"])
def test_odd_options_are_quoted_in_urls(value: str) -> None:
    """A GroupId with any of these gives one query with the exact value."""
    from urllib.parse import parse_qs, urlsplit

    from cnroute.testing import FakeClock, FakeTransport

    transport = FakeTransport([(503, "")])
    made = cnroute.Deployment("a", "minimax-pro", "abab6.5s-chat", api_key="key-123456", options={"group_id": value})
    router = cnroute.Router([made], transport=transport, plugins=cnroute.PluginHost(autoload=False), clock=FakeClock())
    raised(lambda: router.chat("x", model="a"))
    if transport.requests:
        parts = urlsplit(transport.requests[0].url)
        assert parse_qs(parts.query) == {"GroupId": [value]}
        assert parts.path == "/v1/text/chatcompletion_pro" and not parts.fragment
