"""What is asked and what comes back: messages, requests, completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import attrs

from cnroute.codec import JsonError, plain
from cnroute.errors import BadRequestError

if TYPE_CHECKING:
    from cnroute.failures import Attempt
    from cnroute.money import Bill, Cost

ROLES = frozenset(("system", "user", "assistant", "tool"))


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    return values if type(values) is tuple else tuple(values)


@attrs.frozen
class FunctionCall:
    """The `function` part of a tool call, for readers who know the OpenAI layout."""

    name: str
    arguments: str


@attrs.frozen
class ToolCall:
    """A call of one of the caller's tools. `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str = ""

    @property
    def type(self) -> str:
        """Always `function`."""
        return "function"

    @property
    def function(self) -> FunctionCall:
        """`name` and `arguments` in the OpenAI layout."""
        return FunctionCall(self.name, self.arguments)


def _tool_call(value: object) -> ToolCall:
    """A tool call from the OpenAI layout (or a ToolCall as it is)."""
    if isinstance(value, ToolCall):
        return value
    if isinstance(value, Mapping):
        function = value.get("function") or value
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            return ToolCall(str(value.get("id") or ""), function["name"], _arguments(function.get("arguments")))
    function = getattr(value, "function", None)
    if function is not None and isinstance(getattr(function, "name", None), str):
        return ToolCall(str(getattr(value, "id", "") or ""), function.name, _arguments(function.arguments))
    raise BadRequestError("messages: a tool call needs an id and a function with name and arguments")


def _arguments(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise BadRequestError("messages: the arguments of a tool call must be JSON text")


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    if not value:
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise BadRequestError("messages: tool_calls must be a list")
    return tuple(map(_tool_call, value))


@attrs.frozen
class Message:
    """One message of a conversation.

    `content` is text, or a list of OpenAI-style parts (`{"type": "text", "text": ...}`), or None beside tool
    calls. `reply.message` is one of these and can be appended to the next call's messages as it is.
    """

    role: str
    content: str | tuple[Mapping[str, Any], ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tool_calls)
    tool_call_id: str | None = None
    reasoning: str | None = attrs.field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The content as one string; parts that are no text are left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part["text"] for part in self.content or () if part.get("type") == "text")

    @property
    def only_text(self) -> bool:
        """False when the content has parts that are no text (images, files)."""
        return isinstance(self.content, str | None) or all(part.get("type") == "text" for part in self.content)


def message_from(value: object) -> Message:
    """A Message from a Message, an OpenAI-style mapping, or an object with the same attributes.

    Raises BadRequestError that says what is wrong with it.
    """
    if isinstance(value, dict) and value.keys() == _PLAIN_KEYS:
        role, content = value["role"], value["content"]
        if type(content) is str and type(role) is str and role in _PLAIN_ROLES:
            return Message(role, content)
    if isinstance(value, Message):
        fields: Mapping[str, Any] = {name: getattr(value, name) for name in _MESSAGE_FIELDS}
    elif isinstance(value, Mapping):
        fields = value
    elif hasattr(value, "role") and hasattr(value, "content"):
        fields = {name: getattr(value, name, None) for name in _MESSAGE_FIELDS}
    else:
        raise BadRequestError(f"messages: a message must be a mapping or a Message, not {type(value).__name__}")
    return _checked_message(fields)


# By far the most messages: the checks of all the others are nothing to them.
_PLAIN_KEYS = {"role", "content"}
_PLAIN_ROLES = ROLES - {"tool"}
_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning")


def _checked_message(fields: Mapping[str, Any]) -> Message:
    role = fields.get("role")
    role = "system" if role == "developer" else role
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequestError(f"messages: role must be one of {', '.join(sorted(ROLES))}, not {role!r:.40}")
    content = _content(fields.get("content"))
    calls = _tool_calls(fields.get("tool_calls"))
    if content is None and not calls:
        raise BadRequestError(f"messages: a {role} message needs content")
    if role == "tool" and not fields.get("tool_call_id"):
        raise BadRequestError("messages: a tool message needs the tool_call_id that it answers")
    return Message(
        role, content, _text_or_none(fields, "name"), calls, _text_or_none(fields, "tool_call_id"),
        _text_or_none(fields, "reasoning"),
    )


