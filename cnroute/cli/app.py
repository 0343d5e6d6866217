"""The group of all commands: each is imported when it runs, and every error becomes a line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import click

import cnroute
from cnroute.cli.failing import CALL_FAILED, INTERRUPTED, print_failure, report
from cnroute.cli.logs import logs_to_stderr

# name -> module, attribute, help; the help stands here so that listing the commands imports none of them.
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "demo": ("demo", "demo", "Show a failing vendor, the fallback, the plan and the bill; no key, no network."),
    "chat": ("chat", "chat", "Ask a route, a deployment or a model, and print the answer as it arrives."),
    "plan": ("plan", "plan", "Show where a call would go, in which order and why; sends nothing."),
    "explain": ("explain", "explain", "Explain records of calls: what was tried, what failed, what it cost."),
    "simulate": ("simulate", "simulate", "Replay a day's log under other policies, prices or outages: cost, success, latency."),
    "models": ("models", "models", "List every name that can be called."),
    "prices": ("prices", "prices", "List or check the prices that calls are reckoned with."),
    "config": ("config", "config", "Check or show a configuration file."),
    "doctor": ("doctor", "doctor", "Look for what is missing or wrong: configuration, keys, plugins, clock."),
    "plugins": ("plugins", "plugins", "List plugins with their distribution, hooks and state."),
    "check-plugin": ("check_plugin", "check_plugin", "Prove a provider plugin offline, by samples of its vendor's answers."),
    "new-plugin": ("new_plugin", "new_plugin", "Write a provider plugin that passes its own tests."),
    "kb": ("kb", "kb", "Upload files, build knowledge bases of them, and ask."),
    "emulate": ("emulate", "emulate", "Run a local server that speaks the vendors' dialects."),
}


class PipeClosed(Exception):
    """Whoever read our output has left."""


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return cast(click.Command, getattr(importlib.import_module(f"cnroute.cli.{module}"), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click does it, but a closed pipe is no error."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise PipeClosed from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong becomes one line on stderr and an exit code."""
        try:
            with logs_to_stderr():
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            raise PipeClosed from None
        except cnroute.CnrouteError as error:
            ctx.exit(report(error, as_json=bool(ctx.meta.get("cnroute.json"))))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cnroute.__version__, prog_name="cnroute")
def commands() -> None:
    """Route chat calls to Chinese language-model vendors by policy, with fallback, inside one deadline.

    Begin with `cnroute demo`: it needs neither key nor network.
    """


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    _make_printable()
    try:
        code = commands.main(list(argv), prog_name="cnroute", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as problem:
        problem.show()
        if _json_wanted(argv):  # the group's own context, where commands note it, is gone or was never made
            print_failure(problem.format_message(), problem.exit_code)
        return problem.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        _silence()
        return 0
    except OSError as error:
        click.echo(f"cnroute: {error.strerror or type(error).__name__}", err=True)
        _silence()
        return CALL_FAILED
    return code if isinstance(code, int) else 0


def _json_wanted(argv: Sequence[str]) -> bool:
    """Whether `--json` stands among the options; what follows `--` is none."""
    return "--json" in argv[: argv.index("--") if "--" in argv else None]


def _make_printable() -> None:
    """A terminal that cannot show Chinese gets escapes, a stream that is closed swallows; neither is a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (it lives as long as the process)
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _silence() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
