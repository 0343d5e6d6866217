"""The same scenarios through both routers: whatever a caller can see must be equal, and be what the contract says.

A scenario is data: its name, the faults of the first vendor, what is done, and some facts of the outcome that must hold
besides being the same in both worlds.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import cnroute
from cnroute.aio import AsyncRouter
from cnroute.emulator import Emulator
from cnroute.router import Router
from tests.contract.kit import QUESTION, WORLDS, ask, deployment, hasty, in_flight

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
CALL_ID = {"call_id": "of-this-test", "tenant": "t"}

Run = Callable[[Any], Awaitable[dict[str, Any]]]


class Scenario(NamedTuple):
    """One row; `facts` are keys of the outcome (of both worlds) with their values."""

    name: str
    run: Run
    facts: dict[str, Any]
    faults: tuple[str, ...] = ()


# -- what is done ----------------------------------------------------------------------------------------


def plain(model: str = "route", messages: Any = QUESTION, **arguments: Any) -> Run:
    return lambda router: described(router, False, model, messages, arguments)


def streamed(model: str = "route", messages: Any = QUESTION, **arguments: Any) -> Run:
    return lambda router: described(router, True, model, messages, arguments)


async def described(router: Any, stream: bool, model: str, messages: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """A call from outside, without times."""
    try:
        seen = await ask(router, stream, messages, model=model, **{"metadata": CALL_ID, **arguments})
    except TypeError as error:
        return {"error": "TypeError", "message": str(error)}
    return {
        "deltas": [repr(delta) for delta in seen.deltas], "text": seen.text if stream else seen.reply and seen.reply.text,
        "record": [] if seen.error is None and seen.reply is None else seen.record(),
        "adjusted": [dict(attempt.adjusted) for attempt in seen.attempts], **about(seen.error), **told(seen.reply),
    }  # fmt: skip


def about(error: BaseException | None) -> dict[str, Any]:
    """An error without times."""
    if error is None:
        return {"error": None}
    outcome: dict[str, Any] = {"error": type(error).__name__, "message": timeless(str(error))}
    if isinstance(error, cnroute.CallError):
        outcome |= {
            "kind": error.kind, "vendor_code": error.vendor_code, "status": error.http_status,
            "own_call_id": error.call_id == "of-this-test",
            "billing": error.billing, "deployment": error.deployment, "retryable": error.retryable,
            "notes": [timeless(note) for note in getattr(error, "__notes__", [])],
            "plan": timeless(str(error.plan)), "partial": getattr(error, "partial_text", None),
            "cause": getattr(error, "cause_kind", None),
        }  # fmt: skip
    return outcome


def told(reply: Any) -> dict[str, Any]:
    """A completion without times and without the vendor's ids."""
    if reply is None:
        return {"finish": None}
    return {
        "finish": reply.finish_reason, "usage": reply.usage, "message": reply.message, "cost": reply.cost, "bill": reply.bill,
        "winner": reply.deployment, "model": reply.model, "reply_call_id": reply.call_id, "reply_plan": timeless(str(reply.plan)),
    }  # fmt: skip


def timeless(text: str) -> str:
    """Without seconds and ports, which no two calls have in common."""
    return re.sub(r"\d+\.\d+|:\d{4,5}\b", "#", text)


async def attempted(action: Awaitable[Any]) -> dict[str, Any]:
    """The outcome of one step that may raise."""
    try:
        await action
    except Exception as error:  # noqa: BLE001 (whatever it is, both routers must raise it)
        return about(error)
    return about(None)


async def left(stream: Any) -> list[str]:
    """The texts that are still to come."""
    return [delta.text async for delta in stream]


async def first(stream: Any) -> str:
    """The text of the next delta."""
    delta = await stream.__anext__()
    return str(delta.text)


async def started(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="route", metadata=CALL_ID)
    same = await stream.start() is stream
    midway, busy = stream.completion.text, in_flight(router)
    again = await attempted(stream.start())
    text = "".join(await left(stream))
    finish = stream.completion.finish_reason
    return {"same": same, "midway": midway, "busy": busy, "again": again["error"], "text": text, "finish": finish}


