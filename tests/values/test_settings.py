"""Wrong settings are a ConfigurationError that names them all, when the router is made."""

from __future__ import annotations

import math
from typing import Any

import pytest

import cnroute
from cnroute.settings import nearest
from cnroute.testing import FakeTransport
from tests.flow.toy import KEY, Toy, answer, deployment, host, raised

KINDS: list[tuple[type, list[str]]] = [
    (cnroute.Timeouts, ["total", "attempt", "connect", "first_byte", "first_token", "idle", "write", "pool"]),
    (cnroute.Retries, ["backoff", "throttled_backoff", "backoff_cap", "max_wait"]),
    (cnroute.Breaker, ["window", "open_for", "max_open"]),
]
WHOLE: list[tuple[type, list[str]]] = [
    (cnroute.Limits, ["max_connections", "max_in_flight", "max_response_bytes", "max_line_bytes", "max_stream_bytes"]),
    (cnroute.Retries, ["max_attempts", "max_paid_attempts"]),
    (cnroute.Breaker, ["failures", "min_calls"]),
]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True, [], 10**400])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS for name in names])
def test_a_time_must_be_positive_and_finite(kind: type, name: str, value: Any) -> None:
    """Zero, negative, NaN, infinity, text and booleans are refused by name."""
    error = raised(lambda: kind(**{name: value}), cnroute.ConfigurationError)
    assert error.problems[0].key == name


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, "5", True])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in WHOLE for name in names])
def test_a_count_must_be_whole_and_positive(kind: type, name: str, value: Any) -> None:
    """Counts and sizes are integers of at least one."""
    assert raised(lambda: kind(**{name: value}), cnroute.ConfigurationError).problems[0].key == name


def test_what_was_left_out_hides_nothing() -> None:
    """The nearest given value wins; a default is not given."""
    near, far = cnroute.Timeouts(idle=7), cnroute.Timeouts(total=9, idle=8)
    made = nearest(cnroute.Timeouts, near, None, far)
    assert (made.idle, made.total, made.connect) == (7, 9, 5)
    assert nearest(cnroute.Retries) == cnroute.Retries()


def problems(deployments: Any, routes: Any = None, **keywords: Any) -> list[str]:
    """The problems of a router as text."""
    keywords.setdefault("plugins", host())
    keywords.setdefault("transport", FakeTransport())
    error = raised(
        lambda: cnroute.Router(deployments, routes if routes is not None else {}, **keywords), cnroute.ConfigurationError
    )
    assert KEY not in str(error) + repr(error.problems) + repr(error.args)
    return [str(problem) for problem in error.problems]


def test_all_problems_come_at_once() -> None:
    """Whatever else is wrong is told in the same error."""
    found = problems(
        [
            deployment("a"),
            deployment("a"),
            deployment("nowhere", provider="toyy"),
            deployment("odd", options={"regoin": "x"}),
            deployment("empty", provider="minimax-pro"),
            "text",
        ],
        {
            "a": ["b"],
            "x/y": ["a"],
            "r1": ["r2"],
            "r2": ["r1"],
            "none": [],
            "text": "a",
            "weights": {"policy": "ordered", "targets": {"a": 1}},
            "zero": {"policy": "weighted", "targets": {"a": 0}},
            "minus": {"policy": "weighted", "targets": {"a": -1}},
            "policy": {"policy": "cheepest", "targets": ["a"]},
            "target": ["aa"],
            "kind": {"targets": ["a"], "fallback_on": ["x"]},
            "word": {"targets": ["a"], "fallback": {"auth": "maybe"}},
            "key": {"target": ["a"]},
            "number": [5],
            "list": [["a"]],
        },
        exchange={
            "USD": 7,
            "usd": {"rate": "7", "as_of": "2026-01-01"},
            "EUR": {"rate": 7.1, "as_of": "2026-01-01"},
            "JPY": {"rate": "0", "as_of": "2026-01-01"},
            "GBP": {"rate": "9", "as_of": "soon"},
        },
        defaults={"max_tokens": -1},
        policy="fastests",
        currency="yuan",
        random=5,
    )
    text = "\n".join(found)
    for part in (
        "deployments.a: two deployments",
        "deployments.nowhere",
        "deployments.odd",
        "'regoin'; did you mean 'region'",
        "deployments.empty",
        "str is no Deployment",
        "routes.a: a route and a deployment",
        "routes.x/y",
        "routes form a circle: r1 > r2 > r1",
        "routes.none",
        "routes.text",
        "routes.weights",
        "routes.zero",
        "routes.minus",
        "did you mean 'cheapest'",
        "did you mean 'a'",
        "no failure kind 'x'",
        "fallback of auth",
        "did you mean 'targets'",
        "routes.number",
        "routes.list",
        "exchange.USD",
        "exchange.usd",
        "exchange.EUR",
        "exchange.JPY",
        "exchange.GBP",
        "defaults",
        "did you mean 'fastest'",
        "currency",
        "random",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeouts", 5),
        ("limits", {"max_in_flight": 1}),
        ("retries", 3),
        ("breaker", 5),
        ("defaults", 5),
        ("defaults", {"max_tokens": True}),
        ("defaults", {"max_tokens": 10**12}),
        ("defaults", {"max_tokns": 5}),
        ("defaults", {"timeout": 5}),
        ("defaults", {"temperature": "x"}),
        ("exchange", 5),
        ("currency", None),
        ("policy", 5),
        ("policy", "cheepest"),
        ("transport", "nothing"),
        ("transport", object()),
        ("random", "x"),
        ("plugins", 5),
        ("clock", object()),
        ("budgets", ("x",)),
        ("store", object()),
    ],
)
def test_a_wrong_router_setting_is_refused_by_name(name: str, value: Any) -> None:
    """Every keyword of the router is checked at construction."""
    assert any(name in text for text in problems([deployment("a")], **{name: value}))


