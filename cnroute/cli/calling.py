"""What `chat` and `plan` share: the router, the arguments of a call, and the text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

import cnroute

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config", type=click.Path(dir_okay=False), metavar="FILE", help="Configuration (TOML). Without it: CNROUTE_CONFIG, or keys."
)
lang_option = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of the explanation."
)

_CALL_OPTIONS = (
    click.option("--model", required=True, metavar="NAME", help="A route, a deployment, provider/model, or a model."),
    config_option,
    click.option("--system", metavar="TEXT", help="What the model is to be."),
    click.option("--max-tokens", type=int, metavar="N", help="Longest answer."),
    click.option("--temperature", type=float, metavar="NUMBER"),
    click.option("--top-p", type=float, metavar="NUMBER"),
    click.option("--stop", multiple=True, metavar="TEXT", help="Where the answer ends; may be given again."),
    click.option("--seed", type=int, metavar="N"),
    click.option("--web-search/--no-web-search", default=None, help="Let the vendor search the web."),
    click.option("--reasoning/--no-reasoning", default=None, help="Let the model think first."),
    click.option("--knowledge-base", metavar="ID", help="A MiniMax knowledge base to answer from."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Limit for the whole call."),
    click.option("--max-cost", metavar="AMOUNT", help="Limit for the whole call, in the router's currency."),
    click.option("--drop-unsupported", is_flag=True, help="Leave out what a vendor cannot take, instead of the vendor."),
)
_ARGUMENTS = (
    "max_tokens", "temperature", "top_p", "stop", "seed", "web_search", "reasoning", "knowledge_base", "timeout", "max_cost",
    "drop_unsupported",
)


def with_call_options(command: F) -> F:
    """The options that describe a call."""
    for option in reversed(_CALL_OPTIONS):
        command = option(command)
    return command


def open_router(config: str | None) -> cnroute.Router:
    """The router of a file, or of the environment."""
    if config is None:
        return cnroute.Router.from_env()
    from cnroute.config import plugin_host

    return cnroute.Router.from_config(config, plugins=plugin_host())


def messages_of(text: str, system: str | None) -> list[dict[str, str]]:
    """The conversation: the text (`-` reads it from standard input) behind the system message."""
    user = {"role": "user", "content": standard_input().removesuffix("\n") if text == "-" else text}
    return [{"role": "system", "content": system}, user] if system else [user]


def arguments_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a call that were given."""
    given = {name: options[name] for name in _ARGUMENTS if options[name] is not None and options[name] != ()}
    return {**given, "stop": list(given["stop"])} if "stop" in given else given


def standard_input() -> str:
    """All of standard input, as UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError("standard input is not UTF-8") from None


def text_of(file: str) -> str:
    """The text of a file, or of standard input (`-`)."""
    if file == "-":
        return standard_input()
    try:
        return Path(file).read_text("utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    raise click.UsageError(f"{file} cannot be read: {reason}")
