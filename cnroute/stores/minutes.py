"""What was asked of one deployment in the last minute, against the vendor's allowance.

Rules of this file
- A vendor's minute may begin at any instant, so no 60 seconds may hold more than the allowance: what was asked counts
  for a minute and a margin, in which an early request may arrive late and a late one early.
- Tokens are reserved by their upper bound and corrected by what the vendor counted.
- A 429 that comes nevertheless says that somebody else uses the same allowance: less of it is used for a while.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from cnroute.accounts import Denial, Draft, Hold

# Seconds for which a request counts after the second in which it was sent.
COUNTS_FOR = 61.0
# After a 429 so much of the allowance is used; at most one step in so many seconds; and so much comes back each minute.
SMALLER, STEP_SECONDS, LEAST, BACK_PER_MINUTE = 0.8, 5.0, 0.1, 0.05


@attrs.define(eq=False)
class _Second:
    """What was asked in one second; `counts` until it is over a minute old."""

    at: int
    requests: int = 0
    tokens: int = 0
    counts: bool = True


class Minutes:
    """The last minute of one deployment. All times are of the monotonic clock."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()
        self._requests = 0
        self._tokens = 0
        self._share = 1.0
        self._shrunk = -math.inf

    def denies(self, draft: Draft, now: float) -> Denial | None:
        """Why the draft must wait, and for how long; None when it need not."""
        self._forget(now)
        share = self.share(now)
        requests, tokens = allowed(draft.requests_per_minute, share), allowed(draft.tokens_per_minute, share)
        too_many = self._requests + 1 - requests, self._tokens + min(draft.tokens, tokens) - tokens
        if too_many[0] <= 0 and too_many[1] <= 0:
            return None
        return throttled(draft, too_many[0] > 0, share, self._until(*too_many) - now)

    def _until(self, requests: float, tokens: float) -> float:
        """The instant at which so much of what was asked no longer counts."""
        last = 0
        for second in self._seconds:
            last, requests, tokens = second.at, requests - second.requests, tokens - second.tokens
            if requests <= 0 and tokens <= 0:
                break
        return last + 1 + COUNTS_FOR

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at + 1 + COUNTS_FOR <= now:
            old = self._seconds.popleft()
            old.counts = False
            self._requests -= old.requests
            self._tokens -= old.tokens

    def draw(self, hold: Hold) -> None:
        """Count the hold's request and its tokens."""
        draft, at = hold.claim.draft, math.floor(hold.clock.monotonic())
        assert draft is not None  # noqa: S101 (the store asked)
        if not self._seconds or self._seconds[-1].at < at:
            self._seconds.append(_Second(at))
        second = self._seconds[-1]
        tokens = int(min(draft.tokens, allowed(draft.tokens_per_minute, 1.0)))
        hold.drawn = second, tokens
        self._count(second, 1, tokens)

    def correct(self, hold: Hold) -> None:
        """What was really asked and used. A second time changes nothing."""
        if hold.drawn is None:
            return
        (second, tokens), hold.drawn = hold.drawn, None
        if second.counts and (hold.tokens is not None or not hold.begun):
            self._count(second, 0 if hold.begun else -1, (hold.tokens or 0) - tokens)
        if hold.throttled:
            self._shrink(hold.clock.monotonic())

    def _count(self, second: _Second, requests: int, tokens: int) -> None:
        second.requests += requests
        second.tokens += tokens
        self._requests += requests
        self._tokens += tokens

    def share(self, now: float) -> float:
        """The part of the allowance that is used now."""
        return 1.0 if self._share >= 1.0 else min(1.0, self._share + BACK_PER_MINUTE * (now - self._shrunk) / 60)

    def _shrink(self, now: float) -> None:
        """Calls that were on the way together are refused together: they count once."""
        if now - self._shrunk >= STEP_SECONDS:
            self._share, self._shrunk = max(LEAST, self.share(now) * SMALLER), now


def allowed(per_minute: int | None, share: float) -> float:
    """So much may be asked in a minute; never less than one, or nothing would ever be learned."""
    return math.inf if per_minute is None else max(1, math.floor(per_minute * share))


def throttled(draft: Draft, requests: bool, share: float, wait: float) -> Denial:
    """The words of a refusal by rate limit."""
    what = f"{draft.requests_per_minute} requests" if requests else f"{draft.tokens_per_minute} tokens"
    less = "" if share >= 1.0 else f", of which {share:.0%} are used since the vendor refused calls"
    wait = max(0.0, wait)
    inputs = {
        "requests_per_minute" if requests else "tokens_per_minute":
            draft.requests_per_minute if requests else draft.tokens_per_minute,
        "share": round(share, 3), "seconds": round(wait, 3),
    }
    return Denial("throttled", f"its rate limit of {what} a minute{less} is used up for {wait:.1f} s more", wait, inputs)
