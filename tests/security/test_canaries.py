"""A canary key, a canary GroupId and a canary prompt: nowhere in logs, errors, reports, records, plans or the terminal."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.cli import main
from cnroute.emulator import Emulator
from cnroute.emulator.faults import FAULTS
from cnroute.testing import FakeTransport, capture_notices
from tests.contract.kit import plain_host
from tests.security.watch import (
    ANSWER,
    ASK,
    CONTENT,
    GROUP,
    KEY,
    PROMPT,
    PROXY_PASSWORD,
    REPLY,
    SECRETS,
    Box,
    Watch,
    call,
    deployment,
    faces,
    forms,
    hits,
    watching,
)

MODELS = {
    "dashscope": "qwen-plus",
    "minimax-v2": "MiniMax-Text-01",
    "minimax-pro": "abab6.5s-chat",
    "minimax-legacy": "abab5.5-chat",
}
# Short limits for the vendors that say nothing; the others answer long before.
HASTY = cnroute.Timeouts(total=3, connect=1, first_byte=0.15, first_token=0.2, idle=0.15, write=1, pool=1)
# Every family of the emulator; left out is only what differs in the number of bytes that it makes.
COSTLY = {
    "huge_json",
    "gzip_bomb",
    "endless_body",
    "stream_long_line",
    "stream_endless",
    "slow_body",
    "slow_headers",
    "never_reads",
    "many_trailers",
}
CALLED = sorted(set(FAULTS) - COSTLY - {"accept_close", "accept_reset", "accept_silent"})


@pytest.fixture
def watch(capfd: pytest.CaptureFixture[str]) -> Iterator[Watch]:
    """Whatever a test does, the logs and both streams of the process hold nothing."""
    with watching() as seen:
        yield seen
    out, err = capfd.readouterr()
    found = {text[:300] for text in (*seen.lines, *seen.shown, out, err) if hits(text, SECRETS | CONTENT | REPLY)}
    assert found == set()


def nothing_in(error: BaseException, *, where: str = "") -> None:
    """No secret and no prompt in any face of an error."""
    found = {face: hits(text) for face, text in faces(error).items() if hits(text)}
    assert found == {}, where


def test_the_look_would_find_them() -> None:
    """Each form of a canary is found; an error that held one would be seen."""
    for name, value in (("key", KEY), ("group", GROUP), ("proxy", PROXY_PASSWORD)):
        assert all(hits(f"a {form} b") == {name} for form in forms(value))
    error = cnroute.CallError(f"Bearer {KEY}")
    assert {"str 0", "repr 0", "args 0", "pickle 0"} <= {face for face, text in faces(error).items() if hits(text)}
    assert hits(f"{PROMPT}") == {"prompt"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("provider", MODELS)
def test_every_fault_of_a_vendor(vendor: Emulator, watch: Watch, provider: str, stream: bool) -> None:
    """All families of faults, each in the dialect's own words: the error holds nothing, and neither does the log."""
    faults = (
        CALLED
        if provider == "minimax-pro"
        else [name for name in CALLED if FAULTS[name].write.__module__.endswith("fault_errors")]
    )
    places = [deployment(provider, f"{MODELS[provider]}!{name}", vendor.base_url(provider), name) for name in faults]
    with cnroute.Router(places, breaker=None, timeouts=HASTY, retries=cnroute.Retries(max_attempts=1), **plain_host()) as router:
        with ThreadPoolExecutor(8) as pool:  # many of them are silent for a while
            errors = dict(zip(faults, pool.map(lambda name: call(router, name, stream), faults), strict=True))
        caught = {name: error for name, error in errors.items() if error is not None}
        for name, error in caught.items():
            nothing_in(error, where=name)
        assert len(caught) > len(faults) // 2
        assert hits(repr(router.health())) == set()
    assert len(watch.lines) > 2 * len(faults)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("provider", MODELS)
def test_a_vendor_that_repeats_the_key(watch: Watch, provider: str, stream: bool) -> None:
    """In message, code, request id and headers, at the place where a text is cut, in an answer and in a frame."""
    group = GROUP if provider in ("minimax-pro", "minimax-legacy") else ""

    def echo(text: str) -> list[cnroute.HttpResponse]:
        body = {
            "code": text, "message": text, "request_id": text, "id": text,
            "base_resp": {"status_code": text, "status_msg": text}, "error": {"message": text, "code": text, "type": text},
        }  # fmt: skip
        plain = json.dumps(body).encode()
        headers = {"x-request-id": text, "Trace-Id": text, "Retry-After": text, "Location": text}
        bodies = [plain, b"data: " + plain + b"\n\n", text.encode(), f"<html>{text}</html>".encode()]
        return [cnroute.HttpResponse(status, headers, each) for status in (200, 302, 401, 500) for each in bodies]

    texts = [f"{KEY} {group}", f"Bearer {KEY}{KEY}", *("x" * (cut - 10) + KEY + group for cut in (200, 300, 500))]
    transport = FakeTransport([answer for text in texts for answer in echo(text)])
    place = deployment(provider, MODELS[provider], "https://vendor.example/v1")
    calls = len(texts) * 4 * 4
    with cnroute.Router(
        [place], transport=transport, breaker=None, retries=cnroute.Retries(max_attempts=1), **plain_host()
    ) as router:
        for _ in range(calls):
            error = call(router, "d", stream)
            assert error is not None
            nothing_in(error)


