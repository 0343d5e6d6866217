"""Scripts that random ones rarely reach: each pins one sentence of reliability, section 1."""

from __future__ import annotations

import email.utils
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind
from cnroute.flow.call import call_flow
from cnroute.flow.effects import Admit, Send
from cnroute.http import HttpResponse
from cnroute.notices import AttemptFinished, CallFinished
from cnroute.routing.fallback import TABLE
from cnroute.routing.health import Outcome
from cnroute.testing import capture_notices
from tests.flow.toy import Toy, answer, error, frames, good_stream, raised


def hangs(kind: str, limit: float) -> Callable[[Any], Any]:
    """A vendor that keeps a step waiting as long as its limit and the deadline allow."""

    def vendor(sent: Any) -> Any:
        deadline = sent.deadline
        deadline.written = deadline.now() if kind not in ("connect_timeout", "tls_timeout") else None
        deadline._clock.advance(max(0.0, min(limit, deadline.remaining())))
        raise error_for(Failure(kind, "silence", billing="none" if deadline.written is None else "unknown"))

    return vendor


class Pieces:
    """Pieces of a stream of which each takes its time; an exception is raised in its place, `None` hangs for ever."""

    def __init__(self, world: Toy, *pieces: tuple[float, Any]) -> None:
        self.world = world
        self.pieces = list(pieces)
        self.status, self.headers = 200, cnroute.wire.Headers({"content-type": "text/event-stream"})
        self.deadline: Any = None

    def read(self) -> bytes:
        seconds, piece = self.pieces.pop(0) if self.pieces else (0.0, b"")
        allowed = max(0.0, min(self.deadline.limits.idle, self.deadline.remaining()))
        if piece is None or seconds >= allowed:
            self.world.clock.advance(allowed)
            raise error_for(Failure("idle_timeout", "silence"))
        self.world.clock.advance(seconds)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        """Nothing is held."""


def streams(world: Toy, **vendors: list[tuple[float, Any]]) -> None:
    """Let each deployment stream pieces that take their time."""

    def opener(name: str) -> Callable[..., Any]:
        def open_(request: Any, deadline: Any) -> Pieces:
            stream = Pieces(world, *vendors[name])
            stream.deadline, deadline.written = deadline, deadline.now()
            return stream

        return open_

    for name, place in world.router._engine.binding.places.items():
        place.transport = type("Timed", (), {"open": staticmethod(opener(name))})()


def decisions(notices: list[Any]) -> list[str]:
    return [notice.decision for notice in notices if isinstance(notice, AttemptFinished)]


# -- S1: one deadline, shares ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["connect_timeout", "first_byte_timeout"])
def test_two_hanging_vendors_share_the_deadline(kind: str) -> None:
    """With 2 s for two vendors the call ends at 2.0 s and both were asked."""
    world = Toy([hangs(kind, 30)], timeouts=cnroute.Timeouts(total=2))
    caught = raised(world.chat)
    assert world.asked == ["a", "b"]
    assert caught.kind == "deadline_exceeded"
    assert [round(each.seconds, 3) for each in caught.attempts] == [1.0, 1.0]
    assert [each.failure.kind for each in caught.attempts] == [kind, "deadline_exceeded"]


@pytest.mark.parametrize("left", [1.2, 2.0, 5.0, 13.0, 20.0])
def test_a_late_beginning_of_a_long_call_leaves_whole_shares(left: float) -> None:
    """A stream that is begun with little of its 300 s left: each of two vendors gets half of what remains."""
    world = Toy([hangs("first_byte_timeout", 200)], timeouts=cnroute.Timeouts(total=300, connect=0.1))
    stream = world.stream()
    world.clock.advance(300 - left)
    caught = raised(lambda: list(stream))
    assert world.asked == ["a", "b"]
    assert caught.attempts[0].seconds == pytest.approx(left / 2, abs=0.045)


@pytest.mark.parametrize("total", [0.3, 0.5, 1.0, 1.02, 1.08])
def test_short_calls_still_reach_the_second_vendor(total: float) -> None:
    """Half a short total is enough for the second, even if the first ends a hair late."""
    world = Toy([hangs("first_byte_timeout", 200)], timeouts=cnroute.Timeouts(total=total))
    raised(world.chat)
    assert world.asked == ["a", "b"]


