"""The vendors, each a row of data with the pages that it rests on and the date of the reading.

Rules of this file
- A fact without a page is left out: unknown, or the vendor's to decide.
- A price has currency, date and source; what is not certain is unknown, never 0.
- `status` of a model informs (`listed`, `retired`); nothing is ever refused because of it.
"""

from __future__ import annotations

import attrs

from cnroute import FailureKind, ModelInfo, Price
from cnroute.wire import Range
from cnroute_openai_compatible.vendor import Rules, Vendor, as_details, as_text, by_effort, flagged, templated, typed

K = FailureKind
_TEXT_AND_IMAGES = frozenset(("text", "image_url"))
_WORDS_ONLY = frozenset(("auto", "none"))


def _up_to(high: float, page: str, *, low_open: bool = False, high_open: bool = False) -> Range:
    return Range(0, high, low_open=low_open, high_open=high_open, page=page)


# DeepSeek ------------------------------------------------------------------------------------------------------------
# Pages: api-docs.deepseek.com, Create Chat Completion; Thinking Mode; Models & Pricing; Error Codes (2026-05 to 2026-06).
# `deepseek-chat` and `deepseek-reasoner` are V4-Flash without and with thinking, announced to end on 2026-07-24.

_DEEPSEEK = "DeepSeek API: Create Chat Completion"
_DEEPSEEK_THINKS = "DeepSeek API: Thinking Mode"
_DEEPSEEK_RULES = Rules(
    page=_DEEPSEEK, temperature=_up_to(2, _DEEPSEEK), top_p=_up_to(1, _DEEPSEEK), stop_words=16,
    thinks=typed, inert=("temperature", "top_p"), returns=as_text,
)  # fmt: skip


def _deepseek(name: str, price: tuple[str, str, str], status: str = "listed") -> ModelInfo:
    """Prices in CNY per million tokens: input, output, cached input; V4-Pro at what became permanent on 2026-05-22."""
    page = "api-docs.deepseek.com/zh-cn/quick_start/pricing"
    given, made, cached = price
    money = Price("CNY", input=given, output=made, cached=cached, as_of="2026-05-23", source=page)
    return ModelInfo(name, 1_000_000, 384_000, price=money, status=status, as_of="2026-05-23", source=page)


DEEPSEEK = Vendor(
    name="deepseek",
    base_url="https://api.deepseek.com",
    key="DEEPSEEK_API_KEY",
    rules=_DEEPSEEK_RULES,
    families=(
        ("deepseek-reasoner", attrs.evolve(_DEEPSEEK_RULES, page=_DEEPSEEK_THINKS, thinks="always")),
        ("deepseek-chat", attrs.evolve(_DEEPSEEK_RULES, inert=())),
    ),
    models=(
        _deepseek("deepseek-v4-flash", ("1", "2", "0.02")),
        _deepseek("deepseek-v4-pro", ("3", "6", "0.025")),
        _deepseek("deepseek-chat", ("1", "2", "0.02"), "retired"),
        _deepseek("deepseek-reasoner", ("1", "2", "0.02"), "retired"),
    ),
    cached=("prompt_cache_hit_tokens",),
    finish={"insufficient_system_resource": K.OVERLOADED},
)

# Moonshot AI ---------------------------------------------------------------------------------------------------------
# Pages: platform.kimi.com/docs, Chat; Model Parameter Reference; Errors (2026-06).

_MOONSHOT = "Kimi API: Chat"
_MOONSHOT_PARAMETERS = "Kimi API: Model Parameter Reference"
_MOONSHOT_RULES = Rules(
    page=_MOONSHOT, temperature=_up_to(1, _MOONSHOT), top_p=_up_to(1, _MOONSHOT), tokens_field="max_completion_tokens",
    stop_words=5, stop_bytes=32, choices=_WORDS_ONLY, parts=frozenset(("text", "image_url", "video_url")),
)  # fmt: skip
_KIMI_RULES = attrs.evolve(
    _MOONSHOT_RULES, page=_MOONSHOT_PARAMETERS, takes=_MOONSHOT_RULES.takes - {"temperature", "top_p"}, thinks=typed,
    returns=as_text,
)  # fmt: skip


