"""Bytes into lines and lines into JSON, the same however they are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cnroute
from cnroute.flow.lines import LineSplitter, LineTooLong
from cnroute.wire import DONE, NOTHING, sse_data
from tests.flow.toy import Toy, answer, frames, raised

TEXT = st.text(
    st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]) | st.sampled_from("\u2028\u2029\x85\x0b\x0c\x1c你😀")
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def lines_of(pieces: list[bytes], limit: int = 10**6) -> list[str]:
    """Every line, the unterminated one too."""
    splitter = LineSplitter(limit)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    last = splitter.flush()
    return found + ([last] if last is not None else [])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TEXT, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 500), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_lines_are_the_same_however_the_bytes_are_cut(
    lines: list[str], end: str, places: list[int], bom: bool, ended: bool
) -> None:
    """LF or CRLF end a line and nothing else does; a byte order mark before a line goes, an unterminated line stays."""
    written = [f"\ufeff{line}" if bom else line for line in lines]
    data = end.join(written).encode() + (end.encode() if ended and lines else b"")
    whole = written if ended or (written and written[-1]) else written[:-1]
    assert lines_of(cut(data, places)) == [line.removeprefix("\ufeff") for line in whole]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_nothing_else_ends_a_line(mark: str) -> None:
    """What Python's own splitting takes for a line end is text here."""
    assert lines_of([f"a{mark}b\n".encode()]) == [f"a{mark}b"]


def test_invalid_bytes_are_replaced_and_never_lost() -> None:
    """Bad UTF-8 becomes U+FFFD; the rest of the line is kept, at every cut."""
    data = b"a\xff\xe4\xbd\xa0\xe5b\n"
    for place in range(len(data)):
        assert lines_of([data[:place], data[place:]]) == ["a\ufffd你\ufffdb"]


@pytest.mark.parametrize(
    "pieces", [[b"x" * 11], [b"x" * 11 + b"\n"], [b"x" * 6, b"x" * 6], [b"a\n", b"x" * 11], [b"ok\n" + b"x" * 11 + b"\nok\n"]]
)
def test_a_line_has_a_bound(pieces: list[bytes]) -> None:
    """One byte more than the bound is refused, whole or in pieces."""
    with pytest.raises(LineTooLong):
        lines_of(pieces, 10)
    assert lines_of([b"x" * 10 + b"\n", b"y" * 10], 10) == ["x" * 10, "y" * 10]


def test_a_long_line_in_small_pieces_is_linear() -> None:
    """200,000 one-byte pieces of one line take no noticeable time."""
    splitter = LineSplitter(10**6)
    for _ in range(200_000):
        assert splitter.feed(b"x") == []
    assert splitter.feed(b"\n") == ["x" * 200_000]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_data_lines_give_their_values(values: list[dict[str, Any]], blank: bool, spaced: bool, pretty: bool) -> None:
    """Each event once and in order, with or without blank lines, on one data line or on several."""
    found: list[Any] = []
    memory: dict[str, Any] = {}
    for value in values:
        text = json.dumps(value, ensure_ascii=False, indent=1 if pretty else None)
        for part in text.split("\n"):
            found.append(sse_data(f"data:{' ' if spaced or part.startswith(' ') else ''}{part}", memory))
        found.append(sse_data(": ping", memory))
        if blank:
            found.append(sse_data("", memory))
    found.append(sse_data("", memory))
    assert [each for each in found if each is not NOTHING] == values


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_lines_are_read_without_an_exception(lines: list[str]) -> None:
    """A value, nothing, the end, or a failure."""
    memory: dict[str, Any] = {}
    for line in [*lines, *(f"data: {line}" for line in lines), ""]:
        sse_data(line, memory)


def test_what_sse_data_makes_of_odd_lines() -> None:
    """Comments, other fields, the end mark, broken data."""
    for line in (": ping", "event: x", "id: 1", "retry: 5", "", "data", "text"):
        assert sse_data(line, {}) is NOTHING
    for line in ("data: [DONE]", "data:[DONE]", "data:  [DONE] "):
        assert sse_data(line, {}) is DONE
    assert sse_data('{"a": 1}', {}) == {"a": 1}
    memory: dict[str, Any] = {}
    assert sse_data("data: {broken", memory) is NOTHING
    failure = sse_data("", memory)
    assert isinstance(failure, cnroute.Failure) and failure.kind == "bad_response"
    assert sse_data("", memory) is NOTHING
    for _ in range(300):
        failure = sse_data("data: {broken", memory)
        if failure is not NOTHING:
            break
    assert failure.kind == "response_too_large"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_whole_stream_cut_at_every_byte(end: str) -> None:
    """The same deltas, text, usage and finish reason for every single cut."""
    body = frames(
        {"role": "assistant"}, {"text": "你"}, ": ping", {"text": "好\u2028😀"}, {"usage": [3, 2]}, {"finish": "length"}
    ).decode()
    data = body.replace("\n", end).encode()
    for place in range(len(data)):
        toy = Toy([[data[:place], data[place:]]] if place else [[data]], names="a")
        stream = toy.stream()
        assert [delta.text for delta in stream if delta.text] == ["你", "好\u2028😀"]
        assert (stream.completion.text, stream.completion.finish_reason) == ("你好\u2028😀", "length")
        assert stream.completion.usage == cnroute.Usage(3, 2)


def test_limits_of_a_stream() -> None:
    """Line, stream and whole answers have bounds: before the commit the next deployment answers."""
    limits = cnroute.Limits(max_line_bytes=100, max_stream_bytes=1000, max_response_bytes=100)
    for body in (b"data: " + b"x" * 200, b": ping\n" * 500, b" " * 5000, b"{" + b" " * 200):
        toy = Toy({"a": [[body]], "b": [[frames({"text": "好"}, {"finish": "stop"})]]}, limits=limits)
        stream = toy.stream()
        assert "".join(stream.texts()) == "好"
        assert stream.completion.attempts[0].failure.kind == "response_too_large"
    late = raised(
        lambda: list(Toy([[frames({"text": "a"})] * 100], names="a", limits=limits).stream()), cnroute.StreamInterruptedError
    )
    assert late.cause_kind == "response_too_large"
    assert Toy([answer()], names="a", limits=limits).chat().text == "好"
