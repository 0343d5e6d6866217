"""A simulated world: a real `Router` on a virtual clock, over vendors whose every fault is drawn from a seed.

Rules of this file
- What must be true is derived from the script (what was sent, what was let through, what broke and when) by the
  words of the contract and of reliability section 1, never from the code under test.
- A script is one router and one to eight calls in a row; the same seed makes the same script.
- `run(seed)` gives a `World`; `broken` holds one line per violated property, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from cnroute.errors import CallError
from tests.simulation.checking import Checking
from tests.simulation.script import TICK, CallLog


class World(Checking):
    """One script: a router, its vendors, its calls, and the list of what went wrong."""

    def play(self) -> World:
        """Run the whole script."""
        rng = self.rng
        held: list[tuple[CallLog, Iterator[None]]] = []
        for index in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 8))):
            self._change_weather()
            self.clock.advance(rng.choice((0.0, 0.01, 0.5, 3.0, 20.0, 90.0, 700.0) if rng.random() < 0.7 else (0.0,)))
            call, running = self._call(index)
            if next(running, "over") != "over":
                held.append((call, running))
            if held and rng.random() < 0.5:
                self._resume(held.pop(0))
            if self.closed:
                break
        for each in held:
            self._resume(each)
        self._at_rest()
        return self

    def _resume(self, one: tuple[CallLog, Iterator[None]]) -> None:
        self.current = one[0]
        for _ in one[1]:
            pass

    def _change_weather(self) -> None:
        for name in self.dialects:
            if name not in self.weather or self.rng.random() < 0.25:
                self.weather[name] = (self.rng.choice((0.0, 0.2, 0.5, 0.9, 1.0)), self.rng.choice(self._favourites()))

    def _favourites(self) -> tuple[str | None, ...]:
        """Without a breaker nothing but the back-off keeps to a vendor's Retry-After: there it is met more often."""
        usual = (None, None, None, "wire", "hang", "rate_limit", "overloaded", "server_error", "stream")
        return usual if self.breaker is not None else (*usual, *("rate_limit", "overloaded") * 8)

    def _call(self, index: int) -> tuple[CallLog, Iterator[None]]:
        rng = self.rng
        timeout = rng.choice((None, 0.3, 0.7, 1.0, 1.1, 2.0, 8.0, 30.0, 60.0))
        stream = rng.random() < 0.55
        call = CallLog(index, stream, list(self.dialects), self.clock.monotonic(), timeout or float(self.timeouts.total))
        self.calls.append(call)
        self.current = call
        arguments: dict[str, Any] = {
            "model": "chat", "timeout": timeout, "metadata": {"call_id": f"call-{index}"}, "max_tokens": 99
        }
        text = f"#{index}# hi"
        if rng.random() < 0.06:
            arguments["temperature"] = 1.7  # only DashScope takes it
        if rng.random() < 0.05:
            call.fussy, text = True, text + " boom"
        if rng.random() < 0.06:
            call.max_cost = rng.choice((Decimal("0.0003"), Decimal("0.005"), Decimal(1)))
            arguments["max_cost"] = call.max_cost
        if rng.random() < 0.1:
            call.break_at, call.breaks = rng.randint(1, 9), self._breaker_of(call)
        return call, (self._stream if stream else self._plain)(call, text, arguments)

    def _breaker_of(self, call: CallLog) -> Callable[[], None]:
        def close_router() -> None:
            self.closed = True
            self.router.close()

        if not call.stream:
            return close_router
        return self.rng.choice((lambda: call.handle.cancel(), lambda: call.handle.close(), close_router))  # noqa: PLW0108 (made later)

    def _plain(self, call: CallLog, text: str, arguments: dict[str, Any]) -> Iterator[None]:
        call.entered = self.clock.monotonic()
        try:
            call.reply = self.router.chat(text, **arguments)
            call.outcome = "ok"
        except CallError as error:
            call.error, call.outcome = error, error.kind.value
        self._finish(call)
        return
        yield

    def _stream(self, call: CallLog, text: str, arguments: dict[str, Any]) -> Iterator[None]:
        rng = self.rng
        call.handle = self.router.stream(text, **arguments)
        way = rng.choice(("all",) * 8 + ("start", "close", "cancel", "drop", "hold", "hold", "slow", "late"))
        after = rng.randint(0 if way in ("close", "cancel", "hold") else 1, 3)
        if way == "late":
            self.clock.advance(rng.choice((0.1, 0.5, 0.9, 1.0)) * call.total)
        if way == "start":
            self._step(call, call.handle.start)
        while call.outcome is None:
            if len(call.deltas) >= after and way in ("close", "cancel", "drop", "hold"):
                if way == "hold":
                    yield
                    self.current, way = call, "all"
                    continue
                self._leave(call, way)
                break
            if way == "slow":
                self.clock.advance(rng.choice((0.0, 0.1, 0.6, 5.0)))
            self._step(call, lambda: call.deltas.append(next(call.handle)))
        self._finish(call)

    def _step(self, call: CallLog, action: Callable[[], Any]) -> None:
        """One step of the consumer: its own time is not the router's fault."""
        call.entered = self.clock.monotonic()
        try:
            action()
        except StopIteration:
            call.outcome = "ok" if call.handle._answer is not None else "closed"
            call.reply = call.handle.completion if call.outcome == "ok" else None
        except CallError as error:
            call.error, call.outcome = error, error.kind.value
        self._check_time(call)

    def _leave(self, call: CallLog, way: str) -> None:
        begun, over = call.handle._begun, call.handle._over
        if way == "cancel":
            call.handle.cancel()
            while call.outcome is None:  # what had arrived at a call that was over is still handed out
                self._step(call, lambda: call.deltas.append(next(call.handle)))
            self.must(call.outcome == "cancelled" or over, "outcome", f"{call.outcome} after cancel()")
        elif way == "close":
            call.handle.close()
            self._step(call, lambda: call.deltas.append(next(call.handle)))
            self.must(call.outcome in ("closed", "ok"), "outcome", f"{call.outcome} after close()")
        else:
            call.handle = None
            call.outcome = "closed"
        if not begun:
            call.outcome = "never begun"

    def _check_time(self, call: CallLog) -> None:
        now = self.clock.monotonic()
        self.must(now <= max(call.ends, call.entered) + TICK, "deadline", f"{now - call.ends:.6f} s past it")


def run(seed: int, records: bool = False) -> World:
    """The script of `seed`, played to its end. `records`: keep the record of every call in `trace`."""
    return World(seed, records).play()
