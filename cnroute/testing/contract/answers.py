"""Group 3: complete answers. Which number of an answer becomes which usage is found by changing it, not by its name."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cnroute.chat import ToolCall
from cnroute.http import Headers, HttpResponse
from cnroute.testing.contract import expecting, groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require, same
from cnroute.testing.contract.counting import follows, holders
from cnroute.testing.contract.documents import GONE, Path, changed, leaves, spelled
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import USAGE, Outcome, Subject, usage_fields

MORE = 1_000_003
UNKNOWN_WORD = "kit-unknown-word"
WRONG: tuple[Any, ...] = (GONE, None, [], {}, 7, "kit-text", True, 1.5, -3, [None], [[]], [7], {"kit": None}, "")
NO_COUNTS: tuple[Any, ...] = (GONE, None, "kit-text", -5, [], {}, True)
NO_ANSWERS = (
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"7",
    b'"text"',
    b"[{}]",
    b'{"kit": 1}',
    b"<html><body>Gateway</body></html>",
    b"not json",
    b'{"',
    b"\xff\xfe\x00",
    b"[" * 500,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"NaN",
)
ODD_TEXT = "  kit-odd 你好 <b>&amp;</b>\u2028\\n \n\t"
_ODD = "kit-odd"
_INVENTED = "take the number from the vendor's answer (wire.usage_from); what it does not say is None, never 0 or a guess"

Play = Callable[[Any], Outcome]
"""What comes of a document in the place of a sample's own."""


def _played(subject: Subject, sample: Sample, document: Any) -> Outcome:
    return subject.play(sample, json.dumps(document).encode())