def test_a_request_id_with_the_key_in_a_good_answer(watch: Watch) -> None:
    """A gateway that puts the key into its header does not get it into reply, record, notices or log."""
    good = {"output": {"choices": [{"message": {"content": "x", "role": "assistant"}, "finish_reason": "stop"}]}}
    answer = cnroute.HttpResponse(200, {"x-request-id": f"id-{KEY}\x9b31m"}, json.dumps(good).encode())
    place = deployment("dashscope", "qwen-plus", "https://vendor.example/v1")
    with cnroute.Router([place], transport=FakeTransport([answer]), **plain_host()) as router, capture_notices(router) as notices:
        reply = router.chat(ASK(), model="d")
        assert hits(repr(reply.record()) + repr(reply.attempts) + repr(notices)) == set()
        assert (reply.request_id or "").isprintable()


@pytest.mark.parametrize("provider", MODELS)
def test_good_calls_and_what_is_told_of_them(vendor: Emulator, watch: Watch, provider: str) -> None:
    """Replies, streams, plans, records, explanations, notices, health and the values that describe a route."""
    places = [
        deployment(provider, f"{MODELS[provider]}!http_500", vendor.base_url(provider), "bad"),
        deployment(provider, MODELS[provider], vendor.base_url(provider), "good", headers={"X-Tenant": KEY}),
    ]
    with cnroute.Router(places, {"chat": ["bad", "good"]}, **plain_host()) as router, capture_notices(router) as notices:
        reply = router.chat(ASK(), model="chat")
        assert ANSWER in reply.text
        with router.stream(ASK(), model="chat") as stream:
            assert ANSWER in "".join(stream.texts())
        plan = router.plan(ASK(), model="chat")
        told: list[object] = [
            places, router.models(), router.health(), plan, str(plan), plan.record(), plan.explain("zh"), notices,
            vendor.requests[0].headers,
        ]  # fmt: skip
        for outcome in (reply, stream.completion):
            told += [outcome.record(), outcome.explain(), outcome.explain("zh"), outcome.attempts, outcome.plan, outcome.bill]
        for value in told:
            assert hits(f"{value!r} {value}", SECRETS | CONTENT | REPLY) == set(), f"{value!r:.200}"
        for each in places:
            assert hits(pickle.dumps(each).decode("latin-1"), {"key": SECRETS["key"]}) <= {"key"}
            assert KEY not in repr(each.api_key) + str(each.api_key) + f"{each.api_key}"


@pytest.mark.parametrize(
    "hook", ["build_request", "map_error", "parse_response", "parse_stream_line", "observe", "create_policy"]
)
def test_hooks_that_raise_with_secrets_in_their_words(vendor: Emulator, watch: Watch, hook: str) -> None:
    """What foreign code says when it raises may hold anything: its type and place are shown, its words are not."""

    class Told(Exception):
        """Says all that it knows, as validation errors do."""

    def fail(*known: Any) -> Any:
        raise Told(Box(f"{KEY} {GROUP} {ASK()} {ANSWER}")() if hook != "observe" else repr(known))

    class Plugin:
        if hook in ("build_request", "map_error", "parse_response", "parse_stream_line"):
            locals()[hook] = cnroute.hookimpl(wrapper=True)(_wrapper(hook, fail))
        elif hook == "observe":

            @cnroute.hookimpl
            def observe(self, notice: Any) -> None:
                fail(notice)

        else:

            @cnroute.hookimpl
            def create_policy(self, name: str, settings: Any) -> Any:
                return Policy() if name == "telling" else None

    class Policy:
        def order(self, options: Any, context: Any) -> Any:
            fail(options)

    host = cnroute.PluginHost(autoload=False)
    host.register(Plugin(), "telling")
    place = deployment("minimax-pro", MODELS["minimax-pro"], vendor.base_url("minimax-pro"))
    route = cnroute.Route(policy="telling" if hook == "create_policy" else "ordered", targets=["d"])
    with cnroute.Router([place], {"chat": route}, plugins=host) as router:
        for stream in (False, True):
            error = call(router, "chat", stream)
            if error is not None:
                assert isinstance(error, cnroute.HookError | cnroute.StreamInterruptedError)
                assert "Told" in str(error)
                for face, text in faces(error).items():
                    # The frames of the one who raised are his own; of ours none is left.
                    assert (face, hits(text)) == (face, set())


