"""How many tokens a text may be, without a tokenizer: an estimate for ranking and a bound for money.

The estimate counts three quarters of a token for each character beyond ASCII and a quarter for each other one;
`(len(utf-8) - len(text)) / 2` is the number of the former, exact for Chinese and slightly high for emoji. It
is linear and costs about a microsecond. Every figure made from it is marked as estimated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnroute.chat import ChatRequest
from cnroute.codec import dumps

_PER_MESSAGE = 4
_BOUND_PER_MESSAGE = 16
# Raw fields (`extra`) that make answers longer, or more of them, as the vendors call them.
_LENGTHS = frozenset(("max_tokens", "max_completion_tokens", "tokens_to_generate"))
_CHOICES = frozenset(("n", "beam_width", "best_of"))


def estimate(text: str) -> float:
    """About how many tokens `text` is."""
    if text.isascii():
        return 0.25 * len(text)
    wide = (len(text.encode("utf-8", "surrogatepass")) - len(text)) / 2
    return 0.75 * wide + 0.25 * (len(text) - wide)


def input_tokens(request: ChatRequest) -> int:
    """About how many tokens the prompt of `request` is, tools included."""
    total: float = _PER_MESSAGE * len(request.messages)
    for message in request.messages:
        total += estimate(message.content if isinstance(message.content, str) else message.text)
        for call in message.tool_calls:
            total += estimate(call.name) + estimate(call.arguments)
    if request.tools:
        total += estimate(dumps(request.tools).decode())
    return max(1, round(total))


def output_bound(request: ChatRequest) -> int:
    """More tokens than the answers can have: every choice at its full length, and thinking on top of it."""
    thinking = request.reasoning if isinstance(request.reasoning, int) and not isinstance(request.reasoning, bool) else 0
    longest = max((request.max_tokens or 0, *_numbers(request.extra, _LENGTHS)))
    return max((1, *_numbers(request.extra, _CHOICES))) * (longest + thinking)


def _numbers(value: object, names: frozenset[str]) -> Iterator[int]:
    """The whole numbers under any of `names` in raw fields, however deep."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in names and isinstance(item, int):
                yield int(item)
            yield from _numbers(item, names)


def upper_bound(request: ChatRequest, body: bytes) -> int:
    """More tokens than the prompt can be: bytes of everything sent, plus 16 per message (reliability S11)."""
    return len(body) + _BOUND_PER_MESSAGE * len(request.messages)
