"""Streams: what commits, what is handed out, how they end, and that everything is given back."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

import cnroute
from cnroute.errors import error_for
from cnroute.failures import Failure
from tests.flow.toy import Toy, ToyProvider, answer, frames, good_stream, host, raised

LOST = error_for(Failure("connection_lost", "gone"))


def pieces(*frames_: Any) -> list[Any]:
    """Each frame in a read of its own; exceptions are raised between them."""
    return [each if isinstance(each, BaseException) else frames(each) for each in frames_]


EMPTY: list[dict[str, Any]] = [{"role": "assistant"}, {"text": ""}, {"reasoning": ""}, {"usage": [1, 0]}, {"source": "found"}]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("frame", EMPTY, ids=[next(iter(each)) for each in EMPTY])
def test_what_is_no_content_does_not_commit(frame: dict[str, Any], together: bool) -> None:
    """Roles, empty text, usage and sources leave no trace of a failed vendor."""
    broken = [frames(frame, {"error": {"kind": "server_error"}})] if together else pieces(frame, LOST)
    toy = Toy({"a": [broken], "b": [good_stream("二")]})
    stream = toy.stream()
    deltas = list(stream)
    assert [delta.text for delta in deltas if delta.text] == ["二"]
    assert not any(delta.sources or delta.role for delta in deltas)
    assert stream.completion.sources == ()
    assert [attempt.deployment for attempt in stream.completion.attempts] == ["a", "b"]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "frame", [{"text": "一"}, {"reasoning": "想"}, {"tool": [0, "c1", "f", ""]}], ids=["text", "reasoning", "tool"]
)
def test_content_commits_in_the_order_of_events(frame: dict[str, Any], together: bool) -> None:
    """Even if the failure stands in the same read, the content is handed out first and nothing is repeated."""
    broken = [frames(frame, {"error": {"kind": "server_error"}})] if together else pieces(frame, LOST)
    toy = Toy({"a": [broken], "b": [good_stream()]})
    stream, seen = toy.stream(), []
    with pytest.raises(cnroute.StreamInterruptedError) as caught:
        for delta in stream:
            seen.append(delta)
    assert len(seen) == 1 and caught.value.deltas == tuple(seen)
    assert caught.value.partial_text == frame.get("text", "")
    assert toy.asked == ["a"]
    assert caught.value.attempts[0].billing == "billed"
    assert toy.router.health()["a"]["in_flight"] == 0


def test_a_failure_in_front_of_content_wins() -> None:
    """Events count in their order: what comes after a failure was never handed out."""
    toy = Toy({"a": [[frames({"error": {"kind": "server_error"}}, {"text": "late"})]], "b": [good_stream("二")]})
    assert "".join(toy.stream().texts()) == "二"


def test_sources_come_with_the_first_content() -> None:
    """They are kept until then, and handed out in order afterwards."""
    toy = Toy([pieces({"source": "s1"}, {"source": "s2"}, {"text": "a"}, {"source": "s3"}, {"finish": "stop"})], names="a")
    stream = toy.stream()
    first = next(stream)
    assert [source.text for source in first.sources] == ["s1"]
    rest = [first, *stream]
    assert [source.text for delta in rest for source in delta.sources] == ["s1", "s2", "s3"]
    assert [source.text for source in stream.completion.sources] == ["s1", "s2", "s3"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ([], "bad_response"),
        ([b""], "bad_response"),
        ([b"\n\n"], "bad_response"),
        ([b": ping\n"], "bad_response"),
        ([b"<html>x</html>"], "bad_response"),
        ([b"[1]"], "bad_response"),
        ([b"{}"], "bad_response"),
        ([b"data: {broken\n\n"], "bad_response"),
        (pieces({"role": "x"}), "bad_response"),
        ([b"data: [DONE]\n\n"], "bad_response"),
        (pieces({"role": "x"}, LOST), "connection_lost"),
    ],
    ids=range(11),
)
def test_an_end_without_an_end_mark_is_a_failure(body: list[Any], kind: str) -> None:
    """Never a made-up `stop`: before the first content the next deployment answers."""
    toy = Toy({"a": [body], "b": [good_stream()]})
    stream = toy.stream()
    assert "".join(stream.texts()) == "好"
    assert stream.completion.attempts[0].failure.kind == kind
    assert raised(lambda: list(Toy([body], names="a").stream())).kind == kind


@pytest.mark.parametrize("tail", [[], [b"data: [DONE]\n\n"], [LOST], [b"data: {broken"]])
def test_content_without_an_end_mark_is_an_interruption(tail: list[Any]) -> None:
    """However complete it looks."""
    toy = Toy([[*pieces({"text": "whole answer"}), *tail]], names="a")
    stream = toy.stream()
    caught = raised(lambda: list(stream), cnroute.StreamInterruptedError)
    assert caught.partial_text == "whole answer"
    assert stream.completion.finish_reason is None


def test_after_the_end_mark_broken_bytes_do_not_matter() -> None:
    """Junk and a lost connection after it change nothing; usage that still comes is kept."""
    for tail in ([LOST], [b"junk\n\n"], [b"data: {broken\n\n"], pieces({"usage": [7, 8]}, LOST)):
        toy = Toy([[*pieces({"text": "a"}, {"finish": "stop"}), *tail]], names="a")
        stream = toy.stream()
        assert "".join(stream.texts()) == "a"
        assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage == cnroute.Usage(7, 8)


@pytest.mark.parametrize("named", [frozenset(("", ": ping")), frozenset(("data: {}" + " " * 60,))], ids=["short", "long"])
def test_lines_that_a_plugin_calls_quiet_are_not_shown_to_it(named: frozenset[str]) -> None:
    """From the moment on at which it names them; only short ones, and `[DONE]` is looked for in the others as ever."""
    shown = []

    def parse(line: str, state: cnroute.StreamState, deployment: cnroute.Deployment) -> tuple[Any, ...]:
        shown.append(line)
        if line == "begin":
            state.quiet = named
        return (cnroute.TextDelta(line),) if line.startswith("say") else (cnroute.Finish("stop"),) if line == "end" else ()

    lines = ["", ": ping", "begin", "say a", *named, *named, "say b", "end", "data: [DONE]"]
    toy = Toy({"a": [["\n".join([*lines, ""]).encode()]]}, plugins=host(ToyProvider(parse_stream_line=parse)))
    assert "".join(toy.stream().texts()) == "say asay b"
    short = [line for line in named if len(line) < 64]
    assert shown == [line for place, line in enumerate(lines) if place < 3 or line not in short]


def test_a_field_that_a_plugin_calls_quiet_stands_for_its_short_lines() -> None:
    """The one without a colon too, which has an empty value; and for nothing else that only begins like it."""
    shown = []

    def parse(line: str, state: cnroute.StreamState, deployment: cnroute.Deployment) -> tuple[Any, ...]:
        shown.append(line)
        state.quiet = frozenset(("", "id:"))
        return (cnroute.TextDelta("a"),) if line == "say" else (cnroute.Finish("stop"),) if line == "end" else ()

    long = "id:" + "7" * 80
    lines = ["id:1", "id:2", "id", "", "idle:3", ":", "say", "id:4", "id: 5", long, "end"]
    toy = Toy({"a": [["\n".join([*lines, ""]).encode()]]}, plugins=host(ToyProvider(parse_stream_line=parse)))
    assert "".join(toy.stream().texts()) == "a"
    assert shown == ["id:1", "idle:3", ":", "say", long, "end"]


@pytest.mark.parametrize("odd", [None, 7])
def test_quiet_lines_that_are_no_set_are_the_plugins_fault(odd: Any) -> None:
    """Nobody else's exception comes out of a call."""

    def parse(line: str, state: cnroute.StreamState, deployment: cnroute.Deployment) -> tuple[Any, ...]:
        state.quiet = odd
        return ()

    with pytest.raises(cnroute.CallError) as caught:
        list(Toy({"a": [[b"x\n\n"]]}, plugins=host(ToyProvider(parse_stream_line=parse))).stream())
    assert caught.value.kind == "plugin_error"


