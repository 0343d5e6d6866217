"""Requests and tokens a minute, enforced as the vendors describe it.

DashScope (error codes): Throttling.RateQuota when a model is called too often, Throttling.AllocationQuota when its tokens
of the minute are used up, both with HTTP 429. MiniMax (error codes): 1002 and 1039 inside an HTTP 200. Neither page says
where a minute begins, so here it is any sixty seconds: the strictest reading. A request is counted with all of its
tokens when it is let in, and one that is refused is not counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from cnroute.emulator.exchange import Dialect

MINUTE = 60.0


class Allowance:
    """What one model allows in any ``seconds``; ``None`` is no limit."""

    def __init__(self, requests: int | None = None, tokens: int | None = None, seconds: float = MINUTE) -> None:
        self._limits = requests, tokens
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def refuses(self, tokens: int, now: float) -> str:
        """Why a request of so many tokens is refused (``rate_limit``, ``token_limit``); empty when it is let in."""
        with self._lock:
            while self._seen and self._seen[0][0] <= now - self._seconds:
                self._seen.popleft()
            requests, most = self._limits
            if requests is not None and len(self._seen) >= requests:
                return "rate_limit"
            if most is not None and sum(used for _, used in self._seen) >= most:
                return "token_limit"
            self._seen.append((now, tokens))
            return ""


class Allowances:
    """The allowances of all models, and the clock that they go by."""

    def __init__(self, limits: Mapping[str, Mapping[str, Any]] | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of = {model: Allowance(**limit) for model, limit in (limits or {}).items()}

    def check(self, dialect: Dialect) -> None:
        """Raise the vendor's own refusal where a model's allowance is used up."""
        allowance = self._of.get(dialect.ask.model)
        if allowance is not None:
            name = allowance.refuses(dialect.answer().total_tokens, self._clock())
            if name:
                raise dialect.refusal(name)
