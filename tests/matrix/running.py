"""Runs one case of the matrix through the real router and judges it. A case that holds has no problems.

What every row must show (reliability, section 4): the kind, the billing, what the second vendor got, free places, open
connections, nothing in flight, the next call's own answer, no key and no prompt anywhere, and the time.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import itertools
import pickle
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

import cnroute
from cnroute.emulator import Emulator
from tests.contract.kit import DIALECTS, NEXT, WORLDS, Seen, ask, in_flight
from tests.matrix import rows
from tests.matrix.rows import Case
from tests.matrix.stages import Stage, stage_of

SLACK = 0.5
"""Seconds that a busy machine may take beyond the page's bound."""
KEY = "Kanari7q-of-the-matrix+/=secret"
GROUP = "1788800000000000077"
CANARIES = (KEY, KEY[:8], base64.b64encode(KEY.encode()).decode(), urllib.parse.quote(KEY, safe=""))
PRICE = cnroute.Price("CNY", input="2", output="8")
PLACES = 4
MIB = 2**20
FLAT = 48 * MIB

_numbers = itertools.count(0x1000)  # safe among the threads that run cases, which a generator is not


def prompt() -> str:
    """A question with a marker of its own, whose answer is short."""
    return f"笑一个 marker:{next(_numbers):x}"


@attrs.define
class Result:
    """What a case showed. `problems` is empty for a row that holds."""

    id: str
    number: int
    seen: str = ""
    billing: str = ""
    asked: int = 0
    seconds: float = 0.0
    after: str = ""
    overshoot: float | None = None
    memory: int | None = None
    problems: list[str] = attrs.field(factory=list)
    certain: bool = False
    """Whether a problem is among them that no standstill of the machine explains."""
    before: list[str] = attrs.field(factory=list)
    """The problems of a first run beside other cases, where this is the second, with nothing beside it."""

    @property
    def holds(self) -> bool:
        return not self.problems


@attrs.define
class Course:
    """A case under way: its stage, the second vendor, the router under one spelling, and what was seen."""

    case: Case
    stage: Stage
    second: Emulator
    router: Any
    prompt: str
    result: Result
    seen: Seen = attrs.field(factory=Seen)
    problems: list[str] = attrs.field(factory=list)

    def expect(self, condition: object, what: str) -> None:
        """Note a problem unless `condition` is true."""
        if not condition:
            self.result.problems.append(what)

    def insist(self, condition: object, what: str) -> None:
        """Note a problem that counts at once, however slow the machine is: something got out, was mixed up or sent twice."""
        self.expect(condition, what)
        self.result.certain |= not condition

    @property
    def streamed(self) -> bool:
        return self.case.way == "stream"

    @property
    def error(self) -> cnroute.CallError | None:
        return self.seen.error

    @property
    def kind(self) -> str:
        """How the call ended: `ok` or the error's kind."""
        return "ok" if self.error is None else self.error.kind.value

    @property
    def first_attempt(self) -> cnroute.Attempt | None:
        return self.seen.attempts[0] if self.seen.attempts else None

    @property
    def first_kind(self) -> str:
        """How the attempt at the first vendor ended."""
        attempt = self.first_attempt
        if attempt is None:
            return self.kind
        return "ok" if attempt.failure is None else attempt.failure.kind.value

    @property
    def asked_first(self) -> list[Any]:
        """The requests that reached the first vendor."""
        return self.stage.emulator.requests

    def bound_at(self, name: str) -> Any:
        """The transport of a deployment."""
        names = [each.name for each in deployments(self.case, self.stage, self.second)]
        return self.router.transport._bound[names.index(name)]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the call: the padding stands in a field of its own, since a long prompt is refused at home."""
        padding = self.case.row.prompt
        return {"extra": {DIALECTS[self.case.speaker][0]: {"padding": "x" * padding}}} if padding else {}

    @property
    def model(self) -> str:
        return "route" if self.case.places == "two" else "first"


def deployments(case: Case, stage: Stage, second: Emulator) -> list[cnroute.Deployment]:
    """`first` has the fault, `second` is another healthy vendor, `well` a healthy path of the first."""

    def made(name: str, speaker: str, base: Emulator, **fields: Any) -> cnroute.Deployment:
        provider, model = DIALECTS[speaker]
        return cnroute.Deployment(**{
            "name": name, "provider": provider, "model": model, "api_key": KEY, "base_url": base.base_url(provider),
            "price": PRICE, "options": {"group_id": GROUP} if provider == "minimax-pro" else {}, **fields,
        })  # fmt: skip

    return [
        made("first", case.speaker, stage.emulator, **stage.fields),
        made("second", NEXT[case.speaker], second),
        made("well", case.speaker, stage.emulator),
    ]


def settings(case: Case) -> dict[str, Any]:
    """The profile of the page. The breaker is off where the same deployment is asked again afterwards."""
    return {
        "timeouts": cnroute.Timeouts(
            total=rows.TOTAL, connect=rows.CONNECT, first_byte=rows.FIRST_BYTE, first_token=rows.FIRST_TOKEN, idle=rows.IDLE,
            pool=rows.POOL, write=rows.WRITE,
        ) if not case.row.timeouts else cnroute.Timeouts(**{
            "total": rows.TOTAL, "connect": rows.CONNECT, "idle": rows.IDLE, "pool": rows.POOL, **case.row.timeouts,
        }),
        "limits": cnroute.Limits(**{"max_connections": PLACES, "max_in_flight": PLACES, **case.row.limits}),
        "retries": cnroute.Retries(backoff=0.01, throttled_backoff=0.01, same_deployment=2 if case.row.again else 1),
        "breaker": cnroute.Breaker() if case.places == "two" else None,
    }  # fmt: skip


def run(case: Case) -> Result:
    """Run a case and judge it; an unexpected exception is a problem like any other."""
    result = Result(case.id, case.row.number)
    try:
        with Emulator() as emulator, Emulator() as second, stage_of(case, emulator) as stage:
            _run_on(case, stage, second, result)
    except Exception as error:  # noqa: BLE001 (whatever it is, the row does not hold)
        result.certain = True
        where = traceback.extract_tb(error.__traceback__)[-1]
        result.problems.append(f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}")
    return result


def _run_on(case: Case, stage: Stage, second: Emulator, result: Result) -> None:
    # Late: plays and checks are written in terms of courses.
    from tests.matrix.checks import CHECKS
    from tests.matrix.plays import PLAYS, one_call

    play = PLAYS[case.row.play] if case.row.play else one_call
    made = deployments(case, stage, second)

    async def scenario(router: Any) -> None:
        course = Course(case, stage, second, router, prompt(), result)
        with memory_of(case, result):
            await play(course)
        judge(course)
        if case.row.check:
            CHECKS[case.row.check](course)
        judge_rest(course)
        await judge_next_call(course)

    with _transport(case) as transport:
        WORLDS[case.world](scenario, made, {"route": ["first", "second"]}, transport=transport, **settings(case))
    if not settled(lambda: emulators_are_left(stage, second)):
        result.problems.append("a connection is open after router.close()")


@contextlib.contextmanager
def _transport(case: Case) -> Iterator[Any]:
    from cnroute.transports.urllib3 import Urllib3Transport

    special = {"dropped_no_resend": {"resend_stale": False}, "idle_too_long": {"max_idle": 0.2}}
    yield Urllib3Transport(**special.get(case.row.play, {}))


def emulators_are_left(stage: Stage, second: Emulator) -> bool:
    return stage.open_connections == second.open_connections == 0


def settled(condition: Any, seconds: float = 2.0) -> bool:
    """Whether something that other threads bring about comes to pass."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# -- judging


