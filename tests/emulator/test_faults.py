# ruff: noqa: E501 (tables are wider)
"""Every fault of the table does what its description says, on plain requests and on streams, in all four dialects.

The tables below say what a client can see. A last test holds that no fault is missing from them.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest

from cnroute.emulator import FAULTS, Emulator

from . import client
from .client import MODES, PROVIDERS, QUESTION, STREAMS, Outcome

everywhere = pytest.mark.parametrize(("provider", "stream"), MODES, ids=[f"{p}-{'stream' if s else 'plain'}" for p, s in MODES])


def read_text(provider: str, stream: bool, outcome: Outcome) -> str:
    body = outcome.body.removeprefix(b"\xef\xbb\xbf")
    if stream and not body.startswith(b"{"):
        return client.stream_text(provider, body)
    return client.text_in(json.loads(body))


# The whole answer reaches a lenient client, in one way or another.
GOOD = [
    "ok", "hang:0.05", "slow:0.05", "header_no_colon", "odd_header_bytes", "http_1_0", "close_framed", "stale_close", "stale_reset",
    "stale_drop", "stale_drop_reset", "stale_drop_late:0.1", "usage_missing", "usage_null", "usage_strings", "usage_negative",
    "usage_absurd", "usage_nan", "unknown_fields", "finish_unknown", "base_resp_null", "no_finish", "bom", "usage_twice",
    "json_as_text", "sse_on_plain", "plain_json_on_stream", "gzip", "deflate", "surplus_bytes", "bad_length:-5", "bad_length",
    "unknown_encoding", "two_lengths", "huge_length", "tiny_chunks", "missing_last_chunk",
    "content_type_missing", "short_body", "slow_body:0", "stream_missing_last_chunk", "stream_close_framed", "stream_length_framed",
    "stream_pieces", "stream_slow:0.01", "stream_roles_first", "stream_crlf", "stream_no_blank_lines", "stream_pinged",
    "stream_spaced", "stream_bom", "stream_no_blank_end", "stream_done", "stream_no_finish", "stream_hang_after_end",
    "stream_junk_after_end", "ending_a", "ending_b", "ending_c", "ending_d", "ending_e",
    "loading:0.01", "loading_forever", "ids_as_text",
]  # fmt: skip


@pytest.mark.parametrize("fault", GOOD)
def test_the_whole_text_can_be_read(emulator: Emulator, fault: str) -> None:
    for provider, stream, outcome in client.ask_all(emulator, fault, total=4):
        if fault == "sse_on_plain" and not stream:
            assert client.stream_text(provider, outcome.body) == emulator.answer(QUESTION)
        else:
            trimmed = _without_surplus(fault, outcome)
            assert read_text(provider, stream, trimmed) == emulator.answer(QUESTION), (provider, stream)
    lost = ("short_body", "missing_last_chunk", "huge_length", "stream_missing_last_chunk")
    if fault not in lost:
        assert {entry.answered for entry in emulator.requests} == {
            emulator.answer(QUESTION)
        } or fault == "stream_missing_last_chunk"


def _without_surplus(fault: str, outcome: Outcome) -> Outcome:
    extra = len(b"surplus surplus surp")
    if outcome.raw_body.endswith(b"surplus surplus surp"):
        return Outcome(outcome.data[:-extra], outcome.end, outcome.seconds)
    return outcome


# HTTP statuses. The body is the vendor's own, or a page of the load balancer.
STATUSES = {f"http_{number}": number for number in (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529, 204, 304)} | {
    "http": 500, "http:418": 418, "retry_after:3600": 429, "busy_after": 503, "envelope_401": 401, "not_json_error": 429,
    "http_500_empty": 500, "http_500_huge": 500, "http_400_dirty": 400, "http_401_echo": 401, "refusal_sse": 400, "early_413": 413,
    "redirect_301": 301, "redirect_302": 302, "redirect_303": 303, "redirect_307": 307, "redirect_308": 308, "redirect_self": 307,
    "done_http": 504, "done_http:418": 418, "status_999": 999, "switching_101": 101, "early_hints_103": 103, "continue_50": 100,
}  # fmt: skip


@pytest.mark.parametrize("fault", STATUSES)
def test_statuses(emulator: Emulator, fault: str) -> None:
    for provider, stream, outcome in client.ask_all(emulator, fault):
        assert outcome.status == STATUSES[fault], (provider, stream)


@pytest.mark.parametrize("number", [400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 529])
def test_status_bodies_are_the_vendors_own(emulator: Emulator, number: int) -> None:
    for provider, _stream, outcome in client.ask_all(emulator, f"http_{number}"):
        if provider == "dashscope":
            assert set(outcome.json) == {"code", "message", "request_id"}
        else:
            assert outcome.json["type"] == "error" and outcome.json["error"]["http_code"] == str(number)
            assert outcome.headers["trace-id"] == outcome.json["request_id"]


@pytest.mark.parametrize("number", [502, 504])
def test_the_load_balancer_speaks_html(emulator: Emulator, number: int) -> None:
    outcome = client.ask(emulator, "dashscope", fault=f"http_{number}")
    assert outcome.headers["content-type"].startswith("text/html") and b"<h1>%d" % number in outcome.body


@pytest.mark.parametrize(("parameter", "value"), [("", "1"), (":3600", "3600"), (":1.5", "1.5"), (":-5", "-5"), (":abc", "abc")])
def test_retry_after_is_sent_as_given(emulator: Emulator, parameter: str, value: str) -> None:
    for fault in ("retry_after", "busy_after"):
        assert client.ask(emulator, "dashscope", fault=fault + parameter).headers["retry-after"] == value


def test_retry_after_knows_dates_and_absurd_numbers(emulator: Emulator) -> None:
    values = [
        client.ask(emulator, "dashscope", fault=f"retry_after:{word}").headers["retry-after"] for word in ("past", "soon", "long")
    ]
    assert values[0].endswith("GMT") and values[1].endswith("GMT") and values[2] == "9" * 400


def test_redirects_point_elsewhere(emulator: Emulator) -> None:
    assert (
        client.ask(emulator, "dashscope", fault="redirect_307:http://127.0.0.1:1/x").headers["location"] == "http://127.0.0.1:1/x"
    )
    assert client.ask(emulator, "dashscope", fault="redirect_302").headers["location"].startswith("http://127.0.0.1:9/")
    own = client.ask(emulator, "minimax-pro", fault="redirect_self").headers["location"]
    assert own == "/minimax/v1/text/chatcompletion_pro?GroupId=17"


def test_special_status_bodies(emulator: Emulator) -> None:
    def body(fault: str, provider: str = "dashscope") -> bytes:
        return client.ask(emulator, provider, fault=fault, total=2, most=2 << 20).body

    assert body("http_500_empty") == b"" and len(body("http_500_huge")) > 1 << 20
    assert b"\\u001b[31m" in body("http_400_dirty") and "\u202e".encode() in body("http_400_dirty")
    assert b"slow down" in body("not_json_error")
    for provider in PROVIDERS:
        outcome = client.exchange(
            emulator, provider, client.body_for(provider, model="abab5.5-chat!http_401_echo"), key="canary-1"
        )
        assert b"canary-1" in outcome.body
    assert body("refusal_sse:DataInspectionFailed").startswith(b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:{")


# How the connection ends, and whether anything was sent before. None: it depends on the kind of request.
ENDS: dict[str, tuple[str, str | None]] = {
    "close": ("fin", "nothing"), "reset": ("rst", "nothing"), "close_before_read": ("rst", "nothing"), "early_reset": ("rst", "nothing"),
    "answer_lost": ("rst", "nothing"), "upload_cut": ("rst", "nothing"), "never_reads": ("open", "nothing"), "hang": ("open", "nothing"),
    "slow_headers:0.001": ("flood", "head"), "headers_hang": ("open", "head"), "endless_headers": ("flood", "head"),
    "continue_forever": ("flood", "head"), "endless_body": ("flood", "body"),
    "ssh_greeting": ("fin", "foreign"), "random_bytes": ("fin", "foreign"), "status_word": ("fin", "head"), "long_reason": ("fin", "head"),
    "long_header": ("fin", "head"), "many_headers": ("fin", "head"),
    "short_body": ("fin", "body"), "half_body_reset": ("rst", "body"), "half_body_hang": ("open", "body"),
    "chunk_cut": ("fin", "body"), "chunk_reset": ("rst", "body"), "missing_last_chunk": ("fin", "body"),
    "bad_chunk_size": ("fin", "head"), "negative_chunk_size": ("fin", "head"), "long_chunk_line": ("fin", "head"),
    "huge_chunk_size": ("fin", "head"), "length_and_chunked": ("fin", "body"),
    "stale_close": ("fin", "body"), "http_1_0": ("fin", "body"), "close_framed": ("fin", "body"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ENDS)
def test_ends(emulator: Emulator, fault: str) -> None:
    end, sent = ENDS[fault]
    patience = {"quiet": 0.1} if end == "open" else {"quiet": 1.0, "after": 1.0}
    for provider, stream, outcome in client.ask_all(emulator, fault, total=0.2 if end == "flood" else 2, **patience):
        assert outcome.end == end, (provider, stream)
        assert bool(outcome.data) == (sent != "nothing")
        assert outcome.data.startswith(b"HTTP/1.") == (sent in ("head", "body"))
        if sent == "body":
            assert outcome.body
    done = {"stale_close", "http_1_0", "close_framed"}
    assert {entry.ended for entry in emulator.requests} <= ({"done"} if fault in done else {"fault", "client_closed", None})


def test_strange_heads_in_detail(emulator: Emulator) -> None:
    def data(fault: str) -> bytes:
        return client.ask(emulator, "dashscope", fault=fault, total=2, quiet=0.4).data

    assert data("ssh_greeting").startswith(b"SSH-2.0") and len(data("random_bytes")) == 65536
    assert data("status_word").startswith(b"HTTP/1.1 OK ") and len(data("long_reason").partition(b"\r\n")[0]) > 200_000
    assert data("long_header").count(b"x") > 200_000 and data("many_headers").count(b"X-Many-") == 500
    assert data("continue_50").count(b"HTTP/1.1 100 ") == 50 and b"HTTP/1.1 200 OK" in data("continue_50")
    assert data("early_hints_103").startswith(b"HTTP/1.1 103 ") and b"\r\n\r\nHTTP/1.1 200 OK" in data("early_hints_103")
    assert b"this line has no colon\r\n" in data("header_no_colon") and b"\x1b[31m\x07\xe4" in data("odd_header_bytes")


# Bodies that hold no answer: what a predicate says about them.
NO_ANSWERS: dict[str, Callable[[Outcome], bool]] = {
    "html_200": lambda seen: b"<html>" in seen.body and seen.headers["content-type"].startswith("text/html"),
    "text_labelled_json": lambda seen: b"starting" in seen.body and "json" in seen.headers["content-type"],
    "wrong_json": lambda seen: "status" in seen.json,
    "json_null": lambda seen: seen.json is None,
    "json_list": lambda seen: isinstance(seen.json, list),
    "json_string": lambda seen: isinstance(seen.json, str),
    "deep_json": lambda seen: seen.body.count(b"[") == 100_000,
    "empty_200": lambda seen: seen.status == 200 and seen.body == b"",
    "stream_empty": lambda seen: seen.status == 200 and seen.body == b"",
    "json_cut": lambda seen: seen.complete and not seen.body.endswith((b"}", b"\n")),
    "choices_null": lambda seen: b'"choices":null' in seen.body,
    "stream_choices_null": lambda seen: b'"choices":null' in seen.body,
    "choices_missing": lambda seen: (b'"choices"' not in seen.body and b"request_id" in seen.body) or b"base_resp" in seen.body,
    "choices_empty": lambda seen: b'"choices":[]' in seen.body,
    "choices_object": lambda seen: b'"choices":{' in seen.body,
    "content_null": lambda seen: b":null" in seen.body,
    "content_number": lambda seen: b":42" in seen.body,
    "content_empty": lambda seen: QUESTION[:4].encode() not in seen.body,
    "gzip_lie": lambda seen: seen.headers["content-encoding"] == "gzip" and b"{" in seen.raw_body,
    "gzip_cut": lambda seen: seen.complete and seen.headers["content-encoding"] == "gzip" and bool(seen.body),
    "gzip_bomb:1": lambda seen: len(seen.data) < 10_000 and len(seen.body) > 1 << 20 and seen.complete,
    "chained_encodings": lambda seen: seen.headers["content-encoding"].count("gzip") == 50,
    "unknown_content_encoding": lambda seen: seen.headers["content-encoding"] == "zip-of-tomorrow",
    "huge_json:1": lambda seen: seen.data.count(b"x") > 500_000,
    "stream_long_line:1": lambda seen: seen.data.count(b"x") > 500_000,
}


@pytest.mark.parametrize("fault", NO_ANSWERS)
def test_bodies_without_an_answer(emulator: Emulator, fault: str) -> None:
    for provider, stream, outcome in client.ask_all(emulator, fault):
        assert outcome.status == 200 and NO_ANSWERS[fault](outcome), (provider, stream)
    if fault not in ("huge_json:1", "stream_long_line:1"):
        assert {entry.answered for entry in emulator.requests} == {""}


# Bodies with the answer and something odd in them.
ODD: dict[str, Callable[[Outcome], bool]] = {
    "nul_in_text": lambda seen: b"\\u0000" in seen.body,
    "lone_surrogate": lambda seen: b"\\ud83d" in seen.body,
    "invalid_utf8": lambda seen: b"\xff" in seen.body,
    "gbk": lambda seen: seen.headers["content-type"].endswith("charset=GBK") and "杭州" in seen.body.decode("gbk"),
    "gbk_as_utf8": lambda seen: "gbk" not in seen.headers["content-type"].lower() and "杭州" in seen.body.decode("gbk"),
    "usage_huge_int": lambda seen: b"9" * 10000 in seen.body,
    "usage_twice": lambda seen: b"999999999999}" in seen.body,
    "usage_nan": lambda seen: b"NaN" in seen.body,
    "usage_strings": lambda seen: b'_tokens":"' in seen.body,
    "usage_negative": lambda seen: b'_tokens":-' in seen.body,
    "usage_absurd": lambda seen: b'_tokens":1000000000000000000' in seen.body,
    "usage_missing": lambda seen: b'"usage"' not in seen.body,
    "unknown_fields": lambda seen: b"x_unknown_99" in seen.body and b"new_reason" in seen.body,
    "finish_unknown": lambda seen: b"new_reason" in seen.body and b'"stop"' not in seen.body,
    "bom": lambda seen: seen.body.startswith(b"\xef\xbb\xbf"),
    "no_finish": lambda seen: b'"stop"' not in seen.body,
    "forged_answer": lambda seen: seen.data.count(b"HTTP/1.1 200 OK") == 2 and "伪造".encode() in seen.data,
    "many_trailers": lambda seen: seen.data.count(b"X-Trailer-") == 20000,
    "tiny_chunks": lambda seen: b"7;part=tiny\r\n" in seen.data and b"X-Trailer: end" in seen.data,
    "two_lengths": lambda seen: seen.data.count(b"Content-Length") == 2,
    "huge_length": lambda seen: seen.headers["content-length"] == "1000000000000",
    "bad_length": lambda seen: seen.headers["content-length"] == "abc",
    "unknown_encoding": lambda seen: seen.headers["transfer-encoding"] == "carrier-pigeon",
    "content_type_missing": lambda seen: "content-type" not in seen.headers,
    "length_and_chunked": lambda seen: {"content-length", "transfer-encoding"} <= set(seen.headers),
    "json_as_text": lambda seen: seen.headers["content-type"] == "text/plain",
    "http_1_0": lambda seen: seen.data.startswith(b"HTTP/1.0 200 OK"),
}


@pytest.mark.parametrize("fault", ODD)
def test_odd_bodies(emulator: Emulator, fault: str) -> None:
    for provider, stream, outcome in client.ask_all(emulator, fault):
        assert ODD[fault](outcome), (provider, stream)


# -- the vendors' errors

CODES = {"code:9999": "9999", "code:Arrearage": "Arrearage", "code": ""}
NAMED = [
    "invalid_key", "permission", "no_balance", "plan_limit", "rate_limit", "token_limit", "burst_limit", "connection_limit",
    "overloaded", "vendor_timeout", "internal_error", "bad_parameter", "context_length", "model_not_found", "model_not_exist",
    "too_large", "content_filter_input", "content_filter_output",
]  # fmt: skip


@pytest.mark.parametrize("fault", [*NAMED, *CODES])
def test_named_errors_and_codes(emulator: Emulator, fault: str) -> None:
    """DashScope refuses with a status and a code; MiniMax with HTTP 200 and plain JSON, also on streams."""
    for provider, _stream, outcome in client.ask_all(emulator, fault):
        if provider == "dashscope":
            assert outcome.status is not None and outcome.status >= 400 and outcome.json["code"]
        else:
            assert outcome.status == 200 and outcome.json["base_resp"]["status_code"] > 0 and "choices" not in outcome.json


@pytest.mark.parametrize("number", [1000, 1001, 1002, 1004, 1008, 1013, 1024, 1026, 1027, 1033, 1039, 1041, 1042, 2013, 2032, 2034, 2044, 2045, 2049, 2056, 2061])  # fmt: skip
def test_minimax_codes(emulator: Emulator, number: int) -> None:
    outcome = client.ask(emulator, "minimax-v2", fault=f"code:{number}")
    assert outcome.json["base_resp"]["status_code"] == number and outcome.json["base_resp"]["status_msg"] != ""


@pytest.mark.parametrize(("code", "status"), [
    ("InvalidParameter", 400), ("DataInspectionFailed", 400), ("Arrearage", 400), ("InvalidApiKey", 401), ("AccessDenied.Unpurchased", 403),
    ("ModelNotFound", 404), ("RequestTimeOut", 408), ("BadRequest.TooLarge", 413), ("Throttling.RateQuota", 429), ("PostpaidBillOverdue", 429),
    ("InternalError.Algo", 500), ("InternalError.Timeout", 500), ("ModelServingError", 503), ("ServiceUnavailable", 503),
])  # fmt: skip
def test_dashscope_codes(emulator: Emulator, code: str, status: int) -> None:
    outcome = client.ask(emulator, "dashscope", fault=f"code:{code}")
    assert (outcome.status, outcome.json["code"]) == (status, code)


@everywhere
def test_errors_inside_of_200(emulator: Emulator, provider: str, stream: bool) -> None:
    dashscope = provider == "dashscope"
    for fault in ("error_in_200", "error_in_200_choices_null", "code_string"):
        outcome = client.ask(emulator, provider, fault=fault, stream=stream)
        assert outcome.status == 200
        code = outcome.json["code"] if dashscope else outcome.json["base_resp"]["status_code"]
        assert code == ("Throttling.RateQuota" if dashscope else "1002" if fault == "code_string" else 1002)
        null = outcome.json.get("output" if dashscope else "choices", "absent") is None
        assert null == (fault == "error_in_200_choices_null")
    chosen = client.ask(emulator, provider, fault="error_in_200:no_balance", stream=stream)
    assert ("Arrearage" if dashscope else "1008") in chosen.body.decode()
    both = client.ask(emulator, provider, fault="error_with_text", stream=stream).body.decode()
    assert ("DataInspectionFailed" if dashscope else "1027") in both and emulator.answer(QUESTION) in both


def test_a_minimax_error_frame_is_a_whole_envelope(emulator: Emulator) -> None:
    outcome = client.ask(emulator, "minimax-v2", fault="error_in_200_choices_null")
    assert {"id", "choices", "usage", "base_resp"} <= set(outcome.json)


# -- streams that break

BROKEN = {
    "stream_cut": "rst",
    "cut_after": "rst",
    "stream_fin": "fin",
    "stream_half_chunk": "fin",
    "stream_end": "open",
    "stream_hang": "open",
}


@pytest.mark.parametrize("count", [0, 2, 5])
@pytest.mark.parametrize("fault", BROKEN)
def test_streams_break_after_the_given_content_events(emulator: Emulator, fault: str, count: int) -> None:
    for provider, _stream, outcome in client.ask_all(
        emulator, f"{fault}:{count}", STREAMS, quiet=0.1 if BROKEN[fault] == "open" else 1.0
    ):
        pieces = client.deltas(client.events(outcome.body), cumulative=provider == "dashscope")
        assert outcome.end == BROKEN[fault] and len(pieces) == count
        assert emulator.answer(QUESTION).startswith("".join(pieces)) and not client.reasons(client.events(outcome.body))
        assert outcome.complete == (fault == "stream_end")
        assert "".join(pieces) in {entry.answered for entry in emulator.requests if entry.provider == provider}
        if fault == "stream_half_chunk":
            assert not outcome.data.endswith(b"\r\n")


def test_two_content_events_are_the_default(emulator: Emulator) -> None:
    for fault in [*BROKEN, "stream_error", "stream_filtered"]:
        outcome = client.ask(emulator, "minimax-v2", fault=fault, stream=True)
        assert len(client.deltas(client.events(outcome.body), cumulative=False)) == 2


@pytest.mark.parametrize(("fault", "end"), [("stream_cut_first", "rst"), ("stream_fin_first", "fin")])
def test_streams_break_before_the_first_event(emulator: Emulator, fault: str, end: str) -> None:
    for _provider, _stream, outcome in client.ask_all(emulator, fault, STREAMS):
        assert (outcome.status, outcome.end, outcome.raw_body) == (200, end, b"")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_error_events(emulator: Emulator, provider: str) -> None:
    def code(event: dict[str, object]) -> object:
        base = event.get("base_resp")
        return event.get("code") or (base.get("status_code") if isinstance(base, dict) else None)

    rate, internal, filtered = (
        ("Throttling.RateQuota", "InternalError", "DataInspectionFailed") if provider == "dashscope" else (1002, 1000, 1027)
    )
    for fault, place, expected, least in [
        ("stream_error_only", 0, rate, 1), ("stream_error_first", 0, rate, 3), ("stream_role_then_error", 1, rate, 2), ("role_then_error", 1, rate, 2),
        ("stream_error:2", 2, internal, 3), ("stream_filtered:1", 1, filtered, 2), ("stream_bare_error", 0, internal, 1),
    ]:  # fmt: skip
        outcome = client.ask(emulator, provider, fault=fault, stream=True)
        seen = client.events(outcome.body)
        assert code(seen[place]) == expected and len(seen) >= least and outcome.complete, fault
        assert (len(seen) == least) == (fault != "stream_error_first")
    assert client.stream_text(provider, client.ask(emulator, provider, fault="stream_role_then_error", stream=True).body) == ""


def test_dashscope_error_events_name_themselves(emulator: Emulator) -> None:
    body = client.ask(emulator, "dashscope", fault="stream_error:1", stream=True).body
    assert b"id:2\nevent:error\n:HTTP_STATUS/500\ndata:{" in body
    assert b"event" not in client.ask(emulator, "dashscope", fault="stream_bare_error", stream=True).body


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_end_mark(emulator: Emulator, provider: str) -> None:
    outcome = client.ask(emulator, provider, fault="stream_no_finish", stream=True)
    assert outcome.complete and not client.reasons(client.events(outcome.body))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_foreign_lines_in_streams(emulator: Emulator, provider: str) -> None:
    for fault, foreign in (("stream_junk", b"data: {this is not JSON"), ("stream_scalars", b"data: null\n\ndata: {}")):
        for count in (0, 2):
            body = client.ask(emulator, provider, fault=f"{fault}:{count}", stream=True).body
            before = client.events(body.partition(foreign)[0])
            assert len(client.deltas(before, cumulative=provider == "dashscope")) == count and foreign in body
    pings = client.ask(emulator, provider, fault="stream_pings:0.01", stream=True, total=0.2)
    assert pings.end == "flood" and pings.body.startswith(b": keep-alive\n\n") and b"data:" not in pings.body
    endless = client.ask(emulator, provider, fault="stream_endless", stream=True, total=5, most=100_001)
    assert endless.end == "flood" and len(endless.data) > 100_000


@pytest.mark.parametrize("provider", PROVIDERS)
def test_unusual_clothes(emulator: Emulator, provider: str) -> None:
    bodies = {fault: client.ask(emulator, provider, fault=fault, stream=True) for fault in (
        "stream_crlf", "stream_no_blank_lines", "stream_pinged", "stream_multiline_data", "stream_spaced", "stream_bom",
        "stream_no_blank_end", "stream_done", "stream_length_framed", "stream_pieces:2", "stream_roles_first",
    )}  # fmt: skip
    assert bodies["stream_crlf"].body.count(b"\r\n") == bodies["stream_crlf"].body.count(b"\n") > 5
    assert b"\n\n" not in bodies["stream_no_blank_lines"].body
    assert bodies["stream_pinged"].body.startswith(b": keep-alive\n\n")
    first = bodies["stream_multiline_data"].body.split(b"\n\n")[0]
    lines = [line.removeprefix(b"data:") for line in first.split(b"\n") if line.startswith(b"data:")]
    if provider != "minimax-legacy":
        assert len(lines) == 2 and isinstance(json.loads(b"\n".join(lines)), dict)
    assert b"data: {" in bodies["stream_spaced"].body
    assert bodies["stream_bom"].body.startswith(b"\xef\xbb\xbf") and not bodies["stream_no_blank_end"].body.endswith(b"\n")
    assert bodies["stream_done"].body.count(b"data: [DONE]") == 1 and "content-length" in bodies["stream_length_framed"].headers
    assert b"\r\n2\r\n" in bodies["stream_pieces:2"].data
    assert client.deltas(client.events(bodies["stream_roles_first"].body)[:5], cumulative=False) == []


def test_the_ends_of_unusual_streams(emulator: Emulator) -> None:
    for provider in PROVIDERS:
        hanging = client.ask(emulator, provider, fault="stream_hang_after_end", stream=True, quiet=0.1)
        assert hanging.end == "open" and not hanging.complete and client.reasons(client.events(hanging.body))
        junk = client.ask(emulator, provider, fault="stream_junk_after_end", stream=True)
        assert b"data: {junk" in junk.body and junk.complete


def test_repeated_and_shrinking_snapshots(emulator: Emulator) -> None:
    body = client.ask(emulator, "dashscope", fault="stream_first_twice", stream=True).body
    first, second = client.events(body)[:2]
    assert first == second and client.stream_text("dashscope", body) == emulator.answer(QUESTION)
    shrinking = [
        event["output"]["text"]
        for event in client.events(client.ask(emulator, "dashscope", fault="stream_shrink", stream=True).body)
    ]
    assert len(shrinking[3]) < len(shrinking[2]) and shrinking[-1] == emulator.answer(QUESTION)


def test_a_stream_byte_by_byte(emulator: Emulator) -> None:
    outcome = client.ask(emulator, "minimax-legacy", "你好", fault="stream_drip", stream=True, total=5, quiet=0.5)
    assert client.stream_text("minimax-legacy", outcome.body) == emulator.answer("你好") and b"\r\n1\r\n" in outcome.data


def test_slow_things_take_their_time(emulator: Emulator) -> None:
    assert client.ask(emulator, "minimax-v2", fault="hang:0.1", quiet=1).seconds >= 0.1
    assert client.ask(emulator, "minimax-v2", fault="slow:0.1", quiet=1).seconds >= 0.1
    dripped = client.ask(emulator, "minimax-legacy", "你好", fault="slow_body:0.01", total=0.2)
    assert dripped.end == "flood" and dripped.body and not dripped.complete
    assert client.ask(emulator, "minimax-v2", fault="stream_slow:0.02", stream=True).seconds > 0.1
    assert client.ask(emulator, "minimax-legacy", fault="stream_drip:0.0001", stream=True, total=0.2).end == "flood"


# -- connections


@pytest.mark.parametrize(
    ("fault", "end"), [("accept_close", "fin"), ("accept_reset", "rst"), ("accept_silent", "open"), ("close_before_read", "rst")]
)
def test_faults_of_new_connections(emulator: Emulator, fault: str, end: str) -> None:
    emulator.script("@connect", [fault])
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        outcome = client.read(sock, quiet=0.1)
        assert (outcome.data, outcome.end) == (b"", end)
    assert client.ask(emulator, "dashscope").status == 200
    assert len(emulator.requests) == 1


@pytest.mark.parametrize(("fault", "end"), [("stale_drop", "fin"), ("stale_drop_reset", "rst"), ("stale_drop_late:0.1", "fin")])
def test_reused_connections_are_dropped(emulator: Emulator, fault: str, end: str) -> None:
    data = client.request_bytes("minimax-v2", "/v1", client.body_for("minimax-v2", model=f"abab6.5s-chat!{fault}"))
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        sock.sendall(data)
        assert client.read(sock).status == 200
        begun = time.monotonic()
        sock.sendall(data)
        outcome = client.read(sock, quiet=0.5)
        assert (outcome.data, outcome.end) == (b"", end)
        assert (time.monotonic() - begun >= 0.1) == ("late" in fault)
    assert [(entry.connection, entry.ended) for entry in emulator.requests] == [(1, "done"), (1, "fault")]


def test_stale_reset_comes_after_the_answer(emulator: Emulator) -> None:
    data = client.request_bytes("minimax-v2", "/v1", client.body_for("minimax-v2", model="abab6.5s-chat!stale_reset"))
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        sock.sendall(data)
        outcome = client.read(sock, after=0.5)
        assert outcome.complete and outcome.end == "rst"
    assert emulator.requests[0].ended == "done"


def test_early_faults_do_not_wait_for_the_body(emulator: Emulator) -> None:
    """A body of 5 MB is cut off as soon as the model name was seen near its start."""
    for fault, status in (("early_413", 413), ("early_reset", None), ("close_before_read", None)):
        body = json.dumps(client.body_for("minimax-v2", "长" * 100, model=f"m!{fault}")).encode()
        head = f"POST /v1/text/chatcompletion_v2 HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: {len(body) + 5_000_000}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
            sock.sendall(head.encode() + body + b" " * 70_000)
            assert client.read(sock, quiet=2, total=2).status == status
    assert [entry.model for entry in emulator.requests] == ["m"] * 3


def test_a_scripted_early_fault_is_used_up(emulator: Emulator) -> None:
    emulator.script("qwen-plus", ["early_413", "ok"])
    assert [client.ask(emulator, "dashscope").status for _ in range(2)] == [413, 200]
    assert [entry.fault for entry in emulator.requests] == ["early_413", "ok"]


@pytest.mark.parametrize("fault", [name for name, row in FAULTS.items() if row.applies == "stream"])
def test_stream_faults_have_a_plain_equivalent(emulator: Emulator, fault: str) -> None:
    """A plain request meets the equivalent; the log keeps the name that was asked for."""
    assert FAULTS[fault].plain
    limit = {"stream_long_line": ":1", "stream_slow": ":0.01"}.get(fault, "")
    outcome = client.ask(emulator, "minimax-v2", fault=fault + limit, total=0.1)
    assert outcome.data and emulator.requests[0].fault == fault + limit


def test_no_fault_is_missing_here() -> None:
    tested = {name.partition(":")[0] for name in [*GOOD, *STATUSES, *ENDS, *NO_ANSWERS, *ODD, *NAMED, *CODES, *BROKEN]}
    tested |= {"stream_drip", "error_in_200", "error_in_200_choices_null", "code_string", "error_with_text", "stream_cut_first", "stream_fin_first",
               "stream_error", "stream_error_only", "stream_error_first", "stream_role_then_error", "role_then_error", "stream_filtered",
               "stream_bare_error", "stream_junk", "stream_scalars", "stream_pings", "stream_endless", "stream_multiline_data",
               "stream_first_twice", "stream_shrink", "accept_close", "accept_reset", "accept_silent", "retry_after"}  # fmt: skip
    tested |= {"answer_twice", "done_code"}  # test_knowledge_faults.py
    assert set(FAULTS) - tested == set()
