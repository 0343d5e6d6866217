"""The fault matrix (reliability, section 4) as data: rows 1 to 148, one entry for each outcome that a row can have.

Rules of this file
- Nothing here runs. `stages.py` makes the vendor that misbehaves, `running.py` makes the calls and judges them.
- `kinds` is what the page lists for the row, and nothing more. Several entries may share a number: a row that names
  two outcomes ("input / output", "first / after two events") has one entry for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs

# The profile of the page.
CONNECT, FIRST_BYTE, FIRST_TOKEN, IDLE, POOL, TOTAL, WRITE = 0.5, 1.0, 2.0, 0.5, 0.3, 3.0, 0.5
BOUNDS = {"q": 0.3, "f": FIRST_BYTE + 0.3, "i": IDLE + 0.3, "d": TOTAL + 0.25}
LIMITS = {"f": FIRST_BYTE, "i": IDLE, "d": TOTAL}
"""The limit that ends a row of this bound: what comes later is overshoot."""

CUMULATIVE, INCREMENTAL, V2, PRO = "yi", "qwen", "v2", "pro"
ALL = (CUMULATIVE, INCREMENTAL, V2, PRO)
DASHSCOPE = (CUMULATIVE, INCREMENTAL)
MINIMAX = (V2, PRO)
PLAIN, STREAM, BOTH = ("plain",), ("stream",), ("plain", "stream")


@attrs.frozen
class Row:
    """One row, or one outcome of it.

    `faults` are names of the emulator's table, or of a stage (`stages.STAGES`) where the fault is not a vendor's.
    `second` is what a healthy second vendor makes of it: `ok`, `no`, or None where the page says nothing. `after` is
    what stays open: R (kept), C (nothing), R/C. `bound` is a letter of the page or a number of seconds. `speakers`
    are the dialects; where None, the row's number chooses. `ways`: plain calls, streams. `check` names one more
    look at the outcome (`checks.py`), `play` another course than one call (`plays.py`). `alone`: not beside other rows.
    """

    number: int
    title: str
    faults: tuple[str, ...]
    kinds: tuple[str, ...]
    second: str | None
    billing: str
    after: str
    bound: str | float = "q"
    ways: tuple[str, ...] = BOTH
    speakers: tuple[str, ...] | None = None
    check: str = ""
    play: str = ""
    cut: tuple[str, ...] = ()
    """Kinds of an attempt that its share of the time has cut (reliability S1), beside `kinds`."""
    times: int = 1
    """How often the fault comes."""
    again: bool = False
    """Whether the same deployment may be asked again."""
    prompt: int = 0
    """Bytes of padding in the request."""
    timeouts: dict[str, float] = attrs.field(factory=dict)
    """Where the profile itself would end the row before its fault comes."""
    limits: dict[str, int] = attrs.field(factory=dict)
    alone: bool = False
    everywhere: bool = False
    """Whether every dialect of `speakers` is run, not only the one that the number chooses."""
    flat: bool = False
    """Whether memory may grow by no more than 48 MiB."""

    @property
    def seconds(self) -> float:
        """The page's time bound."""
        return BOUNDS[self.bound] if isinstance(self.bound, str) else self.bound


ROWS: list[Row] = []


def row(number: int, title: str, faults: str, kinds: str, second: str | None, billing: str, after: str, bound: str | float = "q",
        **more: Any) -> None:  # fmt: skip
    """Enter a row; names are separated by blanks."""
    more.setdefault("cut", ())
    ROWS.append(Row(number, title, tuple(faults.split()), tuple(kinds.split()), second, billing, after, bound, **more))


# -- 4.1 connecting