@pytest.mark.parametrize("value", [None, 5, "text", [None], [5], deployment("a"), []])
def test_deployments_must_be_deployments(value: Any) -> None:
    """A router needs at least one deployment and nothing else in their place."""
    assert any("deployment" in text.lower() for text in problems(value))


@pytest.mark.parametrize(
    "value", [5, "text", ["a"], [("chat", ["a"])], {5: ["a"]}, {"": ["a"]}, {"x": None}, {"x": 5}, {" x": ["a"]}]
)
def test_routes_must_be_a_mapping_of_names_to_routes(value: Any) -> None:
    """Anything else is told, not a crash."""
    assert problems([deployment("a")], value)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "a\nb"},
        {"name": 5},
        {"name": "a\ud800"},
        {"name": "a\x85"},
        {"name": "x" * 201},
        {"model": ""},
        {"model": None},
        {"model": "m\r\nX: 1"},
        {"model": "m\ud800"},
        {"model": "x" * 201},
        {"provider": 5},
        {"provider": []},
        {"api_key": 5},
        {"api_key": {"envv": "X"}},
        {"api_key": {"env": ""}},
        {"api_key": {"env": "A", "file": "B"}},
        {"options": None},
        {"options": 5},
        {"options": {"region": "a\r\nb"}},
        {"options": {"region": "\x00"}},
        {"options": {"region": "\ud800"}},
        {"options": {"region": {"env": "CNROUTE_TEST_MISSING_VARIABLE"}}},
        {"options": {"region": {"file": "/nonexistent/file"}}},
        {"price": "20"},
        {"price": 20},
        {"price": {"currency": "CNY", "imput": "1"}},
        {"price": {"input": "1"}},
        {"price": {"currency": "CNY", "input": 1.5}},
        {"timeouts": 5},
        {"limits": 5},
        {"breaker": 5},
        {"rate_limit": 5},
        {"defaults": 5},
        {"headers": 5},
        {"headers": {"X-A": "b\r\nc"}},
        {"headers": {"X A": "b"}},
        {"headers": {"X-A": "b\x00"}},
        {"headers": {"X-A": 5}},
        {"headers": {5: "x"}},
        {"headers": {"X-A": "密"}},
        {"tls": 5},
        {"proxy": 5},
    ],
    ids=repr,
)
def test_a_wrong_field_of_a_deployment_is_a_configuration_error(fields: dict[str, Any]) -> None:
    """What can be checked without a network is checked when the value is built."""
    complete = {"name": "a", "provider": "toy", "model": "toy-1", **fields}
    assert isinstance(raised(lambda: cnroute.Deployment(**complete), cnroute.ConfigurationError), cnroute.ConfigurationError)


@pytest.mark.parametrize(
    "defaults", [{"max_tokens": -1}, {"max_tokens": True}, {"bogus": 1}, {"timeout": 5}, {"temperature": math.nan}]
)
def test_defaults_of_deployments_and_routes_are_checked(defaults: dict[str, Any]) -> None:
    """They are arguments of calls, so the same rules hold, at construction."""
    assert any("defaults" in text for text in problems([deployment("a", defaults=defaults)]))
    assert any(
        "defaults" in text for text in problems([deployment("a")], {"chat": cnroute.Route(targets=["a"], defaults=defaults)})
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "file:///etc/passwd",
        "x.example/v1",
        "//x",
        "",
        "https://",
        "https://user:pw@x",
        "https://user@x",
        "https://@x",
        "http://x.example",
        "https://x#f",
        "https://x?q=1",
        "https://x:0",
        "https://x:70000",
        "https://x:port",
        "https://[fe80::1%25eth0]/",
        "https://[::1",
        "https://x/../y",
        "https://x\r\nY",
        "https://x y",
        "https://密.example",
        "https://x\\y",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        5,
        b"https://x",
        "http://0x7f000001",
        "http://[::ffff:127.0.0.1]",
        "https://x\x00",
        "javascript:alert(1)",
    ],
)
def test_a_bad_base_url_is_refused(url: Any) -> None:
    """https anywhere, http on loopback; no user info, query, fragment, dots, zone ids or impossible ports."""
    error = raised(lambda: deployment("a", base_url=url), cnroute.ConfigurationError)
    assert error.problems[0].key == "base_url"
    assert "user:pw" not in str(error)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://x.example/v1/", "https://x.example/v1"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://localhost:1/", "http://localhost:1"),
        ("http://[::1]:8080/p", "http://[::1]:8080/p"),
        ("https://x:65535", "https://x:65535"),
    ],
)
def test_a_good_base_url_loses_only_its_slash(url: str, kept: str) -> None:
    """A trailing slash is forgiven, a path prefix kept."""
    assert deployment("a", base_url=url).base_url == kept


