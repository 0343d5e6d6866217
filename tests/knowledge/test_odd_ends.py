"""Vendors that page, count and answer otherwise than their pages say, and files that are no ordinary files."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest

import cnroute
from tests.knowledge.conftest import Make
from tests.knowledge.vendor import KEY, Exchange, Vendor, code, lost, saying

LIST, LIST_FILES, UPLOAD = "/embedding/list_knowledge_base", "/files/list", "/files/upload"


class Paging(Vendor):
    """A vendor with its own way to page: at most `most` on a page, `total` as it pleases, perhaps always the first one."""

    def __init__(self, names: str, most: int, total: Any, always_first: bool = False) -> None:
        super().__init__()
        self.bases = {number: {"knowledge_base_id": number, "name": name} for number, name in enumerate(names, 1)}
        self._most, self._told, self._always_first = most, total, always_first

    def list_knowledge_base(self, exchange: Exchange) -> Any:
        size = min(self._most, int(exchange.query["page_size"]))
        first = 0 if self._always_first else size * int(exchange.query["page"])
        answer = {"knowledge_bases": list(self.bases.values())[first : first + size], "base_resp": {"status_code": 0}}
        return answer if self._told is None else {**answer, "total": self._told}


@pytest.fixture
def paging(request: pytest.FixtureRequest) -> Any:
    made = Paging(*request.param)
    yield made
    made.close()


FORMS = [("abcdefg", 3, 7), ("abcdefg", 3, "7"), ("abcdefg", 3, None), ("abcdefg", 3, 0), ("abcdefg", 100, 7)]


@pytest.mark.parametrize("paging", FORMS, indirect=True)
@pytest.mark.parametrize("page_size", [1, 3, 100])
def test_every_base_comes_however_the_vendor_pages(make: Make, paging: Paging, page_size: int) -> None:
    """Fewer on a page than were asked for, a total of 0 or none: nothing is left out, and the end is found."""
    listed = make(base_url=paging.base_url).list(page_size=page_size)
    assert [base.name for base in listed] == list("abcdefg")
    assert len(paging.asked(LIST)) <= 8


@pytest.mark.parametrize("paging", [("abcde", 2, None, True), ("abcde", 2, 5, True)], indirect=True)
def test_one_page_for_ever_ends(make: Make, paging: Paging) -> None:
    """A vendor that gives the first page for every number is not asked for ever, neither by a list nor after a failure."""
    kb = make(base_url=paging.base_url)
    assert [base.name for base in kb.list(page_size=2)] == ["a", "b"]
    paging.fail("/embedding/delete_knowledge_base", code(2013))
    with pytest.raises(cnroute.BadRequestError) as caught:
        kb.delete(1)
    assert caught.value.ids["bases"] == (1,)
    assert len(paging.asked(LIST)) <= 6


@pytest.mark.parametrize("paging", [("abcdefghij", 100, None), ("abcdefghij", 100, 0)], indirect=True)
def test_bases_are_counted_where_the_vendor_does_not(make: Make, paging: Paging) -> None:
    """Ten are ten, with and without a total; nothing is written."""
    with pytest.raises(cnroute.QuotaExceededError, match="has 10 knowledge bases"):
        make(base_url=paging.base_url).create("k")
    assert len(paging.requests) == 1


@pytest.mark.parametrize("document", [{}, {"message": "welcome"}])
def test_any_json_is_no_empty_list(kb: Any, vendor: Vendor, document: Any) -> None:
    """Something else that answers at the address does not make an account look empty."""
    for path, name in ((LIST, "list"), (LIST_FILES, "list_files")):
        vendor.fail(path, *[saying(document)] * 9)
        with pytest.raises(cnroute.ResponseError) as caught:
            getattr(kb, name)()
        assert caught.value.kind == "bad_response"


def test_a_refused_upload_names_nobodys_file(make: Make, vendor: Vendor) -> None:
    """A file of the same name and size that another client has uploaded is not what a refused upload has stored."""
    other = make().upload(b"text", name="a.txt")
    vendor.fail(UPLOAD, code(1008))
    with pytest.raises(cnroute.QuotaExceededError) as refused:
        make().upload(b"text", name="a.txt")
    assert "files" not in refused.value.ids
    vendor.fail(UPLOAD, lost)
    with pytest.raises(cnroute.ConnectionFailedError) as unknown:
        make().upload(b"text", name="a.txt")
    assert unknown.value.ids["files"] == tuple(vendor.files) != (other.id,)


def test_a_wait_looks_until_its_time_is_up(kb: Any, vendor: Vendor) -> None:
    """A base that is available in the last tenths of the timeout is found; what a vendor calls a status is masked."""
    base = kb.create("k", kb.upload(b"text", name="a.txt").id)
    vendor.polls_until_available = 10**9
    vendor.bases[base.id]["status"] = f"loading for {KEY}"
    began = time.monotonic()
    with pytest.raises(cnroute.DeadlineExceededError, match="still loading for ") as caught:
        kb.wait(base.id, timeout=1.6)
    assert time.monotonic() - began > 1.4
    assert KEY not in f"{caught.value} {caught.value.record()}"


# -- files that are no ordinary files


class Sparing(io.RawIOBase):
    """Takes a few bytes of each write, as an unbuffered pipe or a full disk does."""

    def __init__(self, most: int) -> None:
        self.got, self._most = b"", most

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self.got += bytes(piece[: self._most])
        return min(self._most, len(piece))


def test_a_target_that_takes_a_little_gets_all(kb: Any, vendor: Vendor) -> None:
    """Nothing is lost between two writes, and one that takes nothing more is an error."""
    content = bytes(range(256)) * 8
    file = kb.upload(content, name="a.txt")
    target = Sparing(100)
    assert kb.download(file.id, target) == len(content)
    assert target.got == content
    with pytest.raises(cnroute.BadRequestError, match="takes no more"):
        kb.download(file.id, Sparing(0))


def test_a_target_that_takes_no_bytes_is_refused(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """A text file before anything is sent, a closed file as a target that cannot be written."""
    file = kb.upload(b"text", name="a.txt")
    asked = len(vendor.requests)
    with open(tmp_path / "t", "w", encoding="utf-8") as text:
        for target in (text, io.StringIO()):
            with pytest.raises(cnroute.BadRequestError, match="binary mode"):
                kb.download(file.id, target)
    assert len(vendor.requests) == asked
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(cnroute.BadRequestError, match="cannot be written"):
        kb.download(file.id, closed)


def test_a_long_name_is_a_name(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """What waits beside a target of the longest name that a disk takes has a shorter one."""
    target = tmp_path / ("退" * 84)
    file = kb.upload(b"text", name="a.txt")
    assert kb.download(file.id, target) == 4
    assert target.read_bytes() == b"text" and list(tmp_path.iterdir()) == [target]


def test_a_file_whose_seek_returns_nothing(kb: Any, vendor: Vendor) -> None:
    """Wrappers of files often forget to hand on what `seek` returns."""

    class Wrapper(io.BytesIO):
        def seek(self, *where: int) -> None:  # type: ignore[override]
            super().seek(*where)

    file = kb.upload(Wrapper(b"text"), name="a.txt")
    assert vendor.contents[file.id] == b"text"
