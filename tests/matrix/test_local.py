"""Local faults and bad inputs: rows L1 to L20 of the fault matrix (reliability, section 4.9).

Rows whose detail has a test of its own elsewhere (`tests/values`, `tests/plugins`, `tests/flow`) appear here in one compact
form, over a real router. L9, L10 (the shared store) and L11 (budgets) stand in `tests/stores` alone.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.emulator import Emulator
from tests.contract.kit import assert_at_rest, plain_host
from tests.matrix.hygiene import sockets
from tests.matrix.running import KEY, _resident, prompt, settled

TREE = Path(__file__).parents[2]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def first(emulator: Emulator | None = None, **fields: Any) -> cnroute.Deployment:
    base = emulator.base_url("dashscope") if emulator else None
    return cnroute.Deployment(**{
        "name": "first", "provider": "dashscope", "model": "yi-large", "api_key": KEY, "base_url": base, **fields,
    })  # fmt: skip


def second(emulator: Emulator) -> cnroute.Deployment:
    base = emulator.base_url("minimax-v2")
    return cnroute.Deployment("second", "minimax-v2", "MiniMax-Text-01", api_key=KEY, base_url=base)


def router_of(*deployments: cnroute.Deployment, **settings: Any) -> cnroute.Router:
    names = [each.name for each in deployments]
    return cnroute.Router(deployments, {"route": names}, **{**plain_host(), **settings})


# -- what is refused before anything is sent

BAD_KEYS = ["a\rb", "a\nb", "a\r\n b", "a\0b", "密钥", "k" * 10_240, ""]
BAD_URLS = [
    "ftp://h/x", "file:///etc/passwd", "h.example/v1", "https://user:pw@h.example", "http://h.example/v1",
    "https://h.example/#f", "https://h.example:0", "https://h.example:70000", "http://[fe80::1%25eth0]/",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_l1_a_key_that_cannot_be_sent(key: str) -> None:
    """ConfigurationError at construction, and the key is not in it."""
    with pytest.raises(cnroute.ConfigurationError) as caught:
        router_of(first(api_key=key))
    assert not key or key not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("value", ["g&model=x", "g#x", "g/../x", "a b"])
def test_l2_a_group_is_quoted_into_one_query(emulator: Emulator, value: str) -> None:
    """The vendor reads exactly the value that was configured."""
    base = emulator.base_url("minimax-pro")
    one = cnroute.Deployment("pro", "minimax-pro", "abab6.5s-chat", api_key=KEY, base_url=base, options={"group_id": value})
    with router_of(one) as router:
        router.chat(prompt(), model="pro")
    assert emulator.requests[0].query == {"GroupId": value}


@pytest.mark.parametrize("value", ["g\r\nX: y", "g\0"])
def test_l2_a_group_with_line_ends_is_refused(value: str) -> None:
    """Before a connection is made."""
    with pytest.raises(cnroute.ConfigurationError):
        router_of(cnroute.Deployment("pro", "minimax-pro", "abab6.5s-chat", api_key=KEY, options={"group_id": value}))


@pytest.mark.parametrize("url", BAD_URLS, ids=range(len(BAD_URLS)))
def test_l3_a_base_url_that_must_never_be_called(url: str) -> None:
    """ConfigurationError at construction."""
    with pytest.raises(cnroute.ConfigurationError):
        router_of(first(base_url=url))


@pytest.mark.parametrize("text", ["\ud83d", "a\0b", "😀" * 1_000, ""], ids=["surrogate", "nul", "emoji", "empty"])
def test_l4_odd_prompts(emulator: Emulator, text: str) -> None:
    """Refused here, or sent and exact; never an encoding error."""
    with router_of(first(emulator)) as router:
        try:
            router.chat(text, model="first")
        except cnroute.BadRequestError:
            assert emulator.requests == []
        else:
            wanted = text.encode("utf-8", "replace" if "\ud83d" in text else "strict").decode()
            sent = emulator.requests[0].body["input"]["messages"][0]["content"]
            assert sent in (text, wanted, "\ufffd")


WRONG_ARGUMENTS = [{"timeout": value} for value in (0, -1, float("nan"), float("inf"), "5")]
WRONG_ARGUMENTS += [{"max_tokens": value} for value in (-1, True)]


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS, ids=str)
def test_l5_wrong_arguments(emulator: Emulator, arguments: dict[str, Any]) -> None:
    """BadRequestError before any connection."""
    with router_of(first(emulator)) as router, pytest.raises(cnroute.BadRequestError):
        router.chat(prompt(), model="first", **arguments)
    assert emulator.accepted_connections == 0


# -- time, forks, threads


class ShiftedClock:
    """The real clock whose wall time can be moved."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.shift = 0.0

    def time(self) -> float:
        return time.time() + self.shift


