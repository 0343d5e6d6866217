"""How a document becomes chunks: ``chunk_size``, ``chunk_overlap``, ``separators``, ``is_regex`` (page "create").

The page names the fields and not the method. Here a chunk ends behind the last separator that still fits, the first
separator of the list before the second; where none fits (the empty one is everywhere) it ends at ``chunk_size``. The next
chunk begins exactly ``chunk_overlap`` characters before that end, so the chunks without their overlaps are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cnroute.emulator.knowledge.values import DocParams

LONGEST_SEPARATOR = 256  # what a pattern may match is looked at so far behind the chunk, lest a separator is cut


def split(text: str, params: DocParams) -> Iterator[str]:
    """The chunks in order; white space alone makes none."""
    patterns = [_pattern(separator, params) for separator in params.separators if separator]
    start = 0
    while start < len(text):
        end = _end(text, start, params, patterns)
        if text[start:end].strip():
            yield text[start:end]
        if end == len(text):
            return
        start = end - params.chunk_overlap


def _pattern(separator: str, params: DocParams) -> re.Pattern[str]:
    return re.compile(separator if params.is_regex else re.escape(separator))


def _end(text: str, start: int, params: DocParams, patterns: list[re.Pattern[str]]) -> int:
    """Where the chunk that begins at ``start`` ends: always more than the overlap away, so that the next one moves on."""
    furthest = start + params.chunk_size
    if furthest >= len(text):
        return len(text)
    least = start + params.chunk_overlap + 1
    for pattern in patterns:
        ends = (found.end() for found in pattern.finditer(text, start, furthest + LONGEST_SEPARATOR))
        fitting = [end for end in ends if least <= end <= furthest]
        if fitting:
            return fitting[-1]
    return furthest
