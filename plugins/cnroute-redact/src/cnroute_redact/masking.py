"""Personal data out of texts and JSON values, into placeholders that a model can still refer to.

Rules of this file
- One value has one placeholder in a request, however often and however spelled it stands there: `[PHONE_1]`.
- Values are numbered in the order of the conversation, so that a longer conversation keeps its numbers, and so does the
  next vendor after a failure.
- What is torn between two texts of one message is found, too: the model reads them as one.
- A text that is JSON stays JSON: tool-call arguments, and what tools return.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from cnroute.wire import JsonError, dumps, loads
from cnroute_redact.finding import Rule, find

# Texts inside of texts: the arguments of a call, a result inside of them.
_DEEPEST = 4
# Deeper than tools can be nested, so that every body of a provider is read.
DEPTH = 200
# No number that is personal has more digits.
_MOST = 10**20


class Masker:
    """The placeholders of one request. `kept` are texts that are the deployment's own: they are left as they are."""

    def __init__(self, rules: Sequence[Rule], kept: Iterable[str] = ()) -> None:
        self._rules = rules
        self._kept = frozenset(kept)
        self._names: dict[tuple[str, str], str] = {}
        self._count: Counter[str] = Counter()
        self.written: set[str] = set()
        """Every value that was masked, as it was written."""

    def mask(self, value: Any, *, numbers: bool = False, key: str = "", depth: int = _DEEPEST) -> Any:
        """`value` with placeholders for what its texts hold; the same object if they hold nothing.

        Whole numbers are looked at if `numbers`, else only those that were masked before: a seed is no telephone.
        """
        if isinstance(value, str):
            return value if value in self._kept else self._text(value, key, depth)
        if isinstance(value, dict):
            made = {
                self._plain(name, ""): self.mask(item, numbers=numbers, key=name, depth=depth) for name, item in value.items()
            }
            return made if any(name not in value or made[name] is not value[name] for name in made) else value
        if isinstance(value, list):
            return self._list(value, numbers, key, depth)
        return self._number(value, numbers)

    def _list(self, value: list[Any], numbers: bool, key: str, depth: int) -> list[Any]:
        several = sum(map(_is_text_part, value)) > 1
        whole = self._sewn(value) if several else value
        items = [self.mask(item, numbers=numbers, key=key, depth=depth) for item in whole]
        if several:  # once more: a number that stood whole beside a torn one hid it
            items = self._sewn(items)
        same = len(items) == len(value) and all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items

    def _sewn(self, parts: list[Any]) -> list[Any]:
        """`parts` with a placeholder for each value that begins in one text and ends in another; texts left empty go."""
        texts = [part["text"] if _is_text_part(part) else "\0" for part in parts]
        whole, starts = "".join(texts), list(itertools.accumulate(map(len, texts), initial=0))
        torn = [
            (bisect_right(starts, each.start) - 1, bisect_right(starts, each.end - 1) - 1, each)
            for each in find(whole, self._rules)
        ]
        named = [(first, last, each, self._placeholder(each.kind, each.value, "")) for first, last, each in torn if first != last]
        for first, last, each, name in reversed(named):
            self.written.add(whole[each.start : each.end])
            texts[first] = texts[first][: each.start - starts[first]] + name
            texts[last] = texts[last][each.end - starts[last] :]
            texts[first + 1 : last] = [""] * (last - first - 1)
        return [_with_text(part, text) for part, text in zip(parts, texts, strict=True) if text] if named else parts

    def _number(self, value: Any, numbers: bool) -> Any:
        if isinstance(value, float) and value.is_integer() and abs(value) < _MOST:
            value = int(value)
        if type(value) is not int or not 0 < value < _MOST:
            return value
        text = str(value)
        made = self._plain(text, "") if numbers or text in self.written else text
        return value if made is text else made

    def _text(self, text: str, key: str, depth: int) -> str:
        inner = _json(text) if depth else None
        if inner is None:
            return self._plain(text, key)
        made = self.mask(inner, numbers=True, key=key, depth=depth - 1)
        return text if made is inner else dumps(made).decode()

    def _plain(self, text: str, key: str) -> str:
        found = [] if _is_file(text) else find(text, self._rules)
        if not found:
            return text
        pieces, at = [], 0
        for start, end, kind, value in found:
            self.written.add(text[start:end])
            pieces += [text[at:start], self._placeholder(kind, value, key)]
            at = end
        return "".join((*pieces, text[at:]))

    def _placeholder(self, kind: str, value: str, key: str) -> str:
        """`[PHONE_1]`, and without brackets in a name, where vendors take letters, digits and `_` only."""
        name = self._names.get((kind, value))
        if name is None:
            self._count[kind] += 1
            name = self._names[kind, value] = f"{kind.upper()}_{self._count[kind]}"
        return name if key == "name" else f"[{name}]"

    def counts(self) -> str:
        """How many values of each kind were masked: `PHONE 2, MAIL 1`; no value is in it."""
        return ", ".join(f"{kind.upper()} {count}" for kind, count in self._count.items())


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _with_text(part: Any, text: str) -> Any:
    return {**part, "text": text} if _is_text_part(part) else part


def _json(text: str) -> Any:
    """The object or list that `text` spells; None for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = loads(text, DEPTH)
    except JsonError:
        return None
    return value if isinstance(value, dict | list) else None


def _is_file(text: str) -> bool:
    """A picture in a data URL: digits in it mean nothing."""
    return text.startswith("data:") and ";base64," in text[:200]