def judge(course: Course) -> None:
    """Kind, billing, the second vendor's requests, the text, the time, and what the error shows."""
    row, result, seen = course.case.row, course.result, course.seen
    if seen.reply is None and seen.error is None:  # a consumer who never looked
        result.seen, result.seconds = "ok", seen.seconds
        return
    result.seen, result.seconds, result.asked = course.first_kind, seen.seconds, len(course.second.requests)
    attempt = course.first_attempt
    if row.again and row.kinds == ("ok",):
        result.seen, attempt = course.kind, course.seen.attempts[-1]
    result.billing = attempt.billing if attempt is not None else course.error.billing if course.error else ""
    if not row.play:
        _judge_kind(course)
        _judge_second(course)
    _judge_time(course)
    if course.error is not None:
        _judge_error(course, course.error)


def _judge_kind(course: Course) -> None:
    row, result = course.case.row, course.result
    allowed = row.kinds + (row.cut if course.case.places == "two" else ())
    if course.error is not None and course.error.kind.value == "stream_interrupted":
        result.seen = "stream_interrupted"
    course.expect(result.seen in allowed, f"kind {result.seen}, not {' or '.join(allowed)}")
    expected = row.billing
    if result.seen != "ok" and expected == "billed" and result.seen != "stream_interrupted":
        expected = "unknown"  # the page's other outcome of a good answer
    if result.seen == "ok":
        expected = "billed"
    if row.check not in _OWN_BILLING:
        course.expect(result.billing == expected, f"billing {result.billing}, not {expected}")


_OWN_BILLING = ("role_only", "reset_early", "busy", "not_found", "waited", "early_413")


