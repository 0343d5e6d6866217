"""Who is asked next, when, and when it stops: attempts, money, back-off, Retry-After, shares of time, cool-downs."""

from __future__ import annotations

import datetime
import email.utils
import random
import threading
from typing import Any

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure
from cnroute.http import HttpResponse
from cnroute.testing import FakeClock, FakeTransport
from tests.flow.toy import Toy, ToyProvider, answer, deployment, error, good_stream, host, raised


def wire(kind: str, **fields: Any) -> cnroute.CallError:
    return error_for(Failure(kind, "x", **fields))


class TestAttempts:
    """How many, where, and what they may cost."""

    @pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
    def test_max_attempts(self, most: int) -> None:
        """No more attempts than allowed, each further one on a deployment not yet tried."""
        toy = Toy([error("rate_limit")], names="a b c d e", retries=cnroute.Retries(max_attempts=most))
        caught = raised(toy.chat)
        assert toy.asked == list("abcde")[:most]
        assert len(caught.attempts) == most

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_max_paid_attempts(self, most: int) -> None:
        """After so many attempts that were or may have been charged nothing follows."""
        toy = Toy([error("server_error")], names="a b c d e", retries=cnroute.Retries(max_attempts=9, max_paid_attempts=most))
        assert len(raised(toy.chat).attempts) == most
        toy = Toy(
            {
                "a": [error("rate_limit")],
                "b": [error("server_error")],
                "c": [error("auth")],
                "d": [error("server_error")],
                "e": [answer()],
            },
            names="a b c d e",
            retries=cnroute.Retries(max_attempts=9, max_paid_attempts=most),
        )
        asked = {1: ["a", "b"], 2: ["a", "b", "c", "d"], 3: ["a", "b", "c", "d", "e"]}[most]
        if most == 3:
            assert toy.chat().deployment == "e"
        else:
            raised(toy.chat)
        assert toy.asked == asked

    def test_the_same_deployment_again_only_after_all_others(self) -> None:
        """Two refuse the connection: each is asked, then the one that may come back soonest, and no more than three times."""
        toy = Toy([wire("connect_error")], names="a b")
        raised(toy.chat)
        assert len(toy.asked) == 3
        assert toy.asked[:2] == ["a", "b"]
        toy = Toy({"a": [wire("dns_error"), answer()]}, names="a")
        assert toy.chat().text == "好"
        assert toy.asked == ["a", "a"]

    def test_a_local_refusal_uses_up_no_attempt(self) -> None:
        """Deployments that cannot take the request are skipped, not tried."""

        def only_last(request: Any, deployment: Any, stream: bool) -> Any:
            if deployment.name != "e":
                raise cnroute.UnsupportedRequestError("temperature", "no")
            return ToyProvider().build_request(request, deployment, stream)

        toy = Toy(
            [answer()],
            names="a b c d e",
            plugins=host(ToyProvider(build_request=only_last)),
            retries=cnroute.Retries(max_attempts=1),
        )
        reply = toy.chat(temperature=1)
        assert (reply.deployment, len(reply.attempts)) == ("e", 1)
        assert [each.deployment for each in reply.plan.excluded] == list("abcd")

    def test_a_route_has_its_own_retries(self) -> None:
        """Route over router."""
        routes = {"one": cnroute.Route(targets=["a", "b"], retries=cnroute.Retries(max_attempts=1)), "two": ["a", "b"]}
        toy = Toy([error("rate_limit")], routes=routes, breaker=None, retries=cnroute.Retries(max_attempts=2))
        assert len(raised(lambda: toy.chat(model="one")).attempts) == 1
        assert len(raised(lambda: toy.chat(model="two")).attempts) == 2


