"""Two hundred bills, worked out from the rules of money alone: fractions, no float, and nothing of the library.

`python tests/data/bills.py` writes `bills.json` beside itself. Each case says what the vendors do and what the call then
costs: of the answer, of each attempt, and the bill. Amounts are fractions ("3/1000"). `tests/values/test_bills.py` has
the same calls made by a router and compares.

The rules, as the pages of this project promise them
- A price is per `per` tokens. `up_to` is inclusive, and the whole request pays its tier by its input tokens.
- Cached tokens are input, thinking is output; each has a rate of its own where the price has one. A part that nobody
  counted may be anything from none to all.
- One half and the total give the other half. The total alone costs the range over every split that it allows.
- A search is charged as often as the vendor counts, else once where pages came, else perhaps once where it was asked for.
- A price that lacks a rate that is needed gives no cost.
- No count at all: an answer costs between half and twice what it seems to be; a failure between nothing and twice the
  prompt with the longest answer. A failure that was counted costs at least that, and at most the longest answer.
- A text seems to be 3/4 of a token for a character beyond ASCII (two bytes more than one in UTF-8; a byte more or less
  is half of it), 1/4 for another one, and 4 more a message.
- The bill: what was charged is confirmed; what may have been is possible, from nothing. Unknown makes a sum unknown.
  Currencies with a rate are joined, others stay apart.
"""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

COUNT = 200
SEED = 20261122
FILE = Path(__file__).with_suffix(".json")

Span = tuple[Fraction, Fraction]
Case = dict[str, Any]


# -- the rules


def rates(price: Case, given: int) -> Case:
    """The rates that a request of so many input tokens pays."""
    for tier in price.get("tiers", ()):
        if tier.get("up_to") is None or given <= tier["up_to"]:
            return dict(tier)
    return price


def split_cost(price: Case, given: int, made: int, cached: int, thought: int) -> Fraction:
    """The one cost of a request of which everything is known."""
    rate = rates(price, given)
    parts = (
        (given - cached, rate["input"]), (cached, rate.get("cached") or rate["input"]),
        (made - thought, rate["output"]), (thought, rate.get("reasoning") or rate["output"]),
    )  # fmt: skip
    return sum((Fraction(rate) * tokens for tokens, rate in parts), Fraction(0)) / Fraction(price.get("per", "1000000"))


def possible(known: int | None, whole: int) -> range:
    """What a part may be: what was counted, or anything."""
    return range(whole + 1) if known is None else range(min(known, whole), min(known, whole) + 1)


def span(price: Case, given: int, made: int, cached: int | None, thought: int | None) -> Span:
    """The least and the most over all that a part may be; both are straight lines, so their ends are enough."""
    ends = [
        split_cost(price, given, made, kept, mind)
        for kept in (possible(cached, given)[0], possible(cached, given)[-1])
        for mind in (possible(thought, made)[0], possible(thought, made)[-1])
    ]
    return min(ends), max(ends)


def counted(price: Case, usage: Case) -> Span | None:
    """What a vendor's count costs; None where it does not tell enough."""
    given, made, total = (usage.get(name) for name in ("input", "output", "total"))
    cached, thought = usage.get("cached"), usage.get("reasoning")
    if given is None and made is not None and total is not None:
        given = total - made
    if made is None and given is not None and total is not None:
        made = total - given
    if given is not None and made is not None:
        return span(price, given, made, cached, thought)
    if total is None:
        return None
    every = [
        span(price, ins, total - ins, cached, thought)
        for ins in range(total + 1)
        if ins >= (cached or 0) and total - ins >= (thought or 0)
    ]
    return min(low for low, _ in every), max(high for _, high in every)


def seems(text: str) -> Fraction:
    wide = Fraction(len(text.encode()) - len(text), 2)
    return Fraction(3, 4) * wide + Fraction(1, 4) * (len(text) - wide)


