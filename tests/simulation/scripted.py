"""Clock, transport and streams of a script: every step of them is told to the stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cnroute
from cnroute.http import HttpResponse
from tests.simulation.script import BODY, STEPS, Exchange

if TYPE_CHECKING:
    from tests.simulation.stage import Stage


class VirtualClock(cnroute.testing.FakeClock):
    """Sleeping tells the world."""

    world: Stage

    def sleep(self, seconds: float) -> None:
        self.world.slept(seconds)


class ScriptedTransport:
    """The transport of a whole script; each deployment gets its own view."""

    def __init__(self, world: Stage) -> None:
        self.world = world
        self.closed = False

    def bind(self, deployment: cnroute.Deployment) -> Bound:
        return Bound(self.world, deployment.name)

    def send(self, request: Any, deadline: Any) -> Any:
        raise AssertionError("only bound transports send")

    open = send

    def close(self) -> None:
        self.closed = True


class Bound:
    """The scripted vendor behind one deployment."""

    def __init__(self, world: Stage, name: str) -> None:
        self._world = world
        self._name = name

    def send(self, request: Any, deadline: Any) -> HttpResponse:
        exchange = self._world.begin(self._name, request, deadline, False)
        for step in range(len(STEPS)):
            self._world.wait(exchange, deadline, step)
        answer = exchange.fate.answer
        exchange.ended = True
        return HttpResponse(answer.status, self._world.headers(answer), answer.body)

    def open(self, request: Any, deadline: Any) -> ScriptedStream:
        exchange = self._world.begin(self._name, request, deadline, True)
        for step in range(BODY):
            self._world.wait(exchange, deadline, step)
        return ScriptedStream(self._world, exchange, deadline)


class ScriptedStream:
    """An open answer."""

    def __init__(self, world: Stage, exchange: Exchange, deadline: Any) -> None:
        self._world = world
        self._exchange = exchange
        self._deadline = deadline
        self._next = iter(exchange.fate.reads)
        self.status = exchange.fate.answer.status
        self.headers = world.headers(exchange.fate.answer)
        exchange.opened, exchange.closed = True, False

    def read(self) -> bytes:
        world, exchange = self._world, self._exchange
        world.must(not exchange.closed, "closed stream", "a closed stream was read")
        seconds, what = next(self._next, (0.0, b""))
        hangs = what == "hang"
        world.pause(exchange, self._deadline, BODY, math.inf if hangs else seconds, exchange.limits.idle)
        if isinstance(what, str):
            world.fail(exchange, what)
        if not what:
            exchange.ended = True
        exchange.given += len(what)
        return what

    def close(self) -> None:
        self._exchange.closed = True