class TestWaiting:
    """Back-off, Retry-After and cool-downs, by a clock that does not tick."""

    @pytest.mark.parametrize(("kind", "base"), [("connect_error", 0.25), ("rate_limit", 1.0), ("overloaded", 1.0)])
    def test_back_off_is_full_jitter(self, kind: str, base: float) -> None:
        """random() x base for the first repetition, to the last digit, drawn once."""
        for seed in range(20):
            source = random.Random(seed)
            toy = Toy([wire(kind), answer()], names="a", random=source, breaker=None)
            toy.chat()
            assert toy.clock.slept == [random.Random(seed).random() * base]

    def test_back_off_doubles_up_to_its_cap(self) -> None:
        """base x 2^n with n the repetitions before; never more than the cap."""
        retries = cnroute.Retries(max_attempts=6, same_deployment=6, backoff=3, backoff_cap=10)
        toy = Toy([wire("connect_error")], names="a", random=lambda: 1.0, breaker=None, retries=retries)
        raised(toy.chat)
        assert toy.clock.slept == [3, 6, 10, 10, 10]

    def test_many_clients_spread_out(self) -> None:
        """No tenth of the range holds more than three times its share."""
        source, waits = random.Random(7), []
        for _ in range(300):
            toy = Toy([wire("connect_error"), answer()], names="a", random=source, breaker=None)
            toy.chat()
            waits += toy.clock.slept
        bins = [sum(1 for wait in waits if place <= wait / 0.025 < place + 1) for place in range(10)]
        assert max(bins) <= 90

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("3", 3.0),
            ("1.5", 1.5),
            (" 2 ", 2.0),
            ("0", 0.0),
            ("+30 s", 30.0),
            ("-5", None),
            ("-30 s", None),
            ("999999999", None),
            ("soon", None),
            ("", None),
            ("nan", None),
            ("inf", None),
            ("1e3", None),
            ("3, 5", None),
            ("Mon, 99 Foo 2026", None),
            ("9" * 400, None),
        ],
    )
    def test_forms_of_retry_after(self, header: str, seconds: float | None) -> None:
        """Seconds, decimals and dates count; negative, past, absurd and broken values are as if there were none."""
        clock = FakeClock()
        if header.endswith(" s"):
            at = datetime.datetime.fromtimestamp(clock.time() + float(header[:-2]), datetime.UTC)
            header = email.utils.format_datetime(at, usegmt=True)
        toy = Toy(
            [HttpResponse(429, {"Retry-After": header}, b"")], names="a", clock=clock, retries=cnroute.Retries(max_attempts=1)
        )
        caught = raised(toy.chat, cnroute.RateLimitError)
        assert caught.retry_after == (pytest.approx(seconds) if seconds is not None else None)
        cooled = toy.router.health()["a"]["cool_down_seconds"]
        assert cooled == pytest.approx(0.25 if seconds is None else seconds)

    @pytest.mark.parametrize(("told", "waited"), [(3, 3.0), (30, 30.0), (31, None), (400, None)])
    def test_a_vendors_wait_is_kept_if_it_fits(self, told: float, waited: float | None) -> None:
        """Up to 30 s it is waited for exactly; longer is given up at once, and cools down for at most 300 s."""
        toy = Toy([error("rate_limit", retry_after=told), answer()], names="a")
        if waited is not None:
            assert toy.chat().text == "好"
            assert toy.clock.slept == [waited]
        else:
            assert raised(toy.chat).retry_after == told
            assert toy.clock.slept == []
            assert toy.router.health()["a"]["cool_down_seconds"] == min(told, 300)

    def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(self) -> None:
        """Go on or give up at once: half a second must be left for the attempt."""
        for total, fits in ((3.6, True), (3.4, False)):
            toy = Toy([error("rate_limit", retry_after=3), answer()], names="a")
            if fits:
                assert toy.chat(timeout=total).text == "好"
            else:
                raised(lambda toy=toy, total=total: toy.chat(timeout=total), cnroute.RateLimitError)
                assert toy.clock.slept == []

    def test_cool_downs_grow_until_a_success(self) -> None:
        """0.25 s, doubling to 60 s while no call succeeds in between."""
        toy = Toy(
            [*[error("rate_limit")] * 10, answer(), error("rate_limit")], names="a", retries=cnroute.Retries(max_attempts=1)
        )
        seen = []
        for _ in range(10):
            raised(toy.chat, cnroute.RateLimitError)
            seen.append(toy.router.health()["a"]["cool_down_seconds"])
            toy.clock.advance(seen[-1])
        assert seen == [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]
        toy.chat()
        raised(toy.chat, cnroute.RateLimitError)
        assert toy.router.health()["a"]["cool_down_seconds"] == 0.25

    def test_everybody_cooling_down_waits_for_the_first(self) -> None:
        """The one that comes back first is waited for and asked."""
        toy = Toy(
            {"a": [error("rate_limit", retry_after=20), answer("a")], "b": [error("rate_limit", retry_after=5), answer("b")]},
            retries=cnroute.Retries(max_attempts=2),
        )
        raised(toy.chat, cnroute.RateLimitError)
        assert toy.asked == ["a", "b"]
        assert toy.chat().text == "b"
        assert toy.clock.slept == [5]

    def test_nobody_may_be_asked_in_time(self) -> None:
        """NoCandidateError at once, with the instant in UTC, the seconds, and each deployment's reason."""
        toy = Toy([error("auth")], names="a b")
        raised(toy.chat)
        caught = raised(toy.chat, cnroute.NoCandidateError)
        assert len(toy.asked) == 2
        assert caught.attempts == ()
        assert caught.retry_after == pytest.approx(60)
        assert caught.retry_at.tzinfo is datetime.UTC
        assert caught.retry_at.timestamp() == pytest.approx(toy.clock.time() + 60)
        assert "a: " in caught.message and "b: " in caught.message
        assert caught.retryable and caught.billing == "none"
        toy.clock.advance(60.1)
        raised(toy.chat, cnroute.AuthenticationError)

    def test_without_a_breaker_nothing_is_left_alone(self) -> None:
        """`breaker=None` switches breaker and cool-downs off."""
        toy = Toy([error("auth")], names="a", breaker=None)
        for _ in range(20):
            raised(toy.chat, cnroute.AuthenticationError)
        assert len(toy.asked) == 20


