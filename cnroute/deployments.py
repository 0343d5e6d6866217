"""Where a call can go: deployments, routes, and what a provider says of itself.

Rules of this file
- A `Secret` shows itself as `***` everywhere, has no JSON, and pickles without its value.
- What can be checked without a network is checked when a value is built, and raises ConfigurationError.
"""

from __future__ import annotations

import hmac
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import attrs

from cnroute.errors import ConfigurationError, forgetful
from cnroute.money import Price
from cnroute.settings import Breaker, Limits, RateLimit, Retries, Timeouts

T = TypeVar("T")

_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_BEGINS = re.compile(r"sk[-_]|eyJ|Bearer\b", re.IGNORECASE)
_LONG_RUN = re.compile(r"[A-Za-z0-9]{24,}")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}")
_NAME = re.compile(r"[^/\x00-\x1f\x7f\s](?:[^/\x00-\x1f\x7f]{0,198}[^/\x00-\x1f\x7f\s])?")
# Options are text that goes into URLs, headers or bodies; line ends and lone surrogates never belong there.
_OPTION_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{0,4096}")

_MASK = "***"
_ROTATION_SECONDS = 60.0


class Secret:
    """A key, or where to find one: text, `{"env": NAME}`, `{"file": PATH}` or a callable.

    `reveal()` gives the text; files and callables are read at the first use and kept until `forget()`. A
    trailing line end of a file is stripped. Two secrets are equal when their texts are, compared in constant
    time. Raises ConfigurationError, without the value, for a key that cannot stand in a header.
    """

    __slots__ = ("_forgotten_at", "_lock", "_read", "_text", "origin")

    @forgetful
    def __init__(self, source: str | Mapping[str, str] | Callable[[], str]) -> None:
        self._lock = threading.Lock()
        self._text: str | None = None
        self._forgotten_at = float("-inf")
        self._read, self.origin = _reader(source)
        if isinstance(source, str):
            self._text = _checked_key(source, self.origin)

    def reveal(self) -> str:
        """The text itself. Raises ConfigurationError when it cannot be found or is no possible key."""
        text = self._text
        if text is None:
            with self._lock:
                text = self._text
                if text is None:
                    text = self._text = _checked_key(self._found(), self.origin)
        return text

    def _found(self) -> object:
        """What the source gives; what a callable raises may hold the key, so only its type is told."""
        try:
            return self._read()
        except (ConfigurationError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (the host's code)
            name = type(error).__name__
        raise ConfigurationError(f"the key ({self.origin}) cannot be read: {name}", "api_key")

    def forget(self, now: float) -> None:
        """Read the file, variable or callable again at the next use, at most once a minute.

        `now` is on a monotonic clock. So keys rotate without a restart.
        """
        if self.origin != "text" and now - self._forgotten_at >= _ROTATION_SECONDS:
            self._forgotten_at, self._text = now, None

    def forked(self) -> None:
        """In a forked child: a lock that nobody holds; a thread of the parent may have been reading the key."""
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _lost_secret, (self.origin,)


def _lost_secret(origin: str) -> Secret:
    """What a pickled secret becomes: its value stayed behind."""

    def gone() -> str:
        raise ConfigurationError("a secret does not travel through pickle; give the key again", "api_key")

    secret = Secret(gone)
    secret.origin = origin
    return secret


def looks_like_a_key(text: str) -> bool:
    """Whether `text`, which should be a name, may be a key: then no message repeats it."""
    runs = _LONG_RUN.findall(text[:1000])
    return bool(_KEY_BEGINS.match(text)) or any(not run.isalpha() and not run.isdigit() for run in runs)


def _shown(place: str | os.PathLike[str]) -> str:
    """The name of a variable or file in what is shown; a key that was written there is not."""
    text = os.fspath(place)
    return _MASK if _KEY_BEGINS.match(text) or looks_like_a_key(Path(text).name) else text


def variable(name: str) -> str:
    """An environment variable. Raises ConfigurationError where it is not set, or where `name` is no name of one."""
    value = os.environ.get(name)
    if value is not None:
        return value
    if _VARIABLE.fullmatch(name) and not looks_like_a_key(name):
        raise ConfigurationError(f"the environment variable {name} is not set", "api_key")
    raise ConfigurationError(
        "what stands at env is not the name of a variable; a key itself never stands there: set a variable to it, "
        "and write that variable's name", "api_key",
    )


def cannot_read(place: str | os.PathLike[str], reason: str | None, what: str = "file") -> NoReturn:
    """Raises ConfigurationError for a file that cannot be read."""
    if _shown(place) != _MASK:
        raise ConfigurationError(f"the {what} {place} cannot be read: {reason}", "api_key")
    raise ConfigurationError(
        "what stands at file is not the path of a file that can be read; a key itself never stands there: "
        "write it into a file, and that file's path here", "api_key",
    )


def _reader(source: object) -> tuple[Callable[[], str], str]:
    """How to read a secret's source, and a word for where it comes from."""
    if isinstance(source, str):
        return lambda: source, "text"
    if isinstance(source, Mapping) and len(source) == 1:
        (kind, place), = source.items()
        if kind == "env" and isinstance(place, str) and place:
            return lambda: variable(place), f"env {_shown(place)}"
        if kind == "file" and isinstance(place, str | os.PathLike) and place:
            return lambda: _from_file(Path(place)), f"file {_shown(place)}"
    if callable(source):
        return source, "callable"
    raise ConfigurationError('a key is text, {"env": NAME}, {"file": PATH} or a callable', "api_key")


def _from_file(path: Path) -> str:
    try:
        return path.expanduser().read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
    cannot_read(path, reason, "key file")


def _checked_key(text: object, origin: str) -> str:
    if isinstance(text, str) and _KEY.fullmatch(text):
        return text
    raise ConfigurationError(
        f"the key ({origin}) must be 1 to 512 visible ASCII characters without blanks or line ends", "api_key"
    )


def secret_from(value: Any) -> Secret | None:
    """A Secret from anything that describes one; None stays None."""
    return value if value is None or isinstance(value, Secret) else Secret(value)


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _words(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


def _optional_words(values: Iterable[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _copied(key: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """A dict of one's own. Raises ConfigurationError for what is no mapping."""
    if values is not None and not isinstance(values, Mapping):
        raise ConfigurationError(f"{key} must be a mapping, not a {type(values).__name__}", key)
    return dict(values or {})


def _defaults(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return _copied("defaults", values)


def _fallback(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return _copied("fallback", values)


def _settings(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return _copied("settings", values)


def _optional(kind: type) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """A validator for None or one type. Raises ConfigurationError."""

    def check(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(f"{field.name} must be a {kind.__name__}, not a {type(value).__name__}", field.name)

    return check


def _flag(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{field.name} must be True or False, not a {type(value).__name__}", field.name)


def _word(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{field.name} must be a name, not a {type(value).__name__}", field.name)


@attrs.frozen
class TLS:
    """Certificates of one deployment. Verification cannot be switched off; `ca_file` replaces the trusted set."""

    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class ModelInfo:
    """What is known of one model; None is unknown (or the provider's value)."""

    name: str
    context: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] | None = attrs.field(default=None, converter=_optional_words)
    price: Price | None = None
    provider: str | None = None
    status: str | None = None
    as_of: str | None = None
    source: str | None = None

    @property
    def context_window(self) -> int | None:
        """The same as `context`."""
        return self.context

    @property
    def max_output_tokens(self) -> int | None:
        """The same as `max_output`."""
        return self.max_output


@attrs.frozen
class ProviderInfo:
    """What a provider says of itself.

    `base_url` is the vendor's API root; `env` maps a setting (`api_key`, an option) to the environment variable
    that its users know; `options` maps each option to its meaning; `capabilities` is a subset of `streaming`,
    `tools`, `json`, `web_search`, `knowledge_base`, `reasoning`; with no `models` any name is passed on.
    `required` names the options without which no call can be made, `url_options` those that belong into the URL.
    """

    name: str
    base_url: str = ""
    env: Mapping[str, str] = attrs.field(factory=dict)
    options: Mapping[str, str] = attrs.field(factory=dict)
    capabilities: frozenset[str] = attrs.field(default=frozenset(), converter=_words)
    models: tuple[ModelInfo, ...] = attrs.field(default=(), converter=_tuple)
    required: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    url_options: tuple[str, ...] = attrs.field(default=(), converter=_tuple)

    def model(self, name: str) -> ModelInfo | None:
        """What is known of the model `name`, if anything."""
        return next((model for model in self.models if model.name == name), None)


def checked_base_url(url: str, *, allow_http: bool = False) -> str:
    """`url` without its trailing slash. Raises ConfigurationError for what must never be called.

    https anywhere, http on loopback only (or with `allow_http`); no user info, query, fragment, control
    characters, dots-only path segments, zone ids or impossible ports (reliability 3.3).
    """
    problem = _url_problem(url, allow_http)
    if problem:
        raise ConfigurationError(f"base_url {problem}", "base_url")
    return url.rstrip("/")


_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def _url_problem(url: object, allow_http: bool) -> str | None:
    if not isinstance(url, str) or not re.fullmatch(r"[\x21-\x7e]+", url):
        return "must be plain ASCII text without blanks"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL, or its port is not between 1 and 65535"
    host = parts.hostname or ""
    rules = (
        (parts.scheme not in ("http", "https"), "must begin with https:// (or http:// on loopback)"),
        (not host, "has no host"),
        (parts.username is not None or "@" in parts.netloc, "must not hold a user name or password"),
        ("?" in url or "#" in url, "must not have a query or a fragment"),
        (port == 0, "has port 0"),
        ("%" in host, "must not have a zone id"),
        (not _is_host(host), "has a host name that cannot be: its parts, between points, have 1 to 63 characters, 253 in all"),
        ("\\" in url or ".." in parts.path.split("/"), "must not hold \\ or .."),
        (
            parts.scheme == "http" and not allow_http and not _LOOPBACK.fullmatch(host),
            "uses plain http to a host that is not loopback; use https, or Deployment(allow_http=True)",
        ),
    )
    return next((reason for wrong, reason in rules if wrong), None)


def _is_host(host: str) -> bool:
    """Whether the length of a host name, and of its parts, is one that a name can have (RFC 1035, 2.3.4)."""
    name = host.removesuffix(".")
    return ":" in host or (len(name) <= 253 and all(0 < len(part) < 64 for part in name.split(".")))


def checked_name(name: object, key: str) -> str:
    """`name` of a route or deployment; raises ConfigurationError for one that could not be called."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        raise ConfigurationError(f"{key} must be 1 to 200 printable characters without /, not {name!r:.60}", key)
    return name


def _headers(value: Mapping[str, str]) -> dict[str, str]:
    headers = _copied("headers", value)
    for name, text in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError("a header name has characters that HTTP does not allow", "headers")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise ConfigurationError(f"the value of header {name} must be printable ASCII text", "headers")
    return headers


def _options(value: Mapping[str, Any]) -> dict[str, Any]:
    """Options with `{"env": NAME}` and `{"file": PATH}` resolved."""
    return {name: _option(name, item) for name, item in _checked_options(value).items()}


def _checked_options(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError("options must map names to values", "options")
    return value


def _option(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and len(value) == 1 and set(value) <= {"env", "file"}:
        value = _referred(name, value)
    if isinstance(value, str) and not _OPTION_TEXT.fullmatch(value):
        raise ConfigurationError(f"option {name} holds control characters", f"options.{name}")
    return value


def _referred(name: str, value: Mapping[str, str]) -> str:
    """The text that an option refers to; a problem with it is the option's, not the key's."""
    try:
        read, _ = _reader(value)
        return read()
    except ConfigurationError as error:
        reason = error.problems[0].reason
    raise ConfigurationError(reason, f"options.{name}")


def _price(value: Any) -> Price | None:
    if not isinstance(value, Mapping):
        if not isinstance(value, Price | None):
            raise ConfigurationError(f"price must be a Price, not a {type(value).__name__}", "price")
        return value
    known = [field.alias for field in attrs.fields(Price) if field.init]
    unknown = [name for name in value if name not in known]
    if unknown or "currency" not in value:
        reason = f"has no setting {unknown[0]!r:.60}" if unknown else "needs a currency"
        raise ConfigurationError(f"a price {reason}; its settings are {', '.join(map(str, known))}", "price")
    return Price(**value)


def _model_name(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 200:
        raise ConfigurationError("model must be the vendor's name of a model", "model")


def _forgetful(cls: type[T]) -> type[T]:
    cls.__init__ = forgetful(cls.__init__)  # type: ignore[method-assign]
    return cls


@_forgetful
@attrs.frozen
class Deployment:
    """One place that a call can go to: provider, model, credential, base URL and price.

    `api_key` is text, `{"env": NAME}`, `{"file": PATH}`, a callable or a `Secret`; it becomes a `Secret`.
    `base_url` replaces the vendor's API root. `defaults={"max_tokens": ...}` applies to every call that does
    not say otherwise. Raises ConfigurationError naming the setting, before anything is sent.
    """

    name: str = attrs.field(validator=lambda owner, field, value: checked_name(value, "name") and None)
    provider: str = attrs.field(validator=_word)
    model: str = attrs.field(validator=_model_name)
    api_key: Secret | None = attrs.field(default=None, converter=secret_from, repr=False)
    base_url: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict, converter=_options, repr=lambda value: f"<{', '.join(value)}>")
    price: Price | None = attrs.field(default=None, converter=_price)
    timeouts: Timeouts | None = attrs.field(default=None, validator=_optional(Timeouts))
    limits: Limits | None = attrs.field(default=None, validator=_optional(Limits))
    breaker: Breaker | None = attrs.field(default=None, validator=_optional(Breaker))
    rate_limit: RateLimit | None = attrs.field(default=None, validator=_optional(RateLimit))
    defaults: Mapping[str, Any] = attrs.field(factory=dict, converter=_defaults)
    headers: Mapping[str, str] = attrs.field(factory=dict, converter=_headers, repr=False)
    tls: TLS | None = attrs.field(default=None, validator=_optional(TLS))
    proxy: str | None = attrs.field(default=None, validator=_optional(str), repr=False)
    allow_http: bool = attrs.field(default=False, validator=_flag)

    def __attrs_post_init__(self) -> None:
        if self.base_url is not None:
            object.__setattr__(self, "base_url", checked_base_url(self.base_url, allow_http=self.allow_http))


def _fallback_word(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if value not in ("same", "without"):
        raise ConfigurationError(f'{field.name} must be "same" or "without", not {value!r:.40}', field.name)


CAPABILITIES = ("streaming", "tools", "json", "web_search", "knowledge_base", "reasoning")


def _capabilities(values: object) -> frozenset[str]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ConfigurationError("requires must be a list of capabilities", "requires")
    kept = list(values)
    for value in kept:
        if value not in CAPABILITIES:
            raise ConfigurationError(f"there is no capability {value!r:.40}; known are {', '.join(CAPABILITIES)}", "requires")
    return frozenset(kept)


def _window(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise ConfigurationError(f"{field.name} must be a whole number of at least 1, not {value!r:.40}", field.name)


def _targets(value: object) -> tuple[Any, ...] | dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError("targets must be a list of names, or a mapping of name to weight", "targets")
    return tuple(value)


@attrs.frozen
class Route:
    """A public name's policy over targets: deployments, other routes by name, or nested routes.

    `targets` is a list, or a mapping of target to weight for the policy `weighted`. `fallback_on` adds failure
    kinds that go on to the next target although the table says stop (`content_filter`); `fallback` overrides
    rows of the table: `{"bad_request": "next"}`. `knowledge_fallback`: a call with a knowledge base goes only to
    deployments of the `same` account, or, `without` the base, to the others after them. `requires` (capabilities such
    as `tools`) and `min_context` (input tokens) leave out what does not have them, in nested routes too. `settings` go
    to a plugin's policy.
    """

    policy: str = attrs.field(default="ordered", validator=_word)
    targets: tuple[Any, ...] | Mapping[str, Any] = attrs.field(default=(), converter=_targets)
    fallback_on: frozenset[str] = attrs.field(default=frozenset(), converter=_words)
    fallback: Mapping[str, str] = attrs.field(factory=dict, converter=_fallback)
    timeouts: Timeouts | None = attrs.field(default=None, validator=_optional(Timeouts))
    retries: Retries | None = attrs.field(default=None, validator=_optional(Retries))
    defaults: Mapping[str, Any] = attrs.field(factory=dict, converter=_defaults)
    knowledge_fallback: str = attrs.field(default="same", validator=_fallback_word)
    settings: Mapping[str, Any] = attrs.field(factory=dict, converter=_settings)
    requires: frozenset[str] = attrs.field(default=frozenset(), converter=_capabilities)
    min_context: int | None = attrs.field(default=None, validator=_window)
