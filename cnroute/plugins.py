"""The host of plugins: loads them one by one, checks them, quarantines what is broken, binds what is needed.

Rules of this file
- A plugin that fails to import, breaks a signature or claims a taken name is named in `PluginHost.problems`
  and breaks nothing but the deployments that need it.
- Built-in providers are imported when a deployment names them, entry points when the host is built; nothing
  is imported because cnroute is.
- Each provider's hooks are bound once. Where a hook has one implementation and no wrapper the bound hook is
  that function itself: what a line of a stream costs does not grow with the number of plugins.
- This is the one place where plugins' code meets ours, so the broad `except`s live here, each naming a plugin.
"""

from __future__ import annotations

import importlib
import inspect
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import PurePath
from typing import Any

import attrs
import pluggy

from cnroute import hookspecs
from cnroute.deployments import ModelInfo, ProviderInfo, looks_like_a_key
from cnroute.errors import ConfigurationError, PluginError
from cnroute.failures import Culprit, blame, blamed, clean_text, how_raised
from cnroute.money import Price

BUILT_IN: Mapping[str, str] = {
    "dashscope": "cnroute.providers.dashscope",
    "minimax-v2": "cnroute.providers.minimax.v2",
    "minimax-pro": "cnroute.providers.minimax.pro",
    "minimax-legacy": "cnroute.providers.minimax.legacy",
}
# The defaults of all providers; registered under a name that is no plugin's.
_DEFAULTS = "cnroute.providers.defaults"
_PROVIDER_HOOKS = ("describe_provider", "build_request", "map_error", "parse_response", "parse_stream_line", "count_tokens")
_REQUIRED = ("describe_provider", "build_request", "parse_response")
_SPECS = {name: tuple(inspect.signature(getattr(hookspecs, name)).parameters) for name in (
    *_PROVIDER_HOOKS, "create_transport", "create_policy", "load_prices", "observe",
)}


@attrs.frozen
class PluginProblem:
    """Why a plugin was put aside. `str` gives one line."""

    plugin: str
    distribution: str | None
    reason: str

    def __str__(self) -> str:
        origin = f" ({self.distribution})" if self.distribution else ""
        return clean_text(f"{self.plugin}{origin}: {self.reason}", 2000)


@attrs.frozen
class PluginState:
    """One line of `cnroute plugins`: what a plugin is and whether it works.

    `state` is `built-in`, `loaded`, `registered`, `quarantined`, `blocked` or `not loaded`.
    """

    name: str
    state: str
    distribution: str | None = None
    hooks: tuple[str, ...] = ()
    reason: str | None = None


@attrs.frozen(eq=False)
class ProviderHooks:
    """The hooks of one provider, bound: plain callables with the positional arguments of their specs."""

    name: str
    distribution: str | None
    info: ProviderInfo
    build_request: Callable[..., Any]
    map_error: Callable[..., Any]
    parse_response: Callable[..., Any]
    parse_stream_line: Callable[..., Any] | None
    count_tokens: Callable[..., Any] | None


