"""Accounts that many processes share, in Redis.

Rules of this file (reliability S12)
- One atomic script decides on a claim. Redis's own clock is everybody's; all keys are hashes, so that neither a tenant
  nor a deployment can be read there; every window, minute and breaker expires.
- An outage (whatever is not the script's own answer within the limits) never fails a call: for five seconds nobody asks
  again, and calls go on with this process's share of what was left when it last looked.
- Settling is queued. What a hold took is known by its name, so settling twice changes nothing, and what is never
  settled stays spent until its window ends.
- Nothing is merged when Redis is back, but what this process saw spent stays spent: a window's sums never fall.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import queue
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from cnroute.accounts import Account, Balance, Charge, Claim, Clocks, Denial, Desk, Draft, Hold, Lesson, Window
from cnroute.errors import ConfigurationError, Problem, forgetful
from cnroute.money import EXACT, ZERO
from cnroute.notices import StoreChanged
from cnroute.stores import minutes
from cnroute.stores.bounded import make_client, time_limit
from cnroute.stores.memory import MemoryStore, over_budget

OPEN_SECONDS = 5.0
# A probe that has not come back after so many seconds is lost with its process, and another may go.
_PROBE_SECONDS = 120.0
_HELLO_SECONDS = 5.0
_REMEMBERED_ACCOUNTS = 10_000
_BACKLOG = 10_000
_FLUSH_SECONDS = 0.5
_MOST_PATIENCE = 10.0
_BASE = 10**15
_MOST = 9 * _BASE * _BASE
_SCALE = Decimal(10) ** 18
# As in `cnroute.routing.health`.
_GROWTH = {"first": 0.25, "most_grown": 60.0}
_ALLOWANCE = {"counts_for": minutes.COUNTS_FOR, "back": minutes.BACK_PER_MINUTE}
_SHRINK = {"step": minutes.STEP_SECONDS, "least": minutes.LEAST, "smaller": minutes.SMALLER}


def _script(name: str) -> str:
    folder = Path(__file__).parent / "scripts"
    return (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")


@attrs.frozen
class Script:
    """A script and the name under which Redis keeps it."""

    text: str
    sha: str

    @classmethod
    def named(cls, name: str) -> Script:
        """A script of this package."""
        text = _script(name)
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@attrs.define(eq=False)
class Seen:
    """What this process last saw of an account in a window."""

    until: float
    stamp: int
    spent: Decimal
    unknown: Decimal
    running: Decimal


@attrs.define(eq=False)
class Taken:
    """Where a hold was granted: its keys at Redis and the second of its draft."""

    name: str
    generation: int
    clock: Clocks
    keys: list[str]
    accounts: list[tuple[Account, Window]] = attrs.field(factory=list)
    drawn: tuple[float, float] | None = None
    again: bool = False


class RedisStore:
    """Budgets, rates, breakers and cool-downs shared by every process that uses the same Redis (6.2 or newer).

    `url` is `redis://`, `rediss://` or `unix://`, as redis-py reads it; processes share what has the same `prefix`.
    `workers` says how many processes there are; None: as many as were seen in the last minute. During an outage each
    of them spends at most its share of what was left. `timeout` is the time in seconds for an answer; connecting may take
    twice as long, and so may both together. Needs `pip install "cnroute[redis]"`.
    Raises ConfigurationError; no connection is made before the first call.
    """

    remote = True

    @forgetful
    def __init__(self, url: str, *, prefix: str = "cnroute", workers: int | None = None, timeout: float = 0.1) -> None:
        problems = list(_problems(url, prefix, workers, timeout))
        if problems:
            raise ConfigurationError(problems)
        self._url = url
        self._prefix = prefix
        self._given_workers = workers
        self._timeout = timeout
        self._take_script, self._settle_script = Script.named("take"), Script.named("settle")
        self._alone = MemoryStore()
        self._seen: OrderedDict[tuple[Account, float], Seen] = OrderedDict()
        self._listeners: weakref.WeakSet[Any] = weakref.WeakSet()
        self._generation = 0
        self._ahead = 0.0
        self._workers = workers or 1
        self._trouble: str | None = None
        self._down_until = 0.0
        self._made()

    def _made(self) -> None:
        self._lock = threading.Lock()
        self._news: deque[tuple[str, str]] = deque()
        self._telling = threading.Lock()
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._jobs.put, None)
        self._client: Any = None
        self._hang_up: Callable[[], object] = _nothing
        self._trying = False
        self._hello = 0.0
        self._worker = os.urandom(8).hex()
        self._numbers = itertools.count()

    def __eq__(self, other: object) -> bool:
        """Stores of one place are one: a reload keeps the store that it has."""
        if not isinstance(other, RedisStore):
            return NotImplemented
        return self._settings == other._settings

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self._url, self._prefix, self._given_workers, self._timeout

    def __hash__(self) -> int:
        return hash((self._url, self._prefix))

    def __repr__(self) -> str:
        return f"RedisStore({urlsplit(self._url).hostname or 'unix'!r}, prefix={self._prefix!r})"

    def listen(self, listener: Any) -> None:
        """Tell `listener.notify` when the store goes away and comes back; it is not kept alive for that."""
        self._listeners.add(listener)

    def forked(self) -> None:
        """In a forked child: connections, locks and running holds are the parent's."""
        self._generation += 1
        self._made()
        self._alone.forked()

    # -- taking ------------------------------------------------------------------------------------------

    def take(self, hold: Hold) -> Denial | None:
        """Everything that the claim asks for, or nothing and the reason; during an outage by this process's share."""
        self._start_courier()
        taken = self._taken(hold)
        hold.parts = taken
        reply = self._decide(hold, taken)
        if reply is None:
            self._jobs.put((taken, None))  # it may have been granted there, and the answer lost
            return self._take_alone(hold)
        self._learn(taken, reply)
        if "no" in reply:
            hold.parts = ()
            return self._denial(hold, reply)
        hold.state, hold.probe = reply.get("desk"), bool(reply.get("probe"))
        drawn = reply.get("drawn")
        taken.drawn = None if drawn is None else (drawn[0], drawn[1])
        if hold.ending:  # the call was given up in the meantime
            self.give_back(hold)
        return None

    def _taken(self, hold: Hold) -> Taken:
        claim, keys = hold.claim, []
        if claim.draft is not None:
            keys.append(self._key("m", claim.draft.account))
        if claim.desk is not None:
            keys.append(self._key("d", claim.desk.account))
        return Taken(f"{self._worker}{next(self._numbers)}", self._generation, hold.clock, keys)

    def _key(self, what: str, account: Account, start: float | None = None) -> str:
        words = "\x1f".join(account if start is None else (*account, f"{start:.6f}"))
        return f"{self._prefix}:{what}:{hashlib.sha256(words.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"

    def _decide(self, hold: Hold, taken: Taken) -> dict[str, Any] | None:
        """The script's answer, or None for an outage. Where the windows were those of a wrong clock it is asked again."""
        common = taken.keys
        for _ in range(2):
            now = hold.clock.time() + self._ahead
            taken.accounts = [(charge.account, charge.period.around(now)) for charge in hold.claim.charges]
            taken.keys = [*(self._key("b", account, window[0]) for account, window in taken.accounts), *common]
            ask = self._question(hold, taken)
            reply = self._ask(self._take_script, [*taken.keys, f"{self._prefix}:w"], ask, hold.clock)
            if reply is None:
                return None
            self._ahead = float(reply["when" if "when" in reply else "now"]) - hold.clock.time()
            if "when" not in reply:
                return reply
        return None

    def _question(self, hold: Hold, taken: Taken) -> dict[str, Any]:
        claim = hold.claim
        windows = [window for _, window in taken.accounts]
        ask: dict[str, Any] = {
            "id": taken.name,
            "charges": [self._charge(charge, window) for charge, window in zip(claim.charges, windows, strict=True)],
        }
        if claim.draft is not None:
            ask["draft"] = {**_ALLOWANCE, **_asked(claim.draft)}
        if claim.desk is not None:
            ask |= {"desk": True, "early": claim.probe, "probe_for": _PROBE_SECONDS}
        now = hold.clock.monotonic()
        if self._hello == 0.0 or now - self._hello >= _HELLO_SECONDS:
            self._hello = now
            ask["worker"] = self._worker
        return ask

    def _charge(self, charge: Charge, window: Window) -> dict[str, Any]:
        start, stop = window
        asked: dict[str, Any] = {"start": start, "amount": units(charge.amount), "cap": units(charge.cap, down=True)}
        if charge.period.per is not None:
            asked["stop"] = stop
        seen = self._seen.get((charge.account, start))
        if seen is not None:
            asked |= {"spent": units(seen.spent), "unknown": units(seen.unknown)}
        return asked

    def _learn(self, taken: Taken, reply: Mapping[str, Any]) -> None:
        """Keep what the answer shows of accounts and workers."""
        if self._given_workers is None and "workers" in reply:
            self._workers = max(1, int(reply["workers"]))
        shown = reply["seen"] if isinstance(reply["seen"], list) else []  # an empty table of Lua has no kind
        for (account, (start, until)), sums in zip(taken.accounts, shown, strict=False):
            self._note((account, start), Seen(until, int(reply["stamp"]), *map(amount_of, sums)))

    def _note(self, key: tuple[Account, float], seen: Seen) -> None:
        """Answers may overtake one another; what was spent never becomes less."""
        with self._lock:
            before = self._seen.get(key)
            if before is not None and before.stamp > seen.stamp:
                return
            if before is not None:
                seen.spent, seen.unknown = max(seen.spent, before.spent), max(seen.unknown, before.unknown)
            self._seen[key] = seen
            self._seen.move_to_end(key)
            while len(self._seen) > _REMEMBERED_ACCOUNTS:
                self._seen.popitem(last=False)

    def _denial(self, hold: Hold, reply: Mapping[str, Any]) -> Denial:
        reason, wait = str(reply["no"]), reply.get("wait")
        hold.state = reply.get("desk")
        if reason == "budget_exceeded":
            charge = hold.claim.charges[int(reply["which"]) - 1]
            spent, unknown, running = map(amount_of, reply["seen"][int(reply["which"]) - 1])
            return over_budget(charge, spent, EXACT.add(unknown, running), float(wait or 0))
        if reason == "throttled":
            assert hold.claim.draft is not None  # noqa: S101 (the script had one)
            return minutes.throttled(hold.claim.draft, bool(reply["requests"]), float(reply["share"]), float(wait or 0))
        seconds, kind = float(wait or 0), (hold.state or {}).get("kind", "")
        inputs = {"seconds": round(seconds, 3), **({"after": kind} if reason == "cooling_down" else {})}
        return Denial(reason, _WORDS[reason].format(seconds, kind), seconds, inputs)

    # -- looking -----------------------------------------------------------------------------------------

    def foresee(self, claim: Claim, clock: Clocks) -> Denial | None:
        """Which budget would deny the claim, by what this process saw last. Asks nobody."""
        now = clock.time() + self._ahead
        for charge in claim.charges:
            window = charge.period.around(now)
            seen = self._seen.get((charge.account, window[0]))
            if seen is not None:
                reserved = EXACT.add(seen.unknown, seen.running)
                if EXACT.add(EXACT.add(seen.spent, reserved), charge.amount) > charge.cap:
                    return over_budget(charge, seen.spent, reserved, window[1] - now)
        return None

    # -- without Redis -----------------------------------------------------------------------------------

    def _take_alone(self, hold: Hold) -> Denial | None:
        """By this process's share of what was left when it last looked."""
        hold.degraded = f"the shared store is away ({self._trouble}); budgets, rates and breakers are this process's own share"
        claim = hold.claim
        now = hold.clock.time() + self._ahead
        charges = tuple(attrs.evolve(charge, cap=self._share_of(charge, now)) for charge in claim.charges)
        draft = claim.draft and attrs.evolve(
            claim.draft, requests_per_minute=self._part(claim.draft.requests_per_minute),
            tokens_per_minute=self._part(claim.draft.tokens_per_minute),
        )
        hold.parts = inner = Hold(self._alone, Claim(charges, draft), hold.clock)
        denial = self._alone.take(inner)
        if hold.ending:
            self.give_back(hold)
        return denial

    def _share_of(self, charge: Charge, now: float) -> Decimal:
        seen = self._seen.get((charge.account, charge.period.around(now)[0]))
        used = ZERO if seen is None else EXACT.add(seen.spent, EXACT.add(seen.unknown, seen.running))
        left = EXACT.multiply(EXACT.subtract(charge.cap, used), _SCALE)
        return max(ZERO, EXACT.divide(EXACT.divide_int(left, Decimal(self._workers)), _SCALE))

    def _part(self, per_minute: int | None) -> int | None:
        return None if per_minute is None else max(1, per_minute // self._workers)

    # -- giving back -------------------------------------------------------------------------------------

    def give_back(self, hold: Hold) -> None:
        """Queue the settlement; called by whoever ends the lease, a garbage collector too."""
        parts = hold.parts
        if isinstance(parts, Taken):
            if parts.generation == self._generation:
                self._jobs.put((parts, hold))
        elif isinstance(parts, Hold):
            parts.begun, parts.settled = hold.begun, hold.settled
            parts.spent, parts.tokens, parts.throttled = hold.spent, hold.tokens, hold.throttled
            parts.end()

    def _settlement(self, taken: Taken, hold: Hold | None) -> dict[str, Any]:
        """What is told of a hold; None: it was perhaps granted, and nothing was made of it."""
        spent = ZERO if hold is None else hold.spent
        one = {} if spent is None else {"spent": units(spent)}
        ask: dict[str, Any] = {"id": taken.name, "charges": [one] * len(taken.accounts)}
        if hold is None or taken.again:
            return ask
        draft, desk = hold.claim.draft, hold.claim.desk
        if draft is not None and taken.drawn is not None:
            at, tokens = taken.drawn
            change = 0 if hold.tokens is None and hold.begun else (hold.tokens or 0) - tokens
            requests = 0 if hold.begun else -1
            ask["draft"] = {
                **_ALLOWANCE, **_SHRINK, "at": at, "requests": requests, "tokens": change, "shrink": hold.throttled,
            }
        if desk is not None:
            grown = (hold.state or {}).get("throttled", 0)
            ask["desk"] = {**_numbers_of(desk, hold.jitter), **_GROWTH, **_lesson(hold.lesson), "grown": grown}
        return ask

    def _start_courier(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=_deliver, args=(weakref.ref(self), self._jobs), name="cnroute-redis", daemon=True
                    )
                    self._thread.start()

    def settle(self, taken: Taken, hold: Hold | None) -> bool:
        """Tell Redis what became of a hold. False: it was not heard; another time may do."""
        ask = self._settlement(taken, hold)
        count = len(taken.accounts)
        keys = taken.keys[:count]
        if "draft" in ask:
            keys.append(taken.keys[count])
        if "desk" in ask:
            keys += [taken.keys[-1], f"{taken.keys[-1]}:r"]
        taken.again = True
        reply = self._ask(self._settle_script, keys, ask, taken.clock)
        if reply is None:
            return False
        self._learn(taken, reply)
        if hold is not None and hold.told is not None and "desk" in reply:
            hold.told(reply["desk"])
        return True

    def close(self) -> None:
        """Send what is still queued, within half a second, and hang up. The store may be used again."""
        if not self._jobs.empty():
            self._start_courier()  # of calls that ended after another router had closed the store
        thread, self._thread = self._thread, None
        if thread is not None:
            done = threading.Event()
            self._jobs.put(done)
            done.wait(_FLUSH_SECONDS)
        with self._lock:
            hang_up, self._client, self._hang_up = self._hang_up, None, _nothing
        hang_up()

    # -- asking ------------------------------------------------------------------------------------------

    def _ask(self, script: Script, keys: list[str], ask: Mapping[str, Any], clock: Clocks) -> dict[str, Any] | None:
        """The script's answer; None during an outage, which is noticed here."""
        if not self._may_ask(clock.monotonic()):
            return None
        try:
            reply = self._run(script, keys, json.dumps(ask, ensure_ascii=True))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever is not the script's answer is an outage)
            self._fell(type(error).__name__, clock)
            return None
        finally:
            self._trying = False
        self._rose()
        return reply

    def _run(self, script: Script, keys: list[str], ask: str) -> dict[str, Any]:
        client = self._client or self._connected()
        with time_limit(2 * self._timeout):
            raw = _evaluate(client, script, keys, ask)
        reply = json.loads(raw)
        if not isinstance(reply, dict) or not ("now" in reply or "when" in reply):
            raise ValueError("no answer of the script")
        return reply

    def _connected(self) -> Any:
        """The one client of this process; its connections are made when they are needed."""
        with self._lock:
            if self._client is None:
                self._client = make_client(self._url, self._timeout)
                self._hang_up = weakref.finalize(self, self._client.close)
            return self._client

    def _may_ask(self, now: float) -> bool:
        """During an outage one caller every few seconds finds out whether it is over."""
        if self._trouble is None:
            return True
        with self._lock:
            if self._trouble is None:
                return True
            if self._trying or now < self._down_until:
                return False
            self._trying = True
            return True

    def _fell(self, trouble: str, clock: Clocks) -> None:
        with self._lock:  # many threads may see it at once
            if self._trouble is None:
                self._news.append(("degraded", trouble))
            self._trouble, self._down_until = trouble, clock.monotonic() + OPEN_SECONDS
        self._tell()

    def _rose(self) -> None:
        if self._trouble is None:
            return
        with self._lock:
            if self._trouble is not None:
                self._news.append(("restored", ""))
            self._trouble, self._hello = None, 0.0
        self._tell()

    def _tell(self) -> None:
        """The news in their order: one thread tells them, and those of others that come meanwhile, too."""
        while self._news and self._telling.acquire(blocking=False):
            try:
                while self._news:
                    state, reason = self._news.popleft()
                    for listener in list(self._listeners):
                        listener.notify(StoreChanged(store=repr(self), state=state, reason=reason))
            finally:
                self._telling.release()

    @property
    def degraded(self) -> str | None:
        """What is wrong with the store, None while it answers."""
        return self._trouble

    # -- looking -----------------------------------------------------------------------------------------

    def balances(self, clock: Clocks) -> Iterable[Balance]:
        """What this process last saw of the accounts; nobody is asked."""
        now = clock.time() + self._ahead
        with self._lock:
            seen = list(self._seen.items())
        for (account, start), each in seen:
            if start <= now < each.until:
                yield Balance(account, each.spent, EXACT.add(each.unknown, each.running), each.unknown, each.until)


def _nothing() -> None:
    """Nothing is connected."""


def _evaluate(client: Any, script: Script, keys: list[str], ask: str) -> Any:
    """By its name, or by its text where Redis has forgotten it."""
    from redis.exceptions import NoScriptError

    try:
        return client.evalsha(script.sha, len(keys), *keys, ask)
    except NoScriptError:
        return client.eval(script.text, len(keys), *keys, ask)


def _deliver(alive: weakref.ref[RedisStore], jobs: queue.SimpleQueue[Any]) -> None:
    """The thread that settles; what was not heard is told again once Redis is back."""
    backlog: deque[tuple[Taken, Hold | None]] = deque(maxlen=_BACKLOG)
    while True:
        try:
            job = jobs.get(timeout=0.5 if backlog else None)
        except queue.Empty:
            job = ()
        store = alive()
        if job is None or store is None:
            return
        if isinstance(job, threading.Event):
            _empty(store, backlog)
            job.set()
            return
        if job and not store.settle(*job):
            backlog.append(job)
        if not job or not store.degraded:
            _empty(store, backlog)
        del store, job


def _empty(store: RedisStore, backlog: deque[tuple[Taken, Hold | None]]) -> None:
    while backlog and store.settle(*backlog[0]):
        backlog.popleft()


def units(amount: Decimal, *, down: bool = False) -> str:
    """An amount as the scripts write it: whole 10^-18, rounded up (a cap: down)."""
    rounding = ROUND_FLOOR if down else ROUND_CEILING
    whole = int(EXACT.multiply(amount, _SCALE).to_integral_value(rounding, EXACT))
    return "{}:{}".format(*divmod(min(whole, _MOST), _BASE))


def amount_of(text: str) -> Decimal:
    """What `units` wrote."""
    high, low = text.split(":")
    return EXACT.divide(Decimal(int(high) * _BASE + int(low)), _SCALE)


def _asked(draft: Draft) -> dict[str, Any]:
    asked: dict[str, Any] = {"amount": draft.tokens}
    if draft.requests_per_minute is not None:
        asked["requests"] = draft.requests_per_minute
    if draft.tokens_per_minute is not None:
        asked["tokens"] = draft.tokens_per_minute
    return asked


def _numbers_of(desk: Desk, jitter: float) -> dict[str, Any]:
    values = attrs.asdict(desk)
    return {name: values[name] for name in ("failures", "ratio", "min_calls", "window", "open_for", "max_open")} | {
        "factor": 1 + desk.jitter * (2 * jitter - 1)
    }


def _lesson(lesson: Lesson | None) -> dict[str, Any]:
    if lesson is None:
        return {}
    return {"lesson": {name: value for name, value in attrs.asdict(lesson).items() if value is not None}}


_WORDS = {
    "cooling_down": "left alone for {:.1f} s more after {}",
    "breaker_open": "the breaker is open for {:.1f} s more",
    "probe_out": "the breaker is open and its one probe is on the way",
}


def _problems(url: object, prefix: object, workers: object, timeout: object) -> Iterable[Problem]:
    try:
        scheme = urlsplit(url).scheme if isinstance(url, str) else ""
    except ValueError:
        scheme = ""
    if scheme not in ("redis", "rediss", "unix"):
        yield Problem("url", "must begin with redis://, rediss:// or unix://")
    else:
        try:
            make_client(str(url), 0.1)
        except ImportError:
            yield Problem("url", 'needs redis-py: pip install "cnroute[redis]"')
        except (ValueError, TypeError) as error:
            yield Problem("url", f"is no URL of a Redis: {type(error).__name__}")
    if not isinstance(prefix, str) or not prefix.isprintable() or not 1 <= len(prefix) <= 60 or "{" in prefix:
        yield Problem("prefix", "must be 1 to 60 printable characters without {")
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        yield Problem("workers", f"must be a whole number of at least 1, not {workers!r:.40}")
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= _MOST_PATIENCE:
        yield Problem("timeout", f"must be a number of seconds above 0 and at most {_MOST_PATIENCE:g}, not {timeout!r:.40}")