row(1, "nobody listens", "=nobody", "connect_error", "ok", "none", "C")
row(2, "the listener's backlog is full", "=black_hole", "connect_timeout", "ok", "none", "C", 0.8)
row(3, "accepts, closes at once", "accept_close", "connection_lost", "ok", "unknown", "C")
row(4, "accepts, resets at once", "accept_reset", "connection_lost connect_error", "ok", "unknown", "C", check="reset_early")
row(5, "accepts, stays silent", "accept_silent", "first_byte_timeout", "ok", "unknown", "C", "f")
row(6, "stays silent in the TLS handshake", "=tls_silent", "tls_timeout", "ok", "none", "C", 0.8)
row(7, "closes in the TLS handshake", "=tls_closed =tls_closed_at_once =tls_reset", "tls_error", "ok", "none", "C")
row(8, "answers the TLS handshake with plain HTTP", "=tls_plain", "tls_error", "ok", "none", "C")
row(9, "certificate for another host", "=tls_host", "tls_verify", "ok", "none", "C", check="alarm", again=True)
row(10, "certificate of an unknown authority", "=tls_stranger", "tls_verify", "ok", "none", "C", check="alarm", again=True)
row(11, "expired certificate", "=tls_expired", "tls_verify", "ok", "none", "C", check="alarm", again=True)
row(12, "host name that does not exist", "=dns_missing", "dns_error", "ok", "none", "C", CONNECT)
row(13, "getaddrinfo blocks", "=dns_blocked", "dns_error connect_timeout", "ok", "none", "C", CONNECT + 0.3)
row(14, "the first address refuses, the second is good", "=two_addresses", "ok", None, "billed", "R")
row(15, "five black-hole addresses", "=black_holes", "connect_timeout", "ok", "none", "C", 0.8)
row(16, "one connection, held by a stream", "ok", "local_overload", "ok", "none", "R/C", 0.6, play="held_connection",
    speakers=(CUMULATIVE,))  # fmt: skip
row(17, "no file descriptors left", "ok", "connect_error", "ok", "none", "C", play="no_descriptors", ways=PLAIN, alone=True)

# -- 4.2 before or instead of an answer

row(18, "reads the request, FIN", "close", "connection_lost", "ok", "unknown", "C", check="one_request", again=True)
row(19, "reads the request, RST", "reset", "connection_lost", "ok", "unknown", "C", check="one_request", again=True)
row(20, "reads the request, never answers", "hang", "first_byte_timeout", "ok", "unknown", "C", "f")
row(21, "0.6 s of silence, then good", "hang:0.6", "ok", None, "billed", "R", 0.9)
row(22, "header bytes one by one, for ever", "slow_headers", "first_byte_timeout idle_timeout deadline_exceeded", "ok", "unknown",
    "C", "d")  # fmt: skip
row(23, "another protocol's greeting", "ssh_greeting", "protocol_error", "ok", "unknown", "C")
row(24, "64 KiB of random bytes", "random_bytes", "protocol_error", "ok", "unknown", "C", check="nothing_raw")
row(25, "a status code that is no number", "status_word", "protocol_error", "ok", "unknown", "C")
row(26, "status 999", "status_999", "protocol_error", "ok", "unknown", "C")
row(27, "a reason phrase of 200 KiB", "long_reason", "protocol_error", "ok", "unknown", "C")
row(28, "one header of 200 KiB", "long_header", "protocol_error", "ok", "unknown", "C")
row(29, "500 headers", "many_headers", "protocol_error", "ok", "unknown", "C")
row(30, "headers without end", "endless_headers", "protocol_error", "ok", "unknown", "C")
row(31, "a header line without a colon", "header_no_colon",
    "ok protocol_error first_byte_timeout idle_timeout first_token_timeout", "ok", "unknown", "C", "f")  # fmt: skip
row(32, "control and non-ASCII bytes in a header", "odd_header_bytes", "ok", None, "billed", "R/C")
row(33, "fifty times 100 Continue, then good", "continue_50", "ok", None, "billed", "R")
row(34, "100 Continue for ever", "continue_forever", "first_byte_timeout deadline_exceeded", "ok", "unknown", "C", "d")
row(35, "103 Early Hints, then the answer", "early_hints_103", "protocol_error", "ok", "unknown", "C", everywhere=True,
    speakers=(CUMULATIVE, V2))  # fmt: skip