def test_a_whole_answer_to_a_stream_request_is_one_delta() -> None:
    """A plain JSON answer, with blanks and a byte order mark before it, in any pieces."""
    import json

    body = json.dumps(answer("整", sources=["s"])).encode()
    for data in ([body], [b"\xef\xbb\xbf  \n", body[:5], body[5:]], [b"\xef", b"\xbb", b"\xbf", body]):
        stream = Toy([data], names="a").stream()
        (delta,) = stream
        assert (delta.text, delta.finish_reason, delta.usage) == ("整", "stop", cnroute.Usage(3, 2))
        assert [source.text for source in delta.sources] == ["s"]
        assert stream.completion.text == "整"


def test_tool_calls_are_joined_from_their_fragments() -> None:
    """By index; names and ids once, arguments piece by piece."""
    parts = [[0, "c1", "f", '{"a'], [1, "c2", "g", ""], [0, None, None, '": 1}'], [1, "", "", "{}"]]
    stream = Toy([pieces(*({"tool": part} for part in parts), {"finish": "tool_calls"})], names="a").stream()
    assert len([delta for delta in stream if delta.tool_calls]) == 4
    assert [(call.id, call.name, call.arguments) for call in stream.completion.tool_calls] == [
        ("c1", "f", '{"a": 1}'),
        ("c2", "g", "{}"),
    ]


