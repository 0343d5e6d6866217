"""`cnroute kb`: files and knowledge bases of a MiniMax account, from upload to answer.

Rules of this file
- What was made before a step failed is named with the error: nothing is lost, and nothing is uploaded twice for want of its id.
- What can be told wrong here is told before the first file is sent.
- Ids are printed whole; standard output holds what was asked for, bars go to standard error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

import cnroute
from cnroute.cli.calling import config_option, open_router
from cnroute.cli.output import console, harmless, print_json, print_table, with_output_options
from cnroute.cli.progress import Bars, bars

F = TypeVar("F", bound=Callable[..., Any])

_ASKED = "minimax-pro/MiniMax-Text-01"
"""Who answers where the environment holds the account, and no model was named."""

_ACCOUNT = (
    config_option,
    click.option("--deployment", metavar="NAME", help="The account: a deployment of the configuration. Without it: the first."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Limit for each step."),
)
_CUTTING = (
    click.option("--chunk-size", type=int, metavar="N", help="Characters of a piece (500), at least 2 x overlap + 1."),
    click.option("--chunk-overlap", type=int, metavar="N", help="Characters that two pieces share (50)."),
    click.option("--separator", "separators", multiple=True, metavar="TEXT", help="Where pieces may end; may be given again."),
)
_file_ids = click.option("--file-id", "file_ids", multiple=True, metavar="ID", help="A file that is there; may be given again.")
_no_wait = click.option("--no-wait", is_flag=True, help="Do not wait until the base is available.")
_files = click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))


def _with(options: Sequence[Callable[[Any], Any]]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(short_help="Upload files, build knowledge bases of them, and ask.")
def kb() -> None:
    """Files and knowledge bases of a MiniMax account: upload, create, ask.

    The account is a deployment of minimax-pro or minimax-legacy in the configuration, or MINIMAX_API_KEY and
    MINIMAX_GROUP_ID in the environment.
    """


@kb.command(short_help="Upload files, and print their ids.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@_with(_ACCOUNT)
@with_output_options
def upload(files: Sequence[str], as_json: bool, no_color: bool, **account: Any) -> None:
    """Upload FILES (pdf, docx, txt, jsonl), and print their ids."""
    _check(files)
    with _open(account) as client, bars(no_color, as_json) as shown:
        found = _uploaded(client, files, account["timeout"], shown)
    if as_json:
        print_json({"files": [attrs.asdict(file) for file in found]})
    else:
        _print_files(found, no_color)


@kb.command(short_help="Make a knowledge base, of files if any are given.")
@click.argument("name")
@_files
@_file_ids
@click.option("--description", metavar="TEXT")
@_with(_CUTTING)
@_no_wait
@_with(_ACCOUNT)
@with_output_options
def create(
    name: str, files: Sequence[str], file_ids: Sequence[str], description: str | None, no_wait: bool, as_json: bool,
    no_color: bool, chunk_size: int | None, chunk_overlap: int | None, separators: Sequence[str], **account: Any,
) -> None:
    """Make a base called NAME of FILES and files that are there already, and wait until it is available."""
    timeout, cut, given = account["timeout"], _cut(chunk_size, chunk_overlap, separators), [*map(_number, file_ids)]
    _check(files, cut, name)
    with _open(account) as client, bars(no_color, as_json) as shown:
        made = _uploaded(client, files, timeout, shown)
        with _named({"files": [file.id for file in made]}):
            numbers = [*given, *(file.id for file in made)]
            first = numbers[0] if numbers else None
            base = client.create(name, first, description=description, timeout=timeout, **cut)
        with _named({"files": [file.id for file in made], "bases": [base.id]}):
            base = _filled(client, base, numbers[1:], cut, no_wait, timeout, shown)
    _print_base(base, made, as_json, no_color)


@kb.command(short_help="Add files to a knowledge base.")
@click.argument("base")
@_files
@_file_ids
@_with(_CUTTING)
@_no_wait
@_with(_ACCOUNT)
@with_output_options
def add(
    base: str, files: Sequence[str], file_ids: Sequence[str], no_wait: bool, as_json: bool, no_color: bool,
    chunk_size: int | None, chunk_overlap: int | None, separators: Sequence[str], **account: Any,
) -> None:
    """Add FILES, and files that are there already, to BASE (its id), and wait until it is available again."""
    if not files and not file_ids:
        raise click.UsageError("give FILES, or --file-id")
    timeout, cut, given = account["timeout"], _cut(chunk_size, chunk_overlap, separators), [*map(_number, file_ids)]
    _check(files, cut)
    with _open(account) as client, bars(no_color, as_json) as shown:
        there = client.get(_number(base), timeout=timeout)
        made = _uploaded(client, files, timeout, shown)
        with _named({"files": [file.id for file in made], "bases": [there.id]}):
            numbers = [*given, *(file.id for file in made)]
            there = _filled(client, there, numbers, cut, no_wait, timeout, shown)
    _print_base(there, made, as_json, no_color)


@kb.command("list", short_help="List knowledge bases, or files.")
@click.option("--files", "of_files", is_flag=True, help="The files instead.")
@_with(_ACCOUNT)
@with_output_options
def list_all(of_files: bool, as_json: bool, no_color: bool, **account: Any) -> None:
    """List the account's knowledge bases, or with --files its files."""
    with _open(account) as client:
        if of_files:
            files = client.list_files(timeout=account["timeout"])
            print_json({"files": [attrs.asdict(file) for file in files]}) if as_json else _print_files(files, no_color)
            return
        bases = list(client.list(page_size=100, timeout=account["timeout"]))
    if as_json:
        print_json({"bases": [_document(base) for base in bases]})
    else:
        rows = [[str(base.id), base.name or "", base.status or "", str(len(base.documents))] for base in bases]
        print_table(("id", "name", "status", "documents"), rows, console(no_color))


