"""How many tokens a text may be, without a tokenizer: an estimate for ranking and a bound for money.

The estimate counts three quarters of a token for each character beyond ASCII and a quarter for each other one;
`(len(utf-8) - len(text)) / 2` is the number of the former, exact for Chinese and slightly high for emoji. It
is linear and costs about a microsecond. Every figure made from it is marked as estimated.

What vendors count corrects it: each model has a running `Ratio`. A provider's own `count_tokens` replaces both.
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


# So many estimated tokens at ratio 1 are believed in before the first answer: a greeting alone moves nothing much.
_BELIEF = 100.0
# Half of what was learned is forgotten after about 35 answers.
_KEPT = 0.98
# What is counted beyond this is no matter of tokenizers: the vendor has added text of its own.
_FURTHEST = 4.0


class Ratio:
    """How many tokens a model counts for each one that is estimated, from the counts that it returned; 1 at first."""

    __slots__ = ("_sums", "value")

    def __init__(self) -> None:
        self._sums = (0.0, 0.0)
        self.value = 1.0

    def of(self, estimate: float) -> int:
        """The corrected estimate, at least 1."""
        return max(1, round(estimate * self.value))

    def learn(self, estimated: int, counted: int) -> None:
        """The vendor counted so many input tokens for a prompt that was estimated. Threads may lose one, and harm nothing."""
        if estimated > 0 and counted > 0:
            counted_so_far, estimated_so_far = self._sums
            real = min(max(float(counted), estimated / _FURTHEST), estimated * _FURTHEST)
            self._sums = sums = (_KEPT * counted_so_far + real, _KEPT * estimated_so_far + estimated)
            self.value = (_BELIEF + sums[0]) / (_BELIEF + sums[1])


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
