"""MiniMax's files: uploaded piece by piece, listed, shown, sent back, deleted, limited. By raw HTTP."""

from __future__ import annotations

import io
import socket
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from cnroute.emulator.knowledge.documents import text_of
from cnroute.emulator.knowledge.forms import BadForm, Form, read

from . import client
from .vendor import FAQ, KEY, Vendor, code, pieces, said, vendor

MIB = 1 << 20


@pytest.fixture
def account() -> Iterator[Vendor]:
    with vendor() as one:
        yield one


def content(account: Vendor, file: int) -> urllib3.BaseHTTPResponse:
    return account.http.request("GET", account.url("files/retrieve_content") + f"&file_id={file}", headers=KEY)


# -- what the pages show


def test_a_file_from_upload_to_deletion(account: Vendor) -> None:
    data = bytes(range(256)) * 300
    before = int(time.time())
    uploaded = account.upload(data, "数据 一.txt")
    file = uploaded["file"]
    assert code(uploaded) == 0 and set(file) == {"file_id", "bytes", "created_at", "filename", "purpose"}
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(data), "数据 一.txt", "retrieval")
    assert before <= file["created_at"] <= time.time()

    assert account.get("files/list", purpose="retrieval")["files"] == [file] == account.get("files/list")["files"]
    assert account.get("files/list", purpose="assistants")["files"] == []
    shown = account.get("files/retrieve", file_id=file["file_id"])["file"]
    assert shown == {**file, "download_url": shown["download_url"]}
    sent = content(account, file["file_id"])
    assert sent.data == data == account.http.request("GET", shown["download_url"]).data
    assert sent.headers["content-type"] == "application/octet-stream" and sent.headers["trace-id"]

    (kept,) = account.emulator.files
    assert (kept.id, kept.name, kept.bytes, kept.group) == (file["file_id"], "数据 一.txt", len(data), "17")
    assert kept.path.read_bytes() == data
    gone = account.post("files/delete", file_id=file["file_id"], purpose="retrieval")
    assert gone["file_id"] == file["file_id"] and account.emulator.files == [] and not kept.path.exists()
    for path in ("files/retrieve", "files/retrieve_content"):
        assert "does not exist" in said(account.get(path, file_id=file["file_id"]))
    assert "does not exist" in said(account.post("files/delete", file_id=file["file_id"]))
    assert account.http.request("GET", shown["download_url"]).status == 404


def test_nothing_is_left_after_the_end() -> None:
    with vendor() as account:
        account.base()
        folder = account.emulator.files[0].path.parent
        assert folder.is_dir()
    assert not folder.exists() and account.emulator.files == account.emulator.bases == []


def test_everything_can_be_deleted_at_once(account: Vendor) -> None:
    account.base()
    account.emulator.empty()
    assert account.emulator.files == account.emulator.bases == []
    assert account.base() and len(account.emulator.files) == 1


def test_a_reset_keeps_files_and_bases(account: Vendor) -> None:
    account.base()
    account.emulator.reset()
    assert account.emulator.requests == [] and account.emulator.files and account.emulator.bases


def test_the_log_has_the_upload_without_its_bytes(account: Vendor) -> None:
    account.upload("x" * 1000, "a.txt")
    (entry,) = account.emulator.requests
    assert entry.body == {"purpose": "retrieval", "file": {"filename": "a.txt", "bytes": 1000}}
    assert (entry.provider, entry.fault, entry.ended, entry.status) == ("minimax-knowledge", "ok", "done", 200)
    assert entry.as_json()["body"] == entry.body


def test_another_process_can_look(account: Vendor) -> None:
    base = account.base()

    def control(method: str, name: str, body: Any = None) -> Any:
        return account.http.request(method, f"{account.emulator.url}/_emulator/{name}", json=body or {}).json()

    assert [one["name"] for one in control("GET", "files")] == ["faq.txt"]
    (shown,) = control("GET", "bases")
    file = account.emulator.files[0].id
    assert (shown["id"], shown["status"]) == (base, "available")
    assert shown["documents"] == [{"file_id": file, "name": "faq.txt", "characters": len(FAQ), "chunks": 1}]
    account.emulator.script("embedding/create_knowledge_base", ["loading_forever"])
    account.create("b")
    assert control("POST", "settle") == {"settled": True} and control("POST", "empty") == {"empty": True}
    assert control("GET", "files") == control("GET", "bases") == []


# -- limits


