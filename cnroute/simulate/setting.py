"""What is simulated: a configuration, or what the log tells of one, under another policy and at other prices.

Rules of this file
- No key is needed and none is read; no store, transport or observer of the configuration is touched.
- A policy's name replaces the policy of every route, nested ones with it; a file replaces the whole configuration.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cnroute.binding import Settings
from cnroute.config import price_rows, router_arguments
from cnroute.config.reading import document
from cnroute.deployments import Deployment, ProviderInfo, Route
from cnroute.engine import Engine
from cnroute.errors import ConfigurationError
from cnroute.plugins import PluginHost, ProviderHooks
from cnroute.simulate.log import Day
from cnroute.simulate.stage import NoWire, Stage, VirtualClock

Arguments = Mapping[str, Any]
_NOWHERE = "https://simulated.invalid"
_KEY = "simulated"
# What belongs to the real world: keys, certificates, other machines.
_LEFT_OUT = frozenset(("options", "tls", "proxy", "headers", "base_url", "allow_http"))
_NOT_SIMULATED = frozenset(("store", "transport", "plugins", "clock", "random", "log_content", "_accounts"))
UNCHANGED = "unchanged"
UNKNOWN = "unknown"


@attrs.frozen
class Variant:
    """One column of the report: the arguments of a router, and under which name it calls each route of the log."""

    name: str
    arguments: Arguments
    names: Mapping[str, str]
    prices: tuple[Any, ...] = ()


def variants(
    day: Day, config: str | os.PathLike[str] | Mapping[str, Any] | None, policies: Iterable[str], prices: Any, host: PluginHost
) -> list[Variant]:
    """The unchanged configuration first, then one for each of `policies`. Raises ConfigurationError."""
    rows = () if prices is None else price_rows(prices)
    routes = {call.route: call.route for call in day.calls}
    arguments, names = (_from_log(day, host)) if config is None else (_from_config(config), routes)
    found = [Variant(UNCHANGED, arguments, names, rows)]
    for policy in policies:
        if policy.endswith(".toml"):
            found.append(Variant(policy, _from_config(policy), routes, rows))
        else:
            found.append(Variant(policy, _under(policy, arguments), names, rows))
    return found


# -- a configuration ---------------------------------------------------------------------------------------


def _from_config(config: Any) -> Arguments:
    """The arguments of a router, with stand-ins for everything that would need the real world."""
    structure, file = document(config)
    try:
        return router_arguments(_harmless(structure, file))
    except ConfigurationError as error:
        raise ConfigurationError(problem.in_file(file) for problem in error.problems) from None


def _harmless(structure: Mapping[str, Any], file: str | None) -> dict[str, Any]:
    router, deployments = structure.get("router"), structure.get("deployments")
    changed = dict(structure)
    if isinstance(router, Mapping):
        changed["router"] = {key: value for key, value in router.items() if key not in ("store", "transport")}
        prices = router.get("prices")
        if isinstance(prices, str) and file is not None:
            changed["router"]["prices"] = str(Path(file).expanduser().parent / Path(prices).expanduser())
    if isinstance(deployments, Mapping):
        changed["deployments"] = {name: _keyless(value) for name, value in deployments.items()}
    return changed


def _keyless(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: item for key, item in value.items() if key not in _LEFT_OUT} | {"api_key": _KEY}


def _under(policy: str, arguments: Arguments) -> Arguments:
    """The same deployments, every route ordered by one policy."""
    routes = {name: _flat(route, policy, arguments["routes"]) for name, route in arguments["routes"].items()}
    return {**arguments, "routes": routes, "policy": policy}


def _flat(route: Any, policy: str, routes: Mapping[str, Any]) -> Route:
    made = route if isinstance(route, Route) else Route(**route) if isinstance(route, Mapping) else Route(targets=route)
    if policy == "weighted" == made.policy:
        return made
    return attrs.evolve(made, policy=policy, targets=list(dict.fromkeys(_leaves(made.targets, routes, ()))))


def _leaves(targets: Iterable[Any], routes: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The deployments below, as written; a circle is left to whoever makes the router."""
    for target in targets:
        inner = routes.get(target) if isinstance(target, str) else target
        if isinstance(inner, Route):
            inner = inner.targets
        elif isinstance(inner, Mapping) and "targets" in inner:
            inner = inner["targets"]
        if isinstance(target, str) and (inner is None or target in path):
            yield target
        else:
            yield from _leaves(inner or (), routes, (*path, target) if isinstance(target, str) else path)


