"""A TOML file or a mapping as the arguments of a router, all problems at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from cnroute.config.reading import Reader, document
from cnroute.config.values import all_targets
from cnroute.errors import ConfigurationError, Problem
from cnroute.plugins import PluginHost


def router_arguments(config: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Router(...)` that a TOML file (its path) or a mapping of the same structure describes.

    Raises ConfigurationError with every problem at once. Where there are some, the router's own checks of the
    sound part are asked as well.
    """
    reader = Reader(*document(config))
    arguments = reader.arguments()
    if reader.problems:
        reader.check_names(PluginHost())
        reader.join(_router_problems(_sound(arguments)))
        raise ConfigurationError(reader.problems)
    return arguments


def problems_of(config: str | os.PathLike[str] | Mapping[str, Any], plugins: PluginHost | None = None) -> list[Problem]:
    """Everything that is wrong with a configuration; an empty list when a router can be made of it."""
    try:
        arguments = router_arguments(config)
    except ConfigurationError as error:
        return list(error.problems)
    file = None if isinstance(config, Mapping) else os.fspath(config)
    return [attrs.evolve(problem, file=problem.file or file) for problem in _router_problems({**arguments, "plugins": plugins})]


def _sound(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without the routes that lean on what is not sound."""
    routes = dict(arguments["routes"])
    declared = {deployment.name for deployment in arguments["deployments"]}
    while True:
        broken = [
            name for name, route in routes.items()
            if any(target not in declared and target not in routes for target in all_targets(route))
        ]
        if not broken:
            return {**arguments, "routes": routes}
        for name in broken:
            del routes[name]


def _router_problems(arguments: Mapping[str, Any]) -> list[Problem]:
    """What a router says of these arguments, beside names of targets: those are checked here."""
    from cnroute.router import Router

    if not arguments["deployments"]:
        return []
    try:
        Router(**arguments).close()
    except ConfigurationError as error:
        return [problem for problem in error.problems if not problem.reason.startswith("there is no deployment or route")]
    return []
