"""The operations of both clients over real sockets: what goes out, what comes back, what is refused before."""

from __future__ import annotations

import inspect
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute import codec
from cnroute.knowledge.uploads import MAX_BYTES, safe_name
from cnroute.testing import FakeTransport
from tests.knowledge.conftest import QUICK, Make
from tests.knowledge.vendor import FIRST, GROUP, KEY, Vendor, saying

LARGEST = 2**63 - 1
IDS = (863831823174049792, LARGEST)


@pytest.fixture
def faq(tmp_path: Path) -> Path:
    path = tmp_path / "退货 faq.txt"
    path.write_text("七天内可以退货。\n" * 20, "utf-8")
    return path


def test_the_three_steps(kb: Any, vendor: Vendor, faq: Path) -> None:
    """Upload, create, wait: the base holds the file, and every number is exact."""
    begun = time.time()
    file = kb.upload(faq)
    assert (file.id, file.name, file.bytes) == (FIRST, "退货_faq.txt", faq.stat().st_size)
    assert file.created is not None and begun - 2 < file.created < time.time() + 2
    base = kb.create(name="faq", file_id=file.id, chunk_size=300, chunk_overlap=20)
    assert (base.id, base.name, base.status) == (FIRST + 1, "faq", "loading")
    base = kb.wait(base.id, timeout=5)
    assert base.available
    assert [document.file_id for document in base.documents] == [file.id]
    (sent,) = vendor.asked("/embedding/create_knowledge_base")
    body = sent.json()
    assert type(body.pop("operator_id")) is int
    assert body == {
        "name": "faq", "embedding_model": "kbq-001", "file_id": file.id, "doc_params": {"chunk_size": 300, "chunk_overlap": 20},
    }
    assert sent.query == {"GroupId": GROUP}
    assert vendor.contents[file.id] == faq.read_bytes()


def test_every_operation(kb: Any, vendor: Vendor, faq: Path, tmp_path: Path) -> None:
    """Each method does at the vendor what its name says."""
    first, second = kb.upload(faq), kb.upload(b"second text", name="b.txt")
    assert [file.id for file in kb.list_files()] == [first.id, second.id]
    assert kb.get_file(str(second.id)) == second
    base = kb.create("all", first.id, description="everything", separators=["\n", "。"])
    kb.wait(base.id)
    assert kb.add_document(base.id, second.id) == cnroute.Document(second.id, base.id)
    kb.update_document(base.id, second.id, chunk_size=99, chunk_overlap=49)
    assert kb.get_document(base.id, second.id).file_id == second.id
    assert [document.file_id for document in kb.get(base.id).documents] == [first.id, second.id]
    kb.delete_document(base.id, first.id)
    assert [document.file_id for document in kb.get(base.id).documents] == [second.id]
    target = tmp_path / "back.txt"
    assert kb.download(first.id, target) == first.bytes
    assert target.read_bytes() == faq.read_bytes()
    assert list(tmp_path.glob(".*")) == []
    kb.delete(base.id)
    kb.delete_file(first.id)
    kb.delete_file(second.id)
    assert vendor.bases == vendor.files == {}
    writes = [exchange for exchange in vendor.requests if exchange.path.startswith("/embedding") and exchange.method == "POST"]
    numbers = [exchange.json()["operator_id"] for exchange in writes]
    assert len(set(numbers)) == len(numbers) == 5


