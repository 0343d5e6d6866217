"""Stores against a small model of reliability S11: whatever is taken, settled, given up or forgotten, in any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

import cnroute
from cnroute.accounts import Charge, Claim, Hold, Period
from cnroute.testing import FakeClock

HOUR = 3600.0
AMOUNTS = st.decimals(0, 12, places=3)
CAPS = {"router": Decimal(30), "x": Decimal(12), "y": Decimal(12), "ever": Decimal(60)}


class Model:
    """What was spent, what is unknown and what runs, by account and window: sums of plain lists."""

    def __init__(self) -> None:
        self.spent: dict[Any, list[Decimal]] = defaultdict(list)
        self.unknown: dict[Any, list[Decimal]] = defaultdict(list)
        self.running: dict[Any, dict[int, Decimal]] = defaultdict(dict)

    def used(self, key: Any) -> Decimal:
        return sum(self.spent[key], Decimal(0)) + self.reserved(key)

    def reserved(self, key: Any) -> Decimal:
        return sum(self.unknown[key], Decimal(0)) + sum(self.running[key].values(), Decimal(0))

    def grants(self, keys: list[Any], amount: Decimal) -> bool:
        return all(self.used(key) + amount <= CAPS[key[0]] for key in keys)

    def take(self, number: int, keys: list[Any], amount: Decimal) -> None:
        for key in keys:
            self.running[key][number] = amount

    def end(self, number: int, keys: list[Any], spent: Decimal | None) -> None:
        for key in keys:
            amount = self.running[key].pop(number, None)
            if amount is not None and spent is None:
                self.unknown[key].append(amount)
            elif amount is not None and spent is not None:
                self.spent[key].append(spent)


class BudgetMachine(RuleBasedStateMachine):
    """A store and the model, asked the same."""

    holds = Bundle("holds")
    make: Callable[[], Any] = cnroute.MemoryStore
    hourly = True

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(wall=1_790_000_000 - 1_790_000_000 % HOUR)
        self.store = self.make()
        self.model = Model()
        self.taken: dict[Hold, tuple[int, list[Any]]] = {}
        self.excess = Decimal(0)

    def key(self, account: str) -> Any:
        window = 0 if account == "ever" or not self.hourly else self.clock.time() // HOUR
        return account, window

    @rule(target=holds, amount=AMOUNTS, accounts=st.lists(st.sampled_from(sorted(CAPS)), min_size=1, max_size=3, unique=True))
    def take(self, amount: Decimal, accounts: list[str]) -> Any:
        keys = [self.key(account) for account in accounts]
        period = Period("hour") if self.hourly else Period(None)
        charges = tuple(
            Charge((account,), account, CAPS[account], Period(None) if account == "ever" else period, amount)
            for account in accounts
        )
        hold = Hold(self.store, Claim(charges), self.clock)
        denial = self.store.take(hold)
        assert (denial is None) == self.model.grants(keys, amount), denial
        assert hold.degraded is None
        if denial is not None:
            assert denial.reason == "budget_exceeded"
            hold.end()
            return None
        self.taken[hold] = len(self.taken), keys
        self.model.take(self.taken[hold][0], keys, amount)
        return hold

    def end(self, hold: Hold | None, spent: Decimal | None) -> None:
        if hold is None or hold.ended:
            return
        for _ in range(2):
            hold.end()
        self.store.close()
        self.model.end(*self.taken[hold], spent)

    @rule(hold=consumes(holds), part=st.sampled_from((0, 1, 2, 3)))
    def settle(self, hold: Hold | None, part: int) -> None:
        """From nothing to half as much again as was reserved."""
        if hold is not None:
            amount = hold.claim.charges[0].amount
            spent = amount * part / 2
            self.excess += max(Decimal(0), spent - amount)
            hold.begin()
            hold.settle(spent, None)
            hold.settle(Decimal(99), None)
            self.end(hold, spent)

    @rule(hold=consumes(holds))
    def nobody_knows(self, hold: Hold | None) -> None:
        if hold is not None:
            hold.begin()
            self.end(hold, None)

    @rule(hold=consumes(holds))
    def never_sent(self, hold: Hold | None) -> None:
        self.end(hold, Decimal(0))

    @rule(minutes=st.sampled_from((1, 20, 59, 61, 300)))
    def pass_time(self, minutes: int) -> None:
        self.clock.advance(minutes * 60)

    @invariant()
    def agree(self) -> None:
        seen = {each.account[0]: each for each in self.store.balances(self.clock)}
        for account, cap in CAPS.items():
            key = self.key(account)
            spent = sum(self.model.spent[key], Decimal(0))
            if account in seen:
                assert (seen[account].spent, seen[account].reserved) == (spent, self.model.reserved(key))
                assert seen[account].spent + seen[account].reserved <= cap + self.excess
            else:
                assert self.model.used(key) == 0

    def teardown(self) -> None:
        for hold in self.taken:
            self.end(hold, Decimal(0) if not hold.begun else None)
        assert not any(self.model.running.values())
        self.agree()
        self.store.close()


class ForkingMachine(BudgetMachine):
    """As a forked child sees it: what runs in the parent is the parent's, what was spent stays."""

    @rule()
    def fork(self) -> None:
        self.store.forked()
        self.model.running.clear()


QUICK = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
TestMemory = BudgetMachine.TestCase
TestMemory.settings = QUICK
TestForked = ForkingMachine.TestCase
TestForked.settings = QUICK


def test_redis_keeps_the_same_accounts(redis_server: Any) -> None:
    """The scripts and the model agree, step by step; windows are Redis's own and so last for ever here."""
    numbers = iter(range(10**9))

    class OverRedis(BudgetMachine):
        hourly = False

        def make(self) -> Any:  # type: ignore[override]
            return cnroute.RedisStore(redis_server.url, prefix=f"m{next(numbers)}", timeout=10)

    run_state_machine_as_test(OverRedis, settings=settings(QUICK, max_examples=8, stateful_step_count=20))
