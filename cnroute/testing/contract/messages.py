"""Group 2, messages: each text is sent once, whole, in order, with its role, its name and its call, or refused by name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cnroute.testing.contract import groups
from cnroute.testing.contract.checking import NotApplicable, check, require
from cnroute.testing.contract.conversations import ALWAYS, CONVERSATIONS, ODD, ROLES, SHAPES, tool_turns
from cnroute.testing.contract.probes import HELLO, Probe, tool
from cnroute.testing.contract.sent import SentChecks, check_refusal, stands, strings_of
from cnroute.testing.contract.subject import Built

_SECONDS = 5.0


class MessageChecks(SentChecks):
    """What `build_request` makes of messages."""

    @check(groups.REQUEST)
    def test_every_message_is_sent_once_and_in_order(self) -> None:
        """System messages, the same role twice, long talks, parts of text: each text is sent once, unchanged, in order."""
        for name, messages in SHAPES.items():
            for stream in self._streams():
                self._check_shape(name, messages, stream)

    def _check_shape(self, name: str, messages: list[dict[str, Any]], stream: bool) -> None:
        built = self.subject().build(messages, stream)
        if built.refused is not None and built.refused.parameter.partition(".")[0] == "messages":
            require(
                name not in ALWAYS,
                f"{name} can be sent",
                expected="a request",
                got=built.what(),
                change="let build_request send it",
            )
            return
        made = self._made(built, name)
        texts = [text for text in strings_of(Built(made).json) if "kit-" in text]
        for role in ("system", None):
            wanted = [
                text for message in messages if (message["role"] == "system") == (role == "system") for text in said_by(message)
            ]
            places = [(number, text.find(said)) for said in wanted for number, text in enumerate(texts) if said in text]
            counts = {said: sum(text.count(said) for text in texts) for said in wanted}
            change = "send every message once, whole and in order, or raise UnsupportedRequestError('messages', reason)"
            require(
                all(count == 1 for count in counts.values()),
                f"every message is sent once ({name})",
                expected=dict.fromkeys(counts, 1),
                got=counts,
                change=change,
            )
            require(places == sorted(places), f"messages keep their order ({name})", expected=wanted, got=texts, change=change)

    @check(groups.REQUEST)
    def test_the_role_of_a_message_is_sent(self) -> None:
        """The same text from another role is another request."""
        for name, (one, other) in ROLES.items():
            for stream in self._streams():
                first, second = self.subject().build(one, stream), self.subject().build(other, stream)
                if first.made is not None and second.made is not None:
                    require(
                        first.wire() != second.wire(),
                        f"the role of a message is sent ({name})",
                        expected="two requests that differ",
                        got="the same request",
                        change="send message.role, or what the vendor has in its place",
                    )

    @check(groups.REQUEST)
    def test_a_senders_name_is_not_lost(self) -> None:
        """`name` of a message is sent, refused, or noted in `adjusted`."""
        for stream in self._streams():
            built = self.subject().build([{"role": "user", "name": "kit_sender", "content": HELLO}], stream)
            if built.made is None:
                check_refusal(Probe("messages", None, None), built, "a message with a name")
                continue
            kept = stands("kit_sender", built.json) or any(key.startswith("messages") for key in built.made.adjusted)
            require(
                kept,
                "the name of a message is sent, refused or noted",
                expected="kit_sender in the body",
                got=built.json,
                change='send message.name, or note HttpRequest.adjusted["messages.name"]',
            )

    @check(groups.REQUEST)
    def test_parts_that_are_no_text_are_sent_or_refused(self) -> None:
        """A picture in a message reaches the body, or `messages` is refused; it is never left out."""
        content = [
            {"type": "text", "text": HELLO},
            {"type": "image_url", "image_url": {"url": "https://kit.example/kit-picture.png"}},
        ]
        for stream in self._streams():
            built = self.subject().build([{"role": "user", "content": content}], stream)
            if built.made is None:
                check_refusal(Probe("messages", None, None), built, "a picture")
                continue
            require(
                stands("kit-picture", built.json),
                "a picture is sent or refused",
                expected="its URL in the body",
                got=built.json,
                change="raise UnsupportedRequestError('messages', ...) unless message.only_text",
            )

    @check(groups.REQUEST)
    def test_tool_turns_are_sent(self) -> None:
        """A turn with tool calls and their results is sent: names, arguments and results, each result with its call."""
        if not self.supports_tools:
            raise NotApplicable("supports_tools is False")
        for stream in self._streams():
            built = self.subject().build(tool_turns("kit-call-a", "kit-call-b"), stream, tools=[tool("kit_one"), tool("kit_two")])
            made = self._made(built, "a tool turn")
            wanted = ("kit_one", "kit_two", "kit-city-1", "kit-city-2", "kit-result-1", "kit-result-2", "kit-question")
            missing = [text for text in wanted if not stands(text, Built(made).json)]
            require(
                not missing,
                "a tool turn is sent",
                expected=f"{missing} in the body",
                got=Built(made).json,
                change="send message.tool_calls, and the text of messages with the role tool",
            )
            swapped = self.subject().build(
                tool_turns("kit-call-b", "kit-call-a"), stream, tools=[tool("kit_one"), tool("kit_two")]
            )
            require(
                built.wire() != swapped.wire(),
                "a result is sent with the call that it answers",
                expected="another request when two results change places",
                got="the same request",
                change="send message.tool_call_id, or put each result behind its call",
            )

    @check(groups.REQUEST)
    def test_a_megabyte_and_odd_characters_are_sent(self) -> None:
        """A message of a megabyte, lone surrogates and control characters are sent whole, within seconds."""
        for stream in self._streams():
            for name, text in ODD.items():
                begun = time.thread_time()
                built = self.subject().build([{"role": "user", "content": text}], stream)
                took = time.thread_time() - begun
                made = self._made(built, name)
                require(
                    any(text in each for each in strings_of(Built(made).json)),
                    f"{name}: the text is sent as it is",
                    expected=text,
                    got=Built(made).json,
                    change="make the body with cnroute.wire.dumps, and leave texts as they are",
                )
                require(
                    took < _SECONDS,
                    f"{name}: it is built within seconds",
                    expected=f"under {_SECONDS:g} s",
                    got=f"{took:.1f} s",
                    change="look at each character once",
                )

    @check(groups.REQUEST)
    def test_an_odd_conversation_is_sent_or_refused_by_name(self) -> None:
        """Results without calls, the assistant first or alone, an empty text: a request, or a refusal of `messages`."""
        for name, messages in CONVERSATIONS.items():
            for stream in self._streams():
                check_refusal(Probe("messages", None, None), self.subject().build(messages, stream), name)


def said_by(message: Mapping[str, Any]) -> list[str]:
    """The texts of a message."""
    content = message["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content]
