"""An imaginary vendor's provider, which keeps every promise; bugs are planted in its text by `changed`."""

from __future__ import annotations

import itertools
import sys
import types
from typing import Any

from cnroute.testing.contract import CHECKS, ProviderContract
from cnroute.testing.contract.report import FAILED
from cnroute.testing.contract.running import run

SOURCE = '''
import cnroute
from cnroute import wire

ENDED = {"natural": "stop", "cap": "length", "call": "tool_calls"}
CODES = {"4290": "rate_limit", "4010": "auth", "5030": "overloaded"}
KNOBS = {"temperature": "heat", "top_p": "nucleus", "max_tokens": "cap", "stop": "halt", "seed": "seed"}
REFUSED = ("response_format", "reasoning", "web_search", "knowledge_base")


class Notes:
    def __init__(self):
        self.kept = {}


NOTES, MEMORY, SEEN = Notes(), {}, set()


def failed(err, deployment, status=None):
    code = wire.text_or_none(err.get("no"))
    kind = CODES.get(code) or (wire.by_status(status) if status and status >= 300 else "server_error")
    why = wire.clean_text(wire.masked(wire.text_or_none(err.get("why")) or "no reason", deployment))
    return cnroute.Failure(kind, why, vendor_code=code, http_status=status)


def counted(meter):
    if not isinstance(meter, dict):
        return None
    return wire.usage_from(wire.token_count(meter.get("in")), wire.token_count(meter.get("out")))


def text(value, key):
    return value[key] if isinstance(value, dict) and isinstance(value.get(key), str) else None


@cnroute.hookimpl
def describe_provider():
    return cnroute.ProviderInfo(
        "tofu", "https://api.tofu.example/v9", {"api_key": "TOFU_API_KEY"}, capabilities={"streaming", "tools"}
    )


@cnroute.hookimpl
def build_request(request, deployment, stream):
    for name in REFUSED:
        if getattr(request, name) not in (None, False):
            raise cnroute.UnsupportedRequestError(name, "the page does not list it")
    turns = []
    for message in request.messages:
        if message.name is not None or not message.only_text:
            raise cnroute.UnsupportedRequestError("messages", "texts without names alone")
        turn = {"who": message.role, "say": message.text}
        if message.tool_calls:
            turn["calls"] = [{"ref": c.id, "fn": c.name, "args": c.arguments} for c in message.tool_calls]
        if message.tool_call_id is not None:
            turn["ref"] = message.tool_call_id
        turns.append(turn)
    body = {"engine": deployment.model, "live": stream, "turns": turns}
    body.update({wired: getattr(request, name) for name, wired in KNOBS.items() if getattr(request, name) is not None})
    if request.tools:
        body["fns"] = list(wire.function_tools(request))
    if request.tool_choice is not None:
        body["pick"] = request.tool_choice
    for key in ("engine", "live", "turns"):
        if key in request.extra:
            raise cnroute.UnsupportedRequestError("extra", f"{key} belongs to the call")
    body = wire.merged(body, request.extra)
    return cnroute.HttpRequest.post_json(f"{deployment.base_url}/generate", body, bearer=deployment.api_key)


@cnroute.hookimpl
def map_error(response, deployment):
    data = response.json_or_none()
    err = data.get("err") if isinstance(data, dict) else None
    return failed(err, deployment, response.status) if isinstance(err, dict) else None


@cnroute.hookimpl
def parse_response(response, deployment):
    data = response.json()
    reply = data.get("reply") if isinstance(data, dict) else None
    said = text(reply, "say")
    if said is None:
        return cnroute.Failure("bad_response", "there is no reply")
    calls = reply.get("calls") if isinstance(reply.get("calls"), list) else []
    calls = [[text(call, key) for key in ("ref", "fn", "args")] for call in calls]
    return cnroute.ChatCompletion(
        said, tool_calls=tuple(cnroute.ToolCall(*call) for call in calls if None not in call),
        finish_reason=ENDED.get(text(reply, "ended")), usage=counted(data.get("meter")),
        request_id=wire.text_or_none(data.get("trace")), raw=data,
    )


@cnroute.hookimpl
def parse_stream_line(line, state, deployment):
    data = wire.sse_data(line, state.memory)
    if isinstance(data, cnroute.Failure):
        return (data,)
    if not isinstance(data, dict):
        return ()
    if isinstance(data.get("err"), dict):
        return (failed(data["err"], deployment),)
    events = [cnroute.TextDelta(data["say"])] if text(data, "say") else []
    call = data.get("call")
    if isinstance(call, dict) and type(call.get("slot")) is int and 0 <= call["slot"] < 128:
        events.append(cnroute.ToolCallDelta(call["slot"], text(call, "ref"), text(call, "fn"), text(call, "args") or ""))
    usage = counted(data.get("meter"))
    if usage is not None:
        events.append(cnroute.UsageUpdate(usage))
    if text(data, "ended") and not state.memory.get("ended"):
        state.memory["ended"] = True
        events.append(cnroute.Finish(ENDED.get(data["ended"])))
    return tuple(events)
'''
_CALL = {"messages": [{"role": "user", "content": "2 + 2?"}]}
_FRAMES = (
    '{"say":"It is "}', '{"say":"four."}', '{"ended":"natural","meter":{"in":8,"out":5}}',
)  # fmt: skip
_USAGE = {"input_tokens": 8, "output_tokens": 5}
SAMPLES: list[dict[str, Any]] = [
    {
        "name": "plain", "call": _CALL, "answer": "four",
        "body": {"reply": {"say": "It is four.", "ended": "natural"}, "meter": {"in": 8, "out": 5}, "trace": "t-1"},
        "expect": {"text": "It is four.", "finish_reason": "stop", "usage": _USAGE, "request_id": "t-1"},
    },
    {
        "name": "streamed", "call": _CALL, "answer": "four", "stream": True, "headers": {"Content-Type": "text/event-stream"},
        "body": "".join(f"data: {frame}\n\n" for frame in _FRAMES),
        "expect": {"text": "It is four.", "finish_reason": "stop", "usage": _USAGE},
    },
    {
        "name": "throttled", "call": _CALL, "status": 429, "body": {"err": {"no": "4290", "why": "slower"}},
        "expect": {"failure": {"kind": "rate_limit", "vendor_code": "4290"}},
    },
]  # fmt: skip
# What asks another process has nothing to find of a module that has no file.
_ELSEWHERE = ("test_importing_it_has_no_side_effect", "test_another_process_sends_the_same_bytes")
_NUMBERS = itertools.count()


def changed(*bugs: tuple[str, str]) -> types.ModuleType:
    """The provider with each `(old, new)` planted; an old text that is not there once is an error."""
    source = SOURCE
    for old, new in bugs:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    module = types.ModuleType(f"tofu_{next(_NUMBERS)}")
    exec(compile(source, f"{module.__name__}.py", "exec"), vars(module))  # noqa: S102 (our own text)
    sys.modules[module.__name__] = module
    return module


def failures(*bugs: tuple[str, str], only: tuple[str, ...] = (), **fields: Any) -> dict[str, str]:
    """The checks that the provider with these bugs fails, with their messages; `only` some checks are run, in that order."""
    fields = {"plugin": changed(*bugs), "samples": SAMPLES, "supports_tools": True, "effort": 0.05, **fields}
    contract = type("Tofu", (ProviderContract,), {**fields, "__module__": __name__})
    chosen = only or [name for name in CHECKS if name not in _ELSEWHERE]
    results = run(contract, {name: CHECKS[name] for name in chosen})
    return {result.check: result.text for result in results if result.outcome == FAILED}
