# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""DashScope's native text generation, read from its pages: seeds 000 (MiniMax models) and 002 (Yi models), and the
Model Studio pages on Qwen, thinking models and error codes.

Where the pages are silent: Yi and abab models refuse every parameter that their page does not list, but for
``incremental_output`` on streams, which the vendor's own SDK sends for any model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cnroute.emulator import conversation
from cnroute.emulator.answers import Answer, Turn, tokens
from cnroute.emulator.exchange import (
    JSON,
    Dialect,
    Frame,
    Headers,
    Range,
    Refusal,
    encode,
    is_count,
    is_number,
    require,
    text_of,
)

PATH = "/api/v1/services/aigc/text-generation/generation"

# code: (HTTP status, message). Pages "error codes" and the older "status codes".
CODES: dict[str, tuple[int, str]] = {
    "InvalidParameter": (400, "Required parameter(s) missing or invalid, please check the request parameters."),
    "DataInspectionFailed": (400, "Input data may contain inappropriate content."),
    "data_inspection_failed": (400, "Output data may contain inappropriate content."),
    "Arrearage": (400, "Access denied, please make sure your account is in good standing."),
    "BadRequest.EmptyInput": (400, 'Required input parameter "input" missing from request.'),
    "BadRequest.EmptyParameters": (400, 'Required parameter "parameters" missing from request.'),
    "BadRequest.EmptyModel": (400, 'Required parameter "model" missing from request.'),
    "InvalidURL": (400, "The request URL is invalid, please check the request URL."),
    "UnsupportedOperation": (400, "The operation is unsupported on the referee object."),
    "InvalidApiKey": (401, "Invalid API-key provided."),
    "invalid_api_key": (401, "Incorrect API key provided."),
    "NOT AUTHORIZED": (
        401,
        "Access denied: Either you are not authorized to access this workspace, or the workspace does not exist.",
    ),
    "AccessDenied": (403, "Access denied."),
    "AccessDenied.Unpurchased": (403, "Access to model denied. Please make sure you are eligible for using the model."),
    "Model.AccessDenied": (403, "Model access denied."),
    "App.AccessDenied": (403, "App access denied."),
    "Workspace.AccessDenied": (403, "Workspace access denied."),
    "AllocationQuota.FreeTierOnly": (403, "The free tier of the model has been exhausted."),
    "ModelNotFound": (404, "Model can not be found."),
    "model_not_found": (404, "The model does not exist or you do not have access to it."),
    "Model.NotExist": (404, "Model not exist."),
    "NotFound": (404, "Not found!"),
    "WorkSpaceNotFound": (404, "WorkSpace can not be found."),
    "RequestTimeOut": (408, "Request timed out, please try again later."),
    "BadRequest.TooLarge": (413, "Payload Too Large"),
    "Throttling": (429, "Requests throttling triggered."),
    "Throttling.RateQuota": (429, "Requests rate limit exceeded, please try again later."),
    "LimitRequests": (429, "You exceeded your current requests list."),
    "Throttling.BurstRate": (429, "Request rate increased too quickly."),
    "Throttling.AllocationQuota": (429, "Allocated quota exceeded, please increase your quota limit."),
    "insufficient_quota": (429, "You exceeded your current quota, please check your plan and billing details."),
    "CommodityNotPurchased": (429, "Commodity has not purchased yet."),
    "PrepaidBillOverdue": (429, "The prepaid bill is overdue."),
    "PostpaidBillOverdue": (429, "The postpaid bill is overdue."),
    "InternalError": (500, "An internal error has occured, please try again later or contact service support."),
    "InternalError.Algo": (500, "An internal error has occured during execution."),
    "InternalError.Timeout": (500, "An internal timeout error has occured during execution."),
    "SystemError": (500, "An system error has occured, please try again later."),
    "ModelServiceFailed": (500, "Failed to request model service."),
    "InvokePluginFailed": (500, "Failed to invoke plugin."),
    "ModelServingError": (503, "Too many requests. Your requests are being throttled due to system capacity limits."),
    "ModelUnavailable": (503, "Model is unavailable, please try again later."),
    "ServiceUnavailable": (503, "Service is unavailable, please try again later."),
}

