"""Outages that are to be tried: `DEPLOYMENT@FROM-TO[=KIND]`, each at the clocks of the place."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from cnroute.errors import ConfigurationError
from cnroute.failures import FailureKind
from cnroute.settings import Timeouts
from cnroute.simulate.history import CALLERS, LOCAL, OWN_FAULTS, Fate
from cnroute.simulate.log import HOME, moment

K = FailureKind
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00")
_DAY = 86_400
_SOON = 0.1
# How long an attempt hangs before it fails, by the limit that ends it; every other kind fails soon.
_HANGS: Mapping[str, Callable[[Timeouts], float]] = {
    "connect_timeout": lambda limits: limits.connect, "tls_timeout": lambda limits: limits.connect,
    "write_timeout": lambda limits: limits.write, "first_byte_timeout": lambda limits: float("inf"),
    "first_token_timeout": lambda limits: float("inf"), "idle_timeout": lambda limits: limits.idle,
}
KINDS = tuple(
    kind.value for kind in K
    if kind.value not in OWN_FAULTS | CALLERS | LOCAL | {"deadline_exceeded", "stream_interrupted", "plugin_error"}
)


@attrs.frozen
class Outage:
    """A deployment fails by `kind` from one time to another: times of every day, or two instants in Unix seconds."""

    deployment: str
    start: float
    end: float
    daily: bool
    kind: str
    text: str

    def covers(self, deployment: str, at: float) -> bool:
        """Whether an attempt that begins `at` (Unix seconds) fails."""
        if deployment != self.deployment:
            return False
        if not self.daily:
            return self.start <= at < self.end
        local = datetime.datetime.fromtimestamp(at, HOME)
        now = local.hour * 3600 + local.minute * 60 + local.second
        inside = self.start <= now < self.end
        return inside if self.start < self.end else self.start <= now or now < self.end

    def fate(self, limits: Timeouts) -> Fate:
        """What becomes of such an attempt."""
        hangs = _HANGS.get(self.kind)
        return Fate(_SOON if hangs is None else hangs(limits), self.kind, origin="outage")


def outage(text: str) -> Outage:
    """`yi@10:00-12:00`, `yi@2026-11-01T10:00-2026-11-01T12:00=server_error`. Raises ConfigurationError."""
    name, mark, rest = text.rpartition("@")
    times, _, kind = rest.partition("=")
    if not mark or not name:
        raise ConfigurationError(f"write DEPLOYMENT@FROM-TO, such as yi@10:00-12:00, not {text!r:.80}", "outage")
    kind = kind or K.CONNECT_ERROR.value
    if kind not in KINDS:
        raise ConfigurationError(f"{kind!r:.40} is no failure of a vendor; known are {', '.join(KINDS)}", "outage")
    pairs = [(times[:place], times[place + 1 :]) for place, letter in enumerate(times) if letter == "-"]
    for read, daily in ((_of_day, True), (_instant, False)):
        for first, last in pairs:
            start, end = read(first), read(last)
            if start is not None and end is not None:
                return _checked(Outage(name, start, end, daily, kind, text))
    raise ConfigurationError(f"{times!r:.80} is no span of time; write 10:00-12:00, or two dates with times", "outage")


def _checked(found: Outage) -> Outage:
    if found.start == found.end or (not found.daily and found.end < found.start):
        raise ConfigurationError(f"the outage ends before it begins: {found.text!r:.80}", "outage")
    return found


def _of_day(text: str) -> float | None:
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(_DAY if match[0] == "24:00" else hours * 3600 + minutes * 60 + seconds)


def _instant(text: str) -> float | None:
    try:
        return moment(text.strip())
    except ValueError:
        return None


def in_force(outages: tuple[Outage, ...], deployment: str, at: float) -> Outage | None:
    """The first outage that covers an attempt."""
    return next((each for each in outages if each.covers(deployment, at)), None)


def as_data(outages: tuple[Outage, ...]) -> list[dict[str, Any]]:
    """The outages as the report carries them."""
    return [{"deployment": each.deployment, "when": each.text.rpartition("@")[2], "kind": each.kind} for each in outages]
