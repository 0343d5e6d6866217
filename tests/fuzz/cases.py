"""One fuzz case: a number makes vendor bytes, a status, headers, cuts and a call; and what may come out of it.

`python -m tests.fuzz NUMBER` plays one case again and shows it.
"""

from __future__ import annotations

import functools
import json
import math
import pickle
import random
import re
import time
from decimal import Decimal
from itertools import pairwise
from typing import Any

import attrs

import cnroute
from cnroute.failures import FailureKind
from cnroute.testing import FakeClock, FakeTransport
from tests.contract.kit import GROUP, KEY, plain_host
from tests.contract.wire_cases import CASES
from tests.fuzz.mutations import mutated

K = FailureKind
SEED = "cnroute 1"
PROVIDERS = ("dashscope", "minimax-v2", "minimax-pro", "minimax-legacy")
MODELS = {
    "dashscope": "qwen-plus",
    "minimax-v2": "MiniMax-Text-01",
    "minimax-pro": "abab6.5s-chat",
    "minimax-legacy": "abab5.5-chat",
}
STATUSES = (
    201,
    204,
    206,
    299,
    300,
    301,
    304,
    307,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    413,
    422,
    429,
    451,
    499,
    500,
    502,
    503,
    504,
    529,
    599,
)
ODD_STATUSES = (0, 100, 103, 199, 600, 999)

# What the bytes of a vendor can mean. A `plugin_error` would be a hook that raised, all else is not for a vendor to say.
VENDOR = frozenset((
    K.AUTH, K.PERMISSION, K.QUOTA, K.RATE_LIMIT, K.BAD_REQUEST, K.REQUEST_TOO_LARGE, K.CONTEXT_LENGTH, K.CONTENT_FILTER,
    K.MODEL_NOT_FOUND, K.SERVER_ERROR, K.OVERLOADED, K.VENDOR_TIMEOUT,
))  # fmt: skip
KINDS = VENDOR | {K.BAD_RESPONSE, K.RESPONSE_TOO_LARGE, K.PROTOCOL_ERROR, K.REDIRECT}
WORDS = {None, "stop", "length", "tool_calls", "content_filter"}
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Seconds of processor time that no case may take: the slowest takes a twentieth.
BOUND = 1.0
BY_PROVIDER = {provider: [case for case in CASES if case["provider"] == provider] for provider in PROVIDERS}


@attrs.frozen
class Case:
    """What the vendor says, and how it is asked."""

    number: int
    provider: str
    origin: str
    stream: bool
    status: int
    headers: dict[str, str]
    body: bytes
    cuts: tuple[int, ...]
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"replay: python -m tests.fuzz {self.number}\n"
            f"{self.provider} {'stream' if self.stream else 'plain'}, from {self.origin}, status {self.status},"
            f" headers {self.headers}, arguments {self.arguments}\n"
            f"cuts {self.cuts}\nbytes {self.body!r:.20000}"
        )


def case(number: int) -> Case:
    """The case with this number, always the same one."""
    chance = random.Random(f"{SEED} {number}")
    provider = PROVIDERS[number % 4]
    stream = number // 4 % 2 == 1
    fitting = [one for one in BY_PROVIDER[provider] if bool(one["request"].get("stream")) is stream]
    origin = chance.choice(fitting if chance.random() < 0.85 and fitting else CASES)
    body = mutated(chance, origin["body"].encode())
    return Case(
        number,
        provider,
        origin["id"],
        stream,
        _status(chance, origin["http_status"]),
        _headers(chance, origin["headers"]),
        body,
        _cuts(chance, len(body)),
        _arguments(chance, provider),
    )


def _status(chance: random.Random, usual: int) -> int:
    draw = chance.random()
    return usual if draw < 0.75 else 200 if draw < 0.85 else chance.choice(STATUSES if draw < 0.98 else ODD_STATUSES)


def _headers(chance: random.Random, usual: dict[str, str]) -> dict[str, str]:
    headers = dict(usual)
    for name, values in _HEADERS.items():
        if chance.random() < 0.1:
            headers[name] = chance.choice(values)
    return headers


