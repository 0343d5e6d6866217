"""`cnroute check-plugin`: the conformance kit without a test file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnroute.cli.failing import CALL_FAILED
from cnroute.cli.output import print_json, with_output_options

if TYPE_CHECKING:
    from cnroute.testing.contract import ProviderContract

_OPTION = re.compile(r"(?P<name>\w+)=(?P<value>.*)")


@click.command("check-plugin", short_help="Prove a provider plugin offline, by samples of its vendor's answers.")
@click.argument("name")
@click.option(
    "--samples", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("samples"), show_default=True,
    help="Folder with one JSON document a sample.",
)  # fmt: skip
@click.option("--model", help="The vendor's model (default: the first that the provider knows).")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the deployment; may be repeated.")
@click.option("--effort", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True, help="Multiplies the random cases.")
@with_output_options
@click.pass_context
def check_plugin(
    context: click.Context, name: str, samples: Path, model: str | None, options: tuple[str, ...], effort: float, as_json: bool,
    no_color: bool,
) -> None:  # fmt: skip
    """Run every check of the provider contract on the installed provider NAME, and print a table.

    What the provider can do for the model (tools, reasoning, ...) is found by asking it. Exit codes: 0 every check
    passed, 1 a check failed, 2 wrong usage, 3 the plugin or a sample cannot be used at all.
    """
    from cnroute.testing.contract import CHECKS
    from cnroute.testing.contract.report import FAILED, closing_line, document, table
    from cnroute.testing.contract.running import run

    contract = _contract(name, samples, model, dict(map(_option, options)), effort)
    results = list(run(contract, CHECKS))
    failed = [result for result in results if result.outcome == FAILED]
    if as_json:
        print_json({"plugin": name, **document(CHECKS, results)})
    else:
        for result in failed:
            click.echo(f"{result.check}\n  {CHECKS[result.check].promise}\n{result.text}\n")
        for line in table(CHECKS, results):
            click.echo(line)
        click.echo(closing_line(CHECKS, results))
    context.exit(CALL_FAILED if failed else 0)


def _option(text: str) -> tuple[str, str]:
    found = _OPTION.fullmatch(text)
    if found is None:
        raise click.UsageError(f"--option takes NAME=VALUE, not {text!r:.60}")
    return found["name"], found["value"]


def _contract(name: str, samples: Path, model: str | None, options: dict[str, str], effort: float) -> type[ProviderContract]:
    """The contract of an installed provider; its flags say what the provider does. Raises ConfigurationError."""
    from cnroute.plugins import PluginHost
    from cnroute.testing.contract import ProviderContract
    from cnroute.testing.contract.data import abilities

    info = PluginHost(load=[name]).provider(name).info
    fields: dict[str, Any] = {
        "provider": name, "model": model, "options": options, "samples": samples.resolve(), "effort": effort,
        "supports_stream": "streaming" in info.capabilities, "__module__": __name__,
    }  # fmt: skip
    contract: type[ProviderContract] = type("Contract", (ProviderContract,), fields)
    contract.all_samples()
    for ability in abilities(contract.subject()):
        setattr(contract, f"supports_{ability}", True)
    return contract
