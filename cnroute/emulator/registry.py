"""The table of faults: each has a name, one line of description, and a generator that yields its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnroute.emulator.steps import Scene, Steps

Writer = Callable[[Scene], Steps]
WHERE = ("both", "plain", "stream", "connection")


@dataclass(slots=True, frozen=True)
class Fault:
    """One way in which a vendor, or the network in front of it, can behave.

    ``applies`` says where it means something: ``plain`` requests, ``stream`` requests, ``both``, or ``connection``
    (scripted under the model name ``@connect``, before any request). A fault of streams has its nearest equivalent for
    plain requests in ``plain``, and a fault of plain answers may name one for streams in ``streamed``.
    ``parameter`` shows what may follow the name behind a colon. ``early`` faults act before the request body is read.
    """

    name: str
    description: str
    write: Writer
    applies: str = "both"
    plain: str = ""
    streamed: str = ""
    parameter: str = ""
    early: bool = False


FAULTS: dict[str, Fault] = {}


def fault(name: str, description: str, applies: str = "both", *, plain: str = "", streamed: str = "", parameter: str = "",
          early: bool = False) -> Callable[[Writer], Writer]:  # fmt: skip
    """Enter the decorated generator into the table."""
    if name in FAULTS or applies not in WHERE:
        raise ValueError(f"fault {name!r} is entered twice or applies nowhere")

    def enter(write: Writer) -> Writer:
        FAULTS[name] = Fault(name, description, write, applies, plain, streamed, parameter, early)
        return write

    return enter


def enter_all(rows: dict[str, str], make: Callable[[str], Writer], applies: str = "both", **options: str) -> None:
    """Enter a family of faults that differ in one word; ``rows`` maps names to descriptions."""
    for name, description in rows.items():
        fault(name, description, applies, **options)(make(name))  # type: ignore[arg-type]
