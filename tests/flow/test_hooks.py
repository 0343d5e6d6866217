"""Hooks that raise, return nothing or lie: a `plugin_error` of that attempt, named, and the next deployment answers."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import cnroute
from cnroute import wire
from tests.flow.toy import BASE, KEY, Toy, ToyProvider, answer, deployment, frames, good_stream, host, raised, toy_request


def fail(*arguments: Any) -> Any:
    raise KeyError(f"choices {KEY}")


def deep(*arguments: Any) -> Any:
    return deep()


def giving(value: Any) -> Any:
    return lambda *arguments: value


def altered(**fields: Any) -> Any:
    """build_request with something wrong in what it returns."""
    return lambda request, deployment, stream: attrs.evolve(toy_request(request, deployment, stream), **fields)


async def asynchronous(*arguments: Any) -> Any:
    return None


def changing(request: Any, deployment: Any, stream: bool) -> Any:
    request.model = "other"


COMPLETION = cnroute.ChatCompletion
REQUESTS: dict[str, Any] = {
    "raises": fail,
    "recursion": deep,
    "none": giving(None),
    "dict": giving({}),
    "text": giving("x"),
    "changes its input": changing,
    "other origin": altered(url="https://evil.example/v1/chat"),
    "other port": altered(url="https://toy.example:444/v1"),
    "userinfo": altered(url="https://toy.example@evil.example/"),
    "prefix": altered(url="https://toy.example.evil.example/"),
    "plain http": altered(url="http://toy.example/v1"),
    "relative": altered(url="/v1/chat"),
    "url crlf": altered(url=f"{BASE}/a\r\nX: 1"),
    "url blank": altered(url=f"{BASE}/a b"),
    "url chinese": altered(url=f"{BASE}/密"),
    "url none": altered(url=None),
    "url bytes": altered(url=b"x"),
    "header crlf": altered(headers={"X": "a\r\nY: b"}),
    "header nul": altered(headers={"X": "\x00"}),
    "header name": altered(headers={"X Y": "a"}),
    "header none": altered(headers={"X": None}),
    "headers none": altered(headers=None),
    "headers list": altered(headers=[("a", "b")]),
    "header chinese": altered(headers={"X": "密"}),
    "body text": altered(body="x"),
    "body none": altered(body=None),
    "body file": altered(body=iter([b"x"])),
    "method": altered(method="GET / HTTP/1.1\r\nX:"),
    "method none": altered(method=None),
    "adjusted none": altered(adjusted=None),
    "adjusted numbers": altered(adjusted={"top_p": 1}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_broken_build_request_sends_nothing(name: str, stream: bool) -> None:
    """Refused before sending, named, and the next deployment is tried."""
    plugins = host(ToyProvider(), ToyProvider("bad", build_request=REQUESTS[name]))
    toy = Toy(
        [good_stream()] if stream else [answer()], deployments=[deployment("a", provider="bad"), deployment("b")], plugins=plugins
    )
    if stream:
        opened = toy.stream()
        assert "".join(opened.texts()) == "好"
        reply = opened.completion
    else:
        reply = toy.chat()
    assert toy.asked == ["b"]
    failure = reply.attempts[0].failure
    assert (failure.kind, failure.billing) == ("plugin_error", "none")
    assert "bad" in failure.message and "build_request" in failure.message
    assert KEY not in failure.message
    caught = raised(lambda: toy.chat(model="a"))
    assert type(caught) is cnroute.HookError
    assert (caught.kind, caught.deployment) == ("plugin_error", "a")
    assert caught.__context__ is None and KEY not in repr(caught.__dict__)
    plan = toy.router.plan("x", model="chat")
    assert [(each.deployment, each.rule) for each in plan.excluded] == [("a", "plugin_error")]


ERRORS: dict[str, Any] = {"raises": fail, "text": giving("x"), "true": giving(True), "dict": giving({}), "tuple": giving(())}
RESPONSES: dict[str, Any] = {
    "raises": fail,
    "recursion": deep,
    "none": giving(None),
    "dict": giving({}),
    "text": giving("x"),
    "text none": giving(COMPLETION(text=None)),
    "text bytes": giving(COMPLETION(text=b"x")),
    "reasoning none": giving(COMPLETION(reasoning=None)),
    "usage dict": giving(COMPLETION(usage={"total": 5})),
    "finish": giving(COMPLETION(finish_reason="max_output")),
    "calls": giving(COMPLETION(tool_calls=[{"id": "x"}])),
    "sources": giving(COMPLETION(sources=["x"])),
    "id number": giving(COMPLETION("x", id=5)),
    "request id list": giving(COMPLETION("x", request_id=[5])),
    "model number": giving(COMPLETION("x", model=5)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("hook", "name"), [("map_error", name) for name in ERRORS] + [("parse_response", name) for name in RESPONSES]
)
def test_a_broken_reading_of_answers_is_one_attempt(hook: str, name: str, stream: bool) -> None:
    """The vendor may have charged, the failure says who was wrong, the next deployment answers."""
    action = (ERRORS if hook == "map_error" else RESPONSES)[name]
    price = cnroute.Price("CNY", "1", "1")
    made = [deployment("a", provider="bad", price=price), deployment("b", price=price)]
    toy = Toy([answer()], deployments=made, plugins=host(ToyProvider(), ToyProvider("bad", **{hook: action})))
    if stream:
        opened = toy.stream()
        assert "".join(opened.texts()) == "好"
        reply = opened.completion
    else:
        reply = toy.chat()
    assert toy.asked == ["a", "b"]
    failure = reply.attempts[0].failure
    assert (failure.kind, failure.billing) == ("plugin_error", "unknown")
    assert f"bad: {hook}" in failure.message
    assert KEY not in failure.message
    assert toy.router.health()["a"]["breaker"] == "closed"
    assert toy.transport.open_streams == 0


T = cnroute.TextDelta
LINES: dict[str, Any] = {
    "raises": fail,
    "none": giving(None),
    "list": giving([]),
    "delta": giving(T("x")),
    "text": giving("x"),
    "tuple of text": giving(("x",)),
    "tuple of none": giving((None,)),
    "text is none": giving((T(None),)),
    "text is bytes": giving((T(b"x"),)),
    "text is a number": giving((T(5),)),
    "reasoning": giving((cnroute.ReasoningDelta(5),)),
    "arguments": giving((cnroute.ToolCallDelta(0, "c", "f", None),)),
    "index": giving((cnroute.ToolCallDelta("0", "c", "f", ""),)),
    "usage": giving((cnroute.UsageUpdate({"total": 1}),)),
    "finish": giving((cnroute.Finish("end"),)),
    "source": giving((cnroute.SourceFound("x"),)),
    "class": giving((T,)),
    "recursion": deep,
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", LINES)
def test_a_broken_reading_of_lines(name: str, late: bool) -> None:
    """Before the first content the next deployment answers; after it the stream is interrupted with what was handed out."""

    def parse(line: str, state: Any, deployment: Any) -> Any:
        state.memory["lines"] = state.memory.get("lines", 0) + 1
        return (T("first"),) if late and state.memory["lines"] == 1 else LINES[name](line, state, deployment)

    plugins = host(ToyProvider(), ToyProvider("bad", parse_stream_line=parse))
    toy = Toy([good_stream()], deployments=[deployment("a", provider="bad"), deployment("b")], plugins=plugins)
    stream = toy.stream()
    if late:
        caught = raised(lambda: list(stream), cnroute.StreamInterruptedError)
        assert (caught.partial_text, caught.cause_kind) == ("first", "plugin_error")
        assert "bad: parse_stream_line" in caught.message
        assert toy.asked == ["a"]
    else:
        assert "".join(stream.texts()) == "好"
        failure = stream.completion.attempts[0].failure
        assert failure.kind == "plugin_error" and "bad: parse_stream_line" in failure.message
    assert toy.transport.open_streams == 0
    assert toy.router.health()["a"]["in_flight"] == 0


@pytest.mark.parametrize(
    ("name", "value"), [("id", 5), ("request_id", 5), ("request_id", [5]), ("model", {}), ("choices", 5), ("choices", [5])]
)
def test_what_a_plugin_notes_of_a_stream_is_held_to_its_type(name: str, value: Any) -> None:
    """Vendors send numbers where they sent text: the stream ends with a failure that says which note is wrong."""

    def parse(line: str, state: Any, deployment: Any) -> Any:
        setattr(state, name, value)
        return (T("first"), cnroute.Finish("stop")) if line else ()

    plugins = host(ToyProvider("bad", parse_stream_line=parse))
    toy = Toy([good_stream()], deployments=[deployment("a", provider="bad")], plugins=plugins)
    caught = raised(lambda: list(toy.stream(model="a")), cnroute.StreamInterruptedError)
    assert caught.cause_kind == "plugin_error" and set(caught.partial_text.split("first")) == {""}
    assert "bad: parse_stream_line left a state whose" in caught.message and name in caught.message
    assert toy.transport.open_streams == 0


@pytest.mark.parametrize("hook", ["build_request", "map_error", "parse_response", "parse_stream_line"])
@pytest.mark.parametrize("fatal", [MemoryError, KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_pass_through_a_hook(hook: str, fatal: type[BaseException]) -> None:
    """They are never a fallback; the place comes back and the call is told as ended, once."""

    def stop(*arguments: Any) -> Any:
        raise fatal

    stream = hook == "parse_stream_line"
    toy = Toy([good_stream()] if stream else [answer()], plugins=host(ToyProvider(**{hook: stop})))
    notices: list[Any] = []
    toy.router._engine.observers.append(("test", notices.append))
    raised((lambda: list(toy.stream())) if stream else toy.chat, fatal)
    assert toy.router.health()["a"]["in_flight"] == toy.transport.open_streams == 0
    assert [type(each).__name__ for each in notices].count("CallFinished") == 1
    assert toy.router._engine._running == {}


def test_a_provider_that_cannot_stream_is_not_asked_to() -> None:
    """Without `parse_stream_line` a stream excludes it before anything is sent; plain calls work."""

    class Plain:
        describe_provider = ToyProvider.describe_provider
        build_request = ToyProvider.build_request
        parse_response = ToyProvider.parse_response

        def __init__(self) -> None:
            self.name, self.models, self.changed = "plain", (), {}

    toy = Toy([answer()], deployments=[deployment("a", provider="plain")], plugins=host(Plain()))
    caught = raised(lambda: next(toy.stream()))
    assert type(caught) is cnroute.UnsupportedRequestError
    assert toy.asked == [] and "stream" in caught.message
    assert toy.chat().text == "好"


class TestUnsupported:
    """A parameter that a deployment cannot express excludes it, or is dropped where the caller allowed that."""

    def refusing(self, *names: str) -> cnroute.PluginHost:
        def build(request: Any, deployment: Any, stream: bool) -> Any:
            for name in names:
                if getattr(request, name) is not None and deployment.name == "a":
                    raise cnroute.UnsupportedRequestError(name, f"page 7 of {KEY}")
            return toy_request(request, deployment, stream)

        return host(ToyProvider(build_request=build))

    def test_the_others_are_tried_and_the_plan_says_why(self) -> None:
        """Naming parameter and reason; nothing is dropped silently."""
        toy = Toy([answer()], plugins=self.refusing("stop"))
        reply = toy.chat(stop="x")
        assert (reply.deployment, toy.asked) == ("b", ["b"])
        (left_out,) = reply.plan.excluded
        assert (left_out.deployment, left_out.rule) == ("a", "unsupported")
        assert "stop" in left_out.reason and "page 7" in left_out.reason and KEY not in left_out.reason
        caught = raised(lambda: toy.chat(model="a", stop="x"))
        assert type(caught) is cnroute.UnsupportedRequestError
        assert (caught.attempts, toy.asked) == ((), ["b"])

    def test_drop_unsupported_drops_and_records(self) -> None:
        """Every refused parameter once, listed in `Attempt.adjusted`."""
        toy = Toy([answer()], plugins=self.refusing("stop", "seed", "temperature"))
        reply = toy.chat(stop="x", seed=1, temperature=0.5, top_p=0.5, drop_unsupported=True)
        assert reply.deployment == "a"
        assert set(reply.attempts[0].adjusted) == {"stop", "seed", "temperature"}
        body = toy.transport.requests[0].json()
        assert body["top_p"] == 0.5 and not {"stop", "seed", "temperature"} & set(body)

    @pytest.mark.parametrize("parameter", ["messages", "extra", "knowledge_base", "model", "nothing", "", 5])
    def test_what_is_the_question_itself_is_never_dropped(self, parameter: Any) -> None:
        """Then the deployment is excluded all the same, without a loop."""

        def refuse(request: Any, deployment: Any, stream: bool) -> Any:
            raise cnroute.UnsupportedRequestError(parameter, "no")

        toy = Toy([answer()], plugins=host(ToyProvider(build_request=refuse)))
        assert type(raised(lambda: toy.chat(drop_unsupported=True))) is cnroute.UnsupportedRequestError

    def test_refused_for_different_reasons_is_no_candidate(self) -> None:
        """One kind for all is that kind's class, else NoCandidateError."""

        def build(request: Any, deployment: Any, stream: bool) -> Any:
            raise cnroute.UnsupportedRequestError("stop", "no") if deployment.name == "a" else cnroute.ContextLengthError("long")

        toy = Toy([answer()], plugins=host(ToyProvider(build_request=build)))
        caught = raised(toy.chat)
        assert type(caught) is cnroute.NoCandidateError
        assert "a: " in caught.message and "b: " in caught.message

    def test_a_bad_request_found_locally_ends_the_call(self) -> None:
        """It would be wrong everywhere."""

        def build(request: Any, deployment: Any, stream: bool) -> Any:
            raise cnroute.BadRequestError("empty content")

        toy = Toy([answer()], plugins=host(ToyProvider(build_request=build)))
        assert type(raised(toy.chat)) is cnroute.BadRequestError
        assert toy.asked == []


