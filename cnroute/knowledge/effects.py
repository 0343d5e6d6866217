"""The steps of an operation that may wait, beside those of a call (`cnroute.flow.effects`).

| effect | result sent back | errors thrown in |
|---|---|---|
| Begin | None | `cancelled` |
| Turn | Ticket | `cancelled`, `deadline_exceeded` |
| Work | what the function returns | any CallError of the function |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind
from cnroute.flow.effects import Effect
from cnroute.knowledge.turns import Ticket, Turns
from cnroute.routing.deadline import Deadline


@attrs.define(eq=False)
class Begin:
    """Another exchange begins: what the one before holds is given back, and from now on `deadline` is cancelled."""

    deadline: Deadline


@attrs.define(eq=False)
class Turn:
    """Wait until no other operation of this client is changing the base `key`."""

    turns: Turns
    key: int
    deadline: Deadline

    def granted(self, ticket: Ticket) -> Ticket:
        """The ticket, whose turn must have come. Raises DeadlineExceededError."""
        if not ticket.ready:
            text = "other operations of this client on the same base took all the time"
            raise error_for(Failure(FailureKind.DEADLINE_EXCEEDED, text, billing="none"))
        return ticket


@attrs.define(eq=False)
class Work:
    """Something that waits for a disk: reading, writing, renaming."""

    function: Callable[[], Any]


Step = Effect | Begin | Turn | Work
