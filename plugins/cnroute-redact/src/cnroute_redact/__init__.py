"""cnroute-redact: personal data leaves no host, whichever provider is asked.

A wrapper of `build_request`: every provider's finished request goes through it, built-in or a stranger's, so that a
provider cannot forget it. Installed, it is on: the entry point `redact` is `plugin`, with the four default kinds.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import attrs

from cnroute import ChatRequest, ConfigurationError, Deployment, HttpRequest, UnsupportedRequestError, hookimpl
from cnroute.wire import JsonError, dumps, loads
from cnroute_redact.finding import KINDS, Rule, rules_of
from cnroute_redact.masking import DEPTH, Masker

__all__ = ["DEFAULT_KINDS", "KINDS", "Redactor", "plugin"]
__version__ = "0.1.0"

DEFAULT_KINDS = ("phone", "id", "card", "mail")
_NAME = re.compile("[A-Z][A-Z0-9_]{0,30}", re.IGNORECASE)


def _kinds(value: Any) -> tuple[str, ...]:
    unknown = [kind for kind in value if kind not in KINDS]
    if isinstance(value, str) or unknown:
        raise ConfigurationError(f"kinds must be a list of {', '.join(KINDS)}", "kinds")
    return tuple(value)


def _patterns(value: Mapping[str, str | re.Pattern[str]]) -> dict[str, re.Pattern[str]]:
    for name in value:
        if not _NAME.fullmatch(name) or name.lower() in KINDS:
            raise ConfigurationError(f"a pattern's name is letters, digits and _, and none of {', '.join(KINDS)}", "patterns")
    try:
        return {name: re.compile(pattern) for name, pattern in value.items()}
    except re.error as error:
        raise ConfigurationError(f"a pattern is no regular expression: {error}", "patterns") from None


@attrs.frozen(eq=False)
class Redactor:
    """A plugin that masks personal data in every request: `[PHONE_1]` for the first telephone number, and so on.

    `kinds` are those of `KINDS` that are looked for; `patterns` maps names to regular expressions of your own, which
    come first: `{"STAFF": "E[0-9]{6}"}` gives `[STAFF_1]`. They are matched against the text with full-width
    characters as ASCII. Nothing is kept between calls. Raises ConfigurationError for an unknown kind or no pattern.
    """

    kinds: tuple[str, ...] = attrs.field(default=DEFAULT_KINDS, converter=_kinds)
    patterns: Mapping[str, re.Pattern[str]] = attrs.field(factory=dict, converter=_patterns)
    _rules: tuple[Rule, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_rules", rules_of(self.kinds, self.patterns))

    # trylast: the innermost wrapper, so that one that signs the request signs what is sent.
    @hookimpl(wrapper=True, trylast=True)
    def build_request(self, request: ChatRequest, deployment: Deployment) -> Generator[None, HttpRequest, HttpRequest]:
        """The provider's request with placeholders in its body.

        Raises UnsupportedRequestError where personal data would leave by another way: in the URL, in a header, or in
        a body that is no JSON.
        """
        made = yield
        masker = Masker(self._rules, (deployment.model, *_texts(deployment.options)))
        for part in _content(request):
            masker.mask(part, numbers=True)
        if not isinstance(made, HttpRequest):
            return made  # the host says what is wrong with it
        if masker.written:
            _refuse_other_ways(made, masker)
        return _masked(made, masker)


plugin = Redactor()


def _texts(options: Mapping[str, Any]) -> list[str]:
    return [str(value) for value in options.values()]


def _content(request: ChatRequest) -> list[Any]:
    """Everything of a call that its caller wrote, the conversation first: the order gives the placeholders' numbers."""
    said = [
        [message.name, _plain(message.content), message.reasoning, [[call.name, call.arguments] for call in message.tool_calls]]
        for message in request.messages
    ]
    asked = [request.tools, request.tool_choice, request.response_format, request.stop, request.extra]
    base = request.knowledge_base
    return [*said, *map(_plain, asked), base.pattern if base else None]


def _plain(value: Any) -> Any:
    """Mappings and tuples as JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _refuse_other_ways(made: HttpRequest, masker: Masker) -> None:
    elsewhere = (unquote_plus(made.url), *map(str.__str__, made.headers.values()))
    if any(value in text for value in masker.written for text in elsewhere):
        raise UnsupportedRequestError("messages", "personal data would go into the URL or a header, where it cannot be masked")


def _masked(made: HttpRequest, masker: Masker) -> HttpRequest:
    try:
        body = loads(made.body, DEPTH)
    except JsonError:
        if masker.written:
            raise UnsupportedRequestError("messages", "personal data in a body that is no JSON cannot be masked") from None
        return made
    masked = masker.mask(body)
    if masked is body:
        return made
    note = f"personal data masked by cnroute-redact: {masker.counts()}"
    told = made.adjusted.get("messages")
    adjusted = {**made.adjusted, "messages": f"{told}; {note}" if told else note}
    return attrs.evolve(made, body=dumps(masked), adjusted=adjusted)