row(36, "101 Switching Protocols", "switching_101", "protocol_error", "ok", "unknown", "C")
row(37, "HTTP/1.0, the body ends with the connection", "http_1_0", "ok", None, "billed", "C")
row(38, "never reads the body of 20 MB", "never_reads", "write_timeout", "ok", "unknown", "C", "d", prompt=20_000_000,
    ways=PLAIN, speakers=(CUMULATIVE,), alone=True)  # fmt: skip
row(39, "413 before the body of 5 MB was read", "early_413", "request_too_large connection_lost", None, "none", "C",
    prompt=5_000_000, ways=PLAIN, speakers=(CUMULATIVE,), alone=True, check="early_413")  # fmt: skip
row(40, "RST behind the headers of 5 MB", "early_reset", "connection_lost", "ok", "unknown", "C", prompt=5_000_000, ways=PLAIN,
    speakers=(CUMULATIVE,), alone=True)  # fmt: skip

# -- 4.3 statuses

row(41, "400", "http_400", "bad_request", "no", "none", "R", check="one_request", again=True)
row(42, "401", "http_401", "auth", "ok", "none", "R", check="alarm", again=True)
row(43, "403", "http_403", "permission quota", "ok", "none", "R", check="alarm", again=True)
row(44, "404", "http_404", "model_not_found bad_request", None, "none", "R", check="not_found")
row(45, "408", "http_408", "vendor_timeout", "ok", "unknown", "R/C")
row(46, "413", "http_413", "request_too_large context_length bad_request", None, "none", "R", check="larger_only")
row(47, "422", "http_422", "bad_request", "no", "none", "R")
row(48, "429, twice asked at most", "http_429", "rate_limit", "ok", "none", "R", again=True, times=3, check="two_requests")
row(49, "429 with Retry-After: 1, then good", "retry_after:1", "ok", None, "billed", "R", 1.4, again=True, check="waited")
row(50, "429 with Retry-After: 3600", "retry_after:3600", "rate_limit", "ok", "none", "R", again=True, times=3,
    check="one_hour")  # fmt: skip
for value in ("-5", "1.5", "abc", "long", "past", "soon"):
    row(51, f"429 with Retry-After {value}", f"retry_after:{value}", "ok" if value in ("1.5", "soon") else "rate_limit",
        "ok", "none", "R", 2.5 if value in ("1.5", "soon") else 0.55, again=True, times=1 if value in ("1.5", "soon") else 3,
        ways=PLAIN)  # fmt: skip
row(52, "500", "http_500", "server_error", "ok", "unknown", "R", check="one_request", again=True)
row(53, "502 with HTML", "http_502", "server_error", "ok", "unknown", "R", check="short_text")
row(54, "503 with Retry-After: 1", "busy_after:1 http_503", "overloaded server_error", "ok", "none", "R", check="busy")
row(55, "504 with HTML", "http_504", "vendor_timeout", "ok", "unknown", "R")
row(56, "529", "http_529", "overloaded", "ok", "none", "R")
row(57, "redirect to another server", "=redirect_301 =redirect_302 =redirect_303 =redirect_307 =redirect_308", "redirect", "ok",
    "unknown", "R/C", check="one_request")  # fmt: skip
row(58, "redirect to itself", "redirect_self", "redirect", "ok", "unknown", "R/C", check="one_request", again=True)
row(59, "204", "http_204", "protocol_error bad_response", "ok", "unknown", "C")
row(60, "304", "http_304", "protocol_error bad_response", "ok", "unknown", "C")
row(61, "200 with an empty body", "empty_200", "bad_response", "ok", "unknown", "R")
row(62, "500 with an empty body", "http_500_empty", "server_error", "ok", "unknown", "R")
row(63, "500 with a message of 1 MiB", "http_500_huge", "server_error", "ok", "unknown", "R/C", check="short_text")
row(64, "400 whose message would forge a log line", "http_400_dirty", "bad_request", "no", "none", "R", check="one_line")
row(65, "401 whose message repeats the key", "http_401_echo", "auth", "ok", "none", "R")

