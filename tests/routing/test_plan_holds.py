"""`plan` equals what then happens on healthy vendors, in random configurations.

To replay a configuration: python -m tests.routing.test_plan_holds SEED
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import cnroute
from cnroute.http import HttpResponse
from cnroute.routing.plan import Plan
from cnroute.testing import FakeClock, FakeTransport, SentRequest
from tests.flow import toy
from tests.simulation import vendors

# What a dialect of `vendors` is called by: provider, model, options.
DIALECTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "yi": ("dashscope", "yi-large", {}), "qwen": ("dashscope", "qwen-plus", {}),
    "v2": ("minimax-v2", "MiniMax-Text-01", {}), "pro": ("minimax-pro", "abab6.5s-chat", {"group_id": "17"}),
    "toy": ("toy", "toy-1", {}),
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
# The class that a call raises which everybody refused for one reason (contract, section 3).
CLASSES = {
    "unsupported": cnroute.UnsupportedRequestError, "budget_exceeded": cnroute.BudgetExceededError,
    "price unknown": cnroute.BudgetExceededError, "context_length": cnroute.ContextLengthError,
    "auth": cnroute.AuthenticationError, "request_too_large": cnroute.BadRequestError,
}
# What random configurations must have met at least once, or they prove nothing.
MET = {"answered", "refused by all", "unsupported", "context_length", "budget_exceeded", "price unknown", "nested", "ordered",
       "weighted", "cheapest", "fastest", "not the first as written"}  # fmt: skip


class Draw:
    """One random configuration: a router over healthy vendors, and calls to it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.dice = random.Random(seed + 1)
        self.met: Counter[str] = Counter()
        kinds = [self.rng.choice(list(DIALECTS)) for _ in range(self.rng.choice((1, 2, 3, 4, 6)))]
        self.dialects = {f"{kind}{number}": kind for number, kind in enumerate(kinds)}
        host = cnroute.PluginHost(autoload=False)
        host.register(toy.ToyProvider(models=(cnroute.ModelInfo("toy-1", 4000, 512),)))
        self.router = cnroute.Router(
            [self._deployment(name) for name in self.dialects], self._routes(), policy=self._policy(),
            transport=FakeTransport(self._answer, advance=self._take_time), plugins=host, clock=self.clock,
            random=self.dice.random, exchange={"USD": {"rate": "7.1", "as_of": "2026-01-01"}}, budgets=self._budgets(),
        )

    def _policy(self) -> str:
        return self.rng.choice(("ordered", "weighted", "cheapest", "fastest"))

    def _price(self) -> cnroute.Price | None:
        rng = self.rng
        currency, rates = rng.choice(("CNY", "CNY", "USD")), ("0", "0.8", "1", "12.5", "20")
        if rng.random() < 0.2:
            return cnroute.Price(currency, input=rng.choice((None, "1")), output=None, as_of="2026-01-01")
        tiers = [{"up_to": 500, "input": rng.choice(rates), "output": rng.choice(rates)},
                 {"input": rng.choice(rates), "output": rng.choice(rates)}]  # fmt: skip
        if rng.random() < 0.3:
            return cnroute.Price(currency, tiers=tiers, as_of="2026-01-01")
        return cnroute.Price(currency, input=rng.choice(rates), output=rng.choice(rates), as_of="2026-01-01")

    def _deployment(self, name: str) -> cnroute.Deployment:
        provider, model, options = DIALECTS[self.dialects[name]]
        return cnroute.Deployment(
            name, provider, model, api_key=toy.KEY, options=options, price=self._price(),
            defaults=self.rng.choice(({}, {}, {"max_tokens": 300})),
        )

    def _budgets(self) -> list[cnroute.Budget]:
        rng = self.rng
        by = rng.choice(("router", "route", "deployment", "metadata:tenant"))
        if rng.random() < 0.6:
            return []
        return [cnroute.Budget(rng.choice(("0.001", "0.05", "3")), per=rng.choice((None, "day")), by=by)]

    def _routes(self) -> dict[str, Any]:
        return {"chat": self._route(list(self.dialects), 2), "few": self._route(list(self.dialects)[:2], 0)}

    def _route(self, names: list[str], depth: int) -> cnroute.Route:
        rng, policy = self.rng, self._policy()
        self.met[policy] += 1
        if policy == "weighted":
            weights = {name: rng.choice((0, 1, "2.5")) for name in names}
            return cnroute.Route(policy=policy, targets=weights | {names[0]: 1})
        targets: list[Any] = rng.sample(names, len(names))
        if depth and len(names) > 1 and rng.random() < 0.5:
            cut = rng.randrange(1, len(targets))
            nested = self._route(targets[cut:], depth - 1)
            targets = [*targets[:cut], nested]
            rng.shuffle(targets)
            self.met["nested"] += 1
        return cnroute.Route(policy=policy, targets=targets)

    # -- the vendors -----------------------------------------------------------------------------------------

    def _take_time(self, step: str, sent: SentRequest) -> None:
        self.clock.advance(self.rng.uniform(0.05, 3))

    def _answer(self, sent: SentRequest) -> HttpResponse:
        dialect = self.dialects[str(sent.deployment)]
        body = vendors.dumps(vendors.PLAIN[dialect](vendors.good(dialect, self.rng, "*", False)))
        return HttpResponse(200, {"content-type": "application/json"}, body)

    # -- calls -----------------------------------------------------------------------------------------------

    def call(self) -> None:
        """A forecast, then the call itself with the same luck; both must say the same."""
        arguments = self._arguments()
        luck = self.dice.getstate()
        plan = self.router.plan(**arguments)
        self.dice.setstate(luck)
        self.met.update(each.rule for each in plan.excluded)
        if not plan.candidates:
            self._refused(plan, arguments)
            return
        reply = self.router.chat(**arguments)
        assert reply.plan is not None
        self.met["answered"] += 1
        self.met["not the first as written"] += plan.candidates[0].deployment != next(iter(self.dialects))
        ranked = [each.deployment for each in plan.candidates]
        assert (reply.deployment, len(reply.attempts)) == (ranked[0], 1)
        assert [each.deployment for each in reply.plan.candidates if each.deployment in ranked] == ranked
        self._same_exclusions(plan, reply.plan)

    def _refused(self, plan: Plan, arguments: dict[str, Any]) -> None:
        kinds = {CLASSES[each.rule] for each in plan.excluded}
        wanted = kinds.pop() if len(kinds) == 1 else cnroute.NoCandidateError
        with pytest.raises(cnroute.CallError) as caught:
            self.router.chat(**arguments)
        assert (type(caught.value), caught.value.attempts) == (wanted, ())
        self.met["refused by all"] += 1
        self._same_exclusions(plan, caught.value.plan)
        told = {each.deployment for each in (*caught.value.plan.excluded, *caught.value.plan.skipped)}
        assert told == {each.deployment for each in plan.excluded}

    def _same_exclusions(self, plan: Plan, after: Plan) -> None:
        """Everybody once; whoever was left out in the call stands as excluded in the forecast, for the same reason."""
        for each in (plan, after):
            names = [entry.deployment for entry in (*each.candidates, *each.excluded)]
            assert len(names) == len(set(names))
        assert {each.deployment for each in (*plan.candidates, *plan.excluded)} == {
            each.deployment for each in (*after.candidates, *after.excluded)
        }
        forecast = {each.deployment: (each.rule, each.reason, dict(each.inputs)) for each in plan.excluded}
        for each in (*after.excluded, *after.skipped):
            assert forecast[each.deployment] == (each.rule, each.reason, dict(each.inputs))

    def _arguments(self) -> dict[str, Any]:
        rng = self.rng
        given: dict[str, Any] = {
            "max_tokens": rng.choice((None, 16, 4000)), "temperature": rng.choice((None, 0, 0.7, 1.5)),
            "tools": rng.choice((None, None, TOOLS)), "seed": rng.choice((None, None, 7)), "stop": rng.choice((None, None, "。")),
            "web_search": rng.choice((None, None, None, True)), "max_cost": rng.choice((None, None, "0.01", "1")),
            "drop_unsupported": rng.choice((None, True)), "metadata": rng.choice((None, {"tenant": rng.choice("ab")})),
        }
        text = rng.choice(("你好", "hello " * 300, "长" * 12_000, "x" * 600_000 if rng.random() < 0.1 else "好"))
        name = rng.choice(("chat", "chat", "few", *self.dialects, "yi-large", "dashscope/qwen-plus"))
        name = name if name.partition("/")[2] != "qwen-plus" or "qwen" in self.dialects.values() else "chat"
        name = name if name != "yi-large" or "yi" in self.dialects.values() else "chat"
        return {"messages": text, "model": name, **{key: value for key, value in given.items() if value is not None}}


@contextlib.contextmanager
def drawn(seed: int) -> Iterator[Draw]:
    draw = Draw(seed)
    with draw.router:
        yield draw


def play(seeds: range) -> Counter[str]:
    met: Counter[str] = Counter()
    for seed in seeds:
        try:
            with drawn(seed) as draw:
                for _ in range(4):
                    draw.call()
                met.update(draw.met)
        except AssertionError as error:
            raise AssertionError(f"configuration {seed}: {error}") from error
    return met


def test_a_plan_is_what_then_happens() -> None:
    """120 random configurations, four calls each: who is asked, who is left out and why, or the error."""
    first = int(os.environ.get("CNROUTE_SEED", "0"))
    met = play(range(first, first + 120))
    assert MET - set(met) == set()


@pytest.mark.slow
def test_a_plan_is_what_then_happens_in_a_thousand_configurations() -> None:
    """The same in 1,000 configurations."""
    met = play(range(10_000, 11_000))
    assert MET - set(met) == set()
    assert met["answered"] > 1000


if __name__ == "__main__":
    print(play(range(int(sys.argv[1]), int(sys.argv[1]) + 1)))
