"""Faults of files and knowledge bases: after each one the emulator's own list says what was done. By raw HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3

from cnroute.emulator import FAULTS

from . import client
from .vendor import KEY, Vendor, code, pieces, vendor

CREATE, UPLOAD = "embedding/create_knowledge_base", "files/upload"
ADD = "embedding/add_document"


@pytest.fixture
def account() -> Iterator[Vendor]:
    with vendor() as one:
        yield one


def names(account: Vendor) -> tuple[list[str], list[str]]:
    """The names of the files and bases that the emulator holds."""
    return [file.name for file in account.emulator.files], [base.name for base in account.emulator.bases]


# A fault, what happens to an upload and to the creation of a base under it, and whether the work is done.
OUTCOMES: list[tuple[str, str, bool]] = [
    ("ok", "0", True), ("answer_lost", "raises", True), ("reset", "raises", False), ("close", "raises", False),
    ("done_http:502", "502", True), ("http_502", "502", False), ("http_503", "503", False), ("done_http", "504", True),
    ("done_code:1002", "1002", True), ("code:1002", "1002", False), ("code:2034", "2034", False), ("code:2036", "2036", False),
    ("code:1004", "1004", False), ("code:1008", "1008", False), ("done_code", "1001", True), ("rate_limit", "1002", False),
    ("half_body_reset", "raises", True), ("chunk_cut", "raises", True), ("early_413", "413", False),
    ("early_reset", "raises", False), ("slow:0.01", "0", True), ("ids_as_text", "0", True),
    ("error_with_text:1002", "1002", True),
]  # fmt: skip


def outcome(call: Callable[[], urllib3.BaseHTTPResponse]) -> str:
    """The HTTP status where it is an error, else the vendor's code; or that the connection broke."""
    try:
        answer = call()
    except (urllib3.exceptions.ProtocolError, OSError):
        return "raises"
    return str(answer.status) if answer.status != 200 else str(code(answer.json()))


@pytest.mark.parametrize(("fault", "told", "done"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_what_is_told_and_what_is_done(account: Vendor, fault: str, told: str, done: bool) -> None:
    """An answer that gets lost was still made; an answer that refuses was not."""
    body = {"operator_id": 7, "name": "b", "embedding_model": "kbq-001"}
    fields = {"purpose": "retrieval", "file": ("f.txt", b"x" * 300)}
    for path in (UPLOAD, CREATE):
        account.emulator.script(path, [fault])
    assert told == outcome(lambda: account.http.request("POST", account.url(UPLOAD), fields=fields, headers=KEY))
    assert told == outcome(lambda: account.http.request("POST", account.url(CREATE), json=body, headers=KEY))
    assert names(account) == ((["f.txt"], ["b"]) if done else ([], []))
    assert {entry.fault for entry in account.emulator.requests} == {fault}

    again = account.post(CREATE, **body)
    assert code(again) == 0 and names(account)[1] == ["b"], "the same operator_id ends in one base, whatever was told"
    assert again["knowledge_base_id"] == account.emulator.bases[0].id


@pytest.mark.parametrize("size", [0, 1000, 150_000])
def test_an_upload_is_cut_in_the_middle(account: Vendor, size: int) -> None:
    account.emulator.script(UPLOAD, [f"upload_cut:{size}"])
    with pytest.raises((urllib3.exceptions.ProtocolError, OSError)):
        account.upload("x" * 20_000_000)
    assert names(account) == ([], []) and account.emulator.requests[0].ended == "fault"
    assert code(account.upload("x")) == 0 and len(account.emulator.files) == 1


@pytest.mark.parametrize("provider", client.PROVIDERS)
def test_a_chat_call_can_be_cut_too(account: Vendor, provider: str) -> None:
    data = client.ask(account.emulator, provider, "长" * 50_000, fault="upload_cut:100000")
    assert (data.data, data.end) == (b"", "rst")


def test_a_creation_is_answered_twice(account: Vendor) -> None:
    """Two whole answers on one connection, one base."""
    account.emulator.script(CREATE, ["answer_twice"])
    body = json.dumps({"operator_id": 7, "name": "b", "embedding_model": "kbq-001"}).encode()
    head = f"POST /v1/{CREATE}?GroupId=17 HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", account.emulator.port)) as sock:
        sock.sendall(head.encode() + body)
        data = client.read(sock, after=0.2).data
    first, second = (client.Outcome(b"HTTP/1.1 " + part, "open", 0).json for part in data.split(b"HTTP/1.1 ")[1:])
    assert first == second and first["knowledge_base_id"] == account.emulator.bases[0].id
    assert names(account) == ([], ["b"])


