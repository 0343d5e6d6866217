"""Bugs to plant: patches of at most five lines on the built-in providers, as data, with the checks that catch each.

`old` is replaced by `new` in `file` (once); the first of `caught_by` must fail, the others may, no further one does.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One planted bug. `provider` is the one that is asked; `file` is below cnroute/providers."""

    name: str
    provider: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]


D, V2, PRO, LEGACY = "dashscope", "minimax-v2", "minimax-pro", "minimax-legacy"
USAGE, STREAM_USAGE = "test_usage_is_the_vendors_or_unknown", "test_the_usage_of_a_stream_is_the_vendors_or_unknown"
FINISH, STREAM_FINISH = "test_the_finish_reason_is_the_vendors", "test_the_finish_reason_of_a_stream_is_the_vendors"
ANSWER, STREAM = "test_an_answer_is_what_its_sample_expects", "test_a_stream_is_what_its_sample_expects"
SAME = "test_a_stream_says_the_same_as_the_plain_answer"
WRONG_FIELD, WRONG_FRAME = "test_a_missing_or_wrong_field_crashes_nothing", "test_a_missing_or_wrong_field_of_a_frame_crashes_nothing"
FUZZ, BYTES = "test_mutated_samples_crash_nothing", "test_random_bytes_crash_nothing"
KEY, REQUEST = "test_the_key_is_in_a_header_and_nowhere_else", "test_a_request_is_what_the_samples_expect"
PARAMETERS, TOGETHER = "test_every_parameter_is_sent_or_refused_by_name", "test_parameters_do_not_push_each_other_aside"
MESSAGES, ROLE, TURNS = "test_every_message_is_sent_once_and_in_order", "test_the_role_of_a_message_is_sent", "test_tool_turns_are_sent"
ERROR, IN_200 = "test_an_error_is_what_its_sample_expects", "test_an_error_in_a_200_is_seen_by_map_error"
EVERY_STATUS, USUAL = "test_map_error_answers_for_every_status_and_body", "test_a_status_without_a_code_has_its_usual_kind"
NO_ANSWER = "test_a_body_that_is_no_answer_is_a_failure"
WRONG_ERROR = "test_a_missing_or_wrong_field_of_an_error_crashes_nothing"
AFTER, REPEATED, CUT_SHORT = "test_what_comes_after_the_finish_is_kept", "test_a_repeated_last_frame_adds_nothing", "test_a_cut_stream_has_no_finish"
ONE_FINISH, KEEP_ALIVE = "test_exactly_one_finish_comes_out", "test_keep_alives_and_comments_give_nothing"
CUTS, MIXED = "test_a_stream_is_the_same_however_its_bytes_are_cut", "test_interleaved_streams_do_not_mix"
BROKE_OFF = "test_a_stream_that_broke_off_leaves_nothing_behind"
IN_BAND, UNKNOWN = "test_an_error_inside_a_stream_is_a_failure", "test_unknown_fields_are_ignored_and_kept_in_raw"
UNKNOWN_STREAM = "test_unknown_fields_and_lines_are_ignored"
STATE, THREADS, PURE = "test_nothing_is_remembered_between_calls", "test_many_threads_give_the_same_results", "test_hooks_touch_nothing_of_the_world"
SAME_BYTES, ELSEWHERE, IMPORT = (
    "test_the_same_call_gives_the_same_bytes", "test_another_process_sends_the_same_bytes", "test_importing_it_has_no_side_effect"
)  # fmt: skip
PICKLE, UNCHANGED, OWN = (
    "test_results_events_and_failures_pickle_and_copy", "test_the_call_and_the_deployment_stay_unchanged",
    "test_a_request_belongs_to_its_call_alone",
)  # fmt: skip
BASE, MODEL, EXTRA = "test_the_base_url_is_kept", "test_the_deployments_model_goes_on_the_wire", "test_extra_reaches_the_wire"
CAPABILITIES, STREAMS, ASKED = (
    "test_capabilities_are_what_the_provider_does", "test_a_provider_that_streams_says_so", "test_a_stream_is_asked_for"
)  # fmt: skip
OPTION, URL_OPTION, DESCRIBED = (
    "test_every_option_that_is_set_does_something", "test_options_stay_where_they_belong", "test_describe_provider_is_complete"
)  # fmt: skip
ODD, JSON_BODY, SENDER, PICTURE = (
    "test_a_megabyte_and_odd_characters_are_sent", "test_the_body_is_json_in_utf_8", "test_a_senders_name_is_not_lost",
    "test_parts_that_are_no_text_are_sent_or_refused",
)  # fmt: skip
RETRY, SUCCESS, NO_KEY, PRICES = (
    "test_retry_after_is_kept", "test_success_is_never_a_failure", "test_no_key_gets_into_a_failure",
    "test_prices_have_a_currency_and_a_date",
)  # fmt: skip
BESIDE, NEW_CODE = "test_text_beside_the_finish_is_kept", "test_a_code_that_nobody_knows_leaves_the_kind_to_the_status"
EVERY_CALL = "test_every_tool_call_of_an_answer_comes_out"
TRUTH = "test_a_failure_tells_the_truth"
TEXTS_OF_ANSWER = "test_texts_of_an_answer_come_through_unchanged"
TEXTS, TWICE = "test_texts_of_a_stream_come_through_unchanged", "test_the_same_chunk_twice_is_text_twice"
LONG_STREAM, LONG_LINE, LONG_ERROR = (
    "test_a_long_stream_costs_no_more_than_its_length", "test_a_long_line_costs_no_more_than_its_length",
    "test_a_huge_error_is_read_in_time",
)  # fmt: skip