# -- without a configuration -------------------------------------------------------------------------------


def _from_log(day: Day, host: PluginHost) -> tuple[Arguments, Mapping[str, str]]:
    """Deployments and routes as the log tells of them; a route draws whom it asks first as often as the day did."""
    places: dict[str, Counter[tuple[str, str]]] = {}
    first: dict[str, Counter[str]] = {}
    for call in day.calls:
        asked = first.setdefault(call.route, Counter())
        for number, tried in enumerate(call.tries):
            places.setdefault(tried.deployment, Counter())
            asked[tried.deployment] += number == 0
        if call.deployment is not None and call.provider is not None:
            places.setdefault(call.deployment, Counter())[call.provider, call.model or UNKNOWN] += 1
    if not places:
        raise ConfigurationError("the log names no deployment; give the configuration with --config")
    deployments = [_deployment(name, found, host) for name, found in places.items()]
    names = {route: _safe_name(route, asked, places) for route, asked in first.items()}
    routes = {
        names[route]: Route(targets=dict(asked.most_common()), policy="weighted") if any(asked.values()) else list(places)
        for route, asked in first.items() if names[route] not in places
    }
    return {"deployments": deployments, "routes": routes}, names


def _deployment(name: str, found: Counter[tuple[str, str]], host: PluginHost) -> Deployment:
    provider, model = found.most_common(1)[0][0] if found else (UNKNOWN, UNKNOWN)
    return Deployment(name, provider if provider in host.providers() else UNKNOWN, model, api_key=_KEY)


def _safe_name(route: str, asked: Counter[str], places: Mapping[str, Any]) -> str:
    """A name under which the route can be called here: names of routes hold no slash."""
    if len(asked) == 1 and (route in asked or "/" in route):
        return next(iter(asked))
    safe = route.replace("/", ":")
    return f"{safe} (route)" if safe in places else safe


# -- an engine ---------------------------------------------------------------------------------------------


class Dialects(PluginHost):
    """The plugins of another host, whose providers speak to the stage instead of to vendors, and without its observers."""

    def __init__(self, real: PluginHost, stage: Stage) -> None:
        super().__init__(autoload=False)
        self._real = real
        self._stage = stage

    def providers(self) -> list[str]:
        """The real ones, and the one that stands for those that are not installed."""
        return [*self._real.providers(), UNKNOWN]

    def provider(self, name: str) -> ProviderHooks:
        """Models, limits and prices of the real provider; requests and answers of the stage."""
        known = ProviderInfo(UNKNOWN) if name == UNKNOWN else self._real.provider(name).info
        info = attrs.evolve(known, base_url=_NOWHERE, env={}, options={}, required=(), url_options=())
        stage = self._stage
        return ProviderHooks(
            name, None, info, stage.build_request, stage.map_error, stage.parse_response, stage.parse_stream_line, None
        )

    def create(self, hook: str, name: str, settings: Mapping[str, Any]) -> Any:
        """Policies of plugins are the real ones."""
        return self._real.create(hook, name, settings)

    def prices(self) -> Iterator[tuple[str, str, Any]]:
        """Prices of plugins, too."""
        return self._real.prices()

    def observers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """Nobody is told of calls that never were."""
        return []


def make_engine(variant: Variant, host: PluginHost, stage: Stage, clock: VirtualClock, random: Any) -> Engine:
    """A real engine over the stage. Raises ConfigurationError."""
    arguments = {key: value for key, value in variant.arguments.items() if key not in _NOT_SIMULATED}
    deployments, routes = arguments.pop("deployments"), arguments.pop("routes")
    own = arguments.pop("prices", None) or ()
    own = own if isinstance(own, list | tuple) else price_rows(own)
    changed = {(provider, model) for provider, model, _ in variant.prices}
    settings = Settings(
        **arguments, prices=(*own, *variant.prices), transport=NoWire(), plugins=Dialects(host, stage), clock=clock,
        random=random,
    )
    return Engine([_stand_in(each, changed) for each in deployments], routes, settings, asynchronous=False)


def _stand_in(deployment: Deployment, changed: set[tuple[str, str]]) -> Deployment:
    """The deployment without its world, and without its own price where another one is to be tried."""
    price = None if (deployment.provider, deployment.model) in changed else deployment.price
    return attrs.evolve(
        deployment, api_key=_KEY, options={}, tls=None, proxy=None, headers={}, base_url=_NOWHERE, price=price
    )
