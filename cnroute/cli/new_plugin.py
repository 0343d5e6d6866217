"""`cnroute new-plugin`: a distribution of one's own that passes its own tests before anything is changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import click

from cnroute.cli.output import print_json, with_output_options

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


@click.command("new-plugin", short_help="Write a provider plugin that passes its own tests.")
@click.argument("name")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The folder to write it into.")
@with_output_options
def new_plugin(name: str, into: Path, as_json: bool, no_color: bool) -> None:
    """Write the distribution cnroute-NAME: module, samples, tests, tox.ini, README.

    It speaks for an invented vendor and passes its own tests; change the module and the samples to yours.
    """
    _check_name(name)
    folder = into / f"cnroute-{name}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.UsageError(f"{folder} is already there and not empty; choose another name, or --into another folder")
    try:
        written = [_write(folder / place, text) for place, text in files(name)]
    except OSError as error:
        raise click.UsageError(f"{folder} cannot be written: {error.strerror}; choose another folder with --into") from None
    if as_json:
        print_json({"name": name, "folder": str(folder), "files": written})
        return
    click.echo(f"{folder}: {len(written)} files")
    click.echo(f'next: cd {folder} && pip install -e ".[testing]" && pytest', err=True)


def _check_name(name: str) -> None:
    from cnroute.plugins import BUILT_IN

    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise click.UsageError(
            f"{name!r:.60} is no name for a plugin: use at most {_LONGEST} small letters and digits, with single dashes between"
            " them, and begin with a letter, such as acme or acme-cloud; it stands before the slash in acme/MODEL"
        )
    if name in BUILT_IN:
        raise click.UsageError(f"{name} is a built-in provider; its name is never given away, so choose another")


def files(name: str) -> Iterator[tuple[str, str]]:
    """Every file of the distribution: its path, and its text."""
    module = f"cnroute_{name.replace('-', '_')}"
    words = {
        "name": name, "module": module, "NAME": name.replace("-", "_").upper(),
        "Class": "".join(part.capitalize() for part in name.split("-")), "requirement": requirement(),
    }  # fmt: skip
    root = resources.files("cnroute.cli") / "templates" / "provider"
    for path, text in sorted(_templates(root)):
        place = path.removesuffix(".in").replace("module.py", f"{module}.py")
        yield place, re.sub(r"@(\w+)@", lambda found: words[found[1]], text)


def _templates(folder: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _templates(each, f"{prefix}{each.name}/")
        elif each.name.endswith(".in"):
            yield prefix + each.name, each.read_text("utf-8")


def requirement() -> str:
    """cnroute with its kit as tox shall install it: from where this one was installed, if that was no index (PEP 610)."""
    # In a checkout the build's own metadata lie before those of the installation, and do not say it.
    origins = (each.read_text("direct_url.json") for each in metadata.distributions(name="cnroute"))
    url = next((json.loads(origin).get("url") for origin in origins if origin), None)
    return f"cnroute[testing] @ {url}" if url else "cnroute[testing]"


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return str(path)