class PluginHost:
    """The plugins of a router. Register before the first router uses the host; then it is frozen.

    `autoload=False` leaves entry points alone; `load` (names) is a strict list of those that may be loaded;
    `block` names plugins that are never imported, built-in ones too. Broken plugins are in `problems`.
    """

    def __init__(self, autoload: bool = True, load: Iterable[str] | None = None, block: Iterable[str] = ()) -> None:
        if not isinstance(autoload, bool):
            raise ConfigurationError(f"autoload must be True or False, not a {type(autoload).__name__}", "autoload")
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._load = None if load is None else _names(load)
        self._block = _names(block)
        self._frozen = False
        self._states: dict[str, PluginState] = {}
        self._claims: list[PluginState] = []
        self._providers: dict[str, Any] = {}
        self._bound: dict[str, ProviderHooks] = {}
        self._binding = threading.RLock()  # first calls of an account bind its provider, in any thread
        self.problems: list[PluginProblem] = []
        self.observer_failures: dict[str, int] = {}
        for name in BUILT_IN:
            self._states[name] = PluginState(name, "blocked" if name in self._block else "built-in")
        if autoload:
            self._load_entry_points()

    def register(self, plugin: Any, name: str | None = None) -> None:
        """Add a plugin object or module. A broken one is quarantined, not raised.

        Its name is `name`, else what its `describe_provider` says, else that of the module or class.
        Raises PluginError when the host is already in use.
        """
        if self._frozen:
            raise PluginError("the host is already in use by a router; register plugins before that", plugin=str(name))
        self._add(plugin, name or _name_of(plugin), None)

    def freeze(self) -> None:
        """From now on no plugin can be added."""
        self._frozen = True

    def plugins(self) -> list[PluginState]:
        """Every known plugin with its state, the built-in ones first; those that claim a taken name at the end."""
        return [*self._states.values(), *self._claims]

    def providers(self) -> list[str]:
        """The names of all providers that can be used."""
        built_in = [name for name in BUILT_IN if name not in self._block]
        return built_in + [name for name in self._providers if name not in BUILT_IN]

    def provider(self, name: str) -> ProviderHooks:
        """The bound hooks of the provider `name`. Raises ConfigurationError that says why there is none."""
        bound = self._bound.get(name)
        if bound is None:
            with self._binding:
                bound = self._bound.get(name) or self._bind_provider(name)
                self._bound[name] = bound
        return bound

    def forked(self) -> None:
        """In a forked child: a lock that nobody holds."""
        self._binding = threading.RLock()

    def create(self, hook: str, name: str, settings: Mapping[str, Any]) -> Any:
        """What the first plugin makes of `create_transport` or `create_policy`; None when all decline."""
        caller = getattr(self._manager.hook, hook)
        made, error = _asked(lambda: caller(name=name, settings=settings))
        if error is None:
            return made
        self._blame(error, {_code(impl.function): impl.plugin_name for impl in caller.get_hookimpls()})
        plugin, origin = blamed(error) or (name, None)
        reason = f"{Culprit(plugin, hook, origin)}({name!r}) {how_raised(error)}: {clean_text(error)}"
        raise PluginError(reason, plugin=plugin, distribution=origin, hook=hook)

    def prices(self) -> Iterator[tuple[str, str, Any]]:
        """All prices that plugins load, as (provider, model, Price)."""
        for name, load in self._each("load_prices"):
            rows, error = _asked(lambda load=load: [tuple(row) for row in load()])  # type: ignore[misc]
            if error is not None:
                self._quarantine(name, self._origin(name), f"load_prices {how_raised(error)}: {clean_text(error)}")
                continue
            if all(map(_is_price_row, rows)):
                yield from rows
            else:
                self._quarantine(name, self._origin(name), "load_prices must return rows of provider, model and Price")

    def observers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """Every observer with its plugin's name."""
        return self._each("observe")

    def _each(self, hook: str) -> list[tuple[str, Callable[..., Any]]]:
        """Every implementation of a collected hook with its plugin's name, each on its own, within the wrappers."""
        everyone = getattr(self._manager.hook, hook).get_hookimpls()
        impls = [impl for impl in everyone if not _wraps(impl)]
        if len(impls) == len(everyone):
            return [(impl.plugin_name, _positional(impl, hook)) for impl in impls]
        return [(impl.plugin_name, self._alone(impl, impls, hook)) for impl in impls]

    def _alone(self, impl: Any, impls: list[Any], hook: str) -> Callable[..., Any]:
        caller = self._manager.subset_hook_caller(hook, [each.plugin for each in impls if each is not impl])
        names = _SPECS[hook]

        def call(*args: Any) -> Any:
            answers = caller(**dict(zip(names, args, strict=True)))
            return answers[0] if answers else ()

        return call

    # -- loading ---------------------------------------------------------------------------------------

    def _load_entry_points(self) -> None:
        points = sorted(self._entry_points(), key=lambda point: point.name)
        names = [point.name for point in points]
        self._miss(names)
        for point in points:
            origin = _distribution(point)
            if point.name in self._block or (self._load is not None and point.name not in self._load):
                state = "blocked" if point.name in self._block else "not loaded"
                self._note(PluginState(point.name, state, origin))
            elif names.count(point.name) > 1:
                self._quarantine(point.name, origin, "another installed plugin has the same name; uninstall or block one")
            else:
                self._load_one(point, origin)

    def _entry_points(self) -> Iterable[metadata.EntryPoint]:
        """All of our group. One distribution whose file cannot be read would hide those of all others."""
        points, error = _asked(lambda: metadata.entry_points(group=hookspecs.PROJECT))
        return points if error is None else self._readable()

    def _readable(self) -> Iterator[metadata.EntryPoint]:
        seen: set[str] = set()
        for dist in metadata.distributions():
            name, _ = _asked(lambda dist=dist: str(dist.name))  # type: ignore[misc]
            if name in seen:
                continue
            seen.add(name)
            points, error = _asked(lambda dist=dist: dist.entry_points.select(group=hookspecs.PROJECT))  # type: ignore[misc]
            if error is not None:
                reason = f"its entry points cannot be read: that {how_raised(error)}"
                self.problems.append(PluginProblem(name, _origin_of(dist), reason))
            yield from points or ()

    def _miss(self, names: list[str]) -> None:
        """A strict list that names what is not installed is a mistake that nobody would notice."""
        for name in sorted((self._load or frozenset()).difference(names, BUILT_IN)):
            self.problems.append(PluginProblem(name, None, "the list of plugins to load names it, but it is not installed"))

    def _load_one(self, point: metadata.EntryPoint, origin: str | None) -> None:
        if point.name in BUILT_IN:
            self._quarantine(point.name, origin, "the name belongs to a built-in provider")
            return
        plugin, error = _asked(point.load)
        if error is not None:
            self._quarantine(point.name, origin, f"import failed: it {how_raised(error)}: {clean_text(error)}")
            return
        self._add(plugin, point.name, origin)

    def _add(self, plugin: Any, name: str, origin: str | None) -> None:
        found, error = _asked(lambda: self._look_at(plugin, name))
        if error is not None:
            found = f"looking at it {how_raised(error)}: {clean_text(error)}", (), False
        reason, hooks, provides = found
        if reason is not None:
            known = self._states.get(name)
            if self._manager.get_plugin(name) is plugin and (known is None or known.state == "quarantined"):
                self._manager.unregister(name=name)
            self._quarantine(name, origin, reason)
            return
        self._states[name] = PluginState(name, "loaded" if origin else "registered", origin, hooks)
        if provides:
            self._providers[name] = plugin

    def _look_at(self, plugin: Any, name: str) -> tuple[str | None, tuple[str, ...], bool]:
        """Register it with pluggy: what is wrong with it, else its hooks, and whether it is a provider."""
        reason = self._refusal(plugin, name)
        if reason is not None:
            return reason, (), False
        found = implementations(plugin)
        reason = _faulty(found) or self._registered(plugin, name)
        if reason is not None:
            return reason, (), False
        provides = _is_provider(found)
        return self._misnamed(plugin, name) if provides else None, tuple(hook for hook, _, _ in found), provides

    def _misnamed(self, plugin: Any, name: str) -> str | None:
        """What is wrong with the name that a provider gives itself; other lies are told when it is bound."""
        info, _ = _asked(plugin.describe_provider)  # one that raises is reported by binding it
        given = info.name if isinstance(info, ProviderInfo) else name
        return None if given == name else f"it is registered as {name}, but describe_provider calls it {given!r:.60}"

    def _registered(self, plugin: Any, name: str) -> str | None:
        try:
            self._manager.register(plugin, name)
        except Exception as error:  # noqa: BLE001 (pluggy evaluates a plugin's attributes)
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            return clean_text(error)
        return None

    def _refusal(self, plugin: Any, name: str) -> str | None:
        """Why an object cannot be a plugin of this name, or None."""
        if name in self._block:
            return "the plugin is blocked"
        if name == _DEFAULTS:
            return "the name is cnroute's own"
        taken = self._states.get(name)
        if taken is not None and taken.state != "quarantined":
            return f"the name is taken by a {taken.state} plugin"
        if inspect.isclass(plugin):
            return "a class was registered; register an instance or a module"
        if getattr(type(plugin), "__hash__", None) is None:
            return "the plugin object is not hashable; give its class identity equality (eq=False)"
        return None

    def _quarantine(self, name: str, origin: str | None, reason: str) -> None:
        self.problems.append(PluginProblem(name, origin, reason))
        if name not in self._states or self._states[name].distribution != origin or name in BUILT_IN:
            self._note(PluginState(name, "quarantined", origin, reason=reason))

    def _note(self, state: PluginState) -> None:
        """A row for `plugins`; a name that somebody else has already is one more row."""
        if state.name in self._states:
            self._claims.append(state)
        else:
            self._states[state.name] = state

    def _origin(self, name: str) -> str | None:
        state = self._states.get(name)
        return state.distribution if state is not None else None

    # -- binding ---------------------------------------------------------------------------------------

    def _bind_provider(self, name: str) -> ProviderHooks:
        plugin = self._provider_plugin(name)
        bound = {hook: self._bind(hook, plugin) for hook in _PROVIDER_HOOKS}
        info = self._describe(name, bound.pop("describe_provider"))
        return ProviderHooks(name=name, distribution=self._states[name].distribution, info=info, **bound)  # type: ignore[arg-type]

    def _provider_plugin(self, name: str) -> Any:
        if name in self._providers:
            return self._providers[name]
        if name not in BUILT_IN or name in self._block:
            raise ConfigurationError(self._why_missing(name), "provider")
        self._ensure_defaults()
        plugin = importlib.import_module(BUILT_IN[name])
        self._manager.register(plugin, name)
        self._providers[name] = plugin
        self._states[name] = PluginState(name, "built-in", None, tuple(hook for hook, _, _ in implementations(plugin)))
        return plugin

    def _ensure_defaults(self) -> None:
        if not self._manager.has_plugin(_DEFAULTS):
            self._manager.register(importlib.import_module(_DEFAULTS), _DEFAULTS)

    def _why_missing(self, name: str) -> str:
        for problem in self.problems:
            if problem.plugin == name:
                return f"the provider {name} cannot be used: {problem}"
        if name in self._block:
            return f"the provider {name} is blocked"
        state = self._states[name].state if name in self._states else "quarantined"
        if state != "quarantined":
            return f"the plugin {name} is {state}" + (", but it is no provider" if state in ("loaded", "registered") else "")
        known = f"known are {', '.join(self.providers())}"
        if looks_like_a_key(name):
            return f"what stands there is the name of no provider, and a key never stands there; {known}"
        return f"there is no provider {clean_text(name, 60)!r}; {known}"

    def _describe(self, name: str, describe: Callable[[], Any] | None) -> ProviderInfo:
        info, error = _asked(describe) if describe else (None, None)
        if error is not None:
            culprit, reason = Culprit(name, "describe_provider", self._origin(name)), f"{how_raised(error)}: {clean_text(error)}"
            raise ConfigurationError(f"{culprit} {reason}", "provider")
        lie = _untrue(name, info)
        if lie:
            raise ConfigurationError(f"{Culprit(name, 'describe_provider', self._origin(name))} {lie}", "provider")
        return info  # type: ignore[return-value]

    def _bind(self, hook: str, plugin: Any) -> Callable[..., Any] | None:
        """One callable for `hook` of `plugin`: its own, the defaults' and the wrappers', not other providers'."""
        self._ensure_defaults()
        others = [each for each in self._providers.values() if each is not plugin]
        impls = [impl for impl in getattr(self._manager.hook, hook).get_hookimpls() if impl.plugin not in others]
        plain = [_positional(impl, hook) for impl in reversed(impls) if not _wraps(impl)]
        if not plain:
            return None
        if any(map(_wraps, impls)):
            return self._wrapped(hook, impls)
        return plain[0] if len(plain) == 1 else _first_answer(plain)

    def _wrapped(self, hook: str, impls: list[Any]) -> Callable[..., Any]:
        """A caller that knows these implementations only: pluggy's subset callers filter their list at each call."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        wanted = [impl.plugin for impl in impls]
        for name, plugin in self._manager.list_name_plugin():
            if any(plugin is each for each in wanted):
                manager.register(plugin, name)
        caller = getattr(manager.hook, hook)
        names = _SPECS[hook]
        whose = {_code(impl.function): impl.plugin_name for impl in impls}

        def call(*args: Any) -> Any:
            try:
                return caller(**dict(zip(names, args, strict=True)))
            except Exception as error:
                self._blame(error, whose)
                raise

        return call

    def _blame(self, error: BaseException, whose: Mapping[Any, str]) -> None:
        """Note the plugin whose function an exception came out of: the innermost that is one of these."""
        name, trace = None, error.__traceback__
        while trace is not None:
            name, trace = whose.get(trace.tb_frame.f_code, name), trace.tb_next
        if name is not None:
            blame(error, name, self._origin(name))


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset([names] if isinstance(names, str) else names)


def _code(function: Any) -> Any:
    return getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)


def _wraps(impl: Any) -> bool:
    return bool(impl.wrapper or impl.hookwrapper)


def _positional(impl: Any, hook: str) -> Callable[..., Any]:
    """The implementation as a function of all of the spec's arguments, in their order."""
    names = _SPECS[hook]
    function: Callable[..., Any] = impl.function
    if tuple(impl.argnames) == names:
        return function
    places = [names.index(name) for name in impl.argnames]
    return lambda *args: function(*(args[place] for place in places))


