"""Group 8: bytes that no vendor sends. Seeded, so that a run can be repeated; every case has a time bound."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable

from cnroute.http import Headers, HttpResponse
from cnroute.testing.contract import groups
from cnroute.testing.contract.answers import check_sound
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, require
from cnroute.testing.contract.documents import streamed
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Stream

_CASES = 150
_SECONDS = 2.0
_PIECES = (
    b"data:",
    b"data: ",
    b"data: [DONE]\n\n",
    b"\n\n",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b": x\n",
    b"event: error\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"null",
    b"data: null\n\n",
    b"data: {}\n\n",
    b"data: []\n\n",
    b"data: 1\n\n",
    b'data: "x"\n\n',
    b"data: {\ndata: }\n\n",
    b"<html>",
    b"\xe2\x80\xa8",
    b"\xe4\xbd",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b'"\\ud83d"',
    b"NaN",
    b'{"choices":null}',
    b'{"error":{}}',
    b'{"error":"x"}',
    b'{"code":1}',
)
_SMALL, _LARGE = 20_000, 160_000
_SHORT, _LONG = 250, 4000
# So many times the input may cost so many times the time, and twice as much; less than this many seconds says nothing.
_SLACK, _NOTICED = 2.0, 0.04


class FuzzChecks(ContractBase):
    """Random bytes and mutated samples into every hook."""

    @check(groups.FUZZ)
    def test_mutated_samples_crash_nothing(self) -> None:
        """Samples with bytes changed, taken out, doubled, put in and mixed: a result or a failure of ours, each in time."""
        samples = self.all_samples()
        if not samples:
            raise NotApplicable("there is no sample")
        chance = random.Random(f"cnroute {self.subject().name}")
        for _ in range(int(_CASES * self.effort)):
            sample = chance.choice(samples)
            body = _mutated(chance, sample.body, chance.choice(samples).body)
            self._try(sample, body)

    @check(groups.FUZZ)
    def test_random_bytes_crash_nothing(self) -> None:
        """Bytes drawn by chance into every hook: a result or a failure of ours, each in time."""
        chance = random.Random(f"cnroute bytes {self.subject().name}")
        for _ in range(int(_CASES * self.effort)):
            body = b"".join(
                chance.choice(_PIECES) if chance.random() < 0.7 else chance.randbytes(chance.randint(1, 30))
                for _ in range(chance.randint(0, 12))
            )
            for stream in (False, True) if self.subject().hooks.parse_stream_line is not None else (False,):
                status = chance.choice((200, 200, 200, 400, 429, 500))
                self._try(
                    Sample("random bytes", body, {"messages": "你好"}, stream, status),
                    b"\n" + body if stream and chance.random() < 0.5 else body,
                )

    def _try(self, sample: Sample, body: bytes) -> None:
        begun = time.thread_time()
        outcome = self.subject().play(sample, body)
        took = time.thread_time() - begun
        check_sound(outcome, f"the body {body[:60]!r}...", sample, body.decode("utf-8", "replace"))
        require(
            took < _SECONDS,
            "every body is read in time",
            expected=f"under {_SECONDS:g} s",
            got=f"{took:.1f} s for {body[:60]!r}",
            sample=sample.name,
            change="look at each character once",
        )

    @check(groups.FUZZ)
    def test_a_long_line_costs_no_more_than_its_length(self) -> None:
        """Eight times the line costs about eight times the time: lines of garbage, of brackets, and a frame with a long text."""
        if self.subject().hooks.parse_stream_line is None:
            raise NotApplicable("the provider does not stream")
        lines: list[tuple[str, Callable[[int], str]]] = [
            ("letters", lambda size: "x" * size),
            ("a bare data line", lambda size: "data: " + "x" * size),
            ("brackets", lambda size: "data: " + "[" * size),
            ("a brace and blanks", lambda size: "{" + " " * size),
            ("a comment", lambda size: ":" + "a:" * (size // 2)),
            ("digits", lambda size: "data: " + "1" * size),
            ("a text", lambda size: 'data: {"kit": "' + "(" * size + '"}'),
        ]
        for sample in [each for each in self.stream_samples() if each.failure is None][:2]:
            frames = streamed(sample.body).lines
            texts = [line for line in frames if '"' in line]
            lines += [(f"a frame of {sample.name}", functools.partial(_longer, line)) for line in texts[:1]]
        for name, make in lines:
            self._check_growth(f"a line of {name}", functools.partial(self._line, make), _SMALL, _LARGE)

    def _line(self, make: Callable[[int], str], size: int) -> None:
        subject, line = self.subject(), make(size)
        sample = Sample("a long line", b"", {"messages": "你好"}, True)
        stream = Stream(subject, sample)
        stream.feed(b"\n" + line.encode("utf-8", "replace") + b"\n\n")
        stream.end()

    @check(groups.FUZZ)
    def test_a_long_stream_costs_no_more_than_its_length(self) -> None:
        """Sixteen times the frames cost about sixteen times the time."""
        samples = [each for each in self.stream_samples() if each.failure is None]
        if not samples or self.subject().hooks.parse_stream_line is None:
            raise NotApplicable("there is no sample of a stream")
        for sample in samples[:2]:
            lines = sample.body.replace(b"\r\n", b"\n").split(b"\n\n")
            first = lines[min(1, len(lines) - 1)] + b"\n\n"
            repeat = functools.partial(self._repeat, sample, first)
            self._check_growth(f"a stream like {sample.name}", repeat, _SHORT, _LONG)

    def _repeat(self, sample: Sample, body: bytes, times: int) -> None:
        self.subject().play(sample, body * times)

    @check(groups.FUZZ)
    def test_a_long_answer_costs_no_more_than_its_length(self) -> None:
        """Eight times the body costs about eight times the time, in `map_error` and `parse_response`."""
        bodies: list[tuple[str, Callable[[int], bytes]]] = [
            ("brackets", lambda size: b"[" * size),
            ("blanks", lambda size: b" " * size),
            ("letters", lambda size: b"x" * size),
            (
                "a message",
                lambda size: b'{"message": "' + b"(1" * (size // 2) + b'", "error": {"message": "' + b"1" * size + b'"}}',
            ),
            ("tags", lambda size: b"<" * size),
        ]
        for status in (200, 500):
            for name, make in bodies:
                answer = functools.partial(self._answer, status, make)
                self._check_growth(f"a body of {name} under HTTP {status}", answer, _SMALL, _LARGE)

    def _answer(self, status: int, make: Callable[[int], bytes], size: int) -> None:
        self.subject().plain(HttpResponse(status, Headers(), make(size)))

    def _check_growth(self, what: str, work: Callable[[int], object], small: int, large: int) -> None:
        """Best of three: a busy machine is slow, but not three times in the same way."""
        ratios, limit = [], _SLACK * large / small
        for _ in range(3):
            one, other = _time(work, small), _time(work, large)
            require(
                other < 30,
                f"{what} is read in time",
                expected="under 30 s",
                got=f"{other:.1f} s",
                change="look at each character once",
            )
            if other < _NOTICED or other / max(one, 1e-4) < limit:
                return
            ratios.append(other / max(one, 1e-4))
        require(
            min(ratios) < limit,
            f"{what} costs no more than its length",
            expected=f"about {large // small} times the time",
            got=f"{min(ratios):.0f} times",
            change="look at each character once; collect pieces in a list",
        )


def _time(work: Callable[[int], object], size: int) -> float:
    begun = time.thread_time()
    work(size)
    return time.thread_time() - begun


def _longer(line: str, size: int) -> str:
    """The line with its longest text made longer."""
    start = line.rfind(': "') + 3 if ': "' in line else line.rfind(':"') + 2
    return line[:start] + "字" * (size // 3) + line[start:]


def _mutated(chance: random.Random, body: bytes, other: bytes) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        start = chance.randint(0, len(body))
        end = min(len(body), start + chance.choice((1, 1, 2, 5, 20, 200)))
        piece = chance.choice(
            (
                b"",
                body[start:end] * 2,
                bytes([chance.randrange(256)]),
                chance.choice(_PIECES),
                chance.randbytes(3),
                b"null",
                other[start:] if chance.random() < 0.5 else other[:start],
            )
        )
        body = body[:start] + piece + body[end:]
    return body
