"""MiniMax's knowledge bases: created, filled, asked, changed, deleted; busy, limited, idempotent. By raw HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import client
from .vendor import Vendor, code, pieces, said, vendor

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


# -- retrieval

SHELF = "\n".join(["苹果是一种水果,味道甜。", "香蕉也是水果,皮是黄色的。", "北京是中国的首都。", "Python language."])
ANSWERS = [
    ("水果", ["苹果", "香蕉"]), ("中国的首都是哪里?", ["北京"]), ("黄色的香蕉", ["香蕉"]), ("PYTHON language", ["Python"]),
    ("language?", ["Python"]), ("果", []), ("苹果 Python", ["苹果", "Python"]), ("火星", []), ("?!", []), ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("question", "starts"), [row for row in ANSWERS if row[0]], ids=lambda value: str(value)[:12])
def test_what_is_found(account: Vendor, question: str, starts: list[str]) -> None:
    """Chinese by pairs of characters, other words whatever their case; nothing that shares no term."""
    base = account.base(SHELF, chunk_size=20, chunk_overlap=0)
    found = pieces(account.ask("minimax-pro", question, base))
    assert len(found) == len(starts) and all(any(one.startswith(start) for one in found) for start in starts)


def test_the_best_piece_comes_first_and_top_k_cuts(account: Vendor) -> None:
    lines = [f"第{number}条:" + "运费" * number + "说明" * (20 - number) for number in range(1, 9)]
    base = account.base("\n".join(lines), chunk_size=50, chunk_overlap=0)
    found = pieces(account.ask("minimax-pro", "运费", base, top_k=3))
    assert [one.partition(":")[0] for one in found] == ["第8条", "第7条", "第6条"]
    assert len(pieces(account.ask("minimax-pro", "运费", base))) == 5
    assert len(pieces(account.ask("minimax-pro", "运费", base, top_k=100))) == 8


def test_the_threshold_is_the_share_of_the_questions_terms(account: Vendor) -> None:
    base = account.base(SHELF, chunk_size=20, chunk_overlap=0)
    question = "苹果水果"  # three pairs: 苹果, 果水, 水果
    assert len(pieces(account.ask("minimax-pro", question, base, thresh=0.3))) == 2
    assert [one[:2] for one in pieces(account.ask("minimax-pro", question, base, thresh=0.6))] == ["苹果"]
    assert pieces(account.ask("minimax-pro", question, base, thresh=0.7)) == []


@BOTH
def test_previous_messages_count_where_they_are_asked_for(account: Vendor, provider: str) -> None:
    base = account.base(SHELF, chunk_size=20, chunk_overlap=0)
    body = client.body_for(provider, "它是什么颜色?")
    body["messages"].insert(0, {**body["messages"][0], "text": "我问的是香蕉"})

    def found(previous: int) -> list[str]:
        given = {"knowledge_base_param": {"knowledge_base_id": base, "num_prev_messages": previous}}
        return [one[:2] for one in pieces(account.post(client.PATHS[provider][1:].partition("?")[0], **body, **given))]

    assert (found(0), found(1)) == ([], ["香蕉"])


@BOTH
def test_what_was_found_is_billed(account: Vendor, provider: str) -> None:
    """The pieces and the pattern are input; a longer pattern costs more."""
    base = account.base(chunk_size=30, chunk_overlap=0)

    def tokens(**settings: Any) -> int:
        return int(account.ask(provider, "退货政策和发货时间和发票", base, **settings)["usage"]["total_tokens"])

    short = tokens(top_k=1, pattern="{{context}}{{question}}")
    assert short < tokens(top_k=1) < tokens(top_k=3)
    assert tokens(top_k=1, pattern="{{context}}" + "长" * 50 + "{{question}}") == short + 30


def test_a_marker_comes_back_beside_the_answer(account: Vendor) -> None:
    answer = account.ask("minimax-pro", "退货政策 marker:q7", account.base())
    assert answer["reply"].startswith("marker:q7 根据资料:退货政策")


def test_nothing_found_is_answered_as_ever(account: Vendor) -> None:
    answer = account.ask("minimax-pro", "火星", account.base())
    assert answer["reply"] == account.emulator.answer("火星") and answer["knowledge_base"]["chunks"] == []


CHAT_REFUSED = [
    ({"knowledge_base_id": 12345}, "does not exist"), ({"pattern": "{{context}}"}, "pattern"), ({"pattern": 5}, "pattern"),
    ({"num_prev_messages": -1}, "num_prev_messages"), ({"num_prev_messages": True}, "num_prev_messages"),
    ({"knowledge_base_id": 2**63}, "does not exist"), ({"knowledge_base_id": 8.6e17}, "knowledge_base_id"),
]  # fmt: skip


@BOTH
@BOTH_WAYS
@pytest.mark.parametrize(("settings", "part"), CHAT_REFUSED)
def test_chats_that_are_refused(account: Vendor, provider: str, stream: bool, settings: dict[str, Any], part: str) -> None:
    given = {"knowledge_base_param": {"knowledge_base_id": account.base(), **settings}}
    refused = client.ask(account.emulator, provider, "退货", stream=stream, **given).json
    assert code(refused) == 2013 and part in said(refused)
    assert account.emulator.requests[-1].fault == "refused"


# -- documents


def test_documents_are_added_updated_shown_and_deleted(account: Vendor) -> None:
    base = account.base(chunk_size=30, chunk_overlap=0)
    first, second = account.emulator.files[0].id, account.file("仓库在杭州。" * 20, "stock.txt")
    ids = {"knowledge_base_id": base, "file_id": second}

    def settled(what: str, **more: Any) -> Any:
        answer = account.change(what, **ids, **more)
        account.emulator.settle()
        return answer

    added = settled("add_document", doc_params={"chunk_size": 40, "chunk_overlap": 10})
    assert code(added) == 0 and [one["file_id"] for one in added["knowledge_base"]["docs"]] == [first, second]
    shown = account.get("embedding/query_document", **ids)["document"]
    assert shown["file_id"] == second and shown["doc_params"]["chunk_size"] == 40
    (stock,) = account.emulator.bases[0].documents[1:]
    assert (stock.name, stock.characters, stock.chunks) == ("stock.txt", 120, 4)
    assert len(pieces(account.ask("minimax-pro", "仓库", base))) == 4

    assert code(settled("update_document", doc_params={"chunk_size": 60, "chunk_overlap": 0})) == 0
    assert len(pieces(account.ask("minimax-pro", "仓库", base))) == 2

    gone = settled("delete_document")
    assert code(gone) == 0 and gone["knowledge_base"]["docs"] == [{"file_id": first}]
    assert pieces(account.ask("minimax-pro", "仓库", base)) == [] and pieces(account.ask("minimax-pro", "退货", base))
    assert "does not exist" in said(account.get("embedding/query_document", **ids))


def test_a_document_that_loads_is_not_found_yet() -> None:
    with vendor(loading=3600) as account:
        base = account.base()
        account.change("add_document", knowledge_base_id=base, file_id=account.file("仓库在杭州。"))
        assert pieces(account.ask("minimax-pro", "仓库在哪里", base)) == []
        assert pieces(account.ask("minimax-pro", "退货", base))
        account.emulator.settle()
        assert pieces(account.ask("minimax-pro", "仓库在哪里", base))


def test_a_base_keeps_what_it_has_read_of_a_deleted_file(account: Vendor) -> None:
    base = account.base()
    account.post("files/delete", file_id=account.emulator.files[0].id, purpose="retrieval")
    assert account.emulator.files == [] and pieces(account.ask("minimax-pro", "退货", base))


CHANGES = ["add_document", "update_document", "delete_document", "delete_knowledge_base"]


@pytest.mark.parametrize("what", CHANGES)
def test_a_base_that_loads_is_busy_for_changes(what: str) -> None:
    """2034, and 2036 for its deletion; nothing of it is done, and the same operator_id works later."""
    with vendor(loading=3600) as account:
        held, other = account.file(), account.file("另一个")
        base = account.create(file_id=held)["knowledge_base_id"]
        ids = {"operator_id": 9, "knowledge_base_id": base, "file_id": other if what == "add_document" else held}
        before = account.emulator.bases
        refused = account.change(what, **ids)
        assert code(refused) == (2036 if what == "delete_knowledge_base" else 2034) and "being operated" in said(refused)
        assert account.emulator.bases == before and account.emulator.requests[-1].fault == "refused"
        account.emulator.settle()
        assert code(account.change(what, **ids)) == 0 and account.emulator.bases != before


def test_loading_follows_the_emulators_clock() -> None:
    now = [100.0]
    with vendor(loading=5.0, clock=lambda: now[0]) as account:
        base = account.create(file_id=account.file())["knowledge_base_id"]
        now[0] += 4.9
        assert account.detail(base)["status"] == "loading"
        now[0] += 0.1
        assert account.detail(base)["status"] == "available"


# -- operator_id


def test_an_operator_id_is_answered_once(account: Vendor) -> None:
    """The same one replays the first call, whatever else is asked; the base is there once."""
    first = account.create("a", operator_id=5)
    assert account.create("a", operator_id=5) == first == account.create("other", operator_id=5, description="x")
    assert [base.name for base in account.emulator.bases] == ["a"]
    other = account.change("delete_knowledge_base", operator_id=5, knowledge_base_id=first["knowledge_base_id"])
    assert code(other) == 2013 and "another operation" in said(other) and account.emulator.bases
    assert code(account.create("b", operator_id=6)) == 0


def test_a_refused_change_may_be_tried_again_with_its_operator_id(account: Vendor) -> None:
    account.create("a", operator_id=5)
    assert "exists" in said(account.create("a", operator_id=6))
    assert code(account.create("b", operator_id=6)) == 0


def test_operator_ids_belong_to_a_group(account: Vendor) -> None:
    other = Vendor(account.emulator, "18")
    assert account.create("a", operator_id=5) != other.create("a", operator_id=5)
    other.http.clear()


# -- refusals and limits

CREATE_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"operator_id": None}, "operator_id"), ({"operator_id": 0}, "operator_id"), ({"operator_id": 1.5}, "operator_id"),
    ({"operator_id": True}, "operator_id"), ({"operator_id": 2**63}, "operator_id"), ({"operator_id": "x"}, "operator_id"),
    ({"name": ""}, "name"), ({"name": 7}, "name"), ({"name": None}, "name"), ({"embedding_model": "kbq-002"}, "kbq-001"),
    ({"file_id": "abc"}, "file_id"), ({"file_id": 7}, "file 7 does not exist"), ({"doc_params": []}, "doc_params"),
    ({"doc_params": {"chunk_size": 100, "chunk_overlap": 50}}, "2 * chunk_overlap + 1"),
    ({"doc_params": {"chunk_size": 100}}, "2 * chunk_overlap + 1"), ({"doc_params": {"chunk_size": 0}}, "chunk_size"),
    ({"doc_params": {"chunk_overlap": -1}}, "chunk_overlap"), ({"doc_params": {"chunk_size": "9"}}, "chunk_size"),
    ({"doc_params": {"separators": "\n"}}, "separators"), ({"doc_params": {"is_regex": 1}}, "is_regex"),
    ({"doc_params": {"separators": ["("], "is_regex": True}}, "separators"), ({"callback": "ftp://x"}, "callback"),
    ({"description": 5}, "description"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "part"), CREATE_REFUSED, ids=[str(number) for number in range(len(CREATE_REFUSED))])
def test_bases_that_are_refused(account: Vendor, change: dict[str, Any], part: str) -> None:
    body = {"operator_id": 4, "name": "a", "embedding_model": "kbq-001", **change}
    given = {name: value for name, value in body.items() if value is not None}
    refused = account.post("embedding/create_knowledge_base", **given)
    assert code(refused) == 2013 and part in said(refused) and account.emulator.bases == []


def test_a_chunk_is_at_least_twice_its_overlap_and_one(account: Vendor) -> None:
    given = {"chunk_size": 101, "chunk_overlap": 50}
    assert code(account.create(file_id=account.file(), doc_params=given)) == 0


def test_ten_bases_are_the_most(account: Vendor) -> None:
    answers = [account.create(f"b{number}") for number in range(11)]
    assert [code(answer) for answer in answers] == [0] * 10 + [2032]
    account.change("delete_knowledge_base", knowledge_base_id=answers[0]["knowledge_base_id"])
    assert code(account.create("b10")) == 0 and len(account.emulator.bases) == 10


def test_characters_are_limited() -> None:
    with vendor(quotas={"document_characters": 100, "base_characters": 150}) as account:
        assert code(account.create(file_id=account.file("长" * 101))) == 2033
        assert code(account.create(file_id=account.file("x" * 1000))) == 2033 and account.emulator.bases == []
        base = account.base("长" * 100)
        refused = account.change("add_document", knowledge_base_id=base, file_id=account.file("长" * 51))
        assert code(refused) == 2033 and [one.characters for one in account.emulator.bases[0].documents] == [100]
        assert code(account.change("add_document", knowledge_base_id=base, file_id=account.file("长" * 50))) == 0


def test_lists_come_in_pages(account: Vendor) -> None:
    names = [f"b{number}" for number in range(5)]
    for name in names:
        account.create(name)

    def page(**query: Any) -> tuple[int, list[str]]:
        answer = account.get("embedding/list_knowledge_base", **query)
        return answer["total"], [one["name"] for one in answer["knowledge_bases"]]

    assert page() == (5, names) == page(page=0, page_size=100)
    assert [page(page=number, page_size=2)[1] for number in range(4)] == [names[:2], names[2:4], names[4:], []]
    for query in ({"page": -1}, {"page_size": 0}, {"page_size": 101}, {"page": "x"}):
        assert code(account.get("embedding/list_knowledge_base", **query)) == 2013


def test_a_deleted_base_is_gone(account: Vendor) -> None:
    base = account.base()
    assert code(account.change("delete_knowledge_base", knowledge_base_id=base)) == 0
    assert account.emulator.bases == []
    for answer in (
        account.get("embedding/query_knowledge_base", knowledge_base_id=base),
        account.change("delete_knowledge_base", knowledge_base_id=base),
        account.change("add_document", knowledge_base_id=base, file_id=account.file()),
        account.ask("minimax-pro", "退货", base),
    ):
        assert code(answer) == 2013 and "does not exist" in said(answer)
    assert account.base(name="faq") != base, "the name is free again, the id is not"


def test_groups_see_nothing_of_each_other(account: Vendor) -> None:
    base, file = account.base(), account.emulator.files[0].id
    other = Vendor(account.emulator, "18")
    assert other.get("files/list")["files"] == [] and other.get("embedding/list_knowledge_base")["total"] == 0
    for answer in (
        other.get("files/retrieve", file_id=file), other.get("files/retrieve_content", file_id=file),
        other.post("files/delete", file_id=file), other.get("embedding/query_knowledge_base", knowledge_base_id=base),
        other.change("delete_knowledge_base", knowledge_base_id=base), other.create(file_id=file),
    ):  # fmt: skip
        assert code(answer) == 2013 and "does not exist" in said(answer)
    assert {kept.group for kept in [*account.emulator.files, *account.emulator.bases]} == {"17"}
    other.http.clear()


def test_keys_and_groups() -> None:
    """1004 without a key or with another group, 2049 with a wrong key; nothing is kept."""
    with vendor(api_key="k", group_id="17") as account:
        for group, key, wanted in (("18", "k", 1004), ("", "k", 1004), ("17", "", 1004), ("17", "j", 2049), ("17", "k", 0)):
            other = Vendor(account.emulator, group, {"Authorization": f"Bearer {key}"} if key else {})
            answers = [other.upload(), other.create(f"of {group} {key}"), other.get("files/list")]
            assert [code(one) for one in answers] == [wanted] * 3
            assert len(account.emulator.files) == len(account.emulator.bases) == (wanted == 0)
            other.http.clear()


def test_without_a_certain_group_one_name_is_wrong(account: Vendor) -> None:
    other = Vendor(account.emulator, "wrong-group")
    assert code(other.upload()) == 1004 and "token not match group" in said(other.upload())
    assert code(client.ask(account.emulator, "minimax-pro").json) == 0
    other.http.clear()
