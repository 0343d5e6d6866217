"""The vendors' own sample requests beside ours for the same logical call, field by field.

The samples stand under `tests/emulator/samples` as the vendors' pages print them. Programs run with
`requests` caught at its adapter, curl commands are read as a shell would read them. Every difference stands in a table
with its reason; an unlisted one fails.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

import cnroute
from cnroute.testing import FakeTransport
from tests.contract.kit import plain_host

SAMPLES = Path(__file__).parents[1] / "emulator" / "samples"
GROUP, KEY, BASE = "1700000000000000019", "sk-of-a-test", 863831823174049792
OLD_HOST = "https://api.minimax.chat/v1"
ABSENT = "(absent)"
PLACEHOLDERS = {
    "请填写您的group_id": GROUP, "请填写您的api_key": KEY, "替换成具体的模型名,例如:abab6.5s-chat": "abab6.5s-chat",
    "${knowledge_base_id}": str(BASE), "${group_id}": GROUP, "$DASHSCOPE_API_KEY": KEY,
    "'Authorization;'": f"'Authorization: Bearer {KEY}'",
}  # fmt: skip
PROMPT = (
    "MM智能助理是一款由MiniMax自研的,没有调用其他产品的接口的大型语言模型。MiniMax是一家中国科技公司,一直致力于进行大模型相关的研究。"
)


class Seen(NamedTuple):
    """A request as values that can be compared."""

    method: str
    place: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


class Sample(NamedTuple):
    """A sample file, the same call in our words, and what may differ: field -> (the vendor's, ours, why)."""

    file: str
    provider: str
    model: str
    call: dict[str, Any]
    options: dict[str, Any] = {}
    differ: dict[str, tuple[Any, Any, str]] = {}
    place: str = ""


ALWAYS_A_LIMIT = "the vendors' own default is as low as 100 tokens, so a limit is always sent"
USAGE = "a stream tells its usage only when it is asked to"
NOT_LEGACY = "the page's curl sample puts the body of pro on the legacy URL; pro is where the field belongs"

PRO = {
    "messages": [
        {"role": "system", "content": PROMPT},
        {"role": "user", "name": "小明", "content": "帮我用英文翻译下面这句话:我是谁"},
    ],
    "max_tokens": 2048, "temperature": 0.1, "top_p": 0.9,
}  # fmt: skip
V2 = {
    "messages": [
        {"role": "system", "name": "MM智能助理", "content": PROMPT},
        {
            "role": "user", "name": "用户",
            "content": "你会按照以下要求回复我的内容:“根据我给出的多段信息分别判断信息文本内容表达了哪类情绪,并给出判断的理由,"
            "判断理由务必精简、准确。”我的内容是:“1、学习三星堆正确拍照姿势,留下难忘回忆!2、太可爱啦!换了个小猫图标!"
            "3、当代社畜分类图鉴,你是哪种?”",
        },
    ],
    "tool_choice": "none", "max_tokens": 2048, "temperature": 0.1, "top_p": 0.9,
}  # fmt: skip
HELLO = {"messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "你好"}]}
LIMIT = {"parameters.max_tokens": (ABSENT, 2048, ALWAYS_A_LIMIT)}
LEGACY_URL = {"place": (f"{OLD_HOST}/text/chatcompletion", f"{OLD_HOST}/text/chatcompletion_pro", NOT_LEGACY)}

SAMPLES_TABLE = [
    Sample("pro_plain.py", "minimax-pro", "abab6.5s-chat", PRO),
    Sample("pro_stream.py", "minimax-pro", "abab6.5s-chat", {**PRO, "stream": True}),
    Sample("v2_plain.py", "minimax-v2", "abab6.5s-chat", V2),
    Sample("v2_stream.py", "minimax-v2", "abab6.5s-chat", {**V2, "stream": True},
           differ={"stream_options.include_usage": (ABSENT, True, USAGE)}),
    Sample(
        "legacy_retrieval.py", "minimax-legacy", "abab5-chat", {"knowledge_base": BASE},
        {"user_name": "我", "bot_name": "专家"}, {"tokens_to_generate": (ABSENT, 2048, ALWAYS_A_LIMIT)},
    ),
    Sample(
        "legacy_retrieval.sh", "minimax-pro", "abab5.5-chat",
        {
            "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "name": "用户", "content": "齐天是谁"}],
            "max_tokens": 1024, "temperature": 0.9, "top_p": 0.95, "web_search": True, "knowledge_base": BASE,
            "extra": {"minimax-pro": {"beam_width": 1}},
        },
        differ=LEGACY_URL,
    ),
    Sample("dashscope_yi.sh", "dashscope", "yi-large", HELLO, differ=LIMIT),
    Sample("dashscope_abab.sh", "dashscope", "abab6.5s-chat", HELLO, differ=LIMIT),
]  # fmt: skip


def filled(name: str) -> str:
    """The sample's text with key, group, model and knowledge base put in."""
    text = (SAMPLES / name).read_text(encoding="utf-8")
    for old, new in PLACEHOLDERS.items():
        text = text.replace(old, new)
    return text


def theirs(name: str) -> Seen:
    """What the vendor's sample sends."""
    return of_program(name) if name.endswith(".py") else of_curl(name)


def of_program(name: str) -> Seen:
    """Run the program with `requests` caught at its adapter."""
    responses = pytest.importorskip("responses")
    caught: list[Seen] = []

    def catch(request: Any) -> tuple[int, dict[str, str], str]:
        caught.append(seen(request.method, request.url, dict(request.headers), request.body))
        return 200, {"Content-Type": "text/event-stream"}, 'data: {"reply": "好"}\n\n'

    with responses.RequestsMock() as vendor:
        for path in ("text/chatcompletion_v2", "text/chatcompletion_pro", "text/chatcompletion"):
            vendor.add_callback(responses.POST, f"{OLD_HOST}/{path}", callback=catch)
        vendor.assert_all_requests_are_fired = False
        exec(compile(filled(name), name, "exec"), {"__name__": "__main__"})  # noqa: S102 (the vendors' own programs)
    (one,) = caught
    return one


def of_curl(name: str) -> Seen:
    """Read a curl command: the URL, `--header`, and `--data` that makes it a POST."""
    words = iter(shlex.split(filled(name).replace("\\\n", " ")))
    assert next(words) == "curl"
    url, headers, body = "", {}, ""
    for word in words:
        if word in ("--header", "--data", "--data-raw", "--request"):
            value = next(words)
            if word == "--header":
                key, _, text = value.partition(":")
                headers[key] = text.strip()
            elif word != "--request":
                body = value
        elif not word.startswith("-"):
            url = word
    return seen("POST", url, headers, body)


def ours(sample: Sample, messages: Any) -> Seen:
    """What our provider makes of the same call, as it reaches the transport."""
    call = {"messages": messages, **sample.call}
    stream = call.pop("stream", False)
    options = {**({"group_id": GROUP} if sample.provider in ("minimax-pro", "minimax-legacy") else {}), **sample.options}
    place = cnroute.Deployment(
        "d", sample.provider, sample.model, api_key=KEY, options=options,
        base_url=None if sample.provider == "dashscope" else OLD_HOST,
    )  # fmt: skip
    transport = FakeTransport([(400, "{}")])
    with cnroute.Router([place], transport=transport, **plain_host()) as router, pytest.raises(cnroute.CallError):
        list(router.stream(model="d", **call)) if stream else router.chat(model="d", **call)
    (sent,) = transport.requests
    return seen(sent.method, sent.url, dict(sent.headers), sent.body)


def seen(method: str, url: str, headers: dict[str, str], body: str | bytes) -> Seen:
    """A request in comparable form; of the headers those that a sample sets itself."""
    parts = urlsplit(url)
    wanted = {name.lower(): value for name, value in headers.items()}
    kept = {name: wanted[name] for name in ("authorization", "content-type") if name in wanted}
    return Seen(method, f"{parts.scheme}://{parts.netloc}{parts.path}", dict(parse_qsl(parts.query)), kept, json.loads(body))


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value under its path; empty lists and objects are leaves."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not children or not value:
        yield path, value
    for key, child in children:
        step = f"[{key}]" if isinstance(value, list) else f".{key}" if path else key
        yield from fields(child, f"{path}{step}")


def flat(request: Seen) -> dict[str, Any]:
    whole = {"method": request.method, "place": request.place}
    whole |= {f"query {name}": value for name, value in request.query.items()}
    whole |= {f"header {name}": value for name, value in request.headers.items()}
    return {**whole, **dict(fields(request.body))}


@pytest.mark.parametrize("sample", SAMPLES_TABLE, ids=[sample.file for sample in SAMPLES_TABLE])
def test_our_request_is_the_vendors_own(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    """Method, host, path, query, headers and every field of the body are equal, but for the listed ones."""
    vendors = theirs(sample.file)
    capsys.readouterr()
    story = [{"role": "system", "content": vendors.body.get("prompt")}, {"role": "user", "content": last_text(vendors.body)}]
    left, right = flat(vendors), flat(ours(sample, story))
    differ = {
        name: (left.get(name, ABSENT), right.get(name, ABSENT))
        for name in sorted({*left, *right})
        if left.get(name, ABSENT) != right.get(name, ABSENT)
    }
    assert differ == {name: (one, other) for name, (one, other, _) in sample.differ.items()}
    assert all(reason for *_, reason in sample.differ.values())
    assert type(left.get("knowledge_base_param.knowledge_base_id")) is type(right.get("knowledge_base_param.knowledge_base_id"))


def last_text(body: dict[str, Any]) -> Any:
    messages = body.get("messages") or body["input"]["messages"]
    return messages[-1].get("text") or messages[-1]["content"]


def test_every_sample_is_in_the_table() -> None:
    """Programs for the vendor's SDK are run against the emulator in `tests/foreign`; all others are compared here."""
    sdk = {"dashscope_yi.py", "dashscope_abab.py"}
    found = {path.name for path in SAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert found == {each.file for each in SAMPLES_TABLE} | sdk
