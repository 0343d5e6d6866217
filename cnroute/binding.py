"""Settings into what calls need: deployments bound to hooks and transport, routes resolved to courses.

Rules of this file
- Everything that can be wrong with the settings is found here, when a router is made, all problems at once.
- Nothing here waits or sends: binding a deployment opens no socket.
"""

from __future__ import annotations

import difflib
import math
import os
import random as random_module
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from cnroute import arguments
from cnroute.deployments import Deployment, ModelInfo, Route, Secret, checked_base_url, checked_name
from cnroute.errors import BadRequestError, ConfigurationError, PluginError, Problem, UnsupportedRequestError
from cnroute.failures import how_raised
from cnroute.money import Price, amount, currency_code, day_of, start_of
from cnroute.plugins import PluginHost
from cnroute.routing.deadline import Clock
from cnroute.routing.fallback import table_for
from cnroute.routing.filters import Filter, left_out
from cnroute.routing.health import Health
from cnroute.routing.plan import Clocked, Course, Excluded, Group, Place
from cnroute.routing.policies import POLICIES, Policy, weights_of
from cnroute.routing.prices import PriceBook, Row, by_model, checked_rows, next_change, of_today
from cnroute.routing.tokens import Ratio
from cnroute.settings import Breaker, Limits, Retries, Timeouts, nearest

if TYPE_CHECKING:
    from cnroute.routing.limits import Guard

_SETTING_KINDS: Mapping[str, type] = {
    "timeouts": Timeouts, "limits": Limits, "retries": Retries, "breaker": Breaker, "exchange": Mapping,
}
# What a provider builds when its options are tried; no such request is sent.
_PROBE = arguments.make_request("hi", "-", {})
_NO_KEY = Secret("none")
# What is handed over as a plugin and never is one; an object or module with broken hooks is quarantined instead.
_NO_PLUGINS = (type, type(None), int, float, str, bytes, list, tuple, dict, set)


@attrs.frozen
class _Around:
    """What the routes around a target say: their names, time limits (the nearest first) and filters."""

    path: tuple[str, ...]
    timeouts: tuple[Timeouts | None, ...] = ()
    filters: tuple[Filter, ...] = ()

    def inside(self, route: Route) -> _Around:
        """The same, one route further in."""
        return _Around(self.path, (route.timeouts, *self.timeouts), (Filter.of(route), *self.filters))


@attrs.define(eq=False)
class Settings:
    """The arguments of a router, beside deployments and routes."""

    policy: str = "ordered"
    timeouts: Timeouts | None = None
    limits: Limits | None = None
    retries: Retries | None = None
    breaker: Breaker | None = attrs.field(factory=Breaker)
    budgets: Iterable[Any] = ()
    store: Any = None
    transport: Any = None
    plugins: Any = None
    currency: str = "CNY"
    exchange: Mapping[str, Any] | None = None
    defaults: Mapping[str, Any] | None = None
    clock: Clock = time
    random: Any = None
    log_content: bool = False
    accounts: Mapping[str, Deployment] = attrs.field(factory=dict)
    prices: Any = ()


