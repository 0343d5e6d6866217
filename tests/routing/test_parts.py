"""Health, the fallback table and the token estimate, each by itself."""

from __future__ import annotations

import random
import threading

import pytest

import cnroute
from cnroute.failures import FailureKind
from cnroute.routing import tokens
from cnroute.routing.deadline import Deadline
from cnroute.routing.fallback import TABLE, table_for
from cnroute.routing.health import Health, Lease, Outcome, Refusal
from cnroute.settings import Breaker, Limits, Timeouts
from cnroute.testing import FakeClock
from tests.flow.toy import raised


def admitted(health: Health) -> Lease:
    lease = health.admit()
    assert isinstance(lease, Lease)
    return lease


class TestHealth:
    """Places, probes and averages of one deployment."""

    def made(self, **limits: int) -> Health:
        self.clock = FakeClock()
        return Health(Limits(**limits), Breaker(), self.clock, lambda: 0.5)

    def test_a_lease_gives_its_place_back_once(self) -> None:
        """However often it is ended, and also when it is only dropped."""
        health = self.made(max_in_flight=2, max_queue=0)
        one, two = admitted(health), admitted(health)
        refusal = health.admit()
        assert isinstance(refusal, Refusal) and refusal.reason == "full"
        for _ in range(3):
            one.end()
        assert health.report()["in_flight"] == 1
        del two
        assert health.report()["in_flight"] == 0

    def test_a_cool_down_is_never_shortened(self) -> None:
        """A later, smaller one changes nothing."""
        health = self.made()
        one, two = admitted(health), admitted(health)
        one.end(Outcome(TABLE[FailureKind.RATE_LIMIT], retry_after=50))
        two.end(Outcome(TABLE[FailureKind.RATE_LIMIT], retry_after=1))
        assert health.report()["cool_down_seconds"] == 50

    def test_ending_never_waits_for_the_lock(self) -> None:
        """Even a garbage collector in the middle of an admission may end a lease; it is settled later."""
        health = self.made()
        lease = admitted(health)
        with health._lock:
            lease.end(Outcome(TABLE[FailureKind.AUTH]))
            assert health._in_flight == 1
        report = health.report()
        assert (report["in_flight"], report["cool_down_seconds"]) == (0, 60)

    def test_a_place_given_back_unseen_is_found_soon(self) -> None:
        """A waiter does not sleep through a place that came back while the lock was held."""
        import time

        health = Health(Limits(max_in_flight=1), Breaker(), time, random.random)
        lease = admitted(health)
        deadline = Deadline(time.monotonic() + 30, Timeouts(pool=20), time)
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(health.admit(deadline)))
        thread.start()
        while not health._waiting:
            time.sleep(0.001)
        with health._lock:
            lease.end()
        started = time.monotonic()
        thread.join(10)
        assert isinstance(got[0], Lease)
        assert time.monotonic() - started < 2

    def test_a_cancelled_waiter_wakes_up(self) -> None:
        """`deadline.cancel()` ends the wait at once."""
        import time

        health = Health(Limits(max_in_flight=1), Breaker(), time, random.random)
        kept = admitted(health)
        deadline = Deadline(time.monotonic() + 30, Timeouts(pool=20), time)
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(health.admit(deadline)))
        thread.start()
        while not health._waiting:
            time.sleep(0.001)
        deadline.cancel()
        thread.join(5)
        assert isinstance(got[0], Refusal)
        kept.end()

    def test_free_failures_leave_the_rates_alone(self) -> None:
        """Only successes and failures that may have cost something move them."""
        health = self.made()
        for _ in range(9):
            admitted(health).end(Outcome(TABLE[FailureKind.BAD_REQUEST]))
        assert health.report()["success_rate"] == 1
        admitted(health).end(Outcome(TABLE[FailureKind.SERVER_ERROR], billing="unknown"))
        report = health.report()
        assert report["success_rate"] < 1 and report["paid_failure_rate"] > 0

    def test_a_forked_child_starts_with_free_places(self) -> None:
        """What was learned stays, what was taken does not."""
        health = self.made(max_in_flight=1, max_queue=0)
        kept = admitted(health)
        health.forked()
        assert isinstance(health.admit(), Lease)
        kept.end()

    def test_averages_follow_the_deployment(self) -> None:
        """Seconds and output move towards what is seen."""
        health = self.made()
        for seconds in (1.0, 9.0):
            admitted(health).end(Outcome(seconds=seconds, first_content=seconds / 2))
        seen = health.snapshot()
        assert seen.seconds is not None and 1 < seen.seconds < 9
        assert seen.first_content == pytest.approx(seen.seconds / 2)


class TestTable:
    """Overrides of a route."""

    def test_rows_are_replaced_for_one_route_only(self) -> None:
        """The shared table never changes."""
        changed = table_for(["content_filter"], {"server_error": "again", "auth": "stop"})
        assert changed[FailureKind.CONTENT_FILTER].next == "yes"
        assert (changed[FailureKind.SERVER_ERROR].again, changed[FailureKind.AUTH].next) == ("once", "no")
        assert changed[FailureKind.AUTH].cooldown == 60
        assert TABLE[FailureKind.CONTENT_FILTER].next == "listed"
        assert table_for() == TABLE

    @pytest.mark.parametrize(("on", "rows"), [(["x"], {}), ([], {"x": "next"}), ([], {"auth": "x"}), ([], {"auth": 5})])
    def test_unknown_words_are_refused(self, on: list[str], rows: dict[str, str]) -> None:
        """Kinds and words that do not exist are ConfigurationErrors."""
        raised(lambda: table_for(on, rows), cnroute.ConfigurationError)


class TestTokens:
    """The estimate and the bound."""

    @pytest.mark.parametrize(("text", "about"), [("", 0), ("abcd", 1), ("你好世界", 3), ("你a", 1), ("\ud83d", 0.75)])
    def test_the_estimate(self, text: str, about: float) -> None:
        """Three quarters a character beyond ASCII, a quarter each other one; no text crashes it."""
        assert tokens.estimate(text) == pytest.approx(about)

    def test_it_is_never_above_the_bound(self) -> None:
        """For any prompt, tools included."""
        draw = random.Random(4)
        for _ in range(200):
            text = "".join(draw.choice("ab 你好😀\n") for _ in range(draw.randrange(200)))
            request = cnroute.ChatRequest(
                (cnroute.Message("user", text), cnroute.Message("assistant", "", tool_calls=[cnroute.ToolCall("1", "f", text)]))
            )
            assert 1 <= tokens.input_tokens(request) <= tokens.upper_bound(request, text.encode() * 2) + 2


class TestDeadline:
    """One attempt's limit in time."""

    def test_callbacks_run_once_and_at_once_when_late(self) -> None:
        """In the thread that cancels; what is registered afterwards runs immediately."""
        clock, seen = FakeClock(), []
        deadline = Deadline(clock.monotonic() + 5, Timeouts(), clock)
        deadline.on_cancel(lambda: seen.append("early"))
        assert deadline.remaining() == 5
        clock.advance(2)
        assert deadline.remaining() == 3
        deadline.cancel()
        deadline.cancel()
        deadline.on_cancel(lambda: seen.append("late"))
        assert seen == ["early", "late"]
        assert (deadline.cancelled, deadline.remaining()) == (True, 0.0)
