"""`cnroute demo`: a failing vendor, the fallback, a stream, the plan and the bill, on this computer alone.

Rules of this file
- No key, no network, no file: the vendors are the emulator, the keys are made up.
- What is printed of attempts is checked against the emulator's log; a difference ends with exit code 1.
- The same seed gives the same output but for times.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import click

import cnroute
from cnroute.cli.output import console, print_json, print_table, with_output_options

if TYPE_CHECKING:
    from rich.console import Console

    from cnroute.emulator import Emulator, Received

# The examples of the vendors' own pages (the story and the sentiment task in short form).
QUESTIONS = (
    "你好",
    "如何做西红柿炒鸡蛋?",
    "帮我用英文翻译下面这句话:我是谁",
    "从前,在森林里有只叫聪聪的小猪,他既勤劳,又乐于助人……这个故事告诉我们什么?",
    "“学习三星堆正确拍照姿势,留下难忘回忆!”这句话表达了哪类情绪?",
)
# Three ways in which the first vendor fails (a 503, an error inside a 200, a stream cut before its first token), and
# what the second may do on top; none but the cut may be billed.
FAULTS = ("http_503", "error_in_200", "stream_cut:0")
SECOND_FAULTS = ("http_503", "rate_limit", "http_429")
_PACE = 0.02
_NOTE = "The vendors are an emulator on this computer; prices are examples, not offers."


@attrs.frozen
class Vendor:
    """One deployment of the demo; prices in CNY per million tokens, as an example."""

    name: str
    provider: str
    model: str
    input: str
    output: str
    options: Mapping[str, str] = attrs.field(factory=dict)

    def deployment(self, emulator: Emulator) -> cnroute.Deployment:
        """The deployment that calls the emulator."""
        return cnroute.Deployment(
            self.name, self.provider, self.model, api_key="demo-key-of-nobody", base_url=emulator.base_url(self.provider),
            options=self.options,
            price=cnroute.Price("CNY", self.input, self.output, as_of="2025-06-01", source="an example, no offer"),
        )


VENDORS = (
    Vendor("yi", "dashscope", "yi-large", "20", "20"),
    Vendor("mm", "minimax-v2", "MiniMax-Text-01", "1", "8"),
    Vendor("pro", "minimax-pro", "abab6.5s-chat", "1", "1", {"group_id": "1700000000000000000"}),
)
_MODEL_OF = {vendor.name: vendor.model for vendor in VENDORS}


@attrs.frozen
class Scene:
    """One question and the faults that wait for it, by model."""

    number: int
    question: str
    faults: Mapping[str, str]


def scenes(seed: int) -> list[Scene]:
    """Which faults hit which question. Each of the three hits the first vendor once; once the second fails too."""
    chance = random.Random(seed)
    hit = chance.sample(range(len(QUESTIONS)), len(FAULTS))
    faults = dict(zip(hit, chance.sample(FAULTS, len(FAULTS)), strict=True))
    twice, second = chance.choice(hit), chance.choice(SECOND_FAULTS)
    return [
        Scene(
            index + 1, question,
            {**({"yi-large": faults[index]} if index in faults else {}), **({"abab6.5s-chat": second} if index == twice else {})},
        )
        for index, question in enumerate(QUESTIONS)
    ]


@click.command(short_help="Show a failing vendor, the fallback, the plan and the bill; no key, no network.")
@click.option("--seed", type=int, default=0, show_default=True, help="Changes the faults and the answers.")
@click.option("--kb", "knowledge", is_flag=True, help="Knowledge bases: upload, create, ask, while one vendor fails.")
@with_output_options
def demo(seed: int, knowledge: bool, as_json: bool, no_color: bool) -> None:
    """Show a failing vendor, the fallback, a stream, the plan and the bill.

    Needs no key, no network and no file; ends within seconds. With --kb three guides that come with cnroute are uploaded, a
    knowledge base is made of them, and questions are answered with their sources.
    """
    if knowledge:
        from cnroute.cli.demo_kb import play

        play(seed, as_json, no_color)
        return
    from cnroute.emulator import Emulator

    show: Show = Show() if as_json else Screen(console(no_color))
    with Emulator(seed=seed, pace=_PACE if sys.stdout.isatty() else 0.0) as emulator, _router(emulator, seed, show) as router:
        show.begin(seed, router.plan(QUESTIONS[0], model="chat", max_tokens=256))
        replies = [_ask(router, emulator, scene, show) for scene in scenes(seed)]
        difference = differences(replies, emulator.requests)
    show.end(seed, replies, difference)
    if as_json:
        print_json(document(seed, replies, difference))
    if difference:
        click.echo(f"cnroute: {difference}", err=True)
        click.get_current_context().exit(1)


def _router(emulator: Emulator, seed: int, show: Show) -> cnroute.Router:
    return cnroute.Router(
        [vendor.deployment(emulator) for vendor in VENDORS],
        {"chat": cnroute.Route(targets=["yi", cnroute.Route(policy="cheapest", targets=["mm", "pro"])])},
        breaker=None,  # the vendor is to fail three times and still be asked
        plugins=cnroute.PluginHost(autoload=False) if not isinstance(show, Screen) else _host(show),
        timeouts=cnroute.Timeouts(total=20), random=random.Random(seed),
    )


def _host(show: Screen) -> cnroute.PluginHost:
    host = cnroute.PluginHost(autoload=False)
    host.register(show, "demo")
    return host


def _ask(router: cnroute.Router, emulator: Emulator, scene: Scene, show: Show) -> cnroute.ChatCompletion:
    for model in _MODEL_OF.values():
        emulator.script(model, [scene.faults[model]] if model in scene.faults else [])
    show.ask(scene)
    with router.stream(scene.question, model="chat", max_tokens=256, metadata={"call_id": f"demo-{scene.number}"}) as stream:
        for text in stream.texts():
            show.text(text)
        reply = stream.completion
    show.reply(reply)
    return reply


def differences(replies: Sequence[cnroute.ChatCompletion], requests: Sequence[Received]) -> str:
    """What differs between the attempts and the requests that arrived; empty when they are equal."""
    made = [
        (attempt.provider, _MODEL_OF[attempt.deployment], reply.text if attempt.failure is None else "")
        for reply in replies
        for attempt in reply.attempts
        for _ in range(1 + attempt.resent)
    ]
    arrived = [(entry.provider, entry.model, entry.answered) for entry in requests]
    if len(made) != len(arrived):
        return f"{len(made)} attempts, but {len(arrived)} requests arrived at the emulator"
    wrong = [number for number, (ours, theirs) in enumerate(zip(made, arrived, strict=True), 1) if ours != theirs]
    return f"attempts {wrong} differ from the requests in the emulator's log" if wrong else ""


def _total(replies: Sequence[cnroute.ChatCompletion], part: str) -> Decimal:
    costs = [getattr(reply.bill, part) for reply in replies]
    return sum((cost.high for cost in costs), Decimal(0))


# -- as JSON


def document(seed: int, replies: Sequence[cnroute.ChatCompletion], difference: str) -> dict[str, Any]:
    """The whole demo as JSON-ready data; `seconds` are the only figures that differ from run to run."""
    return {
        "seed": seed,
        "note": _NOTE,
        "deployments": [{**attrs.asdict(vendor), "options": sorted(vendor.options), "currency": "CNY"} for vendor in VENDORS],
        "calls": [_call(scene, reply) for scene, reply in zip(scenes(seed), replies, strict=True)],
        "bill": {
            "confirmed": f"{_total(replies, 'confirmed'):f}", "possible": f"{_total(replies, 'possible'):f}", "currency": "CNY",
        },
        "attempts": sum(len(reply.attempts) for reply in replies),
        "attempts_equal_requests": not difference,
    }


def _call(scene: Scene, reply: cnroute.ChatCompletion) -> dict[str, Any]:
    return {
        "question": scene.question,
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "plan": [candidate.deployment for candidate in reply.plan.candidates],
        "attempts": [attempt_document(attempt) for attempt in reply.attempts],
        "usage": attrs.asdict(reply.usage) if reply.usage else None,
        "cost": str(reply.cost),
        "bill": {"confirmed": str(reply.bill and reply.bill.confirmed), "possible": str(reply.bill and reply.bill.possible)},
    }


def attempt_document(attempt: cnroute.Attempt) -> dict[str, Any]:
    """One attempt as JSON-ready data."""
    failure = attempt.failure
    return {
        "number": attempt.number, "deployment": attempt.deployment, "provider": attempt.provider,
        "http_status": attempt.http_status, "failure": failure.kind.value if failure else None,
        "message": failure.message if failure else None, "billing": attempt.billing, "seconds": round(attempt.seconds, 4),
    }


# -- on a terminal, or as text


class Show:
    """What is shown while the demo runs: nothing."""

    def begin(self, seed: int, plan: cnroute.Plan) -> None:
        """The deployments and the plan."""

    def ask(self, scene: Scene) -> None:
        """A question."""

    def text(self, text: str) -> None:
        """A piece of the answer."""

    def reply(self, reply: cnroute.ChatCompletion) -> None:
        """The end of an answer."""

    def end(self, seed: int, replies: Sequence[cnroute.ChatCompletion], difference: str) -> None:
        """The bill."""


class Screen(Show):
    """Everything as it happens: it observes attempts, as any plugin can."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._answering = False

    def _say(self, text: str = "", style: str = "", end: str = "\n") -> None:
        self._out.print(text, style=style, end=end)

    def begin(self, seed: int, plan: cnroute.Plan) -> None:
        """Heading, deployments with prices, and the plan of the first call."""
        self._say(f"cnroute demo, seed {seed}", "bold")
        self._say(_NOTE, "dim")
        self._say()
        print_table(_HEADINGS, [_row(candidate) for candidate in plan.candidates], self._out)
        self._say('route "chat": yi first, then the cheaper of mm and pro', "dim")

    def ask(self, scene: Scene) -> None:
        """The question."""
        self._answering = False
        self._say()
        self._say(f"{scene.number}  {scene.question}", "bold cyan")

    @cnroute.hookimpl
    def observe(self, notice: Any) -> None:
        """A line for every failed attempt, at the moment when it fails."""
        if isinstance(notice, cnroute.AttemptFinished) and notice.attempt.failure is not None:
            self._say(f"   ✗ {outcome(notice.attempt)}", "red")

    def text(self, text: str) -> None:
        """A piece of the answer, as it arrives."""
        if not self._answering:
            self._answering = True
            self._say("   ", end="")
        self._say(text, end="")
        self._out.file.flush()

    def reply(self, reply: cnroute.ChatCompletion) -> None:
        """Who answered, and what the call cost."""
        self._say()
        self._say(f"   ✓ {outcome(reply.attempts[-1])}", "green")
        self._say(f"     {_tokens(reply.usage)}; {reply.cost}", "dim")

    def end(self, seed: int, replies: Sequence[cnroute.ChatCompletion], difference: str) -> None:
        """The sum, the check against the log, and where to go from here."""
        attempts = [attempt for reply in replies for attempt in reply.attempts]
        failed = sum(attempt.failure is not None for attempt in attempts)
        self._say()
        self._say("The bill", "bold")
        self._say(f"   {_money(_total(replies, 'confirmed'))} CNY for {len(replies)} answers")
        self._say(f"   up to {_money(_total(replies, 'possible'))} CNY more: the vendor may charge for the stream that broke")
        self._say()
        if difference:
            self._say(f"✗ {difference}", "bold red")
        else:
            self._say(f"✓ {len(attempts)} attempts, {failed} of them failed: exactly the requests in the emulator's log", "green")
        self._say(f"next: cnroute demo --seed {seed + 1}, cnroute doctor, cnroute chat --help", "dim")