@kb.command(short_help="Show a knowledge base.")
@click.argument("base")
@_with(_ACCOUNT)
@with_output_options
def show(base: str, as_json: bool, no_color: bool, **account: Any) -> None:
    """Show BASE (its id): name, status, documents."""
    with _open(account) as client:
        found = client.get(_number(base), timeout=account["timeout"])
    _print_base(found, (), as_json, no_color)


@kb.command(short_help="Ask a knowledge base, and print the answer with its sources.")
@click.argument("base")
@click.argument("text")
@config_option
@click.option("--model", metavar="NAME", help=f"A route, a deployment or a model. Without a configuration: {_ASKED}.")
@click.option("--top-k", type=int, metavar="N", help="So many pieces (5).")
@click.option("--threshold", type=float, metavar="NUMBER", help="How near a piece must be, from 0 to 1 (0).")
@click.option("--max-tokens", type=int, metavar="N", help="Longest answer.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Limit for the call.")
@with_output_options
def ask(
    base: str, text: str, config: str | None, model: str | None, top_k: int | None, threshold: float | None,
    as_json: bool, no_color: bool, **options: Any,
) -> None:
    """Ask BASE (its id) the TEXT, and print the answer, then the pieces that it was made from."""
    wanted = cnroute.KnowledgeBase(_number(base), 5 if top_k is None else top_k, 0 if threshold is None else threshold)
    with open_router(config) as router:
        reply = router.chat(text, model=model or _only_name(router, config), knowledge_base=wanted, **options)
    if as_json:
        sources = [attrs.asdict(source) for source in reply.sources]
        print_json({"text": reply.text, "sources": sources, "lost": dict(reply.adjusted), "record": reply.record()})
        return
    lost = reply.adjusted.get("knowledge_base")
    if lost:
        click.echo(f"cnroute: knowledge_base {lost}", err=True)
    print(harmless(reply.text))
    for number, source in enumerate(reply.sources, 1):
        print(f"[{number}] file {source.document}, piece {source.index}: {harmless(one_line(source.text))}")


@kb.command(short_help="Delete knowledge bases, or files.")
@click.argument("bases", nargs=-1)
@click.option("--file", "file_ids", multiple=True, metavar="ID", help="A file to delete; may be given again.")
@_with(_ACCOUNT)
@with_output_options
def delete(bases: Sequence[str], file_ids: Sequence[str], as_json: bool, no_color: bool, **account: Any) -> None:
    """Delete BASES (their ids), and the files that --file names. The files of a base stay."""
    if not bases and not file_ids:
        raise click.UsageError("give BASES, or --file")
    numbers, files = [*map(_number, bases)], [*map(_number, file_ids)]
    gone: dict[str, list[int]] = {"deleted_bases": [], "deleted_files": []}
    with _open(account) as client, _named(gone):
        for number in numbers:
            client.delete(number, timeout=account["timeout"])
            gone["deleted_bases"].append(number)
        for number in files:
            client.delete_file(number, timeout=account["timeout"])
            gone["deleted_files"].append(number)
    if as_json:
        print_json({"deleted": {"bases": numbers, "files": files}})
    else:
        click.echo("\n".join([f"base {number} is gone" for number in numbers] + [f"file {number} is gone" for number in files]))


# -- steps -----------------------------------------------------------------------------------------------------


