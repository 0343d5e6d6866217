"""From a complete answer to a completion or a failure.

Rules of this file
- `map_error` is asked for every answer, HTTP 200 too; `parse_response` only for what it accepted.
- What the vendor left out is filled from the head: status, request id, Retry-After (seconds or a date).
- A vendor that repeats our key does not get it into any message: known secrets are masked here.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from cnroute.chat import ChatCompletion, ChatRequest, Source, ToolCall, Usage
from cnroute.errors import CallError, ConfigurationError
from cnroute.events import FINISH_REASONS, StreamState
from cnroute.failures import Culprit, Failure, FailureKind, blamed, clean_text, how_raised
from cnroute.http import HttpResponse, header_request_id, positive_seconds
from cnroute.routing.plan import Place

K = FailureKind
_MAX_RETRY_AFTER = 10 * 365 * 86400


class AttemptFailed(Exception):
    """The attempt holds a failure; `failure` says which."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind.value)
        self.failure = failure


def answer_of(place: Place, response: HttpResponse, wall: float) -> ChatCompletion:
    """The completion in a complete answer. Raises AttemptFailed."""
    failure = _ask(place, "map_error", place.hooks.map_error, response)
    if failure is not None and not isinstance(failure, Failure):
        raise AttemptFailed(broken(place, "map_error", f"returned {type(failure).__name__}, not a Failure or None"))
    if failure is None:
        made = _ask(place, "parse_response", place.hooks.parse_response, response)
        if isinstance(made, ChatCompletion):
            lie = _lie(made)
            if lie:
                raise AttemptFailed(broken(place, "parse_response", f"returned a ChatCompletion whose {lie}"))
            return _filled(made, response)
        failure = made
    if not isinstance(failure, Failure):
        what = f"returned {type(failure).__name__}, not a ChatCompletion"
        raise AttemptFailed(broken(place, "parse_response", what))
    raise AttemptFailed(completed(failure, place, response.status, response.headers, wall))


def refusal_in(place: Place, response: HttpResponse, wall: float) -> Failure | None:
    """The failure in a complete answer that is no chat answer, or None. Raises AttemptFailed for a plugin that broke."""
    failure = _ask(place, "map_error", place.hooks.map_error, response)
    if failure is None:
        return None
    if not isinstance(failure, Failure):
        raise AttemptFailed(broken(place, "map_error", f"returned {type(failure).__name__}, not a Failure or None"))
    return completed(failure, place, response.status, response.headers, wall)


def _filled(made: ChatCompletion, response: HttpResponse) -> ChatCompletion:
    """A plugin's completion with what it left to us: the head's request id, and the decoded body as `raw`."""
    if made.request_id and made.raw is not None:
        return made
    return attrs.evolve(
        made,
        request_id=made.request_id or header_request_id(response.headers),
        raw=made.raw if made.raw is not None else response.json_or_none(),
    )


def _lie(made: ChatCompletion) -> str | None:
    """What a completion says that it may not, or None: authors forget that vendors send null."""
    if type(made.text) is not str or type(made.reasoning) is not str:
        return "text or reasoning is no str"
    if made.usage is not None and type(made.usage) is not Usage:
        return "usage is no Usage"
    if made.finish_reason not in FINISH_REASONS:
        return "finish_reason is none of the four words"
    for call in made.tool_calls:
        if type(call) is not ToolCall:
            return "tool_calls hold something else than ToolCall"
    names = lie_about_names(made)
    if names is not None:
        return names
    for source in made.sources:
        if type(source) is not Source:
            return "sources hold something else than Source"
    return None


def lie_about_names(told: ChatCompletion | StreamState) -> str | None:
    """What is wrong with the names that an answer, or a stream's state, has for itself: vendors send numbers, too."""
    for value, name in ((told.id, "id"), (told.request_id, "request_id"), (told.model, "model")):
        if value is not None and not isinstance(value, str):
            return f"{name} is no str"
    return None


def completed(failure: Failure, place: Place, status: int, headers: Mapping[str, str], wall: float) -> Failure:
    """`failure` with what the head of the answer knows, and without any secret of ours."""
    told = failure.retry_after if _sensible(failure.retry_after) else retry_after(headers, wall)
    return masked(
        attrs.evolve(
            failure,
            http_status=failure.http_status if failure.http_status is not None else status,
            request_id=failure.request_id or header_request_id(headers),
            retry_after=told,
        ),
        place,
    )


def masked(failure: Failure, place: Place) -> Failure:
    """`failure` without the deployment's key and the options that stand in its URLs."""
    message, code, ident = failure.message, failure.vendor_code, failure.request_id
    for secret in _secrets(place):
        message = _without(message, secret)
        code = _without(code, secret) if code else code
        ident = _without(ident, secret) if ident else ident
    return attrs.evolve(failure, message=message, vendor_code=code, request_id=ident)


