"""What reliability S6 and S7 say of one deployment, in as few lines as possible; nothing of it is shared with the code."""

from __future__ import annotations

from cnroute.settings import Breaker

# contract, section 4, last column
COUNTS = frozenset((
    "dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout", "server_error", "vendor_timeout",
    "write_timeout", "first_byte_timeout", "first_token_timeout", "idle_timeout", "connection_lost", "protocol_error",
    "decode_error", "bad_response", "response_too_large", "redirect",
))
THROTTLED = frozenset(("rate_limit", "overloaded"))
COOLED = {"auth": 60, "permission": 60, "tls_verify": 60, "quota": 600, "model_not_found": 600}


class Model:
    """Breaker, cool-down and leases of one deployment. `opened` holds the bounds in which it must reopen."""

    def __init__(self, breaker: Breaker | None, places: int = 10**9) -> None:
        self.breaker = breaker
        self.places = places
        self.in_flight = 0
        self.open = False
        self.probe_out = False
        self.in_a_row = 0
        self.recent: list[tuple[float, bool]] = []
        self.open_for = 0.0
        self.reopens = (0.0, 0.0)
        self.cool_until = 0.0
        self.growth = 0.0

    def verdict(self, now: float, early: bool = False) -> str:
        """What an admission at `now` must get: `yes`, `probe`, or the reason of its refusal."""
        if self.breaker is not None:
            if self.cool_until > now:
                return "cooling_down"
            if self.open and self.probe_out:
                return "probe_out"
            if self.open and self.reopens[0] > now and not early:
                return "breaker_open"
        if self.in_flight >= self.places:
            return "full"
        return "probe" if self.open else "yes"

    def took(self) -> bool:
        """A lease was handed out; true if it holds the probe."""
        self.in_flight += 1
        self.probe_out = self.probe_out or self.open
        return self.open

    def ended(
        self, now: float, probe: bool, kind: str | None, counted: bool = True, retry_after: float | None = None,
        grown: float = 0.0,
    ) -> None:
        """A lease came back: `kind` is None for success, `cancelled` says nothing of the vendor.

        `grown` is `growth` as it was when the lease was handed out: of calls that were refused together one makes it grow.
        """
        self.in_flight -= 1
        if probe:
            self.probe_out = False
        if self.breaker is None or kind in ("cancelled", "closed"):
            return
        if kind is None:
            self._good(now, probe)
            return
        self._cool(now, kind, retry_after, grown)
        if kind in COUNTS and counted:
            self._bad(now, probe, self.breaker)

    def _good(self, now: float, probe: bool) -> None:
        self.in_a_row, self.growth = 0, 0.0
        self.recent.append((now, True))
        if self.open and probe:
            self.open, self.open_for, self.recent = False, 0.0, []

    def _cool(self, now: float, kind: str, retry_after: float | None, grown: float) -> None:
        seconds: float = COOLED.get(kind, 0)
        if kind in THROTTLED:
            self.growth = self.growth if self.growth > grown else min(60.0, self.growth * 2) or 0.25
            seconds = self.growth if retry_after is None else min(300.0, retry_after)
        if seconds:
            self.cool_until = max(self.cool_until, now + seconds)

    def _bad(self, now: float, probe: bool, breaker: Breaker) -> None:
        self.in_a_row += 1
        self.recent.append((now, False))
        within = [good for at, good in self.recent if at > now - breaker.window]
        share = within.count(False) / len(within)
        tripped = self.in_a_row >= breaker.failures or (len(within) >= breaker.min_calls and share >= breaker.ratio)
        if probe if self.open else tripped:
            self.open = True
            self.open_for = min(breaker.max_open, self.open_for * 2 or breaker.open_for)
            wide = self.open_for * breaker.jitter
            self.reopens = (now + self.open_for - wide, now + self.open_for + wide)

    def pin(self, reopens: float) -> bool:
        """The instant that was really drawn; false if it lies outside of the bounds."""
        low, high = self.reopens
        self.reopens = (reopens, reopens)
        return low - 1e-9 <= reopens <= high + 1e-9
