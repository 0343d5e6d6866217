"""cnroute-sticky: calls that belong together go to the same place first.

A policy, found by the hook `create_policy` under the name `sticky`. It is a pure function of the options and of one
value of the call's metadata: no state, no clock, the same answer in every process and after every restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from cnroute import ConfigurationError, hookimpl

__all__ = ["Sticky", "StickyPolicies", "plugin"]
__version__ = "0.1.0"

NAME = "sticky"
DEFAULT_KEY = "conversation"


class Named(Protocol):
    """What this policy needs of an option."""

    @property
    def name(self) -> str:
        """The deployment's name."""


Choice = TypeVar("Choice", bound=Named)


class Sticky:
    """Orders by rendezvous hashing: each option draws a number from its name and the value, and the highest is first.

    An option that is added or taken away therefore moves only the values that it wins or had won. A call without the
    metadata key keeps the written order.
    """

    def __init__(self, key: str = DEFAULT_KEY) -> None:
        self.key = key

    def order(self, options: Sequence[Choice], context: Any) -> Sequence[Choice]:
        """All of `options`, the one that belongs to the call's value first."""
        value = context.request.metadata.get(self.key)
        return options if value is None else sorted(options, key=lambda option: _draw(value, option.name), reverse=True)


def _draw(value: str, name: str) -> bytes:
    """A number as good as random that only these two decide. A length in front keeps ("a", "bc") and ("ab", "c") apart."""
    return hashlib.blake2b(f"{len(value)}:{value}{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class StickyPolicies:
    """The plugin: makes the policy `sticky`, with the setting `key`."""

    @hookimpl
    def create_policy(self, name: str, settings: Mapping[str, Any]) -> Sticky | None:
        """A policy for a route with `policy = "sticky"`. Raises ConfigurationError for settings that it does not have."""
        if name != NAME:
            return None
        unknown = sorted(set(settings) - {"key"})
        if unknown:
            raise ConfigurationError(f"the policy {NAME} has no setting {unknown[0]!r:.60}; it has key", "settings")
        key = settings.get("key", DEFAULT_KEY)
        if not isinstance(key, str) or not key:
            raise ConfigurationError("key must be the name of a metadata key", "settings.key")
        return Sticky(key)


plugin = StickyPolicies()
