"""Counts of tokens: told by the vendor, worked out from what it told, or made up.

`Usage` adds the total up itself where both halves are there, so a half that "follows from the total" proves nothing: a total
counts as told only if it can be moved while the other half stands still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cnroute.chat import Usage
from cnroute.testing.contract.documents import Path
from cnroute.testing.contract.subject import usage_fields

_OTHER = {"input_tokens": "output_tokens", "output_tokens": "input_tokens"}


def follows(name: str, usage: Usage | None, moved: Iterable[Usage | None]) -> bool:
    """Whether a count that the answer does not say is unknown, or follows from those that it says.

    `moved` are the usages of the same answer with one number behind the total changed in each; it is read when needed.
    """
    known = usage_fields(usage)
    left, total = known[name], known["total_tokens"]
    if left is None:
        return True
    if name == "total_tokens":
        given, made = known["input_tokens"], known["output_tokens"]
        return given is not None and made is not None and left == given + made
    other = known[_OTHER[name]] if name in _OTHER else None
    if total is None or other is None or left != total - other:
        return False
    return any(_moves_alone(_OTHER[name], known, usage_fields(each)) for each in moved)


def _moves_alone(other: str, before: dict[str, int | None], after: dict[str, int | None]) -> bool:
    return after["total_tokens"] not in (None, before["total_tokens"]) and after[other] == before[other]


def holders(paths: Sequence[Path]) -> Iterator[Path]:
    """The places that hold all of `paths`, the innermost first; the document itself is none."""
    columns = list(zip(*(path[:-1] for path in paths), strict=False))
    shared = next((depth for depth, keys in enumerate(columns) if len(set(keys)) > 1), len(columns))
    for depth in range(shared, 0, -1):
        yield paths[0][:depth]
