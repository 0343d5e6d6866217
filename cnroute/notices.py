"""What an observer is told. One object per event; every object of one call carries the same `call_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.failures import Attempt

if TYPE_CHECKING:
    from cnroute.chat import Usage
    from cnroute.errors import CallError
    from cnroute.money import Bill, Cost


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """A deployment was admitted and is about to be asked. `number` counts from 1."""

    call_id: str
    route: str
    deployment: str
    provider: str
    model: str
    number: int
    stream: bool
    metadata: Mapping[str, str]


@attrs.frozen(kw_only=True)
class AttemptFinished:
    """An attempt ended; `attempt` says how. `decision` is what comes next: `done`, `again`, `next`, `stop`."""

    call_id: str
    route: str
    model: str
    stream: bool
    attempt: Attempt
    decision: str
    metadata: Mapping[str, str]


@attrs.frozen(kw_only=True)
class AttemptSkipped:
    """A candidate was refused before anything was sent; `reason` is a failure kind, `detail` says why."""

    call_id: str
    route: str
    deployment: str
    provider: str
    reason: str
    detail: str
    metadata: Mapping[str, str]


@attrs.frozen(kw_only=True)
class CallFinished:
    """A call ended: exactly one per call. `outcome` is `ok` or a failure kind; `seconds` covers all of it.

    `prompt` (the last message) and `text` (the answer) are filled in only under `log_content=True`.
    """

    call_id: str
    route: str
    stream: bool
    outcome: str
    seconds: float
    attempts: tuple[Attempt, ...]
    deployment: str | None
    provider: str | None
    model: str | None
    finish_reason: str | None
    usage: Usage | None
    cost: Cost | None
    bill: Bill | None
    error: CallError | None
    _plan: Any = attrs.field(alias="plan", repr=False)
    metadata: Mapping[str, str]
    prompt: str | None = attrs.field(default=None, repr=False)
    text: str | None = attrs.field(default=None, repr=False)

    @property
    def plan(self) -> Any:
        """The `Plan` that the call followed. It is put together when it is asked for."""
        return self._plan() if callable(self._plan) else self._plan


Notice = AttemptStarted | AttemptFinished | AttemptSkipped | CallFinished
