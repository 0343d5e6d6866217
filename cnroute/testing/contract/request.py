"""Group 2: what goes out. Everything is found by comparing requests, so nothing here knows a vendor's layout."""

from __future__ import annotations

import base64
import copy
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require, same
from cnroute.testing.contract.documents import leaves
from cnroute.testing.contract.subject import KEY, OTHER_KEY, ROUTE, Built

HELLO = "请用 JSON 回答:你好"
GATEWAY = "https://gateway.kit.example/team/a"
SECRET_OPTION = re.compile("key|secret|token|password|credential", re.IGNORECASE)
_MEGABYTE = "长" * 350_000
_SECONDS = 5.0


def tool(name: str) -> dict[str, Any]:
    """A tool whose every part can be found again."""
    schema = {"type": "object", "properties": {f"{name}_city": {"type": "string"}}, "required": [f"{name}_city"]}
    return {"type": "function", "function": {"name": name, "description": f"describes {name}", "parameters": schema}}


def schema(name: str) -> dict[str, Any]:
    """A response format whose property can be found again."""
    inner = {"type": "object", "properties": {name: {"type": "string"}}}
    return {"type": "json_schema", "json_schema": {"name": "kit", "schema": inner}}


@attrs.frozen
class Probe:
    """A parameter with two values; `found` of a value must stand in the body when it is sent as it is."""

    parameter: str
    one: Any
    other: Any
    found: tuple[Any, ...] = ()
    beside: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def label(self) -> str:
        """The parameter as an author writes it."""
        return f"{self.parameter}={self.one!r:.60}"


PROBES = (
    Probe("temperature", 0.37, 0.41, (0.37,)),
    Probe("temperature", 0, 0.41, (0,)),
    Probe("seed", 0, 123458, (0,)),
    Probe("top_p", 0.83, 0.79, (0.83,)),
    Probe("max_tokens", 137, 151, (137,)),
    Probe("stop", ["kit-stop-1", "kit-stop-2"], ["kit-stop-3"], ("kit-stop-1", "kit-stop-2")),
    Probe("seed", 123457, 123458, (123457,)),
    Probe(
        "tools",
        [tool("kit_one"), tool("kit_two")],
        [tool("kit_six")],
        ("kit_one", "describes kit_one", "kit_one_city", "kit_two", "describes kit_two", "kit_two_city"),
    ),
    Probe("tool_choice", "auto", "none", beside={"tools": [tool("kit_one")]}),
    Probe(
        "tool_choice",
        {"type": "function", "function": {"name": "kit_one"}},
        {"type": "function", "function": {"name": "kit_two"}},
        beside={"tools": [tool("kit_one"), tool("kit_two")]},
    ),
    Probe("response_format", {"type": "json_object"}, {"type": "text"}),
    Probe("response_format", schema("kit_field"), schema("kit_other"), ("kit_field",)),
    Probe("reasoning", True, False),
    Probe("reasoning", 1234, 1235, (1234,)),
    Probe("web_search", True, False),
    Probe("knowledge_base", 863831823174049793, 863831823174049794, (863831823174049793,)),
)