# -- 4.4 errors inside HTTP 200

INSIDE = {"speakers": MINIMAX, "ways": PLAIN, "everywhere": True}
row(66, "MiniMax 1002", "error_in_200:1002", "rate_limit", "ok", "none", "R", **INSIDE)
row(67, "MiniMax 1039", "error_in_200:1039", "rate_limit", "ok", "none", "R", **INSIDE)
row(68, "MiniMax 1004", "error_in_200:1004", "auth", "ok", "none", "R", **INSIDE)
row(69, "MiniMax 1008", "error_in_200:1008", "quota", "ok", "none", "R", **INSIDE)
row(70, "MiniMax 1000, 1013", "error_in_200:1000 error_in_200:1013", "server_error", "ok", "unknown", "R", **INSIDE)
row(71, "MiniMax 1001", "error_in_200:1001", "vendor_timeout", "ok", "unknown", "R", **INSIDE)
row(72, "MiniMax 1026, input", "error_in_200:1026", "content_filter", "no", "none", "R", **INSIDE)
row(72, "MiniMax 1027, output", "error_in_200:1027", "content_filter", "no", "unknown", "R", **INSIDE)
row(73, "MiniMax 2013", "error_in_200:2013", "bad_request", "no", "none", "R", **INSIDE)
row(74, "a MiniMax code that nobody knows", "error_in_200:4711", "server_error", "ok", "unknown", "R",
    check="code_4711", **INSIDE)  # fmt: skip
row(75, 'the code as a string, "1002"', "code_string:1002", "rate_limit", "ok", "none", "R", **INSIDE)
row(76, "an error code beside a whole text", "error_with_text", "content_filter", "no", "unknown", "R", **INSIDE)
row(77, "base_resp is null in a good answer", "base_resp_null", "ok", None, "billed", "R", **INSIDE)
row(78, "DashScope Throttling.RateQuota", "error_in_200:Throttling.RateQuota code:Throttling.RateQuota", "rate_limit", "ok",
    "none", "R", speakers=DASHSCOPE)  # fmt: skip
row(79, "DashScope DataInspectionFailed", "error_in_200:data_inspection_failed content_filter_output", "content_filter", "no",
    "unknown", "R", speakers=DASHSCOPE)  # fmt: skip
row(79, "the same, naming the input (as row 72)", "content_filter_input", "content_filter", "no", "none", "R",
    speakers=DASHSCOPE)  # fmt: skip
row(80, "1002 as plain JSON on a stream request", "error_in_200:1002", "rate_limit", "ok", "none", "R", ways=STREAM,
    speakers=MINIMAX, everywhere=True)  # fmt: skip
row(81, "1002 as an event", "stream_error_only:1002", "rate_limit", "ok", "none", "R", ways=STREAM, speakers=MINIMAX,
    everywhere=True)  # fmt: skip

# -- 4.5 wrong bodies

row(82, "200 with an HTML login page", "html_200", "bad_response", "ok", "unknown", "R", everywhere=True, speakers=ALL)
row(83, "plain text labelled as JSON", "text_labelled_json", "bad_response", "ok", "unknown", "R")
row(84, "JSON cut in half", "json_cut", "bad_response", "ok", "unknown", "R", ways=PLAIN, everywhere=True, speakers=ALL)
row(85, "null, a list, a string", "json_null json_list json_string", "bad_response", "ok", "unknown", "R", everywhere=True,
    speakers=ALL)  # fmt: skip
row(86, "NaN in the usage", "usage_nan", "ok bad_response", None, "billed", "R", check="usage_unknown", ways=PLAIN,
    everywhere=True, speakers=ALL)  # fmt: skip
