"""The exception tree: classes, attributes, pickling, messages without secrets or control characters."""

from __future__ import annotations

import copy
import datetime
import json
import pickle
import re
from typing import Any

import attrs
import pytest

import cnroute
from cnroute import errors
from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind, clean_text
from tests.flow.toy import KEY, Toy, answer, error, frames, raised

# The tree of the contract, section 3: class, its base, its kinds.
TREE: list[tuple[str, str, str]] = [
    ("AuthenticationError", "CallError", "auth"),
    ("PermissionDeniedError", "CallError", "permission"),
    ("QuotaExceededError", "CallError", "quota"),
    ("RateLimitError", "CallError", "rate_limit"),
    ("ModelNotFoundError", "CallError", "model_not_found"),
    ("ContentFilterError", "CallError", "content_filter"),
    ("BadRequestError", "CallError", "bad_request request_too_large"),
    ("ContextLengthError", "BadRequestError", "context_length"),
    ("UnsupportedRequestError", "BadRequestError", "unsupported"),
    ("ServerError", "CallError", "server_error overloaded vendor_timeout"),
    ("ConnectionFailedError", "CallError", "dns_error connect_error tls_error tls_verify connection_lost"),
    (
        "CallTimeoutError",
        "CallError",
        "connect_timeout tls_timeout write_timeout first_byte_timeout first_token_timeout idle_timeout",
    ),
    ("DeadlineExceededError", "CallTimeoutError", "deadline_exceeded"),
    ("ResponseError", "CallError", "protocol_error decode_error bad_response response_too_large redirect"),
    ("StreamInterruptedError", "CallError", "stream_interrupted"),
    ("NoCandidateError", "CallError", "no_candidate"),
    ("LocalOverloadError", "CallError", "local_overload"),
    ("BudgetExceededError", "CallError", "budget_exceeded"),
    ("CallCancelledError", "CallError", "cancelled"),
    ("RouterClosedError", "CallError", "closed"),
    ("HookError", "CallError", "plugin_error"),
]


def test_the_tree_is_the_one_of_the_contract() -> None:
    """Every class stands under its base, is exported, and no other exists."""
    for name, base, _ in TREE:
        assert getattr(cnroute, name).__bases__ == (getattr(errors, base),)
    assert (
        cnroute.CallError.__bases__
        == cnroute.ConfigurationError.__bases__
        == cnroute.PluginError.__bases__
        == (cnroute.CnrouteError,)
    )
    named = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert named == {name for name, _, _ in TREE} | {"CnrouteError", "CallError", "ConfigurationError", "PluginError"}


def test_every_kind_has_its_class() -> None:
    """`error_for` makes the class of the contract's tree for each kind, and no kind is left out."""
    of_kind = {kind: name for name, _, kinds in TREE for kind in kinds.split()}
    assert set(of_kind) == {kind.value for kind in FailureKind}
    for kind in FailureKind:
        made = error_for(Failure(kind, "x"))
        assert type(made).__name__ == of_kind[kind.value]
        assert made.kind is kind
        assert isinstance(made.kind, str) and made.kind == kind.value


def test_defaults_of_each_class() -> None:
    """A class called without a kind has one of its own kinds, and a message."""
    for name, _, kinds in TREE:
        made = getattr(cnroute, name)()
        assert made.kind.value in kinds.split()
        assert made.message
        assert str(made) == made.message


