# ruff: noqa: E501 (tables are wider)
"""The server: addresses, keep-alive, the log, scripts, weights, the control paths, the program, and closing."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cnroute.emulator import FAULTS, Emulator

from . import client

ROOT = Path(__file__).parents[2]


def test_it_listens_on_loopback_only() -> None:
    for host in ("0.0.0.0", "192.168.1.1", "example.com", ""):
        with pytest.raises(ValueError, match="loopback"):
            Emulator(host=host)
    assert Emulator(host="localhost").host == "127.0.0.1"


def test_base_urls_and_unknown_providers(emulator: Emulator) -> None:
    assert emulator.url == f"http://127.0.0.1:{emulator.port}"
    assert emulator.base_url("dashscope") == emulator.url + "/dashscope/api/v1"
    assert emulator.base_url("minimax-pro") == emulator.url + "/minimax/v1"
    with pytest.raises(ValueError, match=r"unknown provider 'openai'; known: dashscope, minimax-v2"):
        emulator.base_url("openai")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_loopback() -> None:
    try:
        running = Emulator(host="::1").start()
    except OSError:
        pytest.skip("no IPv6 loopback")
    with running:
        assert running.url == f"http://[::1]:{running.port}"
        with socket.create_connection(("::1", running.port)) as sock:
            sock.sendall(client.request_bytes("dashscope", "/api/v1", client.body_for("dashscope")))
            assert client.read(sock).status == 200


@pytest.mark.parametrize("provider", client.PROVIDERS)
def test_the_vendors_own_paths_work_without_prefix(emulator: Emulator, provider: str) -> None:
    base = emulator.base_url(provider).removeprefix(emulator.url)
    for prefix in (base, base.removeprefix("/dashscope").removeprefix("/minimax")):
        with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
            sock.sendall(client.request_bytes(provider, prefix, client.body_for(provider)))
            assert emulator.answer(client.QUESTION) in client.read(sock).body.decode()


def test_a_connection_is_reused_and_counted(emulator: Emulator) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port)
    headers = {"Authorization": "Bearer k", "X-DashScope-SSE": "enable"}
    for _ in range(3):
        body = json.dumps(client.body_for("dashscope"))
        connection.request("POST", "/api/v1/services/aigc/text-generation/generation", body, headers)
        assert connection.getresponse().read().endswith(b"\n\n")
    assert (emulator.accepted_connections, emulator.open_connections) == (1, 1)
    assert [entry.connection for entry in emulator.requests] == [1, 1, 1]
    connection.close()
    _until(lambda: emulator.open_connections == 0)


def test_connection_close_and_http_1_0_are_honoured(emulator: Emulator) -> None:
    data = client.request_bytes("minimax-v2", "/v1", client.body_for("minimax-v2"))
    for wish in (data.replace(b"Host:", b"Connection: close\r\nHost:"), data.replace(b"HTTP/1.1", b"HTTP/1.0", 1)):
        with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
            sock.sendall(wish)
            outcome = client.read(sock)
            assert outcome.end == "fin" and outcome.headers["connection"] == "close"


def test_chunked_requests_and_expect_continue(emulator: Emulator) -> None:
    body = json.dumps(client.body_for("minimax-v2")).encode()
    head = b"POST /v1/text/chatcompletion_v2 HTTP/1.1\r\nAuthorization: Bearer k\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        sock.sendall(head)
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        for start in range(0, len(body), 50):
            part = body[start : start + 50]
            sock.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        sock.sendall(b"0\r\n\r\n")
        assert client.text_in(client.read(sock).json) == emulator.answer(client.QUESTION)


def test_garbage_and_unknown_paths(emulator: Emulator) -> None:
    with socket.create_connection(("127.0.0.1", emulator.port)) as sock:
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert client.read(sock).status == 400
    for path, part in (("/nowhere", b"404 page not found"), ("/api/v1/nowhere", b"InvalidURL"), ("/v1/text/x", b"404 page")):
        connection = http.client.HTTPConnection("127.0.0.1", emulator.port)
        connection.request("POST", path, b"{}")
        reply = connection.getresponse()
        assert reply.status == 404 and part in reply.read()
        connection.close()
    assert [entry.fault for entry in emulator.requests] == ["refused"] * 3


def test_the_log_tells_what_arrived_and_what_was_served(emulator: Emulator) -> None:
    client.ask(emulator, "minimax-pro", stream=True)
    (entry,) = emulator.requests
    assert (entry.number, entry.provider, entry.model, entry.stream) == (1, "minimax-pro", "abab6.5s-chat", True)
    assert (entry.method, entry.path, entry.query) == ("POST", "/minimax/v1/text/chatcompletion_pro", {"GroupId": "17"})
    assert entry.authorized and "authorization" not in entry.headers and entry.headers["host"] == "emulator"
    assert isinstance(entry.body, dict) and entry.body["messages"][0]["text"] == client.QUESTION
    assert (entry.fault, entry.status, entry.ended, entry.connection) == ("ok", 200, "done", 1)
    assert entry.answered == emulator.answer(client.QUESTION) and entry.usage and set(entry.usage) == {"total_tokens"}
    assert entry.seconds is not None and entry.seconds < 1 and abs(entry.at - time.time()) < 60
    emulator.reset()
    assert emulator.requests == []


def test_the_key_is_nowhere_in_the_log(emulator: Emulator) -> None:
    for provider in client.PROVIDERS:
        client.exchange(emulator, provider, client.body_for(provider), key="canary-key")
        client.exchange(emulator, provider, b"no json", key="canary-key")
    assert len(emulator.requests) == 8 and "canary-key" not in repr(emulator.requests)


def test_scripts_are_used_up_one_a_request(emulator: Emulator) -> None:
    emulator.script("qwen-plus", ["http_503", "code:Arrearage", "ok"])
    statuses = [client.ask(emulator, "dashscope").status for _ in range(4)]
    assert statuses == [503, 400, 200, 200]
    assert client.ask(emulator, "dashscope", model="qwen-max").status == 200
    assert [entry.fault for entry in emulator.requests] == ["http_503", "code:Arrearage", "ok", "ok", "ok"]
    with pytest.raises(ValueError, match="no_such"):
        emulator.script("qwen-plus", ["ok", "no_such"])


def test_a_suffix_comes_before_the_script_and_leaves_it(emulator: Emulator) -> None:
    emulator.script("qwen-plus", ["http_503"])
    assert client.ask(emulator, "dashscope", fault="http_529").status == 529
    assert client.ask(emulator, "dashscope").status == 503
    assert {entry.model for entry in emulator.requests} == {"qwen-plus"}


@pytest.mark.parametrize("provider", client.PROVIDERS)
@pytest.mark.parametrize("name", ["no_such_fault", "http_503:9", "hang:soon", "stream_cut:-1"])
def test_an_unknown_fault_is_a_refusal_that_names_it(emulator: Emulator, provider: str, name: str) -> None:
    outcome = client.ask(emulator, provider, fault=name)
    assert outcome.status == 400 and name in outcome.body.decode()


def test_weights_are_seeded_and_may_differ_by_provider() -> None:
    def run(seed: int) -> list[str]:
        with Emulator(seed=seed, weights={"dashscope": {"ok": 1, "http_500": 1}, "minimax-v2": {}}) as running:
            for provider in ("dashscope", "minimax-v2") * 12:
                client.ask(running, provider)
            return [entry.fault for entry in running.requests]

    first = run(5)
    assert first == run(5) != run(6)
    assert set(first[::2]) == {"ok", "http_500"} and set(first[1::2]) == {"ok"}
    for wrong in ({"no_such": 1}, {"openai": {"ok": 1}}):
        with pytest.raises(ValueError, match=r"no_such|openai"):
            Emulator(weights=wrong)  # type: ignore[arg-type]


def test_flat_weights_hold_for_all() -> None:
    with Emulator(weights={"http_529": 1}) as running:
        assert [client.ask(running, provider).status for provider in client.PROVIDERS] == [529] * 4


def test_latency_comes_before_every_answer() -> None:
    """Good or bad, a refusal by the vendor's own rules excepted."""
    with Emulator(latency=0.1) as running:
        for fault in ("", "http_500", "close"):
            assert client.ask(running, "dashscope", fault=fault).seconds >= 0.1