row(87, "a byte order mark before good JSON", "bom", "ok", None, "billed", "R")
row(88, "100,000 nested lists", "deep_json", "bad_response", "ok", "unknown", "R")
row(89, "an integer of 10,000 digits in the usage", "usage_huge_int", "ok bad_response", None, "billed", "R", ways=PLAIN,
    everywhere=True, speakers=ALL, check="usage_unknown")  # fmt: skip
row(90, "the key usage twice", "usage_twice", "ok", None, "billed", "R", ways=PLAIN)
row(91, "64 MiB of good JSON", "huge_json", "response_too_large", "ok", "unknown", "C", 1.0, ways=PLAIN, alone=True, flat=True)
row(92, "invalid UTF-8 in the text", "invalid_utf8", "ok bad_response", None, "billed", "R", check="marker_only")
row(93, "GBK labelled as UTF-8", "gbk_as_utf8", "ok bad_response", None, "billed", "R", ways=PLAIN, check="marker_only")
row(94, "GBK labelled as GBK", "gbk", "ok", None, "billed", "R", ways=PLAIN)
row(95, "the escape of a lone surrogate", "lone_surrogate", "ok", None, "billed", "R", ways=PLAIN, check="encodes")
row(96, "U+0000 in the text", "nul_in_text", "ok", None, "billed", "R", ways=PLAIN, check="nul_kept")
row(97, "good JSON as text/plain", "json_as_text", "ok", None, "billed", "R")
row(98, "choices missing, empty, an object", "choices_missing choices_empty choices_object", "bad_response", "ok", "unknown", "R",
    ways=PLAIN, everywhere=True, speakers=ALL)  # fmt: skip
row(99, "content is null, a number", "content_null content_number", "bad_response", "ok", "unknown", "R", ways=PLAIN,
    everywhere=True, speakers=ALL)  # fmt: skip
row(100, 'content is ""', "content_empty", "ok", None, "billed", "R", ways=PLAIN, everywhere=True, speakers=ALL,
    check="empty_text")  # fmt: skip
row(101, "usage missing, null", "usage_missing usage_null", "ok", None, "billed", "R", check="usage_none", everywhere=True,
    speakers=ALL)  # fmt: skip
row(102, "token counts as strings", "usage_strings", "ok", None, "billed", "R", check="usage_int_or_unknown", everywhere=True,
    speakers=ALL)  # fmt: skip
row(103, "token counts negative, 10^18", "usage_negative usage_absurd", "ok", None, "billed", "R", check="usage_unknown",
    everywhere=True, speakers=ALL)  # fmt: skip
row(104, "unknown fields, unknown finish reason", "unknown_fields", "ok", None, "billed", "R", everywhere=True, speakers=ALL)
row(105, "SSE for a plain request", "sse_on_plain", "ok bad_response", None, "unknown", "R", ways=PLAIN, everywhere=True,
    speakers=ALL)  # fmt: skip
row(106, "JSON for a stream request", "plain_json_on_stream", "ok", None, "billed", "R", ways=STREAM, everywhere=True,
    speakers=ALL)  # fmt: skip

# -- 4.6 framing and encoding

row(107, "Content-Length too large, FIN", "short_body", "connection_lost", "ok", "unknown", "C", ways=PLAIN)
row(108, "half of the body, RST", "half_body_reset", "connection_lost", "ok", "unknown", "C", ways=PLAIN)
row(109, "20 bytes more than Content-Length", "surplus_bytes", "ok", None, "billed", "R/C")
row(110, "a forged second answer", "forged_answer", "ok", None, "billed", "R/C", everywhere=True, speakers=(CUMULATIVE, V2))
row(111, "Content-Length abc, -5; unknown Transfer-Encoding", "bad_length:abc bad_length:-5 unknown_encoding",
    "protocol_error ok", None, "unknown", "C", "i")  # fmt: skip