@pytest.mark.parametrize("hours", [1, -1])
def test_l6_the_wall_clock_changes_nothing(emulator: Emulator, hours: int) -> None:
    """Moved in the middle of a call, with a deployment cooling down: limits, cool-down and answer stay as they are."""
    clock = ShiftedClock()
    with router_of(first(emulator), second(emulator), clock=clock) as router:
        emulator.script("yi-large", ["http_401"])
        emulator.script("MiniMax-Text-01", ["ok", "hang:0.3"])
        router.chat(prompt(), model="route")
        before = router.health()["first"]["cool_down_seconds"]
        moving = threading.Timer(0.1, lambda: setattr(clock, "shift", hours * 3600.0))
        moving.start()
        words, begun = prompt(), time.monotonic()
        reply = router.chat(words, model="route", timeout=5)
        assert 0.25 < time.monotonic() - begun < 1.5
        moving.join()
        assert (reply.text, reply.deployment) == (emulator.answer(words), "second")
        assert before - 3 < router.health()["first"]["cool_down_seconds"] < before
        assert 0.25 < reply.attempts[0].seconds < 1.5


def program(name: str, emulator: Emulator, number: int, timeout: float = 60, module: str = "forking") -> float:
    """Run a program of `forking.py` or another; it must end well and say nothing. Returns its seconds."""
    begun = time.monotonic()
    # A fork beside threads warns; a socket that an interrupt took from its owner is closed by the collector.
    quiet = [word for kind in ("Deprecation", "Resource") for word in ("-W", f"ignore::{kind}Warning")]
    done = subprocess.run(
        [sys.executable, "-W", "error", *quiet, "-m", f"tests.matrix.{module}", *name.split(), emulator.url,
         str(number)],
        cwd=TREE, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ""), done.stderr
    return time.monotonic() - begun


def test_l7_a_fork_with_a_warm_pool(emulator: Emulator) -> None:
    """Each side gets its own answers over its own connections, and the parent's stay usable."""
    program("warm", emulator, 50)
    used: dict[str, set[int]] = {"child": set(), "parent": set()}
    for entry in emulator.requests:
        words = entry.body["messages"][-1]["content"]
        for side, numbers in used.items():
            if f"marker:{side}" in words:
                numbers.add(entry.connection)
    assert all(used.values())
    assert not used["child"] & used["parent"]


@pytest.mark.parametrize("number", [240, pytest.param(5000, marks=pytest.mark.slow)])
def test_l7_killed_workers_of_a_prefork_server(number: int) -> None:
    """`kill -9` in mid-run, a fresh worker forked: no answer reaches the wrong call, nobody uses another's connection."""
    with Emulator(pace=0.003) as emulator:
        program("", emulator, number, module="prefork")
        users: dict[int, set[str]] = {}
        for entry in emulator.requests:
            words = entry.body["messages"][-1]["content"].partition("marker:")[2]
            users.setdefault(entry.connection, set()).add("parent" if "parent" in words else words.rpartition(".")[2])
    assert all(len(each) == 1 for each in users.values())
    assert len(set.union(*users.values())) == 1 + 3 + 2
    assert list(users.values()).count({"parent"}) == 2, "one connection of each of the parent's routers"