def test_extra_reaches_its_own_provider_only() -> None:
    """Objects merge, everything else replaces; other providers' fields are not even seen."""
    seen: list[Any] = []

    def build(request: Any, deployment: Any, stream: bool) -> Any:
        seen.append(dict(request.extra))
        return cnroute.HttpRequest.post_json(
            f"{deployment.base_url}/x", wire.merged({"a": {"b": 1, "c": 2}, "l": [1, 2]}, request.extra)
        )

    plugins = host(ToyProvider(build_request=build), ToyProvider("other", build_request=build))
    made = [deployment("a"), deployment("b", provider="other"), deployment("c")]
    toy = Toy({"c": [answer()], None: [(429, "")]}, deployments=made, plugins=plugins)
    toy.chat(extra={"toy": {"a": {"b": 9}, "l": [3]}, "dashscope": {"x": 1}})
    assert seen == [{"a": {"b": 9}, "l": [3]}, {}, {"a": {"b": 9}, "l": [3]}]
    assert toy.transport.requests[0].json() == {"a": {"b": 9, "c": 2}, "l": [3]}
    assert toy.transport.requests[1].json() == {"a": {"b": 1, "c": 2}, "l": [1, 2]}


def test_headers_of_a_deployment_replace_those_of_the_provider() -> None:
    """Whatever their case: no header is sent twice."""
    toy = Toy([answer()], deployments=[deployment("a", headers={"content-type": "application/json; v=2", "X-Tenant": "t"})])
    toy.chat()
    headers = toy.transport.requests[0].headers
    assert [value for name, value in headers.items() if name.lower() == "content-type"] == ["application/json; v=2"]
    assert headers["X-Tenant"] == "t"


