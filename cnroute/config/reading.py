"""A document into a router's arguments, with everything that is wrong with it.

Rules of this file
- What a value may be is said where the value lives (`Deployment`, `Timeouts`, `Price`, ...): each key is tried on its
  own there, so that one wrong key hides no other. Types are strict: text never becomes a number, null never text.
- `{ env = "NAME" }` and `{ file = "PATH" }` stand for whole values only. Nothing is evaluated, imported or unpickled.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

import attrs

from cnroute.arguments import make_request
from cnroute.config.values import (
    AMOUNTS,
    Path_,
    did_you_mean,
    dotted,
    float_hint,
    indexed,
    is_reference,
    joined,
    kind_of,
    listed,
    names_of,
    one_field,
    price_field,
    structure,
    unnamed,
)
from cnroute.deployments import CAPABILITIES, TLS, Deployment, Route, Secret, cannot_read, variable
from cnroute.errors import BadRequestError, ConfigurationError, Problem
from cnroute.failures import FailureKind
from cnroute.money import Price, Tier
from cnroute.plugins import PluginHost
from cnroute.routing.budget import Budget
from cnroute.routing.fallback import table_for
from cnroute.routing.policies import POLICIES, weights_of
from cnroute.settings import Breaker, Limits, RateLimit, Retries, Timeouts
from cnroute.stores.redis import RedisStore

LOG = logging.getLogger("cnroute.config")

T = TypeVar("T")
_Read = Callable[[Any, Any, Path_], Any]

def document(config: Any) -> tuple[Mapping[str, Any], str | None]:
    """The structure, and the name of the file that it comes from."""
    if isinstance(config, Mapping):
        return config, None
    if not isinstance(config, str | os.PathLike):
        raise ConfigurationError(f"a configuration is a path or a mapping, not {type(config).__name__}")
    file = os.fspath(config)
    try:
        data = Path(file).expanduser().read_bytes()
        return tomllib.loads(data.decode("utf-8-sig")), file
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        reason = "the file is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"the file is not TOML: {error}"
    raise ConfigurationError([Problem("", reason, file)])


class Reader:
    """Reads one document into a router's arguments and collects what is wrong with it."""

    def __init__(self, document: Mapping[str, Any], file: str | None = None) -> None:
        self.problems: list[Problem] = []
        self._names: list[tuple[str, str, Path_]] = []
        self._aims: list[tuple[str, Path_]] = []
        self._document = document
        self._file = file
        self._inline_keys = False

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments; what is wrong is left out and stands in `problems`."""
        sections = self._table(self._document, (), ("router", "deployments", "routes"))
        arguments = self._router(sections.get("router", {}))
        arguments["deployments"] = self._deployments(sections.get("deployments", {}))
        arguments["routes"] = self._routes(sections.get("routes", {}))
        if "deployments" in sections:
            self._check_targets(sections)
        if self._inline_keys:
            self._check_mode()
        return arguments

    def check_names(self, host: PluginHost) -> None:
        """Providers that `host` does not have, and misspelt policies, of what is not sound as well."""
        for word, name, path in self._names:
            known = host.providers() if word == "provider" else list(POLICIES)
            near = did_you_mean(name, known)
            if name not in known and near:
                self._problem(path, f"there is no {word} {name!r:.60}{near}")
            elif word == "provider":
                self._try(path, lambda name=name: host.provider(name))  # type: ignore[misc]

    def join(self, more: Iterable[Problem]) -> None:
        """Add problems that somebody else found, but for keys that have one already."""
        known = [problem.key for problem in self.problems]
        for problem in more:
            if not any(problem.key == key or key.startswith(f"{problem.key}.") for key in known):
                self.problems.append(attrs.evolve(problem, file=self._file))

    # -- problems ----------------------------------------------------------------------------------------

    def _problem(self, path: Path_, reason: str) -> None:
        self.problems.append(Problem(dotted(path), reason, self._file))

    def _try(self, path: Path_, make: Callable[[], T]) -> T | None:
        """`make()`; what it raises becomes a problem at `path`."""
        try:
            return make()
        except ConfigurationError as error:
            for problem in error.problems:
                self._problem(joined(path, problem.key), problem.reason)
        except (BadRequestError, TypeError, ValueError) as error:
            self._problem(path, str(error))
        return None

    # -- tables ------------------------------------------------------------------------------------------

    def _table(self, value: Any, path: Path_, known: Sequence[str] | None = None) -> Mapping[str, Any]:
        """`value` if it is a table, without its unknown keys."""
        if not isinstance(value, Mapping):
            self._problem(path, f"must be a table, not {kind_of(value)}")
            return {}
        for key in value:
            if not isinstance(key, str):
                self._problem(path, f"keys must be text, not {kind_of(key)}")
            elif known is not None and key not in known:
                self._problem((*path, key), f"unknown key{did_you_mean(key, known) or listed(known)}")
        return {key: item for key, item in value.items() if isinstance(key, str) and (known is None or key in known)}

    def _settings(self, cls: type[T], value: Any, path: Path_, **fixed: Any) -> T | None:
        """A settings value (all of whose fields have defaults, or are `fixed`) from a table."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            self._problem(path, f"must be a table, not {kind_of(value)}")
            return None
        hints = get_type_hints(cls)
        before = len(self.problems)
        good = dict(fixed)
        for key, item in self._table(value, path, [name for name in hints if name not in fixed]).items():
            kept = self._try((*path, key), lambda key=key, item=item: one_field(cls, hints[key], key, self._value(item), fixed))  # type: ignore[misc]
            if kept is not None:
                good[key] = kept
        return cls(**good) if len(self.problems) == before else None

    def _value(self, value: Any) -> Any:
        """`value`, or what the reference to a variable or file that it is stands for."""
        return self._referred(value) if is_reference(value) else value

    def _referred(self, reference: Mapping[str, str]) -> str:
        (kind, place), = reference.items()
        if not isinstance(place, str) or not place:
            raise ConfigurationError(f"{kind} must be the name of a {'variable' if kind == 'env' else 'file'}")
        if kind == "env":
            return unnamed(lambda: variable(place))
        try:
            return self._beside(place).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        return unnamed(lambda: cannot_read(place, reason))

    def _beside(self, place: str) -> Path:
        """A path of the configuration: relative ones start at the folder of the configuration's file."""
        path = Path(place).expanduser()
        return path if self._file is None else Path(self._file).expanduser().parent / path

    # -- [router] ----------------------------------------------------------------------------------------

    def _router(self, value: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for key, item in self._table(value, ("router",), list(self._ROUTER)).items():
            path = ("router", key)
            if key == "breaker" and item is False:
                arguments[key] = None
                continue
            found = self._ROUTER[key](self, item, path)
            if found is not None:
                arguments[key] = found
        return arguments

    def _text(self, value: Any, path: Path_) -> str | None:
        return self._try(path, lambda: structure(self._value(value), str))

    def _name(self, value: Any, path: Path_) -> str | None:
        """The name of a provider or policy; plugins bring more of them, so it is checked by the router."""
        name = self._text(value, path)
        if name is not None:
            self._names.append((path[-1], name, path))
        return name

    def _flag(self, value: Any, path: Path_) -> bool | None:
        return self._try(path, lambda: structure(value, bool))

    def _timeouts(self, value: Any, path: Path_) -> Timeouts | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = {"total": value}
        return self._settings(Timeouts, value, path)

    def _limits(self, value: Any, path: Path_) -> Limits | None:
        return self._settings(Limits, value, path)

    def _retries(self, value: Any, path: Path_) -> Retries | None:
        return self._settings(Retries, value, path)

    def _breaker(self, value: Any, path: Path_) -> Breaker | None:
        if isinstance(value, bool):
            self._problem(path, "must be a table; only the whole router's breaker can be switched off, by false in [router]")
            return None
        return self._settings(Breaker, value, path)

    def _budgets(self, value: Any, path: Path_) -> tuple[Budget, ...] | None:
        if isinstance(value, Mapping | str) or not isinstance(value, Iterable):
            self._problem(path, f"must be a list of tables, not {kind_of(value)}")
            return None
        found = [self._budget(item, indexed(path, index)) for index, item in enumerate(value)]
        return tuple(budget for budget in found if budget is not None)

    def _budget(self, value: Any, path: Path_) -> Budget | None:
        if isinstance(value, Budget):
            return value
        table = self._table(value, path, _BUDGET)
        if isinstance(value, Mapping) and "cap" not in table:
            self._problem((*path, "cap"), 'is missing; write cap = "100"')
        if isinstance(table.get("cap"), float):
            self._problem((*path, "cap"), float_hint("cap", table["cap"]))
            table = {**table, "cap": "0"}
        return self._try(path, lambda: Budget(**{"cap": "0", **table}))

    def _store(self, value: Any, path: Path_) -> Any:
        """A store: `{ redis = URL, prefix = ..., workers = ..., timeout = ... }`, or (from a mapping) the object itself."""
        if isinstance(value, str):
            self._problem(path, 'must be a table such as { redis = "redis://127.0.0.1:6379/0" }, not text')
            return None
        if not isinstance(value, Mapping):
            return self._object(value, path)
        table = self._table(value, path, ("redis", "prefix", "workers", "timeout"))
        if "redis" not in table:
            self._problem((*path, "redis"), 'is missing; write redis = "redis://127.0.0.1:6379/0", or { env = "NAME" }')
            return None
        url = self._text(table["redis"], (*path, "redis"))
        more = {key: item for key, item in table.items() if key != "redis"}
        return None if url is None else self._try(path, lambda: RedisStore(url, **more))

    def _object(self, value: Any, path: Path_) -> Any:
        """A transport or store: its name, or (from a mapping) the object itself."""
        if isinstance(value, Mapping | bool | int | float | list | tuple):
            self._problem(path, f"must be a name, not {kind_of(value)}")
            return None
        return value

    def _exchange(self, value: Any, path: Path_) -> dict[str, Any]:
        rates = {}
        for code, item in self._table(value, path).items():
            entry = self._table(item, (*path, code), ("rate", "as_of"))
            if isinstance(entry.get("rate"), float):
                self._problem((*path, code, "rate"), float_hint("rate", entry["rate"]))
            elif set(entry) == {"rate", "as_of"}:
                rates[code] = dict(entry)
            elif isinstance(item, Mapping):
                self._problem((*path, code), 'a rate needs its date: { rate = "7.10", as_of = "2026-11-01" }')
        return rates

    def _defaults(self, value: Any, path: Path_) -> dict[str, Any]:
        """Arguments for calls that do not give them, checked as those of a call."""
        found = {}
        for key, item in self._table(value, path, _DEFAULTS).items():
            request = self._try((*path, key), lambda key=key, item=item: make_request("-", "-", {key: item}))  # type: ignore[misc]
            if request is not None:
                found[key] = getattr(request, key)
        return found

    # -- [deployments] -----------------------------------------------------------------------------------

    def _deployments(self, value: Any) -> tuple[Deployment, ...]:
        found = []
        for name, item in self._table(value, ("deployments",)).items():
            before = len(self.problems)
            deployment = item if isinstance(item, Deployment) else self._deployment(name, item)
            if deployment is not None and len(self.problems) == before:
                found.append(deployment)
        return tuple(found)

    def _deployment(self, name: str, value: Any) -> Deployment | None:
        path = ("deployments", name)
        table = self._table(value, path, list(self._DEPLOYMENT))
        if isinstance(value, Mapping):
            for key in ("provider", "model"):
                if key not in table:
                    self._problem((*path, key), "is missing")
        given = {key: self._DEPLOYMENT[key](self, item, (*path, key)) for key, item in table.items()}
        if table.get("breaker") is False:
            given.pop("breaker", None)
        given = {key: item for key, item in given.items() if item is not None}
        stand_in = {"name": name, "provider": "-", "model": "-", "allow_http": given.get("allow_http", False)}
        if self._try(path, lambda: Deployment(**stand_in)) is None:
            return None
        before = len(self.problems)
        for key, item in given.items():
            self._try(path, lambda key=key, item=item: Deployment(**{**stand_in, key: item}))  # type: ignore[misc]
        complete = len(self.problems) == before and {"provider", "model"} <= set(given)
        return Deployment(name=name, **given) if complete else None

    def _key(self, value: Any, path: Path_) -> Secret | None:
        """A key; one that stands in a variable or file is looked at, so that a missing one is named now."""
        if isinstance(value, str):
            self._inline_keys = True
            if _LIKE_A_VARIABLE.fullmatch(value):
                name = value.strip("${}")
                self._problem(path, f'is no key; for the variable write {{ env = "{name}" }}')
                return None
        if is_reference(value) and isinstance(value.get("file"), str) and value["file"]:
            value = {"file": str(self._beside(value["file"]))}
        secret = self._try(path, lambda: value if isinstance(value, Secret) else Secret(value))
        if secret is not None and secret.origin != "callable" and self._try(path, secret.reveal) is None:
            return None
        return secret

    def _texts(self, value: Any, path: Path_) -> dict[str, str]:
        found = {}
        for key, item in self._table(value, path).items():
            text = self._text(item, (*path, key))
            if text is not None:
                found[key] = text
        return found

    def _options(self, value: Any, path: Path_) -> dict[str, Any]:
        found = {}
        for key, item in self._table(value, path).items():
            kept = self._try((*path, key), lambda item=item: self._value(item))  # type: ignore[misc]
            if kept is not None:
                found[key] = kept
        return found

    def _tls(self, value: Any, path: Path_) -> TLS | None:
        tls = self._settings(TLS, value, path)
        if tls is None or self._file is None:
            return tls
        return TLS(**{name: item and str(self._beside(item)) for name, item in attrs.asdict(tls).items()})

    def _rate_limit(self, value: Any, path: Path_) -> RateLimit | None:
        return self._settings(RateLimit, value, path)

    def _price(self, value: Any, path: Path_) -> Price | None:
        if isinstance(value, Price):
            return value
        if not isinstance(value, Mapping):
            example = '{ currency = "CNY", input = "2", output = "8" }'
            self._problem(path, f"must be a table, not {kind_of(value)}; write price = {example}")
            return None
        table = dict(self._table(value, path))
        before = len(self.problems)
        tiers = self._tiers(table.pop("tiers"), (*path, "tiers")) if "tiers" in table else ()
        if "currency" not in table:
            self._problem((*path, "currency"), 'is missing; write currency = "CNY"')
        for key, item in self._table(table, path, PRICE).items():
            if isinstance(item, float) and key in AMOUNTS:
                self._problem((*path, key), float_hint(key, item))
            else:
                self._try((*path, key), lambda key=key, item=item: price_field(key, item))  # type: ignore[misc]
        if len(self.problems) > before:
            return None
        return self._try(path, lambda: Price(**table, tiers=tiers))

    def _price_list(self, value: Any, path: Path_) -> Any:
        """The file that holds the user's own prices, as rows; a mapping may hold the rows themselves."""
        if not isinstance(value, str | os.PathLike):
            return self._object(value, path) if not isinstance(value, list | tuple) else value
        from cnroute.config.prices import price_rows

        try:
            return price_rows(self._beside(os.fspath(value)))
        except ConfigurationError as error:
            self.problems += error.problems
        return None

    def _tiers(self, value: Any, path: Path_) -> tuple[Tier, ...]:
        found = []
        if not isinstance(value, Sequence) or isinstance(value, str):
            self._problem(path, f"must be a list of tables, not {kind_of(value)}")
            return ()
        for index, item in enumerate(value):
            place = indexed(path, index)
            if isinstance(item, Mapping):
                for key in AMOUNTS & item.keys():
                    if isinstance(item[key], float):
                        self._problem((*place, key), float_hint(key, item[key]))
                        item = {name: kept for name, kept in item.items() if name != key}
            tier = self._settings(Tier, item, place)
            if tier is not None:
                found.append(tier)
        return tuple(found)

    # -- [routes] ----------------------------------------------------------------------------------------

    def _routes(self, value: Any) -> dict[str, Any]:
        found = {}
        for name, item in self._table(value, ("routes",)).items():
            route = self._route(item, ("routes", name))
            if route is not None:
                found[name] = route
        return found

    def _route(self, value: Any, path: Path_) -> Route | None:
        if isinstance(value, Route):
            return value
        if isinstance(value, list | tuple):
            value = {"targets": value}
        elif not isinstance(value, Mapping):
            self._problem(path, f"must be a table, or a list of targets, not {kind_of(value)}")
            return None
        before = len(self.problems)
        table = self._table(value, path, list(self._ROUTE))
        given = {key: self._ROUTE[key](self, item, (*path, key)) for key, item in table.items()}
        if not table.get("targets"):
            self._problem((*path, "targets"), "a route needs at least one target")
        elif isinstance(table["targets"], Mapping) and table.get("policy", "weighted") != "weighted":
            self._problem((*path, "targets"), f'targets with weights need policy = "weighted", not {table["policy"]!r:.60}')
        if isinstance(table.get("targets"), Mapping):
            given.setdefault("policy", "weighted")
        return Route(**{key: item for key, item in given.items() if item is not None}) if len(self.problems) == before else None

    def _targets(self, value: Any, path: Path_) -> Any:
        if isinstance(value, Mapping):
            weights = self._table(value, path)
            self._aims += [(name, (*path, name)) for name in weights]
            self._try(path, lambda: unnamed(lambda: weights_of(weights)))
            return dict(weights)
        if not isinstance(value, list | tuple):
            self._problem(path, f"must be a list of names, or a table of name and weight, not {kind_of(value)}")
            return None
        found = [self._target(item, indexed(path, index)) for index, item in enumerate(value)]
        return [target for target in found if target is not None]

    def _target(self, value: Any, path: Path_) -> Any:
        if isinstance(value, Mapping | Route):
            return self._route(value, path)
        if isinstance(value, str):
            self._aims.append((value, path))
            return value
        self._problem(path, f"must be a name or a nested route, not {kind_of(value)}")
        return None

    def _kinds(self, value: Any, path: Path_) -> list[str]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            self._problem(path, f"must be a list of failure kinds, not {kind_of(value)}")
            return []
        return [kind for index, kind in enumerate(value) if self._is_kind(kind, indexed(path, index))]

    def _is_kind(self, kind: Any, path: Path_) -> bool:
        good = isinstance(kind, str) and kind in _KINDS
        if not good:
            self._problem(path, f"there is no failure kind {kind!r:.60}{did_you_mean(str(kind), _KINDS)}")
        return good

    def _fallback(self, value: Any, path: Path_) -> dict[str, str]:
        found = {}
        for kind, word in self._table(value, path).items():
            if self._is_kind(kind, (*path, kind)):
                found[kind] = word
                row = {kind: word}
                self._try((*path, kind), lambda row=row: unnamed(lambda: table_for((), row)))  # type: ignore[misc]
        return found

    def _requires(self, value: Any, path: Path_) -> list[str]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            self._problem(path, f"must be a list of capabilities, not {kind_of(value)}")
            return []
        found = []
        for index, word in enumerate(value):
            if isinstance(word, str) and word in CAPABILITIES:
                found.append(word)
            else:
                near = did_you_mean(str(word), CAPABILITIES) or listed(CAPABILITIES)
                self._problem(indexed(path, index), f"there is no capability {word!r:.40}{near}")
        return found

    def _window(self, value: Any, path: Path_) -> int | None:
        return self._try(path, lambda: unnamed(lambda: Route(min_context=structure(value, int)).min_context))

    def _free(self, value: Any, path: Path_) -> dict[str, Any]:
        return dict(self._table(value, path))

    # -- the whole ---------------------------------------------------------------------------------------

    def _check_targets(self, sections: Mapping[str, Any]) -> None:
        """Targets that no section declares, whether or not the declaration is sound."""
        declared = [name for key in ("deployments", "routes") for name in names_of(sections.get(key))]
        for name, path in self._aims:
            if name not in declared:
                self._problem(path, f"there is no deployment or route {name!r:.60}{did_you_mean(name, declared)}")

    def _check_mode(self) -> None:
        """Keys in a file that others may read are worth a warning."""
        if self._file is None or os.name != "posix":
            return
        mode = stat.S_IMODE(Path(self._file).expanduser().stat().st_mode)
        if mode & 0o077:
            LOG.warning(
                '%s holds keys and may be read by others (mode %04o); run chmod 600, or write api_key = { env = "NAME" }',
                self._file, mode,
            )

    # Which method reads which key.
    _ROUTER: ClassVar[Mapping[str, _Read]] = {
        "policy": _name,
        "timeouts": _timeouts,
        "limits": _limits,
        "retries": _retries,
        "breaker": _breaker,
        "budgets": _budgets,
        "store": _store,
        "transport": _object,
        "currency": _text,
        "exchange": _exchange,
        "defaults": _defaults,
        "prices": _price_list,
    }
    _DEPLOYMENT: ClassVar[Mapping[str, _Read]] = {
        "provider": _name,
        "model": _text,
        "api_key": _key,
        "base_url": _text,
        "options": _options,
        "price": _price,
        "timeouts": _timeouts,
        "limits": _limits,
        "breaker": _breaker,
        "rate_limit": _rate_limit,
        "defaults": _defaults,
        "headers": _texts,
        "tls": _tls,
        "proxy": _text,
        "allow_http": _flag,
    }
    _ROUTE: ClassVar[Mapping[str, _Read]] = {
        "policy": _name,
        "targets": _targets,
        "fallback_on": _kinds,
        "fallback": _fallback,
        "timeouts": _timeouts,
        "retries": _retries,
        "defaults": _defaults,
        "knowledge_fallback": _text,
        "settings": _free,
        "requires": _requires,
        "min_context": _window,
    }


_DEFAULTS = (
    "max_tokens", "temperature", "top_p", "stop", "seed", "tools", "tool_choice", "response_format", "reasoning", "web_search",
    "knowledge_base",
)
_BUDGET = [field.name for field in attrs.fields(Budget) if field.init]
PRICE = [field.name for field in attrs.fields(Price) if field.init]
_KINDS = tuple(kind.value for kind in FailureKind)
_LIKE_A_VARIABLE = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?")