class TestTime:
    """One deadline, shares of it, and no attempt that could not end."""

    def shares(self, count: int, total: float, **settings: Any) -> list[float]:
        """How long each attempt at `count` deployments may take, when each uses all of it."""
        given: list[float] = []

        def use(step: str, sent: Any) -> None:
            given.append(sent.deadline.at - toy.clock.monotonic())
            toy.clock.advance(max(0.0, given[-1]))

        names = [f"d{number}" for number in range(count)]
        toy = Toy(
            [wire("first_byte_timeout")],
            names=" ".join(names),
            advance=use,
            retries=cnroute.Retries(max_attempts=3, max_paid_attempts=3),
            **settings,
        )
        self.error = raised(lambda: toy.chat(timeout=total))
        return given

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_an_attempt_has_its_share(self, count: int) -> None:
        """Remaining divided by the candidates that may still be tried, at most the attempts left; the last has all."""
        tried = min(count, 3)
        assert self.shares(count, 60) == pytest.approx([60 / tried] * tried)
        assert self.error.kind == "deadline_exceeded"
        assert [attempt.failure.kind for attempt in self.error.attempts[:-1]] == ["first_byte_timeout"] * (tried - 1)

    def test_a_share_is_raised_to_the_connect_limit_where_that_leaves_enough(self) -> None:
        """5 s for connecting, if every later candidate keeps half a second."""
        assert self.shares(2, 6)[0] == pytest.approx(5)
        assert self.shares(2, 5)[0] == pytest.approx(2.5)

    def test_a_fixed_limit_replaces_the_share(self) -> None:
        """`Timeouts(attempt=...)`, never beyond the deadline."""
        assert self.shares(2, 60, timeouts=cnroute.Timeouts(attempt=7)) == pytest.approx([7, 7])
        assert self.shares(1, 5, timeouts=cnroute.Timeouts(attempt=7)) == pytest.approx([5])

    @pytest.mark.parametrize(("left", "more"), [(0.51, True), (0.49, False)])
    def test_nothing_starts_with_less_than_half_a_second(self, left: float, more: bool) -> None:
        """The error is then that of the attempt before."""

        def use(step: str, sent: Any) -> None:
            if sent.deployment == "a":
                toy.clock.advance(10 - left)

        toy = Toy({"a": [error("server_error")], "b": [answer()]}, advance=use)
        if more:
            assert toy.chat(timeout=10).deployment == "b"
        else:
            assert raised(lambda: toy.chat(timeout=10)).kind == "server_error"
            assert toy.asked == ["a"]

    def test_a_stream_begun_too_late_is_not_sent(self) -> None:
        """The deadline counts from `stream()`."""
        toy = Toy([good_stream()], names="a")
        stream = toy.stream(timeout=5)
        toy.clock.advance(4.9)
        caught = raised(lambda: next(stream))
        assert type(caught) is cnroute.DeadlineExceededError
        assert (toy.asked, caught.attempts) == ([], ())

    @pytest.mark.parametrize(("seconds", "kind"), [(29.0, "first_byte_timeout"), (59.999999, "deadline_exceeded")])
    def test_the_deadline_has_its_own_kind(self, seconds: float, kind: str) -> None:
        """A step cut by its own limit has that kind, one cut by the call's deadline is `deadline_exceeded`."""
        toy = Toy([wire("first_byte_timeout")], names="a", advance=lambda step, sent: toy.clock.advance(seconds))
        caught = raised(lambda: toy.chat(timeout=60))
        assert caught.kind == kind
        assert type(caught) is (cnroute.DeadlineExceededError if kind == "deadline_exceeded" else cnroute.CallTimeoutError)

    def test_the_wall_clock_changes_nothing(self) -> None:
        """An hour forward or back during cool-downs: only the monotonic clock counts."""
        toy = Toy([error("auth")], names="a")
        raised(toy.chat)
        for jump in (3600, -7200):
            toy.clock._wall += jump
            assert type(raised(toy.chat)) is cnroute.NoCandidateError
            assert toy.router.health()["a"]["cool_down_seconds"] == 60

    def test_timeouts_of_nested_routes_reach_their_deployments(self) -> None:
        """Deployment over inner route over outer route over router."""
        inner = cnroute.Route(targets=["b", "c"], timeouts=cnroute.Timeouts(idle=7))
        routes = {"chat": cnroute.Route(targets=["a", inner], timeouts=cnroute.Timeouts(idle=9, write=8))}
        made = [deployment("a"), deployment("b"), deployment("c", timeouts=cnroute.Timeouts(idle=6))]
        toy = Toy([error("rate_limit")], deployments=made, routes=routes, timeouts=cnroute.Timeouts(write=5, connect=4))
        raised(toy.chat)
        limits = [sent.deadline.limits for sent in toy.transport.requests]
        assert [(each.idle, each.write, each.connect) for each in limits] == [(9, 8, 4), (7, 8, 4), (6, 8, 4)]

    @pytest.mark.parametrize(("stream", "seconds"), [(False, 180.0), (True, 30.0)])
    def test_first_byte_depends_on_the_kind_of_call(self, stream: bool, seconds: float) -> None:
        """30 s for streams and 180 s for plain calls; a given value holds for both."""
        for given, expected in ((None, seconds), (12.0, 12.0)):
            toy = Toy([answer()], names="a", timeouts=cnroute.Timeouts(first_byte=given))
            _ = list(toy.stream()) if stream else toy.chat()
            assert toy.transport.requests[0].deadline.limits.first_byte == expected