def _moonshot(name: str, context: int, *capabilities: str) -> ModelInfo:
    has = frozenset(("streaming", "tools", "json", *capabilities))
    return ModelInfo(name, context, None, has, status="listed", as_of="2026-06-11", source="platform.kimi.com/docs/models")


MOONSHOT = Vendor(
    name="moonshot",
    base_url="https://api.moonshot.cn/v1",
    key="MOONSHOT_API_KEY",
    rules=_MOONSHOT_RULES,
    families=(
        ("kimi-k2.", _KIMI_RULES),
        ("kimi-k2-thinking", attrs.evolve(_MOONSHOT_RULES, page=_MOONSHOT_PARAMETERS, thinks="always", returns=as_text)),
    ),
    models=(
        _moonshot("kimi-k2.6", 262_144, "reasoning"),
        _moonshot("kimi-k2.5", 262_144, "reasoning"),
        _moonshot("kimi-k2-thinking", 262_144, "reasoning"),
        _moonshot("moonshot-v1-8k", 8_192),
        _moonshot("moonshot-v1-32k", 32_768),
        _moonshot("moonshot-v1-128k", 131_072),
    ),
    cached=("prompt_tokens_details.cached_tokens", "cached_tokens"),
    codes={
        K.QUOTA: "exceeded_current_quota_error",
        K.MODEL_NOT_FOUND: "resource_not_found_error",
        K.SERVER_ERROR: "unexpected_output",
    },
    words=(("total message size", K.REQUEST_TOO_LARGE),),
)

# Zhipu (BigModel, Z.ai) ----------------------------------------------------------------------------------------------
# Pages: docs.bigmodel.cn, 对话补全; 错误码; docs.z.ai, API codes (2025-10 to 2026). Usage comes with the last chunk.

_ZHIPU = "BigModel: 对话补全"
_ZHIPU_RULES = Rules(
    page=_ZHIPU, takes=Rules(_ZHIPU).takes | {"web_search"}, temperature=_up_to(1, _ZHIPU),
    top_p=_up_to(1, _ZHIPU, low_open=True), stop_words=1, choices=frozenset(("auto",)), names=False, thinks=typed,
)  # fmt: skip
_ZHIPU_UNSWITCHED = attrs.evolve(_ZHIPU_RULES, thinks="never")


def _glm(name: str, context: int, most: int) -> ModelInfo:
    return ModelInfo(name, context, most, status="listed", as_of="2025-10-29", source="docs.bigmodel.cn: 模型概览")


ZHIPU = Vendor(
    name="zhipu",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    key="ZHIPUAI_API_KEY",
    rules=_ZHIPU_RULES,
    families=(
        ("glm-4-", _ZHIPU_UNSWITCHED),
        # Its thoughts stand in the text, between tags.
        ("glm-z1", attrs.evolve(_ZHIPU_RULES, thinks="always")),
    ),
    models=(
        _glm("glm-4.6", 200_000, 128_000),
        _glm("glm-4.5", 128_000, 96_000),
        _glm("glm-4.5-air", 128_000, 96_000),
        _glm("glm-4.5-flash", 128_000, 96_000),
    ),
    asks_usage=False,
    search_tool={"type": "web_search", "web_search": {"enable": True, "search_result": True}},
    codes={
        K.SERVER_ERROR: "500 1120 1200 1230 1234",
        K.AUTH: "1000 1001 1002 1003 1004 1100",
        K.PERMISSION: "1110 1111 1112 1121 1220 1311 1313",
        K.QUOTA: "1113 1304 1308 1309 1310",
        K.BAD_REQUEST: "1210 1212 1213 1214 1215 1231",
        K.MODEL_NOT_FOUND: "1211 1221 1222",
        K.CONTEXT_LENGTH: "1261",
        K.CONTENT_FILTER: "1300 1301",
        K.RATE_LIMIT: "1302 1303",
        K.OVERLOADED: "1305 1312",
    },
    finish={"sensitive": "content_filter", "model_context_window_exceeded": "length", "network_error": K.SERVER_ERROR},
)

