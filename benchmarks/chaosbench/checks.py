"""The invariants of reliability.md, section 5. Each check yields one line per violation."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs

from chaosbench.running import CAP, LIMITS, TIMEOUTS, Run
from chaosbench.traffic import Result
from chaosbench.vendors import FAULTS, GOOD, VENDORS, Odds, weights
from cnroute.chat import Usage
from cnroute.emulator import answers
from cnroute.errors import StreamInterruptedError
from cnroute.failures import Attempt
from cnroute.money import Cost

# Slack beyond a limit: 0.25 s, and as much again for two busy cores.
LATE = 0.5
STOPPED_WITHIN = 0.3 + 0.25
EXPECTED = 10
DEAD_FREE = 10
DEAD_PER_SECOND = 2.0
BY_PROVIDER = {vendor.provider: vendor for vendor in VENDORS}
# Refused or ended before a byte was written: the vendor knows nothing of it.
UNSENT = frozenset(("dns_error", "connect_error", "connect_timeout", "tls_error", "tls_timeout", "local_overload"))
FIRST_BYTE = TIMEOUTS.first_byte or 0.0
Check = Callable[[Run], Iterator[str]]


def attempts_of(run: Run, result: Result) -> tuple[Attempt, ...]:
    """The attempts of a call, as its last notice has them."""
    finished = run.seen.finished.get(result.task.name)
    return finished[-1].attempts if finished else ()


def median(values: list[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


# -- 1, 2, 3 ---------------------------------------------------------------------------------------------


def one_outcome(run: Run) -> Iterator[str]:
    """Every call ends once, in a result or a typed error."""
    counts = collections.Counter(result.task.name for result in run.results)
    silent = unbegun(run)
    if len(run.results) != run.begun:
        yield f"{run.begun} calls began, {len(run.results)} ended"
    for name, count in counts.items():
        if count != 1:
            yield f"{name} ended {count} times"
        if len(run.seen.finished[name]) != 1 and name not in silent:
            yield f"{name} was reported {len(run.seen.finished[name])} times"
    for result in run.results:
        if result.outcome == "untyped":
            yield f"{result.task.name}: {result.error!r}"
        elif result.outcome == "closed":
            yield f"{result.task.name} ended as if the router were closed"


def unbegun(run: Run) -> set[str]:
    """Streams that were closed before their first step: nothing was sent and nobody is told."""
    closed = {result.task.name for result in run.results if result.task.manner == "close" and result.outcome == "left"}
    return {name for name in closed if not run.seen.requests[name] and not run.ear.events["attempt started", name]}


@attrs.frozen
class Late:
    """Something that ended after its limit: `allowed` seconds may pass behind it, and what this process lost meanwhile."""

    what: str
    limit: float
    ended: float
    allowed: float

    @property
    def seconds(self) -> float:
        """How much too late."""
        return self.ended - self.limit

    def excused(self, run: Run) -> bool:
        """Whether it is late only because the machine was."""
        return self.seconds - run.lag.lost(self.limit, self.ended) <= self.allowed


def beyond(run: Run) -> list[Late]:
    """What was later than its slack, before the machine's own lateness is looked at."""
    return [late for late in lates(run) if late.seconds > late.allowed]


def in_time(run: Run) -> Iterator[str]:
    """No call outlives its deadline, no attempt its limit, and clean calls are as quick as without faults."""
    for late in beyond(run):
        if not late.excused(run):
            yield f"{late.what} came {late.seconds:.2f} s late, {run.lag.lost(late.limit, late.ended):.2f} s of it the machine's"
    quick, usual = median(wire_seconds(run.results)), quiet_median(run)
    if quick > run.slower * usual:
        yield f"clean attempts take {1000 * quick:.0f} ms, {1000 * usual:.0f} ms without faults at the same lag"


def lates(run: Run) -> Iterator[Late]:
    """Every end that a limit, or another thread, should have brought about."""
    yield from overshoots(run)
    for result in run.results:
        name, manner, at = result.task.name, result.task.manner, result.meddled
        if at is not None:
            yield Late(f"the end of {name} after {manner}", at, result.begun + result.seconds, STOPPED_WITHIN)
            yield Late(f"the return of {manner} of {name}", at, at + result.meddling, STOPPED_WITHIN)