@pytest.mark.parametrize("number", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_l8_a_fork_under_load(emulator: Emulator, number: int) -> None:
    """Whatever locks other threads held, the child's first call succeeds at once."""
    program("locked", emulator, number)


def test_l8_a_fork_while_a_key_is_read(emulator: Emulator) -> None:
    """A callable that takes its time in the parent keeps no child waiting."""
    program("waiting", emulator, 2)


def test_l8_a_fork_beside_calls_of_an_account(emulator: Emulator) -> None:
    """Places of `provider/model` names are the child's own too, like those of deployments."""
    emulator.script("MiniMax-Text-01", ["stream_slow:0.05"])
    program("account", emulator, 2)


# -- plugins


class Wrapper:
    """Does something to what a hook of the deployment `first` gives back."""

    def __init__(self, hook: str, change: Callable[[Any], Any]) -> None:
        def wrapped(self: Any, deployment: Any) -> Iterator[Any]:
            made = yield
            return change(made) if deployment.name == "first" else made  # type: ignore[return-value]

        implementation = cnroute.hookimpl(wrapper=True)(wrapped)
        setattr(self, hook, implementation.__get__(self))


def _raise(made: Any) -> Any:
    raise LookupError("a hook's own trouble")


def _slow(made: Any) -> Any:
    time.sleep(0.3)
    return made


LIES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    f"{hook}-{name}": (hook, change)
    for hook in ("build_request", "parse_response", "parse_stream_line", "map_error")
    for name, change in {"raises": _raise, "wrong-type": lambda made: 42}.items()
} | {
    "build_request-none": ("build_request", lambda made: None),
    "build_request-other-origin": ("build_request", lambda made: attrs.evolve(made, url="https://evil.example/v1")),
    "build_request-crlf": ("build_request", lambda made: attrs.evolve(made, headers={"X": "a\r\nY: b"})),
    "build_request-file": ("build_request", lambda made: attrs.evolve(made, body=Path(__file__))),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_l12_and_l14_a_hook_that_lies_costs_one_attempt(emulator: Emulator, lie: str) -> None:
    """`plugin_error` naming plugin and hook; the next deployment answers; nothing stays taken."""
    hook, change = LIES[lie]
    host = cnroute.PluginHost(autoload=False)
    host.register(Wrapper(hook, change), "liar")
    with router_of(first(emulator), second(emulator), plugins=host) as router:
        words = prompt()
        if hook == "parse_stream_line":
            with router.stream(words, model="route") as stream:
                text = "".join(stream.texts())
            reply = stream.completion
        else:
            reply = router.chat(words, model="route")
            text = reply.text
        failure = reply.attempts[0].failure
        assert failure is not None
        assert failure.kind == "plugin_error"
        assert hook in failure.message
        assert text == emulator.answer(words)
        assert_at_rest(router, emulator)


def test_l12_a_slow_hook_only_takes_its_time(emulator: Emulator) -> None:
    """A hook cannot be interrupted: the call waits for it, and is right."""
    host = cnroute.PluginHost(autoload=False)
    host.register(Wrapper("parse_response", _slow), "slow")
    with router_of(first(emulator), plugins=host) as router:
        words = prompt()
        assert router.chat(words, model="first").text == emulator.answer(words)


def test_l13_a_broken_plugin_breaks_nothing() -> None:
    """It is named among the host's problems, and the others work (`tests/plugins` has every way of being broken)."""

    class NoPlugin:
        @cnroute.hookimpl
        def observe(self, *notice: Any) -> None: ...

    with router_of(first(), plugins=[NoPlugin()]) as router:
        assert router.plugins.problems


# -- interrupts, closing, sharing


@pytest.mark.parametrize("number", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_l15_an_interrupt_at_any_point(emulator: Emulator, number: int) -> None:
    """KeyboardInterrupt comes out; places and leases are back."""
    program("interrupted", emulator, number)


def test_l16_closing_ends_running_calls(emulator: Emulator) -> None:
    """32 calls end as cancelled within a second, no socket stays; a second close is nothing, later calls are refused."""
    emulator.script("yi-large", ["hang"] * 32)
    router = router_of(first(emulator))
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(router.chat, prompt(), model="first") for _ in range(32)]
        assert settled(lambda: len(emulator.requests) == 32, 5)
        begun = time.monotonic()
        router.close()
        kinds = [call.exception().kind for call in calls]  # type: ignore[union-attr]
        assert time.monotonic() - begun < 1.0 + 0.5
    assert kinds == ["cancelled"] * 32
    router.close()
    assert settled(lambda: emulator.open_connections == 0)
    with pytest.raises(cnroute.RouterClosedError):
        router.chat(prompt(), model="first")
    with pytest.raises(cnroute.RouterClosedError):
        next(router.stream(prompt(), model="first"))


def test_l17_two_threads_over_one_stream(emulator: Emulator) -> None:
    """A clear error for whoever comes second; no delta is lost or doubled."""
    emulator.script("yi-large", ["stream_slow:0.02"])
    words, found, errors = prompt(), [], []

    with router_of(first(emulator)) as router, router.stream(words, model="first") as stream:

        def read() -> None:
            while True:
                try:
                    found.append(next(stream).text)
                except StopIteration:
                    return
                except RuntimeError as error:
                    errors.append(error)
                    time.sleep(0.001)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted("".join(found)) == sorted(emulator.answer(words))
    assert all("one consumer" in str(error) for error in errors)


class Observer:
    """Raises for every notice."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        raise self._error


class Handler(logging.Handler):
    """Raises for every record."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(logging.DEBUG)
        self._error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self._error


@pytest.mark.parametrize("where", ["observer", "log"])
@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_l18_a_callback_that_breaks(emulator: Emulator, where: str, error: type[BaseException]) -> None:
    """A RecursionError never breaks the call, a MemoryError passes through; nothing is lost either way."""
    logger, handler = logging.getLogger("cnroute"), Handler(error)
    plugins = [Observer(error)] if where == "observer" else []
    level = logger.level
    with router_of(first(emulator), plugins=plugins) as router:
        if where == "log":
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
        try:
            words = prompt()
            assert router.chat(words, model="first").text == emulator.answer(words)
        except MemoryError:
            assert error is MemoryError
        else:
            assert error is RecursionError
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        assert_at_rest(router, emulator)


def test_l19_the_interpreter_ends_with_open_streams(emulator: Emulator) -> None:
    """In less than two seconds (and the start of an interpreter), without a word."""
    emulator.script("MiniMax-Text-01", ["stream_hang:2"] * 3)
    assert program("shutdown", emulator, 0) < 2.0 + 3.0


# -- thousands of failures

FAILING = {"close": "connection_lost", "html_200": "bad_response", "hang": "first_byte_timeout"}
BROKEN = {"stream_fin_first": "connection_lost", "stream_empty": "bad_response"}


@pytest.mark.parametrize("number", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_l20_failing_for_a_long_time(emulator: Emulator, number: int) -> None:
    """Rows 1, 18, 20 (with a short limit), 82 and 137, again and again: no descriptor, no thread, no memory stays."""
    nobody = Emulator().start()
    nobody.close()
    short = cnroute.Timeouts(first_byte=0.02 if number > 1000 else 0.1)
    # The fault is the model's: a request that arrives after its call has given up takes nobody else's fault.
    deployments = [first(emulator, name=fault, model=f"yi-large!{fault}", timeouts=short) for fault in (*FAILING, *BROKEN)]
    deployments.append(first(nobody, name="nobody"))
    with router_of(*deployments, breaker=None, retries=cnroute.Retries(max_attempts=1)) as router:
        _fail(router, emulator, 25)
        threads, open_before, resident = threading.active_count(), len(sockets()), _resident()
        for _ in range(number // 50):
            _fail(router, emulator, 50)
        assert_at_rest(router, emulator)
        assert settled(lambda: threading.active_count() <= threads + 1)
        assert len(sockets()) <= open_before + 2 * len(deployments)
        assert number < 1000 or _resident() - resident < 5 * 2**20


def _fail(router: cnroute.Router, emulator: Emulator, number: int) -> None:
    """`number` calls that fail, each in its turn."""
    faults = [*FAILING.items(), *BROKEN.items()]
    for turn in range(number):
        fault, kind = faults[turn % len(faults)]
        with pytest.raises(cnroute.CallError) as caught:
            if fault in BROKEN:
                list(router.stream(prompt(), model=fault))
            else:
                router.chat(prompt(), model=fault)
        # With the shortest limit a busy machine may be late with any answer.
        assert caught.value.kind in (kind, "first_byte_timeout")
        if turn % len(faults) == 0:
            emulator.reset()
            with pytest.raises(cnroute.ConnectionFailedError):
                router.chat(prompt(), model="nobody")