def is_known(price: Case | None) -> bool:
    if price is None:
        return False
    return all(row.get("input") is not None and row.get("output") is not None for row in price.get("tiers") or [price])


def searches(case: Case, answer: Case) -> tuple[int, int]:
    if answer.get("usage") and answer["usage"].get("searches") is not None:
        return (answer["usage"]["searches"],) * 2
    if answer.get("pages"):
        return 1, 1
    return 0, 1 if case["web_search"] else 0


def attempt_cost(case: Case, price: Case | None, answer: Case) -> Case | None:
    """What one attempt cost or may have cost."""
    if price is None or not is_known(price):
        return None
    least, most = searches(case, answer)
    if most and price.get("search") is None:
        return None
    failed = "text" not in answer or answer.get("breaks", False)
    told = counted(price, answer["usage"]) if answer.get("usage") else None
    prompt = max(1, round(4 + seems(case["prompt"])))
    if told is None and failed:
        found, estimated = (Fraction(0), span(price, 2 * prompt, case["max_tokens"], 0, None)[1]), True
    elif told is None:
        made = round(seems(answer["text"]))
        ends = *span(price, prompt // 2, made // 2, 0, None), *span(price, 2 * prompt, 2 * made + 1, 0, None)
        found, estimated = (min(ends), max(ends)), True  # a long request may be cheaper than a short one
    elif failed:
        usage = answer["usage"]
        longest = span(price, usage["input"], max(usage["output"], case["max_tokens"]), 0, None)[1]
        found, estimated = (told[0], max(told[1], longest)), True
    else:
        found, estimated = told, False
    one = Fraction(price.get("search") or 0)
    low, high, currency = found[0] + least * one, found[1] + most * one, price["currency"]
    if currency in case["exchange"]:
        rate = Fraction(case["exchange"][currency]["rate"])
        low, high, currency = low * rate, high * rate, "CNY"
    return {"low": low, "high": high, "currency": currency, "estimated": estimated}


BILLING = {"server_error": "unknown", "overloaded": "none", "vendor_timeout": "unknown", "bad_request": "none"}


def billing(answer: Case) -> str:
    if "text" in answer or answer.get("usage"):
        return "billed"
    return str(answer.get("billing") or BILLING[answer["error"]])


def total(costs: list[Case | None]) -> list[Case] | None:
    """A sum for each currency; None as soon as one cost is unknown."""
    sums: dict[str, Case] = {}
    for cost in costs:
        if cost is None:
            return None
        old = sums.setdefault(cost["currency"], {**cost, "low": Fraction(0), "high": Fraction(0), "estimated": False})
        old["low"] += cost["low"]
        old["high"] += cost["high"]
        old["estimated"] |= cost["estimated"]
    return list(sums.values())


def expected(case: Case) -> Case:
    """What the whole call costs."""
    attempts = []
    for place in case["deployments"]:
        how = billing(place["answer"])
        cost = attempt_cost(case, place["price"], place["answer"]) if how != "none" else None
        attempts.append({"billing": how, "cost": cost})
        if "text" in place["answer"]:
            break
    sure = [each["cost"] for each in attempts if each["billing"] == "billed"]
    maybe = [each["cost"] and {**each["cost"], "low": Fraction(0)} for each in attempts if each["billing"] == "unknown"]
    return {"attempts": attempts, "confirmed": total(sure), "possible": total(maybe)}


# -- the cases

WORDS = (
    "你好", "请写一首关于长江的诗。", "hello",
    "Explain the contract, section 4:", "def f(x): return x", "退货政策是什么?", "🙂", " ",
)  # fmt: skip


def a_rate(draw: random.Random) -> str:
    return draw.choice(["0", f"{draw.randrange(30)}", f"{draw.randrange(30)}.{draw.randrange(1000):03d}", "0.000001"])


def a_row(draw: random.Random) -> Case:
    row = {"input": a_rate(draw), "output": a_rate(draw)}
    for name, share in (("cached", 0.35), ("reasoning", 0.3)):
        if draw.random() < share:
            row[name] = f"{draw.randrange(1, 9)}.{draw.randrange(100):02d}"
    return row


def a_price(draw: random.Random) -> Case | None:
    if draw.random() < 0.06:
        return None
    price: Case = {"currency": draw.choice(["CNY"] * 4 + ["USD"]), "per": draw.choice(["1000000", "1000", "1", "10000"])}
    if draw.random() < 0.35:
        bounds = sorted(draw.sample(range(1, 60), draw.randrange(1, 3)))
        price["tiers"] = [{"up_to": bound, **a_row(draw)} for bound in bounds] + [a_row(draw)]
    else:
        price |= a_row(draw)
        if draw.random() < 0.05:
            del price["output"]
    if draw.random() < 0.6:
        price["search"] = f"0.{draw.randrange(1, 100):02d}"
    return price


def a_usage(draw: random.Random) -> Case | None:
    given, made = draw.randrange(1, 90), draw.randrange(0, 90)
    shape = draw.choice(["both", "both", "total", "all", "one", "none"])
    if shape == "none":
        return None
    usage = {
        "both": {"input": given, "output": made},
        "all": {"input": given, "output": made, "total": given + made},
        "total": {"total": given + made},
        "one": {draw.choice(["input", "output"]): min(given, made), "total": given + made},
    }[shape]
    if draw.random() < 0.4:
        usage["cached"] = draw.randrange(0, min(usage.get("input", given), given) + 1)
    if draw.random() < 0.4:
        usage["reasoning"] = draw.randrange(0, min(usage.get("output", made), made) + 1)
    return usage


def an_answer(draw: random.Random, searching: bool) -> Case:
    answer: Case = {"text": "".join(draw.choices(WORDS, k=draw.randrange(1, 6))), "usage": a_usage(draw)}
    if searching and draw.random() < 0.6:
        answer["pages"] = ["a page"]
    if searching and answer["usage"] and draw.random() < 0.4:
        answer["usage"]["searches"] = draw.randrange(0, 4)
    return answer


def a_failure(draw: random.Random, stream: bool) -> Case:
    if stream and draw.random() < 0.5:  # it had counted before it broke off, and is charged
        usage = {"input": draw.randrange(1, 90), "output": draw.randrange(0, 9)}
        return {"error": "server_error", "usage": usage | ({"cached": 1} if draw.random() < 0.3 else {})}
    failure: Case = {"error": draw.choice(["server_error", "overloaded", "vendor_timeout"])}
    if draw.random() < 0.3:
        failure["billing"] = draw.choice(["billed", "unknown", "none"])
    return failure


def a_case(draw: random.Random, number: int) -> Case:
    stream = draw.random() < 0.3
    searching = not stream and draw.random() < 0.25
    failures = draw.choice([0, 0, 1, 1, 2, 3])
    last = an_answer(draw, searching)
    if stream and draw.random() < 0.2:
        last |= {"breaks": True, "usage": {"input": draw.randrange(1, 90), "output": draw.randrange(0, 9)}}
    elif draw.random() < 0.1:
        last = {"error": "server_error"}
    answers = [*(a_failure(draw, stream) for _ in range(failures)), last]
    case: Case = {
        "number": number, "stream": stream, "web_search": searching, "prompt": "".join(draw.choices(WORDS, k=3)),
        "max_tokens": draw.randrange(1, 300),
        "exchange": {"USD": {"rate": "7.1", "as_of": "2026-11-01"}} if draw.random() < 0.5 else {},
        "deployments": [{"price": a_price(draw), "answer": answer} for answer in answers],
    }  # fmt: skip
    return {**case, "expected": expected(case)}


def cases() -> str:
    draw = random.Random(SEED)
    made = [json.dumps(a_case(draw, number), ensure_ascii=False, default=str) for number in range(COUNT)]
    return "[\n" + ",\n".join(made) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(cases(), "utf-8")