UPLOAD_REFUSED = [
    ("x", "a.exe", "retrieval", "file type"), ("x", "a", "retrieval", "file type"), ("", "a.txt", "retrieval", "empty"),
    ("x", "a.txt", "unheard-of", "purpose"), ("x", "a.txt", "", "purpose"),
    ("x" * 1001, "a.txt", "retrieval", "larger than 1000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "purpose", "part"), UPLOAD_REFUSED)
def test_uploads_that_are_refused(text: str, name: str, purpose: str, part: str) -> None:
    """2013 with a message that names the trouble; nothing stays on disk."""
    with vendor(quotas={"file_bytes": 1000}) as account:
        refused = account.upload(text, name, purpose)
        assert code(refused) == 2013 and part in said(refused)
        good = account.upload("x" * 1000, "a.TXT")
        assert code(good) == 0, "a file at the limit is taken, and the type has no case"
        assert account.emulator.requests[0].fault == "refused"
        assert [path.name for path in account.emulator.files[0].path.parent.iterdir()] == [account.emulator.files[0].path.name]


def test_other_purposes_take_other_types(account: Vendor) -> None:
    assert code(account.upload("x", "a.csv", "assistants")) == 0
    refused = account.create(file_id=account.emulator.files[0].id)
    assert "purpose" in said(refused) and account.emulator.bases == []


def test_all_files_together_are_limited() -> None:
    with vendor(quotas={"all_bytes": 1500}) as account:
        assert [code(account.upload("x" * 800, f"{number}.txt")) for number in range(2)] == [0, 2013]
        account.post("files/delete", file_id=account.emulator.files[0].id)
        assert code(account.upload("x" * 800)) == 0 and len(account.emulator.files) == 1


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain"])
def test_a_body_that_is_no_form_is_refused(account: Vendor, kind: str) -> None:
    headers = {**KEY, "Content-Type": kind}
    answer = account.http.request("POST", account.url("files/upload"), body=b'{"purpose": "retrieval"}', headers=headers).json()
    assert code(answer) == 2013 and "multipart/form-data" in said(answer)


def test_a_form_without_a_file_is_refused(account: Vendor) -> None:
    answer = account.http.request("POST", account.url("files/upload"), fields={"purpose": "retrieval"}, headers=KEY).json()
    assert code(answer) == 2013 and "file is required" in said(answer) and account.emulator.files == []


def test_other_methods_are_not_there(account: Vendor) -> None:
    assert account.http.request("GET", account.url("files/upload"), headers=KEY).status == 404
    assert account.http.request("POST", account.url("files/list"), headers=KEY).status == 404


# -- the form on the wire

BOUNDARY = "xYzZ"
FORM = (
    b"a line before\r\n--xYzZ\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nretrieval\r\n"
    b"--xYzZ  \r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=file; filename=\"a \\\"b\\\".txt\"\r\n\r\n"
    b"one\r\n--xYz\r\n-\r\n\r\ntwo\r\n--xYzZ\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--xYzZ--\r\nafter"
)  # fmt: skip


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.data = b""

    def __call__(self, name: str) -> Kept:
        self.names.append(name)
        return self

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, len(FORM)])
def test_a_form_may_be_cut_anywhere(size: int) -> None:
    kept = Kept()
    parts = (FORM[at : at + size] for at in range(0, len(FORM), size))
    fields = read(parts, f'multipart/form-data; boundary="{BOUNDARY}"', kept)
    assert fields == {"purpose": "retrieval", "empty": ""}
    assert (kept.names, kept.data) == (['a "b".txt'], b"one\r\n--xYz\r\n-\r\n\r\ntwo")