async def started_and_failed(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="yi", metadata=CALL_ID)
    outcome = await attempted(stream.start())
    return {"start": outcome, "next": await attempted(left(stream)), "after": in_flight(router)}


async def started_too_late(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    await first(stream)
    outcome = await attempted(stream.start())
    await stream.close()
    return {"start": outcome["error"]}


async def texts(router: Any) -> dict[str, Any]:
    async with router.stream(QUESTION, model="v2", metadata=CALL_ID) as stream:
        parts = [text async for text in stream.texts()]
    return {"parts": parts, "empty": "" in parts, "whole": "".join(parts) == stream.completion.text}


async def closed_early(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    text = await first(stream)
    await stream.close()
    await stream.close()
    return {
        "text": text, "rest": await left(stream), "partial": stream.completion.text == text, "after": in_flight(router),
        "finish": stream.completion.finish_reason,
    }  # fmt: skip


async def broken_off(router: Any) -> dict[str, Any]:
    async with router.stream(QUESTION, model="v2", metadata=CALL_ID) as stream:
        async for delta in stream:
            text = delta.text
            break
    return {"text": text, "rest": await left(stream), "after": in_flight(router), "finish": stream.completion.finish_reason}


async def raised_in_the_loop(router: Any) -> dict[str, Any]:
    async def consume() -> None:
        async with router.stream(QUESTION, model="v2", metadata=CALL_ID) as stream:
            async for _ in stream:
                raise ZeroDivisionError("the consumer's own")

    return {**await attempted(consume()), "after": in_flight(router)}


async def midway(router: Any) -> dict[str, Any]:
    seen, good = "", True
    async with router.stream(QUESTION, model="v2", metadata=CALL_ID) as stream:
        before = (stream.completion.text, stream.completion.finish_reason, stream.completion.usage)
        async for delta in stream:
            seen += delta.text
            good &= stream.completion.text == seen
            good &= stream.completion.finish_reason == delta.finish_reason
    return {"good": good, "before": before, "call_id": stream.call_id == stream.completion.call_id}


async def cancelled_before(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    stream.cancel()
    return {"next": (await attempted(left(stream)))["error"], "after": in_flight(router)}


async def cancelled_then_started(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    stream.cancel()
    return {"start": (await attempted(stream.start()))["error"], "after": in_flight(router)}


async def closed_then_started(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    await stream.close()
    return {"start": (await attempted(stream.start()))["error"], "rest": await left(stream), "after": in_flight(router)}


async def cancelled_midway(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    text = await first(stream)
    stream.cancel()
    outcome = await attempted(left(stream))
    return {
        "error": outcome["error"], "kind": outcome["kind"], "billing": outcome["billing"], "notes": outcome["notes"],
        "partial": stream.completion.text == text, "finish": stream.completion.finish_reason, "after": in_flight(router),
    }  # fmt: skip


async def cancelled_after(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    text = "".join(await left(stream))
    stream.cancel()
    return {**await attempted(left(stream)), "whole": stream.completion.text == text, "finish": stream.completion.finish_reason}


async def router_closed_midway(router: Any) -> dict[str, Any]:
    stream = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    await first(stream)
    await router.close()
    outcome = await attempted(left(stream))
    return {"error": outcome["error"], "kind": outcome["kind"], "after": in_flight(router)}


async def router_closed(router: Any) -> dict[str, Any]:
    waiting = router.stream(QUESTION, model="v2", metadata=CALL_ID)
    await router.close()
    await router.close()

    async def streaming() -> None:
        await left(router.stream(QUESTION, model="v2", metadata=CALL_ID))

    return {
        "chat": (await attempted(router.chat(QUESTION, model="v2")))["error"],
        "stream": (await attempted(streaming()))["error"], "waiting": (await attempted(left(waiting)))["error"],
        "still": (await attempted(left(waiting)))["error"],
        "after": in_flight(router),
    }  # fmt: skip


async def looked_at(router: Any) -> dict[str, Any]:
    await router.chat(QUESTION, model="v2")
    health = router.health()
    for each in health.values():
        each.pop("seconds"), each.pop("first_content_seconds")
    plan = router.plan(QUESTION, model="route", tools=TOOLS)
    return {
        "models": router.models(), "health": json.loads(json.dumps(health)),
        "plan": [(each.deployment, each.rank) for each in plan.candidates],
        "excluded": [(each.deployment, each.rule, each.reason) for each in plan.excluded], "shown": timeless(str(plan)),
    }  # fmt: skip


async def tools(router: Any) -> dict[str, Any]:
    first_turn = await described(router, False, "qwen", "北京天气如何", {"tools": TOOLS})
    return {**first_turn, "streamed": await described(router, True, "qwen", "北京天气如何", {"tools": TOOLS})}


# -- the table -------------------------------------------------------------------------------------------

ANSWER_BY_SECOND = {"error": None, "winner": "v2", "finish": "stop"}
FALLBACKS = {
    "http_503": ("overloaded", "none"), "http_500": ("server_error", "unknown"), "http_401": ("auth", "none"),
    "http_403": ("permission", "none"), "no_balance": ("quota", "none"), "model_not_found": ("model_not_found", "none"),
    "rate_limit": ("rate_limit", "none"), "vendor_timeout": ("vendor_timeout", "unknown"), "error_in_200": ("rate_limit", "none"),
    "choices_null": ("bad_response", "unknown"), "empty_200": ("bad_response", "unknown"),
    "html_200": ("bad_response", "unknown"),
    "reset": ("connection_lost", "unknown"), "hang": ("first_byte_timeout", "unknown"), "redirect_307": ("redirect", "unknown"),
    "status_word": ("protocol_error", "unknown"), "gzip_lie": ("decode_error", "unknown"),
}  # fmt: skip
STREAMED = {**FALLBACKS, "choices_null": ("bad_response", "billed")}  # its events tell the tokens
STOPS = {
    "bad_parameter": {"error": "BadRequestError", "kind": "bad_request"},
    "too_large": {"error": "BadRequestError", "kind": "request_too_large"},
    "content_filter_input": {"error": "ContentFilterError", "kind": "content_filter"},
    "context_length": {"error": "ContextLengthError", "kind": "context_length"},
}
BROKEN = {"stream_cut:2": "connection_lost", "stream_no_finish": "bad_response", "stream_error:2": "server_error",
          "stream_filtered:1": "content_filter", "stream_hang:2": "idle_timeout"}  # fmt: skip
WRONG: list[dict[str, Any]] = [
    {"messages": []}, {"messages": 7}, {"messages": [{"role": "king", "content": "x"}]}, {"messages": [{"role": "user"}]},
    {"timeout": 0}, {"timeout": float("nan")}, {"timeout": "1"}, {"max_tokens": 0}, {"max_tokens": True}, {"temperature": -1},
    {"top_p": float("inf")}, {"stop": [""]}, {"seed": 1.5}, {"tools": [{}]}, {"tool_choice": "sometimes"}, {"metadata": {"a": 1}},
    {"reasoning": 0}, {"web_search": 1}, {"knowledge_base": "x"}, {"max_cost": "-1"}, {"extra": {"dashscope": 1}},
    {"response_format": {}}, {"drop_unsupported": "yes"},
]  # fmt: skip


CLOSED = "RouterClosedError"


def record(kind: str, billing: str) -> dict[str, Any]:
    return {**ANSWER_BY_SECOND, "record": [("yi", kind, billing), ("v2", None, "billed")]}


SCENARIOS = [
    Scenario("chat", plain("v2"), {**ANSWER_BY_SECOND, "reply_call_id": "of-this-test"}),
    Scenario("stream", streamed("v2"), ANSWER_BY_SECOND),
    Scenario("provider/model", plain("dashscope/yi-large"), {"winner": "yi"}),
    Scenario("bare model", plain("qwen-plus"), {"winner": "qwen"}),
    *(Scenario(f"plain {fault}", plain(), record(*expected), (fault,)) for fault, expected in FALLBACKS.items()),
    *(Scenario(f"stream {fault}", streamed(), record(*expected), (fault,)) for fault, expected in STREAMED.items()),
    *(Scenario(f"plain {fault}", plain(), facts, (fault,)) for fault, facts in STOPS.items()),
    *(Scenario(f"stream {fault}", streamed(), facts, (fault,)) for fault, facts in STOPS.items()),
    *(
        Scenario(f"stream {fault}", streamed(), {"error": "StreamInterruptedError", "cause": cause, "winner": None}, (fault,))
        for fault, cause in BROKEN.items()
    ),
    Scenario("again", plain("yi"), {"record": [("yi", "overloaded", "none"), ("yi", None, "billed")]}, ("http_503",)),
    Scenario("both vendors down", streamed(model="down"), {"error": "ServerError", "kind": "server_error"}, ("http_500",)),
    Scenario("unknown model", plain("rout"), {"error": "ModelNotFoundError", "record": []}),
    Scenario("unknown model, streamed", streamed("rout"), {"error": "ModelNotFoundError"}),
    Scenario("unsupported", plain("yi", tools=TOOLS), {"error": "UnsupportedRequestError", "record": []}),
    Scenario("unsupported by the first", streamed(tools=TOOLS, tool_choice="none"), {"record": [("v2", None, "billed")]}),
    Scenario("dropped", plain("yi", seed=7, drop_unsupported=True), {"winner": "yi"}),
    Scenario("adjusted", plain("v2", temperature=0), {"winner": "v2"}),
    Scenario("too dear", plain("yi", max_cost="0.000001"), {"error": "BudgetExceededError", "record": []}),
    Scenario("deadline", plain("yi", timeout=0.1), {"error": "DeadlineExceededError"}, ("headers_hang",)),
    Scenario("unknown argument", plain("v2", colour="red"), {"error": "TypeError"}),
    *(
        Scenario(f"wrong {way.__name__} {arguments}", way("v2", **arguments), {"error": "BadRequestError", "record": []})
        for arguments in WRONG
        for way in (plain, streamed)
    ),
    Scenario("start", started, {"same": True, "midway": "", "busy": 1, "again": "RuntimeError", "finish": "stop"}),
    Scenario("start, after a fallback", started, {"same": True, "midway": "", "busy": 1, "finish": "stop"}, ("http_503",)),
    Scenario("start that fails", started_and_failed, {"after": 0}, ("http_500",)),
    Scenario("start too late", started_too_late, {"start": "RuntimeError"}),
    Scenario("texts", texts, {"whole": True, "empty": False}),
    Scenario("close early", closed_early, {"rest": [], "partial": True, "after": 0, "finish": None}),
    Scenario("break", broken_off, {"rest": [], "after": 0, "finish": None}),
    Scenario("an exception in the loop", raised_in_the_loop, {"error": "ZeroDivisionError", "after": 0}),
    Scenario("completion midway", midway, {"good": True, "before": ("", None, None), "call_id": True}),
    Scenario("cancel before", cancelled_before, {"next": "CallCancelledError", "after": 0}),
    Scenario("cancel, then start", cancelled_then_started, {"start": "CallCancelledError", "after": 0}),
    Scenario("close, then start", closed_then_started, {"rest": [], "after": 0}),
    Scenario("cancel midway", cancelled_midway,
             {"error": "CallCancelledError", "kind": "cancelled", "partial": True, "finish": None, "after": 0}),
    Scenario("cancel after the end", cancelled_after, {"error": None, "whole": True, "finish": "stop"}),
    Scenario("router closed midway", router_closed_midway, {"error": "CallCancelledError", "kind": "cancelled", "after": 0}),
    Scenario("router closed", router_closed, {"after": 0, **dict.fromkeys(("chat", "stream", "waiting", "still"), CLOSED)}),
    Scenario("models, health, plan", looked_at, {"plan": [("v2", 1)]}),
    Scenario("tools", tools, {"finish": "tool_calls"}),
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_both_routers_do_the_same(vendor: Emulator, scenario: Scenario) -> None:
    """The same outcome, the same requests at the vendors, and the facts of the table."""
    outcomes, requests = [], []
    yi_price = cnroute.Price("CNY", "20", "20", as_of="2025-06-01", source="a test")
    places = [
        deployment("yi", vendor, timeouts=None if scenario.name == "deadline" else hasty(*scenario.faults), price=yi_price),
        deployment("v2", vendor), deployment("qwen", vendor), deployment("pro", vendor, model="abab6.5s-chat!http_500"),
    ]  # fmt: skip
    for world in WORLDS.values():
        vendor.reset()
        vendor.script("yi-large", scenario.faults)
        outcomes.append(
            world(scenario.run, places, {"route": ["yi", "v2"], "down": ["yi", "pro"]}, random=lambda: 0.0)
        )
        requests.append([(entry.path, entry.model, entry.body, entry.stream) for entry in vendor.requests])
    assert outcomes[0] == outcomes[1]
    assert requests[0] == requests[1]
    assert {key: outcomes[0][key] for key in scenario.facts} == scenario.facts


# -- names and signatures --------------------------------------------------------------------------------

# The contract's own words (section 2): name, default.
CHAT = {
    "messages": inspect.Parameter.empty, "model": inspect.Parameter.empty, "timeout": None, "temperature": None, "top_p": None,
    "max_tokens": None, "stop": None, "seed": None, "tools": None, "tool_choice": None, "response_format": None,
    "reasoning": None, "web_search": None, "knowledge_base": None, "metadata": None, "max_cost": None,
    "drop_unsupported": False, "extra": None,
}  # fmt: skip
ROUTER = (
    "deployments", "routes", "policy", "timeouts", "limits", "retries", "breaker", "budgets", "store", "transport",
    "plugins", "currency", "exchange", "defaults", "clock", "random", "log_content",
    "prices",  # the user's own price lists, an addition
)  # fmt: skip


def parameters(function: Any) -> list[inspect.Parameter]:
    return [each for name, each in inspect.signature(function).parameters.items() if name != "self"]


@pytest.mark.parametrize("name", ["chat", "stream", "plan"])
@pytest.mark.parametrize("router", [Router, AsyncRouter])
def test_the_arguments_of_a_call_are_the_contracts(router: type, name: str) -> None:
    """One list of names, kinds and defaults for all of them."""
    found = parameters(getattr(router, name))
    assert {each.name: each.default for each in found} == CHAT
    assert [each.name for each in found] == list(CHAT)
    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD] + [inspect.Parameter.KEYWORD_ONLY] * (len(CHAT) - 1)
    assert [each.kind for each in found] == kinds


@pytest.mark.parametrize("name", ["__init__", "chat", "stream", "plan", "models", "health", "close", "from_config", "from_env"])
def test_signatures_are_equal(name: str) -> None:
    """Annotations too, whatever is awaited."""
    assert parameters(getattr(Router, name)) == parameters(getattr(AsyncRouter, name))


def test_the_settings_of_a_router_are_the_contracts() -> None:
    """Two by position, the others by name."""
    found = [each for each in parameters(Router.__init__) if not each.name.startswith("_")]
    assert tuple(each.name for each in found) == ROUTER
    assert [each.kind for each in found[2:]] == [inspect.Parameter.KEYWORD_ONLY] * (len(ROUTER) - 2)


@pytest.mark.parametrize(("one", "other"), [(Router, AsyncRouter), (cnroute.ChatStream, cnroute.AsyncChatStream)])
def test_public_names_are_equal(one: type, other: type) -> None:
    """What the one has, the other has under the same name; and both are classes of the package."""
    assert {name for name in dir(one) if not name.startswith("_")} == {name for name in dir(other) if not name.startswith("_")}


def test_only_waiting_methods_are_coroutines() -> None:
    """`stream` is not awaited; `plan`, `models` and `health` stay synchronous."""
    waiting = {name for name in dir(AsyncRouter) if inspect.iscoroutinefunction(getattr(AsyncRouter, name)) and name[0] != "_"}
    assert waiting == {"chat", "close"}
