"""The groups of the provider contract, in their order."""

from __future__ import annotations

REGISTRATION = "1 registration"
REQUEST = "2 request"
ANSWER = "3 plain answer"
STREAM = "4 stream"
ERRORS = "5 errors"
DATA = "6 data"
PROCESS = "7 process"
FUZZ = "8 fuzz"
GUARD = "9 guard"
ALL = (REGISTRATION, REQUEST, ANSWER, STREAM, ERRORS, DATA, PROCESS, FUZZ, GUARD)