def _first_answer(functions: list[Callable[..., Any]]) -> Callable[..., Any]:
    def ask(*args: Any) -> Any:
        for function in functions:
            answer = function(*args)
            if answer is not None:
                return answer
        return None

    return ask


# What a hook may be; everything else (properties, lazy attributes) is left asleep.
_FUNCTIONS = (types.FunctionType, types.MethodType, staticmethod, classmethod)
# A hook that a plugin implements: its name, the function, the options of its mark.
Implementation = tuple[str, Callable[..., Any], Mapping[str, Any]]


def implementations(plugin: Any) -> tuple[Implementation, ...]:
    """Every marked hook of a plugin. Class attributes only: properties stay asleep."""
    marker, found = f"{hookspecs.PROJECT}_impl", []
    for name in dir(plugin):
        # A module's attributes are what its dict holds, and finding that out for each takes a third of loading it.
        own = vars(plugin).get(name) if type(plugin) is types.ModuleType else inspect.getattr_static(plugin, name, None)
        if not isinstance(own, _FUNCTIONS):
            continue
        function = getattr(plugin, name, None)
        options = getattr(function, marker, None)
        if inspect.isroutine(function) and isinstance(options, dict):
            found.append((options.get("specname") or name, function, options))
    return tuple(found)


def _faulty(found: tuple[Implementation, ...]) -> str | None:
    """What is wrong with a plugin's hooks, or None. pluggy itself would notice most of this too late."""
    if not found:
        return "it implements no hook of cnroute (is a @hookimpl missing, or another project's?)"
    return next(filter(None, map(_told, found)), _missing_hooks(found))


