"""MiniMax's files and knowledge bases, really kept: uploads on disk, documents split, pieces ranked.

Read from the vendor's pages alone (seed 003 and its neighbours: File, Retrieval), never from the client.
"""

from __future__ import annotations

from cnroute.emulator.knowledge.calls import CALLS, LibraryCall
from cnroute.emulator.knowledge.library import Library
from cnroute.emulator.knowledge.values import Quotas, StoredBase, StoredDocument, StoredFile

__all__ = ["CALLS", "Library", "LibraryCall", "Quotas", "StoredBase", "StoredDocument", "StoredFile"]
