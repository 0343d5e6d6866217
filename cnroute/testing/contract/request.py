"""Group 2: what goes out. Everything is found by comparing requests, so nothing here knows a vendor's layout."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cnroute.errors import ConfigurationError
from cnroute.testing.contract import groups
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require, same
from cnroute.testing.contract.conversations import turns
from cnroute.testing.contract.documents import GONE, differences
from cnroute.testing.contract.probes import HELLO, PROBES, Probe
from cnroute.testing.contract.sent import SentChecks, check_refusal, forms_of, parts_of, stands
from cnroute.testing.contract.subject import KEY, OTHER_KEY, ROUTE, Built

GATEWAY = "https://gateway.kit.example/team/a"
SECRET_OPTION = re.compile("key|secret|token|password|credential", re.IGNORECASE)


class RequestChecks(SentChecks):
    """`build_request`."""

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
            for key, got in parts_of(built, want):
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
        """`build_request` changes neither the request that it is given, nor the deployment; no other hook changes that."""
        subject = self.subject()
        for stream in self._streams():
            for given in ({}, *({**probe.beside, probe.parameter: probe.one} for probe in PROBES)):
                request = subject.request(turns(), extra={subject.name: {"kit_probe": {"deep": [1]}}}, **given)
                before = copy.deepcopy(request)
                subject.built(request, stream)
                self._unchanged("the call", differences(before, request, "request"))
        for sample in self.all_samples():
            subject.sample_built(sample)
            subject.play(sample)
        self._unchanged("the deployment", subject.touched())

    @staticmethod
    def _unchanged(what: str, found: Mapping[str, tuple[Any, Any]]) -> None:
        for name, (before, after) in found.items():
            fail(
                f"{what} stays as it was",
                expected=f"{name} {_told(before)}",
                got=f"{name} {_told(after)}",
                change="copy what the hook changes: list(...), dict(...), copy.deepcopy(...)",
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
                    not any(form in text for form in forms_of(KEY)),
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
                    name in subject.info.url_options or not any(form in made.url for form in forms_of(value)),
                    f"the option {name} is not in the URL",
                    expected="a URL without it",
                    got=made.url.replace(value, "<VALUE>"),
                    change=f'name it in ProviderInfo(url_options=("{name}",)) if the vendor wants it there',
                )
                hidden = SECRET_OPTION.search(name) is None or not any(
                    form in made.body.decode() + repr(made) for form in forms_of(value)
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
            same_wires = [self._is_the_same_with(name, other, stream) for other in others for stream in self._streams()]
            require(
                not all(same_wires),
                f"the option {name} does something",
                expected="another request with another value",
                got="the same request",
                change="read deployment.options in build_request, or do not describe the option",
            )

    def _is_the_same_with(self, option: str, value: Any, stream: bool) -> bool:
        """Whether an option's other value is the same request; one that is refused is none."""
        subject = self.subject()
        try:
            place = subject.place(options={**subject.options, option: value})
        except ConfigurationError:
            return False
        return bool(subject.build(HELLO, stream, place).wire() == subject.build(HELLO, stream).wire())

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
            check_refusal(probe, built, how)
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
        missing = [value for value in probe.found if not stands(value, one.json, whole=probe.parameter == "stop")]
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
                    wanted += [value for value in probe.found if stands(value, alone.json)]
            built = subject.build(HELLO, stream, **given)
            missing = [value for value in wanted if not stands(value, built.json)]
            require(
                not missing,
                f"parameters are sent together{' in a stream' if stream else ''}",
                expected=f"{missing} in the body beside {', '.join(given)}",
                got=built.json,
                change="look at each parameter on its own",
            )

    @check(groups.REQUEST)
    def test_the_deployments_model_goes_on_the_wire(self) -> None:
        """`deployment.model` is sent, never the name that the caller wrote."""
        subject = self.subject()
        for stream in self._streams():
            made = self._made(subject.build(HELLO, stream), HELLO)
            sent = (
                stands(subject.model, Built(made).json, whole=True)
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
                check_refusal(Probe("extra", None, None), taken, f"extra with {name}")


def _told(value: Any) -> str:
    return "absent" if value is GONE else f"= {value!r}"