class Binding:
    """The settings of a router made ready. Raises ConfigurationError with every problem at once."""

    def __init__(
        self, deployments: Iterable[Deployment], routes: Mapping[str, Any], settings: Settings, asynchronous: bool,
        before: Binding | None = None,
    ) -> None:
        self.settings = settings
        self._before = before
        self._problems: list[Problem] = []
        self._check_kinds()
        self.clock = settings.clock
        self.random = self._try("random", lambda: _random(settings.random)) or random_module.random
        made_host = before.host if before else self._try("plugins", lambda: _host(settings.plugins, self._problems))
        self.host: PluginHost = made_host or PluginHost(autoload=False)
        self.host.freeze()
        self.currency: str = self._try("currency", lambda: currency_code(settings.currency)) or "CNY"
        self._defaults = self._try("defaults", lambda: _checked_defaults(settings.defaults)) or {}
        self._rates = self._exchange_rates()
        self.rows: tuple[Row, ...] = self._try("prices", self._own_rows) or ()
        self._book = PriceBook(by_model(self.rows), by_model(self.host.prices()))
        self.ratios: dict[tuple[str, str], Ratio] = before.ratios if before else {}
        self._currencies: dict[str, frozenset[str]] = {}
        self._left_out: dict[str, Excluded] = {}
        self.prices_until: float | None = None
        """The Unix time at which another price begins to hold; None: never."""
        made = before is None and self._try("transport", lambda: self._make_transport(asynchronous))
        self.transport: Any = before.transport if before else made or None
        self.places: dict[str, Place] = {}
        self._declared: set[str] = set()
        self.courses: dict[str, Course] = {}
        self.made: dict[str, Course] = {}
        """Courses of names that were called and stand in no setting."""
        self._place_all(deployments, routes)
        self.store: Any = self._try("store", self._given_store)
        """Where accounts live; None where there are none."""
        self.guard: Guard | None = self._try("budgets", self._make_guard)
        self._course_all(routes)
        self._try("policy", self._check_policy)
        if self._problems:
            self._close_transport()
            raise ConfigurationError(self._problems)
        self._before = None

    def _try(self, key: str, make: Callable[[], Any]) -> Any:
        """`make()`, its ConfigurationError kept as problems of `key`."""
        try:
            return make()
        except ConfigurationError as error:
            for problem in error.problems:
                inner = f"{key}.{problem.key}" if problem.key and problem.key != key else key
                self._problems.append(attrs.evolve(problem, key=inner))
        except PluginError as error:
            self._problems.append(Problem(key, str(error)))
        return None

    def _check_kinds(self) -> None:
        """Settings of a wrong type are problems, and left out of what follows."""
        for name, kind in _SETTING_KINDS.items():
            value = getattr(self.settings, name)
            if value is not None and not isinstance(value, kind):
                self._problems.append(Problem(name, f"must be a {kind.__name__}, not {type(value).__name__}"))
                setattr(self.settings, name, None)
        if not isinstance(self.settings.log_content, bool):
            kind_of = type(self.settings.log_content).__name__
            self._problems.append(Problem("log_content", f"must be True or False, not a {kind_of}"))
        if not all(callable(getattr(self.settings.clock, name, None)) for name in ("monotonic", "time", "sleep")):
            self._problems.append(Problem("clock", "needs monotonic(), time() and sleep(seconds)"))
            self.settings.clock = time

    def _given_store(self) -> Any:
        """The store of before a reload if it is the same, else the one that is given, if any."""
        given, before = self.settings.store, self._before
        if before is not None and before.settings.store == given:
            return before.store
        if given is not None and not (callable(getattr(given, "take", None)) and callable(getattr(given, "give_back", None))):
            raise ConfigurationError(f"must be a MemoryStore or RedisStore, not a {type(given).__name__}")
        return given

    def _make_guard(self) -> Guard | None:
        """Budgets, rate limits and a shared store, where there are any."""
        limited = [*(place.deployment for place in self.places.values()), *self.settings.accounts.values()]
        shared = self.store is not None and self.store.remote
        needed = shared or any(each.rate_limit is not None for each in limited)
        if self.settings.budgets in ((), []) and not needed:
            return None
        from cnroute.routing.limits import Guard, checked_budgets
        from cnroute.stores.memory import MemoryStore

        budgets = checked_budgets(self.settings.budgets, self.currency, self._rates)
        self.settings.budgets = tuple(budget for budget, _ in budgets)  # a reload reads them again
        if not budgets and not needed:
            return None
        self.store = MemoryStore() if self.store is None else self.store
        return Guard(budgets, self.store, self.clock)

    def _make_transport(self, asynchronous: bool) -> Any:
        transport = self.settings.transport
        if transport is None or transport == "urllib3":
            from cnroute.transports.urllib3 import Urllib3Transport

            return Urllib3Transport()
        if isinstance(transport, str):
            name, transport = transport, self.host.create("create_transport", transport, {})
            if transport is None:
                raise ConfigurationError(f"no plugin knows a transport called {name!r}", "transport")
        if isinstance(transport, type):
            raise ConfigurationError(f"{transport.__name__} is a class; a transport is an instance of one", "transport")
        if not (callable(getattr(transport, "send", None)) and callable(getattr(transport, "open", None))):
            raise ConfigurationError(f"a {type(transport).__name__} is no transport: it needs send and open", "transport")
        if getattr(transport, "is_async", False) and not asynchronous:
            raise ConfigurationError("the transport is asynchronous; use AsyncRouter", "transport")
        return transport

    def _own_rows(self) -> Any:
        """The user's own prices: rows, or the file that holds them, which is read when a router is made or reloaded."""
        if self._before is not None and self._before.settings is self.settings:
            return self._before.rows
        given = self.settings.prices
        if isinstance(given, str | os.PathLike):
            from cnroute.config import price_rows

            given = price_rows(given)
        return checked_rows(given)

    def _price(self, deployment: Deployment, info: ModelInfo | None) -> Price | None:
        """The price that holds today; it is noted when that will be another one."""
        shipped = info.price if info else None
        today = day_of(self.clock.time())
        every = self._book.prices(deployment.price, deployment.provider, deployment.model, shipped)
        prices = [price for price in every if (price.valid_until or today) >= today]
        change = next_change(prices, today)
        if change is not None:
            self.prices_until = min(self.prices_until or math.inf, start_of(change))
        self._currencies[deployment.name] = frozenset(price.currency for price in prices)
        return of_today(prices, today)

    def _exchange_rates(self) -> dict[str, Decimal]:
        rates = {self.currency: Decimal(1)}
        for code, entry in (self.settings.exchange or {}).items():
            value = self._try(f"exchange.{code}", lambda code=code, entry=entry: _rate(code, entry))  # type: ignore[misc]
            if value is not None:
                rates[code] = value
        return rates

    def _place_all(self, deployments: Iterable[Deployment], routes: Mapping[str, Any]) -> None:
        if isinstance(deployments, str | Mapping) or not isinstance(deployments, Iterable):
            self._problems.append(Problem("deployments", f"must be a list of Deployment, not a {type(deployments).__name__}"))
            return
        deployments = tuple(deployments)
        self.deployments, self.routes = deployments, routes
        for deployment in deployments:
            key = f"deployments.{getattr(deployment, 'name', '?')}"
            if not isinstance(deployment, Deployment):
                self._problems.append(Problem("deployments", f"{type(deployment).__name__} is no Deployment"))
            elif deployment.name in self.places:
                self._problems.append(Problem(key, "two deployments have this name"))
            else:
                self._declared.add(deployment.name)
                place = self._try(key, lambda deployment=deployment: self.place(deployment))  # type: ignore[misc]
                if place is not None:
                    self.places[deployment.name] = place
        if not self.places and not self._problems and not self.settings.accounts:
            self._problems.append(Problem("deployments", "a router needs at least one deployment"))

    def place(self, deployment: Deployment) -> Place:
        """A deployment, checked against its provider and bound to hooks and transport."""
        hooks = self.host.provider(deployment.provider)
        _check_options(deployment, hooks.info)
        if deployment.api_key is not None and deployment.api_key.origin != "callable":
            deployment.api_key.reveal()
        info = hooks.info.model(deployment.model)
        ready = attrs.evolve(
            deployment,
            base_url=deployment.base_url or _own_base_url(deployment, hooks.info),
            defaults=_checked_defaults(deployment.defaults),
            price=self._price(deployment, info),
            limits=nearest(Limits, deployment.limits, self.settings.limits),
        )
        if not ready.base_url:
            raise ConfigurationError(f"provider {deployment.provider} has no default; give one", "base_url")
        if ready.options:
            _try_options(ready, hooks.build_request)
        return self._bound(ready, hooks, info)

    def _bound(self, ready: Deployment, hooks: Any, info: ModelInfo | None) -> Place:
        kept = self._unchanged(ready)
        breaker = ready.breaker if ready.breaker is not None else self.settings.breaker
        assert ready.limits is not None  # noqa: S101 (filled in by place)
        limits = nearest(Timeouts, ready.timeouts, self.settings.timeouts)
        return Place(
            ready, hooks,
            kept.transport if kept else self._transport_for(ready),
            kept.health if kept else Health(ready.limits, breaker, self.clock, self.random),
            info, Clocked.of(limits), self._rates.get(ready.price.currency) if ready.price else Decimal(1), self.currency,
            self.ratios.setdefault((ready.provider, ready.model), Ratio()),
        )

    def _transport_for(self, ready: Deployment) -> Any:
        bind = getattr(self.transport, "bind", None)
        if bind is None:
            return self.transport
        try:
            return bind(ready)
        except (ConfigurationError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            what = how_raised(error)
        raise ConfigurationError(f"transport {type(self.transport).__name__}: bind {what}", "transport")

    def _unchanged(self, ready: Deployment) -> Place | None:
        """The place of the same deployment before a reload: its health and connections are kept, at another price too."""
        place = self._before.places.get(ready.name) if self._before else None
        same = place is not None and attrs.evolve(place.deployment, price=ready.price) == ready and self._before is not None
        return place if same and self._before.settings.breaker == self.settings.breaker else None  # type: ignore[union-attr]

    def retire(self, successor: Binding) -> None:
        """After a reload: the connections of what is not in `successor` are kept no longer than their calls."""
        kept = {id(place.transport) for place in successor.places.values()}
        for place in self.every_place():
            if id(place.transport) not in kept:
                retire(place)

    def every_place(self) -> list[Place]:
        """The places of the settings, and those that were made for names that were called."""
        made = [place for course in list(self.made.values()) for place in course.group.places()]
        return [*self.places.values(), *made]

    def _course_all(self, routes: Mapping[str, Any]) -> None:
        if not isinstance(routes, Mapping):
            self._problems.append(Problem("routes", f"must be a mapping of name to route, not a {type(routes).__name__}"))
            routes = {}
        written = dict(routes)
        for name in written:
            course = self._try(f"routes.{name}", lambda name=name: self._named_course(name, written))  # type: ignore[misc]
            if course is not None:
                self.courses[name] = course
        for name, place in self.places.items():
            alone = Group("ordered", POLICIES["ordered"](), (place,), (Decimal(1),))
            self.courses.setdefault(name, self.course(name, alone, Route()))

    def _named_course(self, name: str, written: Mapping[str, Any]) -> Course:
        checked_name(name, "a route's name")
        if name in self.places:
            raise ConfigurationError("a route and a deployment may not have the same name")
        route = _route(written[name])
        self._left_out = {}
        group = self._group(route, written, _Around((name,)))
        if not group.members:
            reasons = "; ".join(f"{each.deployment}: {each.reason}" for each in self._left_out.values())
            raise ConfigurationError(f"no target passes the filters ({reasons})", "targets")
        kept = {place.deployment.name for place in group.places()}
        out = tuple(each for each in self._left_out.values() if each.deployment not in kept)
        return attrs.evolve(self.course(name, group, route), left_out=out)

    def course(self, name: str, group: Group, route: Route) -> Course:
        """A group under a name, with the rules of its route."""
        return Course(
            name, group, table_for(route.fallback_on, route.fallback), nearest(Retries, route.retries, self.settings.retries),
            nearest(Timeouts, route.timeouts, self.settings.timeouts), (_checked_defaults(route.defaults), self._defaults),
            route.knowledge_fallback,
        )

    def _group(self, route: Route, written: Mapping[str, Any], around: _Around) -> Group:
        """A route resolved; without members where its filters, and those around it, let nothing pass."""
        if not route.targets:
            raise ConfigurationError("a route needs at least one target", "targets")
        if isinstance(route.targets, Mapping) and route.policy != "weighted":
            raise ConfigurationError(f"targets with weights need policy = \"weighted\", not {route.policy!r}", "targets")
        inside = around.inside(route)
        found = [self._member(target, written, inside) for target in route.targets]
        weights = weights_of(route.targets).values() if isinstance(route.targets, Mapping) else [Decimal(1)] * len(found)
        kept = [each for each in zip(found, weights, range(1, len(found) + 1), strict=True) if each[0] is not None]
        members, shares, places = zip(*kept, strict=True) if kept else ((), (), ())
        group = Group(route.policy, self._policy(route), members, shares, places)
        if route.policy == "cheapest":
            self._one_currency(group)
        return group

    def _timed(self, place: Place, around: _Around) -> Place | None:
        """The routes' own time limits stand between those of a deployment and the router's. None: a filter leaves it out."""
        objection = left_out(place, around.filters)
        if objection is not None:
            self._left_out.setdefault(place.deployment.name, objection)
            return None
        if not any(around.timeouts):
            return place
        limits = nearest(Timeouts, place.deployment.timeouts, *around.timeouts, self.settings.timeouts)
        return attrs.evolve(place, timeouts=Clocked.of(limits))

    def _policy(self, route: Route) -> Policy:
        if route.policy in POLICIES:
            return POLICIES[route.policy]()
        policy = self.host.create("create_policy", route.policy, route.settings)
        if policy is None:
            near = suggest(route.policy, POLICIES)
            raise ConfigurationError(f"there is no policy {route.policy!r:.60}{near}", "policy")
        if not callable(getattr(policy, "order", None)):
            raise ConfigurationError(f"the plugin's policy {route.policy!r:.60} has no order(options, context)", "policy")
        return policy  # type: ignore[no-any-return]

    def _member(self, target: Any, written: Mapping[str, Any], around: _Around) -> Place | Group | None:
        if isinstance(target, Route | Mapping):
            return self._nested(_route(target), written, around)
        if not isinstance(target, str):
            raise ConfigurationError(f"a target is a name or a Route, not a {type(target).__name__}", "targets")
        if target in self.places:
            return self._timed(self.places[target], around)
        if target in self._declared:
            raise ConfigurationError([])  # what is wrong with the deployment is a problem already
        if target in around.path:
            raise ConfigurationError(f"routes form a circle: {' > '.join((*around.path, target))}", "targets")
        if target in written:
            return self._nested(_route(written[target]), written, attrs.evolve(around, path=(*around.path, target)))
        near = suggest(target, [*self.places, *written])
        raise ConfigurationError(f"there is no deployment or route {target!r:.60}{near}", "targets")

    def _nested(self, route: Route, written: Mapping[str, Any], around: _Around) -> Group | None:
        group = self._group(route, written, around)
        return group if group.members else None

    def _check_policy(self) -> None:
        """The policy for names that several deployments serve: it exists, and what it compares has one currency."""
        policy = self._policy(Route(self.settings.policy))
        places = self.places.values()
        for place in places if self.settings.policy == "cheapest" else ():
            same = tuple(other for other in places if other.deployment.model == place.deployment.model)
            if len(same) > 1:
                self._one_currency(Group("cheapest", policy, same, (Decimal(1),) * len(same)))

    def _one_currency(self, group: Group) -> None:
        for place in group.places():
            name = place.deployment.name
            for currency in sorted(self._currencies[name] - self._rates.keys()):
                raise ConfigurationError(
                    f"{name} is priced in {currency}; comparing it needs exchange={{{currency!r}: "
                    f'{{"rate": ..., "as_of": ...}}}} to {self.currency}', "targets",
                )

    def shared(self, name: str, places: Iterable[Place]) -> Course:
        """The course of a name that several deployments serve, ordered by the router's policy."""
        policy, members = self.settings.policy, tuple(places)
        group = Group(policy, self._policy(Route(policy)), members, (Decimal(1),) * len(members))
        return self.course(name, group, Route())

    def _close_transport(self) -> None:
        if self._before is not None or self.transport is None or getattr(self.transport, "is_async", False):
            return
        try:
            self.transport.close()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may be a stranger's)
            name = type(self.transport).__name__
            self._problems.append(Problem("transport", f"transport {name}: close {how_raised(error)}"))


def retire(place: Place) -> None:
    """Nobody will call this place again: its connections may go."""
    let_go = getattr(place.transport, "retire", None)
    if let_go is not None:
        let_go()


def _random(source: Any) -> Callable[[], float]:
    if source is None:
        return random_module.random
    if callable(source):
        return source  # type: ignore[no-any-return]
    if callable(getattr(source, "random", None)):
        return source.random  # type: ignore[no-any-return]
    raise ConfigurationError("random must be a random.Random or a function from nothing to 0..1", "random")


def _host(plugins: Any, problems: list[Problem]) -> PluginHost:
    """The host of these plugins; what can be no plugin is added to the problems."""
    if isinstance(plugins, PluginHost):
        return plugins
    if isinstance(plugins, str | Mapping) or not isinstance(plugins, Iterable | None):
        raise ConfigurationError("plugins must be a PluginHost or a list of plugin objects", "plugins")
    host = PluginHost()
    for plugin in plugins or ():
        host.register(plugin)
        if isinstance(plugin, _NO_PLUGINS):
            problems.append(Problem("plugins", str(host.problems[-1])))
    return host


def _rate(code: str, entry: Any) -> Decimal:
    currency_code(code)
    if not isinstance(entry, Mapping) or "rate" not in entry or "as_of" not in entry:
        raise ConfigurationError('a rate needs its date: {"rate": "7.10", "as_of": "2026-11-01"}')
    Price(code, as_of=entry["as_of"])
    rate = amount(entry["rate"], "rate")
    if not rate:
        raise ConfigurationError("the rate must be above 0", "rate")
    return rate


def _check_options(deployment: Deployment, info: Any) -> None:
    for name in info.required:
        if deployment.options.get(name) in (None, ""):
            variable = info.env.get(name)
            hint = f' (its users keep it in {variable})' if variable else ""
            raise ConfigurationError(f"provider {deployment.provider} needs this option{hint}", f"options.{name}")
    for name in deployment.options:
        if info.options and name not in info.options:
            near = suggest(name, info.options)
            raise ConfigurationError(f"provider {deployment.provider} has no option {name!r:.60}{near}", f"options.{name}")
    if "api_key" in info.env and deployment.api_key is None:
        variable = info.env["api_key"]
        raise ConfigurationError(f"provider {deployment.provider} needs a key (its users keep it in {variable})", "api_key")


def _try_options(ready: Deployment, build_request: Callable[..., Any]) -> None:
    """Raise ConfigurationError for an option whose value the provider refuses: it is asked for a request that nobody sends.

    The key is not asked for. What else is wrong with that request says nothing of the calls to come.
    """
    try:
        build_request(_PROBE, attrs.evolve(ready, api_key=_NO_KEY), False)
    except UnsupportedRequestError as error:
        refused = [Problem(error.parameter, error.reason or "its value cannot be sent")]
    except ConfigurationError as error:
        refused = list(error.problems)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 (a plugin's code; a call that it breaks says so)
        return
    else:
        return
    refused = [problem for problem in refused if problem.key.startswith("options.")]
    if refused:
        raise ConfigurationError(refused)


def _route(value: Any) -> Route:
    if isinstance(value, Route):
        return value
    if not isinstance(value, Mapping):
        return Route(targets=value)
    known = [field.name for field in attrs.fields(Route)]
    for name in value:
        if name not in known:
            raise ConfigurationError(f"a route has no setting {name!r:.60}{suggest(name, known)}")
    return Route(**value)


def _own_base_url(deployment: Deployment, info: Any) -> str:
    """The provider's default, held to the same rules as one that a user gives."""
    return checked_base_url(info.base_url, allow_http=deployment.allow_http) if info.base_url else ""


def _checked_defaults(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters for calls that do not say otherwise, held to the rules of a call's arguments."""
    if not isinstance(values, Mapping | None):
        raise ConfigurationError("must map parameters of a call to values", "defaults")
    checked = {}
    for name, value in (values or {}).items():
        if name not in arguments.DEFAULTS:
            raise ConfigurationError(f"there is no default for {name!r:.60}{suggest(name, arguments.DEFAULTS)}", "defaults")
        try:
            checked[name] = arguments.checked(name, value)
        except BadRequestError as error:
            raise ConfigurationError(error.message, "defaults") from None
    return checked


def suggest(name: Any, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known ones, or nothing."""
    by_sound = {each.casefold(): each for each in known}
    near = [by_sound[each] for each in difflib.get_close_matches(str(name)[:200].casefold(), list(by_sound), 3, 0.5)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
