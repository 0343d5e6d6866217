"""Asking a knowledge base through the router: what goes out, the sources that come back, and who may answer instead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import cnroute
from cnroute import codec
from cnroute.emulator import Emulator

GROUP, OTHER = "1700000000000000042", "1700000000000000043"
TEXT = "退货政策:七天之内可以退货。\n运费由商家承担。\n周末也发货。\n会员有折扣。\n发票随货寄出。\n退货要保留包装。"
PROVIDERS = {"minimax-pro": "abab6.5s-chat", "minimax-legacy": "abab5.5-chat"}
PATTERN = "资料:{{context}}\n请回答:{{question}}"


@pytest.fixture
def vendor(shared_emulator: Emulator) -> Iterator[Emulator]:
    shared_emulator.reset()
    shared_emulator.empty()
    yield shared_emulator


def place(vendor: Emulator, name: str, provider: str, group: str = GROUP, **more: Any) -> cnroute.Deployment:
    model = PROVIDERS.get(provider, "MiniMax-Text-01")
    options = {"group_id": group} if provider in PROVIDERS else {}
    return cnroute.Deployment(
        name, provider, model, api_key="sk-canary-77aa", base_url=vendor.base_url(provider), options=options,
        price=cnroute.Price("CNY", *more.pop("price", ("1", "1"))), **more,
    )


@pytest.fixture
def base(vendor: Emulator) -> cnroute.Base:
    """A base of one text, a chunk a line; the log is empty again."""
    with cnroute.KnowledgeClient("k", GROUP, base_url=vendor.base_url("minimax-pro")) as kb:
        file = kb.upload(TEXT.encode(), name="faq.txt")
        made = kb.create("faq", file.id, chunk_size=14, chunk_overlap=0)
        vendor.settle()
        ready = kb.wait(made.id)
    vendor.reset()
    return ready


def router(vendor: Emulator, *places: cnroute.Deployment, **route: Any) -> cnroute.Router:
    names = [each.name for each in places]
    return cnroute.Router(places, {"docs": cnroute.Route(**{"targets": names, **route})}, breaker=None)


def answered(made: cnroute.Router, streamed: bool, **arguments: Any) -> tuple[cnroute.ChatCompletion, list[cnroute.Delta]]:
    question = arguments.pop("messages", "退货政策是什么?")
    if not streamed:
        return made.chat(question, model="docs", **arguments), []
    with made.stream(question, model="docs", **arguments) as stream:
        deltas = list(stream)
    return stream.completion, deltas


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_has_its_sources(vendor: Emulator, base: cnroute.Base, provider: str, streamed: bool) -> None:
    """Text, document and index of the pieces; in a stream as an event of their own, each once."""
    with router(vendor, place(vendor, "kb", provider)) as made:
        reply, deltas = answered(made, streamed, knowledge_base=base.id)
    (document,) = base.documents
    first = reply.sources[0]
    assert (first.kind, first.document, first.index) == ("knowledge_base", str(document.file_id), 0)
    assert first.text is not None and "七天之内可以退货" in first.text and "七天之内可以退货" in reply.text
    found = [delta.source for delta in deltas if isinstance(delta, cnroute.SourceFound)]
    assert found == (list(reply.sources) if streamed else [])
    assert sum((delta.sources for delta in deltas), ()) == (reply.sources if streamed else ())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_setting_of_a_base_reaches_the_vendor(vendor: Emulator, base: cnroute.Base, provider: str, streamed: bool) -> None:
    """top_k, threshold, pattern and previous messages are sent, and do what the page says."""
    said = (("user", "运费"), ("assistant", "好的"), ("user", "退货要包装吗?"))
    talk = [{"role": role, "content": content} for role, content in said]
    asked = cnroute.KnowledgeBase(base.id, top_k=2, threshold=0.1, pattern=PATTERN, previous_messages=2)
    with router(vendor, place(vendor, "kb", provider)) as made:
        reply, _ = answered(made, streamed, messages=talk, knowledge_base=asked)
        few, _ = answered(made, streamed, messages=talk, knowledge_base=cnroute.KnowledgeBase(base.id, top_k=1))
        none, _ = answered(made, streamed, messages=talk, knowledge_base=cnroute.KnowledgeBase(base.id, threshold=0.99))
    sent = vendor.requests[0].body
    assert isinstance(sent, dict)
    assert sent["knowledge_base_param"] == {
        "knowledge_base_id": base.id, "top_k": 2, "thresh": 0.1, "pattern": PATTERN, "num_prev_messages": 2,
    }
    texts = "".join(source.text or "" for source in reply.sources)
    assert len(reply.sources) == 2 and "运费" in texts and "包装" in texts
    assert (len(few.sources), none.sources) == (1, ())


@pytest.mark.parametrize("reader", ["json", "fast"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("number", [863831823174049792, 2**63 - 1])
def test_ids_survive_the_whole_way(
    vendor: Emulator, provider: str, streamed: bool, number: int, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upload, create, chat and sources, with the standard library's codec and with `fast`."""
    monkeypatch.setattr(codec, "_quick", None if reader == "json" else pytest.importorskip("orjson").loads)
    vendor.next_ids(number)
    with cnroute.KnowledgeClient("k", GROUP, base_url=vendor.base_url("minimax-pro")) as kb:
        file = kb.upload(TEXT.encode(), name="faq.txt")
        vendor.next_ids(number)
        base = kb.create("faq", str(file.id))
        vendor.settle()
        assert kb.wait(base.id).documents[0].file_id == file.id == base.id == number
    with router(vendor, place(vendor, "kb", provider)) as made:
        reply, _ = answered(made, streamed, knowledge_base=base.id)
    assert reply.sources[0].document == str(number)
    assert isinstance(reply.raw, dict) and reply.raw["knowledge_base"]["knowledge_base_id"] == number
    assert [each.id for each in vendor.files] == [each.id for each in vendor.bases] == [number]