def test_plain_http_elsewhere_must_be_allowed() -> None:
    """`allow_http=True` says so."""
    assert deployment("a", base_url="http://vendor.example", allow_http=True).base_url == "http://vendor.example"


@pytest.mark.parametrize("layer", ["call", "deployment", "route", "router", "none"])
def test_the_nearest_max_tokens_wins(layer: str) -> None:
    """Call, deployment, route, router, and 2,048 at the end."""
    order = ["call", "deployment", "route", "router", "none"]
    given = {name: {"max_tokens": 11 + place} for place, name in enumerate(order[:-1]) if place >= order.index(layer)}
    toy = Toy(
        [answer()],
        deployments=[deployment("a", defaults=given.get("deployment", {}))],
        routes={"chat": cnroute.Route(targets=["a"], defaults=given.get("route", {}))},
        defaults=given.get("router"),
    )
    toy.chat(**given.get("call", {}))
    assert toy.transport.requests[0].json()["max_tokens"] == (2048 if layer == "none" else 11 + order.index(layer))


def test_other_defaults_fill_what_the_call_left_out() -> None:
    """A default may be any parameter of a call; the call's own value wins."""
    toy = Toy([answer()], names="a", defaults={"temperature": 0.3, "stop": "END", "top_p": 0.5})
    toy.chat(top_p=0.9)
    body = toy.transport.requests[0].json()
    assert (body["temperature"], body["stop"], body["top_p"]) == (0.3, ["END"], 0.9)


def test_max_tokens_of_a_default_is_capped_by_the_model() -> None:
    """The model's limit is known: nothing above it is sent unless the caller wrote it."""
    from tests.flow.toy import ToyProvider

    models = (cnroute.ModelInfo("toy-1", max_output=100), cnroute.ModelInfo("toy-r", capabilities={"reasoning"}))
    toy = Toy([answer()], deployments=[deployment("a"), deployment("r", "toy-r")], plugins=host(ToyProvider(models=models)))
    toy.chat(model="a")
    toy.chat(model="r")
    assert [sent.json()["max_tokens"] for sent in toy.transport.requests] == [100, 16384]


def test_currencies_meet_only_by_a_rate() -> None:
    """`cheapest` over two currencies needs a configured rate, for routes and for bare model names."""
    deployments = [
        deployment("a", price=cnroute.Price("CNY", "1", "1")),
        deployment("b", price=cnroute.Price("USD", "1", "1")),
    ]
    route = {"chat": cnroute.Route("cheapest", ["a", "b"])}
    assert any("USD" in text for text in problems(deployments, route))
    assert any("USD" in text for text in problems(deployments, policy="cheapest"))
    cnroute.Router(
        deployments,
        route,
        transport=FakeTransport(),
        plugins=host(),
        exchange={"USD": {"rate": "7.1", "as_of": "2026-11-01"}},
        policy="cheapest",
    ).close()
    cnroute.Router(deployments, {"chat": ["a", "b"]}, transport=FakeTransport(), plugins=host()).close()
    inner = {"chat": cnroute.Route("ordered", ["a", cnroute.Route("cheapest", ["a", "b"])])}
    assert any("USD" in text for text in problems(deployments, inner))


def test_a_failed_construction_closes_its_own_transport() -> None:
    """A router that cannot be made leaves nothing open."""
    transport = FakeTransport()
    assert problems([deployment("a"), deployment("a")], transport=transport)
    assert transport.closed


@pytest.mark.parametrize("value", ["no", "", 0, 1, None])
@pytest.mark.parametrize(("make", "name"), [
    (lambda value: cnroute.Router([cnroute.Deployment("a", "dashscope", "m", api_key="x")], log_content=value), "log_content"),
    (lambda value: cnroute.Deployment("a", "dashscope", "m", api_key="x", allow_http=value), "allow_http"),
    (lambda value: cnroute.PluginHost(autoload=value), "autoload"),
])
def test_a_flag_is_true_or_false(make: Any, name: str, value: Any) -> None:
    """The text "no" is true to Python: it would log prompts."""
    with pytest.raises(cnroute.ConfigurationError, match="must be True or False") as caught:
        make(value)
    assert [problem.key for problem in caught.value.problems] == [name]
