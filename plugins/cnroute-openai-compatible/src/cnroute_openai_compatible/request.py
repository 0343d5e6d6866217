"""A call into the HTTP request `POST {base}/chat/completions`.

Rules of this file
- Every neutral parameter is sent, mapped, or refused by name; what each vendor takes stands in its `Rules`.
- What a model that does not know a parameter does anyway is no refusal: no search, no tools, plain text.
- Nothing is dropped silently: what finds no place in a message is named in `adjusted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnroute import ChatRequest, Deployment, HttpRequest, Message, UnsupportedRequestError
from cnroute.wire import function_tools, merged, openai_call
from cnroute_openai_compatible.vendor import Rules, Vendor

Body = dict[str, Any]
# What a call may not set through `extra`: it is said by the call itself.
_OWN_FIELDS = ("model", "stream", "messages")
_NOTHING_ASKED: Mapping[str, tuple[Any, ...]] = {
    "web_search": (False,),
    "tool_choice": ("auto", "none"),
    "response_format": ({"type": "text"},),
    "tools": ((),),
}


def build(vendor: Vendor, request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
    """The same bytes for the same arguments. Raises UnsupportedRequestError naming what cannot be sent."""
    rules, adjusted = vendor.rules_for(deployment.model), dict[str, str]()
    _check_extra(request.extra, stream)
    body: Body = {"model": deployment.model, "messages": _messages(request, rules, adjusted), **vendor.fixed}
    for parameter, write in _WRITERS.items():
        value = getattr(request, parameter)
        if value is None or not _is_asked(parameter, value, request, rules):
            continue
        body |= write(request, rules, adjusted)
    body |= _tools(request, vendor) | {"stream": stream}
    if stream and vendor.asks_usage:
        body["stream_options"] = {"include_usage": True}
    _note_inert(request, rules, adjusted)
    headers = {"Accept": "text/event-stream"} if stream else {}
    url = f"{deployment.base_url or vendor.base_url}/chat/completions"
    made = merged(body, request.extra)
    return HttpRequest.post_json(url, made, bearer=deployment.api_key, headers=headers, adjusted=adjusted)


def _is_asked(parameter: str, value: Any, request: ChatRequest, rules: Rules) -> bool:
    """Whether a parameter changes anything. Raises UnsupportedRequestError where it would and cannot be sent."""
    if parameter in rules.takes or parameter in _DECIDED_BY_VALUE:
        return True
    if value in _NOTHING_ASKED.get(parameter, ()) and not (parameter == "tool_choice" and request.tools and value == "none"):
        return False
    raise UnsupportedRequestError(parameter, f"the page does not list it ({rules.page})")


# Their writers decide.
_DECIDED_BY_VALUE = ("reasoning", "knowledge_base")


def _check_extra(extra: Mapping[str, Any], stream: bool) -> None:
    own = [field for field in _OWN_FIELDS if field in extra]
    if own:
        raise UnsupportedRequestError("extra", f"{own[0]} is set by the call itself, not by extra")
    if stream and extra.get("n") not in (None, 1):
        raise UnsupportedRequestError("extra", "a stream has one answer: n is for plain calls")


# Messages

def _messages(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> list[Body]:
    made = [_message(message, rules) for message in request.messages]
    if not rules.names and any(message.name for message in request.messages):
        adjusted["messages.name"] = f"left out: messages have no name ({rules.page})"
    if any(message.reasoning and not _goes_back(message, rules) for message in request.messages):
        adjusted["messages.reasoning"] = f"left out: thoughts of earlier turns are not wanted ({rules.page})"
    return made


def _message(message: Message, rules: Rules) -> Body:
    fields: Body = {"role": message.role, "content": _content(message, rules)}
    if message.name and rules.names:
        fields["name"] = message.name
    if message.tool_calls or message.role == "tool":
        if "tools" not in rules.takes:
            raise UnsupportedRequestError("messages", f"a {message.role} message belongs to a tool call ({rules.page})")
        if message.tool_calls:
            fields["tool_calls"] = [openai_call(call) for call in message.tool_calls]
        if message.tool_call_id:
            fields["tool_call_id"] = message.tool_call_id
    if rules.returns and _goes_back(message, rules):
        fields |= rules.returns(message.reasoning or "")
    return fields


def _goes_back(message: Message, rules: Rules) -> bool:
    return bool(rules.returns and message.reasoning and message.tool_calls)


def _content(message: Message, rules: Rules) -> Any:
    """Text, also beside tool calls, where some vendors refuse null; or parts as they are."""
    if message.only_text:
        return message.text
    parts = [dict(part) for part in message.content or () if isinstance(part, Mapping)]
    for part in parts:
        if part["type"] not in rules.parts:
            listed = ", ".join(sorted(rules.parts))
            raise UnsupportedRequestError("messages", f"a part is {listed}, not {part['type']} ({rules.page})")
    return parts


# Parameters

def _temperature(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    return {"temperature": rules.temperature.fit("temperature", request.temperature or 0, adjusted)}


def _top_p(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    return {"top_p": rules.top_p.fit("top_p", request.top_p or 0, adjusted)}


def _max_tokens(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    return {rules.tokens_field: request.max_tokens}


def _stop(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    words = list(request.stop or ())
    if rules.stop_words is not None and len(words) > rules.stop_words:
        raise UnsupportedRequestError("stop", f"at most {rules.stop_words} stop words are taken ({rules.page})")
    if rules.stop_bytes is not None and any(len(word.encode("utf-8", "replace")) > rules.stop_bytes for word in words):
        raise UnsupportedRequestError("stop", f"a stop word has at most {rules.stop_bytes} bytes ({rules.page})")
    return {"stop": words}


def _seed(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    return {"seed": request.seed}


def _tool_choice(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    chosen = request.tool_choice
    word = chosen if isinstance(chosen, str) else "function"
    if word not in rules.choices:
        raise UnsupportedRequestError("tool_choice", f"only {', '.join(sorted(rules.choices))} are taken ({rules.page})")
    return {"tool_choice": chosen if isinstance(chosen, str) else dict(chosen or {})}


def _response_format(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    wanted = dict(request.response_format or {})
    if wanted.get("type") not in rules.formats:
        raise UnsupportedRequestError("response_format", f"its type is {', '.join(sorted(rules.formats))} ({rules.page})")
    return {"response_format": wanted}


def _reasoning(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    """The vendor's switch; what a model does anyway needs none."""
    asked = request.reasoning
    budget = None if isinstance(asked, bool) else asked
    if budget is not None:
        if rules.budget is None:
            raise UnsupportedRequestError("reasoning", f"no budget of thinking can be set ({rules.page})")
        budget = int(rules.budget.fit("reasoning", budget, adjusted))
    if callable(rules.thinks):
        return dict(rules.thinks(bool(asked), budget))
    if bool(asked) is (rules.thinks == "always"):
        return {}
    raise UnsupportedRequestError("reasoning", f"this model thinks {rules.thinks}, and cannot be switched ({rules.page})")


