"""What the requests of MiniMax's three dialects share: description, limits, refusals, `extra`, knowledge base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from cnroute.catalogue import models
from cnroute.chat import ChatRequest, KnowledgeBase
from cnroute.deployments import Deployment, ModelInfo, ProviderInfo
from cnroute.errors import ConfigurationError, UnsupportedRequestError
from cnroute.http import HttpRequest
from cnroute.wire import Range, merged, query_url

# Pages of platform.minimaxi.com say api.minimaxi.com; api.minimax.chat is the older host.
BASE_URL = "https://api.minimaxi.com/v1"

# Pro and legacy require a system text. What is sent when the caller gave none:
NEUTRAL_PROMPT = "你是一个乐于助人的智能助理。"
BOT_NAME = "MM智能助理"
USER_NAME = "用户"

GROUP_OPTION = {"group_id": "the account's GroupId, which goes into the URL"}
NAME_OPTIONS = {
    "bot_name": f"the bot's name (default {BOT_NAME})",
    "user_name": f"the name of users whose message has none (default {USER_NAME})",
}
MASK_OPTION = {"mask_sensitive_info": "false: private data in answers is not replaced by * (the default is true)"}

_OWN_FIELDS = ("model", "stream", "messages")


def described(
    name: str, capabilities: Iterable[str], options: Mapping[str, str], required: tuple[str, ...] = ()
) -> ProviderInfo:
    """A MiniMax provider; `required` names the options that belong into the URL."""
    env = {"api_key": "MINIMAX_API_KEY", "base_url": "MINIMAX_API_HOST"}
    if "group_id" in required:
        env["group_id"] = "MINIMAX_GROUP_ID"
    return ProviderInfo(
        name, BASE_URL, env, options, frozenset(capabilities), tuple(known_models(name).values()), required, required
    )


@cache
def known_models(provider: str) -> Mapping[str, ModelInfo]:
    """The catalogue's models of a provider by name."""
    return {model.name: model for model in models("minimax", provider)}


def lacks(provider: str, model: str, capability: str) -> bool:
    """True when the catalogue knows that `model` does not have `capability`."""
    info = known_models(provider).get(model)
    return info is not None and info.capabilities is not None and capability not in info.capabilities


def refuse(request: ChatRequest, reasons: Mapping[str, str]) -> None:
    """Raise UnsupportedRequestError for the first parameter of `reasons` that asks for something."""
    for parameter, reason in reasons.items():
        value = getattr(request, parameter)
        if value is not None and value is not False and value != () and value != {"type": "text"}:
            raise UnsupportedRequestError(parameter, reason)


def sampling(
    request: ChatRequest, deployment: Deployment, tokens_field: str, page: str, adjusted: dict[str, str]
) -> dict[str, Any]:
    """`temperature`, `top_p` and the token limit as they go on the wire, checked against the page's ranges."""
    fields: dict[str, Any] = {}
    if request.temperature is not None:
        fields["temperature"] = _unit(page).fit("temperature", request.temperature, adjusted)
    if request.top_p is not None:
        fields["top_p"] = _unit(page).fit("top_p", request.top_p, adjusted)
    if request.max_tokens is not None:
        fields[tokens_field] = _tokens(_most_tokens(deployment), page).fit("max_tokens", request.max_tokens, adjusted)
    return fields


@cache
def _unit(page: str) -> Range:
    return Range(0, 1, low_open=True, page=page)


@cache
def _tokens(most: int | None, page: str) -> Range:
    return Range(1, most, page=page)


def _most_tokens(deployment: Deployment) -> int | None:
    info = known_models(deployment.provider).get(deployment.model)
    return (info.max_output or info.context) if info else None


def posted(
    url: str, body: dict[str, Any], request: ChatRequest, deployment: Deployment, adjusted: Mapping[str, str]
) -> HttpRequest:
    """The HTTP request with `extra` merged into its body; the key goes into a header only."""
    if request.extra:
        own = [field for field in _OWN_FIELDS if field in request.extra]
        if own:
            raise UnsupportedRequestError("extra", f"{own[0]} is set by the call itself, not by extra")
        body = merged(body, request.extra)
    return HttpRequest.post_json(url, body, bearer=deployment.api_key, adjusted=adjusted)


def endpoint(deployment: Deployment, path: str) -> str:
    """The URL of an endpoint that takes no GroupId."""
    return (deployment.base_url or BASE_URL) + path


def group_endpoint(deployment: Deployment, path: str) -> str:
    """The URL of an endpoint with GroupId: a query parameter, never a header (seed 001, pro page)."""
    group = deployment.options.get("group_id")
    if group is None or not str(group).strip():
        raise ConfigurationError(f"{deployment.provider} needs the option group_id", "options.group_id")
    if isinstance(group, bool) or not isinstance(group, str | int):
        raise ConfigurationError("option group_id must be the GroupId as text", "options.group_id")
    return query_url(deployment.base_url or BASE_URL, path, GroupId=str(group))


def name_option(deployment: Deployment, option: str, default: str) -> str:
    """A name from the deployment's options, as text."""
    name = deployment.options.get(option)
    if not isinstance(name, str | None):
        raise ConfigurationError(f"option {option} must be text", f"options.{option}")
    return name or default


def flag_option(deployment: Deployment, option: str) -> dict[str, bool]:
    """The body field of a yes-or-no option, if it is set; text from an environment variable is understood."""
    value = deployment.options.get(option)
    if value is None or isinstance(value, bool):
        return {} if value is None else {option: value}
    words = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in words:
        raise ConfigurationError(f"option {option} must be true or false", f"options.{option}")
    return {option: words[str(value).lower()]}


def system_text(request: ChatRequest) -> str:
    """All system texts joined, or a neutral sentence: the vendor takes no empty one."""
    texts = [message.text for message in request.messages if message.role == "system"]
    return "\n".join(text for text in texts if text) or NEUTRAL_PROMPT


def plain_text(message: Any, page: str) -> str:
    """A message's text; raises UnsupportedRequestError for images and other parts."""
    if not message.only_text:
        raise UnsupportedRequestError("messages", f"only text can be sent, no images or files ({page})")
    return str(message.text)


def knowledge_base_field(base: KnowledgeBase | None, page: str, adjusted: dict[str, str]) -> dict[str, Any]:
    """`knowledge_base_param`; what equals the vendor's documented default is left to the vendor.

    Pages "Retrieval: ChatCompletion" and "Retrieval: ChatCompletion Pro".
    """
    if base is None:
        return {}
    defaults = KnowledgeBase(base.id)
    settings: dict[str, Any] = {"knowledge_base_id": base.id}
    if base.top_k != defaults.top_k:
        settings["top_k"] = base.top_k
    if base.threshold != defaults.threshold:
        settings["thresh"] = Range(0, 1, high_open=True, page=page).fit("knowledge_base", base.threshold, adjusted)
    if base.pattern is not None:
        settings["pattern"] = _pattern(base.pattern, page)
    if base.previous_messages != defaults.previous_messages:
        settings["num_prev_messages"] = base.previous_messages
    return {"knowledge_base_param": settings}


def _pattern(pattern: str, page: str) -> str:
    if "{{context}}" not in pattern or "{{question}}" not in pattern:
        raise UnsupportedRequestError("knowledge_base", f"pattern needs {{{{context}}}} and {{{{question}}}} ({page})")
    return pattern
