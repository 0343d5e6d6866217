"""A local server that speaks the vendors' dialects, with every fault that a client should survive.

Written from the vendors' documents alone, so that it is a second reading of them beside the providers. It binds loopback
only, makes no outbound request, and uses nothing but the standard library.
"""

from __future__ import annotations

from cnroute.emulator.faults import FAULTS, Fault
from cnroute.emulator.knowledge import StoredBase, StoredDocument, StoredFile
from cnroute.emulator.received import Received
from cnroute.emulator.server import Emulator, main

__all__ = ["FAULTS", "Emulator", "Fault", "Received", "StoredBase", "StoredDocument", "StoredFile", "main"]
