"""What processes share: over a real Redis, and without it in every way in which it can fail."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

import cnroute
from cnroute.accounts import Hold
from cnroute.aio import AsyncRouter
from cnroute.money import EXACT
from cnroute.router import Router
from cnroute.stores.redis import OPEN_SECONDS, amount_of, units
from cnroute.testing import FakeClock, FakeTransport, capture_notices
from tests.docs.pages import ROOT
from tests.flow import toy
from tests.stores.test_budgets import WORST, account, made, paid, race, seen_by

TENANT = "杭州-canary-tenant"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def settled(router: Any, wanted: Callable[[], bool]) -> None:
    """Settling is queued; wait until it was done."""
    until = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < until, router.health()
        time.sleep(0.005)


# What is tested over a Redis that answers must not depend on how busy this machine is.
PATIENT = 10.0


def over(server: Any, answers: Any = None, *budgets: cnroute.Budget, **keywords: Any) -> toy.Toy:
    store = cnroute.RedisStore(server.url, timeout=PATIENT)
    return made(answers or [toy.answer()], *budgets, store=store, **keywords)


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "more", "keys"),
    [
        ("http://x", {}, ["url"]),
        (5, {}, ["url"]),
        ("redis://[::1", {}, ["url"]),
        ("redis://127.0.0.1/0", {"prefix": "", "workers": 0}, ["prefix", "workers"]),
        ("", {"prefix": "a{b", "workers": True, "timeout": 0}, ["url", "prefix", "workers", "timeout"]),
    ],
)
def test_every_wrong_argument_is_named_at_once(url: Any, more: dict[str, Any], keys: list[str]) -> None:
    """A store says all that is wrong with it when it is made."""
    error = toy.raised(lambda: cnroute.RedisStore(url, **more), cnroute.ConfigurationError)
    assert [problem.key for problem in error.problems] == keys


def test_a_password_is_never_shown() -> None:
    """Neither by the store nor by what it tells observers."""
    store = cnroute.RedisStore("redis://user:s3cret@127.0.0.1:6379/0")
    assert "s3cret" not in repr(store) and store == cnroute.RedisStore("redis://user:s3cret@127.0.0.1:6379/0")


def test_a_store_reads_the_same_from_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """`store = { redis = URL }`, where the URL may stand in a variable."""
    monkeypatch.setenv("SHARED_REDIS", "redis://:pw@127.0.0.1:1/0")
    document = {
        "router": {"store": {"redis": {"env": "SHARED_REDIS"}, "workers": 3}},
        "deployments": {"yi": {"provider": "dashscope", "model": "yi-large", "api_key": "sk-x"}},
    }
    with Router.from_config(document) as router:
        assert router._engine.binding.store == cnroute.RedisStore("redis://:pw@127.0.0.1:1/0", workers=3)
    wrongs = (({"url": "x"}, "router.store.url: unknown key"), ({}, "router.store.redis: is missing"), (5, "router.store"))
    for wrong, said in wrongs:
        document["router"]["store"] = wrong  # type: ignore[assignment]
        assert said in str(toy.raised(lambda: Router.from_config(document), cnroute.ConfigurationError))


@pytest.mark.parametrize("text", ["0", "1", "0.000000000000000001", "999999999999.999999999999999999", "7.1", "123456.789"])
def test_amounts_keep_every_digit(text: str) -> None:
    """Down to 10^-18; what is smaller is rounded up, a cap down."""
    assert amount_of(units(Decimal(text))) == Decimal(text)
    little = EXACT.add(Decimal(text), Decimal("1e-25"))
    assert amount_of(units(little)) == EXACT.add(Decimal(text), Decimal("1e-18"))
    assert amount_of(units(little, down=True)) == Decimal(text)


# -- shared ----------------------------------------------------------------------------------------------


def test_two_routers_share_one_budget(redis_server: Any) -> None:
    """What one spends the other has not got any more; both see the same sums."""
    one, two = (over(redis_server, None, cnroute.Budget(str(WORST + 13), per="day")) for _ in range(2))
    one.chat(max_tokens=10)
    settled(one.router, lambda: account(one.router) == (7, 0))
    two.chat(max_tokens=10)
    settled(two.router, lambda: account(two.router) == (14, 0))
    error = toy.raised(lambda: one.chat(max_tokens=10), cnroute.BudgetExceededError)
    assert "14 is spent" in error.message and 0 < error.retry_after <= 86400
    assert one.chat(max_tokens=1).record()["degraded"] is None
    for each in (one, two):
        each.router.close()


def test_what_is_unknown_stays_spent_and_what_was_free_is_given_back(redis_server: Any) -> None:
    """As in memory."""
    answers = [toy.error("server_error"), toy.error("rate_limit"), toy.answer()]
    toy_ = over(redis_server, answers, cnroute.Budget("1000"), breaker=None, retries=cnroute.Retries(max_attempts=1))
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.ServerError)
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.RateLimitError)
    toy_.chat(max_tokens=10)
    settled(toy_.router, lambda: account(toy_.router) == (7, WORST))
    toy_.router.close()


def test_settling_twice_changes_nothing(redis_server: Any) -> None:
    """A settlement whose answer was lost is sent again."""
    toy_ = over(redis_server, None, cnroute.Budget("1000"))
    store = toy_.router._engine.binding.store
    kept: list[Any] = []
    inner = store.settle
    store.settle = lambda taken, hold: kept.append((taken, hold)) or inner(taken, hold)
    toy_.chat(max_tokens=10)
    settled(toy_.router, lambda: account(toy_.router) == (7, 0))
    assert all(inner(*job) for job in kept * 3)
    assert account(toy_.router) == (7, 0)
    toy_.router.close()


def test_the_breaker_is_shared(redis_server: Any) -> None:
    """One router's failures open it for both; one probe goes out for both; one success closes it for both."""
    breaker = cnroute.Breaker(failures=3, open_for=0.15, jitter=0)
    answers: list[Any] = [toy.error("server_error")] * 3 + [toy.answer()]
    one, two = (
        over(redis_server, answers, breaker=breaker, retries=cnroute.Retries(max_attempts=1, max_wait=0.001), clock=time)
        for _ in range(2)
    )
    for router in (one, two, one):
        toy.raised(router.chat, cnroute.ServerError)
    settled(one.router, lambda: "breaker_open" in refusals(two) | refusals(one) and "breaker_open" in refusals(two))
    assert two.router.health()["a"]["breaker"] == "open"
    assert two.router._engine.course("chat").group.places()[0].health.snapshot().breaker == "open"
    for each in (one, two):
        each.router.close()