_HEADERS = {
    "Content-Type": (
        "text/event-stream",
        "application/json; charset=GBK",
        "text/html; charset=big5",
        "charset=",
        ";;;",
        "a" * 5000,
    ),
    "Retry-After": (
        "1",
        "1.5",
        "-5",
        "9" * 400,
        "abc",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 99 Foo 0000 00:00:00",
        "inf",
        "nan",
        "１",
    ),
    "retry-after-ms": ("20", "-1", "x", "9" * 30),
    "Trace-Id": ("t\x85\x1b[31m", "x" * 5000, ""),
    "x-request-id": ("é\x9b31m", "r" * 200, " "),
}


def _cuts(chance: random.Random, size: int) -> tuple[int, ...]:
    """Where the stream is cut: nowhere, at a few places, or after every so many bytes."""
    draw = chance.random()
    if size < 2 or draw < 0.2:
        return ()
    if draw < 0.8 or size > 8000:
        return tuple(sorted(chance.randrange(1, size) for _ in range(chance.randint(1, 12))))
    return tuple(range(1, size, chance.choice((1, 2, 3, 7, 64))))


def _arguments(chance: random.Random, provider: str) -> dict[str, Any]:
    if provider != "dashscope" or chance.random() < 0.4:
        return {}
    parameters: dict[str, Any] = {"incremental_output": chance.random() < 0.5}
    if chance.random() < 0.2:
        parameters["n"] = chance.choice((2, 3))
    return {"extra": {"dashscope": {"parameters": parameters}}}


class Bench(FakeTransport):
    """One router of one dialect, whose vendor answers with the case in hand."""

    def __init__(self, provider: str) -> None:
        self.case: Case | None = None
        super().__init__([self.now])
        options = {"group_id": GROUP} if provider in ("minimax-pro", "minimax-legacy") else {}
        tiers = [{"up_to": 1000, "input": "1", "output": "2"}, {"up_to": None, "input": "3", "output": "4", "cached": "0.1"}]
        price = {"currency": "CNY", "input": "1", "output": "2", "cached": "0.1", "search": "0.01", "tiers": tiers}
        self.router = cnroute.Router(
            [cnroute.Deployment("d", provider, MODELS[provider], api_key=KEY, options=options, price=price)],
            transport=self,
            clock=FakeClock(),
            breaker=None,
            retries=cnroute.Retries(max_attempts=1),
            random=random.Random(1).random,
            **plain_host(),
        )

    def now(self, sent: Any) -> cnroute.HttpResponse:
        """The answer of the case."""
        assert self.case is not None
        return cnroute.HttpResponse(self.case.status, self.case.headers, self.case.body)

    def pieces(self, body: bytes) -> list[bytes]:
        """The body as it is cut."""
        assert self.case is not None
        ends = [0, *self.case.cuts, len(body)]
        return [body[start:end] for start, end in pairwise(ends) if start < end]

    def play(self, case: Case) -> str:
        """Make the call of `case` and check all of its outcome; the kind of the outcome."""
        self.case = case
        self.requests.clear()
        begun = time.process_time()
        kind = self._streamed(case) if case.stream else self._plain(case)
        seconds = time.process_time() - begun
        assert seconds < BOUND, f"{seconds:.2f} s"
        assert self.open_streams == 0
        assert len(self.requests) == 1
        return kind

    def _plain(self, case: Case) -> str:
        try:
            reply = self.router.chat("长江有多长", model="d", **case.arguments)
        except cnroute.CallError as error:
            check_error(error, case)
            assert not isinstance(error, cnroute.StreamInterruptedError)
            return error.kind.value
        check_reply(reply, case)
        return "ok"

    def _streamed(self, case: Case) -> str:
        deltas: list[Any] = []
        stream = self.router.stream("长江有多长", model="d", **case.arguments)
        try:
            deltas.extend(stream)
        except cnroute.CallError as error:
            check_error(error, case)
            check_interrupted(error, deltas)
            return error.kind.value
        reply = stream.completion
        check_reply(reply, case)
        assert "".join(delta.text for delta in deltas) == reply.text
        assert "".join(delta.reasoning for delta in deltas) == reply.reasoning
        assert deltas[-1].finish_reason == reply.finish_reason
        assert deltas[-1].usage == reply.usage
        return "ok"


