"""Group 7: values travel, threads do not meet, and nothing is remembered between calls."""

from __future__ import annotations

import collections
import contextlib
import copy
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from cnroute.chat import ChatCompletion
from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import check, each_of, fail, require, same
from cnroute.testing.contract.subject import Subject

_THREADS = 64
_TURNS = 5
_STATE = "keep no state in modules, classes or plugin objects; a stream's memory is state.memory"
_CONTAINERS = (list, dict, set, bytearray, collections.deque)


class ProcessChecks(ContractBase):
    """Pickles, threads, module state."""

    @check(groups.PROCESS)
    def test_results_events_and_failures_pickle_and_copy(self) -> None:
        """Everything that hooks return survives pickle, copy and deepcopy unchanged."""
        subject = self.subject()
        for sample in each_of(self.all_samples(), "there is no sample"):
            outcome = subject.play(sample)
            values = [outcome.completion, outcome.failure, *(event for _, event in outcome.events)]
            for value in values:
                for how, other in _copies(value, sample.name):
                    same(
                        f"a {type(value).__name__} is the same after {how}",
                        _fields(value),
                        _fields(other),
                        sample=sample.name,
                        change="fill values with str, int, tuple, dict and cnroute's own values only",
                    )

    @check(groups.PROCESS)
    def test_many_threads_give_the_same_results(self) -> None:
        """64 threads through one provider get what one thread gets."""
        subject, samples = self.subject(), list(each_of(self.all_samples(), "there is no sample"))
        want = [_everything(subject, sample) for sample in samples]
        wrong: list[Any] = []

        def work(number: int) -> None:
            for turn in range(_TURNS):
                index = (number * 7 + turn) % len(samples)
                got = _everything(subject, samples[index])
                if got != want[index]:
                    wrong.append((samples[index].name, want[index], got))

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=work, args=(number,), name="cnroute-kit") for number in range(_THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        if wrong:
            sample, expected, got = wrong[0]
            fail("many threads give the same results", expected=expected, got=got, sample=sample, change=_STATE)

    @check(groups.PROCESS)
    def test_plain_answers_do_not_mix(self) -> None:
        """Answers of two calls that are read in turns give what each gives alone."""
        subject = self.subject()
        samples = [sample for sample in self.all_samples() if not sample.in_lines]
        want = [subject.play(sample).seen() for sample in samples]
        for sample in samples:
            place = subject.sample_place(sample)
            with contextlib.suppress(Exception):  # another check tells of it
                place.hooks.map_error(sample.response, place.deployment)
        for sample, expected in zip(reversed(samples), reversed(want), strict=True):
            same("answers do not mix", expected, subject.play(sample).seen(), sample=sample.name, change=_STATE)

    @check(groups.PROCESS)
    def test_nothing_is_remembered_between_calls(self) -> None:
        """No module, class or plugin object of the provider changes while it works."""
        subject, samples = self.subject(), self.all_samples()
        plugin = self.plugin_object()
        for sample in samples:
            _everything(subject, sample)
        before = dict(_state(plugin))
        for sample in samples:
            _everything(subject, sample)
            after = dict(_state(plugin))
            changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            require(
                not changed,
                "nothing is remembered between calls",
                expected="the same state",
                got=f"{', '.join(changed)} changed",
                sample=sample.name,
                change=_STATE,
            )


def _everything(subject: Subject, sample: Any) -> Any:
    """What comes of a sample's answer, comparable; its request is built, too."""
    subject.sample_built(sample)
    return subject.play(sample).seen()


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


_WAYS_OF_COPYING: dict[str, Callable[[Any], Any]] = {"pickle": _pickled, "copy": copy.copy, "deepcopy": copy.deepcopy}


def _copies(value: Any, sample: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    for how, make in _WAYS_OF_COPYING.items():
        try:
            other = make(value)
        except Exception as error:  # noqa: BLE001 (whatever a value holds)
            other = error
        if isinstance(other, Exception):
            fail(
                f"a {type(value).__name__} survives {how}",
                expected="the same value",
                got=f"{type(other).__name__}: {other}",
                sample=sample,
                change="fill values with str, int, tuple, dict and cnroute's own values only",
            )
        yield how, other


def _fields(value: Any) -> Any:
    if isinstance(value, ChatCompletion):
        return {field.name: getattr(value, field.name) for field in attrs.fields(ChatCompletion)}
    return value


def _state(plugin: Any) -> Iterator[tuple[str, Any]]:
    """What could remember something: containers and plain values of the plugin's modules, their classes, the object itself."""
    for module in _modules(plugin):
        yield from _of_mapping(module.__name__, vars(module))
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield from _of_mapping(f"{module.__name__}.{name}", vars(value))
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                yield from _of_mapping(f"{module.__name__}.{name}", vars(value))
                yield f"{module.__name__}.{name} defaults", _frozen((value.__defaults__, value.__kwdefaults__))
    if not isinstance(plugin, types.ModuleType) and hasattr(plugin, "__dict__"):
        yield from _of_mapping(type(plugin).__name__, vars(plugin))


def _of_mapping(prefix: str, values: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items()):
        if not name.startswith("__") and not isinstance(value, types.FunctionType | types.ModuleType | type):
            yield f"{prefix}.{name}", _frozen(value)


def _frozen(value: Any) -> Any:
    """A value as it is now: containers by what is in them, everything else by itself, its fields or its identity."""
    if isinstance(value, _CONTAINERS + (tuple,)):
        try:
            return repr(value)
        except Exception:  # noqa: BLE001 (a plugin's code)
            return id(value)
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    fields = getattr(value, "__dict__", None)
    return (
        (id(value), repr(sorted(fields)))
        if isinstance(fields, dict) and not isinstance(value, type) and len(fields) < 50 and _simple(fields)
        else id(value)
    )


def _simple(fields: dict[str, Any]) -> bool:
    return all(isinstance(item, str | bytes | int | float | None) for item in fields.values())


def _modules(plugin: Any) -> list[types.ModuleType]:
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