def refusals(toy_: toy.Toy) -> set[str]:
    """Why nothing was sent, asked as an ordinary call asks."""
    place = toy_.router._engine.binding.places["a"]
    guard = toy_.router._engine.binding.guard
    claimed = guard.claim(place, "chat", {}, Decimal(0), 1)
    got = claimed.on(place.health.admit(shared=True))
    if hasattr(got, "end"):
        got.end()
        return {"admitted"}
    return {got.reason}


def test_one_probe_among_all_processes(redis_server: Any) -> None:
    """While it is out nobody else is let through; given back, the next one is."""
    breaker = cnroute.Breaker(failures=1, open_for=0.05, jitter=0)
    one, two = (over(redis_server, [toy.error("server_error")], breaker=breaker, clock=time) for _ in range(2))
    toy.raised(one.chat, cnroute.ServerError)
    settled(one.router, lambda: refusals(two) == {"breaker_open"})
    time.sleep(0.06)
    place, guard = one.router._engine.binding.places["a"], one.router._engine.binding.guard
    probe = guard.claim(place, "chat", {}, Decimal(0), 1).on(place.health.admit(shared=True))
    assert probe.probe
    assert refusals(two) == refusals(one) == {"probe_out"}
    probe.end()
    settled(one.router, lambda: refusals(two) == {"admitted"})
    for each in (one, two):
        each.router.close()


def test_cool_downs_are_shared(redis_server: Any) -> None:
    """A vendor's Retry-After holds for everybody."""
    one, two = (over(redis_server, [toy.error("rate_limit", retry_after=77.0)], clock=time) for _ in range(2))
    toy.raised(one.chat, cnroute.RateLimitError)
    settled(one.router, lambda: refusals(two) == {"cooling_down"})
    error = toy.raised(two.chat, cnroute.NoCandidateError)
    assert 70 < error.retry_after <= 77 and "rate_limit" in error.message
    for each in (one, two):
        each.router.close()


