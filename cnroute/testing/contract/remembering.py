"""What a provider could remember something in: the contents of its modules, classes, functions and objects, comparable."""

from __future__ import annotations

import collections
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_PLAIN = (str, bytes, int, float, complex, type(None))
_DEEP = 6


def state_of(plugin: Any) -> Iterator[tuple[str, Any]]:
    """Containers, objects and plain values of the plugin's modules, of their classes and functions, and of the object itself."""
    own = tuple(module.__name__ for module in modules_of(plugin))
    for module in modules_of(plugin):
        yield from _of_mapping(module.__name__, vars(module), own)
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield from _of_mapping(f"{module.__name__}.{name}", vars(value), own)
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                yield from _of_mapping(f"{module.__name__}.{name}", vars(value), own)
                yield f"{module.__name__}.{name} defaults", _frozen((value.__defaults__, value.__kwdefaults__), own)
    if not isinstance(plugin, types.ModuleType) and hasattr(plugin, "__dict__"):
        yield from _of_mapping(type(plugin).__name__, vars(plugin), own)


def _of_mapping(prefix: str, values: Any, own: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items()):
        if not name.startswith("__") and not isinstance(value, types.FunctionType | types.ModuleType | type):
            yield f"{prefix}.{name}", _frozen(value, own)


def _frozen(value: Any, own: tuple[str, ...], deep: int = _DEEP) -> Any:
    """A value as it is now: containers and the plugin's own objects by what is in them, everything else by its identity."""
    if isinstance(value, _PLAIN):
        return value
    if deep == 0:
        return id(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, Mapping):
        return "mapping", [(_frozen(key, own, deep - 1), _frozen(item, own, deep - 1)) for key, item in list(value.items())]
    if isinstance(value, _SEQUENCES):
        return type(value).__name__, [_frozen(item, own, deep - 1) for item in list(value)]
    return id(value), [(name, _frozen(item, own, deep - 1)) for name, item in _fields_of(value, own)]


def _fields_of(value: Any, own: tuple[str, ...]) -> list[tuple[str, Any]]:
    """The fields of an object of the plugin's own classes, or of one that holds plain values alone."""
    fields = dict(getattr(value, "__dict__", None) or {}) if not isinstance(value, type) else {}
    if type(value).__module__ in own:
        slots = (name for base in type(value).__mro__ for name in _slots(base))
        fields |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
    elif not all(isinstance(item, (*_PLAIN, list, dict, set)) for item in fields.values()):
        return []
    return sorted(fields.items())


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


def modules_of(plugin: Any) -> list[types.ModuleType]:
    """The modules that a plugin is made of: its own, and those of its package."""
    name = plugin.__name__ if isinstance(plugin, types.ModuleType) else type(plugin).__module__
    root = _root(name)
    found = [
        module
        for key, module in list(sys.modules.items())
        if (key == root or key.startswith(root + ".")) and isinstance(module, types.ModuleType)
    ]
    own = plugin if isinstance(plugin, types.ModuleType) else sys.modules.get(name)
    return found if own is None or own in found else [own, *found]


def _root(name: str) -> str:
    """The package that belongs to a plugin: its top one, or a vendor's folder of ours; a test file stands alone."""
    parts = name.split(".")
    if parts[:2] == ["cnroute", "providers"]:
        return ".".join(parts[:3])
    return name if parts[0] in ("tests", "test", "__main__") else parts[0]