# SiliconFlow ---------------------------------------------------------------------------------------------------------
# Pages: docs.siliconflow.cn, 创建对话请求; 错误处理 (2026-01). Numbers beside 20012: answers seen by users.

_SILICONFLOW = "SiliconFlow: 创建对话请求"
_SILICONFLOW_RULES = Rules(
    page=_SILICONFLOW, temperature=_up_to(2, _SILICONFLOW), top_p=_up_to(1, _SILICONFLOW), stop_words=4,
    parts=_TEXT_AND_IMAGES, thinks=flagged, budget=Range(128, 32_768, page=_SILICONFLOW),
)  # fmt: skip
SILICONFLOW = Vendor(
    name="siliconflow",
    base_url="https://api.siliconflow.cn/v1",
    key="SILICONFLOW_API_KEY",
    rules=_SILICONFLOW_RULES,
    models=tuple(
        ModelInfo(name, status="listed", as_of="2026-01-20", source="docs.siliconflow.cn: 创建对话请求")
        for name in ("deepseek-ai/DeepSeek-V3.2", "Pro/deepseek-ai/DeepSeek-V3.2", "zai-org/GLM-4.6", "Qwen/Qwen3-32B")
    ),
    asks_usage=False,  # every chunk counts
    codes={
        K.BAD_REQUEST: "20015 20035",
        K.MODEL_NOT_FOUND: "20012 30003",
        K.QUOTA: "30001 30011",
        K.OVERLOADED: "50505 50603",
    },
    words=(("max_seq_len", K.CONTEXT_LENGTH), ("balance", K.QUOTA)),
    finish={"eos": "stop"},
    request_ids=("x-siliconcloud-trace-id",),
)

# Volcano Ark (Doubao) ------------------------------------------------------------------------------------------------
# Pages: volcengine.com/docs/82379, 对话(Chat) API 1494384; 错误码 1299023 (2025-11-07). A model is named by its id with
# a date, or by an endpoint of one's own (`ep-...`): so no models are listed, and any name is passed on.

_ARK = "Volcano Ark: 对话(Chat) API"
VOLCANO_ARK = Vendor(
    name="volcano-ark",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    key="ARK_API_KEY",
    rules=Rules(
        page=_ARK, temperature=_up_to(2, _ARK), top_p=_up_to(1, _ARK), stop_words=4, thinks=typed,
        formats=frozenset(("text", "json_object", "json_schema")), parts=frozenset(("text", "image_url", "video_url")),
    ),
    codes={
        K.BAD_REQUEST: "MissingParameter InvalidParameter InvalidArgumentError",
        K.AUTH: "AuthenticationError InvalidAccountStatus",
        K.QUOTA: "AccountOverdueError QuotaExceeded SetLimitExceeded",
        K.PERMISSION: "AccessDenied OperationDenied UnsupportedModel",
        K.MODEL_NOT_FOUND: "InvalidEndpointOrModel InvalidEndpoint ModelNotOpen NotFound",
        K.CONTENT_FILTER: """SensitiveContentDetected InputTextSensitiveContentDetected InputImageSensitiveContentDetected
            InputVideoSensitiveContentDetected OutputTextSensitiveContentDetected OutputImageSensitiveContentDetected""",
        K.RATE_LIMIT: """RateLimitExceeded AccountRateLimitExceeded ModelAccountRpmRateLimitExceeded
            ModelAccountTpmRateLimitExceeded ModelAccountIpmRateLimitExceeded APIAccountRpmRateLimitExceeded
            RequestBurstTooFast""",
        K.OVERLOADED: "ServerOverloaded",
        K.SERVER_ERROR: "InternalServiceError",
    },
    words=(("exceeds the maximum length", K.CONTEXT_LENGTH), ("max message tokens", K.CONTEXT_LENGTH)),
)

