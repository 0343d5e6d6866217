# ruff: noqa: E501 (tables are wider)
"""The vendors' own sample programs, with only host, key and model put in, get the predicted answers.

The files under ``samples/`` are the vendors' text (seeds 000 to 003) as it stands on their pages.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnroute.emulator import Emulator, answers

from .vendor import Vendor

STORY = "聪聪是一只小猪,齐天是书中的主角。"
SAMPLES = Path(__file__).parent / "samples"
pytestmark = pytest.mark.filterwarnings("default")


def filled(name: str, emulator: Emulator) -> str:
    """The sample with host, key, group, model and knowledge base put in."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    for old, new in {
        "https://api.minimax.chat": emulator.url, "https://dashscope.aliyuncs.com": emulator.url, "请填写您的group_id": "17",
        "请填写您的api_key": "key", "替换成具体的模型名,例如:abab6.5s-chat": "abab6.5s-chat", "${knowledge_base_id}": "863831823174049792",
        "${group_id}": "17", "$DASHSCOPE_API_KEY": "key", "'Authorization;'": "'Authorization: Bearer key'",
    }.items():  # fmt: skip
        text = text.replace(old, new)
    return text


def fill_base(emulator: Emulator) -> None:
    """The knowledge base that the samples ask, its first id the one that the vendor's pages show."""
    account = Vendor(emulator)
    assert account.base(STORY) == 863831823174049792
    account.http.clear()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["pro_plain", "v2_plain", "legacy_retrieval"])
def test_plain_samples(emulator: Emulator, name: str) -> None:
    pytest.importorskip("requests")
    fill_base(emulator)
    printed = run(sys.executable, "-X", "utf8", "-c", filled(f"{name}.py", emulator))
    document = json.loads(printed.splitlines()[-1])
    entry = emulator.requests[-1]
    text = document.get("reply") or document["choices"][0]["message"]["content"]
    told = "根据资料:" + STORY if name == "legacy_retrieval" else emulator.answer(_question(entry.body))
    assert text == entry.answered == told
    assert document["base_resp"]["status_code"] == 0 and entry.ended == "done"
    assert ("knowledge_base" in document) == (name == "legacy_retrieval")


@pytest.mark.parametrize("name", ["pro_stream", "v2_stream"])
def test_streamed_samples(emulator: Emulator, name: str) -> None:
    pytest.importorskip("requests")
    printed = run(sys.executable, "-X", "utf8", "-c", filled(f"{name}.py", emulator))
    lines = [json.loads(line.removeprefix("data: ")) for line in printed.splitlines()]
    (entry,) = emulator.requests
    assert len(lines) > 3 and entry.stream and entry.answered == emulator.answer(_question(entry.body))
    last = lines[-1]
    assert (last.get("reply") or last["choices"][0]["message"]["content"]) == entry.answered


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("sh") is None, reason="no curl")
@pytest.mark.parametrize("name", ["dashscope_abab", "dashscope_yi", "legacy_retrieval"])
def test_curl_samples(emulator: Emulator, name: str) -> None:
    fill_base(emulator)
    document = json.loads(run("sh", "-c", filled(f"{name}.sh", emulator)))
    if name == "legacy_retrieval":
        assert document["reply"] == "根据资料:" + STORY and document["knowledge_base"]["chunks"][0]["content"] == STORY
    else:
        assert document["output"]["choices"][0]["message"]["content"] == "你好!今天我能帮你什么?" == answers.answer("你好")


def _question(body: object) -> str:
    assert isinstance(body, dict)
    last = body["messages"][-1]
    return str(last.get("text") or last.get("content"))
