"""The course of one run: calm, storm, rest, calm again, closed."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from typing import Any, Self

import attrs

import cnroute
from chaosbench.servers import RedisServer
from chaosbench.traffic import MANNERS, STREAMS, Crew, Result, Task, make_tasks, perform
from chaosbench.vendors import VENDORS, Process, weights
from chaosbench.watching import Ear, Lag, Seen, Usage, complaints, settle

TIMEOUTS = cnroute.Timeouts(total=5, first_byte=0.5, idle=0.4)
LIMITS = cnroute.Limits(max_in_flight=16, max_connections=16)
PACE = 0.001
# A store that was away is asked again after five seconds, and then told what it missed.
QUEUED = 15.0
# Never reached: a call that a budget refuses would count as failed.
CAP = "1000"
CALM_CALLS = 20
CHILD_CALLS = 20
AFTER_CALLS = 100


@attrs.frozen
class Variant:
    """One kind of run.

    `acts`: what is done when so much of the calls is done; `vendors` count for the bound S; `slower`: how much longer a clean
    attempt may take than without faults.
    """

    says: str
    share: float | None = None
    manners: str = "usual"
    streams: float = STREAMS
    breaker: cnroute.Breaker = cnroute.Breaker()
    acts: tuple[tuple[float, Callable[[World], None]], ...] = ()
    vendors: int = 3
    asynchronous: bool = False
    slower: float = 1.5
    shared: bool = False
    """Breakers, rates and budgets live in a Redis."""


@attrs.define(eq=False)
class Books:
    """The router's budget: what it held before the storm and at rest, and the most of it that was ever seen used."""

    shared: bool = False
    spent_before: Decimal = Decimal(0)
    unknown_before: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    unknown: Decimal = Decimal(0)
    most: Decimal = Decimal(0)
    samples: int = 0

    def look(self, router: Any) -> dict[str, Decimal]:
        """The account now."""
        (entry,) = next(iter(router.health().values()))["budgets"]
        seen = {name: Decimal(entry[name]) for name in ("spent", "reserved", "unknown")}
        self.most = max(self.most, seen["spent"] + seen["reserved"])
        self.samples += 1
        return seen


@attrs.define(eq=False)
class Run:
    """All that is known of a run when it is over."""

    seed: int
    variant: str
    share: float | None = None
    streams: float = STREAMS
    vendors: int = 3
    slower: float = 1.5
    tasks: list[Task] = attrs.field(factory=list)
    results: list[Result] = attrs.field(factory=list)
    seen: Seen = attrs.field(factory=Seen)
    ear: Ear = attrs.field(factory=Ear)
    lag: Lag = attrs.field(factory=Lag)
    phases: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    """When calm, storm and the calm after it began and ended."""
    wall: float = attrs.field(factory=lambda: time.time() - time.monotonic())
    complaints: list[str] = attrs.field(factory=list)
    begun: int = 0
    seconds: float = 0.0
    calm: list[Result] = attrs.field(factory=list)
    before: Usage = attrs.field(factory=Usage.now)
    resting: Usage = attrs.field(factory=Usage.now)
    closed: Usage = attrs.field(factory=Usage.now)
    most_in_flight: int = 0
    opened: dict[str, list[float]] = attrs.field(factory=lambda: collections.defaultdict(list))
    """Per vendor: when in the storm its breaker opened, closed, opened ..."""
    open_at_rest: tuple[int, int] = (0, 0)
    open_closed: int = 0
    states: dict[str, Any] = attrs.field(factory=dict)
    probes_out: set[str] = attrs.field(factory=set)
    free_places: dict[str, int] = attrs.field(factory=dict)
    healing: float | None = None
    healing_bound: float = 0.0
    after: list[Result] = attrs.field(factory=list)
    children: list[dict[str, Any] | str] = attrs.field(factory=list)
    dead: list[tuple[str, float]] = attrs.field(factory=list)
    books: Books = attrs.field(factory=Books)


class World:
    """Vendors, router and run, as the acts of a variant see them."""

    def __init__(self, vendors: Process, router: Any, run: Run, server: RedisServer | None) -> None:
        self.vendors = vendors
        self.router = router
        self.run = run
        self.server = server

    def places(self) -> Mapping[str, Any]:
        """The router's deployments with their health and transports."""
        places: Mapping[str, Any] = self.router._engine.binding.places
        return places

    def fork(self) -> None:
        """A child makes calls with the warm pool it was born with, and exits."""
        run = self.run
        tasks = make_tasks(f"child{len(run.children)}s", CHILD_CALLS, run.seed, {}, 0.3)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_a_child(self.router, tasks, writer)
        os.close(writer)
        run.children += _report_of(pid, reader)

    def kill(self) -> None:
        """One vendor says nothing any more."""
        self.vendors.script("hang", VENDORS[:1])
        self.run.dead.append(("down", time.time()))

    def lose_store(self) -> None:
        """The Redis is killed, with all that it knows."""
        assert self.server is not None
        self.server.stop()

    def regain_store(self) -> None:
        """An empty one listens at the same place."""
        assert self.server is not None
        self.server.start()

    def revive(self) -> None:
        """It is back."""
        self.run.dead.append(("up", time.time()))
        self.vendors.storm(VENDORS[:1])


