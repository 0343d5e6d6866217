"""What both routers share: settings, bound deployments, resolved names, and the making of calls.

Rules of this file
- Everything that can be wrong with the settings is found when a router is made, all problems at once.
- Nothing here waits: no sockets, no sleeping, no asyncio.
"""

from __future__ import annotations

import difflib
import os
import random as random_module
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from cnroute import arguments
from cnroute.chat import ChatRequest
from cnroute.deployments import Deployment, ModelInfo, Route, checked_base_url, checked_name
from cnroute.errors import BadRequestError, ConfigurationError, ModelNotFoundError, PluginError, Problem, RouterClosedError
from cnroute.flow.build import CannotBuild, build, check_cost
from cnroute.flow.call import Call
from cnroute.money import ZERO, Price, amount, currency_code
from cnroute.notices import Notice
from cnroute.plugins import PluginHost
from cnroute.routing.deadline import Clock
from cnroute.routing.fallback import table_for
from cnroute.routing.health import Health
from cnroute.routing.plan import Clocked, Course, Group, Place, Plan, Walk, make_walk
from cnroute.routing.policies import POLICIES, Policy, weights_of
from cnroute.scope import Scope
from cnroute.settings import Breaker, Limits, Retries, Timeouts, nearest

_USUAL_MAX_TOKENS = 2048
_REASONING_MAX_TOKENS = 16384
_MADE_PLACES = 1000
_SETTING_KINDS: Mapping[str, type] = {
    "timeouts": Timeouts, "limits": Limits, "retries": Retries, "breaker": Breaker, "exchange": Mapping,
}
_Layers = tuple[Timeouts | None, ...]


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


