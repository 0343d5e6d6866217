"""What both routers share: names, the making of calls and plans, and the calls that run.

Nothing here waits: no sockets, no sleeping, no asyncio.
"""

from __future__ import annotations

import contextlib
import os
import random as random_module
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from cnroute import arguments
from cnroute.binding import Binding, Settings, retire, suggest
from cnroute.chat import ChatRequest
from cnroute.deployments import Deployment, ModelInfo
from cnroute.errors import BadRequestError, CallError, ModelNotFoundError, RouterClosedError
from cnroute.failures import Failure, FailureKind
from cnroute.flow.build import CannotBuild, build, check_cost
from cnroute.flow.holding import claim_of
from cnroute.flow.running import Call
from cnroute.money import ZERO
from cnroute.notices import Notice
from cnroute.routing.fitting import fitted, max_tokens, too_long
from cnroute.routing.plan import Course, Place, Plan
from cnroute.routing.walk import Walk, make_walk
from cnroute.scope import Scope

if TYPE_CHECKING:
    from cnroute.observe.logging import Log

_MADE_COURSES = 1000


class Engine:
    """A router without its waiting: what it is made of stands in `binding`."""

    def __init__(
        self, deployments: Iterable[Deployment], routes: Mapping[str, Any], settings: Settings, asynchronous: bool
    ) -> None:
        self.binding = Binding(deployments, routes, settings, asynchronous)
        self.settings = settings
        self._asynchronous = asynchronous
        self.clock = self.binding.clock
        self.host = self.binding.host
        self.transport = self.binding.transport
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self.closing = False
        """Whether new calls are refused."""
        self.closed = False
        """Whether everything is closed, to the end."""
        self._running: dict[int, tuple[weakref.ref[Scope], Callable[[], object] | None]] = {}
        self.observers = self.host.observers()
        self.log = _logger(settings.log_content)
        self._say_unpriced()
        self._listen()
        _ENGINES.add(self)

    # -- names -------------------------------------------------------------------------------------------

    def reload(self, deployments: Iterable[Deployment], routes: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Other deployments, routes and settings at once, or ConfigurationError and nothing has changed.

        Running calls keep what they began with; unchanged deployments keep their health and connections.
        """
        with self._reloading:
            self._bind_again(deployments, routes, attrs.evolve(self.settings, **changes))

    def _bind_again(self, deployments: Iterable[Deployment], routes: Mapping[str, Any], settings: Settings) -> None:
        before = self.binding
        binding = Binding(deployments, routes, settings, self._asynchronous, before)
        self.settings, self.binding = settings, binding
        before.retire(binding)
        self._say_unpriced()
        self._listen()

    def _use_prices_of_today(self) -> None:
        until = self.binding.prices_until
        if until is not None and until <= self.clock.time():
            self._price_again()

    def _price_again(self) -> None:
        """A price has begun to hold, or to hold no longer: bind everything to the prices of today."""
        with self._reloading:
            until = self.binding.prices_until
            if until is not None and until <= self.clock.time():
                self._bind_again(self.binding.deployments, self.binding.routes, self.settings)

    def _listen(self) -> None:
        """Hear when a shared store goes away and comes back."""
        store = self.binding.store
        if store is not None and store.remote:
            store.listen(self)

    def flush(self) -> None:
        """Say to the store what is still to be said. A shared one may wait for half a second."""
        if self.binding.store is not None:
            self.binding.store.close()

    def _say_unpriced(self) -> None:
        """Deployments that no call can go to under a budget are named once, before anybody wonders."""
        guard = self.binding.guard
        reasons = {} if guard is None else {name: guard.unpriced(place) for name, place in self.binding.places.items()}
        silent = {name: reason for name, reason in reasons.items() if reason is not None}
        if silent:
            _unpriced(tuple(silent), next(iter(silent.values())))

    def course(self, model: str) -> Course:
        """What `model` names: a route, a deployment, `provider/model`, or a model. Raises ModelNotFoundError."""
        binding = self.binding
        course = binding.courses.get(model) or binding.made.get(model)
        return course or self._made(model, binding)

    def _made(self, model: str, binding: Binding) -> Course:
        """The course of a name that stands in no setting; the oldest of these make room for new ones."""
        course = self._found(model)
        with self._lock:
            if len(binding.made) >= _MADE_COURSES:
                oldest = binding.made.pop(next(iter(binding.made)))
                for place in oldest.group.places():
                    if place.deployment.name not in binding.places:
                        retire(place)
            return binding.made.setdefault(model, course)

    def _found(self, model: str) -> Course:
        provider, slash, name = model.partition("/")
        if slash:
            places = [place for place in self.binding.places.values() if _serves(place, name, provider)]
            if not places and provider in self.settings.accounts and name:
                account = self.settings.accounts[provider]
                made = f"{provider}:{name.replace('/', ':')}"  # a model may have a slash in its name, a deployment may not
                places = [self.binding.place(attrs.evolve(account, name=made, model=name))]
        else:
            places = [place for place in self.binding.places.values() if _serves(place, model)]
        if not places:
            near = suggest(model, self._names()) or self._account_hint()
            raise ModelNotFoundError(f"there is no route, deployment or model {model[:100]!r}{near}", billing="none")
        return self.binding.shared(model, places)

    def _names(self) -> list[str]:
        names = list(self.binding.courses)
        names += [place.deployment.model for place in self.binding.places.values()]
        return names + [f"{place.deployment.provider}/{place.deployment.model}" for place in self.binding.places.values()]

    def _account_hint(self) -> str:
        accounts = ", ".join(f"{name}/MODEL" for name in self.settings.accounts)
        return f"; with the keys at hand call {accounts}" if accounts else ""

    def models(self) -> list[ModelInfo]:
        """Every name that can be called: routes, then deployments, with what is known of the model."""
        routes = [ModelInfo(name) for name in self.binding.courses if name not in self.binding.places]
        return routes + [_model_info(name, place) for name, place in self.binding.places.items()]

    def health(self) -> dict[str, Any]:
        """The health of every deployment, JSON-ready."""
        guard = self.binding.guard
        return {
            name: {
                "provider": place.deployment.provider, "model": place.deployment.model, **place.health.report(),
                "token_ratio": round(place.ratio.value, 4),
                "budgets": [] if guard is None else guard.report(name),
            }
            for name, place in self.binding.places.items()
        }

    # -- calls -------------------------------------------------------------------------------------------

    def call(self, messages: Any, model: Any, given: Mapping[str, Any], stream: bool) -> Call:
        """A call, checked and planned. Raises BadRequestError, ModelNotFoundError, RouterClosedError."""
        if self.closing:
            raise RouterClosedError("the router is closed")
        call_id = _call_id(given)
        try:
            request = self._request(messages, model, given)
            self._use_prices_of_today()
            course = self.course(model)
        except CallError as error:
            error.call_id = call_id
            raise
        started = self.clock.monotonic()
        total = request.timeout or course.timeouts.total
        return Call(
            call_id, request, stream,
            self._walk(course, request, stream), started + total, total, started, self.clock, self.binding.random, self,
            self.binding.currency, lambda place: fitted(place, request, course), self.settings.log_content, self.binding.guard,
        )

    def _request(self, messages: Any, model: Any, given: Mapping[str, Any]) -> ChatRequest:
        """The checked request. Raw fields for a provider that does not exist would be lost without a word."""
        request = arguments.make_request(messages, model, given)
        if not request.extra:
            return request
        known = self.host.providers()
        for name in request.extra:
            if name not in known:
                raise BadRequestError(f"extra: there is no provider {name!r:.60}{suggest(name, known)}", billing="none")
        return request

    def plan(self, messages: Any, model: Any, given: Mapping[str, Any]) -> Plan:
        """What a call would do now; nothing is sent. Deployments that cannot take the request are excluded."""
        request = self._request(messages, model, given)
        self._use_prices_of_today()
        course = self.course(model)
        walk = self._walk(course, request, False)
        walk.further()
        for step in list(walk.steps):
            try:
                wanted = fitted(step.place, request, course)
                body = build(step.place, wanted, False, step.lost).body
                check_cost(step.place, wanted, body, ZERO)
                self._check_budgets(step.place, wanted, body, course)
            except CannotBuild as refused:
                walk.exclude(step, refused.failure.kind.value, refused.failure.message, refused.inputs)
        return walk.plan()

    def _check_budgets(self, place: Place, request: ChatRequest, body: bytes, course: Course) -> None:
        """Raises CannotBuild where a budget has no room left, as far as that is known in this process."""
        guard = self.binding.guard
        claimed = None if guard is None else claim_of(guard, course.name, place, request, body)
        denial = None if guard is None or claimed is None else guard.foresees(claimed)
        if denial is not None:
            raise CannotBuild(Failure(FailureKind.BUDGET_EXCEEDED, denial.detail), denial.inputs)

    def _walk(self, course: Course, request: ChatRequest, stream: bool) -> Walk:
        return make_walk(
            course, request, stream, most=lambda place: max_tokens(place, request, course),
            rules=_RULES if self.binding.guard is None else (*_RULES, self.binding.guard.excludes),
            random=self.binding.random,
        )

    def hears(self, kind: type) -> bool:
        """Whether anybody is told of notices of this kind; a failed attempt may concern the log in any case."""
        return bool(self.observers) or self.log.hears(kind)

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
        limits = (place.deployment.limits for place in self.binding.every_place())
        return sum(limit.max_in_flight for limit in limits if limit is not None) or 32

    # -- running -----------------------------------------------------------------------------------------

    def enter(self, scope: Scope, cancel: Callable[[], object] | None = None) -> None:
        """Note that a call runs, without keeping it alive; closing the router calls `cancel`, else that of the scope."""
        with self._lock:
            if self.closing:
                raise RouterClosedError("the router is closed")
            self._running[id(scope)] = weakref.ref(scope), cancel

    def leave(self, scope: Scope) -> None:
        """Note that a call has ended."""
        self._running.pop(id(scope), None)

    @contextlib.contextmanager
    def shutting_down(self) -> Iterator[None]:
        """`close`, and then the block, which closes the connections, whatever was raised.

        `closed` is true after it, unless something was raised: then it can be done once more.
        """
        try:
            self.close()
        finally:
            yield
        self.closed = True

    def close(self) -> None:
        """Refuse new calls and cancel all running ones; then raises what the first of them raised."""
        with self._lock:
            self.closing = True
            running = list(self._running.values())
        raised: BaseException | None = None
        for alive, cancel in running:
            try:
                scope = alive()
                if scope is not None:
                    (cancel or scope.cancel)()
            except BaseException as error:  # noqa: BLE001 (an interrupt, or an observer's panic)
                raised = raised or error
        if raised is not None:
            raise raised

    def forked(self) -> None:
        """In a forked child: new locks, nothing runs."""
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._running = {}
        self.host.forked()
        for place in self.binding.every_place():
            place.health.forked()
            if place.deployment.api_key is not None:
                place.deployment.api_key.forked()
        if self.binding.store is not None:
            self.binding.store.forked()


def _call_id(given: Mapping[str, Any]) -> str:
    """The caller's own id of the call, else a new one."""
    metadata = given.get("metadata")
    own = metadata.get("call_id") if metadata is not None and isinstance(metadata, Mapping) else None
    if isinstance(own, str) and own:
        return own
    return f"{random_module.getrandbits(128) & _NOT_VERSION | _VERSION:032x}"


# What every random UUID (RFC 9562, version 4) has in common; the class itself costs ten times as much.
_VERSION = uuid.UUID(int=0, version=4).int
_NOT_VERSION = uuid.UUID(int=2**128 - 1, version=4).int


def _serves(place: Place, model: str, provider: str | None = None) -> bool:
    return place.deployment.model == model and provider in (None, place.deployment.provider)


def _model_info(name: str, place: Place) -> ModelInfo:
    deployment, known = place.deployment, place.info
    base = known or ModelInfo(deployment.model)
    capabilities = base.capabilities if base.capabilities is not None else place.hooks.info.capabilities
    return attrs.evolve(base, name=name, capabilities=capabilities, price=deployment.price, provider=deployment.provider)


_RULES = (too_long,)


def _logger(log_content: bool) -> Log:
    from cnroute.observe.logging import make_log

    return make_log(log_content)


def _unpriced(deployments: tuple[str, ...], detail: str) -> None:
    from cnroute.observe.logging import unpriced

    unpriced(deployments, detail)


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
