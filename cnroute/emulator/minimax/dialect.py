# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""What MiniMax's endpoints share: base_resp, codes, keys and groups, windows, masking."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from cnroute.emulator.answers import Answer
from cnroute.emulator.exchange import JSON, Dialect, Frame, Headers, Refusal, encode, require
from cnroute.emulator.minimax.codes import CODES, ENVELOPES, NAMES

PRIVATE = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+", re.ASCII)

# Context windows (prompt and answer together) and the most that may be generated, by the beginning of the name.
WINDOWS = (("abab5.5s", 8192), ("abab5.5", 16384), ("abab5-", 6144), ("abab6.5s", 245760), ("abab6.5t", 8192), ("abab6.5g", 8192),
           ("abab6", 32768), ("MiniMax-Text-01", 1000192), ("", 1000192))  # fmt: skip


def window(model: str) -> int:
    """How many tokens the model takes in and gives out together."""
    return next(size for prefix, size in WINDOWS if model.startswith(prefix))


def mask(text: str) -> str:
    """Private data becomes ``*`` (pro's ``mask_sensitive_info``, on by default): mail addresses and links here."""
    return PRIVATE.sub(lambda found: "*" * len(found[0]), text)


class MiniMax(Dialect):
    """What the three endpoints share: base_resp, codes, keys and groups."""

    json_type = "application/json; charset=utf-8"
    needs_group: ClassVar[bool] = True
    checks: ClassVar[tuple[Callable[[Any], None], ...]] = ()

    def headers(self, content_type: str) -> Headers:
        return [("Content-Type", content_type), ("Trace-Id", self.request_id)]

    def refusal(self, name: str, message: str = "") -> Refusal:
        code, own = NAMES.get(name, (name, ""))
        return Refusal(code, message or own or CODES.get(code, "unknown error"))

    def refusal_of_status(self, status: int) -> Refusal:
        kind, code, message = ENVELOPES.get(status, ENVELOPES[500 if status >= 500 else 400])
        return Refusal(code or kind, f"{message} ({code})" if code else message, status)

    def status_document(self, refusal: Refusal) -> JSON:
        """The envelope of the newer gateways; the number in the trailing parentheses is the vendor's code."""
        kind = ENVELOPES.get(refusal.status, ENVELOPES[500 if refusal.status >= 500 else 400])[0]
        error = {"type": kind, "message": refusal.message, "http_code": str(refusal.status)}
        return {"type": "error", "error": error, "request_id": self.request_id}

    def base_resp(self, refusal: Refusal | None = None) -> JSON:
        if refusal is None:
            return {"status_code": 0, "status_msg": self.success}
        code = int(refusal.code) if refusal.code.isdigit() else 1000
        return {"status_code": code, "status_msg": refusal.message}

    success: ClassVar[str] = ""

    def error_document(self, refusal: Refusal, *, full: bool = False) -> JSON:
        envelope = {**self.null_document(), "created": 0, "model": ""} if full else {}
        return {**envelope, "base_resp": self.base_resp(refusal)}

    def error_frame(self, refusal: Refusal) -> Frame:
        return Frame(self.error_document(refusal, full=True))

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        return b"data: " + (frame.raw.encode() or encode(frame.document)) + b"\n\n"

    def check_key(self, key: str, expected: str | None, group: str | None = None) -> None:
        require(key, self.refusal("1004"))
        require(key == expected if expected else key != "wrong-key", self.refusal("2049"))
        require(not self.needs_group or self._is_group(group), self.refusal("1004", "login fail: token not match group"))

    def _is_group(self, expected: str | None) -> bool:
        given = self.ask.query.get("GroupId", "")
        return given == expected if expected else given not in ("", "wrong-group")

    def check(self) -> None:
        for check in self.checks:
            check(self)

    def invalid(self, message: str) -> Refusal:
        return self.refusal("2013", f"invalid params, {message}")

    def usage(self, answer: Answer) -> JSON:
        """The total only (all abab models)."""
        return {"total_tokens": answer.total_tokens}