def quiet_median(run: Run) -> float:
    """How long an attempt takes without faults: before the storm or after it, whichever was slower, at the storm's own lag."""
    return max(median(wire_seconds(run.calm)) * lagging(run, "calm"), median(wire_seconds(run.after)) * lagging(run, "after"))


def lagging(run: Run, phase: str) -> float:
    """How much longer the machine made things take in the storm than in another phase; 1 at least."""
    storm, other = (1 - run.lag.share(run.phases.get(name, (0.0, 0.0))) for name in ("storm", phase))
    return max(1.0, other / max(storm, 0.01))


def wire_seconds(results: list[Result]) -> list[float]:
    """From admission to answer, for plain calls that were answered at once. Waiting for a place is not the vendor's time."""
    replies = [result.reply for result in results if result.reply is not None and not result.task.stream]
    return [reply.attempts[0].seconds for reply in replies if len(reply.attempts) == 1]


def overshoots(run: Run) -> Iterator[Late]:
    """How much later than its limit each attempt or call ended that a limit ended."""
    for result in run.results:
        deadline = result.begun + TIMEOUTS.total
        if result.seconds > TIMEOUTS.total:
            yield Late(f"the deadline of {result.task.name}", deadline, result.begun + result.seconds, LATE)
        for attempt in attempts_of(run, result):
            if attempt.failure is not None and attempt.failure.kind == "first_byte_timeout":
                ended = attempt.started + attempt.seconds - run.wall
                limit = ended - attempt.seconds + FIRST_BYTE
                yield Late(f"first_byte_timeout of {result.task.name}", limit, ended, LATE)


def is_clean(run: Run, result: Result) -> bool:
    """Whether a call was answered by the first deployment it asked, without any trouble."""
    attempts = attempts_of(run, result)
    return result.outcome == "ok" and len(attempts) == 1 and not attempts[0].resent and not run.seen.skipped[result.task.name]


def exact_text(run: Run) -> Iterator[str]:
    """Every text is the call's own: whole on success, else a beginning made of whole deltas."""
    for result in run.results:
        name, wanted, got = result.task.name, result.task.answer, "".join(result.pieces)
        if not wanted.startswith(got):
            yield f"{name}: deltas {got!r:.80} are no beginning of {wanted!r:.80}"
        if result.outcome == "ok" and (result.text != wanted or (result.task.stream and got != wanted)):
            yield f"{name}: text {result.text!r:.80}, deltas {got!r:.80}"
        if isinstance(result.error, StreamInterruptedError):
            error = result.error
            if error.partial_text != got or [delta.text for delta in error.deltas] != result.pieces or got == "":
                yield f"{name}: partial text {error.partial_text!r:.80}, the {result.task.manner} consumer got {got!r:.80}"
        elif result.pieces and result.outcome not in ("ok", "left", "raised", "cancelled"):
            yield f"{name}: {result.outcome} after {len(result.pieces)} deltas"


# -- 4: money --------------------------------------------------------------------------------------------


def as_sent(request: dict[str, Any], result: Result) -> dict[str, Any]:
    """The request; the emulator does not log the text of a stream that is whole under a wrong length."""
    if not (request["stream"] and request["fault"] == "short_body"):
        return request
    vendor, task = BY_PROVIDER[request["provider"]], result.task
    given, made = answers.tokens(task.prompt), answers.tokens(task.answer)
    split = {} if vendor.extra else {"input_tokens": given}
    return request | {"usage": {"total_tokens": given + made + vendor.extra, **split}, "answered": task.answer}


def tokens_of(request: Mapping[str, Any]) -> int:
    """What the vendor bills for a request: its usage, or the text where the stream broke before the usage."""
    return int(request["usage"]["total_tokens"]) if request["usage"] else answers.tokens(request["answered"])


def billed(request: Mapping[str, Any]) -> Decimal:
    """The price of the same."""
    usage = request["usage"]
    price = BY_PROVIDER[request["provider"]].price
    assert price.input is not None and price.output is not None
    given = usage.get("input_tokens", usage.get("prompt_tokens", 0)) if usage else 0
    return (given * price.input + (tokens_of(request) - given) * price.output) / 1_000_000


