"""What must not be seen, in all the forms that it could take, and everything in which it is looked for."""

from __future__ import annotations

import base64
import contextlib
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import cnroute

# A key with characters that look different when they are quoted, and a GroupId as long as a real one.
KEY = "cnKEY9/f+3a7=c21_of-a&canary"
GROUP = "1788899900000000019"
PROMPT = "canary-prompt-7731 密语甲乙丙"
ANSWER = "canary-answer-5512"
PROXY_PASSWORD = "pxSECRET-4410-canary"


def forms(secret: str) -> set[str]:
    """A secret as it is, quoted for a URL, in base64 however it is aligned, as a repr shows it, and its beginning."""
    found = {secret, quote(secret), quote(secret, safe=""), secret.encode().hex(), secret[:8]}
    for before in range(3):
        coded = base64.b64encode(b"x" * before + secret.encode()).decode()
        found.add(coded[4 if before else 0 : -4])  # the ends depend on the neighbours
    return found


SECRETS = {name: forms(value) for name, value in (("key", KEY), ("group", GROUP), ("proxy", PROXY_PASSWORD))}
CONTENT = {"prompt": {PROMPT, PROMPT[:13], "密语甲乙丙", quote("密语甲乙丙"), repr("密语甲乙丙".encode())[2:-1]}}
REPLY = {"answer": {ANSWER}}


def hits(text: str, forbidden: dict[str, set[str]] | None = None) -> set[str]:
    """The names of what stands in `text` and may not."""
    return {name for name, shapes in (forbidden or SECRETS | CONTENT).items() if any(shape in text for shape in shapes)}


class Watch(logging.Handler):
    """Every record of every logger, as formatters of all kinds would show it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in vars(logging.makeLogRecord({}))}
        self.lines.append(" ".join([record.name, record.getMessage(), *(f"{name}={value}" for name, value in fields.items())]))
        self.shown.append(repr(vars(record)) + logging.Formatter("%(name)s %(message)s").format(record))


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """All logging at DEBUG, libraries included, goes to the watch."""
    watch, root = Watch(), logging.getLogger()
    loggers = [logging.getLogger(name) for name in ("cnroute", "urllib3", "http.client", "asyncio", "pluggy", "structlog")]
    before = [(logger, logger.level, logger.disabled) for logger in (root, *loggers)]
    for logger, _, _ in before:
        logger.setLevel(logging.DEBUG)
        logger.disabled = False
    root.addHandler(watch)
    try:
        yield watch
    finally:
        root.removeHandler(watch)
        for logger, level, disabled in before:
            logger.setLevel(level)
            logger.disabled = disabled


def faces(error: BaseException) -> dict[str, str]:
    """Everything that an error shows or that travels with it."""
    seen: dict[str, str] = {}
    for number, one in enumerate(_chain(error)):
        seen |= {
            f"str {number}": str(one),
            f"repr {number}": repr(one),
            f"args {number}": repr(one.args),
            f"dict {number}": repr({name: value for name, value in vars(one).items() if name not in _CONTENT}),
            f"notes {number}": repr(getattr(one, "__notes__", ())),
            f"pickle {number}": _pickled(one),
        }
        frames = traceback.TracebackException.from_exception(one, capture_locals=True)
        seen[f"traceback {number}"] = "".join(frames.format())
    if isinstance(error, cnroute.CallError):
        seen |= {"record": repr(error.record()), "en": error.explain(), "zh": error.explain("zh"), "plan": repr(error.plan)}
    return seen


# What an interrupted stream gave its consumer: attributes, and not part of any text.
_CONTENT = ("partial_text", "deltas")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _pickled(error: BaseException) -> str:
    data = pickle.dumps(error)
    if isinstance(error, cnroute.StreamInterruptedError):
        bare = pickle.loads(data)
        bare.partial_text, bare.deltas = "", ()
        data = pickle.dumps(bare)
    return data.decode("latin-1") + data.decode("utf-8", "replace")


class Box:
    """Holds what a frame of a test must have at hand and may not show."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self) -> Any:
        return self._value


ASK = Box(f"{PROMPT} marker:{ANSWER}")


def deployment(provider: str, model: str, base_url: str, name: str = "d", **fields: Any) -> cnroute.Deployment:
    """One with the canaries."""
    options = {"group_id": GROUP} if provider in ("minimax-pro", "minimax-legacy") else {}
    return cnroute.Deployment(name, provider, model, **{"api_key": KEY, "base_url": base_url, "options": options, **fields})


def call(router: Any, model: str, stream: bool, **arguments: Any) -> BaseException | None:
    """One call as a user's code makes it; the error that it caught."""
    try:
        if stream:
            with router.stream(ASK(), model=model, **arguments) as deltas:
                for _ in deltas:
                    pass
        else:
            router.chat(ASK(), model=model, **arguments)
    except cnroute.CnrouteError as error:
        return error
    return None
