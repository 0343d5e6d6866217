"""The fallback table of the contract, row by row, through a whole router with a fake transport and clock."""

from __future__ import annotations

from typing import Any

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind
from cnroute.routing.fallback import TABLE
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, host, raised

# kind: tried again alone, goes on to the next, cool-down seconds, counted by the breaker.
ROWS: dict[str, tuple[bool, bool, float, bool]] = {
    **dict.fromkeys(("rate_limit", "overloaded"), (True, True, 0.25, False)),
    **dict.fromkeys(("dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout"), (True, True, 0, True)),
    "tls_verify": (False, True, 60, False),
    **dict.fromkeys(
        (
            "server_error",
            "vendor_timeout",
            "write_timeout",
            "first_byte_timeout",
            "first_token_timeout",
            "idle_timeout",
            "connection_lost",
            "protocol_error",
            "decode_error",
            "bad_response",
            "response_too_large",
            "redirect",
        ),
        (False, True, 0, True),
    ),
    **dict.fromkeys(("auth", "permission"), (False, True, 60, False)),
    **dict.fromkeys(("quota", "model_not_found"), (False, True, 600, False)),
    **dict.fromkeys(("context_length", "request_too_large", "content_filter", "bad_request"), (False, False, 0, False)),
    **dict.fromkeys(("unsupported", "local_overload", "plugin_error"), (False, True, 0, False)),
    **dict.fromkeys(("budget_exceeded", "deadline_exceeded", "cancelled", "closed"), (False, False, 0, False)),
}


def failing(kind: str, stream: bool) -> Any:
    """A way to fail: what the wire does is raised by the transport, what the vendor says comes as an answer."""
    return error_for(Failure(kind, "so it is")) if kind in ROWS and not stream else error(kind)


def run(toy: Toy, stream: bool) -> Any:
    return toy.stream().start() if stream else toy.chat()


def test_the_table_covers_every_kind() -> None:
    """Each kind that an attempt can have stands in it."""
    assert set(TABLE) == set(FailureKind)
    assert set(ROWS) == {kind.value for kind in FailureKind} - {"no_candidate", "stream_interrupted"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ROWS)
def test_alone(kind: str, stream: bool) -> None:
    """With one deployment: asked once, or twice where the table allows it; the error is of the last failure."""
    again, _, cooldown, counts = ROWS[kind]
    toy = Toy([failing(kind, stream)], names="a")
    caught = raised(lambda: run(toy, stream))
    assert caught.kind == kind
    assert type(caught) is type(error_for(Failure(kind)))
    assert toy.asked == ["a"] * (2 if again else 1)
    assert [attempt.failure.kind for attempt in caught.attempts] == [kind] * len(toy.asked)
    assert len(toy.clock.slept) == len(toy.asked) - 1
    health = toy.router.health()["a"]
    assert health["in_flight"] == 0
    assert health["cool_down_seconds"] == (0.5 if cooldown == 0.25 else cooldown)
    tried = len(toy.asked)
    place = toy.router._engine.binding.places["a"]
    assert place.health._failures == (tried if counts else 0)
    assert toy.transport.open_streams == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ROWS)
def test_with_a_second(kind: str, stream: bool) -> None:
    """With two: the next is asked at once, without sleeping, or not at all."""
    _, next_one, _, _ = ROWS[kind]
    toy = Toy({"a": [failing(kind, stream)], "b": [answer()]})
    if next_one:
        done = run(toy, stream)
        reply = done.completion if stream and list(done) else done
        assert (reply.text, reply.deployment) == ("好", "b")
        assert [attempt.failure and attempt.failure.kind for attempt in reply.attempts] == [kind, None]
        assert toy.asked == ["a", "b"]
    else:
        caught = raised(lambda: run(toy, stream))
        assert (caught.kind, toy.asked, len(caught.attempts)) == (kind, ["a"], 1)
    assert toy.clock.slept == []


