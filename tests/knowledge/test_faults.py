"""Faults at each step: a typed error or success, and what the error names is what the vendor has."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.testing import capture_notices
from tests.knowledge.conftest import QUICK, Make
from tests.knowledge.vendor import (
    GROUP,
    KEY,
    Exchange,
    Vendor,
    code,
    cut_upload,
    half,
    lost,
    saying,
    silent,
    status,
    twice,
    unheard,
)

UPLOAD, CREATE, ADD = "/files/upload", "/embedding/create_knowledge_base", "/embedding/add_document"
DELETE, GET, LIST = "/embedding/delete_knowledge_base", "/embedding/query_knowledge_base", "/embedding/list_knowledge_base"
LARGE = b"0123456789abcdef" * 65536
HUGE = LARGE * 16  # more than sockets hold, so that a cut comes while it is written


def agrees(error: cnroute.CallError, vendor: Vendor) -> None:
    """What the error and its record name is what the vendor has, file for file and base for base; and it says what is next."""
    assert error.ids.get("files", ()) == tuple(vendor.files)
    assert error.ids.get("bases", ()) == tuple(vendor.bases)
    record = json.loads(json.dumps(error.record()))
    assert {name: tuple(ids) for name, ids in record["error"]["ids"].items()} == error.ids
    assert record["error"]["advice"] == error.advice != ""
    assert any(error.advice in note for note in error.__notes__)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.ids, copy.advice, copy.attempts) == (error.ids, error.advice, error.attempts)
    shown = f"{error} {error.__notes__} {error.__dict__} {record}"
    assert KEY not in shown and GROUP not in shown


# -- uploading


def test_an_upload_that_is_cut_once_is_sent_again(kb: Any, vendor: Vendor) -> None:
    """What was not sent to its end cannot have been stored, so nothing is stored twice."""
    vendor.fail(UPLOAD, cut_upload)
    told: list[int] = []
    file = kb.upload(HUGE, name="a.txt", progress=lambda sent, size: told.append(sent))
    assert list(vendor.files) == [file.id] and vendor.contents[file.id] == HUGE
    assert told.count(65536) == 2


def test_an_upload_that_is_always_cut_has_stored_nothing(kb: Any, vendor: Vendor) -> None:
    """Three attempts, then the error; the list was looked at."""
    vendor.fail(UPLOAD, *[cut_upload] * 9)
    with pytest.raises(cnroute.ConnectionFailedError) as caught:
        kb.upload(HUGE, name="a.txt")
    assert (len(caught.value.attempts), len(vendor.asked(UPLOAD)), vendor.files) == (3, 3, {})
    agrees(caught.value, vendor)


@pytest.mark.parametrize("fault", [lost, silent])
def test_an_upload_whose_answer_is_lost_is_named(kb: Any, vendor: Vendor, fault: Any) -> None:
    """It may be stored, so it is not sent again; the list tells the id that the answer would have told."""
    other = kb.upload(b"another", name="b.txt")
    kb.delete_file(other.id)
    kb.upload(b"other size", name="a.txt")
    vendor.files.clear()
    vendor.fail(UPLOAD, fault)
    begun = time.monotonic()
    with pytest.raises((cnroute.ConnectionFailedError, cnroute.CallTimeoutError)) as caught:
        kb.upload(b"the text", name="a.txt", timeout=1.5)
    assert time.monotonic() - begun < 1.5 + 0.5
    assert len(vendor.files) == 1 and len(caught.value.attempts) == 1
    agrees(caught.value, vendor)


def test_an_upload_that_nobody_heard_is_not_named(kb: Any, vendor: Vendor) -> None:
    """The same silence, but the vendor has nothing; a file of the same name and size from long ago is none of it."""
    old = kb.upload(b"the text", name="a.txt")
    vendor.files[old.id]["created_at"] -= 3600
    vendor.fail(UPLOAD, unheard)
    with pytest.raises(cnroute.ConnectionFailedError) as caught:
        kb.upload(b"the text", name="a.txt")
    vendor.files.pop(old.id)
    agrees(caught.value, vendor)


def test_a_file_that_was_stored_in_part_is_an_error(kb: Any, vendor: Vendor) -> None:
    """The vendor counts fewer bytes than were sent: the error names the file."""
    vendor.files[7] = {"file_id": 7, "bytes": 3, "filename": "a.txt"}
    vendor.fail(UPLOAD, saying({"file": vendor.files[7]}))
    with pytest.raises(cnroute.ResponseError, match="3 of 8 bytes") as caught:
        kb.upload(b"the text", name="a.txt")
    agrees(caught.value, vendor)


def test_a_file_that_changes_meanwhile_is_not_uploaded(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """One that grows, one that shrinks, one that goes away between attempts."""
    path = tmp_path / "a.txt"
    for change in (lambda: path.write_bytes(HUGE * 2), lambda: path.write_bytes(HUGE[:-1]), path.unlink):
        path.write_bytes(HUGE)
        called: list[int] = []

        def progress(sent: int, size: int, change: Any = change, called: list[int] = called) -> None:
            called.append(sent)
            if len(called) == 1:
                change()

        # More than are needed: the connection of the change before may come to the vendor late, and take one.
        vendor.fail(UPLOAD, *[cut_upload] * 4)
        with pytest.raises(cnroute.BadRequestError, match=r"the file (changed|grew|cannot be read)") as caught:
            kb.upload(path, progress=progress)
        vendor.faults.clear()
        assert vendor.files == {}
        agrees(caught.value, vendor)


# -- creating


@pytest.mark.parametrize("fault", [lost, unheard, status(500), status(503), code(1002), code(1000), saying(b"<html>")])
def test_create_is_repeated_under_its_number(kb: Any, vendor: Vendor, fault: Any) -> None:
    """Whatever became of the first request, there is one base at the end, and it is the one that is returned."""
    vendor.fail(CREATE, fault)
    base = kb.create("faq")
    assert list(vendor.bases) == [base.id]
    first, second = vendor.asked(CREATE)
    assert first.json() == second.json()


def test_create_answered_twice(kb: Any, vendor: Vendor) -> None:
    """The second answer on the wire is nobody's: the next operation gets its own."""
    vendor.fail(CREATE, twice)
    base = kb.create("faq")
    assert list(vendor.bases) == [base.id]
    assert kb.get(base.id).name == "faq"
    assert kb.create("other").id != base.id


