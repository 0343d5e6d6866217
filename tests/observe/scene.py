"""One scene that every host plays: a success, a fallback, a stream, and a failure that needs an operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cnroute
from cnroute.emulator import Emulator

KEY = "sk-canary-4f1c9a7e"
GROUP = "1700000000000000017"
PROMPT = "金丝雀提示词 canary-prompt"
METADATA = {"tenant": "杭州"}
CALLS = 4


@contextmanager
def stage(**settings: Any) -> Iterator[tuple[cnroute.Router, Emulator]]:
    """A router over the emulator with the route `chat` (yi, then mm) and the deployment `kb`."""
    price = cnroute.Price("CNY", "20", "20", as_of="2025-06-01", source="our contract")
    with Emulator() as emulator:
        url = emulator.base_url
        deployments = [
            cnroute.Deployment("yi", "dashscope", "yi-large", api_key=KEY, base_url=url("dashscope"), price=price),
            cnroute.Deployment("mm", "minimax-v2", "MiniMax-Text-01", api_key=KEY, base_url=url("minimax-v2"), price=price),
            cnroute.Deployment(
                "kb", "minimax-pro", "abab6.5s-chat", api_key=KEY, base_url=url("minimax-pro"),
                options={"group_id": GROUP},
            ),
        ]
        with cnroute.Router(deployments, {"chat": ["yi", "mm"]}, **settings) as router:
            yield router, emulator


def play(router: cnroute.Router, emulator: Emulator) -> list[cnroute.ChatCompletion | cnroute.CallError]:
    """The four calls: answered at once, answered by the second, streamed, refused for the key."""
    ends: list[cnroute.ChatCompletion | cnroute.CallError] = [router.chat(PROMPT, model="chat", metadata=METADATA)]
    emulator.script("yi-large", ["http_503"])
    ends.append(router.chat(PROMPT, model="chat", metadata=METADATA))
    with router.stream(PROMPT, model="mm", metadata=METADATA) as stream:
        assert "".join(stream.texts())
    ends.append(stream.completion)
    emulator.script("abab6.5s-chat", ["http_401_echo"])
    try:
        router.chat(PROMPT, model="kb", metadata=METADATA)
    except cnroute.AuthenticationError as error:
        ends.append(error)
    assert len(ends) == CALLS
    return ends