@pytest.mark.parametrize("provider", client.PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_call_may_be_answered_twice_or_refused_behind_its_work(account: Vendor, provider: str, stream: bool) -> None:
    twice = client.ask(account.emulator, provider, fault="answer_twice", stream=stream, after=0.1)
    assert twice.data.count(b"HTTP/1.1 200") == 2
    named = client.ask(account.emulator, provider, fault="done_code:rate_limit", stream=stream)
    assert b"Throttling" in named.data or b"1002" in named.data


def test_loading_never_ends(account: Vendor) -> None:
    account.emulator.script(CREATE, ["loading_forever"])
    base = account.create(file_id=account.file())["knowledge_base_id"]
    account.emulator.script(CREATE, ["loading:0.01"])
    other = account.create("other", file_id=account.file())["knowledge_base_id"]
    while account.detail(other)["status"] == "loading":
        pass
    assert account.detail(base)["status"] == "loading" == account.emulator.bases[0].status
    assert code(account.change("delete_knowledge_base", knowledge_base_id=base)) == 2036
    account.emulator.settle()
    assert account.detail(base)["status"] == "available"
    assert code(account.change("delete_knowledge_base", knowledge_base_id=base)) == 0


def test_an_addition_that_loads_for_ever_makes_the_base_busy(account: Vendor) -> None:
    base = account.base()
    account.emulator.script(ADD, ["loading_forever"])
    added = account.change("add_document", knowledge_base_id=base, file_id=account.file("仓库"))
    assert code(added) == 0 and added["knowledge_base"]["status"] == "loading"
    assert code(account.change("delete_document", knowledge_base_id=base, file_id=added["file_id"])) == 2034


def test_ids_may_come_as_strings(account: Vendor) -> None:
    account.emulator.script(UPLOAD, ["ids_as_text"])
    file = account.upload()["file"]["file_id"]
    account.emulator.script(CREATE, ["ids_as_text"])
    created = account.create(file_id=file)
    assert (file, created["file_id"]) == (str(account.emulator.files[0].id),) * 2
    assert created["knowledge_base_id"] == created["knowledge_base"]["knowledge_base_id"] == str(account.emulator.bases[0].id)
    assert created["knowledge_base"]["docs"] == [{"file_id": file}] and code(created) == 0
    account.emulator.settle()
    answer = client.ask(
        account.emulator, "minimax-pro", "退货", fault="ids_as_text",
        knowledge_base_param={"knowledge_base_id": account.emulator.bases[0].id},
    ).json  # fmt: skip
    assert answer["knowledge_base"]["knowledge_base_id"] == str(account.emulator.bases[0].id) and pieces(answer)


@pytest.mark.parametrize(("fault", "part"), [("half_body_reset", 50_000), ("short_body", 100_000), ("short_body:1", 100_000)])
def test_a_download_is_cut_in_the_middle(account: Vendor, fault: str, part: int) -> None:
    file = account.file("x" * 100_000)
    account.emulator.script("files/retrieve_content", [fault, "gzip"])
    url = account.url("files/retrieve_content") + f"&file_id={file}"
    with pytest.raises((urllib3.exceptions.ProtocolError, OSError)):
        account.http.request("GET", url, headers=KEY)
    assert account.http.request("GET", url, headers=KEY).data == b"x" * 100_000
    assert account.http.request("GET", url, headers=KEY).headers["content-length"] == "100000"


# -- at the same time


def test_changes_at_the_same_time_are_one_behind_the_other(account: Vendor) -> None:
    """Of many changes of one base one is let in until it has loaded; the others are told to wait."""
    account.emulator.script(ADD, ["loading_forever"] * 8)
    base = account.base()
    files = [account.file(f"文件{number}", f"{number}.txt") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda file: account.change("add_document", knowledge_base_id=base, file_id=file), files))
    assert sorted(map(code, answers)) == [0] + [2034] * 7
    assert len(account.emulator.bases[0].documents) == 2


