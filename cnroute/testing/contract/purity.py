"""Groups 1, 2 and 7: what only shows from outside: side effects of the import, of hooks, and another process's requests."""

from __future__ import annotations

from typing import Any, ClassVar

from cnroute.testing.contract import groups
from cnroute.testing.contract.base import ContractBase
from cnroute.testing.contract.checking import NotApplicable, check, require, same
from cnroute.testing.contract.child import Elsewhere, asked, located, other_process
from cnroute.testing.contract.probes import HELLO, PROBES
from cnroute.testing.contract.subject import KEY
from cnroute.testing.contract.watching import watch

_PURE = "hooks are pure: no files, no sockets, no sleeping, no environment, no output; settings come as deployment.options"


class PurityChecks(ContractBase):
    """Import, hooks, another process."""

    _elsewhere: ClassVar[Any]

    @classmethod
    def _other_process(cls) -> dict[str, Any]:
        """What another process found; asked once."""
        if "_elsewhere" not in cls.__dict__:
            try:
                cls._elsewhere = other_process(located(cls.plugin, cls.provider_name()), cls.subject())
            except Elsewhere as reason:
                cls._elsewhere = NotApplicable(str(reason))
        if isinstance(cls._elsewhere, NotApplicable):
            raise cls._elsewhere
        found: dict[str, Any] = cls._elsewhere
        return found

    @check(groups.REGISTRATION)
    def test_importing_it_has_no_side_effect(self) -> None:
        """The import, alone in a process: no network, threads, handlers, output, and no change of the environment."""
        found = self._other_process()
        touched = [*found["import"], *([f"output: {found['output'].strip()[:200]!r}"] if found["output"].strip() else [])]
        require(not touched, "importing it has no side effect", expected="nothing", got="; ".join(touched),
                change="do nothing at import but define functions and constants")  # fmt: skip

    @check(groups.REQUEST)
    def test_another_process_sends_the_same_bytes(self) -> None:
        """A process with another hash seed, another time and another time zone builds the same requests."""
        found = self._other_process()["requests"]
        if found is None:
            raise NotApplicable("the import failed there")
        here = asked(self.subject())
        other = sorted(name for name in here if found.get(name) != here[name])
        same(
            "another process sends the same bytes",
            [],
            other,
            change="leave time, random numbers and the order of sets out of the request",
        )

    @check(groups.PROCESS)
    def test_hooks_touch_nothing_of_the_world(self) -> None:
        """No hook opens, connects, sleeps, prints, reads the environment, or logs a key."""
        subject = self.subject()
        self._run_everything()  # what is loaded late is loaded now
        with watch() as touches:
            self._run_everything()
        for what, found in (
            ("the world", touches.world),
            ("the environment", touches.variables),
            ("the output", [touches.output] if touches.output else []),
        ):
            require(not found, f"hooks leave {what} alone", expected="nothing", got=", ".join(dict.fromkeys(found)), change=_PURE)
        secrets = [KEY, *(str(value) for value in subject.options.values() if len(str(value)) >= 12)]
        told = [line for line in touches.logged if any(secret in line for secret in secrets)]
        require(
            not told,
            "hooks log no key",
            expected="no key in a log record",
            got=[line.replace(KEY, "<KEY>") for line in told],
            change="log no key, and no option",
        )

    def _run_everything(self) -> None:
        subject = self.subject()
        subject.host.provider(subject.name)
        self.plugin_object().describe_provider()
        for stream in (False, True) if subject.hooks.parse_stream_line is not None else (False,):
            for probe in PROBES:
                subject.build(HELLO, stream, **{**probe.beside, probe.parameter: probe.one})
        for sample in self.all_samples():
            subject.sample_built(sample)
            subject.play(sample)
        if subject.hooks.count_tokens is not None:
            subject.hooks.count_tokens(subject.request(HELLO), subject.place().deployment)