FIELDS: dict[str, Any] = {
    "call_id": "c1",
    "provider": "toy",
    "deployment": "a",
    "http_status": 429,
    "vendor_code": "1002",
    "request_id": "r1",
    "retry_after": 1.5,
    "attempts": (
        cnroute.Attempt(
            "a", "toy", 1, Failure("rate_limit", "慢", vendor_code="1002"), cost=cnroute.Price("CNY", "1", "1").of(1, 1)
        ),
    ),
    "billing": "unknown",
    "plan": cnroute.Plan("chat", "ordered", ()),
}
SPECIAL: dict[str, dict[str, Any]] = {
    "StreamInterruptedError": {
        "partial_text": "你好",
        "deltas": (cnroute.TextDelta("你"), cnroute.ReasoningDelta("好"), cnroute.ToolCallDelta(0, "i", "f", "{}")),
        "usage": cnroute.Usage(1, 2),
        "cause_kind": FailureKind.IDLE_TIMEOUT,
    },
    "NoCandidateError": {"retry_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)},
    "UnsupportedRequestError": {"parameter": "tools", "reason": "none"},
}


@pytest.mark.parametrize(
    "again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
@pytest.mark.parametrize("name", [name for name, _, _ in TREE] + ["CallError"])
def test_an_error_keeps_everything_when_pickled_or_copied(name: str, again: Any) -> None:
    """Every attribute and every note survives."""
    extra = SPECIAL.get(name, {})
    first = extra.values() if name == "UnsupportedRequestError" else ("message 啊",)
    made = getattr(cnroute, name)(*first, **FIELDS, **({} if name == "UnsupportedRequestError" else extra))
    made.add_note("attempt 1: a")
    twin = again(made)
    assert type(twin) is type(made)
    assert twin.__dict__ == made.__dict__
    assert twin.__notes__ == ["attempt 1: a"]
    assert (str(twin), twin.args, twin.kind, twin.retryable, twin.message) == (
        str(made),
        made.args,
        made.kind,
        made.retryable,
        made.message,
    )
    for field, value in {**FIELDS, **extra}.items():
        assert getattr(twin, field) == value


@pytest.mark.parametrize(
    "again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test_the_other_errors_pickle_too(again: Any) -> None:
    """Problems and plugin facts survive."""
    made = cnroute.ConfigurationError([errors.Problem("a", "wrong", "f.toml"), errors.Problem("b", "worse")])
    assert again(made).problems == made.problems
    assert str(again(made)) == "f.toml: a: wrong\nb: worse"
    plugin = again(cnroute.PluginError("bad", plugin="p", distribution="d 1", hook="h"))
    assert (plugin.plugin, plugin.distribution, plugin.hook, str(plugin)) == ("p", "d 1", "h", "bad")


NASTY = "a\nb\r\x00\x1b[31m\x7f\x85\u2028\u2029\u202e\u2066\ud800" + "长" * 5000


def test_messages_are_short_and_without_control_characters() -> None:
    """At most 2,000 characters, whatever a vendor or a plugin says."""
    for kind in FailureKind:
        for made in (error_for(Failure(kind, NASTY, vendor_code=NASTY, request_id=NASTY)), type(error_for(Failure(kind)))(NASTY)):
            assert len(str(made)) <= 2000
            assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", str(made))
            str(made).encode()
    assert len(str(cnroute.PluginError(NASTY))) <= 2000
    assert len(str(cnroute.ConfigurationError([errors.Problem("k", NASTY)] * 9))) <= 2000
    assert len(str(cnroute.UnsupportedRequestError(NASTY, NASTY))) <= 2000


class Rude(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_cleaning_raises_nothing() -> None:
    """What cannot be shown is empty."""
    assert clean_text(Rude()) == ""
    assert clean_text(None) == "None"
    assert clean_text("ok") == "ok"
    assert len(clean_text("\x00" * 10**6)) == 500


def test_vendor_codes_are_text_and_billing_follows_the_kind() -> None:
    """A code is never taken for a status; billing says what may have been charged."""
    assert Failure("auth", vendor_code=1004).vendor_code == "1004"
    assert Failure("auth", vendor_code=1004).http_status is None
    unknown = {kind.value for kind in FailureKind if Failure(kind).billing == "unknown"}
    assert {
        "server_error",
        "vendor_timeout",
        "write_timeout",
        "idle_timeout",
        "connection_lost",
        "bad_response",
        "redirect",
    } <= unknown
    assert not unknown & {
        "rate_limit",
        "overloaded",
        "dns_error",
        "connect_error",
        "tls_verify",
        "auth",
        "quota",
        "bad_request",
        "unsupported",
    }


def test_no_error_holds_the_key_or_the_prompt() -> None:
    """Neither message, args, attributes, notes nor pickle hold a key, even where the vendor repeats it."""
    prompt = "canary-prompt-55aa"
    answers: list[Any] = [
        error("auth", message=f"bad key {KEY}", vendor_code=KEY, request_id=KEY),
        (401, f"no {KEY}"),
        (500, f"<html>{KEY}</html>"),
        error("auth", message="x" * 490 + KEY),
        error("server_error", message=f"{KEY[:30]} {KEY}"),
    ]
    for stream in (False, True):
        for scripted in answers:
            toy = Toy([scripted], names="a")
            act = (lambda toy=toy: list(toy.stream(prompt))) if stream else (lambda toy=toy: toy.chat(prompt))
            caught = raised(act)
            for text in (
                repr(caught),
                str(caught),
                repr(caught.args),
                repr(caught.__dict__),
                repr(caught.__notes__),
                repr(pickle.dumps(caught)),
                json.dumps(caught.record(), default=str),
                caught.explain(),
                str(caught.plan),
            ):
                assert KEY not in text
                assert KEY[:8] not in text
                assert prompt not in text
            assert caught.__cause__ is None and caught.__context__ is None


def test_no_value_shows_the_key() -> None:
    """Deployments, requests, replies and plans print and pickle without it."""
    toy = Toy([answer()], names="a")
    reply = toy.chat()
    sent = toy.transport.requests[0]
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    values = [
        reply,
        reply.plan,
        reply.record(),
        toy.router.plan("x", model="chat"),
        toy.router.health(),
        toy.router.models(),
        sent,
    ]
    from cnroute.flow.build import build

    place = toy.router._engine.binding.places["a"]
    values += [place.deployment, build(place, cnroute.ChatRequest(()), False)]
    for value in values:
        assert KEY not in repr(value) + str(value)
    for value in (reply, place.deployment, build(place, cnroute.ChatRequest(()), False)):
        assert KEY.encode() not in pickle.dumps(value)
    assert KEY not in repr(attrs.asdict(place.deployment))


def test_an_interrupted_stream_holds_exactly_what_was_handed_out() -> None:
    """`partial_text`, `deltas`, `usage` and `cause_kind` tell where it broke; the text is not in the message."""
    broken = frames(
        {"text": "你好"},
        {"usage": [5, 1]},
        {"text": "世"},
        {"error": {"kind": "server_error", "vendor_code": "1000", "request_id": "r9"}},
    )
    toy = Toy([[broken]], names="a b")
    seen: list[Any] = []
    caught = raised(lambda: seen.extend(iter_into(toy.stream(), seen)), cnroute.StreamInterruptedError)
    assert caught.partial_text == "你好世"
    assert caught.deltas == tuple(seen)
    assert caught.usage == cnroute.Usage(5, 1)
    assert (caught.cause_kind, caught.kind, caught.vendor_code, caught.request_id) == (
        "server_error",
        "stream_interrupted",
        "1000",
        "r9",
    )
    assert caught.billing == "billed"
    assert caught.deployment == "a"
    assert toy.asked == ["a"]
    assert "你好" not in str(caught) + repr(caught.__notes__)


def iter_into(stream: Any, seen: list[Any]) -> list[Any]:
    for delta in stream:
        seen.append(delta)
    return []