def test_rate_limits_are_shared(redis_server: Any) -> None:
    """The second router finds the allowance used up by the first; what was never sent is given back."""
    limited = [paid(rate_limit=cnroute.RateLimit(3, 10_000))]
    one, two = (over(redis_server, None, deployments=limited, clock=time) for _ in range(2))
    for router in (one, two, one):
        router.chat(max_tokens=10)
    error = toy.raised(two.chat, cnroute.NoCandidateError)
    assert 50 < error.retry_after < 63
    for each in (one, two):
        each.router.close()


def test_tokens_are_corrected_there_too(redis_server: Any) -> None:
    """Forty calls of five tokens fit where one reservation of three hundred does."""
    toy_ = over(redis_server, None, deployments=[paid(rate_limit=cnroute.RateLimit(None, 900))], clock=time)
    for _ in range(40):
        toy_.chat(max_tokens=300)
        toy_.router._engine.flush()
    toy_.router.close()


def test_nobody_can_read_there_who_calls_what(redis_server: Any) -> None:
    """Neither a tenant nor a deployment, model or route stands in any key or value; and everything expires."""
    budgets = (cnroute.Budget("1000", per="day", by="metadata:tenant"), cnroute.Budget("1000", per="month", by="route"))
    deployments = [paid("canary-deployment", rate_limit=cnroute.RateLimit(60, 100_000), model="canary-model")]
    toy_ = over(redis_server, [toy.error("server_error"), toy.answer()], *budgets, deployments=deployments,
                routes={"canary-route": ["canary-deployment"]})  # fmt: skip
    for _ in range(2):
        with pytest.raises(cnroute.CallError) if not toy_.asked else _nothing():
            toy_.chat(model="canary-route", max_tokens=10, metadata={"tenant": TENANT})
    toy_.router.close()
    client = plain_client(redis_server)
    keys = client.keys("*")
    assert len(keys) >= 5
    dump = b"".join(repr(contents(client, key)).encode() + key for key in keys)
    for word in ("canary", "tenant", "杭州", "toy", "metadata"):
        assert word.encode() not in dump and ascii(word).encode().strip(b"'") not in dump
    assert all(0 < client.ttl(key) <= 32 * 86400 for key in keys)
    client.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def plain_client(server: Any) -> Any:
    import redis

    return redis.Redis.from_url(server.url)


def contents(client: Any, key: bytes) -> Any:
    kind = client.type(key)
    return client.hgetall(key) if kind == b"hash" else client.zrange(key, 0, -1) if kind == b"zset" else client.get(key)


