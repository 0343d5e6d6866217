"""Vendor bytes made wrong, a little or a lot, by a seeded chance.

A mutation takes the chance and a body and gives another body. Some know nothing of what the bytes mean; those of
`JSON_AWARE` change one place of one JSON document inside, so that the rest stays what a vendor would send.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.contract.wire_cases import CASES

BODIES: list[bytes] = [case["body"].encode() for case in CASES]

# What stands in place of a value: JSON of every kind, and what only looks like JSON. Written as it is.
TOKENS = (
    "null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e9", "1e999", "-1e999", "NaN", "Infinity", "-Infinity",
    "1000000001", "9" * 30, "9" * 4300, "9" * 4301, "-" + "9" * 5000, "[]", "{}", "[null]", "[[]]", "[{}]", "{\"a\":null}",
    '""', '"null"', '"stop"', '"tool_calls"', '"content_filter"', '"max_output"', '"function"', '"tool"', '"FUNCTION"',
    '"plugin_web_search"', '"0"', '"1002"', '"12"', '"[DONE]"', '"[{\\"title\\":null,\\"no\\":1e999}]"', '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\ud83d\\ude00"', '"\\u0000"', '"\\r\\n\\u2028\\u0085"', '"a\\u001b[31m\\u202e"', '"data: {}"', "\"'\"", "undefined",
    "0x10", "01", "+1",
    "[" * 63 + "]" * 63, "[" * 65 + "]" * 65, "[" * 300 + '"\\ud800"' + "]" * 300, "[" * 700 + '"\\ud800"' + "]" * 700,
    "[" * 900 + "1" + "]" * 900, '{"a":' * 950 + "1" + "}" * 950, "[" * 100_000, "[" * 20_000 + "]" * 20_000,
    '"' + "x" * 20_000 + '"',
    '["\\udc00",{"\\ud800":"\\udbff"}]', '[{"name":"f","arguments":{"a":[1e999]}}]', '{"name":"f","arguments":{"a":"\\ud800"}}',
    '[{"function":{"name":"f","arguments":{"a":[[[[1]]]]}}}]', '[{"index":-1,"function":{"name":"","arguments":null}}]',
    '[{"index":999,"id":"i","function":{"name":"f","arguments":"{"}}]', '[{"type":"text","text":"x"},{"text":null}]',
)  # fmt: skip
FRAGMENTS = (
    b"data:", b"data: [DONE]\n\n", b"\n", b"\n\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b":", b"event:error\n",
    b"event:result\n", b":HTTP_STATUS/500\n", b":HTTP_STATUS/" + b"9" * 40 + b"\n", b"id:1\n", b"{", b"}", b"[", b"]", b'"',
    b"\\",
    b"null", b"data: null\n\n", b"data: {}\n\n", b"data: []\n\n", b"data: 1\n\n", b"<html>", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\xe4\xbd", b"\xed\xa0\x80",
    b"data: {\ndata: }\n\n", b'{"code":"Throttling"}', b'{"base_resp":{"status_code":1002,"status_msg":"x"}}', b" " * 3000,
    b"data: {\n" * 300,
)  # fmt: skip

Mutation = Callable[[random.Random, bytes], bytes]


# -- bytes without a meaning


def flip(chance: random.Random, body: bytes) -> bytes:
    """One to eight bytes changed."""
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8) if body else 0):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def delete(chance: random.Random, body: bytes) -> bytes:
    """A piece taken out."""
    start, end = _piece(chance, body)
    return body[:start] + body[end:]


def insert(chance: random.Random, body: bytes) -> bytes:
    """Something put in."""
    at = chance.randint(0, len(body))
    new = chance.choice(FRAGMENTS) if chance.random() < 0.8 else chance.randbytes(chance.randint(1, 40))
    return body[:at] + new + body[at:]


def double(chance: random.Random, body: bytes) -> bytes:
    """A piece twice, or many times."""
    start, end = _piece(chance, body)
    return body[:end] + body[start:end] * chance.choice((1, 1, 1, 2, 20)) + body[end:]


def truncate(chance: random.Random, body: bytes) -> bytes:
    """Only the beginning, or only the end."""
    at = chance.randint(0, len(body))
    return body[:at] if chance.random() < 0.8 else body[at:]


def splice(chance: random.Random, body: bytes) -> bytes:
    """The beginning of this and the end of another case, of whatever dialect."""
    other = chance.choice(BODIES)
    return body[: chance.randint(0, len(body))] + other[chance.randint(0, len(other)) :]


def shuffle_lines(chance: random.Random, body: bytes) -> bytes:
    """Two lines change places, or a line of another case stands between."""
    lines = body.split(b"\n")
    if chance.random() < 0.5:
        lines.insert(chance.randint(0, len(lines)), chance.choice(chance.choice(BODIES).split(b"\n")))
    else:
        one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def endings(chance: random.Random, body: bytes) -> bytes:
    """Other line ends everywhere."""
    return body.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b"\n\r\n", b"")))


def _piece(chance: random.Random, body: bytes) -> tuple[int, int]:
    start = chance.randint(0, len(body))
    return start, min(len(body), start + chance.choice((1, 1, 2, 5, 20, 200)))


# -- one place of one JSON document

_RAW = "@raw@"
_KEY = "@key@"


def replace_value(chance: random.Random, document: Any) -> str:
    """Another value in one place."""
    where, key = chance.choice(list(_places(document)))
    where[key] = _RAW
    return _written(document).replace(f'"{_RAW}"', chance.choice(TOKENS))


def remove_key(chance: random.Random, document: Any) -> str:
    """One key, or one item of a list, less."""
    where, key = chance.choice(list(_places(document)))
    del where[key]
    return _written(document)


def double_key(chance: random.Random, document: Any) -> str:
    """One key a second time, with another value."""
    found = [(where, key) for where, key in _places(document) if isinstance(where, dict)]
    if not found:
        return _written(document)
    where, key = chance.choice(found)
    where[_KEY] = _RAW
    return _written(document).replace(f'"{_KEY}"', json.dumps(key)).replace(f'"{_RAW}"', chance.choice(TOKENS))


def move_value(chance: random.Random, document: Any) -> str:
    """A value of this document in another place of it: a text where a list belongs, a list where a number belongs."""
    found = list(_places(document))
    where, key = chance.choice(found)
    other, from_key = chance.choice(found)
    where[key] = json.loads(_written(other[from_key]))
    return _written(document)


def transplant(chance: random.Random, document: Any) -> str:
    """The same key with the value that another case has there."""
    found = list(_places(document))
    others = _documents(chance.choice(BODIES).decode())
    values: dict[Any, Any] = {key: where[key] for other in others for where, key in _places(other)}
    fitting = [(where, key) for where, key in found if key in values] or found
    where, key = chance.choice(fitting)
    where[key] = values.get(key)
    return _written(document)


def wrap(chance: random.Random, document: Any) -> str:
    """The document inside of something, or all of it replaced."""
    text = _written(document)
    return chance.choice(
        (f"[{text}]", f'{{"data":{text}}}', f"{text}{text}", f"{text},", f" \t{text} ", json.dumps(text), chance.choice(TOKENS))
    )


JSON_AWARE: tuple[Callable[[random.Random, Any], str], ...] = (
    replace_value, replace_value, replace_value, remove_key, double_key, move_value, transplant, wrap,
)  # fmt: skip


def in_json(chance: random.Random, body: bytes) -> bytes:
    """One of `JSON_AWARE` in one document of the body; bytes without a document are flipped."""
    lines = body.decode("utf-8", "replace").split("\n")
    found = [number for number, line in enumerate(lines) if _document(line) is not None]
    if not found:
        return flip(chance, body)
    number = chance.choice(found)
    prefix, document = _document(lines[number]) or ("", {})
    try:
        lines[number] = prefix + chance.choice(JSON_AWARE)(chance, document)
    except RecursionError:  # an earlier mutation nested it deeper than can be written
        return truncate(chance, body)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _document(line: str) -> tuple[str, Any] | None:
    """The object of a line, and what stands before it."""
    start = line.find("{")
    prefix = line[:start]
    if start < 0 or prefix.strip() not in ("", "data:"):
        return None
    try:
        value = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    return (prefix, value) if isinstance(value, dict) and value else None


def _documents(text: str) -> list[Any]:
    return [found[1] for line in text.split("\n") if (found := _document(line)) is not None]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document that holds a value: the object or list, and the key or index in it."""
    waiting = [value]
    while waiting:
        where = waiting.pop()
        keys = list(where) if isinstance(where, dict) else range(len(where))
        for key in keys:
            yield where, key
            if isinstance(where[key], dict | list):
                waiting.append(where[key])


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


ALL: tuple[Mutation, ...] = (
    in_json, in_json, in_json, in_json, in_json, in_json, flip, delete, insert, insert, double, truncate, splice,
    shuffle_lines, endings,
)  # fmt: skip
TIMES = (0, 1, 1, 1, 1, 1, 2, 2, 3, 6)


def mutated(chance: random.Random, body: bytes) -> bytes:
    """`body` after some mutations, most often one."""
    for _ in range(chance.choice(TIMES)):
        body = chance.choice(ALL)(chance, body)
    return body
