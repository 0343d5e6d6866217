"""Errors as one clear line, what to do next, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import cnroute
from cnroute.cli.output import print_json
from cnroute.failures import FailureKind

CALL_FAILED, USAGE, CONFIGURATION, KEY, SPENT, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130

K = FailureKind

_CODE_OF_KIND: Mapping[FailureKind, int] = {
    K.AUTH: KEY,
    K.PERMISSION: KEY,
    K.RATE_LIMIT: SPENT,
    K.QUOTA: SPENT,
    K.BUDGET_EXCEEDED: SPENT,
    K.CONNECT_TIMEOUT: TIMED_OUT,
    K.TLS_TIMEOUT: TIMED_OUT,
    K.WRITE_TIMEOUT: TIMED_OUT,
    K.FIRST_BYTE_TIMEOUT: TIMED_OUT,
    K.FIRST_TOKEN_TIMEOUT: TIMED_OUT,
    K.IDLE_TIMEOUT: TIMED_OUT,
    K.DEADLINE_EXCEEDED: TIMED_OUT,
    K.CANCELLED: INTERRUPTED,
}
# Found before anything was sent, these two are what the user typed.
_TYPED = frozenset((K.BAD_REQUEST, K.MODEL_NOT_FOUND))

_NEXT_BY_KIND: Mapping[FailureKind, str] = {
    K.AUTH: "see where the key comes from with `cnroute doctor`; a key works only on the host of its region",
    K.PERMISSION: "give the key access to this model or workspace in the vendor's console",
    K.QUOTA: "top up the account, or add another deployment to the route",
    K.RATE_LIMIT: "wait a little, or add another deployment to the route",
    K.BUDGET_EXCEEDED: "raise --max-cost, lower --max-tokens, or see `cnroute plan` for the estimates",
    K.MODEL_NOT_FOUND: "list the names that can be called with `cnroute models`",
    K.CONTENT_FILTER: "change the text; the vendor's inspection refused it",
    K.CONTEXT_LENGTH: "shorten the text, or route to a model with a larger window",
    K.UNSUPPORTED: "choose another deployment, or add --drop-unsupported",
    K.NO_CANDIDATE: "wait until a deployment is back; `cnroute plan` says which and why",
    K.DNS_ERROR: "check the network and base_url; `cnroute doctor --online` tries every host",
    K.CONNECT_ERROR: "check the network and base_url; `cnroute doctor --online` tries every host",
    K.TLS_VERIFY: "check the host's certificate, or name its authority with tls = { ca_file = ... }",
    K.STREAM_INTERRUPTED: "the text above is incomplete; run the command again",
    K.BAD_REQUEST: "see the options with `cnroute chat --help`",
}
_NEXT_BY_CODE: Mapping[int, str] = {
    CALL_FAILED: "run it again with --explain, or see what was tried with CNROUTE_LOG_LEVEL=info",
    TIMED_OUT: "raise --timeout, or add a faster deployment to the route",
    CONFIGURATION: "correct what is named above",
    KEY: "set the key's variable; `cnroute doctor` names the sources that are looked at",
}


def exit_code(error: cnroute.CnrouteError) -> int:
    """The exit code of an error."""
    if isinstance(error, cnroute.ConfigurationError):
        only_keys = all(problem.key.rpartition(".")[2] == "api_key" for problem in error.problems)
        return KEY if only_keys else CONFIGURATION
    if not isinstance(error, cnroute.CallError):
        return CONFIGURATION
    if error.kind in _TYPED and not error.attempts:
        return USAGE
    kind = error.cause_kind if isinstance(error, cnroute.StreamInterruptedError) else error.kind
    return _CODE_OF_KIND.get(kind, CALL_FAILED)


def report(error: cnroute.CnrouteError, *, as_json: bool = False) -> int:
    """Say on stderr what went wrong and what to do next (with `--json` also as JSON on stdout); the exit code."""
    code = exit_code(error)
    say(error, code)
    if as_json:
        print_json({"type": "error", "error": error_document(error), "exit_code": code})
    return code


def print_failure(message: str, code: int, kind: str = "UsageError") -> None:
    """With `--json`: a failure that is no exception of ours, on stdout."""
    print_json({"type": "error", "error": {"type": kind, "message": message}, "exit_code": code}, line=True)


def say(error: cnroute.CnrouteError, code: int) -> None:
    """One clear line on stderr, and what to do next."""
    print(f"cnroute: {_line(error)}", file=sys.stderr)
    there = getattr(error, "ids", None)
    if there:
        print(f"  ids: {'; '.join(f'{name} ' + ', '.join(map(str, ids)) for name, ids in there.items())}", file=sys.stderr)
    print(f"  next: {_next(error, code)}", file=sys.stderr)


def error_document(error: cnroute.CnrouteError) -> dict[str, Any]:
    """The error as JSON-ready data."""
    document: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, cnroute.ConfigurationError):
        document["problems"] = [{"file": p.file, "key": p.key, "reason": p.reason} for p in error.problems]
    if isinstance(error, cnroute.CallError):
        document |= {
            "kind": error.kind.value, "deployment": error.deployment, "provider": error.provider,
            "http_status": error.http_status, "vendor_code": error.vendor_code, "request_id": error.request_id,
            "retry_after": error.retry_after, "billing": error.billing, "attempts": len(error.attempts),
        }
        if error.advice:  # of a knowledge client
            document |= {"ids": {name: list(ids) for name, ids in error.ids.items()}, "advice": error.advice}
    return document


def _line(error: cnroute.CnrouteError) -> str:
    if not isinstance(error, cnroute.CallError):
        return str(error).replace("\n", "\n  ")
    facts = (
        f"HTTP {error.http_status}" if error.http_status else "",
        f"code {error.vendor_code}" if error.vendor_code else "",
        f"request id {error.request_id}" if error.request_id else "",
        f"{len(error.attempts)} attempts" if len(error.attempts) > 1 else "",
    )
    where = f"{error.deployment}: " if error.deployment else ""
    known = ", ".join(filter(None, facts))
    return f"{error.kind.value}: {where}{error.message}{f' ({known})' if known else ''}"


def _next(error: cnroute.CnrouteError, code: int) -> str:
    kind = getattr(error, "kind", None)
    in_file = isinstance(error, cnroute.ConfigurationError) and next((each.file for each in error.problems if each.file), None)
    if code == CONFIGURATION and in_file:
        return f"correct {in_file}, and look again with `cnroute config check`"
    own = getattr(error, "advice", "")
    advice = own or (_NEXT_BY_KIND.get(kind) if kind else None) or _NEXT_BY_CODE.get(code) or _NEXT_BY_CODE[CALL_FAILED]
    wait = getattr(error, "retry_after", None)
    return f"{advice} (try again after {wait:g} s)" if wait else advice