def test_nothing_starts_in_the_last_half_second() -> None:
    """Neither the first attempt of a stream that was begun too late nor a further one."""
    world = Toy([good_stream()], timeouts=cnroute.Timeouts(total=10))
    stream = world.stream()
    world.clock.advance(9.6)
    assert raised(lambda: list(stream)).kind == "deadline_exceeded"
    assert world.asked == []
    world = Toy({"a": [hangs("first_byte_timeout", 9.6)], "b": [answer()]}, timeouts=cnroute.Timeouts(total=10, attempt=9.6))
    assert raised(world.chat).kind == "first_byte_timeout"
    assert world.asked == ["a"]


def test_no_attempt_starts_after_a_queue_has_used_up_the_time() -> None:
    """Time that admission took is looked at again before anything is sent."""
    world = Toy([answer()])
    call = world.router._engine.call("hi", "chat", {"timeout": 2.0}, False)
    flow = call_flow(call)
    effect = next(flow)
    while isinstance(effect, Admit):
        lease = effect.place.health.admit(effect.deadline)
        world.clock.advance(1.7)
        try:
            effect = flow.send(lease)
        except cnroute.CallError as caught:
            assert caught.kind == "deadline_exceeded" and caught.billing == "none"
            break
    else:
        pytest.fail(f"{type(effect).__name__} with {call.remaining():.1f} s left")
    assert not any(each["in_flight"] for each in world.router.health().values())


def test_pings_do_not_renew_the_limit_for_the_first_token() -> None:
    """The stream ends at the limit, not at the ping after it, and the next vendor answers."""
    ping = (0.4, b": ping\n\n")
    world = Toy(timeouts=cnroute.Timeouts(total=60, first_token=3))
    streams(world, a=[ping] * 99, b=[(0.1, good_stream()[0])])
    stream = world.stream()
    assert "".join(stream.texts()) == "好"
    first = stream.completion.attempts[0]
    assert first.failure is not None and first.failure.kind == "first_token_timeout"
    assert first.seconds == pytest.approx(3.0)


def test_a_head_may_not_take_longer_than_the_first_content() -> None:
    """Both limits count from the request written, and the smaller one ends the attempt."""
    limits = cnroute.Timeouts(total=60, first_byte=5, first_token=2)
    world = Toy({"a": [lambda sent: hangs("first_byte_timeout", sent.deadline.limits.first_byte)(sent)], "b": [good_stream()]},
                timeouts=limits)
    stream = world.stream()
    assert "".join(stream.texts()) == "好"
    assert stream.completion.attempts[0].seconds == pytest.approx(2.0)


def test_a_committed_stream_may_use_all_that_remains() -> None:
    """Its share ends with the commit."""
    world = Toy(timeouts=cnroute.Timeouts(total=10))
    streams(world, a=[(1.0, frames({"text": "好"})), (8.0, frames({"text": "的"}, {"finish": "stop"}))], b=[])
    assert "".join(world.stream().texts()) == "好的"


# -- S3: money ---------------------------------------------------------------------------------------------------


def test_tokens_seen_before_the_first_content_are_billed() -> None:
    """`billed` is usage seen or any delta seen; before the commit the next vendor may still answer."""
    world = Toy({"a": [[frames({"role": "assistant", "usage": [9, 1]})]], "b": [good_stream()]})
    stream = world.stream()
    assert "".join(stream.texts()) == "好"
    assert [each.billing for each in stream.completion.attempts] == ["billed", "billed"]


def test_after_one_billed_refusal_nothing_follows_where_one_may_be_paid() -> None:
    """An error in a stream that has told of tokens is paid for, whatever its kind."""
    told = [frames({"usage": [9, 1]}, {"error": {"kind": "rate_limit"}})]
    world = Toy({"a": [told], "b": [good_stream()]}, retries=cnroute.Retries(max_paid_attempts=1))
    caught = raised(lambda: list(world.stream()))
    assert (caught.kind, caught.billing, world.asked) == ("rate_limit", "billed", ["a"])


def test_a_filtered_answer_counts_as_possibly_paid() -> None:
    """With `fallback_on` the next is asked, but only within `max_paid_attempts`."""
    for most, asked in ((1, ["a"]), (2, ["a", "b"])):
        world = Toy(
            {"a": [error("content_filter", billing="unknown")], "b": [answer()]}, retries=cnroute.Retries(max_paid_attempts=most),
            routes={"chat": cnroute.Route(targets=["a", "b"], fallback_on=["content_filter"])},
        )
        if most == 1:
            assert raised(world.chat).kind == "content_filter"
        else:
            assert world.chat().text == "好"
        assert world.asked == asked


