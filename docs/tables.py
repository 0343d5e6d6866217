"""Writes the tables of these pages from the code and from what was measured: no page says what is no longer so.

`python docs/tables.py` rewrites what stands between `<!-- table: NAME -->` and `<!-- end of table -->` in every page and
in benchmarks/README.md; `tests/docs/test_tables.py` fails when that would change anything.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cnroute import hookspecs, wire
from cnroute.chat import ChatRequest, KnowledgeBase, Message
from cnroute.deployments import Deployment
from cnroute.emulator import FAULTS
from cnroute.errors import UnsupportedRequestError, error_for
from cnroute.failures import Failure, FailureKind
from cnroute.observe.words import FAILURES
from cnroute.plugins import PluginHost
from cnroute.routing.fallback import TABLE, Rule
from cnroute.testing.contract import CHECKS

PAGES = Path(__file__).parent
PLACE = re.compile(r"(<!-- table: (?P<name>[\w -]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    names = head.split(" | ")
    lines = [f"| {head} |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# -- failures


def kinds() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for kind in FailureKind:
            failure = Failure(kind)
            english, chinese = FAILURES[kind.value]
            yield f"`{kind}`", f"`{type(error_for(failure)).__name__}`", english, chinese, failure.billing

    return table("kind | error | meaning | 含义 | may have cost money", rows())


_AGAIN = {"no": "no", "once": "once: nothing was sent", "if_last": "only if no other is left and the wait fits"}
_NEXT = {
    "no": "no",
    "yes": "yes",
    "larger": "only where a larger limit is known",
    "listed": "only if the route's `fallback_on` names it",
}


def after_a_failure() -> str:
    grouped: dict[Rule, list[str]] = {}
    for kind, rule in TABLE.items():
        grouped.setdefault(rule, []).append(f"`{kind}`")
    return table(
        "failure | same deployment again | next deployment | breaker and cool-down | logged as an error",
        (
            (" ".join(names), _AGAIN[rule.again], _NEXT[rule.next], _breaker(rule), "yes" if rule.alarm else "")
            for rule, names in grouped.items()
        ),
    )


def _breaker(rule: Rule) -> str:
    if rule.throttled:
        return "cooled down by Retry-After, else growing"
    if rule.cooldown:
        return f"cooled down for {rule.cooldown:g} s"
    return "counts" if rule.counts else ""


# -- the emulator


def faults() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for fault in FAULTS.values():
            word = re.match(r"\w*", fault.parameter)
            name = f"`{fault.name}`" + (f" `:{word[0]}`" if word and word[0] else "")
            where = {"both": "", "plain": "plain", "stream": "streams", "connection": "connections"}[fault.applies]
            yield name, where, f"{fault.description}{f' ({fault.parameter})' if fault.parameter else ''}"

    return table("fault | only for | what it does", rows())


# -- providers

PROVIDERS = {
    "dashscope": "qwen-plus",
    "minimax-v2": "MiniMax-Text-01",
    "minimax-pro": "abab6.5s-chat",
    "minimax-legacy": "abab5.5-chat",
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CITY = {"type": "object", "properties": {"name": {"type": "string"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("temperature=0.5", {"temperature": 0.5}),
    ("temperature=0", {"temperature": 0}),
    ("temperature=1.5", {"temperature": 1.5}),
    ("top_p=1", {"top_p": 1}),
    ("max_tokens=256", {"max_tokens": 256}),
    ('stop=["。"]', {"stop": ("。",)}),
    ("seed=7", {"seed": 7}),
    ("tools=[...]", {"tools": (TOOL,)}),
    ('tool_choice="auto"', {"tools": (TOOL,), "tool_choice": "auto"}),
    ('tool_choice="required"', {"tools": (TOOL,), "tool_choice": "required"}),
    ('response_format={"type": "json_object"}', {"response_format": {"type": "json_object"}}),
    ('response_format={"type": "json_schema", ...}', {"response_format": SCHEMA}),
    ("reasoning=True", {"reasoning": True}),
    ("reasoning=1024", {"reasoning": 1024}),
    ("web_search=True", {"web_search": True}),
    ("knowledge_base=863831823174049792", {"knowledge_base": KnowledgeBase(863831823174049792)}),
)
LONGEST = 90


def facts() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name in PROVIDERS:
            info = PluginHost(autoload=False).provider(name).info
            yield f"`{name}`", f"`{info.base_url}`", *(
                " ".join(f"`{each}`" for each in sorted(words)) for words in (info.env.values(), info.capabilities)
            )

    return table("provider | API root | environment | capabilities", rows())


def options(name: str) -> str:
    info = PluginHost(autoload=False).provider(name).info
    rows = ((f"`{option}`", meaning, "yes" if option in info.required else "") for option, meaning in info.options.items())
    return table("option | meaning | required", rows)


def becomes(provider: str, model: str) -> str:
    """What each neutral parameter becomes in the body, found by asking `build_request`."""
    hooks = PluginHost(autoload=False).provider(provider)
    needed = dict.fromkeys(hooks.info.required, "1700000000000000000")
    deployment = Deployment("docs", provider, model, api_key="sk-docs", base_url=hooks.info.base_url, options=needed)

    def rows() -> Iterator[tuple[str, ...]]:
        for label, arguments in ASKED:
            base = {"tools": (TOOL,)} if "tool_choice" in arguments else {}
            try:
                plain = _body(hooks.build_request, deployment, base)
                sent = _body(hooks.build_request, deployment, arguments)
            except UnsupportedRequestError as refused:
                yield f"`{label}`", f"refused: {refused.reason}"
            else:
                yield f"`{label}`", " ".join(f"`{part}`" for part in _difference(plain, sent)) or "nothing to send"

    return table("parameter | becomes", rows())


def _body(build: Callable[..., Any], deployment: Deployment, arguments: dict[str, Any]) -> dict[str, Any]:
    request = ChatRequest((Message("user", "Answer in JSON: 你好"),), deployment.model, **arguments)
    body: dict[str, Any] = json.loads(build(request, deployment, False).body)
    return body


def _difference(before: Any, after: Any, path: str = "") -> Iterator[str]:
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from _difference(old, value, f"{path}{key}.")
        elif value != old:
            text = json.dumps(value, ensure_ascii=False)
            yield f"{path}{key}: {text if len(text) <= LONGEST else '[...]' if isinstance(value, list) else '{...}'}"


# -- measured


RECORD = PAGES.parent / "benchmarks" / "recorded.json"


def recorded() -> Any:
    return json.loads(RECORD.read_text("utf-8"))


def machine() -> str:
    return f"{recorded()['machine']}.\n"


def tokens() -> str:
    """How far the estimate is from a vocabulary, by kind of text (benchmarks/tokens.py)."""
    kinds = json.loads((PAGES.parent / "benchmarks" / "tokens.json").read_text("utf-8"))["rows"]
    return table(
        "text | passages, tokens | estimate / count | mean error, largest | after a model's own counts",
        (
            (kind, f"{row['texts']}, {row['tokens']}", f"{row['ratio']:.2f}", f"{row['error']} %, {row['largest']} %",
             f"{row['corrected']} %, {row['largest_corrected']} %")
            for kind, row in kinds.items()
        ),
    )  # fmt: skip


def gates() -> str:
    """The rows of the gates with what was measured."""

    def rows() -> Iterator[tuple[str, ...]]:
        for row in recorded()["rows"]:
            measured = f"{row['measured']} {row['unit']}".strip()
            yield (row["what"], measured, row["spread"], row["must"], row["proud"], row["verdict"])

    return table("what | measured | spread | must | proud of | verdict", rows())


def figures() -> str:
    """Every figure that the scripts print."""

    def rows() -> Iterator[tuple[str, ...]]:
        for figure in recorded()["figures"]:
            values = figure["values"]
            yield (figure["name"], f"{figure['value']:.3g} {figure['unit']}".strip(), f"{min(values):.3g} to {max(values):.3g}")

    return table("figure | median | spread", rows())


def peers() -> str:
    """A line for each peer; its cost in U and against cnroute, measured in the same process."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, document in recorded()["peers"].items():
            by_name = {figure["name"]: figure for figure in document["figures"]}
            cells = [_measured(by_name[f"{what}, {side}"]) for what in ("call", "chunk") for side in PEER_COLUMNS]
            yield (name, *cells)

    sides = ("U", "cnroute, U", "against cnroute")
    heads = [f"a {what}, {side}" for what in ("call", "chunk") for side in sides]
    return table(" | ".join(["peer", *heads]), rows())