def test_a_base_is_deleted_while_a_document_is_added() -> None:
    """Whoever comes first wins; the other is told, and nothing is half done."""
    with vendor(loading=3600) as account:
        for _ in range(5):
            base, file = account.base(), account.file("长文。" * 20_000)
            with ThreadPoolExecutor(2) as pool:
                adding = pool.submit(account.change, "add_document", knowledge_base_id=base, file_id=file)
                deleting = pool.submit(account.change, "delete_knowledge_base", knowledge_base_id=base)
            told = code(adding.result()), code(deleting.result())
            assert told in ((0, 2036), (2013, 0))
            assert [len(one.documents) for one in account.emulator.bases] == ([2] if told[0] == 0 else [])
            account.emulator.empty()


def test_one_operator_id_at_the_same_time_makes_one_base(account: Vendor) -> None:
    barrier = threading.Barrier(8)

    def create(_number: int) -> Any:
        barrier.wait()
        return account.create(operator_id=7)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert all(answer == answers[0] for answer in answers) and code(answers[0]) == 0
    assert len(account.emulator.bases) == 1


# -- every fault of the table


def test_every_fault_can_meet_files_and_bases(account: Vendor) -> None:
    """None of them breaks the emulator, leaves bytes on disk, or is done more than once."""
    file = account.file()
    form = (
        b"--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nretrieval\r\n--b\r\nContent-Disposition: form-data; "
        b"name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n"
    )  # fmt: skip
    requests = {
        UPLOAD: ("POST", "", form), "files/list": ("GET", "", b""), "files/retrieve_content": ("GET", f"&file_id={file}", b""),
        CREATE: ("POST", "", json.dumps({"operator_id": 7, "name": "b", "embedding_model": "kbq-001"}).encode()),
    }  # fmt: skip

    def meet(path: str) -> client.Outcome:
        method, query, body = requests[path]
        head = [f"{method} /v1/{path}?GroupId=17{query} HTTP/1.1", "Authorization: Bearer k", f"Content-Length: {len(body)}"]
        head += ["Content-Type: multipart/form-data; boundary=b"] if path == UPLOAD else []
        with socket.create_connection(("127.0.0.1", account.emulator.port)) as sock:
            sock.sendall("\r\n".join([*head, "", ""]).encode() + body)
            return client.read(sock, quiet=0.05, total=0.2, most=100_000)

    small = {"gzip_bomb": ":1", "huge_json": ":1", "stream_long_line": ":1"}
    faults = [name + small.get(name, "") for name, row in FAULTS.items() if row.applies != "connection"]
    with ThreadPoolExecutor(len(requests)) as pool:
        for number, fault in enumerate(faults, start=1):
            for path in requests:
                account.emulator.script(path, [fault])
            list(pool.map(meet, requests))
            while len(account.emulator.requests) < 4 * number + 1:
                time.sleep(0.001)
            assert len(account.emulator.bases) <= 1
            assert {entry.fault for entry in account.emulator.requests[-4:]} == {fault}
    kept = account.emulator.files
    assert {path.name for path in kept[0].path.parent.iterdir()} <= {*(one.path.name for one in kept), "index.sqlite"}
    assert code(account.upload()) == 0 and account.emulator.bases[0].name == "b"
