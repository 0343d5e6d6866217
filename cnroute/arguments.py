"""The arguments of a call, checked before anything else happens.

Wrong ones raise BadRequestError naming the argument; what only some vendors cannot take is not wrong here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, TypedDict, TypeVar

from cnroute.chat import ChatRequest, KnowledgeBase, Message, knowledge_base_from, message_from
from cnroute.codec import JsonError, plain
from cnroute.errors import BadRequestError

MAX_SECONDS = 7 * 86400
MAX_MAX_TOKENS = 10_000_000


class CallArguments(TypedDict, total=False):
    """The keyword arguments of `chat`, `stream` and `plan`, beside `model`; all optional, None = not given.

    `timeout` is in seconds for the whole call; `reasoning` True, False or a token budget; `max_cost` an amount in
    the router's currency for the whole call; `extra` raw fields per provider.
    """

    timeout: float | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    tools: Sequence[Mapping[str, object]] | None
    tool_choice: str | Mapping[str, object] | None
    response_format: Mapping[str, object] | None
    reasoning: bool | int | None
    web_search: bool | None
    knowledge_base: int | str | KnowledgeBase | None
    metadata: Mapping[str, str] | None
    max_cost: Decimal | str | None
    drop_unsupported: bool
    extra: Mapping[str, Mapping[str, object]] | None


Messages = str | Sequence[Message | Mapping[str, object]]
Method = TypeVar("Method", bound=Callable[..., Any])


def with_call_arguments(method: Method) -> Method:
    """Show the arguments of a call one by one in the method's signature, for readers, `help` and tools."""
    own = inspect.signature(method)
    keyword = inspect.Parameter.KEYWORD_ONLY
    named = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    named += [
        inspect.Parameter(name, keyword, default=False if name == "drop_unsupported" else None, annotation=kind)
        for name, kind in CallArguments.__annotations__.items()
    ]
    method.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
    return method


def make_request(messages: Any, model: Any, arguments: Mapping[str, Any]) -> ChatRequest:
    """The request that a call's arguments describe. Raises BadRequestError (TypeError for unknown names)."""
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a route, a deployment or a model")
    checked: dict[str, Any] = {}
    for name, value in arguments.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(f"a call has no argument {name!r}; arguments are {', '.join(_CHECKS)}")
        if value is not None:
            checked[name] = check(value, name)
    return ChatRequest(_messages(messages), model, **checked)


