"""Where personal data stands in a text.

Rules of this file
- A look-alike of the text is searched: full-width forms, digits of other scripts and unusual blanks become plain ASCII,
  one character for one character, so that every place holds for the text itself.
- A number is whole: digits inside of more digits are none (order numbers, ids).
- What has a check digit must pass it, and what holds a date must hold a possible one.
- The first row of the table that fits wins, and nothing is found twice.

Sources: mobile numbers, the numbering plan of China's MIIT (eleven digits from 13 to 19); identity numbers,
GB 11643-1999 (MOD 11-2 of ISO 7064) and their form of fifteen digits before it; cards, ISO/IEC 7812 (Luhn).
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Found(NamedTuple):
    """One piece of personal data: its place in the text, what it is, and its value without separators."""

    start: int
    end: int
    kind: str
    value: str


class Rule(NamedTuple):
    """One way in which a kind is written. `value` gives the normal form of what matched; None is a look-alike.

    A text with fewer `digits`, or with none of the characters `signs` (if there are any), need not be searched.
    """

    kind: str
    pattern: re.Pattern[str]
    value: Callable[[str], str | None]
    digits: int = 0
    signs: str = ""


def find(text: str, rules: Sequence[Rule]) -> list[Found]:
    """Everything in `text` that a rule finds, in its order; of two that overlap the earlier rule's."""
    count = len(_DIGIT.findall(text))
    due = [rule for rule in rules if count >= rule.digits and (not rule.signs or any(sign in text for sign in rule.signs))]
    if not due:
        return []
    plain = _plain(text)
    found: list[Found] = []
    taken = bytearray(len(plain))
    for rule in due:
        for match in rule.pattern.finditer(plain):
            start, end = match.span()
            value = None if any(taken[start:end]) else rule.value(match.group())
            if value and start < end:
                taken[start:end] = b"\1" * (end - start)
                found.append(Found(start, end, rule.kind, value))
    return sorted(found)


_DIGIT = re.compile(r"\d")

# The look-alike

# Full-width ASCII, and the blanks, dashes, dots and invisible characters that stand between digits.
_ASCII = {full: full - 0xFEE0 for full in range(0xFF01, 0xFF5F)}
_BLANKS = dict.fromkeys((*range(0x2000, 0x2010), 0x9, 0xA0, 0xAD, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF), " ")
_DASHES = dict.fromkeys((*range(0x2010, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63), "-")
_DOTS = dict.fromkeys((0xB7, 0x2022, 0x2219, 0x22C5, 0x30FB, 0xFF61), ".")
_TABLE: dict[int, str | int] = {**_BLANKS, **_DASHES, **_DOTS, **_ASCII, 0xFE6B: "@"}
_OTHER_DIGIT = re.compile(r"[^\D0-9]")


def _plain(text: str) -> str:
    if text.isascii():
        return text.replace("\t", " ")
    return _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found.group())), text.translate(_TABLE))


# Values

def _digits(text: str) -> str:
    return re.sub(r"[^0-9X]", "", text.upper())


def _mobile(text: str) -> str:
    """The eleven digits, without the country's number."""
    return _digits(text)[-11:]


# GB 11643-1999: weights of the first 17 digits, and the check character for each remainder.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
# GB/T 2260: the first two digits name a province.
_PROVINCES = frozenset(
    map(str, (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83, 91))
)


def _identity(text: str) -> str | None:
    """An identity number of 18 characters with a possible birthday and the right check character."""
    number = _digits(text)
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return number if number[17] == _CHECKS[total % 11] and _is_date(number[6:14]) else None


def _old_identity(text: str) -> str | None:
    """An identity number of 15 digits: no check digit, so province and birthday have to be possible."""
    number = _digits(text)
    return number if number[:2] in _PROVINCES and _is_date("19" + number[6:12]) else None


def _is_date(digits: str) -> bool:
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:])
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]


# Thirteen digits are a card only of Visa (4...), and milliseconds since 1970 begin with 1; fourteen may be a time of day.
_CLOCK = re.compile(r"1\d{12}|20\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d[0-5]\d")


def _card(text: str) -> str | None:
    """13 to 19 digits that pass the Luhn check and are no time stamp."""
    number = _digits(text)
    if len(set(number)) == 1 or _CLOCK.fullmatch(number):
        return None
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number)))
    return number if sum(value - 9 * (value > 9) for value in doubled) % 10 == 0 else None


# Patterns. `S` may stand between groups of digits, `T` must; both ends of a number are no digits.

_S, _T = r"[ .\-]{0,3}", r"[ .\-]{1,3}"


def _number(pattern: str, *, alone: bool = False) -> re.Pattern[str]:
    """`alone`: a grouping that is only believed where no other group of digits stands beside it."""
    spelled = pattern.replace(" ", "").replace("S", _S).replace("T", _T).replace("#", "[0-9]")
    before, after = (r"(?<![0-9])(?<![0-9][ .\-])", r"(?![ .\-]?[0-9])") if alone else ("(?<![0-9])", "(?![0-9])")
    return re.compile(f"{before}(?:{spelled}){after}")


# As addresses are written; what else RFC 5322 allows before the @ is markup far more often than part of an address.
_LOCAL = r"A-Za-z0-9._%+\-"
_MAIL = re.compile(rf"(?<![{_LOCAL}])[{_LOCAL}]+@(?:[A-Za-z0-9][A-Za-z0-9\-]{{0,62}}\.)+[A-Za-z][A-Za-z0-9\-]*[A-Za-z0-9]")
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9.]){_OCTET}(?:\.{_OCTET}){{3}}(?![0-9]|\.[0-9])")

RULES = (
    Rule("mail", _MAIL, str.lower, signs="@\uff20\ufe6b"),
    Rule("ipv4", _IPV4, str, 4),
    Rule("id", _number(r"[1-9]#{5} S (?:18|19|20)#{2} S #{4} S #{3}[0-9Xx]"), _identity, 11),
    # Behind the country's number every grouping is one of a telephone.
    Rule("phone", _number(r"(?:\( (?:\+|00)? 86 \) | (?:\+|00)? 86) S 1 S [3-9] (?:S #){9}"), _mobile, 11),
    Rule("card", _number(r"#{4} T #{4} T #{4} T #{4} T #{1,3}"), _card, 11),
    Rule("card", _number(r"#{4} T #{4} T #{4} T #{1,7}"), _card, 11),
    Rule("card", _number(r"#{4} T #{6} T #{4,5}"), _card, 11),
    Rule("card", _number(r"#{6} T #{7,13}"), _card, 11),
    Rule("card", _number(r"#{13,19}"), _card, 11),
    Rule("id", _number(r"[1-9]#{5} S #{6} S #{3}"), _old_identity, 11),
    Rule("phone", _number(r"1[3-9]# S #{4} S #{4}"), _mobile, 11),
    Rule("phone", _number(r"1[3-9]#{2} S (?:#{3} S #{4} | #{4} S #{3})", alone=True), _mobile, 11),
    Rule("phone", _number(r"1[3-9]# S #{3} S #{5} | 1[3-9]#{3} S #{6}", alone=True), _mobile, 11),
)
KINDS = tuple(dict.fromkeys(rule.kind for rule in RULES))


def rules_of(kinds: Sequence[str], patterns: Mapping[str, re.Pattern[str]]) -> tuple[Rule, ...]:
    """The user's own patterns first, then the rules of `kinds` in the order of the table."""
    return (*(Rule(name, pattern, str) for name, pattern in patterns.items()), *(rule for rule in RULES if rule.kind in kinds))
