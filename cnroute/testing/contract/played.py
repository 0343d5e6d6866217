"""The streams of the samples, taken apart, with what comes of them."""

from __future__ import annotations

from typing import Any

from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, each_of
from cnroute.testing.contract.documents import Frame, Text, leaves, streamed
from cnroute.testing.contract.samples import Sample
from cnroute.testing.contract.subject import Outcome


class PlayedStreams(ContractBase):
    """What all checks of streams begin with."""

    def _streamed(self) -> list[Sample]:
        if not self.supports_stream and self.subject().hooks.parse_stream_line is None:
            raise NotApplicable("the provider does not stream")
        return list(each_of(self.stream_samples(), "there is no sample of a stream"))

    def _good(self) -> list[tuple[Sample, Text, Outcome]]:
        """Streams that end well, taken apart, with what comes of them."""
        self._streamed()
        played = [(sample, streamed(sample.body), self.subject().play(sample)) for sample in self.good_streams()]
        return list(each_of(played, "there is no sample of a stream that ends well"))

    def _usage(self, sample: Sample, body: bytes) -> Any:
        return self.subject().play(sample, body).answer.usage


def second_increment(text: Text, base: Outcome) -> Frame | None:
    """A frame behind the first text whose text stands in it as it is: in a stream of snapshots it would be longer."""
    end = base.finishes()[0][0] if base.finishes() else -1
    lines = [line for line, event in base.events if event.text and line < end]
    for line in dict.fromkeys(lines[1:]):
        frame = text.frame_at(line)
        said = [event.text for at, event in base.events if at == line and event.text]
        strings = [item for _, item in leaves(frame.value) if isinstance(item, str)] if frame is not None else []
        if line != lines[0] and len(said) == 1 and said[0] in strings:
            return frame
    return None
