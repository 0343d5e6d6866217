"""How far is the token estimate from what a real vocabulary counts, before and after a model's own counts corrected it?

Needs the package `dashscope`, which ships Qwen's vocabulary and counts offline. `--record` writes tokens.json, from which
docs/choosing.md has its table.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnroute.routing.tokens import Ratio, estimate

HERE = Path(__file__).parent
KINDS = ("chinese", "english", "mixed", "code")
RECORD = HERE / "tokens.json"
MODEL = "qwen-turbo"


def passages(kind: str) -> list[str]:
    """The texts of one kind, written for this comparison."""
    return (HERE / "texts" / f"{kind}.txt").read_text("utf-8").rstrip("\n").split("\n----\n")


def counter() -> Callable[[str], int]:
    """Counts by Qwen's vocabulary."""
    from dashscope.tokenizers import get_tokenizer  # type: ignore[import-not-found]

    tokenizer = get_tokenizer(MODEL)
    return lambda text: len(tokenizer.encode(text))


def learned(pairs: list[tuple[float, int]], left_out: int) -> float:
    """The ratio after a hundred answers to the other texts of the kind: no text is corrected by its own count."""
    ratio = Ratio()
    others = [pair for index, pair in enumerate(pairs) if index != left_out]
    for number in range(100):
        estimated, counted = others[number % len(others)]
        ratio.learn(round(estimated), counted)
    return ratio.value


def row(pairs: list[tuple[float, int]]) -> dict[str, Any]:
    """Mean ratio of estimate to count, mean and largest error in percent, and the errors after correction."""
    plain = [estimated / counted - 1 for estimated, counted in pairs]
    after = [estimated * learned(pairs, index) / counted - 1 for index, (estimated, counted) in enumerate(pairs)]
    return {
        "texts": len(pairs), "tokens": sum(counted for _, counted in pairs), "ratio": round(1 + statistics.mean(plain), 2),
        "error": _percent(plain), "largest": round(100 * max(map(abs, plain))),
        "corrected": _percent(after), "largest_corrected": round(100 * max(map(abs, after))),
    }  # fmt: skip


def _percent(errors: list[float]) -> int:
    return round(100 * statistics.mean(map(abs, errors)))


def measured(count: Callable[[str], int]) -> dict[str, dict[str, Any]]:
    """One row a kind."""
    return {kind: row([(estimate(text), count(text)) for text in passages(kind)]) for kind in KINDS}


def main() -> None:
    """Print the table; `--record` keeps it."""
    rows = measured(counter())
    columns = ("texts", "tokens", "ratio", "error", "largest", "corrected", "largest_corrected")
    print(f"{'':10}", *(f"{name:>18}" for name in columns))
    for kind, found in rows.items():
        print(f"{kind:10}", *(f"{found[name]:>18}" for name in columns))
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({"vocabulary": f"{MODEL} of dashscope", "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
