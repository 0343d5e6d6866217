"""The default of `map_error`: failures by HTTP status."""

from __future__ import annotations

import pluggy
import pytest

from cnroute import hookspecs
from cnroute.deployments import Deployment
from cnroute.failures import Failure
from cnroute.http import Headers, HttpResponse
from cnroute.providers import dashscope, defaults

KEY = "sk-0123456789abcdef"
DEPLOYMENT = Deployment("d", "acme", "m", api_key=KEY)


def mapped(status: int, body: bytes = b"", **headers: str) -> Failure | None:
    """What the default makes of an answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return defaults.map_error(HttpResponse(status, Headers(names), body), DEPLOYMENT)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(101, "protocol_error"), (200, None), (204, None), (301, "redirect"), (304, "protocol_error"),
     (400, "bad_request"), (401, "auth"), (403, "permission"), (404, "model_not_found"), (408, "vendor_timeout"),
     (413, "request_too_large"), (418, "bad_request"), (429, "rate_limit"), (500, "server_error"),
     (502, "server_error"), (503, "overloaded"), (504, "vendor_timeout"), (529, "overloaded")],
)  # fmt: skip
def test_kind_by_status(status: int, kind: str | None) -> None:
    """2xx is no failure."""
    failure = mapped(status)
    assert (failure and failure.kind) == kind
    assert failure is None or failure.http_status == status


def test_message_is_the_beginning_of_the_body_without_tags() -> None:
    """HTML becomes words, on one line."""
    page = b"<html>\r\n<head><title>502 Bad&nbsp;Gateway</title></head><hr>\x1b[31mtengine</html>"
    failure = mapped(502, page)
    assert failure is not None
    assert failure.message == "HTTP 502 (Bad Gateway): 502 Bad Gateway \\x1b[31mtengine"
    assert mapped(599) == Failure(failure.kind, "HTTP 599", http_status=599)


def test_facts_from_the_headers() -> None:
    """Request id and retry-after; dates are the router's."""
    failure = mapped(503, x_request_id="r-1", retry_after="1.5")
    assert failure is not None
    assert (failure.request_id, failure.retry_after, failure.vendor_code) == ("r-1", 1.5, None)
    precise, dated = mapped(429, retry_after_ms="1500"), mapped(429, retry_after="Sat, 21 Nov 2026 23:00:00 GMT")
    assert precise is not None
    assert dated is not None
    assert (precise.retry_after, dated.retry_after) == (1.5, None)


def test_a_long_body_with_the_key_in_it() -> None:
    """The message is short, and the key is not in it."""
    failure = mapped(401, f"bad key {KEY} ".encode() * 100_000)
    assert failure is not None
    assert KEY not in failure.message
    assert len(failure.message) < 500
    assert mapped(500, b"<" * 2**20) is not None


def test_charset_of_the_content_type() -> None:
    """A proxy's page in GBK stays readable."""
    failure = mapped(502, "网关错误".encode("gbk"), content_type="text/html; charset=gb2312")
    assert failure is not None
    assert failure.message.endswith("网关错误")


def test_it_is_asked_last() -> None:
    """A provider's own answer counts first, whatever the order of registration."""
    host = pluggy.PluginManager(hookspecs.PROJECT)
    host.add_hookspecs(hookspecs)
    for plugin in (dashscope, defaults):
        host.register(plugin)
    own = HttpResponse(429, Headers(), b'{"code":"PostpaidBillOverdue"}')
    assert host.hook.map_error(response=own, deployment=DEPLOYMENT).kind == "quota"
    page = HttpResponse(429, Headers(), b"<html>")
    assert host.hook.map_error(response=page, deployment=DEPLOYMENT).kind == "rate_limit"
    host.check_pending()
