"""A conversation in chatcompletion_pro's words: USER, BOT and FUNCTION, each with a sender's name.

Rules of this file
- The vendor knows one function call a turn and no call ids, so a FUNCTION message stands right behind the BOT message
  that holds its call. An assistant message with several calls becomes one such pair after the other.
- A result whose call is not in the assistant message before it cannot be sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from cnroute.chat import ChatRequest, Message, ToolCall
from cnroute.errors import UnsupportedRequestError
from cnroute.providers.minimax.base import plain_text


@attrs.frozen
class Names:
    """The names of senders whose message has none."""

    user: str
    bot: str


def pro_messages(request: ChatRequest, names: Names, page: str) -> list[dict[str, Any]]:
    """All messages but the system's, which are the bot's setting."""
    sent: list[dict[str, Any]] = []
    for message, results in _turns(request.messages, page):
        sent += _sent(message, results, names, page)
    if not sent:
        raise UnsupportedRequestError("messages", f"a message beside the system's is needed ({page})")
    if sent[-1]["sender_type"] == "BOT":
        raise UnsupportedRequestError("messages", f"the last message must be the user's or a function's ({page})")
    if any(not each["text"] and "function_call" not in each for each in sent):
        raise UnsupportedRequestError("messages", f"a text must not be empty ({page})")
    return sent


def _turns(messages: tuple[Message, ...], page: str) -> Iterator[tuple[Message, dict[str, Message]]]:
    """Every message that is no result, with the results that follow it, by call id."""
    rest = [message for message in messages if message.role != "system"]
    while rest:
        message = rest.pop(0)
        results: dict[str, Message] = {}
        while rest and rest[0].role == "tool":
            result = rest.pop(0)
            results[result.tool_call_id or ""] = result
        known = {call.id for call in message.tool_calls}
        if message.role == "tool" or not known.issuperset(results):
            raise UnsupportedRequestError("messages", f"a result needs its function call right before it ({page})")
        yield message, results


def _sent(message: Message, results: dict[str, Message], names: Names, page: str) -> Iterator[dict[str, Any]]:
    name = message.name or (names.bot if message.role == "assistant" else names.user)
    text = plain_text(message, page)
    if not message.tool_calls:
        yield _spoken("BOT" if message.role == "assistant" else "USER", name, text)
    for number, call in enumerate(message.tool_calls):
        yield _called(call, name, "" if number else text)
        if call.id in results:
            result = results[call.id]
            yield _spoken("FUNCTION", result.name or names.bot, plain_text(result, page))


def _spoken(kind: str, name: str, text: str) -> dict[str, Any]:
    return {"sender_type": kind, "sender_name": name, "text": text}


def _called(call: ToolCall, name: str, text: str) -> dict[str, Any]:
    return {**_spoken("BOT", name, text), "function_call": {"name": call.name, "arguments": call.arguments}}
