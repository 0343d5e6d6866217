"""All faults in one table, and how a name such as ``stream_cut:3`` is looked up.

The families live in five files: connections and heads (``fault_connections``), statuses and vendor errors
(``fault_errors``), bodies and their framing (``fault_bodies``), streams (``fault_streams``), work that is done and told
wrongly, files and knowledge bases (``fault_knowledge``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cnroute.emulator import fault_bodies, fault_connections, fault_errors, fault_knowledge, fault_streams
from cnroute.emulator.registry import FAULTS, Fault
from cnroute.emulator.steps import Scene, Steps

__all__ = ["FAULTS", "Chosen", "Fault", "UnknownFault", "find", "play"]

FAMILIES = (fault_connections, fault_errors, fault_bodies, fault_streams, fault_knowledge)


class UnknownFault(ValueError):
    """A name that the table does not hold."""


class Chosen(NamedTuple):
    """A fault with what stood behind the colon."""

    fault: Fault
    parameter: str

    def __str__(self) -> str:
        return f"{self.fault.name}:{self.parameter}" if self.parameter else self.fault.name


def find(name: str) -> Chosen:
    """Look a fault up; ``http:418`` and ``http_418`` are the same. Raises ``UnknownFault`` with the name in it."""
    word, _, parameter = name.partition(":")
    if word not in FAULTS:
        raise UnknownFault(f"unknown fault {name!r}")
    if parameter and not _fits(parameter, FAULTS[word].parameter):
        raise UnknownFault(f"fault {word!r} takes {FAULTS[word].parameter or 'no parameter'}: {name!r}")
    return Chosen(FAULTS[word], parameter)


NUMBERS = frozenset({"SECONDS", "EVENTS", "MIB", "BYTES", "STATUS"})


def _kind(parameter: str) -> str:
    """The first word of a parameter's description says what it is."""
    return parameter.partition(" ")[0].rstrip(",:")


def _fits(given: str, parameter: str) -> bool:
    return bool(parameter) and (_kind(parameter) not in NUMBERS or re.fullmatch(r"\d+(\.\d+)?", given) is not None)


def play(chosen: Chosen, scene: Scene) -> Steps:
    """The steps of a fault for this request; a fault of the other kind of request gives way to its equivalent."""
    fault, parameter = chosen
    other = fault.streamed if scene.stream else fault.plain
    if other:
        name, _, given = other.partition(":")
        same = _kind(FAULTS[name].parameter) == _kind(fault.parameter)
        fault, parameter = FAULTS[name], given or (parameter if same else "")
    scene.parameter = parameter
    return fault.write(scene)