# Readable names, the same ones in every dialect: (code, message or "" for the code's own).
NAMES: dict[str, tuple[str, str]] = {
    "invalid_key": ("InvalidApiKey", ""),
    "permission": ("AccessDenied.Unpurchased", ""),
    "no_balance": ("Arrearage", ""),
    "plan_limit": ("Throttling.AllocationQuota", "Free allocated quota exceeded."),
    "rate_limit": ("Throttling.RateQuota", ""),
    "token_limit": ("Throttling.AllocationQuota", ""),
    "burst_limit": ("Throttling.BurstRate", ""),
    "connection_limit": ("Throttling", ""),
    "overloaded": ("ModelUnavailable", ""),
    "vendor_timeout": ("RequestTimeOut", ""),
    "internal_error": ("InternalError", ""),
    "bad_parameter": ("InvalidParameter", ""),
    "context_length": ("InvalidParameter", "Range of input length should be [1, 30720]"),
    "model_not_found": ("ModelNotFound", ""),
    "model_not_exist": ("InvalidParameter", "Model not exist."),
    "too_large": ("BadRequest.TooLarge", ""),
    "content_filter_input": ("DataInspectionFailed", "Input data may contain inappropriate content."),
    "content_filter_output": ("DataInspectionFailed", "Output data may contain inappropriate content."),
}

STATUS_CODES = {400: "InvalidParameter", 401: "InvalidApiKey", 403: "AccessDenied", 404: "ModelNotFound", 408: "RequestTimeOut",
                413: "BadRequest.TooLarge", 422: "InvalidParameter", 429: "Throttling.RateQuota", 500: "InternalError",
                503: "ModelUnavailable", 529: "ModelServingError"}  # fmt: skip


BELOW_TWO = Range(0, 2, low_in=True, high_in=False)


@dataclass(slots=True, frozen=True)
class Family:
    """What one page says about its models. ``parameters`` is None where the page's list is open."""

    prefix: str
    context: int
    top_p: Range
    max_tokens: int | None = None
    default_tokens: int | None = None
    parameters: frozenset[str] | None = None
    temperature: Range = BELOW_TWO
    usage: str = "split"
    thinking: bool = False


LISTED = frozenset({"temperature", "top_p", "max_tokens", "incremental_output"})
UP_TO_ONE = Range(0, 1)
BELOW_ONE = Range(0, 1, low_in=True, high_in=False)
BETWEEN = Range(0, 1, high_in=False)

# First match wins. Yi: seed 002. abab: seed 000. MiniMax-M2.5 and Qwen: Model Studio.
FAMILIES = (
    Family("yi-medium", 32000, BELOW_ONE, default_tokens=100, parameters=LISTED),
    Family("yi-", 16000, BELOW_ONE, default_tokens=100, parameters=LISTED),
    Family("abab6.5s", 245000, UP_TO_ONE, 245760, 256, LISTED, usage="total"),
    Family("abab", 8000, UP_TO_ONE, 8192, 256, LISTED, usage="total"),
    Family("MiniMax-", 196608, UP_TO_ONE, 32768, thinking=True),
    Family("qwen-turbo", 1000000, BETWEEN, usage="no_total"),
    Family("qwen-v1", 8000, BETWEEN, usage="no_total"),
    Family("", 131072, BETWEEN),
)


