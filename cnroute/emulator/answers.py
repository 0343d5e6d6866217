"""What the emulated models say: a pure function of the last user text and a seed.

The vendors' example questions get sensible answers, everything else a sentence that quotes the question. Token counts
follow one rule that gives exactly the figures of the vendors' documented example (seeds 000 and 002: 8 + 7 = 15).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple
from zlib import crc32

BYTES_PER_TOKEN = 5
MARKER = re.compile(r"marker:[0-9A-Za-z_.\-]+")
CITIES = (
    "北京",
    "上海",
    "广州",
    "深圳",
    "杭州",
    "成都",
    "武汉",
    "西安",
    "南京",
    "重庆",
    "天津",
    "苏州",
    "香港",
    "台北",
)

# The questions are the vendors' own (seeds 000 to 003); the first answer to 你好 is the one their pages print.
CANNED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "如何做西红柿炒鸡蛋",
        (
            "先把鸡蛋打散炒熟盛出,再炒软西红柿,加少许盐和糖,最后倒回鸡蛋翻匀即可。",
            "西红柿切块,鸡蛋加盐打散。热油炒蛋,盛出;再炒西红柿出汁,加糖,倒入鸡蛋拌匀出锅。",
        ),
    ),
    ("用英文翻译下面这句话:我是谁", ("Who am I?", "“我是谁”的英文是:Who am I?")),
    (
        "三星堆",
        (
            "1、积极:表达对旅行的期待;2、喜悦:语气词体现喜爱;3、中性偏调侃:以自嘲描述职场。",
            "1、期待,“难忘回忆”是正面评价;2、喜爱,“太可爱啦”直接表达;3、调侃,“社畜”是自嘲。",
        ),
    ),
    (
        "聪聪",
        (
            "真心帮助别人的人,终会得到别人的帮助;善良与勤劳会让梦想飞起来。",
            "赠人玫瑰,手有余香:聪聪全心助人,伙伴们也帮他实现了飞翔的愿望。",
        ),
    ),
    ("齐天是谁", ("齐天是书中的主角,聪明冷静,在一次次游戏中寻找出路。", "齐天是故事的主人公。")),
    ("笑一个", ("哈哈哈哈!", "嘻嘻嘻嘻!")),
)
GREETINGS = ("你好!今天我能帮你什么?", "您好!很高兴见到您,有什么可以帮忙?", "你好呀!请说说你的问题。")
OPENINGS = ("好的,", "收到。", "明白了,", "没问题,", "很好的问题。")
BODIES = (
    "关于“{}”,可以从三点来看:先弄清目标,再分步去做,最后检查结果。",
    "你说的是“{}”。我的建议是由浅入深,先试一小步,再看效果。",
    "“{}”这件事,关键在于把要求说清楚,然后逐项落实。",
    "就“{}”而言,最稳妥的办法是先收集资料,再作判断。",
)


def answer(text: str, seed: int = 0) -> str:
    """The reply to a user text: never empty, at most 100 tokens long, with the text's ``marker:XXXX`` exactly once."""
    clean = text.encode("utf-8", "replace").decode()
    marker = MARKER.search(clean)
    said = _say(MARKER.sub("", clean).strip(), seed)
    return f"{marker[0]} {said}" if marker else said


def _say(text: str, seed: int) -> str:
    if text.strip("!\uff01。.,\uff0c ?\uff1f") == "你好":
        return GREETINGS[seed % len(GREETINGS)]
    for question, variants in CANNED:
        if question in text:
            return variants[seed % len(variants)]
    return _derive(text, seed)


