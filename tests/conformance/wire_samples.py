"""The wire cases as samples of the kit, and the samples in the folder beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.wire_cases import CASES

_ANSWERED = ("text", "finish_reason", "usage", "request_id")


def samples(provider: str) -> list[dict[str, Any]]:
    """Every wire case of a provider, and its own samples."""
    files = sorted((Path(__file__).parent / "samples" / provider).glob("*.json"))
    own = [{"name": file.stem, **json.loads(file.read_text("utf-8"))} for file in files]
    return own + [sample(case) for case in CASES if case["provider"] == provider]


def sample(case: dict[str, Any]) -> dict[str, Any]:
    """A wire case as a sample. The stream's mode of DashScope is part of the call, as it was of the recording."""
    return {
        "name": case["id"], "call": _call(case), "stream": bool(case["request"].get("stream")), "status": case["http_status"],
        "headers": case["headers"], "body": case["body"], "expect": _expect(case["expect"]),
    }  # fmt: skip


def _call(case: dict[str, Any]) -> dict[str, Any]:
    call: dict[str, Any] = {"messages": "你好", "model": case["request"]["model"]}
    if case["provider"] == "dashscope" and case["request"].get("stream"):
        wanted = bool(case["request"].get("parameters", {}).get("incremental_output"))
        call["extra"] = {"dashscope": {"parameters": {"incremental_output": wanted}}}
    return call


def _expect(expect: dict[str, Any]) -> dict[str, Any]:
    """What pages disagree about (`..._accept`) is not compared."""
    if expect["kind"] is None:
        known = {key: expect[key] for key in _ANSWERED if key in expect and f"{key}_accept" not in expect}
        return {**known, "reasoning": expect.get("reasoning", ""), "tool_calls": expect.get("tool_calls", [])}
    failure = {key: expect[key] for key in ("kind", "vendor_code") if f"{key}_accept" not in expect}
    told = {"request_id": expect["request_id"]} if "request_id_accept" not in expect else {}
    return {"failure": failure, **told, **({"text": expect["text"]} if expect.get("text") else {})}
