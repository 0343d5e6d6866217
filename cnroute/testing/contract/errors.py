"""Group 5: errors. `map_error` is asked for every complete answer, so it is asked for every status with every body here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from cnroute.failures import Failure, FailureKind
from cnroute.http import Headers, HttpResponse
from cnroute.routing.plan import Place
from cnroute.testing.contract import expecting, groups
from cnroute.testing.contract.answers import WRONG
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require, same
from cnroute.testing.contract.documents import GONE, changed, leaves, spelled
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import KEY, NUMBER
from cnroute.wire import by_status

K = FailureKind
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
HTML_PAGE = b"<html><head><title>Error</title></head><body><center><h1>Bad Gateway</h1></center></body></html>"
_SECONDS = 2.0
# Kinds that only the router can know of.
_ROUTERS = frozenset(
    (
        K.DEADLINE_EXCEEDED,
        K.NO_CANDIDATE,
        K.LOCAL_OVERLOAD,
        K.BUDGET_EXCEEDED,
        K.STREAM_INTERRUPTED,
        K.CANCELLED,
        K.CLOSED,
        K.PLUGIN_ERROR,
    )
)
_USUAL_BODIES: tuple[tuple[bytes, dict[str, str]], ...] = (
    (b"", JSON),
    (b"", {}),
    (b"{}", JSON),
    (HTML_PAGE, HTML),
    (b"upstream connect error", {"Content-Type": "text/plain"}),
)
_STATUSES = (400, 401, 402, 403, 404, 405, 408, 413, 422, 429, 500, 501, 502, 503, 504, 520, 529, 599)
_WAITS = 17
_WRONG_ERRORS: tuple[Any, ...] = (
    None,
    "",
    "kit",
    0,
    7,
    1.5,
    True,
    [],
    ["kit"],
    [None],
    {},
    {"code": None},
    {"code": {}},
    {"message": None, "code": 5},
    {"message": ["kit"]},
)


class ErrorChecks(ContractBase):
    """`map_error`, with the default of all providers behind it."""

    def _ask(self, response: HttpResponse, place: Place, what: str, sample: Sample | None = None) -> Failure | None:
        """The answer of `map_error`: never an exception, and a Failure with nothing impossible in it."""
        try:
            failure = place.hooks.map_error(response, place.deployment)
        except Exception as error:  # noqa: BLE001 (a plugin's code)
            failure = f"map_error {self.subject().crashes.words(error)}"
        name = sample.name if sample else None
        if failure is not None and not isinstance(failure, Failure):
            fail(
                f"map_error answers for {what}",
                expected="a Failure or None",
                got=failure,
                sample=name,
                change="look at the type before you look inside; return None for what is no error of the vendor's",
            )
        return failure if isinstance(failure, Failure) else None

    def _quietly(self, response: HttpResponse, place: Place) -> Failure | None:
        """The same for checks that are about something else: what raises is told by another check."""
        try:
            failure = place.hooks.map_error(response, place.deployment)
        except Exception:  # noqa: BLE001 (a plugin's code)
            return None
        return failure if isinstance(failure, Failure) else None

    @check(groups.ERRORS)
    def test_a_failure_tells_the_truth(self) -> None:
        """Kind, HTTP status, vendor code, Retry-After and message are possible, the vendor's own, and hold no secret of ours."""
        subject = self.subject()
        for sample in each_of(self.error_samples(), "there is no sample of an error"):
            place, document = subject.sample_place(sample), sample.document()
            bodies = [("the sample", sample.body)]
            for path, _ in leaves(document) if isinstance(document, dict) else ():
                for wrong in (None, 1234, "", "kit-text"):
                    bodies.append((f"{spelled(path)} = {wrong!r}", json.dumps(changed(document, path, wrong)).encode()))
            for what, body in bodies:
                response = HttpResponse(sample.status, Headers(sample.headers), body)
                failure = self._quietly(response, place)
                if failure is not None:
                    self._check_failure(failure, response, what, sample.name)

    def _check_failure(self, failure: Failure, response: HttpResponse, what: str, sample: str | None) -> None:
        body = response.text
        require(
            failure.kind not in _ROUTERS,
            f"{what}: the kind is one that a vendor can cause",
            expected="a kind of the vendor's or of the answer's",
            got=failure.kind,
            change="choose a kind of the table in docs/errors.md",
            sample=sample,
        )
        status = failure.http_status
        told = (
            status is None or status == response.status or (type(status) is int and 100 <= status <= 599 and str(status) in body)
        )
        require(
            told,
            f"{what}: http_status is that of the answer",
            expected=response.status,
            got=status,
            sample=sample,
            change="give http_status=response.status; the vendor's number goes into vendor_code",
        )
        code = failure.vendor_code
        require(
            code is None or (isinstance(code, str) and (code in body or code.endswith("…") or "\\" in code)),
            f"{what}: vendor_code is the vendor's",
            expected="text that stands in the answer, or None",
            got=code,
            change="give the vendor's own code as text; None where it sent none",
            sample=sample,
        )
        require(
            code not in ("None", "null"),
            f"{what}: null is no code",
            expected=None,
            got=code,
            sample=sample,
            change="use wire.text_or_none(x) in place of str(x)",
        )
        waits = failure.retry_after
        require(
            waits is None or (type(waits) in (int, float) and 0 <= waits < 10**9),
            f"{what}: retry_after is in seconds",
            expected="a number of seconds, or None",
            got=waits,
            sample=sample,
            change="use wire.positive_seconds or wire.header_retry_after",
        )
        require(
            len(failure.message) <= 2000,
            f"{what}: a message is short",
            expected="at most 2,000 characters",
            got=len(failure.message),
            change="cut it",
            sample=sample,
        )
        for secret in (
            KEY,
            *(str(value) for name, value in self.subject().options.items() if name in self.subject().info.url_options),
        ):
            hidden = secret in body or not any(secret in (text or "") for text in (failure.message, code, failure.request_id))
            require(
                hidden,
                f"{what}: no secret in a failure",
                expected="no key, no option of the URL",
                got=failure.message.replace(secret, "<SECRET>"),
                change="leave key and options out of messages; wire.masked takes the key out of a vendor's text",
                sample=sample,
            )

    @check(groups.ERRORS)
    def test_an_error_is_what_its_sample_expects(self) -> None:
        """Kind, vendor code, Retry-After and request id of every refusal are what its sample expects."""
        subject = self.subject()
        for sample in each_of(self.error_samples(), "there is no sample of an error"):
            outcome = subject.play(sample)
            if outcome.failure is None:
                fail(
                    "a refusal gives a Failure",
                    expected=dict(sample.failure or {"status": sample.status}),
                    got=outcome.completion,
                    sample=sample.name,
                    change="let map_error return a Failure for it",
                )
            expecting.check(sample, outcome, ("failure", "request_id"))
            place = subject.sample_place(sample)
            found = self._quietly(sample.response, place)
            if found is not None and "retry_after" in (sample.failure or {}):
                same(
                    "the failure of map_error carries the vendor's Retry-After",
                    (sample.failure or {})["retry_after"],
                    found.retry_after,
                    sample=sample.name,
                    change="give retry_after=wire.header_retry_after(response.headers), or the body's number",
                )

    @check(groups.ERRORS)
    def test_map_error_answers_for_every_status_and_body(self) -> None:
        """Status 100 to 599 with empty, HTML, JSON, broken, wrongly typed and huge bodies: a Failure or None, no exception."""
        place = self.subject().place()
        for status in range(100, 600):
            for name, body, headers in self._bodies(small=status not in _STATUSES and status != 200):
                failure = self._ask(HttpResponse(status, Headers(headers), body), place, f"HTTP {status} with {name}")
                if not 200 <= status < 300:
                    require(
                        failure is not None,
                        f"HTTP {status} with {name} is a failure",
                        expected=f"a Failure ({by_status(status)})",
                        got=None,
                        change="return None only if another hook (the default) may answer",
                    )

    def _bodies(self, small: bool) -> Iterator[tuple[str, bytes, dict[str, str]]]:
        yield "an empty body", b"", {}
        yield "an HTML page", HTML_PAGE, HTML
        yield "an empty object", b"{}", JSON
        if small:
            return
        for body in (b"null", b"[]", b"[1]", b'"text"', b"7", b"true", b"NaN", b'{"a"', b"\xff\xfe", b"{" * 2000, b"[" * 50_000):
            yield f"the body {body[:12]!r}", body, JSON
        for key in ("error", "code", "message", "detail", "base_resp", "errors"):
            for value in _WRONG_ERRORS:
                yield f"{key}={value!r}", json.dumps({key: value}).encode(), JSON
        yield "a megabyte of text", b"x" * 1_000_000, {"Content-Type": "text/plain"}

    @check(groups.ERRORS)
    def test_a_status_without_a_code_has_its_usual_kind(self) -> None:
        """401, 403, 404, 429, 5xx and their like mean what they mean everywhere when the body says nothing."""
        place = self.subject().place()
        for status in _STATUSES:
            for body, headers in _USUAL_BODIES:
                found = self._ask(HttpResponse(status, Headers(headers), body), place, f"HTTP {status}")
                same(
                    f"HTTP {status} with the body {body[:20]!r} has its usual kind",
                    by_status(status),
                    found.kind if found else None,
                    change=f"return None where no code of the vendor's says more (the default gives {by_status(status)})",
                )

    @check(groups.ERRORS)
    def test_a_code_that_nobody_knows_leaves_the_kind_to_the_status(self) -> None:
        """Vendors make new codes: an error of theirs with another code and other words has the usual kind of its status."""
        place, found = self.subject().place(), 0
        for sample in self.error_samples():
            for body in _with_unknown_code(sample):
                found += 1
                for status in (401, 429, 500, 503):
                    failure = self._ask(HttpResponse(status, Headers(JSON), body), place, f"HTTP {status} with an unknown code")
                    same(
                        f"HTTP {status} with a code that nobody knows has its usual kind ({body[:80]!r})",
                        by_status(status),
                        failure.kind if failure else None,
                        sample=sample.name,
                        change="for a code that is not in your table, give wire.by_status(response.status)",
                    )
        if not found:
            raise NotApplicable("no sample of an error expects a vendor_code that stands in its JSON")

    @check(groups.ERRORS)
    def test_success_is_never_a_failure(self) -> None:
        """`map_error` sees no failure in a good answer."""
        subject = self.subject()
        for sample in each_of(self.whole_samples(), "there is no sample of a complete answer"):
            found = self._quietly(sample.response, subject.sample_place(sample))
            require(
                found is None,
                "success is no failure",
                expected=None,
                got=found,
                sample=sample.name,
                change="let map_error return None where the vendor reports no error",
            )

    @check(groups.ERRORS)
    def test_retry_after_is_kept(self) -> None:
        """Seconds in the header Retry-After are given back as they are, or left to the router, which reads them itself."""
        subject = self.subject()
        samples = [sample for sample in self.error_samples() if "retry_after" not in (sample.failure or {})]
        answers: list[tuple[int, bytes, dict[str, str], Sample | None]] = [
            (sample.status, sample.body, dict(sample.headers), sample) for sample in samples
        ]
        answers += [(status, b"", {}, None) for status in (429, 503)]
        for status, body, headers, sample in answers:
            response = HttpResponse(status, Headers({**headers, "Retry-After": str(_WAITS)}), body)
            found = self._quietly(response, subject.sample_place(sample) if sample else subject.place())
            if found is None:
                continue
            require(
                found.retry_after in (None, _WAITS),
                "Retry-After is kept",
                expected=_WAITS,
                got=found.retry_after,
                sample=sample.name if sample else None,
                change="give retry_after=wire.header_retry_after(response.headers)",
            )
            bare = self._quietly(HttpResponse(status, Headers(headers), body), subject.place())
            if (
                bare is not None
                and sample is not None
                and sample.failure is not None
                and not re.search(rb"retry|wait", body, re.IGNORECASE)
            ):
                require(
                    bare.retry_after is None,
                    "a Retry-After is never made up",
                    expected=None,
                    got=bare.retry_after,
                    sample=sample.name,
                    change="leave retry_after out",
                )

    @check(groups.ERRORS)
    def test_no_key_gets_into_a_failure(self) -> None:
        """A vendor that repeats the key or the GroupId in its error does not get it into what the caller sees."""
        subject = self.subject()
        for sample in each_of(self.error_samples(), "there is no sample of an error"):
            document = sample.document()
            for path, item in leaves(document) if isinstance(document, dict) else ():
                if isinstance(item, str):
                    body = json.dumps(changed(document, path, f"{item} {KEY} {NUMBER}")).encode()
                    failure = subject.play(sample, body).failure
                    texts = (failure.message, failure.vendor_code, failure.request_id) if failure else ()
                    require(
                        not any(KEY in (text or "") for text in texts),
                        "a key that the vendor repeats is masked",
                        expected="***",
                        got="the key",
                        sample=sample.name,
                        change="use wire.masked(text, deployment)",
                    )

    @check(groups.ERRORS)
    def test_a_missing_or_wrong_field_of_an_error_crashes_nothing(self) -> None:
        """Each field of an error removed or replaced by a wrong value: a Failure, or None under HTTP 200; no exception."""
        subject = self.subject()
        for sample in each_of(self.error_samples(), "there is no sample of an error"):
            document, place = sample.document(), subject.sample_place(sample)
            for path, _ in leaves(document) if isinstance(document, dict | list) else ():
                for wrong in WRONG:
                    body = json.dumps(changed(document, path, wrong)).encode()
                    what = f"{spelled(path)} {'removed' if wrong is GONE else f'= {wrong!r}'}"
                    found = self._ask(HttpResponse(sample.status, Headers(sample.headers), body), place, what, sample)
                    require(
                        found is not None or 200 <= sample.status < 300,
                        f"{what}: HTTP {sample.status} is a failure",
                        expected="a Failure",
                        got=None,
                        sample=sample.name,
                        change="return a Failure, or None so that the default answers",
                    )
                    outcome = subject.play(sample, body)
                    require(
                        not outcome.crash,
                        f"{what}: nothing crashes",
                        expected="a Failure",
                        got=outcome.crash,
                        sample=sample.name,
                        change="look at the type before you look inside",
                    )

    @check(groups.ERRORS)
    def test_a_huge_error_is_read_in_time(self) -> None:
        """Hundreds of kilobytes of HTML, of one text, of brackets, frames or blanks are answered for within seconds."""
        place = self.subject().place()
        for name, body in (
            ("HTML", b"<p>" * 100_000),
            ("one text", json.dumps({"message": "x" * 300_000, "error": {"message": "(" * 300_000}}).encode()),
            ("brackets", b"[" * 300_000),
            ("frames", b"data: {}\n\n" * 30_000),
            ("blanks", b" " * 1_000_000),
        ):
            for status in (200, 500):
                begun = time.thread_time()
                self._quietly(HttpResponse(status, Headers(JSON), body), place)
                took = time.thread_time() - begun
                require(
                    took < _SECONDS,
                    f"a long body of {name} is read in time",
                    expected=f"under {_SECONDS:g} s",
                    got=f"{took:.1f} s",
                    change="look at the first kilobytes only, and avoid patterns that go back",
                )


def _with_unknown_code(sample: Sample) -> Iterator[bytes]:
    """The error with a code that nobody knows, and without any word that could tell more."""
    code, document = (sample.failure or {}).get("vendor_code"), sample.document()
    if code is None or not isinstance(document, dict):
        return
    places = {path: item for path, item in leaves(document) if type(item) in (str, int) and str(item) == str(code)}
    for path, item in leaves(document):
        if isinstance(item, str):
            document = changed(document, path, _UNKNOWN_CODE if path in places else "kit")
        elif path in places:
            document = changed(document, path, _UNKNOWN_NUMBER)
    if places:
        yield json.dumps(document).encode()


_UNKNOWN_CODE, _UNKNOWN_NUMBER = "KitUnknownCode", 987_654
