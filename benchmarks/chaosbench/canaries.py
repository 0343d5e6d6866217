"""A key and a prompt that must turn up nowhere but at the vendors."""

from __future__ import annotations

import base64

KEY = "sk-canaryKEY5f1c77"
CANARY = "canaryPROMPT9d20e4"
NEEDLES = (KEY, KEY[:8], base64.b64encode(KEY.encode()).decode()[:16], CANARY, "marker:")


def found_in(text: str) -> list[str]:
    """The secrets in a text."""
    return [needle for needle in NEEDLES if needle in text]
