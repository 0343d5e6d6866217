"""Group 4: streams. Bodies are cut, repeated, shortened and mixed in ways that must not change what comes out."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

from cnroute.failures import Failure
from cnroute.testing.contract import expecting, groups
from cnroute.testing.contract.answers import (
    MORE,
    ODD_TEXT,
    UNKNOWN_WORD,
    WRONG,
    check_no_more,
    check_origin,
    check_sound,
    check_unchanged,
)
from cnroute.testing.contract.checking import NotApplicable, check, each_of, fail, require, same
from cnroute.testing.contract.counting import follows, holders
from cnroute.testing.contract.documents import (
    GONE,
    Frame,
    Text,
    broken_off,
    changed,
    distinct,
    leaves,
    shape,
    spelled,
    streamed,
)
from cnroute.testing.contract.played import PlayedStreams, second_increment
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Outcome, Stream, usage_fields

_CUTS = 1500
"""Single cuts of all streams together: every place of a few short streams, evenly spread over more."""
_RANDOM_CUTS = 10
_CASES = 1200
"""Changed places of all streams together."""
_STATE = "keep what a stream remembers in state.memory, nowhere else"


class StreamChecks(PlayedStreams):
    """`parse_stream_line`."""

    @check(groups.STREAM)
    def test_a_stream_is_what_its_sample_expects(self) -> None:
        """Text, reasoning, tool calls, finish reason, request id and failure of every stream are what its sample expects."""
        for sample in self._streamed():
            outcome = self.subject().play(sample)
            if sample.failure is None and outcome.completion is None:
                fail(
                    "a good stream gives a completion",
                    expected="text and one Finish",
                    got=outcome.failure,
                    sample=sample.name,
                    change="return Finish(reason) for the vendor's end mark; or give the sample expect.failure",
                )
            expecting.check(sample, outcome, ("text", "reasoning", "tool_calls", "finish_reason", "request_id"))
            check_origin(sample, outcome)

    @check(groups.STREAM)
    def test_the_usage_of_a_stream_is_the_vendors_or_unknown(self) -> None:
        """The last usage that the vendor told is the stream's; counts are never added up, and never made up."""
        for sample in self._streamed():
            expecting.check(sample, self.subject().play(sample), ("usage",))
        for sample, text, base in self._good():
            self._check_usage(sample, text, base)

    def _check_usage(self, sample: Sample, text: Text, base: Outcome) -> None:
        known = {name: value for name, value in usage_fields(base.answer.usage).items() if value is not None}
        fed: dict[str, list[tuple[Frame, Any]]] = {name: [] for name in known}
        for frame, path, item in _places(text):
            if known and type(item) is int:
                outcome = self.subject().play(sample, text.with_value(frame, path, MORE))
                got = usage_fields(outcome.answer.usage)
                for name in known:
                    if got[name] != known[name] and outcome.completion:  # none: a status, not a count
                        fed[name].append((frame, path))
        for name, value in known.items():
            require(
                fed[name],
                f"{name} of a stream is the vendor's",
                expected="a number that stands in the stream",
                got=f"{name}={value}",
                sample=sample.name,
                change="return UsageUpdate(wire.usage_from(...)) with the vendor's numbers",
            )
            shapes = {shape(path) for _, path in fed[name]}
            totals = {shape(path) for _, path in fed.get("total_tokens", ())}
            for places in (shapes, *({holder} for holder in holders(sorted(shapes)))):
                self._check_unfed(sample, text, name, places, totals - places)

    def _check_unfed(self, sample: Sample, text: Text, name: str, places: set[Any], totals: set[Any]) -> None:
        """Without the numbers of a count in any frame, or without what holds them, it is unknown."""
        for wrong in (GONE, None, {}, "kit-text", -5):
            bare = streamed(text.with_frames(functools.partial(_without, places, wrong)))
            outcome = self.subject().play(sample, bare.joined({}))
            if outcome.completion is None:
                continue
            moved = (bare.with_frames(functools.partial(_without, {each}, MORE)) for each in totals)
            require(
                follows(name, outcome.answer.usage, (self._usage(sample, body) for body in moved)),
                f"{name} is unknown when no frame says it",
                expected=None,
                got=f"{usage_fields(outcome.answer.usage)[name]} without {', '.join(map(spelled, sorted(places)))}",
                sample=sample.name,
                change="use wire.usage_from(...); what the vendor does not say is None",
            )

    @check(groups.STREAM)
    def test_the_finish_reason_of_a_stream_is_the_vendors(self) -> None:
        """Without the vendor's word, or with an unknown one, no finish reason comes out."""
        for sample, text, base in self._good():
            reason = base.answer.finish_reason
            if reason is None:
                continue
            fed = {
                shape(path)
                for frame, path, item in _places(text)
                if isinstance(item, str)
                and self.subject().play(sample, text.with_value(frame, path, UNKNOWN_WORD)).content()["finish_reason"] != reason
            }
            require(
                fed,
                "the finish reason of a stream is the vendor's",
                expected="a word that stands in the stream",
                got=repr(reason),
                sample=sample.name,
                change="map the vendor's own words in a table; everything else is None",
            )
            for wrong in (GONE, None, UNKNOWN_WORD):
                outcome = self.subject().play(sample, text.with_frames(functools.partial(_without, fed, wrong)))
                check_sound(
                    outcome,
                    f"finish reason {'removed' if wrong is GONE else wrong!r}",
                    sample,
                    sample.body.decode("utf-8", "replace"),
                )
                got = outcome.completion.finish_reason if outcome.completion else None
                require(
                    got is None,
                    "a finish reason is never made up",
                    expected=None,
                    got=got,
                    sample=sample.name,
                    change="return Finish(...) for the vendor's end mark only, with the word that the vendor sent",
                )

    @check(groups.STREAM)
    def test_a_stream_is_the_same_however_its_bytes_are_cut(self) -> None:
        """Every single cut, random cuts, one byte a read: the same events; LF and CRLF; with and without the last line end."""
        samples = self._streamed()
        step = max(1, round(sum(len(sample.body) for sample in samples) / (_CUTS * self.effort)))
        for sample in samples:
            base = self.subject().play(sample)
            for name, body in _endings(sample.body):
                for cuts in self._cuts(body if name == "as it is" else b"", sample.name, step):
                    self._check_same(sample, base, body, cuts, f"{name}, cut at {cuts[:5]}")
                self._check_same(sample, base, body, [], name)

    def _check_same(self, sample: Sample, base: Outcome, body: bytes, cuts: list[int], how: str) -> None:
        got = self.subject().play(sample, body, cuts)
        same(f"a stream is the same however it arrives ({how})", base.seen(), got.seen(), sample=sample.name, change=_STATE)
        want = [event for _, event in base.events]
        same(
            f"the events are the same however they arrive ({how})",
            want,
            [event for _, event in got.events],
            sample=sample.name,
            change=_STATE,
        )

    def _cuts(self, body: bytes, seed: str, step: int) -> Iterator[list[int]]:
        """Every `step`th single cut; then every byte alone, then some by chance."""
        if len(body) < 2:
            return
        chance = random.Random(seed)
        yield from ([at] for at in range(1 + chance.randrange(step), len(body), step))
        yield list(range(1, len(body)))
        for _ in range(int(_RANDOM_CUTS * self.effort)):
            yield sorted(chance.sample(range(1, len(body)), min(len(body) - 1, chance.randint(2, 6))))

    @check(groups.STREAM)
    def test_keep_alives_and_comments_give_nothing(self) -> None:
        """Comment lines and empty lines between the events of a stream change nothing, and nothing behind them is lost."""
        for sample in self._streamed():
            if b"data:" not in sample.body:
                continue
            base, text = self.subject().play(sample), sample.body.decode("utf-8", "replace").replace("\r\n", "\n")
            for keep in (": keep-alive\n\n", ":\n\n", "\n", ": a\n: b\n\n\n"):
                for body in (text.replace("\n\n", f"\n\n{keep}"), keep + text):
                    got = self.subject().play(sample, body.encode())
                    same(
                        f"{keep!r} between events gives nothing",
                        base.seen(),
                        got.seen(),
                        sample=sample.name,
                        change="return () for lines that begin with a colon and for empty ones, and remember nothing of them",
                    )

    @check(groups.STREAM)
    def test_the_same_chunk_twice_is_text_twice(self) -> None:
        """Where chunks are increments, two equal ones in a row both count: texts may repeat themselves."""
        found = 0
        for sample, text, base in self._good():
            frame = second_increment(text, base)
            if frame is None:
                continue
            found += 1
            said = "".join(event.text for line, event in base.events if line == frame.line)
            got = self.subject().play(sample, text.with_another(frame.line, text.lines[frame.line]))
            same(
                "the same chunk twice is text twice",
                len(base.answer.text) + len(said),
                len(got.answer.text),
                sample=sample.name,
                change="hand out every increment, also one that equals the one before",
            )
        if not found:
            raise NotApplicable("no sample has two increments of text")

    @check(groups.STREAM)
    def test_texts_of_a_stream_come_through_unchanged(self) -> None:
        """Blanks, line ends and markup of a chunk are handed out as they came; no other field becomes text."""
        for sample, text, base in self._good():
            for frame, path, item in distinct(text):
                if not isinstance(item, str):
                    continue
                got = self.subject().play(sample, text.with_value(frame, path, ODD_TEXT))
                check_unchanged(got, f"line {frame.line + 1}: {spelled(path)}", sample)
                for wrong in (GONE, None):
                    got = self.subject().play(sample, text.with_value(frame, path, wrong))
                    check_no_more(base, got, f"line {frame.line + 1}: {spelled(path)}", sample)

    @check(groups.STREAM)
    def test_a_stream_says_the_same_as_the_plain_answer(self) -> None:
        """Samples with one `answer` label have the same text, reasoning, tool calls, finish reason and usage."""
        pairs = [
            (one, other)
            for one in self.all_samples()
            for other in self.all_samples()
            if one.answer and one.answer == other.answer and not one.stream and other.stream
        ]
        for one, other in each_of(pairs, "no plain and streamed sample share an answer label"):
            plain, stream = (self.subject().play(each).content() for each in (one, other))
            same(
                "the stream says the same as the plain answer",
                plain,
                stream,
                sample=f"{one.name} and {other.name}",
                change="let both hooks read the same fields",
            )

    @check(groups.STREAM)
    def test_interleaved_streams_do_not_mix(self) -> None:
        """Two streams read in turns, line by line, give what each gives alone; and one after the other, too."""
        samples = self._streamed()
        for one, other in zip(samples, [*samples[1:], samples[0]], strict=True):
            alone = [self.subject().play(each) for each in (one, other)]
            for pair in ((one, other), (one, one)):
                got = self._interleaved(*pair)
                want = [alone[0], alone[1] if pair[1] is other else alone[0]]
                same(
                    "streams that are read in turns do not mix",
                    [each.seen() for each in want],
                    [each.seen() for each in got],
                    sample=f"{pair[0].name} and {pair[1].name}",
                    change=_STATE,
                )

    def _interleaved(self, one: Sample, other: Sample) -> list[Outcome]:
        streams = [Stream(self.subject(), each) for each in (one, other)]
        pieces = [each.body.splitlines(keepends=True) for each in (one, other)]
        for number in range(max(map(len, pieces))):
            for stream, lines in zip(streams, pieces, strict=True):
                if number < len(lines) and not stream.over:
                    stream.feed(lines[number])
        return [stream.end() for stream in streams]

    @check(groups.STREAM)
    def test_a_stream_that_broke_off_leaves_nothing_behind(self) -> None:
        """A stream that dies in the middle of an event, or is given up there, changes nothing of the next one."""
        samples = self._streamed()
        want = {sample.name: self.subject().play(sample).seen() for sample in (*samples, *samples)}
        for sample, other in zip(samples, [*samples[1:], samples[0]], strict=True):
            for body, ended, later in itertools.product(broken_off(sample.body), (True, False), (other, sample)):
                self._break_off(sample, body, ended)
                same(
                    "a stream that broke off leaves nothing behind",
                    want[later.name],
                    self.subject().play(later).seen(),
                    sample=f"{later.name} after a part of {sample.name}",
                    change=_STATE,
                )

    def _break_off(self, sample: Sample, body: bytes, ended: bool) -> None:
        stream = Stream(self.subject(), sample)
        stream.feed(body)
        if ended:
            stream.end()

    @check(groups.STREAM)
    def test_an_error_inside_a_stream_is_a_failure(self) -> None:
        """A frame with an error gives a `Failure` with the kind and code that the sample expects, at any place of any stream."""
        broken = [sample for sample in self._streamed() if sample.failure is not None]
        for sample in each_of(broken, "no sample of a stream has an error inside"):
            outcome = self.subject().play(sample)
            expecting.check(sample, outcome, ("failure", "text"))
        for sample in broken:
            self._check_error_elsewhere(sample)

    def _check_error_elsewhere(self, sample: Sample) -> None:
        """The error's own lines behind the first frames of other streams of the same model."""
        outcome, text = self.subject().play(sample), streamed(sample.body)
        at = next((line for line, event in outcome.events if isinstance(event, Failure)), None)
        if at is None or text.frame_at(at) is None:
            return
        start = max((line for line in range(at) if text.lines[line] == ""), default=-1) + 1
        error = list(text.lines[start : at + 1])
        for other, good, _ in self._good():
            if other.call.get("model") != sample.call.get("model") or other.call.get("extra") != sample.call.get("extra"):
                continue
            blanks = [number for number, line in enumerate(good.lines) if line == ""][:2]
            for at in [-1, *blanks]:
                lines = [*good.lines[: at + 1], *error, "", *good.lines[at + 1 :]]
                got = self.subject().play(other, "\n".join(lines).encode())
                require(
                    got.failure is not None and outcome.failure is not None and got.failure.kind == outcome.failure.kind,
                    "an error inside a stream is a failure",
                    expected=outcome.failure,
                    got=got.failure or got.answer.text,
                    sample=f"{sample.name} in {other.name}",
                    change="look for an error in every frame, whatever came before",
                )

    @check(groups.STREAM)
    def test_a_missing_or_wrong_field_of_a_frame_crashes_nothing(self) -> None:
        """Each field of a frame removed or replaced by a wrong value: events or a Failure, never an exception."""
        samples = self._streamed()
        for sample in samples:
            known, text = sample.body.decode("utf-8", "replace"), streamed(sample.body)
            cases = [
                (frame, path, wrong)
                for frame, path, item in distinct(text)
                for wrong in WRONG
                if not (wrong == item and type(wrong) is type(item))
            ]
            random.Random(sample.name).shuffle(cases)
            for frame, path, wrong in _each_shape_first(cases)[: int(_CASES * self.effort / len(samples)) + 1]:
                got = self.subject().play(sample, text.with_value(frame, path, wrong))
                check_sound(
                    got, f"line {frame.line + 1}: {spelled(path)} {'removed' if wrong is GONE else f'= {wrong!r}'}", sample, known
                )

    @check(groups.STREAM)
    def test_unknown_fields_and_lines_are_ignored(self) -> None:
        """A field that nobody knows in every frame, and lines of an unknown kind, change nothing."""
        for sample, text, base in self._good():
            more = text.with_frames(lambda frame: {**frame.value, "kit_unknown": [1]})
            same(
                "an unknown field changes nothing",
                base.content(),
                self.subject().play(sample, more).content(),
                sample=sample.name,
                change="read the fields that you need, and leave the others alone",
            )
            if b"data:" in sample.body:
                body = re.sub(r"\n\n", "\n\nretry: 3000\nkit_unknown: 1\n\n", "\n".join(text.lines)).encode()
                same(
                    "an unknown line changes nothing",
                    base.content(),
                    self.subject().play(sample, body).content(),
                    sample=sample.name,
                    change="return () for lines that are not yours",
                )