def _messages(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if type(value) is not list and (isinstance(value, Mapping | bytes) or not isinstance(value, Sequence)):
        raise BadRequestError(f"messages must be text or a list of messages, not {type(value).__name__}")
    messages = tuple([message_from(each) for each in value])
    for message in messages:
        if message.content or message.tool_calls:
            return messages
    raise BadRequestError("messages hold no text at all" if messages else "messages must not be empty")


def _shown(value: Any) -> str:
    """The beginning of a value's repr, for messages; an integer may be too long to have one."""
    try:
        return repr(value)[:40]
    except ValueError:
        return f"a {type(value).__name__}"


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_MOST < value < _MOST  # false for NaN and infinities, and works for integers that no float can hold


_MOST = 1e300


def _number(value: Any, name: str) -> float:
    if type(value) is float and 0 <= value < _MOST:
        return value
    if not _finite(value) or value < 0:
        raise BadRequestError(f"{name} must be a finite number of at least 0, not {_shown(value)}")
    return value  # type: ignore[no-any-return]


def _seconds(value: Any, name: str) -> float:
    if not _finite(value) or value <= 0:
        longest = f"(a week, {MAX_SECONDS}, is the longest)"
        raise BadRequestError(f"{name} must be a positive number of seconds {longest}, not {_shown(value)}")
    return float(min(value, MAX_SECONDS))


def _whole(value: Any, name: str) -> int:
    if not _finite(value) or not isinstance(value, int):
        raise BadRequestError(f"{name} must be a whole number, not {_shown(value)}")
    return value


def _max_tokens(value: Any, name: str) -> int:
    number = value if type(value) is int else _whole(value, name)
    if not 1 <= number <= MAX_MAX_TOKENS:
        raise BadRequestError(f"{name} must be from 1 to {MAX_MAX_TOKENS}, not {_shown(number)}")
    return number


def _json(value: Any, name: str) -> Any:
    """A copy of `value` as JSON: what the caller changes later changes nothing."""
    try:
        return plain(value)
    except JsonError as error:
        reason = str(error)
    raise BadRequestError(f"{name} must be data that JSON can hold, without {reason}")


def _stop(value: Any, name: str) -> tuple[str, ...] | None:
    words = (value,) if isinstance(value, str) else value
    if isinstance(words, Mapping | bytes) or not isinstance(words, Sequence):
        raise BadRequestError(f"{name} must be text or a list of texts")
    if not all(isinstance(word, str) and word for word in words):
        raise BadRequestError(f"{name} must hold texts that are not empty")
    return tuple(words) or None


def _tools(value: Any, name: str) -> tuple[Mapping[str, Any], ...] | None:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise BadRequestError(f"{name} must be a list of tools")
    for tool in value:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise BadRequestError(f'{name}: every tool looks like {{"type": "function", "function": {{"name": ...}}}}')
    return tuple(_json(list(value), name)) or None


def _tool_choice(value: Any, name: str) -> str | Mapping[str, Any]:
    if isinstance(value, str) and value in ("auto", "none", "required"):
        return value
    function = value.get("function") if isinstance(value, Mapping) else None
    if isinstance(value, Mapping) and isinstance(function, Mapping) and isinstance(function.get("name"), str):
        return _json(value, name)  # type: ignore[no-any-return]
    raise BadRequestError(f'{name} must be "auto", "none", "required" or {{"type": "function", "function": {{"name": ...}}}}')


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRequestError(f"{name} must be a mapping, not {type(value).__name__}")
    return value


def _response_format(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(_mapping(value, name).get("type"), str):
        raise BadRequestError(f'{name} needs a type such as "json_object"')
    return _json(value, name)  # type: ignore[no-any-return]


def _reasoning(value: Any, name: str) -> bool | int:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and 1 <= value <= MAX_MAX_TOKENS:
        return value
    raise BadRequestError(f"{name} must be True, False or a token budget of at least 1")


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be True or False")
    return value


def _metadata(value: Any, name: str) -> dict[str, str]:
    pairs = _mapping(value, name)
    if len(pairs) > 16:
        raise BadRequestError(f"{name} may hold at most 16 keys")
    for key, text in pairs.items():
        if not isinstance(key, str) or not isinstance(text, str) or max(len(key), len(text)) > 256:
            raise BadRequestError(f"{name} maps text to text of at most 256 characters")
    return dict(pairs)


def _max_cost(value: Any, name: str) -> Decimal:
    try:
        cost = Decimal(value.strip()) if isinstance(value, str) else value
    except InvalidOperation:
        cost = None
    if isinstance(cost, int) and not isinstance(cost, bool):
        cost = Decimal(cost)
    if not isinstance(cost, Decimal) or not cost.is_finite() or cost < 0:
        raise BadRequestError(f'{name} must be an amount such as "0.05" or a Decimal, not {_shown(value)}')
    return cost


def _extra(value: Any, name: str) -> dict[str, Mapping[str, Any]]:
    pairs = _mapping(value, name)
    for provider, fields in pairs.items():
        if not isinstance(provider, str) or not isinstance(fields, Mapping):
            raise BadRequestError(f'{name} maps a provider to fields: {{"minimax-pro": {{...}}}}')
    return _json(pairs, name)  # type: ignore[no-any-return]


_CHECKS: Mapping[str, Callable[[Any, str], Any]] = {
    "temperature": _number,
    "top_p": _number,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "seed": _whole,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning": _reasoning,
    "web_search": _flag,
    "knowledge_base": lambda value, name: knowledge_base_from(value),
    "metadata": _metadata,
    "timeout": _seconds,
    "max_cost": _max_cost,
    "drop_unsupported": _flag,
    "extra": _extra,
}

# What `defaults=` of a deployment, route or router may hold.
DEFAULTS = tuple(name for name in _CHECKS if name not in ("metadata", "timeout", "max_cost", "drop_unsupported", "extra"))


def checked(name: str, value: Any) -> Any:
    """The value of one argument as calls use it. Raises BadRequestError."""
    return None if value is None else _CHECKS[name](value, name)
