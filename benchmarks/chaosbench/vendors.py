"""Three emulated vendors in a process of their own, their faults, and what those faults must cost at most."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs

import cnroute
from chaosbench.canaries import KEY


@attrs.frozen
class Vendor:
    """One deployment. `extra`: tokens that the vendor counts beside prompt and answer (a bot's name and setting)."""

    name: str
    provider: str
    model: str
    price: cnroute.Price
    options: Mapping[str, str] = attrs.field(factory=dict)
    extra: int = 0

    def deployment(self, url: str) -> cnroute.Deployment:
        """The deployment that reaches this vendor."""
        return cnroute.Deployment(
            self.name, self.provider, self.model, api_key=KEY, base_url=url, price=self.price, options=self.options
        )


# MiniMax pro reports only a total, so its price must not depend on the split for costs to be exact.
VENDORS = (
    Vendor("yi", "dashscope", "yi-large", cnroute.Price("CNY", "20", "20")),
    Vendor("mm", "minimax-v2", "MiniMax-Text-01", cnroute.Price("CNY", "1", "8")),
    Vendor("pro", "minimax-pro", "abab6.5s-chat", cnroute.Price("CNY", "30", "30"), {"group_id": "17"}, extra=9),
)
PATHS = {"dashscope": "/dashscope/api/v1", "minimax-v2": "/minimax/v1", "minimax-pro": "/minimax/v1"}


@attrs.frozen
class Fault:
    """How often a fault comes, and how an attempt that meets it may end at worst, plain and streamed.

    `ok`; `none`: fails and cost nothing; `unknown`: fails before the first delta and may have cost something;
    `billed`: fails after the first delta; `again`: sent once more, and another draw decides.
    """

    weight: float
    plain: str
    stream: str


GOOD = "ok"
# Seconds before every answer, good or bad: without it two cores would time nothing but themselves, and if only good ones took
# their time, the bad ones of a burst would come first and look like a vendor that is down.
LATENCY = 0.05
# Weights of reliability.md, section 5. A fault of streams has its equivalent for plain requests in the emulator.
FAULTS = {
    GOOD: Fault(80, "ok", "ok"),
    "http_500": Fault(2, "unknown", "unknown"),
    "http_503": Fault(1, "none", "none"),
    "http_429": Fault(2, "none", "none"),
    "error_in_200": Fault(2, "none", "none"),
    "close": Fault(1, "unknown", "unknown"),
    "reset": Fault(1, "unknown", "unknown"),
    "hang:3": Fault(1, "unknown", "unknown"),
    "stale_drop": Fault(2, "again", "again"),
    "html_200": Fault(1, "unknown", "unknown"),
    "json_cut": Fault(1, "unknown", "billed"),
    "short_body": Fault(1, "unknown", "ok"),
    "missing_last_chunk": Fault(0.5, "unknown", "ok"),
    "gzip_cut": Fault(0.5, "unknown", "billed"),
    "early_hints_103": Fault(0.5, "unknown", "unknown"),
    "stream_cut:2": Fault(1.5, "unknown", "billed"),
    "stream_error:2": Fault(1, "none", "billed"),
    "stream_no_finish": Fault(1, "ok", "billed"),
    "stale_close": Fault(0.5, "ok", "ok"),
}


def weights(share: float | None = None) -> dict[str, float]:
    """The weights by name; with `share` the faults are scaled so that they make up that part of all requests."""
    table = {name: fault.weight for name, fault in FAULTS.items()}
    if share is not None:
        bad = sum(table.values()) - table[GOOD]
        table[GOOD] = bad * (1 - share) / share
    return table


@attrs.frozen
class Odds:
    """How one attempt ends: fails for nothing, fails and may have cost, fails after the first delta."""

    none: float
    unknown: float
    billed: float

    @classmethod
    def of(cls, table: Mapping[str, float], stream: bool) -> Odds:
        """The odds under these weights. A request that is sent again is drawn again, so it is left out."""
        sums = dict.fromkeys(("ok", "none", "unknown", "billed", "again"), 0.0)
        for name, weight in table.items():
            sums[FAULTS[name].stream if stream else FAULTS[name].plain] += weight
        whole = sum(sums.values()) - sums["again"]
        return cls(sums["none"] / whole, sums["unknown"] / whole, sums["billed"] / whole)

    def success(self, vendors: int = 3) -> float:
        """The bound S for a call of three attempts at most, two of them paid, over two or three vendors."""
        z, u = self.none, self.unknown
        good = 1 - z - u - self.billed
        return good * (1 + z + u + (z * z + 2 * z * u if vendors > 2 else 0))


class Process:
    """The emulator in another process. A context manager; `calm`, `storm` and `down` say what it does from now on."""

    def __init__(self, seed: int, table: Mapping[str, float], pace: float) -> None:
        command = ["-m", "cnroute.emulator", "--seed", str(seed), "--api-key", KEY, "--weights", json.dumps(table)]
        times = ["--pace", str(pace), "--latency", str(LATENCY)]
        self._process = subprocess.Popen([sys.executable, *command, *times], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        self.url = self._process.stderr.readline().strip()
        self._address = self.url.removeprefix("http://")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def deployments(self) -> list[cnroute.Deployment]:
        """All three vendors."""
        return [vendor.deployment(self.url + PATHS[vendor.provider]) for vendor in VENDORS]

    def calm(self, vendors: Iterable[Vendor] = VENDORS) -> None:
        """Only good answers."""
        self.script(GOOD, vendors)

    def storm(self, vendors: Iterable[Vendor] = VENDORS) -> None:
        """Faults by their weights."""
        self._ask("POST", "script", {vendor.model: [] for vendor in vendors})

    def script(self, fault: str, vendors: Iterable[Vendor]) -> None:
        """Nothing but `fault`."""
        self._ask("POST", "script", {vendor.model: [fault] * 20_000 for vendor in vendors})

    def forget(self) -> None:
        """Empty the log and the scripts."""
        self._ask("POST", "reset")

    def requests(self) -> list[dict[str, Any]]:
        """The log."""
        log: list[dict[str, Any]] = self._ask("GET", "requests")
        return log

    def open_connections(self) -> int:
        """How many are open, without the one that asks."""
        return int(self._ask("GET", "connections")["open"]) - 1

    def _ask(self, method: str, action: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, f"/_emulator/{action}", json.dumps(body), {"Connection": "close"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the emulator refused {action}: {document}")
        return document