# -- places ----------------------------------------------------------------------------------------------


def _places(text: Text) -> Iterator[tuple[Frame, Any, Any]]:
    for frame in text.frames:
        for path, item in leaves(frame.value):
            yield frame, path, item


def _each_shape_first(cases: list[Any]) -> list[Any]:
    """The same cases, such that every shape is met once before any is met twice."""
    met: dict[Any, int] = {}
    ranked = []
    for case in cases:
        key = shape(case[1])
        met[key] = met.get(key, 0) + 1
        ranked.append((met[key], case))
    return [case for _, case in sorted(ranked, key=lambda pair: pair[0])]


def _without(shapes: set[Any], wrong: Any, frame: Frame) -> Any:
    """The document of a frame with another value in every place of these shapes."""
    made = frame.value
    for path, _ in sorted(leaves(made), key=lambda pair: repr(pair[0]), reverse=True):
        if shape(path) in shapes:
            made = changed(made, path, wrong)
    return made


def _endings(body: bytes) -> Iterator[tuple[str, bytes]]:
    lf = body.replace(b"\r\n", b"\n")
    yield "as it is", body
    yield "LF", lf
    yield "CRLF", lf.replace(b"\n", b"\r\n")
    yield "no newline at the end", lf.rstrip(b"\n")
    if b"data:" in lf:
        yield "no blank after data:", re.sub(rb"(?m)^data: ", b"data:", lf)
        yield "a blank after data:", re.sub(rb"(?m)^data: ?", b"data: ", lf)