class AnswerChecks(ContractBase):
    """`parse_response`, together with `map_error` as the flow asks them."""

    def _plays(self) -> Iterator[tuple[Sample, Any, Play]]:
        """Every good complete answer in JSON: its document, and what comes of another one in its place."""
        subject = self.subject()
        for sample in each_of(self.whole_samples(), "there is no sample of a complete answer"):
            document = sample.document()
            if isinstance(document, dict | list):
                yield sample, document, functools.partial(_played, subject, sample)

    @check(groups.ANSWER)
    def test_an_answer_is_what_its_sample_expects(self) -> None:
        """Text, reasoning, tool calls and request id of every complete answer are what its sample expects."""
        for sample in each_of(self.whole_samples(), "there is no sample of a complete answer"):
            outcome = self.subject().play(sample)
            if outcome.completion is None:
                fail(
                    "a good answer gives a completion",
                    expected="a ChatCompletion",
                    got=outcome.failure,
                    sample=sample.name,
                    change="let map_error return None and parse_response the answer; or give the sample expect.failure",
                )
            expecting.check(sample, outcome, ("text", "reasoning", "tool_calls", "request_id", "failure"))
            check_origin(sample, outcome)

    @check(groups.ANSWER)
    def test_usage_is_the_vendors_or_unknown(self) -> None:
        """Each count is a number of the answer; where the answer does not say it, it is None."""
        for sample in each_of(self.whole_samples(), "there is no sample of a complete answer"):
            expecting.check(sample, self.subject().play(sample), ("usage",))
        for sample, document, play in self._plays():
            check_usage(sample, document, play)

    @check(groups.ANSWER)
    def test_the_finish_reason_is_the_vendors(self) -> None:
        """The finish reason follows from a word of the answer; without it, or with an unknown word, it is None."""
        for sample in each_of(self.whole_samples(), "there is no sample of a complete answer"):
            expecting.check(sample, self.subject().play(sample), ("finish_reason",))
        for sample, document, play in self._plays():
            check_finish(sample, document, play)

    @check(groups.ANSWER)
    def test_every_tool_call_of_an_answer_comes_out(self) -> None:
        """A second tool call beside the first one is handed out, too, in its place."""
        found = 0
        for sample, document, play in self._plays():
            calls = play(document).answer.tool_calls
            for path, item in _rows_with(document, calls):
                found += 1
                second = _with_words(item, {calls[-1].id: "kit-second-id", calls[-1].name: "kit_second"})
                (*before, last) = path
                rows = _at(document, tuple(before))
                got = play(changed(document, tuple(before), [*rows[: last + 1], second, *rows[last + 1 :]]))
                same(
                    "every tool call of an answer comes out",
                    [*(call.name for call in calls), "kit_second"],
                    [call.name for call in got.answer.tool_calls],
                    sample=sample.name,
                    change="go over the whole list of the vendor's tool calls",
                )
        if not found:
            raise NotApplicable("no sample of a complete answer has tool calls in a list")

    @check(groups.ANSWER)
    def test_texts_of_an_answer_come_through_unchanged(self) -> None:
        """Blanks, line ends and markup are handed out as they came; no other field becomes text."""
        for sample, document, play in self._plays():
            base = play(document)
            for path, item in list(leaves(document)):
                if not isinstance(item, str):
                    continue
                check_unchanged(play(changed(document, path, ODD_TEXT)), spelled(path), sample)
                for wrong in (GONE, None):
                    check_no_more(base, play(changed(document, path, wrong)), spelled(path), sample)

    @check(groups.ANSWER)
    def test_unknown_fields_are_ignored_and_kept_in_raw(self) -> None:
        """A field that nobody knows, anywhere in the answer, changes nothing and stands in `raw`."""
        for sample, document, play in self._plays():
            want = play(document).seen()
            objects = [((), document)] + [(path, item) for path, item in leaves(document) if isinstance(item, dict)]
            for path, item in objects:
                if isinstance(item, dict):
                    more = changed([document], (0, *path), {**item, "kit_unknown": {"kit": [1]}})[0]
                    outcome = play(more)
                    same(
                        f"an unknown field in {spelled(path) or 'the answer'} changes nothing",
                        want,
                        outcome.seen(),
                        sample=sample.name,
                        change="read the fields that you need, and leave the others alone",
                    )
                    same(
                        "the whole answer is kept in raw",
                        more,
                        outcome.answer.raw,
                        sample=sample.name,
                        change="give ChatCompletion raw=data, or leave raw out: the router fills it in",
                    )

    @check(groups.ANSWER)
    def test_a_missing_or_wrong_field_crashes_nothing(self) -> None:
        """Each field removed, and each value replaced by null, list, object, number and text: a result or a Failure of ours."""
        for sample, document, play in self._plays():
            known = json.dumps(document)
            for path, item in list(leaves(document)):
                for wrong in WRONG:
                    if wrong == item and type(wrong) is type(item):
                        continue
                    outcome = play(changed(document, path, wrong))
                    what = f"{spelled(path)} {'removed' if wrong is GONE else f'= {wrong!r}'}"
                    check_sound(outcome, what, sample, known)

    @check(groups.ANSWER)
    def test_a_body_that_is_no_answer_is_a_failure(self) -> None:
        """Empty, HTML, broken and foreign bodies under HTTP 200 are a Failure, never an answer."""
        for body in NO_ANSWERS:
            for kind in ("application/json", "text/html"):
                outcome = self.subject().plain(HttpResponse(200, Headers({"Content-Type": kind}), body))
                check_sound(outcome, f"the body {body[:40]!r}", None, "")
                require(
                    outcome.completion is None,
                    "a body that is no answer is a failure",
                    expected="a Failure (bad_response)",
                    got=outcome.completion,
                    change='return Failure("bad_response", reason) when the answer has no text of its own',
                )

    @check(groups.ANSWER)
    def test_an_error_in_a_200_is_seen_by_map_error(self) -> None:
        """`map_error` finds the vendor's errors under HTTP 200; no error ever becomes an answer, whatever its status."""
        subject = self.subject()
        for sample in each_of(self.error_samples(), "there is no sample of an error"):
            place = subject.sample_place(sample)
            if 200 <= sample.status < 300 and (sample.failure or {}).get("kind") != "bad_response":
                found = place.hooks.map_error(sample.response, place.deployment)
                require(
                    found is not None,
                    "an error in a 200 is seen by map_error",
                    expected=dict(sample.failure or {}),
                    got=None,
                    sample=sample.name,
                    change="let map_error look at the body of every answer, HTTP 200 too",
                )
            outcome = subject.plain(HttpResponse(200, Headers(sample.headers), sample.body), place)
            require(
                outcome.completion is None,
                "an error under HTTP 200 is no answer",
                expected="a Failure",
                got=outcome.completion,
                sample=sample.name,
                change="let map_error look at the body of every answer, HTTP 200 too",
            )