class Engine:
    """The settings of a router made ready, and everything that is not waiting."""

    def __init__(
        self, deployments: Iterable[Deployment], routes: Mapping[str, Any], settings: Settings, asynchronous: bool
    ) -> None:
        self.settings = settings
        self._problems: list[Problem] = []
        self._check_kinds()
        self.clock = settings.clock
        self.random = self._try("random", lambda: _random(settings.random)) or random_module.random
        self.host = self._try("plugins", lambda: _host(settings.plugins)) or PluginHost(autoload=False)
        self.host.freeze()
        self.currency: str = self._try("currency", lambda: currency_code(settings.currency)) or "CNY"
        self._defaults = self._try("defaults", lambda: _checked_defaults(settings.defaults)) or {}
        self._rates = self._exchange_rates()
        self._plugin_prices = {(provider, model): price for provider, model, price in self.host.prices()}
        self._refuse_unbuilt()
        self.transport = self._try("transport", lambda: self._make_transport(asynchronous))
        self._lock = threading.Lock()
        self._closed = False
        self._running: dict[Scope, Callable[[], object]] = {}
        self._places: dict[str, Place] = {}
        self._courses: dict[str, Course] = {}
        self._made_courses: dict[str, Course] = {}
        self._place_all(deployments)
        self._course_all(routes)
        self._try("policy", self._check_policy)
        if self._problems:
            self._close_transport()
            raise ConfigurationError(self._problems)
        self.observers = self.host.observers()
        self.log = _logger(settings.log_content)
        _ENGINES.add(self)

    # -- settings into places and courses ----------------------------------------------------------------

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
        if not all(callable(getattr(self.settings.clock, name, None)) for name in ("monotonic", "time", "sleep")):
            self._problems.append(Problem("clock", "needs monotonic(), time() and sleep(seconds)"))
            self.settings.clock = time

    def _refuse_unbuilt(self) -> None:
        """Settings of the contract that this version cannot honour are refused, never ignored."""
        for name in ("budgets", "store"):
            if getattr(self.settings, name):
                self._problems.append(Problem(name, f"{name} cannot be used in this version yet; leave it out"))

    def _make_transport(self, asynchronous: bool) -> Any:
        transport = self.settings.transport
        if transport is None or transport == "urllib3":
            from cnroute.transports.urllib3 import Urllib3Transport

            return Urllib3Transport()
        if isinstance(transport, str):
            name, transport = transport, self.host.create("create_transport", transport, {})
            if transport is None:
                raise ConfigurationError(f"no plugin knows a transport called {name!r}", "transport")
        if not (callable(getattr(transport, "send", None)) and callable(getattr(transport, "open", None))):
            raise ConfigurationError(f"a {type(transport).__name__} is no transport: it needs send and open", "transport")
        if getattr(transport, "is_async", False) and not asynchronous:
            raise ConfigurationError("the transport is asynchronous; use AsyncRouter", "transport")
        return transport

    def _exchange_rates(self) -> dict[str, Decimal]:
        rates = {self.currency: Decimal(1)}
        for code, entry in (self.settings.exchange or {}).items():
            value = self._try(f"exchange.{code}", lambda code=code, entry=entry: _rate(code, entry))  # type: ignore[misc]
            if value is not None:
                rates[code] = value
        return rates

    def _place_all(self, deployments: Iterable[Deployment]) -> None:
        if isinstance(deployments, str | Mapping) or not isinstance(deployments, Iterable):
            self._problems.append(Problem("deployments", f"must be a list of Deployment, not a {type(deployments).__name__}"))
            return
        for deployment in deployments:
            key = f"deployments.{getattr(deployment, 'name', '?')}"
            if not isinstance(deployment, Deployment):
                self._problems.append(Problem("deployments", f"{type(deployment).__name__} is no Deployment"))
            elif deployment.name in self._places:
                self._problems.append(Problem(key, "two deployments have this name"))
            else:
                place = self._try(key, lambda deployment=deployment: self._place(deployment))  # type: ignore[misc]
                if place is not None:
                    self._places[deployment.name] = place
        if not self._places and not self._problems and not self.settings.accounts:
            self._problems.append(Problem("deployments", "a router needs at least one deployment"))

    def _place(self, deployment: Deployment) -> Place:
        """A deployment, checked against its provider and bound to hooks and transport."""
        hooks = self.host.provider(deployment.provider)
        _check_options(deployment, hooks.info)
        if deployment.api_key is not None and deployment.api_key.origin != "callable":
            deployment.api_key.reveal()
        if deployment.rate_limit is not None:
            raise ConfigurationError("rate_limit cannot be used in this version yet; leave it out", "rate_limit")
        info = hooks.info.model(deployment.model)
        price = deployment.price or self._plugin_prices.get((deployment.provider, deployment.model))
        ready = attrs.evolve(
            deployment,
            base_url=deployment.base_url or _own_base_url(deployment, hooks.info),
            defaults=_checked_defaults(deployment.defaults),
            price=price or (info.price if info else None),
            limits=nearest(Limits, deployment.limits, self.settings.limits),
        )
        if not ready.base_url:
            raise ConfigurationError(f"provider {deployment.provider} has no default; give one", "base_url")
        return self._bound(ready, hooks, info)

    def _bound(self, ready: Deployment, hooks: Any, info: ModelInfo | None) -> Place:
        bind = getattr(self.transport, "bind", None)
        breaker = ready.breaker if ready.breaker is not None else self.settings.breaker
        assert ready.limits is not None  # noqa: S101 (filled in by _place)
        return Place(
            ready, hooks, bind(ready) if bind is not None else self.transport,
            Health(ready.limits, breaker, self.clock, self.random), info,
            Clocked.of(nearest(Timeouts, ready.timeouts, self.settings.timeouts)),
            self._rates.get(ready.price.currency) if ready.price else Decimal(1), self.currency,
        )

    def _course_all(self, routes: Mapping[str, Any]) -> None:
        if not isinstance(routes, Mapping):
            self._problems.append(Problem("routes", f"must be a mapping of name to route, not a {type(routes).__name__}"))
            routes = {}
        written = dict(routes)
        for name in written:
            course = self._try(f"routes.{name}", lambda name=name: self._named_course(name, written))  # type: ignore[misc]
            if course is not None:
                self._courses[name] = course
        for name, place in self._places.items():
            alone = Group("ordered", POLICIES["ordered"](), (place,), (Decimal(1),))
            self._courses.setdefault(name, self._course(name, alone, Route()))

    def _named_course(self, name: str, written: Mapping[str, Any]) -> Course:
        checked_name(name, "a route's name")
        if name in self._places:
            raise ConfigurationError("a route and a deployment may not have the same name")
        route = _route(written[name])
        return self._course(name, self._group(route, written, (name,), ()), route)

    def _course(self, name: str, group: Group, route: Route) -> Course:
        return Course(
            name, group, table_for(route.fallback_on, route.fallback), nearest(Retries, route.retries, self.settings.retries),
            nearest(Timeouts, route.timeouts, self.settings.timeouts), (_checked_defaults(route.defaults), self._defaults),
            route.knowledge_fallback,
        )

    def _group(self, route: Route, written: Mapping[str, Any], path: tuple[str, ...], outer: _Layers) -> Group:
        """A route resolved. `outer` are the time limits of the routes around it, the nearest first."""
        if not route.targets:
            raise ConfigurationError("a route needs at least one target", "targets")
        if isinstance(route.targets, Mapping) and route.policy != "weighted":
            raise ConfigurationError(f"targets with weights need policy = \"weighted\", not {route.policy!r}", "targets")
        layers = (route.timeouts, *outer)
        members = tuple(self._member(target, written, path, layers) for target in route.targets)
        weights = weights_of(route.targets).values() if isinstance(route.targets, Mapping) else [Decimal(1)] * len(members)
        group = Group(route.policy, self._policy(route), members, tuple(weights))
        if route.policy == "cheapest":
            self._one_currency(group)
        return group

    def _timed(self, place: Place, layers: _Layers) -> Place:
        """The routes' own time limits stand between those of a deployment and the router's."""
        if not any(layers):
            return place
        limits = nearest(Timeouts, place.deployment.timeouts, *layers, self.settings.timeouts)
        return attrs.evolve(place, timeouts=Clocked.of(limits))

    def _policy(self, route: Route) -> Policy:
        if route.policy in POLICIES:
            return POLICIES[route.policy]()
        policy = self.host.create("create_policy", route.policy, route.settings)
        if policy is None:
            near = _suggest(route.policy, POLICIES)
            raise ConfigurationError(f"there is no policy {route.policy!r:.60}{near}", "policy")
        if not callable(getattr(policy, "order", None)):
            raise ConfigurationError(f"the plugin's policy {route.policy!r:.60} has no order(options, context)", "policy")
        return policy  # type: ignore[no-any-return]

    def _member(self, target: Any, written: Mapping[str, Any], path: tuple[str, ...], layers: _Layers) -> Place | Group:
        if isinstance(target, Route | Mapping):
            return self._group(_route(target), written, path, layers)
        if not isinstance(target, str):
            raise ConfigurationError(f"a target is a name or a Route, not a {type(target).__name__}", "targets")
        if target in self._places:
            return self._timed(self._places[target], layers)
        if target in path:
            raise ConfigurationError(f"routes form a circle: {' > '.join((*path, target))}", "targets")
        if target in written:
            return self._group(_route(written[target]), written, (*path, target), layers)
        near = _suggest(target, [*self._places, *written])
        raise ConfigurationError(f"there is no deployment or route {target!r:.60}{near}", "targets")

    def _check_policy(self) -> None:
        """The policy for names that several deployments serve: it exists, and what it compares has one currency."""
        policy = self._policy(Route(self.settings.policy))
        places = self._places.values()
        for place in places if self.settings.policy == "cheapest" else ():
            same = tuple(other for other in places if other.deployment.model == place.deployment.model)
            if len(same) > 1:
                self._one_currency(Group("cheapest", policy, same, (Decimal(1),) * len(same)))

    def _one_currency(self, group: Group) -> None:
        for place in group.places():
            price = place.deployment.price
            if price is not None and place.rate is None:
                raise ConfigurationError(
                    f"{place.deployment.name} is priced in {price.currency}; comparing it needs exchange={{{price.currency!r}: "
                    f'{{"rate": ..., "as_of": ...}}}} to {self.currency}', "targets",
                )

    # -- names -------------------------------------------------------------------------------------------

    def course(self, model: str) -> Course:
        """What `model` names: a route, a deployment, `provider/model`, or a model. Raises ModelNotFoundError."""
        course = self._courses.get(model) or self._made_courses.get(model)
        if course is None:
            course = self._found(model)
            with self._lock:
                if len(self._made_courses) < _MADE_PLACES:
                    self._made_courses[model] = course
        return course

    def _found(self, model: str) -> Course:
        provider, slash, name = model.partition("/")
        if slash:
            places = [place for place in self._places.values() if _serves(place, name, provider)]
            if not places and provider in self.settings.accounts and name:
                account = self.settings.accounts[provider]
                places = [self._place(attrs.evolve(account, name=f"{provider}:{name}", model=name))]
        else:
            places = [place for place in self._places.values() if _serves(place, model)]
        if not places:
            near = _suggest(model, self._names()) or self._account_hint()
            raise ModelNotFoundError(f"there is no route, deployment or model {model[:100]!r}{near}", billing="none")
        policy = self.settings.policy
        group = Group(policy, self._policy(Route(policy)), tuple(places), (Decimal(1),) * len(places))
        return self._course(model, group, Route())

    def _names(self) -> list[str]:
        names = list(self._courses)
        names += [place.deployment.model for place in self._places.values()]
        return names + [f"{place.deployment.provider}/{place.deployment.model}" for place in self._places.values()]

    def _account_hint(self) -> str:
        accounts = ", ".join(f"{name}/MODEL" for name in self.settings.accounts)
        return f"; with the keys at hand call {accounts}" if accounts else ""

    def models(self) -> list[ModelInfo]:
        """Every name that can be called: routes, then deployments, with what is known of the model."""
        routes = [ModelInfo(name) for name in self._courses if name not in self._places]
        return routes + [_model_info(name, place) for name, place in self._places.items()]

    def health(self) -> dict[str, Any]:
        """The health of every deployment, JSON-ready."""
        return {
            name: {"provider": place.deployment.provider, "model": place.deployment.model, **place.health.report()}
            for name, place in self._places.items()
        }

    # -- calls -------------------------------------------------------------------------------------------

    def call(self, messages: Any, model: Any, given: Mapping[str, Any], stream: bool) -> Call:
        """A call, checked and planned. Raises BadRequestError, ModelNotFoundError, RouterClosedError."""
        if self._closed:
            raise RouterClosedError("the router is closed")
        request = arguments.make_request(messages, model, given)
        course = self.course(model)
        started = self.clock.monotonic()
        total = request.timeout or course.timeouts.total
        return Call(
            request.metadata.get("call_id") or uuid.UUID(int=random_module.getrandbits(128), version=4).hex, request, stream,
            self._walk(course, request, stream), started + total, total, started, self.clock, self.random, self.notify,
            self.currency, lambda place: _fitted(place, request, course),
        )

    def plan(self, messages: Any, model: Any, given: Mapping[str, Any]) -> Plan:
        """What a call would do now; nothing is sent. Deployments that cannot take the request are excluded."""
        request = arguments.make_request(messages, model, given)
        course = self.course(model)
        walk = self._walk(course, request, False)
        for step in list(walk.steps):
            try:
                fitted = _fitted(step.place, request, course)
                made = build(step.place, fitted, False)
                check_cost(step.place, fitted, made.body, ZERO)
            except CannotBuild as refused:
                walk.exclude(step, refused.failure.kind.value, refused.failure.message)
        return walk.plan()

    def _walk(self, course: Course, request: ChatRequest, stream: bool) -> Walk:
        return make_walk(
            course, request, stream, most=lambda place: _max_tokens(place, request, course), rules=_RULES, random=self.random
        )

    def notify(self, notice: Notice) -> None:
        """Tell the log and every observer; an observer that raises is counted and hurts nobody."""
        self.log(notice)
        for name, observe in self.observers:
            try:
                observe(notice)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a plugin's code)
                self.host.observer_failures[name] = self.host.observer_failures.get(name, 0) + 1
                if self.host.observer_failures[name] == 1:
                    _observer_failed(name, error)

    def places_in_all(self) -> int:
        """How many calls may be in flight at once, over all deployments."""
        return sum(place.deployment.limits.max_in_flight for place in self._places.values() if place.deployment.limits) or 32

    # -- running -----------------------------------------------------------------------------------------

    def enter(self, scope: Scope, cancel: Callable[[], object]) -> None:
        """Note that a call runs; closing the router calls `cancel`."""
        with self._lock:
            if self._closed:
                raise RouterClosedError("the router is closed")
            self._running[scope] = cancel

    def leave(self, scope: Scope) -> None:
        """Note that a call has ended."""
        self._running.pop(scope, None)

    def close(self) -> bool:
        """Refuse new calls and cancel the running ones. False: it was closed already."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            running = list(self._running.values())
        for cancel in running:
            cancel()
        return True

    def _close_transport(self) -> None:
        if self.transport is not None and not getattr(self.transport, "is_async", False):
            self.transport.close()

    def forked(self) -> None:
        """In a forked child: new locks, nothing runs."""
        self._lock = threading.Lock()
        self._running = {}
        for place in self._places.values():
            place.health.forked()


def _random(source: Any) -> Callable[[], float]:
    if source is None:
        return random_module.random
    if callable(source):
        return source  # type: ignore[no-any-return]
    if callable(getattr(source, "random", None)):
        return source.random  # type: ignore[no-any-return]
    raise ConfigurationError("random must be a random.Random or a function from nothing to 0..1", "random")


def _host(plugins: Any) -> PluginHost:
    if isinstance(plugins, PluginHost):
        return plugins
    if isinstance(plugins, str | Mapping) or not isinstance(plugins, Iterable | None):
        raise ConfigurationError("plugins must be a PluginHost or a list of plugin objects", "plugins")
    host = PluginHost()
    for plugin in plugins or ():
        host.register(plugin)
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
            near = _suggest(name, info.options)
            raise ConfigurationError(f"provider {deployment.provider} has no option {name!r:.60}{near}", f"options.{name}")
    if "api_key" in info.env and deployment.api_key is None:
        variable = info.env["api_key"]
        raise ConfigurationError(f"provider {deployment.provider} needs a key (its users keep it in {variable})", "api_key")


def _route(value: Any) -> Route:
    if isinstance(value, Route):
        return value
    if not isinstance(value, Mapping):
        return Route(targets=value)
    known = [field.name for field in attrs.fields(Route)]
    for name in value:
        if name not in known:
            raise ConfigurationError(f"a route has no setting {name!r:.60}{_suggest(name, known)}")
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
            raise ConfigurationError(f"there is no default for {name!r:.60}{_suggest(name, arguments.DEFAULTS)}", "defaults")
        try:
            checked[name] = arguments.checked(name, value)
        except BadRequestError as error:
            raise ConfigurationError(error.message, "defaults") from None
    return checked


def _serves(place: Place, model: str, provider: str | None = None) -> bool:
    return place.deployment.model == model and provider in (None, place.deployment.provider)


def _suggest(name: Any, known: Iterable[str]) -> str:
    by_sound = {each.casefold(): each for each in known}
    near = [by_sound[each] for each in difflib.get_close_matches(str(name)[:200].casefold(), list(by_sound), 3, 0.5)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _model_info(name: str, place: Place) -> ModelInfo:
    deployment, known = place.deployment, place.info
    base = known or ModelInfo(deployment.model)
    capabilities = base.capabilities if base.capabilities is not None else place.hooks.info.capabilities
    return attrs.evolve(base, name=name, capabilities=capabilities, price=deployment.price, provider=deployment.provider)


def _max_tokens(place: Place, request: ChatRequest, course: Course) -> int:
    """The call's own value, else the nearest default, capped by what the model can (contract, section 2)."""
    if request.max_tokens is not None:
        return request.max_tokens
    chosen = next(
        (layer["max_tokens"] for layer in (place.deployment.defaults, *course.defaults) if "max_tokens" in layer), None
    )
    if chosen is None:
        thinks = place.info is not None and "reasoning" in (place.info.capabilities or ())
        chosen = _REASONING_MAX_TOKENS if thinks or request.reasoning else _USUAL_MAX_TOKENS
    most = place.info.max_output if place.info else None
    return chosen if most is None else min(chosen, most)