# -- fallback


def rules(error: cnroute.CallError) -> dict[str, str]:
    return {each.deployment: each.rule for each in error.plan.excluded}


@pytest.mark.parametrize("streamed", [False, True])
def test_fallback_keeps_to_the_account_of_the_base(vendor: Emulator, base: cnroute.Base, streamed: bool) -> None:
    """The other dialect of the same group takes over; another group and a dialect without bases are never asked."""
    vendor.script("abab6.5s-chat", ["http_503"])
    places = (
        place(vendor, "v2", "minimax-v2"), place(vendor, "pro", "minimax-pro"), place(vendor, "other", "minimax-pro", OTHER),
        place(vendor, "legacy", "minimax-legacy"),
    )
    with router(vendor, *places) as made:
        plan = made.plan("退货", model="docs", knowledge_base=base.id)
        reply, _ = answered(made, streamed, knowledge_base=base.id)
    assert [each.deployment for each in plan.candidates] == ["pro", "legacy"]
    excluded = {each.deployment: (each.rule, each.reason) for each in plan.excluded}
    why = "knowledge_base: it belongs to the account of pro; this deployment has another one"
    assert excluded["other"] == ("unsupported", why)
    assert excluded["v2"][0] == "unsupported" and "minimax-pro" in excluded["v2"][1]
    assert [attempt.deployment for attempt in reply.attempts] == ["pro", "legacy"]
    assert reply.sources and reply.adjusted == {}
    assert [entry.provider for entry in vendor.requests] == ["minimax-pro", "minimax-legacy"]


def test_no_holder_left_is_the_holders_error(vendor: Emulator, base: cnroute.Base) -> None:
    """The class of the last attempt; nobody was asked without the base."""
    vendor.script("abab6.5s-chat", ["http_503", "http_503"])
    with router(vendor, place(vendor, "pro", "minimax-pro"), place(vendor, "v2", "minimax-v2")) as made:
        with pytest.raises(cnroute.ServerError) as caught:
            made.chat("退货", model="docs", knowledge_base=base.id, timeout=5)
    assert {attempt.deployment for attempt in caught.value.attempts} == {"pro"}
    assert {entry.provider for entry in vendor.requests} == {"minimax-pro"}
    assert rules(caught.value) == {"v2": "unsupported"}


def test_a_route_without_bases_says_so(vendor: Emulator) -> None:
    """Nothing is sent, and the parameter is named."""
    with router(vendor, place(vendor, "v2", "minimax-v2")) as made:
        with pytest.raises(cnroute.UnsupportedRequestError, match="knowledge_base"):
            made.chat("退货", model="docs", knowledge_base=5)
    assert vendor.requests == []


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("policy", ["ordered", "cheapest", "weighted"])
def test_going_on_without_the_base_is_named(vendor: Emulator, base: cnroute.Base, policy: str, streamed: bool) -> None:
    """Those without it come last, whatever the policy prefers; the loss stands in plan, record and reply."""
    vendor.script("abab6.5s-chat", ["http_503", "http_503"])
    cheap = place(vendor, "v2", "minimax-v2", price=("0.1", "0.1"))
    dear = place(vendor, "pro", "minimax-pro", price=("9", "9"))
    targets: Any = {"v2": 1000, "pro": 1} if policy == "weighted" else ["v2", "pro"]
    with router(vendor, cheap, dear, policy=policy, targets=targets, knowledge_fallback="without") as made:
        plan = made.plan("退货", model="docs", knowledge_base=base.id)
        reply, _ = answered(made, streamed, knowledge_base=base.id)
    assert [each.deployment for each in plan.candidates] == ["pro", "v2"]
    assert plan.candidates[1].reason.startswith("without the knowledge base, then ")
    assert "不使用知识库" in plan.explain("zh")
    assert [attempt.deployment for attempt in reply.attempts] == ["pro", "v2"]
    assert reply.sources == () and "does not hold the base" in reply.adjusted["knowledge_base"]
    assert reply.record()["attempts"][-1]["adjusted"] == reply.adjusted
    assert "knowledge_base" in reply.explain() and "不用知识库" in reply.explain("zh")
    sent = vendor.requests[-1].body
    assert isinstance(sent, dict) and "knowledge_base_param" not in sent