def test_four_forked_workers_admit_exactly_the_cap(redis_server: Any) -> None:
    """Row L9: the cap, no more and no less, whoever asks."""
    command = [sys.executable, "-W", "error", "-m", "tests.stores.workers", redis_server.url, "4", "60", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    total, least = map(int, done.stdout.split())
    assert total == 100 and least > 0, done.stdout + done.stderr


def test_no_race_spends_more_than_the_cap_over_redis(redis_server: Any) -> None:
    """Row L11 over the shared store: threads, failures, cancels."""
    store = cnroute.RedisStore(redis_server.url, timeout=PATIENT)
    race(threads=8, calls=25, seed=3, store=store)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_calls_over_redis(redis_server: Any) -> None:
    """Rows L9 and L11 at their full numbers."""
    race(threads=64, calls=157, seed=4, store=cnroute.RedisStore(redis_server.url, timeout=PATIENT))
    redis_server.ask("FLUSHALL")
    command = [sys.executable, "-W", "error", "-m", "tests.stores.workers", redis_server.url, "4", "4000", "3000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
    assert done.stdout.startswith("3000 "), done.stdout + done.stderr


# -- outages ---------------------------------------------------------------------------------------------


class Impostor:
    """Listens like a Redis and behaves like none. `asked` counts connections and what was received over them."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act
        self.asked = 0
        self.over = threading.Event()

    def __enter__(self) -> Impostor:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.over.is_set():
                sock.close()
                return
            self.asked += 1
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        try:
            with sock:
                self.act(Heard(self, sock))
        except OSError:
            return

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


class Heard:
    """A connection of the impostor's."""

    def __init__(self, impostor: Impostor, sock: socket.socket) -> None:
        self.impostor = impostor
        self.sendall = sock.sendall
        self._recv = sock.recv

    def recv(self, size: int) -> bytes:
        data = self._recv(size)
        self.impostor.asked += bool(data)
        return data


def drip(sock: Any) -> None:
    for _ in range(2000):
        sock.sendall(b"$")
        time.sleep(0.03)


def slow(sock: Any) -> None:
    sock.recv(65536)
    time.sleep(5)
    sock.sendall(b"+OK\r\n")


def endless(reply: bytes) -> Callable[[Any], None]:
    def act(sock: Any) -> None:
        while sock.recv(65536):
            sock.sendall(reply)

    return act


IMPOSTORS: dict[str, Callable[[Any], None]] = {
    "silent": lambda sock: time.sleep(5),
    "slow": slow,
    "drip": drip,
    "hangs up": lambda sock: None,
    "garbage": endless(b"\x00\xff<html>\r\n\r\n"),
    "another answer": endless(b"+OK\r\n"),
    "a number": endless(b":5\r\n"),
    "nested": endless(b"*1\r\n" * 50 + b":1\r\n"),
    "json of somebody else": endless(b'$9\r\n{"a": 5}!\r\n'),
    "read only": endless(b"-READONLY You can't write against a read only replica.\r\n"),
    "loading": endless(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "no script": endless(b"-NOSCRIPT No matching script. Please use EVAL.\r\n"),
    "wants a password": endless(b"-NOAUTH Authentication required.\r\n"),
    "moved": endless(b"-MOVED 3999 127.0.0.1:6381\r\n"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_an_outage_fails_no_call(name: str) -> None:
    """Row L10: all calls are answered, the trouble is met once in five seconds, and the record names it."""
    clock = FakeClock()
    with Impostor(IMPOSTORS[name]) as impostor:
        outage(impostor.url, clock, lambda: impostor.asked)


def test_a_refused_connection_fails_no_call() -> None:
    """Nobody listens there at all."""
    outage(f"redis://127.0.0.1:{free_port()}/0", FakeClock(), None)


def test_an_outage_that_many_threads_see_at_once_is_told_once() -> None:
    """Each round 16 threads find the store away together, then well together; every change is told by one of them."""
    store, told, meeting = cnroute.RedisStore(f"redis://127.0.0.1:{free_port()}/0"), [], threading.Barrier(16)

    class Listener:
        def notify(self, notice: cnroute.StoreChanged) -> None:
            told.append(notice.state)

    class Slow(FakeClock):
        def monotonic(self) -> float:
            time.sleep(0.001)  # the others come in between
            return super().monotonic()

    def see() -> None:
        for _ in range(5):
            meeting.wait()
            store._fell("TimeoutError", Slow())
            meeting.wait()
            store._rose()

    listener = Listener()
    store.listen(listener)
    threads = [threading.Thread(target=see) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["degraded", "restored"] * 5


def outage(url: str, clock: FakeClock, asked: Callable[[], int] | None) -> None:
    toy_ = made([toy.answer()], cnroute.Budget("10000"), store=cnroute.RedisStore(url), clock=clock,
                deployments=[paid(rate_limit=cnroute.RateLimit(1000))])  # fmt: skip
    store = toy_.router._engine.binding.store
    begun = time.monotonic()
    with capture_notices(toy_.router) as notices:
        replies = [toy_.chat(max_tokens=10) for _ in range(20)]
    seconds = time.monotonic() - begun
    assert seconds < 10, "a drip is cut by the limit over all receives"
    assert all("shared store is away" in reply.record()["degraded"] for reply in replies)
    assert "降级运行" in replies[0].explain("zh")
    told = [(notice.state, bool(notice.reason)) for notice in notices if isinstance(notice, cnroute.StoreChanged)]
    assert told == [("degraded", True)]
    met = asked() if asked else 0
    assert met < 10, "nobody asks again for five seconds"
    clock.advance(OPEN_SECONDS + 0.1)
    toy_.chat(max_tokens=10)
    toy_.chat(max_tokens=10)
    settled(toy_.router, lambda: asked is None or asked() > met)  # by a call, or by what was to be settled
    assert store.degraded
    toy_.router.close()


def test_the_wrong_type_is_an_outage(redis_server: Any) -> None:
    """Somebody else wrote under our keys."""
    toy_ = over(redis_server, None, cnroute.Budget("1000"))
    toy_.chat(max_tokens=10)
    settled(toy_.router, lambda: account(toy_.router)[1] == 0)
    client = plain_client(redis_server)
    for key in client.keys("*"):
        client.set(key, "x")
    assert "ResponseError" in toy_.chat(max_tokens=10).record()["degraded"]
    toy_.router.close()
    client.close()


def test_a_forgotten_script_is_sent_again(redis_server: Any) -> None:
    """SCRIPT FLUSH is no outage."""
    toy_ = over(redis_server, None, cnroute.Budget("1000"))
    for _ in range(3):
        redis_server.ask("SCRIPT FLUSH")
        assert toy_.chat(max_tokens=10).record()["degraded"] is None
    toy_.router.close()


def test_lost_data_brings_no_money_back(redis_server: Any) -> None:
    """FLUSHALL: what this process saw spent stays spent."""
    toy_ = over(redis_server, None, cnroute.Budget(str(WORST + 13)))
    for _ in range(2):
        toy_.chat(max_tokens=10)
        settled(toy_.router, lambda: account(toy_.router)[1] == 0)
    redis_server.ask("FLUSHALL")
    toy.raised(lambda: toy_.chat(max_tokens=10), cnroute.BudgetExceededError)
    other = over(redis_server, None, cnroute.Budget(str(WORST + 13)))
    toy_.chat(max_tokens=1)
    toy.raised(lambda: other.chat(max_tokens=10), cnroute.BudgetExceededError)
    for each in (toy_, other):
        each.router.close()


def test_it_dies_and_returns(redis_server: Any) -> None:
    """Calls go on by this process's share; afterwards the shared account knows nothing of them."""
    clock = FakeClock()
    toy_ = over(redis_server, None, cnroute.Budget("10000"), clock=clock)
    toy_.chat(max_tokens=10)
    settled(toy_.router, lambda: account(toy_.router) == (7, 0))
    with capture_notices(toy_.router) as notices:
        redis_server.stop()
        for _ in range(5):
            assert toy_.chat(max_tokens=10).record()["degraded"]
        redis_server.start()
        assert toy_.chat(max_tokens=10).record()["degraded"], "it is asked again after five seconds, not before"
        clock.advance(OPEN_SECONDS + 0.1)
        assert toy_.chat(max_tokens=10).record()["degraded"] is None
    assert [notice.state for notice in notices if isinstance(notice, cnroute.StoreChanged)] == ["degraded", "restored"]
    settled(toy_.router, lambda: account(toy_.router) == (14, 0))
    toy_.router.close()


@pytest.mark.parametrize(("workers", "share"), [(None, 1), (4, 4)])
def test_alone_a_process_spends_its_share(workers: int | None, share: int) -> None:
    """The cap may be passed by the shares of the others at most: each has its part of what was left."""
    store = cnroute.RedisStore(f"redis://127.0.0.1:{free_port()}/0", workers=workers)
    unit = cnroute.Price("CNY", input="0", output="1", per="1")
    toy_ = made([toy.answer(usage=[3, 1])], cnroute.Budget("20"), store=store, deployments=[paid(price=unit)])
    good = 0
    for _ in range(30):
        try:
            toy_.chat(max_tokens=1)
            good += 1
        except cnroute.BudgetExceededError:
            continue
    assert good == 20 // share
    toy_.router.close()


def test_alone_the_own_breaker_decides() -> None:
    """Failures open it, as they do without any store."""
    store = cnroute.RedisStore(f"redis://127.0.0.1:{free_port()}/0")
    toy_ = toy.Toy([toy.error("server_error")], names="a", store=store, retries=cnroute.Retries(max_attempts=1, max_wait=0.1))
    for _ in range(5):
        toy.raised(toy_.chat, cnroute.ServerError)
    assert toy_.router.health()["a"]["breaker"] == "open"
    assert refusals(toy_) == {"breaker_open"}
    toy_.router.close()


# -- threads, loops, endings -----------------------------------------------------------------------------


class FarStore(cnroute.MemoryStore):
    """A store that says it is far away and notes who asks."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.asked_by: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def listen(self, listener: Any) -> None:
        pass

    def take(self, hold: Hold) -> Any:
        self.asked_by.add(threading.current_thread().name)
        self.gate.wait(10)
        return super().take(hold)


def async_over(store: Any) -> AsyncRouter:
    return AsyncRouter([paid()], {"chat": ["a"]}, plugins=toy.host(), transport=FakeTransport([toy.answer()]), store=store,
                       budgets=[cnroute.Budget("1000")])  # fmt: skip


def test_no_event_loop_waits_for_a_store() -> None:
    """A store behind a network is asked in a thread; the loop goes on meanwhile."""
    store = FarStore()

    async def scene() -> int:
        async with async_over(store) as router:
            store.gate.clear()
            call = asyncio.ensure_future(router.chat("你好", model="chat", max_tokens=10))
            ticks = 0
            while not store.asked_by:
                await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0)
                ticks += 1
            assert not call.done()
            store.gate.set()
            await call
            return ticks

    assert asyncio.run(scene()) == 20
    assert threading.current_thread().name not in store.asked_by


def test_a_task_cancelled_while_the_store_is_asked_holds_nothing() -> None:
    """The grant that comes too late is given back."""
    store = FarStore()

    async def scene() -> Any:
        async with async_over(store) as router:
            store.gate.clear()
            call = asyncio.ensure_future(router.chat("你好", model="chat", max_tokens=10))
            while not store.asked_by:
                await asyncio.sleep(0.001)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            store.gate.set()
            until = time.monotonic() + 5
            while sum(account(router)) and time.monotonic() < until:
                await asyncio.sleep(0.005)
            return account(router), router.health()["a"]["in_flight"]

    assert asyncio.run(scene()) == ((0, 0), 0)


def test_a_task_cancelled_before_the_store_is_asked_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads were busy when it was cancelled; when its turn comes nobody waits for it any more."""
    monkeypatch.setattr("cnroute.aio._MOST_THREADS", 1)
    store = FarStore()

    async def scene() -> Any:
        async with async_over(store) as router:
            store.gate.clear()
            first, late = (asyncio.ensure_future(router.chat("你好", model="chat", max_tokens=10)) for _ in range(2))
            while not store.asked_by:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            late.cancel()
            with pytest.raises(asyncio.CancelledError):
                await late
            store.gate.set()
            cost = (await first).cost
            await router._threads.run(int)  # behind it in the queue
            return account(router), cost, router.health()["a"]["in_flight"]

    (spent, reserved), cost, in_flight = asyncio.run(scene())
    assert (spent, reserved, in_flight) == (cost.amount, 0, 0)


def test_both_routers_see_the_same_over_redis(redis_server: Any) -> None:
    """Parity over the shared store."""

    def arguments(prefix: str) -> dict[str, Any]:
        return {
            "deployments": [paid()], "routes": {"chat": ["a"]}, "plugins": toy.host(), "transport": FakeTransport([toy.answer()]),
            "budgets": (cnroute.Budget(str(WORST + 8)),),
            "store": cnroute.RedisStore(redis_server.url, prefix=prefix, timeout=PATIENT),
        }  # fmt: skip

    async def both() -> tuple[list[Any], list[Any]]:
        with Router(**arguments("one")) as first:
            async with AsyncRouter(**arguments("two")) as second:
                return await seen_by(first, FakeClock()), await seen_by(second, FakeClock())

    first, second = asyncio.run(both())
    assert first[::2] == second[::2]


def test_closing_settles_and_leaves_no_thread(redis_server: Any) -> None:
    """What is queued is sent, the thread ends, and the store may be used by another router."""
    store = cnroute.RedisStore(redis_server.url, timeout=PATIENT)
    for spent in (7, 14):
        toy_ = made([toy.answer()], cnroute.Budget("1000"), store=store)
        toy_.chat(max_tokens=10)
        toy_.router.close()
        assert account(toy_.router) == (spent, 0)
    settled(toy_.router, lambda: not any(thread.name == "cnroute-redis" for thread in threading.enumerate()))


def test_a_store_that_is_dropped_leaves_no_thread(redis_server: Any) -> None:
    """Nobody closed anything."""
    toy_ = over(redis_server, None, cnroute.Budget("1000"))
    toy_.chat(max_tokens=10)
    del toy_
    until = time.monotonic() + 5
    while any(thread.name == "cnroute-redis" for thread in threading.enumerate()):
        gc.collect()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("where", ["memory", "redis"])
def test_a_reload_keeps_the_store(where: str, request: pytest.FixtureRequest) -> None:
    """Of the same place: accounts go on, and no second connection is made."""
    url = None if where == "memory" else request.getfixturevalue("redis_server").url
    toy_ = made([toy.answer()], cnroute.Budget("100"), store=None if url is None else cnroute.RedisStore(url))
    before = toy_.router._engine.binding.store
    toy_.router.reload({
        "router": {"budgets": [{"cap": "50"}]} | ({} if url is None else {"store": {"redis": url}}),
        "deployments": {"a": {"provider": "toy", "model": "toy-1", "api_key": toy.KEY}},
    })  # fmt: skip
    assert toy_.router._engine.binding.store is before
    toy_.router.close()
