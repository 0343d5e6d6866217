"""Group 7: values travel, threads do not meet, and nothing is remembered between calls."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from cnroute.chat import ChatCompletion
from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import check, each_of, fail, require, same
from cnroute.testing.contract.documents import broken_off, distinct, plain, streamed
from cnroute.testing.contract.remembering import state_of
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Stream, Subject

_THREADS = 64
_TURNS = 5
_STATE = "keep no state in modules, classes or plugin objects; a stream's memory is state.memory"


class ProcessChecks(ContractBase):
    """Pickles, threads, module state."""

    @check(groups.PROCESS)
    def test_results_events_and_failures_pickle_and_copy(self) -> None:
        """Everything that hooks return survives pickle, copy and deepcopy unchanged."""
        subject = self.subject()
        for sample in each_of(self.all_samples(), "there is no sample"):
            outcome = subject.play(sample)
            values = [outcome.completion, outcome.failure, *(event for _, event in outcome.events)]
            for value in values:
                for how, other in _copies(value, sample.name):
                    same(
                        f"a {type(value).__name__} is the same after {how}",
                        _fields(value),
                        _fields(other),
                        sample=sample.name,
                        change="fill values with str, int, tuple, dict and cnroute's own values only",
                    )

    @check(groups.PROCESS)
    def test_many_threads_give_the_same_results(self) -> None:
        """64 threads through one provider get what one thread gets."""
        subject, samples = self.subject(), list(each_of(self.all_samples(), "there is no sample"))
        want = [_everything(subject, sample) for sample in samples]
        wrong: list[Any] = []

        def work(number: int) -> None:
            for turn in range(_TURNS):
                index = (number * 7 + turn) % len(samples)
                got = _everything(subject, samples[index])
                if got != want[index]:
                    wrong.append((samples[index].name, want[index], got))

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=work, args=(number,), name="cnroute-kit") for number in range(_THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        if wrong:
            sample, expected, got = wrong[0]
            fail("many threads give the same results", expected=expected, got=got, sample=sample, change=_STATE)

    @check(groups.PROCESS)
    def test_plain_answers_do_not_mix(self) -> None:
        """Answers of two calls that are read in turns give what each gives alone."""
        subject = self.subject()
        samples = [sample for sample in self.all_samples() if not sample.in_lines]
        want = [subject.play(sample).seen() for sample in samples]
        for sample in samples:
            place = subject.sample_place(sample)
            with contextlib.suppress(Exception):  # another check tells of it
                place.hooks.map_error(sample.response, place.deployment)
        for sample, expected in zip(reversed(samples), reversed(want), strict=True):
            same("answers do not mix", expected, subject.play(sample).seen(), sample=sample.name, change=_STATE)

    @check(groups.PROCESS)
    def test_nothing_is_remembered_between_calls(self) -> None:
        """No module, class or plugin object of the provider changes while it works: not by new texts, nor by a broken stream."""
        subject, samples = self.subject(), self.all_samples()
        plugin = self.plugin_object()
        for sample in samples:  # what is made late is made now
            _everything(subject, sample)
        before = dict(state_of(plugin))
        for number, sample in enumerate(samples):
            _everything(subject, sample)
            self._something_new(sample, f"kit-new-{number}")
            after = dict(state_of(plugin))
            changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            require(
                not changed,
                "nothing is remembered between calls",
                expected="the same state",
                got=f"{', '.join(changed)} changed",
                sample=sample.name,
                change=_STATE,
            )

    def _something_new(self, sample: Sample, text: str) -> None:
        """What nobody has sent before: a message, each text and number of an answer, and a stream that breaks off."""
        subject = self.subject()
        subject.build(text, sample.stream, subject.sample_place(sample))
        parted = streamed if sample.in_lines else plain
        taken = parted(sample.body)
        for frame, path, item in distinct(taken) if taken is not None else ():
            if taken is not None and isinstance(item, str | int):
                now = next(each for each in taken.frames if each.line == frame.line)
                body = taken.with_value(now, path, f"{item} {text}" if isinstance(item, str) else item + 1)
                if subject.play(sample, body).completion is not None:
                    taken = parted(body)  # in the end everything is new
        for body in broken_off(sample.body) if sample.in_lines else ():
            Stream(subject, sample).feed(body)


def _everything(subject: Subject, sample: Any) -> Any:
    """What comes of a sample's answer, comparable; its request is built, too."""
    subject.sample_built(sample)
    return subject.play(sample).seen()


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


_WAYS_OF_COPYING: dict[str, Callable[[Any], Any]] = {"pickle": _pickled, "copy": copy.copy, "deepcopy": copy.deepcopy}


def _copies(value: Any, sample: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    for how, make in _WAYS_OF_COPYING.items():
        try:
            other = make(value)
        except Exception as error:  # noqa: BLE001 (whatever a value holds)
            other = error
        if isinstance(other, Exception):
            fail(
                f"a {type(value).__name__} survives {how}",
                expected="the same value",
                got=f"{type(other).__name__}: {other}",
                sample=sample,
                change="fill values with str, int, tuple, dict and cnroute's own values only",
            )
        yield how, other


def _fields(value: Any) -> Any:
    if isinstance(value, ChatCompletion):
        return {field.name: getattr(value, field.name) for field in attrs.fields(ChatCompletion)}
    return value