def _judge_second(course: Course) -> None:
    row, result, answer = course.case.row, course.result, course.second.answer(course.prompt)
    failed = result.seen != "ok"
    if course.case.places == "alone":
        course.expect(result.asked == 0, "the second vendor was asked although the call was not for it")
        course.expect((course.kind != "ok") == failed or row.again, f"the call ended with {course.kind}")
        return
    if not failed and not row.again:
        course.expect(result.asked == 0, "the second vendor was asked although the first had answered")
    elif row.second == "ok":
        course.expect(result.asked == 1, f"the second vendor got {result.asked} requests, not 1")
        course.expect(course.kind == "ok", f"the call ended with {course.kind} although there was a second vendor")
        if course.error is None:
            text = course.seen.text if course.streamed else course.seen.reply.text
            course.insist(text == answer, "the text is not exactly the second vendor's")
            course.expect(course.seen.reply.deployment == "second", "the reply names another deployment")
    elif row.second == "no":
        course.expect(result.asked == 0, f"the second vendor got {result.asked} requests, not 0")
        course.expect(course.kind != "ok", "the call succeeded")
    course.insist(result.asked <= 1, f"the second vendor got {result.asked} requests")


def _judge_time(course: Course) -> None:
    row, seconds = course.case.row, course.seen.seconds
    bound = row.seconds + (0.3 if course.case.places == "two" else 0.0)
    course.expect(seconds <= bound + SLACK, f"{seconds:.2f} s, bound {bound:.2f}")
    limit = rows.LIMITS.get(str(row.bound))
    if limit is not None and course.case.places == "alone" and course.error is not None:
        course.result.overshoot = max(0.0, seconds - limit)


def _judge_error(course: Course, error: cnroute.CallError) -> None:
    shown = [repr(error), str(error), repr(error.args), repr(error.__dict__), repr(getattr(error, "__notes__", ()))]
    pickled = pickle.dumps(error)
    shown.append(pickled.decode("latin-1"))
    for canary in (*CANARIES, GROUP):
        course.insist(not any(canary in each for each in shown), f"{canary[:4]}... is shown by the error")
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    course.insist(not any(canary in told for canary in CANARIES), "the key is shown by a traceback with locals")
    marker = course.prompt.rpartition("marker:")[2].split()[0]
    texts = [str(error), *getattr(error, "__notes__", ())]
    course.insist(not any(f"marker:{marker}" in each for each in texts), "the prompt or the answer is in the error's text")
    course.insist(len(str(error)) <= 2000, "the error's text is longer than 2,000 characters")
    course.insist(not any(char < " " for char in str(error)), "the error's text has control characters")
    course.insist(error.__context__ is None and error.__cause__ is None, "the error holds another exception")
    back = pickle.loads(pickled)
    course.insist((type(back), back.kind, str(back)) == (type(error), error.kind, str(error)), "the error does not pickle")


def judge_rest(course: Course) -> None:
    """Nothing in flight, all places free, and the vendor's connections are our idle ones."""
    first, row = course.bound_at("first"), course.case.row
    course.expect(in_flight(course.router) == 0, "a call is in flight")
    for bound in course.router.transport._bound:
        free = settled(lambda bound=bound: bound.free_places() == bound.limits.max_connections and not bound.active)
        course.expect(free, f"{bound.free_places()} of {bound.limits.max_connections} places are free")
    if row.play == "twice":  # the vendor has closed what it promised to keep: seen when it is needed next
        return
    equal = settled(lambda: course.stage.open_connections == first.idle_connections())
    idle = first.idle_connections()
    course.expect(equal, f"the vendor has {course.stage.open_connections} open connections, the client {idle} idle ones")
    course.result.after = str(idle)
    if row.play in ("held_connection",):
        return
    wanted = (0,) if row.after == "C" else (1,) if row.after == "R" and course.result.seen == "ok" else (0, 1)
    if row.play.startswith("dropped"):
        wanted = (0, 1)
    course.expect(idle in wanted, f"{idle} connections are kept, page: {row.after}")


async def judge_next_call(course: Course) -> None:
    """A healthy path of the same vendor answers the next calls with their own text, plain and streamed."""
    name = course.stage.healthy
    if course.case.places == "two" and course.router.health()[name]["ready_in_seconds"] > 0:
        name = "well"
    course.stage.emulator.script(DIALECTS[course.case.speaker][1], [])
    for streamed in (course.streamed, not course.streamed):
        words = prompt()
        seen = await ask(course.router, streamed, words, model=name)
        if seen.error is not None:
            course.expect(False, f"the next call failed: {seen.error.kind}: {seen.error.message}")
            continue
        text = seen.text if streamed else seen.reply.text
        course.insist(text == course.stage.emulator.answer(words), "the next call got another text than its own")


# -- memory


@contextlib.contextmanager
def memory_of(case: Case, result: Result) -> Iterator[None]:
    """How much the process grows at most, for rows that must stay flat."""
    if not case.row.flat:
        yield
        return
    gc.collect()
    before = most = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.003):
            most = max(most, _resident())

    watcher = threading.Thread(target=watch, name="memory")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    result.memory = most - before
    if result.memory > FLAT:
        result.problems.append(f"memory grew by {result.memory / MIB:.0f} MiB")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