def test_create_without_any_answer_names_the_base(kb: Any, vendor: Vendor) -> None:
    """The base is found by its name, and the number of the operation can be used again, here or elsewhere."""
    file = kb.upload(b"the text", name="a.txt")
    vendor.fail(CREATE, *[lost] * 4)  # one of them on a kept connection, where the transport itself asks again
    with pytest.raises(cnroute.ConnectionFailedError) as caught:
        kb.create("faq", file.id)
    assert len(vendor.bases) == 1
    agrees(caught.value, vendor)
    (number,) = caught.value.ids["operations"]
    assert {exchange.json()["operator_id"] for exchange in vendor.asked(CREATE)} == {number}
    assert kb.create("faq", file.id, operator_id=number).id == next(iter(vendor.bases))
    assert len(vendor.bases) == 1


def test_a_name_that_is_taken_is_the_vendors_error(kb: Any, vendor: Vendor) -> None:
    """Typed, with the code; the older base is not taken for one of this operation."""
    kb.create("faq")
    with pytest.raises(cnroute.BadRequestError, match="taken") as caught:
        kb.create("faq")
    assert (caught.value.vendor_code, caught.value.ids.get("bases", ()), len(caught.value.attempts)) == ("2013", (), 2)
    assert "choose another" in caught.value.advice


