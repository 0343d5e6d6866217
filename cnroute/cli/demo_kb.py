"""`cnroute demo --kb`: the three steps of the vendor's page on retrieval, while one vendor fails; on this computer alone.

Rules of this file
- No key, no network, no file of the user's: the vendor is the emulator, the texts are guides that come with the package.
- What is printed of files, bases and attempts is checked against what the emulator keeps; a difference ends with 1.
- The same seed gives the same output but for times.
"""

from __future__ import annotations

import importlib.resources
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

import cnroute
from cnroute.cli.demo import FAULTS, attempt_document, outcome
from cnroute.cli.kb import one_line
from cnroute.cli.output import console, print_json
from cnroute.cli.progress import bars

if TYPE_CHECKING:
    from rich.console import Console

    from cnroute.emulator import Emulator

GUIDES = ("guide.zh.txt", "guide.en.txt", "words.txt")
QUESTIONS = (
    "流式输出在第一个字之前中断,路由会怎么做?",
    "How long is a deployment left alone after it fails five times in a row?",
    "知识库的 chunk_size 至少是多少?",
)
_GROUP, _KEY = "1700000000000000000", "demo-key-of-nobody"
_PLACES = (
    ("pro", "minimax-pro", "abab6.5s-chat"),
    ("legacy", "minimax-legacy", "abab5.5-chat"),
    ("mm", "minimax-v2", "MiniMax-Text-01"),
)
_TOP = 2


def guides() -> dict[str, bytes]:
    """The texts that come with the package, by name."""
    folder = importlib.resources.files("cnroute") / "cli" / "guides"
    return {name: (folder / name).read_bytes() for name in GUIDES}


@attrs.frozen
class Built:
    """What the first two steps have made."""

    files: tuple[cnroute.File, ...]
    base: cnroute.Base

    @property
    def names(self) -> Mapping[str, str]:
        """The names of the files by their ids, as sources write them."""
        return {str(file.id): file.name or "" for file in self.files}


def play(seed: int, as_json: bool, no_color: bool) -> None:
    """The whole demo. Ends with exit code 1 when the emulator has something else than what was said."""
    from cnroute.emulator import Emulator

    screen = None if as_json else Screen(console(no_color), seed)
    with Emulator(seed=seed) as emulator:
        built = _build(emulator, screen, as_json, no_color)
        with _router(emulator, seed) as router:
            plan = router.plan(QUESTIONS[0], model="docs", knowledge_base=built.base.id)
            if screen is not None:
                screen.plan(plan)
            replies = list(_ask(router, emulator, seed, built, screen))
        difference = differences(built, replies, emulator)
    if screen is None:
        print_json(document(seed, built, plan, replies, difference))
    else:
        screen.end(replies, difference)
    if difference:
        click.echo(f"cnroute: {difference}", err=True)
        click.get_current_context().exit(1)


def _build(emulator: Emulator, screen: Screen | None, as_json: bool, no_color: bool) -> Built:
    """Step 1 and 2: upload the guides, make a base of them."""
    address = emulator.base_url("minimax-pro")
    with cnroute.KnowledgeClient(_KEY, _GROUP, base_url=address) as kb, bars(no_color, as_json) as shown:
        files = tuple(kb.upload(text, name=name, progress=shown.file(name)) for name, text in guides().items())
        if screen is not None:
            screen.files(files)
        base = kb.create("guides", files[0].id, chunk_size=120, chunk_overlap=10)
        with shown.waiting("loading"):
            for file in files[1:]:
                kb.add_document(base.id, file.id, chunk_size=120, chunk_overlap=10)
            base = kb.wait(base.id, timeout=20)
        if screen is not None:
            screen.base(base)
    return Built(files, base)


def _router(emulator: Emulator, seed: int) -> cnroute.Router:
    places = [
        cnroute.Deployment(
            name, provider, model, api_key=_KEY, base_url=emulator.base_url(provider),
            options={} if provider == "minimax-v2" else {"group_id": _GROUP},
        )
        for name, provider, model in _PLACES
    ]
    return cnroute.Router(
        places, {"docs": [name for name, _, _ in _PLACES]}, breaker=None, plugins=cnroute.PluginHost(autoload=False),
        timeouts=cnroute.Timeouts(total=20), random=random.Random(seed),
    )


def _ask(
    router: cnroute.Router, emulator: Emulator, seed: int, built: Built, screen: Screen | None
) -> Iterator[cnroute.ChatCompletion]:
    """Step 3: ask, while the first vendor fails, each time in another way."""
    faults = random.Random(seed).sample(FAULTS, len(FAULTS))
    for question, fault in zip(QUESTIONS, faults, strict=True):
        emulator.script("abab6.5s-chat", [fault])
        wanted = cnroute.KnowledgeBase(built.base.id, top_k=_TOP)
        with router.stream(question, model="docs", knowledge_base=wanted, max_tokens=256) as stream:
            for _ in stream:
                pass
        reply = stream.completion
        if screen is not None:
            screen.reply(question, reply, built.names)
        yield reply