class RequestChecks(ContractBase):
    """`build_request`."""

    def _streams(self) -> tuple[bool, ...]:
        return (False, True) if self.subject().hooks.parse_stream_line is not None else (False,)

    def _settled(self, stream: bool) -> None:
        """NotApplicable where two equal calls already differ: another check tells of that."""
        one, other = (self.subject().build(HELLO, stream).wire() for _ in range(2))
        if one != other:
            raise NotApplicable("requests differ each time")

    @check(groups.REQUEST)
    def test_a_request_is_what_the_samples_expect(self) -> None:
        """The call of every sample can be built, and is what `expect_request` says where a sample has one."""
        for sample in each_of(self.all_samples(), "there is no sample"):
            built = self.subject().sample_built(sample)
            if built.made is None:
                fail(
                    "the call of a sample can be built",
                    sample=sample.name,
                    expected="an HttpRequest",
                    got=built.what(),
                    change="let build_request send it, or take what the vendor cannot take out of the sample's call",
                )
                continue
            want = sample.expect_request or {}
            for key, got in _parts(built, want):
                same(
                    f"the request's {key} is what the sample expects",
                    want[key],
                    got,
                    sample=sample.name,
                    change=f"let build_request send this {key}, or correct expect_request.{key}",
                )

    @check(groups.REQUEST)
    def test_the_same_call_gives_the_same_bytes(self) -> None:
        """Twice the same arguments give the same request, also with other calls in between and from an equal copy."""
        subject = self.subject()
        for stream in self._streams():
            request = subject.request(HELLO, temperature=0.5, max_tokens=64)
            first = subject.built(request, stream)
            subject.build([{"role": "user", "content": "another"}], not stream and len(self._streams()) > 1)
            for again in (subject.built(request, stream), subject.built(copy.deepcopy(request), stream)):
                same(
                    "the same arguments give the same bytes",
                    first.wire(),
                    again.wire(),
                    change="leave time, random numbers, counters and earlier calls out of the request",
                )

    @check(groups.REQUEST)
    def test_a_request_belongs_to_its_call_alone(self) -> None:
        """What is done to one request's headers or `adjusted` later does not show in the next."""
        for stream in self._streams():
            self._settled(stream)
            first = self.subject().build(HELLO, stream).made
            if first is None:
                raise NotApplicable("no request can be built")
            before = Built(first).wire(), dict(first.adjusted)
            for mapping in (first.headers, first.adjusted):
                if isinstance(mapping, dict):
                    mapping["X-Kit"] = "changed"
            again = self.subject().build(HELLO, stream).made
            got = Built(again).wire(), dict(again.adjusted) if again else {}
            same("a request shares nothing with the one before", before, got, change="make new dicts in build_request")

    @check(groups.REQUEST)
    def test_the_call_and_the_deployment_stay_unchanged(self) -> None:
        """`build_request` changes neither the request that it is given, nor the deployment."""
        subject = self.subject()
        for stream in self._streams():
            for given in ({}, *({**probe.beside, probe.parameter: probe.one} for probe in PROBES)):
                request = subject.request(_turns(), extra={subject.name: {"kit_probe": {"deep": [1]}}}, **given)
                place = subject.place()
                before = copy.deepcopy(request), _deployment(place.deployment)
                subject.built(request, stream)
                same(
                    "the call stays as it was",
                    before,
                    (request, _deployment(place.deployment)),
                    change="copy what build_request changes: list(...), dict(...), copy.deepcopy(...)",
                )

    @check(groups.REQUEST)
    def test_the_body_is_json_in_utf_8(self) -> None:
        """The body decodes as UTF-8 and as JSON, and Content-Type says so."""
        for stream in self._streams():
            for text in (HELLO, "emoji 👩‍👩‍👧", "lone \ud83d surrogate", 'quote " \\ \n\t\x00'):
                made = self._made(self.subject().build(text, stream), text)
                try:
                    decoded: Any = made.body.decode("utf-8")
                except UnicodeDecodeError as error:
                    decoded = error
                require(
                    isinstance(decoded, str) and Built(made).json is not None,
                    "the body is JSON in UTF-8",
                    expected="JSON in UTF-8",
                    got=made.body[:200],
                    change="make the body with cnroute.wire.dumps",
                )
                kind = {name.lower(): value for name, value in made.headers.items()}.get("content-type", "")
                require(
                    "json" in kind,
                    "Content-Type says JSON",
                    expected="application/json",
                    got=kind or "no header",
                    change="use HttpRequest.post_json, or set the header Content-Type",
                )

    def _made(self, built: Built, what: object) -> Any:
        if built.made is None:
            fail(
                "a message can be sent",
                expected=f"a request with {what!r:.60}",
                got=built.what(),
                change="let build_request send the texts of request.messages",
            )
        return built.made

    @check(groups.REQUEST)
    def test_the_key_is_in_a_header_and_nowhere_else(self) -> None:
        """Another key changes a header only; no key is in URL, body, `adjusted` or repr."""
        subject = self.subject()
        for stream in self._streams():
            self._settled(stream)
            one = self._made(subject.build(HELLO, stream), HELLO)
            other = self._made(subject.build(HELLO, stream, subject.place(api_key=OTHER_KEY)), HELLO)
            same(
                "the key is neither in the URL nor in the body",
                (other.method, other.url, other.body),
                (one.method, one.url, one.body),
                change="send the key in a header: HttpRequest.post_json(..., bearer=deployment.api_key)",
            )
            told = [str.__str__(value) for value in one.headers.values()]
            require(
                any(KEY in value for value in told) or not any(KEY.lower() in value.lower() for value in told),
                "the key is sent as it is",
                expected="a header with the key",
                got="a header with the key in other letters",
                change="give bearer=deployment.api_key",
            )
            if "api_key" in subject.info.env:
                require(
                    Built(one).wire() != Built(other).wire(),
                    "the key is sent",
                    expected="a header with the key",
                    got="the same headers with another key",
                    change="give bearer=deployment.api_key, or set the vendor's header",
                )
            for name, text in (
                ("url", one.url),
                ("body", one.body.decode("utf-8", "replace")),
                ("adjusted", str(one.adjusted)),
                ("repr", repr(one)),
                ("repr of the headers", repr(dict(one.headers))),
            ):
                require(
                    not any(form in text for form in _forms(KEY)),
                    f"the key is not in {name}",
                    expected="no key",
                    got=text.replace(KEY, "<KEY>"),
                    change="put a header with the key together as wire.SecretText(...), which is shown as ***",
                )

    @check(groups.REQUEST)
    def test_options_stay_where_they_belong(self) -> None:
        """An option's value is in the URL only if `url_options` names it; a secret option is in a header only."""
        subject = self.subject()
        options = {name: value for name, value in subject.options.items() if isinstance(value, str) and len(value) >= 6}
        for name, value in each_of(options.items(), "the contract sets no option with a text of 6 characters or more"):
            for stream in self._streams():
                made = self._made(subject.build(HELLO, stream), HELLO)
                require(
                    name in subject.info.url_options or not any(form in made.url for form in _forms(value)),
                    f"the option {name} is not in the URL",
                    expected="a URL without it",
                    got=made.url.replace(value, "<VALUE>"),
                    change=f'name it in ProviderInfo(url_options=("{name}",)) if the vendor wants it there',
                )
                hidden = SECRET_OPTION.search(name) is None or not any(
                    form in made.body.decode() + repr(made) for form in _forms(value)
                )
                require(
                    hidden,
                    f"the secret option {name} is in a header only",
                    expected="no secret",
                    got="it is in the body or the repr",
                    change="send it in a header, as wire.SecretText(...)",
                )

    @check(groups.REQUEST)
    def test_every_option_that_is_set_does_something(self) -> None:
        """Another value of an option of the deployment is another request, or is refused."""
        subject = self.subject()
        for name, value in each_of(subject.options.items(), "the contract sets no option"):
            others = (
                [not value]
                if isinstance(value, bool)
                else [value + 1]
                if isinstance(value, int)
                else [f"{value}-kit", f"{value}7"]
            )
            places = [subject.place(options={**subject.options, name: other}) for other in others]
            same_wires = [
                subject.build(HELLO, stream, place).wire() == subject.build(HELLO, stream).wire()
                for place in places
                for stream in self._streams()
            ]
            require(
                not all(same_wires),
                f"the option {name} does something",
                expected="another request with another value",
                got="the same request",
                change="read deployment.options in build_request, or do not describe the option",
            )

    @check(groups.REQUEST)
    def test_no_refusal_holds_the_key(self) -> None:
        """The words of a refusal name the parameter and the reason, never the key."""
        for probe in PROBES:
            built = self.subject().build(HELLO, **{**probe.beside, probe.parameter: probe.one})
            require(
                built.made is not None or KEY not in built.what(),
                "no key in an error",
                expected="no key",
                got="a refusal with the key",
                change="leave the key out of messages",
            )

    @check(groups.REQUEST)
    def test_every_parameter_is_sent_or_refused_by_name(self) -> None:
        """Each neutral parameter reaches the body with its value, is noted in `adjusted`, or is refused by its name."""
        for probe in PROBES:
            for stream in self._streams():
                self._check_probe(probe, stream)

    def _check_probe(self, probe: Probe, stream: bool) -> None:
        how = f"{probe.label}{' in a stream' if stream else ''}"
        one, other, none = (self._asked(probe, value, stream) for value in (probe.one, probe.other, None))
        for built in (one, other):
            _check_refusal(probe, built, how)
        if one.made is None:
            return
        note = any(key.partition(".")[0] == probe.parameter for key in one.made.adjusted)
        name = probe.parameter
        change = f"send {name}, refuse it with UnsupportedRequestError({name!r}, reason), or note it in HttpRequest.adjusted"
        if not note and one.wire() == (other.wire() if other.made is not None else None):
            fail(
                f"{how} is sent or refused",
                expected="another request than with another value",
                got="the same request",
                change=change,
            )
        if not note and one.wire() == none.wire() and probe.parameter not in ("reasoning", "web_search"):
            neutral = {"response_format": {"type": "text"}}.get(probe.parameter)
            require(
                probe.one == neutral,
                f"{how} is sent or refused",
                expected="another request than without it",
                got="the same request",
                change=change,
            )
        missing = [value for value in probe.found if not _stands(value, one.json, whole=probe.parameter == "stop")]
        require(
            note or not missing,
            f"{how} is sent with its value",
            expected=f"{missing} in the body",
            got=one.made.body.decode("utf-8", "replace"),
            change=change,
        )

    def _asked(self, probe: Probe, value: Any, stream: bool) -> Built:
        given = dict(probe.beside) if value is None else {**probe.beside, probe.parameter: value}
        return self.subject().build(HELLO, stream, **given)

    @check(groups.REQUEST)
    def test_parameters_do_not_push_each_other_aside(self) -> None:
        """All parameters that are sent alone are sent together, too."""
        subject = self.subject()
        for stream in self._streams():
            given: dict[str, Any] = {}
            wanted: list[Any] = []
            for probe in PROBES:
                trial = {**given, **probe.beside, probe.parameter: probe.one}
                if probe.parameter in given or probe.parameter == "tool_choice":
                    continue
                alone, built = self._asked(probe, probe.one, stream), subject.build(HELLO, stream, **trial)
                if alone.made is not None and built.made is not None:
                    given = trial
                    wanted += [value for value in probe.found if _stands(value, alone.json)]
            built = subject.build(HELLO, stream, **given)
            missing = [value for value in wanted if not _stands(value, built.json)]
            require(
                not missing,
                f"parameters are sent together{' in a stream' if stream else ''}",
                expected=f"{missing} in the body beside {', '.join(given)}",
                got=built.json,
                change="look at each parameter on its own",
            )

    @check(groups.REQUEST)
    def test_every_message_is_sent_once_and_in_order(self) -> None:
        """System messages, the same role twice, long talks, parts of text: each text is sent once, unchanged, in order."""
        for name, messages in SHAPES.items():
            for stream in self._streams():
                self._check_shape(name, messages, stream)

    def _check_shape(self, name: str, messages: list[dict[str, Any]], stream: bool) -> None:
        built = self.subject().build(messages, stream)
        if built.refused is not None and built.refused.parameter.partition(".")[0] == "messages":
            require(
                name not in _ALWAYS,
                f"{name} can be sent",
                expected="a request",
                got=built.what(),
                change="let build_request send it",
            )
            return
        made = self._made(built, name)
        texts = [text for text in _strings(Built(made).json) if "kit-" in text]
        for role in ("system", None):
            wanted = [
                text for message in messages if (message["role"] == "system") == (role == "system") for text in _said(message)
            ]
            places = [(number, text.find(said)) for said in wanted for number, text in enumerate(texts) if said in text]
            counts = {said: sum(text.count(said) for text in texts) for said in wanted}
            change = "send every message once, whole and in order, or raise UnsupportedRequestError('messages', reason)"
            require(
                all(count == 1 for count in counts.values()),
                f"every message is sent once ({name})",
                expected=dict.fromkeys(counts, 1),
                got=counts,
                change=change,
            )
            require(places == sorted(places), f"messages keep their order ({name})", expected=wanted, got=texts, change=change)

    @check(groups.REQUEST)
    def test_the_role_of_a_message_is_sent(self) -> None:
        """The same text from another role is another request."""
        for name, (one, other) in ROLES.items():
            for stream in self._streams():
                first, second = self.subject().build(one, stream), self.subject().build(other, stream)
                if first.made is not None and second.made is not None:
                    require(
                        first.wire() != second.wire(),
                        f"the role of a message is sent ({name})",
                        expected="two requests that differ",
                        got="the same request",
                        change="send message.role, or what the vendor has in its place",
                    )

    @check(groups.REQUEST)
    def test_a_senders_name_is_not_lost(self) -> None:
        """`name` of a message is sent, refused, or noted in `adjusted`."""
        for stream in self._streams():
            built = self.subject().build([{"role": "user", "name": "kit_sender", "content": HELLO}], stream)
            if built.made is None:
                _check_refusal(Probe("messages", None, None), built, "a message with a name")
                continue
            kept = _stands("kit_sender", built.json) or any(key.startswith("messages") for key in built.made.adjusted)
            require(
                kept,
                "the name of a message is sent, refused or noted",
                expected="kit_sender in the body",
                got=built.json,
                change='send message.name, or note HttpRequest.adjusted["messages.name"]',
            )

    @check(groups.REQUEST)
    def test_parts_that_are_no_text_are_sent_or_refused(self) -> None:
        """A picture in a message reaches the body, or `messages` is refused; it is never left out."""
        content = [
            {"type": "text", "text": HELLO},
            {"type": "image_url", "image_url": {"url": "https://kit.example/kit-picture.png"}},
        ]
        for stream in self._streams():
            built = self.subject().build([{"role": "user", "content": content}], stream)
            if built.made is None:
                _check_refusal(Probe("messages", None, None), built, "a picture")
                continue
            require(
                _stands("kit-picture", built.json),
                "a picture is sent or refused",
                expected="its URL in the body",
                got=built.json,
                change="raise UnsupportedRequestError('messages', ...) unless message.only_text",
            )

    @check(groups.REQUEST)
    def test_tool_turns_are_sent(self) -> None:
        """A turn with tool calls and their results is sent: names, arguments and results, each result with its call."""
        if not self.supports_tools:
            raise NotApplicable("supports_tools is False")
        for stream in self._streams():
            built = self.subject().build(
                _tool_turns("kit-call-a", "kit-call-b"), stream, tools=[tool("kit_one"), tool("kit_two")]
            )
            made = self._made(built, "a tool turn")
            wanted = ("kit_one", "kit_two", "kit-city-1", "kit-city-2", "kit-result-1", "kit-result-2", "kit-question")
            missing = [text for text in wanted if not _stands(text, Built(made).json)]
            require(
                not missing,
                "a tool turn is sent",
                expected=f"{missing} in the body",
                got=Built(made).json,
                change="send message.tool_calls, and the text of messages with the role tool",
            )
            swapped = self.subject().build(
                _tool_turns("kit-call-b", "kit-call-a"), stream, tools=[tool("kit_one"), tool("kit_two")]
            )
            require(
                built.wire() != swapped.wire(),
                "a result is sent with the call that it answers",
                expected="another request when two results change places",
                got="the same request",
                change="send message.tool_call_id, or put each result behind its call",
            )

    @check(groups.REQUEST)
    def test_a_megabyte_and_odd_characters_are_sent(self) -> None:
        """A message of a megabyte, lone surrogates and control characters are sent whole, within seconds."""
        for stream in self._streams():
            for name, text in ODD.items():
                begun = time.thread_time()
                built = self.subject().build([{"role": "user", "content": text}], stream)
                took = time.thread_time() - begun
                made = self._made(built, name)
                require(
                    any(text in each for each in _strings(Built(made).json)),
                    f"{name}: the text is sent as it is",
                    expected=text,
                    got=Built(made).json,
                    change="make the body with cnroute.wire.dumps, and leave texts as they are",
                )
                require(
                    took < _SECONDS,
                    f"{name}: it is built within seconds",
                    expected=f"under {_SECONDS:g} s",
                    got=f"{took:.1f} s",
                    change="look at each character once",
                )

    @check(groups.REQUEST)
    def test_the_deployments_model_goes_on_the_wire(self) -> None:
        """`deployment.model` is sent, never the name that the caller wrote."""
        subject = self.subject()
        for stream in self._streams():
            made = self._made(subject.build(HELLO, stream), HELLO)
            sent = (
                _stands(subject.model, Built(made).json, whole=True)
                or quote(subject.model, safe="") in made.url
                or subject.model in made.url
            )
            require(
                sent,
                "the model is sent",
                expected=f"{subject.model!r} in the body or the URL",
                got=Built(made).json,
                change="send deployment.model",
            )
            require(
                ROUTE not in made.body.decode() + made.url,
                "the route's name is not sent",
                expected=f"no {ROUTE!r}",
                got=Built(made).json,
                change="send deployment.model; request.model is what the caller wrote",
            )

    @check(groups.REQUEST)
    def test_the_base_url_is_kept(self) -> None:
        """The URL begins with the deployment's `base_url`, path prefix included; the rest does not depend on it."""
        subject = self.subject()
        for stream in self._streams():
            self._settled(stream)
            usual, moved = subject.place(), subject.place(base_url=GATEWAY)
            one, other = (self._made(subject.build(HELLO, stream, place), HELLO) for place in (usual, moved))
            base = str(usual.deployment.base_url)
            require(
                other.url.startswith((GATEWAY + "/", GATEWAY + "?")) or other.url == GATEWAY,
                "the base URL is kept",
                expected=f"{GATEWAY}/...",
                got=other.url,
                change='make the URL of f"{deployment.base_url}/path"',
            )
            same(
                "only the base of the URL changes with the base URL",
                (one.url.removeprefix(base), one.body),
                (other.url.removeprefix(GATEWAY), other.body),
                change='make the URL of f"{deployment.base_url}/path"',
            )

    @check(groups.REQUEST)
    def test_a_stream_is_asked_for(self) -> None:
        """A streamed request differs from a plain one; a body field `stream` says which one it is."""
        if len(self._streams()) == 1:
            raise NotApplicable("the provider does not stream")
        plain, streamed = (self.subject().build(HELLO, stream) for stream in (False, True))
        require(
            plain.wire() != streamed.wire(),
            "a stream is asked for",
            expected="another request than a plain one",
            got="the same request",
            change="tell the vendor that it shall stream",
        )
        for built, stream in ((plain, False), (streamed, True)):
            said = built.json.get("stream", stream) if isinstance(built.json, dict) else stream
            same(
                "the body's field stream says what was asked for",
                stream,
                said,
                change="send the argument stream of build_request",
            )

    @check(groups.REQUEST)
    def test_extra_reaches_the_wire(self) -> None:
        """Raw fields of `extra` are in the body; fields that are the call's own are refused by name, if at all."""
        subject = self.subject()
        for stream in self._streams():
            built = subject.build(HELLO, stream, extra={subject.name: {"kit_probe": {"deep": ["kit-extra"]}}})
            sent = isinstance(built.json, dict) and built.json.get("kit_probe") == {"deep": ["kit-extra"]}
            require(
                sent,
                "extra reaches the body",
                expected='{"kit_probe": {"deep": ["kit-extra"]}} in the body',
                got=built.json or built.what(),
                change="merge request.extra into the body: wire.merged(body, request.extra)",
            )
            for name in ("model", "stream", "messages"):
                taken = subject.build(HELLO, stream, extra={subject.name: {name: "kit-other"}})
                _check_refusal(Probe("extra", None, None), taken, f"extra with {name}")

    @check(groups.REQUEST)
    def test_an_odd_conversation_is_sent_or_refused_by_name(self) -> None:
        """Results without calls, the assistant first or alone, an empty text: a request, or a refusal of `messages`."""
        for name, messages in CONVERSATIONS.items():
            for stream in self._streams():
                _check_refusal(Probe("messages", None, None), self.subject().build(messages, stream), name)