def test_the_wrong_group(make: Make, vendor: Vendor) -> None:
    """1004 at each step: nothing is made, the key and the group stand nowhere, and the advice names the pair."""
    kb = make()
    file = kb.upload(b"the text", name="a.txt")
    base = kb.create("faq", file.id)
    wrong = make(group_id="1800000000000000777")
    steps = (
        lambda: wrong.upload(b"x", name="b.txt"), lambda: wrong.create("new", file.id), wrong.list_files, wrong.list,
        lambda: wrong.add_document(base.id, file.id), lambda: wrong.wait(base.id), lambda: wrong.delete(base.id),
        lambda: wrong.delete_file(file.id),
    )  # fmt: skip
    for step in steps:
        with pytest.raises(cnroute.AuthenticationError) as caught:
            step()
        assert caught.value.vendor_code == "1004" and "of one account" in caught.value.advice
        assert "1800000000000000777" not in f"{caught.value} {caught.value.__notes__}"
        assert not caught.value.retryable
    assert (list(vendor.files), list(vendor.bases)) == ([file.id], [base.id])


# -- busy


@pytest.mark.parametrize("number", [2034, 2036])
def test_busy_answers_are_waited_out(kb: Any, vendor: Vendor, number: int) -> None:
    """The same write, under the same number, until the base is free."""
    base, file = kb.create("faq"), kb.upload(b"the text", name="a.txt")
    vendor.fail(ADD, code(number), code(number))
    kb.add_document(base.id, file.id)
    asked = vendor.asked(ADD)
    assert len(asked) == 3 and len({exchange.body for exchange in asked}) == 1
    assert vendor.bases[base.id]["docs"] == [{"file_id": file.id}]


def test_a_base_that_stays_busy_is_the_vendors_error(kb: Any, vendor: Vendor) -> None:
    """Within the timeout, with the code, and with what exists."""
    base, file = kb.create("faq"), kb.upload(b"the text", name="a.txt")
    vendor.fail(ADD, *[code(2034)] * 99)
    begun = time.monotonic()
    with pytest.raises(cnroute.ServerError) as caught:
        kb.add_document(base.id, file.id, timeout=1)
    assert time.monotonic() - begun < 1.4
    assert (caught.value.kind, caught.value.vendor_code, caught.value.retryable) == ("overloaded", "2034", True)
    assert 2 <= len(caught.value.attempts) == len(vendor.asked(ADD))
    agrees(caught.value, vendor)


# -- loading


def test_loading_that_never_ends(kb: Any, vendor: Vendor) -> None:
    """The deadline ends the waiting, and the base is named: it goes on loading."""
    vendor.polls_until_available = 10**6
    base = kb.create("faq")
    begun = time.monotonic()
    with pytest.raises(cnroute.DeadlineExceededError, match=f"{base.id} is still loading") as caught:
        kb.wait(base.id, timeout=0.8)
    assert time.monotonic() - begun < 1.2
    agrees(caught.value, vendor)
    vendor.polls_until_available = 1
    assert kb.wait(base.id).available


def test_a_base_that_goes_away_while_it_loads(kb: Any, vendor: Vendor) -> None:
    """The vendor's own refusal, and no base is named any more."""
    vendor.polls_until_available = 10**6
    base = kb.create("faq")
    threading.Timer(0.3, vendor.bases.clear).start()
    with pytest.raises(cnroute.BadRequestError, match="no such knowledge base") as caught:
        kb.wait(base.id, timeout=5)
    agrees(caught.value, vendor)


# -- deleting


def test_delete_during_add_in_one_client(vendor: Vendor) -> None:
    """They take turns in the order in which they came: both succeed, and the vendor never sees two at once."""
    inside: list[int] = []
    most: list[int] = []

    def slowly(exchange: Exchange) -> None:
        exchange.read_body()
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        inside.pop()
        exchange.reply(exchange.vendor.act(exchange))

    with cnroute.KnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK) as kb:
        base, file = kb.create("faq"), kb.upload(b"the text", name="a.txt")
        vendor.fail(ADD, slowly, slowly)
        vendor.fail(DELETE, slowly)
        threads = [threading.Thread(target=kb.add_document, args=(base.id, file.id)) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.03)
        kb.delete(base.id)
        for thread in threads:
            thread.join()
        assert kb._flows.turns.waiting() == 0
    assert (max(most), len(most), vendor.bases) == (1, 3, {})


