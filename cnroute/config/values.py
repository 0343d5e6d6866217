"""The single values of a configuration: their strict types, and how a problem with one is told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import cattrs

from cnroute.deployments import Route
from cnroute.errors import ConfigurationError
from cnroute.money import Price

T = TypeVar("T")
Path_ = tuple[str, ...]
AMOUNTS = frozenset(("input", "output", "cached", "reasoning", "search", "per"))


def _strict(kind: type, words: str, *, also: tuple[type, ...] = ()) -> Callable[[Any, Any], Any]:
    """A structure hook that takes `kind` as it is and converts nothing."""

    def take(value: Any, _: Any) -> Any:
        if isinstance(value, bool) is (kind is bool) and isinstance(value, (kind, *also)):
            return value
        raise TypeError(f"must be {words}, not {kind_of(value)}")

    return take


def _converter() -> cattrs.Converter:
    """Reads the fields of settings by their types, without a single conversion."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    converter.register_structure_hook(str, _strict(str, "text"))
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(int, _strict(int, "a whole number"))
    converter.register_structure_hook(float, _strict(float, "a number", also=(int,)))
    converter.register_structure_hook(Decimal, lambda value, _: value)  # amounts are checked where they live
    return converter


_CONVERTER = _converter()


def structure(value: Any, kind: Any) -> Any:
    """`value` as the type `kind`, strictly. Raises TypeError in the words of TOML."""
    return _CONVERTER.structure(value, kind)


def one_field(cls: type[Any], hint: Any, name: str, value: Any, fixed: Mapping[str, Any]) -> Any:
    """`value` as the field `name` of `cls`: its type, then the rules of the class. None stays None."""
    kept = structure(value, hint)
    unnamed(lambda: cls(**{**fixed, name: kept}))
    return kept


def price_field(name: str, value: Any) -> None:
    """Try one field of a price. Raises ConfigurationError or TypeError."""
    if name == "source":
        structure(value, str)
    unnamed(lambda: Price(**{"currency": "CNY", name: value}))


def unnamed(make: Callable[[], T]) -> T:
    """`make()`; its problems lose their keys, where the place is known better than there."""
    try:
        return make()
    except ConfigurationError as error:
        problems = [attrs.evolve(problem, key="") for problem in error.problems]
    raise ConfigurationError(problems)


def kind_of(value: Any) -> str:
    """What `value` is, in the words of TOML; never the value itself, which may be a key."""
    if isinstance(value, Mapping):
        return "a table"
    return "nothing" if value is None else _KINDS_OF_VALUES.get(type(value), type(value).__name__)


_KINDS_OF_VALUES: Mapping[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number with a point", str: "text", list: "a list", tuple: "a list",
}


def float_hint(key: str, value: float) -> str:
    """What to write instead of a number with a point."""
    return f'a number with a point is not exact; quote it: {key} = "{value}"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: near ones, or nothing."""
    near = difflib.get_close_matches(word, list(known), 3, 0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def listed(known: Iterable[str]) -> str:
    """The end of a message about an unknown word: all that there are."""
    return f"; known are {', '.join(known)}"


def dotted(path: Path_) -> str:
    """A path in TOML's own writing: what is no bare key is quoted."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_\-]+(\[\d+\])*", part) else _quoted(part) for part in path)


def _quoted(part: str) -> str:
    return f'"{part[:60]}"' if part.isprintable() else ascii(part[:60])


def joined(path: Path_, key: str) -> Path_:
    """`path` and the key of a problem below it, which may repeat the last part."""
    parts = tuple(key.split(".")) if key else ()
    return path if not parts or path[-1:] == parts else (*path, *parts)


def indexed(path: Path_, index: int) -> Path_:
    """The path of one item of a list."""
    return (*path[:-1], f"{path[-1]}[{index}]")


def is_reference(value: Any) -> bool:
    """Whether `value` stands for a variable or a file."""
    return isinstance(value, Mapping) and len(value) == 1 and set(value) <= {"env", "file"}


def names_of(section: Any) -> list[str]:
    """The keys of a section, if it is a table."""
    return list(section) if isinstance(section, Mapping) else []


def all_targets(route: Route) -> Iterable[str]:
    """Every name below a route."""
    for target in route.targets:
        if isinstance(target, Route):
            yield from all_targets(target)
        else:
            yield target
