"""Records and their texts: stable data, every deployment once, words in both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.chat import Usage
from cnroute.explain import explain, find_record, record_of_completion, record_of_error, record_of_notice, record_of_plan
from cnroute.failures import Attempt, Failure, FailureKind
from cnroute.money import Bill, Cost
from cnroute.notices import CallFinished
from cnroute.observe import words
from cnroute.routing.plan import Candidate, Excluded, Plan
from tests.observe import scene

BOTH = ("en", "zh")


def cost(low: str, high: str | None = None, estimated: bool = False, currency: str = "CNY") -> Cost:
    return Cost(Decimal(low), Decimal(high or low), currency, estimated)


PLAN = Plan(
    "chat", "cheapest",
    (
        Candidate(
            "yi", 1, cost("0.01", "0.04", True), "cooling down", "expected cost about 0.01 to 0.04 CNY", "dashscope", "yi-large"
        ),
        Candidate("mm", 2, cost("0.05", None, True), "healthy", "expected cost about 0.05 CNY", "minimax-v2", "MiniMax-Text-01"),
        Candidate("kb", 3, cost("0.06", None, True), "healthy", "expected cost about 0.06 CNY", "minimax-pro", "abab6.5s-chat"),
        Candidate("qw", 4, None, "healthy", "unknown price, so it comes last", "dashscope", "qwen-plus"),
    ),
    (Excluded("lg", "unsupported", "tools: this dialect has none", "minimax-legacy", "abab5.5-chat"),),
    12,
)
FAILED = Attempt(
    "mm", "minimax-v2", 1,
    Failure("server_error", "try later", vendor_code="1000", http_status=200, request_id="r-1", retry_after=2.5),
    200, "r-1", "unknown", 1700000000.0, 0.5, None, cost("0", "0.06", True), {}, True,
)
GOOD = Attempt(
    "kb", "minimax-pro", 2, None, 200, "r-2", "billed", 1700000000.6, 0.25, Usage(10, 20, 30, 4), cost("0.0012"),
    {"temperature": "0 -> 0.01: the range is (0, 1]"},
)
REPLY = cnroute.ChatCompletion(
    "the secret answer", finish_reason="stop", usage=GOOD.usage, model="abab6.5s-chat", request_id="r-2", call_id="c-1",
    provider="minimax-pro", deployment="kb", cost=GOOD.cost, bill=Bill(cost("0.0012"), cost("0", "0.06", True)),
    attempts=(FAILED, GOOD), plan=PLAN, metadata={"tenant": "杭州"},
)

ENGLISH = """\
Call c-1: kb (minimax-pro, abab6.5s-chat) answered in 0.750 s, after 2 attempts.
Asked for: chat, about 12 input tokens.
Order (policy cheapest): the least expected cost first.
  1. yi (dashscope, yi-large): skipped: it is left alone for a while after an earlier failure (cooling_down); \
expected cost about 0.01 to 0.04 CNY, cooling down
  2. mm (minimax-v2, MiniMax-Text-01): tried, failed; expected cost about 0.05 CNY, healthy
  3. kb (minimax-pro, abab6.5s-chat): answered; expected cost about 0.06 CNY, healthy
  4. qw (dashscope, qwen-plus): not tried: another deployment had answered; unknown price, so it comes last, healthy
Excluded:
  - lg (minimax-legacy, abab5.5-chat): it cannot express or take a parameter of this request \
(unsupported: tools: this dialect has none)
Attempts:
  1. mm, 0.500 s: the vendor had an internal error (server_error, HTTP 200, vendor code 1000, request id r-1). \
Message: "try later" Not again before 2.5 s have passed. Sent a second time on a new connection, since the first one \
had gone stale. It may have been charged: about 0 to 0.06 CNY, an estimate since the vendor reported no usage.
  2. kb, 0.250 s: answered (HTTP 200, request id r-2). Changed for it: temperature (0 -> 0.01: the range is (0, 1]). \