# -- what is sent ----------------------------------------------------------------------------------------


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _turns() -> list[dict[str, Any]]:
    return [{"role": "system", "content": "JSON"}, _user("one"), {"role": "assistant", "content": "two"}, _user("three")]


SHAPES: dict[str, list[dict[str, Any]]] = {
    "one message": [_user("kit-u1 你好, JSON")],
    "a system message first": [{"role": "system", "content": "kit-s1 JSON"}, _user("kit-u1")],
    "two system messages": [{"role": "system", "content": "kit-s1"}, {"role": "system", "content": "kit-s2"}, _user("kit-u1")],
    "only a system message": [{"role": "system", "content": "kit-s1"}],
    "a system message in the middle": [_user("kit-u1"), {"role": "system", "content": "kit-s1"}, _user("kit-u2")],
    "the same role twice": [_user("kit-u1"), _user("kit-u2")],
    "several turns": [
        {"role": "system", "content": "kit-s1"},
        _user("kit-u1"),
        {"role": "assistant", "content": "kit-a1"},
        _user("kit-u2"),
        {"role": "assistant", "content": "kit-a2"},
        _user("kit-u3"),
    ],
    "blanks and line ends around the text": [_user("  kit-u1 \n\t")],
    "parts of text": [{"role": "user", "content": [{"type": "text", "text": "kit-u1"}, {"type": "text", "text": "kit-u2"}]}],
    "the assistant's last word": [_user("kit-u1"), {"role": "assistant", "content": "kit-a1"}],
}
# What every vendor can take: a provider that refuses it would be of no use.
_ALWAYS = ("one message", "a system message first", "several turns", "blanks and line ends around the text")

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "a result without its call": [_user("one"), {"role": "tool", "tool_call_id": "kit-call", "content": "two"}],
    "the assistant first": [{"role": "assistant", "content": "one"}, _user("two")],
    "the assistant alone": [{"role": "assistant", "content": "one"}],
    "an empty text": [_user("one"), {"role": "assistant", "content": ""}, _user("two")],
    "an empty last text": [_user("one"), _user("")],
}