@functools.cache
def bench(provider: str) -> Bench:
    """The bench of a dialect; cases leave nothing behind in it."""
    return Bench(provider)


def play(number: int) -> str:
    """Play one case; what fails says how to play it again. The kind of its outcome."""
    one = case(number)
    try:
        return bench(one.provider).play(one)
    except Exception as error:
        error.add_note(str(one))
        raise


# -- what an outcome may be


def check_reply(reply: Any, case: Case) -> None:
    """A completion that its caller can use: text that can be encoded, numbers that are numbers, words that are known."""
    assert type(reply) is cnroute.ChatCompletion
    texts = [reply.text, reply.reasoning, reply.id, reply.request_id, reply.model]
    for call in reply.tool_calls:
        assert call.id
        texts += [call.id, call.name, call.arguments]
    for source in reply.sources:
        assert source.index is None or type(source.index) is int
        texts += [source.kind, source.text, source.document, source.title, source.url]
    for text in texts:
        assert text is None or type(text) is str
        (text or "").encode()
    for choice in reply.choices:
        assert choice.finish_reason in WORDS
        choice.message.text.encode()
    assert reply.finish_reason in WORDS
    assert 200 <= case.status < 300
    check_usage(reply.usage)
    check_cost(reply.cost)
    assert reply.attempts[-1].billing == "billed"
    check_record(reply)


def check_usage(usage: Any) -> None:
    """Every field unknown or a sensible number."""
    for count in () if usage is None else attrs.astuple(usage):
        assert count is None or (type(count) is int and 0 <= count <= 2 * 10**9)


def check_cost(cost: Any) -> None:
    """Finite, not negative, and not turned round."""
    for part in cost if isinstance(cost, tuple) else (cost,):
        if part is not None:
            assert isinstance(part.low, Decimal)
            assert part.low.is_finite() and part.high.is_finite()
            assert 0 <= part.low <= part.high


def check_error(error: Any, case: Case) -> None:
    """An error of a kind that bytes can mean, with a message for one clean line, that pickles and can be recorded."""
    assert error.kind in KINDS | ({K.STREAM_INTERRUPTED} if case.stream else frozenset()), f"{error.kind}: {error}"
    assert type(error).default_kind is not K.PLUGIN_ERROR
    for text in (error.message, error.vendor_code, error.request_id, *error.__notes__):
        assert text is None or (type(text) is str and len(text) <= 2000 and not UNSAFE.search(text)), repr(text)
        (text or "").encode()
    assert KEY not in f"{error!r} {error.__dict__}"
    assert error.retry_after is None or (math.isfinite(error.retry_after) and error.retry_after >= 0)
    assert error.billing in ("none", "unknown", "billed")
    assert type(error.http_status) is int
    assert error.__context__ is None and error.__cause__ is None
    assert len(error.attempts) == 1
    check_cost(error.attempts[0].cost)
    check_record(error)
    if case.number % 16 < 8:
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def check_interrupted(error: Any, deltas: list[Any]) -> None:
    """After content, and only then, a stream is interrupted, and the error holds exactly what was handed out."""
    seen = any(delta.text or delta.reasoning or delta.tool_calls or delta.sources for delta in deltas)
    assert isinstance(error, cnroute.StreamInterruptedError) is seen
    if isinstance(error, cnroute.StreamInterruptedError):
        assert error.partial_text == "".join(delta.text for delta in deltas)
        assert list(error.deltas) == deltas
        assert error.cause_kind in KINDS
        assert error.billing == "billed"
        check_usage(error.usage)
        error.partial_text.encode()
    else:
        assert deltas == []


def check_record(outcome: Any) -> None:
    """The record is JSON as everybody reads it, and text in two languages."""
    json.dumps(outcome.record(), ensure_ascii=False, allow_nan=False).encode()