def _told(found: Implementation) -> str | None:
    """What is wrong with the signature of a hook, and where it stands."""
    problem, code = _signature_problem(*found), _code(found[1])
    where = f" ({PurePath(code.co_filename).name}:{code.co_firstlineno})" if code is not None else ""
    return problem + where if problem else None


def _signature_problem(hook: str, function: Callable[..., Any], options: Mapping[str, Any]) -> str | None:
    if hook not in _SPECS:
        return None if options.get("optionalhook") else f"{hook} is no hook of cnroute; hooks are {', '.join(_SPECS)}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return f"{hook} is async; hooks are plain functions"
    if inspect.isgeneratorfunction(function) and not (options.get("wrapper") or options.get("hookwrapper")):
        return f"{hook} is a generator; only wrappers may be"
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"{hook} takes *{name}; name the arguments: {', '.join(_SPECS[hook])}"
        if parameter.kind is parameter.KEYWORD_ONLY:
            return f"{hook} takes {name} by keyword only; pluggy would not pass the argument"
        if parameter.default is not parameter.empty:
            return f"{hook} has a default for its argument {name}; pluggy would not pass the argument"
        if name not in _SPECS[hook]:
            return f"{hook} has an argument {name}; its arguments are {', '.join(_SPECS[hook]) or 'none'}"
    return None