PEER_COLUMNS = ("peer", "cnroute", "peer against cnroute")


def _measured(figure: Any) -> str:
    return f"{figure['value']:.3g} ({min(figure['values']):.3g} to {max(figure['values']):.3g})"


def peer_versions() -> str:
    lines = [f"- {name}: {document['machine']}" for name, document in recorded()["peers"].items()]
    return "\n".join(lines) + "\n"


def vendors() -> str:
    """The rows of plugins/cnroute-openai-compatible, which need not be installed for that."""
    sys.path.insert(0, str(PAGES.parent / "plugins/cnroute-openai-compatible/src"))
    try:
        from cnroute_openai_compatible import VENDORS
    finally:
        del sys.path[0]

    def rows() -> Iterator[tuple[str, ...]]:
        for vendor in VENDORS.values():
            priced = [f"`{model.name}`" + (" (¥)" if model.price else "") for model in vendor.models]
            key = f"`{vendor.key}`" if vendor.key else "none is needed"
            words = " ".join(f"`{word}`" for word in sorted(vendor.capabilities()))
            yield f"`{vendor.name}`", f"`{vendor.base_url}`", key, words, " ".join(priced) or "any"

    return table("provider | API root | key | capabilities | models that are known, with ¥ where the price is", rows())


# -- plugins


