"""MiniMax's three chat endpoints, read from its pages: seed 001 (v2 and pro), seed 003 (legacy and retrieval), and the
vendor's pages of September 2025 (fields, ranges, error table).

Nearly every failure is HTTP 200 with a ``base_resp``.
"""

from __future__ import annotations

from cnroute.emulator.minimax.dialect import MiniMax
from cnroute.emulator.minimax.legacy import Legacy
from cnroute.emulator.minimax.pro import Pro
from cnroute.emulator.minimax.v2 import V2

PATHS: dict[str, type[MiniMax]] = {
    "/v1/text/chatcompletion_v2": V2,
    "/v1/text/chatcompletion_pro": Pro,
    "/v1/text/chatcompletion": Legacy,
}