ROLES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "user or assistant": (
        [_user("one"), {"role": "assistant", "content": "two"}, _user("three")],
        [_user("one"), _user("two"), _user("three")],
    ),
    "system or user": ([{"role": "system", "content": "one"}, _user("two")], [_user("one"), _user("two")]),
}
ODD = {
    "a lone surrogate": "kit \ud83d end",
    "emoji": "kit 👩‍👩‍👧 🇨🇳",
    "control characters": "kit \x00\x07\x1b\u2028\u0085 end",
    "a megabyte": _MEGABYTE,
}


def _tool_turns(first: str, second: str) -> list[dict[str, Any]]:
    calls = [
        {
            "id": f"kit-call-{letter}",
            "type": "function",
            "function": {"name": name, "arguments": f'{{"city":"kit-city-{number}"}}'},
        }
        for number, (letter, name) in enumerate((("a", "kit_one"), ("b", "kit_two")), 1)
    ]
    results = [
        {"role": "tool", "tool_call_id": ident, "content": f"kit-result-{number}"}
        for number, ident in enumerate((first, second), 1)
    ]
    return [_user("kit-question"), {"role": "assistant", "content": None, "tool_calls": calls}, *results]


# -- what is looked at -----------------------------------------------------------------------------------


def _said(message: Mapping[str, Any]) -> list[str]:
    """The texts of a message."""
    content = message["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _parts(built: Built, want: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a request that an expectation names."""
    made = built.made
    headers = {name.lower(): str.__str__(value) for name, value in made.headers.items()} if made else {}
    found = {
        "method": made.method if made else None,
        "url": made.url if made else None,
        "json": built.json,
        "headers": {name: headers.get(name.lower()) for name in want.get("headers", {})},
    }
    yield from ((key, found[key]) for key in want)


def _deployment(deployment: Any) -> Any:
    return copy.deepcopy((deployment.options, deployment.headers, deployment.defaults, deployment.model, deployment.base_url))


def _forms(secret: str) -> set[str]:
    """A secret as it is, quoted, and in base64."""
    encoded = (base64.b64encode(each.encode()).decode().rstrip("=") for each in (secret, f":{secret}", f"Bearer {secret}"))
    return {secret, quote(secret, safe=""), secret[::-1], secret.encode().hex(), *encoded}


def _check_refusal(probe: Probe, built: Built, how: str) -> None:
    """A parameter is refused by its own name, and by nothing but UnsupportedRequestError."""
    if built.made is None:
        named = built.refused is not None and built.refused.parameter.partition(".")[0] in (probe.parameter, *probe.beside)
        require(
            named,
            f"{how} is sent or refused by name",
            expected=f"UnsupportedRequestError({probe.parameter!r}, reason)",
            got=built.what(),
            change=f"raise UnsupportedRequestError({probe.parameter!r}, reason) for what the vendor cannot take",
        )


def _strings(value: Any) -> list[str]:
    return [item for _, item in leaves([value]) if isinstance(item, str)]


def _stands(wanted: Any, document: Any, whole: bool = False) -> bool:
    """Whether a value stands anywhere in a document: a text as a part of any key or text, a number as itself or its digits."""
    for path, item in leaves([document]):
        if isinstance(wanted, str):
            texts = [item if isinstance(item, str) else "", path[-1] if isinstance(path[-1], str) and not whole else ""]
            if any(wanted == text if whole else wanted in text for text in texts):
                return True
        elif (type(item) in (int, float) and item == wanted) or item == str(wanted):
            return True
    return False
