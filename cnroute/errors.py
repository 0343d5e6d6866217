"""The exceptions that a caller can catch.

    CnrouteError
      ConfigurationError          wrong settings, found before anything is sent; .problems
      PluginError                 a plugin broke the contract; .plugin .distribution .hook
      CallError                   one call failed; .kind .attempts ... (below)
        AuthenticationError       auth
        PermissionDeniedError     permission
        QuotaExceededError        quota
        RateLimitError            rate_limit
        ModelNotFoundError        model_not_found
        ContentFilterError        content_filter
        BadRequestError           bad_request, request_too_large
          ContextLengthError      context_length
          UnsupportedRequestError unsupported
        ServerError               server_error, overloaded, vendor_timeout
        ConnectionFailedError     dns_error, connect_error, tls_error, tls_verify, connection_lost
        CallTimeoutError          connect, tls, write, first_byte, first_token and idle timeouts
          DeadlineExceededError   deadline_exceeded
        ResponseError             protocol_error, decode_error, bad_response, response_too_large, redirect
        StreamInterruptedError    stream_interrupted; .partial_text .deltas .usage .cause_kind
        NoCandidateError          no_candidate; .retry_at .retry_after
        LocalOverloadError        local_overload
        BudgetExceededError       budget_exceeded
        CallCancelledError        cancelled
        RouterClosedError         closed
        HookError                 plugin_error

Every one of them pickles with all its attributes and notes. Messages hold at most 2,000 characters, no
control characters, no key and no prompt.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

import attrs

from cnroute.failures import Attempt, Billing, Culprit, Failure, FailureKind, clean_text, is_retryable

if TYPE_CHECKING:
    from cnroute.chat import Usage
    from cnroute.events import Delta

K = FailureKind
P = ParamSpec("P")
T = TypeVar("T")
MESSAGE_LIMIT = 2000


def _restore(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CnrouteError(Exception):
    """Base of every exception that cnroute raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, dict(self.__dict__))


@attrs.frozen
class Problem:
    """One thing that is wrong in the configuration: where it stands, and what to do about it."""

    key: str
    reason: str
    file: str | None = None

    def in_file(self, file: str | None) -> Problem:
        """The same problem with its file, where none is known yet."""
        return self if self.file else attrs.evolve(self, file=file)

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        return f"{place}{self.key}: {self.reason}" if self.key else f"{place}{self.reason}"


class ConfigurationError(CnrouteError):
    """Settings that cannot work. `.problems` holds all of them, each with `file`, `key` and `reason`."""

    def __init__(self, problems: str | Iterable[Problem], key: str = "") -> None:
        found = (Problem(key, problems),) if isinstance(problems, str) else tuple(problems)
        self.problems: tuple[Problem, ...] = found
        super().__init__(clean_lines("\n".join(map(str, found))))


class PluginError(CnrouteError):
    """A plugin broke the plugin contract outside a call (inside one it is a `HookError`)."""

    def __init__(self, message: str, *, plugin: str = "", distribution: str | None = None, hook: str | None = None):
        super().__init__(clean_text(message, MESSAGE_LIMIT))
        self.plugin = plugin
        self.distribution = distribution
        self.hook = hook