def _text_or_none(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRequestError(f"messages: {key} must be text")
    return value or None


def _content(value: object) -> str | tuple[Mapping[str, Any], ...] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping) or not isinstance(value, Sequence):
        raise BadRequestError(f"messages: content must be text or a list of parts, not {type(value).__name__}")
    for part in value:
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise BadRequestError("messages: every part of a content list needs a type")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise BadRequestError("messages: a text part needs a text")
    try:
        return tuple(plain(list(value)))
    except JsonError as error:
        reason = str(error)
    raise BadRequestError(f"messages: a content part must be data that JSON can hold, without {reason}")


@attrs.frozen
class KnowledgeBase:
    """A MiniMax knowledge base to answer from. The id is an exact integer, above 2^53 too.

    `top_k` chunks with a similarity of at least `threshold` are put into the prompt by the vendor, through
    `pattern` (with the placeholders `{{context}}` and `{{question}}`) if given; `previous_messages` more
    messages take part in the search.
    """

    id: int
    top_k: int = 5
    threshold: float = 0
    pattern: str | None = None
    previous_messages: int = 0


def _number(messages: Sequence[Message]) -> str:
    """Prompts stand in no repr: reports of errors show the local variables of every frame."""
    return f"<{len(messages)} messages>"


# Without slots: made once per call, copied once or twice, and a copied dict costs a tenth of eighteen copied slots.
@attrs.frozen(slots=False)
class ChatRequest:
    """One call, checked and complete, as providers see it. None means "not given".

    `model` is what the caller wrote; the name that goes on the wire is `deployment.model`. `extra` holds the
    raw fields for the provider that is asked, and nothing of other providers.
    """

    messages: tuple[Message, ...] = attrs.field(repr=_number)
    model: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None
    reasoning: bool | int | None = None
    web_search: bool | None = None
    knowledge_base: KnowledgeBase | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    timeout: float | None = None
    max_cost: Decimal | None = None
    drop_unsupported: bool = False
    extra: Mapping[str, Any] = attrs.field(factory=dict)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """The same request with other values for some fields. Cheaper than `attrs.evolve`; it checks nothing."""
        request = object.__new__(type(self))
        request.__dict__.update(self.__dict__)
        request.__dict__.update(values)
        return request


@attrs.frozen(slots=False, init=False)
class Usage:
    """Tokens as the vendor counted them; None is unknown, never a made-up 0.

    `cached_tokens` are part of the input, `reasoning_tokens` part of the output. The total is filled in only
    where both halves are known. `searches` is how often the vendor searched the web, where it counts that.
    Raises ValueError for what counts nothing: a negative number, a float, a bool, text.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    searches: int | None = None

    def __init__(
        self, input_tokens: int | None = None, output_tokens: int | None = None, total_tokens: int | None = None,
        cached_tokens: int | None = None, reasoning_tokens: int | None = None, searches: int | None = None,
    ) -> None:
        for count in (input_tokens, output_tokens, total_tokens, cached_tokens, reasoning_tokens, searches):
            if count is not None and (type(count) is not int or count < 0):
                raise ValueError("a count of tokens is an int of 0 or more, or None where it is unknown")
        if total_tokens is None and input_tokens is not None and output_tokens is not None:
            total_tokens = input_tokens + output_tokens
        own = self.__dict__  # half the time of what attrs makes for a frozen class: a stream counts in every frame
        own["input_tokens"], own["output_tokens"], own["total_tokens"] = input_tokens, output_tokens, total_tokens
        own["cached_tokens"], own["reasoning_tokens"], own["searches"] = cached_tokens, reasoning_tokens, searches

    @property
    def prompt_tokens(self) -> int | None:
        """The same as `input_tokens`."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int | None:
        """The same as `output_tokens`."""
        return self.output_tokens

    def split(self) -> tuple[int | None, int | None]:
        """Input and output tokens, one of them worked out from the total where that is possible."""
        given, made, total = self.input_tokens, self.output_tokens, self.total_tokens
        if given is None and made is not None and total is not None and total >= made:
            given = total - made
        if made is None and given is not None and total is not None and total >= given:
            made = total - given
        return given, made


