"""The one seam to JSON: what vendors send is read exactly, what is sent to them is the same to the byte.

Everything that reads or writes JSON goes through `loads` and `dumps`, plugins too (`cnroute.wire`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

# An escaped half of a surrogate pair: only then can a decoded text hold a lone surrogate.
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")
# How deep a vendor's JSON may be nested (reliability 3.5): what reads, writes or walks it later may recurse.
MAX_DEPTH = 64
# Counting the brackets of a longer text costs more than going through its values, which then are long as a rule.
_LONG = 8192

# The value that begins at an index of a text, and where it ends; raises one of `_UNREADABLE` for what it cannot read.
_Scan = Callable[[str, int], tuple[Any, int]]


class JsonError(ValueError):
    """Text that is not JSON as cnroute reads it: broken, too deep, or with numbers that JSON does not have."""


def _refuse_constant(name: str) -> Any:
    raise JsonError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise JsonError("a number beyond all floats")
    return value


def loads(data: bytes | str, depth: int = MAX_DEPTH) -> Any:
    """`data` decoded from JSON, exactly: integers of any sensible size, a byte order mark forgiven.

    Invalid UTF-8 becomes U+FFFD. Raises JsonError, and nothing else, for what is not JSON or nested deeper than `depth`.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        if _quick is None or (_TWO_DIGITS.search(text[::9]) and _may_be_long(text)):
            value, end = _SCAN(text, 0)
        else:
            value, end = _quick(text), len(text)
    except _UNREADABLE:
        end = -1
    if end < 0 or (end < len(text) and text[end:].strip(_BLANKS)):
        value = _read_exactly(text)
    if len(text) > 2 * depth and (len(text) > _LONG or text.count("{") + text.count("[") > depth) and _is_deeper(value, depth):
        raise JsonError("nested too deeply")
    return _mended(value) if "\\" in text and "\\u" in text and _HALF_PAIR.search(text) else value


def _read_exactly(text: str) -> Any:
    """By the scanner of the standard library; blanks around the value are forgiven, and every error is a JsonError."""
    reason = "text behind the value"
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:  # no value begins here
        return _behind_blanks(text)
    except (ValueError, RecursionError) as error:
        reason = type(error).__name__
    else:
        if end == len(text) or not text[end:].strip(_BLANKS):
            return value
    raise JsonError(reason)  # out here no context holds the text


def _behind_blanks(text: str) -> Any:
    """Blanks and a byte order mark may stand before a value."""
    rest = text.lstrip(_BLANKS) if text[:1] != "\ufeff" else text[1:]
    if len(rest) in (0, len(text)):
        raise JsonError("no value")
    return _read_exactly(rest)


def dumps(value: Any) -> bytes:
    """`value` as JSON: UTF-8 without ASCII escapes, no blanks, keys in the order written.

    A lone surrogate is escaped in its own string, so that no text crashes the encoder. Raises ValueError for
    NaN and infinities, TypeError for what JSON cannot hold.
    """
    text = _ENCODER.encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def escaped(value: Any, **options: Any) -> str:
    """`value` as JSON text for people: Chinese as it is, and escapes for what could steer a terminal or break a log line."""
    return _STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False, **options))


# Beyond what JSON escapes by itself: C1, separators, Bidi_Control, lone surrogates. All of it stands inside of strings.
_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(value: Any, depth: int = 64) -> Any:
    """A copy of `value` as JSON's own types: mappings become dicts, lists and tuples lists.

    Raises JsonError for what JSON cannot hold: other types, NaN, integers of thousands of digits, circles.
    """
    if depth < 0:
        raise JsonError("nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise JsonError("a key that is no text")
        return {key: plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if (isinstance(value, int) and value.bit_length() < _MOST_BITS) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise JsonError(f"a {type(value).__name__} that JSON cannot hold")


# Python writes no integer of more than 4,300 digits.
_MOST_BITS = 14_000

# The scanner of the standard library, kept: `json.loads` makes one for each call and costs 1.3 times as much.
_SCAN: _Scan = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).scan_once  # type: ignore[attr-defined]
_UNREADABLE = (StopIteration, ValueError, RecursionError)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_BLANKS = " \t\n\r"


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than `depth` times. Does not recurse."""
    level = [value]
    for _ in range(depth):
        inner: list[Any] = []
        for each in level:
            if type(each) is dict:
                inner += each.values()
            elif type(each) is list:
                inner += each
        if not inner:
            return False
        level = inner
    return any(isinstance(each, dict | list) for each in level)


def _mended(value: Any) -> Any:
    """The same value with U+FFFD for every lone surrogate, so that each text can be encoded."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


# 19 digits or more show two beside each other in every ninth character: a sixth of the time of looking at them all.
_TWO_DIGITS = re.compile("[0-9](?=[0-9])")


def _may_be_long(text: str) -> bool:
    """Whether the characters between two such digits are digits too, as in every long number and in few ids."""
    starts = (9 * found.start() for found in _TWO_DIGITS.finditer(text[::9]))
    return any(text[start : start + 10].isdecimal() for start in starts)


# orjson, where the extra `fast` is installed: 0.6 of the standard library's time; it reads the same or not at all. It refuses
# lone surrogates and a byte order mark, and makes a float of an integer beyond 64 bits: such texts are read exactly.
_quick: Callable[[str], Any] | None
try:
    from orjson import loads as _quick
except ImportError:
    _quick = None
