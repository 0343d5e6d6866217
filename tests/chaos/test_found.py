"""What the chaos bench found, small enough to read."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

import cnroute
from cnroute.notices import CallFinished
from cnroute.testing import FakeTransport, capture_notices


def _frame(text: str, made: int) -> bytes:
    choices = [{"message": {"content": text, "role": "assistant"}, "finish_reason": "null"}]
    usage = {"input_tokens": 10, "output_tokens": made, "total_tokens": 10 + made}
    return b"data:" + json.dumps({"output": {"choices": choices}, "usage": usage, "request_id": "r"}).encode() + b"\n\n"


def _router(*pieces: bytes) -> cnroute.Router:
    deployment = cnroute.Deployment(
        "yi", "dashscope", "yi-large", api_key="sk-0123456789", price=cnroute.Price("CNY", "10", "10", per=1)
    )
    return cnroute.Router([deployment], transport=FakeTransport({"yi": [list(pieces)]}))


def test_a_stream_that_is_cancelled_before_its_first_step_is_reported_once() -> None:
    """Its consumer sees an error, so the log and the observers see the end of the call."""
    with _router(_frame("a", 1)) as router, capture_notices(router) as notices:
        stream = router.stream("hi", model="yi")
        stream.cancel()
        with pytest.raises(cnroute.CallCancelledError) as caught:
            next(stream)
    finished = [notice for notice in notices if isinstance(notice, CallFinished)]
    assert [(notice.call_id, notice.outcome) for notice in finished] == [(stream.call_id, "cancelled")]
    assert caught.value.call_id == stream.call_id


def test_a_stream_that_is_left_may_cost_more_than_was_counted_until_then() -> None:
    """DashScope counts in every event; what it makes after the last one that was read may be charged too."""
    with _router(_frame("a", 1), _frame("b", 2), _frame("c", 3)) as router, capture_notices(router) as notices:
        with router.stream("hi", model="yi", max_tokens=50) as stream:
            next(stream)
    bill = next(notice.bill for notice in notices if isinstance(notice, CallFinished))
    assert bill is not None and isinstance(bill.confirmed, cnroute.Cost)
    assert (bill.confirmed.low, bill.confirmed.high) == (Decimal(110), Decimal(600))
    assert bill.confirmed.estimated
