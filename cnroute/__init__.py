"""Route chat calls to Chinese language-model vendors by policy, with fallback, inside one deadline.

The public names and nothing else. Each is imported when it is first used, so that `import cnroute` costs little
and touches neither network nor environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cnroute.aio import AsyncChatStream as AsyncChatStream
    from cnroute.aio import AsyncRouter as AsyncRouter
    from cnroute.chat import ChatCompletion as ChatCompletion
    from cnroute.chat import ChatRequest as ChatRequest
    from cnroute.chat import Choice as Choice
    from cnroute.chat import KnowledgeBase as KnowledgeBase
    from cnroute.chat import Message as Message
    from cnroute.chat import Source as Source
    from cnroute.chat import ToolCall as ToolCall
    from cnroute.chat import Usage as Usage
    from cnroute.deployments import TLS as TLS
    from cnroute.deployments import Deployment as Deployment
    from cnroute.deployments import ModelInfo as ModelInfo
    from cnroute.deployments import ProviderInfo as ProviderInfo
    from cnroute.deployments import Route as Route
    from cnroute.deployments import Secret as Secret
    from cnroute.errors import AuthenticationError as AuthenticationError
    from cnroute.errors import BadRequestError as BadRequestError
    from cnroute.errors import BudgetExceededError as BudgetExceededError
    from cnroute.errors import CallCancelledError as CallCancelledError
    from cnroute.errors import CallError as CallError
    from cnroute.errors import CallTimeoutError as CallTimeoutError
    from cnroute.errors import CnrouteError as CnrouteError
    from cnroute.errors import ConfigurationError as ConfigurationError
    from cnroute.errors import ConnectionFailedError as ConnectionFailedError
    from cnroute.errors import ContentFilterError as ContentFilterError
    from cnroute.errors import ContextLengthError as ContextLengthError
    from cnroute.errors import DeadlineExceededError as DeadlineExceededError
    from cnroute.errors import HookError as HookError
    from cnroute.errors import LocalOverloadError as LocalOverloadError
    from cnroute.errors import ModelNotFoundError as ModelNotFoundError
    from cnroute.errors import NoCandidateError as NoCandidateError
    from cnroute.errors import PermissionDeniedError as PermissionDeniedError
    from cnroute.errors import PluginError as PluginError
    from cnroute.errors import QuotaExceededError as QuotaExceededError
    from cnroute.errors import RateLimitError as RateLimitError
    from cnroute.errors import ResponseError as ResponseError
    from cnroute.errors import RouterClosedError as RouterClosedError
    from cnroute.errors import ServerError as ServerError
    from cnroute.errors import StreamInterruptedError as StreamInterruptedError
    from cnroute.errors import UnsupportedRequestError as UnsupportedRequestError
    from cnroute.errors import error_for as error_for
    from cnroute.events import Delta as Delta
    from cnroute.events import Finish as Finish
    from cnroute.events import ReasoningDelta as ReasoningDelta
    from cnroute.events import SourceFound as SourceFound
    from cnroute.events import StepDelta as StepDelta
    from cnroute.events import StreamState as StreamState
    from cnroute.events import TextDelta as TextDelta
    from cnroute.events import ToolCallDelta as ToolCallDelta
    from cnroute.events import UsageUpdate as UsageUpdate
    from cnroute.failures import Attempt as Attempt
    from cnroute.failures import Failure as Failure
    from cnroute.failures import FailureKind as FailureKind
    from cnroute.hookspecs import hookimpl as hookimpl
    from cnroute.http import FileBody as FileBody
    from cnroute.http import Headers as Headers
    from cnroute.http import HttpRequest as HttpRequest
    from cnroute.http import HttpResponse as HttpResponse
    from cnroute.knowledge.aio import AsyncKnowledgeClient as AsyncKnowledgeClient
    from cnroute.knowledge.client import KnowledgeClient as KnowledgeClient
    from cnroute.knowledge.values import Base as Base
    from cnroute.knowledge.values import Document as Document
    from cnroute.knowledge.values import File as File
    from cnroute.money import Bill as Bill
    from cnroute.money import Cost as Cost
    from cnroute.money import Price as Price
    from cnroute.money import Tier as Tier
    from cnroute.notices import AttemptFinished as AttemptFinished
    from cnroute.notices import AttemptSkipped as AttemptSkipped
    from cnroute.notices import AttemptStarted as AttemptStarted
    from cnroute.notices import BudgetOverrun as BudgetOverrun
    from cnroute.notices import CallFinished as CallFinished
    from cnroute.notices import CallStarted as CallStarted
    from cnroute.notices import KnowledgeFinished as KnowledgeFinished
    from cnroute.notices import StoreChanged as StoreChanged
    from cnroute.plugins import PluginHost as PluginHost
    from cnroute.router import ChatStream as ChatStream
    from cnroute.router import Router as Router
    from cnroute.routing.budget import Budget as Budget
    from cnroute.routing.deadline import Deadline as Deadline
    from cnroute.routing.plan import Candidate as Candidate
    from cnroute.routing.plan import Excluded as Excluded
    from cnroute.routing.plan import Plan as Plan
    from cnroute.settings import Breaker as Breaker
    from cnroute.settings import Limits as Limits
    from cnroute.settings import RateLimit as RateLimit
    from cnroute.settings import Retries as Retries
    from cnroute.settings import Timeouts as Timeouts
    from cnroute.stores.memory import MemoryStore as MemoryStore
    from cnroute.stores.redis import RedisStore as RedisStore
    from cnroute.transports import ByteStream as ByteStream
    from cnroute.transports import Transport as Transport
    from cnroute.transports.urllib3 import Urllib3Transport as Urllib3Transport

_HOMES = {
    "aio": "AsyncChatStream AsyncRouter",
    "chat": "ChatCompletion ChatRequest Choice KnowledgeBase Message Source ToolCall Usage",
    "deployments": "Deployment ModelInfo ProviderInfo Route Secret TLS",
    "errors": "AuthenticationError BadRequestError BudgetExceededError CallCancelledError CallError CallTimeoutError "
    "CnrouteError ConfigurationError ConnectionFailedError ContentFilterError ContextLengthError "
    "DeadlineExceededError HookError LocalOverloadError ModelNotFoundError NoCandidateError "
    "PermissionDeniedError PluginError QuotaExceededError RateLimitError ResponseError RouterClosedError "
    "ServerError StreamInterruptedError UnsupportedRequestError error_for",
    "events": "Delta Finish ReasoningDelta SourceFound StepDelta StreamState TextDelta ToolCallDelta UsageUpdate",
    "failures": "Attempt Failure FailureKind",
    "hookspecs": "hookimpl",
    "http": "FileBody Headers HttpRequest HttpResponse",
    "knowledge.aio": "AsyncKnowledgeClient",
    "knowledge.client": "KnowledgeClient",
    "knowledge.values": "Base Document File",
    "money": "Bill Cost Price Tier",
    "notices": "AttemptFinished AttemptSkipped AttemptStarted BudgetOverrun CallFinished CallStarted "
    "KnowledgeFinished StoreChanged",
    "plugins": "PluginHost",
    "router": "ChatStream Router",
    "routing.budget": "Budget",
    "routing.deadline": "Deadline",
    "routing.plan": "Candidate Excluded Plan",
    "settings": "Breaker Limits RateLimit Retries Timeouts",
    "stores.memory": "MemoryStore",
    "stores.redis": "RedisStore",
    "transports": "ByteStream Transport",
    "transports.urllib3": "Urllib3Transport",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604 (names of this package)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'cnroute' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"cnroute.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