# 01.AI (零一万物) -----------------------------------------------------------------------------------------------------
# Pages: platform.lingyiwanwu.com/docs (2024-10 to 2025-06).

_YI = "01.AI: API docs"
_YI_RULES = Rules(
    page=_YI, takes=frozenset(("temperature", "top_p", "max_tokens")), temperature=_up_to(2, _YI, high_open=True),
    top_p=_up_to(1, _YI, low_open=True), parts=_TEXT_AND_IMAGES,
)  # fmt: skip
_YI_TOOLS = attrs.evolve(_YI_RULES, takes=_YI_RULES.takes | {"tools", "tool_choice"}, choices=_WORDS_ONLY)


def _yi(name: str, context: int, price: str | None, as_of: str) -> ModelInfo:
    page = "platform.lingyiwanwu.com/docs"
    money = None if price is None else Price("CNY", input=price, output=price, as_of=as_of, source=page)
    has = ("streaming", "tools") if name.endswith("-fc") else ("streaming",)
    return ModelInfo(name, context, None, frozenset(has), money, status="listed", as_of=as_of, source=page)


LINGYIWANWU = Vendor(
    name="01ai",
    base_url="https://api.lingyiwanwu.com/v1",
    key="YI_API_KEY",
    rules=_YI_RULES,
    families=(("yi-large-fc", _YI_TOOLS),),
    models=(
        _yi("yi-lightning", 16_384, "0.99", "2024-10-16"),
        _yi("yi-large", 32_768, "20", "2024-05-13"),
        _yi("yi-large-fc", 32_768, None, "2025-06-01"),
        _yi("yi-vision-v2", 16_384, None, "2025-06-01"),
    ),
    asks_usage=False,
)

# MiniMax, the OpenAI-compatible path ---------------------------------------------------------------------------------
# Pages: platform.minimax.io and platform.minimaxi.com, OpenAI API compatible (2026-03 to 2026-06); numbers: error codes
# (2025-09, 2026). With `reasoning_split` thoughts come in `reasoning_details`, as increments in streams (the page's own
# sample takes them for the whole text so far; issue 95 of MiniMax-AI/MiniMax-M2 says what is really sent).

_MINIMAX = "MiniMax: OpenAI API compatible"
MINIMAX = Vendor(
    name="minimax-compatible",
    base_url="https://api.minimaxi.com/v1",
    key="MINIMAX_API_KEY",
    base_url_variable="MINIMAX_API_HOST",
    rules=Rules(
        page=_MINIMAX, takes=frozenset(("temperature", "top_p", "max_tokens", "tools", "tool_choice")), choices=_WORDS_ONLY,
        temperature=_up_to(1, _MINIMAX, low_open=True), top_p=_up_to(1, _MINIMAX, low_open=True),
        thinks="always", returns=as_details,
    ),
    models=tuple(
        ModelInfo(name, context, status="listed", as_of="2026-06-01", source="platform.minimax.io: OpenAI API compatible")
        for name, context in (("MiniMax-M3", 1_000_000), ("MiniMax-M2.7", None), ("MiniMax-M2.5", None), ("MiniMax-M2", None))
    ),
    reasoning=("reasoning_content", "reasoning_details"),
    fixed={"reasoning_split": True},
    codes={
        K.SERVER_ERROR: "1000 1013 1024 1033",
        K.VENDOR_TIMEOUT: "1001",
        K.RATE_LIMIT: "1002 1039 1041 2045",
        K.AUTH: "1004 2049",
        K.QUOTA: "1008 2056",
        K.CONTENT_FILTER: "1026 1027",
        K.BAD_REQUEST: "1042 1043 1044 2013",
        K.PERMISSION: "2044 2061",
    },
    words=(("unknown model", K.MODEL_NOT_FOUND),),
)

# DashScope, the OpenAI-compatible mode -------------------------------------------------------------------------------
# Pages: Model Studio, OpenAI compatible - Chat; OpenAI Chat; Deep thinking; Error codes (2026-03 to 2026-06).