def _later(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    """Tools and searching are written together, by `_tools`."""
    return {}


def _no_knowledge(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> Body:
    raise UnsupportedRequestError("knowledge_base", f"there is none ({rules.page})")


_WRITERS: Mapping[str, Callable[[ChatRequest, Rules, dict[str, str]], Body]] = {
    "temperature": _temperature,
    "top_p": _top_p,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "seed": _seed,
    "tools": _later,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning": _reasoning,
    "web_search": _later,
    "knowledge_base": _no_knowledge,
}


def _tools(request: ChatRequest, vendor: Vendor) -> Body:
    """The caller's tools, and the vendor's web search: a tool here, fields of the body there."""
    tools: list[Body] = [{"type": "function", "function": dict(each)} for each in function_tools(request)]
    fields: Body = {}
    if request.web_search:
        tools += [dict(vendor.search_tool)] if vendor.search_tool else []
        fields |= vendor.search_fields
    return fields | ({"tools": tools} if tools else {})


def _note_inert(request: ChatRequest, rules: Rules, adjusted: dict[str, str]) -> None:
    """Taken and without effect while the model thinks, and it thinks unless it is told not to."""
    if request.reasoning is None or request.reasoning:
        for name in rules.inert:
            if getattr(request, name) is not None:
                adjusted.setdefault(name, f"sent, but without effect while the model thinks ({rules.page})")