def clean_id(ident: str | None, place: Place) -> str | None:
    """The request id of a good answer as the record and the log may have it: gateways put all sorts of things there."""
    if ident is None or _USUAL_ID.fullmatch(ident):
        return ident
    text = clean_text(ident, _LONGEST_ID)
    for secret in _secrets(place):
        text = _without(text, secret)
    return text


# What cannot hold a secret: digits, or less than the shortest one.
_USUAL_ID = re.compile("[0-9a-f-]{1,40}|[!-~]{1,5}")
_LONGEST_ID = 200


def _without(text: str, secret: str) -> str:
    """`text` without `secret`; one that was cut may end in the middle of it: its beginning goes too."""
    text = text.replace(secret, "***").replace(_encoded(secret), "***")
    text = _without_beginnings(text, secret)
    if not text.endswith("…"):
        return text
    for length in range(len(secret) - 1, 5, -1):
        if text.endswith(secret[:length] + "…"):
            return text[: -length - 1] + "***…"
    return text


def without_prompt(failure: Failure, request: ChatRequest) -> Failure:
    """`failure` without what its message repeats of the prompt: errors and logs hold none of it (contract, section 3)."""
    message = failure.message
    for said in {each.text for each in request.messages if each.text}:
        message = _unsaid(message, said[:_PROMPT_SEARCHED])
    return failure if message == failure.message else attrs.evolve(failure, message=message)


def _unsaid(message: str, said: str) -> str:
    """`message` with `…` for every run of characters that also stands in `said`, if it is long enough to tell."""
    least = min(_LONGEST_QUOTE, len(said)) if len(said) >= _SHORTEST_PROMPT else 0
    start = 0
    while least and start + least <= len(message):
        end = start + least
        if message[start:end] not in said:
            start += 1
            continue
        while end < len(message) and message[start : end + 1] in said:
            end += 1
        message = message[:start] + "[prompt]" + message[end:]
        start += len("[prompt]")
    return message


# A prompt is looked for by pieces of 12 characters; one of fewer than 8 says nothing, and would garble the text.
_LONGEST_QUOTE = 12
_SHORTEST_PROMPT = 8
_PROMPT_SEARCHED = 200_000


def _encoded(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode().rstrip("=")


def _without_beginnings(text: str, secret: str) -> str:
    """Vendors show keys by their first characters; eight of them are more than anybody needs to know."""
    begin = secret[:_TELLTALE]
    while len(begin) == _TELLTALE and (start := text.find(begin)) >= 0:
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text[start:], secret, strict=False))
        length = sum(1 for _ in same)
        text = text[:start] + "***" + text[start + length :]
    return text


_TELLTALE = 8


# Taking a shorter "secret" out of a text would only garble the text.
_SHORTEST_SECRET = 6


def _secrets(place: Place) -> Iterator[str]:
    return (secret for secret in _known_secrets(place) if len(secret) >= _SHORTEST_SECRET)


def _known_secrets(place: Place) -> Iterator[str]:
    if place.deployment.api_key is not None:
        with contextlib.suppress(ConfigurationError):  # a key that cannot be read stands nowhere
            yield place.deployment.api_key.reveal()
    for name in place.hooks.info.url_options:
        value = place.deployment.options.get(name)
        if value is not None:
            yield str(value)


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """The Retry-After of an answer in seconds; None for garbage, the past and absurd values."""
    milliseconds = positive_seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = positive_seconds(value)
    if seconds is None and isinstance(value, str) and len(value) < 64:
        seconds = _until(value, wall)
    return seconds if _sensible(seconds) else None


def _until(value: str, wall: float) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.UTC)
    left = date.timestamp() - wall
    return left if left > 0 else None


def _sensible(seconds: object) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < _MAX_RETRY_AFTER


def _ask(place: Place, hook: str, function: Callable[..., Any], response: HttpResponse) -> Any:
    try:
        return function(response, place.deployment)
    except CallError as error:
        return error.failure()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a plugin's code)
        failure = broken(place, hook, how_raised(error), error)
    raise AttemptFailed(failure)


def broken(place: Place, hook: str, what: str, error: BaseException | None = None) -> Failure:
    """The failure of an attempt whose plugin broke the contract, without any secret of ours.

    A wrapper's exception names the wrapper's plugin, not the provider that it wraps.
    """
    plugin, distribution = blamed(error) or (place.hooks.name, getattr(place.hooks, "distribution", None))
    culprit = Culprit(plugin, hook, distribution)
    return masked(Failure(K.PLUGIN_ERROR, f"{culprit} {what}", billing="unknown", culprit=culprit), place)