It was charged: exactly 0.0012 CNY.
Tokens: 10 in, 20 out, 30 in all, 4 of the input cached.
Cost of the answer: exactly 0.0012 CNY.
The whole call: exactly 0.0012 CNY for certain; about 0 to 0.06 CNY more for attempts that may have been charged.
Finish: the answer is complete (stop).
Request id: r-2.
Metadata: tenant=杭州."""

CHINESE = """\
调用 c-1：kb（minimax-pro，abab6.5s-chat）给出了回答，耗时 0.750 秒，共尝试 2 次。
请求：chat，输入约 12 个 token。
候选顺序（策略 cheapest）：预计费用低者优先。
  1. yi（dashscope，yi-large）：跳过：因之前的失败，仍在冷却期内（cooling_down）；预计费用约 0.01 至 0.04 元，冷却中
  2. mm（minimax-v2，MiniMax-Text-01）：已尝试，失败；预计费用约 0.05 元，状态正常
  3. kb（minimax-pro，abab6.5s-chat）：给出了回答；预计费用约 0.06 元，状态正常
  4. qw（dashscope，qwen-plus）：未尝试：已有其他部署给出回答；价格未知，故排在最后，状态正常
已排除：
  - lg（minimax-legacy，abab5.5-chat）：不支持请求中的某个参数（unsupported：tools: this dialect has none）
各次尝试：
  1. mm，0.500 秒：厂商内部出错（server_error，HTTP 200，厂商错误码 1000，请求 ID r-1）。信息：“try later”。\
要求 2.5 秒后再试。原连接已失效，换新连接重发了一次。可能已计费：约 0 至 0.06 元（厂商未返回用量，此为估算）。
  2. kb，0.250 秒：成功（HTTP 200，请求 ID r-2）。为适配而调整：temperature（由 0 改为 0.01，取值范围为 (0, 1]）。\
已计费：正好 0.0012 元。
token 用量：输入 10，输出 20，合计 30，输入中命中缓存 4。
回答的费用：正好 0.0012 元。
整次调用的费用：可确定的为正好 0.0012 元；另有尝试可能已计费，为约 0 至 0.06 元。
结束原因：回答完整（stop）。
请求 ID：r-2。
元数据：tenant=杭州。"""


def read_back(record: dict[str, Any]) -> dict[str, Any]:
    """The record after a journey through a file."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    back: dict[str, Any] = json.loads(text)
    assert back == record
    return back


@pytest.mark.parametrize(("lang", "text"), [("en", ENGLISH), ("zh", CHINESE)])
def test_a_call_is_told_from_its_json_alone(lang: str, text: str) -> None:
    """Order, attempts, money, what was not tried and why."""
    assert explain(read_back(REPLY.record()), lang) == text
    assert REPLY.explain(lang) == text


def test_every_deployment_appears_once_with_its_fate() -> None:
    """Chosen, tried, skipped, not needed, excluded; each with its rule and reason."""
    plan = REPLY.record()["plan"]
    fates = {each["deployment"]: (each["state"], each["rule"]) for part in plan.values() for each in part}
    assert sum(map(len, plan.values())) == len(fates) == 5
    assert fates == {
        "yi": ("skipped", "cooling_down"),
        "mm": ("tried", "server_error"),
        "kb": ("chosen", "answered"),
        "qw": ("not_needed", "answered"),
        "lg": ("excluded", "unsupported"),
    }


def test_a_record_has_no_content_and_no_floats_for_money() -> None:
    """Amounts are text; the answer is nowhere."""
    record = REPLY.record()
    assert "secret answer" not in json.dumps(record)
    assert record["cost"] == {"low": "0.0012", "high": "0.0012", "currency": "CNY", "estimated": False, "exact": True}
    assert record["bill"] == {
        "confirmed": [record["cost"]],
        "possible": [{"low": "0", "high": "0.06", "currency": "CNY", "estimated": True, "exact": False}],
    }
    huge = attrs.evolve(GOOD, cost=cost("0.10000000000000000000000000001"))
    error = cnroute.ServerError("x", attempts=(huge,), plan=PLAN)
    assert record_of_error(error)["bill"]["confirmed"][0]["low"] == "0.10000000000000000000000000001"