def _derive(text: str, seed: int) -> str:
    quote = " ".join(text.split())
    quote = quote if len(quote) <= 30 else quote[:30] + "…"
    choice = crc32(f"{seed}:{text}".encode("utf-8", "replace"))
    return OPENINGS[choice % len(OPENINGS)] + BODIES[choice // 7 % len(BODIES)].format(quote or "你的问题")


def thought(text: str, seed: int = 0) -> str:
    """What a thinking model thinks before it answers."""
    quote = " ".join(MARKER.sub("", text).split())[:16].encode("utf-8", "replace").decode()
    return ("先想一想", "我来分析一下")[seed % 2] + f":用户问的是“{quote}”,先理清问题,再简要回答。"


def tokens(text: str) -> int:
    """One token for every five UTF-8 bytes begun."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def shorten(text: str, limit: int) -> str:
    """The longest beginning of the text that is at most ``limit`` tokens."""
    return text.encode("utf-8", "replace")[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def pieces(text: str) -> list[str]:
    """The text as it is streamed: one to four characters at a time, at least three pieces where there are three."""
    sizes = cycle((1, 2, 4, 3) if len(text) > 6 else (1,))
    parts, start = [], 0
    while start < len(text):
        end = start + next(sizes)
        parts.append(text[start:end])
        start = end
    return parts


class Call(NamedTuple):
    """One tool call of the model; ``arguments`` is JSON text."""

    name: str
    arguments: str
    id: str


class Tool(NamedTuple):
    """A function that the caller offers, with its JSON schema."""

    name: str
    schema: Mapping[str, Any]


@dataclass(slots=True, frozen=True)
class Turn:
    """What the model has to react to: the last user text, and a tool result where that came last.

    ``quote`` is a sentence of a knowledge base to answer with.
    """

    user: str
    input_tokens: int
    result: str | None = None
    tool: Tool | None = None
    limit: int | None = None
    thinking: bool = False
    room: int | None = None
    wrap: Callable[[str], str] | None = None
    quote: str = ""


class Increment(NamedTuple):
    """One streamed piece of an answer; ``kind`` is reasoning, text or arguments."""

    kind: str
    piece: str


@dataclass(slots=True, frozen=True)
class Answer:
    """A dialect-neutral answer. ``finish`` is stop, length, max_output or tool_calls."""

    text: str
    reasoning: str
    call: Call | None
    finish: str
    input_tokens: int

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning."""
        return tokens(self.reasoning)

    @property
    def output_tokens(self) -> int:
        """Tokens of reasoning, text and tool call."""
        arguments = tokens(self.call.name + self.call.arguments) if self.call else 0
        return tokens(self.text) + tokens(self.reasoning) + arguments

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    def increments(self) -> list[Increment]:
        """Reasoning first, then the text or the arguments of the call."""
        parts = [Increment("reasoning", piece) for piece in pieces(self.reasoning)]
        parts += [Increment("text", piece) for piece in pieces(self.text)]
        if self.call:
            parts += [Increment("arguments", piece) for piece in _thirds(self.call.arguments)]
        return parts


def _thirds(text: str) -> list[str]:
    size = max(1, -(-len(text) // 3))
    return [text[start : start + size] for start in range(0, len(text), size)]


def compose(turn: Turn, seed: int = 0) -> Answer:
    """The answer to a turn: a tool call if a tool waits for one, else text, cut where the caller's limit cuts it."""
    reasoning = thought(turn.user, seed) if turn.thinking else ""
    if turn.tool and turn.result is None:
        return Answer("", reasoning, call(turn.tool, turn.user), "tool_calls", turn.input_tokens)
    said = _said(turn, seed) if turn.result is None else f"根据查询结果:{turn.result}"
    text, finish = _cut(turn.wrap(said) if turn.wrap else said, turn)
    return Answer(text, reasoning, None, finish, turn.input_tokens)


def _said(turn: Turn, seed: int) -> str:
    if not turn.quote:
        return answer(turn.user, seed)
    marker = MARKER.search(turn.user)
    return f"{marker[0]} 根据资料:{turn.quote}" if marker else f"根据资料:{turn.quote}"


def _cut(text: str, turn: Turn) -> tuple[str, str]:
    """The caller's limit gives ``length``; the model's own window, where it is smaller, gives ``max_output``."""
    wanted = tokens(text)
    if turn.room is not None and wanted > turn.room and (turn.limit is None or turn.room < turn.limit):
        return shorten(text, turn.room), "max_output"
    if turn.limit is not None and wanted > turn.limit:
        return shorten(text, turn.limit), "length"
    return text, "stop"


def call(tool: Tool, text: str) -> Call:
    """A call of the tool with arguments made from its schema and the user's text."""
    values = example(tool.schema, text)
    arguments = json.dumps(values if isinstance(values, dict) else {}, ensure_ascii=False)
    return Call(tool.name, arguments, f"call_{crc32(f'{tool.name}{arguments}'.encode('utf-8', 'replace')):08x}")


def example(schema: Mapping[str, Any], text: str) -> Any:
    """A value that fits a JSON schema; strings come from its enum or name a city of the text."""
    if schema.get("enum"):
        return schema["enum"][0]
    make = EXAMPLES.get(str(schema.get("type", "object")), EXAMPLES["string"])
    return make(schema, text)


def _object(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    properties = schema.get("properties")
    return {name: example(part, text) for name, part in properties.items()} if isinstance(properties, Mapping) else {}


def _array(schema: Mapping[str, Any], text: str) -> list[Any]:
    return [example(schema.get("items") or {"type": "string"}, text)]


def _string(_schema: Mapping[str, Any], text: str) -> str:
    found = [city for city in CITIES if city in text]
    return min(found, key=text.index) if found else CITIES[0]


EXAMPLES: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": lambda _schema, _text: 1,
    "number": lambda _schema, _text: 1.5,
    "boolean": lambda _schema, _text: True,
    "null": lambda _schema, _text: None,
}
