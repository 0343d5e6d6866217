"""What each family of models on DashScope takes: the vendor's pages as one table.

Rules of this file
- A family is found by the beginning of the model's name; a name that no row knows is passed on with Qwen's rules.
- A range that no page gives is left open: the vendor decides.
"""

from __future__ import annotations

import functools

import attrs

from cnroute.wire import Range

YI_PAGE = "Model Studio: Yi, API details"
ABAB_PAGE = "Model Studio: MiniMax, API details"
M25_PAGE = "Model Studio: MiniMax-M2.5"
QWEN_PAGE = "Model Studio: DashScope text generation"

_EVERYTHING = frozenset((
    "temperature", "top_p", "max_tokens", "stop", "seed", "tools", "tool_choice", "response_format", "reasoning",
    "web_search",
))  # fmt: skip
_THE_LISTED_THREE = frozenset(("temperature", "top_p", "max_tokens"))


@attrs.frozen
class Family:
    """The rules of one family of models.

    `takes` holds the neutral parameters that can be sent at all, `max_tokens` the highest value. `native` families
    are asked for the message form and for increments, the others take neither switch (and stream snapshots).
    """

    page: str
    takes: frozenset[str]
    temperature: Range
    top_p: Range
    max_tokens: int | None = None
    native: bool = True
    always_thinks: bool = False
    always_searches: bool = False


def _open(page: str) -> Range:
    return Range(None, None, page=page)


def _yi(*, always_searches: bool = False) -> Family:
    """Yi: the page lists three parameters; whether others are ignored or refused is unknown."""
    takes = _THE_LISTED_THREE | {"web_search"} if always_searches else _THE_LISTED_THREE
    return Family(
        YI_PAGE, takes, Range(0, 2, high_open=True, page=YI_PAGE), Range(0, 1, high_open=True, page=YI_PAGE),
        native=False, always_searches=always_searches,
    )  # fmt: skip


def _abab(max_tokens: int | None) -> Family:
    """abab: the page lists three parameters, and no range for temperature."""
    top_p = Range(0, 1, low_open=True, page=ABAB_PAGE)
    return Family(ABAB_PAGE, _THE_LISTED_THREE, _open(ABAB_PAGE), top_p, max_tokens, native=False)


def _minimax(max_tokens: int | None) -> Family:
    """MiniMax-M2.x run by Alibaba: thinks always; search and JSON mode are on no page of it."""
    takes = _EVERYTHING - {"web_search", "response_format"}
    return Family(M25_PAGE, takes, _open(M25_PAGE), _open(M25_PAGE), max_tokens, always_thinks=True)


QWEN = Family(
    QWEN_PAGE, _EVERYTHING, Range(0, 2, high_open=True, page=QWEN_PAGE),
    Range(0, 1, low_open=True, high_open=True, page=QWEN_PAGE),
)

# Lower case; the first row that the name begins with counts.
FAMILIES: tuple[tuple[str, Family], ...] = (
    ("yi-large-rag", _yi(always_searches=True)),
    ("yi-", _yi()),
    ("abab6.5s", _abab(245_760)),
    ("abab6.5t", _abab(8_192)),
    ("abab6.5g", _abab(8_192)),
    ("abab", _abab(None)),
    ("minimax-m2.5", _minimax(32_768)),
    ("minimax-m2", _minimax(None)),
)


@functools.lru_cache(256)
def family_of(model: str) -> Family:
    """The rules for `model`."""
    name = model.lower()
    return next((family for begin, family in FAMILIES if name.startswith(begin)), QWEN)
