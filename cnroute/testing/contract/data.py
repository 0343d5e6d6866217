"""Group 6: what a provider says of itself, compared with what it does."""

from __future__ import annotations

from typing import Any

from cnroute.money import Price
from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require
from cnroute.testing.contract.probes import HELLO, schema, tool
from cnroute.testing.contract.subject import Built, Subject

_WAYS: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "tools": ("tools", ({"tools": [tool("kit_one")]},)),
    "reasoning": ("reasoning", ({"reasoning": True}, {"reasoning": 1024})),
    "knowledge_base": ("knowledge_base", ({"knowledge_base": 863831823174049793},)),
    "web_search": ("web_search", ({"web_search": True},)),
    "json": ("response_format", ({"response_format": {"type": "json_object"}}, {"response_format": schema("kit_field")})),
}
_FLAGS = ("tools", "reasoning", "knowledge_base")


def abilities(subject: Subject) -> list[str]:
    """What the provider does for its model, of what the contract has a flag for: found by asking."""
    usual = subject.build(HELLO).wire()
    found = []
    for name in _FLAGS:
        built = [subject.build(HELLO, **way) for way in _WAYS[name][1]]
        if name in subject.info.capabilities and any(each.made is not None and each.wire() != usual for each in built):
            found.append(name)
    return found


class DataChecks(ContractBase):
    """`describe_provider` and prices against behaviour."""

    @check(groups.DATA)
    def test_prices_have_a_currency_and_a_date(self) -> None:
        """Every price of a model, and of `load_prices`, says its currency, when it was true, and where it stands."""
        subject = self.subject()
        prices: list[tuple[str, Price]] = [(model.name, model.price) for model in subject.info.models if model.price is not None]
        prices += [(model, price) for provider, model, price in subject.host.prices() if provider == subject.name]
        for model, price in each_of(prices, "the provider knows no prices"):
            for field in ("currency", "as_of", "source"):
                require(
                    getattr(price, field),
                    f"the price of {model} has {field}",
                    expected=f"Price(..., {field}=...)",
                    got=getattr(price, field),
                    change=f"give the price its {field}",
                )

    @check(groups.DATA)
    def test_capabilities_are_what_the_provider_does(self) -> None:
        """What a provider does not list, it refuses by name; what it lists for a model, it does."""
        subject = self.subject()
        model = subject.info.model(subject.model)
        of_model = model.capabilities if model is not None else None
        for capability, (parameter, ways) in _WAYS.items():
            built = [self._sent_with(way) for way in ways]
            sent = [way for way, each in zip(ways, built, strict=True) if each.made is not None and self._says_more(each)]
            if capability not in subject.info.capabilities:
                require(
                    not sent,
                    f"{capability} is listed, or refused",
                    expected=f"UnsupportedRequestError({parameter!r}, reason)",
                    got=f"{sent} is sent",
                    change=f"list {capability!r} in ProviderInfo.capabilities, or refuse {parameter}",
                )
            elif of_model is not None and capability in of_model and capability != "reasoning":
                require(
                    sent,
                    f"{capability} of the model {subject.model} works",
                    expected="a request",
                    got=[each.what() for each in built],
                    change=f"send {parameter}, or take {capability!r} from the model's capabilities",
                )

    def _sent_with(self, way: dict[str, Any]) -> Built:
        return self.subject().build(HELLO, **way)

    def _says_more(self, built: Built) -> bool:
        return bool(built.wire() != self.subject().build(HELLO).wire())

    @check(groups.DATA)
    def test_flags_are_what_the_provider_does(self) -> None:
        """`supports_tools` and its like in the contract say what the provider does for this model: none hides a failure."""
        subject = self.subject()
        for name in _FLAGS:
            parameter, ways = _WAYS[name]
            flag = getattr(self, f"supports_{name}")
            built = [self._sent_with(way) for way in ways]
            taken = [each for each in built if each.made is not None]
            if flag:
                require(
                    taken,
                    f"supports_{name} = True: the provider takes {parameter}",
                    expected="a request",
                    got=[each.what() for each in built],
                    change=f"send {parameter} in build_request, or set supports_{name} = False",
                )
                require(
                    name in subject.info.capabilities,
                    f"supports_{name} = True: it is listed",
                    expected=f"{name!r} in capabilities",
                    got=sorted(subject.info.capabilities),
                    change=f"list {name!r} in ProviderInfo.capabilities, or set supports_{name} = False",
                )
                continue
            model = subject.info.model(subject.model)
            require(
                name not in subject.info.capabilities or (model is not None and model.capabilities is not None),
                f"supports_{name} = False: it is not listed",
                expected=f"no {name!r} in capabilities, or capabilities of this model",
                got=sorted(subject.info.capabilities),
                change=f"take {name!r} from ProviderInfo.capabilities, or give ModelInfo({subject.model!r}) its own",
            )
            more = [each for each in taken if self._says_more(each)]
            require(
                not more,
                f"supports_{name} = False: {parameter} is refused by name",
                expected=f"UnsupportedRequestError({parameter!r}, reason)",
                got="a request",
                change=f"set supports_{name} = True in the contract, or refuse {parameter}",
            )
            for each in built:
                named = each.refused is not None and each.refused.parameter.partition(".")[0] == parameter
                require(
                    named,
                    f"supports_{name} = False: {parameter} is refused by name",
                    expected=f"UnsupportedRequestError({parameter!r}, reason)",
                    got=each.what(),
                    change=f"raise UnsupportedRequestError({parameter!r}, reason)",
                )

    @check(groups.DATA)
    def test_a_provider_that_streams_says_so(self) -> None:
        """The flag `supports_stream`, the capability `streaming` and the hook `parse_stream_line` agree."""
        subject = self.subject()
        facts = {
            "supports_stream in the contract": bool(self.supports_stream),
            "'streaming' in capabilities": "streaming" in subject.info.capabilities,
            "the hook parse_stream_line": subject.hooks.parse_stream_line is not None,
        }
        require(
            len(set(facts.values())) == 1,
            "the provider streams, or does not",
            expected="three times the same",
            got=facts,
            change="set supports_stream, ProviderInfo.capabilities and the hook alike",
        )

    @check(groups.DATA)
    def test_samples_stay_within_what_the_contract_claims(self) -> None:
        """No sample shows tool calls or reasoning of a provider that the contract says has none."""
        for sample in each_of(self.all_samples(), "there is no sample"):
            answer = self.subject().play(sample).answer
            for name, found in (("tools", answer.tool_calls), ("reasoning", answer.reasoning)):
                if found and not getattr(self, f"supports_{name}") and not sample.call.get("model"):
                    fail(
                        f"supports_{name} = False: no answer has any",
                        expected="none",
                        got=found,
                        sample=sample.name,
                        change=f"set supports_{name} = True",
                    )

    @check(groups.DATA)
    def test_count_tokens_gives_a_count(self) -> None:
        """`count_tokens` gives an int of at least 0 or None, more for more text, and the same each time."""
        subject = self.subject()
        count = subject.hooks.count_tokens
        if count is None:
            raise NotApplicable("the provider has no count_tokens")
        place = subject.place()
        counts = [count(subject.request(text), place.deployment) for text in ("你好", "你好" * 500, "", "你好") if text]
        for each in counts:
            require(
                each is None or (type(each) is int and each >= 0),
                "a count is an int or None",
                expected="an int of at least 0, or None",
                got=each,
                change="return an int",
            )
        require(
            counts[0] == counts[-1] and (None in counts or counts[0] <= counts[1]),
            "a count grows with the text",
            expected="the same twice, and more for more",
            got=counts,
            change="count request.messages, and nothing else",
        )
