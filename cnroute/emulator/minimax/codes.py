"""MiniMax's error table: codes, our readable names for them, and the envelopes of its newer gateways."""

from __future__ import annotations

# code: message (error tables of the vendor's Chinese and English pages).
CODES: dict[str, str] = {
    "1000": "unknown error",
    "1001": "timeout",
    "1002": "rate limit exceeded(RPM)",
    "1004": "login fail: Please carry the API secret key in the 'Authorization' field of the request header",
    "1008": "insufficient balance",
    "1013": "internal service error",
    "1024": "internal error",
    "1026": "input new_sensitive",
    "1027": "output new_sensitive",
    "1033": "system error",
    "1039": "rate limit exceeded(TPM)",
    "1041": "conn limit",
    "1042": "invisible character ratio limit",
    "1043": "the asr similarity check failed",
    "1044": "clone prompt similarity check failed",
    "2013": "invalid params",
    "2032": "knowledge base count limit",
    "2033": "knowledge base characters limit",
    "2034": "knowledge base is being operated",
    "2036": "knowledge base is being operated, try again later",
    "2037": "voice duration too short or too long",
    "2038": "voice cloning is disabled",
    "2039": "voice clone voice id duplicate",
    "2042": "you don't have access to this voice_id",
    "2044": "no permission to this endpoint",
    "2045": "rate growth limit",
    "2048": "prompt audio too long",
    "2049": "invalid api key",
    "2056": "usage limit exceeded, 5-hour usage limit reached for Token Plan Starter (0/0 used), resets at 2026-05-15T15:00:00Z",
    "2061": "your current token plan not support model",
    "20132": "invalid samples or voice_id",
}

# Readable names, the same ones in every dialect: (code, message or "" for the code's own).
NAMES: dict[str, tuple[str, str]] = {
    "invalid_key": ("2049", ""),
    "permission": ("2044", ""),
    "no_balance": ("1008", ""),
    "plan_limit": ("2056", ""),
    "rate_limit": ("1002", ""),
    "token_limit": ("1039", ""),
    "burst_limit": ("2045", ""),
    "connection_limit": ("1041", ""),
    "overloaded": ("1013", "the server cluster is currently under high load"),
    "vendor_timeout": ("1001", ""),
    "internal_error": ("1000", ""),
    "bad_parameter": ("2013", "invalid params, temperature should be in (0, 1]"),
    "context_length": ("2013", "invalid params, context window exceeds limit"),
    "model_not_found": ("2013", "invalid params, unknown model 'no-such-model'"),
    "model_not_exist": ("2013", "invalid params, unknown model 'no-such-model'"),
    "too_large": ("2013", "invalid params, request body too large"),
    "content_filter_input": ("1026", ""),
    "content_filter_output": ("1027", ""),
}

# Newer gateways put real statuses around the number: status: (type, code, message).
ENVELOPES: dict[int, tuple[str, str, str]] = {
    400: ("bad_request_error", "2013", "invalid params"),
    401: ("authorized_error", "1004", CODES["1004"]),
    403: ("permission_error", "2044", CODES["2044"]),
    404: ("not_found_error", "", "page not found"),
    408: ("timeout_error", "1001", "timeout"),
    413: ("request_too_large", "", "request entity too large"),
    422: ("bad_request_error", "2013", "invalid params"),
    429: ("rate_limit_error", "1002", CODES["1002"]),
    500: ("api_error", "1000", "unknown error"),
    503: ("overloaded_error", "", "service temporarily unavailable"),
    529: ("overloaded_error", "", "The server cluster is currently under high load. Please retry after a short wait"),
}
