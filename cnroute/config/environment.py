"""Accounts from the environment: keys where the vendors' own users keep them.

The environment is read here and by the command line only, and only when `from_env` or a reference asks for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cnroute.config.document import router_arguments
from cnroute.deployments import Deployment, ProviderInfo, Secret
from cnroute.errors import ConfigurationError, Problem
from cnroute.plugins import PluginHost

CONFIG = "CNROUTE_CONFIG"
LOAD_PLUGINS = "CNROUTE_LOAD_PLUGINS"
BLOCK_PLUGINS = "CNROUTE_BLOCK_PLUGINS"
KEY_FILE = "DASHSCOPE_API_KEY_FILE_PATH"
KEY_FILE_AT_HOME = "~/.dashscope/api_key"

def plugin_host() -> PluginHost:
    """The plugins that the environment asks for: CNROUTE_LOAD_PLUGINS and CNROUTE_BLOCK_PLUGINS."""
    wanted = os.environ.get(LOAD_PLUGINS)
    load = None if wanted is None else _names(wanted)
    return PluginHost(autoload=load is None or bool(load), load=load, block=_names(os.environ.get(BLOCK_PLUGINS, "")))


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,]+", text) if name]


def environment_arguments() -> dict[str, Any]:
    """The arguments of `Router(...)` that the environment describes.

    With CNROUTE_CONFIG those of that file, else one account for each provider whose key is set. Raises
    ConfigurationError when there is no key at all.
    """
    host = plugin_host()
    file = os.environ.get(CONFIG)
    if file:
        return {**router_arguments(file), "plugins": host}
    problems: list[Problem] = []
    accounts = {}
    for source in key_sources(host):
        if source.secret is not None and not source.missing:
            try:
                accounts[source.provider] = _account(source)
            except ConfigurationError as error:
                problems += [Problem(problem.key, f"{source.provider}: {problem.reason}") for problem in error.problems]
    if not accounts and not problems:
        problems.append(Problem("api_key", _NO_KEY))
    if problems:
        raise ConfigurationError(problems)
    return {"deployments": (), "routes": {}, "plugins": host, "_accounts": accounts}


_NO_KEY = "no key is set; set DASHSCOPE_API_KEY or MINIMAX_API_KEY, or CNROUTE_CONFIG to the path of a configuration"


@attrs.frozen
class KeySource:
    """Where a provider's key was looked for, and what was found there; never the key itself."""

    provider: str
    looked: tuple[str, ...]
    secret: Secret | None
    info: ProviderInfo = attrs.field(repr=False)
    missing: tuple[str, ...] = ()
    """The variables of required options that are not set."""


def key_sources(host: PluginHost) -> list[KeySource]:
    """For every provider of `host` that needs a key: where its key comes from."""
    found = []
    for name in host.providers():
        try:
            info = host.provider(name).info
        except ConfigurationError:
            continue  # `host.problems` names it
        if "api_key" in info.env:
            places = _places(info)
            here = next((Secret(place) for place in places if _there(place)), None)
            looked = tuple(f"{kind} {where}" for place in places for kind, where in place.items())
            needed = [info.env[option] for option in info.required if option in info.env]
            found.append(KeySource(name, looked, here, info, tuple(name for name in needed if not os.environ.get(name))))
    return found


def _places(info: ProviderInfo) -> list[dict[str, str]]:
    """Where a provider's users keep their key, in the order in which the vendor's own SDK looks."""
    places = [{"env": info.env["api_key"]}]
    if info.env["api_key"] == "DASHSCOPE_API_KEY":
        file = os.environ.get(KEY_FILE)
        places.append({"file": file or KEY_FILE_AT_HOME})
    return places


def _there(place: Mapping[str, str]) -> bool:
    if "env" in place:
        return bool(os.environ.get(place["env"]))
    return place["file"] != KEY_FILE_AT_HOME or Path(KEY_FILE_AT_HOME).expanduser().is_file()


def _account(source: KeySource) -> Deployment:
    """A deployment of a provider without a model: `provider/model` fills it in."""
    env = source.info.env
    if source.secret is not None:
        source.secret.reveal()
    options = {name: os.environ[env[name]] for name in source.info.options if name in env and os.environ.get(env[name])}
    url = os.environ.get(env.get("base_url", ""), "")
    return Deployment(
        source.provider, source.provider, "-", api_key=source.secret, options=options,
        base_url=_base_url(url, source.info) if url else None,
    )


def _base_url(text: str, info: ProviderInfo) -> str:
    """A base URL from a variable that holds a URL or a bare host; without a path the vendor's own is added."""
    url = text.strip().rstrip("/")
    if "://" not in url:
        local = re.match(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|/|$)", url)
        url = f"{'http' if local else 'https'}://{url}"
    if "/" not in url.partition("://")[2]:
        own = re.sub(r"^[a-z]+://[^/]*", "", info.base_url)
        url += own.rstrip("/")
    return url


def base_urls(arguments: Mapping[str, Any], host: PluginHost) -> list[str]:
    """Where the deployments and accounts in a router's arguments would be called."""
    found = []
    for deployment in (*arguments["deployments"], *arguments.get("_accounts", {}).values()):
        try:
            found.append(deployment.base_url or host.provider(deployment.provider).info.base_url)
        except ConfigurationError:
            continue  # an unknown provider has no address
    return list(dict.fromkeys(found))