def _usage(kind: str, asked: int, given: int, reasoning: int = 0) -> JSON:
    """The counts in the shape of the model's page: abab has the total only, older Qwen lacks it."""
    if kind == "total":
        return {"total_tokens": asked + given}
    total = {} if kind == "no_total" else {"total_tokens": asked + given}
    details = {"output_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    return {**total, "input_tokens": asked, "output_tokens": given, **details}


class Dashscope(Dialect):
    """One request to DashScope."""

    provider = "dashscope"
    stream_type = "text/event-stream;charset=UTF-8"
    unknown_path = ("application/json", encode({"code": "InvalidURL", "message": "url error, please check url!"}))

    @property
    def stream(self) -> bool:
        """There is no ``stream`` field: the header decides."""
        return self.ask.headers.get("x-dashscope-sse", "").lower() == "enable"

    @property
    def family(self) -> Family:
        return next(family for family in FAMILIES if self.ask.model.startswith(family.prefix))

    @property
    def parameters(self) -> JSON:
        given = self.ask.body.get("parameters")
        return given if isinstance(given, dict) else {}

    @property
    def messages(self) -> list[JSON]:
        """``input.messages``; an ``input.prompt`` is one user message."""
        given = self.ask.body["input"]
        return given["messages"] if "messages" in given else [{"role": "user", "content": given["prompt"]}]

    @property
    def incremental(self) -> bool:
        return self.parameters.get("incremental_output") is True

    @property
    def as_text(self) -> bool:
        """Qwen's old default is the text form; Yi and abab answer in message form without asking."""
        default = "text" if self.ask.model.startswith("qwen") else "message"
        return bool(self.parameters.get("result_format", default) == "text")

    def headers(self, content_type: str) -> Headers:
        return [("Content-Type", content_type), ("x-request-id", self.uuid)]

    @property
    def uuid(self) -> str:
        raw = self.request_id
        return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))

    # -- refusals

    def refusal(self, name: str, message: str = "") -> Refusal:
        code, own = NAMES.get(name, (name, ""))
        status, usual = CODES.get(code, (400, "Please slow down."))
        return Refusal(code, message or own or usual, status)

    def refusal_of_status(self, status: int) -> Refusal:
        code = STATUS_CODES.get(status, "InternalError" if status >= 500 else "InvalidParameter")
        return Refusal(code, CODES[code][1], status)

    def error_document(self, refusal: Refusal, *, full: bool = False) -> JSON:
        envelope = {"output": None, "usage": None} if full else {}
        return {**envelope, "code": refusal.code, "message": refusal.message, "request_id": self.uuid}

    def error_frame(self, refusal: Refusal) -> Frame:
        return Frame(self.error_document(refusal), event="error", status=refusal.status)

    def check_key(self, key: str, expected: str | None, group: str | None = None) -> None:
        require(key, self.refusal("InvalidApiKey", "No API-key provided."))
        require(key == expected if expected else key != "wrong-key", self.refusal("InvalidApiKey"))

    def check(self) -> None:
        for check in CHECKS:
            check(self)

    def invalid(self, message: str) -> Refusal:
        return self.refusal("InvalidParameter", message)

    # -- the answer

    def turn(self) -> Turn:
        given, messages = self.parameters, self.messages
        thinking = self.family.thinking or given.get("enable_thinking") is True
        wrap = _as_json if (given.get("response_format") or {}).get("type") == "json_object" else None
        return Turn(
            user=conversation.last_user(messages),
            input_tokens=conversation.input_tokens(messages, given.get("tools")),
            result=conversation.tool_result(messages),
            tool=conversation.chosen_tool(given.get("tools"), given.get("tool_choice")),
            limit=given.get("max_tokens", self.family.default_tokens),
            thinking=thinking,
            wrap=wrap,
        )

    def answers(self) -> list[Answer]:
        return [self.answer(choice) for choice in range(1 if self.as_text else self.parameters.get("n", 1))]

    def usage(self, *answers: Answer) -> JSON:
        given, thought = (sum(getattr(one, key) for one in answers) for key in ("output_tokens", "reasoning_tokens"))
        return self.with_plugins(_usage(self.family.usage, answers[0].input_tokens, given, thought))

    def with_plugins(self, usage: JSON) -> JSON:
        return {**usage, "plugins": {"search": {"count": 1}}} if self.searches else usage

    @property
    def searches(self) -> bool:
        return self.parameters.get("enable_search") is True

    def document(self, *, finished: bool = True) -> JSON:
        answers = self.answers()
        output = self._text_output(answers[0], finished) if self.as_text else {"choices": [
            {"index": index, "finish_reason": one.finish if finished else "null", "message": _message(one)}
            for index, one in enumerate(answers)]}  # fmt: skip
        return self.envelope(output, self.usage(*answers))

    def _text_output(self, answer: Answer, finished: bool) -> JSON:
        return {"text": answer.text, "finish_reason": answer.finish if finished else "null"}

    def envelope(self, output: JSON, usage: JSON) -> JSON:
        found = {"search_info": {"search_results": SEARCH_RESULTS}} if self.searches else {}
        return {"output": {**output, **found}, "usage": usage, "request_id": self.uuid}

    def null_document(self) -> JSON:
        return {"output": {"choices": None, "text": None}, "usage": None, "request_id": self.uuid}

    # -- the stream

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """Snapshots, or increments with an empty event that holds the finish reason; choices take turns."""
        tracks = [self._track(index, one, finished) for index, one in enumerate(self.answers())]
        longest = max(map(len, tracks))
        return [track[step] for step in range(longest) for track in tracks if step < len(track)]

    def _track(self, index: int, answer: Answer, finished: bool) -> list[Frame]:
        """The events of one choice. In snapshots the last content event carries the finish reason."""
        track = Track(self, index, answer)
        increments = answer.increments()
        frames = [track.opening()] if self.incremental and answer.call else []
        frames += [track.add(one.kind, one.piece) for one in increments]
        if not finished:
            return frames
        if self.incremental or not frames:
            return [*frames, track.finish()]
        return [*frames[:-1], track.mark(frames[-1])]

    def opening(self) -> Frame:
        return Track(self, 0, self.answer()).frame("", "", {"content": "", "reasoning": "", "arguments": ""}, "null")

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        head = f"id:{number}\nevent:{frame.event}\n:HTTP_STATUS/{frame.status}\ndata:"
        return head.encode() + (frame.raw.encode() or encode(frame.document)) + b"\n\n"