# -- S4, S7: waiting ---------------------------------------------------------------------------------------------


def test_back_off_is_drawn_once() -> None:
    """What the notice said is what happens: a draw that did not fit is not drawn again."""
    numbers = iter([0.99, 0.0, 0.0, 0.0])
    world = Toy(
        [error("connect_error")], names="a", random=lambda: next(numbers), timeouts=cnroute.Timeouts(total=0.4),
        retries=cnroute.Retries(backoff=1.0),
    )
    with capture_notices(world.router) as notices:
        raised(world.chat)
    assert decisions(notices) == ["stop"]
    assert world.asked == ["a"]


@pytest.mark.parametrize(("number", "kind", "slept"), [(0.5, "connect_error", 0.125), (1.0, "connect_error", 0.25),
                                                      (0.5, "rate_limit", 0.5), (0.1, "rate_limit", 0.25)])
def test_back_off_is_full_jitter(number: float, kind: str, slept: float) -> None:
    """random x base; never before the cool-down of 0.25 s is over."""
    world = Toy([error(kind), answer()], names="a", random=lambda: number)
    assert world.chat().text == "好"
    assert world.clock.slept == [pytest.approx(slept)]


def test_a_thousand_clients_that_fail_together_spread_out() -> None:
    """No tenth of the back-off holds more than three times its share."""
    bins: Counter[int] = Counter()
    world = Toy([lambda sent: error("rate_limit")], names="a", breaker=None)
    for _ in range(1000):
        raised(world.chat)
    for seconds in world.clock.slept:
        bins[int(seconds * 10)] += 1
    assert len(world.clock.slept) == 1000
    assert max(bins.values()) <= 300 and len(bins) >= 10


@pytest.mark.parametrize(("seconds", "waits"), [("30", True), ("30.001", False), ("0", True), ("29.5", True), ("1000", False)])
def test_retry_after_is_waited_for_up_to_thirty_seconds(seconds: str, waits: bool) -> None:
    """And only as long as an attempt still fits behind it."""
    limited = HttpResponse(429, {"Retry-After": seconds}, b'{"error": {"kind": "rate_limit"}}')
    world = Toy([limited, answer()], names="a")
    if waits:
        assert world.chat(timeout=31).text == "好"
        assert sum(world.clock.slept) == float(seconds)
    else:
        assert raised(lambda: world.chat(timeout=3000)).retry_after == float(seconds)
        assert world.clock.slept == []


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_without_a_breaker_retry_after_is_kept_to(stream: bool, kind: str) -> None:
    """No cool-down stands in for it: the back-off itself is the vendor's value, whatever the jitter draws."""
    said = f'{{"error": {{"kind": "{kind}"}}}}'.encode()
    limited = HttpResponse(429, {"Retry-After": "7.5"}, said)
    world = Toy([limited, good_stream() if stream else answer()], names="a", breaker=None, random=lambda: 0.01)
    text = "".join(world.stream(timeout=60).texts()) if stream else world.chat(timeout=60).text
    assert text == "好"
    assert world.clock.slept == [7.5]
    assert world.asked == ["a", "a"]


def test_retry_after_that_leaves_no_room_is_not_waited_for() -> None:
    """Sleeping until the deadline would be of no use."""
    limited = HttpResponse(429, {"Retry-After": "9.6"}, b'{"error": {"kind": "rate_limit"}}')
    world = Toy([limited, answer()], names="a")
    assert raised(lambda: world.chat(timeout=10)).kind == "rate_limit"
    assert world.clock.slept == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_date_counts_from_the_arrival_of_the_answer(stream: bool) -> None:
    """A vendor that took 8 s to say "at 12:00:10" is left alone until then, and not 8 s longer."""
    world = Toy(names="a", timeouts=cnroute.Timeouts(total=60))

    def vendor(sent: Any) -> Any:
        date = email.utils.formatdate(world.clock.time() + 10, usegmt=True)
        world.clock.advance(8)
        return HttpResponse(429, {"Retry-After": date}, b'{"error": {"kind": "rate_limit"}}')

    world.transport._answers[None].append(vendor)
    caught = raised(lambda: list(world.stream()) if stream else world.chat(), cnroute.RateLimitError)
    assert caught.attempts[0].failure.retry_after == pytest.approx(2.0)
    assert world.clock.slept == [pytest.approx(2.0)]


