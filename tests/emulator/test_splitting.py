"""How documents are split and pieces ranked: pure parts, by example and by random texts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnroute.emulator.knowledge.ranking import Index, terms
from cnroute.emulator.knowledge.splitting import split
from cnroute.emulator.knowledge.values import DocParams


def chunks(text: str, size: int, overlap: int = 0, separators: tuple[str, ...] = ("\n", ""), is_regex: bool = False) -> list[str]:
    return list(split(text, DocParams(size, overlap, separators, is_regex)))


EXAMPLES: list[tuple[list[str], list[str]]] = [
    (chunks("", 5), []),
    (chunks(" \n ", 5), []),
    (chunks("一二三", 5), ["一二三"]),
    (chunks("一二三四五六七", 5), ["一二三四五", "六七"]),
    (chunks("一二三四五六七", 5, 2), ["一二三四五", "四五六七"]),
    (chunks("一二\n三四\n五六七八九十", 7), ["一二\n三四\n", "五六七八九十"]),
    (chunks("一。二,三。四五", 4, 0, ("。", ",", "")), ["一。", "二,三。", "四五"]),
    (chunks("一,二三四五", 4, 0, ("。", ",")), ["一,", "二三四五"]),
    (chunks("a1b22c333d", 4, 0, (r"\d+",), True), ["a1", "b22", "c333", "d"]),
    (chunks("a1b22c333d", 4, 0, (r"\d",), True), ["a1b2", "2c33", "3d"]),
    (chunks("a.b.c", 3, 0, (".",), False), ["a.", "b.c"]),
    (chunks("一二三\n四五六七八", 5, 2), ["一二三\n", "三\n四五六", "五六七八"]),
]


@pytest.mark.parametrize(("made", "wanted"), EXAMPLES)
def test_examples(made: list[str], wanted: list[str]) -> None:
    """A chunk ends behind the last separator that fits, else at its size; the next one begins the overlap before it."""
    assert made == wanted


@given(
    st.text("一二三ab,。", min_size=1, max_size=200),
    st.integers(0, 8),
    st.integers(1, 20),
    st.sampled_from(["。", ",", "b,", ""]),
)
@settings(deadline=None)
def test_chunks_are_the_text(text: str, overlap: int, more: int, separator: str) -> None:
    """No chunk is longer than its size, each begins with the end of the one before, and together they are the text."""
    size = 2 * overlap + more
    made = chunks(text, size, overlap, (separator,))
    assert all(1 <= len(chunk) <= size for chunk in made)
    for before, after in pairwise(made):
        assert after.startswith(before[len(before) - overlap :])
    assert made[0] + "".join(chunk[overlap:] for chunk in made[1:]) == text


def test_terms() -> None:
    """Pairs of Chinese characters, lone ones as they are, other words in lower case."""
    found = ["退货", "货政", "政策", "7", "天内", "ok", "now", "用", "python3", "好"]
    assert list(terms("退货政策: 7天内 OK_now 用Python3。好")) == found
    assert list(terms("?!…  ")) == []


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index.sqlite")
    made.create(7)
    yield made
    made.close()


def found(index: Index, question: str) -> list[str]:
    return [hit.piece.content for hit in index.search(7, question)]


def test_rare_terms_count_more_and_long_pieces_less(index: Index) -> None:
    common = [f"产品说明{number}" for number in range(20)]
    index.add(7, 1, [*common, "产品保修期一年", "保修" + "的其他事情" * 50])
    assert found(index, "产品保修")[0] == "产品保修期一年"
    assert found(index, "保修") == ["产品保修期一年", "保修" + "的其他事情" * 50]


def test_the_score_is_the_share_of_the_questions_terms(index: Index) -> None:
    index.add(7, 1, ["保修一年", "一年保修"])
    assert [round(hit.score, 2) for hit in index.search(7, "保修一年")] == [1.0, 0.67]


def test_documents_come_and_go(index: Index) -> None:
    assert (index.add(7, 1, ["甲乙"]), index.add(7, 2**63 - 1, ["甲乙丙", "丙丁"])) == (1, 2)
    assert {(hit.piece.document, hit.piece.index) for hit in index.search(7, "甲乙")} == {(1, 0), (2**63 - 1, 0)}
    index.remove(7, 1)
    assert [hit.piece.document for hit in index.search(7, "甲乙")] == [2**63 - 1]
    index.drop(7)
    index.create(7)
    assert found(index, "丙丁") == []


@given(st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None, max_examples=30)
def test_any_text_and_any_question_are_taken(one: str, other: str) -> None:
    """A text is found by itself if it has a term; no text or question breaks the search."""
    index = Index(Path(":memory:"))
    index.create(1)
    index.add(1, 1, [one, other, f"{one} {other}"])
    for text in (one, other):
        hits = list(index.search(1, text))
        assert all(0 <= hit.score <= 1 for hit in hits)
        if any(term.isascii() for term in terms(text)):
            assert text in [hit.piece.content for hit in hits]
    index.close()


def test_a_long_question_is_taken(index: Index) -> None:
    index.add(7, 1, ["最后的问题"])
    assert found(index, "最后的问题" + "".join(chr(0x4E00 + number) for number in range(5000))) == ["最后的问题"]
