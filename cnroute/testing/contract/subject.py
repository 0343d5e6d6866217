"""The provider under test: bound like a router binds it, asked like the flow asks it, without any transport.

What the flow does with an answer is not written a second time here: `answer_of` and `Reading` are the flow's own.
A hook that raises or returns a wrong type comes out as a `plugin_error` that names hook, file, line and what was raised.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs

from cnroute import arguments
from cnroute.chat import ChatCompletion, ChatRequest, Usage
from cnroute.deployments import Deployment, ProviderInfo
from cnroute.errors import CallError, CnrouteError, ConfigurationError, UnsupportedRequestError
from cnroute.events import Delta, Finish, StreamState
from cnroute.failures import Failure, FailureKind, how_raised
from cnroute.flow.answer import AttemptFailed, answer_of, completed
from cnroute.flow.assemble import completion_of
from cnroute.flow.build import _problem as problem_of
from cnroute.flow.stream import Reading, StreamFailed, is_quiet
from cnroute.http import Headers, HttpRequest, HttpResponse
from cnroute.plugins import PluginHost, ProviderHooks
from cnroute.router import Router
from cnroute.routing.fitting import fitted
from cnroute.routing.plan import Place
from cnroute.testing.clock import FakeClock
from cnroute.testing.contract.crashing import Crashes
from cnroute.testing.contract.documents import differences
from cnroute.testing.contract.samples import Sample
from cnroute.testing.transport import FakeTransport

KEY = "sk-kit-5f1d9c7e2b8a4063-canary"
OTHER_KEY = "sk-kit-0a9e8d7c6b5f4132-another"
NUMBER = "1700000000000000019"
ROUTE = "kit-route-canary"
WALL = 1_790_000_000.0
_HOOKS = ("build_request", "map_error", "parse_response", "parse_stream_line", "count_tokens")
SSE = Headers({"Content-Type": "text/event-stream"})


@attrs.frozen
class Built:
    """What `build_request` made: a request, or a refusal, or another error of ours, or what it crashed with."""

    made: HttpRequest | None = None
    refused: UnsupportedRequestError | None = None
    error: CnrouteError | None = None
    crash: str | None = None
    words: str | None = attrs.field(default=None, repr=False)
    """The crash for the plugin's author: with its text and line, which may differ where the crash is the same."""

    @property
    def json(self) -> Any:
        """The body decoded from JSON; None if there is none."""
        try:
            return json.loads(self.made.body) if self.made is not None else None
        except ValueError:
            return None

    def wire(self) -> Any:
        """Everything that would be sent, or the reason why nothing is; comparable."""
        if self.made is not None:
            return (
                self.made.method,
                self.made.url,
                {k.lower(): str.__str__(v) for k, v in self.made.headers.items()},
                self.made.body,
            )
        return f"build_request {self.crash}" if self.crash else self.what()

    def what(self) -> str:
        """The outcome in words."""
        if self.refused is not None:
            return f"UnsupportedRequestError({self.refused.parameter!r}, {self.refused.reason!r})"
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        if self.crash:
            return f"build_request {self.words or self.crash}"
        return f"a request to {self.made.url if self.made else None}"


@attrs.frozen
class Outcome:
    """What an answer came to: a completion or a failure, with what a consumer had been handed."""

    completion: ChatCompletion | None
    failure: Failure | None
    events: tuple[tuple[int, Any], ...] = attrs.field(default=(), repr=False)
    """Every event that the hook returned, with the number of its line."""
    lines: tuple[str, ...] = attrs.field(default=(), repr=False)
    partial: ChatCompletion | None = attrs.field(default=None, repr=False)

    @property
    def answer(self) -> ChatCompletion:
        """The completion, or what a broken stream had given so far."""
        return self.completion or self.partial or ChatCompletion()

    @property
    def crash(self) -> str | None:
        """What a hook did wrong, if it raised or returned a wrong type."""
        broken = self.failure is not None and self.failure.kind is FailureKind.PLUGIN_ERROR
        return self.failure.message if broken and self.failure is not None else None

    def finishes(self) -> list[tuple[int, Finish]]:
        """Every `Finish`, with the number of its line."""
        return [(line, event) for line, event in self.events if isinstance(event, Finish)]

    def content(self) -> dict[str, Any]:
        """What a caller sees, comparable."""
        made = self.answer
        return {
            "text": made.text,
            "reasoning": made.reasoning,
            "tool_calls": made.tool_calls,
            "finish_reason": made.finish_reason if self.completion else None,
            "usage": made.usage,
            "sources": made.sources,
            "failure": (self.failure.kind.value, self.failure.vendor_code) if self.failure else None,
        }

    def seen(self) -> dict[str, Any]:
        """`content` and the ids."""
        made = self.answer
        return {**self.content(), "id": made.id, "request_id": made.request_id, "model": made.model}