class TestBreaker:
    """Opens, lets one probe through, closes."""

    def opened(self, **keywords: Any) -> Toy:
        """A router whose only deployment has an open breaker."""
        toy = Toy(keywords.pop("answers", [error("server_error")]), names="a", random=lambda: 0.5, **keywords)
        for _ in range(5):
            raised(toy.chat, cnroute.ServerError)
        assert toy.router.health()["a"]["breaker"] == "open"
        return toy

    def test_five_in_a_row_open_it_and_one_success_closes_it(self) -> None:
        """Four and a success do not; the open one is left alone for 5 s."""
        bad = error("server_error")
        toy = Toy([*[bad] * 4, answer(), *[bad] * 5, answer()], names="a b", routes={"chat": ["a"]}, random=lambda: 0.5)
        for _ in range(4):
            raised(toy.chat)
        toy.chat()
        for _ in range(5):
            raised(toy.chat)
        health = toy.router.health()["a"]
        assert (health["breaker"], health["ready_in_seconds"]) == ("open", 5)
        toy.clock.advance(5.01)
        assert toy.router.health()["a"]["breaker"] == "half_open"
        toy.chat()
        assert toy.router.health()["a"]["breaker"] == "closed"

    @pytest.mark.parametrize(("pause", "word"), [(0.1, "open"), (10, "closed")])
    def test_half_of_ten_in_half_a_minute_open_it(self, pause: float, word: str) -> None:
        """Alternating failures open it with the tenth call; spread over minutes they do not."""
        toy = Toy([answer(), error("server_error")] * 5, names="a")
        for number in range(10):
            assert toy.router.health()["a"]["breaker"] == "closed"
            _ = toy.chat() if number % 2 == 0 else raised(toy.chat)
            toy.clock.advance(pause)
        assert toy.router.health()["a"]["breaker"] == word

    def test_open_times_double_up_to_two_minutes(self) -> None:
        """5, 10, 20 ... 120 s, each time the probe fails; varied by a fifth."""
        toy = self.opened()
        seen = []
        for _ in range(7):
            seen.append(toy.router.health()["a"]["ready_in_seconds"])
            toy.clock.advance(seen[-1] + 0.001)
            raised(toy.chat, cnroute.ServerError)
        assert seen == [5, 10, 20, 40, 80, 120, 120]
        low = Toy([error("server_error")], names="a", random=lambda: 0.0)
        for _ in range(5):
            raised(low.chat)
        assert low.router.health()["a"]["ready_in_seconds"] == 4

    def test_every_breaker_open_probes_the_first_to_reopen(self) -> None:
        """Alone it is asked at once as the probe; with another one healthy it is skipped."""
        toy = self.opened(answers=[*[error("server_error")] * 5, answer()])
        assert toy.chat().text == "好"
        assert toy.router.health()["a"]["breaker"] == "closed"

    def test_an_open_breaker_is_skipped(self) -> None:
        """The healthy one answers, and the record says so."""
        toy = Toy({"a": [error("server_error")], "b": [answer()]}, random=lambda: 0.5)
        for _ in range(5):
            toy.chat()
        del toy.transport.requests[:]
        reply = toy.chat()
        assert (reply.deployment, len(reply.attempts), toy.asked) == ("b", 1, ["b"])
        assert toy.router.plan("x", model="chat").candidates[0].health == "breaker open"

    @pytest.mark.parametrize(
        "kind", ["rate_limit", "auth", "bad_request", "content_filter", "unsupported", "plugin_error", "tls_verify"]
    )
    def test_what_does_not_count(self, kind: str) -> None:
        """Refusals, local trouble and bad requests never open it."""
        toy = Toy([error(kind)], names="a", retries=cnroute.Retries(max_attempts=1))
        for _ in range(12):
            raised(toy.chat)
            toy.clock.advance(1000)
        assert toy.router.health()["a"]["breaker"] == "closed"

    def test_an_attempt_cut_by_its_share_does_not_count(self) -> None:
        """It had less time than its normal limit; a limit of its own does count."""
        toy = Toy(
            {"a": [wire("first_byte_timeout")], "b": [answer()]},
            breaker=cnroute.Breaker(failures=1),
            advance=lambda step, sent: toy.clock.advance(sent.deadline.remaining() if sent.deployment == "a" else 0),
        )
        assert toy.chat(timeout=20).deployment == "b"
        assert toy.router.health()["a"]["breaker"] == "closed"
        toy = Toy({"a": [wire("first_byte_timeout")], "b": [answer()]}, breaker=cnroute.Breaker(failures=1))
        toy.chat(timeout=20)
        assert toy.router.health()["a"]["breaker"] == "open"

    def test_one_probe_among_64_threads(self) -> None:
        """At the half-open instant exactly one request arrives; the others are refused at once."""
        gate, asked = threading.Event(), threading.Event()

        def slow(sent: Any) -> Any:
            asked.set()
            gate.wait(5)
            return answer()

        toy = self.opened(answers=[*[error("server_error")] * 5, slow])
        toy.clock.advance(5.01)
        results: list[Any] = []

        def call() -> None:
            try:
                results.append(toy.chat().text)
            except cnroute.NoCandidateError as refused:
                results.append(refused)

        threads = [threading.Thread(target=call) for _ in range(64)]
        for thread in threads:
            thread.start()
        assert asked.wait(5)
        while len(results) < 63:
            threading.Event().wait(0.001)
        gate.set()
        for thread in threads:
            thread.join()
        assert len(toy.asked) == 6
        assert sum(1 for each in results if each == "好") == 1
        assert all("probe" in str(each) for each in results if each != "好")

    def test_a_probe_that_is_left_is_given_back(self) -> None:
        """A stream that is closed before its end leaves the breaker half open with its probe free."""
        toy = self.opened(
            answers=[*[error("server_error")] * 5, [b'data: {"role": "x"}\n\n', b'data: {"text": "a"}\n\n'], answer()]
        )
        toy.clock.advance(5.01)
        stream = toy.stream()
        assert next(stream).text == "a"
        assert type(raised(toy.chat)) is cnroute.NoCandidateError
        stream.close()
        assert toy.chat().text == "好"


