"""Group 4, the ends of streams: an end is the vendor's, there is one, and what stands beside and behind it is not lost."""

from __future__ import annotations

from typing import Any

from cnroute.events import UsageUpdate
from cnroute.testing.contract import groups
from cnroute.testing.contract.answers import MORE
from cnroute.testing.contract.checking import NotApplicable, check, require, same
from cnroute.testing.contract.documents import Frame, Path, Text, changed, leaves, spelled, written
from cnroute.testing.contract.played import PlayedStreams, second_increment
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Outcome, usage_fields


class StreamEndChecks(PlayedStreams):
    """The end mark of a stream."""

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
        frame = text.frame_at(base.finishes()[0][0] if base.finishes() else -1)
        told = _last_usage(base)
        if frame is None or told is None:
            return 0
        source = text.frame_at(told)
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
        body = text.with_another(max(frame.line, source.line), written(source, late) or "")
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

    def _check_text_after(self, sample: Sample, text: Text, base: Outcome) -> int:
        """A frame whose text comes again when it is repeated in the middle comes again after the end mark, too."""
        end = base.finishes()[0][0] if base.finishes() else -1
        for frame in text.frames:
            if frame.line >= end:
                return 0
            said = [event.text for line, event in base.events if line == frame.line]
            if not any(said) or not all(said):
                continue
            middle = self.subject().play(sample, text.with_another(frame.line, text.lines[frame.line]))
            if middle.completion is None or len(middle.answer.text) != len(base.answer.text) + len("".join(said)):
                return 0
            late = self.subject().play(sample, text.with_another(end, text.lines[frame.line]))
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
    def test_text_beside_the_finish_is_kept(self) -> None:
        """Where chunks are increments, new text in the very frame with the end mark is handed out, before the `Finish`."""
        found = 0
        for sample, text, base in self._good():
            place = _room_for_text(text, base)
            if place is None:
                continue
            found += 1
            got = self.subject().play(sample, text.with_value(*place, _MORE_TEXT))
            same(
                f"text beside the finish is kept (line {place[0].line + 1}: {spelled(place[1])})",
                base.answer.text + _MORE_TEXT,
                got.answer.text,
                sample=sample.name,
                change="read the text of a frame before its end mark, also where both stand in one frame",
            )
        if not found:
            raise NotApplicable("no sample has a frame with the end mark that has room for text")

    @check(groups.STREAM)
    def test_a_repeated_last_frame_adds_nothing(self) -> None:
        """The last frame of a stream, and the one with the end mark, come twice: the answer is the same."""
        for sample, text, base in self._good():
            ends = {base.finishes()[0][0] if base.finishes() else -1, max((frame.line for frame in text.frames), default=-1)}
            for line in ends - {-1}:
                got = self.subject().play(sample, text.with_another(line, text.lines[line]))
                same(
                    "a repeated last frame adds nothing",
                    base.content(),
                    got.content(),
                    sample=sample.name,
                    change="remember in state.memory how the stream ended, and skip the same frame",
                )


# Longer than what any frame would repeat by chance.
_MORE_TEXT = " kit: the end of the text"


def _room_for_text(text: Text, base: Outcome) -> tuple[Frame, Path] | None:
    """The frame with the end mark and the place in it where others have their text, if it is empty there."""
    increment = second_increment(text, base)
    end = text.frame_at(base.finishes()[0][0]) if base.finishes() else None
    if increment is None or end is None:
        return None
    (said,) = (event.text for line, event in base.events if line == increment.line and event.text)
    there = dict(leaves(end.value))
    places = [path for path, item in leaves(increment.value) if item == said and _is_room(there, path)]
    return (end, places[0]) if len(places) == 1 else None


def _is_room(there: dict[Path, Any], path: Path) -> bool:
    """Whether a document has an empty text at `path`, or could have one beside what is there."""
    return there.get(path, "") == "" and isinstance(there.get(path[:-1]), dict)


def _all_set(document: Any, paths: list[Any]) -> Any:
    for path in paths:
        document = changed(document, path, MORE)
    return document


def _last_usage(outcome: Outcome) -> int | None:
    return max((line for line, event in outcome.events if isinstance(event, UsageUpdate)), default=None)
