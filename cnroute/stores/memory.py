"""The accounts of one process.

Rules of this file
- At every instant spent + reserved <= cap: a claim is granted whole under one lock, or not at all.
- An account's `Books` are replaced, never changed, and know who holds what of them: giving back twice, or once after
  an interrupt between any two steps, changes nothing that is counted.
- `give_back` waits for no lock that its own thread may hold; what it could not settle, the next claim settles.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal

import attrs

from cnroute.accounts import Account, Balance, Charge, Claim, Clocks, Denial, Hold, Window
from cnroute.money import EXACT, ZERO, plain
from cnroute.stores.minutes import Minutes

# A window stays known for so many seconds after its end, should the wall clock be put back.
_REMEMBERED = 7200.0
_SWEEP_EVERY = 256
_Key = tuple[Account, float]


@attrs.frozen(eq=False)
class Books:
    """One account in one window."""

    until: float
    spent: Decimal = ZERO
    unknown: Decimal = ZERO
    running: Decimal = ZERO
    holds: Mapping[Hold, Decimal] = attrs.field(factory=dict)

    @property
    def reserved(self) -> Decimal:
        """What counts as spent and may yet turn out to be less."""
        return EXACT.add(self.running, self.unknown)

    def fits(self, charge: Charge) -> bool:
        """Whether the cap allows the charge."""
        return EXACT.add(EXACT.add(self.spent, self.reserved), charge.amount) <= charge.cap

    def reserving(self, hold: Hold, amount: Decimal) -> Books:
        """These books with one more running hold."""
        return attrs.evolve(self, running=EXACT.add(self.running, amount), holds={**self.holds, hold: amount})

    def settling(self, hold: Hold) -> Books:
        """These books without the hold; what it spent, or may have spent, stays."""
        amount = self.holds.get(hold)
        if amount is None:
            return self
        spent = EXACT.add(self.spent, hold.spent) if hold.spent is not None else self.spent
        unknown = self.unknown if hold.spent is not None else EXACT.add(self.unknown, amount)
        left = {other: kept for other, kept in self.holds.items() if other is not hold}
        return Books(self.until, spent, unknown, EXACT.subtract(self.running, amount), left)

    def alone(self) -> Books:
        """These books in a forked child: what runs in the parent is the parent's."""
        return attrs.evolve(self, running=ZERO, holds={})


class MemoryStore:
    """Budgets and rates of this process alone, the default of a router. A forked child goes on with a copy.

    Several routers of one process share what they count when they are given the same store.
    """

    remote = False

    def __init__(self) -> None:
        self._books: dict[_Key, Books] = {}
        self._minutes: dict[Account, Minutes] = {}
        self._takes = 0
        self._made()

    def _made(self) -> None:
        self._lock = threading.Lock()
        self._ended: deque[Hold] = deque()

    def forked(self) -> None:
        """In a forked child: new locks; what the parent's calls hold does not count here."""
        self._made()
        self._books = {key: books.alone() for key, books in self._books.items()}

    def close(self) -> None:
        """Nothing is left to be said."""

    # -- taking ------------------------------------------------------------------------------------------

    def take(self, hold: Hold) -> Denial | None:
        """Everything that the claim asks for, or nothing and the reason."""
        with self._lock:
            self._settle()
            now = hold.clock.time()
            self._sweep(now)
            found = [(charge, charge.period.around(now)) for charge in hold.claim.charges]
            denial = self._budgets_deny(found, now) or self._rate_denies(hold)
            if denial is None:
                self._grant(hold, found)
            return denial

    def _budgets_deny(self, found: list[tuple[Charge, Window]], now: float) -> Denial | None:
        for charge, window in found:
            books = self._books.get((charge.account, window[0])) or Books(window[1])
            if not books.fits(charge):
                return over_budget(charge, books.spent, books.reserved, window[1] - now)
        return None

    def _rate_denies(self, hold: Hold) -> Denial | None:
        draft = hold.claim.draft
        minutes = None if draft is None else self._minutes.get(draft.account)
        return None if draft is None or minutes is None else minutes.denies(draft, hold.clock.monotonic())

    def _grant(self, hold: Hold, found: list[tuple[Charge, Window]]) -> None:
        draft = hold.claim.draft
        # Noted before anything is taken: whoever ends the hold after an interrupt gives back what is found there.
        hold.parts = [(charge.account, window[0]) for charge, window in found]
        for charge, (start, until) in found:
            key = charge.account, start
            self._books[key] = (self._books.get(key) or Books(until)).reserving(hold, charge.amount)
        if draft is not None:
            self._minutes.setdefault(draft.account, Minutes()).draw(hold)

    def _sweep(self, now: float) -> None:
        """Forget windows that ended long ago, now and then."""
        self._takes += 1
        if self._takes % _SWEEP_EVERY == 0:
            self._books = {key: books for key, books in self._books.items() if books.until + _REMEMBERED > now}

    # -- giving back -------------------------------------------------------------------------------------

    def give_back(self, hold: Hold) -> None:
        """Settle the hold, now if nobody is at the books, else with the next claim."""
        self._ended.append(hold)
        while self._ended and not self._lock.locked():
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        while self._ended:
            hold = self._ended[0]
            for key in hold.parts:
                books = self._books.get(key)
                if books is not None:
                    self._books[key] = books.settling(hold)
            draft = hold.claim.draft
            if draft is not None and draft.account in self._minutes:
                self._minutes[draft.account].correct(hold)
            self._ended.popleft()

    # -- looking -----------------------------------------------------------------------------------------

    def foresee(self, claim: Claim, clock: Clocks) -> Denial | None:
        """Which budget would deny the claim now, if any; nothing is taken."""
        with self._lock:
            self._settle()
            now = clock.time()
            return self._budgets_deny([(charge, charge.period.around(now)) for charge in claim.charges], now)

    def balances(self, clock: Clocks) -> Iterable[Balance]:
        """Every account in its present window."""
        with self._lock:
            self._settle()
            now = clock.time()
            return [
                Balance(account, books.spent, books.reserved, books.unknown, books.until)
                for (account, start), books in self._books.items() if start <= now < books.until
            ]


def over_budget(charge: Charge, spent: Decimal, reserved: Decimal, left: float) -> Denial:
    """The words of a refusal by budget; `left` are the seconds until its window ends."""
    return Denial(
        "budget_exceeded",
        f"it could cost up to {plain(charge.amount)}; of the budget of {charge.title} "
        f"{plain(spent)} is spent and {plain(reserved)} reserved",
        None if charge.period.per is None else max(0.0, left),
        {"worst": plain(charge.amount), "budget": charge.title, "cap": plain(charge.cap), "spent": plain(spent),
         "reserved": plain(reserved)},
    )