class TestPlaces:
    """Bulkheads: places in flight and the queue in front of them."""

    def test_a_full_deployment_is_a_local_overload(self) -> None:
        """No place and no queue: refused at once, nothing sent, the next one is asked."""
        limits = cnroute.Limits(max_in_flight=1, max_queue=0)
        toy = Toy([good_stream()], names="a b", limits=limits, routes={"chat": ["a", "b"], "alone": ["a"]})
        stream = toy.stream(model="alone").start()
        caught = raised(lambda: toy.chat(model="alone"))
        assert type(caught) is cnroute.LocalOverloadError
        assert (caught.attempts, caught.billing, caught.retryable) == ((), "none", True)
        assert "".join(toy.stream().texts()) == "好"
        assert toy.asked == ["a", "b"]
        stream.close()
        assert toy.router.health()["a"]["in_flight"] == 0
        assert toy.router.health()["a"]["breaker"] == "closed"

    def test_the_queue_is_bounded_and_timed(self) -> None:
        """One waits and gets the place; one more is refused at once; a wait beyond `pool` is refused too."""
        import time

        gate = threading.Event()

        def slow(sent: Any) -> Any:
            gate.wait(5)
            return answer()

        toy = Toy(
            [slow, answer()],
            names="a",
            clock=time,
            limits=cnroute.Limits(max_in_flight=1, max_queue=1),
            timeouts=cnroute.Timeouts(pool=5),
        )
        results: list[str] = []
        threads = [threading.Thread(target=lambda: results.append(toy.chat().text)) for _ in range(2)]
        for thread in threads:
            thread.start()
        health = toy.router._engine.binding.places["a"].health
        while health._waiting < 1:
            time.sleep(0.001)
        assert type(raised(toy.chat)) is cnroute.LocalOverloadError
        gate.set()
        for thread in threads:
            thread.join()
        assert results == ["好", "好"]
        stuck = Toy(
            [good_stream()], names="a", clock=time, limits=cnroute.Limits(max_in_flight=1), timeouts=cnroute.Timeouts(pool=0.05)
        )
        with stuck.stream() as stream:
            stream.start()
            started = time.monotonic()
            assert type(raised(stuck.chat)) is cnroute.LocalOverloadError
            assert 0.04 < time.monotonic() - started < 1

    def test_many_threads_leave_nothing_behind(self) -> None:
        """400 calls of 16 threads with random failures: every place comes back."""
        source = random.Random(3)
        kinds = ["server_error", "rate_limit", "connect_error", "auth"]
        transport = FakeTransport([lambda sent: answer() if source.random() < 0.5 else error(source.choice(kinds))])
        toy = Toy(transport=transport, names="a b c", breaker=None)

        def work() -> None:
            for _ in range(25):
                try:
                    toy.chat()
                except cnroute.CallError as failed:
                    assert failed.attempts

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [health["in_flight"] for health in toy.router.health().values()] == [0, 0, 0]
