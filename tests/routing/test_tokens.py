"""The token estimate learns from what vendors count: a running ratio for each model, and nobody else's."""

from __future__ import annotations

import random
from typing import Any

import pytest

import cnroute
from cnroute.routing.tokens import Ratio, estimate
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, good_stream, host

PROMPT = "长" * 400  # 300 estimated tokens and four for the message
PRICE = cnroute.Price("CNY", "1", "0", per=1)


def expected(toy: Toy, name: str = "a", prompt: str = PROMPT) -> int:
    """How many input tokens a plan reckons with, read from a price of one a token."""
    plan = toy.router.plan(prompt, model=name, max_tokens=1)
    assert plan.candidates[0].cost is not None
    return int(plan.candidates[0].cost.low)


def places(*names: str, **fields: Any) -> list[cnroute.Deployment]:
    return [deployment(name, price=PRICE, **fields) for name in names]


def test_the_estimate_comes_nearer_with_every_answer() -> None:
    """From 304 to the 200 that the vendor counts; a plan before the first answer knows nothing of it."""
    toy = Toy([answer(usage=[200, 5])], deployments=places("a"))
    seen = [expected(toy)]
    for _ in range(30):
        toy.chat(PROMPT, model="a")
        seen.append(expected(toy))
    assert seen[0] == 304
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 203
    assert toy.router.health()["a"]["token_ratio"] == pytest.approx(200 / 304, rel=0.02)


def test_a_greeting_moves_next_to_nothing() -> None:
    """Few tokens are weak evidence: templates of the vendor weigh more in them than text."""
    toy = Toy([answer(usage=[20, 5])], deployments=places("a"))
    toy.chat("hi", model="a")
    assert 304 < expected(toy) < 304 * 1.2


def test_deployments_of_one_model_learn_together_and_others_do_not() -> None:
    """Two accounts of a model have one tokenizer, so learning never makes them differ."""
    made = [*places("a", "b"), deployment("c", model="toy-2", price=PRICE)]
    toy = Toy([answer(usage=[150, 5])], deployments=made)
    for _ in range(9):
        toy.chat(PROMPT, model="a")
    assert expected(toy, "a") == expected(toy, "b") < 170
    assert expected(toy, "c") == 304


def test_streams_teach_too() -> None:
    """A stream's usage is as good as an answer's."""
    toy = Toy([good_stream()], deployments=places("a"))
    list(toy.stream(PROMPT, model="a"))
    assert expected(toy) < 304


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ({"usage": [900, 5], "sources": ["a chunk"]}, {}),
        ({"usage": [900, 5]}, {"web_search": True}),
        ({"usage": [None, None, 900]}, {}),
        ({"usage": []}, {}),
    ],
)
def test_what_says_nothing_of_the_tokenizer_teaches_nothing(said: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Text that the vendor looked up by itself, totals, and no count at all."""
    toy = Toy([answer(**said)], deployments=places("a"))
    toy.chat(PROMPT, model="a", **arguments)
    assert expected(toy) == 304


def test_failures_teach_nothing() -> None:
    """No answer, no count."""
    toy = Toy({"a": [error("server_error")], "b": [answer()]}, deployments=[*places("a"), deployment("b", model="toy-2")])
    toy.chat(PROMPT, model="chat")
    assert expected(toy) == 304


def test_an_absurd_count_is_not_believed() -> None:
    """A vendor that counts a million does not make a model look a thousand times dearer, and it is forgotten again."""
    toy = Toy({"a": [answer(usage=[10**6, 5]), *[answer(usage=[304, 5])] * 300]}, deployments=places("a"))
    toy.chat(PROMPT, model="a")
    assert expected(toy) < 4 * 304
    for _ in range(300):
        toy.chat(PROMPT, model="a")
    assert expected(toy) == pytest.approx(304, rel=0.02)


def test_a_reload_keeps_what_was_learned() -> None:
    """A model's tokenizer does not change with the configuration."""
    toy = Toy([answer(usage=[150, 5])], deployments=places("a"))
    for _ in range(5):
        toy.chat(PROMPT, model="a")
    before = expected(toy)
    toy.router._engine.reload(places("a", "z"), {}, {})
    assert expected(toy) == before < 304
    assert expected(toy, "z") == before


def test_a_count_of_the_provider_replaces_estimate_and_ratio() -> None:
    """`count_tokens` has the last word; where it declines, the corrected estimate holds."""

    class Counting(ToyProvider):
        @cnroute.hookimpl
        def count_tokens(self, request: Any, deployment: Any) -> int | None:
            return 77 if "count" in request.messages[0].text else None

    toy = Toy([answer(usage=[150, 5])], deployments=places("a"), plugins=host(Counting()))
    for _ in range(5):
        toy.chat(PROMPT, model="a")
    assert expected(toy, prompt="count" + PROMPT) == 77
    assert expected(toy) < 304


def test_the_ratio_is_a_mean_by_tokens_that_forgets() -> None:
    """Within a twentieth of the true ratio after fifty prompts of any length; within as much of a new one after 150 more."""
    draw, ratio = random.Random(5), Ratio()
    for truth, answers in ((0.6, 50), (1.5, 150)):
        for _ in range(answers):
            estimated = draw.randrange(20, 2000)
            ratio.learn(estimated, round(estimated * truth * draw.uniform(0.9, 1.1)))
        assert ratio.value == pytest.approx(truth, rel=0.07)
    assert (ratio.of(0), ratio.of(1000)) == (1, round(1000 * ratio.value))
    ratio.learn(0, 5)
    ratio.learn(5, 0)
    assert estimate("") == 0
