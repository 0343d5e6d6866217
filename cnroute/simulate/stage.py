"""The real flow on a virtual clock: calls begin when they began on the day, and overlap as they would have.

Rules of this file
- Plans, admission, fallback, deadlines, breakers, budgets and bills are the router's own; only what waits is played.
- Time passes between events alone. Every waiting effect becomes an event, and events come in the order of time.
- What the attempt's limits would cut is cut, with the failure that the wire would have told.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from cnroute.chat import ChatCompletion
from cnroute.engine import Engine
from cnroute.errors import CallError, error_for
from cnroute.events import Finish, TextDelta, UsageUpdate
from cnroute.failures import Failure, FailureKind
from cnroute.flow.call import call_flow
from cnroute.flow.effects import Admit, Effect, Open, Read, Send, Sleep
from cnroute.flow.running import Call
from cnroute.http import HttpRequest, HttpResponse
from cnroute.notices import CallFinished
from cnroute.routing.deadline import Deadline
from cnroute.routing.health import Lease, Refusal
from cnroute.scope import Scope
from cnroute.settings import Timeouts
from cnroute.simulate.history import Fate, History
from cnroute.simulate.log import Recorded

K = FailureKind
# Where the monotonic clock begins; any number above 0.
_BEGINNING = 1000.0
_CHARACTERS_A_TOKEN = 4
_PER_MESSAGE = 4
# A vendor may count a thousand million tokens; no model takes so many, and no machine has to hold them.
_MOST_TOKENS = 10_000_000
_OK = 200


class VirtualClock:
    """Stands still until an event moves it. `wall` is Unix time at the beginning."""

    def __init__(self, wall: float) -> None:
        self.now = _BEGINNING
        self._wall = wall - _BEGINNING

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return self.now

    def time(self) -> float:
        """Unix seconds."""
        return self.now + self._wall

    def sleep(self, seconds: float) -> None:
        """Nobody sleeps here: waiting is an event."""
        raise AssertionError("the simulation does not sleep")

    def at(self, wall: float) -> float:
        """A Unix time on the monotonic clock."""
        return wall - self._wall


class NoWire:
    """The transport of a simulation: nothing is ever sent."""

    def send(self, request: HttpRequest, deadline: Deadline) -> HttpResponse:
        """Never called."""
        raise AssertionError("the simulation sends nothing")

    open = send

    def close(self) -> None:
        """Nothing is held."""


Told = Callable[["Play", CallFinished], None]


class Stage:
    """One simulated day: every call of it through one engine."""

    def __init__(self, clock: VirtualClock, history: History, fate: Callable[[Play, str, int], Fate], told: Told) -> None:
        self.clock = clock
        self.history = history
        self.fate = fate
        self.told = told
        self.current: Play
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def run(self, engine: Engine, calls: tuple[Recorded, ...], names: Mapping[str, str]) -> None:
        """Play every call to its end. `names` says under which name each route of the log is called here."""
        for index, call in enumerate(calls):
            play = Play(self, engine, index, call, names[call.route])
            self.at(self.clock.at(call.at or 0.0), play.begin)
        while self._events:
            self.clock.now, _, happen = heapq.heappop(self._events)
            happen()

    def at(self, instant: float, happen: Callable[[], None]) -> None:
        """Let something happen at an instant, not before now."""
        heapq.heappush(self._events, (max(instant, self.clock.now), next(self._order), happen))

    # -- what stands in for the vendors' dialects ------------------------------------------------------------

    def build_request(self, request: Any, deployment: Any, stream: bool) -> HttpRequest:
        """The simulated provider's request: as long as the prompt; refused where the real one was by everybody."""
        if self.history.own_fault(self.current.index) == "unsupported":
            raise error_for(Failure(K.UNSUPPORTED, "a parameter of this call, as on the day", billing="none"))
        return HttpRequest("POST", f"{deployment.base_url}/simulated", body=request.messages[-1].content.encode())

    def map_error(self, response: HttpResponse, deployment: Any) -> None:
        """Failures are thrown where they happen."""

    def parse_response(self, response: HttpResponse, deployment: Any) -> ChatCompletion:
        """The simulated answer."""
        fate = self.current.playing
        return ChatCompletion(text=_text_of(fate), finish_reason=fate.finish, usage=fate.usage, request_id="-", raw={})

    def parse_stream_line(self, line: str, state: Any, deployment: Any) -> tuple[Any, ...]:
        """The first content, and the end with its usage."""
        fate = self.current.playing
        if line == "content":
            return (TextDelta(_text_of(fate)),)
        if line == "end":
            usage = () if fate.usage is None else (UsageUpdate(fate.usage),)
            return (*usage, Finish(fate.finish))
        return ()