def test_both_clients_have_the_same_methods() -> None:
    """Name for name and argument for argument."""
    sync, twin = cnroute.KnowledgeClient, cnroute.AsyncKnowledgeClient
    names = [name for name in vars(sync) if not name.startswith("_")]
    assert names == [name for name in vars(twin) if not name.startswith("_")]
    assert names == [
        "upload", "list_files", "get_file", "download", "delete_file", "create", "get", "list", "wait", "delete",
        "add_document", "update_document", "get_document", "delete_document", "close",
    ]
    for name in names:
        assert inspect.signature(getattr(sync, name)).parameters == inspect.signature(getattr(twin, name)).parameters


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
def test_the_list_goes_over_all_pages(kb: Any, vendor: Vendor, page_size: int) -> None:
    """Every base once, with as few requests as the total allows."""
    for name in "abcdef":
        kb.create(name)
    asked = len(vendor.asked("/embedding/list_knowledge_base"))
    assert [base.name for base in kb.list(page_size=page_size)] == list("abcdef")
    pages = vendor.asked("/embedding/list_knowledge_base")[asked:]
    assert [exchange.query["page"] for exchange in pages] == [str(number) for number in range(-(-6 // page_size))]


@pytest.mark.parametrize("reader", ["json", "fast"])
@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("number", IDS)
def test_ids_are_exact_in_both_directions(
    kb: Any, vendor: Vendor, number: int, as_text: bool, reader: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beyond 2^53, as integers and as digits, with either codec."""
    monkeypatch.setattr(codec, "_quick", None if reader == "json" else pytest.importorskip("orjson").loads)
    told: Any = str(number) if as_text else number
    good = {"base_resp": {"status_code": 0}}
    vendor.fail("/files/upload", saying({"file": {"file_id": told, "bytes": 4}, **good}))
    vendor.fail("/embedding/create_knowledge_base", saying({"knowledge_base_id": told, **good}))
    vendor.fail("/embedding/query_knowledge_base", saying(
        {"knowledge_base": {"knowledge_base_id": told, "status": "available", "docs": [{"file_id": told}, told]}, **good}
    ))
    file = kb.upload(b"text", name="a.txt")
    base = kb.create("exact", file.id)
    assert (file.id, base.id) == (number, number)
    assert [document.file_id for document in kb.wait(base.id).documents] == [number, number]
    sent = vendor.asked("/embedding/create_knowledge_base")[0]
    assert f'"file_id":{number}'.encode() in sent.body
    assert vendor.asked("/embedding/query_knowledge_base")[0].query["knowledge_base_id"] == str(number)


@pytest.mark.parametrize("told", [8.63831823174049e17, True, None, "x", -1, 2**63, [1], "９"])
def test_a_rounded_id_is_no_id(make: Make, vendor: Vendor, told: Any) -> None:
    """An answer whose id is not exact is no answer; nothing goes on with a wrong number."""
    kb = make(retries=cnroute.Retries(max_attempts=1))
    vendor.fail("/embedding/query_knowledge_base", saying({"knowledge_base": {"knowledge_base_id": told}}))
    with pytest.raises(cnroute.ResponseError) as caught:
        kb.get(1)
    assert caught.value.kind == "bad_response"


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("create", ("",), {}, "name"), ("create", (7,), {}, "name"), ("create", ("a\nb",), {}, "name"),
    ("create", ("a", 1), {"chunk_size": 100, "chunk_overlap": 50}, "2 x chunk_overlap"),
    ("create", ("a", 1), {"chunk_size": 0}, "chunk_size"), ("create", ("a", 1), {"chunk_overlap": -1}, "chunk_overlap"),
    ("create", ("a", 1), {"chunk_size": True}, "chunk_size"), ("create", ("a", 1), {"separators": "ab"}, "separators"),
    ("create", ("a", 1), {"separators": [1]}, "separators"), ("create", ("a", 1), {"is_regex": 1}, "is_regex"),
    ("create", ("a", 1.5), {}, "file_id"), ("create", ("a", 2**63), {}, "file_id"), ("create", ("a", "x"), {}, "file_id"),
    ("create", ("a", 1), {"operator_id": -1}, "operator_id"), ("create", ("a", 1), {"callback": "ftp://x"}, "callback"),
    ("create", ("a", 1), {"description": 5}, "description"), ("create", ("a",), {"timeout": 0}, "timeout"),
    ("add_document", (1, True), {}, "file_id"), ("add_document", ("１", 1), {}, "base_id"),
    ("add_document", (1, 2), {"chunk_size": 2, "chunk_overlap": 1}, "chunk_size"),
    ("get", (None,), {}, "base_id"), ("get", (1,), {"timeout": float("nan")}, "timeout"),
    ("list", (), {"page_size": 0}, "page_size"),
    ("list", (), {"page_size": 101}, "page_size"), ("delete_file", ("-1",), {}, "file_id"),
    ("upload", (5,), {}, "file must be"), ("upload", (b"x",), {}, "name"), ("upload", (b"",), {"name": "a.txt"}, "empty"),
    ("upload", (b"x",), {"name": "a.exe"}, "takes .pdf"), ("upload", (b"x",), {"name": "txt"}, "without an ending"),
    ("upload", (io.StringIO("text"),), {"name": "a.txt"}, "binary"), ("upload", ("/no/such/file.txt",), {}, "cannot be read"),
    ("upload", ("/dev",), {"name": "a.txt"}, "no regular file"),
    ("upload", (b"x",), {"name": "a.txt", "progress": 1}, "progress"),
    ("download", (1, 5), {}, "target"), ("download", (1, "/"), {}, "folder"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "values", "arguments", "word"), WRONG)
def test_wrong_arguments_send_nothing(
    kb: Any, vendor: Vendor, method: str, values: tuple[Any, ...], arguments: dict[str, Any], word: str
) -> None:
    """What the pages do not allow is refused here, by name."""
    with pytest.raises(cnroute.BadRequestError, match=word) as caught:
        getattr(kb, method)(*values, **arguments)
    assert caught.value.billing == "none"
    assert vendor.files == vendor.bases == {}
    assert vendor.requests == []


def test_a_file_beyond_the_limit_is_not_read(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """The size alone decides; a sparse file of 512 MB and a byte."""
    path = tmp_path / "huge.pdf"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(cnroute.BadRequestError, match="more than the vendor's"):
        kb.upload(path)
    assert vendor.requests == []


def test_the_eleventh_base_is_not_asked_for(kb: Any, make: Make, vendor: Vendor) -> None:
    """Ten bases are all that an account has; whoever may have more says so."""
    for number in range(10):
        kb.create(f"base {number}")
    with pytest.raises(cnroute.QuotaExceededError, match="has 10 knowledge bases") as caught:
        kb.create("one more")
    assert "delete a base" in caught.value.advice
    assert len(vendor.asked("/embedding/create_knowledge_base")) == len(vendor.bases) == 10
    assert make(max_bases=None).create("one more").id in vendor.bases


@pytest.mark.parametrize(("name", "sent"), [
    ("a b.txt", "a_b.txt"), ("../../etc/passwd.txt", "passwd.txt"), ('q"\r\nX: y.pdf', "q___X__y.pdf"), ("手册.TXT", "手册.TXT"),
    ("C:\\docs\\a.docx", "a.docx"), ("x" * 300 + ".jsonl", "x" * 194 + ".jsonl"), ("a\u2028b.txt", "a_b.txt"),
])  # fmt: skip
def test_names_of_files_are_harmless(name: str, sent: str) -> None:
    """The base name, without anything that could end a header."""
    assert safe_name(name) == sent


def test_progress_counts_the_files_bytes(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """From the first piece to the last, up and down; the form around the file does not count."""
    told: list[tuple[int, int]] = []
    content = bytes(range(256)) * 1024
    file = kb.upload(io.BytesIO(content), name="a.txt", progress=lambda sent, size: told.append((sent, size)))
    assert told == [(step * 65536, len(content)) for step in range(1, 5)]
    assert vendor.contents[file.id] == content
    told.clear()
    kb.download(file.id, tmp_path / "a", progress=lambda got, size: told.append((got, size)))
    assert told[-1] == (len(content), len(content)) and [got for got, _ in told] == sorted(got for got, _ in told)


def test_a_progress_function_that_raises_ends_the_upload(kb: Any, vendor: Vendor) -> None:
    """Its own exception comes out, whatever it is, and the vendor has nothing."""
    def progress(sent: int, size: int) -> None:
        raise OSError("the host's own")

    with pytest.raises(OSError, match="the host's own"):
        kb.upload(b"x" * 100, name="a.txt", progress=progress)
    assert vendor.files == {}
    assert kb.list_files() == ()


def test_file_objects_are_sent_from_where_they_stand(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """A file that is open at some place, and one whose own name is taken."""
    path = tmp_path / "open.txt"
    path.write_bytes(b"0123456789")
    with open(path, "rb") as opened:
        opened.seek(4)
        file = kb.upload(opened)
    assert (file.name, vendor.contents[file.id]) == ("open.txt", b"456789")


def test_what_is_in_the_way_stays(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """A target that exists is replaced only on demand; file objects are written where they stand."""
    file = kb.upload(b"content", name="a.txt")
    target = tmp_path / "a.txt"
    target.write_text("mine")
    with pytest.raises(cnroute.BadRequestError, match="overwrite"):
        kb.download(file.id, target)
    assert target.read_text() == "mine"
    assert kb.download(file.id, str(target), overwrite=True) == 7
    assert target.read_text() == "content"
    memory = io.BytesIO()
    memory.write(b"before ")
    kb.download(file.id, memory)
    assert memory.getvalue() == b"before content"


def test_a_file_that_is_json_is_no_error(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """A document of the user may look like the vendor's own error."""
    content = json.dumps({"base_resp": {"status_code": 1004, "status_msg": "not yours"}}).encode()
    file = kb.upload(content, name="a.jsonl")
    kb.download(file.id, tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == content


def test_a_closed_client_refuses(make: Make) -> None:
    """Closing twice is fine; afterwards nothing is done."""
    kb = make()
    kb.close()
    kb.close()
    with pytest.raises(cnroute.RouterClosedError):
        kb.get(1)


def test_a_client_needs_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key and a group, or a deployment that has knowledge bases; from a file and from the environment too."""
    for arguments in ({}, {"api_key": "sk-test-key"}, {"group_id": GROUP}, {"api_key": "a b", "group_id": GROUP}):
        with pytest.raises(cnroute.ConfigurationError):
            cnroute.KnowledgeClient(**arguments)
    pro = cnroute.Deployment("pro", "minimax-pro", "abab6.5s-chat", api_key=KEY, options={"group_id": GROUP})
    v2 = cnroute.Deployment("v2", "minimax-v2", "MiniMax-Text-01", api_key=KEY)
    with pytest.raises(cnroute.ConfigurationError, match="minimax-pro or minimax-legacy"):
        cnroute.KnowledgeClient(deployment=v2)
    with pytest.raises(cnroute.ConfigurationError, match="not both"):
        cnroute.KnowledgeClient(KEY, deployment=pro)
    with cnroute.KnowledgeClient(deployment=pro) as client:
        assert client.deployment.name == "pro"
    group = {"options": {"group_id": GROUP}}
    kinds = (("v2", "minimax-v2", {}), ("a", "minimax-pro", group), ("b", "minimax-legacy", group))
    written = {"deployments": {name: {"provider": kind, "model": "m", "api_key": KEY, **more} for name, kind, more in kinds}}
    for name, found in ((None, "a"), ("b", "b")):
        with cnroute.KnowledgeClient.from_config(written, name) as client:
            assert client.deployment.name == found
    with pytest.raises(cnroute.ConfigurationError):
        cnroute.KnowledgeClient.from_config(written, "v2")
    for name in ("CNROUTE_CONFIG", "DASHSCOPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIMAX_API_KEY", KEY)
    monkeypatch.setenv("MINIMAX_GROUP_ID", GROUP)
    with cnroute.KnowledgeClient.from_env() as client:
        assert client.deployment.base_url == "https://api.minimaxi.com/v1"


def test_a_list_checks_its_arguments_at_once(vendor: Vendor) -> None:
    """Not when somebody begins to iterate; both clients."""
    for kind in (cnroute.KnowledgeClient, cnroute.AsyncKnowledgeClient):
        client = kind(KEY, GROUP, base_url=vendor.base_url)
        for arguments in ({"page_size": 0}, {"timeout": -1}):
            with pytest.raises(cnroute.BadRequestError):
                client.list(**arguments)
        client._engine.close()
        client._engine.transport.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_client_has_queues_of_its_own(vendor: Vendor) -> None:
    """The child waits for no operation of its parent."""
    with cnroute.KnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK) as kb:
        base = kb.create("faq")
        ticket = kb._flows.turns.ask(base.id, lambda: None)
        child = os.fork()
        if not child:
            try:
                kb.add_document(base.id, 7, timeout=3)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        ticket.end()
    assert vendor.bases[base.id]["docs"] == [{"file_id": 7}]


def test_a_fake_transport_serves_a_client() -> None:
    """Programs test their uploads without a server, and see the whole form."""
    good = {"base_resp": {"status_code": 0}}
    transport = FakeTransport([{"file": {"file_id": IDS[0], "bytes": 4}, **good}, {"files": [], **good}])
    with cnroute.KnowledgeClient(KEY, GROUP, transport=transport) as kb:
        assert kb.upload(b"text", name="a.txt").id == IDS[0]
        assert kb.list_files() == ()
    form, _ = transport.requests
    assert b'filename="a.txt"' in form.body and b"\r\n\r\ntext\r\n--" in form.body
    assert form.url == f"https://api.minimaxi.com/v1/files/upload?GroupId={GROUP}"


def test_a_progress_function_that_raises_ends_a_download(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """Nothing is left of the target."""

    def progress(got: int, size: int) -> None:
        raise KeyError("the host's own")

    file = kb.upload(b"x" * 100, name="a.txt")
    with pytest.raises(KeyError):
        kb.download(file.id, tmp_path / "a", progress=progress)
    assert list(tmp_path.iterdir()) == []
