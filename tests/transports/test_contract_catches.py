"""The contract of transports catches what it is there for: planted bugs, each by the check that is named for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import cnroute
from cnroute.failures import FailureKind as K
from cnroute.routing.deadline import Deadline
from cnroute.settings import Limits
from cnroute.testing import TransportContract
from cnroute.testing.contract.report import FAILED, NOT_APPLICABLE, PASSED
from cnroute.testing.contract.running import run_one
from cnroute.transports.urllib3 import Urllib3Transport


class Sound:
    """The default transport of one deployment, unchanged; a bug is a subclass that changes one method."""

    def __init__(self, bound: Any) -> None:
        self._bound = bound

    def send(self, request: Any, deadline: Any) -> Any:
        return self._bound.send(request, deadline)

    def open(self, request: Any, deadline: Any) -> Any:
        return self.changed(self._bound.open(request, deadline))

    def changed(self, stream: Any) -> Any:
        return stream


class SoundStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.status, self.headers = stream.status, stream.headers

    def read(self) -> bytes:
        data: bytes = self._stream.read()
        return data

    def close(self) -> None:
        self._stream.close()


class Retries(Sound):
    def send(self, request: Any, deadline: Any) -> Any:
        try:
            return super().send(request, deadline)
        except cnroute.CallError:
            return super().send(request, deadline)


class ReturnsRedirects(Sound):
    def send(self, request: Any, deadline: Any) -> Any:
        try:
            return super().send(request, deadline)
        except cnroute.CallError as error:
            if error.kind is not K.REDIRECT:
                raise
            return cnroute.HttpResponse(error.http_status or 0)


class ReadAhead(SoundStream):
    def read(self) -> bytes:
        return b"".join(iter(super().read, b""))


class HoldsBack(Sound):
    changed = ReadAhead  # type: ignore[assignment]


class ReturnsNothing(Sound):
    def send(self, request: Any, deadline: Any) -> Any:
        super().send(request, deadline)

    open = send  # what it returned is lost


class Forgiving(SoundStream):
    def read(self) -> bytes:
        try:
            return super().read()
        except cnroute.CallError:
            return b""


class CutIsAnEnd(Sound):
    changed = Forgiving  # type: ignore[assignment]


class Open(SoundStream):
    def close(self) -> None:
        """Left to the garbage."""


class NeverCloses(Sound):
    changed = Open  # type: ignore[assignment]


class Shouting(SoundStream):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.headers = {name.title(): value for name, value in stream.headers.items()}


class CaseMatters(Sound):
    changed = Shouting  # type: ignore[assignment]


class RaisesItsLibrarys(Sound):
    def send(self, request: Any, deadline: Any) -> Any:
        try:
            return super().send(request, deadline)
        except cnroute.CallError:
            raise ConnectionRefusedError from None


def failing_with(**changes: Any) -> type[Sound]:
    """A transport whose failures have a wrong field."""

    class Changed(Sound):
        def send(self, request: Any, deadline: Any) -> Any:
            try:
                return super().send(request, deadline)
            except cnroute.CallError as error:
                key = request.headers["Authorization"]
                fields = {name: value(key) if callable(value) else value for name, value in changes.items()}
                failure = attrs.evolve(error.failure(), **fields)
            raise cnroute.error_for(failure)

    return Changed


class KeepsCookies(Sound):
    cookie = ""

    def send(self, request: Any, deadline: Any) -> Any:
        answer = super().send(attrs.evolve(request, headers={**request.headers, "Cookie": self.cookie}), deadline)
        self.cookie = answer.headers.get("set-cookie", "")
        return answer


class LateDeadline(Sound):
    def send(self, request: Any, deadline: Any) -> Any:
        return super().send(request, Later(deadline))

    def open(self, request: Any, deadline: Any) -> Any:
        return super().open(request, Later(deadline))


class Later:
    """A deadline that passes, and tells of a cancel, too late."""

    def __init__(self, deadline: Deadline) -> None:
        self.__dict__["_deadline"] = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deadline, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._deadline, name, value)

    @property
    def cancelled(self) -> bool:
        return False

    def remaining(self) -> float:
        left: float = self._deadline.at + 1.6 - self._deadline.now()
        return left

    def on_cancel(self, callback: Callable[[], object]) -> None:
        self._deadline.on_cancel(lambda: threading.Timer(1.6, callback).start())


def with_limits(**more: Callable[[Limits], int]) -> Callable[[Any], Any]:
    """A deployment with other limits than it was given."""
    return lambda place: attrs.evolve(
        place, limits=attrs.evolve(place.limits, **{name: change(place.limits) for name, change in more.items()})
    )


@attrs.frozen
class Bug:
    """What is planted, and which check must catch it."""

    name: str
    check: str
    bound: type[Sound] = Sound
    settings: dict[str, Any] = attrs.field(factory=dict)
    place: Callable[[Any], Any] = lambda place: place
    flags: dict[str, Any] = attrs.field(factory=dict)

    def contract(self) -> type[TransportContract]:
        bug = self

        class Transport(Urllib3Transport):
            def bind(self, deployment: Any) -> Any:
                return bug.bound(super().bind(bug.place(deployment)))

        fields = {"__test__": False, "make_transport": lambda _: Transport(**bug.settings), **self.flags}
        return type("Planted", (TransportContract,), fields)


BUGS = [
    Bug("retries", "test_nothing_is_retried", Retries),
    Bug("returns redirects", "test_redirects_are_never_followed", ReturnsRedirects),
    Bug("holds bytes back", "test_bytes_are_never_held_back", HoldsBack),
    Bug("send returns None", "test_a_whole_answer_has_status_headers_and_body", ReturnsNothing),
    Bug("open returns None", "test_a_stream_has_status_and_headers", ReturnsNothing),
    Bug("takes a cut for an end", "test_a_body_that_is_cut_is_never_a_success", CutIsAnEnd),
    Bug("takes its own close for an end", "test_reading_after_closing_is_no_end", CutIsAnEnd),
    Bug("never closes", "test_closing_frees_the_socket_at_once", NeverCloses),
    Bug("headers with case", "test_a_stream_has_status_and_headers", CaseMatters),
    Bug("raises its library's errors", "test_a_refused_connection", RaisesItsLibrarys),
    Bug("paid although nothing was sent", "test_a_refused_connection", failing_with(billing="unknown")),
    Bug("free although it was sent", "test_a_connection_that_ends_without_an_answer", failing_with(billing="none")),
    Bug("wrong kind", "test_the_limit_of_connecting", failing_with(kind=K.CONNECT_ERROR)),
    Bug("shows the key", "test_what_is_no_http_is_a_protocol_error", failing_with(message=str)),
    Bug("keeps cookies", "test_no_cookie_is_kept", KeepsCookies),
    Bug("late deadline", "test_the_deadline_ends_silence", LateDeadline),
    Bug("late cancel", "test_cancelled_before_the_head", LateDeadline),
    Bug("trusts the environment", "test_nothing_comes_from_the_environment", settings={"trust_env": True}),
    Bug("keeps nothing", "test_connections_are_kept_as_the_flag_says", settings={"keepalive": False}),
    Bug("one place too many", "test_every_ending_gives_its_place_back",
        place=with_limits(max_connections=lambda limits: limits.max_connections + 1)),
    Bug("one place too few", "test_no_connection_is_opened_beyond_the_limit",
        place=with_limits(max_connections=lambda limits: limits.max_connections - 1)),
    Bug("no cap for answers", "test_an_answer_longer_than_the_limit_is_a_failure",
        place=with_limits(max_response_bytes=lambda limits: 2**24)),
    Bug("no cap for streams", "test_a_stream_longer_than_the_limit_is_a_failure",
        place=with_limits(max_stream_bytes=lambda limits: 2**24)),
    Bug("no authority of its own", "test_tls_trusts_the_deployments_authority_alone",
        place=lambda place: attrs.evolve(place, tls=None)),
    Bug("no proxy", "test_calls_go_through_the_deployments_proxy", place=lambda place: attrs.evolve(place, proxy=None)),
    Bug("denies the deadline", "test_a_flag_that_denies_the_deadline_tells_the_truth", flags={"deadline_at_every_read": False}),
    Bug("denies its proxy", "test_flags_that_deny_tls_or_a_proxy_tell_the_truth", flags={"supports_proxy": False}),
    Bug("denies keeping", "test_connections_are_kept_as_the_flag_says", flags={"keeps_connections": False}),
    Bug("denies gzip", "test_gzip_and_deflate_are_unpacked_or_refused", flags={"unpacks_gzip": False}),
    Bug("says it is asynchronous", "test_it_is_the_kind_that_it_says_it_is", flags={"make_transport": lambda _: Lying()}),
    Bug("a check is overridden", "test_no_check_is_overridden_or_deleted", flags={"test_nothing_is_retried": lambda _: None}),
]  # fmt: skip


class Lying(Urllib3Transport):
    """Its methods are plain functions all the same."""

    is_async = True


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_by_its_check(bug: Bug) -> None:
    """The check fails, and says why."""
    result = run_one(bug.contract(), bug.check)
    assert result.outcome == FAILED
    assert all(f"{word}:" in result.text for word in ("expected", "got", "change")) or bug.flags


@pytest.mark.parametrize("name", sorted({bug.check for bug in BUGS}))
def test_without_a_bug_the_check_passes(name: str) -> None:
    """It is the bug that is caught, not the way in which it was planted."""
    assert run_one(Bug("none", name).contract(), name).outcome in (PASSED, NOT_APPLICABLE)
