"""A clock that stands still until somebody moves it."""

from __future__ import annotations


class FakeClock:
    """Give it to a router as `clock=`. `sleep` moves it on at once and notes the pauses in `slept`."""

    def __init__(self, now: float = 1000.0, wall: float = 1_790_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds on the monotonic clock."""
        return self._now

    def time(self) -> float:
        """Unix seconds."""
        return self._wall

    def sleep(self, seconds: float) -> None:
        """Note the pause and let the time pass."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds
        self._wall += seconds
