"""Days to be replayed: real routers on a virtual clock over vendors whose speed, faults and moods come from a seed.

The vendors answer a call in the same way whatever the policy is, so a day under another policy can be played for real
and held against its simulation.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import attrs

import cnroute
from cnroute.cli.logs import JsonLines
from cnroute.errors import error_for
from cnroute.failures import Failure
from cnroute.testing import FakeClock, FakeTransport, SentRequest
from tests.flow import toy

NOON = 1_790_000_000.0


@attrs.frozen
class Vendor:
    """Seconds for the first content and for each token, the share of failures, and the hours that are worse."""

    first: float
    per_token: float
    fails: float = 0.02
    bad_from: float = 0.0
    bad_to: float = 0.0
    price: str = "10"


VENDORS = {
    "a": Vendor(0.5, 0.010, 0.02, 0.3, 0.45, price="20"),
    "b": Vendor(0.9, 0.020, 0.06, price="4"),
    "c": Vendor(0.3, 0.004, 0.01, 0.8, 0.85, price="60"),
}
KINDS = ("rate_limit", "overloaded", "server_error", "server_error", "hang")


def config(policy: str = "ordered", **route: Any) -> dict[str, Any]:
    """The configuration of a day, as a mapping."""
    names = list(VENDORS)
    return {
        "router": {"timeouts": {"total": 120, "first_byte": 20}},
        "deployments": {
            name: {
                "provider": "toy", "model": "toy-1", "api_key": toy.KEY,
                "price": {"currency": "CNY", "input": vendor.price, "output": vendor.price, "as_of": "2026-01-01"},
            }
            for name, vendor in VENDORS.items()
        },
        "routes": {"chat": {"policy": policy, "targets": names, **route}},
    }


class World:
    """A day of `count` calls in 24 hours, played by a real router."""

    def __init__(self, seed: int, count: int, structure: dict[str, Any], streams: float = 0.3) -> None:
        rng = random.Random(seed)
        self.seed = seed
        self.clock = FakeClock(wall=NOON)
        self.spacing = 86_400 / count
        self.index = 0
        self.calls = [
            (rng.randint(20, 900), max(1, round(rng.lognormvariate(4.5, 0.8))), rng.random() < streams) for _ in range(count)
        ]
        self._asked: dict[str, int] = {}
        self._content = 0.0
        self._rest = 0.0
        self.router = cnroute.Router.from_config(
            structure, transport=FakeTransport(self._answer, advance=self._advance), plugins=toy.usual_host(), clock=self.clock,
            random=random.Random(seed + 1),
        )

    def play(self) -> None:
        """Every call, each at its time or when the one before it has ended."""
        for index, (given, _, stream) in enumerate(self.calls):
            self.index = index
            self.clock.advance(max(0.0, self.index * self.spacing - (self.clock.time() - NOON)))
            self._asked = {}
            with contextlib.suppress(cnroute.CallError):
                self._call("x" * (4 * given), stream)

    def _call(self, text: str, stream: bool) -> None:
        if not stream:
            self.router.chat(text, model="chat")
            return
        with self.router.stream(text, model="chat") as deltas:
            for _ in deltas:
                pass

    def _luck(self, name: str) -> random.Random:
        number = self._asked[name] = self._asked.get(name, 0) + 1
        return random.Random(f"{self.seed} {self.index} {name} {number}")

    def _answer(self, sent: SentRequest) -> Any:
        name = str(sent.deployment)
        vendor, luck, (given, made, stream) = VENDORS[name], self._luck(name), self.calls[self.index]
        place = (self.clock.time() - NOON) / 86_400
        bad = vendor.bad_from <= place < vendor.bad_to
        if luck.random() < (0.6 if bad else vendor.fails):
            return self._failure(luck, sent)
        slow = luck.lognormvariate(0, 0.25) * (2 if bad else 1)
        first, rest = vendor.first * slow, vendor.per_token * made * slow
        usage = [given, made, given + made]
        if not stream:
            self.clock.advance(first + rest)
            return {"text": "y", "finish": "stop", "usage": usage}
        self._content, self._rest = first, rest
        return [b'data: {"text": "y"}\n\n', b"data: " + json.dumps({"finish": "stop", "usage": usage}).encode() + b"\n\n"]

    def _failure(self, luck: random.Random, sent: SentRequest) -> Any:
        kind = luck.choice(KINDS)
        if kind == "hang":
            assert sent.deadline is not None
            self.clock.advance(max(0.0, min(sent.deadline.limits.first_byte or 0.0, sent.deadline.remaining())))
            raise error_for(Failure("first_byte_timeout", "silence"))
        self.clock.advance(luck.uniform(0.05, 0.4))
        return {"error": {"kind": kind}}

    def _advance(self, step: str, sent: SentRequest) -> None:
        if step == "read":
            self.clock.advance(self._content)
            self._content, self._rest = self._rest, 0.0


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """What a host writes that logs JSON lines at INFO."""
    lines, logger = io.StringIO(), logging.getLogger("cnroute.call")
    handler, level = logging.StreamHandler(lines), logger.level
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


def day(seed: int, count: int, structure: dict[str, Any], streams: float = 0.3) -> str:
    """The log of a day."""
    world = World(seed, count, structure, streams)
    with world.router, logged() as lines:
        world.play()
        return lines.getvalue()