row(112, "no framing", "close_framed", "ok", None, "billed", "C")
row(113, "two different Content-Lengths", "two_lengths", "protocol_error", "ok", "unknown", "C")
row(114, "Content-Length 10^12", "huge_length", "connection_lost response_too_large", "ok", "unknown", "C", ways=PLAIN,
    alone=True, flat=True)  # fmt: skip
row(115, "Content-Length and chunked", "length_and_chunked", "protocol_error", "ok", "unknown", "C")
row(116, "chunks of 7 bytes, extensions, a trailer", "tiny_chunks", "ok", None, "billed", "R")
row(117, "FIN or RST inside a chunk, last chunk missing", "chunk_cut missing_last_chunk chunk_reset", "connection_lost", "ok",
    "unknown", "C", ways=PLAIN)  # fmt: skip
row(118, "chunk size not hexadecimal, negative, 200 KiB", "bad_chunk_size negative_chunk_size long_chunk_line",
    "protocol_error connection_lost", "ok", "unknown", "C", ways=PLAIN)  # fmt: skip
row(119, "chunk size 2^48", "huge_chunk_size", "connection_lost response_too_large", "ok", "unknown", "C", ways=PLAIN,
    alone=True, flat=True)  # fmt: skip
row(120, "20,000 trailer lines", "many_trailers", "ok protocol_error", None, "billed", "R/C", alone=True)
row(121, "gzip, deflate, not asked for", "gzip deflate", "ok", None, "billed", "R")
row(122, "labelled gzip, is plain", "gzip_lie", "decode_error bad_response", "ok", "unknown", "R/C")
row(123, "gzip cut in half", "gzip_cut", "bad_response decode_error connection_lost", "ok", "unknown", "R/C", ways=PLAIN)
row(124, "gzip bomb of 256 MiB", "gzip_bomb", "response_too_large", "ok", "unknown", "C", 3.0, ways=PLAIN, alone=True, flat=True)
row(125, "fifty encodings, an unknown one", "chained_encodings unknown_content_encoding", "decode_error bad_response", "ok",
    "unknown", "R/C")  # fmt: skip
row(126, "a good body, one byte every 0.1 s", "slow_body", "deadline_exceeded", "ok", "unknown", "C", "d", ways=PLAIN,
    cut=("idle_timeout",))  # fmt: skip
row(127, "half of the body, then silence", "half_body_hang", "idle_timeout", "ok", "unknown", "C", "i", ways=PLAIN)
row(128, "headers, then silence", "headers_hang", "first_byte_timeout idle_timeout", "ok", "unknown", "C", "f", ways=PLAIN)
row(128, "headers, then silence", "headers_hang", "first_byte_timeout idle_timeout first_token_timeout", "ok", "unknown", "C",
    "f", ways=STREAM)  # fmt: skip
row(129, "a body without end", "endless_body", "response_too_large", "ok", "unknown", "C", 1.0, ways=PLAIN, alone=True, flat=True)

# -- 4.7 keep-alive

row(130, "good, keep-alive promised, FIN at once; twice", "stale_close", "ok", None, "billed", "R/C", 0.6, play="twice")
row(131, "the same with RST 0.05 s later", "stale_reset", "ok", None, "billed", "R/C", 0.9, play="twice")
row(132, "the next request on a kept connection is dropped", "stale_drop stale_drop_reset", "ok", None, "billed", "R", 0.6,
    play="dropped")  # fmt: skip
row(133, "the same without the transparent retry", "stale_drop stale_drop_reset", "connection_lost", "ok", "unknown", "C", 0.6,
    play="dropped_no_resend")  # fmt: skip
row(134, "the drop comes 1.5 s after the request", "stale_drop_late:1.5", "connection_lost", "ok", "unknown", "C", 2.1,
    play="dropped_late", timeouts={"first_byte": 2.5, "total": 6.0})  # fmt: skip
