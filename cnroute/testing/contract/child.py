"""Another process: the plugin is imported there, under watch, and makes the same requests with another hash seed and clock.

Rules of this file
- The parent sends a JSON document on standard input: the search path, where the plugin is, what to ask it.
- The answer is one JSON line behind a mark; whatever else stands on standard output is the plugin's own.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnroute.plugins import BUILT_IN, PluginHost
from cnroute.testing.contract.conversations import SHAPES
from cnroute.testing.contract.probes import HELLO, PROBES
from cnroute.testing.contract.subject import Subject
from cnroute.testing.contract.watching import watch

MARK = "cnroute-kit-result "
_SEED = "4242"
_LATER = 100_000.0
_SECONDS = 60
# Files are read while modules are found and loaded; these are not needed for that.
_CHECKED = ("socket.", "subprocess.", "os.", "time.", "_thread.", "shutil.", "builtins.", "http.", "urllib.", "sqlite3.")
_HARMLESS = ("os.listdir", "os.scandir")


class Elsewhere(Exception):
    """The plugin cannot be found by another process; the text says why."""


def located(plugin: Any, name: str) -> dict[str, Any]:
    """Where another process finds a plugin: a module, and an attribute of it or a class to make an instance of.

    Raises Elsewhere.
    """
    if plugin is None:
        return {"module": BUILT_IN[name]} if name in BUILT_IN else {"entry_point": name}
    if isinstance(plugin, types.ModuleType):
        return {"module": plugin.__name__, "file": getattr(plugin, "__file__", None)}
    module = sys.modules.get(type(plugin).__module__)
    for attribute, value in vars(module).items() if module else ():
        if value is plugin:
            return {"module": type(plugin).__module__, "file": getattr(module, "__file__", None), "attribute": attribute}
    made = type(plugin).__qualname__
    if module is None or getattr(module, made, None) is not type(plugin):
        raise Elsewhere("the plugin is an object that no module holds")
    return {"module": type(plugin).__module__, "file": getattr(module, "__file__", None), "make": made}


def asked(subject: Subject) -> dict[str, str]:
    """A digest of every request that both processes make."""
    calls: dict[str, tuple[Any, dict[str, Any]]] = {name: (messages, {}) for name, messages in SHAPES.items()}
    calls |= {probe.label: (HELLO, {**probe.beside, probe.parameter: probe.one}) for probe in PROBES}
    streams = (False, True) if subject.hooks.parse_stream_line is not None else (False,)
    found = {}
    for name, (messages, given) in calls.items():
        for stream in streams:
            wire = repr(subject.build(messages, stream, **given).wire()).encode("utf-8", "replace")
            found[f"{name}{' (streamed)' if stream else ''}"] = hashlib.sha256(wire).hexdigest()
    return found


def other_process(place: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """What the other process found. Raises Elsewhere when it cannot even find the plugin."""
    document: dict[str, Any] = {
        "path": [str(Path(each).resolve()) for each in sys.path], "place": place, "name": subject.name, "model": subject.model,
        "options": {name: value for name, value in subject.options.items() if isinstance(value, str | int | float | bool)},
    }  # fmt: skip
    path = os.pathsep.join(document["path"])
    done = subprocess.run(
        [sys.executable, "-c", "from cnroute.testing.contract.child import main; main()"], input=json.dumps(document), text=True,
        capture_output=True, timeout=_SECONDS, check=False, encoding="utf-8",
        env={**os.environ, "PYTHONHASHSEED": _SEED, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": path, "TZ": "UTC-9"},
    )  # fmt: skip
    before, mark, answer = done.stdout.partition(MARK)
    if not mark:
        raise AssertionError(f"the other process ended with {done.returncode}: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(answer.partition("\n")[0])
    if found.get("missing"):
        raise Elsewhere(found["missing"])
    return {**found, "output": before + answer.partition("\n")[2] + done.stderr}


def main() -> None:
    """Answer the parent's question."""
    document = json.load(sys.stdin)
    sys.path[:] = document["path"]
    _move_clock()
    try:
        found = _findings(document)
    except Elsewhere as reason:
        found = {"missing": str(reason)}
    sys.stdout.write(f"\n{MARK}{json.dumps(found)}\n")


def _move_clock() -> None:
    """Another time than the parent's, so that a request that tells the time is another request."""
    real, now = time.time, datetime.datetime.now

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now(tz) + datetime.timedelta(seconds=_LATER)

        utcnow = today = now

    time.time = lambda: real() + _LATER
    time.time_ns = lambda: int((real() + _LATER) * 1e9)
    datetime.datetime = Later  # type: ignore[misc]


def _findings(document: Mapping[str, Any]) -> dict[str, Any]:
    before, threads = _world(), threading.active_count()
    with watch() as touches:
        try:
            plugin = _imported(document["place"])
        except Elsewhere:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a plugin's code)
            return {"import": [f"the import raised {type(error).__name__}: {error}"], "requests": None}
    touched = [each for each in touches.world if each.startswith(_CHECKED) and not each.startswith(_HARMLESS)]
    if touches.output:
        touched.append(f"output: {touches.output[:200]!r}")
    touched += [f"{name} changed" for name, value in _world().items() if before[name] != value]
    if threading.active_count() > threads:
        touched.append("a thread runs")
    host = PluginHost(autoload=False)
    if BUILT_IN.get(document["name"]) != document["place"].get("module") or "entry_point" in document["place"]:
        host._states.pop(document["name"], None)  # noqa: SLF001 (of this package)
        host.register(plugin, document["name"])
    subject = Subject(host, document["name"], document["model"], document["options"])
    subject.place()
    return {"import": touched, "requests": asked(subject)}


def _world() -> dict[str, Any]:
    """What an import must leave alone."""
    loggers = [
        logging.getLogger(),
        *(each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    return {
        "the environment": dict(os.environ),
        "handlers of logs": [
            (each.name, type(handler).__name__)
            for each in loggers
            for handler in each.handlers
            if not isinstance(handler, logging.NullHandler)
        ],
        "the level of the root logger": logging.getLogger().level,
        "signal handlers": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)],
        "the working directory": os.getcwd(),
        "standard streams": (id(sys.__stdout__), id(sys.excepthook)),
    }


def _imported(place: Mapping[str, Any]) -> Any:
    """The plugin, imported now."""
    if "entry_point" in place:
        from importlib import metadata

        points = [point for point in metadata.entry_points(group="cnroute") if point.name == place["entry_point"]]
        if not points:
            raise Elsewhere("the entry point is not installed")
        return points[0].load()
    module = _module(place)
    if "attribute" in place:
        return getattr(module, place["attribute"])
    if "make" not in place:
        return module
    try:
        return getattr(module, place["make"])()
    except TypeError:
        raise Elsewhere("the plugin is an object that cannot be made without arguments") from None


def _module(place: Mapping[str, Any]) -> Any:
    name, file = place["module"], place.get("file")
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is not None:
        return importlib.import_module(name)
    if not file or not Path(file).is_file():
        raise Elsewhere(f"the module {name} is in no file")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # noqa: S101 (a file that is there)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
