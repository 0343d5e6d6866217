"""What an observer is told. One object per event; every object of one call carries the same `call_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from cnroute.failures import Attempt

if TYPE_CHECKING:
    from cnroute.chat import Message, Usage
    from cnroute.errors import CallError
    from cnroute.money import Bill, Cost


@attrs.frozen(kw_only=True, slots=False)
class CallStarted:
    """A call begins; told in the thread or task of the caller, a stream's when it is first read.

    `messages` are filled in only under `log_content=True`.
    """

    call_id: str
    route: str
    stream: bool
    metadata: Mapping[str, str]
    messages: tuple[Message, ...] | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True, slots=False)
class AttemptStarted:
    """A deployment was admitted and is about to be asked. `number` counts from 1.

    `parameters` are the numbers that are asked for, by their names in a call: `temperature`, `top_p`, `max_tokens`,
    `seed`; those that nobody gave are left out. `base_url` is the deployment's.
    """

    call_id: str
    route: str
    deployment: str
    provider: str
    model: str
    number: int
    stream: bool
    metadata: Mapping[str, str]
    base_url: str = ""
    parameters: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, slots=False)
class AttemptFinished:
    """An attempt ended; `attempt` says how. `decision` is what comes next: `done`, `again`, `next`, `stop`.

    `first_content`: seconds from its start to a stream's first content, None before it and for a plain call.
    `deltas`: how many a stream has handed out. `finish_reason`, `response_id` and `response_model` are the vendor's.
    """

    call_id: str
    route: str
    model: str
    stream: bool
    attempt: Attempt
    decision: str
    metadata: Mapping[str, str]
    first_content: float | None = None
    deltas: int = 0
    finish_reason: str | None = None
    response_id: str | None = None
    response_model: str | None = None


@attrs.frozen(kw_only=True, slots=False)
class AttemptSkipped:
    """A candidate was refused before anything was sent; `reason` is a failure kind, `detail` says why."""

    call_id: str
    route: str
    deployment: str
    provider: str
    reason: str
    detail: str
    metadata: Mapping[str, str]


@attrs.frozen(kw_only=True, slots=False)
class CallFinished:
    """A call ended: exactly one per call. `outcome` is `ok` or a failure kind; `seconds` covers all of it.

    `started`: Unix seconds at which it began, by the wall clock at its end.
    `first_content`: seconds from the call's start to a stream's first content. A call that was cancelled before it
    began has this notice alone.
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
    first_content: float | None = None
    started: float | None = None

    @property
    def plan(self) -> Any:
        """The `Plan` that the call followed. It is put together when it is asked for."""
        return self._plan() if callable(self._plan) else self._plan


@attrs.frozen(kw_only=True, slots=False)
class BudgetOverrun:
    """A vendor charged more for an attempt than was reserved as its upper bound; the whole amount counts as spent.

    `reserved` and `spent` are amounts in `currency`, as text.
    """

    call_id: str
    route: str
    deployment: str
    provider: str
    reserved: str
    spent: str
    currency: str
    metadata: Mapping[str, str]


@attrs.frozen(kw_only=True, slots=False)
class StoreChanged:
    """A shared store went away (`degraded`, with the reason) or came back (`restored`). No call fails for it."""

    store: str
    state: str
    reason: str


@attrs.frozen(kw_only=True, slots=False)
class KnowledgeFinished:
    """An operation of a knowledge client ended: exactly one per operation. `outcome` is `ok` or a failure kind.

    `operation` is the method's name. `ids` are the `files` and `bases` that the vendor has of it, after a failure as its
    own lists tell where `looked` is true.
    """

    call_id: str
    operation: str
    outcome: str
    deployment: str
    seconds: float
    attempts: tuple[Attempt, ...]
    ids: Mapping[str, tuple[int, ...]]
    looked: bool
    error: CallError | None


Notice = (
    CallStarted | AttemptStarted | AttemptFinished | AttemptSkipped | CallFinished | BudgetOverrun | StoreChanged
    | KnowledgeFinished
)