@attrs.frozen
class Source:
    """A retrieved chunk of a knowledge base, or a page of a web search."""

    kind: str = "knowledge_base"
    text: str | None = None
    document: str | None = None
    index: int | None = None
    title: str | None = None
    url: str | None = None


@attrs.frozen
class Choice:
    """One answer of a completion, in the OpenAI layout."""

    index: int
    message: Message
    finish_reason: str | None = None


@attrs.frozen(eq=False, slots=False)
class ChatCompletion:
    """A whole answer.

    A plugin fills `text`, `reasoning`, `tool_calls`, `finish_reason`, `usage`, `model`, `id`, `request_id`,
    `sources`, `choices` (only where there are several) and `raw`; the router adds the rest. `finish_reason` is
    only ever derived from what the vendor sent. `cost` covers the winning attempt, `bill` the whole call.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tuple)
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    request_id: str | None = None
    sources: tuple[Source, ...] = attrs.field(default=(), converter=_tuple)
    _choices: tuple[Choice, ...] = attrs.field(default=(), converter=_tuple, alias="choices")
    raw: Any = attrs.field(default=None, repr=False)
    call_id: str | None = None
    provider: str | None = None
    deployment: str | None = None
    cost: Cost | None = None
    bill: Bill | None = None
    attempts: tuple[Attempt, ...] = ()
    _plan: Any = attrs.field(default=None, repr=False, alias="plan")
    metadata: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    seconds: float | None = None

    @property
    def plan(self) -> Any:
        """The `Plan` that the call followed. It is put together when it is first asked for."""
        if callable(self._plan):
            self.__dict__["_plan"] = self._plan()
        return self._plan

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plan": self.plan}

    @property
    def adjusted(self) -> Mapping[str, str]:
        """What was changed in the request for the deployment that answered: parameters moved, dropped, or lost."""
        return self.attempts[-1].adjusted if self.attempts else {}

    @property
    def message(self) -> Message:
        """The answer as a message that can be appended to the conversation."""
        return Message("assistant", self.text, None, self.tool_calls, None, self.reasoning or None)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All answers; one unless several were asked for."""
        return self._choices or (Choice(0, self.message, self.finish_reason),)

    def with_record(self, **fields: Any) -> Self:
        """The same answer with what the router knows about the call."""
        answer = object.__new__(type(self))
        if "plan" in fields:
            fields["_plan"] = fields.pop("plan")
        answer.__dict__.update(self.__dict__)
        answer.__dict__.update(fields)
        return answer

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the answer."""
        return self.text

    def record(self) -> dict[str, Any]:
        """The call as JSON-ready data with a stable schema: plan, attempts, usage, cost, bill; no content."""
        from cnroute.explain import record_of_completion

        return record_of_completion(self)

    def explain(self, lang: str = "en") -> str:
        """The call's record as text, in English (`en`) or Chinese (`zh`)."""
        from cnroute.explain import explain

        return explain(self.record(), lang)


def knowledge_base_from(value: object) -> KnowledgeBase:
    """A KnowledgeBase from an id (int or digits) or a KnowledgeBase. Raises BadRequestError."""
    if isinstance(value, KnowledgeBase):
        return attrs.evolve(_checked_base(value), id=_base_id(value.id))
    return KnowledgeBase(_base_id(value))


def _checked_base(base: KnowledgeBase) -> KnowledgeBase:
    rules = (
        ("top_k", _is_count(base.top_k) and base.top_k > 0, "a whole number above 0"),
        ("threshold", type(base.threshold) in (int, float) and 0 <= base.threshold <= 1, "a number from 0 to 1"),
        ("pattern", isinstance(base.pattern, str | None), "text"),
        ("previous_messages", _is_count(base.previous_messages), "a whole number of at least 0"),
    )
    for name, good, what in rules:
        if not good:
            raise BadRequestError(f"knowledge_base: {name} must be {what}")
    return base


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6


def _base_id(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise BadRequestError("knowledge_base: an id is a whole number such as 863831823174049792")


