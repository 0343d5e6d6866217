"""The client against the project's emulator: two readings of the vendor's pages, and every fault at every step."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.emulator import FAULTS, Emulator

KEY, GROUP = "sk-canary-1c9e", "1700000000000000042"
SHORT: dict[str, Any] = {
    "timeouts": cnroute.Timeouts(total=4, connect=1, first_byte=1, idle=0.8, write=1, pool=1),
    "retries": cnroute.Retries(backoff=0.01, throttled_backoff=0.02, max_wait=0.3),
    "limits": cnroute.Limits(max_response_bytes=2**20, max_stream_bytes=2**22),
}
CONTENT = "退货政策:七天之内可以退货。\n".encode() * 300


@pytest.fixture
def vendor(shared_emulator: Emulator) -> Iterator[Emulator]:
    shared_emulator.reset()
    shared_emulator.empty()
    yield shared_emulator
    shared_emulator.reset()


def client(vendor: Emulator) -> cnroute.KnowledgeClient:
    return cnroute.KnowledgeClient(KEY, GROUP, base_url=vendor.base_url("minimax-knowledge"), **SHORT)


def test_the_three_steps_and_all_others(vendor: Emulator, tmp_path: Path) -> None:
    """What the emulator keeps is what the client was told."""
    with client(vendor) as kb:
        first, second = kb.upload(CONTENT, name="一.txt"), kb.upload(b'{"text": "hello"}', name="b.jsonl")
        assert [(file.id, file.name, file.bytes) for file in kb.list_files()] == [
            (file.id, file.name, file.bytes) for file in vendor.files
        ]
        base = kb.wait(kb.create("faq", first.id, chunk_size=100, chunk_overlap=10, description="all").id)
        kb.add_document(base.id, second.id)
        assert kb.get(base.id).status == "loading"
        kb.update_document(base.id, first.id, chunk_size=50)  # busy until the document before it is in
        kb.wait(base.id)
        (kept,) = vendor.bases
        assert [(each.file_id, each.params.chunk_size) for each in kept.documents] == [(first.id, 50), (second.id, 500)]
        assert kb.get_document(base.id, second.id).file_id == second.id
        kb.delete_document(base.id, first.id)
        assert kb.download(first.id, tmp_path / "a") == len(CONTENT)
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert [each.name for each in kb.list(page_size=1)] == ["faq"]
        kb.delete(base.id)  # busy after the change, so it is waited for
        kb.delete_file(second.id)
    assert (vendor.bases, [file.id for file in vendor.files]) == ([], [first.id])
    assert any(entry.fault == "refused" for entry in vendor.requests)


def test_the_vendors_limits_are_its_errors(vendor: Emulator) -> None:
    """What the client cannot know is refused by the vendor, typed and with its code."""
    with client(vendor) as kb, pytest.raises(cnroute.QuotaExceededError) as caught:
        kb.create("long", kb.upload(b"word " * 500_000, name="a.txt").id)
    assert caught.value.vendor_code == "2033" and "split the file" in caught.value.advice
    assert vendor.bases == [] and caught.value.ids["files"] == tuple(file.id for file in vendor.files)


# -- every fault at every step


class Stage:
    """A file and a base that are there before an operation, and what the operation is about."""

    def __init__(self, kb: cnroute.KnowledgeClient, vendor: Emulator) -> None:
        self.kb = kb
        self.file = kb.upload(b"first", name="first.txt")
        self.more = kb.upload(b"second", name="second.txt")
        self.base = kb.create("first", self.file.id)
        vendor.settle()


STEPS: dict[str, tuple[str, Any]] = {
    "upload": ("files/upload", lambda stage, folder: stage.kb.upload(CONTENT, name="new.txt")),
    "create": ("embedding/create_knowledge_base", lambda stage, folder: stage.kb.create("new", stage.file.id)),
    "add": ("embedding/add_document", lambda stage, folder: stage.kb.add_document(stage.base.id, stage.more.id)),
    "update": ("embedding/update_document", lambda stage, folder: stage.kb.update_document(stage.base.id, stage.file.id)),
    "wait": ("embedding/query_knowledge_base", lambda stage, folder: stage.kb.wait(stage.base.id)),
    "delete": ("embedding/delete_knowledge_base", lambda stage, folder: stage.kb.delete(stage.base.id)),
    "delete file": ("files/delete", lambda stage, folder: stage.kb.delete_file(stage.more.id)),
    "download": ("files/retrieve_content", lambda stage, folder: stage.kb.download(stage.file.id, folder / "got")),
}
# A success that was none: the vendor says 0 and has done nothing, and only looking again would tell.
LIES = {(step, "choices_null") for step in ("add", "delete", "delete file")}
ALL = [(step, fault) for step in STEPS for fault in sorted(FAULTS) if FAULTS[fault].applies != "connection"]
# Faults that do not wait: a run by default takes seconds.
_SLOW = re.compile("hang|slow|drip|silent|endless|stall|forever|pings|bomb|huge|retry_after|late|continue|delay|timeout")
CHOSEN = random.Random(7).sample([pair for pair in ALL if not _SLOW.search(pair[1]) and pair not in LIES], 40)


def play(vendor: Emulator, folder: Path, step: str, fault: str, times: int) -> None:
    """One operation with `times` faults in a row: success or a typed error, in time; what it names is what the emulator has."""
    script, act = STEPS[step]
    vendor.empty()
    vendor.reset()
    with client(vendor) as kb:
        stage = Stage(kb, vendor)
        files, bases = {each.id for each in vendor.files}, {each.id for each in vendor.bases}
        vendor.reset()
        vendor.script(script, [fault] * times)
        begun = time.monotonic()
        try:
            result = act(stage, folder)
        except cnroute.CallError as error:
            named = {name: set(ids) for name, ids in error.ids.items()}
            check(vendor, stage, step, error, named, files, bases)
        else:
            succeeded(vendor, stage, step, result, files, bases, folder)
        assert time.monotonic() - begun < 4 + 1
        vendor.reset()
        assert {each.id for each in kb.list_files()} == {each.id for each in vendor.files}  # the client goes on
    assert kb.transport.idle_connections() == 0
    assert [path.name for path in folder.iterdir()] in ([], ["got"])


def check(
    vendor: Emulator, stage: Stage, step: str, error: cnroute.CallError, named: dict[str, set[int]], files: set[int],
    bases: set[int],
) -> None:
    kept_files, kept_bases = {each.id for each in vendor.files}, {each.id for each in vendor.bases}
    about_files = {"create": {stage.file.id}, "add": {stage.more.id}, "update": {stage.file.id}, "delete file": {stage.more.id},
                   "download": {stage.file.id}}.get(step, set())  # fmt: skip
    about_bases = {stage.base.id} if step in ("add", "update", "wait", "delete") else set()
    assert named.get("files", set()) == (kept_files - files) | (about_files & kept_files), (error, error.ids)
    assert named.get("bases", set()) == (kept_bases - bases) | (about_bases & kept_bases), (error, error.ids)
    assert error.advice and error.attempts and len(str(error)) <= 2000
    record = json.dumps(error.record(), ensure_ascii=False)
    assert KEY not in record and GROUP not in record and KEY not in str(error.__dict__)


def succeeded(
    vendor: Emulator, stage: Stage, step: str, result: Any, files: set[int], bases: set[int], folder: Path
) -> None:
    kept_files, kept_bases = {each.id for each in vendor.files}, {each.id for each in vendor.bases}
    more = {"upload": files, "create": bases}.get(step)
    if more is not None:
        more.add(result.id)
    files -= {stage.more.id} if step == "delete file" else set()
    bases -= {stage.base.id} if step == "delete" else set()
    assert (kept_files, kept_bases) == (files, bases)
    if step == "add":
        assert stage.more.id in [each.file_id for each in vendor.bases[0].documents]
    if step == "download":
        assert (folder / "got").read_bytes() == b"first"


@pytest.mark.parametrize("number", range(40))
def test_a_fault_at_a_step(vendor: Emulator, tmp_path: Path, number: int) -> None:
    """A seeded choice of all faults at all steps, once and again and again."""
    step, fault = CHOSEN[number]
    play(vendor, tmp_path, step, fault, 1 + 8 * (number % 2))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("step", STEPS)
def test_every_fault_at_every_step(vendor: Emulator, tmp_path: Path, step: str) -> None:
    """Sixteen hundred pairs, each once and with the fault at every attempt."""
    wrong = []
    for number, (_, fault) in enumerate(pair for pair in ALL if pair[0] == step and pair not in LIES):
        for times in (1, 9):
            folder = tmp_path / f"{number}-{times}"
            folder.mkdir()
            try:
                play(vendor, folder, step, fault, times)
            except (AssertionError, cnroute.CallError) as problem:
                wrong.append((fault, times, repr(problem)[:300]))
    assert wrong == []