def _is_provider(found: tuple[Implementation, ...]) -> bool:
    return any(
        hook in _REQUIRED and not (options.get("wrapper") or options.get("hookwrapper")) for hook, _, options in found
    )


def _steps_back(options: Mapping[str, Any]) -> bool:
    """A wrapper, or a default that is asked last."""
    return bool(options.get("wrapper") or options.get("hookwrapper") or options.get("trylast"))


def _untrue(name: str, info: Any) -> str | None:
    """What is wrong with a provider's account of itself, or None."""
    if not isinstance(info, ProviderInfo):
        return "must return a ProviderInfo"
    rules = (
        (info.name == name, "must give the name under which the plugin is registered"),
        (isinstance(info.base_url, str), "must give the base_url as text"),
        (isinstance(info.env, Mapping) and isinstance(info.options, Mapping), "must give env and options as mappings"),
        (all(isinstance(model, ModelInfo) for model in info.models), "must give its models as ModelInfo"),
    )
    return next((wrong for good, wrong in rules if not good), None)


def _is_price_row(row: tuple[Any, ...]) -> bool:
    return len(row) == 3 and isinstance(row[0], str) and isinstance(row[1], str) and isinstance(row[2], Price)


def _missing_hooks(found: tuple[Implementation, ...]) -> str | None:
    if not _is_provider(found):
        for hook, _, options in found:
            if hook in _PROVIDER_HOOKS and not _steps_back(options):
                return f"{hook} answers for a provider, so it needs the hook {_REQUIRED[0]}; or make it a wrapper"
        return None
    present = {hook for hook, _, options in found if not options.get("wrapper")}
    missing = [hook for hook in _REQUIRED if hook not in present]
    return f"a provider needs the hook {missing[0]}" if missing else None


def _name_of(plugin: Any) -> str:
    if not inspect.isclass(plugin):
        describe, _ = _asked(lambda: plugin.describe_provider)
        info = _asked(describe)[0] if describe is not None else None
        if isinstance(info, ProviderInfo) and isinstance(info.name, str):
            return info.name
    name, _ = _asked(lambda: str(plugin.__name__))
    return str(name or type(plugin).__name__).rsplit(".", 1)[-1]


def _asked(ask: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What a plugin's code gives while it is loaded, or what it raised.

    That sys.exit() was called, or an extension panicked, ends no host: here only what the user does (Ctrl-C) does.
    """
    try:
        return ask(), None
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 (a plugin's code)
        return None, error


def _distribution(point: metadata.EntryPoint) -> str | None:
    return _origin_of(point.dist) if point.dist is not None else None


def _origin_of(dist: metadata.Distribution) -> str | None:
    origin: str | None = _asked(lambda: f"{dist.name} {dist.version}")[0]
    return origin