def test_pace_spreads_the_events() -> None:
    with Emulator(pace=0.01) as running:
        outcome = client.ask(running, "minimax-v2", stream=True)
        pieces = len(client.events(outcome.body))
        assert outcome.complete and client.stream_text("minimax-v2", outcome.body) == running.answer(client.QUESTION)
        assert running.requests[0].seconds is not None and running.requests[0].seconds >= 0.01 * (pieces - 1)


def test_one_http_chunk_for_each_event_in_one_write(emulator: Emulator) -> None:
    outcome = client.ask(emulator, "dashscope", stream=True)
    data, parts = outcome.raw_body, []
    while not data.startswith(b"0\r\n"):
        size, _, data = data.partition(b"\r\n")
        parts.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    assert all(part.startswith(b"id:%d\n" % number) and part.endswith(b"\n\n") for number, part in enumerate(parts, 1))


def test_a_client_that_leaves_is_noticed() -> None:
    with Emulator(pace=0.05) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as sock:
            body = client.body_for("minimax-v2", stream=True)
            sock.sendall(client.request_bytes("minimax-v2", "/v1", body))
            sock.recv(100)
        _until(lambda: running.requests[0].ended == "client_closed" and running.open_connections == 0)
        assert running.answer(client.QUESTION).startswith(running.requests[0].answered)


def test_a_hundred_connections_at_once(emulator: Emulator) -> None:
    with ThreadPoolExecutor(100) as pool:
        outcomes = list(pool.map(lambda _: client.ask(emulator, "minimax-v2", fault="hang:0.2", quiet=2, total=0.1), range(100)))
    assert {outcome.status for outcome in outcomes} == {200}
    assert emulator.accepted_connections == 100 == len(emulator.requests)
    assert [entry.number for entry in emulator.requests] == list(range(1, 101))


