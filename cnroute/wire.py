"""Helpers for the authors of providers and transports: everything a dialect needs that is no dialect.

Public: a stranger's provider uses the same helpers as the built-in ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from cnroute.chat import ChatRequest, Message, ToolCall, Usage
from cnroute.codec import JsonError, dumps, loads
from cnroute.deployments import Deployment
from cnroute.errors import UnsupportedRequestError, error_for
from cnroute.events import ToolCallDelta
from cnroute.failures import Failure, FailureKind, clean_text
from cnroute.http import (
    Headers,
    HttpRequest,
    HttpResponse,
    SecretText,
    header_request_id,
    header_retry_after,
    positive_seconds,
)

__all__ = [
    "Headers", "HttpRequest", "HttpResponse", "JsonError", "Range", "SecretText", "by_status", "clean_text", "data_of",
    "dumps", "error_for", "header_request_id", "header_retry_after", "loads", "masked", "merged", "positive_seconds", "query_url",
    "sse_data", "text_or_none", "token_count", "usage_from", "function_tools",
    "DONE", "NOTHING", "openai_call", "tool_fragments",
]

K = FailureKind

# wire.md 0.3: what a status means when the vendor's code does not say more.
_STATUS: dict[int, FailureKind] = {
    400: K.BAD_REQUEST,
    401: K.AUTH,
    402: K.QUOTA,
    403: K.PERMISSION,
    404: K.MODEL_NOT_FOUND,
    405: K.BAD_REQUEST,
    408: K.VENDOR_TIMEOUT,
    413: K.REQUEST_TOO_LARGE,
    414: K.REQUEST_TOO_LARGE,
    422: K.BAD_REQUEST,
    429: K.RATE_LIMIT,
    500: K.SERVER_ERROR,
    502: K.SERVER_ERROR,
    503: K.OVERLOADED,
    504: K.VENDOR_TIMEOUT,
    529: K.OVERLOADED,
}


def by_status(status: int) -> FailureKind | None:
    """The kind that an HTTP status alone means; None for 2xx."""
    if 200 <= status < 300:
        return None
    if status < 200 or status in (304,) or status > 599:
        return K.PROTOCOL_ERROR
    if status < 400:
        return K.REDIRECT
    return _STATUS.get(status, K.BAD_REQUEST if status < 500 else K.SERVER_ERROR)


def masked(text: str, deployment: Deployment) -> str:
    """`text` without the deployment's key: vendors repeat it in their messages."""
    key = deployment.api_key.reveal() if deployment.api_key is not None else ""
    return text.replace(key, "***") if len(key) >= _SHORTEST_KEY else text


# A shorter "key" is none of any vendor's, and taking it out of a text would only garble the text.
_SHORTEST_KEY = 6


def data_of(line: str) -> str | None:
    """The value of an SSE `data` line, without at most one blank after the colon; None for any other line."""
    if not line.startswith("data:"):
        return None
    return line[6:] if line.startswith("data: ") else line[5:]


def sse_data(line: str, memory: dict[str, Any]) -> Any:
    """The JSON value that `line` completes, `NOTHING`, `DONE`, or a Failure.

    One data line is one JSON value as a rule (some senders leave out the blank lines between events); a data
    line that is not whole JSON is kept and joined with the following ones up to the blank line, and what then
    still is no JSON is a `bad_response`. A bare line that begins with `{` is taken for a frame without `data:`.
    """
    if line.startswith("data:"):
        data = line[6:] if line[5:6] == " " else line[5:]
    elif line.startswith("{"):
        data = line
    else:
        return NOTHING if line else _flush(memory)
    try:
        if "unfinished" not in memory:
            return loads(data)
    except JsonError:
        pass
    return _no_json(data, memory)


def _no_json(data: str, memory: dict[str, Any]) -> Any:
    """What a line means that is not whole JSON by itself."""
    if len(data) < _LONGEST_DONE and data.strip() == "[DONE]":
        return DONE
    if "unfinished" in memory:
        return _joined((*memory.pop("unfinished"), data), memory)
    return _keep((data,), memory)


# Longer lines are not looked at for `[DONE]` and blanks around it.
_LONGEST_DONE = 64
# An event over several data lines is kept only so far: each further line means decoding it again.
_MAX_EVENT_LINES = 256
_MAX_EVENT_CHARACTERS = 4 * 2**20


def _joined(pieces: tuple[str, ...], memory: dict[str, Any]) -> Any:
    try:
        return loads("\n".join(pieces))
    except JsonError:
        return _keep(pieces, memory)


def _keep(pieces: tuple[str, ...], memory: dict[str, Any]) -> Any:
    if len(pieces) > _MAX_EVENT_LINES or sum(map(len, pieces)) > _MAX_EVENT_CHARACTERS:
        return Failure(K.RESPONSE_TOO_LARGE, "an event of the stream is too long")
    if pieces[0].strip():
        memory["unfinished"] = pieces
    return NOTHING


def _flush(memory: dict[str, Any]) -> Any:
    if not memory.pop("unfinished", ()):
        return NOTHING
    return Failure(K.BAD_RESPONSE, "a data line of the stream is not JSON")