def hooks() -> str:
    """Every hook of the specs, with its arguments and what it returns."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, spec in _specs():
            signature = inspect.signature(spec)
            takes = " ".join(f"`{argument}`" for argument in signature.parameters) or "nothing"
            shared = "the first answer wins" if spec.cnroute_spec["firstresult"] else "all are asked"
            asked = shared if not name.startswith(_OF_PROVIDERS) else "the deployment's provider"
            promise = (inspect.getdoc(spec) or "").partition("\n\n")[0].replace("\n", " ")
            yield f"`{name}`", takes, f"`{signature.return_annotation}`", asked, promise

    return table("hook | takes | returns | whose answer | what it does", rows())


_OF_PROVIDERS = ("describe_", "build_", "map_", "parse_", "count_")


def _specs() -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(hookspecs).items() if hasattr(value, "cnroute_spec")]


def wire_helpers() -> str:
    """What `cnroute.wire` is for, by name; its values are told here, since they have no docstring of their own."""
    values = {"DONE": "What `sse_data` gives for `[DONE]`.", "NOTHING": "What `sse_data` gives for a line that carries no value."}

    def rows() -> Iterator[tuple[str, ...]]:
        for name in sorted(wire.__all__, key=str.lower):
            told = values.get(name) or (inspect.getdoc(getattr(wire, name)) or "")
            yield f"`{name}`", told.partition("\n\n")[0].replace("\n", " ")

    return table("name | what it does", rows())


# -- the contract


def checks() -> str:
    return table("group | check | promise", ((each.group, f"`{each.name}`", each.promise) for each in CHECKS.values()))


TABLES: dict[str, Callable[[], str]] = {
    "kinds": kinds,
    "after a failure": after_a_failure,
    "faults": faults,
    "providers": facts,
    "checks": checks,
    "hooks": hooks,
    "wire": wire_helpers,
    "machine": machine,
    "tokens": tokens,
    "gates": gates,
    "figures": figures,
    "peers": peers,
    "peer versions": peer_versions,
    "vendors": vendors,
    **{f"options {name}": (lambda name=name: options(name)) for name in PROVIDERS},  # type: ignore[misc]
    **{f"parameters {name}": (lambda name=name, model=model: becomes(name, model)) for name, model in PROVIDERS.items()},  # type: ignore[misc]
    "parameters yi": lambda: becomes("dashscope", "yi-large"),
}


def rendered(text: str) -> str:
    """A page's text with every table as the code has it now."""
    return PLACE.sub(lambda match: f"{match[1]}{TABLES[match['name']]()}{match[3]}", text)


def main() -> int:
    for page in (*sorted(PAGES.glob("*.md")), PAGES.parent / "benchmarks" / "README.md"):
        old = page.read_text("utf-8")
        new = rendered(old)
        if new != old:
            page.write_text(new, "utf-8")
            print(page.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