# -- S6: breaker and cool-downs ----------------------------------------------------------------------------------


def test_silence_after_the_commit_counts_although_the_share_was_over() -> None:
    """The vendor had its whole idle limit: that is a failure of its own."""
    world = Toy(timeouts=cnroute.Timeouts(total=100, idle=20), breaker=cnroute.Breaker(failures=1))
    slow = [(15.0, frames({"text": str(number)})) for number in range(4)]
    streams(world, a=[*slow, (0.0, None)], b=[])
    caught = raised(lambda: list(world.stream()))
    assert caught.cause_kind == "idle_timeout"
    assert world.router.health()["a"]["breaker"] == "open"


def test_what_the_share_has_cut_does_not_count() -> None:
    """An attempt with less time than its own limit says nothing of the vendor."""
    world = Toy([hangs("first_byte_timeout", 30), hangs("first_byte_timeout", 30)], timeouts=cnroute.Timeouts(total=4),
                breaker=cnroute.Breaker(failures=1))
    raised(world.chat)
    assert {name: each["breaker"] for name, each in world.router.health().items()} == {"a": "closed", "b": "closed"}


def test_calls_that_are_refused_together_grow_the_cool_down_once() -> None:
    """Sixteen 429s at the same time say no more than one of them; the next one, after the cool-down, doubles it."""
    world = Toy([], names="a", breaker=cnroute.Breaker())
    health = next(iter(world.router._engine.binding.places.values())).health
    refused = Outcome(TABLE[FailureKind.RATE_LIMIT], FailureKind.RATE_LIMIT)
    for seconds in (0.25, 0.5, 1.0):
        leases = [health.admit() for _ in range(16)]
        for lease in leases:
            lease.end(refused)
        assert health.ready_at(0.0) - world.clock.monotonic() == pytest.approx(seconds)
        world.clock.advance(seconds)


def test_all_cooling_down_waits_for_the_first_to_come_back() -> None:
    """The one that comes back first is asked, at its instant and not before."""
    limited = [HttpResponse(429, {"Retry-After": seconds}, b'{"error": {"kind": "rate_limit"}}') for seconds in ("20", "8")]
    world = Toy({"a": [limited[0], answer("a")], "b": [limited[1], answer("b")]}, retries=cnroute.Retries(max_attempts=2))
    raised(world.chat)
    assert world.chat(timeout=60).text == "b"
    assert world.clock.slept == [pytest.approx(8.0)]
    assert world.asked == ["a", "b", "b"]


def test_all_cooling_down_too_long_is_told_at_once() -> None:
    """Nothing is sent or slept; the error says when, and why for each deployment."""
    limited = HttpResponse(429, {"Retry-After": "40"}, b'{"error": {"kind": "rate_limit"}}')
    world = Toy([limited], retries=cnroute.Retries(max_attempts=2))
    raised(world.chat)
    caught = raised(lambda: world.chat(timeout=60))
    assert isinstance(caught, cnroute.NoCandidateError)
    assert caught.retry_after == pytest.approx(40.0) and "a:" in str(caught) and "b:" in str(caught)
    assert (len(world.asked), world.clock.slept) == (2, [])


def test_of_open_breakers_the_one_that_reopens_first_is_probed() -> None:
    """Before its time, since there is nobody else; a good probe closes it."""
    numbers = iter([0.9, 0.1])
    world = Toy({"a": [error("server_error"), answer("a")], "b": [error("server_error"), answer("b")]},
                breaker=cnroute.Breaker(failures=1), random=lambda: next(numbers))
    raised(world.chat)
    assert world.chat().text == "b"
    assert {name: each["breaker"] for name, each in world.router.health().items()} == {"a": "open", "b": "closed"}