def test_the_schema_is_stable() -> None:
    """Keys may be added in a minor version, never taken away; adding one means adding it here."""
    assert list(REPLY.record()) == [
        "schema", "kind", "call_id", "route", "policy", "estimated_input_tokens", "outcome", "deployment", "provider",
        "model", "started", "seconds", "plan", "attempts", "usage", "cost", "bill", "finish_reason", "request_id",
        "metadata", "error", "degraded",
    ]
    assert list(REPLY.record()["attempts"][0]) == [
        "deployment", "provider", "model", "number", "failure", "http_status", "request_id", "billing", "started", "seconds",
        "usage", "cost", "adjusted", "resent",
    ]
    assert list(REPLY.record()["attempts"][0]["failure"]) == [
        "kind", "message", "vendor_code", "http_status", "request_id", "retry_after", "billing", "retryable",
    ]
    assert list(PLAN.record()) == ["schema", "kind", "route", "policy", "estimated_input_tokens", "plan"]
    assert list(PLAN.record()["plan"]["candidates"][0]) == [
        "deployment", "provider", "model", "rank", "order", "order_by", "health", "ready_in", "cost", "state", "rule", "reason",
        "inputs",
    ]
    assert list(PLAN.record()["plan"]["excluded"][0]) == ["deployment", "provider", "model", "state", "rule", "reason", "inputs"]
    assert REPLY.record()["schema"] == PLAN.record()["schema"] == 1


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(FailureKind))
@pytest.mark.parametrize("lang", BOTH)
def test_every_failure_kind_has_its_sentence(kind: FailureKind, lang: str) -> None:
    """As a call's end and as an attempt's, in both languages."""
    attempt = attrs.evolve(FAILED, failure=Failure(kind, "x"))
    error = cnroute.error_for(Failure(kind, "x"), attempts=(attempt,), plan=PLAN, call_id="c-1")
    sentence = words.FAILURES[kind.value][words.LANGUAGES.index(lang)]
    text = error.explain(lang)
    assert text.splitlines()[0].rstrip(".。").endswith(("({})" if lang == "en" else "（{}）").format(kind.value))
    assert text.count(sentence) >= 2


def test_the_tables_of_words_fit_what_there_is() -> None:
    """No kind without words, no words without a kind, both languages everywhere, the same gaps in both."""
    assert set(words.FAILURES) == {kind.value for kind in FailureKind}
    for table in (words.FAILURES, words.RULES, words.STATES, words.POLICIES, words.HEALTH, words.BILLING, words.FINISH,
                  words.PHRASES):  # fmt: skip
        for english, chinese in table.values():
            assert english
            assert chinese or english == " "
            assert set(re.findall(r"{\w+}", english)) >= set(re.findall(r"{\w+}", chinese))


@pytest.mark.parametrize(("lang", "text"), [
    ("en", """\
Call c-1 failed, before anything was sent: no deployment could be tried (no_candidate).
Message: "nobody\\x0ais there"
Asked for: few, about 3 input tokens.
Order (policy ordered): as the targets are written.
  1. yi (dashscope, yi-large): skipped: its breaker is open after repeated failures (breaker_open); \
expected cost unknown, breaker open"""),
    ("zh", """\
调用 c-1：失败，未发出请求：没有可用的部署（no_candidate）。
信息：“nobody\\x0ais there”。
请求：few，输入约 3 个 token。
候选顺序（策略 ordered）：按目标的书写顺序。
  1. yi（dashscope，yi-large）：跳过：连续失败后熔断器已打开（breaker_open）；价格未知，熔断中"""),
])  # fmt: skip
def test_a_call_that_nobody_took(lang: str, text: str) -> None:
    """Nothing was sent: every candidate was skipped, and the error's own words are shown, cleaned."""
    plan = Plan("few", "ordered", (Candidate("yi", 1, None, "breaker open", "as written", "dashscope", "yi-large"),), (), 3)
    error = cnroute.NoCandidateError("nobody\nis there", plan=plan, call_id="c-1")
    assert explain(read_back(record_of_error(error)), lang) == text