class Subject:
    """A provider in a host of its own, with deployments as they are needed."""

    def __init__(self, host: PluginHost, name: str, model: str, options: Mapping[str, Any]) -> None:
        self.host = host
        self.name = name
        self.model = model
        self._router: Router | None = None
        self._options = dict(options)
        self._places: dict[Any, Place] = {}
        self._pristine: dict[Any, dict[str, Any]] = {}
        self.crashes = Crashes(lambda: host._providers[name], KEY)  # noqa: SLF001 (of this package)
        self._asked: dict[tuple[str, bool], tuple[ChatRequest, bytes]] = {}

    @property
    def hooks(self) -> ProviderHooks:
        """The bound hooks."""
        return self.host.provider(self.name)

    @property
    def info(self) -> ProviderInfo:
        """What the provider says of itself."""
        return self.hooks.info

    @property
    def options(self) -> dict[str, Any]:
        """The deployment's options; one that is required and not given has a number for a value."""
        return {**dict.fromkeys(self.info.required, NUMBER), **self._options}

    def place(self, **fields: Any) -> Place:
        """A deployment of this provider, bound; `fields` change it."""
        key = tuple(sorted((name, repr(value)) for name, value in fields.items()))
        if key not in self._places:
            base = None if self.info.base_url else "https://vendor.kit.example/v1"
            settings: dict[str, Any] = {"api_key": KEY, "base_url": base, "options": self.options, "model": self.model, **fields}
            deployment = Deployment("kit", self.name, **settings)
            if self._router is None:
                self._router = Router([deployment], plugins=self.host, transport=FakeTransport(), clock=FakeClock())
            self._places[key] = self._watched(self._binding().place(deployment))
            self._pristine[key] = facts_of(self._places[key].deployment)
        return self._places[key]

    def _watched(self, place: Place) -> Place:
        hooks = {name: self.crashes.watched(getattr(place.hooks, name)) for name in _HOOKS}
        return attrs.evolve(place, hooks=attrs.evolve(place.hooks, **hooks))

    def touched(self) -> dict[str, tuple[Any, Any]]:
        """What is no longer in any deployment as it was before a hook had seen it: by its name, before and now."""
        found: dict[str, tuple[Any, Any]] = {}
        for key, place in self._places.items():
            for name, now in facts_of(place.deployment).items():
                found |= differences(self._pristine[key][name], now, f"deployment.{name}")
        return found

    def _binding(self) -> Any:
        assert self._router is not None  # noqa: S101 (made with the first place)
        return self._router._engine.binding  # noqa: SLF001 (of this package)

    # -- requests ----------------------------------------------------------------------------------------

    def request(self, messages: Any, place: Place | None = None, **given: Any) -> ChatRequest:
        """The request that a call with these arguments becomes for this provider."""
        place = place or self.place()
        course = self._binding().shared(place.deployment.model, [place])
        return fitted(place, arguments.make_request(messages, ROUTE, given), course)

    def build(self, messages: Any, stream: bool = False, place: Place | None = None, **given: Any) -> Built:
        """What the call would send."""
        place = place or self.place()
        return self.built(self.request(messages, place, **given), stream, place)

    def built(self, request: ChatRequest, stream: bool = False, place: Place | None = None) -> Built:
        """What `build_request` makes of a request."""
        place = place or self.place()
        try:
            made = place.hooks.build_request(request, place.deployment, stream)
        except UnsupportedRequestError as error:
            return Built(refused=error)
        except (CallError, ConfigurationError) as error:
            return Built(error=error)
        except Exception as error:  # noqa: BLE001 (a plugin's code)
            return Built(crash=how_raised(error), words=self.crashes.words(error))
        if not isinstance(made, HttpRequest):
            return Built(crash=f"returned {type(made).__name__}, not an HttpRequest")
        problem = problem_of(place, made)
        return Built(crash=problem) if problem else Built(made)

    def sample_place(self, sample: Sample) -> Place:
        """The deployment of a sample: `call.model` is the vendor's model, where it is another than the contract's."""
        model = sample.call.get("model")
        return self.place(model=model) if model else self.place()

    def sample_request(self, sample: Sample) -> ChatRequest:
        """The request that a sample answers."""
        given = {name: value for name, value in sample.call.items() if name != "model"}
        return self.request(given.pop("messages"), self.sample_place(sample), **given)

    def sample_built(self, sample: Sample) -> Built:
        """What the call of a sample would send."""
        return self.built(self.sample_request(sample), sample.stream, self.sample_place(sample))

    def asked(self, sample: Sample) -> tuple[ChatRequest, bytes]:
        """The request of a sample, and the body that goes out; empty where none can be built (another check says so)."""
        key = (sample.name, sample.stream)
        if key not in self._asked:
            made = self.sample_built(sample).made
            self._asked[key] = (self.sample_request(sample), made.body if made is not None else b"")
        return self._asked[key]

    # -- answers -----------------------------------------------------------------------------------------

    def play(self, sample: Sample, body: bytes | None = None, cuts: Iterable[int] = ()) -> Outcome:
        """What comes of a sample, or of another body in its place; a stream arrives cut at `cuts`."""
        body = sample.body if body is None else body
        if sample.stream:
            pieces = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
            return self.stream(sample, pieces)
        return self.plain(HttpResponse(sample.status, Headers(sample.headers), body), self.sample_place(sample))

    def plain(self, response: HttpResponse, place: Place | None = None) -> Outcome:
        """What comes of a complete answer."""
        try:
            return Outcome(answer_of(place or self.place(), response, WALL), None)
        except AttemptFailed as failed:
            return Outcome(None, self.spelled(failed.failure))

    def spelled(self, failure: Failure) -> Failure:
        """A failure; what a hook crashed with is told for the plugin's author."""
        if failure.kind is not FailureKind.PLUGIN_ERROR:
            return failure
        return attrs.evolve(failure, message=self.crashes.spelled(failure.message))

    def stream(self, sample: Sample, pieces: Sequence[bytes]) -> Outcome:
        """What comes of a stream that arrives in these pieces."""
        stream = Stream(self, sample)
        for piece in pieces:
            if stream.over:
                break
            stream.feed(piece)
        return stream.end()


