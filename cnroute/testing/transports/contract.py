"""The contract of transports, to be subclassed in a pytest file."""

from __future__ import annotations

from typing import ClassVar

from cnroute.testing.contract.checking import Contract, check, fail
from cnroute.testing.transports.answers import AnswerChecks
from cnroute.testing.transports.base import FLAGS
from cnroute.testing.transports.binding import BindingChecks
from cnroute.testing.transports.cancelling import CancelChecks
from cnroute.testing.transports.errors import ErrorChecks
from cnroute.testing.transports.groups import PROCESS
from cnroute.testing.transports.limits import LimitChecks, SizeChecks
from cnroute.testing.transports.places import PlaceChecks
from cnroute.testing.transports.process import ProcessChecks
from cnroute.testing.transports.streams import StreamChecks

VERSION = 1
"""The number in the closing line; it changes when a check is added or made stricter."""


class TransportContract(
    AnswerChecks,
    StreamChecks,
    LimitChecks,
    SizeChecks,
    CancelChecks,
    PlaceChecks,
    ErrorChecks,
    BindingChecks,
    ProcessChecks,
    Contract,
    root=True,
):
    """Everything that a router relies on, proved against a raw server on loopback.

    Subclass it in a pytest file and define `make_transport()`, or set `transport` to the name that your plugin's
    `create_transport` answers to. Flags say what a transport cannot do; each is compared with what it does, and shown in
    the closing table. `slack` is by how many seconds a busy machine may miss a promised time.
    """

    contract_kind: ClassVar[str] = "transport contract"
    contract_version: ClassVar[int] = VERSION

    @classmethod
    def contract_notes(cls) -> list[str]:
        """What stands below the closing table: the flags that are switched off."""
        return [f"{name} = False: it does not promise that {what}" for name, what in FLAGS.items() if not getattr(cls, name)]

    @check(PROCESS)
    def test_no_check_is_overridden_or_deleted(self) -> None:
        """Every check is the kit's own, unless it is marked xfail with a reason."""
        wrong = self.tampering()
        if wrong:
            change = "take it out, or mark it xfail with a reason"
            fail("no check is overridden or deleted", expected="the kit's own checks", got="; ".join(wrong), change=change)


CHECKS = TransportContract.contract_checks()
"""Every check by its name, in the order of the groups."""