SEARCH_RESULTS = [
    {"site_name": "示例新闻", "icon": "", "index": 1, "title": "示例标题一", "url": "https://example.com/news/1"},
    {"site_name": "示例百科", "icon": "", "index": 2, "title": "示例标题二", "url": "https://example.com/wiki/2"},
]


def _as_json(text: str) -> str:
    return json.dumps({"answer": text}, ensure_ascii=False)


def _message(answer: Answer) -> JSON:
    message: JSON = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.call:
        message["tool_calls"] = [_tool_call(answer, answer.call.arguments)]
    return message


def _tool_call(answer: Answer, arguments: str) -> JSON:
    assert answer.call is not None
    function = {"name": answer.call.name, "arguments": arguments}
    return {"index": 0, "id": answer.call.id, "type": "function", "function": function}


class Track:
    """The running state of one streamed choice."""

    def __init__(self, dialect: Dashscope, index: int, answer: Answer) -> None:
        self.dialect = dialect
        self.index = index
        self.answer = answer
        self.so_far = {"reasoning": "", "text": "", "arguments": ""}

    def add(self, kind: str, piece: str) -> Frame:
        """The next event: the piece alone, or everything so far."""
        self.so_far[kind] += piece
        shown = {**dict.fromkeys(self.so_far, ""), kind: piece} if self.dialect.incremental else self.so_far
        return self.frame(kind, piece, shown, "null")

    def opening(self) -> Frame:
        """The event that brings id and name of a tool call, its arguments still empty."""
        message = {"role": "assistant", "content": "", "tool_calls": [_tool_call(self.answer, "")]}
        return self._wrap({"finish_reason": "null", "message": message}, "", content=True)

    def finish(self) -> Frame:
        """The closing event of an incremental stream; its content is empty."""
        return self.frame("", "", dict.fromkeys(self.so_far, ""), self.answer.finish)

    def mark(self, frame: Frame) -> Frame:
        """The same event with the finish reason in it."""
        output = frame.document["output"]
        (output if "text" in output else output["choices"][0])["finish_reason"] = self.answer.finish
        frame.ends = True
        return frame

    def frame(self, kind: str, piece: str, shown: Mapping[str, str], reason: str) -> Frame:
        if self.dialect.as_text:
            choice: JSON = {"text": shown.get("text", ""), "finish_reason": reason}
        else:
            choice = {"finish_reason": reason, "message": self._message(kind, shown)}
        return self._wrap(choice, piece if kind == "text" else "", content=bool(piece))

    def _message(self, kind: str, shown: Mapping[str, str]) -> JSON:
        message: JSON = {"role": "assistant", "content": shown.get("text", "")}
        if self.answer.reasoning:
            message["reasoning_content"] = shown["reasoning"]
        if kind == "arguments":
            message["tool_calls"] = [self._fragment(shown["arguments"])]
        return message

    def _fragment(self, arguments: str) -> JSON:
        """Increments after the first have an empty id and no name."""
        call = _tool_call(self.answer, arguments)
        if self.dialect.incremental:
            call["id"] = ""
            del call["function"]["name"]
        return call

    def _wrap(self, choice: JSON, text: str, *, content: bool) -> Frame:
        if self.dialect.parameters.get("n", 1) > 1:
            choice = {"index": self.index, **choice}
        output = choice if self.dialect.as_text else {"choices": [choice]}
        usage = self._running_usage()
        ends = choice["finish_reason"] != "null"
        shown = text if self.index == 0 else ""
        return Frame(self.dialect.envelope(output, usage), shown, usage, ends=ends, content=content)

    def _running_usage(self) -> JSON:
        """A running total of this choice."""
        call = tokens(self.answer.call.name + self.so_far["arguments"]) if self.answer.call else 0
        thought = tokens(self.so_far["reasoning"])
        given = tokens(self.so_far["text"]) + thought + call
        usage = _usage(self.dialect.family.usage, self.answer.input_tokens, given, thought)
        return self.dialect.with_plugins(usage)


# -- what the pages forbid, one check a rule, in the order in which a client meets them