def check_usage(sample: Sample, document: Any, play: Play) -> None:
    """Every known count comes from numbers of the document, and goes with them."""
    base = play(document)
    numbers = [path for path, item in leaves(document) if type(item) is int or (isinstance(item, str) and item.isdigit())]
    fed: dict[str, list[Path]] = {name: [] for name in USAGE}
    for path in numbers:
        got = play(changed(document, path, MORE))
        if got.completion is None:  # a status, not a count
            continue
        for name, value in usage_fields(got.answer.usage).items():
            if value != usage_fields(base.answer.usage)[name]:
                fed[name].append(path)
    for name, value in usage_fields(base.answer.usage).items():
        if value is None:
            continue
        require(
            fed[name],
            f"{name} is the vendor's",
            expected="a number that stands in the answer",
            got=f"{name}={value}, whatever the answer says",
            change=_INVENTED,
            sample=sample.name,
        )
        places = [fed[name], *([holder] for holder in holders(fed[name]))]
        for paths, wrong in itertools.product(places, NO_COUNTS):
            _check_unfed(sample, document, play, name, paths, wrong, fed["total_tokens"])


def _check_unfed(sample: Sample, document: Any, play: Play, name: str, paths: list[Path], wrong: Any, totals: list[Path]) -> None:
    """Without the numbers of a count, or without what holds them, it is unknown; `totals` are the numbers behind the total."""
    made = document
    for path in sorted(paths, key=repr, reverse=True):
        made = changed(made, path, wrong)
    outcome = play(made)
    if outcome.completion is None:
        return
    usage = outcome.completion.usage
    left = [path for path, _ in leaves(made) if path in totals and path not in paths]
    what = "removed" if wrong is GONE else f"= {wrong!r}"
    require(
        follows(name, usage, (play(changed(made, path, MORE)).answer.usage for path in left)),
        f"{name} is unknown when the answer does not say it",
        expected=None,
        got=f"{usage_fields(usage)[name]} with {', '.join(map(spelled, paths))} {what}",
        change=_INVENTED,
        sample=sample.name,
    )


def check_finish(sample: Sample, document: Any, play: Play) -> None:
    """The finish reason comes from a word of the document, and goes with it."""
    reason = play(document).answer.finish_reason
    if reason is None:
        return
    words = [path for path, item in leaves(document) if isinstance(item, str)]
    fed = [path for path in words if play(changed(document, path, UNKNOWN_WORD)).answer.finish_reason != reason]
    change = "map the vendor's own words in a table; everything else is None"
    require(
        fed,
        "the finish reason is the vendor's",
        expected="a word that stands in the answer",
        got=f"{reason!r}, whatever the answer says",
        change=change,
        sample=sample.name,
    )
    for wrong in (GONE, None, "", UNKNOWN_WORD, 7, []):
        made = document
        for path in sorted(fed, key=repr, reverse=True):
            made = changed(made, path, wrong)
        outcome = play(made)
        what = "removed" if wrong is GONE else f"= {wrong!r}"
        check_sound(outcome, f"{', '.join(map(spelled, fed))} {what}", sample, json.dumps(document))
        got = outcome.completion.finish_reason if outcome.completion else None
        require(
            got is None,
            "a finish reason is never made up",
            expected=None,
            got=f"{got!r} with {', '.join(map(spelled, fed))} {what}",
            change=change,
            sample=sample.name,
        )


def _rows_with(document: Any, calls: Sequence[ToolCall]) -> list[tuple[Path, Any]]:
    """The innermost element of a list that holds name and arguments of the last of the tool calls, with its place."""
    if not calls:
        return []
    call = calls[-1]
    rows = [
        (path, item)
        for path, item in leaves(document)
        if type(path[-1]) is int and {call.name, call.arguments} <= {each for _, each in leaves(item) if isinstance(each, str)}
    ]
    return sorted(rows, key=lambda row: len(row[0]))[-1:]


