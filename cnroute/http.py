"""Plain HTTP values between providers, the flow and transports; no library's types.

Rules of this file
- A header value that holds a secret is a `SecretText`: it is sent as it is and shown as `***`.
- `HttpResponse.json()` raises a cnroute error, never a codec's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import attrs

from cnroute.codec import JsonError, dumps, loads
from cnroute.errors import error_for
from cnroute.failures import Failure, FailureKind


class SecretText(str):
    """Text that shows itself as `***`, so that tracebacks with locals do not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> tuple[Any, ...]:
        return SecretText, ("***",)


class Headers(Mapping[str, str]):
    """Response headers: case does not matter, the first value of a repeated one wins."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = values.items() if isinstance(values, Mapping) else values
        self._values: dict[str, str] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), value)

    @classmethod
    def in_lower_case(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """From pairs whose names are in lower case already."""
        headers = cls()
        for name, value in pairs:
            headers._values.setdefault(name, value)  # noqa: SLF001 (its own)
        return headers

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of `name`, or `default`."""
        return self._values.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<headers {', '.join(self._values)}>"  # vendors' cookies, and what they repeat, stand in the values


def _headers(value: Mapping[str, str]) -> Headers:
    return value if isinstance(value, Headers) else Headers(value)


@attrs.frozen
class FileBody:
    """A request's body that memory never holds as a whole: what the knowledge client uploads.

    `chunks()` gives its `length` bytes in pieces, from the beginning each time that it is called: a request may have to
    be sent again. `again()` says whether it still may: what was sent to its end may have been stored.
    """

    length: int
    chunks: Callable[[], Iterable[bytes]] = attrs.field(repr=False)
    again: Callable[[], bool] = attrs.field(default=lambda: True, repr=False)

    def __len__(self) -> int:
        return self.length


def _size(body: bytes | FileBody) -> str:
    return f"<{len(body)} bytes>"


def _without_query(url: str) -> str:
    """Queries hold GroupIds: they are not shown."""
    path, mark, _ = url.partition("?")
    return repr(f"{path}?***" if mark else path)


@attrs.define
class HttpRequest:
    """What a provider asks a transport to send. `adjusted` maps parameters to what was done with them.

    The body of an upload to a knowledge base, and of no other request, is a `FileBody`.
    """

    method: str
    url: str = attrs.field(repr=_without_query)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = attrs.field(default=b"", repr=_size)
    adjusted: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def post_json(
        cls,
        url: str,
        data: Any,
        *,
        bearer: Any = None,
        headers: Mapping[str, str] | None = None,
        adjusted: Mapping[str, str] | None = None,
    ) -> Self:
        """A POST of `data` as JSON. `bearer` is a `Secret` or text for the Authorization header."""
        fields: dict[str, str] = {"Content-Type": "application/json"}
        if bearer is not None:
            reveal: Callable[[], str] | None = getattr(bearer, "reveal", None)
            fields["Authorization"] = SecretText("Bearer " + (reveal() if reveal else str(bearer)))
        fields.update(headers or {})
        return cls("POST", url, fields, dumps(data), adjusted or {})


class _Mark:
    """Stands for a body that was not read yet, or that is no JSON; the same one after pickling."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> str:
        return self._name


_UNREAD, _NO_JSON = _Mark("_UNREAD"), _Mark("_NO_JSON")


@attrs.define(on_setattr=attrs.setters.NO_OP)
class HttpResponse:
    """A complete answer. `headers` ignore case, `body` is decoded from its content encoding."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=Headers, converter=_headers)
    body: bytes = attrs.field(default=b"", repr=_size)
    resent: bool = False
    _decoded: Any = attrs.field(default=_UNREAD, init=False, repr=False, eq=False)

    @property
    def text(self) -> str:
        """The body as text, in the charset of its content type, else UTF-8; bad bytes become U+FFFD."""
        return self.body.decode(charset_of(self.headers), "replace").removeprefix("\ufeff")

    def json(self) -> Any:
        """The body decoded from JSON, once for all who ask. Raises ResponseError (kind `bad_response`) if it is none."""
        value = self._value()
        if value is _NO_JSON:
            raise error_for(Failure(FailureKind.BAD_RESPONSE, "the body is not JSON", http_status=self.status))
        return value

    def json_or_none(self) -> Any:
        """The body decoded from JSON, once for all who ask; None if it is none."""
        value = self._value()
        return None if value is _NO_JSON else value

    def _value(self) -> Any:
        if self._decoded is _UNREAD:
            try:
                self._decoded = loads(self.text)
            except JsonError:
                self._decoded = _NO_JSON
        return self._decoded


# The charsets that Chinese vendors' gateways and proxies really use; anything else is read as UTF-8.
_CHARSETS = {"gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030", "big5": "big5"}


_PLAINLY_UTF8 = frozenset(("", "application/json", "application/json; charset=utf-8", "text/event-stream;charset=utf-8"))


def charset_of(headers: Mapping[str, str]) -> str:
    """The charset that a content type names, if it is one of the Chinese ones; else `utf-8`."""
    kind = (headers.get("content-type") or headers.get("Content-Type") or "").lower()
    if kind in _PLAINLY_UTF8:
        return "utf-8"
    _, _, name = kind.partition("charset=")
    return _CHARSETS.get(name.split(";")[0].strip(" \"'"), "utf-8")


def header_request_id(headers: Mapping[str, str]) -> str | None:
    """The vendor's id of the exchange from the headers `Trace-Id` or `x-request-id`, if there is one."""
    return headers.get("trace-id") or headers.get("x-request-id") or None


def positive_seconds(value: object) -> float | None:
    """A Retry-After of seconds, whole or decimal; None for anything else (dates need a clock: the router's)."""
    if not isinstance(value, str) or not re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", value):
        return None
    return float(value)


def header_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in `retry-after-ms` or `Retry-After`; dates are left to the router, which has a clock."""
    precise = positive_seconds(headers.get("retry-after-ms"))
    return precise / 1000 if precise is not None else positive_seconds(headers.get("retry-after"))