def _text_of(fate: Fate) -> str:
    """A text by whose length an answer without usage is estimated."""
    return "x" if fate.usage is not None else _worth(fate.tokens)


def _worth(tokens: int) -> str:
    """A text that is estimated at so many tokens."""
    return "x" * max(1, _CHARACTERS_A_TOKEN * min(tokens, _MOST_TOKENS))


class _Answering:
    """An open answer of the simulation."""

    status = _OK
    headers: Mapping[str, str] = {}

    def read(self) -> bytes:
        """Not asked: what is read comes when its time has come."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""


_NO_BODY = HttpResponse(_OK)
_ANSWERING = _Answering()
Next = tuple[Callable[[Any], Effect], Any]


@attrs.define(eq=False)
class Play:
    """One call while it is simulated; it hears its own notices and nobody else does."""

    stage: Stage
    engine: Engine
    index: int
    recorded: Recorded
    name: str
    playing: Fate = attrs.field(factory=lambda: Fate(0.0))
    origins: list[str] = attrs.field(factory=list)
    _scope: Scope = attrs.field(factory=Scope)
    _flow: Any = None
    _deadline: Deadline = attrs.field(init=False)
    _turn: int = 0
    _over: bool = False
    _asked: dict[str, int] = attrs.field(factory=dict)
    _shown: int = 0
    _opened: float = 0.0

    def begin(self) -> None:
        """The call begins now."""
        call = self._call()
        call.audience = self
        self._flow = call_flow(call)
        given_up = self.stage.history.given_up(self.index)
        if given_up is not None:
            self.stage.at(self.stage.clock.now + given_up, self._give_up)
        self._go_on((self._flow.send, None))

    def _call(self) -> Call:
        tokens = self.stage.history.input_tokens(self.index)
        text = _worth(tokens - _PER_MESSAGE)
        given = {"metadata": dict(self.recorded.metadata)} if self.recorded.metadata else {}
        return self.engine.call(text, self.name, given, self.recorded.stream)

    def limits(self) -> Timeouts:
        """The time limits of the attempt that runs."""
        return self._deadline.limits

    # -- notices ---------------------------------------------------------------------------------------------

    def hears(self, kind: type) -> bool:
        """Only the end counts."""
        return kind is CallFinished

    def notify(self, notice: Any) -> None:
        """Pass on the end of the call."""
        if isinstance(notice, CallFinished):
            self.stage.told(self, notice)

    # -- going on --------------------------------------------------------------------------------------------

    def _go_on(self, step: Next | None) -> None:
        """Let the flow run until it has to wait."""
        while step is not None:
            self._turn += 1
            self.stage.current = self
            try:
                effect = step[0](step[1])
            except (StopIteration, CallError):
                self._over = True
                self._scope.give_back()
                return
            step = _PERFORM[type(effect)](self, effect)

    def _later(self, instant: float, step: Callable[[], Next | None]) -> None:
        """Go on at an instant, unless the call has gone on by itself."""
        turn = self._turn

        def happen() -> None:
            if self._turn == turn and not self._over:
                self._go_on(step())

        self.stage.at(instant, happen)

    def _give_up(self) -> None:
        if not self._over:
            self._scope.cancel()
            self._go_on((self._flow.throw, error_for(Failure(K.CANCELLED, "the call was cancelled, as on the day"))))

    # -- effects ---------------------------------------------------------------------------------------------

    def _admit(self, effect: Admit) -> Next | None:
        self._scope.next_attempt(effect.deadline)
        lease = effect.place.health.admit(probe=effect.probe)
        if isinstance(lease, Refusal) and lease.reason == "full":
            return _Queue(self, effect, lease).join()
        return self.admitted(effect, lease)

    def admitted(self, effect: Admit, lease: Lease | Refusal) -> Next:
        """The answer to `effect`, with what budgets and rate limits say."""
        if isinstance(lease, Lease):
            self._scope.hold_lease(lease)
            if effect.claimed is not None:
                lease = effect.claimed.on(lease)
        return self._flow.send, lease

    def _sleep(self, effect: Sleep) -> None:
        self._scope.next_attempt(effect.deadline)
        self._later(self.stage.clock.now + effect.seconds, lambda: (self._flow.send, None))

    def _ask(self, effect: Send | Open) -> Fate:
        name = effect.place.deployment.name
        number = self._asked.get(name, 0)
        self._asked[name] = number + 1
        self._deadline, self._shown = effect.deadline, 0
        self._deadline.begun, self._deadline.written = True, self.stage.clock.now
        self._opened = self.stage.clock.now
        self.playing = self.stage.fate(self, name, number)
        self.origins.append(self.playing.origin)
        return self.playing

    def _send(self, effect: Send) -> None:
        fate = self._ask(effect)
        limit = self._opened + effect.deadline.limits.first_byte  # type: ignore[operator]
        self._until(fate, fate.seconds, min(limit, effect.deadline.at), K.FIRST_BYTE_TIMEOUT, _NO_BODY, effect)

    def _open(self, effect: Open) -> Next | None:
        fate = self._ask(effect)
        refused = fate.kind is not None and fate.first_content is None
        if refused and (math.isfinite(fate.seconds) or fate.kind == K.FIRST_BYTE_TIMEOUT):
            limit = self._opened + effect.deadline.limits.first_byte  # type: ignore[operator]
            self._until(fate, fate.seconds, min(limit, effect.deadline.at), K.FIRST_BYTE_TIMEOUT, None, effect)
            return None
        self._scope.hold_stream(_ANSWERING)
        return self._flow.send, _ANSWERING

    def _read(self, effect: Read) -> Next | None:
        fate, part = self.playing, self._shown
        self._shown += 1
        if part == 0 and (fate.kind is None or fate.first_content is not None):
            self._until(_WHOLE, self._content_at(fate), self._deadline.at, K.IDLE_TIMEOUT, b"content\n", effect)
        elif part <= 1:
            self._until(fate, fate.seconds, self._deadline.at, K.IDLE_TIMEOUT, b"end\n", effect)
        else:
            return self._came(b"", effect)
        return None

    def _came(self, result: Any, effect: Effect) -> Next | None:
        """The flow goes on with a result, unless more of the stream is to be read first."""
        if not isinstance(effect, Read) or effect.take is None:
            return self._flow.send, result
        return self._read(effect) if effect.take(result) else (self._flow.send, None)

    def _content_at(self, fate: Fate) -> float:
        """When a stream shows its first content. Where nobody knows it comes with the end, but breaks no limit."""
        if fate.first_content is not None:
            return min(fate.first_content, fate.seconds)
        return min(fate.seconds, max(0.0, self._deadline.at - self._opened - _INSIDE))

    def _until(self, fate: Fate, seconds: float, limit: float, cut: FailureKind, result: Any, effect: Effect) -> None:
        """Go on when the answer is there or has failed, or when a limit cuts it."""
        instant = self._opened + seconds
        if instant > limit or not math.isfinite(instant):
            self._later(limit, lambda: (self._flow.throw, error_for(Failure(cut, "no answer in time"))))
        elif fate.kind is not None:
            self._later(instant, lambda: (self._flow.throw, error_for(_failure(fate))))
        else:
            self._later(instant, lambda: self._came(result, effect))


_INSIDE = 0.01
_WHOLE = Fate(0.0)


def _failure(fate: Fate) -> Failure:
    billing = {} if fate.billing is None else {"billing": fate.billing}
    return Failure(str(fate.kind), "as in the log", retry_after=fate.retry_after, **billing)  # type: ignore[arg-type]


class _Queue:
    """One call that waits for a place at a deployment."""

    def __init__(self, play: Play, effect: Admit, full: Refusal) -> None:
        self._play = play
        self._effect = effect
        self._full = full
        self._stage = play.stage
        limit = min(effect.deadline.limits.pool, effect.deadline.remaining())
        self._until = self._stage.clock.now + limit
        effect.deadline.on_cancel(lambda: effect.place.health.leave_queue(self._called, took=False))

    def join(self, again: bool = False) -> Next | None:
        """Wait for a turn, at most until the limit."""
        if not self._effect.place.health.queue_up(self._called, again):
            return self._play.admitted(self._effect, self._full)
        if not again:
            self._play._later(self._until, lambda: self._leave(self._full))  # noqa: SLF001 (one file, one idea)
        return None

    def _called(self) -> None:
        self._play._later(self._stage.clock.now, self._ask)  # noqa: SLF001

    def _ask(self) -> Next | None:
        answer = self._effect.place.health.admit(probe=self._effect.probe)
        if isinstance(answer, Refusal) and answer.reason == "full":
            return self.join(again=True)
        return self._leave(answer)

    def _leave(self, answer: Lease | Refusal) -> Next:
        self._effect.place.health.leave_queue(self._called, isinstance(answer, Lease))
        return self._play.admitted(self._effect, answer)


_PERFORM: Mapping[type, Callable[[Play, Any], Next | None]] = {
    Admit: Play._admit,  # noqa: SLF001 (the table of this class)
    Send: Play._send,  # noqa: SLF001
    Open: Play._open,  # noqa: SLF001
    Read: Play._read,  # noqa: SLF001
    Sleep: Play._sleep,  # noqa: SLF001
}