def differences(built: Built, replies: Sequence[cnroute.ChatCompletion], emulator: Emulator) -> str:
    """What the emulator has, or was asked, and the demo did not say; empty when both are equal."""
    told = [attempt.provider for reply in replies for attempt in reply.attempts]
    asked = [entry.provider for entry in emulator.requests if entry.provider != "minimax-knowledge"]
    kept = {document.file_id for base in emulator.bases for document in base.documents}
    found = {str(file.id) for file in emulator.files}
    checks = (
        (told == asked, f"{len(told)} attempts, but {len(asked)} requests arrived at the emulator"),
        ([base.id for base in emulator.bases] == [built.base.id], "the emulator has other bases"),
        ([file.id for file in emulator.files] == [file.id for file in built.files], "the emulator has other files"),
        (kept == {file.id for file in built.files}, "the base holds other documents"),
        (all(source.document in found for reply in replies for source in reply.sources), "a source is no file of the emulator"),
        (all(reply.sources for reply in replies), "an answer has no sources"),
    )
    return "; ".join(text for good, text in checks if not good)


def document(
    seed: int, built: Built, plan: cnroute.Plan, replies: Sequence[cnroute.ChatCompletion], difference: str
) -> dict[str, Any]:
    """The whole demo as JSON-ready data; seconds and times are the only figures that differ from run to run."""
    return {
        "seed": seed,
        "files": [{"id": file.id, "name": file.name, "bytes": file.bytes} for file in built.files],
        "base": {"id": built.base.id, "name": built.base.name, "documents": [each.file_id for each in built.base.documents]},
        "plan": [each.deployment for each in plan.candidates],
        "excluded": {each.deployment: each.reason for each in plan.excluded},
        "calls": [
            {
                "question": question, "text": reply.text, "sources": [attrs.asdict(source) for source in reply.sources],
                "attempts": [attempt_document(attempt) for attempt in reply.attempts],
            }
            for question, reply in zip(QUESTIONS, replies, strict=True)
        ],
        "equals_the_emulator": not difference,
    }


class Screen:
    """Everything as it happens, as text."""

    def __init__(self, out: Console, seed: int) -> None:
        self._out = out
        self._say(f"cnroute demo --kb, seed {seed}", "bold")
        self._say("The vendor is an emulator on this computer; the files are guides that come with cnroute.", "dim")

    def _say(self, text: str = "", style: str = "") -> None:
        self._out.print(text, style=style)

    def files(self, files: Sequence[cnroute.File]) -> None:
        """Step 1."""
        self._say()
        self._say("1  upload", "bold cyan")
        for file in files:
            self._say(f"   {file.id}  {file.name}, {file.bytes} bytes")

    def base(self, base: cnroute.Base) -> None:
        """Step 2."""
        self._say()
        self._say("2  create a knowledge base, and wait until it is available", "bold cyan")
        self._say(f"   {base.id}  {base.name}, {len(base.documents)} documents, {base.status}")

    def plan(self, plan: cnroute.Plan) -> None:
        """Who may answer."""
        self._say()
        self._say("3  ask", "bold cyan")
        for candidate in plan.candidates:
            self._say(f"   {candidate.rank}. {candidate.deployment} ({candidate.provider})")
        for each in plan.excluded:
            self._say(f"   -  {each.deployment} ({each.provider}): {each.reason}", "dim")

    def reply(self, question: str, reply: cnroute.ChatCompletion, names: Mapping[str, str]) -> None:
        """An answer, how it came, and its sources."""
        self._say()
        self._say(f"   {question}", "bold")
        for attempt in reply.attempts:
            failed = attempt.failure is not None
            self._say(f"   {'✗' if failed else '✓'} {outcome(attempt)}", "red" if failed else "green")
        self._say(f"   {reply.text}")
        for number, source in enumerate(reply.sources, 1):
            name = names.get(source.document or "", source.document or "")
            self._say(f"   [{number}] {name}, piece {source.index}: {one_line(source.text)}", "dim")

    def end(self, replies: Sequence[cnroute.ChatCompletion], difference: str) -> None:
        """The check against the emulator."""
        attempts = sum(len(reply.attempts) for reply in replies)
        self._say()
        if difference:
            self._say(f"✗ {difference}", "bold red")
        else:
            self._say(f"✓ {attempts} attempts, the files and the base: exactly what the emulator was asked and keeps", "green")
        self._say("next: cnroute kb --help", "dim")