def _open(account: dict[str, Any]) -> cnroute.KnowledgeClient:
    """The client of a configuration's account, or of the environment's."""
    from cnroute.config import plugin_host

    if account["config"] is None and account["deployment"] is None:
        return cnroute.KnowledgeClient.from_env()
    if account["config"] is None:
        raise click.UsageError("--deployment names one of a configuration; give --config, too")
    return cnroute.KnowledgeClient.from_config(account["config"], account["deployment"], plugins=plugin_host())


def _number(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise click.UsageError(f"{text!r:.40} is no id: see `cnroute kb list`")


def _cut(size: int | None, overlap: int | None, separators: Sequence[str]) -> dict[str, Any]:
    """How documents are cut, as keyword arguments. A separator may be written as \\n."""
    written = [each.replace("\\n", "\n") for each in separators]
    return {"chunk_size": size, "chunk_overlap": overlap, "separators": written or None}


def _check(files: Sequence[str], cut: Mapping[str, Any] | None = None, name: str | None = None) -> None:
    """Refuse what the client would refuse only after some of the files were uploaded. Raises BadRequestError."""
    from cnroute.knowledge.advice import advice_for
    from cnroute.knowledge.uploads import source_of
    from cnroute.knowledge.wire import checked_name, doc_params

    try:
        for path in files:
            source_of(path, None)
        if cut is not None:
            doc_params(**cut, is_regex=False)
        if name is not None:
            checked_name(name)
    except cnroute.BadRequestError as error:
        error.advice = advice_for(error, sent=False)
        raise


def _uploaded(
    client: cnroute.KnowledgeClient, files: Sequence[str], timeout: float | None, shown: Bars
) -> list[cnroute.File]:
    made: list[cnroute.File] = []
    for path in files:
        with _named({"files": [file.id for file in made]}):
            made.append(client.upload(path, progress=shown.file(Path(path).name), timeout=timeout))
    return made


def _filled(
    client: cnroute.KnowledgeClient, base: cnroute.Base, numbers: Sequence[int], cut: dict[str, Any], no_wait: bool,
    timeout: float | None, shown: Bars,
) -> cnroute.Base:
    """The base with further documents; each waits for the one before."""
    with shown.waiting(f"loading {base.name or base.id}"):
        for number in numbers:
            client.add_document(base.id, number, timeout=timeout, **cut)
        return client.get(base.id, timeout=timeout) if no_wait else client.wait(base.id, timeout=timeout)


@contextlib.contextmanager
def _named(made: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """Put what was done before into the ids of an error; where the user ended it, say it on standard error."""
    try:
        yield
    except KeyboardInterrupt:
        done = [f"{name.replace('_', ' ')} {', '.join(map(str, numbers))}" for name, numbers in made.items() if numbers]
        if done:
            click.echo(f"cnroute: done before it was ended: {'; '.join(done)}", err=True)
        raise
    except cnroute.CallError as error:
        for name, numbers in made.items():
            error.ids[name] = tuple(dict.fromkeys((*numbers, *error.ids.get(name, ()))))
        error.ids = {name: numbers for name, numbers in error.ids.items() if numbers}
        raise


def _only_name(router: cnroute.Router, config: str | None) -> str:
    """The model that is meant where none is named."""
    routes = [info.name for info in router.models()]
    if not routes:
        return _ASKED
    if len(routes) == 1:
        return routes[0]
    raise click.UsageError(f"--model is needed: {', '.join(routes[:8])}")


# -- printing --------------------------------------------------------------------------------------------------


def _document(base: cnroute.Base) -> dict[str, Any]:
    documents = [{"file_id": each.file_id, "name": each.name, "status": each.status} for each in base.documents]
    return {**attrs.asdict(base, recurse=False), "documents": documents}


def _print_files(files: Sequence[cnroute.File], no_color: bool) -> None:
    rows = [[str(file.id), file.name or "", "" if file.bytes is None else str(file.bytes)] for file in files]
    print_table(("id", "name", "bytes"), rows, console(no_color))


def _print_base(base: cnroute.Base, files: Sequence[cnroute.File], as_json: bool, no_color: bool) -> None:
    if as_json:
        print_json({"base": _document(base), "files": [attrs.asdict(file) for file in files]})
        return
    print(harmless(f"{base.id}  {base.name}  {base.status}"))
    names = {file.id: file.name for file in files}
    for document in base.documents:
        print(harmless(f"  file {document.file_id}  {names.get(document.file_id) or document.name or ''}".rstrip()))


_SHOWN = 100


def one_line(text: str | None) -> str:
    """The beginning of a piece on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