_QWEN = "Model Studio: OpenAI Chat"
_QWEN_RULES = Rules(
    page=_QWEN, takes=Rules(_QWEN).takes | {"seed", "web_search"}, temperature=_up_to(2, _QWEN, high_open=True),
    top_p=_up_to(1, _QWEN, low_open=True), choices=frozenset(("auto", "none", "function")),
    formats=frozenset(("text", "json_object", "json_schema")), parts=_TEXT_AND_IMAGES, names=False, thinks=flagged,
    budget=Range(1, None, page=_QWEN),
)  # fmt: skip
DASHSCOPE = Vendor(
    name="dashscope-compatible",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    key="DASHSCOPE_API_KEY",
    rules=_QWEN_RULES,
    families=(("qwq", attrs.evolve(_QWEN_RULES, thinks="always")),),
    models=tuple(
        ModelInfo(name, status="listed", as_of="2026-03-02", source="Model Studio: OpenAI compatible - Chat")
        for name in ("qwen3-max", "qwen3.5-plus", "qwen-plus", "qwen-flash", "qwen-max", "qwen-turbo")
    ),
    search_fields={"enable_search": True},
    codes={
        K.BAD_REQUEST: "invalid_parameter_error InvalidParameter BadRequest invalid_value unsupported_operation",
        K.AUTH: "invalid_api_key InvalidApiKey",
        K.PERMISSION: "access_denied AccessDenied Model.AccessDenied Workspace.AccessDenied App.AccessDenied NotAuthorized",
        K.QUOTA: "Arrearage AllocationQuota.FreeTierOnly CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue",
        # Alibaba's insufficient_quota is an allowance per minute (Model Studio: error codes).
        K.RATE_LIMIT: "Throttling limit_requests LimitRequests insufficient_quota",
        K.CONTENT_FILTER: "data_inspection_failed DataInspectionFailed",
        K.MODEL_NOT_FOUND: "model_not_found ModelNotFound model_not_supported",
        K.VENDOR_TIMEOUT: "RequestTimeOut InternalError.Timeout",
        K.SERVER_ERROR: "internal_error InternalError SystemError",
        K.OVERLOADED: "ModelServingError ModelUnavailable ServiceUnavailable",
    },
    words=(("free allocated quota exceeded", K.QUOTA), ("model not exist", K.MODEL_NOT_FOUND)),
)

# Servers of one's own ------------------------------------------------------------------------------------------------
# They are on this machine unless `base_url` says otherwise, and need no key; one that is given is sent.
# vLLM: docs.vllm.ai, OpenAI-Compatible Server; Reasoning Outputs (0.8 to 0.26: `reasoning` was `reasoning_content`).
# Ollama: docs.ollama.com, OpenAI compatibility (2026): it ignores fields that it does not list, so they are refused
# here; of `tool_choice` only what happens anyway is sent.

_VLLM = "vLLM: OpenAI-Compatible Server"
VLLM = Vendor(
    name="vllm",
    base_url="http://127.0.0.1:8000/v1",
    rules=Rules(
        page=_VLLM, takes=Rules(_VLLM).takes | {"seed"}, formats=frozenset(("text", "json_object", "json_schema")),
        parts=frozenset(("text", "image_url", "video_url", "input_audio")), thinks=templated,
    ),
    reasoning=("reasoning", "reasoning_content"),
    finish={"abort": K.SERVER_ERROR},
)

_OLLAMA = "Ollama: OpenAI compatibility"
OLLAMA = Vendor(
    name="ollama",
    base_url="http://127.0.0.1:11434/v1",
    rules=Rules(
        page=_OLLAMA, takes=Rules(_OLLAMA).takes | {"seed"}, choices=frozenset(("auto",)),
        formats=frozenset(("text", "json_object", "json_schema")), parts=_TEXT_AND_IMAGES, names=False, thinks=by_effort,
    ),
    reasoning=("reasoning", "reasoning_content"),
)

ROWS = (DEEPSEEK, MOONSHOT, ZHIPU, SILICONFLOW, VOLCANO_ARK, LINGYIWANWU, MINIMAX, DASHSCOPE, VLLM, OLLAMA)
