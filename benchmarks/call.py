"""What does one routed call cost, against the same call written by hand with urllib3?

Five providers are registered; the route takes the cheapest of two deployments. CPU per call, in U. A rendered event includes
the host's part of it, so it is measured with a formatter of five lines and, beside the gate, with structlog's.

    python benchmarks/call.py --check
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import sys
from collections.abc import Iterator, Mapping

from harness import prove, samples, script, subjects
from harness.rounds import Ratio, Size, Work, compare, repeated
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
        logged = [_logged(works, size, formatter) for formatter in (JsonLines(), through_structlog())]
    return [
        Figure.of(f"call, {dialect}", quiet["cheapest"], "call"),
        Figure.of(f"call, {dialect}, ordered route", quiet["ordered"]),
        Figure.of(f"call, {dialect}, one JSON event", logged[0], "call logged"),
        Figure.of(f"call, {dialect}, one JSON event through structlog's formatter", logged[1]),
    ]


def _logged(works: Mapping[str, Work], size: Size, formatter: logging.Formatter) -> Ratio:
    with json_log(formatter) as written:
        ratio = compare(works, "urllib3", size, size.calls)["cheapest"]
        line = json.loads(written.getvalue().splitlines()[-1])
    if (line["event"], line["outcome"], line["total_tokens"]) != ("call finished", "ok", 512):
        raise prove.Unfair(f"this was logged: {line}")
    return ratio


class JsonLines(logging.Formatter):
    """A host's formatter of a few lines: what stands in the record, as one line of JSON."""

    standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        extra = {name: value for name, value in vars(record).items() if name not in self.standard}
        line = {"event": record.msg, "level": record.levelname, "logger": record.name, "time": record.created, **extra}
        return json.dumps(line, ensure_ascii=False, default=str)


def through_structlog() -> logging.Formatter:
    """A host that renders by structlog, with everything that its documentation puts in."""
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper(fmt="iso"),
        ],
    )  # fmt: skip


@contextlib.contextmanager
def json_log(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """While it lasts, cnroute's INFO events are written into memory."""
    logger = logging.getLogger("cnroute")
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield written
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


if __name__ == "__main__":
    sys.exit(script.main(__doc__, measure))