def money(run: Run) -> Iterator[str]:
    """Costs are the vendors' own figures, and no call's bill is below what it was billed."""
    confirmed, theirs = Decimal(0), Decimal(0)
    for result in run.results:
        requests = [as_sent(request, result) for request in run.seen.requests[result.task.name]]
        if result.outcome == "ok" and result.reply is not None:
            yield from _cost_of_reply(result, requests)
            if result.reply.usage is not None:
                confirmed += result.reply.cost.low if result.reply.cost else 0
                theirs += next((billed(each) for each in reversed(requests) if _answered(each, result)), Decimal(0))
        for notice in run.seen.finished[result.task.name]:
            most = _high(notice.bill.confirmed if notice.bill else None) + _high(notice.bill.possible if notice.bill else None)
            asked = sum(map(billed, requests), Decimal(0))
            if most < asked:
                yield f"{result.task.name} ({result.outcome}): billed {asked}, the bill says {notice.bill}"
    if confirmed != theirs:
        yield f"confirmed cost {confirmed}, by the vendors' log {theirs}"
    yield from _budget(run)


def _budget(run: Run) -> Iterator[str]:
    """Never above the cap; at rest nothing is reserved but what is unknown; what was spent is what the answers cost."""
    books = run.books
    if books.most > Decimal(CAP):
        yield f"{books.most} of the budget of {CAP} were used at one time"
    if books.reserved != books.unknown:
        yield f"{books.reserved} are reserved at rest, and {books.unknown} of it unknown"
    # On a busy machine a Redis may be late more often than it is killed.
    if run.seen.store != ["degraded", "restored"] * max(books.shared, len(run.seen.store) // 2):
        yield f"the store was {run.seen.store}"
    if run.children or books.shared:  # a child has a copy of the account, a killed Redis lost it
        return
    attempts = [attempt for result in run.results for attempt in attempts_of(run, result)]
    known = [each for each in attempts if each.failure is None and each.cost is not None and not each.cost.estimated]
    cost = sum((each.cost.high for each in known if each.cost is not None), Decimal(0))
    if books.samples and books.spent - books.spent_before != cost:
        yield f"{books.spent - books.spent_before} were settled, the answers cost {cost}"
    paid = [each for each in attempts if each.billing != "none" and each not in known]
    if books.samples and bool(paid) != (books.unknown > books.unknown_before):
        yield f"{len(paid)} attempts of unknown cost, {books.unknown - books.unknown_before} reserved for them"


def _answered(request: Mapping[str, Any], result: Result) -> bool:
    return result.reply is not None and request["provider"] == result.reply.provider and bool(request["usage"])


def _high(cost: Cost | tuple[Cost, ...] | None) -> Decimal:
    return cost.high if isinstance(cost, Cost) else Decimal(0)


def _cost_of_reply(result: Result, requests: list[dict[str, Any]]) -> Iterator[str]:
    """Usage is the pure function of prompt and answer that the emulator computes, and the cost its price."""
    reply, task = result.reply, result.task
    assert reply is not None
    vendor = BY_PROVIDER[reply.provider or ""]
    given, made = answers.tokens(task.prompt), answers.tokens(task.answer)
    total = given + made + vendor.extra
    wanted = Usage(None, None, total) if vendor.extra else Usage(given, made, total)
    cost, true = reply.cost, vendor.price.cost(wanted)
    if task.stream and reply.usage is None:  # it came later than the flow waits for it behind the end mark
        if cost is None or true is None or not cost.estimated or not cost.low <= true.low <= cost.high:
            yield f"{task.name}: estimated cost {cost}, really {true}"
        return
    if reply.usage != wanted:
        yield f"{task.name}: usage {reply.usage}, not {wanted}"
    if not any(_answered(request, result) for request in requests):
        yield f"{task.name}: {reply.provider} logged no such answer"
    if cost is None or not cost.exact or cost != true:
        yield f"{task.name}: cost {cost}, really {true}"


# -- 5, 6: work and success ------------------------------------------------------------------------------


def bounded_work(run: Run) -> Iterator[str]:
    """Three attempts, two of them paid; one request each and one more for a stale connection; few at the same place."""
    again = 0
    for result in run.results:
        attempts = attempts_of(run, result)
        paid = sum(attempt.billing != "none" for attempt in attempts)
        most = len(attempts) + sum(attempt.resent for attempt in attempts)
        requests = len(run.seen.requests[result.task.name])
        if len(attempts) > 3 or paid > 2 or requests > most:
            yield f"{result.task.name}: {len(attempts)} attempts, {paid} paid, {requests} requests"
        again += len(attempts) - len({attempt.deployment for attempt in attempts})
    if again > 0.2 * len(run.results) + run.seconds + 1:
        yield f"{again} attempts at a deployment that had failed before in the same call"
    if run.most_in_flight > LIMITS.max_in_flight:
        yield f"{run.most_in_flight} calls in flight at one deployment"


def bound(run: Run) -> float:
    """The theoretical success rate S of this mix of plain and streamed calls."""
    table = weights(run.share)
    odds = {stream: Odds.of(table, stream).success(run.vendors) for stream in (False, True)}
    counted = [odds[result.task.stream] for result in _counted(run)]
    return sum(counted) / len(counted) if counted else 1.0


def _counted(run: Run) -> list[Result]:
    return [result for result in run.results if not result.deliberate and result.task.manner == "read"]


def success(run: Run) -> float:
    """The observed rate, deliberate ends set aside."""
    counted = _counted(run)
    return sum(result.outcome == "ok" for result in counted) / len(counted) if counted else 1.0


def slack(run: Run) -> float:
    """Three standard deviations of the bound."""
    rate = bound(run)
    return 3 * math.sqrt(rate * (1 - rate) / max(1, len(_counted(run))))


def success_at_bound(run: Run) -> Iterator[str]:
    """As many calls succeed as the weights allow, and none is given up while another candidate was left."""
    if run.share is None and success(run) < bound(run) - slack(run):
        yield f"success {success(run):.4f} is below the bound {bound(run):.4f} - {slack(run):.4f}"
    for result in run.results:
        if result.outcome != "ok" and not result.deliberate and not result.pieces and _gave_up(run, result):
            yield f"{result.task.name} gave up with {result.outcome}: {result.error}"


def _gave_up(run: Run, result: Result) -> bool:
    """Whether attempts, money, time and a candidate were all left."""
    attempts = attempts_of(run, result)
    paid = sum(attempt.billing != "none" for attempt in attempts)
    known = {attempt.deployment for attempt in attempts} | run.seen.skipped[result.task.name]
    time_left = TIMEOUTS.total - result.seconds > 0.6
    return len(attempts) < 3 and paid < 2 and time_left and len(known) < len(VENDORS)


def dead_left_alone(run: Run) -> Iterator[str]:
    """A vendor that is down gets at most two requests a second, after those that were on the way when it went."""
    if not run.dead:
        return
    begun, ended = run.dead[0][1], run.dead[1][1] if len(run.dead) > 1 else run.dead[0][1] + run.seconds
    times = dead_requests(run)
    more = len(times) - DEAD_FREE - LIMITS.max_in_flight
    if more > DEAD_PER_SECOND * (ended - begun):
        yield f"{len(times)} requests reached the dead vendor in {ended - begun:.1f} s"


def dead_requests(run: Run) -> list[float]:
    """When the dead vendor was asked."""
    return sorted(each["at"] for requests in run.seen.requests.values() for each in requests if each["fault"] == "hang")


# -- 7, 8, 9: afterwards ---------------------------------------------------------------------------------


def no_leak(run: Run) -> Iterator[str]:
    """At rest only idle connections are open; after closing nothing is."""
    there, idle = run.open_at_rest
    if there > idle:
        yield f"{there} connections are open at the vendors, {idle} of them idle here"
    if run.open_closed:
        yield f"{run.open_closed} connections are open after router.close()"
    for name in ("threads", "fds"):
        before, after = getattr(run.before, name), getattr(run.closed, name)
        if before is not None and after > before:
            yield f"{after} {name} after the run, {before} before it"
    yield from run.complaints


def state_consistent(run: Run) -> Iterator[str]:
    """No place is lost, every breaker closes soon, and the next calls succeed."""
    for name, state in run.states.items():
        if state["in_flight"] or name in run.probes_out:
            yield f"{name} at rest: {state}, {'a' if name in run.probes_out else 'no'} probe is out"
    for name, free in run.free_places.items():
        if free != LIMITS.max_connections:
            yield f"{name} has {free} free places of {LIMITS.max_connections}"
    if run.healing is None or run.healing > run.healing_bound:
        yield f"healed after {run.healing} s, at most {run.healing_bound:.1f} s allowed"
    for result in run.after:
        if result.outcome != "ok" or result.text != result.task.answer:
            yield f"{result.task.name} after the storm: {result.outcome} {result.error}"


def logs(run: Run) -> Iterator[str]:
    """One final event a call, one event an attempt, a request for each attempt; no key and no prompt anywhere."""
    events, silent = run.ear.events, unbegun(run)
    for result in run.results:
        name, attempts = result.task.name, attempts_of(run, result)
        if name in silent:
            continue
        if events["call finished", name] != 1:
            yield f"{name}: {events['call finished', name]} final events"
        if not events["attempt started", name] == events["attempt finished", name] == len(attempts):
            yield f"{name}: {len(attempts)} attempts, {events['attempt finished', name]} in the log"
        yield from _requests_fit(run, result, attempts)
        if result.shown:
            yield f"{name}: the error shows {result.shown}"
    yield from run.ear.hits


def _requests_fit(run: Run, result: Result, attempts: tuple[Attempt, ...]) -> Iterator[str]:
    """A stale connection may have been closed before its vendor could read what was then sent again."""
    sent = [attempt for attempt in attempts if attempt.failure is None or attempt.failure.kind not in UNSENT]
    resent = sum(attempt.resent for attempt in sent)
    got = len(run.seen.requests[result.task.name])
    if got > len(sent) + resent or (got < len(sent) and not result.deliberate):
        yield f"{result.task.name} ({result.outcome}): {len(sent)} + {resent} requests by the log, {got} at the vendors"


def faults_delivered(run: Run) -> Iterator[str]:
    """Every fault of the table was met; those of streams by streams, where at least ten were to be expected."""
    table = weights(run.share)
    streamed = sum(bool(request["stream"]) for requests in run.seen.requests.values() for request in requests)
    for name, (plain, stream) in delivered(run).items():
        expected = streamed * table[name] / sum(table.values())
        if not plain + stream or (name.startswith("stream_") and expected >= EXPECTED and not stream):
            yield f"{name} was never delivered"


def delivered(run: Run) -> dict[str, tuple[int, int]]:
    """How often each fault was really delivered, to plain calls and to streams."""
    counts = {name: [0, 0] for name in FAULTS if name != GOOD}
    for requests in run.seen.requests.values():
        for request in requests:
            name = request["fault"]
            if name in counts and (name != "stale_drop" or request["ended"] == "fault"):
                counts[name][request["stream"]] += 1
    return {name: (plain, stream) for name, (plain, stream) in counts.items()}


def own_answers(run: Run) -> Iterator[str]:
    """A forked child gets its own answers, or typed errors, in time; and so does the parent (the other checks)."""
    for call in run.children:
        if isinstance(call, str):
            yield call
        elif not call["right"] or call["outcome"] == "untyped":
            yield f"child: {call}"
        else:
            late = Late("child", call["begun"] + TIMEOUTS.total, call["begun"] + call["seconds"], LATE)
            if not late.excused(run):
                yield f"child too late: {call}"


# What a machine that is too busy for the profile can break; everything else holds however slow it is.
TIMED_CHECKS = frozenset(("2 in time", "6 success at the bound", "6 a dead vendor is left alone", "8 state consistent"))
CHECKS: dict[str, Check] = {
    "1 exactly one outcome": one_outcome,
    "2 in time": in_time,
    "3 exact text": exact_text,
    "4 money": money,
    "5 bounded work": bounded_work,
    "6 success at the bound": success_at_bound,
    "6 a dead vendor is left alone": dead_left_alone,
    "7 no leak": no_leak,
    "8 state consistent": state_consistent,
    "9 logs": logs,
    "every fault delivered": faults_delivered,
    "forked children": own_answers,
}


def violations(run: Run) -> dict[str, list[str]]:
    """What every check found."""
    return {name: list(check(run)) for name, check in CHECKS.items()}
