"""MiniMax chatcompletion: the oldest dialect, kept for accounts that still have it.

Pages: "ChatCompletion" of platform.minimaxi.com (2025-09, in its history list) and "Retrieval: ChatCompletion".
A page's curl sample puts the body of chatcompletion_pro on this URL; the field tables of 2025-09 settle that
`prompt` and `role_meta` belong here, `bot_setting`, `plugins` and glyphs to pro.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnroute.chat import ChatCompletion, ChatRequest, Choice, Message
from cnroute.deployments import Deployment, ProviderInfo
from cnroute.errors import ConfigurationError, UnsupportedRequestError
from cnroute.events import Delta, TextDelta
from cnroute.failures import Failure
from cnroute.hookspecs import StreamState, hookimpl
from cnroute.http import HttpRequest, HttpResponse
from cnroute.providers.minimax import frames
from cnroute.providers.minimax.answers import end_mark, finish_reason, knowledge_sources, usage_of
from cnroute.providers.minimax.base import (
    BOT_NAME,
    GROUP_OPTION,
    NAME_OPTIONS,
    USER_NAME,
    described,
    flag_option,
    group_endpoint,
    knowledge_base_field,
    name_option,
    plain_text,
    posted,
    refuse,
    sampling,
    system_text,
)
from cnroute.providers.minimax.codes import bad_response, map_error, request_id_of
from cnroute.wire import header_request_id, text_or_none

__all__ = ["build_request", "describe_provider", "map_error", "parse_response", "parse_stream_line"]

NAME = "minimax-legacy"
PATH = "/text/chatcompletion"
PAGE = "MiniMax: ChatCompletion"

_OPTIONS = {
    "skip_info_mask": "true: private data in answers is not replaced by * (the vendor's default is false)",
    "beam_width": "1 to 3, abab5.5s-chat only; the longest answer is charged once for each beam",
}
_REFUSED = {
    "tools": f"no functions exist ({PAGE})",
    "tool_choice": f"no functions exist ({PAGE})",
    "response_format": f"no answers in a given form exist ({PAGE})",
    "web_search": f"plugins belong to minimax-pro ({PAGE})",
    "stop": f"no stop words exist ({PAGE})",
    "seed": f"no seed exists ({PAGE})",
    "reasoning": f"its models do not think, and no budget can be set ({PAGE})",
}
_SENDERS = {"user": "USER", "assistant": "BOT"}


@hookimpl
def describe_provider() -> ProviderInfo:
    """What `minimax-legacy` is."""
    options = GROUP_OPTION | NAME_OPTIONS | _OPTIONS
    return described(NAME, ("streaming", "knowledge_base"), options, ("group_id",))


@hookimpl
def build_request(request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
    """The request; streams ask for standard SSE, because the default leaves out the blank lines."""
    refuse(request, _REFUSED)
    adjusted: dict[str, str] = {}
    body: dict[str, Any] = {
        "model": deployment.model,
        "prompt": system_text(request),
        "role_meta": _role_meta(request, deployment),
        "messages": _messages(request),
    }
    body |= sampling(request, deployment, "tokens_to_generate", PAGE, adjusted)
    body |= flag_option(deployment, "skip_info_mask") | _beam_width(deployment)
    body |= knowledge_base_field(request.knowledge_base, PAGE, adjusted)
    body |= {"stream": True, "use_standard_sse": True} if stream else {}
    return posted(group_endpoint(deployment, PATH), body, request, deployment, adjusted)


def _role_meta(request: ChatRequest, deployment: Deployment) -> dict[str, str]:
    """One name for each side: that of the last user message that has one, else the option's."""
    names = [message.name for message in request.messages if message.role == "user" and message.name]
    user = names[-1] if names else name_option(deployment, "user_name", USER_NAME)
    return {"user_name": user, "bot_name": name_option(deployment, "bot_name", BOT_NAME)}


def _messages(request: ChatRequest) -> list[dict[str, str]]:
    spoken = [_message(message) for message in request.messages if message.role != "system"]
    last = spoken[-1]["sender_type"] if spoken else None
    if last != "USER" and not (spoken and request.extra.get("continue_last_message")):
        raise UnsupportedRequestError("messages", f"the last message must be the user's ({PAGE})")
    return spoken


def _message(message: Message) -> dict[str, str]:
    if message.role not in _SENDERS or message.tool_calls:
        raise UnsupportedRequestError("messages", f"function calls and their results cannot be sent ({PAGE})")
    text = plain_text(message, PAGE)
    if not text:
        raise UnsupportedRequestError("messages", f"a text must not be empty ({PAGE})")
    return {"sender_type": _SENDERS[message.role], "text": text}


def _beam_width(deployment: Deployment) -> dict[str, int]:
    width = deployment.options.get("beam_width")
    if width is None:
        return {}
    if str(width) not in ("1", "2", "3"):
        raise ConfigurationError(f"option beam_width must be 1, 2 or 3 ({PAGE})", "options.beam_width")
    return {"beam_width": int(width)}


@hookimpl
def parse_response(response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
    """The answer: `reply`, else the best of the choices; `index` is their rank."""
    data = response.json_or_none()
    if not isinstance(data, dict):
        return bad_response(response, "the body is no JSON object")
    ranked = _ranked(data)
    text = text_or_none(data.get("reply")) or (ranked[0].message.content if ranked else None)
    if not isinstance(text, str):
        return bad_response(response, "the answer has no text", data)
    return ChatCompletion(
        text=text,
        finish_reason=ranked[0].finish_reason if ranked else None,
        usage=usage_of(data),
        model=text_or_none(data.get("model")),
        id=request_id_of(data),
        request_id=request_id_of(data) or header_request_id(response.headers),
        sources=knowledge_sources(data),
        choices=ranked if len(ranked) > 1 else (),
        raw=data,
    )


def _ranked(data: Mapping[str, Any]) -> list[Choice]:
    """The choices, best first."""
    listed = data.get("choices")
    found = [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []
    return sorted(map(_choice, range(len(found)), found), key=lambda choice: choice.index)


def _choice(number: int, fields: Mapping[str, Any]) -> Choice:
    index, text = fields.get("index"), fields.get("text")
    message = Message("assistant", text if isinstance(text, str) else None)
    reason = finish_reason(end_mark(fields.get("finish_reason")), called=False)
    return Choice(index if type(index) is int else number, message, reason)


@hookimpl
def parse_stream_line(line: str, state: StreamState, deployment: Deployment) -> tuple[Delta | Failure, ...]:
    """The events of one line, with and without blank lines between the frames.

    `delta` is a plain string and always an increment; the last frame's `reply` is the whole text again and counts
    only if no increment came.
    """
    return frames.read_line(line, state, deployment, _read)


def _read(frame: frames.Frame, line: str, state: StreamState) -> list[frames.Event]:
    choice = frames.first_choice(frame)
    mark = end_mark(choice.get("finish_reason")) if choice else None
    events = _text(choice.get("delta"), state) if choice else []
    if mark is not None and choice and "text" not in state.memory:
        events = _text(frame.get("reply") or choice.get("text"), state)
    if "knowledge_base" in frame:
        events += frames.source_events(knowledge_sources(frame), state)
    return events + frames.finish_events(mark, line, state)


def _text(delta: object, state: StreamState) -> list[frames.Event]:
    if not delta:
        return []
    if not isinstance(delta, str):
        return [frames.broken("a delta of the stream is no text")]
    state.memory["text"] = True
    return [TextDelta(delta)]