def test_operations_of_tasks_take_turns(vendor: Vendor) -> None:
    """In the asynchronous client too; a task that is cancelled while it waits leaves the queue."""

    async def scene() -> None:
        async with cnroute.AsyncKnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK) as kb:
            base = await kb.create("faq")
            other = await kb.create("other")
            vendor.fail(ADD, silent)
            stuck = asyncio.create_task(kb.add_document(base.id, 1))
            await asyncio.sleep(0.05)
            waiting = [asyncio.create_task(kb.add_document(base.id, number)) for number in (2, 3)]
            await asyncio.sleep(0.05)
            await kb.add_document(other.id, 4)  # another base waits for nobody
            waiting[0].cancel()
            stuck.cancel()
            await waiting[1]
            for task in (stuck, waiting[0]):
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert kb._flows.turns.waiting() == 0
            assert [each["file_id"] for each in vendor.bases[base.id]["docs"]] == [1, 3]

    asyncio.run(scene())


def test_a_turn_that_does_not_come(vendor: Vendor) -> None:
    """Waiting for one's turn counts against the timeout, and nothing was sent."""
    with cnroute.KnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK) as kb:
        base = kb.create("faq")
        ticket = kb._flows.turns.ask(base.id, lambda: None)
        with pytest.raises(cnroute.DeadlineExceededError, match="same base") as caught:
            kb.add_document(base.id, 1, timeout=0.3)
        assert (caught.value.billing, vendor.asked(ADD)) == ("none", [])
        ticket.end()
        kb.add_document(base.id, 1)


def test_delete_during_add_by_somebody_else(kb: Any, vendor: Vendor) -> None:
    """Another client deletes the base while this one waits for it: the error names the file and no base."""
    base, file = kb.create("faq"), kb.upload(b"the text", name="a.txt")

    def deleted(exchange: Exchange) -> None:
        vendor.bases.clear()
        code(2034)(exchange)

    vendor.fail(ADD, deleted)
    with pytest.raises(cnroute.BadRequestError, match="no such knowledge base") as caught:
        kb.add_document(base.id, file.id)
    assert len(caught.value.attempts) == 2
    agrees(caught.value, vendor)


@pytest.mark.parametrize("fault", [lost, unheard])
def test_deleting_is_repeated(kb: Any, vendor: Vendor, fault: Any) -> None:
    """A base and a file are gone at the end, whether or not the first request had done it already."""
    base, file = kb.create("faq"), kb.upload(b"the text", name="a.txt")
    vendor.fail(DELETE, fault)
    vendor.fail("/files/delete", fault)
    kb.delete(base.id)
    kb.delete_file(file.id)
    assert vendor.bases == vendor.files == {}
    with pytest.raises(cnroute.BadRequestError) as caught:
        kb.delete_file(file.id)
    agrees(caught.value, vendor)


# -- downloading