@pytest.mark.parametrize(
    "fault", ["hang", "slow_headers", "stream_pings", "endless_body", "stream_endless", "half_body_hang", "never_reads"]
)
def test_close_ends_hanging_faults_within_a_second(fault: str) -> None:
    running = Emulator().start()
    socks = []
    for provider in client.PROVIDERS:
        sock = socket.create_connection(("127.0.0.1", running.port))
        document = client.body_for(provider, model=f"{client.MODELS[provider]}!{fault}", stream=True)
        base = running.base_url(provider).removeprefix(running.url)
        sock.sendall(client.request_bytes(provider, base, document, stream=True))
        socks.append(sock)
    _until(lambda: len(running.requests) == 4)
    begun = time.monotonic()
    running.close()
    running.close()
    assert time.monotonic() - begun < 1
    assert {entry.ended for entry in running.requests} <= {"fault"} and running.open_connections == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emulator-")]
    for sock in socks:
        sock.close()


def test_closing_without_starting_and_starting_twice() -> None:
    Emulator().close()
    running = Emulator()
    with running, pytest.raises(RuntimeError):
        running.start()
    with pytest.raises(RuntimeError):
        running.start()


def test_the_control_paths(emulator: Emulator) -> None:
    assert _control(emulator.port, "POST", "script", {"qwen-plus": ["http_503"], "@connect": []}) == (
        200,
        {"scripted": ["qwen-plus", "@connect"]},
    )
    assert client.ask(emulator, "dashscope").status == 503
    status, entries = _control(emulator.port, "GET", "requests")
    assert status == 200 and entries[0]["fault"] == "http_503" and entries[0]["ended"] == "done"
    assert _control(emulator.port, "GET", "connections")[1]["accepted"] >= 3
    assert _control(emulator.port, "POST", "reset") == (200, {"reset": True})
    assert _control(emulator.port, "GET", "requests") == (200, [])
    for body in ({"m": ["no_such"]}, [1], None):
        assert _control(emulator.port, "POST", "script", body)[0] == 400
    assert _control(emulator.port, "GET", "elsewhere")[0] == 404


def test_the_log_as_json_keeps_bodies_that_were_no_json(emulator: Emulator) -> None:
    client.exchange(emulator, "dashscope", b"\xffnot json")
    assert _control(emulator.port, "GET", "requests")[1][0]["body"] == "\ufffdnot json"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_prints_its_address_and_stops_at_a_signal(number: int) -> None:
    """The first line on stderr is the address; the process ends within a second, even with a hanging request."""
    with subprocess.Popen([sys.executable, "-m", "cnroute.emulator", "--port", "0", "--seed", "1"], cwd=ROOT, stderr=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True) as process:  # fmt: skip
        assert process.stderr is not None
        port = int(process.stderr.readline().strip().removeprefix("http://127.0.0.1:"))
        assert _control(port, "GET", "requests") == (200, [])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(client.request_bytes("minimax-v2", "/v1", client.body_for("minimax-v2", model="m!hang")))
            _until(lambda: len(_control(port, "GET", "requests")[1]) == 1)
            begun = time.monotonic()
            process.send_signal(number)
            assert process.wait(5) == 0
            assert time.monotonic() - begun < 1.5
        assert process.stderr.read() == ""


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--weights", '{"no_such": 1}'], ["--port", "x"]])
def test_wrong_usage_of_the_program_is_exit_2(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "cnroute.emulator", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2 and "cnroute emulate" in done.stderr


def test_the_emulator_imports_the_standard_library_only() -> None:
    """A second reading of the documents must not lean on the first one."""
    code = "import sys, cnroute.emulator; print([name for name in sys.modules if name.split('.')[0] in ('attrs', 'attr', 'urllib3', 'pluggy', 'cattrs', 'structlog') or (name.startswith('cnroute.') and not name.startswith('cnroute.emulator'))])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"


def test_every_fault_has_a_description() -> None:
    assert all(
        len(fault.description) > 5 and fault.applies in ("both", "plain", "stream", "connection") for fault in FAULTS.values()
    )
    assert all(not fault.plain or fault.plain.partition(":")[0] in FAULTS for fault in FAULTS.values())
    assert all(not fault.streamed or fault.streamed in FAULTS for fault in FAULTS.values())


def _control(port: int, method: str, action: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, f"/_emulator/{action}", json.dumps(body) if body is not None else None)
    reply = connection.getresponse()
    answer = reply.status, json.loads(reply.read())
    connection.close()
    return answer


def _until(true: Any, limit: float = 2.0) -> None:
    deadline = time.monotonic() + limit
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("port", [99999, -1, "80", True])
def test_an_impossible_port_is_named(port: Any) -> None:
    """It is told when the emulator is made, in words."""
    with pytest.raises(ValueError, match="port must be a whole number from 0"):
        Emulator(port=port)


def test_a_script_is_a_list() -> None:
    """Text alone would be taken for its letters."""
    with pytest.raises(TypeError, match=r"faults must be a list of faults; write \['ok'\]"):
        Emulator().script("m", "ok")