def _be_a_child(router: Any, tasks: list[Task], writer: int) -> None:
    try:
        results = [perform(router, task, []) for task in tasks]
        lines = [
            {"name": result.task.name, "outcome": result.outcome, "begun": result.begun, "seconds": result.seconds,
             "right": result.task.answer.startswith("".join(result.pieces)) and result.text in ("", result.task.answer)}
            for result in results
        ]  # fmt: skip
        with os.fdopen(writer, "w") as pipe:
            json.dump(lines, pipe)
    finally:
        os._exit(0)


def _report_of(pid: int, reader: int) -> list[dict[str, Any] | str]:
    with os.fdopen(reader) as pipe:
        heard = select.select([pipe], [], [], 60)[0]
        if not heard:
            os.kill(pid, signal.SIGKILL)
        text = pipe.read()
    os.waitpid(pid, 0)
    return list(json.loads(text)) if text else [f"child {pid} said nothing"]


# A breaker that opens for half a second, or a run at 60 % faults would be over before one had closed again.
SHORT = cnroute.Breaker(open_for=0.5, max_open=2)
VARIANTS = {
    "plain": Variant("about 20 % faults"),
    "down": Variant("one vendor silent in the middle third", acts=((1 / 3, World.kill), (2 / 3, World.revive)), vendors=2),
    "sixty": Variant("60 % faults everywhere", share=0.6, breaker=SHORT),
    "fork": Variant("three forks in mid-run", acts=((0.25, World.fork), (0.5, World.fork), (0.75, World.fork))),
    "cancel": Variant("cancelled and closed by other threads", manners="meddling", streams=0.7),
    # The bursts after a cool-down share one event loop, which is all but idle without faults.
    "redis": Variant(
        "shared state in a Redis that is killed at 1/3 and revived at 2/3", shared=True,
        acts=((1 / 3, World.lose_store), (2 / 3, World.regain_store)), slower=2.0,
    ),
    "async": Variant("the asynchronous router", asynchronous=True, slower=2.0),
}