MUTANTS: tuple[Mutant, ...] = (
    # -- requests
    Mutant("key in the URL", D, "dashscope/request.py", 'f"{deployment.base_url}{_PATH}", merged', 'f"{deployment.base_url}{_PATH}?key={deployment.api_key.reveal()}", merged', (KEY, REQUEST, "test_no_refusal_holds_the_key")),
    Mutant("key in the body", LEGACY, "minimax/base.py", 'HttpRequest.post_json(url, body, bearer', 'HttpRequest.post_json(url, {**body, "key": deployment.api_key.reveal()}, bearer', (KEY, REQUEST)),
    Mutant("key not sent", V2, "minimax/base.py", "bearer=deployment.api_key, adjusted", "adjusted", (KEY,)),
    Mutant("key shown by repr", D, "dashscope/request.py", 'headers = {"X-DashScope-SSE": "enable", "Accept": "text/event-stream"} if stream else {}', 'headers = {"X-DashScope-SSE": "enable"} if stream else {}\n    headers["X-Key"] = deployment.api_key.reveal()', (KEY,)),
    Mutant("an option in the URL that nobody declared", PRO, "minimax/base.py", "frozenset(capabilities), tuple(known_models(name).values()), required, required", "frozenset(capabilities), tuple(known_models(name).values()), required", (URL_OPTION,)),
    Mutant("drops the option group_id", PRO, "minimax/base.py", "path, GroupId=str(group))", 'path, GroupId="1700000000000000019")', (OPTION,)),
    Mutant("drops the option workspace", D, "dashscope/request.py", 'workspace = deployment.options.get("workspace")', "workspace = None", (OPTION,)),
    Mutant("drops stop", D, "dashscope/request.py", '    "stop": _stop,\n', "", (PARAMETERS, REQUEST)),
    Mutant("drops seed", D, "dashscope/request.py", '_SIMPLE = ("seed", "tool_choice")', '_SIMPLE = ("tool_choice",)', (PARAMETERS, REQUEST)),
    Mutant("drops tool_choice", V2, "minimax/v2/request.py", 'return {"tool_choice": request.tool_choice}', "return {}", (PARAMETERS,)),
    Mutant("drops max_tokens in streams", PRO, "minimax/pro/request.py", "    _check_extra(request, stream)\n", '    _check_extra(request, stream)\n    body = {k: v for k, v in body.items() if not (stream and k == "tokens_to_generate")}\n', (PARAMETERS, TOGETHER, REQUEST)),
    Mutant("clamps temperature in silence", V2, "minimax/base.py", '_unit(page).fit("temperature", request.temperature, adjusted)', 'min(request.temperature, 0.3)', (PARAMETERS, REQUEST, TOGETHER)),
    Mutant("does not refuse what it cannot send", LEGACY, "minimax/legacy.py", '    "web_search": f"plugins belong to minimax-pro ({PAGE})",\n', "", (PARAMETERS, CAPABILITIES)),
    Mutant("refuses under another name", PRO, "minimax/base.py", "raise UnsupportedRequestError(parameter, reason)", 'raise UnsupportedRequestError("messages", reason)', (PARAMETERS, "test_flags_are_what_the_provider_does")),
    Mutant("knowledge base id as a float", PRO, "minimax/base.py", '{"knowledge_base_id": base.id}', '{"knowledge_base_id": float(base.id)}', (PARAMETERS, TOGETHER)),
    Mutant("body differs each time", D, "dashscope/request.py", '"parameters": parameters}', '"parameters": parameters, "id": __import__("uuid").uuid4().hex}', (SAME_BYTES, REQUEST, ELSEWHERE)),
    Mutant("call mutated", V2, "minimax/base.py", 'body = merged(body, request.extra)', 'body = merged(request.extra, body)', (UNCHANGED, EXTRA)),
    Mutant("a note in the deployment's options", D, "dashscope/request.py", 'workspace = deployment.options.get("workspace")', 'workspace = deployment.options.get("workspace")\n    deployment.options["calls"] = 1', (UNCHANGED,)),
    Mutant("headers shared between calls", D, "dashscope/request.py", "def _headers(deployment: Deployment, stream: bool) -> dict[str, str]:\n    headers = {", "def _headers(deployment: Deployment, stream: bool, headers={}) -> dict[str, str]:\n    headers |= {", (ELSEWHERE, REQUEST, SAME_BYTES, STATE)),
    Mutant("role lost", D, "dashscope/request.py", '{"role": message.role, "content"', '{"role": "user", "content"', (ROLE, REQUEST)),
    Mutant("system message lost", LEGACY, "minimax/base.py", 'return "\\n".join(text for text in texts if text) or NEUTRAL_PROMPT', "return NEUTRAL_PROMPT", (MESSAGES, REQUEST)),
    Mutant("only the last system message", PRO, "minimax/base.py", 'return "\\n".join(text for text in texts if text) or', 'return "".join(texts[-1:]) or', (MESSAGES,)),
    Mutant("history in reverse", V2, "minimax/v2/request.py", "for message in request.messages]", "for message in request.messages[::-1]]", (MESSAGES, REQUEST)),
    Mutant("texts stripped", D, "dashscope/request.py", '"content": message.content if usual else message.text}', '"content": message.text.strip()}', (MESSAGES,)),
    Mutant("pictures left out", LEGACY, "minimax/base.py", "    if not message.only_text:\n", "    if False:\n", (PICTURE,)),
    Mutant("a sender's name left out", V2, "minimax/v2/request.py", '        fields["name"] = message.name\n', "        pass\n", (SENDER,)),
    Mutant("a result without its call", D, "dashscope/request.py", 'fields["tool_call_id"] = message.tool_call_id', 'fields["tool_call_id"] = "call"', (TURNS,)),
    Mutant("crashes on a lone surrogate", PRO, "minimax/pro/messages.py", '"sender_name": name, "text": text}', '"sender_name": name, "text": text.encode("utf-8").decode()}', (ODD, JSON_BODY)),
    Mutant("path prefix of the base URL lost", D, "dashscope/request.py", 'f"{deployment.base_url}{_PATH}"', 'f"https://{deployment.base_url.split(chr(47))[2]}/api/v1{_PATH}"', (BASE,)),
    Mutant("base URL ignored", V2, "minimax/base.py", "return (deployment.base_url or BASE_URL) + path", "return BASE_URL + path", (BASE,)),
    Mutant("sends the caller's model", V2, "minimax/v2/request.py", '{"model": deployment.model, "messages"', '{"model": request.model, "messages"', (MODEL, REQUEST)),
    Mutant("never asks for a stream", D, "dashscope/request.py", '            parameters["incremental_output"] = True\n', "            pass\n", (REQUEST, STREAM, SAME)),
    Mutant("asks for a stream always", V2, "minimax/v2/request.py", 'body["stream"] = stream', 'body["stream"] = True', (ASKED, REQUEST)),
    Mutant("extra lost in streams", LEGACY, "minimax/legacy.py", "    return posted(group", '    request = request.with_values({"extra": {}}) if stream else request\n    return posted(group', (EXTRA,)),
    Mutant("extra replaces objects", D, "dashscope/request.py", "merged(body, _allowed(request.extra))", "{**body, **_allowed(request.extra)}", (REQUEST, STREAM)),
    # -- answers
    Mutant("usage ignored", D, "dashscope/reply.py", 'usage=usage_of(body.get("usage"))', "usage=None", (USAGE, SAME)),
    Mutant("usage invented as 0", V2, "minimax/answers.py", "    if not isinstance(usage, dict) or not any(map(usage.get, _COUNTS)):\n        return None", "    if not isinstance(usage, dict) or not any(map(usage.get, _COUNTS)):\n        return Usage(0, 0, 0)", (STREAM_USAGE, USAGE)),
    Mutant("missing half of usage is 0", D, "dashscope/reply.py", "return usage_from(given, made,", "return usage_from(given or 0, made or 0,", (USAGE, STREAM_USAGE)),
    Mutant("half of usage is 0 under no total", V2, "minimax/answers.py", "    return Usage(given, made, total or None, cached, reasoning)", "    return Usage(given or 0, made or 0, None, cached, reasoning)", (USAGE, STREAM_USAGE)),
    Mutant("no usage object is zeros", D, "dashscope/reply.py", "    if not isinstance(usage, dict):\n        return None\n    given, made, total", "    if not isinstance(usage, dict):\n        return Usage(0, 0, 0)\n    given, made, total", (USAGE, STREAM_USAGE)),
    Mutant("input and output change places", V2, "minimax/answers.py", 'token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))', 'token_count(usage.get("completion_tokens")), token_count(usage.get("prompt_tokens"))', (USAGE, STREAM_USAGE)),
    Mutant("finish reason always stop", PRO, "minimax/answers.py", "    word = _FINISH.get(mark) if", '    return "stop"\n    word = _FINISH.get(mark) if', (FINISH, STREAM_FINISH, STREAM)),
    Mutant("unknown finish reason is stop", LEGACY, "minimax/answers.py", "    word = _FINISH.get(mark) if", '    word = _FINISH.get(mark, "stop") if', (FINISH, STREAM_FINISH)),
    Mutant("null becomes text", V2, "minimax/answers.py", "    if isinstance(content, str):\n        return content\n", "    if not isinstance(content, list):\n        return str(content)\n", (WRONG_FIELD, WRONG_FRAME, TEXTS_OF_ANSWER)),
    Mutant("KeyError on a missing field", D, "dashscope/reply.py", 'id=text_or_none(body.get("request_id"))', 'id=text_or_none(body["request_id"])', (WRONG_FIELD, FUZZ)),
    Mutant("TypeError on null choices", V2, "minimax/v2/reply.py", '    if not isinstance(choices, list):\n        return []\n', '', (WRONG_FIELD, NO_ANSWER, ERROR, WRONG_ERROR, FUZZ, BYTES)),
    Mutant("an empty object is an answer", PRO, "minimax/pro/reply.py", "    if text is None and not calls:\n", "    if False:\n", (NO_ANSWER,)),
    Mutant("an error in a 200 missed", V2, "minimax/codes.py", '    data = response.json_or_none()\n    if isinstance(data, dict):\n        return failure_in', '    data = response.json_or_none()\n    if response.status == 200:\n        return None\n    if isinstance(data, dict):\n        return failure_in', (IN_200, ERROR)),
    Mutant("request id lost", LEGACY, "minimax/legacy.py", "request_id=request_id_of(data) or header", "request_id=header", (ANSWER, SAME)),
    Mutant("an unknown field refused", D, "dashscope/reply.py", "    if not isinstance(output, dict):\n        raise", '    if not isinstance(output, dict) or set(body) - {"output", "usage", "request_id"}:\n        raise', (UNKNOWN,)),
    Mutant("a result that does not pickle", V2, "minimax/v2/reply.py", 'if len(answers) > 1 else (), data,', 'if len(answers) > 1 else (), memoryview(response.body),', (PICKLE, UNKNOWN)),
    Mutant("arguments of a call parsed", V2, "minimax/answers.py", '        return value or ""\n', '        return str(loads(value)) if value and value[0] == "{" else value or ""\n', (ANSWER, SAME)),
    Mutant("only the first tool call", D, "dashscope/reply.py", "for position, call in enumerate(calls))", "for position, call in enumerate(calls[:1]))", (EVERY_CALL, ANSWER, SAME)),
    # -- streams
    Mutant("state shared between streams", D, "dashscope/stream.py", "    memory = state.memory\n", "    memory = vars(_begun)\n", (MIXED, STREAM, SAME, THREADS, BROKE_OFF, STATE)),
    Mutant("last text remembered in the module", LEGACY, "minimax/legacy.py", '    state.memory["text"] = True\n', '    state.memory["text"] = True\n    _SENDERS["last"] = delta\n', (STATE,)),
    Mutant("half an event kept in the module", V2, "minimax/frames.py", "sse_data(line, memory)", "sse_data(line, vars(failure_in))", (BROKE_OFF, STATE, SAME, MIXED, IN_BAND, THREADS)),
    Mutant("answers kept by their id", D, "dashscope/reply.py", 'id=text_or_none(body.get("request_id"))', 'id=vars(usage_of).setdefault(str(body.get("request_id")), text_or_none(body.get("request_id")))', (STATE,)),
    Mutant("stops at the first finish", V2, "minimax/v2/stream.py", '    alike = state.memory.get("alike")\n', '    alike = state.memory.get("alike")\n    if "end" in state.memory:\n        return ()\n', (AFTER, STREAM_USAGE, SAME, IN_BAND)),
    Mutant("last frame appended twice", V2, "minimax/v2/stream.py", "events += _content(_only_missing(message, state.memory), state)", "events += _content(message, state)", (STREAM, SAME, AFTER, REPEATED, BESIDE)),
    Mutant("a repeated frame adds text", V2, "minimax/frames.py", '    if "end" in memory and line == memory["end"]:\n        return ()\n', "", (REPEATED,)),
    Mutant("text lost behind a keep-alive", V2, "minimax/frames.py", "    memory = state.memory\n", '    memory = state.memory\n    if line.startswith(":") or memory.pop("quiet", False):\n        memory["quiet"] = line.startswith(":") or not line\n        return ()\n', (KEEP_ALIVE, IN_BAND)),
    Mutant("finish made up at the end", D, "dashscope/stream.py", '        state.quiet = _QUIET\n    only = stream.only if state.quiet else None\n', '        globals()["_QUIET"] = state.quiet = _NONE\n    blank, memory["blank"] = memory.get("blank"), not line\n    if not line and blank and stream.answers and stream.last is None:\n        return setattr(stream, "last", {}) or (__import__("cnroute").Finish("stop"),)\n    only = None\n', (CUT_SHORT, STREAM_FINISH, CUTS, KEEP_ALIVE, IN_BAND, UNKNOWN_STREAM)),
    Mutant("Finish twice", V2, "minimax/frames.py", '    if mark is None or "end" in state.memory:\n', "    if mark is None:\n", (ONE_FINISH,)),
    Mutant("an error inside a stream swallowed", D, "dashscope/stream.py", "        if failure is not None:\n            return (failure,)\n", "        if failure is not None:\n            return ()\n", (IN_BAND,)),
    Mutant("an error only before the text", LEGACY, "minimax/frames.py", 'if "base_resp" in frame or "error" in frame else None', 'if "base_resp" in frame and "text" not in state.memory else None', (IN_BAND, STREAM)),
    Mutant("usage added up", V2, "minimax/frames.py", "    state.memory[\"usage\"] = usage\n    return [UsageUpdate(usage)]", '    before = state.memory.get("usage")\n    state.memory["usage"] = usage\n    return [UsageUpdate(type(usage)(None, None, usage.total_tokens + (before.total_tokens if before else 0)))]', (STREAM_USAGE, SAME, AFTER)),
    Mutant("text beside the end mark lost", D, "dashscope/stream.py", '    message = row.get("message")\n    if type(message) is dict:\n', '    message = row.get("message") if row.get("finish_reason") in ("null", None) else None\n    if type(message) is dict:\n', (BESIDE, STREAM, SAME)),
    Mutant("all tool calls are one", D, "dashscope/stream.py", "ToolCallDelta(piece.index, call.id", "ToolCallDelta(0, call.id", (STREAM,)),
    Mutant("reasoning shown as text", D, "dashscope/stream.py", "        events.append(ReasoningDelta(new))", "        events.append(TextDelta(new))", (STREAM, BESIDE)),
    Mutant("only ASCII text comes through", LEGACY, "minimax/legacy.py", "    return [TextDelta(delta)]", '    return [TextDelta(delta.encode("ascii", "ignore").decode())]', (STREAM, SAME, IN_BAND, TEXTS)),
    Mutant("needs empty lines between frames", D, "dashscope/stream.py", "    value = sse_data(line, memory)\n", '    fresh = memory.pop("fresh", True)\n    memory["fresh"] = line == "" or not line.startswith("data:") and fresh\n    value = sse_data(line, memory) if fresh or not line.startswith("data:") else NOTHING\n', (STREAM, SAME, AFTER, IN_BAND)),
    Mutant("KeyError in a frame", PRO, "minimax/pro/stream.py", '    mark = choice.get("finish_reason")\n', '    mark = choice.get("finish_reason") and frame["reply"] is not None and choice["finish_reason"]\n', (WRONG_FRAME, FUZZ)),
    Mutant("a long stream costs its square", D, "dashscope/stream.py", "        only.text.append(said)\n", "        only.text.append(said)\n        sum(map(len, only.text))\n", (LONG_STREAM,)),
    Mutant("equal chunks taken for one", LEGACY, "minimax/legacy.py", '    state.memory["text"] = True\n    return [TextDelta(delta)]', '    again = state.memory.get("text") == delta\n    state.memory["text"] = delta\n    return [] if again else [TextDelta(delta)]', (TWICE,)),
    Mutant("chunks stripped", PRO, "minimax/pro/stream.py", "    return TextDelta(text)", "    return TextDelta(text.strip())", (TEXTS, STREAM, SAME, IN_BAND)),
    Mutant("temperature 0 taken for none", D, "dashscope/request.py", "        if value is None or (name", '        if value in (None, 0) and value is not False or (name', (PARAMETERS,)),
    # -- errors
    Mutant("an unknown code is a bad request", D, "dashscope/codes.py", "    if known is None:\n        return (by", "    if known is None and code:\n        return K.BAD_REQUEST\n    if known is None:\n        return (by", (NEW_CODE, IN_BAND, ERROR)),
    Mutant("429 mapped to a bad request", D, "dashscope/codes.py", "    found = _error_body(response)\n", '    if response.status == 429:\n        return Failure(K.BAD_REQUEST, "too many", http_status=429)\n    found = _error_body(response)\n', (USUAL, ERROR, NEW_CODE)),
    Mutant("429 as a server error", V2, "minimax/codes.py", '"1002": K.RATE_LIMIT', '"1002": K.SERVER_ERROR', (ERROR,)),
    Mutant("5xx swallowed", D, "dashscope/codes.py", "    found = _error_body(response)\n", "    if response.status >= 500:\n        return None\n    found = _error_body(response)\n", (ERROR,)),
    Mutant("HTML crashes map_error", D, "dashscope/codes.py", "    except ResponseError:\n        return next", "    except KeyError:\n        return next", (EVERY_STATUS, ERROR, USUAL, NO_ANSWER)),
    Mutant("vendor code as HTTP status", V2, "minimax/codes.py", "        http_status=status,\n        request_id=request_id_of(data) or header_request_id(headers),\n        retry", '        http_status=int(complaint.code) if (complaint.code or "").isdigit() else status,\n        request_id=request_id_of(data) or header_request_id(headers),\n        retry', (TRUTH,)),
    Mutant("Retry-After of the body lost", D, "dashscope/codes.py", "retry_after=waits if waits is not None else header", "retry_after=header", (ERROR,)),
    Mutant("Retry-After of the header lost", V2, "minimax/codes.py", "        retry_after=header_retry_after(headers),\n", "", (ERROR,)),
    Mutant("Retry-After made up", PRO, "minimax/codes.py", "        retry_after=header_retry_after(headers),\n", "        retry_after=header_retry_after(headers) or 1,\n", (RETRY,)),
    Mutant("GroupId in a message", PRO, "minimax/codes.py", "    return text[:300] + _REGION_HINT if", '    text += str(deployment.options.get("group_id"))\n    return text[:300] + _REGION_HINT if', (TRUTH,)),
    Mutant("success taken for a failure", LEGACY, "minimax/codes.py", '    return text if text.strip("0") else None', "    return text", (SUCCESS, ANSWER, UNKNOWN, STREAM, SAME, ERROR)),
    # -- behaviour and data
    Mutant("claims what it refuses", D, "dashscope/__init__.py", '"web_search", "reasoning"))', '"web_search", "reasoning", "streams"))', (DESCRIBED,)),
    Mutant("hides a capability", V2, "minimax/v2/__init__.py", '"json", "web_search", "reasoning")', '"json", "reasoning")', (CAPABILITIES,)),
    Mutant("prints", LEGACY, "minimax/legacy.py", "    ranked = _ranked(data)\n", '    ranked = _ranked(data)\n    print(end=".")\n', (PURE,)),
    Mutant("sleeps", V2, "minimax/v2/request.py", "    _check_reasoning(request.reasoning, deployment.model)\n", "    __import__('time').sleep(0.001)\n    _check_reasoning(request.reasoning, deployment.model)\n", (PURE,)),
    Mutant("reads the environment", D, "dashscope/request.py", 'inspection = deployment.options.get("data_inspection")', 'inspection = __import__("os").environ.get("INSPECTION") or deployment.options.get("data_inspection")', (PURE,)),
    Mutant("starts a thread at import", LEGACY, "minimax/base.py", '_OWN_FIELDS = (', 'import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n_OWN_FIELDS = (', (IMPORT,)),
)  # fmt: skip