class _Mark:
    """A value that stands for itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NOTHING = _Mark("NOTHING")
DONE = _Mark("DONE")

MAX_TOKENS_SEEN = 10**9


def token_count(value: object) -> int | None:
    """A number of tokens, if it is one: an int (or its digits) from 0 to 10^9. Anything else is unknown."""
    if value is None:
        return None
    if type(value) is int:  # the usual case, once for each event of a stream
        return value if 0 <= value <= MAX_TOKENS_SEEN else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS_SEEN:
        return value
    return None


def usage_from(
    given: object = None, made: object = None, total: object = None, cached: object = None, reasoning: object = None,
    searches: object = None,
) -> Usage | None:
    """A Usage of what is really known; None when nothing is. Two halves of 0 under a total are placeholders: unknown."""
    known = (token_count(given), token_count(made), token_count(total))
    if known[2] and known[:2] == (0, 0):
        known = (None, None, known[2])
    return None if known == _UNKNOWN else Usage(*known, token_count(cached), token_count(reasoning), token_count(searches))


_UNKNOWN = (None, None, None)


def text_or_none(value: object) -> str | None:
    """`value` if it is text that says something, else None. Null never becomes text."""
    return value if isinstance(value, str) and value else None


def merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` merged into `body` recursively: objects merge, everything else replaces."""
    for key, value in extra.items():
        old = body.get(key)
        body[key] = merged(dict(old), value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return body


def query_url(base: str, path: str, **query: str) -> str:
    """`base` + `path` with a query whose values are quoted."""
    url = base + path
    return f"{url}?{urlencode(query, quote_via=quote, safe='')}" if query else url


@attrs.frozen
class Range:
    """The legal values of a number: `low` to `high`, each end included or not, and where the vendor says so."""

    low: float | None
    high: float | None
    low_open: bool = False
    high_open: bool = False
    page: str = ""
    step: float = 0.01
    """How far inside an open end the nearest legal value lies."""

    def __str__(self) -> str:
        left = "(" if self.low_open else "["
        right = ")" if self.high_open else "]"
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        return f"{left}{low}, {high}{right}"

    def fit(self, parameter: str, value: float, adjusted: dict[str, str]) -> float:
        """`value`, or the nearest legal one when it lies exactly on an open end (noted in `adjusted`).

        Raises UnsupportedRequestError naming parameter, range and page for anything else outside.
        """
        moved = value
        if self.low_open and value == self.low:
            moved = value + self.step
        elif self.high_open and value == self.high:
            moved = round(value - min(self.step, 0.001), 6)
        elif (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise UnsupportedRequestError(parameter, f"{value:.12g} is outside {self} ({self.page})")
        if moved != value:
            adjusted[parameter] = f"{value:g} -> {moved:g}: the range is {self} ({self.page})"
        return moved


def function_tools(request: ChatRequest) -> list[Mapping[str, Any]]:
    """The function part of every tool. Raises UnsupportedRequestError for tools that are no functions."""
    functions = []
    for tool in request.tools or ():
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, Mapping):
            raise UnsupportedRequestError("tools", "only tools of type function can be sent")
        functions.append(function)
    return functions


Part = Callable[[Message], Any]


def openai_call(call: ToolCall) -> dict[str, Any]:
    """A tool call in the OpenAI layout, as several vendors take it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def tool_fragments(calls: object, memory: dict[str, Any]) -> tuple[ToolCallDelta, ...]:
    """The fragments in a chunk's `tool_calls` list, OpenAI layout; what is no list or no call is left out.

    A fragment without index belongs to the call before; an empty id never replaces one.
    """
    if not isinstance(calls, list):
        return ()
    found = (_fragment(call, memory) for call in calls if isinstance(call, dict))
    return tuple(fragment for fragment in found if fragment is not None)


def _fragment(call: dict[str, Any], memory: dict[str, Any]) -> ToolCallDelta | None:
    function = call.get("function")
    if not isinstance(function, dict):
        return None
    index = _own_index(_call_index(call, function, memory), call, function, memory)
    memory["tool_index"] = index
    arguments = function.get("arguments")
    return ToolCallDelta(
        index, text_or_none(call.get("id")), text_or_none(function.get("name")),
        arguments if isinstance(arguments, str) else "" if arguments is None else dumps(arguments).decode(),
    )


def _own_index(index: int, call: dict[str, Any], function: dict[str, Any], memory: dict[str, Any]) -> int:
    """Another id together with a name is another call, even under an index that is taken."""
    ident, named = text_or_none(call.get("id")), text_or_none(function.get("name"))
    known: dict[int, str] = memory.setdefault("tool_ids", {})
    moved: dict[int, int] = memory.setdefault("tool_moves", {})
    if ident and named and known.get(moved.get(index, index), ident) != ident:
        moved[index] = max(known) + 1
    index = moved.get(index, index)
    if ident:
        known.setdefault(index, ident)
    return index


def _call_index(call: dict[str, Any], function: dict[str, Any], memory: dict[str, Any]) -> int:
    index = call.get("index")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 1000:
        return index
    last = memory.get("tool_index")
    if last is None:
        return 0
    # Without an index a new id with a name begins a new call; everything else continues the last one.
    new = text_or_none(call.get("id")) and text_or_none(function.get("name"))
    return int(last) + 1 if new else int(last)