_HEADINGS = ("plan", "name", "provider/model", "CNY per M tokens", "this call, at most")


def _row(candidate: cnroute.Candidate) -> list[str]:
    vendor = next(each for each in VENDORS if each.name == candidate.deployment)
    cost = f"{_money(candidate.cost.high)} CNY" if candidate.cost else "unknown"
    place = f"{vendor.provider}/{vendor.model}"
    return [f"{candidate.rank}.", vendor.name, place, f"{vendor.input} in, {vendor.output} out", cost]


def _money(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _tokens(usage: cnroute.Usage | None) -> str:
    if usage is None:
        return "tokens unknown"
    if usage.input_tokens is None:
        return f"{usage.total_tokens} tokens in all"
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out"


def outcome(attempt: cnroute.Attempt) -> str:
    """One attempt in one line."""
    took = f"{attempt.seconds * 1000:.0f} ms"
    if attempt.failure is None:
        return f"{attempt.deployment} answered in {took}"
    billed = {"none": "not billed", "unknown": "may be billed", "billed": "billed"}[attempt.billing]
    return f"{attempt.deployment}: {_how(attempt)}: {attempt.failure.message} ({attempt.failure.kind.value}, {billed}, {took})"


def _how(attempt: cnroute.Attempt) -> str:
    if attempt.failure is not None and attempt.failure.kind is cnroute.FailureKind.CONNECTION_LOST:
        return "the stream was cut before its first token"
    return "an error inside HTTP 200" if attempt.http_status == 200 else f"HTTP {attempt.http_status}"