class Stream:
    """One stream that is being read; several may be read in turns."""

    def __init__(self, subject: Subject, sample: Sample) -> None:
        self._subject = subject
        self._place = subject.sample_place(sample)
        self._state = StreamState(*subject.asked(sample))
        self._headers = Headers(sample.headers)
        self._status = sample.status
        self._given: list[Delta] = []
        self._reading = Reading(self._place, self._state, sample.status, self._given, deque())
        self._lines: list[str] = []
        self._events: list[tuple[int, Any]] = []
        self._quiet = self._state.quiet
        parse = self._place.hooks.parse_stream_line
        self._failure: Failure | None = None if parse is not None else _no_streams(subject.name)

        def noted(line: str, state: StreamState, deployment: Deployment) -> Any:
            self._lines.append(line)  # quiet ones too: lines are known by their numbers
            if is_quiet(line, self._quiet):
                return ()
            state.quiet = self._quiet
            events = parse(line, state, deployment)
            self._quiet, state.quiet = state.quiet, frozenset()
            if isinstance(events, tuple):
                self._events += [(len(self._lines) - 1, event) for event in events]
            return events

        self._reading._parse = noted  # noqa: SLF001 (of this package)

    @property
    def over(self) -> bool:
        """Whether nothing more is read: a failure, or the transport's own end mark."""
        return self._failure is not None or self._reading.done

    def feed(self, data: bytes) -> None:
        """Take in bytes."""
        try:
            self._reading.feed(data)
        except StreamFailed as failed:
            self._failure = self._subject.spelled(failed.failure)

    def end(self) -> Outcome:
        """The body has ended."""
        try:
            if self._failure is None:
                self._reading.end()
        except StreamFailed as failed:
            self._failure = self._subject.spelled(failed.failure)
        if self._failure is not None:
            return self._failed(self._failure)
        if self._reading.whole is not None:
            return self._whole(self._reading.whole)
        reading = self._reading
        return self._outcome(completion_of(self._given, self._state, reading.usage, reading.finish), None)

    def _failed(self, failure: Failure) -> Outcome:
        failure = attrs.evolve(failure, request_id=failure.request_id or self._state.request_id)
        return self._outcome(None, completed(failure, self._place, self._status, self._headers, WALL))

    def _whole(self, body: bytes) -> Outcome:
        try:
            return self._outcome(answer_of(self._place, HttpResponse(self._status, self._headers, body), WALL), None)
        except AttemptFailed as failed:
            return self._outcome(None, self._subject.spelled(failed.failure))

    def _outcome(self, completion: ChatCompletion | None, failure: Failure | None) -> Outcome:
        partial = completion_of(self._given, self._state, self._reading.usage)
        return Outcome(completion, failure, tuple(self._events), tuple(self._lines), partial)


def facts_of(deployment: Deployment) -> dict[str, Any]:
    """A copy of what a deployment says, by the names of its fields."""
    fields = ("options", "headers", "defaults", "model", "base_url")
    return {name: copy.deepcopy(getattr(deployment, name)) for name in fields}


def _no_streams(name: str) -> Failure:
    return Failure(FailureKind.PLUGIN_ERROR, f"plugin {name}: it has no parse_stream_line, but the sample is streamed")


USAGE = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def usage_fields(usage: Usage | None) -> dict[str, int | None]:
    """A usage as a mapping; every field unknown where there is none."""
    return {name: getattr(usage, name, None) for name in USAGE}
