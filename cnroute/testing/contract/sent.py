"""Looking at what was sent: a request's parts, a text or a number anywhere in it, refusals by name."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, fail, require
from cnroute.testing.contract.documents import leaves
from cnroute.testing.contract.probes import HELLO, Probe
from cnroute.testing.contract.subject import Built


class SentChecks(ContractBase):
    """What checks of requests share."""

    def _streams(self) -> tuple[bool, ...]:
        return (False, True) if self.subject().hooks.parse_stream_line is not None else (False,)

    def _settled(self, stream: bool) -> None:
        """NotApplicable where two equal calls already differ: another check tells of that."""
        one, other = (self.subject().build(HELLO, stream).wire() for _ in range(2))
        if one != other:
            raise NotApplicable("requests differ each time")

    def _made(self, built: Built, what: object) -> Any:
        if built.made is None:
            fail(
                "a message can be sent",
                expected=f"a request with {what!r:.60}",
                got=built.what(),
                change="let build_request send the texts of request.messages",
            )
        return built.made


def parts_of(built: Built, want: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a request that an expectation names."""
    made = built.made
    headers = {name.lower(): str.__str__(value) for name, value in made.headers.items()} if made else {}
    found = {
        "method": made.method if made else None,
        "url": made.url if made else None,
        "json": built.json,
        "headers": {name: headers.get(name.lower()) for name in want.get("headers", {})},
    }
    yield from ((key, found[key]) for key in want)


def forms_of(secret: str) -> set[str]:
    """A secret as it is, quoted, and in base64."""
    encoded = (base64.b64encode(each.encode()).decode().rstrip("=") for each in (secret, f":{secret}", f"Bearer {secret}"))
    return {secret, quote(secret, safe=""), secret[::-1], secret.encode().hex(), *encoded}


def check_refusal(probe: Probe, built: Built, how: str) -> None:
    """A parameter is refused by its own name, and by nothing but UnsupportedRequestError."""
    if built.made is None:
        named = built.refused is not None and built.refused.parameter.partition(".")[0] in (probe.parameter, *probe.beside)
        require(
            named,
            f"{how} is sent or refused by name",
            expected=f"UnsupportedRequestError({probe.parameter!r}, reason)",
            got=built.what(),
            change=f"raise UnsupportedRequestError({probe.parameter!r}, reason) for what the vendor cannot take",
        )


def strings_of(value: Any) -> list[str]:
    """Every text in a document."""
    return [item for _, item in leaves([value]) if isinstance(item, str)]


def stands(wanted: Any, document: Any, whole: bool = False) -> bool:
    """Whether a value stands anywhere in a document: a text as a part of any key or text, a number as itself or its digits."""
    for path, item in leaves([document]):
        if isinstance(wanted, str):
            texts = [item if isinstance(item, str) else "", path[-1] if isinstance(path[-1], str) and not whole else ""]
            if any(wanted == text if whole else wanted in text for text in texts):
                return True
        elif (type(item) in (int, float) and item == wanted) or item == str(wanted):
            return True
    return False
