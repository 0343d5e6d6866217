"""What does one routed call cost, against the same call written by hand with urllib3?

Five providers are registered; the route takes the cheapest of two deployments. CPU per call, in U.

    python benchmarks/call.py --check
"""

from __future__ import annotations

import functools
import io
import logging
import sys

from harness import prove, samples, script, subjects
from harness.rounds import Size, compare, repeated
from harness.script import Figure
from harness.vendor import Vendor
from harness.yardstick import Urllib3

DIALECTS = (samples.MINIMAX, samples.DASHSCOPE)


def measure(size: Size, vendor: Vendor) -> list[Figure]:
    """Default logging in both dialects, the plainest policy, and one JSON event a call."""
    return [figure for dialect in DIALECTS for figure in _measured(size, vendor, dialect)]


def _measured(size: Size, vendor: Vendor, dialect: str) -> list[Figure]:
    routers = [subjects.pair(vendor, dialect, "plain", policy=policy) for policy in ("cheapest", "ordered")]
    with routers[0] as cheapest, routers[1] as ordered:
        all_of = {
            "urllib3": functools.partial(Urllib3().call, vendor.endpoint("plain", dialect), dialect),
            "cheapest": functools.partial(subjects.text_of, cheapest),
            "ordered": functools.partial(subjects.text_of, ordered),
        }
        prove.same_text(all_of, samples.text())
        prove.keeps_connection(all_of, vendor, size)
        works = {name: repeated(work) for name, work in all_of.items()}
        quiet = compare(works, "urllib3", size, size.calls)
        del works["ordered"]
        with json_log() as written:
            logged = compare(works, "urllib3", size, size.calls)
            assert "call finished" in written.getvalue()
    return [
        Figure.of(f"call, {dialect}", quiet["cheapest"], "call"),
        Figure.of(f"call, {dialect}, ordered route", quiet["ordered"]),
        Figure.of(f"call, {dialect}, one JSON event", logged["cheapest"], "call logged"),
    ]


class json_log:  # noqa: N801 (used like a function)
    """While it lasts, cnroute's INFO events are rendered as JSON by structlog, into memory."""

    def __init__(self) -> None:
        import structlog

        self._logger = logging.getLogger("cnroute")
        self.written = io.StringIO()
        self._handler = logging.StreamHandler(self.written)
        self._handler.setFormatter(structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper(fmt="iso"),
            ],
        ))  # fmt: skip

    def __enter__(self) -> io.StringIO:
        self._logger.addHandler(self._handler)
        self._before = self._logger.level
        self._logger.setLevel(logging.INFO)
        return self.written

    def __exit__(self, *exception: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._before)


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
