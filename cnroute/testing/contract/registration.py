"""Group 1: how a provider gets into a host."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

from cnroute.deployments import ModelInfo, ProviderInfo, checked_base_url
from cnroute.errors import ConfigurationError
from cnroute.plugins import _PROVIDER_HOOKS, BUILT_IN, PluginHost, implementations
from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase, replaces_built_in
from cnroute.testing.contract.checking import check, fail, require, same

CAPABILITIES = frozenset(("streaming", "tools", "json", "web_search", "knowledge_base", "reasoning"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOOKS = (*_PROVIDER_HOOKS, "create_transport", "create_policy", "load_prices", "observe")


class RegistrationChecks(ContractBase):
    """The host's view."""

    @check(groups.REGISTRATION)
    def test_the_plugin_is_loaded_alone_and_beside_the_others(self) -> None:
        """The host takes the plugin without a problem, with and without everything else that is installed."""
        self.subject()  # fails with the reason
        name = self.provider_name()
        hosts = (
            {"alone": self.make_host()}
            if self.plugin is not None
            else {"alone": PluginHost(load=[name]), "beside the others": PluginHost()}
        )
        for how, host in hosts.items():
            problems = [str(problem) for problem in host.problems if problem.plugin == name]
            require(
                not problems,
                f"the plugin is loaded {how}",
                expected="no problem",
                got="; ".join(problems),
                change="do what the problem says",
            )
            try:
                host.provider(name)
                for each in BUILT_IN:
                    host.provider(each)
            except ConfigurationError as error:
                problems.append(str(error))
            require(
                not problems,
                f"the plugin works {how}",
                expected="no problem",
                got="; ".join(problems),
                change="do what the problem says",
            )

    @check(groups.REGISTRATION)
    def test_every_hook_is_one_and_marked(self) -> None:
        """Required hooks are there; a function with a hook's name carries @hookimpl."""
        plugin = self.plugin_object()
        found = {hook for hook, _, _ in implementations(plugin)}
        missing = [hook for hook in ("describe_provider", "build_request", "parse_response") if hook not in found]
        require(
            not missing,
            "required hooks are there",
            expected="describe_provider, build_request, parse_response",
            got=f"no {', '.join(missing)}",
            change="write them, and mark them with @cnroute.hookimpl",
        )
        names = [name for name in dir(plugin) if name in _HOOKS]
        unmarked = [name for name in names if name not in found]
        require(
            not unmarked,
            "a function with a hook's name is marked",
            expected="@cnroute.hookimpl",
            got=f"{', '.join(unmarked)} without it",
            change="mark it with @cnroute.hookimpl, or give it another name",
        )

    @check(groups.REGISTRATION)
    def test_the_name_is_free_and_its_own(self) -> None:
        """Entry point, `describe_provider` and the contract have one name, which is no built-in's and no other distribution's."""
        name, plugin = self.provider_name(), self.plugin_object()
        require(
            _NAME.fullmatch(name),
            "the name can be called",
            expected="letters, digits, dots, dashes",
            got=name,
            change="choose another name: it stands in provider/model",
        )
        info = plugin.describe_provider()
        same(
            "describe_provider gives the plugin's own name",
            name,
            getattr(info, "name", None),
            change="give ProviderInfo the name of the entry point",
        )
        if self.plugin is not None:
            taken = name in BUILT_IN and not replaces_built_in(plugin, name)
            require(
                not taken,
                "the name is free",
                expected="a name of its own",
                got=f"{name} is a built-in provider",
                change="choose another name",
            )
            return
        points = [point for point in metadata.entry_points(group="cnroute") if point.name == name]
        if not points and name not in BUILT_IN:
            fail(
                "the entry point is installed",
                expected=f"[options.entry_points] cnroute = {name} = MODULE",
                got="none",
                change="install the distribution: pip install -e .",
            )
        require(
            len(points) <= 1,
            "the name is free",
            expected="one distribution with it",
            got=[point.dist.name if point.dist else "?" for point in points],
            change="choose another name",
        )
        require(
            not points or name not in BUILT_IN,
            "the name is free",
            expected="a name of its own",
            got=f"{name} is a built-in provider",
            change="choose another name",
        )

    @check(groups.REGISTRATION)
    def test_describe_provider_is_complete(self) -> None:
        """Name, API root, variables, options with meanings, known capabilities, models with limits; the same each time."""
        subject = self.subject()
        info: ProviderInfo = subject.info
        rules: list[tuple[str, Any, Any, str]] = [
            (
                "base_url is an API root",
                not info.base_url or _is_root(info.base_url),
                info.base_url,
                "give https://host/path without a slash at the end",
            ),
            (
                "capabilities are known words",
                info.capabilities <= CAPABILITIES,
                sorted(info.capabilities),
                f"use {', '.join(sorted(CAPABILITIES))}",
            ),
            (
                "options have a meaning",
                all(isinstance(each, str) and each.strip() for each in info.options.values()),
                dict(info.options),
                "say in words what each option is",
            ),
            (
                "env names settings",
                all(key in {"api_key", "base_url", *info.options} for key in info.env),
                dict(info.env),
                "map api_key, base_url or an option to a variable",
            ),
            (
                "env names variables",
                all(isinstance(each, str) and _VARIABLE.fullmatch(each) for each in info.env.values()),
                dict(info.env),
                "use names of environment variables",
            ),
            ("required are options", set(info.required) <= set(info.options), info.required, "describe them in options"),
            ("url_options are options", set(info.url_options) <= set(info.options), info.url_options, "describe them in options"),
            (
                "the contract's options are described",
                set(self.options) <= set(info.options),
                sorted(self.options),
                "describe them in ProviderInfo.options",
            ),
            (
                "models have names of their own",
                len({model.name for model in info.models}) == len(info.models),
                [model.name for model in info.models],
                "name each model once",
            ),
            (
                "limits of models are counts",
                all(map(_has_sound_limits, info.models)),
                [(m.name, m.context, m.max_output) for m in info.models],
                "give ints above 0, or None",
            ),
            (
                "capabilities of models are known",
                all((model.capabilities or frozenset()) <= CAPABILITIES for model in info.models),
                [m.capabilities for m in info.models],
                "use the known words",
            ),
        ]
        for promise, true, got, change in rules:
            require(true, promise, expected=promise, got=got, change=change)
        same(
            "describe_provider says the same each time",
            info,
            self.plugin_object().describe_provider(),
            change="return constant data",
        )


def _is_root(url: str) -> bool:
    try:
        return checked_base_url(url) == url
    except ConfigurationError:
        return False


def _has_sound_limits(model: ModelInfo) -> bool:
    return all(limit is None or (type(limit) is int and limit > 0) for limit in (model.context, model.max_output))