def test_another_account_is_asked_without_the_base(vendor: Emulator, base: cnroute.Base) -> None:
    """Its own bases have other numbers: it never sees this one."""
    vendor.script("abab6.5s-chat", ["http_503"])
    places = place(vendor, "pro", "minimax-pro"), place(vendor, "other", "minimax-legacy", OTHER)
    with router(vendor, *places, knowledge_fallback="without") as made:
        reply = made.chat("退货", model="docs", knowledge_base=base.id)
    assert (reply.deployment, list(reply.adjusted)) == ("other", ["knowledge_base"])
    body = vendor.requests[-1].body
    assert isinstance(body, dict) and "knowledge_base_param" not in body


def test_the_caller_may_allow_the_loss(vendor: Emulator, base: cnroute.Base) -> None:
    """`drop_unsupported` does for one call what the route's setting does for all."""
    vendor.script("abab6.5s-chat", ["http_503"])
    with router(vendor, place(vendor, "v2", "minimax-v2"), place(vendor, "pro", "minimax-pro")) as made:
        reply = made.chat("退货", model="docs", knowledge_base=base.id, drop_unsupported=True)
        assert [attempt.deployment for attempt in reply.attempts] == ["pro", "v2"] and "knowledge_base" in reply.adjusted
        assert made.chat("退货", model="docs").deployment == "v2"


def test_a_default_base_counts_like_one_of_the_call(vendor: Emulator, base: cnroute.Base) -> None:
    """A route's default; a deployment with a base of its own holds that one."""
    with cnroute.KnowledgeClient("k", OTHER, base_url=vendor.base_url("minimax-pro")) as kb:
        own = kb.create("own", kb.upload("另一个账户的资料:退货要三十天。".encode(), name="b.txt").id)
        vendor.settle()
    route = {"defaults": {"knowledge_base": base.id}}
    places = (
        place(vendor, "pro", "minimax-pro"), place(vendor, "other", "minimax-pro", OTHER),
        place(vendor, "own", "minimax-legacy", OTHER, defaults={"knowledge_base": own.id}),
    )
    vendor.script("abab6.5s-chat", ["http_503"])
    with router(vendor, *places, **route) as made:
        reply = made.chat("退货", model="docs")
    assert [attempt.deployment for attempt in reply.attempts] == ["pro", "own"]
    assert reply.sources[0].text is not None and "三十天" in reply.sources[0].text


def test_the_asynchronous_router_does_the_same(vendor: Emulator, base: cnroute.Base) -> None:
    """The rule stands in the plan, so both routers have it."""
    vendor.script("abab6.5s-chat", ["http_503"])

    async def scene() -> cnroute.ChatCompletion:
        places = [place(vendor, "v2", "minimax-v2"), place(vendor, "pro", "minimax-pro")]
        route = cnroute.Route(targets=["v2", "pro"], knowledge_fallback="without")
        async with cnroute.AsyncRouter(places, {"docs": route}, breaker=None) as made:
            return await made.chat("退货", model="docs", knowledge_base=base.id)

    reply = asyncio.run(scene())
    assert [attempt.deployment for attempt in reply.attempts] == ["pro", "v2"] and "knowledge_base" in reply.adjusted


def test_the_setting_is_read_from_a_file(vendor: Emulator) -> None:
    """`knowledge_fallback` of a route; anything but its two words is a problem with its key."""
    deployment = {"provider": "minimax-pro", "model": "m", "api_key": "k-test-key", "options": {"group_id": GROUP}}
    routes = {"docs": {"targets": ["pro"], "knowledge_fallback": "without"}}
    config: dict[str, Any] = {"deployments": {"pro": deployment}, "routes": routes}
    cnroute.Router.from_config(config).close()
    config["routes"]["docs"]["knowledge_fallback"] = "never"
    with pytest.raises(cnroute.ConfigurationError, match="knowledge_fallback"):
        cnroute.Router.from_config(config)
