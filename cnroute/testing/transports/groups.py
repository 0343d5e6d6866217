"""The groups of the transport contract, in their order."""

from __future__ import annotations

ANSWER = "1 answer"
STREAM = "2 stream"
LIMIT = "3 limit"
SIZE = "4 size"
CANCEL = "5 cancel"
PLACE = "6 place"
ERROR = "7 error"
BINDING = "8 binding"
PROCESS = "9 process"
ALL = (ANSWER, STREAM, LIMIT, SIZE, CANCEL, PLACE, ERROR, BINDING, PROCESS)