def forgetful(function: Callable[P, T]) -> Callable[P, T]:
    """The same function, whose errors of the caller's making do not hold its arguments.

    Reports of errors show the local variables of every frame: ConfigurationError, PluginError and the TypeError for
    a wrong argument are raised from a frame that has none. Other errors are bugs, and keep their frames.
    """

    @functools.wraps(function)
    def called(*args: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(*args, **keywords)
        except (ConfigurationError, PluginError, TypeError) as error:
            if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise
            caught = error.with_traceback(None)
        del args, keywords
        try:
            raise caught from None
        finally:
            del caught

    return called


class CallError(CnrouteError):
    """One call failed. The class is that of the last attempt's failure; `.attempts` holds all.

    `kind` is a `FailureKind`, `retry_after` is in seconds, `plan` is the `Plan` that the call followed
    and `billing` tells whether any attempt may have cost money. `seconds` is how long the whole call took,
    `metadata` what the caller gave it.

    An operation of a knowledge client also sets `ids`: which `files` and `bases` the vendor has of it, and under
    `operations` the `operator_id` that repeats a write; and `advice`: what to do next.
    """

    default_kind: ClassVar[FailureKind] = K.BAD_REQUEST

    def __init__(
        self,
        message: str = "",
        *,
        kind: FailureKind | str | None = None,
        call_id: str | None = None,
        provider: str | None = None,
        deployment: str | None = None,
        http_status: int | None = None,
        vendor_code: str | None = None,
        request_id: str | None = None,
        plan: Any = None,
        retry_after: float | None = None,
        attempts: tuple[Attempt, ...] = (),
        billing: Billing | None = None,
    ) -> None:
        self.kind = FailureKind(kind) if kind is not None else self.default_kind
        self.message = clean_text(message or self.kind.value, MESSAGE_LIMIT)
        super().__init__(self.message)
        self.call_id = call_id
        self.provider = provider
        self.deployment = deployment
        self.http_status = http_status
        self.vendor_code = vendor_code
        self.request_id = request_id
        self.plan = plan
        self.retry_after = retry_after
        self.attempts = attempts
        self.billing: Billing = billing if billing is not None else Failure(self.kind).billing
        self.seconds: float | None = None
        self.metadata: Mapping[str, str] = {}
        self.ids: dict[str, tuple[int, ...]] = {}
        self.advice = ""

    @property
    def retryable(self) -> bool:
        """True when the same call may succeed later."""
        return is_retryable(self.kind)

    def failure(self) -> Failure:
        """The same facts as a `Failure` value."""
        return Failure(
            self.kind,
            self.message,
            vendor_code=self.vendor_code,
            http_status=self.http_status,
            request_id=self.request_id,
            retry_after=self.retry_after,
            billing=self.billing,
        )

    def record(self) -> dict[str, Any]:
        """The call as JSON-ready data with a stable schema (see `ChatCompletion.record`)."""
        from cnroute.explain import record_of_error

        return record_of_error(self)

    def explain(self, lang: str = "en") -> str:
        """The call's record as text, in English (`en`) or Chinese (`zh`)."""
        from cnroute.explain import explain

        return explain(self.record(), lang)


class AuthenticationError(CallError):
    """The vendor refused the key, or the key belongs to another region than the host."""

    default_kind = K.AUTH


class PermissionDeniedError(CallError):
    """The key is good but may not use this model, workspace or endpoint."""

    default_kind = K.PERMISSION


class QuotaExceededError(CallError):
    """Balance, plan or free grant is used up; waiting a minute does not help."""

    default_kind = K.QUOTA


class RateLimitError(CallError):
    """Too many requests or tokens for now; `.retry_after` is the vendor's value, if it gave one."""

    default_kind = K.RATE_LIMIT


class ModelNotFoundError(CallError):
    """No such route, deployment or model, here or at the vendor."""

    default_kind = K.MODEL_NOT_FOUND


class ContentFilterError(CallError):
    """The vendor's content inspection refused the prompt or the answer."""

    default_kind = K.CONTENT_FILTER


class BadRequestError(CallError):
    """The request is wrong and would be wrong again."""

    default_kind = K.BAD_REQUEST


class ContextLengthError(BadRequestError):
    """The prompt is longer than the model's context window."""

    default_kind = K.CONTEXT_LENGTH


class UnsupportedRequestError(BadRequestError):
    """This vendor or model cannot express a parameter. `.parameter` names it.

    Raised by `build_request` of a plugin: `raise UnsupportedRequestError("tools", "yi-large takes no tools")`.
    """

    default_kind = K.UNSUPPORTED

    def __init__(self, parameter: str = "", reason: str = "", **fields: Any) -> None:
        self.parameter = parameter
        self.reason = reason
        message = fields.pop("message", None) or (f"{parameter}: {reason}" if reason else f"{parameter} is not supported")
        super().__init__(message, **fields)


class ServerError(CallError):
    """The vendor failed: internal error, overload, or its own time-out."""

    default_kind = K.SERVER_ERROR


class ConnectionFailedError(CallError):
    """No usable connection: name, address, TLS, or the connection broke without an answer."""

    default_kind = K.CONNECTION_LOST


class CallTimeoutError(CallError):
    """One step took longer than its own limit."""

    default_kind = K.IDLE_TIMEOUT


class DeadlineExceededError(CallTimeoutError):
    """The call's own deadline passed."""

    default_kind = K.DEADLINE_EXCEEDED


class ResponseError(CallError):
    """The vendor answered with something that is not an answer of this vendor."""

    default_kind = K.BAD_RESPONSE


class StreamInterruptedError(CallError):
    """A stream broke after its first content. Nothing is repeated.

    `partial_text` is exactly what was handed out, `deltas` the objects themselves, `usage` what the vendor
    had reported so far, `cause_kind` what went wrong.
    """

    default_kind = K.STREAM_INTERRUPTED

    def __init__(
        self,
        message: str = "",
        *,
        partial_text: str = "",
        deltas: tuple[Delta, ...] = (),
        usage: Usage | None = None,
        cause_kind: FailureKind | str = K.CONNECTION_LOST,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.partial_text = partial_text
        self.deltas = deltas
        self.usage = usage
        self.cause_kind = FailureKind(cause_kind)

    @property
    def retryable(self) -> bool:
        """True when the same call, made anew, may succeed: what broke the stream decides."""
        return is_retryable(self.cause_kind)


class NoCandidateError(CallError):
    """No deployment may be tried now. `.retry_at` (aware UTC) and `.retry_after` (seconds) say when."""

    default_kind = K.NO_CANDIDATE

    def __init__(self, message: str = "", *, retry_at: datetime.datetime | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.retry_at = retry_at


class LocalOverloadError(CallError):
    """This process already has as many calls in flight as it may."""

    default_kind = K.LOCAL_OVERLOAD


class BudgetExceededError(CallError):
    """The call could cost more than a budget or its `max_cost` allows; nothing was sent."""

    default_kind = K.BUDGET_EXCEEDED


class CallCancelledError(CallError):
    """The call was cancelled from outside."""

    default_kind = K.CANCELLED


class RouterClosedError(CallError):
    """The router is closed."""

    default_kind = K.CLOSED


class HookError(CallError):
    """A hook of a plugin raised, or returned what the contract does not allow.

    `.plugin`, `.distribution` (name and version) and `.hook` say whose, each None where it is not known.
    """

    default_kind = K.PLUGIN_ERROR

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        distribution: str | None = None,
        hook: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.plugin = plugin
        self.distribution = distribution
        self.hook = hook

    def failure(self) -> Failure:
        """The same facts as a `Failure` value."""
        failure = super().failure()
        if self.plugin is not None:
            failure.culprit = Culprit(self.plugin, self.hook or "", self.distribution)
        return failure


def clean_lines(text: str) -> str:
    """Like `clean_text`, but keeps line ends: for errors that list several problems."""
    return "\n".join(clean_text(line, MESSAGE_LIMIT) for line in text.split("\n"))[:MESSAGE_LIMIT]


_CLASS_OF_KIND: dict[FailureKind, type[CallError]] = {
    K.AUTH: AuthenticationError,
    K.PERMISSION: PermissionDeniedError,
    K.QUOTA: QuotaExceededError,
    K.RATE_LIMIT: RateLimitError,
    K.MODEL_NOT_FOUND: ModelNotFoundError,
    K.CONTENT_FILTER: ContentFilterError,
    K.BAD_REQUEST: BadRequestError,
    K.REQUEST_TOO_LARGE: BadRequestError,
    K.CONTEXT_LENGTH: ContextLengthError,
    K.UNSUPPORTED: UnsupportedRequestError,
    K.SERVER_ERROR: ServerError,
    K.OVERLOADED: ServerError,
    K.VENDOR_TIMEOUT: ServerError,
    K.DNS_ERROR: ConnectionFailedError,
    K.CONNECT_ERROR: ConnectionFailedError,
    K.TLS_ERROR: ConnectionFailedError,
    K.TLS_VERIFY: ConnectionFailedError,
    K.CONNECTION_LOST: ConnectionFailedError,
    K.CONNECT_TIMEOUT: CallTimeoutError,
    K.TLS_TIMEOUT: CallTimeoutError,
    K.WRITE_TIMEOUT: CallTimeoutError,
    K.FIRST_BYTE_TIMEOUT: CallTimeoutError,
    K.FIRST_TOKEN_TIMEOUT: CallTimeoutError,
    K.IDLE_TIMEOUT: CallTimeoutError,
    K.DEADLINE_EXCEEDED: DeadlineExceededError,
    K.PROTOCOL_ERROR: ResponseError,
    K.DECODE_ERROR: ResponseError,
    K.BAD_RESPONSE: ResponseError,
    K.RESPONSE_TOO_LARGE: ResponseError,
    K.REDIRECT: ResponseError,
    K.STREAM_INTERRUPTED: StreamInterruptedError,
    K.NO_CANDIDATE: NoCandidateError,
    K.LOCAL_OVERLOAD: LocalOverloadError,
    K.BUDGET_EXCEEDED: BudgetExceededError,
    K.CANCELLED: CallCancelledError,
    K.CLOSED: RouterClosedError,
    K.PLUGIN_ERROR: HookError,
}


def error_for(failure: Failure, **context: Any) -> CallError:
    """The exception of `failure.kind`, with the failure's facts and `context` as its attributes.

    Transports raise what this returns; the router raises it for a call.
    """
    fields: dict[str, Any] = {
        "kind": failure.kind,
        "http_status": failure.http_status,
        "vendor_code": failure.vendor_code,
        "request_id": failure.request_id,
        "retry_after": failure.retry_after,
        "billing": failure.billing,
        **context,
    }
    if failure.kind is K.UNSUPPORTED:
        return UnsupportedRequestError(message=failure.message, **fields)
    if failure.culprit is not None:
        culprit = failure.culprit
        fields |= {"plugin": culprit.plugin, "distribution": culprit.distribution, "hook": culprit.hook}
    return _CLASS_OF_KIND[failure.kind](failure.message, **fields)
