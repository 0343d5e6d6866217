"""Framing and unpacking without a network: the same result wherever the input is cut."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnroute.failures import FailureKind as K
from cnroute.transports.bodies import PIECE, ByLength, Chunked, Inflate, UntilClose, framer_of
from cnroute.transports.steps import WireError

CHUNKS = b"3\r\nabc\r\n2\r\nde\r\n5\r\nhello\r\n6 ;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n"


@given(st.lists(st.integers(0, len(CHUNKS)), max_size=6))
def test_chunks_cut_anywhere(cuts: list[int]) -> None:
    """Wherever the input is cut, the body is the same and ends at the same byte."""
    framer, out = Chunked(), b""
    marks = [0, *sorted(cuts), len(CHUNKS)]
    for start, stop in itertools.pairwise(marks):
        if start < stop:
            assert not framer.done
            out += framer.feed(CHUNKS[start:stop])
    assert (out, framer.done, framer.surplus) == (b"abcdehello world", True, False)


# Text that looks like framing is what a body may hold.
PIECES = st.lists(st.sampled_from([b"\r\n", b"\n", b"5", b"a", b"0", b"data: x\n\n", b"id:1\r\n"]), min_size=1, max_size=6)


@given(st.lists(PIECES.map(b"".join), max_size=8), st.sampled_from([b"%x\r\n", b"%X\n", b"00%x\r\n", b"%x;a=b\r\n"]), st.data())
def test_chunks_hold_what_looks_like_framing(chunks: list[bytes], size: bytes, data: st.DataObject) -> None:
    """Line ends and digits inside of chunks change nothing, whatever arrives together."""
    sent = b"".join(size % len(chunk) + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=4))
    framer, out = Chunked(), b""
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(sent)]):
        out += framer.feed(sent[start:stop])
    assert (out, framer.done, framer.surplus) == (b"".join(chunks), True, False)


def test_chunks_hand_out_at_once() -> None:
    """Bytes of a chunk are given before the chunk is complete."""
    framer = Chunked()
    assert framer.feed(b"ff\r\nab") == b"ab"
    assert framer.feed(b"c") == b"c"


@pytest.mark.parametrize("size", [b"0x5", b"+5", b"-5", b" 5", b"0_5", b"5 5", b"", b"\xd9\xa5", b"g"])
@pytest.mark.parametrize("before", [b"", b"3\r\nabc\r\n"], ids=["first", "behind another"])
def test_a_size_is_hexadecimal_digits_and_nothing_else(before: bytes, size: bytes) -> None:
    """What another reader could take for another number is no size (U24), also where the chunk has arrived whole."""
    with pytest.raises(WireError, match="no readable size"):
        Chunked().feed(before + size + b"\r\nhello\r\n0\r\n\r\n")


@given(st.binary(max_size=300))
def test_chunks_never_raise_anything_else(data: bytes) -> None:
    """Any bytes give a body or a WireError."""
    framer = Chunked()
    try:
        framer.feed(data)
        framer.end()
    except WireError as error:
        assert error.kind in (K.PROTOCOL_ERROR, K.CONNECTION_LOST)


def test_trailers_are_bounded() -> None:
    """More than a megabyte of trailers is no trailer."""
    framer = Chunked()
    framer.feed(b"0\r\n")
    with pytest.raises(WireError, match="too many trailers"):
        for _ in range(200):
            framer.feed(b"X: y\r\n" * 2000)


@pytest.mark.parametrize(
    ("framer", "data", "surplus"),
    [
        (ByLength(2), b"ok", False),
        (ByLength(2), b"okx", True),
        (Chunked(), b"0\r\n\r\n", False),
        (Chunked(), b"0\r\n\r\nx", True),
    ],
)
def test_surplus(framer: ByLength | Chunked, data: bytes, surplus: bool) -> None:
    """Bytes behind the end are noticed."""
    framer.feed(data)
    assert (framer.done, framer.surplus) == (True, surplus)


def test_until_close() -> None:
    """Without framing the close is the end."""
    framer = UntilClose()
    assert (framer.feed(b"x"), framer.done, framer.end(), framer.done) == (b"x", False, b"", True)


@pytest.mark.parametrize("lengths", [["abc"], ["-5"], ["1", "2"], ["1,2"], ["+1"], ["1_0"], [""], ["9" * 19]])
def test_impossible_lengths(lengths: list[str]) -> None:
    """A length that two readers could understand differently is refused (U24)."""
    with pytest.raises(WireError) as caught:
        framer_of([], lengths)
    assert caught.value.kind is K.PROTOCOL_ERROR


PACKED = {
    "gzip": gzip.compress(b"text" * 50),
    "x-gzip": gzip.compress(b"text" * 25) + gzip.compress(b"text" * 25),
    "deflate": zlib.compress(b"text" * 50),
}


@pytest.mark.parametrize("encoding", PACKED)
@given(data=st.data())
def test_unpacking_cut_anywhere(encoding: str, data: st.DataObject) -> None:
    """Wherever the packed data is cut, the text is the same; a missing end is an error, never a short text."""
    packed = PACKED[encoding]
    cut = data.draw(st.integers(1, len(packed)))
    decoder = Inflate(encoding)
    out = drained(decoder, packed[:cut])
    if cut == len(packed) or (encoding == "x-gzip" and cut == len(packed) // 2):
        decoder.end()
    else:
        with pytest.raises(WireError):
            decoder.end()
        out += drained(decoder, packed[cut:])
        assert out == b"text" * 50


def drained(decoder: Inflate, data: bytes) -> bytes:
    out = decoder.decode(data)
    while decoder.waiting:
        out += decoder.decode()
    return out


def test_a_bomb_comes_in_pieces() -> None:
    """However much is packed, a call gives at most PIECE bytes, and all of them come."""
    decoder, packed = Inflate("gzip"), gzip.compress(bytes(10 * PIECE + 7))
    sizes = [len(decoder.decode(packed))]
    while decoder.waiting:
        sizes.append(len(decoder.decode()))
    decoder.end()
    assert max(sizes) == PIECE
    assert sum(sizes) == 10 * PIECE + 7


def test_garbage_behind_gzip_means_nothing() -> None:
    """Bytes that are no further member are dropped."""
    decoder = Inflate("gzip")
    assert decoder.decode(gzip.compress(b"text") + b"garbage") == b"text"
    decoder.end()