def _with_words(document: Any, words: Mapping[str, str]) -> Any:
    """A copy with other words in place of these."""
    for path, item in list(leaves(document)):
        if isinstance(item, str) and item in words and item:
            document = changed(document, path, words[item])
    return document


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def check_origin(sample: Sample, outcome: Outcome) -> None:
    """Ids and the model's name of an answer stand in what the vendor sent."""
    sent = sample.body.decode("utf-8", "replace") + " ".join(sample.headers.values())
    for field in ("id", "request_id", "model"):
        value = getattr(outcome.answer, field) if outcome.completion is not None else None
        require(
            value is None or value in sent,
            f"{field} is the vendor's",
            expected="text that stands in the answer or its headers, or None",
            got=value,
            change="take it from the answer; None where the vendor did not send it",
            sample=sample.name,
        )


def check_unchanged(outcome: Outcome, place: str, sample: Sample) -> None:
    """A text that is handed out at all is handed out as it came."""
    for field in ("text", "reasoning"):
        got = getattr(outcome.answer, field)
        require(
            _ODD not in got or ODD_TEXT in got,
            f"{place}: {field} comes through unchanged",
            expected=repr(ODD_TEXT),
            got=repr(got),
            change="hand the text out as it is: no strip, no replacing",
            sample=sample.name,
        )


def check_no_more(base: Outcome, outcome: Outcome, place: str, sample: Sample) -> None:
    """Without one field there is the same text, or less of it: none comes from another field."""
    for field in ("text", "reasoning"):
        rest = iter(getattr(base.answer, field))
        got = getattr(outcome.answer, field) if outcome.completion is not None else ""
        require(
            all(letter in rest for letter in got),
            f"without {place}: no other field becomes {field}",
            expected=f"a part of {getattr(base.answer, field)!r}",
            got=got,
            change="take the text from the one field that holds it",
            sample=sample.name,
        )


_NULLS = ("None", "null", "True", "[]", "{}", "nan")


def check_sound(outcome: Outcome, what: str, sample: Sample | None, known: str) -> None:
    """A result or a failure of ours, with values of the right types; null never becomes text."""
    name = sample.name if sample else None
    if outcome.crash:
        fail(
            f"{what}: a result or a failure, never an exception",
            expected='a result, or Failure("bad_response", reason)',
            got=outcome.crash,
            change="look at the type before you look inside: isinstance(x, dict), .get(...), wire.text_or_none(x)",
            sample=name,
        )
    answer = outcome.answer
    texts = {
        "text": answer.text,
        "reasoning": answer.reasoning,
        **{f"tool_calls[{n}].arguments": c.arguments for n, c in enumerate(answer.tool_calls)},
    }
    for field, text in texts.items():
        require(
            isinstance(text, str),
            f"{what}: {field} is text",
            expected="a str",
            got=text,
            change="keep what is no text out of it",
            sample=name,
        )
        turned = text in _NULLS and field != "tool_calls" and not field.endswith("arguments") and json.dumps(text) not in known
        require(
            not turned,
            f"{what}: nothing becomes text that is none",
            expected="no text",
            got=f"{field}={text!r}",
            change="use wire.text_or_none(x) in place of str(x)",
            sample=name,
        )
    for field in ("id", "request_id", "model"):
        value = getattr(answer, field)
        require(
            value is None or isinstance(value, str),
            f"{what}: {field} is text or None",
            expected="a str or None",
            got=value,
            sample=name,
            change="use wire.text_or_none(x)",
        )
        require(
            value not in ("None", "null"),
            f"{what}: {field} is never null as text",
            expected=None,
            got=value,
            sample=name,
            change="use wire.text_or_none(x) in place of str(x)",
        )
    for call in answer.tool_calls:
        good = all(isinstance(value, str) for value in (call.id, call.name, call.arguments))
        require(
            good,
            f"{what}: a tool call is made of texts",
            expected="id, name and arguments as str",
            got=call,
            sample=name,
            change="leave out what is no call",
        )
    for field, count in usage_fields(answer.usage).items():
        require(
            count is None or (type(count) is int and count >= 0),
            f"{what}: {field} is a count or None",
            expected="an int of at least 0, or None",
            got=count,
            change="use wire.usage_from(...), which takes counts only",
            sample=name,
        )