def test_a_strangers_transport_that_raises_is_named() -> None:
    """Any exception becomes a typed error without the key; the next deployment is tried."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    for wrong in (ValueError("x\ny"), Rude(), OSError(5, "io"), RecursionError()):
        for stream in (False, True):
            toy = Toy({"a": [wrong], "b": [good_stream()] if stream else [answer()]})
            if stream:
                opened = toy.stream()
                assert "".join(opened.texts()) == "好"
                failure = opened.completion.attempts[0].failure
            else:
                failure = toy.chat().attempts[0].failure
            assert failure.kind == "plugin_error" and type(wrong).__name__ in failure.message
    assert frames({"a": 1}) == b'data: {"a": 1}\n\n'


class Clumsy:
    """A transport that raises where a router is made and closed."""

    def __init__(self, *, binds: bool) -> None:
        self.binds = binds

    def bind(self, deployment: cnroute.Deployment) -> Clumsy:
        """Raise, or be every deployment's."""
        if not self.binds:
            raise ZeroDivisionError(deployment.api_key)
        return self

    def send(self, request: Any, deadline: Any) -> Any:
        """Not asked here."""
        raise AssertionError

    open = send

    def close(self) -> None:
        """Raise."""
        raise OSError("the way out is blocked")


def test_a_strangers_transport_that_cannot_bind_is_named() -> None:
    """Where the router is made: a ConfigurationError, without the key."""
    with pytest.raises(cnroute.ConfigurationError) as caught:
        cnroute.Router([deployment("a")], transport=Clumsy(binds=False), plugins=host(ToyProvider()))
    binding, closing = caught.value.problems
    assert "transport Clumsy: bind raised ZeroDivisionError (test_hooks.py:" in str(binding)
    assert "transport Clumsy: close raised OSError (test_hooks.py:" in str(closing)
    assert caught.value.__context__ is None