@pytest.mark.parametrize("way", ["close", "cancel", "drop", "interrupt"])
def test_a_probe_comes_back_however_its_call_ends(way: str) -> None:
    """The next call is the next probe."""
    world = Toy({"a": [error("server_error"), [frames({"text": "好"}), frames({"text": "的"})], answer("又")]}, names="a",
                breaker=cnroute.Breaker(failures=1))
    raised(world.chat)
    world.clock.advance(6.1)
    stream = world.stream()
    assert next(stream).text == "好"
    assert isinstance(raised(world.chat), cnroute.NoCandidateError)
    if way == "interrupt":
        raised(lambda: list(stream), cnroute.StreamInterruptedError)
        world.clock.advance(13)
    elif way != "drop":
        getattr(stream, way)()
    stream = None
    assert world.chat().text == "又"
    assert world.router.health()["a"]["breaker"] == "closed"


def test_an_interrupt_from_the_keyboard_gives_everything_back() -> None:
    """It passes through, with one notice, and is no fallback."""

    def interrupt(sent: Any) -> Any:
        raise KeyboardInterrupt

    for ask in (lambda world: world.chat(), lambda world: list(world.stream())):
        world = Toy({"a": [interrupt], "b": [answer()]})
        with capture_notices(world.router) as notices:
            raised(lambda world=world, ask=ask: ask(world), KeyboardInterrupt)
        assert sum(isinstance(notice, CallFinished) for notice in notices) == 1
        assert world.asked == ["a"]
        assert world.router.health()["a"]["in_flight"] == 0


# -- S10: streams ------------------------------------------------------------------------------------------------


def test_after_the_commit_the_notice_says_stop() -> None:
    """Another deployment is there, but nothing may follow."""
    world = Toy({"a": [[frames({"text": "好"}), error_for(Failure("connection_lost"))]], "b": [good_stream()]})
    with capture_notices(world.router) as notices:
        raised(lambda: list(world.stream()), cnroute.StreamInterruptedError)
    assert decisions(notices) == ["stop"]
    assert world.asked == ["a"]


@pytest.mark.parametrize("late", [False, True])
def test_silence_after_the_end_mark_is_not_waited_out(late: bool) -> None:
    """The call is over within 0.3 s of the mark, even if its first content came behind the mark."""
    text, mark = frames({"text": "好"}), frames({"finish": "stop"})
    world = Toy(timeouts=cnroute.Timeouts(total=60, idle=30))
    streams(world, a=[(0.1, mark if late else text), (0.1, text if late else mark), (0.0, None)], b=[])
    began = world.clock.monotonic()
    stream = world.stream()
    assert "".join(stream.texts()) == "好"
    assert stream.completion.finish_reason == "stop"
    assert world.clock.monotonic() - began <= 0.5


def test_a_slow_consumer_is_inside_of_the_deadline() -> None:
    """What was let through is handed out first; then the deadline is the error."""

    def consume(stream: Any) -> Iterator[str]:
        for delta in stream:
            world.clock.advance(7)
            yield delta.text

    world = Toy(timeouts=cnroute.Timeouts(total=10))
    streams(world, a=[(0.1, frames({"text": str(number)})) for number in range(9)], b=[])
    seen: list[str] = []
    caught = raised(lambda: seen.extend(consume(world.stream())), cnroute.StreamInterruptedError)
    assert caught.cause_kind == "deadline_exceeded"
    assert "".join(seen) == caught.partial_text == "01"


def test_sleeping_calls_can_be_cancelled() -> None:
    """A cancel while the call waits for its next attempt: one notice, the attempt before it stays in the record."""
    world = Toy([error("rate_limit")], names="a")
    stream = world.stream()
    world.clock.sleep = lambda seconds: stream.cancel()  # type: ignore[method-assign]
    with capture_notices(world.router) as notices:
        caught = raised(lambda: list(stream), cnroute.CallCancelledError)
    assert [each.failure.kind for each in caught.attempts] == ["rate_limit"]
    assert [notice.outcome for notice in notices if isinstance(notice, CallFinished)] == ["cancelled"]


def test_the_flow_sends_nothing_after_it_was_closed() -> None:
    """Closing the generator at any effect ends it with one notice."""
    for steps in (1, 2):
        world = Toy([answer()])
        call = world.router._engine.call("hi", "chat", {}, False)
        flow = call_flow(call)
        effect = next(flow)
        for _ in range(steps - 1):
            effect = flow.send(effect.place.health.admit(effect.deadline))
        assert isinstance(effect, Admit if steps == 1 else Send)
        with capture_notices(world.router) as notices:
            flow.close()
        assert [type(notice).__name__ for notice in notices][-1] == "CallFinished"
        assert sum(isinstance(notice, CallFinished) for notice in notices) == 1
