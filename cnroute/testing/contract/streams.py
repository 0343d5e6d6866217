"""Group 4: streams. Bodies are cut, repeated, shortened and mixed in ways that must not change what comes out."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

from cnroute.events import UsageUpdate
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
from cnroute.testing.contract.base import ContractBase
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
    written,
)
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Outcome, Stream, usage_fields

_CUTS = 1500
"""Single cuts of all streams together: every place of a few short streams, evenly spread over more."""
_RANDOM_CUTS = 10
_CASES = 1200
"""Changed places of all streams together."""
_STATE = "keep what a stream remembers in state.memory, nowhere else"


class StreamChecks(ContractBase):
    """`parse_stream_line`."""

    def _streamed(self) -> list[Sample]:
        if not self.supports_stream and self.subject().hooks.parse_stream_line is None:
            raise NotApplicable("the provider does not stream")
        return list(each_of(self.stream_samples(), "there is no sample of a stream"))

    def _good(self) -> list[tuple[Sample, Text, Outcome]]:
        """Streams that end well, taken apart, with what comes of them."""
        self._streamed()
        played = [(sample, streamed(sample.body), self.subject().play(sample)) for sample in self.good_streams()]
        return list(each_of(played, "there is no sample of a stream that ends well"))

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
    def test_exactly_one_finish_comes_out(self) -> None:
        """A stream that ends well gives one `Finish`."""
        for sample, _, base in self._good():
            require(
                len(base.finishes()) == 1,
                "exactly one Finish comes out",
                expected="one Finish",
                got=[event for _, event in base.finishes()],
                sample=sample.name,
                change="note in state.memory that the Finish was given",
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
    def test_a_cut_stream_has_no_finish(self) -> None:
        """A stream that stops before its end mark gives no `Finish`: ends are never made up."""
        for sample, text, base in self._good():
            line = base.finishes()[0][0] if base.finishes() else 0
            before = "\n".join(text.lines[:line])
            last = text.lines[line] if line < len(text.lines) else ""
            bodies = ["\n".join(text.lines[:number]) for number in range(line + 1)] + [
                f"{before}\n{last[: len(last) // 2]}",
                before + "\n\n",
            ]
            for body in dict.fromkeys(bodies):
                got = self.subject().play(sample, body.encode())
                require(
                    got.completion is None and not got.finishes(),
                    "a cut stream has no Finish",
                    expected="no Finish",
                    got=f"{[e for _, e in got.finishes()]} after {body[-60:]!r}",
                    sample=sample.name,
                    change="return Finish only for the line in which the vendor ends the answer, never for the empty last line",
                )
                require(
                    not got.crash,
                    "a cut stream crashes nothing",
                    expected="no exception",
                    got=got.crash,
                    sample=sample.name,
                    change="expect a stream to stop anywhere",
                )

    @check(groups.STREAM)
    def test_what_comes_after_the_finish_is_kept(self) -> None:
        """Usage after the first end mark counts, and text after it is kept."""
        found = 0
        for sample, text, base in self._good():
            found += self._check_usage_after(sample, text, base) + self._check_text_after(sample, text, base)
        if not found:
            raise NotApplicable("no sample has usage, or text in frames that can be repeated")

    def _check_usage_after(self, sample: Sample, text: Text, base: Outcome) -> int:
        """The frame with the end mark once more, without the mark and with other numbers: these count."""
        frame = _frame_at(text, base.finishes()[0][0] if base.finishes() else -1)
        told = _last_usage(base)
        if frame is None or told is None:
            return 0
        source = _frame_at(text, told)
        if source is None:
            return 0
        fed = [
            path
            for path, item in leaves(source.value)
            if type(item) is int and self._usage(sample, text.with_value(source, path, MORE)) != base.answer.usage
        ]
        marks = [
            path
            for path, item in leaves(source.value)
            if isinstance(item, str) and not self.subject().play(sample, text.with_value(source, path, None)).finishes()
        ]
        if not fed:
            return 0
        late = source.value
        for path in marks:
            late = changed(late, path, None)
        for path in fed:
            late = changed(late, path, MORE)
        body = _inserted(text, max(frame.line, source.line), written(source, late) or "")
        usage = self._usage(sample, body)
        want = usage_fields(self._usage(sample, text.joined({source.line: written(source, _all_set(source.value, fed))})))
        require(
            {MORE, 2 * MORE} & set(usage_fields(usage).values()),
            "usage after the finish is kept",
            expected=want,
            got=usage_fields(usage),
            sample=sample.name,
            change="go on reading usage after the end mark: the last one that the vendor tells counts",
        )
        return 1

    def _usage(self, sample: Sample, body: bytes) -> Any:
        return self.subject().play(sample, body).answer.usage

    def _check_text_after(self, sample: Sample, text: Text, base: Outcome) -> int:
        """A frame whose text comes again when it is repeated in the middle comes again after the end mark, too."""
        end = base.finishes()[0][0] if base.finishes() else -1
        for frame in text.frames:
            if frame.line >= end:
                return 0
            said = [event.text for line, event in base.events if line == frame.line]
            if not any(said) or not all(said):
                continue
            middle = self.subject().play(sample, _inserted(text, frame.line, text.lines[frame.line]))
            if middle.completion is None or len(middle.answer.text) != len(base.answer.text) + len("".join(said)):
                return 0
            late = self.subject().play(sample, _inserted(text, end, text.lines[frame.line]))
            same(
                "text after the finish is kept",
                base.answer.text + "".join(said),
                late.answer.text,
                sample=sample.name,
                change="go on reading text after the end mark",
            )
            return 1
        return 0

    @check(groups.STREAM)
    def test_the_same_chunk_twice_is_text_twice(self) -> None:
        """Where chunks are increments, two equal ones in a row both count: texts may repeat themselves."""
        found = 0
        for sample, text, base in self._good():
            frame = _second_increment(text, base)
            if frame is None:
                continue
            found += 1
            said = "".join(event.text for line, event in base.events if line == frame.line)
            got = self.subject().play(sample, _inserted(text, frame.line, text.lines[frame.line]))
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
    def test_a_repeated_last_frame_adds_nothing(self) -> None:
        """The last frame of a stream, and the one with the end mark, come twice: the answer is the same."""
        for sample, text, base in self._good():
            ends = {base.finishes()[0][0] if base.finishes() else -1, max((frame.line for frame in text.frames), default=-1)}
            for line in ends - {-1}:
                got = self.subject().play(sample, _inserted(text, line, text.lines[line]))
                same(
                    "a repeated last frame adds nothing",
                    base.content(),
                    got.content(),
                    sample=sample.name,
                    change="remember in state.memory how the stream ended, and skip the same frame",
                )

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
        if at is None or _frame_at(text, at) is None:
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


def _second_increment(text: Text, base: Outcome) -> Frame | None:
    """A frame behind the first text whose text stands in it as it is: in a stream of snapshots it would be longer."""
    end = base.finishes()[0][0] if base.finishes() else -1
    lines = [line for line, event in base.events if event.text and line < end]
    for line in dict.fromkeys(lines[1:]):
        frame = _frame_at(text, line)
        said = [event.text for at, event in base.events if at == line and event.text]
        strings = [item for _, item in leaves(frame.value) if isinstance(item, str)] if frame is not None else []
        if line != lines[0] and len(said) == 1 and said[0] in strings:
            return frame
    return None


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


def _all_set(document: Any, paths: list[Any]) -> Any:
    for path in paths:
        document = changed(document, path, MORE)
    return document


def _frame_at(text: Text, line: int) -> Frame | None:
    return next((frame for frame in text.frames if frame.line == line), None)


def _last_usage(outcome: Outcome) -> int | None:
    return max((line for line, event in outcome.events if isinstance(event, UsageUpdate)), default=None)


def _inserted(text: Text, line: int, again: str) -> bytes:
    """The body with one more frame behind that of `line`, as an event of its own, with the lines that stand before its data."""
    start = line
    while start > 0 and text.lines[start - 1] != "" and not text.lines[start - 1].startswith(("data:", "{")):
        start -= 1
    blank = line + 1 < len(text.lines) and text.lines[line + 1] == ""
    event = [*text.lines[start:line], again, *([""] if blank else [])]
    at = line + 1 + blank
    return "\n".join([*text.lines[:at], *event, *text.lines[at:]]).encode("utf-8", "surrogatepass")


def _endings(body: bytes) -> Iterator[tuple[str, bytes]]:
    lf = body.replace(b"\r\n", b"\n")
    yield "as it is", body
    yield "LF", lf
    yield "CRLF", lf.replace(b"\n", b"\r\n")
    yield "no newline at the end", lf.rstrip(b"\n")
    if b"data:" in lf:
        yield "no blank after data:", re.sub(rb"(?m)^data: ", b"data:", lf)
        yield "a blank after data:", re.sub(rb"(?m)^data: ?", b"data: ", lf)
