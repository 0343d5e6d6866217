# ruff: noqa: D102 (exchange.Dialect says what the methods promise)
"""chatcompletion (seed 003, and the vendor's pages of September 2025).

Where seed 003 contradicts itself, both of its bodies are taken: the one with ``prompt`` and ``role_meta``, and the whole
one with ``bot_setting`` and ``reply_constraints``.
"""

from __future__ import annotations

from cnroute.emulator.answers import Answer, Turn, tokens
from cnroute.emulator.exchange import JSON, Frame, is_count, require
from cnroute.emulator.minimax.checks import bot_is_named, has_model, messages_are_objects, numbers_are_in_range
from cnroute.emulator.minimax.dialect import mask, window
from cnroute.emulator.minimax.retrieval import Retrieving, knowledge_base_is_sound, last_text


class Legacy(Retrieving):
    """One request to chatcompletion."""

    provider = "minimax-legacy"
    success = "success"

    @property
    def in_pro_form(self) -> bool:
        """Seed 003's curl example: pro's body on the legacy path."""
        return "prompt" not in self.ask.body and "bot_setting" in self.ask.body

    @property
    def prompt(self) -> str:
        body = self.ask.body
        return str(body["bot_setting"][0]["content"] if self.in_pro_form else body["prompt"])

    @property
    def beams(self) -> int:
        return int(self.ask.body.get("beam_width", 1))

    @property
    def limit(self) -> int:
        return int(self.ask.body.get("tokens_to_generate", 256))

    def input_tokens(self) -> int:
        said = tokens(self.prompt) + sum(tokens(one["text"]) for one in self.ask.body["messages"])
        return said + self.retrieved_tokens

    def turn(self) -> Turn:
        body = self.ask.body
        wrap = None if body.get("skip_info_mask") is True else mask
        return Turn(last_text(body["messages"]), self.input_tokens(), limit=self.limit, wrap=wrap, quote=self.quote)

    def usage(self, answer: Answer) -> JSON:
        """Beams charge the input and as many times the longest output."""
        longest = max(self.answer(beam).output_tokens for beam in range(self.beams))
        return {"total_tokens": answer.input_tokens + longest * self.beams}

    def document(self, *, finished: bool = True) -> JSON:
        choices = [self._choice(beam, finished) for beam in range(self.beams)]
        return {**self._closing(self.answer()), "choices": choices, **self.knowledge}

    def _choice(self, beam: int, finished: bool) -> JSON:
        answer = self.answer(beam)
        reason = {"finish_reason": answer.finish} if finished else {}
        return {"text": answer.text, "index": beam, "logprobes": 0, **reason}

    def _closing(self, answer: Answer) -> JSON:
        flags = {
            "input_sensitive": False,
            "output_sensitive": False,
            "id": self.request_id,
            "base_resp": self.base_resp(),
        }
        return {**self._head(answer.text), "choices": [], "usage": self.usage(answer), **flags}

    def _head(self, reply: str) -> JSON:
        return {"created": self.ask.created, "model": self.ask.model, "reply": reply}

    def null_document(self) -> JSON:
        return {**self._head(""), "choices": None, "usage": None, "id": self.request_id, "base_resp": self.base_resp()}

    def frames(self, *, finished: bool = True, ending: str = "") -> list[Frame]:
        """Deltas are plain strings; the last frame has an empty one, the whole reply and the usage."""
        answer = self.answer()
        frames = [self._delta(one.piece) for one in answer.increments()]
        if not finished:
            return frames
        closing = {**self._closing(answer), **self.knowledge}
        closing["choices"] = [{"index": 0, "finish_reason": answer.finish, "delta": ""}]
        return [*frames, Frame(closing, usage=self.usage(answer), ends=True)]

    def _delta(self, piece: str) -> Frame:
        return Frame({**self._head(""), "choices": [{"delta": piece}]}, piece, content=bool(piece))

    def opening(self) -> Frame:
        return self._delta("")

    def frame_bytes(self, frame: Frame, number: int) -> bytes:
        """One newline between results; ``use_standard_sse`` gives the blank line."""
        standard = self.ask.body.get("use_standard_sse") is True
        return super().frame_bytes(frame, number)[: None if standard else -1]


# -- what the page forbids


def _legacy_has_prompt(request: Legacy) -> None:
    body = request.ask.body
    if request.in_pro_form:
        bot_is_named(request)
        return
    require(isinstance(body.get("prompt"), str) and body["prompt"], request.invalid("prompt should not be empty"))
    names = body.get("role_meta")
    named = isinstance(names, dict) and names.get("user_name") and names.get("bot_name")
    require(named, request.invalid("role_meta needs user_name and bot_name"))


def _legacy_messages_are_sound(request: Legacy) -> None:
    body = request.ask.body
    for one in body["messages"]:
        require(one.get("sender_type") in ("USER", "BOT"), request.invalid("sender_type should be USER or BOT"))
        require(isinstance(one.get("text"), str) and one["text"], request.invalid("text should not be empty"))
    ends = body["messages"][-1]["sender_type"] == "USER" or body.get("continue_last_message") is True
    require(ends, request.invalid("the last message should come from USER"))


def _beams_are_few(request: Legacy) -> None:
    """1 to 3 beams; more than one only on abab5.5s."""
    beams = request.ask.body.get("beam_width", 1)
    allowed = 3 if request.ask.model.startswith("abab5.5s") else 1
    require(is_count(beams) and beams <= allowed, request.invalid("beam_width is out of range"))


def _legacy_fits(request: Legacy) -> None:
    """The prompt and tokens_to_generate together must fit or the call fails."""
    fits = request.input_tokens() + request.limit <= window(request.ask.model)
    require(fits, request.refusal("context_length"))


Legacy.checks = (has_model, messages_are_objects, _legacy_messages_are_sound, _legacy_has_prompt, numbers_are_in_range,
                 _beams_are_few, knowledge_base_is_sound, _legacy_fits)  # fmt: skip
