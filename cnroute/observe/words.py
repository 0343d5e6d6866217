"""The words of `explain`, as data: English and Chinese side by side, each written for its readers.

Rules of this file
- Every pair is (English, Chinese). What stands in braces is filled in by `cnroute.explain`.
- Failure kinds and rules are whole clauses that go on after "name: ".
- The vendor's own words and those of plugins are quoted, never translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LANGUAGES = ("en", "zh")
Pair = tuple[str, str]

FAILURES: Mapping[str, Pair] = {
    "auth": ("the vendor refused the key", "密钥被厂商拒绝"),
    "permission": ("the key may not use this model or endpoint", "密钥没有使用该模型或接口的权限"),
    "quota": ("the balance or plan is used up", "余额或套餐额度已用完"),
    "rate_limit": ("the vendor's rate limit was reached", "触发了厂商的限流"),
    "bad_request": ("the vendor found the request wrong", "厂商认为请求有误"),
    "request_too_large": ("the request is larger than is taken here", "请求体超过了大小上限"),
    "context_length": ("the prompt does not fit into the model's context window", "提示词超出了模型的上下文长度"),
    "content_filter": ("the vendor's content inspection stepped in", "内容被厂商的安全审核拦下"),
    "model_not_found": ("there is no such model", "模型不存在"),
    "server_error": ("the vendor had an internal error", "厂商内部出错"),
    "overloaded": ("the vendor is overloaded", "厂商服务过载"),
    "vendor_timeout": ("the vendor ran into a time limit of its own", "厂商自身处理超时"),
    "dns_error": ("the host name could not be resolved", "域名解析失败"),
    "connect_error": ("no connection could be made", "连接建立失败"),
    "connect_timeout": ("connecting took too long", "建立连接超时"),
    "tls_error": ("the TLS handshake failed", "TLS 握手失败"),
    "tls_verify": ("the server's certificate was not accepted", "服务器证书校验不通过"),
    "tls_timeout": ("the TLS handshake took too long", "TLS 握手超时"),
    "write_timeout": ("sending the request took too long", "发送请求超时"),
    "first_byte_timeout": ("the vendor did not begin to answer in time", "迟迟没有收到厂商的响应"),
    "first_token_timeout": ("the stream opened, but its first content did not come in time", "流已打开，但首个内容迟迟未到"),
    "idle_timeout": ("the answer stopped coming for too long", "响应中断过久"),
    "connection_lost": ("the connection broke", "连接中断"),
    "protocol_error": ("the answer was broken HTTP", "响应不符合 HTTP 协议"),
    "decode_error": ("the answer's content encoding was broken", "响应内容解压失败"),
    "bad_response": ("what came back is not an answer of this vendor", "返回的内容不是该厂商的正常回答"),
    "response_too_large": ("the answer passed the size limit", "响应超过了大小上限"),
    "redirect": ("the server redirected the request, which is never followed", "服务器要求重定向，而重定向一律不跟随"),
    "deadline_exceeded": ("the call's time was up", "调用的总时限已到"),
    "no_candidate": ("no deployment could be tried", "没有可用的部署"),
    "local_overload": ("this process had as many calls in flight as it may", "本进程的并发调用数已达上限"),
    "budget_exceeded": ("it could cost more than the budget allows", "费用可能超出预算"),
    "unsupported": ("it cannot express or take a parameter of this request", "不支持请求中的某个参数"),
    "stream_interrupted": (
        "the stream broke after its first content, so nothing was repeated", "流在输出内容后中断，因此没有重试",
    ),
    "cancelled": ("the call was cancelled", "调用被取消"),
    "closed": ("the router was closed", "路由器已关闭"),
    "plugin_error": ("a plugin broke its contract", "插件未按约定工作"),
}

# Why a deployment was excluded, skipped or not needed, beside the failure kinds that may say so too.
RULES: Mapping[str, Pair] = {
    "cooling_down": ("it is left alone for a while after an earlier failure", "因之前的失败，仍在冷却期内"),
    "breaker_open": ("its breaker is open after repeated failures", "连续失败后熔断器已打开"),
    "probe_out": ("its breaker is open and one probe is on the way", "熔断器已打开，正由另一次调用试探"),
    "full": ("all its places are taken by calls in flight", "并发名额已满"),
    "throttled": ("its own rate limit is used up for now", "自设的速率额度暂已用完"),
    "not_admitted": ("it was not admitted", "未获准调用"),
    "price unknown": ("its price is unknown and a budget is set", "价格未知，而当前设有预算"),
    "filtered": ("it lacks what the route asks for", "不具备该路由所要求的能力"),
    "answered": ("another deployment had answered", "已有其他部署给出回答"),
    "call_ended": ("the call ended before its turn", "尚未轮到，调用已结束"),
}

STATES: Mapping[str, Pair] = {
    "chosen": ("answered", "给出了回答"),
    "tried": ("tried, failed", "已尝试，失败"),
    "skipped": ("skipped", "跳过"),
    "not_needed": ("not tried", "未尝试"),
    "excluded": ("excluded", "排除"),
}

POLICIES: Mapping[str, Pair] = {
    "ordered": ("as the targets are written", "按目标的书写顺序"),
    "cheapest": ("the least expected cost first", "预计费用低者优先"),
    "fastest": ("the shortest expected time first", "预计耗时短者优先"),
    "weighted": ("drawn by weight", "按权重随机抽取"),
}

HEALTH: Mapping[str, Pair] = {
    "healthy": ("healthy", "状态正常"),
    "cooling down": ("cooling down", "冷却中"),
    "breaker open": ("breaker open", "熔断中"),
    "breaker half_open": ("breaker half open", "熔断后待试探"),
}

BILLING: Mapping[str, Pair] = {
    "none": ("Nothing was charged.", "未产生费用。"),
    "unknown": ("It may have been charged: {cost}.", "可能已计费：{cost}。"),
    "billed": ("It was charged: {cost}.", "已计费：{cost}。"),
}

FINISH: Mapping[str, Pair] = {
    "stop": ("the answer is complete", "回答完整"),
    "length": ("cut off at the limit of tokens", "达到 token 上限而截断"),
    "tool_calls": ("the model calls tools", "模型要求调用工具"),
    "content_filter": ("cut off by the vendor's content inspection", "被厂商的内容审核截断"),
}

CURRENCIES: Mapping[str, str] = {"CNY": "元", "USD": "美元", "EUR": "欧元", "HKD": "港元", "JPY": "日元", "GBP": "英镑"}

PHRASES: Mapping[str, Pair] = {
    "name": ("{deployment} ({details})", "{deployment}（{details}）"),
    "call": ("Call {id}", "调用 {id}"),
    "a call": ("The call", "本次调用"),
    "answered": ("{call}: {name} answered{time}, {count}.", "{call}：{name}给出了回答{time}，{count}。"),
    "failed": ("{call} failed{time}, {count}: {why} ({kind}).", "{call}：失败{time}，{count}：{why}（{kind}）。"),
    "unfinished": ("{call} has not ended yet.", "{call}：尚未结束。"),
    "plan": ("Plan for {route}; nothing has been sent.", "{route} 的调用计划，尚未发送任何请求。"),
    "time": (" in {seconds} s", "，耗时 {seconds} 秒"),
    "no attempt": ("before anything was sent", "未发出请求"),
    "one attempt": ("after 1 attempt", "共尝试 1 次"),
    "attempts": ("after {n} attempts", "共尝试 {n} 次"),
    "cause": ("What broke it: {why} ({kind}).", "中断原因：{why}（{kind}）。"),
    "asked": ("Asked for: {route}, about {tokens} input tokens.", "请求：{route}，输入约 {tokens} 个 token。"),
    "order": ("Order (policy {policy}): {how}.", "候选顺序（策略 {policy}）：{how}。"),
    "order of plugin": ("Order (policy {policy}):", "候选顺序（策略 {policy}）："),
    "no candidates": ("No deployment can take this request.", "没有部署能接受该请求。"),
    "candidate": ("  {rank}. {name}: {facts}", "  {rank}. {name}：{facts}"),
    "estimate": ("expected cost {cost}", "预计费用{cost}"),
    "no price": ("expected cost unknown", "价格未知"),
    "weight": ("weight {weight}", "权重 {weight}"),
    "successes": ("{rate} of its recent calls succeed", "近期成功率 {rate}"),
    "counts as": ("so it counts as {cost}", "故按 {cost} 计"),
    "health for": ("{health} for {seconds} s more", "{health}，还需 {seconds} 秒"),
    "out": ("Excluded:", "已排除："),
    "degraded": ("Degraded: {why}.", "降级运行：{why}。"),
    "out one": ("  - {name}: {why}", "  - {name}：{why}"),
    "why": ("{words} ({rule})", "{words}（{rule}）"),
    "why in detail": ("{words} ({rule}: {detail})", "{words}（{rule}：{detail}）"),
    "state why": ("{state}: {why}", "{state}：{why}"),
    "attempts made": ("Attempts:", "各次尝试："),
    "attempt": ("  {n}. {deployment}, {seconds} s: {end}", "  {n}. {deployment}，{seconds} 秒：{end}"),
    "attempt ok": ("answered{details}.", "成功{details}。"),
    "attempt failed": ("{words}{details}.", "{words}{details}。"),
    "details": (" ({details})", "（{details}）"),
    "http": ("HTTP {value}", "HTTP {value}"),
    "code": ("vendor code {value}", "厂商错误码 {value}"),
    "request": ("request id {value}", "请求 ID {value}"),
    "said": ('Message: "{message}"', "信息：“{message}”。"),
    "retry": ("Not again before {seconds} s have passed.", "要求 {seconds} 秒后再试。"),
    "adjusted": ("Changed for it: {changes}.", "为适配而调整：{changes}。"),
    "change": ("{name} ({what})", "{name}（{what}）"),
    "resent": (
        "Sent a second time on a new connection, since the first one had gone stale.",
        "原连接已失效，换新连接重发了一次。",
    ),
    "usage": ("Tokens: {parts}.", "token 用量：{parts}。"),
    "input": ("{n} in", "输入 {n}"),
    "output": ("{n} out", "输出 {n}"),
    "total": ("{n} in all", "合计 {n}"),
    "cached": ("{n} of the input cached", "输入中命中缓存 {n}"),
    "reasoning": ("{n} of the output for reasoning", "输出中用于推理 {n}"),
    "no usage": ("Tokens: the vendor reported none.", "token 用量：厂商未返回。"),
    "cost": ("Cost of the answer: {cost}.", "回答的费用：{cost}。"),
    "exact": ("exactly {amount}", "正好 {amount}"),
    "about": ("about {amount}", "约 {amount}"),
    "between": ("between {low} and {high}", "介于 {low} 与 {high}之间"),
    "estimated": ("about {low} to {high}", "约 {low} 至 {high}"),
    "marked": ("{cost}, an estimate since the vendor reported no usage", "{cost}（厂商未返回用量，此为估算）"),
    "split": (
        "{cost}, since the vendor's counts leave the split of the tokens open", "{cost}（厂商的计数不足以确定各类 token 的数量）",
    ),
    "unknown cost": ("unknown, since the deployment has no known price", "未知（该部署没有已知价格）"),
    "unknown sum": ("an unknown amount", "金额未知"),
    "free": ("nothing", "零"),
    "bill free": ("The whole call cost nothing.", "整次调用未产生费用。"),
    "bill": ("The whole call: {confirmed}.", "整次调用的费用：{confirmed}。"),
    "bill with more": (
        "The whole call: {confirmed} for certain; {possible} more for attempts that may have been charged.",
        "整次调用的费用：可确定的为{confirmed}；另有尝试可能已计费，为{possible}。",
    ),
    "finish": ("Finish: {words} ({reason}).", "结束原因：{words}（{reason}）。"),
    "request id": ("Request id: {value}.", "请求 ID：{value}。"),
    "metadata": ("Metadata: {pairs}.", "元数据：{pairs}。"),
    "join": (", ", "，"),
    "list": ("; ", "；"),
    "then": (", then ", "，其中"),
    "sentence": (" ", ""),
}

# What the router itself writes into a record in English, as it reads in Chinese.
IN_CHINESE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), chinese)
    for pattern, chinese in (
        (r"as written", "按书写顺序"),
        (r"drawn by weight", "按权重抽取"),
        (r"without the knowledge base", "不使用知识库，排在最后"),
        (
            r"knowledge_base: it belongs to the account of (.+); this deployment has another one",
            r"knowledge_base：知识库属于 \1 的账户，此部署使用的是另一个账户",
        ),
        (
            r"dropped: this deployment does not hold the base, and the call may go on without it",
            "已舍弃：此部署没有该知识库，而路由允许不用知识库继续调用",
        ),
        (r"unknown price, so it comes last", "价格未知，故排在最后"),
        (r"not measured yet", "尚无耗时数据"),
        (r"about ([\d.]+) s", r"约 \1 秒"),
        (r"by policy (.+)", r"由策略 \1 排定"),
        (r"by the cost of its group", r"按所在组的费用"),
        (r"by the time of its group", r"按所在组的耗时"),
        (r"about (\d+) input tokens do not fit into its (\d+)", r"输入约 \1 个 token，超出其上限 \2"),
        (r"the route asks for a context of (\d+); its own is not known", r"路由要求上下文至少 \1，而其长度未知"),
        (r"the route asks for a context of (\d+); its own is (\d+)", r"路由要求上下文至少 \1，而其仅为 \2"),
        (r"the route asks for (.+), which it does not have", r"路由要求 \1，而它不具备"),
        (r"left alone for ([\d.]+) s more", r"还需冷却 \1 秒"),
        (r"left alone for ([\d.]+) s more after (.+)", r"因 \2 还需冷却 \1 秒"),
        (r"the breaker is open for ([\d.]+) s more", r"熔断还将持续 \1 秒"),
        (
            r"it could cost up to ([\d.]+); of the budget of (.+) ([\d.]+) is spent and ([\d.]+) reserved",
            r"最多可能花费 \1；预算 \2 已用 \3，已预留 \4",
        ),
        (
            r"its rate limit of (\d+) requests a minute(?:, .+)? is used up for ([\d.]+) s more",
            r"每分钟 \1 次请求的额度已用完，还需 \2 秒",
        ),
        (
            r"its rate limit of (\d+) tokens a minute(?:, .+)? is used up for ([\d.]+) s more",
            r"每分钟 \1 个 token 的额度已用完，还需 \2 秒",
        ),
        (r"a budget is set, and the deployment's price is unknown", "设有预算，而该部署的价格未知"),
        (r"a budget is set, and there is no exchange rate from (\w+) to (\w+)", r"设有预算，而缺少 \1 兑 \2 的汇率"),
        (
            r"the shared store is away \((\w+)\); budgets, rates and breakers are this process's own share",
            r"共享存储不可用（\1），预算、速率与熔断暂按本进程的份额执行",
        ),
        (r"the breaker is open and its one probe is on the way", "熔断中，唯一的试探请求已在途"),
        (r"(\d+) calls are in flight", r"已有 \1 个调用在进行"),
        (r"max_cost is set and the deployment's price is unknown", "设了 max_cost，而该部署价格未知"),
        (r"it could cost up to ([\d.]+), which max_cost does not allow", r"最多可能花费 \1，超出 max_cost"),
        (r"the request is longer than (\d+) bytes", r"请求体超过 \1 字节"),
        (r"the consumer left", "调用方提前离开"),
        (r"(\S+) -> (\S+): the range is (.+)", r"由 \1 改为 \2，取值范围为 \3"),
        (r"dropped: (.+)", r"已舍弃：\1"),
    )
)
