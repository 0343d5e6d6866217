"""MiniMax's knowledge bases: created, filled, asked, changed, deleted; busy, limited, idempotent. By raw HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .vendor import Vendor, code, vendor

BOTH = pytest.mark.parametrize("provider", ["minimax-pro", "minimax-legacy"])
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
BIG = 2**53


@pytest.fixture
def account() -> Iterator[Vendor]:
    with vendor() as one:
        yield one


# -- the three steps of seed 003


@BOTH
@BOTH_WAYS
def test_the_three_steps(account: Vendor, provider: str, stream: bool) -> None:
    """Upload a file, make a base of it, ask with the base's id: the answer comes from the file and says so."""
    file = account.upload()["file"]
    base = account.create(file_id=file["file_id"], doc_params={"chunk_size": 30, "chunk_overlap": 0})
    account.emulator.settle()
    answer = account.ask(provider, "退货政策是什么?", base["knowledge_base_id"], stream=stream, top_k=1)
    assert answer["reply"] == "根据资料:退货政策:签收后七天之内可以无理由退货。"
    assert answer["knowledge_base"] == {
        "knowledge_base_id": base["knowledge_base_id"],
        "chunks": [{"content": "退货政策:签收后七天之内可以无理由退货。\n", "index": 0, "document": str(file["file_id"])}],
    }
    assert account.emulator.requests[-1].answered == answer["reply"]


def test_a_base_is_loading_and_then_available() -> None:
    with vendor(loading=0.2) as account:
        created = account.create(file_id=account.file())
        assert created["knowledge_base"]["status"] == "loading"
        base = created["knowledge_base_id"]
        seen = [created["knowledge_base"]["status"]]
        while seen[-1] == "loading":
            seen.append(account.detail(base)["status"])
        assert seen[-1] == "available" and account.emulator.bases[0].status == "available"


def test_a_base_as_the_page_shows_it(account: Vendor) -> None:
    file = account.file()
    created = account.create("客服", description="常见问题", file_id=file)
    assert set(created) == {"knowledge_base_id", "file_id", "knowledge_base", "usage", "base_resp"}
    assert created["usage"] is None and created["file_id"] == file
    account.emulator.settle()
    detail = account.detail(created["knowledge_base_id"])
    assert detail == created["knowledge_base"] | {"status": "available"}
    assert (detail["name"], detail["description"], detail["docs"]) == ("客服", "常见问题", [{"file_id": file}])
    times = [detail[name] for name in ("create_time", "insert_time")]
    assert times == sorted(times) and times[0] > 1_500_000_000_000 and detail["delete_time"] == 0


def test_ids_are_integers_that_no_float_holds(account: Vendor) -> None:
    """All of them JSON numbers, but the document of a chunk, which the page types as a string."""
    bases = [account.base(name=f"b{number}") for number in range(3)]
    files = [file.id for file in account.emulator.files]
    assert bases[0] == 863831823174049792
    assert all(type(one) is int and BIG < one < 2**63 for one in bases + files)
    assert [int(float(one)) == one for one in files] == [False] * 3
    assert len(set(bases + files)) == 6


@pytest.mark.parametrize("number", [863831823174049792, 863831823174049793, 2**63 - 1])
def test_ids_can_be_chosen(account: Vendor, number: int) -> None:
    """The ids that the issue names go through upload, create, chat and sources as they are."""
    account.emulator.next_ids(2**63 - 2, number)
    base = account.base()
    assert (account.emulator.files[0].id, base) == (2**63 - 2, number)
    answer = account.ask("minimax-pro", "退货", base)
    assert answer["knowledge_base"]["knowledge_base_id"] == number
    assert answer["knowledge_base"]["chunks"][0]["document"] == str(2**63 - 2)
    assert account.emulator.bases[0].documents[0].file_id == 2**63 - 2


def test_ids_may_come_as_digits(account: Vendor) -> None:
    """The pages type the same id differently from page to page."""
    base = account.base(None)
    answer = account.change("add_document", operator_id="77", knowledge_base_id=str(base), file_id=str(account.file()))
    assert code(answer) == 0 and answer["knowledge_base_id"] == base