def test_after_a_stop_the_rest_is_not_tried() -> None:
    """A failure that ends the call leaves the later candidates alone, and says so."""
    error = cnroute.BadRequestError("no", attempts=(FAILED,), plan=PLAN)
    fates = {each["deployment"]: (each["state"], each["rule"]) for each in error.record()["plan"]["candidates"]}
    assert fates["kb"] == fates["qw"] == ("not_needed", "call_ended")


def test_an_error_without_a_call_can_be_told() -> None:
    """One that was raised before there was a plan."""
    for lang in BOTH:
        assert "model" in cnroute.ModelNotFoundError("there is no model 'x'").explain(lang)


def test_a_broken_stream_keeps_its_text_out_of_the_record() -> None:
    """The cause is told, what was handed out is not."""
    error = cnroute.StreamInterruptedError("it broke", partial_text="handed out", cause_kind="idle_timeout", plan=PLAN)
    assert error.record()["error"]["cause_kind"] == "idle_timeout"
    assert "handed out" not in json.dumps(error.record())
    assert "idle_timeout" in error.explain()


# -- money -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("price", "english", "chinese"), [
    (cost("0.1"), "exactly 0.1 CNY", "正好 0.1 元"),
    (cost("0.1", "0.2"), "between 0.1 and 0.2 CNY, since the vendor's counts", "介于 0.1 与 0.2 元之间（厂商的计数"),
    (cost("0.1", "0.2", True, "USD"), "about 0.1 to 0.2 USD, an estimate", "约 0.1 至 0.2 美元（厂商未返回用量"),
    (cost("1", "1", True, "CHF"), "about 1 CHF, an estimate", "约 1 CHF（厂商未返回用量"),
    (None, "unknown, since the deployment has no known price", "未知（该部署没有已知价格）"),
])  # fmt: skip
def test_how_exact_a_cost_is_is_said(price: Cost | None, english: str, chinese: str) -> None:
    """Exact, between, about, unknown; always with the currency."""
    reply = REPLY.with_record(cost=price)
    assert f"Cost of the answer: {english}" in reply.explain("en")
    assert f"回答的费用：{chinese}" in reply.explain("zh")


def test_bills_in_several_currencies_unknown_and_empty() -> None:
    """Two currencies are two amounts; unknown is said; nothing is nothing."""
    two = REPLY.with_record(bill=Bill((cost("1"), cost("2", None, False, "USD")), None))
    assert "exactly 1 CNY + exactly 2 USD for certain; an unknown amount more" in two.explain()
    assert "The whole call cost nothing." in REPLY.with_record(bill=Bill(cost("0"), cost("0"))).explain()


# -- plans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["ordered", "weighted", "cheapest", "fastest"])
def test_plans_of_every_policy_read_well_in_chinese(policy: str) -> None:
    """Beside names, rules and what plugins wrote, no English is left in the Chinese text."""
    with scene.stage() as (router, emulator):
        emulator.script("yi-large", ["http_401"])
        router.chat("x", model="chat")
        deployments = [place.deployment for place in router._engine.binding.places.values()]
    with cnroute.Router(deployments, {"go": cnroute.Route(policy=policy, targets=["yi", "mm", "kb"])}) as router:
        plan = router.plan("你好", model="go")
    text = plan.explain("zh")
    for name in ("token", "yi-large", "yi", "dashscope", "mm", "minimax-v2", "MiniMax-Text-01", "kb", "minimax-pro",
                 "abab6.5s-chat", "go", policy):  # fmt: skip
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "", text)
    assert not re.findall("[A-Za-z]+", text)
    assert explain(read_back(record_of_plan(plan))) == str(plan)


def test_a_forecast_says_that_nothing_was_sent() -> None:
    """Candidates with rank, cost and health; the excluded with their reason."""
    text = str(PLAN)
    assert text.startswith("Plan for chat; nothing has been sent.\n")
    assert "  1. yi (dashscope, yi-large): expected cost about 0.01 to 0.04 CNY, cooling down" in text
    assert {each["state"] for each in PLAN.record()["plan"]["candidates"]} == {"candidate"}
    assert "No deployment can take this request." in str(Plan("x", "ordered", (), PLAN.excluded, 1))