@pytest.mark.parametrize("kind", ["bad_request", "content_filter", "context_length"])
def test_a_route_may_override_a_row(kind: str) -> None:
    """`fallback_on` and `fallback` change the table of one route and of no other."""
    routes = {
        "on": cnroute.Route(targets=["a", "b"], fallback_on=[kind]),
        "next": cnroute.Route(targets=["a", "b"], fallback={kind: "next"}),
        "again": cnroute.Route(targets=["a"], fallback={kind: "again"}),
        "usual": ["a", "b"],
        "stop": cnroute.Route(targets=["a", "b"], fallback={"server_error": "stop"}),
    }
    for route in ("on", "next"):
        toy = Toy({"a": [error(kind)], "b": [answer()]}, routes=routes)
        assert toy.chat(model=route).deployment == "b"
    toy = Toy({"a": [error(kind), answer()], "b": [answer()]}, routes=routes)
    assert toy.chat(model="again").deployment == "a"
    assert Toy({"a": [error(kind)], "b": [answer()]}, routes=routes).clock.slept == []
    toy = Toy({"a": [error(kind)], "b": [answer()]}, routes=routes)
    assert raised(lambda: toy.chat(model="usual")).kind == kind
    toy = Toy({"a": [error("server_error")], "b": [answer()]}, routes=routes)
    assert raised(lambda: toy.chat(model="stop")).kind == "server_error"


@pytest.mark.parametrize("kind", ["context_length", "request_too_large"])
def test_too_long_goes_on_only_where_a_larger_limit_is_known(kind: str) -> None:
    """Smaller, equal and unknown windows are passed over; also those that were asked before."""
    models = tuple(cnroute.ModelInfo(f"m{size}", context=size) for size in (1000, 2000, 4000))
    made = [
        deployment("a", "m2000"),
        deployment("small", "m1000"),
        deployment("same", "m2000"),
        deployment("unknown", "x"),
        deployment("large", "m4000"),
    ]
    toy = Toy({"a": [error(kind)], None: [answer()]}, deployments=made, plugins=host(ToyProvider(models=models)))
    assert toy.chat().deployment == "large"
    assert toy.asked == ["a", "large"]
    toy = Toy(
        {"small": [error("rate_limit")], "a": [error(kind)]},
        deployments=[made[1], made[0]],
        plugins=host(ToyProvider(models=models)),
    )
    assert raised(toy.chat).kind == kind
    assert toy.asked == ["small", "a"]


def test_a_prompt_that_cannot_fit_is_not_sent() -> None:
    """Every window too small: ContextLengthError without an attempt; a larger one is tried."""
    models = (cnroute.ModelInfo("m10", context=10), cnroute.ModelInfo("m9999", context=9999))
    plugins = host(ToyProvider(models=models))
    toy = Toy([answer()], deployments=[deployment("a", "m10")], plugins=plugins)
    caught = raised(lambda: toy.chat("你" * 1000))
    assert (type(caught), caught.attempts, toy.asked) == (cnroute.ContextLengthError, (), [])
    assert caught.plan.excluded[0].rule == "context_length"
    toy = Toy(
        [answer()], deployments=[deployment("a", "m10"), deployment("b", "m9999")], plugins=host(ToyProvider(models=models))
    )
    assert toy.chat("你" * 1000).deployment == "b"


@pytest.mark.parametrize(
    "kinds", [("rate_limit", "auth"), ("auth", "rate_limit"), ("server_error", "connect_error"), ("overloaded", "quota")]
)
def test_the_error_is_that_of_the_last_attempt(kinds: tuple[str, str]) -> None:
    """Whatever the number of attempts; all of them are listed, and once each in the notes."""
    toy = Toy({"a": [error(kinds[0])], "b": [error(kinds[1])]})
    caught = raised(toy.chat)
    assert caught.kind == caught.attempts[-1].failure.kind
    assert (caught.deployment, caught.provider) == (caught.attempts[-1].deployment, "toy")
    assert len(caught.__notes__) == len(caught.attempts)
    for number, (note, attempt) in enumerate(zip(caught.__notes__, caught.attempts, strict=True), 1):
        assert "\n" not in note
        assert f"attempt {number}: {attempt.deployment}" in note and attempt.failure.kind in note