def _wrapper(hook: str, fail: Any) -> Any:
    names = {"build_request": "request, deployment, stream", "parse_stream_line": "line, state, deployment"}.get(
        hook, "response, deployment"
    )
    space: dict[str, Any] = {"fail": fail}
    exec(f"def {hook}(self, {names}):\n    yield\n    return fail()\n", space)  # noqa: S102 (a hook's arguments are its names)
    return space[hook]


def test_a_foreign_transport_that_raises_with_secrets(watch: Watch) -> None:
    """An HTTP library's exception may hold the URL, headers and body."""
    for stream in (False, True):
        raised = RuntimeError(f"POST https://v/?GroupId={GROUP} Authorization: Bearer {KEY} {PROMPT}")
        place = deployment("minimax-pro", MODELS["minimax-pro"], "https://vendor.example/v1")
        with cnroute.Router([place], transport=FakeTransport([raised]), **plain_host()) as router:
            error = call(router, "d", stream)
        assert isinstance(error, cnroute.HookError)
        nothing_in(error)


def test_wrong_settings(watch: Watch, tmp_path: Path) -> None:
    """A ConfigurationError names the setting, never its value where that may be secret."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n{KEY}")
    wrong: list[dict[str, Any]] = [
        {"api_key": f"{KEY}\r\nX: 1"}, {"api_key": f"{KEY} "}, {"api_key": f"密{KEY}"}, {"api_key": KEY * 100},
        {"api_key": {"file": str(file)}},
        {"api_key": lambda: f"{KEY}\n"}, {"base_url": f"https://user:{KEY}@vendor.example/"},
        {"base_url": f"https://vendor.example/?key={KEY}"},
        {"base_url": f"ftp://{KEY}"}, {"proxy": f"socks5://u:{PROXY_PASSWORD}@127.0.0.1:1"}, {"headers": {"X-Key": f"{KEY}\n"}},
        {"options": {"group_id": f"{GROUP}\n"}}, {"options": {KEY: object()}, "base_url": "x"},
    ]  # fmt: skip
    for fields in map(Box, wrong):
        try:
            place = (
                deployment("minimax-pro", "m", "https://vendor.example/v1", **fields())
                if "base_url" not in fields()
                else (deployment("minimax-pro", "m", **{"base_url": "", **fields()}))
            )
            with cnroute.Router([place], **plain_host()) as router:
                router.chat(ASK(), model="d")
        except cnroute.CnrouteError as error:
            shown = f"{error} {error!r} {error.args} {error.__dict__} {error.__context__} {error.__cause__}"
            assert hits(shown) == set()
        else:
            raise AssertionError(str(list(fields())))


def test_a_proxy_that_refuses(watch: Watch) -> None:
    """The proxy's password stands in no error, whether the proxy is there or not."""
    place = deployment(
        "minimax-pro", "m", "https://vendor.example/v1", proxy=f"http://user:{PROXY_PASSWORD}@127.0.0.1:1", timeouts=HASTY
    )
    assert hits(repr(place)) == set()
    with cnroute.Router([place], **plain_host()) as router:
        for stream in (False, True):
            error = call(router, "d", stream)
            assert isinstance(error, cnroute.ConnectionFailedError)
            nothing_in(error)


@pytest.mark.parametrize("way", ["close", "cancel", "closed router", "interrupted", "dropped"])
def test_streams_that_end_early(vendor: Emulator, watch: Watch, way: str) -> None:
    """Left, cancelled, closed from outside, broken by the vendor, forgotten."""
    fault = "!stream_cut:2" if way == "interrupted" else ""
    place = deployment("minimax-pro", MODELS["minimax-pro"] + fault, vendor.base_url("minimax-pro"))
    caught: cnroute.CallError | None = None
    with cnroute.Router([place], **plain_host()) as router:
        stream = router.stream(ASK(), model="d")
        try:
            next(stream)
            if way == "dropped":
                del stream
                return
            {"close": stream.close, "cancel": stream.cancel, "closed router": router.close, "interrupted": list}[way]()
            list(stream)
        except cnroute.CallError as error:
            caught = error
    assert (caught is None) is (way == "close")
    if caught is not None:
        nothing_in(caught)


