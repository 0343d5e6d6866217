"""Which fault a request meets: the suffix of its model name, else the script, else seeded chance, else ``ok``."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import cast

from cnroute.emulator.faults import Chosen, find

CONNECT = "@connect"
Weights = Mapping[str, float] | Mapping[str, Mapping[str, float]]


def split(model: str) -> tuple[str, str]:
    """``yi-large!http_503`` is the model yi-large and the fault http_503."""
    name, _, fault = model.partition("!")
    return name, fault


class Choices:
    """The scripts and weights of one emulator; safe to use from any thread."""

    def __init__(self, seed: int, weights: Weights | None, providers: Collection[str]) -> None:
        self._seed = seed
        self._weights = _by_provider(weights or {}, providers)
        self._lock = threading.Lock()
        self._scripts: dict[str, deque[str]] = {}
        self._chance: dict[str, random.Random] = {}

    def script(self, model: str, faults: Iterable[str]) -> None:
        """Replace the script of a model; raises ``UnknownFault`` before anything is changed."""
        if isinstance(faults, str):
            raise TypeError(f"faults must be a list of faults; write [{faults!r:.60}]")
        names = deque(faults)
        for name in names:
            find(name)
        with self._lock:
            self._scripts[model] = names

    def clear(self) -> None:
        """Forget the scripts."""
        with self._lock:
            self._scripts.clear()

    def choose(self, provider: str, model: str) -> Chosen:
        """The fault of this request; a scripted one is used up. Raises ``UnknownFault`` for a wrong suffix."""
        name, suffix = split(model)
        return find(suffix or self._scripted(name) or self._drawn(provider))

    def peek(self, model: str) -> Chosen:
        """The fault that a suffix or the script will give, without using it up."""
        name, suffix = split(model)
        with self._lock:
            script = self._scripts.get(name)
            return find(suffix or (script[0] if script else "ok"))

    def connecting(self) -> Chosen | None:
        """The fault for a connection that was just accepted."""
        name = self._scripted(CONNECT)
        return find(name) if name else None

    def _scripted(self, model: str) -> str:
        with self._lock:
            script = self._scripts.get(model)
            return script.popleft() if script else ""

    def _drawn(self, provider: str) -> str:
        weights = self._weights.get(provider) or self._weights.get("")
        if not weights:
            return "ok"
        with self._lock:
            chance = self._chance.setdefault(provider, random.Random(f"{self._seed}:{provider}"))
            return chance.choices(list(weights), list(weights.values()))[0]


def _by_provider(weights: Weights, providers: Collection[str]) -> dict[str, Mapping[str, float]]:
    """Weights per provider; flat weights hold for all of them. Raises ``ValueError`` for names that are not known."""
    nested = any(isinstance(value, Mapping) for value in weights.values())
    table = cast("Mapping[str, Mapping[str, float]]", weights) if nested else {"": cast("Mapping[str, float]", weights)}
    for provider, row in table.items():
        if nested and provider not in providers:
            raise ValueError(f"unknown provider {provider!r} in weights; known: {', '.join(providers)}")
        for name in row:
            find(name)
    return {provider: row for provider, row in table.items() if row}
