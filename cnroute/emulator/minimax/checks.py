"""What the pages forbid at more than one endpoint, one check a rule."""

from __future__ import annotations

from typing import Any

from cnroute.emulator import conversation
from cnroute.emulator.exchange import Range, is_count, require
from cnroute.emulator.minimax.dialect import MiniMax, window

UNIT = Range(0, 1)


def has_model(request: MiniMax) -> None:
    require(isinstance(request.ask.body.get("model"), str) and request.ask.model, request.invalid("model is required"))


def numbers_are_in_range(request: MiniMax) -> None:
    """temperature and top_p are in (0, 1]; a temperature of 0 is refused."""
    body = request.ask.body
    for name in ("temperature", "top_p"):
        require(body.get(name) is None or body[name] in UNIT, request.invalid(f"{name} should be in (0, 1]"))
    most = window(request.ask.model)
    for name in ("max_tokens", "max_completion_tokens", "tokens_to_generate"):
        fits = body.get(name) is None or (is_count(body[name]) and body[name] <= most)
        require(fits, request.invalid(f"{name} should be in (0, {most}]"))
    require(isinstance(body.get("stream", False), bool), request.invalid("stream should be a boolean"))


def messages_are_objects(request: MiniMax) -> None:
    sound = conversation.messages_are_objects(request.ask.body.get("messages"))
    require(sound, request.invalid("messages should be a non-empty list"))


def input_fits(request: MiniMax) -> None:
    require(request.turn().input_tokens < window(request.ask.model), request.refusal("context_length"))


def bot_is_named(request: MiniMax) -> None:
    body = request.ask.body
    bots: Any = body.get("bot_setting")
    require(conversation.messages_are_objects(bots), request.invalid("bot_setting is required"))
    whole = all(one.get("bot_name") and isinstance(one.get("content"), str) for one in bots)
    require(whole, request.invalid("bot_setting needs bot_name and content"))
    limits: Any = body.get("reply_constraints")
    require(isinstance(limits, dict), request.invalid("reply_constraints is required"))
    require(limits.get("sender_type") == "BOT", request.invalid("reply_constraints sender_type should be BOT"))
    named = limits.get("sender_name") in [one["bot_name"] for one in bots]
    require(named, request.invalid("reply_constraints sender_name should be in bot_setting"))
