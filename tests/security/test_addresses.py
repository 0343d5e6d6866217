"""Where requests may go: the configured host, and nowhere else, whatever an address or an answer says."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import cnroute
from cnroute.emulator import Emulator
from cnroute.testing.transports.rawserver import RawServer
from cnroute.transports.urllib3 import Urllib3Transport
from tests.contract.kit import plain_host
from tests.security.watch import GROUP, KEY, call, deployment

REFUSED = {
    "ftp": "ftp://vendor.example/", "file": "file:///etc/passwd", "no scheme": "vendor.example/v1", "scheme only": "https://",
    "javascript": "javascript:1",
    "user": "https://user@vendor.example/", "password": "https://user:word@vendor.example/",
    "empty user": "https://@vendor.example/",
    "http elsewhere": "http://vendor.example/", "http private": "http://10.0.0.1/",
    "http metadata": "http://169.254.169.254/latest",
    "http looks like loopback": "http://127.0.0.1.vendor.example/",
    "http localhost of another": "http://localhost.vendor.example/",
    "http hex": "http://0x7f000001/", "http number": "http://2130706433/", "http mapped": "http://[::ffff:127.0.0.1]/",
    "http any": "http://0.0.0.0/",
    "http short": "http://127.1/", "http octal": "http://0177.0.0.1/", "http dot": "http://127.0.0.1./",
    "fragment": "https://vendor.example/#a", "empty fragment": "https://vendor.example/#",
    "query": "https://vendor.example/?a=b", "empty query": "https://vendor.example/?",
    "port 0": "https://vendor.example:0/", "port 70000": "https://vendor.example:70000/",
    "port word": "https://vendor.example:x/", "port -1": "https://vendor.example:-1/",
    "zone": "https://[fe80::1%25eth0]/", "zone bare": "https://[fe80::1%eth0]/", "bracket": "https://[::1/",
    "dots": "https://vendor.example/a/../b", "dots at the end": "https://vendor.example/..",
    "backslash": "https://vendor.example\\@evil.example/", "crlf": "https://vendor.example/\r\nX: 1",
    "nul": "https://vendor.example/\x00", "tab": "https://vendor\t.example/",
    "blank": "https://vendor.example/a b", "leading blank": " https://vendor.example/", "chinese": "https://例子.example/",
    "full stop": "https://vendor。example/",
    "empty": "", "soft hyphen": "https://ven\u00addor.example/",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_base_url_that_must_never_be_called(name: str) -> None:
    """Refused when it is written down, in code and in configuration; nothing is sent."""
    with pytest.raises(cnroute.ConfigurationError) as caught:
        deployment("dashscope", "m", REFUSED[name])
    assert caught.value.problems[0].key == "base_url"
    table = {"d": {"provider": "dashscope", "model": "m", "api_key": KEY, "base_url": REFUSED[name]}}
    with pytest.raises(cnroute.ConfigurationError, match="base_url"):
        cnroute.Router.from_config({"deployments": table}, **plain_host())


@pytest.mark.parametrize(
    "good",
    [
        "https://vendor.example",
        "https://vendor.example:8443/a/b/",
        "http://127.0.0.1:1/x",
        "http://localhost/",
        "http://[::1]:8080/v1",
    ],
)
def test_a_base_url_that_may(good: str) -> None:
    """https anywhere, http on loopback; elsewhere only where somebody wrote that down."""
    assert deployment("dashscope", "m", good).base_url == good.rstrip("/")
    assert deployment("dashscope", "m", "http://10.0.0.1/v1", allow_http=True).base_url == "http://10.0.0.1/v1"


@pytest.fixture
def second() -> Iterator[RawServer]:
    """A server that nobody should call."""
    server = RawServer()
    yield server
    assert (server.connections, server.requests) == (0, [])
    server.close()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("provider", ["dashscope", "minimax-pro"])
def test_redirects_are_never_followed(vendor: Emulator, second: RawServer, provider: str, status: int, stream: bool) -> None:
    """Key and prompt stay where they were sent: the second server hears nothing."""
    target = f"http://127.0.0.1:{second.port}/v1"
    place = deployment(provider, f"m!redirect_{status}:{target}", vendor.base_url(provider))
    with cnroute.Router([place], **plain_host()) as router:
        error = call(router, "d", stream)
    assert isinstance(error, cnroute.ResponseError)
    assert (error.kind, error.billing) == ("redirect", "unknown")
    assert len(vendor.requests) == 1


PRIVATE = (
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "127.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.0.0.1",
    "localhost",
    "[::1]",
    "0.0.0.0",
    "[::]",
)

AGAIN: dict[str, Any] = {"retries": cnroute.Retries(backoff=0.01)}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("host", PRIVATE)
def test_block_private(second: RawServer, host: str, stream: bool) -> None:
    """However loopback is written, no connection is made to it; the address counts and not the name."""
    place = deployment("minimax-pro", "m", f"http://{host}:{second.port}/v1", allow_http=True, timeouts=cnroute.Timeouts(total=3))
    with cnroute.Router([place], transport=Urllib3Transport(block_private=True), **AGAIN, **plain_host()) as router:
        error = call(router, "d", stream)
    assert isinstance(error, cnroute.ConnectionFailedError)
    assert error.kind in ("connect_error", "dns_error")
    assert error.billing == "none"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1"]
)
def test_a_name_that_resolves_to_a_private_address(second: RawServer, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A public name whose address turns out to be private, also when a public one stands beside it the next time."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def resolve(host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, port) if family == socket.AF_INET else (address, port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    place = deployment("dashscope", "m", f"http://rebound.example:{second.port}/v1", allow_http=True)
    with cnroute.Router([place], transport=Urllib3Transport(block_private=True), **AGAIN, **plain_host()) as router:
        error = call(router, "d", False)
    assert isinstance(error, cnroute.ConnectionFailedError)
    assert "block_private" in str(error)


EVIL = ["17&admin=1", "17#x", "17/..", "../..", "17 x", "17?x=1", "%2e%2e", "17;x", "17@evil.example", "密"]


@pytest.mark.parametrize("value", EVIL)
def test_values_in_urls_are_quoted(vendor: Emulator, value: str) -> None:
    """GroupId stays one value of one query, whatever it holds; the path is the vendor's."""
    server = RawServer()
    try:
        base = f"http://127.0.0.1:{server.port}/v1"
        place = cnroute.Deployment("d", "minimax-pro", value, api_key=KEY, base_url=base, options={"group_id": value})
        with cnroute.Router([place], **plain_host()) as router:
            call(router, "d", False)
    finally:
        server.close()
    (head, body), *more = server.requests
    assert more == []
    line = head.split(b"\r\n")[0].decode()
    assert line.startswith("POST /v1/text/chatcompletion_pro?GroupId=")
    assert line.count("?") == line.count("=") == 1
    assert not set(line.split("GroupId=")[1].removesuffix(" HTTP/1.1")) & set("&#/?; @")
    assert json.loads(body)["model"] == value


@pytest.mark.parametrize("name", ["group_id", "model", "workspace"])
@pytest.mark.parametrize("value", ["17\r\nX: 1", "17\n", "17\x00", "17\u2028x"])
def test_values_with_line_ends_are_refused(name: str, value: str) -> None:
    """Before anything is sent, and without the value."""
    fields: dict[str, Any] = {"model": value} if name == "model" else {"model": "m", "options": {"group_id": GROUP, name: value}}
    with pytest.raises(cnroute.ConfigurationError) as caught:
        place = cnroute.Deployment("d", "dashscope" if name == "workspace" else "minimax-pro", api_key=KEY, **fields)
        cnroute.Router([place], **plain_host())
    assert value not in str(caught.value)