def _fitted(place: Place, request: ChatRequest, course: Course) -> ChatRequest:
    """The request as this deployment's provider sees it: max_tokens filled in, only its own `extra`."""
    values: dict[str, Any] = {"max_tokens": _max_tokens(place, request, course)}
    for layer in reversed((place.deployment.defaults, *course.defaults)):
        values.update({name: value for name, value in layer.items() if name != "max_tokens" and getattr(request, name) is None})
    if request.extra:
        values["extra"] = request.extra.get(place.deployment.provider, {})
    return request.with_values(values)


def _too_long(place: Place, request: ChatRequest, count: int) -> tuple[str, str] | None:
    """Out, when the prompt cannot fit even if the estimate is 40 % too high."""
    window = place.info.context if place.info else None
    if window is not None and count * 0.6 > window:
        return "context_length", f"about {count} input tokens do not fit into its {window}"
    return None


_RULES = (_too_long,)


def _logger(log_content: bool) -> Callable[[Notice], None]:
    from cnroute.observe.logging import make_log

    return make_log(log_content)


def _observer_failed(name: str, error: Exception) -> None:
    from cnroute.observe.logging import observer_failed

    observer_failed(name, error)


# Routers to mend in a forked child; weak, so that no router lives longer for it.
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forked() -> None:
    for engine in list(_ENGINES):
        engine.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