# -- real calls --------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[list[Any]]:
    with scene.stage() as (router, emulator):
        yield scene.play(router, emulator)


def test_records_of_real_calls_survive_a_file(ends: list[Any]) -> None:
    """Every end of a call is JSON, tells its call and reads the same when it comes back."""
    for end in ends:
        record = read_back(end.record())
        assert record["call_id"] == end.call_id
        assert len(record["attempts"]) == len(end.attempts)
        for lang in BOTH:
            assert explain(record, lang) == end.explain(lang)
            assert end.call_id in end.explain(lang)


def test_the_log_and_the_reply_have_the_same_record() -> None:
    """Beside the seconds, which the notice measures around everything, and an error's metadata."""
    seen: list[CallFinished] = []

    class Observer:
        @cnroute.hookimpl
        def observe(self, notice: object) -> None:
            if isinstance(notice, CallFinished):
                seen.append(notice)

    host = cnroute.PluginHost(autoload=False)
    host.register(Observer(), name="observer")
    with scene.stage(plugins=host) as (router, emulator):
        ends = scene.play(router, emulator)
    for notice, end in zip(seen, ends, strict=True):
        logged, told = record_of_notice(notice), end.record()
        for record in (logged, told):
            record.pop("seconds")
            record.pop("metadata")
        assert logged == told


def test_a_running_stream_is_unfinished() -> None:
    """Its record is no success yet."""
    with scene.stage() as (router, _), router.stream("x", model="mm") as stream:
        next(stream)
        assert record_of_completion(stream.completion)["outcome"] == "unfinished"
        assert "has not ended yet" in stream.completion.explain()


# -- what cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["fr", "", "EN", "zh-CN"])
def test_other_languages_are_refused(lang: str) -> None:
    """The error names the two that there are."""
    with pytest.raises(ValueError, match='"en" or "zh"'):
        REPLY.explain(lang)


@pytest.mark.parametrize("change", [{"schema": 2}, {"kind": "novel"}, {"attempts": None}, {"attempts": [{}]}, {"plan": 7}])
def test_what_is_no_record_is_refused(change: dict[str, Any]) -> None:
    """A ValueError, whatever stands in the file."""
    with pytest.raises(ValueError, match="record"):
        explain({**REPLY.record(), **change})


def test_what_a_later_version_wrote_is_shown_as_it_is() -> None:
    """Unknown kinds, rules, policies and keys do no harm."""
    record = REPLY.record() | {"policy": "by_moon", "finish_reason": "new", "more": 1}
    record["plan"]["candidates"][0] |= {"rule": "new_rule", "health": "tired"}
    record["attempts"][0]["failure"]["kind"] = "new_kind"
    for lang in BOTH:
        text = explain(record, lang)
        assert all(word in text for word in ("by_moon", "new_rule", "tired", "new_kind"))


def test_a_forged_record_cannot_write_to_the_terminal() -> None:
    """Records come from files; what they hold is escaped, line by line."""
    record = REPLY.record() | {"metadata": {"a\x1b[31m": "b\nc"}}
    text = explain(record)
    assert "\x1b" not in text
    assert "b\\x0ac" in text


def test_records_are_found_in_log_lines() -> None:
    """A line is a record, or carries one as `record`."""
    record = REPLY.record()
    assert find_record(record) == record
    assert find_record({"event": "call finished", "record": record}) == record
    assert find_record({"event": "attempt started"}) is None
    assert find_record(["no"]) is None


def test_explaining_needs_values_only() -> None:
    """Neither router nor transport nor structlog is imported to read a record."""
    code = (
        "import sys, cnroute.explain;"
        "print([name for name in sys.modules if name.startswith(('cnroute.router', 'cnroute.flow', 'cnroute.engine',"
        "'cnroute.transports', 'urllib3', 'structlog', 'asyncio', 'logging'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
