"""`cnroute config check` and `cnroute config show`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import click

import cnroute
from cnroute.cli.failing import exit_code
from cnroute.cli.output import print_json, with_output_options

_HIDDEN = "***"

file_argument = click.argument("file", required=False, type=click.Path(dir_okay=False))
config_option = click.option("--config", "option", metavar="FILE", type=click.Path(dir_okay=False), help="The same as FILE.")


@click.group(short_help="Check or show a configuration file.")
def config() -> None:
    """Check or show a configuration file."""


@config.command(short_help="Say everything that is wrong with a configuration.")
@file_argument
@config_option
@with_output_options
def check(file: str | None, option: str | None, as_json: bool, no_color: bool) -> None:
    """Say everything that is wrong with FILE (or the file that CNROUTE_CONFIG names), all problems at once.

    Exit code 3, or 4 when nothing but keys is missing.
    """
    from cnroute.config import plugin_host, problems_of

    place = _file(file, option)
    problems = problems_of(place, plugin_host())
    if as_json:
        print_json({"file": place, "ok": not problems, "problems": [attrs.asdict(problem) for problem in problems]})
        if problems:
            click.get_current_context().exit(exit_code(cnroute.ConfigurationError(problems)))
        return
    if problems:
        raise cnroute.ConfigurationError(problems)
    click.echo(f"{place}: nothing is wrong")


@config.command(short_help="Show a configuration with every default filled in and every secret hidden.")
@file_argument
@config_option
@with_output_options
def show(file: str | None, option: str | None, as_json: bool, no_color: bool) -> None:
    """Show FILE (or the file that CNROUTE_CONFIG names) with every default filled in, as TOML.

    Keys, options, header values and proxies are hidden; where a key comes from is said.
    """
    from cnroute.config import plugin_host, problems_of, router_arguments

    place = _file(file, option)
    problems = problems_of(place, plugin_host())
    if problems:
        raise cnroute.ConfigurationError(problems)
    document = _document(router_arguments(place))
    if as_json:
        print_json(document)
        return
    click.echo("\n".join(_toml(document)).strip())


def _file(file: str | None, option: str | None) -> str:
    from cnroute.config import CONFIG

    place = file or option or os.environ.get(CONFIG)
    if not place:
        raise click.UsageError(f"give a file, or set {CONFIG}")
    return place


# -- what is shown -----------------------------------------------------------------------------------------


def _document(arguments: Mapping[str, Any]) -> dict[str, Any]:
    from cnroute.settings import Breaker, Limits, Retries, Timeouts, nearest

    breaker = arguments.get("breaker", Breaker())
    router = {
        "policy": arguments.get("policy", "ordered"),
        "currency": arguments.get("currency", "CNY"),
        "transport": str(arguments.get("transport", "urllib3")),
        "breaker": False if breaker is None else _plain(nearest(Breaker, breaker)),
        "timeouts": _plain(nearest(Timeouts, arguments.get("timeouts"))),
        "limits": _plain(nearest(Limits, arguments.get("limits"))),
        "retries": _plain(nearest(Retries, arguments.get("retries"))),
        "exchange": _plain(arguments.get("exchange", {})),
        "defaults": _plain(arguments.get("defaults", {})),
    }
    return {
        "router": {key: value for key, value in router.items() if value != {}},
        "deployments": {deployment.name: _deployment(deployment) for deployment in arguments["deployments"]},
        "routes": {name: _route(route) for name, route in arguments["routes"].items()},
    }


def _deployment(deployment: cnroute.Deployment) -> dict[str, Any]:
    from cnroute.settings import given

    shown: dict[str, Any] = {"provider": deployment.provider, "model": deployment.model}
    if deployment.api_key is not None:
        shown["api_key"] = _source(deployment.api_key.origin)
    for name in ("base_url", "allow_http"):
        if getattr(deployment, name):
            shown[name] = getattr(deployment, name)
    if deployment.proxy:
        shown["proxy"] = _HIDDEN
    for name in ("options", "headers"):
        if getattr(deployment, name):
            shown[name] = dict.fromkeys(getattr(deployment, name), _HIDDEN)
    for name in ("price", "defaults", "rate_limit", "tls"):
        if getattr(deployment, name):
            shown[name] = _plain(getattr(deployment, name))
    for name in ("timeouts", "limits", "breaker"):
        if getattr(deployment, name):
            shown[name] = _plain(given(getattr(deployment, name)))
    return shown


def _source(origin: str) -> Any:
    """Where a key comes from, as it is written in a configuration; a key itself is hidden."""
    kind, _, place = origin.partition(" ")
    return {kind: place} if kind in ("env", "file") and place else _HIDDEN


def _route(route: cnroute.Route) -> dict[str, Any]:
    from cnroute.settings import given

    targets: Any = dict(route.targets) if isinstance(route.targets, Mapping) else [
        _route(target) if isinstance(target, cnroute.Route) else target for target in route.targets
    ]
    shown: dict[str, Any] = {"policy": route.policy, "targets": _plain(targets), "fallback_on": sorted(route.fallback_on)}
    shown |= {"requires": sorted(route.requires), "min_context": route.min_context or []}
    shown |= {name: _plain(getattr(route, name)) for name in ("fallback", "defaults", "settings")}
    shown |= {name: _plain(given(getattr(route, name))) for name in ("timeouts", "retries") if getattr(route, name)}
    return {name: value for name, value in shown.items() if value not in ({}, [])}


def _plain(value: Any) -> Any:
    """Settings as JSON-ready data: amounts as text, marked defaults as ordinary numbers, nothing for None."""
    if attrs.has(type(value)):
        return _plain({field.name: getattr(value, field.name) for field in attrs.fields(type(value)) if field.init})
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None and item != ()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else str(value)


# -- as TOML -----------------------------------------------------------------------------------------------


def _toml(document: Mapping[str, Any]) -> Iterator[str]:
    """Two levels of tables; everything below is written inline."""
    for section, tables in document.items():
        for name, table in ({"": tables} if section == "router" else tables).items():
            yield ""
            yield f"[{section}]" if not name else f"[{section}.{_key(name)}]"
            for key, value in table.items():
                yield f"{_key(key)} = {_inline(value)}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_\-]+", name) else _inline(name)


def _inline(value: Any) -> str:
    import json

    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)