row(135, "a connection that was idle too long", "ok", "ok", None, "billed", "R", 0.9, play="idle_too_long")

# -- 4.8 streams, each for every dialect

# The page asks for C in some rows whose fault stands inside of an answer that is framed well to its end and arrives in
# one piece. Its connection is clean and may be kept, as the page has it for row 141.
FRAMED = "R/C"
EACH = {"ways": STREAM, "speakers": ALL, "everywhere": True}
row(136, "a good stream in unusual clothes",
    "ok stream_crlf stream_close_framed stream_length_framed stream_pieces:1 stream_pieces:3 stream_pinged "
    "stream_multiline_data stream_bom stream_no_blank_end stream_done ending_a ending_c",
    "ok", None, "billed", "R/C", check="exact_usage", **EACH)  # fmt: skip
row(137, "broken before the first event", "stream_fin_first stream_cut_first stream_half_chunk:0 headers_hang",
    "connection_lost bad_response idle_timeout first_token_timeout", "ok", "unknown", "C", "i", check="nothing_handed_out",
    **EACH)  # fmt: skip
row(137, "a clean end before the first event", "stream_end:0", "bad_response connection_lost", "ok", "unknown", FRAMED, "i",
    check="nothing_handed_out", **EACH)  # fmt: skip
row(138, "broken after two events", "stream_fin:2 stream_cut:2 stream_half_chunk:2 stream_hang:2",
    "stream_interrupted", "no", "billed", "C", "i", check="partial", **EACH)  # fmt: skip
row(138, "a clean end after two events", "stream_end:2", "stream_interrupted", "no", "billed", FRAMED, "i", check="partial",
    **EACH)  # fmt: skip
row(139, "the vendor's error event first", "stream_error_first:rate_limit", "rate_limit",
    "ok", "none", "R/C", check="nothing_handed_out", **EACH)  # fmt: skip
row(139, "the vendor's error event after two events", "stream_error:2", "stream_interrupted", "no", "billed", "R/C",
    check="partial_and_code", **EACH)  # fmt: skip
row(139, "a role, then the vendor's error event", "stream_role_then_error:rate_limit", "rate_limit", "ok", "none", "R/C",
    check="role_only", **EACH)  # fmt: skip
row(140, "a data line that is not JSON, first", "stream_junk:0", "bad_response", "ok", "unknown", FRAMED, **EACH)
row(140, "a data line that is not JSON, after two events", "stream_junk:2", "stream_interrupted", "no", "billed", FRAMED,
    check="two_events", **EACH)  # fmt: skip
row(140, "scalars, first", "stream_scalars:0", "ok bad_response", None, "billed", "R/C", **EACH)
row(140, "scalars, after two events", "stream_scalars:2", "ok stream_interrupted", None, "billed", "R/C", **EACH)
row(141, "all deltas, clean end, no end mark", "stream_no_finish", "stream_interrupted", "no", "billed", "R", check="partial",
    **EACH)  # fmt: skip
row(141, "no event at all", "stream_empty", "bad_response connection_lost", "ok", "unknown", "R", **EACH)
row(142, "comment pings for ever", "stream_pings", "first_token_timeout deadline_exceeded", "ok", "unknown", "C", "d", **EACH)
row(143, "a good stream dripped byte by byte", "stream_drip", "ok", None, "billed", "R", "d", check="exact_usage",
    **EACH)  # fmt: skip
row(143, "0.05 s between events", "stream_slow:0.05", "ok", None, "billed", "R", "d", check="exact_usage", **EACH)
# What comes more than 0.25 s behind the end mark is not waited for (row 147): v2 sends its usage there.
row(143, "0.2 s between events", "stream_slow:0.2", "ok", None, "billed", "R/C", "d", check="prompt_deltas", **EACH)
row(144, "0.8 s between events", "stream_slow:0.8", "stream_interrupted", "no", "billed", "C", "i", check="idle_partial", **EACH)
row(145, "deltas without end", "stream_endless", "stream_interrupted", None, "billed", "C", 5.0, check="too_large",
    limits={"max_stream_bytes": 2**20}, alone=True, flat=True, **EACH)  # fmt: skip
