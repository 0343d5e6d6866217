"""`cnroute chat`: one question, the answer as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import click

import cnroute
from cnroute.cli.calling import arguments_of, lang_option, messages_of, open_router, with_call_options
from cnroute.cli.failing import error_document, exit_code, say
from cnroute.cli.output import harmless, print_json, with_output_options


@click.command(short_help="Ask a route, a deployment or a model, and print the answer as it arrives.")
@click.argument("text")
@with_call_options
@click.option("--no-stream", is_flag=True, help="Wait for the whole answer.")
@click.option("--explain", is_flag=True, help="Say on stderr what was tried and what it cost.")
@lang_option
@with_output_options
def chat(text: str, model: str, config: str | None, system: str | None, no_stream: bool, explain: bool, lang: str,
         as_json: bool, no_color: bool, **options: Any) -> None:  # fmt: skip
    """Ask MODEL the TEXT (- reads it from standard input). The answer alone goes to stdout."""
    arguments = arguments_of(options)
    with open_router(config) as router:
        messages = messages_of(text, system)
        ask = _whole if no_stream else _streamed
        try:
            reply = ask(router, messages, model, arguments, as_json)
        except cnroute.CallError as error:
            _fail(error, as_json, line=not no_stream, lang=lang if explain else None)
            return
    if explain:
        click.echo(reply.explain(lang), err=True)


def _streamed(
    router: cnroute.Router, messages: list[dict[str, str]], model: str, arguments: Mapping[str, Any], as_json: bool
) -> cnroute.ChatCompletion:
    """Print each piece as it comes; with `--json` a line for each, and one for the end."""
    with router.stream(messages, model=model, **arguments) as stream:
        for delta in stream:
            if as_json:
                _print_delta(delta)
            elif delta.text:
                print(harmless(delta.text), end="", flush=True)
        reply = stream.completion
    if as_json:
        print_json({"type": "end", **_document(reply)}, line=True)
    else:
        _print_calls(reply)
        print()
    return reply


def _whole(
    router: cnroute.Router, messages: list[dict[str, str]], model: str, arguments: Mapping[str, Any], as_json: bool
) -> cnroute.ChatCompletion:
    reply = router.chat(messages, model=model, **arguments)
    if as_json:
        print_json(_document(reply))
    else:
        print(harmless(reply.text), end="")
        _print_calls(reply)
        print()
    return reply


def _print_calls(reply: cnroute.ChatCompletion) -> None:
    """A call of a tool that nobody here can make is still the answer."""
    for call in reply.tool_calls:
        print(harmless(f"{call.name}({call.arguments})"))


def _print_delta(delta: cnroute.Delta) -> None:
    parts = {"text": delta.text, "reasoning": delta.reasoning}
    given = {name: part for name, part in parts.items() if part}
    if given:
        print_json({"type": "delta", **given}, line=True)


def _document(reply: cnroute.ChatCompletion) -> dict[str, Any]:
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.tool_calls],
        "finish_reason": reply.finish_reason,
        "sources": [attrs.asdict(source) for source in reply.sources],
        "record": reply.record(),
    }


def _fail(error: cnroute.CallError, as_json: bool, *, line: bool, lang: str | None) -> None:
    if isinstance(error, cnroute.StreamInterruptedError) and error.partial_text and not as_json:
        print(flush=True)
    code = exit_code(error)
    say(error, code)
    if lang:
        click.echo(error.explain(lang), err=True)
    if as_json:
        print_json({"type": "error", "error": error_document(error), "exit_code": code, "record": error.record()}, line=line)
    click.get_current_context().exit(code)
