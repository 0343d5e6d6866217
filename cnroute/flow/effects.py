"""The steps of a call that may wait. The flow yields them, a driver performs them and sends the result back.

| effect | result sent back | errors thrown in |
|---|---|---|
| Admit | Lease or Refusal | `cancelled` |
| Send | HttpResponse | any CallError of the transport |
| Open | the opened stream: `status`, `headers` | any CallError of the transport |
| Read | bytes, b"" at the end; with `take` whether it is to be performed again | any CallError of the transport |
| Sleep | None | `cancelled` |

Whatever must be given back (lease, open stream) is kept by the driver's scope as well, which ends it when the
flow moves on or ends in any way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from cnroute.http import HttpRequest
from cnroute.routing.deadline import Deadline
from cnroute.routing.plan import Place

if TYPE_CHECKING:
    from cnroute.routing.limits import Claimed


@attrs.define(eq=False)
class Admit:
    """Ask for a lease at `place`; `probe` asks for the one probe of an open breaker before its time.

    `claimed`: what budgets and rate limits have to grant beside the place.
    """

    place: Place
    deadline: Deadline
    probe: bool = False
    claimed: Claimed | None = None


@attrs.define(eq=False)
class Send:
    """Send a request and read the whole answer."""

    place: Place
    request: HttpRequest
    deadline: Deadline


@attrs.define(eq=False)
class Open:
    """Send a request and read the head of the answer."""

    place: Place
    request: HttpRequest
    deadline: Deadline


@attrs.define(eq=False)
class Read:
    """Read what has arrived; with `take` again and again, each piece given to it, until it returns False.

    So a stream is read without a turn through the flow for each piece: while the result is True, the effect is performed
    again. What `take` makes of a piece is handed to the consumer before the next one is read.
    """

    take: Callable[[bytes], bool] | None = None


@attrs.define(eq=False)
class Sleep:
    """Wait so many seconds."""

    seconds: float
    deadline: Deadline


Effect = Admit | Send | Open | Read | Sleep
