"""cnroute-openai-compatible: providers for vendors and local servers that speak OpenAI's chat completions.

A vendor is a row of data (`Vendor`); `Provider` makes a plugin of any row, yours too. What is where
- `vendor`: the fields of a row.
- `rows`: the rows themselves, each with its source.
- `request`, `reply`, `stream`, `codes`: the dialect, which reads rows and knows no vendor.
"""

from __future__ import annotations

import attrs

from cnroute import (
    ChatCompletion,
    ChatRequest,
    CnrouteError,
    Delta,
    Deployment,
    Failure,
    FailureKind,
    HttpRequest,
    HttpResponse,
    ProviderInfo,
    StreamState,
    hookimpl,
)
from cnroute_openai_compatible import codes, reply, rows
from cnroute_openai_compatible.request import build
from cnroute_openai_compatible.stream import parse_line
from cnroute_openai_compatible.vendor import Rules, Vendor

__all__ = [
    "VENDORS", "Provider", "Rules", "Vendor", "dashscope_compatible", "deepseek", "lingyiwanwu", "minimax_compatible",
    "moonshot", "ollama", "siliconflow", "vllm", "volcano_ark", "zhipu",
]  # fmt: skip
__version__ = "0.1.0"


@attrs.frozen(eq=False)
class Provider:
    """The plugin of one vendor. It keeps nothing but its row."""

    vendor: Vendor

    @hookimpl
    def describe_provider(self) -> ProviderInfo:
        """What the row says of the vendor; a provider without `api_key` in `env` needs no key."""
        vendor = self.vendor
        env = {"api_key": vendor.key, "base_url": vendor.base_url_variable}
        known = {setting: variable for setting, variable in env.items() if variable}
        return ProviderInfo(vendor.name, vendor.base_url, known, {}, vendor.capabilities(), vendor.models)

    @hookimpl
    def build_request(self, request: ChatRequest, deployment: Deployment, stream: bool) -> HttpRequest:
        """The request. Raises UnsupportedRequestError naming what this vendor cannot take."""
        return build(self.vendor, request, deployment, stream)

    @hookimpl
    def map_error(self, response: HttpResponse, deployment: Deployment) -> Failure | None:
        """The vendor's own error, in an answer of any status."""
        return codes.map_error(self.vendor, response, deployment)

    @hookimpl
    def parse_response(self, response: HttpResponse, deployment: Deployment) -> ChatCompletion | Failure:
        """The completion, or a `bad_response` for a body that is no answer."""
        request_id = codes.request_id_of(self.vendor, response)
        try:
            return reply.completion(self.vendor, response.json(), request_id)
        except CnrouteError:
            reason = "the body is not JSON"
        except reply.NotAnAnswer as error:
            reason = str(error)
        return Failure(FailureKind.BAD_RESPONSE, reason, http_status=response.status, request_id=request_id)

    @hookimpl
    def parse_stream_line(self, line: str, state: StreamState, deployment: Deployment) -> tuple[Delta | Failure, ...]:
        """The events of one line."""
        return parse_line(self.vendor, line, state, deployment)


VENDORS = {vendor.name: vendor for vendor in rows.ROWS}

deepseek = Provider(rows.DEEPSEEK)
moonshot = Provider(rows.MOONSHOT)
zhipu = Provider(rows.ZHIPU)
siliconflow = Provider(rows.SILICONFLOW)
volcano_ark = Provider(rows.VOLCANO_ARK)
lingyiwanwu = Provider(rows.LINGYIWANWU)
minimax_compatible = Provider(rows.MINIMAX)
dashscope_compatible = Provider(rows.DASHSCOPE)
vllm = Provider(rows.VLLM)
ollama = Provider(rows.OLLAMA)
