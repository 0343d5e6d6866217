"""Names of attributes and metrics: those of the GenAI conventions as of 2026, and ours.

The package of constants marks these names as moved, and the conventions are still in development; so they stand here, once.
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
}
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM = "gen_ai.system_instructions"
TOKEN_TYPE = "gen_ai.token.type"
ERROR = "error.type"
ADDRESS = "server.address"
PORT = "server.port"

CALL_ID = "cnroute.call_id"
ROUTE = "cnroute.route"
DEPLOYMENT = "cnroute.deployment"
ATTEMPT = "cnroute.attempt"
ATTEMPTS = "cnroute.attempts"
FALLBACK = "cnroute.fallback.reason"
COST = "cnroute.cost.amount"
COST_LOW = "cnroute.cost.low"
COST_HIGH = "cnroute.cost.high"
CURRENCY = "cnroute.cost.currency"
SKIPPED = "cnroute.candidate_skipped"
REASON = "cnroute.skipped.reason"

DURATION_METRIC = "gen_ai.client.operation.duration"
FIRST_CHUNK_METRIC = "gen_ai.client.operation.time_to_first_chunk"
TOKENS_METRIC = "gen_ai.client.token.usage"
SECONDS = [0.01 * 2**power for power in range(14)]
TOKENS = [float(4**power) for power in range(14)]

# The conventions know no value for these vendors: one name for all dialects of a vendor.
VENDORS = {"minimax-v2": "minimax", "minimax-pro": "minimax", "minimax-legacy": "minimax"}