def test_the_completion_grows_with_what_was_handed_out() -> None:
    """Before the end it is what the consumer has, without a finish reason; afterwards the whole answer."""
    stream = Toy([[frames({"text": "a"}, {"text": "b"}, {"reasoning": "r"}, {"finish": "stop"})]], names="a").stream()
    assert (stream.completion.text, stream.completion.call_id) == ("", stream.call_id)
    seen = ""
    for delta in stream:
        seen += delta.text
        assert stream.completion.text == seen
    assert (stream.completion.reasoning, stream.completion.finish_reason, stream.completion.deployment) == ("r", "stop", "a")


def test_the_stream_never_reads_ahead() -> None:
    """One read of the wire for each step of the consumer that needs one."""
    reads: list[str] = []
    toy = Toy(
        [pieces({"text": "a"}, {"text": "b"}, {"finish": "stop"})], names="a", advance=lambda step, sent: reads.append(step)
    )
    stream = toy.stream()
    assert reads == []
    next(stream)
    assert reads == ["open", "read"]
    next(stream)
    assert reads == ["open", "read", "read"]


class TestLeaving:
    """Every way out closes the stream, gives the place back and is told once."""

    def begun(self) -> tuple[Toy, Any, list[Any]]:
        """A stream in its middle, and the notices of its router."""
        toy = Toy([pieces({"text": "a"}, {"text": "b"}, {"finish": "stop"})], names="a")
        notices: list[Any] = []
        toy.router._engine.observers.append(("test", notices.append))
        stream = toy.stream()
        assert next(stream).text == "a"
        return toy, stream, notices

    def settled(self, toy: Toy, notices: list[Any], outcome: str = "cancelled") -> None:
        finished = [each for each in notices if isinstance(each, cnroute.CallFinished)]
        assert [each.outcome for each in finished] == [outcome]
        assert toy.transport.open_streams == 0
        assert toy.router.health()["a"]["in_flight"] == 0
        assert toy.router._engine._running == {}

    def test_close_is_quiet(self) -> None:
        """Iteration stops without an error; a second close does nothing."""
        toy, stream, notices = self.begun()
        stream.close()
        stream.close()
        assert list(stream) == []
        self.settled(toy, notices)
        assert notices[-1].attempts[0].billing == "billed"

    def test_leaving_the_with_block(self) -> None:
        """Break, return and exceptions inside all close it."""
        toy, stream, notices = self.begun()
        with pytest.raises(KeyError), stream:
            raise KeyError
        self.settled(toy, notices)

    def test_cancel_raises_at_the_next_step(self) -> None:
        """From any thread."""
        toy, stream, notices = self.begun()
        thread = threading.Thread(target=stream.cancel)
        thread.start()
        thread.join()
        caught = raised(lambda: next(stream), cnroute.CallCancelledError)
        assert caught.call_id == stream.call_id
        self.settled(toy, notices)

    def test_a_dropped_stream_gives_everything_back(self) -> None:
        """Also one that was never advanced."""
        toy, stream, notices = self.begun()
        del stream
        gc.collect()
        self.settled(toy, notices)
        unused = toy.stream()
        del unused
        gc.collect()
        assert toy.router._engine._running == {}

    def test_closing_the_router_cancels_it(self) -> None:
        """Running calls end as cancelled, new ones are refused; closing twice does nothing."""
        toy, stream, notices = self.begun()
        waiting = toy.stream()
        toy.router.close()
        toy.router.close()
        raised(lambda: next(stream), cnroute.CallCancelledError)
        self.settled(toy, notices[:-1] if notices[-1].call_id != stream.call_id else notices)
        assert toy.transport.closed
        assert type(raised(toy.chat)) is cnroute.RouterClosedError
        assert type(raised(toy.stream)) is cnroute.RouterClosedError
        assert isinstance(raised(lambda: next(waiting)), cnroute.RouterClosedError | cnroute.CallCancelledError)

    @pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, MemoryError])
    @pytest.mark.parametrize("step", ["open", "read"])
    def test_what_nobody_may_hold_up_passes_through(self, fatal: type[BaseException], step: str) -> None:
        """Untouched, with everything given back and the call told as ended."""

        def interrupt(name: str, sent: Any) -> None:
            if name == step:
                raise fatal

        toy = Toy([good_stream()], names="a b", advance=interrupt)
        notices: list[Any] = []
        toy.router._engine.observers.append(("test", notices.append))
        raised(lambda: next(toy.stream()), fatal)
        self.settled(toy, notices)
        assert toy.asked in ([], ["a"])

    def test_start_waits_for_the_commit_or_raises(self) -> None:
        """Once, before iterating; the deltas come afterwards."""
        toy = Toy([pieces({"role": "x"}, {"text": "a"}, {"finish": "stop"})], names="a")
        stream = toy.stream().start()
        assert [delta.text for delta in stream if delta.text] == ["a"]
        with pytest.raises(RuntimeError):
            stream.start()
        assert raised(lambda: Toy([(503, "")], names="a").stream().start()).kind == "overloaded"

    def test_a_second_thread_gets_a_runtime_error(self) -> None:
        """One consumer: nothing is lost or doubled."""
        inside, go_on = threading.Event(), threading.Event()

        def block(step: str, sent: Any) -> None:
            if step == "read":
                inside.set()
                go_on.wait(5)

        toy = Toy([good_stream()], names="a", advance=block)
        stream, seen = toy.stream(), []
        thread = threading.Thread(target=lambda: seen.extend(stream))
        thread.start()
        assert inside.wait(5)
        with pytest.raises(RuntimeError, match="another thread"):
            next(stream)
        go_on.set()
        thread.join()
        assert "".join(delta.text for delta in seen) == "好"