row(145, "one line of 64 MiB", "stream_long_line", "response_too_large", None, "unknown", "C", 5.0, alone=True, flat=True,
    **EACH)  # fmt: skip
row(146, "cumulative: the first event twice", "stream_first_twice", "ok", None, "billed", "R/C", ways=STREAM,
    speakers=(CUMULATIVE,))  # fmt: skip
row(146, "cumulative: text that shrinks", "stream_shrink", "stream_interrupted", "no", "billed", FRAMED, ways=STREAM,
    speakers=(CUMULATIVE,), check="some_partial")  # fmt: skip
row(147, "end mark, then silence; end mark, then junk; role-only deltas first", "stream_hang_after_end stream_junk_after_end "
    "stream_roles_first", "ok", None, "billed", "R/C", **EACH)  # fmt: skip
row(147, "a JSON answer", "plain_json_on_stream", "ok", None, "billed", "R/C", check="one_delta", **EACH)
row(147, "HTTP 429", "http_429", "rate_limit", None, "none", "R/C", **EACH)
for how in ("close", "drop", "never", "leave", "raise", "other_thread", "cancel"):
    row(148, f"the consumer: {how}", "stream_hang:3" if how == "cancel" else "stream_slow:0.2",
        "cancelled" if how == "cancel" else "ok", None, "billed", "R/C" if how in ("never", "other_thread") else "C",
        5.0 if how == "other_thread" else 0.5 + 0.6, play=f"consumer_{how}", **EACH)  # fmt: skip


# -- cases


@attrs.frozen
class Case:
    """One run: a row's entry, one of its faults, a dialect, plain or streamed, with or without a second vendor."""

    entry: int
    row: Row
    fault: str
    speaker: str
    way: str
    places: str
    world: str

    @property
    def id(self) -> str:
        fault = (self.row.play if self.row.number == 148 else self.fault).strip("=").replace(":", "-")
        return f"{self.row.number:03}-{fault}-{self.speaker}-{self.way}-{self.places}-{self.world}"


def cases(*, full: bool = False, worlds: tuple[str, ...] = ("sync", "async")) -> list[Case]:
    """The runs of the default suite, in which the routers take turns within each row, or all of them through both."""
    found = list(_cases(full))
    sizes, turns = Counter(case.row.number for case in found), Counter[int]()
    chosen = []
    for case in found:
        number, twin = case.row.number, _has_twin(case)
        # Calls without and with a second vendor follow each other: by fours, either router sees both.
        own = "sync" if turns[number] % 4 in (0, 3) or not twin else "async"
        turns[number] += 1
        both = twin and (full or sizes[number] == 1)
        chosen += [attrs.evolve(case, world=world) for world in worlds if both or world == own]
    return chosen


def _has_twin(case: Case) -> bool:
    return case.row.play not in ("consumer_other_thread", "no_descriptors")


def _cases(full: bool) -> Iterator[Case]:
    for entry, one in enumerate(ROWS):
        for turn, fault in enumerate(one.faults):
            for way, speaker in _spoken(one, turn, full):
                for places in ("alone",) if one.alone and one.second is None else ("alone", "two"):
                    yield Case(entry, one, fault, speaker, way, places, "sync")


def _spoken(one: Row, turn: int, full: bool) -> Iterator[tuple[str, str]]:
    """Ways and dialects of a row; where it names none, they take turns."""
    speakers = one.speakers or ALL
    for number, way in enumerate(one.ways):
        if full or one.everywhere:
            yield from ((way, speaker) for speaker in speakers)
        else:
            yield way, speakers[(one.number + turn + 2 * number) % len(speakers)]
