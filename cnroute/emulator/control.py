"""Reading and setting an emulator that runs in another process, over HTTP under ``/_emulator/``.

``GET requests``, ``GET connections``, ``GET files``, ``GET files/ID`` (the bytes), ``GET bases``, ``POST script`` with
``{model: [faults]}``, ``POST settle``, ``POST empty``, ``POST reset``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cnroute.emulator.exchange import Headers, encode
from cnroute.emulator.faults import UnknownFault
from cnroute.emulator.knowledge.calls import download_of
from cnroute.emulator.steps import Send, Steps, head

if TYPE_CHECKING:
    from cnroute.emulator.server import Site

PREFIX = "/_emulator/"


def control(site: Site, method: str, path: str, body: object) -> Steps:
    """The answer to a control request."""
    name = path.removeprefix(PREFIX)
    if method == "GET" and re.fullmatch(r"files/\d+", name):
        yield from _file(site, int(name.partition("/")[2]))
        return
    action = CONTROLS.get((method, name))
    try:
        status, document = (200, action(site, body)) if action else (404, {"error": "unknown control path"})
    except (UnknownFault, TypeError, AttributeError) as problem:
        status, document = 400, {"error": str(problem)}
    yield _json(status, document)


def _json(status: int, document: object) -> Send:
    data = encode(document)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    return Send(head(status, headers) + data)


def _file(site: Site, number: int) -> Steps:
    """The bytes behind a ``download_url``: it needs no key, as the vendor's signed links."""
    found = next((file for file in site.library.files if file.id == number), None)
    if found is None:
        yield _json(404, {"error": "no such file"})
        return
    download = download_of(found)
    headers: Headers = [("Content-Type", download.kind), ("Content-Length", str(download.size))]
    yield Send(head(200, headers))
    for piece in download.pieces:
        yield Send(piece)


def _set_scripts(site: Site, body: Any) -> object:
    for model, faults in body.items():
        site.choices.script(model, faults)
    return {"scripted": list(body)}


def _reset(site: Site, _body: Any) -> object:
    site.log.clear()
    site.choices.clear()
    return {"reset": True}


def _empty(site: Site, _body: Any) -> object:
    site.library.clear()
    return {"empty": True}


def _settle(site: Site, _body: Any) -> object:
    site.library.settle()
    return {"settled": True}


CONTROLS: dict[tuple[str, str], Callable[[Site, Any], object]] = {
    ("GET", "requests"): lambda site, _body: [entry.as_json() for entry in site.log.copy()],
    ("GET", "connections"): lambda site, _body: {"open": site.connections.open, "accepted": site.connections.accepted},
    ("GET", "files"): lambda site, _body: [file.as_json() for file in site.library.files],
    ("GET", "bases"): lambda site, _body: [base.as_json() for base in site.library.bases],
    ("POST", "script"): _set_scripts,
    ("POST", "settle"): _settle,
    ("POST", "empty"): _empty,
    ("POST", "reset"): _reset,
}