class Bridge:
    """An asynchronous router for threads: its loop runs in a thread of its own, each call is a task there."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self._thread.start()
        self._router = cnroute.AsyncRouter(*args, **keywords)
        self._engine = self._router._engine
        self.health = self._router.health
        self.transport = self._router.transport

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def chat(self, *args: Any, **keywords: Any) -> Any:
        """One answer."""
        return self.run(self._router.chat(*args, **keywords))

    def stream(self, *args: Any, **keywords: Any) -> BridgedStream:
        """A stream."""
        return BridgedStream(self, self._router.stream(*args, **keywords))

    def close(self) -> None:
        """Close the router, end the loop."""
        self.run(self._router.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BridgedStream:
    """The same for a stream; `cancel` cancels the task that waits for the next delta, if there is one."""

    def __init__(self, bridge: Bridge, stream: Any) -> None:
        self._bridge = bridge
        self._stream = stream
        self._waiting: Any = None

    @property
    def completion(self) -> cnroute.ChatCompletion:
        """The answer so far."""
        completion: cnroute.ChatCompletion = self._stream.completion
        return completion

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> cnroute.Delta:
        self._waiting = asyncio.run_coroutine_threadsafe(self._next(), self._bridge.loop)
        delta: cnroute.Delta | None = self._waiting.result()
        if delta is None:
            raise StopIteration
        return delta

    async def _next(self) -> cnroute.Delta | None:
        return await anext(self._stream, None)

    def cancel(self) -> None:
        """Cancel the waiting task, or the stream between two reads."""
        if self._waiting is None or not self._waiting.cancel():
            self._stream.cancel()

    def close(self) -> None:
        """Leave the stream."""
        self._bridge.run(self._stream.close())


def run_once(seed: int, variant: str, threads: int, calls: int, seconds: float) -> Run:
    """One run from start to end."""
    kind = VARIANTS[variant]
    run = Run(seed, variant, kind.share, kind.streams, kind.vendors, kind.slower)
    run.tasks = make_tasks("s", threads * calls, seed, MANNERS[kind.manners], kind.streams)
    run.books.shared = kind.shared
    with Process(seed, weights(kind.share), PACE) as vendors, complaints() as run.complaints, run.ear.listening(), \
            _server(kind) as server:  # fmt: skip
        make = Bridge if kind.asynchronous else cnroute.Router
        host = cnroute.PluginHost(autoload=False)
        host.register(run.seen, "seen")
        router: Any = make(
            vendors.deployments(), {"chat": cnroute.Route(policy="weighted", targets={each.name: 1 for each in VENDORS})},
            timeouts=TIMEOUTS, limits=LIMITS, breaker=kind.breaker, plugins=host, budgets=[cnroute.Budget(CAP)],
            store=None if server is None else cnroute.RedisStore(server.url),
        )  # fmt: skip
        world = World(vendors, router, run, server)
        with run.lag.measured():
            _calm(world, threads)
            before = run.books.look(router)
            run.books.spent_before, run.books.unknown_before = before["spent"], before["unknown"]
            _storm(world, kind, threads, seconds)
        _rest(world)
        run.seen.take(vendors.requests())
        _heal(world, threads)
        router.close()
        run.open_closed = _fewest(vendors, 0)
    del router, world
    run.closed = Usage.now()
    return run


def _server(kind: Variant) -> AbstractContextManager[RedisServer | None]:
    return RedisServer() if kind.shared else nullcontext()


def _calm(world: World, threads: int) -> None:
    """The same kind of calls without faults: how long does one take?"""
    world.vendors.calm()
    tasks = make_tasks("calm", threads * CALM_CALLS, world.run.seed, {})
    begun = time.monotonic()
    results = Crew(world.router, tasks, threads, 60).join()
    world.run.phases["calm"] = begun, time.monotonic()
    world.run.calm = results[len(results) // 2:]
    world.vendors.forget()


def _storm(world: World, kind: Variant, threads: int, seconds: float) -> None:
    run, acts = world.run, list(kind.acts)
    begun = time.monotonic()
    crew = Crew(world.router, run.tasks, threads, seconds)
    while crew.working():
        states, now = world.router.health(), time.monotonic()
        run.most_in_flight = max(run.most_in_flight, *(state["in_flight"] for state in states.values()))
        for name, state in states.items():
            if (state["breaker"] != "closed") != (len(run.opened[name]) % 2 == 1):
                run.opened[name].append(now - begun)
        if acts and len(crew.results) >= acts[0][0] * len(run.tasks):
            acts.pop(0)[1](world)
        run.books.look(world.router)
        time.sleep(0.01)
    run.results = crew.join()
    run.begun = crew.begun
    run.seconds = time.monotonic() - begun
    run.phases["storm"] = begun, begun + run.seconds


def _rest(world: World) -> None:
    """Nothing runs: what is still held?"""
    run, transport = world.run, world.router.transport
    run.open_at_rest = _fewest(world.vendors, transport.idle_connections()), transport.idle_connections()
    run.resting = Usage.now()
    settle(lambda: _nothing_runs(run.books.look(world.router)), QUEUED if run.books.shared else 3)
    at_rest = run.books.look(world.router)
    run.books.spent, run.books.reserved, run.books.unknown = at_rest["spent"], at_rest["reserved"], at_rest["unknown"]
    run.states = world.router.health()
    run.probes_out = {name for name, place in world.places().items() if place.health._probe is not None}
    settle(lambda: min(_free_places(world).values()) == LIMITS.max_connections, 2)
    run.free_places = _free_places(world)


def _nothing_runs(seen: Mapping[str, Decimal]) -> bool:
    """Settling over a network is queued."""
    return seen["reserved"] == seen["unknown"]


def _free_places(world: World) -> dict[str, int]:
    return {name: place.transport.free_places() for name, place in world.places().items()}


def _fewest(vendors: Process, wanted: int) -> int:
    """How many connections are open at the vendors, once they have noticed what was closed."""
    seen: list[int] = []

    def few() -> bool:
        seen.append(vendors.open_connections())
        return seen[-1] <= wanted

    settle(few, 4)
    return seen[-1]


def _heal(world: World, threads: int) -> None:
    """The faults stop: how long until every breaker is closed, and do the next calls succeed?"""
    world.vendors.calm()
    run, begun = world.run, time.monotonic()
    open_for = [place.health._open_for for place in world.places().values()]
    # A cool-down is never shortened, so it may have to pass first.
    run.healing_bound = 2 * max(open_for) + 1 + max(state["cool_down_seconds"] for state in world.router.health().values())
    probes = iter(make_tasks("probe", 10_000, run.seed, {}, 0.0))

    def healed() -> bool:
        states = world.router.health()
        ill = [name for name, state in states.items() if state["breaker"] != "closed" or state["cool_down_seconds"]]
        for name in ill:
            _probe(world.router, name, next(probes))
        return not ill

    if settle(healed, run.healing_bound + 60):
        run.healing = time.monotonic() - begun
    tasks, begun = make_tasks("after", max(AFTER_CALLS, 10 * threads), run.seed, {}), time.monotonic()
    with run.lag.measured():
        run.after = Crew(world.router, tasks, threads, 60).join()
    run.phases["after"] = begun, time.monotonic()


def _probe(router: Any, name: str, task: Task) -> None:
    try:
        router.chat(task.prompt, model=name, timeout=1)
    except cnroute.CallError:
        time.sleep(0.02)