def test_cancelled_from_another_thread(vendor: Emulator, watch: Watch) -> None:
    """In a blocked read."""
    place = deployment("minimax-pro", MODELS["minimax-pro"] + "!stream_hang:1", vendor.base_url("minimax-pro"))
    with cnroute.Router([place], **plain_host()) as router:
        stream = router.stream(ASK(), model="d")
        next(stream)
        timer = threading.Timer(0.05, stream.cancel)
        timer.start()
        with pytest.raises(cnroute.CallCancelledError) as caught:
            list(stream)
        timer.join()
    nothing_in(caught.value)


def test_the_asynchronous_router(vendor: Emulator, watch: Watch) -> None:
    """The same through the other driver."""

    async def scenario() -> list[BaseException]:
        found: list[BaseException] = []
        names = ("http_401_echo", "close", "stream_cut:2", "http_400_dirty", "error_in_200")
        places = [
            deployment("minimax-pro", f"{MODELS['minimax-pro']}!{name}", vendor.base_url("minimax-pro"), name) for name in names
        ]
        async with cnroute.AsyncRouter(places, breaker=None, retries=cnroute.Retries(max_attempts=1), **plain_host()) as router:
            for name in names:
                try:
                    await router.chat(ASK(), model=name)
                except cnroute.CallError as error:
                    found.append(error)
                try:
                    async with router.stream(ASK(), model=name) as stream:
                        async for _ in stream:
                            pass
                except cnroute.CallError as error:
                    found.append(error)
        return found

    errors = asyncio.run(scenario())
    assert len(errors) == 10
    for error in errors:
        nothing_in(error)


# -- the command line

FILE = """
[deployments.kb]
provider = "minimax-pro"
model = "{model}"
api_key = "{key}"
base_url = "{base}"
options = {{ group_id = "{group}" }}
[deployments.other]
provider = "dashscope"
model = "qwen-plus"
api_key = {{ env = "DASHSCOPE_API_KEY" }}
base_url = "{dashscope}"
proxy = "http://user:{proxy}@127.0.0.1:1"
[routes.chat]
targets = ["kb", "other"]
"""


@pytest.fixture
def config(vendor: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a configuration with canaries inline."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))

    def write(model: str = MODELS["minimax-pro"], key: str = KEY) -> str:
        file = tmp_path / "cnroute.toml"
        base = {"base": vendor.base_url("minimax-pro"), "dashscope": vendor.base_url("dashscope")}
        file.write_text(FILE.format(model=model, key=key, group=GROUP, proxy=PROXY_PASSWORD, **base), "utf-8")
        return str(file)

    return write


COMMANDS = {
    "plan": ("plan", "--model", "chat", "-"),
    "plan json": ("plan", "--model", "chat", "--json", "-"),
    "doctor": ("doctor",),
    "doctor json": ("doctor", "--json"),
    "config show": ("config", "show"),
    "config show json": ("config", "show", "--json"),
    "config check": ("config", "check"),
    "models": ("models",),
    "chat": ("chat", "--model", "kb", "--explain", "-"),
    "chat json": ("chat", "--model", "kb", "--json", "-"),
    "chat whole": ("chat", "--model", "kb", "--no-stream", "--explain", "--lang", "zh", "-"),
    "chat unknown": ("chat", "--model", "nobody", "-"),
    "chat other": ("chat", "--model", "other", "-"),
}


@pytest.mark.parametrize("fault", ["", "!http_401_echo", "!stream_cut:2", "!http_400_dirty"])
@pytest.mark.parametrize("level", ["", "debug"])
@pytest.mark.parametrize("name", COMMANDS)
def test_commands(
    config: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, level: str, fault: str
) -> None:
    """Neither stream of any command shows a secret or the prompt; the answer stands on stdout alone."""
    monkeypatch.setenv("CNROUTE_LOG_LEVEL", level)
    file = config(MODELS["minimax-pro"] + fault)
    argv = [*COMMANDS[name]]
    end = len(argv) - 1 if argv[-1] == "-" else len(argv)
    argv[end:end] = [file] if argv[0] == "config" else ["--config", file]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ASK().encode())))
    main(argv)
    out, err = capfd.readouterr()
    assert out + err
    # The emulator's answer repeats the question, and the answer belongs on stdout.
    assert hits(out, SECRETS if argv[0] == "chat" else SECRETS | CONTENT) == set()
    assert hits(err, SECRETS | CONTENT | REPLY) == set()


@pytest.mark.parametrize(
    "command", [("config", "check"), ("config", "show"), ("doctor", "--config"), ("plan", "--model", "chat", "x", "--config")]
)
def test_commands_with_a_broken_key(config: Any, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    """A key that cannot be one is refused without being shown."""
    main([*command, config(key=f"{KEY} and more")])
    out, err = capfd.readouterr()
    assert hits(out + err) == set()
