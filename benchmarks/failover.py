"""What does a failover cost, and what a deployment whose breaker is open?

The first of two deployments refuses, with 503 or with an error inside of a 200, and the second answers: two exchanges, so
an ideal router needs two bare calls (U). The breaker is set so that it stays closed, else the first would not be asked.
An open breaker is measured in memory, where a hundredth of a call can be seen, and is given in percent of U.

    python benchmarks/failover.py --check
"""

from __future__ import annotations

import functools
import sys

from harness import prove, samples, script, subjects
from harness.rounds import Ratio, Size, compare, repeated, seconds
from harness.script import Figure
from harness.subjects import MemoryTransport
from harness.vendor import Vendor
from harness.yardstick import Urllib3

import cnroute

DIALECTS = (samples.MINIMAX, samples.DASHSCOPE)
REFUSALS = ("503", "error-in-200")
# Never opens by what is measured here; the 503 says `Retry-After: 0`, so nothing cools down either.
PATIENT = cnroute.Breaker(failures=10**9, min_calls=10**9)
# Opens at once, for longer than this takes.
STRICT = cnroute.Breaker(failures=1, open_for=3600, max_open=3600)


class Second(MemoryTransport):
    """In memory, a vendor whose deployment `first` refuses."""

    def bind(self, deployment: cnroute.Deployment) -> MemoryTransport:
        """The transport of one deployment."""
        good = deployment.name != "first"
        return MemoryTransport(samples.answer(samples.MINIMAX) if good else samples.refusal(samples.MINIMAX))


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Both refusals in both dialects; an open breaker in one."""
    figures = [_failover(size, vendor, dialect, refusal) for dialect in DIALECTS for refusal in REFUSALS]
    return [*figures, _open_breaker(size, vendor)]


def _failover(size: Size, vendor: Vendor, dialect: str, refusal: str) -> Figure:
    deployments = [subjects.deployment(name, dialect, vendor.base(name)) for name in (refusal, "plain")]
    with subjects.router(deployments, policy="ordered", breaker=PATIENT) as router:
        all_of = {
            "urllib3": functools.partial(Urllib3().call, vendor.endpoint("plain", dialect), dialect),
            "cnroute": functools.partial(subjects.text_of, router),
        }
        prove.same_text(all_of, samples.text())
        prove.keeps_connection(all_of, vendor, size)
        works = {name: repeated(work) for name, work in all_of.items()}
        ratio = compare(works, "urllib3", size, size.calls)["cnroute"]
        _expect(router, [refusal, "plain"])
    return Figure.of(f"{refusal} -> 200, {dialect}", ratio, "failover", "calls")


def _open_breaker(size: Size, vendor: Vendor) -> Figure:
    """The CPU of a call whose first deployment's breaker is open, less that of one whose first is well, in percent of U."""
    by_hand = functools.partial(Urllib3().call, vendor.endpoint("plain", samples.MINIMAX), samples.MINIMAX)
    deployments = [subjects.deployment(name, samples.MINIMAX, "http://127.0.0.1:1") for name in ("first", "second")]
    given = {"policy": "ordered", "breaker": STRICT}
    routers = [
        subjects.router(deployments, transport=transport, **given)
        for transport in (Second(), MemoryTransport(samples.answer(samples.MINIMAX)))
    ]
    with routers[0] as broken, routers[1] as well:
        _expect(broken, ["first", "second"])
        _expect(broken, ["second"])
        _expect(well, ["first"])
        routed = {name: functools.partial(subjects.text_of, router) for name, router in (("open", broken), ("closed", well))}
        works = {"urllib3": by_hand, **routed}
        prove.same_text(works, samples.text())
        found = seconds({name: repeated(work) for name, work in works.items()}, size, size.times(4))
    extra = [one - other for one, other in zip(found["open"], found["closed"], strict=True)]
    ratio = Ratio.of(extra, found["urllib3"])
    note = f"{ratio.microseconds:.2f} of {ratio.base:.1f} us; quartiles of a run {100 * ratio.low:.2f} to {100 * ratio.high:.2f}"
    return Figure("open breaker", 100 * ratio.value, "% of U", "open breaker", note)


def _expect(router: cnroute.Router, deployments: list[str]) -> None:
    """The next call asks exactly these."""
    asked = [attempt.deployment for attempt in router.chat("你好", model="chat").attempts]
    if asked != deployments:
        raise prove.Unfair(f"{asked} were asked, not {deployments}")


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
