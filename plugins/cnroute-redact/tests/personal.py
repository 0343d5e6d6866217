"""Personal data that is made up: valid by its check digits, and nobody's."""

from __future__ import annotations

import datetime
import re
import unicodedata

from hypothesis import strategies as st

WIDE = {ord(char): ord(char) + 0xFEE0 for char in "0123456789Xx@.+-"}
DIGITS = "0123456789"


def bare(text: str) -> str:
    """The text as somebody reads it who looks for a number: without separators, full-width characters as usual ones."""
    return re.sub(r"[\s.()\-]", "", unicodedata.normalize("NFKC", text)).lower()


def checked_identity(body: str) -> str:
    """17 digits with their check character (GB 11643-1999), summed as the standard writes it: from the right, by powers of 2."""
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


def checked_card(body: str) -> str:
    """Digits with their check digit (Luhn)."""
    for digit in DIGITS:
        total = 0
        for place, char in enumerate(reversed(body + digit)):
            value = int(char) * 2 if place % 2 else int(char)
            total += value // 10 + value % 10
        if total % 10 == 0:
            return body + digit
    raise AssertionError("one of ten digits always fits")


def grouped(number: str, sizes: tuple[int, ...], separator: str) -> str:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(number[at : at + size])
        at += size
    return separator.join((*pieces, number[at:])) if at < len(number) else separator.join(pieces)


def digits(size: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=size, max_size=size)


@st.composite
def phones(draw: st.DrawFn) -> str:
    number = "1" + draw(st.sampled_from("3456789")) + draw(digits(9))
    prefix = draw(st.sampled_from(("", "", "+86", "+86 ", "+86-", "0086", "86 ", "(+86)", "(+86) ")))
    sizes = draw(st.sampled_from(((11,), (3, 4, 4), (3, 4, 4), (3, 8), (7, 4), (4, 3, 4), (4, 4, 3), (3, 3, 5), (5, 6))))
    return prefix + grouped(number, sizes, draw(st.sampled_from((" ", "-", ".", "\u3000", "‑"))))


@st.composite
def identities(draw: st.DrawFn) -> str:
    day = draw(st.dates(datetime.date(1900, 1, 1), datetime.date(2025, 12, 31)))
    region = draw(st.sampled_from("123456")) + draw(digits(5))
    number = checked_identity(f"{region}{day:%Y%m%d}{draw(digits(3))}")
    number = number.lower() if draw(st.booleans()) else number
    return grouped(number, draw(st.sampled_from(((18,), (18,), (6, 8, 4)))), draw(st.sampled_from((" ", "-"))))


@st.composite
def old_identities(draw: st.DrawFn) -> str:
    day = draw(st.dates(datetime.date(1920, 1, 1), datetime.date(1999, 12, 31)))
    return f"{draw(st.sampled_from(('11', '31', '44', '51', '65')))}{draw(digits(4))}{day:%y%m%d}{draw(digits(3))}"


# First digits and lengths of cards: UnionPay, Visa, Mastercard, older Chinese ones, American Express, Diners Club.
_ISSUED = (("62", 19), ("62", 16), ("4", 16), ("4", 13), ("5", 16), ("9", 18), ("37", 15), ("30", 14))


@st.composite
def cards(draw: st.DrawFn) -> str:
    first, size = draw(st.sampled_from(_ISSUED))
    number = checked_card(first + draw(digits(size - len(first) - 1)))
    return grouped(number, draw(st.sampled_from(((size,), (4, 4, 4), (4, 4, 4, 4)))), draw(st.sampled_from((" ", "-"))))


@st.composite
def mails(draw: st.DrawFn) -> str:
    local = draw(st.from_regex(r"[a-z0-9]{1,8}([._+\-][a-z0-9]{1,6})?", fullmatch=True))
    return f"{local}@{draw(st.sampled_from(('example.com', 'mail.example.cn', '163.example', 'qq.example')))}"


def widened(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Sometimes in full-width characters."""
    return st.one_of(values, values.map(lambda value: value.translate(WIDE)))


PERSONAL = widened(st.one_of(phones(), identities(), old_identities(), cards(), mails()))
# What stands around it: no digits, and nothing that would make one number of two.
AROUND = st.text("的电话是:,。 请联系call me()\n「」", max_size=12).map(lambda text: f"某{text}")