def test_a_file_name_may_be_encoded() -> None:
    kept = Kept()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"; filename*=UTF-8\'\'%E6%96%87.txt\r\n\r\nx\r\n--b--'
    Form("b", kept).feed(head)
    assert kept.names == ["文.txt"]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (FORM[: FORM.rindex(b"--xYzZ--")], "no end"), (b"nothing", "no end"), (b"--xYzZ\r\nX: y\r\n\r\nz", "no name"),
        (b"--xYzZ\r\n" + b"x" * 70_000, "too long"), (FORM.replace(b"retrieval", b"r" * 70_000), "too long"),
    ],
)  # fmt: skip
def test_forms_that_are_none(data: bytes, part: str) -> None:
    with pytest.raises(BadForm, match=part):
        read(iter([data]), f"multipart/form-data; boundary={BOUNDARY}", Kept())


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_breaks_off_leaves_nothing(account: Vendor, chunked: bool) -> None:
    """The client leaves in the middle of the file: no file, no bytes on disk, and the next upload works."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100000"
    head = b"POST /v1/files/upload?GroupId=17 HTTP/1.1\r\nAuthorization: Bearer k\r\n" + framing
    head += b"\r\nContent-Type: multipart/form-data; boundary=xYzZ\r\n\r\n"
    part = FORM[: FORM.index(b"two")]
    with socket.create_connection(("127.0.0.1", account.emulator.port)) as sock:
        sock.sendall(head + (b"%x\r\n" % 100_000 if chunked else b"") + part)
        client.read(sock, quiet=0.05, total=0.1)
    account.upload()
    while account.emulator.open_connections > 1:
        time.sleep(0.001)
    (kept,) = account.emulator.files
    assert kept.name == "faq.txt" and list(kept.path.parent.iterdir()) == [kept.path]


def test_uploads_in_chunks_are_the_same(account: Vendor) -> None:
    parts = (FORM[at : at + 50] for at in range(0, len(FORM), 50))
    headers = {**KEY, "Content-Type": "multipart/form-data; boundary=xYzZ"}
    answer = account.http.request("POST", account.url("files/upload"), body=parts, headers=headers, chunked=True).json()
    assert answer["file"]["bytes"] == len(b"one\r\n--xYz\r\n-\r\n\r\ntwo") == account.emulator.files[0].bytes


# -- memory


class Endless(io.RawIOBase):
    """A form with so many bytes of file, made as they are read."""

    def __init__(self, size: int) -> None:
        self._head = io.BytesIO(FORM[: FORM.index(b"one")])
        self._left = size
        self._tail = io.BytesIO(FORM[FORM.rindex(b"\r\n--xYzZ--") :])
        self.size = len(self._head.getvalue()) + size + len(self._tail.getvalue())

    def read(self, size: int = -1) -> bytes:
        if part := self._head.read(size):
            return part
        if self._left:
            part = b"x" * min(size, self._left)
            self._left -= len(part)
            return part
        return self._tail.read(size)


def memory_of_a_file(megabytes: int) -> tuple[int, int]:
    """The most that an upload and a download of a file take, both sides together, in bytes."""
    with vendor() as account:
        account.upload("warm")
        body = Endless(megabytes * MIB)
        headers = {**KEY, "Content-Type": "multipart/form-data; boundary=xYzZ", "Content-Length": str(body.size)}
        tracemalloc.start()
        try:
            answer = account.http.request("POST", account.url("files/upload"), body=body, headers=headers).json()
            up = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            url = account.url("files/retrieve_content") + f"&file_id={answer['file']['file_id']}"
            with account.http.request("GET", url, headers=KEY, preload_content=False) as sent:
                size = sum(map(len, sent.stream(65536)))
            down = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size == answer["file"]["bytes"] == megabytes * MIB == account.emulator.files[1].bytes
        return up, down


def test_a_file_does_not_sit_in_memory() -> None:
    assert max(memory_of_a_file(16)) < 4 * MIB


@pytest.mark.slow
def test_a_file_of_200_mb_does_not_sit_in_memory() -> None:
    assert max(memory_of_a_file(200)) < 4 * MIB


# -- what is in a file


def docx(*paragraphs: str) -> bytes:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    said = "".join(f"<w:p><w:r><w:t>{one[:2]}</w:t></w:r><w:r><w:t>{one[2:]}</w:t></w:r></w:p>" for one in paragraphs)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {space}><w:body>{said}</w:body></w:document>")
    return made.getvalue()


def pdf(text: bytes) -> bytes:
    stream = zlib.compress(b"BT /F1 12 Tf 72 720 Td (" + text + b") Tj 0 -14 Td (Second line) Tj ET")
    return b"%PDF-1.4\n1 0 obj\n<< /Filter /FlateDecode >>\nstream\n" + stream + b"\nendstream\nendobj\n"


TEXTS = [
    ("a.txt", "退货政策".encode("utf-8-sig"), "退货政策"), ("b.txt", "退货政策".encode("gb18030"), "退货政策"),
    ("c.jsonl", '{"q": "退货政策"}\n'.encode(), '{"q": "退货政策"}\n'),
    ("d.docx", docx("退货政策", "发货时间"), "退货政策\n发货时间"),
    ("e.pdf", pdf(rb"Refund policy \(7 days\)"), "Refund policy (7 days)\nSecond line"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "text"), TEXTS, ids=[row[0] for row in TEXTS])
def test_the_text_of_each_type_is_found(account: Vendor, name: str, data: bytes, text: str) -> None:
    file = account.upload(data, name)["file"]["file_id"]
    assert text_of(account.emulator.files[0].path, name) == text
    base = account.create(file_id=file)["knowledge_base_id"]
    account.emulator.settle()
    assert pieces(account.ask("minimax-pro", text[:6], base)) == [text]


@pytest.mark.parametrize(("name", "data"), [("a.docx", b"PK no zip"), ("a.pdf", b"no pdf"), ("a.txt", b"\xff\xff\xff")])
def test_a_file_that_cannot_be_read_makes_no_base(account: Vendor, name: str, data: bytes) -> None:
    refused = account.create(file_id=account.upload(data, name)["file"]["file_id"])
    assert code(refused) == 2013 and "cannot be parsed" in said(refused) and account.emulator.bases == []