def test_a_strangers_transport_that_cannot_close_loses_no_settlement() -> None:
    """The store is told everything all the same, and the transport's own error is not hidden."""
    store = cnroute.MemoryStore()
    told: list[str] = []
    store.close = lambda: told.append("closed")  # type: ignore[method-assign]
    router = cnroute.Router([deployment("a")], transport=Clumsy(binds=True), plugins=host(ToyProvider()), store=store)
    with pytest.raises(OSError, match="blocked"):
        router.close()
    assert told == ["closed"]


def test_a_call_error_that_a_stream_hook_raises_is_the_failure_that_it_describes() -> None:
    """As in the other hooks: typed, with its code, and no plugin_error."""

    def busy(line: str, state: Any, deployment: Any) -> Any:
        raise cnroute.RateLimitError("slow down", vendor_code="7", retry_after=3)

    toy = Toy([[frames({"text": "a"})]], plugins=host(ToyProvider(parse_stream_line=busy)), names="a")
    error = raised(lambda: list(toy.stream()))
    assert (type(error), error.vendor_code, error.retry_after) == (cnroute.RateLimitError, "7", 3)


def test_what_a_plugin_leaves_out_of_raw_is_filled_in() -> None:
    """`raw` is the vendor's decoded answer, whoever decodes it."""

    def read(response: Any, deployment: Any) -> Any:
        return cnroute.ChatCompletion(text="a", finish_reason="stop")

    toy = Toy([answer("x", more=[1])], plugins=host(ToyProvider(parse_response=read)), names="a")
    assert toy.chat().raw["more"] == [1]
