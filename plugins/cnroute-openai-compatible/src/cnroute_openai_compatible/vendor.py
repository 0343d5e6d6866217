"""What a vendor is: a row of data.

Rules of this file
- Everything in which the vendors differ is a field here; the code beside it reads fields and knows no vendor.
- A parameter that no page of a vendor lists is not in `takes`, and is refused by name.
- A range that no page gives is left open: the vendor decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from cnroute import FailureKind, ModelInfo
from cnroute.wire import Range

K = FailureKind
NOTHING: Mapping[str, str] = MappingProxyType({})

SAMPLING = ("temperature", "top_p", "max_tokens", "stop")
TOOLS = ("tools", "tool_choice")


# How thinking is switched: from on or off, and a budget of tokens or None, to the fields of the body.
Switch = Callable[[bool, int | None], Mapping[str, object]]


def typed(on: bool, budget: int | None) -> Mapping[str, object]:
    """`{"thinking": {"type": "enabled"}}`."""
    return {"thinking": {"type": "enabled" if on else "disabled"}}


def flagged(on: bool, budget: int | None) -> Mapping[str, object]:
    """`{"enable_thinking": true, "thinking_budget": 1024}`."""
    return {"enable_thinking": on} | ({"thinking_budget": budget} if budget else {})


def templated(on: bool, budget: int | None) -> Mapping[str, object]:
    """`{"chat_template_kwargs": {"enable_thinking": true}}`: an argument of the model's own chat template."""
    return {"chat_template_kwargs": {"enable_thinking": on}}


def by_effort(on: bool, budget: int | None) -> Mapping[str, object]:
    """`{"reasoning_effort": "medium"}`, and `none` for no thinking."""
    return {"reasoning_effort": "medium" if on else "none"}


# How thoughts of an earlier turn go back: from their text to the fields of its message.
Returned = Callable[[str], Mapping[str, object]]


def as_text(thoughts: str) -> Mapping[str, object]:
    """`{"reasoning_content": "..."}`."""
    return {"reasoning_content": thoughts}


def as_details(thoughts: str) -> Mapping[str, object]:
    """`{"reasoning_details": [{"type": "reasoning.text", "text": "..."}]}`."""
    return {"reasoning_details": [{"type": "reasoning.text", "text": thoughts}]}


def _any_number() -> Range:
    return Range(None, None)


@attrs.frozen
class Rules:
    """What a vendor takes, or one family of its models. A family is a copy with other fields: `attrs.evolve`.

    `takes`: the neutral parameters that can be sent at all. `tokens_field`: the name of the output limit.
    `stop_words` and `stop_bytes`: how many, and how long each in UTF-8. `choices`: the forms of `tool_choice`
    (`auto`, `none`, `required`, `function`). `formats`: the types of `response_format`. `parts`: the kinds of
    content parts. `names`: whether a message's `name` is sent. `thinks`: `always`, `never`, or a `Switch`. `budget`:
    the legal budgets of thinking, None where none can be set. `inert`: parameters that are taken but do nothing while
    the model thinks. `returns`: how thoughts of an earlier turn that called tools are sent back; None where they are not.
    """

    page: str
    takes: frozenset[str] = frozenset((*SAMPLING, *TOOLS, "response_format"))
    temperature: Range = attrs.field(factory=_any_number)
    top_p: Range = attrs.field(factory=_any_number)
    tokens_field: str = "max_tokens"
    stop_words: int | None = None
    stop_bytes: int | None = None
    choices: frozenset[str] = frozenset(("auto", "none", "required", "function"))
    formats: frozenset[str] = frozenset(("text", "json_object"))
    parts: frozenset[str] = frozenset(("text",))
    names: bool = True
    thinks: Switch | str = "never"
    budget: Range | None = None
    inert: tuple[str, ...] = ()
    returns: Returned | None = None


@attrs.frozen
class Vendor:
    """One provider. Required are `name`, `base_url` and `rules`; the rest has the usual values.

    `key`: the environment variable that the vendor's users know; None where no key is needed. `families`: rules for
    models whose name begins so (lower case; the first row counts). `asks_usage`: whether `stream_options` is sent; the
    others report usage by themselves. `cached`: where usage has the cached part of the input, in this order; a dot leads
    into an object. `reasoning`: the fields that may hold thoughts, in this order. `fixed`: fields of every body.
    `search_fields` and `search_tool`: the web-search switch, in the body or as a tool. `codes`: the vendor's codes or
    types, each kind with its codes in one text; a code also counts for those that begin with it and a dot. `statuses`:
    HTTP statuses that mean something else here. `words`: what a message says more exactly than the code (lower case).
    `finish`: finish reasons beside OpenAI's, as neutral words or as the kind of a failure. `request_ids`: header names
    beside the usual ones.
    """

    name: str
    base_url: str
    rules: Rules
    key: str | None = None
    base_url_variable: str | None = None
    families: tuple[tuple[str, Rules], ...] = ()
    models: tuple[ModelInfo, ...] = ()
    asks_usage: bool = True
    cached: tuple[str, ...] = ("prompt_tokens_details.cached_tokens",)
    reasoning: tuple[str, ...] = ("reasoning_content",)
    fixed: Mapping[str, object] = NOTHING
    search_fields: Mapping[str, object] = NOTHING
    search_tool: Mapping[str, object] = NOTHING
    codes: Mapping[FailureKind, str] = attrs.field(factory=dict)
    statuses: Mapping[int, FailureKind] = attrs.field(factory=dict)
    words: tuple[tuple[str, FailureKind], ...] = ()
    finish: Mapping[str, str | FailureKind] = NOTHING
    request_ids: tuple[str, ...] = ()
    kinds: Mapping[str, FailureKind] = attrs.field(init=False, repr=False)
    """`codes` by code, each in its plain spelling."""
    marks: tuple[bytes, ...] = attrs.field(init=False, repr=False)
    """The finish reasons that are failures, as they stand in a body."""

    def __attrs_post_init__(self) -> None:
        rows = {plain_code(code): kind for kind, codes in self.codes.items() for code in codes.split()}
        object.__setattr__(self, "kinds", rows)
        failing = tuple(f'"{word}"'.encode() for word, meaning in self.finish.items() if isinstance(meaning, FailureKind))
        object.__setattr__(self, "marks", failing)

    def rules_for(self, model: str) -> Rules:
        """The rules for `model`: those of its family, else the vendor's."""
        name = model.lower()
        return next((rules for begin, rules in self.families if name.startswith(begin)), self.rules)

    def capabilities(self) -> frozenset[str]:
        """What any of its models can do, as `ProviderInfo` calls it."""
        every = (self.rules, *(rules for _, rules in self.families))
        has = {
            "streaming": True,
            "tools": any("tools" in rules.takes for rules in every),
            "json": any("response_format" in rules.takes for rules in every),
            "web_search": any("web_search" in rules.takes for rules in every),
            "reasoning": any(rules.thinks != "never" for rules in every),
        }
        return frozenset(word for word, true in has.items() if true)


def plain_code(code: str) -> str:
    """A code without case, blanks, dashes and underscores: gateways of one vendor spell it in several ways."""
    return code.strip().lower().replace("_", "").replace("-", "").replace(" ", "")