class TestNotices:
    """Exactly one CallFinished per call, in every way out, and the call's id and metadata everywhere."""

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("outcome", ["ok", "fallback", "failure", "no_candidate", "unsupported", "interrupted"])
    def test_every_call_is_told_once(self, outcome: str, stream: bool) -> None:
        """From start to end, under one id."""
        from cnroute.testing import capture_notices
        from tests.flow.toy import ToyProvider, error, host

        def refuse(*arguments: Any) -> Any:
            raise cnroute.UnsupportedRequestError("tools", "none")

        good = good_stream() if stream else [answer()]
        answers: dict[str, Any] = {
            "ok": {None: [good] if stream else good},
            "fallback": {"a": [error("server_error")], "b": [good] if stream else good},
            "failure": {None: [error("server_error")]},
            "no_candidate": {None: [error("auth")]},
            "unsupported": {None: [answer()]},
            "interrupted": {None: [pieces({"text": "a"}, LOST) if stream else LOST]},
        }
        plugins = host(ToyProvider(build_request=refuse)) if outcome == "unsupported" else None
        toy = Toy(answers[outcome], plugins=plugins)
        if outcome == "no_candidate":
            raised(toy.chat)
        marks = {"call_id": "my-call", "tenant": "t1"}
        with capture_notices(toy.router) as notices:
            try:
                result = list(toy.stream(metadata=marks)) if stream else toy.chat(metadata=marks)
                assert stream or result.call_id == "my-call"
                failed = None
            except cnroute.CallError as caught:
                failed = caught
                assert caught.call_id == "my-call"
        assert {each.call_id for each in notices} == {"my-call"}
        assert all(each.metadata == marks for each in notices)
        (finished,) = [each for each in notices if isinstance(each, cnroute.CallFinished)]
        assert notices[-1] is finished
        assert [at for at, each in enumerate(notices) if isinstance(each, cnroute.CallStarted)] == [0]
        assert finished.outcome == (failed.kind if failed else "ok")
        assert finished.stream is stream and finished.route == "chat"
        started = [each for each in notices if isinstance(each, cnroute.AttemptStarted)]
        ended = [each for each in notices if isinstance(each, cnroute.AttemptFinished)]
        assert (
            [each.number for each in started]
            == [each.attempt.number for each in ended]
            == list(range(1, len(finished.attempts) + 1))
        )
        assert [each.attempt for each in ended] == list(finished.attempts)
        skipped = [each for each in notices if isinstance(each, cnroute.AttemptSkipped)]
        assert len(skipped) == (2 if outcome in ("no_candidate", "unsupported") else 0)

    def test_decisions_are_what_then_happens(self) -> None:
        """`next`, `again`, `stop` and `done`, never one that does not come true."""
        from cnroute.testing import capture_notices
        from tests.flow.toy import error

        for answers, timeout, expected in (
            ({"a": [error("server_error")], "b": [answer()]}, 60, ["next", "done"]),
            ({None: [error("rate_limit"), error("rate_limit"), answer()]}, 60, ["next", "again", "done"]),
            ({None: [error("rate_limit", retry_after=50)]}, 60, ["next", "stop"]),
            ({None: [error("bad_request")]}, 60, ["stop"]),
            ({None: [error("rate_limit", retry_after=5)]}, 5.2, ["next", "stop"]),
            ({None: [error("server_error")]}, 60, ["next", "stop"]),
        ):
            toy = Toy(answers)
            with capture_notices(toy.router) as notices:
                try:
                    toy.chat(timeout=timeout)
                except cnroute.CallError as caught:
                    assert caught.attempts
            assert [each.decision for each in notices if isinstance(each, cnroute.AttemptFinished)] == expected

    def test_what_meters_need_of_a_stream(self) -> None:
        """When its first content came, how much there was, what the vendor called it, and what it was asked."""
        from cnroute.testing import FakeClock, capture_notices
        from tests.flow.toy import error

        clock = FakeClock()

        def slowly(step: str, sent: Any) -> None:
            clock.advance(0.25 if step == "read" else 1.0)

        good = [frames({"text": "a"}), frames({"text": "b"}), frames({"finish": "stop", "usage": [3, 2]})]
        toy = Toy({"a": [error("server_error")], "b": [good]}, clock=clock, advance=slowly)
        with capture_notices(toy.router) as notices:
            deltas = list(toy.stream(max_tokens=7, temperature=0.5))
        started, _, failed, again, done, finished = notices
        assert isinstance(started, cnroute.CallStarted) and (started.route, started.stream) == ("chat", True)
        assert isinstance(again, cnroute.AttemptStarted) and again.parameters == {"max_tokens": 7, "temperature": 0.5}
        assert again.base_url.startswith("https://")
        assert isinstance(failed, cnroute.AttemptFinished) and isinstance(done, cnroute.AttemptFinished)
        assert (failed.first_content, failed.deltas, failed.finish_reason) == (None, 0, None)
        assert (done.first_content, done.deltas, done.finish_reason) == (1.25, len(deltas), "stop")
        assert isinstance(finished, cnroute.CallFinished)
        assert finished.first_content == pytest.approx(failed.attempt.seconds + 1.25)

    def test_a_plain_call_has_no_first_content(self) -> None:
        """A whole answer has no beginning that anybody could have read."""
        from cnroute.testing import capture_notices

        toy = Toy([answer()], names="a")
        with capture_notices(toy.router) as notices:
            toy.chat()
        done, finished = notices[-2:]
        assert isinstance(done, cnroute.AttemptFinished) and isinstance(finished, cnroute.CallFinished)
        assert (done.first_content, done.deltas, finished.first_content) == (None, 0, None)

    @pytest.mark.parametrize("allowed", [False, True])
    def test_messages_are_told_only_where_content_may_be(self, allowed: bool) -> None:
        """Observers see what was asked under `log_content=True` alone."""
        from cnroute.testing import capture_notices

        toy = Toy([answer()], names="a", log_content=allowed)
        with capture_notices(toy.router) as notices:
            toy.chat("private")
        (started,) = [each for each in notices if isinstance(each, cnroute.CallStarted)]
        assert (started.messages is not None) is allowed
        assert "private" not in repr(notices)
