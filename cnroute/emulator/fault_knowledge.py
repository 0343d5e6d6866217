# ruff: noqa: D103 (the description of a fault stands in its table row or decorator)
"""Faults of work and answer apart: done and not told, told twice, told as failed; and of files and knowledge bases.

They mean most where a request changes something (files, knowledge bases); a chat call takes them as well.
"""

from __future__ import annotations

from typing import Any

from cnroute.emulator.fault_bodies import changed
from cnroute.emulator.fault_errors import refuse, status_reply
from cnroute.emulator.registry import fault
from cnroute.emulator.steps import End, Scene, Send, Steps, Take, good, payload, sized

EXACT_FLOATS = 2**53


@fault("answer_lost", "does what was asked, then resets the connection without a byte")
def answer_lost(scene: Scene) -> Steps:
    payload(scene)
    yield End(reset=True)


@fault("answer_twice", "does what was asked and sends the good answer twice, one behind the other")
def answer_twice(scene: Scene) -> Steps:
    good_one = payload(scene)
    data = sized(scene, good_one.body, good_one.kind)
    yield Send(data * 2, good_one.text, good_one.usage, 200)


@fault(
    "done_http",
    "does what was asked, but answers an HTTP status and the vendor's error body",
    parameter="STATUS, 504 unless told",
)
def done_http(scene: Scene) -> Steps:
    payload(scene)
    yield status_reply(int(scene.number(504)), scene)


@fault(
    "done_code",
    "does what was asked, but answers with one of the vendor's error codes",
    parameter="CODE or name, vendor_timeout unless told",
)
def done_code(scene: Scene) -> Steps:
    payload(scene)
    yield refuse(scene, scene.parameter or "vendor_timeout")


@fault(
    "upload_cut",
    "resets the connection inside the request body, after so many bytes of it",
    parameter="BYTES of the body, 65536 unless told",
    early=True,
)
def upload_cut(scene: Scene) -> Steps:
    yield Take(int(scene.number(65536)))
    yield End(reset=True)


@fault(
    "loading",
    "answers well; the knowledge base that was changed stays loading for so long",
    parameter="SECONDS, 1 unless told",
)
def loading(scene: Scene) -> Steps:
    scene.dialect.loading = scene.number(1)
    yield from good(scene)


@fault("loading_forever", "answers well; the knowledge base that was changed stays loading")
def loading_forever(scene: Scene) -> Steps:
    scene.dialect.loading = float("inf")
    yield from good(scene)


@fault("ids_as_text", "a good answer whose ids above 2^53 are strings")
def ids_as_text(scene: Scene) -> Steps:
    yield from changed(scene, _stringify)


def _stringify(node: Any) -> None:
    """Large integers become strings, in place."""
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        if isinstance(value, dict | list):
            _stringify(value)
        elif isinstance(value, int) and value > EXACT_FLOATS:
            node[key] = str(value)