def _body_is_whole(request: Dashscope) -> None:
    body = request.ask.body
    require(isinstance(body.get("model"), str) and request.ask.model, request.refusal("BadRequest.EmptyModel"))
    require("messages" not in body, request.invalid("messages must be inside of input, not beside model."))
    require(isinstance(body.get("input"), dict) and body["input"], request.refusal("BadRequest.EmptyInput"))
    require(isinstance(body.get("parameters", {}), dict), request.invalid("parameters must be an object."))


def _not_asynchronous(request: Dashscope) -> None:
    refused = request.refusal("AccessDenied", "current user api does not support asynchronous calls.")
    require("x-dashscope-async" not in request.ask.headers, refused)


def _messages_are_sound(request: Dashscope) -> None:
    given = request.ask.body["input"]
    if "messages" not in given and request.family.parameters is None:
        require(isinstance(given.get("prompt"), str) and given["prompt"], request.refusal("BadRequest.EmptyInput"))
        return
    require(
        conversation.messages_are_objects(given.get("messages")),
        request.invalid("input.messages must be a non-empty list."),
    )
    for message in given["messages"]:
        _message_is_sound(request, message)


def _message_is_sound(request: Dashscope, message: Mapping[str, Any]) -> None:
    """Role system, user or assistant, content not empty (seeds 000, 002); tool on the models that know tools."""
    roles = {"system", "user", "assistant"} | ({"tool"} if request.family.parameters is None else set())
    require(message.get("role") in roles, request.invalid(f"Role must be in {sorted(roles)}"))
    calls = message.get("role") == "assistant" and message.get("tool_calls") and request.family.parameters is None
    content = message.get("content")
    require(calls or (isinstance(content, str | list) and text_of(content)), request.invalid("content should not be empty."))


def _parameters_are_listed(request: Dashscope) -> None:
    listed = request.family.parameters
    unknown = sorted(set(request.parameters) - listed) if listed is not None else []
    require(not unknown, request.invalid(f"Parameter not supported by {request.ask.model}: {', '.join(unknown)}"))


def _numbers_are_in_range(request: Dashscope) -> None:
    family, given = request.family, request.parameters
    for name, allowed in (("temperature", family.temperature), ("top_p", family.top_p)):
        require(name not in given or given[name] in allowed, request.invalid(f"Range of {name} should be {allowed}"))
    limit = given.get("max_tokens", 1)
    fits = is_count(limit) and (family.max_tokens is None or limit <= family.max_tokens)
    require(fits, request.invalid(f"Range of max_tokens should be [1, {family.max_tokens or family.context}]"))
    require(is_count(given.get("n", 1)) and given.get("n", 1) <= 4, request.invalid("Range of n should be [1, 4]"))
    require(
        all(is_number(given.get(name, 0)) for name in ("seed", "top_k")),
        request.invalid("seed and top_k must be numbers."),
    )


def _output_mode_fits(request: Dashscope) -> None:
    given = request.parameters
    require(
        given.get("result_format", "text") in ("text", "message"),
        request.invalid("result_format must be text or message."),
    )
    require(
        request.stream or not request.incremental,
        request.invalid("incremental_output is only supported for stream calls."),
    )
    thinks = given.get("enable_thinking") is True and request.ask.model.startswith("qwen3-")
    require(
        request.stream or not thinks,
        request.invalid("parameter.enable_thinking must be set to false for non-streaming calls"),
    )
    budget = "thinking_budget" in given and request.ask.model.startswith("MiniMax-")
    require(not budget, request.invalid("thinking_budget is not supported by this model."))


def _tools_are_sound(request: Dashscope) -> None:
    tools = request.parameters.get("tools")
    require(not tools or conversation.tools_are_sound(tools), request.invalid("tools must be a list of functions."))


def _json_is_mentioned(request: Dashscope) -> None:
    """JSON mode needs the word "json" in a message (error-code page)."""
    if (request.parameters.get("response_format") or {}).get("type") == "json_object":
        said = "".join(text_of(message.get("content")) for message in request.messages).lower()
        refused = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        require("json" in said, request.invalid(refused))


def _input_fits(request: Dashscope) -> None:
    length = conversation.input_tokens(request.messages)
    require(
        length <= request.family.context,
        request.invalid(f"Range of input length should be [1, {request.family.context}]"),
    )


CHECKS: tuple[Callable[[Dashscope], None], ...] = (
    _body_is_whole, _not_asynchronous, _messages_are_sound, _parameters_are_listed, _numbers_are_in_range, _output_mode_fits,
    _tools_are_sound, _json_is_mentioned, _input_fits,
)  # fmt: skip
