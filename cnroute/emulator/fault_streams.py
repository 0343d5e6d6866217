# ruff: noqa: D103, ARG005 (the description of a fault stands in its table row or decorator)
"""Faults of streams: where they break, how they end, what stands between the events.

Numbers behind a colon count *content events*: those that carry text, reasoning or a piece of a tool call. On a plain
request each gives way to the nearest fault of a plain answer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, repeat

from cnroute.emulator.exchange import Frame, encode
from cnroute.emulator.registry import enter_all, fault
from cnroute.emulator.steps import (
    CHUNKED,
    LAST_CHUNK,
    End,
    Pause,
    Scene,
    Send,
    Steps,
    chunk,
    events,
    flow,
    good_stream,
    stream_head,
    text_of,
    usage_of,
)  # fmt: skip

EVENTS = "EVENTS before it"


def begun(scene: Scene, content: int) -> list[Frame]:
    """The frames up to the given number of content events; never one with a finish reason."""
    kept: list[Frame] = []
    for frame in scene.dialect.frames(finished=False):
        if content <= 0:
            break
        kept.append(frame)
        content -= frame.content
    return kept


def _start(scene: Scene, content: int) -> Steps:
    """The head and the first content events."""
    yield from flow(scene, begun(scene, content), stream_head(scene))


def _event(scene: Scene, frame: Frame, number: int = 1) -> Send:
    """One more event in a stream that is open."""
    return Send(chunk(scene.dialect.frame_bytes(frame, number)), frame.text, frame.usage)


def _error(scene: Scene, name: str = "internal_error") -> Frame:
    return scene.dialect.error_frame(scene.dialect.refusal(name))


# -- endings before the end


@fault("stream_cut", "a reset after the first content events", "stream", plain="half_body_reset", parameter=EVENTS)
def stream_cut(scene: Scene) -> Steps:
    yield from _start(scene, scene.count)
    yield Pause(0.02)
    yield End(reset=True)


@fault("cut_after", "the same as stream_cut", "stream", plain="half_body_reset", parameter=EVENTS)
def cut_after(scene: Scene) -> Steps:
    yield from stream_cut(scene)


@fault(
    "stream_fin",
    "a clean FIN inside the chunked framing after the first content events",
    "stream",
    plain="short_body",
    parameter=EVENTS,
)
def stream_fin(scene: Scene) -> Steps:
    yield from _start(scene, scene.count)
    yield End()


@fault(
    "stream_half_chunk",
    "FIN in the middle of the chunk behind the first content events",
    "stream",
    plain="chunk_cut",
    parameter=EVENTS,
)
def stream_half_chunk(scene: Scene) -> Steps:
    yield from _start(scene, scene.count)
    following = begun(scene, scene.count + 1)[-1:]
    yield Send(b"".join(map(chunk, events(scene, following)))[:40])
    yield End()


@fault(
    "stream_end",
    "a correct end of the body after the first content events, without an end mark",
    "stream",
    plain="json_cut",
    parameter=EVENTS,
)
def stream_end(scene: Scene) -> Steps:
    yield from _start(scene, scene.count)
    yield Send(LAST_CHUNK)


@fault("stream_hang", "silence after the first content events", "stream", plain="half_body_hang", parameter=EVENTS)
def stream_hang(scene: Scene) -> Steps:
    yield from _start(scene, scene.count)
    yield Pause()


@fault("stream_cut_first", "the response head, then a reset before the first event", "stream", plain="half_body_reset")
def stream_cut_first(scene: Scene) -> Steps:
    yield Send(stream_head(scene), status=200)
    yield Pause(0.02)
    yield End(reset=True)


@fault("stream_fin_first", "the response head, then FIN before the first event", "stream", plain="short_body")
def stream_fin_first(scene: Scene) -> Steps:
    yield Send(stream_head(scene), status=200)
    yield End()


@fault("stream_no_finish", "all content and a correct end of the body, but no finish reason", "stream", plain="no_finish")
def stream_no_finish(scene: Scene) -> Steps:
    yield from flow(scene, scene.dialect.frames(finished=False), stream_head(scene), LAST_CHUNK)


@fault("stream_empty", "an event stream without any event", "stream", plain="empty_200")
def stream_empty(scene: Scene) -> Steps:
    yield Send(stream_head(scene) + LAST_CHUNK, status=200)


@fault("stream_missing_last_chunk", "all events, then FIN without the last chunk", "stream", plain="missing_last_chunk")
def stream_missing_last_chunk(scene: Scene) -> Steps:
    yield from flow(scene, scene.dialect.frames(), stream_head(scene))
    yield End()


# -- errors in the stream


@fault(
    "stream_error",
    "the vendor's internal error as an event after the first content events",
    "stream",
    plain="error_in_200",
    parameter=EVENTS,
)
def stream_error(scene: Scene) -> Steps:
    kept = begun(scene, scene.count)
    yield from flow(scene, [*kept, _error(scene)], stream_head(scene), LAST_CHUNK)


@fault("stream_filtered", "the vendor's output filter as an event after the first content events", "stream",
       plain="content_filter_output", parameter=EVENTS)  # fmt: skip
def stream_filtered(scene: Scene) -> Steps:
    kept = begun(scene, scene.count)
    yield from flow(scene, [*kept, _error(scene, "content_filter_output")], stream_head(scene), LAST_CHUNK)


@fault(
    "stream_error_only",
    "a stream whose only event is the vendor's rate limit error",
    "stream",
    plain="error_in_200",
    parameter="CODE or name",
)
def stream_error_only(scene: Scene) -> Steps:
    yield from flow(scene, [_error(scene, scene.parameter or "rate_limit")], stream_head(scene), LAST_CHUNK)


@fault("stream_error_first", "the vendor's rate limit error as first event, a good answer behind it", "stream",
       plain="error_in_200", parameter="CODE or name")  # fmt: skip
def stream_error_first(scene: Scene) -> Steps:
    failed = _error(scene, scene.parameter or "rate_limit")
    yield from flow(scene, [failed, *scene.dialect.frames()], stream_head(scene), LAST_CHUNK)


@fault("stream_role_then_error", "an event with a role and no content, then the vendor's rate limit error", "stream",
       plain="error_in_200", parameter="CODE or name")  # fmt: skip
def stream_role_then_error(scene: Scene) -> Steps:
    failed = _error(scene, scene.parameter or "rate_limit")
    yield from flow(scene, [scene.dialect.opening(), failed], stream_head(scene), LAST_CHUNK)


@fault("role_then_error", "the same as stream_role_then_error", "stream", plain="error_in_200", parameter="CODE or name")
def role_then_error(scene: Scene) -> Steps:
    yield from stream_role_then_error(scene)


@fault(
    "stream_bare_error",
    "a data line with an error and no event name",
    "stream",
    plain="error_in_200",
    parameter="CODE or name",
)
def stream_bare_error(scene: Scene) -> Steps:
    refusal = scene.dialect.refusal(scene.parameter or "internal_error")
    line = b"data:" + encode(scene.dialect.error_document(refusal)) + b"\n\n"
    yield Send(stream_head(scene) + chunk(line) + LAST_CHUNK, status=200)


# -- things that are no events


@fault("stream_junk", "a data line that is not JSON among the content events", "stream", plain="text_labelled_json",
       parameter="EVENTS before it, 0 unless told")  # fmt: skip
def stream_junk(scene: Scene) -> Steps:
    yield from _interrupted(scene, b"data: {this is not JSON\n\n")


@fault("stream_scalars", "data lines with null and {} after some content events, then the rest", "stream", plain="json_null",
       parameter="EVENTS before it, 0 unless told")  # fmt: skip
def stream_scalars(scene: Scene) -> Steps:
    yield from _interrupted(scene, b"data: null\n\ndata: {}\n\n")


def _interrupted(scene: Scene, foreign: bytes) -> Steps:
    """The good stream with foreign bytes behind the first content events."""
    kept = len(begun(scene, int(scene.number(0))))
    frames = scene.dialect.frames()
    parts = [chunk(event) for event in events(scene, frames)]
    body = b"".join([*parts[:kept], chunk(foreign), *parts[kept:]])
    yield Send(stream_head(scene) + body + LAST_CHUNK, text_of(frames), usage_of(frames), 200)


@fault(
    "stream_pings",
    "comment lines for ever and no event",
    "stream",
    plain="continue_forever",
    parameter="SECONDS between pings",
)
def stream_pings(scene: Scene) -> Steps:
    pause = Pause(scene.number(0.05))
    yield Send(stream_head(scene), status=200)
    while True:
        yield Send(chunk(b": keep-alive\n\n"))
        yield pause


@fault("stream_roles_first", "five events with a role and no content before a good answer", "stream", plain="ok")
def stream_roles_first(scene: Scene) -> Steps:
    roles = [scene.dialect.opening() for _ in range(5)]
    yield from flow(scene, [*roles, *scene.dialect.frames()], stream_head(scene), LAST_CHUNK)


# -- good streams in unusual clothes. Each row: name, description, and what becomes of the bytes of one event.


def _multiline(event: bytes) -> bytes:
    """The data cut after its first comma and continued on a second data line (JSON allows the newline there)."""
    start = event.index(b"data:")
    at = event.find(b",", start)
    return event if at < 0 else event[: at + 1] + b"\ndata:" + event[at + 1 :]


DRESSES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "stream_crlf": ("a good stream with CRLF line ends", lambda event: event.replace(b"\n", b"\r\n")),
    "stream_no_blank_lines": (
        "a good stream without blank lines between the events",
        lambda event: event.rstrip(b"\n") + b"\n",
    ),
    "stream_pinged": ("a good stream with comment lines between the events", lambda event: b": keep-alive\n\n" + event),
    "stream_multiline_data": ("a good stream whose events spread over several data lines", _multiline),
    "stream_spaced": (
        "a good stream with a blank behind the colons",
        lambda event: event.replace(b"data:{", b"data: {").replace(b"event:", b"event: "),
    ),
}


def _dress(name: str) -> Callable[[Scene], Steps]:
    return lambda scene: _dressed(scene, DRESSES[name][1])


def _dressed(scene: Scene, dress: Callable[[bytes], bytes], lead: bytes = b"", cut: int = 0) -> Steps:
    frames = scene.dialect.frames()
    parts = [dress(event) for event in events(scene, frames)]
    parts[-1] = parts[-1][: len(parts[-1]) - cut]
    body = b"".join(map(chunk, [lead + parts[0], *parts[1:]]))
    yield Send(stream_head(scene) + body + LAST_CHUNK, text_of(frames), usage_of(frames), 200)


enter_all({name: row[0] for name, row in DRESSES.items()}, _dress, "stream", plain="ok")


@fault("stream_bom", "a good stream behind a byte order mark", "stream", plain="bom")
def stream_bom(scene: Scene) -> Steps:
    yield from _dressed(scene, bytes, lead=b"\xef\xbb\xbf")


@fault("stream_no_blank_end", "a good stream without any newline at its end", "stream", plain="ok")
def stream_no_blank_end(scene: Scene) -> Steps:
    yield from _dressed(scene, lambda event: event.rstrip(b"\n") + b"\n\n", cut=2)


@fault("stream_done", "a good stream with data: [DONE] at its end", "stream", plain="ok")
def stream_done(scene: Scene) -> Steps:
    frames = [frame for frame in scene.dialect.frames() if not frame.raw]
    tail = chunk(b"data: [DONE]\n\n") + LAST_CHUNK
    yield from flow(scene, frames, stream_head(scene), tail)


def _body(scene: Scene) -> tuple[bytes, list[Frame]]:
    frames = scene.dialect.frames()
    return b"".join(events(scene, frames)), frames


@fault("stream_close_framed", "a good stream that ends with the connection", "stream", plain="close_framed")
def stream_close_framed(scene: Scene) -> Steps:
    body, frames = _body(scene)
    yield Send(stream_head(scene, ("Connection", "close")) + body, text_of(frames), usage_of(frames), 200)
    yield End(done=True)


@fault("stream_length_framed", "a good stream with a Content-Length", "stream", plain="ok")
def stream_length_framed(scene: Scene) -> Steps:
    body, frames = _body(scene)
    yield Send(stream_head(scene, ("Content-Length", str(len(body)))) + body, text_of(frames), usage_of(frames), 200)


@fault(
    "stream_pieces",
    "a good stream cut into HTTP chunks of a few bytes",
    "stream",
    plain="tiny_chunks",
    parameter="BYTES of a chunk, 3 unless told",
)
def stream_pieces(scene: Scene) -> Steps:
    body, frames = _body(scene)
    size = max(1, int(scene.number(3)))
    chunks = b"".join(chunk(body[at : at + size]) for at in range(0, len(body), size))
    yield Send(stream_head(scene) + chunks + LAST_CHUNK, text_of(frames), usage_of(frames), 200)


@fault(
    "stream_drip",
    "a good stream, each byte in its own write",
    "stream",
    plain="slow_body:0",
    parameter="SECONDS between bytes, 0 unless told",
)
def stream_drip(scene: Scene) -> Steps:
    body, frames = _body(scene)
    pause = scene.number(0)
    yield Send(stream_head(scene), status=200)
    for byte in body:
        yield Send(chunk(bytes((byte,))))
        yield from [Pause(pause)] if pause else []
    yield Send(LAST_CHUNK, text_of(frames), usage_of(frames))


@fault(
    "stream_slow",
    "a good stream with a pause between the events",
    "stream",
    plain="slow",
    parameter="SECONDS, 0.25 unless told",
)
def stream_slow(scene: Scene) -> Steps:
    scene.pace = scene.number(0.25)
    yield from good_stream(scene)


# -- too much


@fault("stream_endless", "content without end", "stream", plain="endless_body")
def stream_endless(scene: Scene) -> Steps:
    yield Send(stream_head(scene), status=200)
    frame = begun(scene, 1)[-1]
    for number in count(1):
        yield _event(scene, frame, number)


@fault("stream_long_line", "one data line of many MiB", "stream", plain="huge_json", parameter="MIB, 64 unless told")
def stream_long_line(scene: Scene) -> Steps:
    yield Send(stream_head(scene, CHUNKED) + chunk(b'data: {"padding":"'), status=200)
    yield from repeat(Send(chunk(b"x" * (1 << 20))), int(scene.number(64)))
    yield Send(chunk(b'"}\n\n') + LAST_CHUNK)


# -- what only some dialects can do wrong


@fault("stream_first_twice", "the first event of a good stream comes twice", "stream", plain="ok")
def stream_first_twice(scene: Scene) -> Steps:
    frames = scene.dialect.frames()
    yield from flow(scene, [frames[0], *frames], stream_head(scene), LAST_CHUNK)


@fault("stream_shrink", "after three content events the first one comes again, then the rest", "stream", plain="ok")
def stream_shrink(scene: Scene) -> Steps:
    frames = scene.dialect.frames()
    kept = begun(scene, 3)
    yield from flow(scene, [*frames[: len(kept)], kept[0], *frames[len(kept) :]], stream_head(scene), LAST_CHUNK)


@fault(
    "stream_hang_after_end",
    "a good stream whose body does not end: silence behind the last event",
    "stream",
    plain="ok",
)
def stream_hang_after_end(scene: Scene) -> Steps:
    yield from flow(scene, scene.dialect.frames(), stream_head(scene))
    yield Pause()


@fault("stream_junk_after_end", "a good stream with junk behind its last event", "stream", plain="surplus_bytes")
def stream_junk_after_end(scene: Scene) -> Steps:
    tail = chunk(b"data: {junk\n\n\x00\xff junk\n") + LAST_CHUNK
    yield from flow(scene, scene.dialect.frames(), stream_head(scene), tail)


def _ending(name: str) -> Callable[[Scene], Steps]:
    return lambda scene: good_stream(scene, ending=name[-1])


enter_all({
    "ending_a": "MiniMax v2 ends with one more frame that holds the whole answer and the usage",
    "ending_b": "MiniMax v2 ends with the finish reason in the last delta, without usage",
    "ending_c": "MiniMax v2 ends with a chunk of empty choices and the usage, then [DONE]",
    "ending_d": "MiniMax v2 ends with an empty delta beside the whole message, then [DONE]",
    "ending_e": "MiniMax v2 ends with an empty delta, then another one beside the usage",
}, _ending, "stream", plain="ok")  # fmt: skip