def test_a_download_that_breaks_is_begun_anew(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """Half of it, an error of the vendor, a status; then the whole file."""
    file = kb.upload(LARGE, name="a.txt")
    path = "/files/retrieve_content"
    vendor.fail(path, half)
    assert kb.download(file.id, tmp_path / "a") == len(LARGE)
    vendor.fail(path, code(1002), status(502))
    assert kb.download(file.id, tmp_path / "b") == len(LARGE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == LARGE


@pytest.mark.parametrize(("fault", "kind"), [
    (half, "connection_lost"), (code(1000), "server_error"), (code(2044), "permission"), (saying(b"x" * 9), "connection_lost"),
    (saying(LARGE * 2), "connection_lost"), (status(404), "bad_request"), (saying({"base_resp": None}), "connection_lost"),
])  # fmt: skip
def test_a_download_that_fails_leaves_nothing(kb: Any, vendor: Vendor, tmp_path: Path, fault: Any, kind: str) -> None:
    """No target, no part of it, and the kind of what went wrong."""
    file = kb.upload(LARGE, name="a.txt")
    vendor.fail("/files/retrieve_content", *[fault] * 3)
    with pytest.raises(cnroute.CallError) as caught:
        kb.download(file.id, tmp_path / "a")
    assert caught.value.kind == kind
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_told_as_such(kb: Any, vendor: Vendor, tmp_path: Path) -> None:
    """A folder that does not exist is the caller's, not the vendor's."""
    file = kb.upload(b"the text", name="a.txt")
    with pytest.raises(cnroute.BadRequestError, match="target cannot be written"):
        kb.download(file.id, tmp_path / "no" / "a")


# -- what is told


def test_every_request_is_an_attempt(kb: Any, vendor: Vendor) -> None:
    """The record counts what arrived; only the look at the lists afterwards is no attempt."""
    vendor.fail(GET, *[status(503)] * 3)
    with pytest.raises(cnroute.ServerError) as caught:
        kb.get(5)
    error = caught.value
    assert [attempt.http_status for attempt in error.attempts] == [503] * 3 and len(vendor.asked(GET)) == 3
    assert (error.provider, error.deployment, error.http_status, error.billing) == ("minimax-pro", "knowledge", 503, "none")
    assert [attempt.number for attempt in error.attempts] == [1, 2, 3]
    assert error.call_id and error.seconds is not None and len(vendor.asked(LIST)) == 1
    assert error.explain() and error.explain("zh")


def test_every_operation_is_told_once(make: Make, vendor: Vendor, caplog: pytest.LogCaptureFixture) -> None:
    """Observers get one notice, the log one line, with ids as text and no key."""
    caplog.set_level(logging.DEBUG, "cnroute")
    kb = make()
    with capture_notices(kb.client) as notices:
        file = kb.upload(b"the text", name="a.txt")
        with pytest.raises(cnroute.BadRequestError):
            kb.get(5)
        with pytest.raises(cnroute.BadRequestError):
            kb.get("five")
    told = [notice for notice in notices if isinstance(notice, cnroute.KnowledgeFinished)]
    assert [(notice.operation, notice.outcome, notice.ids["files"]) for notice in told] == [
        ("upload", "ok", (file.id,)), ("get", "bad_request", ()),
    ]
    first, second = [record for record in caplog.records if record.message == "knowledge finished"]
    assert (first.name, first.levelname, first.files) == ("cnroute.knowledge", "INFO", str(file.id))  # type: ignore[attr-defined]
    assert (second.vendor_code, second.looked, second.bases) == ("2013", True, "")  # type: ignore[attr-defined]
    assert KEY not in caplog.text and all(KEY not in str(vars(record)) for record in caplog.records)


def test_closing_cancels_what_runs(vendor: Vendor) -> None:
    """From another thread: the operation ends at once as cancelled."""
    kb = cnroute.KnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK)
    vendor.fail(GET, silent)
    threading.Timer(0.2, kb.close).start()
    begun = time.monotonic()
    with pytest.raises(cnroute.CallCancelledError):
        kb.wait(1, timeout=5)
    assert time.monotonic() - begun < 1


def test_a_cancelled_task_frees_its_socket(vendor: Vendor) -> None:
    """CancelledError, untouched; the vendor sees the end of the connection, and the client goes on."""
    ended = threading.Event()

    def watching(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.sock.recv(1)
        ended.set()

    async def scene() -> None:
        async with cnroute.AsyncKnowledgeClient(KEY, GROUP, base_url=vendor.base_url, **QUICK) as kb:
            vendor.fail("/files/list", watching)
            task = asyncio.create_task(kb.list_files())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended.wait(1)
            assert await kb.list_files() == ()

    asyncio.run(scene())
